# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of site are killed at moments by chance, and the next run has the end that an undisturbed one has.

KILLS is how many there are, and SITE_KILLS_SEED repeats a run.
"""

from __future__ import annotations

import os
import random

import pytest
import site_kills
from runs import playbook
from sites import WITHOUT_RECOVERY, Sites, validation

KILLS = int(os.environ.get("KILLS", "30"))
#: The seed spreads kills and keeps no secret.
SEED = int(os.environ.get("SITE_KILLS_SEED") or random.randrange(10**6))  # noqa: S311
#: So many kills come before one run that is not killed, in turn.
TIMES = (1, 1, 2)


def groups(kills: int) -> list[int]:
    """How often each run is killed, so many times in all."""
    found: list[int] = []
    while sum(found) < kills:
        found.append(min(TIMES[len(found) % len(TIMES)], kills - sum(found)))
    return found


@pytest.fixture(scope="module")
def kills(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> site_kills.Kills:
    print(f"{KILLS} kills, SITE_KILLS_SEED={SEED}")
    sites.ensure_any()
    with sites.becomes("one of two catalogues"):
        return site_kills.Kills(tmp_path_factory.mktemp("kills"), SEED)


@pytest.mark.parametrize("times", groups(KILLS))
def test_a_killed_run_is_completed_by_the_next(kills: site_kills.Kills, times: int) -> None:
    assert kills.kill_and_complete(times) == []


def test_the_gateway_of_killed_runs_is_as_any_other(kills: site_kills.Kills, sites: Sites) -> None:
    assert kills.run_again() == 0
    print(f"{kills.killed} of {KILLS} kills came before the end of their runs")
    # One that came after the end says nothing.
    assert kills.killed >= 0.8 * KILLS
    with sites.becomes("the default inventory"):
        playbook("egress.ai_gateway.site", "--skip-tags=embedded_cluster", *WITHOUT_RECOVERY)
    assert "failed" not in validation().values()
