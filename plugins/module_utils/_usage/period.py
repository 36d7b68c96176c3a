# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The period of a report, and the parts of it that a chart shows. Pure.

Times are whole milliseconds since 1970 in UTC, as Prometheus has them.
"""

from __future__ import annotations

import datetime
import re
import typing as t
from dataclasses import dataclass

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
_UNITS = {"s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_RELATIVE = re.compile(r"([0-9]{1,6})([smhdw])")
#: The lengths of a bar; each divides a day, so that bars begin at whole hours and days of UTC.
_LENGTHS = (MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY)
_MOST_BARS = 100
#: What a shift of the epoch makes begin on a Monday: the first of January 1970 was a Thursday.
_MONDAY = 4 * DAY
_LONGEST = 3 * 366 * DAY


class PeriodError(ValueError):
    """A time that cannot be used; the message names the field and the remedy."""


@dataclass(frozen=True)
class Period:
    """From the first time to the second, in milliseconds since 1970."""

    start: int
    end: int

    @property
    def seconds(self) -> float:
        return (self.end - self.start) / SECOND

    def bars(self) -> tuple[Period, ...]:
        """The period in at most about a hundred parts that begin at whole minutes, hours, days or weeks of UTC.

        The first and the last may be shorter.
        """
        length = next((length for length in _LENGTHS if (self.end - self.start) / length <= _MOST_BARS), _LENGTHS[-1])
        shift = _MONDAY if length > DAY else 0
        edges = [self.start]
        edge = (self.start - shift) // length * length + shift + length
        while edge < self.end:
            edges.append(edge)
            edge += length
        return tuple(Period(*pair) for pair in zip(edges, [*edges[1:], self.end]))


def time_of(field: str, value: str, now: int) -> int:
    """The time that a string names: ISO 8601 with its zone, ``now``, or how long before now, such as ``7d``.

    :raises PeriodError: if it names none.
    """
    written = value.strip()
    if written == "now":
        return now
    relative = _RELATIVE.fullmatch(written)
    if relative:
        return now - int(relative[1]) * _UNITS[relative[2]]
    try:
        found = datetime.datetime.fromisoformat(written)
    except ValueError:
        raise PeriodError(
            f"{field}: {_quoted(written)} is no time; write ISO 8601 with a zone such as 2026-11-01T00:00:00Z, or how "
            "long before now such as 7d, with s, m, h, d or w"
        ) from None
    if found.tzinfo is None:
        example = found.isoformat(timespec="seconds")
        raise PeriodError(f"{field}: {_quoted(written)} has no zone; write {example}Z, or {example}+01:00")
    return round(found.timestamp() * SECOND)


def period_of(start: str, end: str, now: int) -> tuple[Period, bool]:
    """The period between two strings, and whether its end was in the future and is now instead.

    :raises PeriodError: if it is none.
    """
    first, last = time_of("from", start, now), time_of("to", end, now)
    if first >= now:
        raise PeriodError(f"from: {_quoted(start)} is {shown(first)}, which is not before now; write an earlier time")
    if first >= last:
        raise PeriodError(
            f"from: {_quoted(start)} is {shown(first)}, which is not before to, {shown(last)}; write an earlier from "
            "or a later to"
        )
    period = Period(first, min(last, now))
    if period.end - period.start < SECOND:
        raise PeriodError("from: the period is shorter than a second; write an earlier from or a later to")
    if period.end - period.start > _LONGEST:
        raise PeriodError(f"from: {_quoted(start)} is more than three years before to; write a later from")
    return period, last > now


def shown(time: int) -> str:
    """A time in ISO 8601, in UTC and whole seconds."""
    return _utc(time).strftime("%Y-%m-%dT%H:%M:%SZ")


def readable(time: int) -> str:
    """A time for people, in UTC and whole minutes."""
    return str(_utc(time).strftime("%d %b %Y %H:%M")).lstrip("0")


def shown_shortly(period: Period, time: int) -> str:
    """A time as an axis of the period has it."""
    pattern = "%d %b %H:%M" if period.end - period.start <= 3 * DAY else "%d %b"
    return _utc(time).strftime(pattern)


def duration(milliseconds: float) -> str:
    """A duration in words of one unit."""
    for unit, length in (("d", DAY), ("h", HOUR), ("min", MINUTE), ("s", SECOND)):
        if milliseconds >= 2 * length or (unit == "s"):
            return f"{milliseconds / length:.0f} {unit}"
    raise AssertionError("unreachable")


def _utc(time: int) -> t.Any:
    return datetime.datetime.fromtimestamp(time / SECOND, datetime.UTC)


def _quoted(value: str) -> str:
    return repr(value if len(value) <= 60 else f"{value[:60]}…")
