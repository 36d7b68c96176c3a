# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t

import pytest
from proxies import Program, identity_key, programs
from rendering import rendered

KEY = "k" * 64
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_providers": [
        {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": "k"}, "models": [{"name": "gpt-4"}, {"name": "Qwen/Qwen3-0.6B"}]},
        {"name": "claude", "schema": "anthropic", "simulated": True, "credential": {"value": "k"}, "models": [{"name": "claude-3-sonnet"}]},
    ],
    "ai_gateway_models": [{"name": "facebook/opt-125m", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}}],
    "ai_gateway_tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["all"],
            "token_limit": {"tokens": 100, "window": "1m"},
            "request_limit": {"requests": 20, "window": "1m"},
            "model_limits": [{"models": ["gpt-4"], "output_token_limit": {"tokens": 7, "window": "1h"}}],
        },
        {"name": "narrow", "level": 1, "groups": ["few"], "token_limit": {"tokens": 5, "window": "24h"}, "models": ["claude-3-sonnet"]},
    ],
    "ai_gateway_request_body_limit": "1Mi",
    "__access_policies_identity": {"resources": [{"data": {"key": base64.b64encode(KEY.encode()).decode()}}]},
}


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The programs as they are rendered, with the key of identities in a file of the test's."""
    found = programs(rendered(tmp_path_factory.mktemp("policies"), "access_policies", "authorino.yaml.j2", VARIABLES))
    path = identity_key(tmp_path_factory.mktemp("identity"))
    assert '"/run/ai-gateway/key"' in found["bodies"]
    return {**found, "bodies": found["bodies"].replace("/run/ai-gateway/key", str(path))}


@pytest.fixture(scope="session")
def requests(texts: dict[str, str]) -> Program:
    return Program(texts["requests"])


@pytest.fixture(scope="session")
def bodies(texts: dict[str, str]) -> Program:
    return Program(texts["bodies"])
