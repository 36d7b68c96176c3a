# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""API keys in the proxies and in the rules of Authorino."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import typing as t
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._api_keys import base62, digest_of, new_key
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import API_KEY_DIGESTS, HEADERS
from envoys import Envoy, Upstream, envoy_program
from proxies import VARIABLES, Handle, Program, part, programs
from rendering import ROLES, documents, rendered

KEYS = {"ai_gateway_callers": [{"kind": "api_key"}]}
LATER = int(time.time()) + 86400


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> str:
    return rendered(tmp_path_factory.mktemp("keys"), "access_policies", "authorino.yaml.j2", {**VARIABLES, **KEYS})


@pytest.fixture(scope="module")
def source(policies: str) -> str:
    return programs(policies)["request_filter"]


@pytest.fixture(scope="module")
def program(source: str) -> Program:
    return Program(source)


def asked(program: Program, path: str = "/v1/chat/completions", **headers: str) -> Handle:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return program.request({":method": "POST", ":path": path, **named})


def header_of(digest: str) -> str:
    return API_KEY_DIGESTS[int(digest[0], 16) % len(API_KEY_DIGESTS)]


def remade(key: str, place: int, character: str) -> str:
    """A key with another character and the checksum for it."""
    body = key.removeprefix("aigw_")[:-6]
    body = body[:place] + character + body[place + 1 :]
    return f"aigw_{body}{base62(zlib.crc32(body.encode()), 6)}"


@pytest.mark.parametrize("header", ["authorization", "x_api_key"])
def test_the_digest_takes_the_place_of_the_key(header: str, program: Program) -> None:
    key = new_key("aigw", LATER)
    handle = asked(program, **{header: f"bearer {key}" if header == "authorization" else key})
    assert handle.sent is None
    assert handle.values[header_of(digest_of(key))] == digest_of(key)
    assert key not in json.dumps(handle.values)
    assert not {"authorization", "x-api-key"} & set(handle.values)


def test_a_digest_of_the_client_is_removed(program: Program) -> None:
    digest = digest_of(new_key("aigw", LATER))
    forged = {name.replace("-", "_"): digest for name in API_KEY_DIGESTS}
    for headers in ({}, {"authorization": "Bearer e30.e30.x"}, {"authorization": f"Bearer {digest}"}):
        handle = asked(program, **forged, **headers)
        assert handle.sent is None
        assert not set(API_KEY_DIGESTS) & set(handle.values)
    key = new_key("aigw", LATER)
    handle = asked(program, **forged, x_api_key=key)
    assert {name: value for name, value in handle.values.items() if name in API_KEY_DIGESTS} == {
        header_of(digest_of(key)): digest_of(key)
    }


def test_the_listener_and_what_is_behind_authorization_remove_digests() -> None:
    for names in (HEADERS.removed_at_listener, HEADERS.removed_after_authorization):
        assert set(API_KEY_DIGESTS) <= set(names)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/messages"])
@pytest.mark.parametrize(
    ("change", "message", "code"),
    [
        (lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"), "its checksum differs", "invalid_api_key"),
        (lambda key: key[:10] + ("a" if key[10] != "a" else "b") + key[11:], "its checksum differs", "invalid_api_key"),
        (lambda key: key[:-1], "is incomplete, or has more", "invalid_api_key"),
        (lambda key: key + "a", "is incomplete, or has more", "invalid_api_key"),
        (lambda key: "aigw_", "is incomplete", "invalid_api_key"),
        (lambda key: key[:20] + "-" + key[21:], "is incomplete", "invalid_api_key"),
        (lambda key: key[:-6] + "zzzzzz", "its checksum differs", "invalid_api_key"),
        (
            lambda key: new_key("aigw", 1_700_000_000),
            "ended at 2023-11-14T22:13:20Z. Ask for a new one",
            "expired_api_key",
        ),
        (lambda key: new_key("aigw", 0), "ended at 1970-01-01T00:00:00Z", "expired_api_key"),
    ],
)
def test_what_is_no_key_is_refused_at_once(
    change: t.Callable[[str], str], message: str, code: str, path: str, program: Program
) -> None:
    key = change(new_key("aigw", LATER))
    status, body = asked(program, path, authorization=f"Bearer {key}").answer()
    assert status == 401
    assert message in body["error"]["message"]
    assert key not in json.dumps(body)
    if path == "/v1/messages":
        assert (body["type"], body["error"]["type"]) == ("error", "authentication_error")
    else:
        assert body["error"]["code"] == code


def test_a_later_end_is_another_key(program: Program) -> None:
    key = new_key("aigw", int(time.time()) - 10)
    longer = remade(key, 8, "1")
    assert asked(program, x_api_key=key).answer()[0] == 401
    assert digest_of(key) not in asked(program, x_api_key=longer).values.values()


def test_two_credentials_are_refused(program: Program) -> None:
    key, other = new_key("aigw", LATER), new_key("aigw", LATER)
    for token in (other, "e30.e30.x"):
        status, body = asked(program, authorization=f"Bearer {token}", x_api_key=key).answer()
        assert (status, body["error"]["code"]) == (400, "several_tokens")
    assert asked(program, authorization=f"Bearer {key}", x_api_key=key).sent is None
    assert asked(program, authorization="Basic eDp5", x_api_key=key).sent is None


@pytest.mark.parametrize("token", ["e30.e30.x", "aigw", "AIGW_0", "aigws_0", "sk-aigw_0", "sha256~abc"])
def test_other_tokens_are_left_alone(token: str, program: Program) -> None:
    handle = asked(program, authorization=f"Bearer {token}")
    assert handle.sent is None
    assert handle.values["authorization"] == f"Bearer {token}"


def test_without_callers_of_this_kind_a_key_is_a_token_as_any_other(request_filter: Program) -> None:
    key = new_key("aigw", LATER)
    assert asked(request_filter, x_api_key=key).values["authorization"] == f"Bearer {key}"


def test_sha256_of_any_length() -> None:
    hashed = part("hashes.lua", "function(value) return hashes.hexadecimal(hashes.sha256(value)) end")
    for length in [*range(200), 1000, 4095]:
        content = secrets.token_bytes(length)
        assert hashed(content.decode("latin-1")) == hashlib.sha256(content).hexdigest(), length


def test_an_evaluator_of_authorino_reads_each_header(policies: str) -> None:
    (config,) = [item for item in documents(policies) if item["kind"] == "AuthConfig"]
    spec = config["spec"]
    found = {name: item for name, item in spec["authentication"].items() if "apiKey" in item}
    assert [item["credentials"]["customHeader"]["name"] for item in found.values()] == list(API_KEY_DIGESTS)
    for place, item in enumerate(found.values()):
        assert item["apiKey"] == {
            "allNamespaces": False,
            "selector": {
                "matchLabels": {
                    "egress.ai-gateway/api-key-of": "ai-gateway",
                    "egress.ai-gateway/api-key-part": str(place),
                }
            },
        }
        # What is revoked is refused at once.
        assert "cache" not in item
    (rule,) = spec["authorization"]["tier"]["patternMatching"]["patterns"]
    (only,) = rule["any"]
    assert '["free", "narrow"]' in only["predicate"]
    assert "request.time.seconds" in only["predicate"]
    headers = spec["response"]["success"]["headers"]
    assert '"key:" + ' in headers["x-maas-user"]["plain"]["expression"]
    assert "revoked" in spec["response"]["unauthenticated"]["body"]["expression"]


def test_without_callers_of_this_kind_there_is_no_evaluator(tmp_path: Path) -> None:
    plain = rendered(tmp_path, "access_policies", "authorino.yaml.j2", VARIABLES)
    assert "apiKey" not in plain
    assert "api_keys" not in programs(plain)["request_filter"].replace("settings.api_keys", "").replace(
        "api_keys.prepare", ""
    )


@pytest.fixture(scope="module")
def proxy(source: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    """An Envoy with the program, which answers with the digest that it sends on and the microseconds of hashing it."""
    directory = tmp_path_factory.mktemp("envoy")
    upstream = Upstream()
    upstream.start()
    http = "type.googleapis.com/envoy.extensions.filters.http."
    seen = """
function envoy_on_request(handle)
  local found = ""
  for name, value in pairs(handle:headers()) do
    if name:find("^x%-ai%-gateway%-api%-key%-digest") or name == "authorization" then
      found = found .. name .. "=" .. value .. "\\n"
    end
  end
  handle:respond({[":status"] = "200"}, found)
end
"""
    timed = (
        (ROLES / "access_policies/files/hashes.lua").read_text()
        + """
function envoy_on_request(handle)
  local key = handle:headers():get("x-key")
  if not key then return end
  local count, begun, digest = 20000, os.clock(), ""
  for _ = 1, count do digest = hashes.hexadecimal(hashes.sha256(key)) end
  handle:respond({[":status"] = "200"}, digest .. " " .. (os.clock() - begun) / count * 1000000)
end
"""
    )
    filters = [
        {
            "name": name,
            "typed_config": {"@type": f"{http}lua.v3.Lua", "default_source_code": {"inline_string": content}},
        }
        for name, content in (("timed", timed), ("first", source), ("seen", seen))
    ]
    filters.append({"name": "router", "typed_config": {"@type": f"{http}router.v3.Router"}})
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3."
        "HttpConnectionManager",
        "stat_prefix": "test",
        "http_filters": filters,
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 404}}],
                }
            ]
        },
    }
    listen = upstream.port + 1 if upstream.port < 65000 else upstream.port - 1
    listener = {
        "name": "test",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    envoy = Envoy(envoy_program(directory), directory, {"static_resources": {"listeners": [listener]}}, listen)
    for _attempt in range(300):
        if envoy.ask("/v1/models")[0]:
            break
        time.sleep(0.1)
    yield envoy
    envoy.stop()
    upstream.shutdown()


def test_an_envoy_hashes_keys_as_python_does(proxy: Envoy) -> None:
    for number in range(1000):
        key = new_key("aigw", LATER + number)
        headers = {"x-api-key": key} if number % 2 else {"Authorization": f"Bearer {key}"}
        digest = digest_of(key)
        assert proxy.ask("/v1/chat/completions", **headers, **{API_KEY_DIGESTS[0]: "0" * 64}) == (
            200,
            f"{header_of(digest)}={digest}\n",
        )
    status, body = proxy.ask("/v1/chat/completions", Authorization=f"Bearer {new_key('aigw', LATER)[:-1]}")
    assert (status, json.loads(body)["error"]["code"]) == (401, "invalid_api_key")
    assert proxy.ask("/v1/chat/completions", **{API_KEY_DIGESTS[3]: "0" * 64}) == (200, "")


def test_an_envoy_hashes_a_key_in_microseconds(proxy: Envoy) -> None:
    key = new_key("aigw", LATER)
    _status, body = proxy.ask("/", **{"x-key": key})
    digest, microseconds = body.split(" ")
    assert digest == digest_of(key)
    print(f"SHA-256 of a key in Envoy: {float(microseconds):.1f} µs")
    assert float(microseconds) < 500
