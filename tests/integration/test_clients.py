# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of real clients, and of providers of clouds, whose requests are translated, on the embedded cluster.

They run alone too: make integration ARGS="-k clients".
"""

from __future__ import annotations

import typing as t

import clients
import fake_clouds
import gateway_requests
import gateway_tls
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from objects import kubectl
from provider_kinds import token_of
from runs import INVENTORY, playbook
from sites import SAME_CLUSTER, Sites, gateway_url

SITE = "providers of clouds, and tiers for clients"
OPENAI, ANTHROPIC = "gpt-4", "claude-opus"

#: A provider of Anthropic's API, which counts the tokens of requests too.
CLAUDE = {
    "name": "claude",
    "schema": "anthropic",
    "simulated": True,
    "credential": {"value": "sk-claude-of-clients"},
    "models": [{"name": ANTHROPIC}],
}


def variables() -> dict[str, t.Any]:
    """Of the inventory's providers, those of the clouds, and a tier for each answer: 200, 403 and 429."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    key = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    inventory = yaml.safe_load((INVENTORY / "group_vars/all/ai_gateway.yml").read_text(encoding="utf-8"))
    limits = {
        "token_limit": {"tokens": 1_000_000, "window": "1m"},
        "request_limit": {"requests": 10_000, "window": "1m"},
    }
    tiers = [
        {"name": "rich", "groups": ["tier-rich-users"], **limits},
        {"name": "narrow", "groups": ["tier-narrow-users"], **limits, "models": ["azure-model"]},
        {"name": "poor", "groups": ["tier-poor-users"], **limits, "token_limit": {"tokens": 1, "window": "1h"}},
    ]
    return {
        "ai_gateway_providers": [*inventory["ai_gateway_providers"], CLAUDE, *fake_clouds.providers(key.decode())],
        "ai_gateway_allowed_endpoints": [fake_clouds.HOSTNAME],
        "ai_gateway_tiers": [{"level": level, **tier} for level, tier in enumerate(tiers)],
    }


@pytest.fixture
def clients_site(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> None:
    def provision() -> None:
        path = tmp_path_factory.mktemp("clients") / "site.yml"
        path.write_text(yaml.safe_dump(variables()), encoding="utf-8")
        # Google's tokens come from there, without which the site is not ready.
        fake_clouds.deploy()
        playbook("egress.ai_gateway.site", "--extra-vars", f"@{path}", "--skip-tags=validation", SAME_CLUSTER)

    sites.ensure_any()
    sites.ensure(SITE, provision)


@pytest.mark.usefixtures("clients_site")
def test_clients_of_both_apis_work_unchanged() -> None:
    url = gateway_url()
    models = {"openai": OPENAI, "anthropic": ANTHROPIC}
    poor = token_of("poor")[1]
    for path, model in (("/v1/chat/completions", OPENAI), ("/v1/messages", ANTHROPIC)):
        # The limit holds for all models together, and the first answer uses it up.
        gateway_requests.send(url, poor, gateway_requests.Ask(path, gateway_requests.body_of(path, model)))
    refusals = [
        {"status": status, "token": token, "models": models, "headers": {}}
        for status, token in ((403, token_of("narrow")[1]), (429, poor))
    ]
    given = {
        "openai_url": f"{url}/v1",
        "anthropic_url": url,
        "token": token_of("rich")[1],
        "models": models,
        "refusals": refusals,
    }
    found = clients.run(given, str(gateway_tls.CA_FILE) if gateway_tls.CA_FILE.exists() else "")
    print(clients.table(found))
    assert clients.problems(found) == []


@pytest.mark.usefixtures("clients_site")
def test_clients_reach_providers_of_clouds() -> None:
    try:
        assert fake_clouds.problems(gateway_url(), token_of("rich")[1]) == []
    finally:
        kubectl("delete", "namespace", fake_clouds.NAMESPACE, "--ignore-not-found", "--timeout=100s")
