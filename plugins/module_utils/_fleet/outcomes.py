# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What became of each cluster of an inventory in one run of a playbook. Pure but for the reports that it reads.

Times are in RFC 3339, in UTC and whole seconds. An outcome is a mapping, as it is kept in a file between the hosts of a
run and from one run to the next.
"""

from __future__ import annotations

import datetime
import json
import os
import re
import typing as t
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import shortened

#: What became of a cluster: everything passed; something failed; it is at work; the run has not come to it.
PASSED, FAILED, RUNNING, NOT_RUN = "passed", "failed", "running", "not run"
STATUSES = (PASSED, FAILED, RUNNING, NOT_RUN)
_FORM = "%Y-%m-%dT%H:%M:%SZ"
#: Reports in the order of the page; others follow by their names.
_FIRST = ("validation", "drift")

Document = dict[str, t.Any]
Outcome = dict[str, t.Any]


@dataclass(frozen=True)
class Run:
    """One run of a playbook, as one of its hosts sees it. ``id`` is the same for all hosts of the run alone."""

    id: str
    playbook: str
    #: All hosts of the inventory, those that the run is for, and those of them that it has not lost.
    inventory: tuple[str, ...]
    hosts: tuple[str, ...]
    live: tuple[str, ...]


@dataclass(frozen=True)
class ReportFile:
    """A report of one cluster. ``is_stale`` where it is older than the run."""

    title: str
    #: Relative to the page.
    page: str
    finished: str
    counts: Mapping[str, int]
    #: (id, name) of each failed check.
    failed: tuple[tuple[str, str], ...]
    is_stale: bool
    #: What the report says of itself, where it is not one of checks.
    said: str = ""

    @property
    def summary(self) -> str:
        return (
            self.said or ", ".join(f"{count} {status}" for status, count in self.counts.items() if count) or "no checks"
        )


@dataclass(frozen=True)
class Cluster:
    """One line of the page. ``reason`` says in one line why the status is not ``passed``."""

    name: str
    status: str
    reason: str
    outcome: Outcome = field(default_factory=dict)
    reports: tuple[ReportFile, ...] = ()
    #: What the run before it said: a sentence, empty where the status is of this run.
    before: str = ""

    @property
    def seconds(self) -> int | None:
        """How long it took; None unless it has come to its end in this run."""
        if self.before or not (self.outcome.get("started") and self.outcome.get("finished")):
            return None
        return int((moment(self.outcome["finished"]) - moment(self.outcome["started"])).total_seconds())

    @property
    def failed(self) -> tuple[tuple[str, str], ...]:
        """The failed checks of this run."""
        return tuple(check for report in self.reports if not report.is_stale for check in report.failed)

    @property
    def headline(self) -> str:
        """The reason at a length that people read; the names of failed checks are beneath it."""
        counted = re.search(r"\d+ of \d+ checks failed", self.reason) if self.failed else None
        return counted.group() if counted else shortened(self.reason, 240)

    def as_dict(self) -> Document:
        """What programs read. ``of_this_run`` is false where all but ``name`` and ``status`` is of an earlier run."""
        kept = ("reachable", "gateway_url", "versions", "playbook", "started", "finished")
        return {
            "name": self.name,
            "status": self.status,
            "reason": self.reason,
            "of_this_run": not self.before and self.status != NOT_RUN,
            **{key: self.outcome.get(key) for key in kept},
            "seconds": self.seconds,
            "failed_checks": [id_ for id_, _name in self.failed],
            "reports": [
                {
                    "title": report.title,
                    "page": report.page,
                    "finished": report.finished,
                    "counts": dict(report.counts),
                    "of_this_run": not report.is_stale,
                }
                for report in self.reports
            ],
        }


def moment(time: str) -> datetime.datetime:
    return datetime.datetime.strptime(time, _FORM).replace(tzinfo=datetime.UTC)


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime(_FORM)


def read(path: str) -> Document:
    """What a file of ``kept`` holds; nothing where it does not exist or is another's."""
    try:
        with open(path, encoding="utf-8") as stream:
            document = json.load(stream)
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) and isinstance(document.get("outcomes"), dict) else {}


def begun(document: Document, run: Run, host: str, directory: str) -> Document:
    """The document in which the host has begun the run.

    :param directory: of the host's own reports.
    """
    document = _of(document, run)
    outcome = {
        "run": run.id,
        "playbook": run.playbook,
        "started": now(),
        "finished": "",
        "status": RUNNING,
        "directory": directory,
    }
    return {**document, "outcomes": {**document["outcomes"], host: outcome}}


def ended(document: Document, run: Run, host: str, directory: str, seen: Mapping[str, t.Any]) -> Document:
    """The document in which the host has come to its end.

    :param seen: ``reason``, empty where all went well, and ``reachable``, ``gateway_url`` and ``versions``.
    """
    if _of(document, run)["outcomes"].get(host, {}).get("run") != run.id:
        document = begun(document, run, host, directory)
    status = FAILED if seen["reason"] else PASSED
    outcome = {**document["outcomes"][host], **seen, "status": status, "finished": now(), "directory": directory}
    return {**document, "outcomes": {**document["outcomes"], host: outcome}}


def _of(document: Document, run: Run) -> Document:
    """The document of the run, with what earlier ones said of hosts that the inventory still has."""
    outcomes = document.get("outcomes", {})
    if document.get("run") != run.id:
        document = {"run": run.id, "playbook": run.playbook, "started": now()}
    names = {*run.inventory, *run.hosts}
    return {**document, "outcomes": {host: outcome for host, outcome in outcomes.items() if host in names}}


def clusters(document: Document, run: Run, page_directory: str) -> tuple[Cluster, ...]:
    """What became of each cluster, in the order of the inventory."""
    names = list(dict.fromkeys([*run.inventory, *run.hosts]))
    return tuple(_cluster(name, document["outcomes"].get(name, {}), run, page_directory) for name in names)


def _cluster(name: str, outcome: Outcome, run: Run, page_directory: str) -> Cluster:
    is_of_this_run = outcome.get("run") == run.id
    reports = reports_of(
        outcome.get("directory") or os.path.join(page_directory, name),
        page_directory,
        outcome["started"] if is_of_this_run else "",
    )
    if is_of_this_run:
        status, reason = outcome["status"], outcome.get("reason", "")
        if status == RUNNING and name not in run.live:
            status = FAILED
            reason = (
                "Ansible lost this host before its end. See the output of the run; ansible_connection of a cluster is "
                "local."
            )
        return Cluster(name, status, reason, outcome, reports)
    if name in run.hosts:
        reason = (
            "The run has not come to it."
            if name in run.live
            else "Ansible lost this host before its first task. See the output of the run."
        )
        status = NOT_RUN if name in run.live else FAILED
    else:
        status, reason = NOT_RUN, "Not a part of this run, as --limit or the hosts of the play say."
    return Cluster(name, status, reason, outcome, reports, _before(outcome))


def _before(outcome: Outcome) -> str:
    if not outcome:
        return "No earlier run has said anything of it."
    if not outcome.get("finished"):
        return f"{outcome['playbook']} of {outcome['started']} did not come to its end."
    return f"{outcome['playbook']} of {outcome['finished']} {outcome['status']}."


def reports_of(directory: str, page_directory: str, since: str) -> tuple[ReportFile, ...]:
    """The reports of a cluster: files of JSON with ``finished``, and ``checks`` or ``summary``, and a page of the same
    name beside them.

    :param since: when the host began the run. What finished earlier is stale, and everything where it is empty.
    """
    found = []
    try:
        names = sorted(name.removesuffix(".json") for name in os.listdir(directory) if name.endswith(".json"))
    except OSError:
        return ()
    for name in sorted(names, key=lambda name: (_FIRST.index(name) if name in _FIRST else len(_FIRST), name)):
        page = os.path.join(directory, f"{name}.html")
        try:
            with open(os.path.join(directory, f"{name}.json"), encoding="utf-8") as stream:
                content = json.load(stream)
            finished, checks = content["finished"], content.get("checks", ())
            said = "" if "checks" in content else str(content["summary"])
            statuses = Counter(check["status"] for check in checks)
            failed = tuple((check["id"], check["name"]) for check in checks if check["status"] == "failed")
            is_stale = not since or moment(finished) < moment(since)
        except (OSError, ValueError, TypeError, KeyError):
            # Not a report.
            continue
        if os.path.exists(page):
            counts = {status: statuses[status] for status in ("passed", "failed", "skipped")}
            relative = os.path.relpath(page, page_directory)
            found.append(ReportFile(name.capitalize(), relative, finished, counts, failed, is_stale, said))
    return tuple(found)


def failure_of(task: t.Any, result: t.Any) -> str:
    """What a failed task said, after its name; nothing of a task that hides its result.

    :param task: the variable ``ansible_failed_task``
    :param result: the variable ``ansible_failed_result``
    """
    task = task if isinstance(task, Mapping) else {}
    result = result if isinstance(result, Mapping) else {}
    name = str(task.get("name") or "A task")
    if task.get("no_log") or result.get("_ansible_no_log"):
        return f"{name}: it failed, and its result is not shown"
    return f"{name}: {_message(result)}"


def _message(result: Mapping[str, t.Any]) -> str:
    results = result.get("results")
    if isinstance(results, Sequence) and not isinstance(results, str):
        for item in results:
            if isinstance(item, Mapping) and item.get("failed"):
                if item.get("_ansible_no_log"):
                    break
                return _message(item)
    message = str(result.get("msg") or "").strip()
    return message or "it failed, and its result is not shown"


def first_line(message: str) -> str:
    """The first line that says something: what a colon announces is in the next one.

    The names of tasks begin with that of their file, which says nothing outside of the role.
    """
    message = re.sub(r"^[A-Z][\w ]{,30} \| ", "", message.strip())
    lines = [" ".join(line.split()) for line in message.splitlines() if line.strip()]
    if not lines:
        return ""
    return f"{lines[0]} {lines[1].lstrip('- ')}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]
