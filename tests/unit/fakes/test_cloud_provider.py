# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake of clouds, and the table of what must arrive at it."""

from __future__ import annotations

import collections.abc
import http.client
import json
import struct
import threading
import typing as t
import zlib

import fake_clouds
import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.paths import serves
from cloud_provider import WORDS, Cloud, frame, shown

TIER = {
    "name": "all",
    "level": 0,
    "groups": ["all"],
    "token_limit": {"tokens": 1, "window": "1m"},
    "request_limit": {"requests": 1, "window": "1m"},
}


@pytest.fixture(scope="module")
def cloud() -> collections.abc.Iterator[Cloud]:
    with Cloud(0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(cloud: Cloud, method: str, path: str, body: t.Any = None, **headers: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", cloud.server_address[1], timeout=10)
    content = json.dumps(body) if body is not None else None
    connection.request(method, path, content, {"content-type": "application/json", **headers})
    answer = connection.getresponse()
    found = answer.status, answer.headers["content-type"], answer.read()
    connection.close()
    return found


@pytest.mark.parametrize("case", fake_clouds.CASES, ids=lambda case: f"{case.provider}{case.path}-{case.streams}")
def test_what_must_arrive_is_answered_and_remembered(cloud: Cloud, case: fake_clouds.Case) -> None:
    header, start = fake_clouds.credential_of(case.provider)
    key = {"azure": "azure-key-of-outside", "cohere": "Bearer cohere-key-of-outside"}.get(
        case.provider, start + "x, Signature=1234"
    )
    if case.provider in ("gemini", "vertex-claude"):
        key = "Bearer a-token-of-google"
    body = {"model": case.model, **{name: value for name, value in case.fields.items() if value is not None}}
    body |= {name: None for name, value in case.fields.items() if value is None}
    status, kind, answer = ask(cloud, "POST", case.arrives_at, body, **{header: key})
    assert status == 200
    assert ("json" in kind) != case.streams
    if case.provider != "cohere" and case.path != "/v1/embeddings" and "invoke-" not in case.arrives_at:
        assert WORDS.encode() in answer
    model = case.model if "/responses" not in case.path else "azure-model"
    *_others, seen = json.loads(ask(cloud, "GET", f"/seen/{model}")[2])
    assert fake_clouds.arrived_wrongly(case, seen) == []
    assert not [
        secret for secret in ("of-outside", "a-token-of-google", "1234") if secret in json.dumps(seen["headers"])
    ]
    wrong = {**seen, "path": "/elsewhere", "headers": {}, "body": dict.fromkeys(case.fields, "other")}
    assert len(fake_clouds.arrived_wrongly(case, wrong)) == 2 + len(case.fields)


def test_the_table_is_about_what_the_catalogue_serves() -> None:
    providers = fake_clouds.providers("-----BEGIN PRIVATE KEY-----")
    allowed = [fake_clouds.HOSTNAME]
    catalog = build({"providers": providers, "tiers": [TIER], "allowed_endpoints": allowed})
    schemas = {provider.name: provider.schema for provider in catalog.providers}
    assert {case.provider for case in fake_clouds.CASES} == set(schemas)
    for case in fake_clouds.CASES:
        assert serves(case.path, schemas[case.provider])


GEMINI = "/v1/projects/p/locations/l/publishers/google/models/refused:generateContent"


@pytest.mark.parametrize("path", ["/model/refused/converse", GEMINI])
def test_a_refused_model(cloud: Cloud, path: str) -> None:
    status, _kind, answer = ask(cloud, "POST", path, {})
    assert (status, b"message" in answer.lower()) == (403, True)


def test_an_unknown_path(cloud: Cloud) -> None:
    assert ask(cloud, "POST", "/v1/chat/completions", {})[0] == 404


def test_a_frame() -> None:
    found = frame("messageStop", {"stopReason": "end_turn"})
    length, headers, checksum = struct.unpack(">III", found[:12])
    assert (length, checksum) == (len(found), zlib.crc32(found[:8]))
    assert json.loads(found[12 + headers : -4]) == {"stopReason": "end_turn"}
    assert struct.unpack(">I", found[-4:])[0] == zlib.crc32(found[:-4])


def test_credentials_are_not_shown() -> None:
    assert shown("authorization", "AWS4-HMAC-SHA256 Credential=A/b, Signature=secret") == (
        "AWS4-HMAC-SHA256 Credential=A/b, Signature="
    )
    assert shown("user-agent", "curl") == "curl"
    assert "secret" not in shown("api-key", "secret")
