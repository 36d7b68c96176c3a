# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report of checks: as JSON, as JUnit XML, as a page of HTML and as a table for the terminal."""

from __future__ import annotations

import json
import textwrap
import typing as t
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import (
    FAILED,
    PASSED,
    SKIPPED,
    STATUSES,
    Check,
    shortened,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.report_page import PAGE
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.page import printable, rendered

#: Columns of the table: a status, a time, and at least so many for a name and for what was observed.
STATUS_WIDTH = len(SKIPPED)
SECONDS_WIDTH = 9
LEAST_WIDTH = 20


@dataclass(frozen=True)
class Report:
    """The checks of one cluster. ``finished`` is a time in RFC 3339."""

    title: str
    cluster: str
    gateway_url: str
    finished: str
    checks: tuple[Check, ...]
    #: What module gateway_diagnosis_info found, in its own form.
    findings: tuple[dict[str, t.Any], ...] = ()
    #: What module gateway_load measured, each with a ``name``, ``figures`` and ``p99``, its bound in seconds.
    loads: tuple[dict[str, t.Any], ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many checks have each status."""
        counted = Counter(check.status for check in self.checks)
        return {status: counted[status] for status in STATUSES}

    @property
    def seconds(self) -> float:
        """What the checks took together; some ran at the same time."""
        return round(sum(check.seconds for check in self.checks), 3)

    @property
    def summary(self) -> str:
        counts = self.counts
        return f"{len(self.checks)} checks: " + ", ".join(f"{counts[status]} {status}" for status in STATUSES)

    @property
    def failed(self) -> list[Check]:
        return [check for check in self.checks if check.status == FAILED]

    def to_json(self) -> str:
        document = {
            "cluster": self.cluster,
            "gateway_url": self.gateway_url,
            "finished": self.finished,
            "counts": self.counts,
            "checks": [check.as_dict() for check in self.checks],
            **({"diagnosis": list(self.findings)} if self.findings else {}),
            **({"loads": list(self.loads)} if self.loads else {}),
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    def to_junit(self) -> str:
        """JUnit XML, as CI systems read it. Raises ImportError without the library junit-xml."""
        from junit_xml import TestCase, TestSuite, to_xml_report_string

        cases = []
        for check in self.checks:
            # A class name ends where reports fold: at the first colon of an id such as chat:gpt-4.
            case = TestCase(
                printable(check.name),
                classname=f"{self.title.lower()}.{check.id.split(':')[0]}",
                elapsed_sec=check.seconds,
            )
            if check.status == FAILED:
                details = f"expected: {check.expected}\nobserved: {check.observed}\nhint: {check.hint}"
                case.add_failure_info(message=printable(check.observed), output=printable(details))
            elif check.status == SKIPPED:
                case.add_skipped_info(message=printable(check.observed))
            else:
                case.stdout = printable(check.observed)
            cases.append(case)
        properties = {"gateway_url": self.gateway_url}
        suite = TestSuite(f"{self.title} of {self.cluster}", cases, timestamp=self.finished, properties=properties)
        return str(to_xml_report_string([suite], encoding="utf-8"))

    def to_html(self) -> str:
        """One page that needs nothing else. Raises ImportError without the library Jinja2."""
        order = {FAILED: 0, SKIPPED: 2, PASSED: 1}
        return rendered(
            PAGE,
            report=self,
            checks=self.checks if self.loads else sorted(self.checks, key=lambda check: order[check.status]),
            slowest=max([0.001, *(load["figures"]["p99"] for load in self.loads)]),
        )

    def to_table(self, width: int = 120) -> list[tuple[str, str]]:
        """The lines of a table of at most ``width`` columns, each with the status for its colour or an empty string."""
        return list(self._lines(width))

    def _lines(self, width: int) -> t.Iterator[tuple[str, str]]:
        free = width - STATUS_WIDTH - SECONDS_WIDTH - 4
        names = min(max([LEAST_WIDTH, *(len(check.name) for check in self.checks)]), max(LEAST_WIDTH, free // 2))
        rest = free - names
        yield f"{self.title} of {self.cluster}" + (f" at {self.gateway_url}" if self.gateway_url else ""), ""
        for check in self.checks:
            seconds = f"{check.seconds:.2f} s" if check.status != SKIPPED else ""
            # What is as expected needs no more than a line; the files hold all of it.
            seen = "" if check.status == FAILED else shortened(check.observed, rest)
            name = shortened(check.name, names)
            yield (
                printable(
                    f"{check.status:<{STATUS_WIDTH}} {name:<{names}} {seconds:>{SECONDS_WIDTH}}  {seen}".rstrip()
                ),
                check.status,
            )
            if check.status == FAILED:
                indent = " " * (STATUS_WIDTH + 1)
                for label in ("expected", "observed", "hint"):
                    for line in textwrap.wrap(
                        f"{label}: {getattr(check, label)}",
                        width,
                        initial_indent=indent,
                        subsequent_indent=indent + "  ",
                    ):
                        yield printable(line), check.status
        yield self.summary, FAILED if self.failed else PASSED if self.counts[PASSED] else SKIPPED


def report_faults(checks: Iterable[Check]) -> list[str]:
    """What is wrong with checks that are to be reported: a status that does not exist, or an id given twice."""
    faults: list[str] = []
    seen: set[str] = set()
    for index, check in enumerate(checks):
        if check.status not in STATUSES:
            faults.append(f"checks[{index}].status: {check.status!r} is none of {', '.join(STATUSES)}")
        if check.id in seen:
            faults.append(f"checks[{index}].id: {check.id!r} is given twice")
        seen.add(check.id)
    return faults
