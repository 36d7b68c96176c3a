# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running simulators, and the program's modules for tests that need no process."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from simulator_process import FILES, Simulator

# The program's modules import each other by their names, as in their pod.
sys.path.insert(0, str(FILES))


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    running = Simulator(tmp_path_factory.mktemp("simulator"), "--admin-port=0")
    yield running
    running.stop()


@pytest.fixture(scope="module")
def anthropic_simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    running = Simulator(tmp_path_factory.mktemp("anthropic"), "--schema=anthropic", "--admin-port=0")
    yield running
    running.stop()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Simulator]]:
    running: list[Simulator] = []

    def start_one(*arguments: str, tls: ssl.SSLContext | None = None) -> Simulator:
        running.append(Simulator(tmp_path, *arguments, tls=tls))
        return running[-1]

    yield start_one
    for simulator in running:
        simulator.stop()
