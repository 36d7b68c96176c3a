# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the dialects answer, without a server."""

from __future__ import annotations

import base64
import json
import math
import struct
import typing as t

import pytest
from simulator_dialects import DIALECTS, Anthropic, ApiError, Call, Dialect, KeyForm, OpenAI
from simulator_process import CHAT, MESSAGES, named_events_of
from simulator_state import Usage

MODELS = ("gpt-4", "b", "c")


def call(body: dict[str, t.Any] | None = None, query: dict[str, str] | None = None, **tokens: int) -> Call:
    return Call(body or {}, query or {}, **tokens)


@pytest.fixture
def openai() -> OpenAI:
    return OpenAI("p", MODELS)


@pytest.fixture
def anthropic() -> Anthropic:
    return Anthropic("p", MODELS)


def refusal(
    answer: t.Callable[[Call], t.Any], body: dict[str, t.Any] | None = None, query: dict[str, str] | None = None
) -> ApiError:
    with pytest.raises(ApiError) as raised:
        answer(call(body, query))
    return raised.value


# --- both ---


@pytest.mark.parametrize("schema", DIALECTS)
def test_routes(schema: str) -> None:
    dialect: Dialect = DIALECTS[schema]("p", ["a/b"])
    assert dialect.route("GET", "/v1/models/a/b")(call()).document == dialect.model("a/b")
    for method, path, status, code in (
        ("GET", "/v1/models/c", 404, "model_not_found"),
        ("GET", "/v2", 404, "unknown_url"),
        ("POST", "/v1/models", 405, "method_not_allowed"),
    ):
        with pytest.raises(ApiError) as raised:
            dialect.route(method, path)
        assert (raised.value.status, raised.value.code) == (status, code)


def test_a_dialect_has_its_own_paths_alone() -> None:
    paths = {
        schema: {path for path in dialect("p", []).routes if path != "/v1/models"}
        for schema, dialect in DIALECTS.items()
    }
    assert paths == {
        "openai": {
            "/v1/chat/completions",
            "/v1/completions",
            "/v1/embeddings",
            "/v1/responses",
            "/v1/images/generations",
        },
        "anthropic": {"/v1/messages", "/v1/messages/count_tokens"},
    }


@pytest.mark.parametrize(
    ("form", "value", "presented"),
    [
        (KeyForm("authorization", "Bearer"), "bearer  key ", "key"),
        (KeyForm("authorization", "Bearer"), "Basic key", ""),
        (KeyForm("authorization", "Bearer"), "key", ""),
        (KeyForm("authorization"), "Bearer key", "Bearer key"),
        (KeyForm("x-key"), " key ", "key"),
        (KeyForm("x-key", "Token"), "Token key", "key"),
    ],
)
def test_what_a_header_presents(form: KeyForm, value: str, presented: str) -> None:
    assert form.presented({form.header: value, "other": "x"}) == presented
    assert form.presented({"other": value}) is None


# --- OpenAI ---


def vectors(openai: OpenAI, **body: t.Any) -> list[list[float]]:
    document = openai.embed(call({"model": "gpt-4", **body})).document
    assert document is not None
    assert [item["index"] for item in document["data"]] == list(range(len(document["data"])))
    return [item["embedding"] for item in document["data"]]


@pytest.mark.parametrize(
    ("inputs", "count", "tokens"),
    [("one two", 1, 2), (["one", "two three"], 2, 3), ([1, 2, 3], 1, 3), ([[1, 2], [3]], 2, 3)],
)
def test_embeddings(openai: OpenAI, inputs: t.Any, count: int, tokens: int) -> None:
    reply = openai.embed(call({"model": "gpt-4", "input": inputs}))
    assert reply.usage == Usage(tokens, 0)
    assert reply.document is not None
    assert reply.document["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert (reply.document["object"], reply.document["model"]) == ("list", "gpt-4")
    found = vectors(openai, input=inputs)
    assert [len(vector) for vector in found] == [256] * count
    assert all(math.isclose(math.hypot(*vector), 1, abs_tol=1e-5) for vector in found)
    assert vectors(openai, input=inputs) == found


def test_embeddings_depend_on_text_and_model(openai: OpenAI) -> None:
    first, second, again = vectors(openai, input=["one", "two", "one"])
    assert first == again != second
    assert vectors(openai, input="one", model="b") != [first]
    assert len(vectors(openai, input="one", dimensions=7)[0]) == 7


def test_embeddings_in_base64_are_the_same_numbers(openai: OpenAI) -> None:
    (text,) = t.cast("list[str]", vectors(openai, input="one", encoding_format="base64"))
    assert [list(struct.unpack("<256f", base64.b64decode(text)))] == vectors(
        openai, input="one", encoding_format="float"
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_input"),
        ({"input": ""}, "invalid_input"),
        ({"input": []}, "invalid_input"),
        ({"input": ["a", ""]}, "invalid_input"),
        ({"input": ["a", 1]}, "invalid_input"),
        ({"input": [[1], []]}, "invalid_input"),
        ({"input": [True]}, "invalid_input"),
        ({"input": ["a"] * 2049}, "invalid_input"),
        ({"input": ["a"] * 2048, "dimensions": 3072}, "invalid_input"),
        ({"input": "a", "encoding_format": "hex"}, "invalid_encoding_format"),
        ({"input": "a", "dimensions": 0}, "invalid_dimensions"),
        ({"input": "a", "dimensions": 2.5}, "invalid_dimensions"),
        ({"input": "a", "model": "x"}, "model_not_found"),
    ],
)
def test_bad_embeddings(openai: OpenAI, body: dict[str, t.Any], code: str) -> None:
    assert refusal(openai.embed, {"model": "gpt-4", **body}).code == code


def test_openai_usage_that_is_told(openai: OpenAI) -> None:
    reply = openai.chat(call(CHAT, prompt_tokens=0, completion_tokens=9))
    assert reply.usage == Usage(0, 9)
    assert openai.embed(call({"model": "b", "input": "a"}, prompt_tokens=7, completion_tokens=9)).usage == Usage(7, 0)


# --- Anthropic ---


def test_a_message(anthropic: Anthropic) -> None:
    reply = anthropic.create(call(MESSAGES))
    message = reply.document
    assert message is not None
    assert (message["type"], message["role"], message["model"], message["stop_reason"], message["stop_sequence"]) == (
        "message",
        "assistant",
        "gpt-4",
        "end_turn",
        None,
    )
    assert message["content"] == [{"type": "text", "text": "This is a simulated answer of provider p to 5 words."}]
    assert message["usage"] == {
        "input_tokens": 5,
        "output_tokens": 11,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
    }
    assert message["id"].startswith("msg_")
    assert (reply.model, reply.usage) == ("gpt-4", Usage(5, 11))


def test_a_message_is_cut_at_max_tokens(anthropic: Anthropic) -> None:
    message = anthropic.create(call({**MESSAGES, "max_tokens": 3})).document
    assert message is not None
    assert (message["stop_reason"], message["content"][0]["text"], message["usage"]["output_tokens"]) == (
        "max_tokens",
        "This is a",
        3,
    )


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}


@pytest.mark.parametrize(
    ("change", "tokens"),
    [
        ({"system": [{"type": "text", "text": "a b c"}]}, 6),
        ({"system": None}, 3),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "what is this"}, IMAGE]}]}, 5),
        (
            {
                "messages": [
                    {"role": "user", "content": "a"},
                    {"role": "user", "content": "b c"},
                    {"role": "assistant", "content": ""},
                ]
            },
            5,
        ),
        (
            {
                "tools": [{"name": "clock", "input_schema": {"type": "object"}}],
                "tool_choice": {"type": "auto"},
                "temperature": 1,
                "metadata": {},
            },
            5,
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "what time"},
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "clock", "input": {}}]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "noon"}]},
                ]
            },
            4,
        ),
    ],
)
def test_what_a_message_may_hold(anthropic: Anthropic, change: dict[str, t.Any], tokens: int) -> None:
    body = {**MESSAGES, **change}
    assert anthropic.create(call(body)).usage == Usage(tokens, 11)
    del body["max_tokens"]
    reply = anthropic.count_tokens(call(body))
    # Counting is no use of the model.
    assert (reply.document, reply.usage) == ({"input_tokens": tokens}, None)


USER = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"model": None}, 400, "model must"),
        ({"model": "gpt-5"}, 404, "gpt-5"),
        ({"max_tokens": None}, 400, "max_tokens: Field required"),
        ({"max_tokens": 0}, 400, "max_tokens: "),
        ({"max_tokens": True}, 400, "max_tokens: "),
        ({"stream": 1}, 400, "stream: "),
        ({"messages": None}, 400, "messages: "),
        ({"messages": []}, 400, "messages: "),
        ({"messages": ["Hello"]}, 400, "messages.0.role: "),
        ({"messages": [{"role": "system", "content": "Hello"}]}, 400, "messages.0.role: "),
        ({"messages": [{"role": "assistant", "content": "Hello"}]}, 400, "first message"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content: "),
        ({"messages": [{"role": "user", "content": ""}]}, 400, "messages.0.content: "),
        ({"messages": [{"role": "user", "content": []}, USER]}, 400, "messages.0.content: "),
        (
            {"messages": [USER, {"role": "user", "content": [{"type": "text", "text": ""}]}]},
            400,
            "messages.1.content.0.text: ",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            400,
            "messages.0.content.0.type: ",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "source": "x"}]}]},
            400,
            "messages.0.content.0.source: ",
        ),
        ({"messages": [{"role": "user", "content": [1]}]}, 400, "messages.0.content.0.type: "),
        ({"system": 1}, 400, "system: "),
        ({"system": [IMAGE]}, 400, "system: "),
        ({"tools": [{}]}, 400, "tools: "),
    ],
)
def test_bad_messages(anthropic: Anthropic, change: dict[str, t.Any], status: int, words: str) -> None:
    error = refusal(anthropic.create, {**MESSAGES, **change})
    assert error.status == status
    assert words in error.message


@pytest.mark.parametrize("limit", [100, 3])
def test_the_events_of_a_stream(anthropic: Anthropic, limit: int) -> None:
    body = {**MESSAGES, "max_tokens": limit}
    reply = anthropic.create(call({**body, "stream": True}))
    whole = anthropic.create(call(body)).document
    assert reply.document is None
    assert whole is not None
    events = named_events_of(b"".join(map(anthropic.event, reply.events)).decode())
    deltas = [event for event in events if event["type"] == "content_block_delta"]
    assert [event["type"] for event in events] == [
        "message_start",
        "content_block_start",
        "ping",
        *["content_block_delta"] * len(deltas),
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start = events[0]["message"]
    assert {**start, "id": ""} == {
        **whole,
        "id": "",
        "content": [],
        "stop_reason": None,
        "usage": {**whole["usage"], "output_tokens": 1},
    }
    assert events[1] == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert {event["delta"]["type"] for event in deltas} == {"text_delta"}
    assert "".join(event["delta"]["text"] for event in deltas) == whole["content"][0]["text"]
    assert events[-2]["delta"] == {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    assert events[-2]["usage"] == {"output_tokens": whole["usage"]["output_tokens"]}
    assert anthropic.stream_end == b""


def test_pages_of_models(anthropic: Anthropic) -> None:
    def page(**query: str) -> tuple[list[str], bool]:
        document = anthropic.list_models(call(query=query)).document
        assert document is not None
        names = [model["id"] for model in document["data"]]
        assert (document["first_id"], document["last_id"]) == ((names[0], names[-1]) if names else (None, None))
        return names, document["has_more"]

    assert page() == (["gpt-4", "b", "c"], False)
    assert page(limit="2") == (["gpt-4", "b"], True)
    assert page(limit="2", after_id="b") == (["c"], False)
    assert page(after_id="c") == ([], False)
    assert page(limit="1", before_id="c") == (["b"], True)
    for query in ({"limit": "0"}, {"limit": "x"}, {"after_id": "x"}):
        assert refusal(anthropic.list_models, query=query).status == 400
    model = anthropic.model("b")
    assert (model["type"], model["display_name"]) == ("model", "b")
    assert model["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (418, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_of_anthropic(anthropic: Anthropic, status: int, kind: str) -> None:
    document = anthropic.error(ApiError(status, "No"), "req_1")
    assert document == {"type": "error", "error": {"type": kind, "message": "No"}, "request_id": "req_1"}
    assert (
        anthropic.event(document)
        == b"event: error\ndata: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"
    )


@pytest.mark.parametrize(
    ("version", "taken"), [("2023-06-01", True), ("2026-10-21", True), ("v1", False), ("", False), (None, False)]
)
def test_the_version_of_anthropic(anthropic: Anthropic, version: str | None, taken: bool) -> None:
    headers = {} if version is None else {"anthropic-version": version}
    if taken:
        anthropic.check_headers(headers)
    else:
        with pytest.raises(ApiError, match="anthropic-version"):
            anthropic.check_headers(headers)


TOOLS = [{"type": "function", "function": {"name": "first"}}, {"type": "function", "function": {"name": "second"}}]


def test_a_response(openai: OpenAI) -> None:
    body = {"model": MODELS[0], "input": [{"role": "user", "content": [{"type": "input_text", "text": "two words"}]}]}
    reply = openai.respond(call(body))
    assert reply.document is not None
    (message,) = reply.document["output"]
    said = message["content"][0]["text"]
    assert said.endswith("to 2 words.")
    assert reply.document["usage"]["total_tokens"] == 2 + len(said.split())
    events = list(openai.respond(call({**body, "stream": True})).events)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == said
    assert events[0]["response"]["usage"] is None
    assert events[-1]["response"]["usage"] == reply.document["usage"]
    assert openai.event(events[0]).startswith(b"event: response.created\ndata: {")
    short = openai.respond(call({**body, "max_output_tokens": 1})).document
    assert short is not None
    assert (short["status"], short["usage"]["output_tokens"]) == ("incomplete", 1)
    for wrong in ({"input": []}, {"input": ["a"]}, {"max_output_tokens": 0}):
        assert refusal(openai.respond, {**body, **wrong}).status == 400
    assert refusal(openai.respond, {**body, "previous_response_id": "resp_1"}).status == 404


def test_a_picture(openai: OpenAI) -> None:
    reply = openai.draw(call({"model": MODELS[0], "prompt": "a cat", "n": 2}))
    assert reply.document is not None
    assert [base64.b64decode(picture["b64_json"])[1:4] for picture in reply.document["data"]] == [b"PNG", b"PNG"]
    assert reply.document["usage"] == {"input_tokens": 2, "output_tokens": 2, "total_tokens": 4}
    for wrong in ({"prompt": ""}, {"prompt": "a", "n": 11}):
        assert refusal(openai.draw, {"model": MODELS[0], **wrong}).status == 400


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ("required", "first"),
        ({"type": "function", "function": {"name": "second"}}, "second"),
        ("auto", None),
        (None, None),
    ],
)
def test_a_tool_that_a_chat_demands_is_called(openai: OpenAI, choice: t.Any, name: str | None) -> None:
    body = {
        "model": MODELS[0],
        "messages": [{"role": "user", "content": "a"}],
        "input": "a",
        "tools": TOOLS,
        "tool_choice": choice,
    }
    chat = openai.chat(call(body)).document
    assert chat is not None
    calls = chat["choices"][0]["message"].get("tool_calls", [])
    assert [called["function"] for called in calls] == ([{"name": name, "arguments": "{}"}] if name else [])
    deltas = [event["choices"][0]["delta"] for event in openai.chat(call({**body, "stream": True})).events]
    assert [delta["tool_calls"][0]["function"]["name"] for delta in deltas if "tool_calls" in delta] == (
        [name] if name else []
    )
    response = openai.respond(call(body)).document
    assert response is not None
    assert response["output"][0].get("name") == name
    events = [event["type"] for event in openai.respond(call({**body, "stream": True})).events]
    assert ("response.function_call_arguments.done" in events) == (name is not None)


@pytest.mark.parametrize(
    ("choice", "name"), [({"type": "any"}, "first"), ({"type": "tool", "name": "second"}, "second")]
)
def test_a_tool_that_a_message_demands_is_called(anthropic: Anthropic, choice: t.Any, name: str) -> None:
    body = {
        "model": MODELS[0],
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "a"}],
        "tools": [{"name": "first"}, {"name": "second"}],
        "tool_choice": choice,
    }
    message = anthropic.create(call(body)).document
    assert message is not None
    assert (message["stop_reason"], message["content"][0]["name"]) == ("tool_use", name)
    events = list(anthropic.create(call({**body, "stream": True})).events)
    assert events[1]["content_block"]["name"] == name
    assert [event["delta"]["type"] for event in events if event["type"] == "content_block_delta"] == [
        "input_json_delta"
    ]
