# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path
from unittest import mock

import pytest
from ansible.errors import AnsibleActionFail, AnsibleError, AnsibleUndefinedVariable
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar
from ansible_collections.egress.ai_gateway.plugins.action import apply_set
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes import api as kubernetes_api
from ansible_collections.egress.ai_gateway.plugins.modules import apply_set as module

#: Nothing listens there.
NOWHERE = "https://127.0.0.1:1"
SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "key"},
    "stringData": {"apiKey": "correct-horse-battery"},
}
ARGUMENTS = {"name": "a", "namespace": "b", "manifests": [SECRET], "host": NOWHERE, "api_key": "t0ken-value"}
MODULE_RESULT = {"changed": False, "by": "module"}
LOADER = DataLoader()


def run(
    arguments: dict[str, t.Any] | None = None,
    variables: dict[str, t.Any] | None = None,
    transport: str = "local",
    become: t.Any = None,
    **task: t.Any,
) -> dict[str, t.Any]:
    found = variables or {}
    values = {"async_val": 0, "delegate_to": None, "environment": [{}], "check_mode": False, "diff": False, **task}
    values["get_search_path"] = lambda: found.get("ansible_search_path", [])
    action = apply_set.ActionModule(
        task=mock.Mock(args=arguments or ARGUMENTS, action="egress.ai_gateway.apply_set", **values),
        connection=mock.Mock(transport=transport, become=become),
        play_context=mock.Mock(remote_addr="embedded"),
        loader=LOADER,
        templar=Templar(loader=LOADER, variables=found),
        shared_loader_obj=None,
    )
    action._execute_module = mock.Mock(side_effect=lambda **_others: {**MODULE_RESULT, "arguments": action._task.args})
    result: dict[str, t.Any] = action.run(task_vars=found)
    return result


@pytest.fixture(autouse=True)
def short_of_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubernetes_api, "FIRST_ANSWER_SECONDS", 0.1)


@pytest.mark.parametrize("interpreter", [None, "auto_silent", sys.executable])
def test_runs_inside_of_ansible_where_the_interpreter_is_the_same(interpreter: str | None) -> None:
    result = run(variables={"ansible_python_interpreter": interpreter})
    assert result["failed"]
    assert f"no answer from the API server {NOWHERE}" in result["msg"]
    assert result["created"] == []


@pytest.mark.parametrize(
    "where",
    [
        {"variables": {"ansible_python_interpreter": "/usr/bin/another-python"}},
        {"transport": "ssh"},
        {"become": mock.Mock()},
        {"delegate_to": "elsewhere"},
        {"environment": [{}, {"K8S_AUTH_CONTEXT": "other"}]},
    ],
)
def test_runs_as_a_module_where_that_is_another_place(where: dict[str, t.Any]) -> None:
    assert run(**where)["by"] == "module"


def test_runs_as_a_module_where_ansible_has_no_kubernetes_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert run()["by"] == "module"


def test_shows_neither_manifests_nor_credentials() -> None:
    result = run()
    assert result["invocation"]["module_args"]["manifests"] == "1 manifests, not shown"
    text = json.dumps(result)
    assert "correct-horse-battery" not in text
    assert "t0ken-value" not in text


def test_wrong_options_are_reported_as_by_a_module() -> None:
    result = run({"name": "a", "manifest": []})
    assert result["failed"]
    assert "missing required arguments: namespace" in result["msg"]
    assert "manifest. Supported parameters include" in result["msg"]
    assert "one of: present, absent" in run({**ARGUMENTS, "state": "gone"})["msg"]


def test_reports_what_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(
        "ansible_collections.egress.ai_gateway.plugins.plugin_utils._progress.display.display", shown.append
    )

    def perform(
        params: dict[str, t.Any], check_mode: bool, diff_mode: bool, say: t.Callable[[str], None]
    ) -> dict[str, t.Any]:
        assert (params["wait_timeout"], check_mode, diff_mode) == (300, True, True)
        say("applying")
        say("applying")
        return {"changed": True, "msg": "with t0ken-value"}

    monkeypatch.setattr(module, "perform", perform)
    result = run(check_mode=True, diff=True)
    assert shown == ["  [embedded] applying"]
    assert result["changed"]
    assert "t0ken-value" not in result["msg"]


@pytest.fixture
def performed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, t.Any]]:
    """The options of each run that came to be."""
    found: list[dict[str, t.Any]] = []

    def perform(params: dict[str, t.Any], *_others: t.Any) -> dict[str, t.Any]:
        found.append(params)
        return {"changed": False}

    monkeypatch.setattr(module, "perform", perform)
    return found


@pytest.fixture
def role(tmp_path: Path) -> dict[str, t.Any]:
    """The variables of a play, with the directory of a role that has templates among them."""
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates/greeting.j2").write_text(
        "{% if true %}\nname: {{ name | to_json }}\n{% endif %}\n{% include 'rest.j2' %}\n"
    )
    (tmp_path / "templates/rest.j2").write_text("key: {{ '\\\\' }}\n")
    return {"ansible_search_path": [str(tmp_path)], "name": "a: {{ b }}"}


def test_templates_become_manifests_beside_the_others(
    performed: list[dict[str, t.Any]], role: dict[str, t.Any]
) -> None:
    run({**ARGUMENTS, "template": "greeting.j2"}, role)
    run({**ARGUMENTS, "template": []}, role)
    run({**ARGUMENTS, "manifests": SECRET, "template": "greeting.j2,rest.j2"}, role)
    text = 'name: "a: {{ b }}"\nkey: \\\n'
    assert [params["manifests"] for params in performed] == [[SECRET, text], [SECRET], [SECRET, text, "key: \\\n"]]
    assert [params["template"] for params in performed] == [[], [], []]


def test_a_module_elsewhere_gets_the_rendered_templates_too(role: dict[str, t.Any]) -> None:
    result = run({**ARGUMENTS, "template": "rest.j2"}, role, delegate_to="elsewhere")
    assert result["arguments"] == {**ARGUMENTS, "manifests": [SECRET, "key: \\\n"]}


def test_nothing_is_rendered_for_a_set_that_goes(performed: list[dict[str, t.Any]]) -> None:
    run({**ARGUMENTS, "manifests": [], "template": "missing.j2", "state": "absent"})
    assert performed[0]["manifests"] == []


def test_a_template_that_cannot_be_rendered_is_reported(
    performed: list[dict[str, t.Any]], role: dict[str, t.Any]
) -> None:
    with pytest.raises(AnsibleError, match=r"missing\.j2"):
        run({**ARGUMENTS, "template": ["missing.j2"]}, role)
    with pytest.raises(AnsibleUndefinedVariable, match="'name' is undefined"):
        run({**ARGUMENTS, "template": "greeting.j2"}, {"ansible_search_path": role["ansible_search_path"]})
    with pytest.raises(AnsibleActionFail, match="template has an item of type int; write the path of a template"):
        run({**ARGUMENTS, "template": [5]}, role)
    assert "dict" in run({**ARGUMENTS, "template": {"path": "greeting.j2"}}, role)["msg"]
    assert performed == []
