# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spending a limit until it is reached: how many calls passed, whether that is what the limit allows, and when calls
pass again.

A gateway counts the tokens of a response after it was sent. Calls therefore pass until the counter has reached the
limit, and the call that reaches it still passes. Where the counter stands exactly at the limit, implementations differ
by one call. Requests are counted before they are sent on, so exactly as many pass as the limit says.
"""

from __future__ import annotations

import math
import re
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import Finding
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import Observation

#: Calls that must be refused in a row before the limit counts as reached.
REFUSALS = 2
#: How often the limit is spent at most, where the end of a window comes between.
ROUNDS = 2
#: Seconds between two calls that wait for recovery, and between two lines that say so.
INTERVAL = 1.0
SAY_INTERVAL = 10.0
#: Seconds that a call may well take, to estimate whether all calls fit into the rest of a window.
USUAL_SECONDS = 1.0
LIMIT_HEADERS = ("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
#: Which tokens a limit counts, and what they are called in an answer's usage.
COUNTED_TOKENS = {"all": "total_tokens", "input": "prompt_tokens", "output": "completion_tokens"}


@dataclass(frozen=True)
class Limit:
    """``tokens`` or ``requests`` in each ``window`` of seconds, whichever are spent first; one of both may be None,
    which is no limit.

    Windows begin at multiples of their length on the clock where ``aligned``, else with the first call. ``counted`` is
    one of COUNTED_TOKENS.
    """

    tokens: int | None
    window: int
    aligned: bool = True
    requests: int | None = None
    counted: str = "all"

    @property
    def amount(self) -> str:
        """How much may be spent, in words."""
        requests = f"{self.requests} requests" if self.requests is not None else ""
        tokens = f"{self.tokens} {self.unit}" if self.tokens is not None else ""
        return " or ".join(filter(None, (requests, tokens)))

    @property
    def unit(self) -> str:
        return "tokens" if self.counted == "all" else f"{self.counted} tokens"

    def spent(self, calls: int, tokens: int) -> str:
        """How much of the limit is spent, in words."""
        requests = f"{calls} of {self.requests} requests" if self.requests is not None else ""
        of = f"{tokens} of {self.tokens} {self.unit}" if self.tokens is not None else ""
        return " and ".join(filter(None, (requests, of))) + " spent"

    def tokens_of(self, usage: Mapping[str, int]) -> int:
        return usage.get(COUNTED_TOKENS[self.counted], 0)

    def end(self, moment: float, first_call: float) -> float:
        """When the window of a moment ends, in seconds since the epoch."""
        if self.aligned:
            return (math.floor(moment / self.window) + 1) * self.window
        return first_call + self.window

    def expected_calls(self, usages: Sequence[int]) -> tuple[int, int]:
        """How few and how many calls may pass, from the tokens that calls used; calls beyond those use their mean.

        Raises ValueError where tokens are limited and no call used any.
        """
        bounds: list[tuple[int, int]] = []
        if self.requests is not None:
            bounds.append((self.requests, self.requests))
        if self.tokens is not None:
            bounds.append(self._calls_by_tokens(self.tokens, usages))
        return min(least for least, _most in bounds), min(most for _least, most in bounds)

    @staticmethod
    def _calls_by_tokens(tokens: int, usages: Sequence[int]) -> tuple[int, int]:
        if not sum(usages):
            raise ValueError("the answers report no usage")
        mean = sum(usages) / len(usages)
        least = most = 0
        spent = 0.0
        for count, usage in enumerate(usages, start=1):
            spent += usage
            if not least and spent >= tokens:
                least = count
            if not most and spent > tokens:
                most = count
        missing = (tokens - spent) / mean
        return least or len(usages) + math.ceil(missing), most or len(usages) + math.floor(missing) + 1


@dataclass(frozen=True)
class Refusal:
    """What the headers of a refused call report; what they do not report is None.

    The ``limit`` that ran out and its ``window`` in seconds, how much is ``remaining`` of it, and by each header the
    seconds until there is more.
    """

    limit: int | None = None
    window: int | None = None
    remaining: int | None = None
    reset: int | None = None
    retry_after: int | None = None

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Refusal:
        """From the headers of an answer, of which those of a limit are as Envoy sends them, in the form of draft 3 of
        RateLimit headers.
        """
        # Such as "100, 100;w=60, 5;w=60": the limit that is nearest to its end, then all that count the call.
        first, *policies = headers.get("x-ratelimit-limit", "").split(",")
        limit = _number(first.partition(";")[0])
        found = (re.match(r"\s*(\d+)\s*;(?:.*;)?\s*w=(\d+)", policy) for policy in policies)
        return cls(
            limit=limit,
            window=next((int(match[2]) for match in found if match and int(match[1]) == limit), None),
            remaining=_number(headers.get("x-ratelimit-remaining", "")),
            reset=_number(headers.get("x-ratelimit-reset", "")),
            # The other form of this header, a date, is of the gateway's clock.
            retry_after=_number(headers.get("retry-after", "")),
        )

    def is_of(self, limit: Limit) -> bool:
        """Whether it may be this limit that ran out: whether what is reported of the limit is true of this one."""
        return self.limit in (None, limit.requests, limit.tokens) and self.window in (None, limit.window)

    def exhausted(self, limit: Limit) -> str | None:
        """The kind of the limit that was reached, ``requests`` or ``tokens``.

        None if it is not reported, or if both limits are the same number.
        """
        kinds = [
            kind
            for kind, number in (("requests", limit.requests), ("tokens", limit.tokens))
            if number is not None and number == self.limit
        ]
        return kinds[0] if len(kinds) == 1 and self.is_of(limit) else None


@dataclass(frozen=True)
class Call:
    """One call, with the response and the tokens that the limit counts.

    Its beginning and end are in seconds since the epoch.
    """

    began: float
    ended: float
    seen: Observation
    tokens: int


@dataclass(frozen=True)
class Outcome:
    """The calls of the last round, and those that asked elsewhere once the limit was reached; ``straddled`` where a
    window ended during them.

    ``last`` is the last call that waited for recovery, if any did.
    """

    calls: tuple[Call, ...] = ()
    straddled: bool = False
    last: Call | None = None
    elsewhere: tuple[Call, ...] = ()

    @property
    def passed(self) -> list[Call]:
        return [call for call in self.calls if call.seen.status == 200]

    @property
    def refused(self) -> list[Call]:
        return [call for call in self.calls if call.seen.status == 429]

    @property
    def tokens_spent(self) -> int:
        return sum(call.tokens for call in self.passed)

    @property
    def limited_after(self) -> float | None:
        """Seconds from the first call to the first refused one."""
        return round(self.refused[0].began - self.calls[0].began, 3) if self.refused else None

    @property
    def waited(self) -> float:
        """Seconds from the first refused call to the last that waited for recovery."""
        return round(self.last.ended - self.refused[0].began, 3) if self.last else 0.0

    @property
    def recovered_after(self) -> float | None:
        """Seconds from the first refused call to the one that passed again."""
        return self.waited if self.last and self.last.seen.status == 200 else None

    @property
    def usage(self) -> dict[str, int]:
        """The tokens of all calls that passed, of every kind that their answers report."""
        names = [name for name in COUNTED_TOKENS.values() if any(name in call.seen.usage for call in self.passed)]
        return {name: sum(call.seen.usage.get(name, 0) for call in self.passed) for name in names}

    @property
    def refusal(self) -> Refusal:
        """What the first refused call reports; nothing where none was refused."""
        return Refusal.of(self.limit_headers)

    @property
    def limit_headers(self) -> dict[str, str]:
        headers = self.refused[0].seen.headers if self.refused else {}
        return {name: headers[name] for name in LIMIT_HEADERS if name in headers}


class LimitProbe:
    """Spends a limit with calls one after another, and waits for its window to end.

    ``ask`` sends one call, each of ``elsewhere`` one to another model or by another path; ``now`` returns the time in
    seconds since the epoch, ``sleep`` waits, ``say`` shows progress.
    """

    def __init__(
        self,
        limit: Limit,
        ask: Callable[[], Observation],
        *,
        max_requests: int,
        pause: float,
        now: Callable[[], float],
        sleep: Callable[[float], None],
        say: Callable[[str], None],
        elsewhere: Sequence[Callable[[], Observation]] = (),
    ) -> None:
        self.limit = limit
        self.ask = ask
        self.elsewhere = elsewhere
        self.max_requests = max_requests
        self.pause = pause
        self.now = now
        self.sleep = sleep
        self.say = say

    def run(self, recovery_timeout: float | None, calls_expected: int) -> Outcome:
        """Spend the limit in one window, in a second one where the first ended meanwhile; then wait for recovery,
        unless the time-out is None.
        """
        for number in range(ROUNDS):
            self._wait_for_room(calls_expected, spent=number > 0)
            outcome = self._spend()
            if not outcome.straddled:
                break
            self.say("the window ended while the limit was spent: once more in the next one")
        if recovery_timeout is None or not outcome.refused or outcome.straddled:
            return outcome
        return replace(outcome, last=self._recover(outcome, recovery_timeout))

    def _call(self, ask: Callable[[], Observation] | None = None) -> Call:
        began = self.now()
        seen = (ask or self.ask)()
        return Call(began, self.now(), seen, self.limit.tokens_of(seen.usage))

    def _wait_for_room(self, calls_expected: int, spent: bool) -> None:
        """Start in a window with room for all calls, and not in one that an earlier round has spent from."""
        if not self.limit.aligned:
            return
        moment = self.now()
        room = min(self.limit.window / 2, (calls_expected + REFUSALS) * (self.pause + USUAL_SECONDS))
        end = self.limit.end(moment, moment)
        if spent or end - moment < room:
            self._sleep_until(end, "the next window to spend the limit in")

    def _spend(self) -> Outcome:
        calls: list[Call] = []
        while len(calls) < self.max_requests and sum(call.seen.status == 429 for call in calls) < REFUSALS:
            if calls:
                self.sleep(self.pause)
            calls.append(self._call())
            status = calls[-1].seen.status
            passed = Outcome(tuple(calls)).passed
            self.say(
                f"call {len(calls)}: status {status}, "
                f"{self.limit.spent(len(passed), sum(call.tokens for call in passed))}"
            )
            if status not in (200, 429):
                break
        reached = calls[-1].seen.status == 429
        elsewhere = tuple(self._call(ask) for ask in self.elsewhere) if reached else ()
        straddled = (*calls, *elsewhere)[-1].ended >= self.limit.end(calls[0].began, calls[0].began)
        return Outcome(tuple(calls), straddled, elsewhere=elsewhere)

    def _recover(self, outcome: Outcome, timeout: float) -> Call:
        """Call from the end of the window on until a call passes or the time is up; return the last call."""
        refused = outcome.refused[0]
        deadline = refused.began + timeout
        end = self.limit.end(refused.began, outcome.calls[0].began)
        seconds_left = next(
            (seconds for seconds in (outcome.refusal.retry_after, outcome.refusal.reset) if seconds is not None), None
        )
        if seconds_left is not None:
            # What the gateway itself reports, as its clock may not be ours.
            end = refused.began + seconds_left
        self._sleep_until(min(end, deadline), "the window to end")
        while True:
            call = self._call()
            if call.seen.status == 200 or call.ended + INTERVAL > deadline:
                return call
            self.sleep(INTERVAL)

    def _sleep_until(self, moment: float, what: str) -> None:
        while (left := moment - self.now()) > 0:
            self.say(f"waiting {math.ceil(left)} s for {what}")
            self.sleep(min(left, SAY_INTERVAL))


def describe_limit(limit: Limit) -> str:
    """What is expected of the limit before a call was sent, as a string."""
    return f"calls pass until {limit.amount} are spent in {limit.window} s, then 429"


def judge_limit(limit: Limit, outcome: Outcome) -> list[Finding]:
    """Whether as many calls passed as the limit allows, by the tokens they used."""
    wanted = describe_limit(limit)
    passed, refused = outcome.passed, outcome.refused
    used = f" with {outcome.tokens_spent} {limit.unit}" if limit.tokens is not None else ""
    seen = f"{len(passed)} calls{used} passed"
    if outcome.straddled:
        remedy = "; try calls that use more tokens" if limit.tokens is not None else ""
        return [Finding(wanted, f"no judgement: the window ended during each of {ROUNDS} rounds{remedy}", False)]
    other = next((call.seen for call in outcome.calls if call.seen.status not in (200, 429)), None)
    if other is not None:
        return [Finding(wanted, f"{seen}, then {other.error or f'status {other.status}'}", False)]
    if not refused:
        return [Finding(wanted, f"{seen}, none refused", False)]
    try:
        least, most = limit.expected_calls([call.tokens for call in passed])
    except ValueError:
        return [Finding(wanted, f"{len(passed)} calls passed, whose answers report no usage, then 429", False)]
    count = str(least) if least == most else f"{least} to {most}"
    each = f" of {outcome.tokens_spent / len(passed):g} {limit.unit}" if limit.tokens is not None else ""
    wanted = f"{count} calls{each} pass a limit of {limit.amount} in {limit.window} s, then 429"
    held = outcome.calls[-1].seen.status == 429 and len(refused) == REFUSALS
    ending = "then 429" if held else "429 once and then 200 again"
    refusal = outcome.refusal
    if not refusal.is_of(limit):
        ending += f" of another limit, {refusal.limit}" + (
            f" in {refusal.window} s" if refusal.window is not None else ""
        )
    return [Finding(wanted, f"{seen}, {ending}", held and refusal.is_of(limit) and least <= len(passed) <= most)]


def judge_elsewhere(names: Sequence[str], outcome: Outcome) -> list[Finding]:
    """Whether the limit that was reached holds for other models and paths too, which ``names`` name."""
    answers = (call.seen.error or f"status {call.seen.status}" for call in outcome.elsewhere)
    observed = ", ".join(f"{name}: {answer}" for name, answer in zip(names, answers))
    return [Finding(describe_elsewhere(names), observed, all(call.seen.status == 429 for call in outcome.elsewhere))]


def describe_elsewhere(names: Sequence[str]) -> str:
    """What is expected of other models and paths, as a string."""
    return f"429 for {', '.join(names)} too"


def judge_recovery(outcome: Outcome, timeout: float) -> list[Finding]:
    """Whether calls pass again once the window has ended."""
    seen = outcome.last.seen if outcome.last else Observation()
    observed = f"{seen.error or f'status {seen.status}'} after {outcome.waited:.0f} s"
    return [Finding(f"status 200 again within {timeout:g} s", observed, outcome.recovered_after is not None)]


def result_of(limit: Limit, outcome: Outcome) -> dict[str, t.Any]:
    """The outcome as the module returns it."""
    try:
        least, most = limit.expected_calls([call.tokens for call in outcome.passed])
        expected = {"minimum": least, "maximum": most}
    except ValueError:
        expected = {}
    refusal: dict[str, t.Any] | None = None
    if outcome.refused:
        error = outcome.refused[0].seen.api_error
        reported = outcome.refusal
        refusal = {
            "exhausted": reported.exhausted(limit),
            **asdict(reported),
            "api_error": asdict(error) if error else None,
        }
    return {
        "statuses": [call.seen.status for call in outcome.calls],
        "allowed_requests": len(outcome.passed),
        "expected_requests": expected,
        "tokens_spent": outcome.tokens_spent,
        "usage": outcome.usage,
        "limited_after": outcome.limited_after,
        "recovered_after": outcome.recovered_after,
        "limit_headers": outcome.limit_headers,
        "refusal": refusal,
        "straddled": outcome.straddled,
    }


def _number(text: str) -> int | None:
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() else None
