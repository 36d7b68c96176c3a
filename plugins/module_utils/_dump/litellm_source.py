# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading the mappings of a LiteLLM configuration so that nothing in them is dropped unsaid. Pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import type_name
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.document import Note, one_line
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.litellm_table import reason

#: What comes before the name of a variable of the environment.
ENVIRONMENT = "os.environ/"
#: Digits of a number in a string, which is then no attempt to make a large one.
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?([eE]-?[0-9]{1,2})?")


@dataclass(frozen=True)
class Wrong:
    """Something in a configuration that has not the form that it must have."""

    path: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        remedy = f"; {one_line(self.remedy)}" if self.remedy else ""
        return f"{one_line(self.path)}: {one_line(self.problem)}{remedy}"


class Source:
    """A mapping of a configuration. Whatever is not read of it is named by ``name_the_rest``."""

    def __init__(self, value: Mapping[str, t.Any], path: str, notes: list[Note], wrong: list[Wrong]) -> None:
        self.value = value
        self.path = path
        self.notes = notes
        self.wrong = wrong
        self._read: set[str] = set()
        self._inner: dict[str, Source] = {}

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def has(self, name: str) -> bool:
        return self.value.get(name) is not None

    def ignore(self, *names: str) -> None:
        """Take these as read."""
        self._read.update(names)

    def string(self, name: str, required: bool = False) -> str:
        """The string of a name; empty where it is missing or, which is noted as wrong, something else."""
        value = self.value.get(name)
        self.ignore(name)
        if isinstance(value, str) and (value or not required):
            return value
        if value is not None or required:
            problem = "is missing" if value is None else f"is {type_name(value) if value != '' else 'empty'}"
            self.wrong.append(Wrong(self.at(name), problem, "write a string"))
        return ""

    def number(self, name: str) -> float | None:
        """The number of a name, from 0; None where it is missing or, which is noted as wrong, something else."""
        value = self.value.get(name)
        self.ignore(name)
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 10**15:
            return float(value)
        if value is not None:
            self.wrong.append(
                Wrong(self.at(name), f"is {type_name(value)} that cannot be used", "write a number from 0")
            )
        return None

    def source(self, name: str, required: bool = False) -> Source:
        """The mapping of a name; an empty one where it is missing or, which is noted as wrong, something else."""
        if name in self._inner:
            return self._inner[name]
        value = self.value.get(name)
        self.ignore(name)
        if not isinstance(value, Mapping):
            if value is not None or required:
                problem = "is missing" if value is None else f"is {type_name(value)}"
                self.wrong.append(Wrong(self.at(name), problem, "write a mapping"))
            value = {}
        return self._inner.setdefault(name, Source(value, self.at(name), self.notes, self.wrong))

    def sources(self, name: str) -> list[Source]:
        """The mappings of a list; none where it is missing or, which is noted as wrong, something else."""
        value = self.value.get(name)
        self.ignore(name)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong.append(Wrong(self.at(name), f"is {type_name(value)}", "write a list"))
            return []
        found = []
        for index, entry in enumerate(value):
            path = f"{self.at(name)}[{index}]"
            if isinstance(entry, Mapping):
                found.append(Source(entry, path, self.notes, self.wrong))
            else:
                self.wrong.append(Wrong(path, f"is {type_name(entry)}", "write a mapping"))
        return found

    def name_the_rest(self) -> None:
        """Note everything that was not read, by its path, and why it has no counterpart."""
        for name, value in self.value.items():
            if name not in self._read and value is not None:
                self.ignore(name)
                path = self.at(name)
                plain = re.sub(r"\[[0-9]+\]", "", path)
                section = next((part for part in ("model_info",) if f".{part}." in f".{plain}."), plain.split(".")[0])
                self.notes.append(Note(path, reason(plain, section)))
