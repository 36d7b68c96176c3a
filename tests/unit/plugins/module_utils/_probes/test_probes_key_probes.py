# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import Probe
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.key_probes import key_probes

KEYS = {"openai": "sk-key-of-openai", "anthropic": "sk-key-of-anthropic", "closed": "sk-closed"}


def provider(name: str, *models: str, **more: t.Any) -> dict[str, t.Any]:
    return {
        "name": name,
        "schema": "openai",
        "simulated": True,
        "credential": {"managed": True},
        "models": [{"name": model} for model in models],
        **more,
    }


CATALOG = {
    "providers": [
        provider("openai", "gpt-5", "gpt-4"),
        provider("anthropic", "claude", schema="anthropic", simulated=False),
        # Nobody in the tier may use a model of it, or the inventory does not have its key.
        provider("closed", "other"),
        provider("vllm", "gpt-4", credential={"managed": False}),
    ],
    "tiers": [{"name": "gold", "models": ["other"]}, {"name": "free", "models": ["gpt-4", "claude"]}],
}
OPENAI = {
    "id": "key:openai:0",
    "name": "Provider openai is called with the new key",
    "operation": "chat_completions",
    "base_path": "/external/openai",
    "model": "gpt-4",
    "max_tokens": 1,
    "echo": True,
    "extra_headers": {"x-simulator-prompt-tokens": 1, "x-simulator-completion-tokens": 1},
    "expect": {"received_credentials": [hashlib.sha256(KEYS["openai"].encode()).hexdigest()]},
}
ANTHROPIC = {
    "id": "key:anthropic:0",
    "name": "Provider anthropic is called with the new key",
    "operation": "messages",
    "base_path": "/external/anthropic",
    "model": "claude",
    "max_tokens": 1,
    "expect": {"status": [200, 400, 404, 429]},
}


def test_a_simulator_reports_its_key_and_another_provider_accepts_it() -> None:
    probes = key_probes(CATALOG, KEYS, "free")
    assert probes == [OPENAI, ANTHROPIC]
    assert not any(key in json.dumps(probes) for key in KEYS.values())


def test_rounds() -> None:
    probes = key_probes(CATALOG, KEYS, "free", rounds=2)
    assert [probe["id"] for probe in probes] == [
        "key:openai:0",
        "key:anthropic:0",
        "key:openai:1",
        "key:anthropic:1",
    ]
    assert key_probes(CATALOG, KEYS, "gold")[0]["base_path"] == "/external/closed"


def test_the_module_accepts_them() -> None:
    paths = [Probe.from_params(probe).path for probe in key_probes(CATALOG, KEYS, "free")]
    assert paths == ["/external/openai/v1/chat/completions", "/external/anthropic/v1/messages"]
