# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The geometry of charts, for a template that draws them. Pure."""

from __future__ import annotations

import math
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import Period, shown, shown_shortly

WIDTH, HEIGHT = 960, 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 8, 10, 26
#: Series with a colour of their own; the others are one.
COLOURS = 7
OTHERS = "all others"
_MOST_LABELS = 8
_TICKS = 4
#: The least height of what is not 0.
_LEAST = 1.5


@dataclass(frozen=True)
class Rectangle:
    x: float
    y: float
    width: float
    height: float
    colour: int
    title: str


@dataclass(frozen=True)
class Label:
    """A label at a place of an axis."""

    at: float
    words: str


@dataclass(frozen=True)
class Chart:
    rectangles: tuple[Rectangle, ...]
    #: Of the vertical and the horizontal axis.
    amounts: tuple[Label, ...]
    times: tuple[Label, ...]
    #: Names and their colours.
    legend: tuple[tuple[str, int], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    bottom: int = HEIGHT - _BOTTOM


def stacked(
    bars: Sequence[Period],
    names: Sequence[str],
    values: Mapping[str, Mapping[int, float]],
    shown_value: Callable[[float], str],
) -> Chart:
    """A bar for each part of the period, with a piece for each name.

    :param names: in the order of their colours; those beyond COLOURS are put together.
    :param values: by name and index of the part.
    """
    # A name has the same colour in each chart of the same names.
    colours = {name: colour for colour, name in enumerate(names[:COLOURS])}
    others = [name for name in names[COLOURS:] if name in values]
    series = [(name, colour, values[name]) for name, colour in colours.items() if name in values]
    if others:
        together = {index: sum(values[name].get(index, 0) for name in others) for index in range(len(bars))}
        series.append((OTHERS, COLOURS, together))
    highest = max((sum(one.get(i, 0) for _name, _colour, one in series) for i in range(len(bars))), default=0)
    step = _nice(highest / _TICKS)
    top = step * max(1, math.ceil(highest / step - 1e-9))
    height, width = HEIGHT - _TOP - _BOTTOM, (WIDTH - _LEFT - _RIGHT) / len(bars)

    rectangles = []
    for index, span in enumerate(bars):
        at = float(HEIGHT - _BOTTOM)
        for name, colour, one in series:
            value = one.get(index, 0)
            if value <= 0:
                continue
            size = max(_LEAST, value / top * height)
            at = at - size
            title = f"{shown(span.start)} to {shown(span.end)}: {name}: {shown_value(value)}"
            gap = min(2.0, width * 0.15)
            rectangles.append(
                Rectangle(
                    round(_LEFT + index * width + gap / 2, 2),
                    round(at, 2),
                    round(width - gap, 2),
                    round(size, 2),
                    colour,
                    title,
                )
            )
    return Chart(
        tuple(rectangles),
        tuple(
            Label(round(HEIGHT - _BOTTOM - number * step / top * height, 2), shown_value(number * step))
            for number in range(round(top / step) + 1)
        ),
        tuple(_times(bars, width)),
        tuple((name, colour) for name, colour, _values in series),
    )


def _times(bars: Sequence[Period], width: float) -> t.Iterator[Label]:
    period = Period(bars[0].start, bars[-1].end)
    every = max(1, math.ceil(len(bars) / _MOST_LABELS))
    # The first part may begin between two whole hours or days.
    for index in range(1 if len(bars) > _MOST_LABELS else 0, len(bars), every):
        yield Label(round(_LEFT + index * width, 2), shown_shortly(period, bars[index].start))


def _nice(number: float) -> float:
    """The next number of 1, 2 or 5 times a power of ten."""
    if number <= 0:
        return 1
    power = 10 ** math.floor(math.log10(number))
    return next(float(factor * power) for factor in (1, 2, 5, 10) if factor * power >= number * (1 - 1e-9))
