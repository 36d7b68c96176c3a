# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module against a server on the loopback interface that plays the Kubernetes API."""

from __future__ import annotations

import base64
import json
import tempfile
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.egress.ai_gateway.plugins.modules import gateway_token
from loopback import Loopback, Reply, Request

RunModule = Callable[..., dict[str, t.Any]]
NAMESPACES = "/api/v1/namespaces"
NAMESPACE = "ai-gateway-tier-free"
NAME = "jane-8a8deed4"


def jwt(audiences: list[str], lifetime: int) -> str:
    claims = {"iat": 1_000_000, "exp": 1_000_000 + lifetime, "aud": audiences, "jti": "an-id"}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b'=').decode()}.c2ln"


class Kubernetes:
    """One tier's namespace with its ServiceAccounts; ``longest`` caps the tokens' lifetime, as an API server may."""

    def __init__(self, loopback: Loopback) -> None:
        self.loopback = loopback
        self.names: set[str] = set()
        self.longest = 10**9
        loopback.answer = self.answer

    def answer(self, request: Request) -> Reply:
        path = request.path.partition("?")[0]
        accounts = f"{NAMESPACES}/{NAMESPACE}/serviceaccounts"
        if path == f"{NAMESPACES}/{NAMESPACE}":
            return Reply(200, {"kind": "Namespace", "metadata": {"name": NAMESPACE}})
        if path == f"{NAMESPACES}/closed":
            return Reply(403, {"kind": "Status", "reason": "Forbidden", "message": 'namespaces "closed" is forbidden'})
        if path == accounts and request.method == "POST":
            self.names.add(request.body["metadata"]["name"])
            return Reply(201, request.body)
        name = path.removeprefix(accounts + "/").removesuffix("/token")
        if name in self.names and path.endswith("/token"):
            spec = request.body["spec"]
            token = jwt(spec["audiences"], min(self.longest, spec["expirationSeconds"]))
            return Reply(201, {"spec": spec, "status": {"token": token, "expirationTimestamp": "2026-01-01T00:00:00Z"}})
        if name in self.names and request.method == "DELETE":
            self.names.remove(name)
            return Reply(200, {})
        return (
            Reply(200, {"kind": "ServiceAccount"})
            if name in self.names
            else Reply(404, {"kind": "Status", "reason": "NotFound", "message": "not found"})
        )

    @property
    def written(self) -> list[str]:
        return [f"{request.method} {request.path}" for request in self.loopback.requests if request.method != "GET"]


@pytest.fixture
def kubernetes(loopback: Loopback) -> Kubernetes:
    pytest.importorskip("kubernetes")
    return Kubernetes(loopback)


@pytest.fixture
def run(kubernetes: Kubernetes, run_module: RunModule) -> RunModule:
    def run(check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        common = {"host": kubernetes.loopback.url, "api_key": "an-api-key", "user": "jane"}
        tier = {} if "namespace" in options else {"tier": "free"}
        return run_module("gateway_token", {**common, **tier, **options}, check_mode=check_mode)

    return run


def test_present(kubernetes: Kubernetes, run: RunModule) -> None:
    first = run(expiration="1h")
    assert first["changed"]
    assert (first["namespace"], first["service_account"]) == (NAMESPACE, NAME)
    assert (first["expiration"], first["issued_at"], first["expires_at"]) == (
        3600,
        "1970-01-12T13:46:40Z",
        "1970-01-12T14:46:40Z",
    )
    assert (first["audiences"], first["jti"]) == (["ai-gateway-sa"], "an-id")
    assert first["token"] == jwt(["ai-gateway-sa"], 3600)
    second = run(audiences=["other"])
    assert not second["changed"]
    assert second["audiences"] == ["other"]


def test_check_mode_writes_nothing(kubernetes: Kubernetes, run: RunModule) -> None:
    result = run(check_mode=True)
    assert result["changed"]
    assert "token" not in result
    assert kubernetes.written == []
    assert run(check_mode=True, tier="gold")["warnings"]
    kubernetes.names.add(NAME)
    assert not run(check_mode=True)["changed"]
    assert run(check_mode=True, state="absent")["changed"]
    assert kubernetes.written == []


def test_absent(kubernetes: Kubernetes, run: RunModule) -> None:
    kubernetes.names.add(NAME)
    assert run(state="absent")["changed"]
    assert not run(state="absent")["changed"]
    assert kubernetes.names == set()


def test_a_capped_lifetime_is_said(kubernetes: Kubernetes, run: RunModule) -> None:
    kubernetes.longest = 900
    result = run(expiration="4h")
    assert result["expiration"] == 900
    assert "issued the token for 900 s instead of 14400 s" in json.dumps(result["warnings"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tier": "gold"},
            "tier 'gold' has no namespace ai-gateway-tier-gold; define it in ai_gateway_tiers and run role "
            "access_policies",
        ),
        ({"namespace": "nowhere"}, "there is no namespace nowhere; create it, or name another"),
        ({"namespace": "closed"}, 'namespaces "closed" is forbidden; check the rights of the credentials in use'),
        ({"expiration": "5m"}, "expiration: '5m' is too short; the API server issues tokens for 10m and longer"),
        ({"expiration": "soon"}, "expiration: 'soon' is not a duration"),
        ({"user": "!"}, "user: '!' holds no letter or digit"),
    ],
)
def test_errors(kubernetes: Kubernetes, run: RunModule, options: dict[str, t.Any], message: str) -> None:
    result = run(**options)
    assert result["failed"]
    assert message in result["msg"]


def test_a_tier_or_a_namespace_is_needed(kubernetes: Kubernetes, run_module: RunModule) -> None:
    result = run_module("gateway_token", {"host": kubernetes.loopback.url, "api_key": "an-api-key", "user": "jane"})
    assert "source is service_account but any of the following are missing: tier, namespace" in result["msg"]


def test_no_api_server(run_module: RunModule, loopback: Loopback) -> None:
    loopback.close()
    result = run_module(
        "gateway_token", {"host": loopback.url, "api_key": "an-api-key", "user": "jane", "tier": "free"}
    )
    assert f"no answer from the API server {loopback.url}" in result["msg"]


def test_an_inline_kubeconfig_neither_shows_nor_spoils_the_token(kubernetes: Kubernetes, run_module: RunModule) -> None:
    part = jwt(["ai-gateway-sa"], 14400)[10:14]
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": part, "cluster": {"server": kubernetes.loopback.url}}],
        "users": [{"name": part, "user": {"token": "a-secret-of-the-kubeconfig"}}],
        "contexts": [{"name": part, "context": {"cluster": part, "user": part}}],
        "current-context": part,
    }
    result = run_module("gateway_token", {"kubeconfig": kubeconfig, "user": "jane", "tier": "free"})
    assert result["token"] == jwt(["ai-gateway-sa"], 14400)
    assert "a-secret-of-the-kubeconfig" not in json.dumps(result)
    assert kubernetes.loopback.requests[0].headers["authorization"] == "Bearer a-secret-of-the-kubeconfig"


def test_inside_of_ansible_no_key_of_a_kubeconfig_stays_behind(
    kubernetes: Kubernetes, run: RunModule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made: list[str] = []
    connect = gateway_token.connect

    def connected(*arguments: t.Any) -> t.Any:
        api = connect(*arguments)
        made.extend(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
        return api

    monkeypatch.setattr(gateway_token, "connect", connected)
    pem = base64.b64encode(b"a key").decode()
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": "https" + kubernetes.loopback.url[4:]}}],
        "users": [{"name": "u", "user": {"client-certificate-data": pem, "client-key-data": pem}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    given = {"kubeconfig": kubeconfig, "tier": "free", "user": "jane"}
    params = ArgumentSpecValidator(**gateway_token.arguments()).validate(given).validated_parameters
    result = gateway_token.perform(params, False, False, lambda _text: None)
    # These are no keys.
    assert result["failed"]
    assert made
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
