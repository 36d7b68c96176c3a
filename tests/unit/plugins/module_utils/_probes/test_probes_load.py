# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools
import threading
import time

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.load import (
    Bounds,
    Figures,
    Load,
    Sample,
    checks_of,
    faults_of,
    line_of,
    percentile,
    wall,
)

BOUNDS = Bounds(error_rate=0.01, p99=0.5, failed_checks=2)


def samples(outcome: str = "200", seconds: float = 0.02, start: float = 0, count: int = 20) -> list[Sample]:
    """One each quarter of a second."""
    return [Sample(start + number / 4, seconds, outcome, True) for number in range(count)]


def test_figures_are_of_requests_with_a_good_token() -> None:
    found = Figures.of([*samples(count=99), *samples("503", count=1), Sample(0, 9.0, "401", False)])
    assert found.as_dict() == {
        "requests": 100,
        "refused": 1,
        "open": 0,
        "error_rate": 0.01,
        "p50": 0.02,
        "p99": 0.02,
        "outcomes": {"200": 99, "503": 1},
    }


def test_percentiles() -> None:
    assert percentile([float(number) for number in range(1, 101)], 99) == 99
    assert percentile([7.0], 99) == 7.0
    assert percentile([], 99) == 0.0


def test_a_load_within_its_bounds_has_no_fault() -> None:
    assert faults_of(samples(), 5, BOUNDS) == []


def test_one_bad_check_is_forgiven_and_two_are_not() -> None:
    bad = samples("503", start=5)
    assert faults_of([*samples(), *bad, *samples(start=10)], 5, BOUNDS) == []
    (fault,) = faults_of([*samples(), *bad, *samples("503", start=10)], 5, BOUNDS)
    assert "2 of 3 checks" in fault
    assert "an error rate of up to 100.0%, where 1.0% is the bound" in fault
    assert "40 times 503" in fault


def test_slow_answers_are_faults_of_the_p99() -> None:
    (fault,) = faults_of([*samples(seconds=0.8), *samples(seconds=0.9, start=5)], 5, BOUNDS)
    assert "a p99 of up to 900 ms, where 500 ms is the bound" in fault
    assert "error rate" not in fault
    assert faults_of(samples(seconds=30), 5, Bounds(0.01, 0, 1)) == []


@pytest.mark.parametrize(
    ("outcome", "is_open"), [("200", 1), ("404", 1), ("401", 0), ("403", 0), ("503", 0), ("no", 0)]
)
def test_an_open_gateway_is_a_fault_at_once(outcome: str, is_open: int) -> None:
    """A 404 comes from behind the guard as well."""
    found = faults_of([*samples(), Sample(1, 0.1, outcome, False)], 5, BOUNDS)
    assert found == ["1 requests without a good token came in"] * is_open


def test_no_request_is_a_fault() -> None:
    assert faults_of([], 5, BOUNDS) == ["no request was sent"]


def test_checks_are_cut_by_time() -> None:
    assert [check.requests for check in checks_of(samples(count=50), 5)] == [20, 20, 10]


def test_a_load_keeps_its_rate_and_its_number() -> None:
    sent: list[bool] = []
    lock = threading.Lock()

    def send(trusted: bool) -> str:
        with lock:
            sent.append(trusted)
        return "200" if trusted else "401"

    started = time.monotonic()
    found = Load([send] * 4, rate=100, seconds=0.5, clock=wall).run(lambda _samples: False, pause=0.01)
    assert 0.45 <= time.monotonic() - started < 5
    assert len(found) == len(sent) == 50
    assert sent.count(False) == 5
    assert all(one.at <= other.at for one, other in itertools.pairwise(found))


def test_a_load_ends_when_it_is_asked_to() -> None:
    found = Load([lambda _trusted: "200"], rate=50, seconds=600, clock=wall).run(
        lambda so_far: len(so_far) >= 5, pause=0.01
    )
    assert 5 <= len(found) < 100


def test_a_line_of_progress() -> None:
    assert line_of("The canary", samples()) == "The canary: 20 requests, 0 refused, p50 20 ms, p99 20 ms"
