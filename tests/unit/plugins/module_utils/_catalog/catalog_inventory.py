# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""An inventory of two providers and two tiers, and the faults of one that is changed."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError, Fault
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import named_after

KEY = "sk-a-key-that-must-not-show"


#: The names of the backends of the two providers below.
OPENAI = named_after("openai", "openai-simulator.external-models.svc.cluster.local", 8000)


ANTHROPIC = named_after("anthropic", "api.anthropic.com", 443)


INVENTORY: dict[str, t.Any] = {
    "platform": "embedded",
    "providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"header": "Authorization", "scheme": "Bearer", "value": KEY},
            "models": [{"name": "gpt-4", "provider_model": "gpt-4-0613"}],
        },
        {
            "name": "anthropic",
            "schema": "anthropic",
            "endpoint": {"hostname": "api.anthropic.com"},
            "credential": {"secret": "anthropic-key"},
            "models": [{"name": "claude-3-sonnet"}],
        },
    ],
    "tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["system:authenticated"],
            "token_limit": {"tokens": 100, "window": "1m"},
            "models": ["*"],
        },
        {
            "name": "paid",
            "level": 1,
            "groups": ["payers"],
            "token_limit": {"tokens": 5, "window": "24h"},
            "models": ["claude-3-sonnet"],
        },
    ],
}


CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


KSERVE = {"kind": "LLMInferenceService", "name": "opt", "namespace": "llm", "tls": {"mode": "none"}}


def changed(path: str, value: t.Any) -> dict[str, t.Any]:
    """The inventory with the value at a path such as ``providers.0.name`` replaced; ``...`` removes it."""
    inventory = copy.deepcopy(INVENTORY)
    *parents, last = path.split(".")
    node: t.Any = inventory
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    if value is ...:
        del node[int(last) if isinstance(node, list) else last]
    elif isinstance(node, list):
        index = int(last)
        node[index : index + 1] = [value]
    else:
        node[last] = value
    return inventory


def faults(inventory: t.Any, **arguments: t.Any) -> list[Fault]:
    """The faults of an inventory that has some."""
    with pytest.raises(CatalogError) as caught:
        build(inventory, **arguments)
    for fault in caught.value.faults:
        assert fault.problem
        assert fault.remedy
        assert str(fault) in str(caught.value)
    return list(caught.value.faults)


def paths(inventory: t.Any) -> list[str]:
    return [fault.path for fault in faults(inventory)]


def shared(first: dict[str, int], second: dict[str, int]) -> dict[str, t.Any]:
    """The inventory with gpt-4 at both providers, and what each says about it."""
    inventory = changed("providers.0.models.0", {"name": "gpt-4", **first})
    inventory["providers"][1]["schema"] = "openai"
    inventory["providers"][1]["models"] = [
        {"name": "claude-3-sonnet"},
        {"name": "gpt-4", "provider_model": "azure-gpt-4", **second},
    ]
    return inventory
