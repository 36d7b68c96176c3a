# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""By how much a counter grew, exactly. Pure.

PromQL's ``increase`` and ``rate`` extrapolate to the edges of their window, and miss the first value of a series. So
differences of the samples themselves are summed here: a value below the last one is that of a counter that began again
at 0, and a series without a sample before the period began at 0 as well.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Window:
    """What Prometheus says of the samples of a series in a part of the period."""

    first: float
    last: float
    #: Times that the counter began again between two of these samples.
    resets: int
    samples: int


@dataclass
class Counter:
    """A series, fed with its samples in order of their time."""

    #: The last value that is known; None before the first sample.
    known: float | None = None
    #: Times that the counter was seen to have begun again.
    resets: int = 0
    samples: int = 0

    def grow(self, value: float) -> float:
        """The increase up to the next sample."""
        self.samples += 1
        if self.known is None:
            grown = value
        elif value >= self.known:
            grown = value - self.known
        else:
            self.resets += 1
            grown = value
        self.known = value
        return grown

    def pass_over(self, window: Window) -> float:
        """The increase through a window in which the counter did not begin again between two samples."""
        grown = self.grow(window.first) + self.grow(window.last)
        self.samples += window.samples - 2
        return grown


@dataclass
class Series:
    """The windows of a series: by the index of its part of the period what is known of that."""

    labels: dict[str, str]
    #: The last value at the beginning of the period or before; None if there is none.
    before: float | None = None
    windows: dict[int, Window] = field(default_factory=dict)


#: The samples of a series in a part of the period, in order of their time.
Samples = t.Callable[[t.Mapping[str, str], int], t.Sequence[float]]


def increases(series: Series, samples: Samples) -> tuple[dict[int, float], Counter]:
    """By the index of each part of the period the increase in it, and the counter as it then is.

    :param samples: asked for the parts in which the counter began again.
    """
    counter, result = Counter(series.before), {}
    for index, window in sorted(series.windows.items()):
        if window.resets:
            result[index] = sum(counter.grow(value) for value in samples(series.labels, index))
        else:
            result[index] = counter.pass_over(window)
    return result, counter
