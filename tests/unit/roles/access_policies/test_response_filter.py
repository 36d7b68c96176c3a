# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program next to the providers: what an answer costs, and that nothing odd goes on."""

from __future__ import annotations

import gzip
import json
import time
import typing as t
import zlib

import pytest
from proxies import CHUNK, DONE, LAST, REFUSED_BY, STREAM, Handle, Program, costs, cuts, events


#: A request of 400 bytes is reckoned as 100 tokens.
def answered(
    program: Program,
    chunks: list[bytes],
    status: int = 200,
    model: str = "gpt-4",
    streams: bool = False,
    **headers: str,
) -> Handle:
    metadata = {"egress.ai-gateway": {"asked": 400, "model": model, "streams": streams, "tier": "free"}}
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
        # Some providers report their reasoning in the total alone.
        (usage_of(prompt_tokens=20, completion_tokens=10, total_tokens=5030), (5030, 20, 5010)),
        (usage_of(input_tokens=25, output_tokens=5), (30, 25, 5)),
        (
            usage_of(input_tokens=25, output_tokens=5, cache_creation_input_tokens=100, cache_read_input_tokens=1000),
            (1130, 1125, 5),
        ),
    ],
)
def test_what_a_provider_says_is_counted(response_filter: Program, body: bytes, spent: tuple[int, int, int]) -> None:
    assert costs(answered(response_filter, [body])) == spent
    assert costs(answered(response_filter, [body[:7], b"", body[7:]], content_type="application/json")) == spent


@pytest.mark.parametrize(
    ("body", "cost"),
    [
        # 60 tokens of 2.50 for a million and 40 of 10.
        (usage_of(prompt_tokens=60, completion_tokens=40, total_tokens=100), 550),
        # What the total alone has costs the most; the cost is rounded up.
        (usage_of(total_tokens=70), 700),
        (usage_of(prompt_tokens=1, completion_tokens=0, total_tokens=1), 3),
        (b"nothing that tells", 250 + 10 * 5),
        # The most that the rate limit service adds at once.
        (usage_of(prompt_tokens=9_999_999, completion_tokens=9_999_999), 125_000_000 - 13 + 1),
    ],
)
def test_a_model_with_a_price_costs_that(response_filter: Program, body: bytes, cost: int) -> None:
    assert answered(response_filter, [body]).kept["egress.ai-gateway"]["cost"] == cost
    # Another model has none.
    assert "cost" not in answered(response_filter, [body], model="Qwen/Qwen3-0.6B").kept["egress.ai-gateway"]
    # What is refused costs nothing.
    assert answered(response_filter, [body], status=500).kept["egress.ai-gateway"].get("cost", 0) == 0


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"prompt_tokens": 60, "completion_tokens": 40, "prompt_tokens_details": {"cached_tokens": 50}}, 475),
        ({"input_tokens": 60, "output_tokens": 40, "input_tokens_details": {"cached_tokens": 50}}, 475),
        # Anthropic's input does not have them in it.
        ({"input_tokens": 10, "output_tokens": 40, "cache_read_input_tokens": 50}, 475),
        # No more is in the cache than was sent.
        ({"prompt_tokens": 60, "completion_tokens": 40, "prompt_tokens_details": {"cached_tokens": 9000}}, 460),
        ({"prompt_tokens": 60, "completion_tokens": 40, "prompt_tokens_details": {"cached_tokens": -1}}, 550),
    ],
)
def test_what_a_provider_had_in_its_cache_has_its_price(
    texts: dict[str, str], usage: dict[str, t.Any], cost: int
) -> None:
    text = texts["response_filter"]
    assert '["gpt-4"] = {2.5, 10, 2.5},' in text
    program = Program(text.replace("{2.5, 10, 2.5}", "{2.5, 10, 1}"))
    assert answered(program, [usage_of(**usage)]).kept["egress.ai-gateway"]["cost"] == cost
    # Without a price of its own it costs what the rest does.
    assert answered(Program(text), [usage_of(**usage)]).kept["egress.ai-gateway"]["cost"] == 550


@pytest.mark.parametrize("status", [302, 400, 401, 429, 500, 503])
def test_what_is_refused_costs_nothing(response_filter: Program, status: int) -> None:
    assert costs(answered(response_filter, [usage_of(total_tokens=100)], status=status)) == (0, 0, 0)


BELIEVED = [
    {"prompt_tokens": -5, "completion_tokens": 40, "total_tokens": 35},
    {"prompt_tokens": 60, "completion_tokens": 5_000_000_000, "total_tokens": 5_000_000_060},
    {"prompt_tokens": 60, "completion_tokens": 12.5},
    {"prompt_tokens": "60", "completion_tokens": "40"},
    {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    {"prompt_tokens": [60]},
    {},
]


@pytest.mark.parametrize("usage", [*BELIEVED, None, 4])
@pytest.mark.parametrize("model", ["gpt-4", "claude-3-sonnet"])
def test_what_cannot_be_believed_is_reckoned_and_said(response_filter: Program, model: str, usage: t.Any) -> None:
    """Envoy AI Gateway ends with an answer of Anthropic's API without usage, and refuses one whose numbers are none."""
    body = json.dumps({"id": "1", "usage": usage, "choices": []}).encode()
    body += b" " * (200 - len(body))
    handle = answered(response_filter, [body], model=model)
    assert costs(handle) == (150, 100, 50)
    names = (
        ("input_tokens", "output_tokens")
        if model == "claude-3-sonnet"
        else ("prompt_tokens", "completion_tokens", "total_tokens")
    )
    assert json.loads(handle.content) == {"id": "1", "usage": dict(zip(names, (100, 50, 150))), "choices": []}
    assert handle.values["content-length"] == str(len(handle.content))


@pytest.mark.parametrize(("body", "rest"), [(b"{}", {}), (b' { "id" : "1" } ', {"id": "1"})])
def test_a_missing_usage_is_added(response_filter: Program, body: bytes, rest: dict[str, str]) -> None:
    document = json.loads(answered(response_filter, [body]).content)
    assert document.pop("usage")["prompt_tokens"] == 100
    assert document == rest


@pytest.mark.parametrize("body", [b"x" * 200, b"[]" + b" " * 198, b"null" + b" " * 196])
def test_what_is_no_answer_is_refused_and_paid(response_filter: Program, body: bytes) -> None:
    handle = answered(response_filter, [body])
    assert (handle.values[":status"], costs(handle)) == ("502", (150, 100, 50))
    assert json.loads(handle.content)["error"]["message"] == "The provider's answer is no JSON object."


def test_a_fixed_price_for_what_cannot_be_counted(texts: dict[str, str]) -> None:
    program = Program(texts["response_filter"].replace("uncounted_tokens = 0", "uncounted_tokens = 500"))
    assert costs(answered(program, [b"x" * 200])) == (500, 500, 500)
    assert costs(answered(program, [usage_of(total_tokens=7)])) == (7, 0, 0)
    handle = answered(program, [b'{"id": "1"}'])
    assert costs(handle) == (500, 500, 500)
    assert json.loads(handle.content)["usage"] == {"prompt_tokens": 500, "completion_tokens": 500, "total_tokens": 500}


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_a_compressed_answer_costs_its_bytes_until_the_processor_has_read_it(
    response_filter: Program, encoding: str
) -> None:
    body = gzip.compress(usage_of(total_tokens=1_000), mtime=0)
    for streams in (False, True):
        handle = answered(response_filter, [body], streams=streams, content_encoding=encoding)
        assert costs(handle) == (100 + len(body), 100, len(body))
        assert (handle.kept["egress.ai-gateway"]["compressed"], handle.content) == (True, body)


@pytest.mark.parametrize("encoding", ["deflate", "zstd", "x"])
def test_what_nobody_can_read_costs_its_bytes(response_filter: Program, encoding: str) -> None:
    handle = answered(response_filter, [b"x" * 200], content_encoding=encoding)
    assert (handle.values[":status"], costs(handle)) == ("502", (300, 100, 200))
    assert f"answered in {encoding}," in json.loads(handle.content)["error"]["message"]
    handle = answered(response_filter, [b"x" * 200], streams=True, content_encoding=encoding)
    assert (handle.content, costs(handle)) == (b"x" * 200, (300, 100, 200))


def test_what_envoy_answers_itself_stays(response_filter: Program) -> None:
    handle = answered(
        response_filter, [b"no healthy upstream"], status=503, x_ai_gateway_refusal=f"{REFUSED_BY} no_healthy_upstream"
    )
    assert (handle.content, costs(handle)) == (b"no healthy upstream", (0, 0, 0))


def test_an_answer_that_the_processor_cannot_read_was_one(response_filter: Program) -> None:
    metadata = answered(response_filter, [usage_of(total_tokens=70)]).kept
    handle = response_filter.response(
        {":status": "500", "x-ai-gateway-refusal": f"{REFUSED_BY} ext_proc_error"}, [b""], metadata
    )
    assert costs(handle) == (70, 0, 0)


ERROR = b'{"error": {"message": "slow down", "type": "requests", "param": null, "code": "x"}}'
WORDS: list[tuple[bytes, dict[str, str], str]] = [
    (ERROR, {"content_type": "application/json"}, "slow down"),
    (ERROR, {}, "slow down"),
    (gzip.compress(ERROR, mtime=0), {"content_encoding": "gzip", "content_type": "application/json"}, "slow down"),
    (zlib.compress(ERROR), {"content_encoding": "deflate"}, "slow down"),
    # A processor replaced the body and left the header.
    (ERROR, {"content_encoding": "gzip"}, "slow down"),
    (
        b'{"detail": "slow down"}',
        {"content_type": "application/json"},
        "The provider refused with status 429: slow down",
    ),
    (
        b'{"error": {"message": "slow down"}}',
        {"content_type": "application/json"},
        "The provider refused with status 429: slow down",
    ),
    (
        b'{"error": "slow down"}',
        {"content_type": "application/json"},
        "The provider refused with status 429: slow down",
    ),
    (
        b"<html><style>p {}</style><h1>slow</h1>\r\n down</html>",
        {"content_type": "text/html"},
        "The provider refused with status 429: slow down",
    ),
    (
        gzip.compress(b"<p>slow down", mtime=0),
        {"content_type": "text/html", "content_encoding": "gzip"},
        "The provider refused with status 429: slow down",
    ),
    (b"slow down", {"content_type": "text/plain"}, "The provider refused with status 429: slow down"),
    (b"", {}, "The provider refused with status 429 and said nothing."),
    (b"caf\xe9", {"content_type": "text/plain; charset=latin-1"}, "The provider refused with status 429: caf\ufffd"),
    (b"{broken", {"content_type": "application/json"}, "The provider refused with status 429: {broken"),
    (
        b"\x28\xb5\x2f\xfd",
        {"content_encoding": "zstd"},
        "The provider refused with status 429, in words that are compressed with zstd.",
    ),
]


@pytest.mark.parametrize("model", ["gpt-4", "claude-3-sonnet"])
@pytest.mark.parametrize(("body", "headers", "message"), WORDS, ids=range(len(WORDS)))
def test_a_provider_is_quoted_in_its_api(
    response_filter: Program, model: str, body: bytes, headers: dict[str, str], message: str
) -> None:
    handle = answered(response_filter, [body], status=429, model=model, retry_after="7", **headers)  # type: ignore[arg-type]
    document = json.loads(handle.content)
    told = document["error"]["message"]
    if model == "claude-3-sonnet":
        assert (document["type"], document["error"]["type"]) == ("error", "rate_limit_error")
        assert told.endswith(message)
    else:
        assert told == message
    assert (handle.values["retry-after"], handle.values["content-type"]) == ("7", "application/json")
    assert "content-encoding" not in handle.values
    assert costs(handle) == (0, 0, 0)


def test_a_long_text_ends_with_a_letter(response_filter: Program) -> None:
    for letter in ("a", "é", "你", "😀"):
        message = json.loads(
            answered(response_filter, [letter.encode() * 5000], status=502, content_type="text/plain").content
        )["error"]["message"]
        assert message.endswith(letter + " …")
        assert "\ufffd" not in message
        assert 1990 < len(message.partition(": ")[2].encode()) < 2010


@pytest.mark.parametrize("separator", [": ", ":"])
@pytest.mark.parametrize("end", ["\n\n", "\r\n\r\n"])
def test_streams_are_counted_however_they_arrive(response_filter: Program, separator: str, end: str) -> None:
    text = events(CHUNK, CHUNK, LAST, separator=separator, end=end) + DONE
    for chunks in cuts(text):
        handle = answered(response_filter, chunks, **STREAM)  # type: ignore[arg-type]
        assert costs(handle) == (100, 60, 40)
        assert handle.content == text


@pytest.mark.parametrize("headers", [STREAM, {**STREAM, "content_encoding": "gzip"}, {"content_type": "application/x"}])
@pytest.mark.parametrize("model", ["gpt-4", "claude-3-sonnet"])
def test_a_stream_of_a_known_length_loses_it(response_filter: Program, headers: dict[str, str], model: str) -> None:
    """Envoy AI Gateway changes the bytes of a stream and not its length, so that Envoy answered with 500."""
    text = events(CHUNK, LAST) + DONE
    length = {"content_length": str(len(text))}
    handle = answered(response_filter, [text], model=model, streams=True, **headers, **length)  # type: ignore[arg-type]
    assert "content-length" not in handle.values


def test_a_caller_who_leaves_a_stream_spends_what_came(response_filter: Program) -> None:
    """Each chunk settles what there is until then: an event is a token, and more if it is long."""
    assert costs(answered(response_filter, [events(CHUNK, CHUNK)], **STREAM)) == (102, 100, 2)  # type: ignore[arg-type]
    long = {**CHUNK, "padding": "x" * 4000}
    _total, _input, output = costs(answered(response_filter, [events(long)], **STREAM))  # type: ignore[arg-type]
    assert 950 < output < 1000


def test_who_leaves_before_the_output_is_told_pays_for_what_came(response_filter: Program) -> None:
    """Both APIs report the input first; then only the reported output was paid."""
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}
    words = [{"type": "content_block_delta", "delta": {"text": "word"}}] * 2000
    assert costs(
        answered(response_filter, [events(start, *words)], model="claude-3-sonnet", streams=True, **STREAM)
    ) == (
        2025,
        25,
        2000,
    )  # type: ignore[arg-type]
    end = {"type": "message_delta", "usage": {"output_tokens": 2100}}
    whole = answered(response_filter, [events(start, *words, end)], model="claude-3-sonnet", streams=True, **STREAM)  # type: ignore[arg-type]
    assert costs(whole) == (2125, 25, 2100)
    first = {**CHUNK, "usage": {"prompt_tokens": 60, "completion_tokens": 0, "total_tokens": 60}}
    assert costs(answered(response_filter, [events(first, *[CHUNK] * 2000)], streams=True, **STREAM)) == (
        2060,
        60,
        2000,
    )  # type: ignore[arg-type]


def test_a_large_answer_is_read(response_filter: Program) -> None:
    """Limits that are meant for requests threw it away, and millions of tokens were paid."""
    vectors = [{"object": "embedding", "index": index, "embedding": [0.0123] * 1536} for index in range(400)]
    nested: t.Any = "x"
    for _level in range(100):
        nested = {"a": nested}
    for body in ({"data": vectors}, {"choices": [{"input": nested}]}):
        handle = answered(
            response_filter, [json.dumps({**body, "usage": {"prompt_tokens": 4000, "total_tokens": 4000}}).encode()]
        )
        assert (handle.values[":status"], costs(handle)) == ("200", (4000, 4000, 0))


def test_a_redirect_does_not_take_the_caller_elsewhere(response_filter: Program) -> None:
    """Clients follow it with their token and their body."""
    handle = answered(response_filter, [b""], status=307, location="https://evil.example.com/v1/messages")
    assert (handle.values[":status"], "location" in handle.values) == ("502", False)
    assert (
        json.loads(handle.content)["error"]["message"]
        == "The provider answered with status 307, which leads elsewhere."
    )


def test_a_key_that_the_provider_does_not_take_is_told_as_the_gateways(response_filter: Program) -> None:
    body = (
        b'{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","param":null,'
        b'"code":"invalid_api_key"}}'
    )
    handle = answered(response_filter, [body], status=401, www_authenticate="Bearer")
    assert (handle.values[":status"], "www-authenticate" in handle.values) == ("401", False)
    assert (
        json.loads(handle.content)["error"]["message"]
        == "The provider refused with status 401: Incorrect API key provided"
    )


def test_a_compressed_error_takes_a_proxy_no_longer_than_its_words(response_filter: Program) -> None:
    # Dynamic blocks that hold nothing but their end.
    text = zlib.compress(b"") + b"\x04\xc0\x81\x08\x00\x00\x00\x00 \x7f\xeb" * 100_000
    started = time.process_time()
    answered(response_filter, [text], status=500, content_encoding="gzip")
    assert time.process_time() - started < 0.5


JSON_LINE = json.dumps({"choices": [{"text": "a" * 180}]}).encode()
TOLD = json.dumps({"choices": [], "usage": {"prompt_tokens": 60_000, "completion_tokens": 40_000}}).encode()


@pytest.mark.parametrize(
    ("text", "most", "least"),
    [
        (TOLD, 100_000, 100_000),
        (TOLD + b"\n", 100_000, 100_000),
        (b"\n".join([JSON_LINE] * 100), 6_000, 200),
        (b"".join(b"data: %s\r\r" % JSON_LINE for _number in range(100)), 6_000, 200),
        (b"data: %s\r\r" % TOLD, 100_000, 100_000),
        (json.dumps({"choices": [{"text": "a" * 40_000}]}).encode(), 11_000, 10_000),
        (json.dumps({"choices": [{"text": "a" * 40_000}]}, indent=2).encode(), 11_000, 10_000),
        (b"word " * 8_000, 11_000, 9_900),
        (b"word word word word\n" * 2_000, 11_000, 9_000),
        (b"event: " + b"a" * 40_000 + b"\n\n", 11_000, 9_900),
    ],
)
def test_a_stream_that_is_none_costs_its_bytes(response_filter: Program, text: bytes, most: int, least: int) -> None:
    """Each of these cost one token beside the request."""
    for chunks in ([text], [text[start : start + 999] for start in range(0, len(text), 999)]):
        for headers in (STREAM, {}, {"content_type": "text/plain"}):
            total, _input, _output = costs(answered(response_filter, chunks, streams=True, **headers))  # type: ignore[arg-type]
            assert least <= total <= most + 100


@pytest.mark.parametrize(
    "text",
    [
        b"<" * 400_000,
        b"<style>" * 60_000,
        b"</style>" + b"<style>" * 60_000,
        b"<a" * 200_000,
        b" a" * 200_000,
        b"a" * 400_000,
    ],
)
def test_no_error_takes_a_proxy_long(response_filter: Program, request_filter: Program, text: bytes) -> None:
    """40,000 characters of a tag that never ends took seconds."""
    started = time.process_time()
    answered(response_filter, [text], status=502, content_type="text/html")
    request_filter.response(
        {":status": "502", "content-type": "text/html"}, [text], {"egress.ai-gateway": {"begun": True}}
    )
    assert time.process_time() - started < 0.5


def test_streams_of_anthropics_api(response_filter: Program) -> None:
    start = {"type": "message_start", "message": {"usage": {"input_tokens": 25, "output_tokens": 1}}}
    delta = {"type": "message_delta", "usage": {"output_tokens": 15}}
    assert costs(answered(response_filter, [events(start, CHUNK, delta)], model="claude-3-sonnet", **STREAM)) == (
        40,
        25,
        15,
    )  # type: ignore[arg-type]
    assert costs(answered(response_filter, [events(start, CHUNK)], model="claude-3-sonnet", **STREAM)) == (26, 25, 1)  # type: ignore[arg-type]


def test_the_largest_usage_of_a_stream_counts(response_filter: Program) -> None:
    growing = [
        {**CHUNK, "usage": {"prompt_tokens": 60, "completion_tokens": count, "total_tokens": 60 + count}}
        for count in (1, 2, 3)
    ]
    assert costs(answered(response_filter, [events(*growing)], **STREAM)) == (63, 60, 3)  # type: ignore[arg-type]
    assert costs(
        answered(response_filter, [events(growing[2], CHUNK, {**LAST, "usage": {"prompt_tokens": 60}})], **STREAM)
    ) == (63, 60, 3)  # type: ignore[arg-type]
