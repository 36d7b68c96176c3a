# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A time after which no further test of a run begins; each that is left out is named, with the command that runs it."""

from __future__ import annotations

import time
import typing as t

import pytest


def name_of_file(item: pytest.Item) -> str:
    """Return the name of a test's file without `test_`."""
    return item.path.stem.removeprefix("test_")


def steps_of(item: pytest.Item) -> str:
    """Return what the steps of a class with the same parameters share; a test outside of a class is one of its own."""
    parent = item.getparent(pytest.Class)
    return f"{parent.nodeid}{item.name.partition('[')[2]}" if parent else item.nodeid


class TimeLimit:
    """A plugin of pytest.

    :param minutes: how long tests begin, as an environment variable has it; for ever where it is empty.
    :param target: of make, which runs the tests.
    :param last: the name of the file that runs in any case.
    """

    def __init__(self, minutes: str, target: str, last: str = "") -> None:
        self._minutes = float(minutes or "inf")
        self._target, self._last = target, last
        self._started = time.monotonic()
        self._late: list[pytest.Item] = []
        self._begun: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Leave out what there is no time for; the steps of a class that has begun go on, as the last clears up."""
        steps = steps_of(item)
        late = time.monotonic() - self._started > self._minutes * 60
        if late and steps not in self._begun and name_of_file(item) != self._last:
            self._late.append(item)
            pytest.skip(f"{self._minutes:.0f} minutes are over")
        self._begun.add(steps)

    def pytest_terminal_summary(self, terminalreporter: t.Any) -> None:
        """Name what was left out, and the command that makes up for it."""
        if self._late:
            terminalreporter.section(
                f"{len(self._late)} tests left out, as {self._minutes:.0f} minutes were over", red=True
            )
            terminalreporter.line("\n".join(f"NOT RUN {item.nodeid}" for item in self._late))
            files = " or ".join(sorted(set(map(name_of_file, self._late))))
            terminalreporter.line(f"Run them: make {self._target} ARGS=\"-k '{files}'\"")
