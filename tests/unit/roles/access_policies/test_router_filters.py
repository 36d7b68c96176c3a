# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters around the semantic router in a real Envoy: how much of it a user gets, and all users together."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import socket
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Iterator
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as messages
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as service
from envoys import Envoy, envoy_program
from proxies import programs, with_router
from rendering import documents, rendered

sys.path += [str(Path(__file__).parents[3] / name) for name in ("unit/fakes", "fakes")]

from contracts import eventually

CHAT = {"model": "auto", "messages": [{"role": "user", "content": "Hello"}]}
ENVOY = "type.googleapis.com/envoy.extensions.filters."
HTTP = f"{ENVOY}http."
BODY_LIMIT = 1048576
#: Fewer than by default, for which this test would need as many threads.
AT_ONCE = 32
#: How often a user may ask in a second.
OFTEN = 5
PROTOCOLS = ("--http1.1", "--http2-prior-knowledge")


class Router(service.ExternalProcessorServicer):
    """A router that chooses one model, once it may."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        self.bodies = 0
        self.streams = 0
        self.model = "gpt-4"
        self._lock = threading.Lock()
        self._server = grpc.server(futures.ThreadPoolExecutor(200), options=[("grpc.max_receive_message_length", -1)])
        service.add_ExternalProcessorServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def Process(self, requests: t.Any, context: t.Any) -> Iterator[t.Any]:  # noqa: N802 (the name is gRPC's)
        with self._lock:
            self.streams += 1
        try:
            for request in requests:
                if request.HasField("request_headers"):
                    yield messages.ProcessingResponse(request_headers=messages.HeadersResponse())
                    continue
                with self._lock:
                    self.bodies += 1
                self.go_on.wait(20)
                body = json.dumps({**json.loads(request.request_body.body), "model": self.model}).encode()
                answer = messages.ProcessingResponse(request_body=messages.BodyResponse())
                answer.request_body.response.body_mutation.body = body
                options = answer.request_body.response.header_mutation.set_headers
                for name, value in (("x-selected-model", self.model), ("content-length", str(len(body)))):
                    options.add().header.MergeFrom(type(options.add().header)(key=name, raw_value=value.encode()))
                yield answer
        finally:
            with self._lock:
                self.streams -= 1

    def stop(self) -> None:
        self.go_on.set()
        self._server.stop(0)


class Models(ThreadingHTTPServer):
    """The models: they answer with the body that they were sent, once they may."""

    daemon_threads = True

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()
        super().__init__(("127.0.0.1", 0), _ModelsHandler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class _ModelsHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Models

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        streams = json.loads(body).get("stream", False)
        # The first byte of a stream is there at once, and that of any other answer with the last.
        if not streams:
            self.server.go_on.wait(20)
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.flush()
        if streams:
            self.server.go_on.wait(20)
        self.wfile.write(body)


class Reply(t.NamedTuple):
    status: int
    headers: dict[str, str]
    document: t.Any

    @property
    def error(self) -> dict[str, t.Any]:
        return t.cast("dict[str, t.Any]", self.document["error"])


class Gateway(t.NamedTuple):
    """A proxy in front of the models, and the router that it asks."""

    envoy: Envoy
    models: Models
    router: Router

    def ask(self, body: t.Any, user: str, path: str = "/v1/chat/completions", **more: str) -> Reply:
        headers = {"x-maas-tier": "free", "x-maas-user": user, "content-type": "application/json"}
        headers |= {name.replace("_", "-"): value for name, value in more.items()}
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.envoy.listen, timeout=30)) as connection:
            connection.request("POST", path, content, headers)
            response = connection.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, found, json.loads(response.read()))

    def curl(self, protocol: str, body: bytes, *options: str, path: str = "/v1/chat/completions") -> Reply:
        """The same with a client of both versions of HTTP; it sends all of a body before it reads."""
        program = shutil.which("curl")
        if not program:
            pytest.skip("there is no curl")
        url = f"http://127.0.0.1:{self.envoy.listen}{path}"
        headers = ("x-maas-tier: free", "x-maas-user: curl", "content-type: application/json", "expect:")
        given = [text for header in headers for text in ("--header", header)]
        command = [
            program,
            "--silent",
            protocol,
            *given,
            *options,
            "--data-binary",
            "@-",
            "--write-out",
            "\n%{http_code}",
        ]
        done = subprocess.run([*command, url], input=body, capture_output=True, timeout=60, check=True)
        text, _, status = done.stdout.decode().rpartition("\n")
        return Reply(int(status), {}, json.loads(text))


@contextlib.contextmanager
def running(
    directory: Path, models: Models, filters: list[t.Any], *clusters: t.Any, replies: t.Any = None
) -> Iterator[Envoy]:
    """An Envoy with the filters in front of the models."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        listen = int(server.getsockname()[1])

    def address(port: int) -> dict[str, t.Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port}}

    route = {"match": {"prefix": "/"}, "route": {"cluster": "models"}}
    manager = {
        "@type": f"{ENVOY}network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        **({"local_reply_config": replies} if replies else {}),
        "http_filters": [
            *filters,
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{HTTP}router.v3.Router"}},
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    to_models = {"lb_endpoints": [{"endpoint": {"address": address(models.server_address[1])}}]}
    listener = {
        "name": "gateway",
        "address": address(listen),
        "per_connection_buffer_limit_bytes": 52428800,
        "filter_chains": [chain],
    }
    cluster = {
        "name": "models",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "models", "endpoints": [to_models]},
    }
    resources = {"listeners": [listener], "clusters": [cluster, *clusters]}
    envoy = Envoy(envoy_program(directory), directory, {"static_resources": resources}, listen)
    try:
        for _attempt in range(100):
            if envoy.ask("/")[0]:
                break
            assert envoy.process.poll() is None, envoy.log
            time.sleep(0.1)
        yield envoy
    finally:
        envoy.stop()


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    found = Models()
    yield found
    found.go_on.set()
    found.shutdown()
    found.server_close()


@pytest.fixture(scope="module")
def gateway(single: str, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The clients' gateway, with the filters in front of its buffer, as they were rendered."""
    router = Router()
    operations = [
        patch["operation"]
        for found in documents(single)
        if found["kind"] == "EnvoyPatchPolicy"
        for patch in found["spec"]["jsonPatches"]
    ]
    (cluster,) = [item["value"] for item in operations if "load_assignment" in item["value"]]
    endpoint = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    endpoint |= {"address": "127.0.0.1", "port_value": router.port}
    (threshold,) = cluster["circuit_breakers"]["thresholds"]
    assert (threshold["max_requests"], threshold["max_pending_requests"]) == (512, 512)
    threshold |= {"max_requests": AT_ONCE, "max_pending_requests": AT_ONCE}
    (replies,) = [item["value"] for item in operations if item.get("path") == "/local_reply_config"]
    around = [item["value"] for item in operations if "envoy.filters.http.buffer" in item.get("jsonPath", "")]
    texts = programs(single)
    first = [
        {
            "name": name,
            "typed_config": {"@type": f"{HTTP}lua.v3.Lua", "default_source_code": {"inline_string": texts[name]}},
        }
        for name in ("request_filter", "body_filter")
    ]
    with running(tmp_path_factory.mktemp("gateway"), models, [*first, *around], cluster, replies=replies) as envoy:
        yield Gateway(envoy, models, router)
    router.stop()


@pytest.fixture(scope="module")
def chat(models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """The Envoy of the router's own gateway, with the one filter."""
    directory = tmp_path_factory.mktemp("chat")
    rendering = tmp_path_factory.mktemp("rendering")
    one = json.loads(rendered(rendering, "access_policies", "chat_filter.yaml.j2", with_router("dual_gateway")))
    with running(directory, models, [one]) as envoy:
        yield Gateway(envoy, models, t.cast("Router", None))


@pytest.mark.parametrize("stream", [False, True])
def test_a_choice_counts_until_the_first_byte_of_the_answer(gateway: Gateway, stream: bool) -> None:
    """That is at once for a stream, and at the end for any other answer."""
    gateway.models.go_on.clear()
    before = gateway.router.bodies
    with futures.ThreadPoolExecutor(5) as pool:
        body = {**CHAT, "stream": stream}
        waiting = [pool.submit(gateway.ask, body, f"slow-{stream}-{number}") for number in range(5)]
        try:
            held = 0 if stream else 5
            eventually(lambda: gateway.router.bodies == before + 5 and gateway.router.streams == held)
            time.sleep(0.5)
            assert gateway.router.streams == held
            assert not any(call.done() for call in waiting)
        finally:
            gateway.models.go_on.set()
    assert {(call.result().status, call.result().headers["x-maas-model-executed"]) for call in waiting} == {
        (200, "gpt-4")
    }
    assert eventually(lambda: gateway.router.streams == 0)


def test_a_user_with_slow_answers_leaves_the_router_to_the_others(gateway: Gateway) -> None:
    """What one user holds is the rate by the seconds of an answer, here of some."""
    gateway.models.go_on.clear()
    before = gateway.router.bodies
    started = time.monotonic()
    with futures.ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = [pool.submit(gateway.ask, CHAT, "greedy") for _number in range(AT_ONCE)]
        try:
            # Each is refused or waits for the model: a busy machine may need seconds for so many.
            eventually(lambda: sum(call.done() for call in waiting) + gateway.router.bodies - before == AT_ONCE)
            seconds = time.monotonic() - started
            assert {call.result().status for call in waiting if call.done()} == {429}
            assert OFTEN <= gateway.router.streams <= OFTEN * (seconds + 1), seconds
            before = gateway.router.bodies
            other = pool.submit(gateway.ask, {**CHAT, "stream": True}, "patient")
            eventually(lambda: gateway.router.bodies == before + 1)
        finally:
            gateway.models.go_on.set()
    assert other.result().status == 200


def test_the_router_is_asked_about_as_many_bodies_as_it_has_memory_for(gateway: Gateway) -> None:
    gateway.router.go_on.clear()
    with futures.ThreadPoolExecutor(AT_ONCE + 16) as pool:
        waiting = [pool.submit(gateway.ask, CHAT, f"many-{number}") for number in range(AT_ONCE + 16)]
        try:
            eventually(lambda: sum(call.done() for call in waiting) == 16 and gateway.router.streams == AT_ONCE)
            # Who names a model does not wait.
            assert gateway.ask({**CHAT, "model": "gpt-4"}, "named").status == 200
            assert gateway.router.streams == AT_ONCE
        finally:
            gateway.router.go_on.set()
    refused = [call.result() for call in waiting if call.result().status != 200]
    assert {(reply.status, reply.error["code"], reply.headers["retry-after"]) for reply in refused} == {
        (503, "router_busy", "1")
    }
    assert len(refused) == 16
    assert gateway.ask(CHAT, "later").status == 200


def test_a_user_has_so_many_models_chosen_in_a_second(gateway: Gateway) -> None:
    before = gateway.router.bodies
    started = time.monotonic()
    with futures.ThreadPoolExecutor(10) as pool:
        replies = list(pool.map(lambda _number: gateway.ask(CHAT, "often"), range(OFTEN * 4)))
        allowed = sum(reply.status == 200 for reply in replies)
        seconds = time.monotonic() - started
    assert OFTEN <= allowed <= OFTEN * (seconds + 1), seconds
    assert gateway.router.bodies - before == allowed
    refused = [reply for reply in replies if reply.status != 200]
    assert {(reply.status, reply.error["code"], reply.headers["retry-after"]) for reply in refused} == {
        (429, "rate_limit_exceeded", "1")
    }
    assert "name a model" in refused[0].error["message"]
    # Neither another user nor a request that names its model has less.
    assert gateway.ask(CHAT, "seldom").status == 200
    assert {gateway.ask({**CHAT, "model": "gpt-4"}, "often").status for _number in range(OFTEN * 2)} == {200}
    assert eventually(lambda: gateway.ask(CHAT, "often").status == 200)


def test_what_is_refused_takes_nothing_of_a_users_questions(gateway: Gateway) -> None:
    before = gateway.router.bodies
    replies = [gateway.ask({"model": "auto"}, "wrong") for _number in range(OFTEN * 2)]
    assert {(reply.status, reply.error["param"]) for reply in replies} == {(400, "messages")}
    assert gateway.router.bodies == before
    assert gateway.ask(CHAT, "wrong").status == 200


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_body_that_the_router_has_no_memory_for(gateway: Gateway, protocol: str) -> None:
    before = gateway.router.bodies
    body = json.dumps({**CHAT, "user": "x" * BODY_LIMIT}).encode()
    reply = gateway.curl(protocol, body)
    assert (reply.status, reply.error["code"]) == (413, "body_too_large")
    assert f"up to {BODY_LIMIT} bytes" in reply.error["message"]
    assert "Name a model in place of auto" in reply.error["message"]
    assert gateway.router.bodies == before
    # A model that is named takes it.
    assert gateway.curl(protocol, body.replace(b'"auto"', b'"gpt-4"', 1)).status == 200
    least = json.dumps({**CHAT, "user": ""}).encode()
    whole = json.dumps({**CHAT, "user": "x" * (BODY_LIMIT - len(least))}).encode()
    assert (len(whole), gateway.curl(protocol, whole).status) == (BODY_LIMIT, 200)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_routers_own_gateway_reads_as_strictly(chat: Gateway, protocol: str) -> None:
    whole = json.dumps(CHAT).encode()
    large = json.dumps({**CHAT, "user": "x" * BODY_LIMIT}).encode()
    encoded = ("--header", "content-encoding: gzip")
    refused: list[tuple[bytes, tuple[str, ...], int, str]] = [
        (whole.replace(b"{", b'{"model": "Model-B", ', 1), (), 400, "invalid_json"),
        (whole.replace(b"{", b'{"Model": "Model-B", ', 1), (), 400, "invalid_json"),
        (whole[:-1], (), 400, "invalid_json"),
        (b"", (), 400, "invalid_json"),
        (whole, encoded, 415, "unsupported_media_type"),
        (whole, ("--header", "content-encoding: identity", *encoded), 415, "unsupported_media_type"),
        # Beside the one that is JSON.
        (whole, ("--header", "content-type: multipart/form-data"), 415, "unsupported_media_type"),
        (large, (), 413, "body_too_large"),
        (large, ("--header", "transfer-encoding: chunked") if protocol == PROTOCOLS[0] else (), 413, "body_too_large"),
        (json.dumps({**CHAT, "model": "gpt-4"}).encode(), (), 404, "model_not_found"),
        (b'{"messages": []}', (), 400, "missing_model"),
        (b'{"model": "auto", "messages": []}', (), 400, "invalid_messages"),
        (json.dumps({**CHAT, "stream": "yes"}).encode(), (), 400, "invalid_type"),
        (whole, ("--request", "PUT"), 405, "method_not_allowed"),
    ]
    for body, options, status, code in refused:
        reply = chat.curl(protocol, body, *options)
        assert (reply.status, reply.error["code"], set(reply.error)) == (
            status,
            code,
            {"message", "type", "param", "code"},
        ), body[:100]
    assert chat.curl(protocol, whole, path="/v1/chat").error["code"] == "unknown_url"
    passed = chat.curl(protocol, whole)
    assert (passed.status, passed.document) == (200, CHAT)
    # What counts the tokens of a stream is behind this.
    streams = {**CHAT, "stream": True, "stream_options": {"include_obfuscation": False}}
    sent = {**streams, "stream_options": {"include_usage": True, "include_obfuscation": False}}
    assert chat.curl(protocol, json.dumps(streams).encode()).document == sent


@pytest.fixture(scope="module")
def without_processor(single: str, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Envoy]:
    """The clients' gateway with Envoy AI Gateway's processor, which is away and gets every answer, and a program before
    it that refuses every request, as Authorino does those without a token.
    """
    operations = [
        patch["operation"]
        for found in documents(single)
        if found["kind"] == "EnvoyPatchPolicy"
        for patch in found["spec"]["jsonPatches"]
    ]
    (replies,) = [item["value"] for item in operations if item.get("path") == "/local_reply_config"]
    refuses = """
    function envoy_on_request(handle)
      handle:streamInfo():dynamicMetadata():set("egress.ai-gateway", "replied", true)
      handle:respond({[":status"] = "401", ["content-type"] = "application/json"}, "{}")
    end
    """
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as server:
        nobody = {"socket_address": {"address": "127.0.0.1", "port_value": int(server.getsockname()[1])}}
    cluster = {
        "name": "processor",
        "type": "STATIC",
        "load_assignment": {
            "cluster_name": "processor",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": nobody}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
    }
    filters = [
        {
            "name": "refuses",
            "typed_config": {"@type": f"{HTTP}lua.v3.Lua", "default_source_code": {"inline_string": refuses}},
        },
        {
            "name": "processor",
            "typed_config": {
                "@type": f"{HTTP}ext_proc.v3.ExternalProcessor",
                "grpc_service": {"envoy_grpc": {"cluster_name": "processor"}},
                "processing_mode": {"request_header_mode": "SEND", "response_header_mode": "SEND"},
            },
        },
    ]
    directory = tmp_path_factory.mktemp("without_processor")
    with running(directory, models, filters, cluster, replies=replies) as envoy:
        yield envoy


def test_a_refusal_whose_processor_is_away_is_an_error_of_the_clients_api(without_processor: Envoy) -> None:
    """Envoy answers in its place, past all programs."""
    status, text = without_processor.ask("/v1/chat/completions")
    error = json.loads(text)["error"]
    assert (status, error["type"], error["code"]) == (503, "server_error", "gateway_fault")
    status, text = without_processor.ask("/v1/messages")
    document = json.loads(text)
    assert (status, document["type"], document["error"]["type"]) == (503, "error", "overloaded_error")
