# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of each cluster, from what hosts have said and the reports in their directories."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet import outcomes
from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.outcomes import (
    Cluster,
    Document,
    Run,
    begun,
    clusters,
    ended,
    failure_of,
    first_line,
    read,
    reports_of,
)

EARLY, START, LATE = "2026-11-29T10:00:00Z", "2026-11-30T10:00:00Z", "2026-11-30T10:05:07Z"
NAMES = ("a", "b", "c")
SEEN = {"reason": "", "reachable": True, "gateway_url": "https://a", "versions": {"Kubernetes": "v1.34.4"}}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[str], None]:
    def put(time: str) -> None:
        monkeypatch.setattr(outcomes, "now", lambda: time)

    put(START)
    return put


def a_run(id_: str = "2", hosts: tuple[str, ...] = NAMES, live: tuple[str, ...] = NAMES) -> Run:
    return Run(id_, "AI gateway", NAMES, hosts, live)


def report(directory: Path, name: str, finished: str, **statuses: str) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    checks = [{"id": id_, "name": f"Check {id_}", "status": status} for id_, status in statuses.items()]
    (directory / f"{name}.json").write_text(json.dumps({"finished": finished, "checks": checks}), encoding="utf-8")
    (directory / f"{name}.html").write_text("", encoding="utf-8")


def of(document: Document, run: Run, directory: Path) -> dict[str, Cluster]:
    return {cluster.name: cluster for cluster in clusters(document, run, str(directory))}


def test_a_cluster_passes_fails_or_is_at_work(tmp_path: Path, clock: t.Callable[[str], None]) -> None:
    run = a_run()
    document: Document = {}
    for name in NAMES:
        document = begun(document, run, name, str(tmp_path / name))
    report(tmp_path / "a", "validation", LATE, one="passed", two="skipped")
    report(tmp_path / "b", "validation", LATE, one="failed")
    clock(LATE)
    document = ended(document, run, "a", str(tmp_path / "a"), SEEN)
    document = ended(document, run, "b", str(tmp_path / "b"), {**SEEN, "reason": "1 of 1 checks failed"})
    found = of(document, run, tmp_path)
    assert {name: (cluster.status, cluster.reason) for name, cluster in found.items()} == {
        "a": ("passed", ""),
        "b": ("failed", "1 of 1 checks failed"),
        "c": ("running", ""),
    }
    assert found["a"].seconds == 307
    assert found["a"].reports[0].summary == "1 passed, 1 skipped"
    assert found["b"].failed == (("one", "Check one"),)
    assert found["b"].reports[0].page == "b/validation.html"
    assert found["c"].seconds is None
    assert found["a"].as_dict()["versions"] == {"Kubernetes": "v1.34.4"}


def test_reports_and_outcomes_of_earlier_runs_are_stale(tmp_path: Path, clock: t.Callable[[str], None]) -> None:
    clock(EARLY)
    first = a_run("1")
    document: Document = {}
    for name in NAMES:
        document = begun(document, first, name, str(tmp_path / name))
        report(tmp_path / name, "validation", EARLY, one="failed")
    for name in ("a", "b"):
        document = ended(document, first, name, str(tmp_path / name), SEEN)
    clock(START)
    run = a_run("2", hosts=("a",), live=("a",))
    document = ended(begun(document, run, "a", str(tmp_path / "a")), run, "a", str(tmp_path / "a"), SEEN)
    found = of(document, run, tmp_path)
    assert {name: cluster.status for name, cluster in found.items()} == {"a": "passed", "b": "not run", "c": "not run"}
    # The one of this run, too: it has a report of an earlier one alone.
    assert all(cluster.reports[0].is_stale and not cluster.failed for cluster in found.values())
    assert "--limit" in found["b"].reason
    assert found["b"].before == f"AI gateway of {EARLY} passed."
    assert found["c"].before == f"AI gateway of {EARLY} did not come to its end."
    assert found["b"].as_dict()["of_this_run"] is False
    assert found["a"].as_dict()["of_this_run"] is True


def test_hosts_that_the_run_has_lost_or_not_come_to(tmp_path: Path, clock: t.Callable[[str], None]) -> None:
    del clock
    run = a_run(live=("b",))
    found = of(begun({}, run, "a", str(tmp_path / "a")), run, tmp_path)
    assert {name: cluster.status for name, cluster in found.items()} == {"a": "failed", "b": "not run", "c": "failed"}
    assert found["a"].reason.startswith("Ansible lost this host before its end.")
    assert found["b"].reason == "The run has not come to it."
    assert found["b"].before == "No earlier run has said anything of it."
    assert found["c"].reason.startswith("Ansible lost this host before its first task.")


def test_an_end_without_a_beginning_and_hosts_that_left_the_inventory(tmp_path: Path) -> None:
    gone = {"run": "1", "playbook": "AI gateway", "started": EARLY, "outcomes": {"gone": {"run": "1"}}}
    run = a_run()
    document = ended(gone, run, "a", str(tmp_path), SEEN)
    assert set(document["outcomes"]) == {"a"}
    assert document["outcomes"]["a"]["started"]
    assert document["started"] != EARLY


@pytest.mark.parametrize("content", ["", "{", "[]", '{"clusters": []}', '{"outcomes": []}'])
def test_a_file_of_something_else_says_nothing(content: str, tmp_path: Path) -> None:
    (tmp_path / "fleet.json").write_text(content, encoding="utf-8")
    assert read(str(tmp_path / "fleet.json")) == {}
    assert read(str(tmp_path / "missing.json")) == {}


def test_a_report_may_say_what_it_has_found(tmp_path: Path) -> None:
    content = {"finished": LATE, "summary": "2 objects differ", "counts": {"update": 2}}
    (tmp_path / "drift.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "drift.html").write_text("", encoding="utf-8")
    (report,) = reports_of(str(tmp_path), str(tmp_path), START)
    assert (report.title, report.summary, report.failed) == ("Drift", "2 objects differ", ())


def test_only_reports_with_a_page_are_reports(tmp_path: Path) -> None:
    for name in ("usage", "drift", "validation"):
        report(tmp_path, name, LATE, one="passed")
    (tmp_path / "usage.html").unlink()
    for name, content in {
        "list": "[]",
        "broken": "{",
        "other": '{"finished": 1, "checks": []}',
        "none": f'{{"finished": "{LATE}"}}',
    }.items():
        (tmp_path / f"{name}.json").write_text(content, encoding="utf-8")
        (tmp_path / f"{name}.html").write_text("", encoding="utf-8")
    assert [report.title for report in reports_of(str(tmp_path), str(tmp_path), START)] == ["Validation", "Drift"]
    assert reports_of(str(tmp_path / "missing"), str(tmp_path), START) == ()


@pytest.mark.parametrize(
    ("task", "result", "said"),
    [
        ({"name": "Apply"}, {"msg": "no way"}, "Apply: no way"),
        ({}, {}, "A task: it failed, and its result is not shown"),
        ("?", None, "A task: it failed, and its result is not shown"),
        (
            {"name": "Loop"},
            {"msg": "One or more items failed", "results": [{"msg": "fine"}, {"failed": True, "msg": "the second"}]},
            "Loop: the second",
        ),
        ({"name": "Key", "no_log": True}, {"msg": "sk-secret"}, "Key: it failed, and its result is not shown"),
        ({"name": "Key"}, {"msg": "sk", "_ansible_no_log": True}, "Key: it failed, and its result is not shown"),
        (
            {"name": "Keys"},
            {"msg": "One failed", "results": [{"failed": True, "msg": "sk-secret", "_ansible_no_log": True}]},
            "Keys: One failed",
        ),
    ],
)
def test_a_failure_is_what_the_task_said_without_secrets(task: t.Any, result: t.Any, said: str) -> None:
    assert failure_of(task, result) == said


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("", ""),
        ("one\ntwo", "one"),
        ("It has 2 faults:\n  - a is missing\n  - b is missing", "It has 2 faults: a is missing"),
        ("nothing follows:", "nothing follows:"),
        ("URL | Find the Service: no answer", "Find the Service: no answer"),
        ("a | b: c", "a | b: c"),
    ],
)
def test_the_first_line_says_something(message: str, line: str) -> None:
    assert first_line(message) == line
