# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import ApiError, Observation
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.rate_limit import (
    Limit,
    LimitProbe,
    Outcome,
    Refusal,
    describe_limit,
    judge_limit,
    judge_recovery,
    result_of,
)


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

    def __init__(
        self,
        clock: Clock,
        limit: int,
        usage: int,
        *,
        seconds: float = 0.1,
        exclusive: bool = False,
        skew: float = 0,
        headers: bool = False,
    ) -> None:
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
            return Observation(
                status=429, headers={"x-ratelimit-reset": str(60 - int(moment % 60))} if self.headers else {}
            )
        self.counters[window] = spent + self.usage
        return Observation(status=200, usage={"total_tokens": self.usage})


def spend(
    gateway: Gateway, *, recovery: float | None = 75, calls: int = 5, most: int = 30, aligned: bool = True
) -> tuple[Limit, Outcome]:
    limit = Limit(gateway.limit, 60, aligned)
    limit_probe = LimitProbe(
        limit,
        gateway.ask,
        max_requests=most,
        pause=0.2,
        now=gateway.clock.now,
        sleep=gateway.clock.sleep,
        say=lambda message: None,
    )
    return limit, limit_probe.run(recovery, calls)


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
    assert (
        result["expected_requests"]["minimum"] <= result["allowed_requests"] <= result["expected_requests"]["maximum"]
    )
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
    assert [finding.observed for finding in judge_limit(Limit(100, 60), outcome)] == [
        "7 calls with 210 tokens passed, none refused"
    ]
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
    outcome = LimitProbe(
        limit, lambda: seen, max_requests=9, pause=0.1, now=clock.now, sleep=clock.sleep, say=lambda message: None
    ).run(75, 5)
    assert len(outcome.calls) == 1
    (finding,) = judge_limit(limit, outcome)
    assert finding.observed == f"0 calls with 0 tokens passed, then {seen.error or 'status 503'}"
    assert outcome.last is None


def test_answers_without_usage() -> None:
    clock = Clock(1200)
    answers = iter([Observation(status=200), Observation(status=429), Observation(status=429)])
    outcome = LimitProbe(
        Limit(100, 60),
        lambda: next(answers),
        max_requests=9,
        pause=0.1,
        now=clock.now,
        sleep=clock.sleep,
        say=lambda message: None,
    ).run(None, 5)
    (finding,) = judge_limit(Limit(100, 60), outcome)
    assert finding.observed == "1 calls passed, whose answers report no usage, then 429"
    assert result_of(Limit(100, 60), outcome)["expected_requests"] == {}


def test_a_limit_that_does_not_hold() -> None:
    clock = Clock(1200)
    usage = {"total_tokens": 100}
    answers = iter([Observation(status=status, usage=usage) for status in (200, 429, 200, 200)])
    limit_probe = LimitProbe(
        Limit(100, 60),
        lambda: next(answers),
        max_requests=4,
        pause=0.1,
        now=clock.now,
        sleep=clock.sleep,
        say=lambda message: None,
    )
    (finding,) = judge_limit(Limit(100, 60), limit_probe.run(None, 2))
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
    limit_probe = LimitProbe(
        Limit(100, 60), gateway.ask, max_requests=9, pause=0.2, now=clock.now, sleep=clock.sleep, say=said.append
    )
    limit_probe.run(75, 5)
    assert said[:2] == ["call 1: status 200, 30 of 100 tokens spent", "call 2: status 200, 60 of 100 tokens spent"]
    waits = [line for line in said if line.startswith("waiting")]
    assert waits[0] == "waiting 59 s for the window to end"
    assert len(waits) == 6


@pytest.mark.parametrize(
    ("limit", "usages", "expected"),
    [
        (Limit(None, 60, requests=5), [], (5, 5)),
        (Limit(None, 60, requests=5), [0, 0], (5, 5)),
        (Limit(100, 60, requests=5), [30], (4, 4)),
        (Limit(100, 60, requests=3), [30], (3, 3)),
        # The fifth call reaches the limit of tokens exactly, and the sixth is one request too many or not.
        (Limit(100, 60, requests=5), [20], (5, 5)),
        (Limit(100, 60, requests=6), [20], (5, 6)),
    ],
)
def test_expected_calls_of_request_limits(limit: Limit, usages: list[int], expected: tuple[int, int]) -> None:
    assert limit.expected_calls(usages) == expected


@pytest.mark.parametrize(
    ("limit", "expected", "spent"),
    [
        (Limit(100, 60), "calls pass until 100 tokens are spent in 60 s, then 429", "30 of 100 tokens spent"),
        (
            Limit(100, 60, counted="output"),
            "calls pass until 100 output tokens are spent in 60 s, then 429",
            "30 of 100 output tokens spent",
        ),
        (
            Limit(None, 60, requests=5),
            "calls pass until 5 requests are spent in 60 s, then 429",
            "2 of 5 requests spent",
        ),
        (
            Limit(9, 60, requests=5),
            "calls pass until 5 requests or 9 tokens are spent in 60 s, then 429",
            "2 of 5 requests and 30 of 9 tokens spent",
        ),
    ],
)
def test_limits_in_words(limit: Limit, expected: str, spent: str) -> None:
    assert (describe_limit(limit), limit.spent(2, 30)) == (expected, spent)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, Refusal()),
        (
            {"x-ratelimit-limit": "100, 100;w=60", "x-ratelimit-remaining": "0", "x-ratelimit-reset": "37"},
            Refusal(limit=100, window=60, remaining=0, reset=37),
        ),
        (
            {"x-ratelimit-limit": "5, 100;w=3600, 5;w=60", "retry-after": "12"},
            Refusal(limit=5, window=60, retry_after=12),
        ),
        ({"x-ratelimit-limit": '5, 5;name="a user";w=60;burst=1'}, Refusal(limit=5, window=60)),
        ({"x-ratelimit-limit": '5, 5;w=60;name="a user"'}, Refusal(limit=5, window=60)),
        ({"x-ratelimit-limit": "5"}, Refusal(limit=5)),
        (
            {"x-ratelimit-limit": "many", "x-ratelimit-reset": "1.5s", "retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"},
            Refusal(),
        ),
    ],
)
def test_what_a_refusal_reports(headers: dict[str, str], expected: Refusal) -> None:
    assert Refusal.of(headers) == expected


@pytest.mark.parametrize(
    ("told", "limit", "exhausted", "is_of"),
    [
        (Refusal(limit=5, window=60), Limit(100, 60, requests=5), "requests", True),
        (Refusal(limit=100, window=60), Limit(100, 60, requests=5), "tokens", True),
        (Refusal(limit=5), Limit(None, 60, requests=5), "requests", True),
        (Refusal(limit=100, window=60), Limit(100, 60), "tokens", True),
        (Refusal(limit=5, window=60), Limit(5, 60, requests=5), None, True),
        (Refusal(), Limit(100, 60, requests=5), None, True),
        (Refusal(limit=7, window=60), Limit(100, 60, requests=5), None, False),
        (Refusal(limit=5, window=3600), Limit(100, 60, requests=5), None, False),
    ],
)
def test_what_ran_out(told: Refusal, limit: Limit, exhausted: str | None, is_of: bool) -> None:
    assert (told.exhausted(limit), told.is_of(limit)) == (exhausted, is_of)


class Counter:
    """A gateway that lets so many calls pass and reports of its refusals what the test gives it."""

    def __init__(
        self, passes: int, usage: dict[str, int], headers: dict[str, str] | None = None, error: ApiError | None = None
    ) -> None:
        self.passes, self.usage, self.headers, self.error = passes, usage, headers or {}, error
        self.calls = 0

    def ask(self) -> Observation:
        self.calls += 1
        if self.calls > self.passes:
            return Observation(status=429, headers=self.headers, api_error=self.error)
        return Observation(status=200, usage=self.usage)


def count(limit: Limit, counter: Counter) -> tuple[list[t.Any], dict[str, t.Any]]:
    clock = Clock(1200)
    limit_probe = LimitProbe(
        limit, counter.ask, max_requests=30, pause=0.1, now=clock.now, sleep=clock.sleep, say=lambda message: None
    )
    outcome = limit_probe.run(None, 5)
    return [(finding.met, finding.expected, finding.observed) for finding in judge_limit(limit, outcome)], result_of(
        limit, outcome
    )


USAGE = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}


def test_a_request_limit() -> None:
    headers = {
        "x-ratelimit-limit": "5, 5;w=60, 1000;w=60",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "37",
        "retry-after": "38",
    }
    error = ApiError(("openai",), "rate_limit_error", None, "5 requests a minute are allowed")
    findings, result = count(Limit(None, 60, requests=5), Counter(5, USAGE, headers, error))
    assert findings == [(True, "5 calls pass a limit of 5 requests in 60 s, then 429", "5 calls passed, then 429")]
    assert (result["allowed_requests"], result["expected_requests"]) == (5, {"minimum": 5, "maximum": 5})
    assert result["usage"] == {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    assert result["limit_headers"] == headers
    assert result["refusal"] == {
        "exhausted": "requests",
        "limit": 5,
        "window": 60,
        "remaining": 0,
        "reset": 37,
        "retry_after": 38,
        "api_error": {
            "dialects": ("openai",),
            "type": "rate_limit_error",
            "code": None,
            "message": "5 requests a minute are allowed",
        },
    }


def test_a_request_limit_needs_no_usage() -> None:
    findings, result = count(Limit(None, 60, requests=2), Counter(2, {}))
    assert [met for met, _expected, _observed in findings] == [True]
    assert (result["usage"], result["tokens_spent"], result["refusal"]["exhausted"]) == ({}, 0, None)


@pytest.mark.parametrize("passes", [0, 4, 6])
def test_another_number_of_requests_than_expected(passes: int) -> None:
    findings, _result = count(Limit(None, 60, requests=5), Counter(passes, USAGE))
    assert findings == [
        (False, "5 calls pass a limit of 5 requests in 60 s, then 429", f"{passes} calls passed, then 429")
    ]


def test_the_limit_that_is_spent_first() -> None:
    limit = Limit(1000, 60, requests=5)
    findings, _result = count(limit, Counter(5, USAGE))
    assert findings == [
        (
            True,
            "5 calls of 30 tokens pass a limit of 5 requests or 1000 tokens in 60 s, then 429",
            "5 calls with 150 tokens passed, then 429",
        )
    ]


def test_a_refusal_of_another_limit() -> None:
    findings, result = count(
        Limit(None, 60, requests=5), Counter(5, USAGE, {"x-ratelimit-limit": "150, 5;w=60, 150;w=3600"})
    )
    assert [(met, observed) for met, _expected, observed in findings] == [
        (False, "5 calls passed, then 429 of another limit, 150 in 3600 s")
    ]
    assert (result["refusal"]["exhausted"], result["refusal"]["limit"]) == (None, 150)


@pytest.mark.parametrize(("counted", "passes", "tokens"), [("input", 3, 60), ("output", 6, 60), ("all", 2, 60)])
def test_limits_of_input_and_output(counted: str, passes: int, tokens: int) -> None:
    limit = Limit(55, 60, counted=counted)
    findings, result = count(limit, Counter(passes, USAGE))
    assert [met for met, _expected, _observed in findings] == [True]
    assert result["tokens_spent"] == tokens
    assert result["usage"]["total_tokens"] == passes * 30


def test_nothing_is_refused() -> None:
    _findings, result = count(Limit(None, 60, requests=5), Counter(99, USAGE))
    assert result["refusal"] is None


def test_recovery_follows_retry_after() -> None:
    clock = Clock(1200)
    limit = Limit(None, 60, requests=1)
    counter = Counter(1, USAGE, {"retry-after": "7", "x-ratelimit-reset": "50"})

    def ask() -> Observation:
        if clock.time > 1205:
            counter.calls = 0
        return counter.ask()

    outcome = LimitProbe(
        limit, ask, max_requests=9, pause=0.1, now=clock.now, sleep=clock.sleep, say=lambda message: None
    ).run(75, 3)
    assert outcome.recovered_after is not None
    assert 6.9 < outcome.recovered_after < 7.1
