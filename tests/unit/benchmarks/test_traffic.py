# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of the benchmark of traffic that measure nothing: statistics, the search, /proc, tables and the picture."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import typing as t
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build
from traffic import cluster, figures, measure, page, processes, programs, subjects

# --- figures ---


@pytest.mark.parametrize(
    ("value", "expected"),
    [(12345.6, "12,346"), (99.94, "99.9"), (1.234, "1.23"), (0.0123, "0.012"), (0, "0.00"), (math.inf, "none")],
)
def test_number(value: float, expected: str) -> None:
    assert figures.number(value) == expected


def test_spread_has_the_median_and_both_ends() -> None:
    assert figures.spread([300.0, 100.0, 200.0]) == "200 (100 to 300)"
    assert figures.spread([2.5]) == "2.50"


def growing(rate: float) -> float:
    """p99 of a gateway that holds 10 ms to 500/s and 100 ms to 800/s."""
    return 5 if rate <= 500 else 60 if rate <= 800 else 900


def test_held_finds_the_highest_rate_of_each_limit() -> None:
    tried: list[float] = []

    def p99_at(rate: float) -> float:
        tried.append(rate)
        return growing(rate)

    found = figures.held(p99_at, [100, 10, 50], 1000)
    assert 500 / figures.NEAR <= found[10] <= 500
    # What is known of one limit serves the others.
    assert found[50] == found[10]
    assert 800 / figures.NEAR <= found[100] <= 800
    assert len(tried) < 30


def test_held_is_the_top_where_that_is_within_the_limit() -> None:
    assert figures.held(lambda rate: 1.0, [10, 50], 900) == {10: 900, 50: 900}


def test_held_is_nothing_where_no_rate_is_within_the_limit() -> None:
    assert figures.held(lambda rate: math.inf, [10], 900) == {10: 0}


def test_held_measures_once_more_before_a_rate_fails() -> None:
    seen: dict[float, int] = {}

    def p99_at(rate: float) -> float:
        seen[rate] = seen.get(rate, 0) + 1
        return 500 if seen[rate] == 1 else growing(rate)

    assert figures.held(p99_at, [10], 400) == {10: 400}


@pytest.mark.parametrize(
    ("ours", "others", "higher", "expected"),
    [
        (500, 50, True, "10.0 times"),
        (500, 4000, True, "**behind 8.00 times**"),
        (2, 30, False, "15.0 times"),
        (30, 2, False, "**behind 15.0 times**"),
        (0, 5, True, "-"),
        (math.nan, 5, True, "-"),
    ],
)
def test_beside(ours: float, others: float, higher: bool, expected: str) -> None:
    assert figures.beside(ours, others, higher) == expected


# --- processes ---


def write_process(proc: Path, number: int, parent: int, ticks: int, container: str = "", kib: int = 2048) -> None:
    directory = proc / str(number)
    directory.mkdir(exist_ok=True, parents=True)
    # A name may have spaces and parentheses.
    fields = [str(parent), *["0"] * 9, str(ticks), str(ticks), "9", "9"]
    (directory / "stat").write_text(f"{number} (a) b) S {' '.join(fields)}\n")
    (directory / "status").write_text(f"Name:\ta\nVmRSS:\t    {kib} kB\n")
    (directory / "cgroup").write_text(f"0::/kubepods/pod1/{container}\n")


def write_machine(proc: Path, busy: int, stolen: int) -> None:
    (proc / "stat").write_text(f"cpu  {busy} 0 0 1000 7 0 0 {stolen} 0 0\ncpu0 1 1\n")


def test_a_process_is_read_whatever_its_name_holds(tmp_path: Path) -> None:
    write_process(tmp_path, 10, 1, processes.TICKS)
    assert processes.process(tmp_path / "10") == processes.Process(parent=1, cpu=2.0)


def test_this_process_is_read() -> None:
    found = processes.process(processes.PROC / str(os.getpid()))
    assert found.parent == os.getppid()
    assert found.cpu > 0
    assert processes.memory(processes.PROC / str(os.getpid())) > 1000


def test_family_has_all_descendants_and_no_others() -> None:
    code = "import subprocess, sys; subprocess.run(['sleep', '30'])"
    with subprocess.Popen([sys.executable, "-c", code]) as child:
        try:
            while len(found := processes.family(child.pid)) < 2:
                assert child.poll() is None
            assert found[0] == child.pid
            assert os.getpid() not in found
        finally:
            for number in processes.family(child.pid):
                os.kill(number, 15)
    assert processes.family(child.pid) == []


def test_containers_are_found_by_their_control_groups(tmp_path: Path) -> None:
    write_process(tmp_path, 10, 1, 1, "aaa")
    write_process(tmp_path, 11, 10, 1, "aaa")
    write_process(tmp_path, 12, 1, 1, "bbb")
    write_process(tmp_path, 13, 1, 1, "ccc")
    found = processes.of_containers({"aaa": "envoy", "bbb": "redis", "ddd": "authorino"}, tmp_path)
    assert {name: sorted(members) for name, members in found.items()} == {
        "envoy": [10, 11],
        "redis": [12],
        "authorino": [],
    }


def test_the_meter_counts_what_started_and_leaves_out_what_ended(tmp_path: Path) -> None:
    second = processes.TICKS
    write_process(tmp_path, 10, 1, second)
    write_process(tmp_path, 11, 1, 5 * second)
    write_machine(tmp_path, 0, 0)
    groups = {"envoy": [10, 11], "redis": [12]}
    with processes.Meter(lambda: groups, tmp_path) as meter:
        write_process(tmp_path, 10, 1, 2 * second)
        (tmp_path / "11/stat").unlink()
        write_process(tmp_path, 12, 1, second)
        write_machine(tmp_path, 9 * second, 3 * second)
    assert meter.cpu == {"envoy": 2.0, "redis": 2.0}
    assert (meter.machine, meter.stolen) == (9.0, 3.0)
    assert measure.cpu_of_thousand(meter, 1.0, 2000) == {"envoy": 1.0, "redis": 1.0, "client": 0.5, "others": 2.0}


def test_resident_memory_is_summed_by_group(tmp_path: Path) -> None:
    write_process(tmp_path, 10, 1, 1, kib=1024)
    write_process(tmp_path, 11, 1, 1, kib=512)
    assert processes.resident({"envoy": [10, 11], "gone": [99]}, tmp_path) == {"envoy": 1.5, "gone": 0}


# --- measuring ---


def sent(requests: int = 1000, **others: t.Any) -> dict[str, t.Any]:
    quantiles = {"count": requests, "p50": 2.0, "p90": 3.0, "p99": 8.0, "most": 9.0}
    return {
        "requests": requests,
        "rate": float(requests),
        "seconds": 1.0,
        "failures": {},
        "unsent": 0,
        "latency": quantiles,
        "first": quantiles,
        "between": quantiles,
        "cpu": {"envoy": 0.1, "client": 0.02, "upstream": 0.03, "others": 0.2},
        "stolen": 0.1,
        **others,
    }


def test_a_rate_at_which_requests_fail_is_not_held() -> None:
    assert measure.p99(sent()) == 8.0
    assert measure.p99(sent(failures={"status 503": 1})) == 8.0
    assert measure.p99(sent(failures={"status 503": 20})) == math.inf
    assert measure.p99(sent(0)) == math.inf


def test_each_round_has_every_subject_in_another_order() -> None:
    orders = [measure.order(4, number) for number in range(4)]
    assert all(sorted(one) == [0, 1, 2, 3] for one in orders)
    assert len({tuple(one) for one in orders}) == 4
    assert [one[0] for one in orders] == [0, 1, 2, 3]


# --- subjects ---


@pytest.mark.parametrize("path", [subjects.CHAT, subjects.MESSAGES])
def test_bodies_are_of_the_api(path: str) -> None:
    plain, stream = json.loads(subjects.body(path)), json.loads(subjects.body(path, stream=True))
    assert plain["model"] == subjects.MODELS[path]
    assert "stream" not in plain
    assert stream == {**plain, "stream": True}


def test_the_pinned_versions_are_those_of_the_locks() -> None:
    lock = (programs.HERE / "litellm/requirements.txt").read_text(encoding="utf-8")
    assert f"\nlitellm=={programs.pinned('LiteLLM')} \\\n" in lock
    packages = json.loads((programs.HERE / "portkey/package-lock.json").read_text(encoding="utf-8"))["packages"]
    assert packages["node_modules/@portkey-ai/gateway"]["version"] == programs.pinned("Portkey")
    # Without a digest npm would accept anything, and without an address it asks the registry of the machine.
    assert all("integrity" in entry and "resolved" not in entry for name, entry in packages.items() if name)


def test_the_collection_accepts_the_catalogue() -> None:
    present = {
        "name": "openai",
        "schema": "openai",
        "endpoint": {"hostname": "api.example.com"},
        "credential": {"value": "sk-of-openai"},
        "models": [{"name": "gpt-4"}],
    }
    tier = {
        "name": "free",
        "level": 0,
        "groups": ["system:authenticated"],
        "token_limit": {"tokens": 100, "window": "1m"},
        "models": ["*"],
    }
    found = {"ai_gateway_providers": [present], "ai_gateway_tiers": [tier], "ai_gateway_allowed_endpoints": []}
    variables = cluster.catalogue(found, 18780)
    built = catalog_build.build({name.removeprefix("ai_gateway_"): value for name, value in variables.items()})
    assert {model.name for model in built.models} == {"gpt-4", *subjects.MODELS.values()}
    assert [(each.name, each.level) for each in built.tiers] == [("free", 0), (cluster.TIER, 1)]


def test_further_gateways_are_read_with_their_token_and_processes(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("sk-1\n")
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    file = tmp_path / "gateways.yml"
    entry = {
        "name": "mine",
        "url": "http://127.0.0.1:1",
        "token_file": str(tmp_path / "token"),
        "switch": ["touch", "switched"],
        "processes": {"mine": str(tmp_path / "pid")},
        "paths": [subjects.CHAT],
    }
    file.write_text(json.dumps([entry]))
    (subject,) = subjects.others(file)
    assert (subject.name, subject.checks_callers, subject.paths) == ("mine", True, (subjects.CHAT,))
    assert not (tmp_path / "switched").exists()
    with subject.started() as target:
        assert (tmp_path / "switched").exists()
        assert target.headers == {"authorization": "Bearer sk-1"}
        assert os.getpid() in target.processes()["mine"]


def test_a_process_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such port >&2; exit 1"]
    with pytest.raises(subjects.SubjectError, match="no such port"), subjects.running(command, tmp_path / "log"):
        pass


# --- the page ---


def content(rounds: int = 2) -> dict[str, t.Any]:
    rates = {"Envoy": 4000, "ours, review": 800, "LiteLLM, LITELLM_RUST unset": 80, "Portkey": 200}
    results = []
    for number in range(rounds):
        for name, rate in rates.items():
            count = rate + number * rate // 10
            paths = (subjects.CHAT,) if name == "Portkey" else (subjects.CHAT, subjects.MESSAGES)
            results.append(
                {
                    "round": number + 1,
                    "subject": name,
                    "closed": {path: {connections: sent(count) for connections in ("1", "16", "64")} for path in paths},
                    "fixed": sent(300),
                    "held": {"10": count / 2, "50": count, "100": float(count)},
                    "streams": sent(100, failures={"status 500": 3} if name == "Portkey" else {}),
                    "memory": {"envoy": 50.0},
                }
            )
    return {
        "date": "2026-11-29",
        "machine": {"cores": 2, "processor": "A & B", "kernel": "Linux 6"},
        "versions": {"Envoy": "1.38.3"},
        "plan": {"seconds": 4.0, "connections": [1, 16, 64], "limits": [10, 50, 100.0], "rate": 300.0, "streams": 16},
        "notes": dict.fromkeys(rates, "a note"),
        "results": results,
    }


def rows(text: str) -> dict[str, list[str]]:
    """The lines of a table by their first columns."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines()]
    return {line[0]: line[1:] for line in found}


def test_tables_have_the_median_and_spread_of_the_rounds() -> None:
    found = rows(page.throughput(page.Report(content())))
    assert found["ours, review"][:2] == ["840 (800 to 880)", "840 (800 to 880)"]
    assert found["ours, review"][3] == "420 (400 to 440)"
    assert found["Envoy"][4] == "2,100 (2,000 to 2,200)"


def test_cpu_is_listed_by_process_and_the_own_is_summed() -> None:
    found = rows(page.cpu(page.Report(content(1))))
    assert found["CPU seconds for 1,000 requests"] == ["all of its own", "envoy", "client", "upstream", "others"]
    assert found["Envoy"] == ["0.10", "0.10", "0.020", "0.030", "0.20"]


def test_what_is_not_measured_is_a_dash() -> None:
    assert rows(page.messages(page.Report(content())))["Portkey"] == ["-"] * 4


def test_the_comparison_says_where_ours_is_behind_and_by_what() -> None:
    found = rows(page.comparison(page.Report(content())))
    assert found["ours, review, as good as"] == ["Envoy", "LiteLLM, LITELLM_RUST unset", "Portkey"]
    assert found["requests/s at 16 connections"] == ["**behind 5.00 times**", "10.0 times", "4.00 times"]


def test_failures_are_said() -> None:
    assert page.failures(page.Report(content())).endswith("- Portkey: 6 times status 500")


def test_a_subject_without_an_answered_request_is_shown_without_figures() -> None:
    given = content(1)
    given["results"][1]["closed"][subjects.CHAT] = {
        connections: sent(0, failures={"status 500": 9}, cpu={}) for connections in ("1", "16", "64")
    }
    report = page.Report(given)
    assert rows(page.throughput(report))["ours, review"][:4] == ["-"] * 4
    assert rows(page.comparison(report))["requests/s at 16 connections"] == ["-"] * 3
    ElementTree.fromstring(page.picture(report))  # noqa: S314 (its own)


def test_the_page_is_written_between_its_markers_again_and_again(tmp_path: Path) -> None:
    file = tmp_path / "performance.md"
    file.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n", encoding="utf-8")
    page.write(content(), file)
    first = file.read_text(encoding="utf-8")
    page.write(content(), file)
    assert file.read_text(encoding="utf-8") == first
    assert first.startswith(f"before\n{page.BEGIN}\n")
    assert first.endswith(f"{page.END}\nafter\n")
    assert "old" not in first
    assert "(performance.svg)" in first
    assert "on 2 cores (A & B, Linux 6), 2 rounds" in first
    assert (tmp_path / "performance.svg").exists()


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="the page has no lines"):
        page.put("a page", "figures")


def test_the_projects_page_has_the_markers() -> None:
    text = (programs.ROOT / "docs/performance.md").read_text(encoding="utf-8")
    assert page.put(text, "figures").count("figures") == page.put(text, "").count("figures") + 1


def test_the_picture_has_a_mark_for_each_figure_within_its_frame() -> None:
    report = page.Report(content())
    root = ElementTree.fromstring(page.picture(report))  # noqa: S314 (its own)
    space = "{http://www.w3.org/2000/svg}"
    hints = [element.text or "" for element in root.iter(f"{space}title")]
    # Four rates of four subjects; CPU of chat of four, and of messages of three.
    assert len(hints) == 4 * 4 + 4 + 3
    assert "ours, review, 16 connections: 840 (800 to 880)" in hints
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for circle in root.iter(f"{space}circle"):
        assert page.LEFT <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height
    names = [element.text for element in root.iter(f"{space}text") if "name" in element.attrib.get("class", "")]
    assert names == list(report.subjects)


def test_decades_enclose_all_values() -> None:
    assert page.decades([86, 9000]) == (1, 4)
    assert page.decades([100, 100]) == (2, 3)
