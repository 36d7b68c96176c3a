# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Dump the embedded gateway into an inventory of its own, and build the catalogue of an inventory."""

from __future__ import annotations

import json
import pathlib
import typing as t

import yaml
from objects import kubectl
from runs import INVENTORY, follow, recaps, run, start
from simulators import NAMESPACE, admin

#: Of what the cluster keeps, what is not to be changed by a check.
CHECK = ("--check", "--skip-tags=embedded_cluster,validation")
#: The models of a LiteLLM proxy: one at two providers in their order, and one whose key its provider refuses.
LITELLM: dict[str, t.Any] = {
    "model_list": [
        {
            "model_name": "chat",
            "litellm_params": {
                "model": "openai/gpt-4",
                "api_base": f"http://openai-simulator.{NAMESPACE}.svc.cluster.local:8000/v1",
                "api_key": "os.environ/LITELLM_FIRST_KEY",
                "order": 1,
                "temperature": 0.2,
            },
            "model_info": {"input_cost_per_token": 0.0000025, "output_cost_per_token": 0.00001},
        },
        {
            "model_name": "chat",
            "litellm_params": {
                "model": "openai/claude-3-sonnet",
                "api_base": f"http://anthropic-simulator.{NAMESPACE}.svc.cluster.local:8000/v1",
                "api_key": "os.environ/LITELLM_SECOND_KEY",
                "order": 2,
            },
        },
        {
            "model_name": "wrong-key",
            "litellm_params": {
                "model": "openai/gpt-4",
                "api_base": f"http://openai-simulator.{NAMESPACE}.svc.cluster.local:8000/v1",
                "api_key": "os.environ/LITELLM_WRONG_KEY",
            },
        },
        {"model_name": "*", "litellm_params": {"model": "openai/*"}},
    ],
    "litellm_settings": {"drop_params": True, "cache": True},
    "general_settings": {"master_key": "sk-master-of-litellm"},
}
LITELLM_KEYS = {
    "LITELLM_FIRST_KEY": "sk-openai-key-for-demo",
    "LITELLM_SECOND_KEY": "sk-ant-claude-key-for-demo",
    "LITELLM_WRONG_KEY": "sk-wrong-key-for-demo",
}


class Reader(yaml.SafeLoader):
    """Reads a dump without its templates."""


Reader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


class Dumped(t.NamedTuple):
    """An inventory whose variables are a dump, and what the playbook printed."""

    inventory: pathlib.Path
    output: str

    @property
    def file(self) -> pathlib.Path:
        return self.inventory / "group_vars/all/ai_gateway.yml"

    @property
    def variables(self) -> dict[str, t.Any]:
        """What the file says, with templates as they are written."""
        return dict(yaml.load(self.file.read_text(encoding="utf-8"), Reader))  # noqa: S506 (a SafeLoader)

    def keys(self, values: t.Mapping[str, str]) -> dict[str, str]:
        """The environment that the file reads keys from; `values` has them by provider."""
        return {
            str(provider["credential"]["value"]).split("'")[3]: values[provider["name"]]
            for provider in self.variables["ai_gateway_providers"]
            if "value" in provider["credential"]
        }


def dump(place: pathlib.Path, *arguments: str, fails: bool = False) -> Dumped:
    """Run the playbook for the embedded cluster; it must have failed where that is expected, and changed no object."""
    variables = place / "group_vars/all"
    variables.mkdir(parents=True, exist_ok=True)
    for name in ("hosts.yml", "group_vars/all/connection.yml"):
        (place / name).write_bytes((INVENTORY / name).read_bytes())
    dumped = ("--extra-vars", f"dump_file={variables / 'ai_gateway.yml'}", *arguments)
    before = kubectl("get", "configmaps,secrets,aigatewayroutes", "--all-namespaces", "--output=name")
    with start("ansible-playbook", "--inventory", INVENTORY, *dumped, "egress.ai_gateway.dump") as process:
        output = follow(process)
    assert (process.returncode != 0) == fails
    (recap,) = recaps(output)
    assert list(recap) == ["embedded"]
    assert kubectl("get", "configmaps,secrets,aigatewayroutes", "--all-namespaces", "--output=name") == before
    return Dumped(place, output)


def changes(inventory: pathlib.Path, *arguments: str, **environment: str) -> int:
    """How many tasks of site would change something with an inventory."""
    command = ("ansible-playbook", "--inventory", inventory, *CHECK, *arguments, "egress.ai_gateway.site")
    (recap,) = recaps(run(*command, **environment))
    assert recap["embedded"]["ok"] > 40
    return recap["embedded"]["changed"]


def catalogue(place: pathlib.Path, inventory: pathlib.Path, *arguments: str, **environment: str) -> dict[str, t.Any]:
    """The catalogue that role catalog builds of an inventory."""
    play = {
        "hosts": "all",
        "gather_facts": False,
        "roles": ["egress.ai_gateway.catalog"],
        "tasks": [
            {
                "ansible.builtin.copy": {
                    "content": "{{ ai_gateway_catalog | to_json }}",
                    "dest": f"{place}/catalogue.json",
                    "mode": "0600",
                }
            }
        ],
    }
    (place / "catalogue.yml").write_text(json.dumps([play]), encoding="utf-8")
    run("ansible-playbook", "--inventory", inventory, *arguments, place / "catalogue.yml", **environment)
    return dict(json.loads((place / "catalogue.json").read_text(encoding="utf-8")))


def totals(provider: str) -> dict[str, int]:
    """What the simulator of a provider counted since it runs: requests and tokens."""
    return dict(admin(provider, "GET", "/counters")["totals"])
