# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._inference import Observation
from ansible_collections.egress.ai_gateway.plugins.module_utils._rate_limit import Limit, Outcome, Spender, judge_limit, judge_recovery, result_of


class Clock:
    """A clock that moves when something sleeps or takes time."""

    def __init__(self, now: float) -> None:
        self.time = now
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        self.time += seconds


class Gateway:
    """A gateway that refuses once the counter of the clock's window has reached the limit."""

    def __init__(self, clock: Clock, limit: int, usage: int, *, seconds: float = 0.1, exclusive: bool = False, skew: float = 0, headers: bool = False) -> None:
        self.clock, self.limit, self.usage, self.seconds = clock, limit, usage, seconds
        self.exclusive, self.skew, self.headers = exclusive, skew, headers
        self.counters: dict[int, int] = {}
        self.calls = 0

    def ask(self) -> Observation:
        self.calls += 1
        moment = self.clock.time + self.skew
        window = int(moment // 60)
        spent = self.counters.get(window, 0)
        self.clock.time += self.seconds
        if spent > self.limit or (spent == self.limit and not self.exclusive):
            return Observation(status=429, headers={"x-ratelimit-reset": str(60 - int(moment % 60))} if self.headers else {})
        self.counters[window] = spent + self.usage
        return Observation(status=200, usage={"total_tokens": self.usage})


def spend(gateway: Gateway, *, recovery: float | None = 75, calls: int = 5, most: int = 30, aligned: bool = True) -> tuple[Limit, Outcome]:
    limit = Limit(gateway.limit, 60, aligned)
    spender = Spender(limit, gateway.ask, max_requests=most, pause=0.2, now=gateway.clock.now, sleep=gateway.clock.sleep, say=lambda message: None)
    return limit, spender.run(recovery, calls)


@pytest.mark.parametrize(
    ("limit", "usages", "expected"),
    [
        # 30, 60, 90 are under 100; the fourth call reaches it.
        (100, [30], (4, 4)),
        (100, [30] * 4, (4, 4)),
        # At exactly the limit, one implementation refuses and another lets one more through.
        (100, [25], (4, 5)),
        (100, [50, 50, 50], (2, 3)),
        (100, [100], (1, 2)),
        (100, [101], (1, 1)),
        (1, [1], (1, 2)),
        (50000, [15000], (4, 4)),
        (100, [10, 90, 5], (2, 3)),
        (100, [10, 20], (7, 7)),
    ],
)
def test_expected_calls(limit: int, usages: list[int], expected: tuple[int, int]) -> None:
    assert Limit(limit, 60).expected_calls(usages) == expected


@pytest.mark.parametrize("usages", [[], [0, 0]])
def test_no_usage(usages: list[int]) -> None:
    with pytest.raises(ValueError, match="no usage"):
        Limit(100, 60).expected_calls(usages)


def test_windows() -> None:
    assert Limit(100, 60).end(125.5, 0) == 180
    assert Limit(100, 60).end(120, 0) == 180
    assert Limit(100, 60, aligned=False).end(125.5, 110) == 170


@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("usage", [30, 25, 101, 7])
def test_a_limit_that_holds(usage: int, exclusive: bool) -> None:
    limit, outcome = spend(Gateway(Clock(1200), 100, usage, exclusive=exclusive))
    assert [finding.met for finding in judge_limit(limit, outcome)] == [True]
    assert [finding.met for finding in judge_recovery(outcome, 75)] == [True]
    result = result_of(limit, outcome)
    assert result["statuses"][-2:] == [429, 429]
    assert result["expected_requests"]["minimum"] <= result["allowed_requests"] <= result["expected_requests"]["maximum"]
    assert 50 < result["recovered_after"] < 60
    assert not result["straddled"]


def test_the_outcome_in_words() -> None:
    limit, outcome = spend(Gateway(Clock(1200), 100, 30))
    (finding,) = judge_limit(limit, outcome)
    assert finding.expected == "4 calls of 30 tokens pass a limit of 100 tokens in 60 s, then 429"
    assert finding.observed == "4 calls with 120 tokens passed, then 429"


def test_late_in_a_window_it_waits_for_the_next() -> None:
    clock = Clock(1255)
    _limit, outcome = spend(Gateway(clock, 100, 30))
    assert clock.slept[0] == 5
    assert outcome.calls[0].began == 1260


def test_a_window_that_ends_meanwhile_is_followed_by_a_second_round() -> None:
    # Calls are slower than usual, so the room that was left did not suffice.
    gateway = Gateway(Clock(1248), 100, 30, seconds=5)
    limit, outcome = spend(gateway)
    assert not outcome.straddled
    # The second round begins in a window that the first has not spent from.
    assert outcome.calls[0].began == 1320
    assert [finding.met for finding in judge_limit(limit, outcome)] == [True]


def test_rounds_are_bounded() -> None:
    gateway = Gateway(Clock(1200), 100, 30, seconds=25)
    limit, outcome = spend(gateway)
    assert outcome.straddled
    (finding,) = judge_limit(limit, outcome)
    assert not finding.met
    assert finding.observed.startswith("no judgement: the window ended during each of 2 rounds")
    assert gateway.calls <= 60
    assert outcome.last is None


def test_without_a_limit_the_calls_are_bounded() -> None:
    gateway = Gateway(Clock(1200), 10**9, 30)
    limit, outcome = spend(gateway, most=7)
    assert gateway.calls == 7
    assert [finding.observed for finding in judge_limit(Limit(100, 60), outcome)] == ["7 calls with 210 tokens passed, none refused"]
    assert outcome.limited_after is None
    assert limit.tokens == 10**9


@pytest.mark.parametrize(("real", "allowed"), [(50, 2), (200, 7)])
def test_another_limit_than_expected(real: int, allowed: int) -> None:
    _limit, outcome = spend(Gateway(Clock(1200), real, 30))
    (finding,) = judge_limit(Limit(100, 60), outcome)
    assert not finding.met
    assert finding.observed == f"{allowed} calls with {allowed * 30} tokens passed, then 429"


def test_a_limit_that_was_spent_before() -> None:
    gateway = Gateway(Clock(1200), 100, 30)
    gateway.counters[20] = 60
    limit, outcome = spend(gateway)
    assert [finding.met for finding in judge_limit(limit, outcome)] == [False]


@pytest.mark.parametrize("seen", [Observation(status=503), Observation(error="connection refused")])
def test_another_failure_ends_it(seen: Observation) -> None:
    clock = Clock(1200)
    limit = Limit(100, 60)
    outcome = Spender(limit, lambda: seen, max_requests=9, pause=0.1, now=clock.now, sleep=clock.sleep, say=lambda message: None).run(75, 5)
    assert len(outcome.calls) == 1
    (finding,) = judge_limit(limit, outcome)
    assert finding.observed == f"0 calls with 0 tokens passed, then {seen.error or 'status 503'}"
    assert outcome.last is None


def test_answers_without_usage() -> None:
    clock = Clock(1200)
    answers = iter([Observation(status=200), Observation(status=429), Observation(status=429)])
    outcome = Spender(Limit(100, 60), lambda: next(answers), max_requests=9, pause=0.1, now=clock.now, sleep=clock.sleep, say=lambda message: None).run(None, 5)
    (finding,) = judge_limit(Limit(100, 60), outcome)
    assert finding.observed == "1 calls passed, whose answers tell no usage, then 429"
    assert result_of(Limit(100, 60), outcome)["expected_requests"] == {}


def test_a_limit_that_does_not_hold() -> None:
    clock = Clock(1200)
    usage = {"total_tokens": 100}
    answers = iter([Observation(status=status, usage=usage) for status in (200, 429, 200, 200)])
    spender = Spender(Limit(100, 60), lambda: next(answers), max_requests=4, pause=0.1, now=clock.now, sleep=clock.sleep, say=lambda message: None)
    (finding,) = judge_limit(Limit(100, 60), spender.run(None, 2))
    assert (finding.met, finding.observed) == (False, "3 calls with 300 tokens passed, 429 once and then 200 again")


def test_recovery_follows_the_gateways_own_clock() -> None:
    # The gateway's window ends 20 s before ours.
    _limit, outcome = spend(Gateway(Clock(1200), 100, 30, skew=20, headers=True))
    assert outcome.limit_headers == {"x-ratelimit-reset": "39"}
    assert outcome.recovered_after is not None
    assert 38 < outcome.recovered_after < 41


def test_no_recovery() -> None:
    gateway = Gateway(Clock(1200), 100, 30)
    gateway.counters = {20: 0, 21: 1000, 22: 1000}
    before = gateway.clock.time
    _limit, outcome = spend(gateway)
    assert outcome.recovered_after is None
    (finding,) = judge_recovery(outcome, 75)
    assert (finding.met, finding.observed) == (False, f"status 429 after {outcome.waited:.0f} s")
    assert gateway.clock.time - before < 80


def test_windows_that_begin_with_the_first_call() -> None:
    clock = Clock(1258)
    gateway = Gateway(clock, 100, 30, skew=-1258 + 1200)
    limit, outcome = spend(gateway, aligned=False)
    assert outcome.calls[0].began == 1258
    assert [finding.met for finding in judge_limit(limit, outcome)] == [True]
    assert outcome.recovered_after is not None


def test_progress_says_what_it_waits_for() -> None:
    clock = Clock(1200)
    said: list[str] = []
    gateway = Gateway(clock, 100, 30)
    spender = Spender(Limit(100, 60), gateway.ask, max_requests=9, pause=0.2, now=clock.now, sleep=clock.sleep, say=said.append)
    spender.run(75, 5)
    assert said[:2] == ["call 1: status 200, 30 of 100 tokens spent", "call 2: status 200, 60 of 100 tokens spent"]
    waits = [line for line in said if line.startswith("waiting")]
    assert waits[0] == "waiting 59 s for the window to end"
    assert len(waits) == 6


