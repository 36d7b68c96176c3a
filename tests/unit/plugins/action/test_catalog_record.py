# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A record has what differs from the defaults, whatever these are made of."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.record import Key, read_record
from ansible_collections.egress.ai_gateway.plugins.modules import catalog_record as documentation

sys.path.insert(0, str(Path(__file__).parents[2] / "roles"))
from plays import run_playbook

CANARY = "sk-canary-a8e1"
PROVIDER = {
    "name": "one",
    "schema": "openai",
    "simulated": True,
    "credential": {"value": "{{ lookup('ansible.builtin.env', 'CANARY') }}"},
    "models": [{"name": "m"}],
}


def recorded(directory: Path, variables: dict[str, t.Any], *arguments: str) -> dict[str, t.Any]:
    """What the module returns in a play with roles catalog and gateway, for variables of the inventory."""
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": variables,
        "roles": ["egress.ai_gateway.catalog"],
        "tasks": [
            # Its defaults are then in the play, and none of its tasks is.
            {
                "ansible.builtin.import_role": {"name": "egress.ai_gateway.gateway", "tasks_from": "url.yml"},
                "when": False,
            },
            {
                "egress.ai_gateway.catalog_record": {"catalog": "{{ ai_gateway_catalog }}"},
                "register": "found",
            },
            {"ansible.builtin.copy": {"content": "{{ found | to_json }}", "dest": f"{directory}/found.json"}},
        ],
    }
    ended = run_playbook(directory, play, {}, *arguments, environment={"CANARY": CANARY})
    assert ended.returncode == 0, ended.output
    assert CANARY not in ended.output
    return dict(json.loads((directory / "found.json").read_text(encoding="utf-8")))


def test_a_record_has_what_differs_from_the_defaults(tmp_path: Path) -> None:
    found = recorded(
        tmp_path,
        {
            "ai_gateway_platform": "kind",
            # What the defaults are on this platform, in other words.
            "ai_gateway_controller_replicas": "{{ 0 + 1 }}",
            "gateway_service_type": "NodePort",
            "ai_gateway_namespace": "gw",
            "ai_gateway_kubeconfig": "/nonexistent",
            "gateway_hostname": "{{ 'ai' }}.example.com",
            "gateway_wait_timeout": 7,
            "ai_gateway_providers": "{{ [provider] }}",
            "provider": PROVIDER,
            "simulators_additional_keys": {"one": [CANARY]},
        },
        "-vvv",
    )
    assert found["variables"] == [
        "ai_gateway_namespace",
        "ai_gateway_platform",
        "ai_gateway_providers",
        "gateway_hostname",
    ]
    assert found["unrecorded"] == ["simulators_additional_keys"]
    assert found["changed"] is False
    assert CANARY not in json.dumps(found)
    record = read_record(found["manifests"], "gw", "ai-gateway", found["variables"])
    assert record
    assert record.variables["gateway_hostname"] == "ai.example.com"
    credential = record.variables["ai_gateway_providers"][0]["credential"]
    assert isinstance(credential["value"], Key)
    assert credential["value"].namespace == "gw"


def test_a_gateway_by_its_defaults_has_an_empty_record(tmp_path: Path) -> None:
    assert recorded(tmp_path, {"ai_gateway_allow_empty": True})["variables"] == ["ai_gateway_allow_empty"]


def test_the_documentation_names_what_is_returned() -> None:
    returned = yaml.safe_load(documentation.RETURN)
    assert set(returned) == {"manifests", "variables", "unrecorded"}
    assert set(yaml.safe_load(documentation.DOCUMENTATION)["options"]) == {"catalog"}
