# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program after authorization: callers, paths, lists of models, bodies, and what an answer costs."""

from __future__ import annotations

import gzip
import json
import typing as t

import pytest
from proxies import KEY, Handle, Program

from ansible_collections.egress.ai_gateway.plugins.module_utils._identity import digest

Kept = dict[str, t.Any]
CHAT = {"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}


def asked(program: Program, path: str, tier: str = "free", method: str = "GET", body: bytes | None = None, **headers: str) -> Handle:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = json.dumps({**CHAT, "model": "claude-3-sonnet" if tier == "narrow" else "gpt-4"}).encode() if body is None else body
    return program.request({":method": method, ":path": path, "x-maas-tier": tier, "x-maas-user": "alice", **named}, content)


def posted(program: Program, body: t.Any, path: str = "/v1/chat/completions", tier: str = "free", **headers: str) -> Handle:
    return asked(program, path, tier, "POST", body if isinstance(body, bytes) else json.dumps(body).encode(), **headers)


def kept_of(handle: Handle) -> Kept:
    return dict(handle.kept["egress.ai-gateway"])


def costs(handle: Handle) -> tuple[int, int, int]:
    kept = kept_of(handle)
    return kept["total_tokens"], kept["input_tokens"], kept["output_tokens"]


@pytest.mark.parametrize(
    ("path", "model", "rest", "end"),
    [
        ("/v1/chat/completions", "gpt-4", "/v1/chat/completions", "*"),
        ("/external/openai/v1/chat/completions?a=b", "gpt-4", "/v1/chat/completions?a=b", "openai"),
        ("/external/claude/v1/messages", "claude-3-sonnet", "/v1/messages", "claude"),
        ("/llm/opt/v1/chat/completions", "facebook/opt-125m", "/v1/chat/completions", "service.llm.opt.8000"),
    ],
)
def test_paths(bodies: Program, path: str, model: str, rest: str, end: str) -> None:
    handle = posted(bodies, {**CHAT, "model": model}, path, x_ai_gateway_provider="forged", x_ai_gateway_api="forged")
    assert handle.sent is None
    assert (handle.values[":path"], handle.values["x-ai-gateway-provider"]) == (rest, end)
    assert handle.values["x-ai-gateway-api"] == ("anthropic" if rest == "/v1/messages" else "openai")


def test_a_path_of_nobody_is_refused(bodies: Program) -> None:
    status, body = posted(bodies, CHAT, "/external/nobody/v1/chat/completions").answer()
    assert (status, body["error"]["code"]) == (404, "unknown_url")
    status, body = posted(bodies, CHAT, "/external/nobody/v1/messages").answer()
    assert (status, body["type"], body["error"]["type"]) == (404, "error", "not_found_error")


@pytest.mark.parametrize("tier", ["free", "narrow"])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models"])
def test_who_calls_is_hidden(bodies: Program, path: str, tier: str) -> None:
    """Whatever stands behind, the log excepted, learns a value that stands for the user and one for the tier."""
    handle = asked(bodies, path, tier, "POST", authorization="Bearer x")
    assert not {"x-maas-user", "x-maas-tier"} & set(handle.values)
    assert handle.values["x-ai-gateway-user"] == digest(KEY, tier, "alice")
    assert handle.values["x-ai-gateway-tier"] == digest(KEY, tier)
    assert not [name for name, value in handle.values.items() if "alice" in value or tier in value]
    assert (kept_of(handle)["user"], kept_of(handle)["tier"]) == ("alice", tier)


def test_without_a_key_nobody_comes_in(texts: dict[str, str]) -> None:
    program = Program(texts["bodies"].replace("identity_key_file = ", 'identity_key_file = "/no/such" .. '))
    handle = Handle(program.lua, {":method": "POST", ":path": "/v1/chat/completions", "x-maas-tier": "free", "x-maas-user": "alice"}, [json.dumps(CHAT).encode()])
    program.lua.globals().envoy_on_request(handle.as_table())
    assert handle.answer()[0] == 503
    assert "x-ai-gateway-provider" not in handle.values


def identifiers(program: Program, path: str, tier: str, **headers: str) -> list[str]:
    status, body = asked(program, path, tier, **headers).answer()
    assert status == 200
    return [model["id"] for model in body["data"]]


def test_each_tier_sees_its_models(bodies: Program) -> None:
    assert identifiers(bodies, "/v1/models", "free") == ["gpt-4", "Qwen/Qwen3-0.6B", "claude-3-sonnet", "facebook/opt-125m"]
    assert identifiers(bodies, "/v1/models?limit=9", "narrow") == ["claude-3-sonnet"]
    assert identifiers(bodies, "/external/openai/v1/models", "free") == ["gpt-4", "Qwen/Qwen3-0.6B"]
    forbidden, unknown = (asked(bodies, f"/external/{name}/v1/models", "narrow").answer() for name in ("openai", "opened"))
    assert forbidden[0] == unknown[0] == 404
    assert json.dumps(forbidden).replace("openai", "opened") == json.dumps(unknown)
    assert identifiers(bodies, "/llm/opt/v1/models", "free") == ["facebook/opt-125m"]


def test_the_list_in_each_dialect(bodies: Program) -> None:
    _status, body = asked(bodies, "/v1/models", "narrow").answer()
    assert body == {"object": "list", "data": [{"id": "claude-3-sonnet", "object": "model", "created": 0, "owned_by": "claude"}]}
    _status, body = asked(bodies, "/v1/models", "narrow", anthropic_version="2023-06-01").answer()
    assert (body["has_more"], body["first_id"], body["last_id"]) == (False, "claude-3-sonnet", "claude-3-sonnet")
    assert body["data"][0] == {"type": "model", "id": "claude-3-sonnet", "display_name": "claude-3-sonnet", "created_at": "1970-01-01T00:00:00Z"}


def test_a_model_that_a_tier_may_not_use_is_one_that_does_not_exist(bodies: Program) -> None:
    assert asked(bodies, "/v1/models/gpt-4").answer()[1]["id"] == "gpt-4"
    assert asked(bodies, "/v1/models/Qwen%2FQwen3-0.6B").answer()[1]["id"] == "Qwen/Qwen3-0.6B"
    forbidden, unknown = (asked(bodies, f"/v1/models/{name}", "narrow").answer() for name in ("gpt-4", "gpt-5"))
    assert forbidden[0] == unknown[0] == 404
    assert json.dumps(forbidden).replace("gpt-4", "gpt-5") == json.dumps(unknown)
    status, body = posted(bodies, {**CHAT, "model": "gpt-5"}, tier="narrow").answer()
    assert (status, body["error"]["code"]) == (403, "model_not_allowed")
    status, body = posted(bodies, {**CHAT, "model": "gpt-5"}).answer()
    assert (status, body["error"]["code"]) == (404, "model_not_found")
    assert posted(bodies, {**CHAT, "model": "claude-3-sonnet"}, "/external/openai/v1/chat/completions").answer()[0] == 404


@pytest.mark.parametrize(
    ("path", "method"), [("/v1/models", "POST"), ("/v1/models/gpt-4", "HEAD"), ("/external/openai/v1/models", "PUT"), ("/v1/messages", "GET")]
)
def test_other_methods_are_refused(bodies: Program, path: str, method: str) -> None:
    """Envoy AI Gateway would list all models to anybody, whatever the method."""
    assert asked(bodies, path, method=method).answer()[0] == 405


@pytest.mark.parametrize("path", ["/v1/audio/speech", "/v1/responses", "/v2/rerank", "/v1//chat/completions", "/V1/models", "/v1/modelsx", "/else/where", "/"])
def test_other_paths_are_refused(bodies: Program, path: str) -> None:
    status, body = posted(bodies, CHAT, path).answer()
    assert (status, body["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize("headers", [{"content_type": "multipart/form-data; boundary=x"}, {"content_encoding": "gzip"}, {"content_type": "application/grpc"}])
def test_what_is_no_json_by_its_headers_is_refused(bodies: Program, headers: dict[str, str]) -> None:
    assert posted(bodies, CHAT, **headers).answer()[0] == 415


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
        (b'{"model": "gpt-4", "stream": true, "stream_options": {"include_usage": false}, "stream_options": null}', 400, "invalid_json"),
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
def test_bodies_that_are_refused(bodies: Program, body: bytes, status: int, code: str) -> None:
    handle = posted(bodies, body)
    found, document = handle.answer()
    assert (found, document["error"]["code"]) == (status, code)
    assert costs(handle) == (0, 0, 0)
    assert posted(bodies, body, "/v1/messages").answer()[1]["type"] == "error"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    ("body", "upstream"),
    [
        ('{"model": "gpt-4"}', None),
        ('{"model": "gpt-4", "stream": false}', None),
        ('{"model": "gpt-4", "stream": null, "stream_options": null}', None),
        ('{"model": "gpt-4", "stream": true, "stream_options": {"include_usage": true}}', None),
        ('{"model": "gpt-4", "stream": true}', '{"stream_options":{"include_usage":true},"model": "gpt-4", "stream": true}'),
        ('{"model": "gpt-4", "stre\\u0061m":true}', '{"stream_options":{"include_usage":true},"model": "gpt-4", "stre\\u0061m":true}'),
        (
            '{"model": "gpt-4", "stream": true, "metadata": {"include_usage": true}}',
            '{"stream_options":{"include_usage":true},"model": "gpt-4", "stream": true, "metadata": {"include_usage": true}}',
        ),
        ('{"stream_options": null, "model": "gpt-4", "stream": true}', '{"stream_options": {"include_usage":true}, "model": "gpt-4", "stream": true}'),
        (
            '{"stream_options" : {"include_usage": false, "continuous": true}, "model": "gpt-4", "stream": true}',
            '{"stream_options" : {"include_usage":true,"continuous":true}, "model": "gpt-4", "stream": true}',
        ),
    ],
)
def test_a_provider_is_always_asked_for_the_tokens_of_a_stream(bodies: Program, path: str, body: str, upstream: str | None) -> None:
    handle = posted(bodies, body.encode(), path)
    assert handle.sent is None
    assert handle.content.decode() == (upstream or body)
    assert kept_of(handle)["hides_usage"] is (upstream is not None)
    assert posted(bodies, body.replace("gpt-4", "claude-3-sonnet").encode(), "/v1/messages").content == body.replace("gpt-4", "claude-3-sonnet").encode()


def test_what_a_caller_who_leaves_at_once_spends(bodies: Program) -> None:
    body = {**CHAT, "padding": "x" * 4000}
    assert costs(posted(bodies, body, accept_encoding="gzip")) == (1023, 1022, 1)
    assert "accept-encoding" not in posted(bodies, body, accept_encoding="gzip").values


#: A request of 400 bytes is reckoned as 100 tokens.
def answered(program: Program, chunks: list[bytes], path: str = "/v1/chat/completions", hides: bool = False, status: int = 200, **headers: str) -> Handle:
    body: dict[str, t.Any] = {"model": "gpt-4", "stream": hides, "x": ""}
    body["x"] = "y" * (400 - len(json.dumps(body)))
    metadata = posted(program, body, path).kept
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return program.response({":status": str(status), **named}, chunks, metadata)


def usage_of(**usage: t.Any) -> bytes:
    return json.dumps({"usage": usage}).encode()


@pytest.mark.parametrize(
    ("body", "spent"),
    [
        (usage_of(prompt_tokens=60, completion_tokens=40, total_tokens=100), (100, 60, 40)),
        (usage_of(prompt_tokens=60, completion_tokens=40), (100, 60, 40)),
        (usage_of(prompt_tokens=60, completion_tokens=40, total_tokens=None), (100, 60, 40)),
        (usage_of(prompt_tokens=60, completion_tokens=40, total_tokens=5), (100, 60, 40)),
        (usage_of(prompt_tokens=60, total_tokens=60), (60, 60, 0)),
        (usage_of(total_tokens=70), (70, 0, 0)),
        (usage_of(input_tokens=25, output_tokens=5), (30, 25, 5)),
        (usage_of(input_tokens=25, output_tokens=5, cache_creation_input_tokens=100, cache_read_input_tokens=1000), (1130, 1125, 5)),
    ],
)
def test_what_a_provider_says_is_counted(bodies: Program, body: bytes, spent: tuple[int, int, int]) -> None:
    assert costs(answered(bodies, [body])) == spent
    assert costs(answered(bodies, [body[:7], b"", body[7:]], content_type="application/json")) == spent


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": -5, "completion_tokens": 40, "total_tokens": 35},
        {"prompt_tokens": 60, "completion_tokens": 5_000_000_000, "total_tokens": 5_000_000_060},
        {"prompt_tokens": 60, "completion_tokens": 12.5},
        {"prompt_tokens": "60", "completion_tokens": "40"},
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": [60]},
        {},
    ],
)
def test_what_cannot_be_believed_is_reckoned(bodies: Program, usage: dict[str, t.Any]) -> None:
    body = usage_of(**usage)
    body += b" " * (200 - len(body))
    assert costs(answered(bodies, [body])) == (150, 100, 50)


@pytest.mark.parametrize("body", [b"x" * 200, b'{"usage": null}' + b" " * 185, b"[]" + b" " * 198])
def test_what_says_nothing_is_reckoned(bodies: Program, body: bytes) -> None:
    assert costs(answered(bodies, [body])) == (150, 100, 50)


def test_a_fixed_price_for_what_cannot_be_counted(texts: dict[str, str]) -> None:
    program = Program(texts["bodies"].replace("uncounted_tokens = 0", "uncounted_tokens = 500"))
    assert costs(answered(program, [b"x" * 200])) == (500, 500, 500)
    assert costs(answered(program, [usage_of(total_tokens=7)])) == (7, 0, 0)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
def test_a_compressed_answer_costs_what_the_processor_read_or_its_bytes(bodies: Program, encoding: str) -> None:
    body = gzip.compress(usage_of(total_tokens=1_000), mtime=0)
    assert costs(answered(bodies, [body], content_encoding=encoding)) == (100 + len(body), 100, len(body))
    metadata = posted(bodies, CHAT).kept
    metadata["io.envoy.ai_gateway"] = {"llm_input_tokens": 60, "llm_output_tokens": 40, "llm_total_tokens": 100}
    assert costs(bodies.response({":status": "200", "content-encoding": encoding}, [body], metadata)) == (100, 60, 40)


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500, 503])
def test_what_is_refused_costs_nothing(bodies: Program, status: int) -> None:
    assert costs(answered(bodies, [usage_of(total_tokens=100)], status=status)) == (0, 0, 0)


def test_an_answer_that_the_processor_cannot_read_is_reckoned(bodies: Program) -> None:
    assert costs(answered(bodies, [b""], status=500, x_ai_gateway_refusal="envoy ext_proc_error_gRPC_error_2")) == (101, 100, 1)


def events(*documents: t.Any, separator: str = ": ", end: str = "\n\n") -> bytes:
    return "".join(f"data{separator}{json.dumps(document)}{end}" for document in documents).encode()


CHUNK = {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}}], "usage": None}
LAST = {"id": "1", "choices": [], "usage": {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}}
DONE = b"data: [DONE]\n\n"
STREAM = {"content_type": "text/event-stream; charset=utf-8"}


def cuts(text: bytes) -> list[list[bytes]]:
    """The text in one piece, in two at several places, and byte by byte."""
    return [[text], *([text[:place], text[place:]] for place in range(1, len(text), 37)), [bytes([byte]) for byte in text], [text, b""]]


@pytest.mark.parametrize("separator", [": ", ":"])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
def test_streams_are_counted_however_they_arrive(bodies: Program, separator: str, end: str) -> None:
    text = events(CHUNK, CHUNK, LAST, separator=separator, end=end) + DONE
    for chunks in cuts(text):
        handle = answered(bodies, chunks, **STREAM)  # type: ignore[arg-type]
        assert costs(handle) == (100, 60, 40)
        assert handle.content == text


@pytest.mark.parametrize("separator", [": ", ":"])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
@pytest.mark.parametrize("done", [DONE, b"data: [DONE]", b"data: [DONE]\n", b""])
def test_usage_that_was_not_asked_for_is_counted_and_not_passed_on(bodies: Program, separator: str, end: str, done: bytes) -> None:
    before = events(CHUNK, CHUNK, separator=separator, end=end)
    for chunks in cuts(before + events(LAST, separator=separator, end=end) + done):
        handle = answered(bodies, chunks, hides=True, **STREAM)  # type: ignore[arg-type]
        assert costs(handle) == (100, 60, 40)
        assert handle.content == before + done


def test_the_last_event_may_lack_its_end(bodies: Program) -> None:
    before = events(CHUNK)
    for last in (events(LAST, end=""), events(LAST, end="\n")):
        handle = answered(bodies, [before, last], hides=True, **STREAM)  # type: ignore[arg-type]
        assert (costs(handle), handle.content) == ((100, 60, 40), before)
    text = before + events(CHUNK, end="")
    assert answered(bodies, [text], hides=True, **STREAM).content == text  # type: ignore[arg-type]


def test_a_chunk_with_choices_is_passed_on_with_its_usage(bodies: Program) -> None:
    """As some providers tell the tokens with the last choice."""
    text = events(CHUNK, {**LAST, "choices": CHUNK["choices"]}) + DONE
    handle = answered(bodies, [text], hides=True, **STREAM)  # type: ignore[arg-type]
    assert (costs(handle), handle.content) == ((100, 60, 40), text)


def test_a_caller_who_leaves_a_stream_spends_what_came(bodies: Program) -> None:
    """Each chunk settles what there is until then: an event is a token, and more if it is long."""
    assert costs(answered(bodies, [events(CHUNK, CHUNK)], **STREAM)) == (102, 100, 2)  # type: ignore[arg-type]
    long = {**CHUNK, "padding": "x" * 4000}
    _total, _input, output = costs(answered(bodies, [events(long)], **STREAM))  # type: ignore[arg-type]
    assert 950 < output < 1000


def test_streams_of_anthropics_api(bodies: Program) -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}
    delta = {"type": "message_delta", "usage": {"output_tokens": 15}}
    assert costs(answered(bodies, [events(start, CHUNK, delta)], "/v1/messages", **STREAM)) == (40, 25, 15)  # type: ignore[arg-type]
    assert costs(answered(bodies, [events(start, CHUNK)], "/v1/messages", **STREAM)) == (26, 25, 1)  # type: ignore[arg-type]


def test_the_largest_usage_of_a_stream_counts(bodies: Program) -> None:
    growing = [{**CHUNK, "usage": {"prompt_tokens": 60, "completion_tokens": count, "total_tokens": 60 + count}} for count in (1, 2, 3)]
    assert costs(answered(bodies, [events(*growing)], **STREAM)) == (63, 60, 3)  # type: ignore[arg-type]
    assert costs(answered(bodies, [events(growing[2], CHUNK, {**LAST, "usage": {"prompt_tokens": 60}})], **STREAM)) == (63, 60, 3)  # type: ignore[arg-type]
