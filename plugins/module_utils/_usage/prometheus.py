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
    GATEWAY_LABEL,
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
#: Labels that the series of one gateway may differ by: those of the counters, and those that scrapes give to targets.
_COUNTED = frozenset({*DIMENSION_LABELS, GATEWAY_LABEL, "type", "code", "reason", "refused_by"})
_SCRAPED = frozenset(
    {
        *(*_TARGET, "pod", "namespace", "container", "endpoint", "service", "node", "host", "hostname"),
        # As the usual scrapes by annotations call them, and labels of pods that an upgrade changes.
        *("kubernetes_pod_name", "kubernetes_namespace", "kubernetes_node", "pod_name", "pod_ip", "pod_uid"),
        *("pod_template_hash", "app_kubernetes_io_version"),
    }
)
#: Values that a message names.
_MOST_VALUES = 5
#: No counter is larger.
_LARGEST = 2**64
#: The name of a label that needs no quotes.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

Labels = tuple[tuple[str, str], ...]


class Api(t.Protocol):
    def query(self, kind: str, parameters: t.Mapping[str, str]) -> list[t.Any]: ...


class Found(t.NamedTuple):
    """A series of an answer: its labels without its name, and times in seconds with values."""

    labels: dict[str, str]
    samples: list[tuple[float, float]]


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


def selector(metric: str, labels: t.Mapping[str, str]) -> str:
    """An instant vector selector of series with these labels."""
    return _selector(metric, [(label, "=", value) for label, value in labels.items()])


def matching(metric: str, matchers: t.Mapping[str, str]) -> str:
    """An instant vector selector, in which a value that begins with ``=~`` is a regular expression."""
    return _selector(metric, [(label, *_operation(value)) for label, value in matchers.items()])


def _operation(value: str) -> tuple[str, str]:
    return ("=~", value[2:]) if value.startswith("=~") else ("=", value)


def _selector(metric: str, matchers: t.Iterable[tuple[str, str, str]]) -> str:
    inside = ",".join(
        f"{label if _NAME.fullmatch(label) else quoted(label)}{operator}{quoted(value)}"
        for label, operator, value in sorted(matchers)
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

    :param matchers: labels and their values that all series must have; see ``matching``.
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
        by_metric: dict[Metric, list[Series]] = {}
        for metric in METRICS:
            self._say(f"reading {metric.name}")
            by_metric[metric] = self.series(metric)
        fault = mixed([series for found in by_metric.values() for series in found], self._matchers)
        if fault:
            raise SourceError(fault)
        for metric, found in by_metric.items():
            for series in found:
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
                f"Prometheus has no series {matching(REQUESTS.name, self._matchers)} in this period, so that "
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
        chosen = matching(metric.name, self._matchers)
        found: dict[Labels, Series] = {}

        def of(labels: dict[str, str]) -> Series:
            return found.setdefault(tuple(sorted(labels.items())), Series(labels))

        values: dict[Labels, dict[int, dict[str, float]]] = {}
        for group in self._groups():
            for name, function in _FUNCTIONS.items():
                for measured, index, value in self._over(function, chosen, group):
                    labels = tuple(sorted(of(measured).labels.items()))
                    values.setdefault(labels, {}).setdefault(index, {})[name] = value
        for labels, windows in values.items():
            for index, window in windows.items():
                # Between two queries a series may have got its first sample.
                if len(window) == len(_FUNCTIONS):
                    found[labels].windows[index] = Window(
                        window["first"], window["last"], int(window["resets"]), int(window["samples"])
                    )
        for item in self._instant(f"last_over_time({chosen}[{_duration(LOOKBACK)}])", self._period.start):
            of(item.labels).before = item.samples[-1][1]
        return list(found.values())

    def samples(self, metric: Metric, labels: t.Mapping[str, str], index: int) -> list[float]:
        """All samples of a series in a part of the period."""
        span = self._bars[index]
        chosen = selector(metric.name, labels)
        # Labels that a series does not have match as well, so that there may be others.
        for item in self._instant(f"{chosen}[{_duration(span.end - span.start)}]", span.end):
            if item.labels == labels:
                return [value for _time, value in item.samples]
        return []

    def _targets(self, targets: t.Collection[Labels]) -> Targets | None:
        """None where Prometheus has no series ``up`` of them."""
        result = Targets()
        jobs = sorted({dict(labels)["job"] for labels in targets if "job" in dict(labels)})

        def is_ours(labels: t.Mapping[str, str]) -> bool:
            return _target_of(labels) in targets

        for job in jobs:
            chosen = selector("up", {"job": job})
            for group in self._groups():
                for labels, index, value in self._over("count_over_time", chosen, group):
                    if is_ours(labels):
                        result.scrapes[index] = result.scrapes.get(index, 0) + int(value)
                        result.failed += int(value)
                for labels, _index, value in self._over("sum_over_time", chosen, group):
                    if is_ours(labels):
                        result.failed -= int(value)
            # Whether Prometheus looked at the job at all: a target of it may have begun within the period.
            before = self._instant(f"last_over_time({chosen}[{_duration(LOOKBACK)}])", self._period.start)
            result.before = result.before or bool(before)
            # This function has the time of the sample itself, of the last five minutes.
            for item in self._instant(f"timestamp({chosen})", self._period.end):
                if is_ours(item.labels):
                    at = min(round(item.samples[-1][1] * SECOND), self._period.end)
                    result.last = max(result.last or 0, at)
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
    ) -> t.Iterator[tuple[dict[str, str], int, float]]:
        """The labels of each series, part and value of a function over the samples of the part."""
        first, last = self._bars[group[0]], self._bars[group[1]]
        step = first.end - first.start
        items = self._ask(
            "query_range",
            {
                "query": f"{function}({chosen}[{_duration(step)}])",
                "start": _seconds(first.end),
                "end": _seconds(last.end),
                "step": _seconds(step),
            },
        )
        for item in items:
            for time, value in item.samples:
                index = group[0] + round((time * SECOND - first.end) / step)
                if not group[0] <= index <= group[1]:
                    raise SourceError(_FOREIGN.format("a time that was not asked for"))
                yield item.labels, index, value

    def _instant(self, query: str, time: int) -> list[Found]:
        return self._ask("query", {"query": query, "time": _seconds(time)})

    def _ask(self, kind: str, parameters: t.Mapping[str, str]) -> list[Found]:
        return [_found(item) for item in self._api.query(kind, parameters)]


_FOREIGN = "prometheus_url: an answer has {}, which Prometheus does not send; is another program there?"


def _found(item: t.Any) -> Found:
    """A series of an answer, which may be anything."""
    try:
        labels = {name: value for name, value in item["metric"].items() if name != "__name__"}
        written = item["values"] if "values" in item else [item["value"]]
        for text in (*labels, *labels.values()):
            # A lone surrogate cannot be written to a file.
            text.encode()
        samples = [(_finite(time), _number(value)) for time, value in written]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise SourceError(_FOREIGN.format("a series without good labels and samples")) from error
    if not samples:
        raise SourceError(_FOREIGN.format("a series without a sample"))
    return Found(labels, samples)


def mixed(series: t.Iterable[Series], matchers: t.Mapping[str, str]) -> str:
    """Why series are not those of one gateway, each read once; empty if they are.

    Several clusters, and several Prometheus that read the same, are distinguished by a label. One that is missing in
    some series may have come later, so that it counts only where series with and without it go on side by side. A label
    that a matcher names is meant.
    """
    kept = [found for found in series if found.windows]
    names = {name for found in kept for name in found.labels} - _COUNTED - _SCRAPED - set(matchers)
    for name in sorted(names):
        values: dict[str, set[int]] = {}
        for found in kept:
            values.setdefault(found.labels.get(name, ""), set()).update(found.windows)
        without = values.pop("", set())
        # In the part of the period in which the label came there are both.
        if any(len(without & indexes) > 1 for indexes in values.values()):
            values[""] = without
        if len(values) > 1:
            listed = ", ".join(repr(value[:60]) for value in sorted(values)[:_MOST_VALUES])
            more = f" and {len(values) - _MOST_VALUES} more" if len(values) > _MOST_VALUES else ""
            return (
                f"prometheus_matchers: series differ by label {name}, which is {listed}{more}, as those of several "
                f"clusters do, or of several Prometheus that read the same; write one of them as {name} into "
                "usage_prometheus_matchers, or =~.* where the sum of all is wanted"
            )
    return ""


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


def _finite(value: t.Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _number(value: t.Any) -> float:
    number = float(value)
    if not 0 <= number <= _LARGEST:
        raise SourceError(
            f"prometheus_url: a sample is {str(value)[:60]}, which is no count; is another program's metric there?"
        )
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
