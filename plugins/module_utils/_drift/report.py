# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report of drift: as JSON, as JUnit XML, as a page of HTML and as a table for the terminal."""

from __future__ import annotations

import itertools
import json
import textwrap
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.differences import (
    ACTIONS,
    CREATE,
    counted,
    summary_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.report_page import PAGE
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import FIELD_MANAGER
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.page import printable, rendered

#: The colour of a line about nothing that differs.
NONE = "none"
#: Characters of a value on the page, and on the terminal.
PAGE_LENGTH, TERMINAL_LENGTH = 400, 80
#: So many objects of a set that are to be created, and so many fields of an object, the terminal shows.
MOST_CREATED, MOST_FIELDS = 5, 8

Values = dict[str, t.Any]


@dataclass(frozen=True)
class DriftReport:
    """The differences of one cluster from its catalogue. ``finished`` is a time in RFC 3339.

    ``differences`` and ``sets`` are as module drift_info returns them.
    """

    cluster: str
    finished: str
    differences: tuple[Values, ...]
    sets: tuple[Values, ...]
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many objects differ, by action."""
        return counted(difference["action"] for difference in self.differences)

    @property
    def objects(self) -> int:
        """How many objects the catalogue has."""
        return sum(item["objects"] for item in self.sets)

    @property
    def summary(self) -> str:
        return summary_of(self.counts, self.objects)

    def to_json(self) -> str:
        document = {
            "cluster": self.cluster,
            "finished": self.finished,
            "seconds": self.seconds,
            "summary": self.summary,
            "counts": self.counts,
            "objects": self.objects,
            "differences": list(self.differences),
            "sets": list(self.sets),
            "warnings": list(self.warnings),
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    def to_junit(self) -> str:
        """JUnit XML, as CI systems read it: a failed test for each object that differs, and one that passes for each
        set without any. Raises ImportError without the library junit-xml.
        """
        from junit_xml import TestCase, TestSuite, to_xml_report_string

        cases = []
        for difference in self.differences:
            case = TestCase(printable(title_of(difference)), classname=f"drift.{difference['set']}")
            lines = [*map(line_of, difference["fields"]), *filter(None, [difference["reason"]])]
            case.add_failure_info(
                message=printable(f"{WORDS[difference['action']]}: {title_of(difference)}"),
                output=printable("\n".join(lines)),
            )
            cases.append(case)
        for item in self.sets:
            if not item["differences"]:
                case = TestCase(f"{item['objects']} objects", classname=f"drift.{item['name']}")
                case.stdout = "as the catalogue has them"
                cases.append(case)
        suite = TestSuite(f"Drift of {self.cluster}", cases, timestamp=self.finished)
        return str(to_xml_report_string([suite], encoding="utf-8"))

    def to_html(self) -> str:
        """One page that needs nothing else. Raises ImportError without the library Jinja2."""
        order = {action: number for number, action in enumerate(("foreign", "delete", "update", "create"))}
        groups: dict[str, list[Values]] = {}
        for difference in sorted(self.differences, key=lambda one: order[one["action"]]):
            groups.setdefault(difference["set"], []).append(difference)
        return rendered(
            PAGE,
            report=self,
            groups=[(item, groups[item["name"]]) for item in self.sets if item["name"] in groups],
            words=WORDS,
            meanings=MEANINGS,
            title_of=title_of,
            values_of=lambda field: values_of(field, PAGE_LENGTH),
            cause_of=cause_of,
        )

    def to_table(self, width: int = 120) -> list[tuple[str, str]]:
        """The lines of a table of at most ``width`` columns, each with the action for its colour or an empty string."""
        return list(self._lines(width))

    def _lines(self, width: int) -> t.Iterator[tuple[str, str]]:
        yield f"Drift of {self.cluster}: {self.summary}", "" if self.differences else NONE
        column = max(map(len, ACTIONS)) + 1
        indent = " " * column
        for item in self.sets:
            found = [difference for difference in self.differences if difference["set"] == item["name"]]
            if not found:
                continue
            missing = "" if item["exists"] else ", which the cluster does not have"
            yield f"{item['name']}{missing}: {len(found)} of {item['objects']} objects", ""
            created = [difference for difference in found if difference["action"] == CREATE]
            hidden = created[MOST_CREATED:] if len(created) > MOST_CREATED + 1 else []
            for difference in found:
                if difference in hidden:
                    continue
                yield printable(f"{difference['action']:<{column}}{title_of(difference)}"), difference["action"]
                lines = [line_of(field, TERMINAL_LENGTH) for field in difference["fields"]]
                if len(lines) > MOST_FIELDS + 1:
                    lines[MOST_FIELDS:] = [f"and {len(lines) - MOST_FIELDS} more fields"]
                for line in (*lines, *filter(None, [difference["reason"]])):
                    for part in textwrap.wrap(line, width, initial_indent=indent, subsequent_indent=indent + "  "):
                        yield printable(part), ""
            if hidden:
                yield f"{CREATE:<{column}}and {len(hidden)} more", CREATE
        for warning in self.warnings:
            yield from ((line, "foreign") for line in textwrap.wrap(f"Warning: {warning}", width))


#: What a run of site would do, for the reader.
WORDS = {"create": "to create", "update": "to update", "delete": "to delete", "foreign": "foreign"}
MEANINGS = {
    "create": "The catalogue has it and the cluster does not.",
    "update": "It is on the cluster, and fields of it are not as in the catalogue.",
    "delete": "The gateway made it, and the catalogue does not have it any more.",
    "foreign": "Others made it or took it. Site leaves it as it is, or refuses to run because of it.",
}


def title_of(difference: Values) -> str:
    """How an object is called in a line."""
    name = f"{difference['namespace']}/{difference['name']}" if difference["namespace"] else difference["name"]
    return f"{difference['kind']} {name}"


def line_of(field: Values, most: int = PAGE_LENGTH) -> str:
    wanted, found = values_of(field, most)
    who = manager_of(field)
    return f"{field['path']}: wanted {wanted}, found {found}{f' ({who})' if who else ''}"


def manager_of(field: Values) -> str:
    """Who wrote what was found, and when; empty where nobody did."""
    if field["state"] == "missing" or not field["manager"]:
        return ""
    at = f" at {field['time']}" if field["time"] else ""
    if field["manager"] == FIELD_MANAGER:
        return f"applied{at}, and the catalogue has changed since"
    return f"written by {field['manager']}{at}"


def cause_of(field: Values) -> str:
    """The same without the time, for a column of its own."""
    if field["state"] == "missing":
        return "nobody; it was removed, or is new in the catalogue"
    if field["manager"] == FIELD_MANAGER:
        return "the gateway; the catalogue has changed since"
    return str(field["manager"]) or "unknown"


def values_of(field: Values, most: int) -> tuple[str, str]:
    """The wanted and the found value of a field in at most about ``most`` characters, around their first difference."""
    if field["secret"]:
        return {
            "changed": ("a secret", "another secret"),
            "missing": ("a secret", "nothing"),
            "unwanted": ("nothing", "a secret"),
        }[field["state"]]
    wanted, found = (_as_string(field[name]) if name in field else "nothing" for name in ("wanted", "found"))
    if max(len(wanted), len(found)) <= most:
        return wanted, found
    start = 0
    if field["state"] == "changed":
        start = max(0, _shared(wanted, found) - most // 3)
    return _part(wanted, start, most), _part(found, start, most)


def _as_string(value: t.Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _shared(one: str, other: str) -> int:
    """How many characters two strings begin with together."""
    return sum(1 for _pair in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other)))


def _part(content: str, start: int, most: int) -> str:
    end = start + most
    return f"{'…' if start else ''}{content[start:end]}{'…' if end < len(content) else ''}"
