# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._awx.described import Settings, described, options_of
from jinja2.nativetypes import NativeEnvironment

ROOT = Path(__file__).parents[5]
DEFAULTS = yaml.safe_load((ROOT / "roles/awx/defaults/main.yml").read_text(encoding="utf-8"))
VARIABLES: dict[str, t.Any] = {
    **DEFAULTS,
    "awx_inventory_url": "https://git.example.com/inventories.git",
    "awx_execution_environment_image": "registry.example.com/ee:1",
    "awx_cluster_credentials": ["prod cluster"],
    "awx_key_credentials": ["prod keys"],
    "awx_key_variables": ["OPENAI_API_KEY", "VLLM_API_KEY"],
}
OPTIONS = options_of(
    {
        path.parent.parent.name: yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "roles").glob("*/meta/argument_specs.yml"))
    }
)
JOB = {"name": "One", "description": "One.", "playbook": "site"}


class Loader(yaml.SafeLoader):
    """Reads what Ansible must not render as any other string."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(t.cast("yaml.ScalarNode", node)))


def data(variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """What the files of the collection hold, with the variables in it."""
    environment = NativeEnvironment()

    def rendered(value: t.Any) -> t.Any:
        if isinstance(value, dict):
            return {key: rendered(item) for key, item in value.items()}
        if isinstance(value, list):
            return [rendered(item) for item in value]
        return environment.from_string(value).render(variables) if isinstance(value, str) and "{{ " in value else value

    found: dict[str, t.Any] = {}
    for path in sorted((ROOT / "awx").glob("*.yml")):
        # This loader makes no objects but those of safe_load().
        found |= yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506
    return {key: value if key == "credential_types" else rendered(value) for key, value in found.items()}


def faults(more: dict[str, t.Any], variables: dict[str, t.Any]) -> list[str]:
    given = VARIABLES | variables
    settings = Settings(
        *(
            given[f"awx_{name}"]
            for name in ("name_prefix", "organization", "execution_environment", "key_variables", "playbook_directory")
        )
    )
    return [str(fault) for fault in described(data(given) | more, settings, OPTIONS).faults]


def test_what_the_collection_describes_is_right() -> None:
    assert faults({}, {}) == []


def test_nothing_is_asked_for_that_an_inventory_says() -> None:
    """AWX sends the default of each question of a workflow's nodes, which beats the inventory."""
    said = {"usage_prometheus_url", "validation_paid_requests", "validation_tier", "upgrade_tier", "upgrade_model"}
    for path in (ROOT / "inventories").rglob("*.yml"):
        said |= set(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    assert "ai_gateway_providers" in said
    templates = data(VARIABLES)["job_templates"]
    asked = {variable for template in templates for variable in template.get("survey", {})}
    assert len(asked) > 15
    assert asked & said == set()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"awx_name_prefix": "a,b"}, "awx_name_prefix"),
        ({"awx_drift_rrule": "every day"}, "schedules[0].rrule"),
        ({"awx_key_variables": ["openai"]}, "awx_key_variables[0]"),
        ({"awx_execution_environment_image": ""}, "awx_execution_environment_image: is empty; write the image"),
    ],
)
def test_a_variable_that_is_wrong_is_named(variables: dict[str, t.Any], said: str) -> None:
    assert any(said in fault for fault in faults({}, variables))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"job_template": [JOB]}, "awx: job_template: is not a known key; did you mean `job_templates`?"),
        ({"job_templates": [{**JOB, "playbok": "x"}]}, "did you mean `playbook`?"),
        ({"job_templates": [{**JOB, "survey": {"diagnosis_windw": "?"}}]}, "did you mean `diagnosis_window`?"),
        (
            {"job_templates": [{**JOB, "survey": {"validation_expired_token": "Token?"}}]},
            "it is a secret, which belongs into a credential",
        ),
        ({"job_templates": [{**JOB, "survey": {"validation_models": "?"}}]}, "it is of type list"),
        (
            {"job_templates": [{**JOB, "survey": {"validation_ca_path": "?"}}]},
            "its default is a template, which the answer would replace",
        ),
        ({"job_templates": [{**JOB, "credentials": ["clusters"]}]}, '"clusters" is no group of credentials'),
        ({"job_templates": [JOB, JOB]}, 'name "One" is taken by'),
        ({"job_templates": [{**JOB, "name": "AI gateway playbooks"}]}, "is taken by awx: projects[0].name"),
        (
            {"schedules": [{"name": "S", "description": "S.", "job_template": "Sites", "rrule": "x"}]},
            'did you mean "Site"?',
        ),
        (
            {
                "workflow_job_templates": [
                    {
                        "name": "W",
                        "description": "W.",
                        "nodes": [{"identifier": "a", "job_template": "Site", "after": ["b"]}],
                    }
                ]
            },
            '"b" is no node before it',
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_data_that_is_wrong_is_named(more: dict[str, t.Any], said: str) -> None:
    assert any(said in fault for fault in faults(more, {}))
