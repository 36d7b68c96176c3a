# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Messages to MCP servers: what the programs let through, how a session stays with its caller, and errors."""

from __future__ import annotations

import copy
import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.identity import digest
from proxies import KEY, REFUSED_BY, VARIABLES, Handle, Program, identity_key, programs
from rendering import documents, rendered

Headers = dict[str, str]
REQUESTS = {"requests": 60, "window": "1m"}
POSTED = {":method": "POST", "content-type": "application/json"}
CALL = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "weather__echo", "arguments": {}}}
SESSION = "c2Vzc2lvbg=="


class Programs(t.NamedTuple):
    """Those that see these requests."""

    request_filter: Program
    body_filter: Program


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> str:
    variables = copy.deepcopy(VARIABLES)
    variables["ai_gateway_mcp_servers"] = [{"name": "weather", "simulated": True, "credential": {"value": "k"}}]
    free, narrow = variables["ai_gateway_tiers"]
    free["mcp_tools"] = ["weather__echo"]
    narrow |= {"mcp_tools": ["weather__*"], "request_limit": REQUESTS}
    variables["ai_gateway_tiers"] = [
        free,
        narrow,
        {"name": "none", "level": 2, "groups": ["a"], "request_limit": REQUESTS},
    ]
    return rendered(tmp_path_factory.mktemp("policies"), "access_policies", "authorino.yaml.j2", variables)


@pytest.fixture(scope="module")
def found(policies: str, tmp_path_factory: pytest.TempPathFactory) -> Programs:
    texts = programs(policies)
    path = identity_key(tmp_path_factory.mktemp("identity"))
    body_filter = texts["body_filter"].replace("/run/ai-gateway/key", str(path))
    return Programs(Program(texts["request_filter"]), Program(body_filter))


def mark(tier: str, user: str, session: str = SESSION) -> str:
    """A session as its caller knows it."""
    return f"{digest(KEY, '/mcp-session', f'{tier}:{user}:{session}')}.{session}"


def asked(
    found: Programs, body: t.Any = b"", headers: Headers | None = None, tier: str = "free", user: str = "alice"
) -> Handle:
    """The request as it leaves the program after authorization."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {":path": "/mcp", **POSTED, **(headers or {})}
    first = found.request_filter.request(sent)
    assert first.sent is None
    known = {**first.values, "x-maas-tier": tier, "x-maas-user": user}
    return found.body_filter.request(known, content, first.kept["egress.ai-gateway"])


def in_session(found: Programs, body: t.Any, **headers: str) -> Handle:
    return asked(found, body, {"mcp-session-id": mark("free", "alice"), **headers})


def answered(found: Programs, handle: Handle, status: int, body: bytes, details: str | None = None) -> Handle:
    """What the client receives for an answer of the backend, or with ``details`` of the gateway itself."""
    headers = {":status": str(status), "content-type": "text/plain", "content-length": str(len(body))}
    refusal = {} if details is None else {"x-ai-gateway-refusal": f"{REFUSED_BY} {details}"}
    return found.request_filter.response({**headers, **refusal}, [body], handle.kept)


def refusal_of(found: Programs, handle: Handle) -> tuple[int, dict[str, t.Any]]:
    """Status and body of what a program refused, as the client receives it."""
    assert handle.sent is not None
    received = answered(found, handle, int(handle.sent[0][":status"]), handle.sent[1], "lua_response")
    document = json.loads(received.content)
    assert document["jsonrpc"] == "2.0"
    assert received.values["content-type"] == "application/json"
    assert int(received.values["content-length"]) == len(received.content)
    return int(received.values[":status"]), document


def test_a_call_goes_on_without_its_caller(found: Programs) -> None:
    handle = in_session(found, CALL, authorization="Bearer secret", **{"x-ai-gateway-mcp-tier": "none"})
    assert handle.sent is None
    assert "authorization" not in handle.values
    assert not {"x-maas-tier", "x-maas-user"} & set(handle.values)
    assert handle.values["x-ai-gateway-mcp-tier"] == "free"
    assert handle.values["x-ai-gateway-api"] == "mcp"
    assert handle.values["x-ai-gateway-tier"] == digest(KEY, "free")
    assert handle.values["mcp-session-id"] == SESSION
    assert handle.content == json.dumps(CALL).encode()
    kept = handle.kept["egress.ai-gateway"]
    assert (kept["tool"], kept["total_tokens"], kept["user"]) == ("weather__echo", 0, "alice")


@pytest.mark.parametrize(
    "method",
    [
        "ping",
        "tools/list",
        "logging/setLevel",
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/roots/list_changed",
    ],
)
def test_methods_that_are_served(found: Programs, method: str) -> None:
    assert in_session(found, {"jsonrpc": "2.0", "id": "a", "method": method, "params": {}}).sent is None
    assert in_session(found, {"jsonrpc": "2.0", "method": method}).sent is None


@pytest.mark.parametrize(
    "given", ["1__i__weather", "-12__i__weather", "0000000000001440__f__weather", "YQ==__s__weather", "__s__weather"]
)
def test_what_a_server_asked_with_goes_on(found: Programs, given: str) -> None:
    assert in_session(found, {"jsonrpc": "2.0", "id": given, "result": {}}).sent is None
    assert in_session(found, {"jsonrpc": "2.0", "id": given, "error": {"code": 1, "message": "a"}}).sent is None
    progress = {"progressToken": given, "progress": 1}
    assert in_session(found, {"jsonrpc": "2.0", "method": "notifications/progress", "params": progress}).sent is None


def test_an_answer_to_the_proxy_itself_goes_on(found: Programs) -> None:
    given = "aigw-server-to-client-ping0b7f"
    assert in_session(found, {"jsonrpc": "2.0", "id": given, "result": {}}).sent is None


@pytest.mark.parametrize(
    "given",
    # Of another server than the tier's, of none, or in a form that the proxy does not write; the first two ended its
    # handler.
    [
        *("00__f__weather", "__f__weather", "1__i__jira", "1", 1, "a__i__weather", "1.5__i__weather"),
        *("YQ=__s__weather", "a b=__s__weather", "1__x__weather", "1__i__weather__s__weather", "0__i__"),
        *("__i__weather", "YQ==__s__WEATHER"),
    ],
)
def test_what_no_server_asked_with_is_refused(found: Programs, given: t.Any) -> None:
    status, document = refusal_of(found, in_session(found, {"jsonrpc": "2.0", "id": given, "result": {}}))
    assert (status, document["error"]["data"]["code"], document["id"]) == (400, "invalid_params", given)
    for params in ({"progressToken": given, "progress": 1}, {"progress": 1}, {"ProgressToken": "1__i__weather"}):
        told = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        assert refusal_of(found, in_session(found, told))[0] == 400


def test_servers_learn_nothing_of_the_request(found: Programs) -> None:
    """The proxy reports the path to every server, and asks it to go on after the event of that header."""
    for path in ("/mcp?user=alice&api_key=secret", "/mcp?"):
        handle = in_session(found, CALL, **{":path": path, "last-event-id": "abc"})
        assert handle.sent is None
        assert handle.values[":path"] == "/mcp"
        assert "last-event-id" not in handle.values


INITIALIZE = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}


def test_a_session_begins_and_is_its_callers(found: Programs) -> None:
    handle = asked(found, INITIALIZE)
    assert handle.sent is None
    begun = found.body_filter.response({":status": "200", "mcp-session-id": SESSION}, [], handle.kept)
    assert begun.values["mcp-session-id"] == mark("free", "alice")
    for tier, user in (("free", "eve"), ("narrow", "alice")):
        stolen = asked(found, CALL, {"mcp-session-id": mark("free", "alice")}, tier, user)
        status, document = refusal_of(found, stolen)
        assert (status, document["error"]["data"]["code"]) == (404, "unknown_session")


@pytest.mark.parametrize(
    "session",
    [
        SESSION,
        "." + SESSION,
        f"{'0' * 32}.{SESSION}",
        mark("free", "alice") + "x",
        "a",
        # Marked, but nothing that the proxy makes.
        mark("free", "alice", "a b"),
        mark("free", "alice", "a=b"),
        mark("free", "alice", "a" * 3072),
    ],
)
def test_a_session_without_its_mark_is_refused(found: Programs, session: str) -> None:
    for method in ("POST", "GET", "DELETE"):
        handle = asked(found, CALL, {":method": method, "mcp-session-id": session})
        assert refusal_of(found, handle)[0] == 404


def test_a_session_has_room_for_what_servers_name(found: Programs) -> None:
    """The identifiers of mcp_answers.lua, in base64, and in base64 again once they are encrypted."""
    session = "a" * (4 * (4 * 1024 // 3 + 64) // 3)
    assert asked(found, CALL, {"mcp-session-id": mark("free", "alice", session)}).sent is None


def test_refused_sessions_are_not_kept(found: Programs, policies: str) -> None:
    """Each is another string; what a worker keeps of callers is bounded in number alone."""
    source = programs(policies)["body_filter"]
    assert 'identity.mark("/mcp-session:"' in source
    before = t.cast("float", found.body_filter.lua.eval("collectgarbage('count')"))
    for number in range(300):
        asked(found, CALL, {"mcp-session-id": f"{'0' * 32}.{'a' * 2900}{number:04}"})
    found.body_filter.lua.execute("collectgarbage()")
    assert t.cast("float", found.body_filter.lua.eval("collectgarbage('count')")) < before + 300


def test_streams_and_ends_of_sessions(found: Programs) -> None:
    for method in ("GET", "DELETE"):
        assert asked(found, headers={":method": method, "mcp-session-id": mark("free", "alice")}).sent is None
        status, document = refusal_of(found, asked(found, headers={":method": method}))
        assert (status, document["error"]["data"]["code"]) == (400, "missing_session")
    assert refusal_of(found, asked(found, headers={":method": "PUT"}))[0] == 405


def test_a_tier_without_tools_is_refused(found: Programs) -> None:
    status, document = refusal_of(found, asked(found, INITIALIZE, tier="none"))
    assert (status, document["error"]["code"], document["error"]["data"]["code"]) == (403, -32602, "tool_not_allowed")
    assert document["error"]["message"] == "Tier none may call no tool of an MCP server."


@pytest.mark.parametrize(
    ("body", "status", "code", "number"),
    [
        (b"", 400, "invalid_json", None),
        (b"{", 400, "invalid_json", None),
        ([CALL], 400, "invalid_request", None),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}', 400, "invalid_json", None),
        (
            b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}',
            400,
            "invalid_json",
            None,
        ),
        ({**CALL, "Method": "ping"}, 400, "invalid_json", None),
        ({**CALL, "params": {"name": "a", "Name": "b"}}, 400, "invalid_json", 7),
        ({**CALL, "jsonrpc": "1.0"}, 400, "invalid_request", 7),
        ({**CALL, "id": {}}, 400, "invalid_request", None),
        ({**CALL, "id": None}, 400, "invalid_request", None),
        ({**CALL, "id": "x" * 2000}, 400, "invalid_request", None),
        ({"jsonrpc": "2.0", "id": 7}, 400, "invalid_request", 7),
        ({**CALL, "method": 1}, 400, "invalid_request", 7),
        ({**CALL, "params": []}, 400, "invalid_params", 7),
        ({**CALL, "params": {}}, 400, "invalid_params", 7),
        ({**CALL, "params": {"name": 1}}, 400, "invalid_params", 7),
        ({**CALL, "method": "resources/read", "id": 'a"b'}, 404, "method_not_found", 'a"b'),
        ({**CALL, "method": "prompts/list", "id": 1.5}, 404, "method_not_found", 1.5),
        ({**CALL, "method": "server/discover"}, 404, "method_not_found", 7),
    ],
)
def test_messages_that_are_refused(found: Programs, body: t.Any, status: int, code: str, number: t.Any) -> None:
    received, document = refusal_of(found, in_session(found, body))
    assert (received, document["error"]["data"]["code"], document["id"]) == (status, code, number)
    assert document["error"]["data"]["status"] == status
    numbers = {
        "invalid_json": -32700,
        "invalid_request": -32600,
        "invalid_params": -32602,
        "method_not_found": -32601,
    }
    assert document["error"]["code"] == numbers[code]


def test_a_call_without_session_is_refused(found: Programs) -> None:
    status, document = refusal_of(found, asked(found, CALL))
    assert (status, document["id"], document["error"]["data"]["code"]) == (400, 7, "missing_session")


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"content-type": "text/plain"}, 415), ({"content-type": ""}, 415), ({"content-encoding": "gzip"}, 415)],
)
def test_other_bodies_are_refused(found: Programs, headers: Headers, status: int) -> None:
    assert refusal_of(found, asked(found, INITIALIZE, headers))[0] == status
    large = INITIALIZE | {"params": {"a": "x" * 1_100_000}}
    assert refusal_of(found, asked(found, large))[0] == 413


@pytest.mark.parametrize(
    ("status", "body", "received", "code", "message"),
    [
        (403, b"access denied", 403, "tool_not_allowed", "Tier free may not call the tool weather__echo, or it does"),
        (400, b"invalid tool name: echo", 403, "tool_not_allowed", "Tier free may not call the tool weather__echo, or"),
        (404, b"unknown backend x", 403, "tool_not_allowed", "Tier free may not call"),
        (400, b"invalid session ID: failed\n", 404, "unknown_session", "This session has ended."),
        (
            400,
            b"no MCP session found for backend weather",
            503,
            "server_unavailable",
            "The MCP server of this tool did",
        ),
        (
            500,
            b"failed to create new session: failed to create MCP session to any backend",
            503,
            "server_unavailable",
            "No MCP server answers",
        ),
        (
            500,
            b"call to weather failed with status code 401, body=a",
            502,
            "server_error",
            "MCP server weather refused the key",
        ),
        (
            500,
            b"call to weather failed with status code 404, body=a",
            404,
            "unknown_session",
            "The session at MCP server weather",
        ),
        (
            500,
            b"call to weather failed with status code 500, body=a",
            502,
            "server_error",
            "MCP server weather refused with status 500",
        ),
        (500, b"call to weather failed: refused", 503, "server_unavailable", "MCP server weather could not be reached"),
        (401, b"", 502, "server_error", "An MCP server refused with status 401."),
    ],
)
def test_who_refused(found: Programs, status: int, body: bytes, received: int, code: str, message: str) -> None:
    handle = answered(found, in_session(found, CALL), status, body)
    error = json.loads(handle.content)["error"]
    assert (int(handle.values[":status"]), error["data"]["code"]) == (received, code)
    assert error["message"].startswith(message)
    assert json.loads(handle.content)["id"] == 7


def test_an_error_of_a_server_stays(found: Programs) -> None:
    body = b'{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"Unknown tool"}}'
    handle = answered(found, in_session(found, CALL), 400, body)
    assert (handle.values[":status"], handle.content) == ("400", body)


def test_a_servers_challenge_does_not_reach_the_client(found: Programs) -> None:
    handle = in_session(found, CALL)
    headers = {":status": "401", "www-authenticate": "Bearer", "content-type": "text/plain"}
    assert "www-authenticate" not in found.request_filter.response(headers, [b""], handle.kept).values
    ours = {**headers, "x-ai-gateway-refusal": f"{REFUSED_BY} ext_authz_denied"}
    assert "www-authenticate" in found.request_filter.response(ours, [b"{}"], handle.kept).values


@pytest.mark.parametrize(
    ("status", "details", "code"),
    [
        (429, "request_rate_limited", "rate_limit_exceeded"),
        (503, "ext_authz_error", "authorization_unavailable"),
        (503, "upstream_reset_before_response_started{connection_failure}", "provider_unavailable"),
        (404, "route_not_found", "unknown_url"),
    ],
)
def test_what_envoy_refuses(found: Programs, status: int, details: str, code: str) -> None:
    handle = answered(found, in_session(found, CALL), status, b"", details)
    document = json.loads(handle.content)
    assert (int(handle.values[":status"]), document["error"]["data"]["code"]) == (status, code)
    assert "model " not in document["error"]["message"]


def test_pages_of_an_origin_may_use_sessions(found: Programs) -> None:
    origin = {"origin": "https://app.example.com"}
    preflight = found.request_filter.request(
        {":method": "OPTIONS", ":path": "/mcp", "access-control-request-method": "DELETE", **origin}
    )
    assert preflight.sent is not None
    assert preflight.sent[0]["access-control-allow-methods"] == "GET, POST, DELETE"
    handle = in_session(found, CALL, **origin)
    received = found.request_filter.response({":status": "200"}, [b""], handle.kept)
    assert received.values["access-control-expose-headers"].endswith(", mcp-session-id")


@pytest.mark.parametrize("path", ["/mcp/", "/mcp/v1/models", "/MCP", "/v1/mcp", "//mcp"])
def test_no_other_path_leads_to_the_servers(found: Programs, path: str) -> None:
    first = found.request_filter.request({":path": path, **POSTED})
    if first.sent is None:
        known = {**first.values, "x-maas-tier": "free", "x-maas-user": "alice"}
        first = found.body_filter.request(known, json.dumps(INITIALIZE).encode(), first.kept["egress.ai-gateway"])
        assert "x-ai-gateway-mcp-tier" not in first.values
    assert first.sent is not None
    assert int(first.sent[0][":status"]) in (400, 404)


def test_without_servers_the_path_does_not_exist(body_filter: Program) -> None:
    handle = body_filter.request(
        {":path": "/mcp", **POSTED, "x-maas-tier": "free", "x-maas-user": "a"},
        json.dumps(INITIALIZE).encode(),
        {"begun": True},
    )
    status, document = handle.answer()
    assert (status, document["error"]["code"]) == (404, "unknown_url")


def test_a_tier_of_few_models_reaches_its_tools(policies: str) -> None:
    found = [manifest for manifest in documents(policies) if manifest["kind"] == "SecurityPolicy"]
    (rules,) = (manifest["spec"]["authorization"]["rules"] for manifest in found)
    names = [rule["name"] for rule in rules]
    assert names == ["narrow-0", "narrow-tools", "narrow-others"]
    assert rules[1]["principal"]["headers"][1] == {"name": "x-ai-gateway-api", "values": ["mcp"]}
