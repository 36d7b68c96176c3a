# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which paths are served for providers of which API, and what their answers cost."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.paths import PATHS, REFUSED
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import SCHEMAS
from cloud_providers import PROVIDERS
from proxies import STREAM, VARIABLES, Handle, Program, costs, events, identity_key, programs
from rendering import rendered

#: By schema, a model of a provider that speaks it.
MODELS = {"openai": "gpt-4", "anthropic": "claude-3-sonnet"} | {
    provider["schema"]: provider["models"][0]["name"] for provider in PROVIDERS
}
LIMITED = {
    "name": "requests",
    "level": 2,
    "groups": ["many"],
    "token_limit": {"tokens": 100, "window": "1m"},
    "request_limit": {"requests": 5, "window": "1m"},
}
TOKENS = {
    "name": "tokens",
    "level": 3,
    "groups": ["others"],
    "token_limit": {"tokens": 100, "window": "1m"},
    "model_limits": [{"models": ["gpt-4"], "request_limit": {"requests": 5, "window": "1m"}}],
    "models": ["gpt-4", "claude-3-sonnet"],
}
#: A model at two providers, one of which has fewer paths.
SHARED = [
    {
        "name": name,
        "schema": schema,
        "endpoint": {"hostname": f"{name}.example.com"},
        "credential": {"secret": "key"},
        "models": [{"name": "shared", "priority": priority}],
        **fields,
    }
    for priority, (name, schema, fields) in enumerate(
        [("first", "openai", {}), ("second", "azure_openai", {"api_version": "2024-10-21"})]
    )
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    variables = {
        **VARIABLES,
        "ai_gateway_providers": [*VARIABLES["ai_gateway_providers"], *PROVIDERS, *SHARED],
        "ai_gateway_tiers": [LIMITED, TOKENS],
    }
    found = programs(rendered(tmp_path_factory.mktemp("policies"), "access_policies", "authorino.yaml.j2", variables))
    path = identity_key(tmp_path_factory.mktemp("identity"))
    return {**found, "body_filter": found["body_filter"].replace("/run/ai-gateway/key", str(path))}


@pytest.fixture(scope="module")
def body_filter(texts: dict[str, str]) -> Program:
    return Program(texts["body_filter"])


@pytest.fixture(scope="module")
def response_filter(texts: dict[str, str]) -> Program:
    return Program(texts["response_filter"])


def posted(program: Program, path: str, body: t.Any, tier: str = "requests", **headers: str) -> Handle:
    named = {":method": "POST", ":path": path, "x-maas-tier": tier, "x-maas-user": "alice", **headers}
    return program.request(named, json.dumps(body).encode(), {"begun": True})


def kept_of(handle: Handle) -> dict[str, t.Any]:
    return dict(handle.kept["egress.ai-gateway"])


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.path)
def test_each_path_of_each_schema(body_filter: Program, path: t.Any, schema: str) -> None:
    """What the table of docs/clients.md says."""
    model = MODELS[schema]
    handle = posted(body_filter, path.path, {"model": model})
    if path.refusal(schema):
        status, body = handle.answer()
        assert status == 404
        assert body["error"]["message"] == (
            f"The model {model} is not served under {path.path}: {path.refusal(schema)}."
        )
        assert (body.get("type") == "error") == path.path.startswith("/v1/messages")
        return
    assert handle.sent is None
    assert handle.values[":path"] == (path.known_as or path.path)
    assert handle.values["x-ai-gateway-api"] == path.api
    assert kept_of(handle)["usage"] == path.usage


def test_the_path_of_a_provider_in_any_api(body_filter: Program) -> None:
    handle = posted(body_filter, "/external/cohere/cohere/v2/rerank", {"model": "cohere-model"})
    assert (handle.sent, handle.values[":path"]) == (None, "/cohere/v2/rerank")
    assert handle.values["x-ai-gateway-provider"] == "cohere"
    handle = posted(body_filter, "/external/claude/v1/messages/count_tokens?beta=true", {"model": "claude-3-sonnet"})
    assert (handle.sent, handle.values[":path"]) == (None, "/v1/messages")


def test_a_shared_model_is_served_where_all_its_providers_serve_it(body_filter: Program) -> None:
    for path in ("/v1/chat/completions", "/v1/responses", "/external/first/v1/completions"):
        assert posted(body_filter, path, {"model": "shared"}).sent is None
    for path in ("/v1/completions", "/external/second/v1/completions", "/v1/messages"):
        status, body = posted(body_filter, path, {"model": "shared"}).answer()
        assert (status, body["error"]["type"] in ("invalid_request_error", "not_found_error")) == (404, True)


@pytest.mark.parametrize("path", [path for path in PATHS if path.limited], ids=lambda path: path.path)
def test_answers_without_tokens_need_a_limit_of_requests(body_filter: Program, path: t.Any) -> None:
    for model in ("gpt-4", "claude-3-sonnet"):
        handle = posted(body_filter, path.path, {"model": model}, "tokens")
        if model == "gpt-4" and "openai" in path.schemas:
            assert handle.sent is None
        else:
            status, body = handle.answer()
            served = ("openai" if model == "gpt-4" else "anthropic") in path.schemas
            assert status == (403 if served else 404)
            assert ("has no request limit" in body["error"]["message"]) == served


@pytest.mark.parametrize("beginning", REFUSED)
def test_what_is_served_for_no_model(body_filter: Program, beginning: str) -> None:
    path = beginning + "resp_1/input_items" if beginning.endswith("/") else beginning
    for method in ("GET", "POST", "DELETE"):
        headers = {":method": method, ":path": path, "x-maas-tier": "requests", "x-maas-user": "alice"}
        status, body = body_filter.request(headers, b"", {"begun": True}).answer()
        assert status == 404
        assert body["error"]["message"] == f"This gateway does not serve {path}. {REFUSED[beginning]}"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"previous_response_id": "resp_1"}, "Send the whole conversation as input."),
        ({"conversation": {"id": "conv_1"}}, "Send the whole conversation as input."),
        ({"background": True}, "wait for the answer or stream it."),
        ({"store": True}, "write false."),
        ({"input": [{"type": "item_reference", "id": "rs_1"}]}, "Send the item itself."),
        ({"Previous_Response_Id": "resp_1"}, "must be spelled previous_response_id."),
    ],
)
def test_a_response_needs_no_store(body_filter: Program, fields: dict[str, t.Any], words: str) -> None:
    status, body = posted(body_filter, "/v1/responses", {"model": "gpt-4", **fields}).answer()
    assert (status, body["error"]["message"].endswith(words)) == (400, True)
    plain = {key: None if key != "input" else "hello" for key in fields if key.islower()}
    assert posted(body_filter, "/v1/responses", {"model": "gpt-4", "store": False, **plain}).sent is None
    # A chat may be stored: nothing gives it back.
    assert posted(body_filter, "/v1/chat/completions", {"model": "gpt-4", "store": True}).sent is None


@pytest.mark.parametrize(("stream_format", "streams"), [("sse", True), ("audio", False)])
def test_speech_as_events_is_a_stream(body_filter: Program, stream_format: str, streams: bool) -> None:
    handle = posted(body_filter, "/v1/audio/speech", {"model": "gpt-4", "stream_format": stream_format})
    assert kept_of(handle)["streams"] is streams


def answered(
    program: Program, chunks: list[bytes], usage: str, model: str = "gpt-4", status: int = 200, **headers: str
) -> Handle:
    streams = "event" in headers.get("content_type", "")
    metadata = {"egress.ai-gateway": {"asked": 400, "model": model, "streams": streams, "usage": usage}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return program.response({":status": str(status), **named}, chunks, metadata)


USAGE = {"input_tokens": 60, "output_tokens": 40, "total_tokens": 100}
JSON = {"content_type": "application/json"}


def test_responses_are_counted(response_filter: Program) -> None:
    document = json.dumps({"object": "response", "usage": USAGE}).encode()
    assert costs(answered(response_filter, [document], "responses", **JSON)) == (100, 60, 40)
    stream = events(
        {"type": "response.created", "response": {"usage": None}},
        {"type": "response.output_text.delta", "delta": "a"},
        {"type": "response.completed", "response": {"usage": USAGE}},
    )
    assert costs(answered(response_filter, [stream], "responses", **STREAM)) == (100, 60, 40)
    handle = answered(response_filter, [b'{"object":"response"}'], "responses", **JSON)
    assert json.loads(handle.content)["usage"]["total_tokens"] == costs(handle)[0] > 100


def test_sounds_and_pictures_cost_what_is_said_or_the_request(response_filter: Program) -> None:
    sound = answered(response_filter, [b"\xff\xf3" * 50000], "unsure", content_type="audio/mpeg")
    assert (costs(sound), sound.content) == ((101, 100, 1), b"\xff\xf3" * 50000)
    picture = json.dumps({"created": 1, "data": [{"b64_json": "A" * 100000}]}).encode()
    handle = answered(response_filter, [picture], "unsure", **JSON)
    assert (costs(handle), handle.content) == ((101, 100, 1), picture)
    told = json.dumps({"data": [], "usage": USAGE}).encode()
    assert costs(answered(response_filter, [told], "unsure", **JSON)) == (100, 60, 40)
    stream = events({"type": "speech.audio.delta", "audio": "A" * 100000})
    assert costs(answered(response_filter, [stream], "unsure", **STREAM)) == (101, 100, 1)
    stream += events({"type": "speech.audio.done", "usage": USAGE})
    assert costs(answered(response_filter, [stream], "unsure", **STREAM)) == (100, 60, 40)
    ranks = json.dumps({"results": [], "meta": {"tokens": {"input_tokens": 25.0, "output_tokens": 0}}}).encode()
    assert costs(answered(response_filter, [ranks], "unsure", "cohere-model", **JSON)) == (25, 25, 0)


def test_a_count_of_tokens_costs_none(texts: dict[str, str], response_filter: Program) -> None:
    document = b' {"input_tokens": 2095}'
    handle = answered(response_filter, [document], "free", "claude-3-sonnet", **JSON)
    assert costs(handle) == (0, 0, 0)
    # The processor reads it as a message, and needs a usage.
    assert json.loads(handle.content) == {"input_tokens": 2095, "usage": {"input_tokens": 0, "output_tokens": 0}}
    assert handle.values["content-length"] == str(len(handle.content))
    shown = Program(texts["body_filter"]).response(handle.values, handle.chunks, handle.kept)
    assert (shown.content, shown.values["content-length"]) == (document, str(len(document)))


@pytest.mark.parametrize(
    ("body", "headers"), [(b"2095", {}), (b"[1]", {}), (b"\x1f\x8b", {"content_encoding": "gzip"})]
)
def test_a_count_that_the_processor_cannot_read_is_refused(
    response_filter: Program, body: bytes, headers: dict[str, str]
) -> None:
    handle = answered(response_filter, [body], "free", "claude-3-sonnet", **JSON, **headers)
    assert handle.values[":status"] == "502"
    assert json.loads(handle.content)["type"] == "error"


@pytest.mark.parametrize("model", ["bedrock-model", "gemini-model", "bedrock-claude-model"])
def test_answers_that_the_processor_reads(texts: dict[str, str], response_filter: Program, model: str) -> None:
    """They cost their bytes until the processor has read them."""
    body_filter = Program(texts["body_filter"])
    stream = {"content_type": "application/vnd.amazon.eventstream"}
    for chunks, headers in (([b'{"a":1}'], JSON), ([b"\0\0\0\x7f" * 30], stream), ([b'data: {"a":1}\n\n'], STREAM)):
        handle = answered(response_filter, chunks, "completions", model, **headers)
        size = len(b"".join(chunks))
        assert costs(handle) == (100 + -(-size // 4), 100, -(-size // 4))
        assert b"".join(chunks) == handle.content
        read = {"llm_total_tokens": 30, "llm_input_tokens": 20, "llm_output_tokens": 10}
        shown = body_filter.response({":status": "200", **STREAM}, [b""], {**handle.kept, "io.envoy.ai_gateway": read})
        assert costs(shown) == (30, 20, 10)


def test_a_usage_that_nobody_asked_for_is_hidden_in_a_translated_stream_too(body_filter: Program) -> None:
    chunk = events({"choices": [], "usage": {"prompt_tokens": 1}})
    kept = {"egress.ai-gateway": {"hides_usage": True, "foreign": True, "model": "gemini-model"}}
    read = {"io.envoy.ai_gateway": {"llm_total_tokens": 3, "llm_input_tokens": 2, "llm_output_tokens": 1}}
    handle = body_filter.response({":status": "200", "content-type": "text/event-stream"}, [chunk], {**kept, **read})
    assert (handle.content, costs(handle)) == (b"", (3, 2, 1))


@pytest.mark.parametrize("model", ["bedrock-model", "gemini-model", "vertex-claude-model", "cohere-model"])
@pytest.mark.parametrize(
    "document", [{"message": "No."}, {"Message": "No."}, {"error": {"code": 403, "message": "No."}}]
)
def test_errors_of_clouds_have_their_message_where_the_processor_reads_it(
    response_filter: Program, model: str, document: dict[str, t.Any]
) -> None:
    handle = answered(response_filter, [json.dumps(document).encode()], "completions", model, 403, **JSON)
    body = json.loads(handle.content)
    said = "The provider refused with status 403: No."
    assert (body["message"], body["error"]["message"], body["type"]) == (said, said, "error")
    assert "code" not in body["error"]


def test_the_table_of_the_documentation() -> None:
    from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.paths import reasons, table

    text = (Path(__file__).parents[4] / "docs/clients.md").read_text(encoding="utf-8")
    heading, *lines = (f"| {' | '.join(line)} |" for line in table())
    assert "\n".join([heading, "|" + "---|" * len(table()[0]), *lines]) in text
    assert "\n".join(f"{number}. {reason}." for number, reason in enumerate(reasons(), 1)) in text
    for beginning, reason in REFUSED.items():
        assert f"`{beginning}`" in text
        assert reason in text
