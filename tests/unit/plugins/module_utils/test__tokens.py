# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Answer, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._tokens import (
    SOURCES,
    Identity,
    ServiceAccountSource,
    Token,
    TokenError,
    claims_of,
    parse_expiration,
    rfc3339,
    service_account_name,
    tier_namespace,
)

CLAIMS = {
    "iss": "https://kubernetes",
    "aud": ["ai-gateway-sa"],
    "iat": 1_000_000,
    "nbf": 1_000_000,
    "exp": 1_000_600,
    "jti": "an-id",
    "sub": "someone",
}


def jwt(claims: dict[str, t.Any]) -> str:
    return (
        ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "none"}, claims)
        )
        + ".c2ln"
    )


@pytest.mark.parametrize(
    ("user", "name"),
    [
        # The first is an example of Models-as-a-Service itself.
        ("kube:admin", "kube-admin-81378af5"),
        ("jane", "jane-8a8deed4"),
        ("Jane", "jane-1b78097f"),
        ("--a__b--", "a-b-76404552"),
    ],
)
def test_service_account_name(user: str, name: str) -> None:
    assert service_account_name(user) == name


@pytest.mark.parametrize("user", ["x" * 200, "a" * 53 + "@example.com", "é" * 40 + "a"])
def test_names_are_dns_labels(user: str) -> None:
    name = service_account_name(user)
    assert len(name) <= 63
    assert name.isascii()
    assert name.replace("-", "").isalnum()
    assert "--" not in name
    assert name[0] != "-"


@pytest.mark.parametrize("user", ["", "---", "日本"])
def test_a_user_without_letters(user: str) -> None:
    with pytest.raises(ValueError, match=r"^user: .* holds no letter or digit"):
        service_account_name(user)


def test_namespace() -> None:
    assert tier_namespace("ai-gateway", "free") == "ai-gateway-tier-free"


@pytest.mark.parametrize(
    ("text", "seconds"), [("10m", 600), ("4h", 14400), ("1h30m", 5400), ("600s", 600), ("3600", 3600), (" 1h ", 3600)]
)
def test_expiration(text: str, seconds: int) -> None:
    assert parse_expiration(text) == seconds


@pytest.mark.parametrize("text", ["9m", "599", "0", "-1h"])
def test_short_expiration(text: str) -> None:
    with pytest.raises(ValueError, match="10m and longer"):
        parse_expiration(text)


@pytest.mark.parametrize("text", ["", "soon", "10 minutes", "1d", "10m4", "1.5h", "--1h"])
def test_expiration_of_another_form(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write one such as"):
        parse_expiration(text)


def test_rfc3339() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00Z"


@pytest.mark.parametrize("token", ["", "abc", "a.b.c", "a.!.c", f"a.{base64.urlsafe_b64encode(b'[]').decode()}.c"])
def test_what_is_no_token(token: str) -> None:
    with pytest.raises(TokenError, match="no JSON Web Token"):
        claims_of(token)


def test_token_from_jwt() -> None:
    token = Token.from_jwt(jwt({**CLAIMS, "aud": "one"}))
    assert (token.issued_at, token.expires_at, token.jti, token.audiences) == (1_000_000, 1_000_600, "an-id", ("one",))
    assert Token.from_jwt(jwt(CLAIMS)).audiences == ("ai-gateway-sa",)


class Kubernetes:
    """Plays the API server of one namespace."""

    def __init__(self) -> None:
        self.service_accounts: dict[str, t.Any] = {}

    def get(self, path: str) -> t.Any:
        try:
            return self.request("GET", path).body
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def request(self, method: str, path: str, body: t.Any = None) -> Answer:
        namespace = "/api/v1/namespaces/ai-gateway-tier-free"
        if (method, path) == ("GET", namespace):
            return Answer(200, {})
        if (method, path) == ("POST", f"{namespace}/serviceaccounts"):
            name = body["metadata"]["name"]
            if name in self.service_accounts:
                raise ApiError(409, "AlreadyExists", "it exists")
            self.service_accounts[name] = body
            return Answer(201, body)
        name = path.removeprefix(f"{namespace}/serviceaccounts/").removesuffix("/token")
        if name not in self.service_accounts:
            raise ApiError(404, "NotFound", "it does not exist")
        if method == "DELETE":
            del self.service_accounts[name]
        if method == "POST":
            claims = {
                **CLAIMS,
                "aud": body["spec"]["audiences"],
                "exp": CLAIMS["iat"] + body["spec"]["expirationSeconds"],
            }
            return Answer(201, {"status": {"token": jwt(claims)}})
        return Answer(200, {})


class Forbidden(Kubernetes):
    def request(self, method: str, path: str, body: t.Any = None) -> Answer:
        raise ApiError(403, "Forbidden", "it is forbidden")


def source_of(kind: type[ServiceAccountSource], api: t.Any, **params: str) -> ServiceAccountSource:
    return kind(api, IDENTITY, params)


IDENTITY = Identity("ai-gateway", "free", "ai-gateway-tier-free", "jane-8a8deed4")


def test_service_account_source() -> None:
    api = Kubernetes()
    source = source_of(ServiceAccountSource, api, expiration="1h")
    assert source.namespace_exists()
    assert not source.service_account_exists()
    assert source.create_service_account()
    assert not source.create_service_account()
    assert source.service_account_exists()
    labels = api.service_accounts["jane-8a8deed4"]["metadata"]["labels"]
    assert labels == {"maas.opendatahub.io/instance": "ai-gateway", "maas.opendatahub.io/tier": "free"}
    assert source.issue(["ai-gateway-sa"]).expires_at == CLAIMS["iat"] + 3600
    assert source.revoke()
    assert not source.revoke()


def test_no_namespace() -> None:
    api: t.Any = Kubernetes()
    assert not ServiceAccountSource(
        api, Identity("ai-gateway", "gold", "ai-gateway-tier-gold", "jane"), {}
    ).namespace_exists()


def test_other_errors_pass() -> None:
    source = source_of(ServiceAccountSource, Forbidden(), expiration="1h")
    for call in (source.namespace_exists, source.create_service_account, source.revoke):
        with pytest.raises(ApiError):
            call()


def test_sources_by_name() -> None:
    assert list(SOURCES) == ["service_account", "maas_api"]
