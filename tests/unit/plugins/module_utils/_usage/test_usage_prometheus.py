# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counters are read exactly: births, restarts, gaps, and edges of the period."""

from __future__ import annotations

import random
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import Key, Reading, SourceError
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import DAY, HOUR, MINUTE, SECOND, Period
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.prometheus import read_prometheus, selector
from prometheus import FakePrometheus, Samples

#: A Wednesday at noon, in milliseconds.
NOON = 1_795_608_000_000
EVERY = 15 * SECOND
TOKENS = "envoy_ai_gateway_tokens_total"
REQUESTS = "envoy_ai_gateway_requests_total"
WHO = {"gateway": "gw", "user": "jane", "tier": "free", "model": "gpt-4", "provider": "openai"}
KEY = Key("jane", "free", "gpt-4", "openai")


def scraped(
    fake: FakePrometheus, start: int, end: int, instance: str = "a", fails: t.Collection[int] = ()
) -> list[int]:
    """The times of scrapes, which series ``up`` has."""
    times = list(range(start, end + 1, EVERY))
    fake.add("up", [(time, 0.0 if time in fails else 1.0) for time in times], job="proxies", instance=instance)
    return times


def tokens(fake: FakePrometheus, samples: Samples, instance: str = "a", **labels: str) -> None:
    fake.add(TOKENS, samples, **{**WHO, "type": "input", "job": "proxies", "instance": instance, **labels})


def read(fake: FakePrometheus, start: int, end: int) -> Reading:
    return read_prometheus(fake, Period(start, end), {"gateway": "gw"})


def sum_of(reading: Reading, measure: str = "input", key: Key = KEY) -> int:
    return sum(getattr(amount, measure) for amount in reading.usage.get(key, {}).values())


def codes(reading: Reading) -> set[str]:
    return {caution.code for caution in reading.cautions}


def test_a_counter_that_stood_before_grows_by_the_difference_of_its_samples() -> None:
    fake = FakePrometheus()
    times = scraped(fake, NOON - HOUR, NOON)
    tokens(fake, [(time, 1000.0 + index) for index, time in enumerate(times)])
    reading = read(fake, NOON - HOUR // 2, NOON)
    assert sum_of(reading) == HOUR // 2 // EVERY
    assert not reading.cautions


def test_a_series_that_begins_within_the_period_begins_at_0() -> None:
    fake = FakePrometheus()
    times = scraped(fake, NOON - DAY, NOON)
    tokens(fake, [(time, 5000.0) for time in times if time > NOON - HOUR])
    reading = read(fake, NOON - 2 * HOUR, NOON)
    assert sum_of(reading) == 5000
    assert codes(reading) == {"series_began"}


def test_where_prometheus_itself_began_within_the_period_that_is_said() -> None:
    fake = FakePrometheus()
    tokens(fake, [(time, 5000.0) for time in scraped(fake, NOON - HOUR, NOON)])
    reading = read(fake, NOON - 2 * HOUR, NOON)
    assert codes(reading) == {"series_began", "began_late"}


def test_a_restart_loses_nothing_that_was_scraped() -> None:
    fake = FakePrometheus()
    times = scraped(fake, NOON - 2 * HOUR, NOON)
    tokens(fake, [(time, float(100 + index if index < 300 else index - 290)) for index, time in enumerate(times)])
    reading = read(fake, NOON - 2 * HOUR + EVERY, NOON)
    # From 101 to 399, then from 10 to the last.
    assert sum_of(reading) == (399 - 101) + (len(times) - 1 - 290)
    assert codes(reading) == {"restarts"}
    # Samples are asked for where the counter began again, and nowhere else.
    assert len([query for query in fake.queries if query.startswith(TOKENS)]) == 1


def test_a_restart_between_two_parts_of_the_period_is_seen() -> None:
    fake = FakePrometheus()
    scraped(fake, NOON - 2 * HOUR, NOON)
    # The parts of two hours are five minutes long.
    tokens(fake, [(NOON - 2 * HOUR, 50.0), (NOON - 10 * MINUTE, 80.0), (NOON - 4 * MINUTE, 30.0), (NOON, 35.0)])
    reading = read(fake, NOON - 2 * HOUR, NOON)
    assert sum_of(reading) == 30 + 35
    assert codes(reading) == {"restarts"}


def test_a_gap_is_bridged_and_named() -> None:
    fake = FakePrometheus()
    missing = range(NOON - 40 * MINUTE, NOON - 20 * MINUTE)
    times = [time for time in range(NOON - 3 * HOUR, NOON + 1, EVERY) if time not in missing]
    fake.add("up", [(time, 1.0) for time in times], job="proxies", instance="a")
    tokens(fake, [(time, (time - NOON + 3 * HOUR) / EVERY) for time in times])
    reading = read(fake, NOON - HOUR, NOON)
    assert sum_of(reading) == HOUR // EVERY
    assert codes(reading) == {"missing_samples"}
    assert "from 2026-11-25T11:20:00Z to 2026-11-25T11:39:00Z" in reading.cautions[0].message


def test_failed_scrapes_and_an_early_end_are_named() -> None:
    fake = FakePrometheus()
    times = scraped(fake, NOON - 3 * HOUR, NOON - HOUR, fails=[NOON - 2 * HOUR, NOON - 2 * HOUR + EVERY])
    tokens(fake, [(time, 1.0) for time in times])
    reading = read(fake, NOON - 150 * MINUTE, NOON)
    assert codes(reading) == {"failed_scrapes", "ended_early"}
    said = " ".join(caution.message for caution in reading.cautions)
    assert "2 of 360 scrapes failed" in said
    assert "The last sample is from 2026-11-25T11:00:00Z" in said


def test_who_scrapes_nothing_is_told_so() -> None:
    reading = read(FakePrometheus(), NOON - HOUR, NOON)
    assert codes(reading) == {"no_series"}
    assert '{gateway="gw"}' in reading.cautions[0].message


def test_without_a_series_up_missing_samples_cannot_be_seen() -> None:
    fake = FakePrometheus()
    tokens(fake, [(NOON - 2 * HOUR, 0.0), (NOON, 7.0)])
    reading = read(fake, NOON - HOUR, NOON)
    assert sum_of(reading) == 7
    assert codes(reading) == {"scrapes_unknown"}


def test_requests_are_answered_or_refused_and_costs_are_kept() -> None:
    fake = FakePrometheus()
    target = {"job": "proxies", "instance": "a"}
    for code, count in (("200", 7), ("0", 2), ("429", 3), ("503", 4)):
        fake.add(REQUESTS, [(NOON - HOUR, 0.0), (NOON, float(count))], **WHO, **target, code=code)
    fake.add(REQUESTS, [(NOON - HOUR, 0.0), (NOON, 11.0)], gateway="gw", code="401", **target)
    fake.add("envoy_ai_gateway_cost_millionths_total", [(NOON - HOUR, 1.0), (NOON, 2_000_001.0)], **WHO, **target)
    fake.add("envoy_ai_gateway_cached_tokens_total", [(NOON - HOUR, 1.0), (NOON, 4.0)], **WHO, **target)
    # Another gateway's.
    fake.add(REQUESTS, [(NOON - HOUR, 0.0), (NOON, 99.0)], **{**WHO, "gateway": "other"}, code="200", **target)
    reading = read(fake, NOON - HOUR, NOON)
    found = {measure: sum_of(reading, measure) for measure in ("requests", "refused", "recorded_cost", "cached_input")}
    assert found == {"requests": 9, "refused": 7, "recorded_cost": 2_000_000, "cached_input": 3}
    assert sum_of(reading, "refused", Key("", "", "", "")) == 11


def test_users_beyond_the_bound_and_no_users_are_named() -> None:
    fake = FakePrometheus()
    tokens(fake, [(NOON - HOUR, 0.0), (NOON, 7.0)], user="other")
    assert "other_users" in codes(read(fake, NOON - HOUR, NOON))
    fake = FakePrometheus()
    tokens(fake, [(NOON - HOUR, 0.0), (NOON, 7.0)], user="")
    assert "users_unknown" in codes(read(fake, NOON - HOUR, NOON))


@pytest.mark.parametrize("value", ["NaN", "+Inf", "0.5"])
def test_what_is_no_count_is_an_error(value: str) -> None:
    fake = FakePrometheus()
    tokens(fake, [(NOON - HOUR, 0.0), (NOON, float(value))])
    with pytest.raises(SourceError, match="is another program's metric there"):
        read(fake, NOON - HOUR, NOON)


def in_each(label: str, *values: str, apart: int = 0, pods: bool = True) -> FakePrometheus:
    """Counters of one pod for each value of a label, and for each ``apart`` milliseconds later."""
    fake = FakePrometheus()
    for number, value in enumerate(values):
        begin = NOON - 2 * HOUR + number * apart
        samples = [(time, float(time - begin) / EVERY) for time in range(begin, begin + 2 * HOUR, EVERY)]
        tokens(fake, samples, instance=f"pod-{number if pods else 0}", **({label: value} if value else {}))
    return fake


@pytest.mark.parametrize(
    ("fake", "message"),
    [
        # Several clusters.
        (in_each("cluster", "west", "east"), "label cluster, which is 'east', 'west', as those"),
        # One of them has no label.
        (in_each("cluster", "", "east"), "label cluster, which is '', 'east', as those"),
        # Two Prometheus that read the same.
        (in_each("replica", "0", "1", pods=False), "label replica, which is '0', '1', as those"),
        # Another value later on is another series, which would count from 0.
        (in_each("cluster", "a", "b", apart=2 * HOUR), "label cluster, which is 'a', 'b'"),
        (in_each("x", *"gfedcba"), "label x, which is 'a', 'b', 'c', 'd', 'e' and 2 more, as those"),
    ],
)
def test_several_clusters_are_not_summed(fake: FakePrometheus, message: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(fake, NOON - 2 * HOUR, NOON + 2 * HOUR)
    assert message in str(caught.value)
    assert "into usage_prometheus_matchers, or =~.* where the sum of all is wanted" in str(caught.value)


def test_a_matcher_chooses_among_clusters() -> None:
    fake = in_each("cluster", "west", "east")
    one = 2 * HOUR // EVERY - 1
    for matcher, expected in (("east", one), ("=~.*", 2 * one), ("=~w.*|x", one)):
        matchers = {"gateway": "gw", "cluster": matcher}
        assert sum_of(read_prometheus(fake, Period(NOON - 2 * HOUR, NOON), matchers)) == expected


@pytest.mark.parametrize(
    "fake",
    [
        in_each("pod", "a", "b"),
        in_each("pod_template_hash", "a", "b"),
        in_each("cluster", "a", "a"),
        # The label came within the period, in the middle of a part.
        in_each("cluster", "", "a", apart=2 * HOUR),
    ],
)
def test_labels_of_targets_and_a_label_that_came_later_are_no_clusters(fake: FakePrometheus) -> None:
    assert sum_of(read(fake, NOON - 2 * HOUR - 90 * SECOND, NOON + 2 * HOUR)) == 2 * (2 * HOUR // EVERY - 1)


class Liar:
    """An API that answers each query with the same."""

    def __init__(self, *items: t.Any) -> None:
        self.items = list(items)

    def query(self, kind: str, parameters: t.Mapping[str, str]) -> list[t.Any]:
        return self.items


AT = NOON / SECOND


@pytest.mark.parametrize(
    "item",
    [
        3,
        "metric",
        None,
        [],
        {},
        {"metric": {}},
        {"metric": [], "values": [[AT, "1"]]},
        {"metric": {"user": 3}, "values": [[AT, "1"]]},
        {"metric": {"user": "\ud800"}, "values": [[AT, "1"]]},
        {"metric": {}, "values": 3},
        {"metric": {}, "values": []},
        {"metric": {}, "values": [3]},
        {"metric": {}, "values": [[AT]]},
        {"metric": {}, "values": [[AT, "many"]]},
        {"metric": {}, "values": [[AT, None]]},
        {"metric": {}, "values": [[AT, 10**400]]},
        {"metric": {}, "values": [["soon", "1"]]},
        {"metric": {}, "values": [[float("inf"), "1"]]},
        # Of another time than that of the query.
        {"metric": {}, "values": [[AT + 10**6, "1"]]},
        {"metric": {}, "values": [[1e300, "1"]]},
    ],
)
def test_what_is_no_answer_of_prometheus_is_named(item: t.Any) -> None:
    with pytest.raises(SourceError, match=r"^prometheus_url: an answer has .* is another program there"):
        read_prometheus(Liar(item), Period(NOON - HOUR, NOON), {"gateway": "gw"})


@pytest.mark.parametrize("value", ["-1", "1e300"])
def test_no_counter_is_negative_or_endless(value: str) -> None:
    with pytest.raises(SourceError, match=f"a sample is {value}, which is no count"):
        read_prometheus(Liar({"metric": {}, "values": [[AT, value]]}), Period(NOON - HOUR, NOON), {"gateway": "gw"})


def test_names_cannot_leave_their_quotes() -> None:
    assert selector("up", {"job": 'a"} or vector(1)\n\\', "k8s.pod": "x"}) == (
        'up{job="a\\"} or vector(1)\\n\\\\","k8s.pod"="x"}'
    )
    fake = FakePrometheus()
    name = 'ja"ne\\ {}\n'
    tokens(fake, [(NOON - HOUR, 5.0), (NOON - MINUTE * 30, 9.0), (NOON - MINUTE * 29, 2.0), (NOON, 3.0)], user=name)
    assert sum_of(read(fake, NOON - HOUR, NOON), key=KEY._replace(user=name)) == 4 + 3


@pytest.mark.parametrize("closed", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_whatever_happens_the_sums_are_those_of_the_proxies(seed: int, closed: bool) -> None:
    """Pods that come, go and restart, with scrapes that fail, at odd edges, as Prometheus 2 and 3 have windows."""
    chance = random.Random(seed)  # noqa: S311
    fake = FakePrometheus()
    fake.closed_windows = closed
    length = chance.choice([7 * MINUTE, 3 * HOUR, DAY])
    start = NOON + chance.randrange(DAY)
    end = start + length + chance.randrange(SECOND)
    expected = 0
    for number in range(6):
        begins = start + chance.randrange(-length, length)
        ends = begins + chance.randrange(1, 2 * length)
        value, before, samples = 0, 0, []
        for time in range(begins, min(ends, end + length), max(EVERY, length // 200)):
            if chance.random() < 0.02:
                value = 0
            value += chance.randrange(50) if chance.random() < 0.5 else 0
            if chance.random() < 0.1:
                continue
            samples.append((time, float(value)))
            # What a reader of the samples alone can know.
            if start < time <= end:
                expected += value - before if value >= before else value
            if time <= end:
                before = value
        if samples and samples[0][0] <= start - DAY:
            raise AssertionError("a series must not begin before what is looked back")
        tokens(fake, samples, instance=f"pod-{number}")
    assert sum_of(read(fake, start, end)) == expected
