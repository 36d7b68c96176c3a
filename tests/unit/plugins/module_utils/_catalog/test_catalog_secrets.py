# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.filter.missing_secrets import FilterModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import named_after
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.secrets import missing_secrets

VALUE = "sk-a-key-that-must-not-show"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"


def provider(
    name: str, credential: dict[str, t.Any], tls: dict[str, t.Any] | None = None, simulated: bool = False
) -> dict[str, t.Any]:
    endpoint: dict[str, t.Any] = {"tls": tls} if tls else {}
    if not simulated:
        endpoint["hostname"] = f"{name}.example.com"
    return {
        "name": name,
        "schema": "openai",
        "simulated": simulated,
        "endpoint": endpoint,
        "credential": credential,
        "models": [{"name": f"m-{name}"}],
    }


def needed(*providers: dict[str, t.Any], **inputs: t.Any) -> list[dict[str, t.Any]]:
    return t.cast("list[dict[str, t.Any]]", build({"providers": list(providers), **inputs}).as_dict()["secrets"])


def secret(namespace: str, name: str, kind: str = "Opaque", **data: str) -> dict[str, t.Any]:
    encoded = {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": {"namespace": namespace, "name": name}, "type": kind, "data": encoded}


def test_a_provider_with_a_secret_of_its_own_needs_it() -> None:
    assert needed(provider("one", {"secret": "key"})) == [
        {"name": "key", "namespace": "ai-gateway", "keys": ["apiKey"], "users": ["provider one"]}
    ]


@pytest.mark.parametrize("credential", [{"value": VALUE}, {"external_secret": {"store": "s", "key": "k"}}])
def test_what_is_made_is_not_needed(credential: dict[str, t.Any]) -> None:
    assert needed(provider("one", credential)) == []
    # Nor where another provider names what is made for this one.
    made = named_after("one", "one.example.com", 443).replace(".", "-credential.")
    assert needed(provider("one", credential), provider("two", {"secret": made})) == []


def test_a_secret_of_several_users_is_needed_once() -> None:
    tls = {"mode": "mutual", "ca_bundle": "pki", "client_certificate": "pki"}
    found = needed(
        provider("one", {"secret": "key"}, tls),
        provider("two", {"secret": "key"}),
        provider("three", {"value": VALUE}, {"ca_bundle": "pki"}),
    )
    assert found == [
        {"name": "key", "namespace": "ai-gateway", "keys": ["apiKey"], "users": ["provider one", "provider two"]},
        {
            "name": "pki",
            "namespace": "ai-gateway",
            "keys": ["ca.crt", "tls.crt", "tls.key"],
            "users": ["provider one", "provider three"],
        },
    ]


def test_certificates_as_strings_need_no_secret() -> None:
    assert needed(provider("one", {"value": VALUE}, {"ca_bundle": CERTIFICATE})) == []


def test_a_simulators_own_end_is_verified_too() -> None:
    (found,) = needed(provider("one", {"value": VALUE}, {"ca_bundle": "ca"}, simulated=True))
    assert (found["name"], found["keys"]) == ("ca", ["ca.crt"])


def test_models_on_the_premises() -> None:
    tls = {"mode": "mutual", "ca_bundle": "ca", "client_certificate": "client"}
    models = [
        {"name": "opt", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000, "tls": tls}},
        {"name": "twin", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000, "tls": tls}},
        {
            "name": "simulated",
            "simulated": True,
            "backend_ref": {"name": "other", "namespace": "llm", "port": 8000, "tls": tls},
        },
    ]
    users = ["model opt", "model twin"]
    assert needed(models=models) == [
        {"name": "ca", "namespace": "ai-gateway", "keys": ["ca.crt"], "users": users},
        {"name": "client", "namespace": "ai-gateway", "keys": ["tls.crt", "tls.key"], "users": users},
    ]


@pytest.mark.parametrize("engine", ["authorino", "kuadrant"])
def test_the_second_gateway_verifies_the_providers_in_its_own_namespace(engine: str) -> None:
    tls = {"mode": "mutual", "ca_bundle": "ca", "client_certificate": "client"}
    providers = [provider("one", {"secret": "key"}, tls), provider("two", {"value": VALUE}, {"ca_bundle": CERTIFICATE})]
    # The Secret of that name is made of the certificate of provider two.
    providers.append(
        provider("three", {"value": VALUE}, {"ca_bundle": f"{named_after('two', 'two.example.com', 443)}-ca-bundle"})
    )
    found = needed(*providers, stack="wg_ai_gateway", policy_engine=engine)
    assert [(item["namespace"], item["name"]) for item in found] == [
        ("ai-gateway", "key"),
        ("ai-gateway-egress", "ca"),
        ("ai-gateway-egress", "client"),
    ]


NEED = {"name": "key", "namespace": "ai-gateway", "keys": ["apiKey"], "users": ["provider one", "provider two"]}
CREATE = "kubectl create secret generic key --namespace ai-gateway --from-file=apiKey=FILE"


def test_a_secret_that_is_there_is_not_missing() -> None:
    assert missing_secrets([NEED], [secret("ai-gateway", "key", apiKey=VALUE)]) == []


def test_all_that_is_missing_is_reported_at_once_and_no_value() -> None:
    other = {"name": "other", "namespace": "ai-gateway", "keys": ["apiKey"], "users": ["provider three"]}
    found = [
        secret("ai-gateway", "key", password=VALUE),
        secret("elsewhere", "other", apiKey=VALUE),
        {"metadata": {"namespace": "a", "name": "b"}},
    ]
    assert missing_secrets([NEED, other], found) == [
        "provider one, provider two: Secret ai-gateway/key has no apiKey, or an empty one: "
        f"{CREATE} --dry-run=client --output=yaml | kubectl apply --server-side --force-conflicts "
        "--field-manager=kubectl-apiKey --filename=-",
        "provider three: Secret ai-gateway/other is missing: kubectl create secret generic other --namespace "
        "ai-gateway --from-file=apiKey=FILE",
    ]


@pytest.mark.parametrize("data", [None, {}, {"apiKey": ""}, {"apiKey": None}, {"apiKey": "Cg=="}, {"apiKey": "IAo="}])
def test_an_empty_key_is_none(data: t.Any) -> None:
    (line,) = missing_secrets([NEED], [{"metadata": {"namespace": "ai-gateway", "name": "key"}, "data": data}])
    assert "has no apiKey, or an empty one" in line


def test_a_client_certificate() -> None:
    need = {"name": "client", "namespace": "ai-gateway", "keys": ["tls.crt", "tls.key"], "users": ["provider one"]}
    (line,) = missing_secrets([need], [])
    assert line.endswith("is missing: kubectl create secret tls client --namespace ai-gateway --cert=FILE --key=FILE")
    (line,) = missing_secrets([need], [secret("ai-gateway", "client", tls_crt=CERTIFICATE)])
    assert (
        "has no tls.key, or an empty one: kubectl create secret generic client --namespace ai-gateway "
        "--from-file=tls.key=FILE --dry-run" in line
    )
    assert missing_secrets([need], [secret("ai-gateway", "client", tls_crt=CERTIFICATE, tls_key=VALUE)]) == []


def test_certificates_to_verify_with() -> None:
    need = {"name": "ca", "namespace": "ai-gateway", "keys": ["ca.crt"], "users": ["model opt"]}
    assert missing_secrets([need], [secret("ai-gateway", "ca", ca_crt=CERTIFICATE)]) == []
    assert missing_secrets([need], [secret("ai-gateway", "ca", bundle=CERTIFICATE)]) == []
    (line,) = missing_secrets(
        [need], [secret("ai-gateway", "ca", "kubernetes.io/tls", tls_crt=CERTIFICATE, tls_key=VALUE)]
    )
    # The type of a Secret cannot be changed.
    assert "--from-file=ca.crt=FILE --type=kubernetes.io/tls --dry-run=client" in line


def test_the_filter_is_found_by_its_name() -> None:
    assert FilterModule().filters() == {"missing_secrets": missing_secrets}
