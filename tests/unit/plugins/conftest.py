# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import json
import typing as t
from collections.abc import Callable, Iterator

import pytest
from ansible.module_utils.basic import AnsibleModule
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
def run_module(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> RunModule:
    """Run a module of the collection in this process and return what it printed, as Ansible would read it."""
    warnings: list[str] = []
    # In a process that has loaded the controller's side too, they would go to its terminal.
    monkeypatch.setattr(AnsibleModule, "warn", lambda module, warning, **_options: warnings.append(warning))

    def run(name: str, arguments: dict[str, t.Any], check_mode: bool = False) -> dict[str, t.Any]:
        module = importlib.import_module(f"{MODULES}.{name}")
        capsys.readouterr()
        warnings.clear()
        with patch_module_args({**arguments, "_ansible_check_mode": check_mode}), pytest.raises(SystemExit):
            module.main()
        result: dict[str, t.Any] = json.loads(capsys.readouterr().out)
        return {**result, "warnings": list(warnings)}

    return run
