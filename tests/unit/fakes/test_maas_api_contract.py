# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the collection relies on of maas-api, by its fake or the real one with external models.

The real one, at CONTRACT_MAAS_API, is on a cluster that tests/fakes/maas_platform.yml prepared with a model.
"""

from __future__ import annotations

import datetime
import http.client
import json
import os
import typing as t
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils import _tokens as tokens
from cluster import RESOURCES, Cluster, Resources
from contracts import APISERVER, Body, Objects, Program, eventually, fake_only
from kubernetes_client import ApiError
from loopback import Loopback, Reply

INSTANCE = "maas-default-gateway"
NAMESPACE = "/api/v1/namespaces/opendatahub"
MODEL = "facebook-opt-125m-simulated"
SERVICES = "/apis/serving.kserve.io/v1alpha1/namespaces/llm/llminferenceservices"
#: As Models-as-a-Service comes with them.
TIERS = [
    {"name": "free", "displayName": "Free Tier", "level": 0, "groups": ["tier-free-users", "system:authenticated"]},
    {"name": "premium", "displayName": "Premium Tier", "level": 1, "groups": ["tier-premium-users"]},
    {"name": "enterprise", "displayName": "Enterprise Tier", "level": 2, "groups": ["tier-enterprise-users"]},
]
KINDS: Resources = {
    **RESOURCES,
    "v1": {**RESOURCES["v1"], "serviceaccounts": ("ServiceAccount", True)},
    "serving.kserve.io/v1alpha1": {"llminferenceservices": ("LLMInferenceService", True)},
    "gateway.networking.k8s.io/v1": {"httproutes": ("HTTPRoute", True)},
}
JANE = "jane@example.com"
USER = {"X-MaaS-Username": JANE, "X-MaaS-Group": '["system:authenticated"]', "Authorization": "Bearer anything"}


class Maas:
    """A running maas-api, and the cluster that it is on."""

    def __init__(self, url: str, apiserver: str) -> None:
        self._address = urlsplit(url)
        self.cluster = Objects(apiserver)

    def ask(self, method: str, path: str, body: t.Any = None, **headers: str) -> tuple[int, t.Any]:
        """Status and document of one request; headers are the caller's, where none are given Jane's."""
        connection = http.client.HTTPConnection(self._address.hostname or "", self._address.port, timeout=30)
        given = {**USER, **{name.replace("_", "-"): value for name, value in headers.items()}}
        try:
            content = body if body is None or isinstance(body, str) else json.dumps(body)
            connection.request(method, path, content, given)
            answer = connection.getresponse()
            text = answer.read().decode()
            is_json = answer.headers.get("content-type", "").startswith("application/json")
            return answer.status, json.loads(text) if is_json else text
        finally:
            connection.close()

    def models(self) -> list[Body]:
        status, answer = self.ask("GET", "/v1/models")
        assert (status, answer["object"]) == (200, "list")
        return t.cast("list[Body]", answer["data"])


def model(url: str, **router: t.Any) -> Body:
    gateway = {"name": INSTANCE, "namespace": "openshift-ingress"}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": MODEL, "namespace": "llm"},
        "spec": {"model": {"name": "facebook/opt-125m"}, "router": router or {"gateway": {"refs": [gateway]}}},
        "status": {"observedGeneration": 1, "url": url, "conditions": [{"type": "Ready", "status": "True"}]},
    }


@pytest.fixture(scope="module")
def simulator() -> Iterator[Loopback]:
    server = Loopback()
    server.answer = lambda request: Reply(200 if request.headers.get("authorization") else 401, {"data": []})
    yield server
    server.close()


@pytest.fixture(scope="module")
def cluster(simulator: Loopback) -> Iterator[Cluster]:
    """The fake API server of the fake."""
    running = Cluster(KINDS)
    for namespace in ("opendatahub", "llm"):
        running.put("namespaces", "", namespace)
    running.put("configmaps", "opendatahub", "tier-to-group-mapping", data={"tiers": yaml.safe_dump(TIERS)})
    running.add(model(simulator.url))
    running.serve()
    yield running
    running.close()


@pytest.fixture(scope="module")
def maas(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Maas]:
    if APISERVER:
        yield Maas(os.environ["CONTRACT_MAAS_API"], APISERVER)
        return
    cluster = request.getfixturevalue("cluster")
    # Until the kinds that it lists exist, it does not listen.
    kinds, cluster.resources = cluster.resources, RESOURCES
    directory: Path = tmp_path_factory.mktemp("maas-api")
    arguments = ["--address=127.0.0.1:0", "--external-models"]
    program = Program(directory, "maas_api/maas_api.py", cluster.url, *arguments, NAMESPACE="opendatahub")
    eventually(lambda: "waiting for LLMInferenceService" in program.log)
    assert "listens" not in program.log
    cluster.resources = kinds
    log = eventually(lambda: "listens" in program.log and program.log)
    yield Maas(f"http://{log.split('listens on ')[1].split()[0]}", cluster.url)
    program.stop()


# Tokens


def account_path(user: str, tier: str = "free") -> str:
    return f"/api/v1/namespaces/{INSTANCE}-tier-{tier}/serviceaccounts/{tokens.service_account_name(user)}"


@pytest.mark.parametrize("user", [JANE, "kube:admin", "system:serviceaccount:llm:x", "a" * 100, "a" * 53 + "-----b"])
def test_a_token_is_one_of_the_api_servers(maas: Maas, user: str) -> None:
    status, answer = maas.ask("POST", "/v1/tokens", {"expiration": "10m"}, X_MaaS_Username=user)
    assert status == 201
    assert sorted(answer) == ["expiration", "expiresAt", "issuedAt", "jti", "token"]
    claims = tokens.claims_of(answer["token"])
    assert claims["sub"] == f"system:serviceaccount:{INSTANCE}-tier-free:{tokens.service_account_name(user)}"
    assert claims["aud"] == [f"{INSTANCE}-sa"]
    told = tuple(answer[name] for name in ("expiration", "expiresAt", "issuedAt", "jti"))
    assert told == ("10m0s", claims["exp"], claims["iat"], claims["jti"])
    assert answer["expiresAt"] - answer["issuedAt"] == 600
    labels = {"maas.opendatahub.io/instance": INSTANCE, "maas.opendatahub.io/tier": "free"}
    namespace = maas.cluster.get(f"/api/v1/namespaces/{INSTANCE}-tier-free")["metadata"]["labels"]
    assert {**labels, "maas.opendatahub.io/tier-namespace": "true"}.items() <= namespace.items()
    assert labels.items() <= maas.cluster.get(account_path(user))["metadata"]["labels"].items()


@pytest.mark.parametrize(
    ("body", "seconds", "expiration"),
    [
        (None, 14400, "4h0m0s"),
        ({}, 14400, "4h0m0s"),
        ({"expiration": 3600, "name": "for tests"}, 3600, "1h0m0s"),
        ({"expiration": "1h30m"}, 5400, "1h30m0s"),
        ({"expiration": "600s"}, 600, "10m0s"),
    ],
)
def test_how_long_a_token_lives(maas: Maas, body: t.Any, seconds: int, expiration: str) -> None:
    status, answer = maas.ask("POST", "/v1/tokens", body)
    assert (status, answer["expiration"], answer["expiresAt"] - answer["issuedAt"]) == (201, expiration, seconds)


@pytest.mark.parametrize(("expiration", "provided"), [("5m", "5m0s"), ("9m59s", "9m59s"), (1, "1s")])
def test_no_token_for_less_than_ten_minutes(maas: Maas, expiration: t.Any, provided: str) -> None:
    status, answer = maas.ask("POST", "/v1/tokens", {"expiration": expiration})
    assert (status, answer["provided_expiration"]) == (400, provided)
    assert "at least 10 minutes" in answer["error"]


@pytest.mark.parametrize("body", [*({"expiration": text} for text in ("soon", "10", "-10m")), {"expiration": 0}, "{"])
def test_no_token_for_what_is_no_duration(maas: Maas, body: t.Any) -> None:
    status, answer = maas.ask("POST", "/v1/tokens", body)
    assert (status, list(answer)) == (400, ["error"])


def test_a_token_of_the_highest_tier(maas: Maas) -> None:
    status, answer = maas.ask("POST", "/v1/tokens", X_MaaS_Group='["system:authenticated", "tier-enterprise-users"]')
    assert status == 201
    assert f":{INSTANCE}-tier-enterprise:" in tokens.claims_of(answer["token"])["sub"]


def test_no_token_without_a_tier(maas: Maas) -> None:
    answer = maas.ask("POST", "/v1/tokens", X_MaaS_Group='["nobody"]')
    assert answer == (500, {"error": "Failed to generate token"})


def test_tokens_are_revoked_by_a_new_account(maas: Maas) -> None:
    before = tokens.claims_of(maas.ask("POST", "/v1/tokens")[1]["token"])
    assert maas.ask("DELETE", "/v1/tokens") == (204, "")
    maas.ask("POST", "/v1/tokens")
    uid = maas.cluster.get(account_path(JANE))["metadata"]["uid"]
    assert uid != before.get("uid", before.get("kubernetes.io", {}).get("serviceaccount", {}).get("uid"))


def test_nothing_to_revoke(maas: Maas) -> None:
    assert maas.ask("DELETE", "/v1/tokens", X_MaaS_Username="nobody-yet") == (204, "")
    with pytest.raises(ApiError, match="404"):
        maas.cluster.get(account_path("nobody-yet"))


@pytest.mark.parametrize(
    ("headers", "reference"),
    [
        ({"X_MaaS_Username": " "}, "001"),
        ({"X_MaaS_Group": ""}, "002"),
        ({"X_MaaS_Group": "[system:authenticated other]"}, "003"),
        ({"X_MaaS_Group": "[]"}, "003"),
    ],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/tokens"), ("DELETE", "/v1/tokens"), ("GET", "/v1/models")])
def test_the_gateway_must_say_who_the_caller_is(
    maas: Maas, method: str, path: str, headers: dict[str, str], reference: str
) -> None:
    body = {"error": "Exception thrown while generating token", "exceptionCode": "AUTH_FAILURE", "refId": reference}
    assert maas.ask(method, path, **headers) == (500, body)


# Tiers


@pytest.mark.parametrize(
    ("groups", "tier", "name"),
    [
        (["system:authenticated"], "free", "Free Tier"),
        (["tier-premium-users", "system:authenticated"], "premium", "Premium Tier"),
        ([f"system:serviceaccounts:{INSTANCE}-tier-enterprise"], "enterprise", "Enterprise Tier"),
    ],
)
def test_the_tier_of_groups(maas: Maas, groups: list[str], tier: str, name: str) -> None:
    answer = maas.ask("POST", "/v1/tiers/lookup", {"groups": groups}, X_MaaS_Username="")
    assert answer == (200, {"tier": tier, "displayName": name})


@pytest.mark.parametrize(
    ("body", "status", "error"),
    [
        ({"groups": ["nobody"]}, 404, "not_found"),
        ({"groups": []}, 400, "bad_request"),
        ({"groups": "x"}, 400, "bad_request"),
        ("", 400, "bad_request"),
    ],
)
def test_no_tier_of_groups(maas: Maas, body: t.Any, status: int, error: str) -> None:
    answered, answer = maas.ask("POST", "/v1/tiers/lookup", body)
    assert (answered, answer["error"], sorted(answer)) == (status, error, ["error", "message"])


# Models


def test_a_model_of_the_cluster(maas: Maas) -> None:
    (listed,) = [entry for entry in maas.models() if entry["id"] == "facebook/opt-125m"]
    service = maas.cluster.get(f"{SERVICES}/{MODEL}")
    assert (listed["object"], listed["ready"], listed["url"]) == ("model", True, service["status"]["url"])
    created = datetime.datetime.fromisoformat(service["metadata"]["creationTimestamp"])
    assert (listed["owned_by"], listed["created"]) == ("vllm", int(created.timestamp()))


@fake_only
@pytest.mark.parametrize("url", ["", "http://127.0.0.1:9"])
def test_a_model_that_does_not_answer_is_hidden(maas: Maas, cluster: Cluster, simulator: Loopback, url: str) -> None:
    cluster.add(model(url))
    assert maas.models() == []
    cluster.add(model(simulator.url))
    assert [entry["id"] for entry in maas.models()] == ["facebook/opt-125m"]


@fake_only
@pytest.mark.parametrize(
    ("router", "is_listed"),
    [
        ({"gateway": {"refs": [{"name": "other", "namespace": "openshift-ingress"}]}}, False),
        ({"route": {"http": {"refs": [{"name": "here"}]}}}, True),
        ({"route": {"http": {}}}, False),
    ],
)
def test_models_of_the_gateway_alone(
    maas: Maas, cluster: Cluster, simulator: Loopback, router: Body, is_listed: bool
) -> None:
    gateway = {"name": INSTANCE, "namespace": "openshift-ingress"}
    cluster.put("httproutes", "llm", "here", spec={"parentRefs": [gateway]})
    cluster.add(model(simulator.url, **router))
    assert bool(maas.models()) is is_listed
    cluster.add(model(simulator.url))


def test_external_models_follow(maas: Maas) -> None:
    registry = "- id: gpt-4\n  provider: openai\n  backend: openai\n- {id: Qwen/Qwen3-0.6B, provider: 'vllm'}\n"

    def register(text: str) -> list[Body]:
        data = {"models": text}
        maas.cluster.apply(f"{NAMESPACE}/configmaps", "external-model-registry", "v1", "ConfigMap", data=data)
        return [{**entry, "created": 0} for entry in maas.models() if entry["id"] != "facebook/opt-125m"]

    try:
        assert register(registry) == [
            {"id": "gpt-4", "object": "model", "created": 0, "owned_by": "openai", "ready": True},
            {"id": "Qwen/Qwen3-0.6B", "object": "model", "created": 0, "owned_by": "vllm", "ready": True},
        ]
        for text in ("", "- [", "gpt-4", "- provider: openai"):
            assert register(text) == []
    finally:
        maas.cluster.clean()


def test_models_are_for_callers_with_a_token(maas: Maas) -> None:
    assert maas.ask("GET", "/v1/models", Authorization="")[0] == 401


def test_health_and_other_paths(maas: Maas) -> None:
    assert maas.ask("GET", "/health")[0] == 200
    assert maas.ask("GET", "/v1/tokens")[0] == 404
