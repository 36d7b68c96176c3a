# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path
from unittest import mock

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.template import trust_as_template
from ansible_collections.egress.ai_gateway.plugins.action.catalog import ActionModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import inputs as catalog_inputs
from ansible_collections.egress.ai_gateway.plugins.modules import catalog as documentation


def run(arguments: dict[str, t.Any], variables: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
    task = mock.Mock(args=arguments, async_val=0, action="egress.ai_gateway.catalog")
    connection = mock.Mock()
    action = ActionModule(
        task=task,
        connection=connection,
        play_context=mock.Mock(),
        loader=mock.Mock(),
        templar=mock.Mock(),
        shared_loader_obj=None,
    )
    result: dict[str, t.Any] = action.run(task_vars=variables or {})
    assert connection.method_calls == []
    return result


def test_returns_the_catalogue() -> None:
    result = run({"platform": "kind", "name": "east"})
    assert result["changed"] is False
    assert "failed" not in result
    assert (result["catalog"]["audience"], result["catalog"]["policy_engine"]) == ("east-sa", "authorino")


def test_drops_the_origin_of_a_string() -> None:
    mark = trust_as_template
    assert type(mark("a")) is not str
    provider = {
        "name": mark("a"),
        "schema": "openai",
        "simulated": True,
        "credential": {"value": "k"},
        "models": [{mark("name"): mark("m")}],
    }
    catalog = run({"providers": [provider]})["catalog"]
    names = [catalog["providers"][0]["name"], catalog["models"][0]["name"]]
    assert names == ["a", "m"]
    assert [type(name) for name in names] == [str, str]


def test_returns_all_faults() -> None:
    result = run({"platform": "cloud", "providers": [1]}, {"ai_gateway_model": []})
    assert result["failed"] is True
    assert "catalog" not in result
    assert [fault["path"] for fault in result["faults"]] == [
        "ai_gateway_model",
        "ai_gateway_platform",
        "ai_gateway_providers[0]",
    ]
    assert all(f"{fault['path']}: {fault['problem']}; {fault['remedy']}" in result["msg"] for fault in result["faults"])


def test_refuses_an_option_it_does_not_have() -> None:
    with pytest.raises(AnsibleActionFail, match="provider"):
        run({"provider": []})


def test_the_documentation_names_what_the_action_takes_and_returns() -> None:
    options = yaml.safe_load(documentation.DOCUMENTATION)["options"]
    assert tuple(options) == catalog_inputs.INPUTS
    assert tuple(options["platform"]["choices"]) == catalog_inputs.PLATFORMS
    assert tuple(options["stack"]["choices"]) == catalog_inputs.STACKS
    assert tuple(options["policy_engine"]["choices"]) == catalog_inputs.POLICY_ENGINES
    returned = yaml.safe_load(documentation.RETURN)
    assert set(returned["catalog"]["contains"]) == set(catalog_build.build({}).as_dict())
    example, _show = yaml.safe_load(documentation.EXAMPLES)
    assert (
        run(example["egress.ai_gateway.catalog"])["catalog"]["providers"]
        == returned["catalog"]["contains"]["providers"]["sample"]
    )
    assert Path(documentation.__file__).stem == "catalog"
