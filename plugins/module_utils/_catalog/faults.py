# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading what an inventory says:

rules for texts, and mappings that note a fault with its path for everything wrong in them.
"""

from __future__ import annotations

import difflib
import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

LABEL_LIMIT = 63


@dataclass(frozen=True)
class Fault:
    """One thing wrong in the inventory: where it stands, what is wrong and what to write instead."""

    path: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.remedy}"


class CatalogError(ValueError):
    """The inventory has faults; ``faults`` holds all of them and the message lists one a line."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: _natural(fault.path)))
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__(
            "\n".join([f"The catalogue of the AI gateway has {count}:", *(f"  - {fault}" for fault in self.faults)])
        )


def _natural(path: str) -> list[str | int]:
    """A key that sorts the third item before the tenth; texts and numbers take turns in it."""
    return [int(part) if part.isdigit() else part for part in re.split(r"([0-9]+)", path)]


# --- what a text may be ---


@dataclass(frozen=True)
class Rule:
    """What a text must look like. ``secret``: a wrong text is not quoted, as it may be a key that landed in the wrong
    place.

    ``printable``: besides, it has no character that cannot be seen, such as a line break, a tab or one that changes the
    direction of writing.
    """

    kind: str
    pattern: str
    remedy: str
    limit: int = LABEL_LIMIT
    secret: bool = False
    printable: bool = False
    suggest: t.Callable[[str], str] = lambda text: ""

    def accepts(self, text: str) -> bool:
        return (
            len(text) <= self.limit
            and re.fullmatch(self.pattern, text) is not None
            and (text.isprintable() or not self.printable)
        )

    def fault(self, path: str, text: str) -> Fault:
        if not text.strip():
            return Fault(path, "is empty", f"write {self.remedy}")
        shown = "the text" if self.secret else quote(text)
        if len(text) > self.limit:
            return Fault(path, f"{shown} has {len(text)} characters", f"write at most {self.limit}")
        suggestion = self.suggest(text)
        example = f", for example {quote(suggestion)}" if suggestion and self.accepts(suggestion) else ""
        return Fault(path, f"{shown} is not {self.kind}", f"write {self.remedy}{example}")


def quote(text: str) -> str:
    """The text in quotes, shortened, with an escape for each character that cannot be seen."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return (
        '"'
        + "".join(
            char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode() for char in shown
        )
        + '"'
    )


# --- reading with a path ---


class Entry:
    """A mapping of the inventory and its path. Reading a wrong value notes a fault and gives None or the default."""

    def __init__(self, value: t.Any, path: str, legal: Sequence[str], faults: list[Fault], prefix: str = "") -> None:
        self.path = path
        self.faults = faults
        self._prefix = prefix or path + "."
        self.value: Mapping[str, t.Any] = value if isinstance(value, Mapping) else {}
        self.readable = isinstance(value, Mapping)
        self._faulty: set[str] = set()
        if not self.readable:
            self.fault("", f"is {type_name(value)}", f"write a mapping of {listing(legal)}")
            return
        for key in self.value:
            if key not in legal:
                near = difflib.get_close_matches(str(key).lower(), legal, n=1)
                meant = f"did you mean `{near[0]}`?" if near else f"it takes {listing(legal)}"
                self._faulty.update(near)
                self.fault(str(key), "is not a known key", meant)

    def at(self, key: str) -> str:
        return f"{self._prefix}{key}" if key else self.path

    def fault(self, key: str, problem: str, remedy: str) -> None:
        self._faulty.add(key)
        self.faults.append(Fault(self.at(key), problem, remedy))

    def has(self, key: str) -> bool:
        return self.value.get(key) is not None

    def faulty(self, *keys: str) -> bool:
        """Whether one of the keys is wrong or misspelt, so that what follows from it is no fault of its own."""
        return not self._faulty.isdisjoint(keys)

    def missing(self, key: str, remedy: str, unless: str = "") -> None:
        """Note that ``key`` is missing, if it is:

        an unreadable mapping, a misspelt ``key`` or a faulty ``unless`` is a fault already.
        """
        if self.readable and not self.has(key) and not self.faulty(key, unless):
            self.fault(key, "is missing", f"write {remedy}")

    def text(self, key: str, rule: Rule, default: str | None = None) -> str:
        """The text of ``key``; without one the default, and without a default a fault."""
        value = self.value.get(key)
        if value is None:
            if default is None:
                self.missing(key, rule.remedy)
            return default or ""
        text = self._checked(self.at(key), value, rule)
        if text is None:
            self._faulty.add(key)
        return text or ""

    def _checked(self, path: str, value: t.Any, rule: Rule) -> str | None:
        if not isinstance(value, str):
            self.faults.append(
                Fault(
                    path,
                    f"is {type_name(value)}",
                    "write a text (in quotes if it looks like a number or a truth value)",
                )
            )
        elif not rule.accepts(value):
            self.faults.append(rule.fault(path, value))
        else:
            return value
        return None

    def choice(self, key: str, choices: Iterable[str], default: str | None = None, why: str = "") -> str:
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
        value = self.value.get(key)
        remedy = f"a whole number from {low} to {high}{why}"
        if value is None:
            if required and default is None:
                self.missing(key, remedy)
            return default
        # A number that a template or an environment variable gave may be its text.
        if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            shown = (
                str(value) if isinstance(value, int) else quote(value) if isinstance(value, str) else type_name(value)
            )
            self.fault(key, f"is {shown}", f"write {remedy}")
            return None
        return value

    def flag(self, key: str, default: bool) -> bool:
        value = self.value.get(key, default)
        # As with numbers; --extra-vars name=false gives a text.
        if isinstance(value, str):
            value = {"true": True, "false": False}.get(value.lower(), value)
        if not isinstance(value, bool):
            self.fault(key, f"is {type_name(value)}", "write true or false")
            return default
        return value

    def entry(self, key: str, legal: Sequence[str]) -> Entry:
        return Entry(self.value[key], self.at(key), legal, self.faults)

    def _elements(self, key: str) -> list[tuple[str, t.Any]]:
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
        for path, item in self._elements(key):
            yield Entry(item, path, legal, self.faults)

    def texts(self, key: str, rule: Rule) -> list[tuple[str, str]]:
        """The texts of a list that must not be empty, each with its path; repeated ones are a fault."""
        self.missing(key, f"a list of {rule.remedy}")
        if self.value.get(key) == []:
            self.fault(key, "is empty", f"write a list of {rule.remedy}")
        found = [(path, self._checked(path, item, rule) or "") for path, item in self._elements(key)]
        unique(found, "value", "leave one of them out", self.faults)
        return [(path, text) for path, text in found if text]


def type_name(value: t.Any) -> str:
    if value is None:
        return "empty"
    names = (
        (bool, "a truth value"),
        (int, "a number"),
        (float, "a number"),
        (str, "a text"),
        (Mapping, "a mapping"),
        (Sequence, "a list"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), f"of type {type(value).__name__}")


def listing(words: Sequence[str], joint: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joint} {words[-1]}"


def unique(values: Iterable[tuple[str, t.Any]], what: str, remedy: str, faults: list[Fault]) -> None:
    """Note a fault for every value that stood at an earlier path already; empty texts were faulty before."""
    first: dict[t.Any, str] = {}
    for path, value in values:
        if value in ("", None):
            continue
        if value in first:
            shown = quote(value) if isinstance(value, str) else value
            faults.append(Fault(path, f"{what} {shown} is taken by {first[value]}", remedy))
        else:
            first[value] = path
