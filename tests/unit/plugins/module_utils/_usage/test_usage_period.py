# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import itertools

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Period,
    PeriodError,
    duration,
    period_of,
    shown,
    time_of,
)

#: 2026-11-25T12:00:00Z, a Wednesday.
NOON = 1_795_608_000_000


@pytest.mark.parametrize(
    ("written", "time"),
    [
        ("2026-11-25T12:00:00Z", NOON),
        ("2026-11-25T13:00:00+01:00", NOON),
        # As YAML has it for a time that is not quoted.
        ("2026-11-25 12:00:00+00:00", NOON),
        (" 2026-11-25T12:00:00.250Z ", NOON + 250),
        ("now", NOON),
        ("90s", NOON - 90 * SECOND),
        ("15m", NOON - 15 * MINUTE),
        ("24h", NOON - DAY),
        ("7d", NOON - 7 * DAY),
        ("2w", NOON - 14 * DAY),
    ],
)
def test_times(written: str, time: int) -> None:
    assert time_of("from", written, NOON) == time


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("yesterday", "now", "from: 'yesterday' is no time; write ISO 8601 with a zone"),
        ("", "now", "from: '' is no time"),
        ("7 days", "now", "from: '7 days' is no time"),
        ("2026-11-25T12:00:00", "now", "from: '2026-11-25T12:00:00' has no zone; write 2026-11-25T12:00:00Z, or"),
        ("2026-11-20", "now", "from: '2026-11-20' has no zone; write 2026-11-20T00:00:00Z"),
        ("1d", "2d", "which is not before to, 2026-11-23T12:00:00Z; write an earlier from or a later to"),
        ("1d", "2026-13-01T00:00:00Z", "to: '2026-13-01T00:00:00Z' is no time"),
        ("2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z", "which is not before now; write an earlier time"),
        ("now", "now", "which is not before now"),
        ("2020-01-01T00:00:00Z", "now", "is more than three years before to; write a later from"),
        ("x" * 500, "now", "xxx…' is no time"),
    ],
)
def test_what_is_wrong_with_a_period(start: str, end: str, message: str) -> None:
    with pytest.raises(PeriodError) as caught:
        period_of(start, end, NOON)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_end_in_the_future_is_now() -> None:
    assert period_of("1d", "2026-12-01T00:00:00Z", NOON) == (Period(NOON - DAY, NOON), True)
    assert period_of("1d", "now", NOON) == (Period(NOON - DAY, NOON), False)


@pytest.mark.parametrize("length", [SECOND, MINUTE, HOUR, 5 * HOUR, DAY, 7 * DAY, 30 * DAY, 400 * DAY, 1000 * DAY])
@pytest.mark.parametrize("shift", [0, 1, 12345, HOUR + 1])
def test_bars_cover_the_period_once_and_begin_at_whole_times(length: int, shift: int) -> None:
    period = Period(NOON + shift - length, NOON + shift)
    bars = period.bars()
    assert bars[0].start == period.start
    assert bars[-1].end == period.end
    assert all(before.end == after.start for before, after in itertools.pairwise(bars))
    assert 1 <= len(bars) <= 102
    inner = {bar.end - bar.start for bar in bars[1:-1]}
    assert len(inner) <= 1
    for step in inner & {MINUTE, HOUR, DAY}:
        assert all(bar.start % step == 0 for bar in bars[1:])


def test_weeks_begin_on_mondays() -> None:
    bars = Period(NOON - 400 * DAY, NOON).bars()
    assert shown(bars[1].start).endswith("T00:00:00Z")
    # 1970-01-05 was a Monday.
    assert (bars[1].start - 4 * DAY) % (7 * DAY) == 0


@pytest.mark.parametrize(
    ("length", "words"),
    [(7 * DAY, "7 d"), (DAY, "24 h"), (90 * MINUTE, "90 min"), (HOUR, "60 min"), (90 * SECOND, "90 s"), (500, "0 s")],
)
def test_durations(length: int, words: str) -> None:
    assert duration(length) == words
