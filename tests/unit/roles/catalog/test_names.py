# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names that providers and directories really use come through all templates as they are."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from rendering import documents, rendered

#: Public names, and what providers call their models.
DATED, PLUS = "claude-sonnet-4@20250514", "c4ai/command-r+08"
UPSTREAM = '@cf/meta/llama 3.1 "8b" \\ #1: x'
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_providers": [
        {
            "name": "one",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "sk-a-key-for-demo"},
            "endpoint": {"prefix": "/"},
            "models": [{"name": DATED}],
        },
        {
            "name": "two",
            "schema": "openai",
            "endpoint": {"hostname": "api.example.com", "prefix": "/", "tls": {"ca_bundle": "ca"}},
            "credential": {"secret": "two"},
            "models": [{"name": PLUS, "provider_model": UPSTREAM}],
        },
    ],
    "ai_gateway_tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["Équipe IA", "Domain Users"],
            "token_limit": {"tokens": 100, "window": "1m"},
            "models": [DATED],
            "model_limits": [{"models": [DATED], "request_limit": {"requests": 1, "window": "1m"}}],
        }
    ],
}
TWO_GATEWAYS = {**VARIABLES, "ai_gateway_stack": "wg_ai_gateway"}
KUADRANT = {
    **TWO_GATEWAYS,
    "ai_gateway_policy_engine": "kuadrant",
    "ai_gateway_providers": VARIABLES["ai_gateway_providers"][:1],
}


def leaves(value: t.Any, key: str = "") -> t.Iterator[tuple[str, t.Any]]:
    """All scalars of a document, each with the key that it stands under."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from leaves(item, name)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item, key)
    else:
        yield key, value


def found(directory: Path, role: str, template: str, variables: dict[str, t.Any]) -> list[tuple[str, t.Any]]:
    return list(leaves(documents(rendered(directory, role, template, variables))))


def test_the_routes_and_the_prefixes(tmp_path: Path) -> None:
    texts = found(tmp_path, "providers", "envoy_ai_gateway.yaml.j2", VARIABLES)
    assert {value for key, value in texts if key == "modelNameOverride"} == {UPSTREAM}
    values = {value for key, value in texts if key == "value" and isinstance(value, str)}
    expressions = [value for value in values if value.startswith("^")]
    for name in (DATED, PLUS):
        assert name in values
        assert [expression for expression in expressions if re.fullmatch(expression, name)] != []
        assert not any(
            re.fullmatch(expression, re.sub(r"[+./]", "x", name)) for expression in expressions if name == PLUS
        )
    assert {value for key, value in texts if key == "prefix"} == {"/"}


def test_the_second_gateway_puts_the_prefix_before_the_path(tmp_path: Path) -> None:
    texts = found(tmp_path, "providers", "wg_ai_gateway.yaml.j2", {**TWO_GATEWAYS, "providers_system_roots": __file__})
    assert {value for key, value in texts if key == "replacePrefixMatch"} == {"/"}


@pytest.mark.parametrize(("template", "variables"), [("authorino.yaml.j2", VARIABLES), ("kuadrant.yaml.j2", KUADRANT)])
def test_the_policies(tmp_path: Path, template: str, variables: dict[str, t.Any]) -> None:
    texts = [value for _key, value in found(tmp_path, "access_policies", template, variables)]
    assert DATED in texts or f'requestBodyJSON("/model") == "{DATED}"' in texts


def test_the_registry_of_maas_api(tmp_path: Path) -> None:
    texts = dict(found(tmp_path, "maas_api", "registry.yaml.j2", TWO_GATEWAYS))
    assert [model["id"] for model in yaml.safe_load(texts["models"])] == [DATED, PLUS]
