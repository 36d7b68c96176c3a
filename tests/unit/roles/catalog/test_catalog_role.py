# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role as a play runs it, with Ansible's own validation in front of the catalogue."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import inputs as catalog_inputs
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from plays import run_playbook

ROLE = Path(catalog_build.__file__).parents[3] / "roles/catalog"
KEY = "sk-a-key-that-must-not-show"
PROVIDER = {
    "name": "openai",
    "schema": "openai",
    "simulated": True,
    "credential": {"value": KEY},
    "models": [{"name": "gpt-4"}],
}


def play(directory: Path, variables: dict[str, t.Any], *arguments: str) -> tuple[int, str]:
    """Run the role with all that Ansible can say; the exit code and everything it printed."""
    show = {"ansible.builtin.debug": {"msg": "{{ ai_gateway_catalog }}"}}
    shown = {"hosts": "localhost", "gather_facts": False, "roles": ["egress.ai_gateway.catalog"], "tasks": [show]}
    ended = run_playbook(directory, shown, variables, *arguments, environment={"ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "1"})
    return ended.returncode, ended.output


@pytest.mark.parametrize("arguments", [("-vvvv",), ("--check", "--diff", "-vvvv")])
def test_the_catalogue_is_a_fact_and_no_key_shows(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    code, output = play(tmp_path, {"ai_gateway_platform": "kind", "ai_gateway_providers": [PROVIDER]}, *arguments)
    assert code == 0, output
    assert "openai-simulator.external-models.svc.cluster.local" in output
    assert "ai-gateway-tier-enterprise" in output
    assert "changed=0" in output
    assert KEY not in output


def test_all_faults_show_at_once_and_no_key_does(tmp_path: Path) -> None:
    providers = [
        {**PROVIDER, "shema": "openai"},
        {
            "name": "anthropic",
            "schema": "openai",
            "endpoint": "api.anthropic.com",
            "credential": {"header": 1, "value": KEY + "\n"},
            "models": "gpt",
        },
    ]
    code, output = play(
        tmp_path,
        {"ai_gateway_platform": "cloud", "ai_gateway_provider": providers, "ai_gateway_providers": providers},
        "-vvvv",
    )
    assert code == 2
    for path in (
        "platform",
        "provider",
        *(
            f"providers[{rest}"
            for rest in ("0].shema", "1].endpoint", "1].credential.header", "1].credential.value", "1].models")
        ),
    ):
        assert f"  - ai_gateway_{path}: " in output
    assert KEY not in output


@pytest.mark.parametrize("name", ["providers", "models", "tiers"])
@pytest.mark.parametrize("value", [{"a": KEY}, KEY, 1])
def test_a_value_that_is_no_list_is_a_fault_with_its_path(tmp_path: Path, name: str, value: t.Any) -> None:
    code, output = play(tmp_path, {f"ai_gateway_{name}": value})
    assert code == 2
    assert f"  - ai_gateway_{name}: is a " in output
    assert KEY not in output


def test_the_documented_options_are_the_keys_of_the_catalogue() -> None:
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert set(options) == set(yaml.safe_load((ROLE / "defaults/main.yml").read_text()))
    assert set(options) == {
        f"ai_gateway_{name}" for name in (*catalog_inputs.INPUTS, *catalog_inputs.OTHER_VARIABLES)
    } - {"ai_gateway_catalog"}

    def keys(option: dict[str, t.Any], prefix: str = "") -> set[str]:
        found = set()
        for name, suboption in option.get("options", {}).items():
            found |= {prefix + name} | keys(suboption, f"{prefix}{name}.")
        return found

    # A mapping with every documented key has no unknown one, and the error of an unknown one lists the documented ones.
    for name in ("providers", "models", "tiers"):
        documented = keys(options[f"ai_gateway_{name}"])
        entry: dict[str, t.Any] = {}
        for path in sorted(documented):
            *parents, last = path.split(".")
            node = entry
            for parent in parents:
                node = node[parent][0] if isinstance(node[parent], list) else node[parent]
            below = any(other.startswith(path + ".") for other in documented)
            node[last] = ([{}] if last == "models" else {}) if below else "x"
        with pytest.raises(CatalogError) as caught:
            catalog_build.build({name: [{**entry, "?": 1}]})
        unknown = [fault for fault in caught.value.faults if fault.problem == "is not a known key"]
        assert [fault.path for fault in unknown] == [f"ai_gateway_{name}[0].?"]
        assert all(key in unknown[0].remedy for key in documented if "." not in key)
