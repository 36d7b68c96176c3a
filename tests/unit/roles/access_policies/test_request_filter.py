# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program before every other filter: paths, tokens and errors."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from proxies import REFUSED_BY, Handle, Program

#: Envoy's own answers say so.
OURS = f"{REFUSED_BY} "


def asked(program: Program, path: str = "/v1/chat/completions", **headers: str) -> Handle:
    return program.request(
        {":method": "POST", ":path": path, **{name.replace("_", "-"): value for name, value in headers.items()}}
    )


def answered(
    program: Program,
    status: int,
    body: bytes | str = b"",
    path: str = "/v1/chat/completions",
    kept: dict[str, t.Any] | None = None,
    details: str | None = None,
    **headers: str,
) -> Handle:
    metadata = asked(program, path).kept
    metadata["egress.ai-gateway"].update(kept or {})
    content = body.encode() if isinstance(body, str) else body
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    refusal = {} if details is None else {"x-ai-gateway-refusal": OURS + details}
    handle = program.response(
        {":status": str(status), "content-length": str(len(content)), **named, **refusal}, [content], metadata
    )
    assert "x-ai-gateway-refusal" not in handle.values
    if status >= 400:
        assert handle.values["content-type"] == "application/json"
        assert "content-encoding" not in handle.values
        assert int(handle.values["content-length"]) == len(handle.content)
    return handle


def error_of(handle: Handle) -> dict[str, t.Any]:
    return dict(json.loads(handle.content)["error"])


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1/models",
        "/v1/models/a%2Fb?x=%20&y=[",
        "/v1/models/@cf/x:y;z=1,2'()*+!$&~-_.",
        "/v1/models/%C3%A9",
        "/v1/x?a=b?c/d",
    ],
)
def test_well_formed_paths_go_on(request_filter: Program, path: str) -> None:
    if "[" in path:
        assert asked(request_filter, path).answer()[0] == 400
    else:
        assert asked(request_filter, path).sent is None


@pytest.mark.parametrize(
    "path",
    [
        "/%zz",
        "/v1/models/%f",
        "/%",
        "/%4",
        "/a%00b",
        "/%0a",
        "/%7F",
        "//host:port/",
        "*",
        "",
        "a",
        "/é",
        "/a b",
        "/a\\b",
        '/"',
        "/a#b",
        "/{x}",
        "/|",
        "/^",
        "/`",
        "/<",
    ],
)
def test_malformed_paths_are_refused(request_filter: Program, path: str) -> None:
    status, body = asked(request_filter, path).answer()
    assert (status, body["error"]["code"], body["error"]["type"]) == (400, "malformed_path", "invalid_request_error")


def test_a_refusal_in_the_clients_api(request_filter: Program) -> None:
    status, body = asked(request_filter, "/v1/messages%").answer()
    assert (status, body["type"], body["error"]["type"]) == (400, "error", "invalid_request_error")
    assert asked(request_filter, "/%", anthropic_version="2023-06-01").answer()[1]["type"] == "error"
    assert "type" not in asked(request_filter, "/v1/chat/completions%?next=/v1/messages").answer()[1]


def test_headers_that_are_no_text_are_refused(request_filter: Program) -> None:
    assert asked(request_filter, x_name="caf\xc3\xa9").sent is None
    status, body = asked(request_filter, x_name="caf\xe9").answer()
    assert (status, body["error"]["message"]) == (400, "The header x-name is not UTF-8.")


@pytest.mark.parametrize("headers", [{f"x-{number}": "" for number in range(80)}, {"x-a": "a" * 50_000}])
def test_more_headers_than_can_go_on_are_refused(request_filter: Program, headers: dict[str, str]) -> None:
    """Envoy AI Gateway's processor adds some, and Envoy would refuse these with an error of its own."""
    status, body = asked(request_filter, **headers).answer()
    assert (status, body["error"]["code"]) == (431, "headers_too_large")


def test_a_body_over_the_limit_is_refused_at_once(request_filter: Program) -> None:
    assert asked(request_filter, content_length=str(1024 * 1024)).sent is None
    status, body = asked(request_filter, content_length=str(1024 * 1024 + 1)).answer()
    assert (status, body["error"]["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("headers", "seen"),
    [
        ({"authorization": "Bearer abc"}, "Bearer abc"),
        ({"authorization": "bearer abc"}, "Bearer abc"),
        ({"authorization": "BEARER   abc  "}, "Bearer abc"),
        ({"authorization": "bEaReR\tabc"}, "Bearer abc"),
        ({"x-api-key": " abc "}, "Bearer abc"),
        ({"authorization": "Bearer abc", "x-api-key": "abc"}, "Bearer abc"),
        ({"authorization": "Basic dTpw", "x-api-key": "abc"}, "Bearer abc"),
        ({"authorization": "Basic dTpw"}, "Basic dTpw"),
        ({"authorization": "Bearer a b"}, "Bearer a b"),
        ({}, None),
    ],
)
def test_a_token_has_one_form(request_filter: Program, headers: dict[str, str], seen: str | None) -> None:
    handle = request_filter.request({":method": "GET", ":path": "/v1/models", **headers})
    assert handle.sent is None
    assert handle.values.get("authorization") == seen
    assert "x-api-key" not in handle.values


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer abc", "x-api-key": "abd"},
        {"authorization": "Bearer abc\nBearer abc"},
        {"x-api-key": "abc\nabd"},
    ],
)
def test_two_tokens_are_refused(request_filter: Program, headers: dict[str, str]) -> None:
    status, body = request_filter.request({":method": "GET", ":path": "/v1/models", **headers}).answer()
    assert (status, body["error"]["code"]) == (400, "several_tokens")


@pytest.mark.parametrize(
    ("limit", "measure", "kind", "reset"),
    [
        ("100, 100;w=60", "100 total tokens that tier free allows a user in 60 seconds", "tokens", "31"),
        ("20, 100;w=60, 20;w=60", "20 requests that tier free allows a user in 60 seconds", "requests", "5"),
        (
            "7, 100;w=60, 7;w=3600",
            "7 output tokens of model gpt-4 that tier free allows a user in 3600 seconds",
            "tokens",
            "3000",
        ),
        (
            "250000, 100;w=60, 250000;w=86400",
            "0.25 units of cost of model gpt-4 that tier free allows a user in 86400 seconds",
            "tokens",
            "3000",
        ),
    ],
)
def test_a_used_up_limit_is_named(request_filter: Program, limit: str, measure: str, kind: str, reset: str) -> None:
    told = {
        "details": "request_rate_limited",
        "kept": {"tier": "free"},
        "x_ratelimit_limit": limit,
        "x_ratelimit_remaining": "0",
        "x_ratelimit_reset": reset,
    }
    handle = answered(request_filter, 429, **told)  # type: ignore[arg-type]
    error = error_of(handle)
    assert error["message"] == f"The {measure} are used up. Try again in {reset} seconds."
    assert (error["type"], error["code"]) == (kind, "rate_limit_exceeded")
    assert handle.values["retry-after"] == reset
    assert error_of(answered(request_filter, 429, path="/v1/messages", **told))["type"] == "rate_limit_error"  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [200, 301])
def test_other_answers_stay(request_filter: Program, status: int) -> None:
    handle = answered(request_filter, status, "text", content_type="text/plain")
    assert (handle.content, handle.values["content-type"]) == (b"text", "text/plain")


@pytest.mark.parametrize(
    ("details", "status", "seen", "code"),
    [
        ("ext_authz_error", 503, 503, "authorization_unavailable"),
        ("rate_limiter_error", 500, 503, "limits_unavailable"),
        # Where there is no semantic router, of somebody else's filter.
        ("local_rate_limited", 429, 429, "rate_limit_exceeded"),
        ("rbac_access_denied_matched_policy[narrow-others]", 403, 403, "model_not_allowed"),
        ("no_healthy_upstream", 503, 503, "provider_unavailable"),
        ("upstream_reset_before_response_started{connection_termination}", 503, 503, "provider_unavailable"),
        ("upstream_response_timeout", 504, 504, "provider_timeout"),
        ("request_payload_too_large", 413, 413, "body_too_large"),
        ("http1.codec_error", 400, 400, "malformed_request"),
        ("ext_proc_error_gRPC_error_2{failed_to_transform_response}", 500, 503, "gateway_fault"),
    ],
)
def test_what_envoy_answers_itself(request_filter: Program, details: str, status: int, seen: int, code: str) -> None:
    handle = answered(
        request_filter,
        status,
        "some words of the proxy",
        details=details,
        kept={"tier": "narrow", "model": "gpt-4"},
        content_type="text/plain",
    )
    assert handle.values[":status"] == str(seen)
    error = error_of(handle)
    assert error["code"] == code
    assert "provider refused" not in error["message"]
    assert "words of the proxy" not in error["message"]


def test_a_provider_without_addresses(request_filter: Program) -> None:
    error = error_of(answered(request_filter, 503, details="no_healthy_upstream"))
    assert error["message"] == "The provider of this model has no address that answers."


def test_an_answer_that_the_processor_cannot_read(request_filter: Program) -> None:
    error = error_of(
        answered(
            request_filter,
            500,
            "",
            details="ext_proc_error_gRPC_error_2{failed_to_transform_response}",
            kept={"answered": True},
        )
    )
    assert (error["code"], error["message"]) == ("provider_error", "The provider's answer could not be read.")


def test_what_is_not_found(request_filter: Program) -> None:
    assert (
        error_of(answered(request_filter, 404, details="route_not_found", kept={"model": "gpt-4"}))["code"]
        == "model_not_found"
    )
    assert error_of(answered(request_filter, 404, details="route_not_found"))["code"] == "unknown_url"


def test_what_the_processor_says_of_a_request(request_filter: Program) -> None:
    """Its error is no JSON where it quotes the request, and names no reason of Envoy's."""
    text = (
        '{"type":"error","error":{"type":"BadRequest","code":"400",'
        '"message":"failed to parse JSON: Mismatch type with value string "at index 2\n"x""}}'
    )
    told = json.dumps(
        {
            "error": {
                "message": f"The answer of the provider could not be passed on. {text}",
                "type": "server_error",
                "param": None,
                "code": "x",
            }
        }
    )
    handle = answered(request_filter, 400, told, details="", content_type="application/json")
    assert error_of(handle)["message"] == "failed to parse JSON: Mismatch type with value string"


def test_what_authorino_says_stays(request_filter: Program) -> None:
    body = (
        '{"error": {"message": "No valid token.", "type": "invalid_request_error", "param": null, '
        '"code": "invalid_api_key"}}'
    )
    assert (
        answered(
            request_filter, 401, body, details="ext_authz_denied", content_type="application/json"
        ).content.decode()
        == body
    )


ERROR = '{"error": {"message": "slow down", "type": "requests", "param": null, "code": "x"}}'


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (ERROR, "slow down"),
        (
            '{"type":"error","error":{"type":"OpenAIBackendError","code":"429","message":"slow down"}}',
            "The provider refused with status 429: slow down",
        ),
        (
            '{"error": {"message": "The provider refused with status 429: slow down"}}',
            "The provider refused with status 429: slow down",
        ),
        ("slow down", "The provider refused with status 429: slow down"),
        ("", "The provider refused with status 429 and said nothing."),
    ],
)
def test_a_provider_is_quoted_and_named(request_filter: Program, body: str, message: str) -> None:
    handle = answered(request_filter, 429, body, retry_after="7", x_ratelimit_limit="100, 100;w=60")
    assert error_of(handle)["message"] == message
    assert handle.values["retry-after"] == "7"
    document = json.loads(answered(request_filter, 429, body, "/v1/messages").content)
    assert document["type"] == "error"
    assert document["error"]["type"] in ("rate_limit_error", "OpenAIBackendError")


@pytest.mark.parametrize(
    ("status", "openai", "anthropic"), [(502, "server_error", "api_error"), (503, "server_error", "overloaded_error")]
)
def test_kinds_of_errors_in_both_apis(request_filter: Program, status: int, openai: str, anthropic: str) -> None:
    assert error_of(answered(request_filter, status, "text"))["type"] == openai
    assert error_of(answered(request_filter, status, "text", "/v1/messages"))["type"] == anthropic


def test_what_maas_api_says_stays(texts: dict[str, str]) -> None:
    program = Program(texts["request_filter"].replace("maas_api = false", "maas_api = true"))
    body = b'{"error": "no such token"}'
    for path, stays in (("/maas-api/v1/tokens", True), ("/v1/chat/completions", False)):
        metadata = asked(program, path).kept
        assert (program.response({":status": "404"}, [body], metadata).content == body) is stays
        ours = program.response(
            {":status": "403", "x-ai-gateway-refusal": OURS + "rbac_access_denied"}, [b"no"], metadata
        )
        assert error_of(ours)["code"] == "model_not_allowed"


ORIGINS = {
    "https://app.example.com": True,
    "https://one.pages.example.com": True,
    "https://a.b.pages.example.com": True,
    "https://pages.example.com": False,
    "https://app-example.com": False,
    "http://app.example.com": False,
    "https://app.example.com.evil.example": False,
    "https://evil.example/.pages.example.com": False,
    "null": False,
}


@pytest.mark.parametrize(("origin", "allowed"), ORIGINS.items())
def test_browsers(request_filter: Program, origin: str, allowed: bool) -> None:
    asks = {
        ":method": "OPTIONS",
        ":path": "/v1/chat/completions",
        "origin": origin,
        "access-control-request-method": "POST",
    }
    preflight = request_filter.request({**asks, "access-control-request-headers": "authorization,x-stainless-os"})
    if allowed:
        assert preflight.sent
        headers, body = preflight.sent
        assert (headers[":status"], headers["access-control-allow-origin"], body) == ("204", origin, b"")
        assert headers["access-control-allow-headers"] == "authorization,x-stainless-os"
    else:
        assert preflight.sent is None
    for status in ("200", "429"):
        metadata = asked(request_filter, origin=origin).kept
        handle = request_filter.response({":status": status, "access-control-allow-origin": "*"}, [b"{}"], metadata)
        assert handle.values.get("access-control-allow-origin") == (origin if allowed else None)


def test_any_page(texts: dict[str, str]) -> None:
    program = Program(texts["request_filter"].replace('"https://app.example.com"', '"*"'))
    asks = {
        ":method": "OPTIONS",
        ":path": "/v1/models",
        "origin": "https://any.example",
        "access-control-request-method": "GET",
    }
    preflight = program.request({**asks, "access-control-request-headers": 'bad"header'})
    assert preflight.sent
    assert (preflight.sent[0]["access-control-allow-origin"], preflight.sent[0]["access-control-allow-headers"]) == (
        "*",
        "",
    )


def test_an_answer_before_the_request_was_seen(request_filter: Program) -> None:
    handle = request_filter.response({":status": "400"}, [b"bad"], {})
    assert "bad" in error_of(handle)["message"]
    anthropic = b'{"type":"error","error":{"type":"invalid_request_error","message":"bad"}}'
    openai = b'{"error":{"message":"b","type":"t","param":null,"code":null}}'
    for body in (anthropic, openai):
        assert request_filter.response({":status": "400"}, [body], {}).content == body


@pytest.mark.parametrize(
    "claim", ["envoy request_rate_limited", "request_rate_limited", f"{REFUSED_BY[:-1]} request_rate_limited"]
)
def test_a_provider_cannot_say_that_the_gateway_refused(request_filter: Program, claim: str) -> None:
    handle = answered(request_filter, 429, "busy", x_ai_gateway_refusal=claim)
    assert error_of(handle)["message"] == "The provider refused with status 429: busy"


@pytest.mark.parametrize(
    "headers",
    [
        *({name: f"a{fill * 48_000}b"} for name in ("x_api_key", "authorization") for fill in (" ", "\t", "a", "-")),
        *({"x_api_key": f"{' ' * 48_000}a b"}, {"authorization": f"{' ' * 48_000}a b c"}),
        *({"authorization": f"Bearer{' ' * 24_000}a{' ' * 24_000}b"}, {"origin": "https://" + "a." * 24_000}),
        *(
            {"access_control_request_headers": "a, " * 16_000, "origin": "https://app.example.com"},
            {"anthropic_version": " " * 48_000},
        ),
    ],
)
def test_no_header_takes_a_proxy_long(request_filter: Program, headers: dict[str, str]) -> None:
    """48,000 blanks in a key took seconds, without a token."""
    started = time.process_time()
    asked(request_filter, **headers)
    assert time.process_time() - started < 0.2


def test_an_empty_key_is_none(request_filter: Program) -> None:
    for empty in ("", " ", "\t"):
        handle = asked(request_filter, x_api_key=empty, authorization="Bearer a")
        assert (handle.sent, handle.values["authorization"], "x-api-key" in handle.values) == (None, "Bearer a", False)


def test_whose_fault_it_is(request_filter: Program) -> None:
    handle = answered(request_filter, 503, details="upstream_reset_before_response_started{overflow}")
    assert error_of(handle)["code"] == "gateway_busy"
    for details in ("stream_idle_timeout", "request_overall_timeout"):
        assert answered(request_filter, 504, details=details).values[":status"] == "504"
        assert answered(request_filter, 408, details=details).values[":status"] == "408"


def test_the_path_tells_the_api_before_the_header_does(request_filter: Program) -> None:
    for path, anthropic in (
        ("/v1/chat/completions", False),
        ("/external/a/v1/embeddings", False),
        ("/v1/messages", True),
        ("/v1/models", True),
    ):
        body = asked(request_filter, path + "/%zz", anthropic_version="2023-06-01").answer()[1]
        assert (body.get("type") == "error") is anthropic, path


def test_a_key_of_several_words_is_refused(request_filter: Program) -> None:
    assert asked(request_filter, x_api_key="a b").answer()[0] == 400
    assert asked(request_filter, x_api_key=" a\t").values["authorization"] == "Bearer a"
