# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The forms of the report of all clusters."""

from __future__ import annotations

import json
import multiprocessing
import typing as t
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.outcomes import (
    Cluster,
    Document,
    ReportFile,
    Run,
    begun,
    ended,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.report import FleetReport, duration, updated
from ansible_collections.egress.ai_gateway.plugins.module_utils._reports.files import ReportError

START, LATE = "2026-11-30T10:00:00Z", "2026-11-30T10:05:07Z"
DOCUMENT: Document = {"run": "1", "playbook": "AI gateway", "started": START, "outcomes": {}}
OUTCOME = {
    "started": START,
    "finished": LATE,
    "reachable": True,
    "gateway_url": "https://ai.example.com",
    "versions": {"Kubernetes": "v1.34.4", "Envoy Gateway": "v1.8.3"},
    "playbook": "AI gateway",
}
COUNTS = {"passed": 20, "failed": 1, "skipped": 2}
FAILED_CHECK = ReportFile("Validation", "b/validation.html", LATE, COUNTS, (("chat:gpt-4", "Chat with gpt-4"),), False)
STALE = ReportFile("Validation", "c/validation.html", "2026-11-01T00:00:00Z", COUNTS, (("x", "Old check"),), True)
CLUSTERS = (
    Cluster("a", "passed", "", OUTCOME),
    Cluster("b", "failed", "1 of 23 checks failed", OUTCOME, (FAILED_CHECK,)),
    Cluster("c", "not run", "Not a part of this run.", OUTCOME, (STALE,), "AI gateway of 2026-11-01 passed."),
    Cluster("<d>", "failed", "URL: no answer", {**OUTCOME, "reachable": False, "gateway_url": "", "versions": {}}),
)


class Reader(HTMLParser):
    """The visible words of a page, and its links."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def page(*clusters: Cluster) -> tuple[str, list[str]]:
    reader = Reader()
    content = FleetReport(DOCUMENT, clusters or CLUSTERS, LATE).to_html()
    reader.feed(content)
    assert not reader.tags & {"script", "img", "link", "d"}
    return " ".join(reader.words), reader.links


def test_the_page_says_what_became_of_each_cluster() -> None:
    said, links = page()
    for words in (
        "2 of 4 clusters failed",
        "after 5 min 7 s",
        "b https://ai.example.com 1 of 23 checks failed Validation : 20 passed, 1 failed, 2 skipped Chat with gpt-4",
        "Kubernetes v1.34.4 Envoy Gateway v1.8.3 within 5 min 7 s",
        "<d> API server does not answer URL: no answer",
        "No validation in this run. The last one, of 2026-11-01T00:00:00Z , is stale: 20 passed",
        "AI gateway of 2026-11-01 passed.",
    ):
        assert words in said
    # What failed in an earlier run is not among the failures.
    assert "Old check" not in said
    assert links == ["b/validation.html", "b/validation.html#chat%3Agpt-4", "c/validation.html"]
    # Failed ones first, those that were not run last.
    places = [said.index(words) for words in (" failed b ", " failed <d> ", " passed a ", " not run c ")]
    assert places == sorted(places)


@pytest.mark.parametrize(
    ("statuses", "verdict"),
    [
        (("passed", "passed"), "All 2 clusters passed"),
        (("passed", "not run"), "1 of 2 clusters passed, 1 not run"),
        (("passed", "running"), "1 of 2 clusters are at work"),
        (("running", "failed"), "1 of 2 clusters failed"),
    ],
)
def test_the_heading_is_the_verdict(statuses: tuple[str, ...], verdict: str) -> None:
    report = FleetReport(
        DOCUMENT, tuple(Cluster(str(number), status, "") for number, status in enumerate(statuses)), LATE
    )
    assert report.verdict == verdict
    assert f"<h1>{verdict}</h1>" in report.to_html()
    assert report.is_complete == ("running" not in statuses)


def test_programs_read_the_same() -> None:
    report = FleetReport(DOCUMENT, CLUSTERS, LATE)
    document = json.loads(report.to_json())
    assert document["counts"] == {"passed": 1, "failed": 2, "running": 0, "not run": 1}
    assert [cluster["status"] for cluster in document["clusters"]] == ["passed", "failed", "not run", "failed"]
    assert document["clusters"][1]["failed_checks"] == ["chat:gpt-4"]
    assert document["clusters"][2]["failed_checks"] == []
    suite = ElementTree.fromstring(report.to_junit()).find("testsuite")  # noqa: S314
    assert suite is not None
    assert {name: suite.get(name) for name in ("tests", "failures", "skipped")} == {
        "tests": "4",
        "failures": "2",
        "skipped": "1",
    }
    lines = [line for line, _status in report.to_table()]
    assert lines[-1] == "4 clusters: 1 passed, 2 failed, 1 not run"
    assert any("See b/validation.html." in line for line in lines)
    assert any("See the output of the run." in line for line in lines)


def test_many_failed_checks_are_counted_and_the_first_are_named() -> None:
    failed = tuple((f"id-{number}", f"Check number {number}") for number in range(12))
    report = ReportFile(
        "Validation", "b/validation.html", LATE, {"passed": 1, "failed": 12, "skipped": 0}, failed, False
    )
    reason = "Fail where a check did: 12 of 13 checks failed: id-0, id-1. The report is /b/validation.html"
    said, links = page(Cluster("b", "failed", reason, OUTCOME, (report,)))
    assert "12 of 13 checks failed Validation : 1 passed, 12 failed Check number 0 " in said
    assert "Check number 7 and 4 more" in said
    assert "Check number 8" not in said
    assert len(links) == 10


def test_seconds_are_shown_as_people_say_them() -> None:
    assert (duration(7), duration(100)) == ("7 s", "1 min 40 s")


def _host(directory: str, name: str, names: tuple[str, ...]) -> None:
    run = Run("1", "AI gateway", names, names, names)
    seen = {"reason": "", "reachable": True, "gateway_url": "", "versions": {}}
    updated(directory, run, lambda document: begun(document, run, name, f"{directory}/{name}"))
    updated(directory, run, lambda document: ended(document, run, name, f"{directory}/{name}", seen))


def test_hosts_that_end_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    names = tuple(f"cluster-{number}" for number in range(24))
    with multiprocessing.get_context("fork").Pool(8) as pool:
        pool.starmap(_host, [(str(tmp_path), name, names) for name in names])
    document: dict[str, t.Any] = json.loads((tmp_path / "fleet.json").read_text(encoding="utf-8"))
    assert document["counts"] == {"passed": 24, "failed": 0, "running": 0, "not run": 0}
    assert document["complete"] is True
    assert sorted(path.name for path in tmp_path.iterdir()) == [".fleet.lock", "fleet.html", "fleet.json", "fleet.xml"]


def test_a_directory_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    run = Run("1", "AI gateway", ("a",), ("a",), ("a",))
    with pytest.raises(ReportError, match=r"cannot write to .*/file/reports: Not a directory; name another directory"):
        updated(str(tmp_path / "file/reports"), run, lambda document: begun(document, run, "a", "a"))
