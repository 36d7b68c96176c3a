# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import (
    Check,
    Finding,
    failures,
    shortened,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import Answer, Event
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import (
    OPERATIONS,
    ApiError,
    Observation,
    Probe,
    describe,
    judge,
    observe,
)
from loopback import completion, message, message_events

CHAT = OPERATIONS["chat_completions"]
MESSAGES = OPERATIONS["messages"]
TOKEN = "a-caller's-token"
KEY = "sk-a-key"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def answer(body: t.Any = None, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status, {"content-type": "application/json", **(headers or {})}, json.dumps(body).encode(), 0.5)


def streamed(*documents: t.Any, done: bool = True) -> Answer:
    data = [document if isinstance(document, str) else json.dumps(document) for document in documents] + (
        ["[DONE]"] if done else []
    )
    return Answer(
        200,
        {"content-type": "text/event-stream; charset=utf-8"},
        b"",
        1.0,
        tuple(Event(text, 0.1 * index) for index, text in enumerate(data, 1)),
    )


def streamed_messages(*documents: dict[str, t.Any], named: bool = True) -> Answer:
    events = tuple(
        Event(json.dumps(document), 0.1 * index, document["type"] if named else "")
        for index, document in enumerate(documents, 1)
    )
    return Answer(200, {"content-type": "text/event-stream"}, b"", 1.0, events)


def delta(text: str, **more: t.Any) -> dict[str, t.Any]:
    return {"model": "gpt-4", "choices": [{"delta": {"content": text}}], **more}


def outcome(expect: dict[str, t.Any], seen: Answer, **probe: t.Any) -> list[dict[str, str]]:
    """What of the expectations is not met by an answer."""
    made = Probe.from_params({"model": "gpt-4", "expect": expect, **probe})
    return failures(judge(made, observe(made.operation, seen)))


@pytest.mark.parametrize(
    ("params", "body"),
    [
        ({}, {"messages": [{"role": "user", "content": "Hello"}]}),
        ({"prompt": "Hi", "max_tokens": 5}, {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}),
        ({"messages": [{"role": "system", "content": "x"}]}, {"messages": [{"role": "system", "content": "x"}]}),
        ({"operation": "completions", "prompt": "Hi"}, {"prompt": "Hi"}),
        (
            {"extra_body": {"temperature": 0, "model": "other"}},
            {"model": "other", "temperature": 0, "messages": [{"role": "user", "content": "Hello"}]},
        ),
        (
            {"stream": True},
            {
                "messages": [{"role": "user", "content": "Hello"}],
                "stream": True,
                "stream_options": {"include_usage": True},
            },
        ),
    ],
)
def test_request(params: dict[str, t.Any], body: dict[str, t.Any]) -> None:
    made = Probe.from_params({"model": "gpt-4", **params})
    assert json.loads(json.dumps(made.body)) == {"model": "gpt-4", **body}
    assert made.path == made.operation.path


@pytest.mark.parametrize(
    ("params", "body"),
    [
        ({"operation": "embeddings", "prompt": "Hi", "max_tokens": 5}, {"input": "Hi"}),
        ({"operation": "messages"}, {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1024}),
        (
            {"operation": "messages", "max_tokens": 5, "stream": True},
            {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 5, "stream": True},
        ),
    ],
)
def test_request_of_other_operations(params: dict[str, t.Any], body: dict[str, t.Any]) -> None:
    assert Probe.from_params({"model": "m", **params}).body == {"model": "m", **body}


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"base_path": "/external/openai"}, "/external/openai/v1/chat/completions"),
        ({"base_path": "/external/openai/", "operation": "embeddings"}, "/external/openai/v1/embeddings"),
        ({"base_path": "/anthropic", "operation": "messages"}, "/anthropic/v1/messages"),
        ({"base_path": "/v1", "path": "/chat"}, "/v1/chat"),
        ({"base_path": ""}, "/v1/chat/completions"),
    ],
)
def test_base_path(params: dict[str, t.Any], path: str) -> None:
    assert Probe.from_params({"model": "m", **params}).path == path


def test_headers_of_messages() -> None:
    assert Probe.from_params({"model": "m", "operation": "messages", "token": TOKEN}).headers == {
        "anthropic-version": "2023-06-01"
    }
    made = Probe.from_params(
        {"model": "m", "operation": "messages", "extra_headers": {"anthropic-version": "2024-01-01"}}
    )
    assert made.headers == {"anthropic-version": "2024-01-01"}


@pytest.mark.parametrize(
    ("params", "bearer", "headers"),
    [
        ({"token": TOKEN}, TOKEN, {}),
        ({"token": TOKEN, "token_header": "authorization"}, TOKEN, {}),
        ({"token": TOKEN, "token_header": "x-api-key"}, "", {"x-api-key": TOKEN}),
        ({"token": "", "token_header": "x-api-key"}, "", {}),
    ],
)
def test_the_header_of_the_token(params: dict[str, t.Any], bearer: str, headers: dict[str, str]) -> None:
    made = Probe.from_params({"model": "m", **params})
    assert (made.bearer_token, made.headers) == (bearer, headers)


def test_request_for_models() -> None:
    made = Probe.from_params(
        {"operation": "models", "path": "/openai/v1/models", "echo": True, "extra_headers": {"x-a": 1}}
    )
    assert (made.operation.method, made.path, made.body) == ("GET", "/openai/v1/models", None)
    assert made.headers == {"x-simulator-echo": "headers", "x-a": "1"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "model: name the model"),
        ({"model": "gpt-4", "path": "v1"}, "path: 'v1' does not begin with a slash"),
        (
            {"model": "gpt-4", "base_path": "x"},
            "base_path: 'x' does not begin with a slash; write one such as /external/openai",
        ),
        ({"model": "gpt-4", "base_path": "/external/openai/v1/"}, "base_path: '/external/openai/v1/' ends in /v1"),
        ({"operation": "models", "stream": True}, "stream: the list of models cannot be streamed"),
        ({"operation": "embeddings", "model": "m", "stream": True}, "stream: an embedding cannot be streamed"),
        ({"model": "gpt-4", "max_tokens": -1}, "max_tokens: -1 is negative"),
        ({"model": "gpt-4", "expect": {"matches": "("}}, r"expect.matches: '\(' is not a regular expression"),
        (
            {"model": "gpt-4", "expect": {"headers": {"x-a": "["}}},
            r"expect.headers.x-a: '\[' is not a regular expression",
        ),
        ({"model": "gpt-4", "expect": {"query": {"usage.": 1}}}, "expect.query: 'usage.' is not a JMESPath expression"),
    ],
)
def test_wrong_probes(params: dict[str, t.Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Probe.from_params(params)


def test_the_token_is_not_in_the_representation() -> None:
    assert TOKEN not in repr(Probe.from_params({"model": "gpt-4", "token": TOKEN}))


def test_observed_chat() -> None:
    seen = observe(CHAT, answer(completion()))
    assert (seen.text, seen.model, seen.usage["total_tokens"], seen.streamed, seen.time_to_first_token) == (
        "Hello there",
        "gpt-4",
        30,
        False,
        None,
    )


def test_observed_completion() -> None:
    seen = observe(
        OPERATIONS["completions"],
        answer({"model": "m", "choices": [{"text": "Hi"}], "usage": {"total_tokens": 1, "details": {}}}),
    )
    assert (seen.text, seen.usage) == ("Hi", {"total_tokens": 1})


def test_observed_models() -> None:
    assert observe(OPERATIONS["models"], answer({"data": [{"id": "a"}, {"id": "b"}, "c"]})).models == ("a", "b")


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        "text",
        {"choices": None},
        {"choices": ["x"]},
        {"choices": [{"message": "x"}]},
        {"usage": "x", "data": 1},
    ],
)
def test_odd_bodies_are_observed(body: t.Any) -> None:
    seen = observe(CHAT, answer(body))
    assert (seen.text, seen.model, dict(seen.usage), seen.models) == ("", "", {}, ())


def test_a_body_that_is_no_json() -> None:
    seen = observe(CHAT, Answer(502, {"content-type": "text/plain"}, b"no route", 0.1))
    assert seen.body == "no route"


def test_observed_stream() -> None:
    seen = observe(CHAT, streamed(delta(""), delta("Hel"), delta("lo"), {"choices": [], "usage": {"total_tokens": 30}}))
    assert (seen.text, seen.model, seen.chunks, seen.done, seen.time_to_first_token) == ("Hello", "gpt-4", 4, True, 0.2)
    assert seen.usage == {"total_tokens": 30}


def test_usage_before_the_last_chunk_is_not_seen() -> None:
    assert observe(CHAT, streamed(delta("Hi", usage={"total_tokens": 3}), delta("."))).usage == {}


def test_observed_embedding() -> None:
    body = {
        "object": "list",
        "model": "m",
        "data": [{"embedding": [0.1, 0.2]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    seen = observe(OPERATIONS["embeddings"], answer(body))
    assert (seen.text, seen.model, seen.usage) == ("", "m", {"prompt_tokens": 3, "total_tokens": 3})


def test_observed_message() -> None:
    body = message()
    body["content"].insert(0, {"type": "thinking", "thinking": "Hm"})
    seen = observe(MESSAGES, answer(body))
    assert (seen.text, seen.model) == ("Hello there", "claude-3-sonnet")
    assert seen.usage == {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}


def test_tokens_of_a_cache_are_of_the_prompt() -> None:
    usage = {
        "input_tokens": 1,
        "cache_creation_input_tokens": 20,
        "cache_read_input_tokens": 300,
        "output_tokens": 4,
        "service_tier": "standard",
    }
    assert observe(MESSAGES, answer({**message(), "usage": usage})).usage == {
        "prompt_tokens": 321,
        "completion_tokens": 4,
        "total_tokens": 325,
    }


def test_usage_of_the_other_dialect_is_none() -> None:
    assert observe(MESSAGES, answer(completion())).usage == {}
    assert "total_tokens" not in observe(CHAT, answer(message())).usage


@pytest.mark.parametrize(
    "body",
    [None, [], {"content": "x"}, {"content": ["x", {"type": "text"}]}, {"message": "x", "usage": "x"}, {"delta": "x"}],
)
def test_odd_messages_are_observed(body: t.Any) -> None:
    seen = observe(MESSAGES, answer(body))
    assert (seen.text, seen.model, dict(seen.usage)) == ("", "", {})


def test_observed_stream_of_a_message() -> None:
    seen = observe(MESSAGES, streamed_messages(*message_events()))
    assert (seen.text, seen.model, seen.done, seen.time_to_first_token) == ("Hello", "claude-3-sonnet", True, 0.4)
    assert seen.usage == {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    # Without the ping and message_stop.
    assert seen.chunks == 6


def test_a_stream_may_report_the_tokens_of_the_prompt_at_its_end() -> None:
    start, *middle, last, stop = message_events()
    start["message"]["usage"]["input_tokens"] = 0
    last["usage"]["input_tokens"] = 7
    assert observe(MESSAGES, streamed_messages(start, *middle, last, stop)).usage["total_tokens"] == 17


def test_usage_that_a_stream_does_not_report_at_its_end_is_not_seen() -> None:
    events = message_events()
    del events[-2]["usage"]
    assert observe(MESSAGES, streamed_messages(*events)).usage == {}


def test_events_that_clients_overlook_say_nothing() -> None:
    seen = observe(MESSAGES, streamed_messages(*message_events(), named=False))
    assert (seen.text, seen.model, dict(seen.usage), seen.done) == ("", "", {}, False)


OPENAI_ERROR = {
    "error": {"message": "No key", "type": "authentication_error", "param": None, "code": "missing_api_key"}
}
ANTHROPIC_ERROR = {
    "type": "error",
    "error": {"type": "overloaded_error", "message": "Overloaded"},
    "request_id": "req_1",
}
GATEWAY_ERROR = {"type": "error", "error": {"type": "BadRequest", "code": "400", "message": "malformed"}}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (OPENAI_ERROR, ApiError(("openai",), "authentication_error", "missing_api_key", "No key")),
        (
            {"error": {"message": "Not found", "type": "NotFoundError", "code": 404}},
            ApiError(("openai",), "NotFoundError", "404", "Not found"),
        ),
        (ANTHROPIC_ERROR, ApiError(("anthropic",), "overloaded_error", None, "Overloaded")),
        (GATEWAY_ERROR, ApiError(("openai", "anthropic"), "BadRequest", "400", "malformed")),
        ({"type": "error", "error": {"type": "api_error"}}, ApiError((), "api_error", None, "")),
        ({"error": {}}, ApiError((), "", None, "")),
        ({"error": "Forbidden"}, ApiError((), "", None, "Forbidden")),
        ({"error": None}, None),
        (completion(), None),
        ("no JSON object", None),
    ],
)
def test_errors_of_apis(body: t.Any, expected: ApiError | None) -> None:
    for operation in (CHAT, MESSAGES):
        assert observe(operation, answer(body, 400)).api_error == expected


def test_the_error_as_returned() -> None:
    assert observe(CHAT, answer(OPENAI_ERROR, 401)).as_dict()["api_error"] == {
        "dialects": ("openai",), "type": "authentication_error", "code": "missing_api_key", "message": "No key",
    }  # fmt: skip
    assert observe(CHAT, answer(completion())).as_dict()["api_error"] is None


@pytest.mark.parametrize(
    ("operation", "seen", "observed"),
    [
        ("chat_completions", answer(OPENAI_ERROR), []),
        ("completions", answer(OPENAI_ERROR), []),
        ("messages", answer(ANTHROPIC_ERROR), []),
        ("chat_completions", answer(GATEWAY_ERROR), []),
        ("messages", answer(GATEWAY_ERROR), []),
        ("messages", answer(OPENAI_ERROR), ["an error of dialect openai (authentication_error: No key)"]),
        ("chat_completions", answer(ANTHROPIC_ERROR), ["an error of dialect anthropic (overloaded_error: Overloaded)"]),
        ("chat_completions", answer({"error": "Forbidden"}), ["an error of dialect unknown (Forbidden)"]),
        ("chat_completions", Answer(200, {}, b"no healthy upstream", 0.1), ["no error but no healthy upstream"]),
        ("messages", Answer(200, {}, b"", 0.1), ["no error but an empty body"]),
    ],
)
def test_expected_errors(operation: str, seen: Answer, observed: list[str]) -> None:
    # A stream that is refused at once is answered by a body too.
    for stream in (False, True):
        assert [
            failure["observed"] for failure in outcome({"api_error": True}, seen, operation=operation, stream=stream)
        ] == observed


def test_what_is_expected_of_an_error_in_words() -> None:
    made = Probe.from_params(
        {"model": "m", "operation": "messages", "stream": True, "expect": {"status": [429], "api_error": True}}
    )
    assert describe(made) == "status 429; an error of dialect anthropic"


MET: list[tuple[dict[str, t.Any], Answer]] = [
    ({}, answer(completion())),
    ({"status": [401, 403]}, answer(status=403)),
    ({"model": ["gpt-4"]}, answer(completion("gpt-4"))),
    ({"model": ["other", "gpt-4"]}, answer(completion("gpt-4-0613"))),
    ({"model": ["gpt-4o"]}, answer(completion("gpt-4o-2024-08-06"))),
    ({"model": ["claude-3-sonnet"]}, answer(completion("claude-3-sonnet-20240229"))),
    ({"models": ["b", "a"]}, answer({"data": [{"id": "a"}, {"id": "b"}]})),
    ({"models": []}, answer({"data": []})),
    ({"contains": ["Hello", "gpt-4"], "matches": "(?i)hello"}, answer(completion())),
    ({"excludes": [KEY, ""]}, answer(completion())),
    ({"query": {"usage.total_tokens": 30, "nothing": None}}, answer(completion())),
    ({"headers": {"X-A": "^v", "x-b": None}}, answer(completion(), headers={"x-a": "v1"})),
    ({"usage": True}, answer(completion())),
    ({"maximum_seconds": 0.5}, answer(completion())),
    (
        {"received_headers": {"X-User": "jane", "x-none": None}},
        answer(headers={"x-simulator-received-headers": '{"x-user": "jane"}'}),
    ),
]
UNMET: list[tuple[dict[str, t.Any], Answer, str]] = [
    ({}, answer({"error": {"message": "No key"}}, 401), "status 401 (No key)"),
    ({}, Answer(503, {}, b"upstream\nconnect error", 0.1), "status 503 (upstream connect error)"),
    ({"status": [401]}, answer(completion()), "status 200"),
    ({"model": ["gpt-4"]}, answer(completion("gpt-4-turbo")), "model gpt-4-turbo"),
    ({"model": ["gpt-4"]}, answer({}), "no model"),
    ({"models": ["a", "b"]}, answer({"data": [{"id": "b"}, {"id": "c"}]}), "models b, c; missing a; not expected c"),
    ({"contains": ["Bye"]}, answer("Hello"), 'body: "Hello"'),
    ({"matches": "^Bye"}, answer("Hello"), 'body: "Hello"'),
    ({"excludes": [KEY]}, answer(f"the key is {KEY}"), "excluded string in the body"),
    ({"excludes": [KEY]}, answer(headers={"x-debug": f"key={KEY}"}), "excluded string in header x-debug"),
    ({"query": {"usage.total_tokens": 31}}, answer(completion()), "usage.total_tokens = 30"),
    ({"headers": {"x-a": "^v$"}}, answer(headers={"x-a": "v1"}), "header x-a: v1"),
    ({"headers": {"x-a": "v"}}, answer(), "no header x-a"),
    ({"headers": {"x-a": None}}, answer(headers={"x-a": "v"}), "header x-a: v"),
    ({"usage": True}, answer({"usage": {"total_tokens": 0}}), "no usage"),
    ({"maximum_seconds": 0.4}, answer(completion()), "0.5 s"),
    ({"minimum_chunks": 1}, answer(completion()), "0 chunks"),
    (
        {"received_headers": {"x-user": "jane"}},
        answer(headers={"x-simulator-received-headers": '{"x-user": "joe"}'}),
        "upstream x-user: joe",
    ),
    (
        {"received_headers": {"x-user": None}},
        answer(headers={"x-simulator-received-headers": '{"x-user": "joe"}'}),
        "upstream x-user: joe",
    ),
    (
        {"received_headers": {"x-user": None}},
        answer(),
        "no header x-simulator-received-headers: is it a simulator that serves the model?",
    ),
]


@pytest.mark.parametrize(("expect", "seen"), MET)
def test_expectations_that_are_met(expect: dict[str, t.Any], seen: Answer) -> None:
    assert outcome(expect, seen) == []


@pytest.mark.parametrize(("expect", "seen", "observed"), UNMET)
def test_expectations_that_are_not_met(expect: dict[str, t.Any], seen: Answer, observed: str) -> None:
    assert [failure["observed"] for failure in outcome(expect, seen)] == [observed]


@pytest.mark.parametrize(
    ("seen", "observed"),
    [
        (streamed(delta("Hi"), {"usage": {"total_tokens": 3}}), []),
        (streamed(delta("Hi"), {"usage": {"total_tokens": 3}}, done=False), ["a stream of 2 chunks without [DONE]"]),
        (streamed(delta("Hi")), ["no usage"]),
        (answer(completion()), ["no event stream but application/json"]),
    ],
)
def test_expectations_of_a_stream(seen: Answer, observed: list[str]) -> None:
    assert [failure["observed"] for failure in outcome({"usage": True}, seen, stream=True)] == observed


def test_a_query_that_the_body_does_not_suit_is_not_met() -> None:
    (failure,) = outcome({"query": {"length(data)": 1}}, answer({}))
    assert failure["observed"].startswith("length(data): In function length(), invalid type for value: None")


ERROR_EVENT = {"error": {"message": "Overloaded", "type": "server_error", "code": None}}


@pytest.mark.parametrize(
    ("operation", "seen", "observed"),
    [
        (
            "chat_completions",
            streamed(delta("Hi"), ERROR_EVENT, done=False),
            ["a stream of 2 chunks with an error (Overloaded) without [DONE]"],
        ),
        ("chat_completions", streamed(delta("Hi"), ERROR_EVENT), ["a stream of 2 chunks with an error (Overloaded)"]),
        ("messages", streamed_messages(*message_events()), []),
        ("messages", streamed_messages(*message_events()[:3]), ["a stream of 2 chunks without message_stop"]),
        ("messages", streamed_messages(*message_events()[:-1]), ["a stream of 6 chunks without message_stop"]),
        (
            "messages",
            streamed_messages(*message_events()[:4], ANTHROPIC_ERROR),
            ["a stream of 4 chunks with an error (Overloaded) without message_stop"],
        ),
        ("messages", streamed_messages(*message_events(), named=False), ["a stream of 8 chunks without message_stop"]),
        ("messages", streamed(delta("Hi")), ["a stream of 2 chunks without message_stop"]),
        ("chat_completions", streamed_messages(*message_events()), ["a stream of 7 chunks without [DONE]"]),
    ],
)
def test_how_a_stream_ends(operation: str, seen: Answer, observed: list[str]) -> None:
    assert [failure["observed"] for failure in outcome({}, seen, operation=operation, stream=True)] == observed


@pytest.mark.parametrize(
    ("operation", "seen", "observed"),
    [
        ("chat_completions", streamed(delta("Hi"), ERROR_EVENT, done=False), []),
        ("messages", streamed_messages(*message_events()[:4], ANTHROPIC_ERROR), []),
        ("messages", streamed(delta("Hi"), ERROR_EVENT), ["an error of dialect openai (server_error: Overloaded)"]),
        (
            "chat_completions",
            streamed(delta("Hi")),
            ['no error but {"model": "gpt-4", "choices": [{"delta": {"content": "Hi"}}]} [DONE]'],
        ),
    ],
)
def test_expected_errors_in_a_stream(operation: str, seen: Answer, observed: list[str]) -> None:
    assert [
        failure["observed"] for failure in outcome({"api_error": True}, seen, operation=operation, stream=True)
    ] == observed


@pytest.mark.parametrize(
    ("events", "observed"),
    [(message_events(), []), (message_events()[:-2], ["a stream of 5 chunks without message_stop", "no usage"])],
)
def test_usage_of_a_streamed_message(events: list[dict[str, t.Any]], observed: list[str]) -> None:
    failed = outcome({"usage": True}, streamed_messages(*events), operation="messages", stream=True)
    assert [failure["observed"] for failure in failed] == observed


def echoed(headers: dict[str, t.Any]) -> Answer:
    return answer(completion(), headers={"x-simulator-received-headers": json.dumps(headers)})


def credential(text: str) -> dict[str, str]:
    return {"scheme": "Bearer", "sha256": digest(text)}


@pytest.mark.parametrize(
    ("headers", "observed"),
    [
        ({"authorization": credential(KEY)}, []),
        ({"x-api-key": credential(KEY), "x-user": "jane"}, []),
        ({"x-user": "jane"}, ["key upstream: none"]),
        ({"authorization": credential("other")}, [f"key upstream: {digest('other')[:8]} in authorization"]),
        (
            {"authorization": credential(TOKEN), "x-api-key": credential(KEY)},
            [
                f"key upstream: {digest(TOKEN)[:8]} in authorization, {digest(KEY)[:8]} in x-api-key",
                "token in header authorization",
            ],
        ),
        (
            {"authorization": credential(KEY), "x-forwarded-authorization": f"Bearer {TOKEN}"},
            ["token in header x-forwarded-authorization"],
        ),
    ],
)
def test_credentials_upstream(headers: dict[str, t.Any], observed: list[str]) -> None:
    failed = outcome({"received_credentials": [digest(KEY)]}, echoed(headers), echo=True, token=TOKEN)
    assert [failure["observed"] for failure in failed] == observed


def test_no_answer_meets_nothing() -> None:
    made = Probe.from_params({"model": "gpt-4", "expect": {"model": ["gpt-4"], "usage": True}})
    findings = judge(made, Observation(error="connection refused"))
    assert findings == [Finding("status 200; model gpt-4; usage", "connection refused", False)]
    assert describe(made) == "status 200; model gpt-4; usage"


def test_checks() -> None:
    met, unmet = Finding("a", "1", True), Finding("b", "2", False)
    assert Check.of("id", "name", [met], 0.12345, "").as_dict() == {
        "id": "id", "name": "name", "status": "passed", "expected": "a", "observed": "1", "seconds": 0.123, "hint": "",
    }  # fmt: skip
    failed = Check.of("id", "name", [met, unmet], 1, "look there")
    assert (failed.status, failed.expected, failed.observed) == ("failed", "a; b", "2")
    assert Check.skipped("id", "name", "a", "no simulator", "").observed == "no simulator"


def test_shortened() -> None:
    assert shortened(" a\n b ", 3) == "a b"
    assert shortened("a" * 10, 5) == "aaaa…"
