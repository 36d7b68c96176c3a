# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ssl
import typing as t
from collections.abc import Callable, Iterator

import pytest
from envoys import certificates
from token_issuers import Issuer

RunModule = Callable[..., dict[str, t.Any]]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    context, bundle, _certificate, _key = certificates(tmp_path_factory.mktemp("authority"), "localhost")
    return context, bundle.decode()


@pytest.fixture
def issuer(pair: tuple[ssl.SSLContext, str]) -> Iterator[Issuer]:
    server = Issuer(pair[0])
    server.documents = {
        "/realms/a/.well-known/openid-configuration": {
            "issuer": f"{server.url}/realms/a",
            "jwks_uri": f"{server.url}/keys",
        },
        "/keys": {"keys": [{"kty": "RSA", "kid": "1"}, {"kty": "RSA", "kid": "2", "use": "enc"}, {"kty": "oct"}]},
    }
    yield server
    server.shutdown()
    server.server_close()


def test_the_keys_of_an_issuer(issuer: Issuer, pair: tuple[ssl.SSLContext, str], run_module: RunModule) -> None:
    given = {"issuer": f"{issuer.url}/realms/a", "ca_certificates": pair[1]}
    result = run_module("signing_keys_info", given, check_mode=True)
    assert (result["jwks_uri"], result["hostname"]) == (f"{issuer.url}/keys", "localhost")
    assert (result["port"], result["keys"], result["changed"]) == (issuer.server_address[1], ["1"], False)


@pytest.mark.parametrize(
    ("path", "document", "said"),
    [
        ("/realms/a/.well-known/openid-configuration", None, "answers with status 404"),
        ("/realms/a/.well-known/openid-configuration", b"<html>", "is no JSON"),
        ("/realms/a/.well-known/openid-configuration", [], "is no JSON object"),
        ("/realms/a/.well-known/openid-configuration", {"issuer": "https://b"}, "calls itself 'https://b'"),
        ("/keys", {"keys": [{"kty": "oct"}]}, "has no key for signatures"),
        ("/keys", {}, "has no key for signatures"),
        ("/keys", None, "answers with status 404"),
    ],
)
def test_an_issuer_without_usable_keys(
    issuer: Issuer, pair: tuple[ssl.SSLContext, str], run_module: RunModule, path: str, document: t.Any, said: str
) -> None:
    issuer.documents[path] = document
    given = {"issuer": f"{issuer.url}/realms/a", "ca_certificates": pair[1]}
    result = run_module("signing_keys_info", given)
    assert result["failed"]
    assert said in result["msg"]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://localhost/keys", "no URL of HTTPS"),
        (None, "no URL of HTTPS"),
        ("https://localhost/keys", "as jwks_uri"),
    ],
)
def test_keys_that_the_proxies_may_not_fetch(
    issuer: Issuer, pair: tuple[ssl.SSLContext, str], run_module: RunModule, uri: str | None, said: str
) -> None:
    issuer.documents["/realms/a/.well-known/openid-configuration"]["jwks_uri"] = uri
    result = run_module("signing_keys_info", {"issuer": f"{issuer.url}/realms/a", "ca_certificates": pair[1]})
    assert said in result["msg"]


def test_an_issuer_that_is_not_verified_or_not_there(issuer: Issuer, run_module: RunModule) -> None:
    result = run_module("signing_keys_info", {"issuer": f"{issuer.url}/realms/a"})
    assert result["failed"]
    assert "ca_bundle" in result["msg"]
    assert "jwks_uri" in result["msg"]
    result = run_module("signing_keys_info", {"issuer": "https://localhost:9", "timeout": 2})
    assert "cannot be read" in result["msg"]
