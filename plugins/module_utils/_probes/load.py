# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded load of requests to a gateway, cut into checks of some seconds each, and what is judged of them.

Requests begin at a fixed rate, whatever the answers take, as those of many clients do. Some carry a token that nobody
issued: a gateway that answers these has lost its guard, and that is worse than any refusal.
"""

from __future__ import annotations

import math
import threading
import time
import typing as t
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

#: Requests of one load at most, so that none goes on for ever.
MOST = 100_000
#: Each so many requests, one carries a token that nobody issued.
UNTRUSTED_EVERY = 10

#: Sends one request, with a good token or with one that nobody issued, and returns the status of the answer as a
#: string, with the code of an error behind it, or why there was no answer in a few words.
Send = Callable[[bool], str]


@dataclass(frozen=True)
class Sample:
    """One request: seconds from the load's start to its own, seconds to its answer, its outcome, and whether its token
    was a good one.
    """

    at: float
    seconds: float
    outcome: str
    trusted: bool

    @property
    def refused(self) -> bool:
        """Whether a request with a good token got anything but an answer of 200."""
        return self.trusted and self.outcome != "200"

    @property
    def open(self) -> bool:
        """Whether a request without a good token was answered as if it had one. One that got no answer, or an error of
        the gateway, is none that came in.
        """
        return not self.trusted and self.outcome.startswith(("2", "404"))


@dataclass(frozen=True)
class Bounds:
    """What a check may reach.

    ``error_rate`` is a fraction of the requests with a good token, ``p99`` seconds, 0 for no bound, ``failed_checks``
    how many checks may pass a bound before the load has failed, at least 1.
    """

    error_rate: float
    p99: float
    failed_checks: int


@dataclass(frozen=True)
class Figures:
    """What became of some requests. Latencies are seconds, of answers to requests with a good token."""

    requests: int
    refused: int
    open: int
    p50: float
    p99: float
    outcomes: dict[str, int]

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Figures:
        samples = list(samples)
        trusted = [sample for sample in samples if sample.trusted]
        answered = sorted(sample.seconds for sample in trusted if sample.outcome == "200")
        return cls(
            requests=len(trusted),
            refused=sum(sample.refused for sample in trusted),
            open=sum(sample.open for sample in samples),
            p50=percentile(answered, 50),
            p99=percentile(answered, 99),
            outcomes=dict(sorted(Counter(sample.outcome for sample in trusted).items())),
        )

    @property
    def error_rate(self) -> float:
        return self.refused / self.requests if self.requests else 0.0

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "requests": self.requests,
            "refused": self.refused,
            "open": self.open,
            "error_rate": round(self.error_rate, 5),
            "p50": round(self.p50, 4),
            "p99": round(self.p99, 4),
            "outcomes": self.outcomes,
        }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that so many percent of ``ordered`` do not exceed; 0 of none."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)] if ordered else 0.0


def checks_of(samples: Iterable[Sample], interval: float) -> list[Figures]:
    """The figures of each interval that requests began in, in order."""
    parts: dict[int, list[Sample]] = {}
    for sample in samples:
        parts.setdefault(int(sample.at // interval), []).append(sample)
    return [Figures.of(parts[number]) for number in sorted(parts)]


def failed_checks(checks: Iterable[Figures], bounds: Bounds) -> list[Figures]:
    """The checks that pass a bound."""
    return [check for check in checks if check.error_rate > bounds.error_rate or 0 < bounds.p99 < check.p99]


def faults_of(samples: Sequence[Sample], interval: float, bounds: Bounds) -> list[str]:
    """What is wrong with a load, in sentences; none where it is within its bounds."""
    whole = Figures.of(samples)
    if not whole.requests:
        return ["no request was sent"]
    faults = []
    if whole.open:
        faults.append(f"{whole.open} requests without a good token came in")
    checks = checks_of(samples, interval)
    bad = failed_checks(checks, bounds)
    if len(bad) >= bounds.failed_checks:
        worst = max(check.error_rate for check in bad)
        slowest = max(check.p99 for check in bad)
        reasons = []
        if worst > bounds.error_rate:
            reasons.append(f"an error rate of up to {worst:.1%}, where {bounds.error_rate:.1%} is the bound")
        if 0 < bounds.p99 < slowest:
            reasons.append(f"a p99 of up to {slowest * 1000:.0f} ms, where {bounds.p99 * 1000:.0f} ms is the bound")
        others = {name: count for name, count in whole.outcomes.items() if name != "200"}
        seen = "".join(f"; {count} times {name}" for name, count in others.items())
        faults.append(f"{len(bad)} of {len(checks)} checks had {' and '.join(reasons)}{seen}")
    return faults


class Load:
    """Sends requests until it is asked to end, or its time or its number is over."""

    def __init__(self, sends: Sequence[Send], rate: float, seconds: float, clock: Callable[[], float]) -> None:
        """:param sends: one for each worker, as each has a connection of its own.

        :param rate: requests a second.
        :param seconds: after which no further request begins.
        """
        self._sends = sends
        self._rate = rate
        self._most = min(MOST, math.ceil(rate * seconds))
        self._clock = clock
        self._lock = threading.Lock()
        self._next = 0
        self._enough = threading.Event()
        self._samples: list[Sample] = []
        self._started = clock()

    @property
    def samples(self) -> list[Sample]:
        """Those of all requests that have ended, in the order in which they began."""
        with self._lock:
            return sorted(self._samples, key=lambda sample: sample.at)

    def run(self, watch: Callable[[list[Sample]], bool], pause: float = 0.5) -> list[Sample]:
        """Send, and look now and then.

        :param watch: is called with the samples so far and says whether that is enough.
        """
        with ThreadPoolExecutor(max_workers=len(self._sends)) as pool:
            workers = [pool.submit(self._work, send) for send in self._sends]
            try:
                while not all(worker.done() for worker in workers):
                    if watch(self.samples):
                        break
                    self._enough.wait(pause)
            finally:
                self._enough.set()
            for worker in workers:
                worker.result()
        return self.samples

    def _work(self, send: Send) -> None:
        while (number := self._take()) is not None:
            due = self._started + number / self._rate
            while (wait := due - self._clock()) > 0:
                if self._enough.wait(min(wait, 0.5)):
                    return
            trusted = number % UNTRUSTED_EVERY != UNTRUSTED_EVERY - 1
            begun = self._clock()
            outcome = send(trusted)
            sample = Sample(begun - self._started, self._clock() - begun, outcome, trusted)
            with self._lock:
                self._samples.append(sample)

    def _take(self) -> int | None:
        with self._lock:
            if self._enough.is_set() or self._next >= self._most:
                return None
            self._next += 1
            return self._next - 1


def line_of(name: str, samples: Sequence[Sample]) -> str:
    """A line of progress."""
    figures = Figures.of(samples)
    return (
        f"{name}: {figures.requests} requests, {figures.refused} refused, p50 {figures.p50 * 1000:.0f} ms, "
        f"p99 {figures.p99 * 1000:.0f} ms"
    )


def wall() -> float:
    """Seconds on a clock that never goes back."""
    return time.monotonic()
