# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading the mappings of an inventory, with a fault for everything that is wrong in them."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import (
    Fault,
    key_of_path,
    listing,
    nearest,
    quote,
    type_name,
    unique,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import Rule


class Entry:
    """A mapping of an inventory and its path.

    Reading a value that is wrong notes a fault and returns what is said at each method, so that reading goes on.
    """

    def __init__(
        self, value: t.Any, path: str, legal: Sequence[str] | None, faults: list[Fault], prefix: str = ""
    ) -> None:
        """
        :param value: the mapping; anything else is a fault and reads as an empty mapping.
        :param path: where it is, such as ``ai_gateway_providers[0]``.
        :param legal: all keys that it may have; another one is a fault. With None they are checked later, or not.
        :param faults: the list to which faults are added.
        :param prefix: what comes before a key in a path; by default ``path`` and a dot.
        """
        self.path = path
        self.faults = faults
        self._prefix = prefix or path + "."
        self.value: Mapping[str, t.Any] = value if isinstance(value, Mapping) else {}
        self.readable = isinstance(value, Mapping)
        self._faulty: set[str] = set()
        if not self.readable:
            self.fault("", f"is {type_name(value)}", f"write a mapping of {listing(legal or ('name',))}")
        elif legal is not None:
            self.check_keys(legal)

    def check_keys(self, legal: Sequence[str]) -> None:
        """Note a fault for every key that is none of these."""
        for key in self.value:
            if key not in legal:
                near = nearest(str(key), legal)
                if near:
                    self._faulty.add(near)
                self.fault(
                    str(key), "is not a known key", f"did you mean `{near}`?" if near else f"it takes {listing(legal)}"
                )

    def at(self, key: str) -> str:
        """The path of ``key``; that of the mapping for an empty one."""
        return f"{self._prefix}{key_of_path(key)}" if key else self.path

    def fault(self, key: str, problem: str, remedy: str) -> None:
        self._faulty.add(key)
        self.faults.append(Fault(self.at(key), problem, remedy))

    def has(self, key: str) -> bool:
        return self.value.get(key) is not None

    def faulty(self, *keys: str) -> bool:
        """Whether one of the keys is wrong or misspelt, so that what follows from it is no fault of its own."""
        return not self._faulty.isdisjoint(keys)

    def missing(self, key: str, remedy: str, unless: str = "") -> None:
        """Note a fault if ``key`` is missing.

        There is none where something else is a fault already: the mapping, a misspelt ``key``, or the key ``unless``.
        """
        if self.readable and not self.has(key) and not self.faulty(key, unless):
            self.fault(key, "is missing", f"write {remedy}")

    def string(self, key: str, rule: Rule, default: str | None = None) -> str:
        """The string of ``key``; empty if it is wrong.

        :param default: what a missing one is; None if it must not be missing.
        """
        value = self.value.get(key)
        if value is None:
            if default is None:
                self.missing(key, rule.remedy)
            return default or ""
        string = self._checked(self.at(key), value, rule)
        if string is None:
            self._faulty.add(key)
        return string or ""

    def _checked(self, path: str, value: t.Any, rule: Rule) -> str | None:
        if not isinstance(value, str):
            self.faults.append(
                Fault(
                    path,
                    f"is {type_name(value)}",
                    "write a string (in quotes if it looks like a number or a truth value)",
                )
            )
        elif not rule.accepts(value):
            self.faults.append(rule.fault(path, value))
        else:
            return value
        return None

    def choice(self, key: str, choices: Iterable[str], default: str | None = None, why: str = "") -> str:
        """One of ``choices``, as ``string``.

        :param why: what follows the choices in messages.
        """
        value = self.value.get(key)
        remedy = listing(tuple(choices), "or") + why
        if value is None:
            if default is None:
                self.missing(key, remedy)
            return default or ""
        if not isinstance(value, str) or value not in choices:
            shown = quote(value) if isinstance(value, str) else type_name(value)
            self.fault(key, f"is {shown}", f"write {remedy}")
            return ""
        return value

    def integer(
        self, key: str, low: int, high: int, default: int | None = None, required: bool = True, why: str = ""
    ) -> int | None:
        """A whole number from ``low`` to ``high``; None if it is wrong, or missing without a default.

        :param required: whether a missing one without a default is a fault.
        :param why: what follows the range in messages.
        """
        value = self.value.get(key)
        remedy = f"a whole number from {low} to {high}{why}"
        if value is None:
            if required and default is None:
                self.missing(key, remedy)
            return default
        # A number from a template or an environment variable may be a string.
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            shown = (
                str(value) if isinstance(value, int) else quote(value) if isinstance(value, str) else type_name(value)
            )
            self.fault(key, f"is {shown}", f"write {remedy}")
            return None
        return value

    def number(self, key: str, low: float, high: float) -> float | None:
        """A number from ``low`` to ``high``, with up to six decimals; None if it is wrong or missing."""
        value = self.value.get(key)
        remedy = f"a number from {low} to {high} with up to six decimals"
        if value is None:
            self.missing(key, remedy)
            return None
        # As with whole numbers.
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,12}(\.[0-9]{1,6})?", value):
            value = float(value)
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not low <= value <= high
            or round(value, 6) != value
        ):
            shown = str(value) if isinstance(value, (int, float)) else type_name(value)
            self.fault(key, f"is {quote(value) if isinstance(value, str) else shown}", f"write {remedy}")
            return None
        return value

    def flag(self, key: str, default: bool) -> bool:
        """A truth value; the default if it is wrong or missing."""
        value = self.value.get(key, default)
        # As with numbers; --extra-vars name=false gives a string.
        if isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if not isinstance(value, bool):
            self.fault(key, f"is {type_name(value)}", "write true or false")
            return default
        return value

    def entry(self, key: str, legal: Sequence[str]) -> Entry:
        """The mapping of ``key``, which must exist, see ``has``."""
        return Entry(self.value[key], self.at(key), legal, self.faults)

    def _elements(self, key: str) -> list[tuple[str, t.Any]]:
        """The items of a list with their paths; none if it is missing or wrong."""
        value = self.value.get(key)
        if value is None:
            return []
        if not isinstance(value, Sequence) or isinstance(value, (str, bytes)):
            self.fault(
                key, f"is {type_name(value)}", 'write a list (each item on a line of its own that starts with "-")'
            )
            return []
        return [(f"{self.at(key)}[{index}]", item) for index, item in enumerate(value)]

    def entries(self, key: str, legal: Sequence[str]) -> Iterator[Entry]:
        """The mappings of a list; none if it is missing or wrong."""
        for path, item in self._elements(key):
            yield Entry(item, path, legal, self.faults)

    def strings(self, key: str, rule: Rule) -> list[tuple[str, str]]:
        """The strings of a list, each with its path, without those that are wrong.

        A missing or empty list is a fault, and so is a string that comes twice.
        """
        self.missing(key, f"a list of {rule.remedy}")
        if self.value.get(key) == []:
            self.fault(key, "is empty", f"write a list of {rule.remedy}")
        found = [(path, self._checked(path, item, rule) or "") for path, item in self._elements(key)]
        unique(found, "value", "leave one of them out", self.faults)
        return [(path, string) for path, string in found if string]
