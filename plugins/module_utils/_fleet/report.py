# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of all clusters of an inventory: as JSON, as JUnit XML, as a page of HTML and as a table."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import typing as t
import urllib.parse
from collections import Counter
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.outcomes import (
    FAILED,
    NOT_RUN,
    PASSED,
    RUNNING,
    STATUSES,
    Cluster,
    Document,
    Run,
    clusters,
    moment,
    now,
    read,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.page import PAGE
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes import findings
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.report import Report
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.files import ReportError, written
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.page import rendered

#: Of the files, which have the extensions json, xml and html.
NAME = "fleet"
#: Failed checks of a report that the page names; the report has all.
SHOWN = 8
#: As reports of checks have them; what is at work has not failed yet.
_STATUS_OF_CHECK = {
    PASSED: findings.PASSED,
    FAILED: findings.FAILED,
    RUNNING: findings.SKIPPED,
    NOT_RUN: findings.SKIPPED,
}
_ORDER = {FAILED: 0, RUNNING: 1, PASSED: 2, NOT_RUN: 3}


@dataclass(frozen=True)
class FleetReport:
    """What became of each cluster. ``document`` is what the next host of the run goes on from."""

    document: Document
    clusters: tuple[Cluster, ...]
    updated: str

    @property
    def counts(self) -> dict[str, int]:
        """How many clusters have each status."""
        counted = Counter(cluster.status for cluster in self.clusters)
        return {status: counted[status] for status in STATUSES}

    @property
    def is_complete(self) -> bool:
        """Whether no cluster is at work or waits for its turn."""
        return not any(cluster.status == RUNNING for cluster in self.clusters)

    @property
    def seconds(self) -> int:
        return int((moment(self.updated) - moment(self.document["started"])).total_seconds())

    @property
    def summary(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.counts.items() if count)
        return f"{len(self.clusters)} clusters: {counts}"

    @property
    def verdict(self) -> str:
        """The heading: a sentence about the run as a whole."""
        counts, total = self.counts, len(self.clusters)
        if counts[FAILED]:
            return f"{counts[FAILED]} of {total} clusters failed"
        if counts[RUNNING]:
            return f"{counts[RUNNING]} of {total} clusters are at work"
        if counts[NOT_RUN]:
            return f"{counts[PASSED]} of {total} clusters passed, {counts[NOT_RUN]} not run"
        return f"All {total} clusters passed"

    def to_json(self) -> str:
        document = {
            "playbook": self.document["playbook"],
            "started": self.document["started"],
            "updated": self.updated,
            "complete": self.is_complete,
            "counts": self.counts,
            "clusters": [cluster.as_dict() for cluster in self.clusters],
            # What the next run needs of this one.
            "run": self.document["run"],
            "outcomes": self.document["outcomes"],
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    def to_junit(self) -> str:
        """JUnit XML with a case for each cluster. Raises ImportError without the library junit-xml."""
        return self._as_checks().to_junit()

    def to_html(self) -> str:
        """One page that needs nothing else. Raises ImportError without the library Jinja2."""
        ordered = sorted(self.clusters, key=lambda cluster: _ORDER[cluster.status])
        return rendered(PAGE, report=self, clusters=ordered, link=urllib.parse.quote, duration=duration, shown=SHOWN)

    def to_table(self) -> list[tuple[str, str]]:
        """The lines of a table for the terminal, each with the status for its colour or an empty string."""
        lines = self._as_checks().to_table()
        return [*lines[:-1], (self.summary, lines[-1][1])]

    def _as_checks(self) -> Report:
        checks = tuple(
            findings.Check(
                id=cluster.name,
                name=cluster.name,
                status=_STATUS_OF_CHECK[cluster.status],
                expected=f"{cluster.outcome.get('playbook') or self.document['playbook']} passes",
                observed=_observed(cluster),
                seconds=float(cluster.seconds or 0),
                hint=_hint(cluster),
            )
            for cluster in self.clusters
        )
        return Report("Fleet", self.document["playbook"], "", self.updated, checks)


def _observed(cluster: Cluster) -> str:
    if cluster.status == RUNNING:
        return "is at work"
    fresh = "; ".join(f"{report.title}: {report.summary}" for report in cluster.reports if not report.is_stale)
    return cluster.reason or fresh or "passed"


def _hint(cluster: Cluster) -> str:
    pages = [report.page for report in cluster.reports if not report.is_stale]
    return f"See {' and '.join(pages)}." if pages else "See the output of the run."


def duration(seconds: int) -> str:
    """``100`` as ``1 min 40 s``."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def updated(directory: str, run: Run, change: t.Callable[[Document], Document]) -> tuple[FleetReport, dict[str, str]]:
    """Change what is kept of the run, and write the report anew; the hosts of a run take turns.

    :returns: the report, and the absolute paths of its files by extension
    :raises ReportError: when a library is missing, or the directory cannot be written to
    """
    with _locked(directory):
        document = change(read(os.path.join(directory, f"{NAME}.json")))
        report = FleetReport(document, clusters(document, run, directory), now())
        return report, written(report, directory, NAME, False)


@contextlib.contextmanager
def _locked(directory: str) -> t.Iterator[None]:
    try:
        os.makedirs(directory, exist_ok=True)
        lock = os.open(os.path.join(directory, f".{NAME}.lock"), os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ReportError(
            f"directory: cannot write to {directory}: {error.strerror}; name another directory"
        ) from error
    try:
        # The kernel gives it back, however the process ends.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
