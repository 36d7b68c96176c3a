# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spending a token limit until it is reached: how many calls passed, whether usage explains that, and when calls pass again.

A gateway counts the tokens of a response after it was sent. Calls therefore pass until the counter has reached the limit, and the call that
reaches it still passes. Where the counter stands exactly at the limit, implementations differ by one call.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._checks import Finding
from ansible_collections.egress.ai_gateway.plugins.module_utils._inference import Observation

#: Calls that must be refused in a row before the limit counts as reached.
REFUSALS = 2
#: How often the limit is spent at most, where the end of a window comes between.
ROUNDS = 2
#: Seconds between two calls that wait for recovery, and between two lines that say so.
INTERVAL = 1.0
SAY_INTERVAL = 10.0
#: Seconds that a call may well take, to tell whether all calls fit into the rest of a window.
USUAL_SECONDS = 1.0
LIMIT_HEADERS = ("retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")


@dataclass(frozen=True)
class Limit:
    """``tokens`` in each ``window`` of seconds; ``aligned`` where windows begin at multiples of their length on the clock, else with the first call."""

    tokens: int
    window: int
    aligned: bool = True

    def end(self, moment: float, first_call: float) -> float:
        """When the window of a moment ends, in seconds since the epoch."""
        if self.aligned:
            return (math.floor(moment / self.window) + 1) * self.window
        return first_call + self.window

    def expected_calls(self, usages: Sequence[int]) -> tuple[int, int]:
        """How few and how many calls may pass, from the tokens that calls used; calls beyond those use their mean.

        Raises ValueError where no call used any.
        """
        if not sum(usages):
            raise ValueError("the answers tell no usage")
        mean = sum(usages) / len(usages)
        least = most = 0
        spent = 0.0
        for count, usage in enumerate(usages, start=1):
            spent += usage
            if not least and spent >= self.tokens:
                least = count
            if not most and spent > self.tokens:
                most = count
        missing = (self.tokens - spent) / mean
        return least or len(usages) + math.ceil(missing), most or len(usages) + math.floor(missing) + 1


@dataclass(frozen=True)
class Call:
    """One call: when it began and ended, in seconds since the epoch, and what came back."""

    began: float
    ended: float
    seen: Observation

    @property
    def tokens(self) -> int:
        return int(self.seen.usage.get("total_tokens", 0))


@dataclass(frozen=True)
class Outcome:
    """The calls of the last round; ``straddled`` where a window ended during it. ``last`` is the last call that waited for recovery, if any did."""

    calls: tuple[Call, ...] = ()
    straddled: bool = False
    last: Call | None = None

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
    def limit_headers(self) -> dict[str, str]:
        headers = self.refused[0].seen.headers if self.refused else {}
        return {name: headers[name] for name in LIMIT_HEADERS if name in headers}


class Spender:
    """Spends a limit with calls one after another, and waits for its window to end.

    ``ask`` sends one call; ``now`` tells the time in seconds since the epoch, ``sleep`` waits, ``say`` shows progress.
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
    ) -> None:
        self.limit = limit
        self.ask = ask
        self.max_requests = max_requests
        self.pause = pause
        self.now = now
        self.sleep = sleep
        self.say = say

    def run(self, recovery_timeout: float | None, calls_expected: int) -> Outcome:
        """Spend the limit in one window, in a second one where the first ended meanwhile; then wait for recovery, unless the time-out is None."""
        for number in range(ROUNDS):
            self._wait_for_room(calls_expected, spent=number > 0)
            outcome = self._spend()
            if not outcome.straddled:
                break
            self.say("the window ended while the limit was spent: once more in the next one")
        if recovery_timeout is None or not outcome.refused or outcome.straddled:
            return outcome
        return Outcome(outcome.calls, last=self._recover(outcome, recovery_timeout))

    def _call(self) -> Call:
        began = self.now()
        seen = self.ask()
        return Call(began, self.now(), seen)

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
            self.say(f"call {len(calls)}: status {status}, {sum(call.tokens for call in calls)} of {self.limit.tokens} tokens spent")
            if status not in (200, 429):
                break
        straddled = calls[-1].ended >= self.limit.end(calls[0].began, calls[0].began)
        return Outcome(tuple(calls), straddled)

    def _recover(self, outcome: Outcome, timeout: float) -> Call:
        """Call from the end of the window on until a call passes or the time is up; return the last call."""
        refused = outcome.refused[0]
        deadline = refused.began + timeout
        end = self.limit.end(refused.began, outcome.calls[0].began)
        told = outcome.limit_headers.get("retry-after") or outcome.limit_headers.get("x-ratelimit-reset")
        if told and told.isdigit():
            # The gateway's own word, where its clock is not ours.
            end = refused.began + int(told)
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


def judge_limit(limit: Limit, outcome: Outcome) -> list[Finding]:
    """Whether as many calls passed as the tokens they used allow."""
    wanted = f"calls pass until {limit.tokens} tokens are spent in {limit.window} s, then 429"
    passed, refused = outcome.passed, outcome.refused
    seen = f"{len(passed)} calls with {outcome.tokens_spent} tokens passed"
    if outcome.straddled:
        return [Finding(wanted, f"no judgement: the window ended during each of {ROUNDS} rounds; try calls that use more tokens", False)]
    other = next((call.seen for call in outcome.calls if call.seen.status not in (200, 429)), None)
    if other is not None:
        return [Finding(wanted, f"{seen}, then {other.error or f'status {other.status}'}", False)]
    if not refused:
        return [Finding(wanted, f"{seen}, none refused", False)]
    try:
        least, most = limit.expected_calls([call.tokens for call in passed])
    except ValueError:
        return [Finding(wanted, f"{len(passed)} calls passed, whose answers tell no usage, then 429", False)]
    count = str(least) if least == most else f"{least} to {most}"
    mean = outcome.tokens_spent / len(passed)
    wanted = f"{count} calls of {mean:g} tokens pass a limit of {limit.tokens} tokens in {limit.window} s, then 429"
    held = outcome.calls[-1].seen.status == 429 and len(refused) == REFUSALS
    ending = "then 429" if held else "429 once and then 200 again"
    return [Finding(wanted, f"{seen}, {ending}", held and least <= len(passed) <= most)]


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
    return {
        "statuses": [call.seen.status for call in outcome.calls],
        "allowed_requests": len(outcome.passed),
        "expected_requests": expected,
        "tokens_spent": outcome.tokens_spent,
        "limited_after": outcome.limited_after,
        "recovered_after": outcome.recovered_after,
        "limit_headers": outcome.limit_headers,
        "straddled": outcome.straddled,
    }
