# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import json
import typing as t
from collections.abc import Callable, Iterator

import pytest
from ansible.module_utils.testing import patch_module_args
from loopback import Loopback

MODULES = "ansible_collections.egress.ai_gateway.plugins.modules"
RunModule = Callable[..., dict[str, t.Any]]


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    server = Loopback()
    yield server
    server.close()


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> RunModule:
    """Run a module of the collection in this process and return what it printed, as Ansible would read it."""

    def run(name: str, arguments: dict[str, t.Any], check_mode: bool = False) -> dict[str, t.Any]:
        module = importlib.import_module(f"{MODULES}.{name}")
        capsys.readouterr()
        with patch_module_args({**arguments, "_ansible_check_mode": check_mode}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        return result

    return run
