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
    "awx_jobs",
    "rendered",
    "drift",
    "combined_site",
    "semantic_router",
    "callers",
    "clients",
    "two_gateways",
    "existing_cluster",
    "observability",
    "destroy",
]


#: So many minutes after the beginning no further test begins but the last, which leaves the machine as it was. Without
#: INTEGRATION_MINUTES all begin.
MINUTES = float(os.environ.get("INTEGRATION_MINUTES") or "inf")
STARTED = time.monotonic()
#: The tests that were left out.
LATE: list[pytest.Item] = []


def name_of_file(item: pytest.Item) -> str:
    """Return the name of a test's file, as ORDER has it."""
    return item.path.stem.removeprefix("test_")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Leave out what there is no time for."""
    if time.monotonic() - STARTED > MINUTES * 60 and name_of_file(item) != ORDER[-1]:
        LATE.append(item)
        pytest.skip(f"{MINUTES:.0f} minutes are over")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was left out, and the command that makes up for it."""
    if LATE:
        terminalreporter.section(f"{len(LATE)} tests left out, as {MINUTES:.0f} minutes were over", red=True)
        terminalreporter.line("\n".join(f"NOT RUN {item.nodeid}" for item in LATE))
        files = " or ".join(sorted(set(map(name_of_file, LATE))))
        terminalreporter.line(f"Run them: make integration ARGS=\"-k '{files}'\"")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files in order."""
    items.sort(key=lambda item: ORDER.index(name) if (name := name_of_file(item)) in ORDER else -1)
