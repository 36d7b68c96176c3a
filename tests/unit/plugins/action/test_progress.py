# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one action plugin of all modules that show their progress."""

from __future__ import annotations

import importlib
import inspect
import typing as t
from pathlib import Path
from unittest import mock

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.egress.ai_gateway.plugins.action.progress import ActionModule
from ansible_collections.egress.ai_gateway.plugins.module_utils import _progress
from ansible_collections.egress.ai_gateway.plugins.plugin_utils import _progress as shown

PLUGINS = Path(_progress.__file__).parents[1]
RUNTIME = yaml.safe_load((PLUGINS.parent / "meta/runtime.yml").read_text(encoding="utf-8"))
ROUTES = {name: route["action_plugin"] for name, route in RUNTIME["plugin_routing"]["modules"].items()}
PROGRESS, IN_PROCESS = "egress.ai_gateway.progress", "egress.ai_gateway.in_process"


def reporting_modules() -> set[str]:
    sources = {path.stem: path.read_text(encoding="utf-8") for path in (PLUGINS / "modules").glob("*.py")}
    return {name for name, source in sources.items() if "module_utils._progress import" in source}


def test_every_module_that_reports_progress_has_an_action_plugin_that_shows_it() -> None:
    own = {path.stem for path in (PLUGINS / "action").glob("*.py")}
    assert set(ROUTES) >= reporting_modules() - own
    assert set(ROUTES.values()) == {PROGRESS, IN_PROCESS}


@pytest.mark.parametrize("name", sorted(name for name, action in ROUTES.items() if action == IN_PROCESS))
def test_a_module_that_runs_inside_of_ansible_has_what_that_takes(name: str) -> None:
    module: t.Any = importlib.import_module(f"ansible_collections.egress.ai_gateway.plugins.modules.{name}")
    assert set(module.arguments()) <= set(inspect.signature(ArgumentSpecValidator).parameters)
    assert next(iter(inspect.signature(module.perform).parameters)) == "params"
    assert len(inspect.signature(module.perform).parameters) == 4


@pytest.mark.parametrize("module", sorted(name for name, action in ROUTES.items() if action == PROGRESS))
def test_it_runs_the_module_of_the_task_and_shows_its_lines(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(shown, "INTERVAL", 0.01)
    name = f"egress.ai_gateway.{module}"
    action: t.Any = ActionModule(
        task=mock.Mock(action=name, args={}, async_val=0),
        connection=mock.Mock(),
        play_context=mock.Mock(remote_addr="embedded"),
        loader=mock.Mock(),
        templar=mock.Mock(),
        shared_loader_obj=None,
    )
    asked: list[t.Any] = []

    def execute(module_name: str | None = None, **_others: t.Any) -> dict[str, t.Any]:
        # Ansible takes the action of the task where no name is given.
        asked.append(module_name or action._task.action)
        _progress.Progress().say("half of it is done")
        return {"changed": True}

    action._execute_module = execute
    assert action.run(task_vars={})["changed"]
    assert asked == [name]
    assert "[embedded] half of it is done" in capsys.readouterr().out


def test_lines_begin_with_the_name_of_the_host_whatever_its_address_is(capsys: pytest.CaptureFixture[str]) -> None:
    action: t.Any = ActionModule(
        task=mock.Mock(args={}, async_val=0),
        connection=mock.Mock(),
        play_context=mock.Mock(remote_addr="127.0.0.1"),
        loader=mock.Mock(),
        templar=mock.Mock(),
        shared_loader_obj=None,
    )
    action._execute_module = lambda **_options: {"changed": False}
    action.run(task_vars={"inventory_hostname": "frankfurt"})
    action._say("half of it is done")
    assert "  [frankfurt] half of it is done" in capsys.readouterr().out
