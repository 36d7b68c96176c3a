# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Answer, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._tokens import (
    SOURCES,
    Identity,
    ServiceAccountSource,
    SigningKeySource,
    Token,
    TokenError,
    claims_of,
    moved,
    parse_expiration,
    rfc3339,
    service_account_name,
    sign,
    tier_namespace,
)
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

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
    assert parse_expiration(text, shortest=None) < 600


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


def test_moved_claims() -> None:
    earlier = moved(CLAIMS, -60)
    assert (earlier["iat"], earlier["nbf"], earlier["exp"]) == (999_340, 999_340, 999_940)
    assert earlier["sub"] == "someone"
    assert CLAIMS["exp"] == 1_000_600
    # One that lives longer is valid from the same moment on.
    later = moved(CLAIMS, 3600)
    assert (later["iat"], later["nbf"], later["exp"]) == (1_000_000, 1_000_000, 1_003_600)


def pem(key: t.Any) -> bytes:
    data: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return data


def parts_of(token: str) -> tuple[dict[str, t.Any], bytes, bytes]:
    header, payload, signature = token.split(".")
    decoded = base64.urlsafe_b64decode(header + "=="), base64.urlsafe_b64decode(signature + "==")
    return json.loads(decoded[0]), f"{header}.{payload}".encode(), decoded[1]


def key_id(key: t.Any) -> str:
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(public).digest()).rstrip(b"=").decode()


def test_rsa_signature() -> None:
    key = rsa.generate_private_key(65537, 2048)
    token = sign(CLAIMS, pem(key))
    header, content, signature = parts_of(token)
    assert header == {"alg": "RS256", "kid": key_id(key)}
    key.public_key().verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
    assert claims_of(token) == CLAIMS


def test_elliptic_curve_signature() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    header, content, signature = parts_of(sign(CLAIMS, pem(key)))
    assert header["alg"] == "ES256"
    assert len(signature) == 64
    numbers = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.public_key().verify(encode_dss_signature(*numbers), content, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "no unencrypted private key in PEM"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "neither RSA nor of the curve P-256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "neither RSA nor of the curve P-256"),
    ],
)
def test_other_keys(content: bytes, message: str) -> None:
    with pytest.raises(TokenError, match=message):
        sign(CLAIMS, content)


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


def test_signing_key_source(tmp_path: Path) -> None:
    key = rsa.generate_private_key(65537, 2048)
    (tmp_path / "sa.key").write_bytes(pem(key))
    source = source_of(SigningKeySource, Kubernetes(), expiration="-1m", signing_key=str(tmp_path / "sa.key"))
    source.create_service_account()
    token = source.issue(["ai-gateway-sa"])
    assert token.expires_at == CLAIMS["iat"] - 60
    assert token.expires_at - token.issued_at == 600
    _header, content, signature = parts_of(token.token)
    key.public_key().verify(signature, content, padding.PKCS1v15(), hashes.SHA256())


def test_signing_key_that_cannot_be_read() -> None:
    source = source_of(SigningKeySource, Kubernetes(), expiration="-1m", signing_key="/nowhere/sa.key")
    with pytest.raises(TokenError, match=r"signing_key: cannot read /nowhere/sa\.key: No such file"):
        source.issue(["x"])


def test_sources_by_name() -> None:
    assert list(SOURCES) == ["service_account", "signing_key", "maas_api"]
