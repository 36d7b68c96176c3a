# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which MCP servers a tier reaches, and what of their answers reaches the processor."""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
import socket
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from envoys import Envoy, envoy_program
from proxies import VARIABLES, Handle, Program, cuts, programs
from rendering import documents, rendered

Document = dict[str, t.Any]
Headers = dict[str, str]
#: The bytes that an answer may have.
LIMIT = 4194304
MOVED = "ai-eg-mcp-brf-"
ROUTED = {":method": "POST", "x-ai-eg-mcp-backend": "weather", "x-ai-gateway-mcp-tier": "free"}
JSON = {":status": "200", "content-type": "application/json"}
STREAM = {":status": "200", "content-type": "text/event-stream; charset=utf-8", "content-length": "9"}
RESULT: Document = {"jsonrpc": "2.0", "id": "a", "result": {"tools": [{"name": "echo"}]}}
ASKS: Document = {"jsonrpc": "2.0", "id": 1, "method": "roots/list"}
TELLS: Document = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x"}}
ERROR = {"code": -32603, "message": "The MCP server answered in a form that this gateway does not pass on."}
#: Answers without a form that the processor can read, and whether the error has their id.
UNSOUND: list[tuple[Document, bool]] = [
    ({**RESULT, "result": None}, True),
    ({**RESULT, "result": []}, True),
    ({**RESULT, "result": {"tools": [None]}}, True),
    ({**RESULT, "result": {"Tools": [None]}}, True),
    ({**RESULT, "result": {"tools": None}}, True),
    ({**RESULT, "result": {"content": [None]}}, True),
    ({**RESULT, "result": {"content": ["a"]}}, True),
    ({**RESULT, "Result": None}, True),
    ({**RESULT, "jsonrpc": "1.0"}, True),
    ({**RESULT, "error": {"code": 1, "message": "a"}}, True),
    ({"jsonrpc": "2.0", "id": 7}, True),
    ({"jsonrpc": "2.0", "id": 7, "error": {"code": 1.5, "message": "a"}}, True),
    ({"jsonrpc": "2.0", "id": 7, "error": None}, True),
    ({**RESULT, "id": None}, False),
    ({**RESULT, "id": "x" * 2000, "result": None}, False),
    ({**TELLS, "params": None}, False),
    ({**TELLS, "method": "notifications/resources/updated"}, False),
    ({**TELLS, "method": "roots/list"}, False),
    ({**ASKS, "method": "resources/read"}, False),
    ({**ASKS, "result": {}}, False),
    ({**RESULT, "method": 1}, False),
]


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> str:
    variables = copy.deepcopy(VARIABLES)
    variables["ai_gateway_mcp_servers"] = [
        {"name": name, "simulated": True, "credential": {"value": "k"}} for name in ("weather", "jira")
    ]
    free, narrow = variables["ai_gateway_tiers"]
    free["mcp_tools"] = ["weather__echo", "weather__read_*"]
    narrow |= {"mcp_tools": ["*"], "request_limit": {"requests": 60, "window": "1m"}}
    none = {"name": "none", "level": 2, "groups": ["a"], "request_limit": {"requests": 60, "window": "1m"}}
    variables["ai_gateway_tiers"] = [free, narrow, none]
    return rendered(tmp_path_factory.mktemp("policies"), "access_policies", "authorino.yaml.j2", variables)


@pytest.fixture(scope="module")
def program(policies: str) -> Program:
    return Program(programs(policies)["mcp_answers"])


def answered(program: Program, headers: Headers, *chunks: bytes, method: str = "tools/list") -> Handle:
    """What the processor receives of a server's answer to a message with this method."""
    handle = program.request({**ROUTED, "x-ai-eg-mcp-metadata-method": method})
    assert handle.sent is None
    return program.response(headers, list(chunks), handle.kept)


def refused(handle: Handle) -> str:
    assert handle.values == {
        ":status": "502",
        "content-type": "text/plain",
        "content-length": str(len(handle.content)),
    }
    return handle.content.decode()


def event(*documents: Document) -> bytes:
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n" for document in documents) + b"\n"


@pytest.mark.parametrize(
    ("tier", "server", "verb", "status"),
    [
        ("free", "weather", "POST", None),
        ("free", "weather", "GET", None),
        ("free", "jira", "POST", "403"),
        # The processor takes this for a server that has nothing to report.
        ("free", "jira", "GET", "405"),
        ("narrow", "jira", "POST", None),
        ("narrow", "weather", "GET", None),
        ("none", "weather", "POST", "403"),
        ("", "weather", "POST", "403"),
        # The end of a session has no tier.
        ("", "jira", "DELETE", None),
    ],
)
def test_a_tier_reaches_its_own_servers_alone(
    program: Program, tier: str, server: str, verb: str, status: str | None
) -> None:
    sent = {"accept-encoding": "gzip", **ROUTED, ":method": verb, "x-ai-eg-mcp-backend": server}
    handle = program.request({**sent, "x-ai-gateway-mcp-tier": tier})
    assert (handle.sent[0][":status"] if handle.sent else None) == status
    assert "x-ai-gateway-mcp-tier" not in handle.values
    assert handle.values["accept-encoding"] == "identity"


def test_it_judges_once_where_it_is_twice(program: Program) -> None:
    """Several chains of a port have it each, and all of these move to the one listener."""
    first = program.request(dict(ROUTED))
    second = program.request(first.values, kept=first.kept["egress.ai-gateway"])
    assert second.sent is None
    read = program.response(dict(JSON), [json.dumps({**RESULT, "result": None}).encode()], second.kept)
    assert json.loads(read.content)["error"] == ERROR
    again = program.response({**JSON, "location": "/"}, [b"{"], read.kept)
    assert (again.content, again.values[":status"]) == (b"{", "200")


def test_what_is_no_servers_stays(program: Program) -> None:
    """On the listener for clients, as long as it has not moved."""
    handle = program.request({":method": "POST", ":path": "/v1/chat/completions", "accept-encoding": "gzip"})
    assert (handle.sent, handle.values["accept-encoding"]) == (None, "gzip")
    read = program.response({":status": "307", "location": "/"}, [b"a"], handle.kept)
    assert (read.values, read.content) == ({":status": "307", "location": "/"}, b"a")


@pytest.mark.parametrize("status", ["300", "301", "302", "303", "307", "308"])
def test_no_redirect_is_followed(program: Program, status: str) -> None:
    sent = {":status": status, "location": "http://127.0.0.1:19000/quitquitquit", "mcp-session-id": "a"}
    handle = answered(program, {**sent, "content-type": "application/json"}, json.dumps(RESULT).encode())
    assert refused(handle) == f"The MCP server answered with status {status}, which leads elsewhere."


def test_the_headers_that_go_on(program: Program) -> None:
    others = {"location": "/", "set-cookie": "a=b", "www-authenticate": "Bearer", "refresh": "0"}
    sent = json.dumps(RESULT).encode()
    kept = {**JSON, "content-length": str(len(sent)), "mcp-session-id": "s-1"}
    assert answered(program, {**kept, **others}, sent).values == kept


@pytest.mark.parametrize("session", ["x" * 1025, "a b", "a\nb", "caf\xe9"])
def test_sessions_with_other_names_are_refused(program: Program, session: str) -> None:
    handle = answered(program, {**JSON, "mcp-session-id": session}, json.dumps(RESULT).encode())
    assert refused(handle).startswith("The MCP server names its session")


def test_what_is_compressed_is_refused(program: Program) -> None:
    for headers in (JSON, STREAM):
        handle = answered(program, {**headers, "content-encoding": "gzip"}, b"\x1f\x8b")
        assert refused(handle) == "The MCP server answered in an encoding that it was not asked for."


@pytest.mark.parametrize("form", ["application/json", "application/json; charset=utf-8", "Application/JSON"])
@pytest.mark.parametrize(
    "document", [RESULT, {**RESULT, "result": {}}, {"jsonrpc": "2.0", "id": 1, "error": {"code": -1, "message": "a"}}]
)
def test_sound_answers_go_on(program: Program, form: str, document: Document) -> None:
    sent = json.dumps(document).encode()
    handle = answered(program, {**JSON, "content-type": form}, sent)
    assert (handle.content, handle.values["content-type"]) == (sent, "application/json")


@pytest.mark.parametrize(("document", "is_told"), UNSOUND)
def test_answers_that_would_stop_the_processor(program: Program, document: Document, is_told: bool) -> None:
    sent = json.dumps(document).encode()
    handle = answered(program, dict(JSON), sent)
    streamed = answered(program, dict(STREAM), event(document), event(TELLS))
    if is_told:
        told = {"jsonrpc": "2.0", "id": document["id"], "error": ERROR}
        assert json.loads(handle.content) == told
        assert handle.values["content-length"] == str(len(handle.content))
        assert streamed.content.count(b"data: ") == 2
        assert json.loads(streamed.content.split(b"\n")[0][6:]) == told
    else:
        assert refused(handle) == "The MCP server answered in a form that this gateway does not pass on."
        assert streamed.content == event(TELLS)


@pytest.mark.parametrize("sent", [b"{", b"[]", b'{"jsonrpc":"2.0","id":1,"id":2,"result":{}}', b"\xef\xbb\xbf{}", b"a"])
def test_what_is_no_json_is_refused(program: Program, sent: bytes) -> None:
    refused(answered(program, dict(JSON), sent))
    refused(answered(program, {**JSON, "content-type": "text/html"}, json.dumps(RESULT).encode()))


def test_a_server_may_ask_while_a_tool_runs(program: Program) -> None:
    """In the list of all tools its question would end the list for all servers."""
    for method, goes_on in (("tools/call", True), ("", True), ("tools/list", False), ("initialize", False)):
        handle = answered(program, dict(STREAM), event(ASKS), event(RESULT), method=method)
        assert handle.content == (event(ASKS) if goes_on else b"") + event(RESULT)


def test_a_stream_goes_on_event_by_event(program: Program) -> None:
    sent = (
        b": hello\n\nid: 4\ndata:\n\nretry: 1\r\nevent: message\r\nid: 5\r\ndata: "
        + json.dumps(RESULT).encode()
        + b"\r\n\r\nevent: a b\rdata:"
        + json.dumps(TELLS).encode()
        + b"\r\r\nxdata: 1\n\ndata: {\n\n"
        + event(TELLS, RESULT)
        + b"data: unended"
    )
    wanted = b"event: message\nid: 5\n" + event(RESULT) + event(TELLS) + event(TELLS, RESULT)
    for chunks in cuts(sent):
        handle = answered(program, dict(STREAM), *chunks)
        assert handle.content == wanted
        assert handle.values == {":status": "200", "content-type": "text/event-stream"}


def test_events_go_on_as_they_arrive(program: Program) -> None:
    handle = answered(program, dict(STREAM), event(RESULT), event(TELLS)[:9], event(TELLS)[9:])
    assert handle.chunks == [event(RESULT), b"", event(TELLS)]


def test_an_event_that_is_too_large_is_left_out(program: Program) -> None:
    large = b"data: " + b"x" * 1_000_000
    parts = [large, *[b"x" * 1_000_000] * 5, b"\ndata: {}\n", b"\n", event(RESULT)]
    assert answered(program, dict(STREAM), *parts).content == event(RESULT)
    lines = [large + b"\n"] * 5
    assert answered(program, dict(STREAM), *lines, b"\n", event(RESULT)).content == event(RESULT)


def test_a_stream_that_is_called_json(program: Program) -> None:
    sent = b"event: message\n" + event(RESULT)
    handle = answered(program, dict(JSON), sent.rstrip())
    assert (handle.content, handle.values["content-type"]) == (sent, "text/event-stream")
    refused(answered(program, dict(JSON), b"data: {}\n\n"))


def test_other_statuses_keep_the_beginning_of_their_words(program: Program) -> None:
    for status in ("202", "400", "401", "404", "500"):
        handle = answered(program, {":status": status, "content-type": "text/plain"}, b"x" * 5000)
        assert (handle.values[":status"], len(handle.content)) == (status, 2000)
        assert answered(program, {":status": status}, b"").content == b""


def test_an_answer_that_is_too_large_is_refused(program: Program) -> None:
    result = json.dumps({**RESULT, "result": {"content": [{"type": "text", "text": "x" * LIMIT}]}}).encode()
    assert refused(answered(program, dict(JSON), result)) == f"The MCP server answered with more than {LIMIT} bytes."


def filters(policies: str) -> list[tuple[str, Document]]:
    """The listeners and filters that Envoy AI Gateway moves to its listener for MCP servers."""
    (policy,) = (found for found in documents(policies) if found["kind"] == "EnvoyPatchPolicy")
    patches = policy["spec"]["jsonPatches"]
    added = [(patch["name"], patch["operation"]["value"]) for patch in patches]
    return [(listener, value) for listener, value in added if value.get("name", "").startswith(MOVED)]


class Server(ThreadingHTTPServer):
    """Answers with what the path says, as a server that means harm."""

    daemon_threads = True


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        kind = self.path.strip("/")
        form = "text/event-stream" if kind == "stream" else "application/json"
        if kind == "redirect":
            body = b""
        elif kind == "stream":
            body = event(RESULT)
        else:
            body = json.dumps({**RESULT, "result": {"text": "x" * int(kind)}}).encode()
        self.send_response(307 if kind == "redirect" else 200)
        self.send_header("Content-Type", form)
        self.send_header("Location", "http://127.0.0.1:1/quitquitquit")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return t.cast("int", listening.getsockname()[1])


def bootstrap(listen: int, port: int, filters: list[Document]) -> Document:
    """As Envoy AI Gateway makes its listener for MCP servers, with each filter twice: of two chains of a port."""
    types = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}}
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "servers",
        "http_filters": [*filters, *filters, router],
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "servers",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "server"}}],
                }
            ]
        },
    }

    def address(number: int) -> Document:
        return {"address": {"socket_address": {"address": "127.0.0.1", "port_value": number}}}

    return {
        "static_resources": {
            "listeners": [
                {
                    "name": "servers",
                    **address(listen),
                    "filter_chains": [
                        {
                            "filters": [
                                {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
                            ]
                        }
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "server",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "server",
                        "endpoints": [{"lb_endpoints": [{"endpoint": address(port)}]}],
                    },
                }
            ],
        }
    }


@pytest.fixture(scope="module")
def envoy(policies: str, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Envoy]:
    directory = tmp_path_factory.mktemp("envoy")
    program = envoy_program(directory)
    server = Server(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    listen = free_port()
    found = [value for _listener, value in filters(policies)]
    started = Envoy(program, directory, bootstrap(listen, server.server_address[1], found), listen)
    try:
        until = time.monotonic() + 30
        while asked(started, "stream")[0] != 200:
            assert time.monotonic() < until, started.log
            time.sleep(0.2)
        yield started
    finally:
        started.stop()
        server.shutdown()


def asked(envoy: Envoy, kind: str) -> tuple[int, str | None, bytes]:
    """Status, location and body; status 0 while nothing listens."""
    connection = http.client.HTTPConnection("127.0.0.1", envoy.listen, timeout=30)
    headers = {name: value for name, value in ROUTED.items() if not name.startswith(":")}
    with contextlib.closing(connection):
        try:
            connection.request("POST", f"/{kind}", b"{}", headers)
            response = connection.getresponse()
            return response.status, response.getheader("location"), response.read()
        except ConnectionError:
            return 0, None, b""


def test_envoy_passes_on_no_redirect(envoy: Envoy) -> None:
    status, location, body = asked(envoy, "redirect")
    assert (status, location) == (502, None)
    assert body == b"The MCP server answered with status 307, which leads elsewhere."


def test_envoy_holds_as_much_as_an_answer_may_have(envoy: Envoy) -> None:
    """The limit of the buffer of requests is the limit of answers too; without it Envoy holds one MiB."""
    status, location, body = asked(envoy, str(LIMIT - 200))
    assert (status, location) == (200, None)
    assert len(json.loads(body)["result"]["text"]) == LIMIT - 200
    assert asked(envoy, str(LIMIT + 200_000))[0] in (500, 502)
    assert asked(envoy, "stream") == (200, None, event(RESULT))


def test_the_filters_are_on_one_listener(policies: str) -> None:
    """Envoy AI Gateway collects them from all, into one."""
    found = filters(policies)
    assert [(listener, value["name"]) for listener, value in found] == [
        ("tcp-80", f"{MOVED}egress.ai_gateway.mcp_answers"),
        ("tcp-80", f"{MOVED}egress.ai_gateway.mcp_buffer"),
    ]
    assert found[1][1]["typed_config"]["max_request_bytes"] == LIMIT
    source = found[0][1]["typed_config"]["default_source_code"]["inline_string"]
    assert f"LIMIT = {LIMIT}" in source
