# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong in an inventory, and how messages show its values."""

from __future__ import annotations

import datetime
import difflib
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing wrong in the inventory: its place, the problem and the remedy."""

    #: Variable and keys, such as ``ai_gateway_providers[1].models[0].name``.
    path: str
    #: What is wrong, a clause whose subject may be the path: ``is missing``.
    problem: str
    #: What to write instead, a clause: ``write true or false``.
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.problem}; {self.remedy}"


class CatalogError(ValueError):
    """The inventory has faults: ``faults`` holds all of them, and the message has a line for each."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: _natural(fault.path)))
        super().__init__(listed("The catalogue of the AI gateway has", self.faults))


def listed(beginning: str, faults: Sequence[Fault]) -> str:
    """A message with a line for each fault, whose first line ends with their number."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return "\n".join([f"{beginning} {count}:", *(f"  - {fault}" for fault in faults)])


def nearest(name: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The one of ``known`` that was probably meant: the same but for capitals, else the most similar one.

    Empty where none is similar, or two as much as each other: a wrong advice is worse than a list.

    :param likeness: from 0 to 1, how similar it must be.
    """
    names = list(known)
    same = [one for one in names if one.casefold() == name.casefold()]
    if len(same) == 1:
        return same[0]
    near = difflib.get_close_matches(name, names, n=2, cutoff=likeness)
    ratios = [difflib.SequenceMatcher(None, name, one).ratio() for one in near]
    return "" if not near or (len(near) == 2 and ratios[0] == ratios[1]) else near[0]


def _natural(path: str) -> list[str | int]:
    """A key that sorts the third item before the tenth; strings and numbers take turns in it."""
    return [int(part) if index % 2 else part for index, part in enumerate(re.split(r"([0-9]{1,9})", path))]


def quote(string: str) -> str:
    """The string in quotes, of at most 80 characters, with an escape for each character that cannot be seen."""
    shown = string if len(string) <= 80 else string[:77] + "..."
    return (
        '"'
        + "".join(
            char if char.isprintable() and char != "\\" else char.encode("unicode_escape").decode() for char in shown
        )
        + '"'
    )


def key_of_path(key: str) -> str:
    """A key as it is shown in a path: in quotes where it is long, or has characters that cannot be seen."""
    return key if key.isprintable() and len(key) <= 80 else quote(key)


def type_name(value: t.Any) -> str:
    """What a value is, in the words of an inventory's author."""
    if value is None:
        return "empty"
    if isinstance(value, datetime.date):
        return "a date"
    names = (
        (bool, "a truth value"),
        (int, "a number"),
        (float, "a number"),
        (str, "a string"),
        (Mapping, "a mapping"),
        (Sequence, "a list"),
    )
    return next((name for kind, name in names if isinstance(value, kind)), f"of type {type(value).__name__}")


def listing(words: Sequence[str], joint: str = "and") -> str:
    """The words, at least one, as ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joint} {words[-1]}"


def unique(values: Iterable[tuple[str, t.Any]], what: str, remedy: str, faults: list[Fault]) -> None:
    """Note a fault for every value that an earlier path has too; empty strings are faults already."""
    first: dict[t.Any, str] = {}
    for path, value in values:
        if value in ("", None):
            continue
        if value in first:
            shown = quote(value) if isinstance(value, str) else value
            faults.append(Fault(path, f"{what} {shown} is taken by {first[value]}", remedy))
        else:
            first[value] = path
