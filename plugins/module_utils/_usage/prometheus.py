# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Usage from the counters that Prometheus keeps, to the token."""

from __future__ import annotations

import functools
import itertools
import math
import re
import typing as t
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.counters import (
    Counter,
    Series,
    Window,
    increases,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.metrics import (
    DIMENSION_LABELS,
    METRICS,
    OTHER_USERS,
    REQUESTS,
    Metric,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import Key, Reading, SourceError
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import (
    DAY,
    SECOND,
    Period,
    duration,
    shown,
)

#: For how long before the period the last value of a counter is looked for.
LOOKBACK = DAY
#: How long after the last sample of all targets the end of a period counts as not scraped.
_LATE = 5 * 60 * SECOND
#: Functions of PromQL over the samples of a window, by what a Window calls the result.
_FUNCTIONS = {
    "first": "min_over_time",
    "last": "last_over_time",
    "resets": "resets",
    "samples": "count_over_time",
}
#: Labels of a series that say what was scraped.
_TARGET = ("job", "instance")
#: The name of a label that needs no quotes.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Labels = tuple[tuple[str, str], ...]


class Api(t.Protocol):
    def query(self, kind: str, parameters: t.Mapping[str, str]) -> list[dict[str, t.Any]]: ...


@dataclass
class Targets:
    """What Prometheus says of the targets that the counters are of."""

    #: By index of each part of the period, how many scrapes there were and how many failed.
    scrapes: dict[int, int] = field(default_factory=dict)
    failed: int = 0
    #: Whether one was scraped before the period.
    before: bool = False
    #: When one was scraped last, in milliseconds; None if none was.
    last: int | None = None


def selector(metric: str, matchers: t.Mapping[str, str]) -> str:
    """An instant vector selector."""
    inside = ",".join(
        f"{label if _NAME.fullmatch(label) else quoted(label)}={quoted(value)}"
        for label, value in sorted(matchers.items())
    )
    return f"{metric}{{{inside}}}"


def quoted(value: str) -> str:
    """A string of PromQL."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def read_prometheus(
    api: Api,
    period: Period,
    matchers: t.Mapping[str, str],
    say: t.Callable[[str], None] = lambda line: None,
) -> Reading:
    """What was used in the period.

    :param matchers: labels and their values that all series must have.
    :param say: called with what is under way.
    :raises SourceError: when Prometheus does not answer as it must.
    """
    return _Reader(api, period, matchers, say).read()


class _Reader:
    def __init__(self, api: Api, period: Period, matchers: t.Mapping[str, str], say: t.Callable[[str], None]) -> None:
        self._api, self._period, self._matchers, self._say = api, period, matchers, say
        self._bars = period.bars()

    def read(self) -> Reading:
        reading = Reading(self._period, "Prometheus")
        counters: list[Counter] = []
        born = 0
        targets: set[Labels] = set()
        for metric in METRICS:
            self._say(f"reading {metric.name}")
            for series in self.series(metric):
                grown, counter = increases(series, functools.partial(self.samples, metric))
                counters.append(counter)
                targets.add(_target_of(series.labels))
                if series.before is None and any(grown.values()):
                    born += 1
                key = Key(*(series.labels.get(label, "") for label in DIMENSION_LABELS))
                measure = metric.measure(series.labels)
                for index, amount in grown.items() if measure else ():
                    if amount:
                        reading.add(key, index, measure, _whole(metric, amount))
        if not counters:
            reading.caution(
                "no_series",
                f"Prometheus has no series {REQUESTS.name}{selector('', self._matchers)} in this period, so that "
                "nothing can be said of it. Is the gateway scraped?",
            )
            return reading
        self._judge(reading, born, self._targets(targets))
        if resets := sum(counter.resets for counter in counters):
            reading.caution(
                "restarts",
                f"{resets} series began again at 0, as proxies were restarted. What was used between the last scrape "
                "and the restart is not counted.",
            )
        if any(key.user == OTHER_USERS for key in reading.usage):
            reading.caution(
                "other_users",
                f"The user {OTHER_USERS} is all those beyond the number of users that a proxy distinguishes.",
            )
        called = [key for key in reading.usage if key.model]
        if called and not any(key.user for key in called):
            reading.caution("users_unknown", "The metrics have no label user, so that users cannot be distinguished.")
        return reading

    def series(self, metric: Metric) -> list[Series]:
        """The series of a metric, with what is known of each part of the period."""
        chosen = selector(metric.name, self._matchers)
        found: dict[Labels, Series] = {}

        def of(labels: t.Mapping[str, str]) -> Series:
            kept = {name: value for name, value in labels.items() if name != "__name__"}
            return found.setdefault(tuple(sorted(kept.items())), Series(kept))

        values: dict[Labels, dict[int, dict[str, float]]] = {}
        for group in self._groups():
            for name, function in _FUNCTIONS.items():
                for item, index, value in self._over(function, chosen, group):
                    labels = tuple(sorted(of(item["metric"]).labels.items()))
                    values.setdefault(labels, {}).setdefault(index, {})[name] = value
        for labels, windows in values.items():
            for index, window in windows.items():
                # Between two queries a series may have got its first sample.
                if len(window) == len(_FUNCTIONS):
                    found[labels].windows[index] = Window(
                        window["first"], window["last"], int(window["resets"]), int(window["samples"])
                    )
        for item in self._instant(f"last_over_time({chosen}[{_duration(LOOKBACK)}])", self._period.start):
            of(item["metric"]).before = _number(item["value"][1])
        return list(found.values())

    def samples(self, metric: Metric, labels: t.Mapping[str, str], index: int) -> list[float]:
        """All samples of a series in a part of the period."""
        span = self._bars[index]
        chosen = selector(metric.name, labels)
        items = self._instant(f"{chosen}[{_duration(span.end - span.start)}]", span.end)
        # Labels that a series does not have match as well, so that there may be others.
        for item in items:
            if {name: value for name, value in item["metric"].items() if name != "__name__"} == dict(labels):
                return [_number(value) for _time, value in item["values"]]
        return []

    def _targets(self, targets: t.Collection[Labels]) -> Targets | None:
        """None where Prometheus has no series ``up`` of them."""
        result = Targets()
        jobs = sorted({dict(labels)["job"] for labels in targets if "job" in dict(labels)})

        def is_ours(item: t.Mapping[str, t.Any]) -> bool:
            return _target_of(item["metric"]) in targets

        for job in jobs:
            chosen = selector("up", {"job": job})
            for group in self._groups():
                for item, index, value in self._over("count_over_time", chosen, group):
                    if is_ours(item):
                        result.scrapes[index] = result.scrapes.get(index, 0) + int(value)
                        result.failed += int(value)
                for item, _index, value in self._over("sum_over_time", chosen, group):
                    if is_ours(item):
                        result.failed -= int(value)
            # Whether Prometheus looked at the job at all: a target of it may have begun within the period.
            before = self._instant(f"last_over_time({chosen}[{_duration(LOOKBACK)}])", self._period.start)
            result.before = result.before or bool(before)
            # This function has the time of the sample itself, of the last five minutes.
            for item in self._instant(f"timestamp({chosen})", self._period.end):
                if is_ours(item):
                    result.last = max(result.last or 0, round(_number(item["value"][1]) * SECOND))
        if result.scrapes and result.last is None:
            result.last = self._bars[max(result.scrapes)].end
        return result if result.scrapes else None

    def _judge(self, reading: Reading, born: int, targets: Targets | None) -> None:
        if targets is None:
            reading.caution(
                "scrapes_unknown",
                "Prometheus has no series up of the gateway, so that missing samples cannot be seen.",
            )
        elif not targets.before:
            first = self._bars[min(targets.scrapes)]
            reading.caution(
                "began_late",
                f"Prometheus has no sample of the gateway from before {shown(self._period.start)}. What was used "
                f"before its first scrape, after {shown(first.start)}, may be counted in this period or not at all.",
            )
        if born:
            reading.caution(
                "series_began",
                f"{born} counters, each of a caller, model and proxy, began within the period. They are counted "
                "from 0.",
            )
        if targets is None:
            return
        if targets.failed:
            reading.caution(
                "failed_scrapes",
                f"{targets.failed} of {sum(targets.scrapes.values())} scrapes failed. What a proxy counted after its "
                "last successful scrape is not known where it was removed or restarted.",
            )
        for gap in _gaps(self._bars, targets.scrapes):
            reading.caution(
                "missing_samples",
                f"There are no samples from {shown(gap.start)} to {shown(gap.end)} ({duration(gap.end - gap.start)}). "
                "What proxies counted that were removed in that time is not known; the rest is counted after it.",
            )
        if targets.last is not None and self._period.end - targets.last > _LATE:
            reading.caution(
                "ended_early",
                f"The last sample is from {shown(targets.last)}. What was used after it is not counted.",
            )

    def _groups(self) -> list[tuple[int, int]]:
        """The first and the last index of parts of the same length, which one query reads."""
        lengths = [span.end - span.start for span in self._bars]
        result, index = [], 0
        for _length, group in itertools.groupby(lengths):
            count = len(list(group))
            result.append((index, index + count - 1))
            index += count
        return result

    def _over(
        self, function: str, chosen: str, group: tuple[int, int]
    ) -> t.Iterator[tuple[dict[str, t.Any], int, float]]:
        """Each series, part and value of a function over the samples of the part."""
        first, last = self._bars[group[0]], self._bars[group[1]]
        step = first.end - first.start
        items = self._api.query(
            "query_range",
            {
                "query": f"{function}({chosen}[{_duration(step)}])",
                "start": _seconds(first.end),
                "end": _seconds(last.end),
                "step": _seconds(step),
            },
        )
        for item in items:
            for time, value in item["values"]:
                yield item, group[0] + round((float(time) * SECOND - first.end) / step), _number(value)

    def _instant(self, query: str, time: int) -> list[dict[str, t.Any]]:
        return self._api.query("query", {"query": query, "time": _seconds(time)})


def _target_of(labels: t.Mapping[str, str]) -> Labels:
    return tuple((label, labels[label]) for label in _TARGET if label in labels)


def _gaps(bars: t.Sequence[Period], scrapes: t.Mapping[int, int]) -> list[Period]:
    """The parts of the period without a scrape between parts that have some, put together."""
    result: list[Period] = []
    for index in range(min(scrapes), max(scrapes)):
        if not scrapes.get(index):
            span = bars[index]
            if result and result[-1].end == span.start:
                result[-1] = Period(result[-1].start, span.end)
            else:
                result.append(span)
    return result


def _number(value: t.Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise SourceError(f"prometheus_url: a sample is {value}, which is no count; is another program's metric there?")
    return number


def _whole(metric: Metric, amount: float) -> int:
    if abs(amount - round(amount)) > 1e-6:
        raise SourceError(
            f"prometheus_url: {metric.name} grew by {amount}, which is no whole number; is another program's metric "
            "there?"
        )
    return round(amount)


def _seconds(milliseconds: int) -> str:
    return f"{milliseconds / SECOND:.3f}"


def _duration(milliseconds: int) -> str:
    return f"{milliseconds}ms"
