# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program after authorization: callers, paths, lists of models, bodies, and what an answer costs."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.identity import digest
from proxies import CHUNK, DONE, KEY, LAST, STREAM, Handle, Program, costs, cuts, events

Kept = dict[str, t.Any]
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}


def asked(
    program: Program, path: str, tier: str = "free", method: str = "GET", body: bytes | None = None, **headers: str
) -> Handle:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = (
        json.dumps({**CHAT, "model": "claude-3-sonnet" if tier == "narrow" else "gpt-4"}).encode()
        if body is None
        else body
    )
    return program.request(
        {":method": method, ":path": path, "x-maas-tier": tier, "x-maas-user": "alice", **named},
        content,
        {"begun": True},
    )


def posted(
    program: Program, body: t.Any, path: str = "/v1/chat/completions", tier: str = "free", **headers: str
) -> Handle:
    return asked(program, path, tier, "POST", body if isinstance(body, bytes) else json.dumps(body).encode(), **headers)


def kept_of(handle: Handle) -> Kept:
    return dict(handle.kept["egress.ai-gateway"])


@pytest.mark.parametrize(
    ("path", "model", "rest", "end"),
    [
        ("/v1/chat/completions", "gpt-4", "/v1/chat/completions", "*"),
        ("/external/openai/v1/chat/completions?a=b", "gpt-4", "/v1/chat/completions?a=b", "openai"),
        ("/external/claude/v1/messages", "claude-3-sonnet", "/v1/messages", "claude"),
        ("/llm/opt/v1/chat/completions", "facebook/opt-125m", "/v1/chat/completions", "service.llm.opt.8000"),
    ],
)
def test_paths(body_filter: Program, path: str, model: str, rest: str, end: str) -> None:
    handle = posted(
        body_filter, {**CHAT, "model": model}, path, x_ai_gateway_provider="forged", x_ai_gateway_api="forged"
    )
    assert handle.sent is None
    assert (handle.values[":path"], handle.values["x-ai-gateway-provider"]) == (rest, end)
    assert handle.values["x-ai-gateway-api"] == ("anthropic" if rest == "/v1/messages" else "openai")


def test_a_path_of_nobody_is_refused(body_filter: Program) -> None:
    status, body = posted(body_filter, CHAT, "/external/nobody/v1/chat/completions").answer()
    assert (status, body["error"]["code"]) == (404, "unknown_url")
    status, body = posted(body_filter, CHAT, "/external/nobody/v1/messages").answer()
    assert (status, body["type"], body["error"]["type"]) == (404, "error", "not_found_error")


@pytest.mark.parametrize("tier", ["free", "narrow"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
def test_who_calls_is_hidden(body_filter: Program, path: str, tier: str) -> None:
    """Whatever stands behind, the log excepted, learns a value that stands for the user and one for the tier, and no
    token.
    """
    keys = dict.fromkeys(("authorization", "x_api_key", "api_key", "proxy_authorization", "cookie"), "its own")
    handle = asked(body_filter, path, tier, "POST", x_envoy_external_address="192.0.2.1", **keys)
    assert not {"x-maas-user", "x-maas-tier", "x-envoy-external-address"} & set(handle.values)
    assert "its own" not in handle.values.values()
    assert handle.values["x-ai-gateway-user"] == digest(KEY, tier, "alice")
    assert handle.values["x-ai-gateway-tier"] == digest(KEY, tier)
    assert not [name for name, value in handle.values.items() if "alice" in value or tier in value]
    assert (kept_of(handle)["user"], kept_of(handle)["tier"]) == ("alice", tier)


CALLERS = (
    *(
        "x-forwarded-user",
        "x-forwarded-email",
        "x-forwarded-access-token",
        "x-forwarded-client-cert",
        "x-auth-request-email",
        "x-auth-token",
    ),
    *(
        "x-amzn-oidc-data",
        "x-ms-client-principal-name",
        "x-maas-username",
        "x-goog-api-key",
        "ocp-apim-subscription-key",
        "x-real-ip",
        "true-client-ip",
    ),
    *(
        "forwarded",
        "remote-user",
        "openai-organization",
        "x-client-cert",
        "x-user-id",
        "x-original-forwarded-for",
        "referer",
        "from",
    ),
)
KEPT = (
    "x-forwarded-proto",
    "x-request-id",
    "x-client-request-id",
    "x-session-affinity",
    "user-agent",
    "openai-beta",
    "anthropic-version",
    "traceparent",
)


def test_what_names_a_caller_ends_here(body_filter: Program) -> None:
    """A proxy before the gateway may have written it, or the client."""
    headers = {name.replace("-", "_"): "alice" for name in (*CALLERS, *KEPT)}
    handle = posted(body_filter, CHAT, **headers)
    assert handle.sent is None
    assert {name for name, value in handle.values.items() if value == "alice"} == set(KEPT)


def test_options_without_number_are_refused(body_filter: Program) -> None:
    options = {f"x{number}": True for number in range(33)}
    status, body = posted(body_filter, {**CHAT, "stream": True, "stream_options": options}).answer()
    assert (status, body["error"]["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("number", ["1e308", "1e-300", "9" * 300, "0." + "1" * 700 + "e-300", "1.5e+10"])
def test_no_number_takes_a_proxy_long(body_filter: Program, number: str) -> None:
    """Of 300 kB of numbers with large exponents each took 30 microseconds."""
    numbers = ",".join([number] * (300_000 // len(number)))
    started = time.process_time()
    assert posted(body_filter, f'{{"model":"gpt-4","input":[{numbers}]}}'.encode(), "/v1/embeddings").sent is None
    assert time.process_time() - started < 0.3


def test_without_a_key_nobody_comes_in(texts: dict[str, str]) -> None:
    program = Program(texts["body_filter"].replace("identity_key_file = ", 'identity_key_file = "/no/such" .. '))
    handle = Handle(
        program.lua,
        {":method": "POST", ":path": "/v1/chat/completions", "x-maas-tier": "free", "x-maas-user": "alice"},
        [json.dumps(CHAT).encode()],
    )
    program.lua.globals().envoy_on_request(handle.as_table())
    assert handle.answer()[0] == 503
    assert "x-ai-gateway-provider" not in handle.values


def test_without_the_program_before_authorization_nobody_comes_in(body_filter: Program) -> None:
    """Envoy Gateway goes on without a patch that fails."""
    headers = {":method": "POST", ":path": "/v1/chat/completions", "x-maas-tier": "free", "x-maas-user": "alice"}
    handle = Handle(body_filter.lua, headers, [json.dumps(CHAT).encode()])
    body_filter.lua.globals().envoy_on_request(handle.as_table())
    assert handle.answer()[0] == 503
    assert "x-ai-gateway-provider" not in handle.values
    assert handle.errors


def identifiers(program: Program, path: str, tier: str, **headers: str) -> list[str]:
    status, body = asked(program, path, tier, **headers).answer()
    assert status == 200
    return [model["id"] for model in body["data"]]


def test_each_tier_sees_its_models(body_filter: Program) -> None:
    assert identifiers(body_filter, "/v1/models", "free") == [
        "gpt-4",
        "Qwen/Qwen3-0.6B",
        "claude-3-sonnet",
        "facebook/opt-125m",
    ]
    assert identifiers(body_filter, "/v1/models?limit=9", "narrow") == ["claude-3-sonnet"]
    assert identifiers(body_filter, "/external/openai/v1/models", "free") == ["gpt-4", "Qwen/Qwen3-0.6B"]
    forbidden, unknown = (
        asked(body_filter, f"/external/{name}/v1/models", "narrow").answer() for name in ("openai", "opened")
    )
    assert forbidden[0] == unknown[0] == 404
    assert json.dumps(forbidden).replace("openai", "opened") == json.dumps(unknown)
    assert identifiers(body_filter, "/llm/opt/v1/models", "free") == ["facebook/opt-125m"]


def test_the_list_in_each_dialect(body_filter: Program) -> None:
    _status, body = asked(body_filter, "/v1/models", "narrow").answer()
    assert body == {
        "object": "list",
        "data": [{"id": "claude-3-sonnet", "object": "model", "created": 0, "owned_by": "claude"}],
    }
    _status, body = asked(body_filter, "/v1/models", "narrow", anthropic_version="2023-06-01").answer()
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "claude-3-sonnet", "claude-3-sonnet")
    assert body["data"][0] == {
        "type": "model",
        "id": "claude-3-sonnet",
        "display_name": "claude-3-sonnet",
        "created_at": "1970-01-01T00:00:00Z",
    }


def test_a_model_that_a_tier_may_not_use_is_one_that_does_not_exist(body_filter: Program) -> None:
    assert asked(body_filter, "/v1/models/gpt-4").answer()[1]["id"] == "gpt-4"
    assert asked(body_filter, "/v1/models/Qwen%2FQwen3-0.6B").answer()[1]["id"] == "Qwen/Qwen3-0.6B"
    forbidden, unknown = (asked(body_filter, f"/v1/models/{name}", "narrow").answer() for name in ("gpt-4", "gpt-5"))
    assert forbidden[0] == unknown[0] == 404
    assert json.dumps(forbidden).replace("gpt-4", "gpt-5") == json.dumps(unknown)
    status, body = posted(body_filter, {**CHAT, "model": "gpt-5"}, tier="narrow").answer()
    assert (status, body["error"]["code"]) == (403, "model_not_allowed")
    status, body = posted(body_filter, {**CHAT, "model": "gpt-5"}).answer()
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert (
        posted(body_filter, {**CHAT, "model": "claude-3-sonnet"}, "/external/openai/v1/chat/completions").answer()[0]
        == 404
    )


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/v1/models", "POST"),
        ("/v1/models/gpt-4", "HEAD"),
        ("/external/openai/v1/models", "PUT"),
        ("/v1/messages", "GET"),
    ],
)
def test_other_methods_are_refused(body_filter: Program, path: str, method: str) -> None:
    """Envoy AI Gateway would list all models to anybody, whatever the method."""
    assert asked(body_filter, path, method=method).answer()[0] == 405


@pytest.mark.parametrize(
    "path",
    [
        "/v1/audio",
        "/v1/moderations",
        "/v2/rerank",
        "/v1//chat/completions",
        "/V1/models",
        "/v1/modelsx",
        "/else/where",
        "/",
    ],
)
def test_other_paths_are_refused(body_filter: Program, path: str) -> None:
    status, body = posted(body_filter, CHAT, path).answer()
    assert (status, body["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "multipart/form-data; boundary=x"},
        {"content_encoding": "gzip"},
        {"content_type": "application/grpc"},
        # Envoy's programs get the first of several.
        {"content_type": "application/json\nmultipart/form-data; boundary=x"},
        {"content_encoding": "identity\ngzip"},
    ],
)
def test_what_is_no_json_by_its_headers_is_refused(body_filter: Program, headers: dict[str, str]) -> None:
    assert posted(body_filter, CHAT, **headers).answer()[0] == 415


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"nope", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b"null", 400, "invalid_json"),
        (b'{"model": "gpt-4"} {}', 400, "invalid_json"),
        (b'{"model": "gpt-4", "model": "gpt-4"}', 400, "invalid_json"),
        (b'{"model": "gpt-4", "mod\\u0065l": "x"}', 400, "invalid_json"),
        (b'{"model": "gpt-4", "stream_options": {"include_usage": true, "include_usage": false}}', 400, "invalid_json"),
        (
            b'{"model": "gpt-4", "stream": true, "stream_options": {"include_usage": false}, "stream_options": null}',
            400,
            "invalid_json",
        ),
        (b'{"model": "gpt-4", "messages": [{"role": "user", "role": "system"}]}', 400, "invalid_json"),
        (b'{"model": "gpt-4", "MODEL": "x"}', 400, "invalid_json"),
        ('{"model": "gpt-4", "\u017ftream": true}'.encode(), 400, "invalid_json"),
        (b'{"model": "gpt-4", "stream_options": {"Include_Usage": false}}', 400, "invalid_json"),
        (b"{}", 400, "missing_model"),
        (b'{"model": 4}', 400, "missing_model"),
        (b'{"model": ""}', 400, "missing_model"),
        (b'{"model": null}', 400, "missing_model"),
        (b'{"model": "gpt\\n4"}', 404, "model_not_found"),
        (b'{"model": "gpt\\u00004"}', 404, "model_not_found"),
        (b'{"model": "' + b"g" * 100_000 + b'"}', 404, "model_not_found"),
        (b'{"model": "gpt-4", "stream": "true"}', 400, "invalid_type"),
        (b'{"model": "gpt-4", "stream": 1}', 400, "invalid_type"),
        (b'{"model": "gpt-4", "stream_options": []}', 400, "invalid_type"),
        (b'{"model": "gpt-4", "stream_options": {"include_usage": "yes"}}', 400, "invalid_type"),
    ],
)
def test_bodies_that_are_refused(body_filter: Program, body: bytes, status: int, code: str) -> None:
    handle = posted(body_filter, body)
    found, document = handle.answer()
    assert (found, document["error"]["code"]) == (status, code)
    assert costs(handle) == (0, 0, 0)
    assert posted(body_filter, body, "/v1/messages").answer()[1]["type"] == "error"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    ("body", "upstream"),
    [
        ('{"model": "gpt-4"}', None),
        ('{"model": "gpt-4", "stream": false}', None),
        ('{"model": "gpt-4", "stream": null, "stream_options": null}', None),
        ('{"model": "gpt-4", "stream": true, "stream_options": {"include_usage": true}}', None),
        (
            '{"model": "gpt-4", "stream": true}',
            '{"stream_options":{"include_usage":true},"model": "gpt-4", "stream": true}',
        ),
        (
            '{"model": "gpt-4", "stre\\u0061m":true}',
            '{"stream_options":{"include_usage":true},"model": "gpt-4", "stre\\u0061m":true}',
        ),
        (
            '{"model": "gpt-4", "stream": true, "metadata": {"include_usage": true}}',
            '{"stream_options":{"include_usage":true},"model": "gpt-4", "stream": true, '
            '"metadata": {"include_usage": true}}',
        ),
        (
            '{"stream_options": null, "model": "gpt-4", "stream": true}',
            '{"stream_options": {"include_usage":true}, "model": "gpt-4", "stream": true}',
        ),
        (
            '{"stream_options" : {"include_usage": false, "continuous": true}, "model": "gpt-4", "stream": true}',
            '{"stream_options" : {"include_usage":true,"continuous":true}, "model": "gpt-4", "stream": true}',
        ),
    ],
)
def test_a_provider_is_always_asked_for_the_tokens_of_a_stream(
    body_filter: Program, path: str, body: str, upstream: str | None
) -> None:
    handle = posted(body_filter, body.encode(), path)
    assert handle.sent is None
    assert handle.content.decode() == (upstream or body)
    assert kept_of(handle)["hides_usage"] is (upstream is not None)
    assert (
        posted(body_filter, body.replace("gpt-4", "claude-3-sonnet").encode(), "/v1/messages").content
        == body.replace("gpt-4", "claude-3-sonnet").encode()
    )


def test_a_body_of_untold_length_is_held_to_the_limit(body_filter: Program) -> None:
    body = json.dumps({**CHAT, "padding": ""}).encode()
    fits = body[:-2] + b"x" * (1024 * 1024 - len(body)) + body[-2:]
    assert posted(body_filter, fits).sent is None
    status, document = posted(body_filter, fits + b" ").answer()
    assert (status, document["error"]["code"]) == (413, "body_too_large")


def test_what_a_caller_who_leaves_at_once_spends(body_filter: Program) -> None:
    body = {**CHAT, "padding": "x" * 4000}
    assert costs(posted(body_filter, body, accept_encoding="gzip")) == (1023, 1022, 1)
    assert posted(body_filter, body, accept_encoding="gzip").values["accept-encoding"] == "identity"


def answered(program: Program, chunks: list[bytes], **headers: str) -> Handle:
    """What becomes of a stream whose usage was not asked for."""
    metadata = posted(program, {**CHAT, "stream": True}).kept
    assert metadata["egress.ai-gateway"]["hides_usage"] is True
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return program.response({":status": "200", **named}, chunks, metadata)


@pytest.mark.parametrize("separator", [": ", ":"])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("done", [DONE, b"data: [DONE]", b"data: [DONE]\n", b""])
def test_usage_that_was_not_asked_for_is_not_passed_on(
    body_filter: Program, separator: str, end: str, done: bytes
) -> None:
    before = events(CHUNK, CHUNK, separator=separator, end=end)
    for chunks in cuts(before + events(LAST, separator=separator, end=end) + done):
        handle = answered(body_filter, chunks, **STREAM)  # type: ignore[arg-type]
        assert handle.content == before + done


def test_the_last_event_may_lack_its_end(body_filter: Program) -> None:
    before = events(CHUNK)
    for last in (events(LAST, end=""), events(LAST, end="\n")):
        handle = answered(body_filter, [before, last], **STREAM)  # type: ignore[arg-type]
        assert handle.content == before
    text = before + events(CHUNK, end="")
    assert answered(body_filter, [text], **STREAM).content == text  # type: ignore[arg-type]


@pytest.mark.parametrize("filling", ["a", "}"])
def test_an_event_in_many_chunks_takes_time_in_proportion_to_its_bytes(body_filter: Program, filling: str) -> None:
    """Four times the bytes took sixteen times the time:

    with each chunk all that had come was joined, and, where it might be the end, read anew.
    """

    def seconds(size: int) -> float:
        text = events({**CHUNK, "padding": filling * size})
        chunks = [text[start : start + 4096] for start in range(0, len(text), 4096)]
        started = time.process_time()
        assert answered(body_filter, chunks, **STREAM).content == text  # type: ignore[arg-type]
        return time.process_time() - started

    small, large = (min(seconds(size << 20) for _attempt in range(3)) for size in (1, 4))
    assert large < 8 * small


def test_a_chunk_with_choices_is_passed_on_with_its_usage(body_filter: Program) -> None:
    """Some providers report the tokens with the last choice."""
    text = events(CHUNK, {**LAST, "choices": CHUNK["choices"]}) + DONE
    handle = answered(body_filter, [text], **STREAM)  # type: ignore[arg-type]
    assert handle.content == text


def test_a_chunk_without_choices_and_with_no_usage_is_not_passed_on(body_filter: Program) -> None:
    """As some providers end a stream; OpenAI has such a chunk only where the usage was asked for."""
    text = events(CHUNK) + events({**LAST, "usage": None}) + DONE
    assert answered(body_filter, [text], **STREAM).content == events(CHUNK) + DONE  # type: ignore[arg-type]
    # Azure begins with one that has no usage at all.
    text = events({"id": "1", "choices": [], "prompt_filter_results": []}, CHUNK) + DONE
    assert answered(body_filter, [text], **STREAM).content == text  # type: ignore[arg-type]


def test_of_a_compressed_answer_counts_what_the_processor_read(body_filter: Program) -> None:
    metadata = posted(body_filter, CHAT).kept
    metadata["egress.ai-gateway"]["compressed"] = True
    metadata["io.envoy.ai_gateway"] = {"llm_input_tokens": 60, "llm_output_tokens": 40, "llm_total_tokens": 100}
    assert costs(body_filter.response({":status": "200", "content-encoding": "gzip"}, [b"x", b""], metadata)) == (
        100,
        60,
        40,
    )
    for told in ({}, {"llm_total_tokens": 0}, {"llm_total_tokens": 5_000_000_000}):
        metadata["io.envoy.ai_gateway"] = told
        metadata["egress.ai-gateway"]["total_tokens"] = 7
        assert costs(body_filter.response({":status": "200", "content-encoding": "gzip"}, [b"x"], metadata))[0] == 7
