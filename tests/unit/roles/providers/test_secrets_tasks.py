# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role says of Secrets that are not on the cluster, before it writes anything."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

import pytest
from api_server import Server

KEY = "sk-a-key-that-must-not-show"
ENCODED = base64.b64encode(KEY.encode()).decode()
KINDS = {("v1", "secrets"): "Secret", ("v1", "namespaces"): "Namespace"}


def provider(name: str, tls: dict[str, t.Any] | None = None, **credential: str) -> dict[str, t.Any]:
    endpoint = {"hostname": f"{name}.example.com", **({"tls": tls} if tls else {})}
    return {
        "name": name,
        "schema": "openai",
        "endpoint": endpoint,
        "credential": credential,
        "models": [{"name": f"model-of-{name}"}],
    }


PROVIDERS = [
    provider("one", secret="one-key"),
    provider("two", {"ca_bundle": "ca"}, secret="two-key"),
    provider("three", value=KEY),
]
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_providers": PROVIDERS,
    "ai_gateway_tiers": [
        {"name": "free", "level": 0, "groups": ["all"], "token_limit": {"tokens": 100, "window": "1m"}}
    ],
}


@pytest.fixture
def server() -> t.Iterator[Server]:
    running = Server(KINDS)
    yield running
    running.close()


def secret(name: str, namespace: str = "ai-gateway", **data: str) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": namespace}, "data": data}


@pytest.mark.parametrize("arguments", [(), ("--check",)])
@pytest.mark.parametrize("tasks_from", ["preflight", "main"])
def test_all_that_is_missing_is_named_at_once(
    server: Server, tmp_path: Path, tasks_from: str, arguments: tuple[str, ...]
) -> None:
    server.add(secret("two-key", password=ENCODED))
    server.add(secret("one-key", namespace="elsewhere", apiKey=ENCODED))
    status, output = server.run(tmp_path, "providers", VARIABLES, "-vvv", "--diff", *arguments, tasks_from=tasks_from)
    assert status != 0
    said = output.replace("\\n", " ")
    assert (
        "The cluster lacks Secrets that ai_gateway_providers, ai_gateway_models and ai_gateway_mcp_servers name:"
        in said
    )
    missing = (
        "provider {0}: Secret ai-gateway/{1} is missing: "
        "kubectl create secret generic {1} --namespace ai-gateway --from-file={2}=FILE"
    )
    assert missing.format("one", "one-key", "apiKey") in said
    assert missing.format("two", "ca", "ca.crt") in said
    assert (
        "provider two: Secret ai-gateway/two-key has no apiKey, or an empty one: kubectl create secret generic two-key"
        in said
    )
    assert "provider three" not in said
    assert server.writes == []
    assert "changed=0" in output
    assert KEY not in output
    assert ENCODED not in output


def test_what_is_there_is_not_told(server: Server, tmp_path: Path) -> None:
    for name in ("one-key", "two-key"):
        server.add(secret(name, apiKey=ENCODED))
    server.add(secret("ca", **{"ca.crt": ENCODED}))
    status, output = server.run(tmp_path, "providers", VARIABLES, "-vvv", "--diff", tasks_from="preflight")
    assert status == 0, output
    assert server.writes == []
    assert KEY not in output
    assert ENCODED not in output


@pytest.mark.parametrize("variables", [{"ai_gateway_providers": PROVIDERS[2:]}, {"providers_state": "absent"}])
def test_nothing_is_read_where_nothing_is_needed(tmp_path: Path, variables: dict[str, t.Any]) -> None:
    server = Server(KINDS)
    server.close()
    status, output = server.run(tmp_path, "providers", {**VARIABLES, **variables}, tasks_from="preflight")
    assert status == 0, output


def test_a_cluster_that_cannot_be_asked_is_told(tmp_path: Path) -> None:
    server = Server(KINDS)
    server.close()
    status, output = server.run(tmp_path, "providers", VARIABLES, tasks_from="preflight")
    assert status != 0
    assert "Connection refused" in output
    assert "cluster lacks" not in output
