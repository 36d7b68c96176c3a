# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queries against a real Prometheus, with samples of days that promtool has written."""

from __future__ import annotations

import random
import typing as t
from pathlib import Path

import prometheus_programs
import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.http_source import PrometheusApi, Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import Key
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import DAY, HOUR, SECOND, Period, shown
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.prometheus import read_prometheus

#: A Wednesday at noon, in milliseconds.
NOON = 1_795_608_000_000
EVERY = 120 * SECOND
TOKENS = "envoy_ai_gateway_tokens_total"
#: A name that PromQL must be given in the right quotes.
NAME = 'ja"ne\\of {the} \u00e9'
KEY = Key(NAME, "free", "gpt-4", "openai")
START, END = NOON - 2 * DAY - 12_345, NOON - 33_333

Samples = list[tuple[int, int]]


@pytest.fixture(scope="module")
def pods() -> dict[str, Samples]:
    """By pod the samples of its counter: pods come and go, restart, and are not scraped for some hours."""
    chance = random.Random(7)  # noqa: S311
    found: dict[str, Samples] = {}
    for number in range(8):
        begins = NOON - 54 * HOUR + (0 if number < 2 else chance.randrange(50 * HOUR))
        ends = NOON if number == 0 else begins + chance.randrange(HOUR, 30 * HOUR)
        value, samples = chance.randrange(1000), []
        for time in range(begins, min(ends, NOON) + 1, EVERY):
            if chance.random() < 0.005:
                value = 0
            value += chance.randrange(1, 500) if chance.random() < 0.2 else 0
            if not NOON - DAY < time <= NOON - DAY + 3 * HOUR:
                samples.append((time, value))
        found[f"pod-{number}"] = samples
    return found


@pytest.fixture(scope="module")
def prometheus(pods: dict[str, Samples], tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[PrometheusApi]:
    if not prometheus_programs.plan().built:
        pytest.skip("Prometheus is not built on this machine; the end-to-end tests build it")
    directory: Path = tmp_path_factory.mktemp("prometheus")
    escaped = NAME.replace("\\", "\\\\").replace('"', '\\"')
    lines = [f"# TYPE {TOKENS.removesuffix('_total')} counter"]
    for pod, samples in pods.items():
        labels = f'gateway="gw",user="{escaped}",tier="free",model="gpt-4",provider="openai",type="input"'
        target = f'job="proxies",instance="{pod}"'
        lines += [f"{TOKENS}{{{labels},{target}}} {value} {time / SECOND}" for time, value in samples]
    lines += ["# TYPE up gauge"]
    for pod, samples in pods.items():
        lines += [f'up{{job="proxies",instance="{pod}"}} 1 {time / SECOND}' for time, _value in samples]
    (directory / "samples.txt").write_text("\n".join([*lines, "# EOF", ""]), encoding="utf-8")
    (directory / "data").mkdir()
    written = prometheus_programs.promtool(
        "tsdb", "create-blocks-from", "openmetrics", str(directory / "samples.txt"), str(directory / "data")
    )
    assert written.returncode == 0, written.stderr
    server = prometheus_programs.Prometheus(directory, {"scrape_configs": []})
    yield PrometheusApi(Settings(f"http://127.0.0.1:{server.port}"))
    server.stop()


def grown(pods: dict[str, Samples], period: Period) -> int:
    """What an accountant with all samples counts."""
    total = 0
    for samples in pods.values():
        known = None
        for time, value in samples:
            if time > period.end:
                break
            if time > period.start:
                total += value - known if known is not None and value >= known else value
            known = value
    return total


@pytest.mark.parametrize(
    "period",
    [
        Period(START, END),
        # Edges at samples.
        Period(NOON - 2 * DAY, NOON),
        Period(NOON - 30 * HOUR, NOON - 20 * HOUR),
        Period(NOON - HOUR, NOON),
        Period(NOON - 25 * HOUR, NOON - 20 * HOUR),
    ],
    ids=lambda period: shown(period.start),
)
def test_sums_are_those_of_all_samples(prometheus: PrometheusApi, pods: dict[str, Samples], period: Period) -> None:
    reading = read_prometheus(prometheus, period, {"gateway": "gw"})
    assert set(reading.usage) == {KEY}
    expected = grown(pods, period)
    assert sum(amount.input for amount in reading.usage[KEY].values()) == expected > 0


def test_the_hours_without_samples_are_named(prometheus: PrometheusApi) -> None:
    reading = read_prometheus(prometheus, Period(NOON - 2 * DAY, NOON), {"gateway": "gw"})
    (gap,) = [caution.message for caution in reading.cautions if caution.code == "missing_samples"]
    assert "from 2026-11-24T12:00:00Z to 2026-11-24T15:00:00Z (3 h)" in gap
