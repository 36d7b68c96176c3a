# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Statistics of the benchmark of traffic, and the search for the highest rate that is held."""

from __future__ import annotations

import math
import statistics
import typing as t

#: How near the search comes to the highest rate: rates that differ by less are the same.
NEAR = 1.08
#: The lowest rate that the search tries, as a share of the highest.
LEAST = 1 / 64


def number(value: float) -> str:
    """Return a number with three digits, or with all before the point."""
    if not math.isfinite(value):
        return "none"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 or not value else 3
    return f"{value:,.{digits}f}"


def spread(values: t.Iterable[float]) -> str:
    """Return "median (least to most)", or what the only value is."""
    found = sorted(values)
    middle = number(statistics.median(found))
    return f"{middle} ({number(found[0])} to {number(found[-1])})" if len(found) > 1 else middle


def held(
    p99_at: t.Callable[[float], float], limits: t.Iterable[float], top: float, near: float = NEAR
) -> dict[float, float]:
    """Return for each of ``limits`` the highest rate at which p99 is within it, or 0 where it is at none.

    :param p99_at: measures a rate. One that is not within the limit is measured once more: a pause of the machine is
        not the gateway's.
    :param top: the highest rate to try.
    """
    seen: dict[float, list[float]] = {}

    def within(rate: float, limit: float) -> bool:
        measured = seen.setdefault(rate, [])
        while len(measured) < 2 and min(measured, default=math.inf) > limit:
            measured.append(p99_at(rate))
        return min(measured) <= limit

    found: dict[float, float] = {}
    for limit in sorted(limits):
        # What held a lower limit holds this one.
        low = max((rate for rate, measured in seen.items() if min(measured) <= limit), default=0.0)
        failed = [rate for rate, measured in seen.items() if rate > low and min(measured) > limit]
        if not failed and low < top:
            if within(top, limit):
                low = top
            else:
                failed = [top]
        high = min(failed, default=top)
        while high > max(low * near, top * LEAST) and low < top:
            rate = math.sqrt(low * high) if low else high / 2
            if within(rate, limit):
                low = rate
            else:
                high = rate
        found[limit] = low
    return found


def beside(ours: float, others: float, higher_is_better: bool) -> str:
    """Return how many times ours is as good as another, or that it is behind, and by what."""
    if not (ours > 0 and others > 0 and math.isfinite(ours) and math.isfinite(others)):
        return "-"
    ratio = ours / others if higher_is_better else others / ours
    return f"{number(ratio)} times" if ratio >= 1 else f"**behind {number(1 / ratio)} times**"
