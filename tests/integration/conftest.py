# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import time

import pytest
from sites import (  # noqa: F401 - fixtures
    any_site,
    bare_objects,
    default_site,
    machine_before,
    mixed_site,
    mixed_variables,
    sites,
    token,
)
from two_gateways import directory  # noqa: F401 - a fixture

#: The files in the order in which each leaves the least to do for the next: the cluster is filled with what stays, and
#: destroyed, last.
ORDER = [
    "end_to_end",
    "rendered",
    "combined_site",
    "semantic_router",
    "callers",
    "clients",
    "two_gateways",
    "existing_cluster",
    "destroy",
]


#: So many minutes after the first test no further one begins but the last, which leaves the machine as it was. Without
#: INTEGRATION_MINUTES all begin.
MINUTES = float(os.environ.get("INTEGRATION_MINUTES") or "inf")
STARTED = pytest.StashKey[float]()
LATE = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to count."""
    config.stash[STARTED] = time.monotonic()
    config.stash[LATE] = []


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what there is no time for."""
    minutes = (time.monotonic() - item.config.stash[STARTED]) / 60
    if minutes > MINUTES and item.path.stem.removeprefix("test_") != ORDER[-1]:
        item.config.stash[LATE].append(item.nodeid)
        pytest.skip(f"{MINUTES:.0f} minutes are over")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what was left out, and the command that makes up for it."""
    if late := config.stash[LATE]:
        files = sorted({name.partition("::")[0].rpartition("/test_")[2].removesuffix(".py") for name in late})
        terminalreporter.section(f"{len(late)} tests left out, as {MINUTES:.0f} minutes were over", red=True)
        terminalreporter.line("\n".join(f"NOT RUN {name}" for name in late))
        terminalreporter.line(f"Run them: make integration ARGS=\"-k '{' or '.join(files)}'\"")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in order."""
    items.sort(key=lambda item: ORDER.index(name) if (name := item.path.stem.removeprefix("test_")) in ORDER else -1)
