# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""When the role puts up bridges, and what it says of them."""

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

import pytest
from kuadrants import Kuadrant

KEY, STORED, NEXT = "sk-key-of-the-inventory", "sk-key-of-a-secret", "sk-key-that-comes-next"
PROVIDERS = [
    {
        "name": "openai",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": KEY},
        "models": [{"name": "gpt-4"}],
    },
    {
        "name": "vllm",
        "schema": "openai",
        "endpoint": {"hostname": "vllm.example.com"},
        "credential": {"secret": "vllm-key"},
        "models": [{"name": "Qwen/Qwen3-0.6B"}],
    },
]
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_policy_engine": "kuadrant",
    "ai_gateway_providers": PROVIDERS,
    "ai_gateway_tiers": [
        {"name": "free", "level": 0, "groups": ["all"], "token_limit": {"tokens": 100, "window": "1m"}}
    ],
    "maas_bridge_wait_timeout": 4,
}
GUARD = {
    "apiVersion": "gateway.networking.k8s.io/v1",
    "kind": "HTTPRoute",
    "metadata": {"name": "external", "namespace": "ai-gateway"},
    "spec": {"parentRefs": [{"name": "maas-default-gateway", "namespace": "openshift-ingress"}]},
}


def secret(key: str) -> dict[str, t.Any]:
    data = {"apiKey": base64.b64encode(key.encode()).decode()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "vllm-key", "namespace": "ai-gateway"},
        "data": data,
    }


@pytest.fixture
def kuadrant() -> t.Iterator[Kuadrant]:
    server = Kuadrant()
    server.policy()
    server.add(GUARD)
    server.add(secret(STORED))
    yield server
    server.close()


def values(kuadrant: Kuadrant) -> dict[str, str]:
    found = {name: body for name, body in kuadrant.of_kind("AuthPolicy").items() if name.endswith("-bridge-auth")}
    return {
        name: json.loads(
            body["spec"]["rules"]["response"]["success"]["headers"]["Authorization"]["plain"]["expression"]
        )
        for name, body in found.items()
    }


def test_bridges_are_put_up_and_removed_and_no_key_is_told(kuadrant: Kuadrant, tmp_path: Path) -> None:
    status, output = kuadrant.run(tmp_path, "maas_bridge", VARIABLES, "-vvv", "--diff")
    assert status == 0, output
    assert values(kuadrant) == {"openai-bridge-auth": f"Bearer {KEY}", "vllm-bridge-auth": f"Bearer {STORED}"}
    written = [
        write.removeprefix("PATCH ") for write in kuadrant.writes if "-bridge" in write and "maas-bridge" not in write
    ]
    # A route after its policy.
    assert sorted(written[:2]) == ["openai-bridge-auth", "vllm-bridge-auth"]
    assert sorted(written[2:4]) == ["openai-bridge", "vllm-bridge"]
    # Once the policies are in force, the headers that they put keys in may pass.
    assert sorted(written[4:]) == ["openai-bridge", "vllm-bridge"]
    outputs = output

    status, output = kuadrant.run(tmp_path, "maas_bridge", VARIABLES)
    assert status == 0, output
    assert "changed=0" in output

    kuadrant.add(secret(NEXT))
    status, output = kuadrant.run(tmp_path, "maas_bridge", VARIABLES, "-vvv", "--diff")
    assert status == 0, output
    assert values(kuadrant)["vllm-bridge-auth"] == f"Bearer {NEXT}"
    outputs += output
    for key in (KEY, STORED, NEXT):
        assert key not in outputs
        assert base64.b64encode(key.encode()).decode() not in outputs
    assert "********" in outputs

    kuadrant.writes.clear()
    status, output = kuadrant.run(tmp_path, "maas_bridge", {**VARIABLES, "maas_bridge_state": "absent"})
    assert status == 0, output
    removed = [write.removeprefix("DELETE ") for write in kuadrant.writes if write.startswith("DELETE")]
    # A policy after its route.
    assert sorted(removed[:2]) == ["openai-bridge", "vllm-bridge"]
    assert sorted(removed[2:4]) == ["openai-bridge-auth", "vllm-bridge-auth"]
    assert set(kuadrant.of_kind("AuthPolicy")) == {"gateway-auth-policy"}


def test_a_provider_that_goes_takes_its_route_with_it_first(kuadrant: Kuadrant, tmp_path: Path) -> None:
    status, output = kuadrant.run(tmp_path, "maas_bridge", VARIABLES)
    assert status == 0, output
    kuadrant.writes.clear()
    status, output = kuadrant.run(tmp_path, "maas_bridge", {**VARIABLES, "ai_gateway_providers": PROVIDERS[:1]})
    assert status == 0, output
    assert [write for write in kuadrant.writes if write.startswith("DELETE")] == [
        "DELETE vllm-bridge",
        "DELETE vllm-bridge-auth",
    ]


def test_without_an_enforced_policy_nothing_is_written(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.restarts_needed = 1
    status, output = kuadrant.run(tmp_path, "maas_bridge", VARIABLES)
    assert status != 0
    assert "no AuthPolicy on Gateway openshift-ingress/maas-default-gateway is Enforced" in " ".join(output.split())
    assert kuadrant.writes == []


def test_a_policy_of_another_gateway_does_not_count(tmp_path: Path) -> None:
    server = Kuadrant()
    server.policy(gateway="other-gateway")
    server.add(GUARD)
    status, output = server.run(tmp_path, "maas_bridge", VARIABLES)
    server.close()
    assert status != 0
    assert "is Enforced" in output
    assert server.writes == []


def test_without_the_route_that_guards_the_paths_nothing_is_written(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.objects = {key: body for key, body in kuadrant.objects.items() if key[2] != "external"}
    status, output = kuadrant.run(tmp_path, "maas_bridge", VARIABLES)
    assert status != 0
    assert "there is no HTTPRoute ai-gateway/external" in " ".join(output.split())
    assert kuadrant.writes == []


def test_a_missing_key_is_named(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.objects = {key: body for key, body in kuadrant.objects.items() if body["kind"] != "Secret"}
    status, output = kuadrant.run(tmp_path, "maas_bridge", VARIABLES)
    assert status != 0
    assert (
        "Provider vllm has its key in Secret ai-gateway/vllm-key, which does not exist or has no key apiKey"
        in " ".join(output.split())
    )
    assert kuadrant.writes == []


def test_with_another_engine_it_does_nothing(kuadrant: Kuadrant, tmp_path: Path) -> None:
    status, output = kuadrant.run(tmp_path, "maas_bridge", {**VARIABLES, "ai_gateway_policy_engine": "authorino"})
    assert status == 0, output
    assert kuadrant.writes == []
