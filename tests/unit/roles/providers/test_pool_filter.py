# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands between the pods of a pool and their endpoint picker, in a real Envoy."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import sys
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from rendering import manifests

# Its presence there puts only the roles' directory into the path.
sys.path.insert(0, str(Path(__file__).parents[2] / "fakes"))
from envoys import Envoy, envoy_program

#: Bytes that the listener, and so a filter of a cluster, keeps of a body.
LIMIT = 65536
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_inference_pools": [{"name": "gemma2", "namespace": "vllm", "selector": {"model": "gemma2"}}],
    "ai_gateway_models": [
        {"name": "gemma2", "backend_ref": {"kind": "InferencePool", "name": "gemma2", "namespace": "vllm"}}
    ],
}
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


class Pod(ThreadingHTTPServer):
    """Gives the answer that it has."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"")
        super().__init__(("127.0.0.1", 0), _PodHandler)


class _PodHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Pod

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        status, headers, body = self.server.answer
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass


def bootstrap(options: dict[str, t.Any], listen: int) -> dict[str, t.Any]:
    """A listener with a cluster as Envoy AI Gateway makes it for a pool, and the ``options`` of the role's policy. The
    client names the pod, as the picker would.
    """
    cluster = {
        "name": "pool",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "10s",
        "per_connection_buffer_limit_bytes": 32768,
        "original_dst_lb_config": {"use_http_header": True, "http_header_name": "x-gateway-destination-endpoint"},
        "typed_extension_protocol_options": options,
    }
    route = {"match": {"prefix": "/"}, "route": {"cluster": "pool"}}
    filters = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{filters}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{filters}.http.router.v3.Router"}}
        ],
    }
    listener = {
        "name": "clients",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": listen}},
        "per_connection_buffer_limit_bytes": LIMIT,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], dict[str, t.Any]]:
    return manifests(tmp_path_factory.mktemp("providers"), "providers", "envoy_ai_gateway.yaml.j2", VARIABLES)


@pytest.fixture(scope="module")
def patch(objects: dict[tuple[str, str], dict[str, t.Any]]) -> dict[str, t.Any]:
    (found,) = objects["EnvoyPatchPolicy", "ai-gateway.endpoint-pickers"]["spec"]["jsonPatches"]
    return t.cast("dict[str, t.Any]", found)


@pytest.fixture(scope="module")
def pod() -> t.Iterator[Pod]:
    server = Pod()
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory, patch: dict[str, t.Any]) -> t.Iterator[Envoy]:
    directory = tmp_path_factory.mktemp("envoy")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        listen = free.getsockname()[1]
    *_above, name = patch["operation"]["path"].split("/")
    proxy = Envoy(envoy_program(directory), directory, bootstrap({name: patch["operation"]["value"]}, listen), listen)
    try:
        end = time.monotonic() + 20
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", listen), 1):
                break
            assert time.monotonic() < end, proxy.log
            assert proxy.process.poll() is None, proxy.log
            time.sleep(0.1)
        yield proxy
    finally:
        proxy.stop()


def passed_on(envoy: Envoy, pod: Pod, status: int, content_type: str, body: bytes, **more: str) -> tuple[int, t.Any]:
    """Status and body of what the picker would be sent."""
    pod.answer = (status, {"content-type": content_type, **more}, body)
    connection = http.client.HTTPConnection("127.0.0.1", envoy.listen, timeout=10)
    with contextlib.closing(connection):
        destination = f"127.0.0.1:{pod.server_address[1]}"
        connection.request("POST", "/v1/chat/completions", b"{}", {"x-gateway-destination-endpoint": destination})
        response = connection.getresponse()
        return response.status, response.read()


def test_it_is_a_filter_of_the_cluster_of_the_route(
    objects: dict[tuple[str, str], dict[str, t.Any]], patch: dict[str, t.Any]
) -> None:
    (route,) = (name for kind, name in objects if kind == "AIGatewayRoute")
    # As Envoy Gateway names it.
    assert patch["name"] == f"httproute/vllm/{route}/rule/0"
    assert patch["type"] == "type.googleapis.com/envoy.config.cluster.v3.Cluster"
    # Envoy AI Gateway puts its own filters before the last one, which it takes for this.
    assert patch["operation"]["value"]["http_filters"][-1]["name"] == "envoy.filters.http.upstream_codec"


@pytest.mark.parametrize(
    "document",
    [
        {"id": "1", "usage": USAGE},
        {"id": "1", "usage": {**USAGE, "prompt_tokens_details": None}},
        {"id": "1", "usage": None},
        {"id": "1"},
        {"error": {"message": "too long"}},
    ],
)
def test_what_a_picker_reads_is_passed_on(envoy: Envoy, pod: Pod, document: t.Any) -> None:
    body = json.dumps(document).encode()
    assert passed_on(envoy, pod, 400 if "error" in document else 200, "application/json", body) == (
        400 if "error" in document else 200,
        body,
    )


@pytest.mark.parametrize(
    "usage",
    [
        # An answer with embeddings, one of Anthropic's API, and odd ones.
        {"prompt_tokens": 9, "total_tokens": 9},
        {"input_tokens": 9, "output_tokens": 9},
        {**USAGE, "completion_tokens": None},
        {**USAGE, "completion_tokens": "7"},
        {**USAGE, "total_tokens": [12]},
        {},
        [],
        7,
        "usage",
        True,
    ],
)
@pytest.mark.parametrize("status", [200, 400])
def test_a_usage_that_ends_a_picker_does_not_reach_it(envoy: Envoy, pod: Pod, usage: t.Any, status: int) -> None:
    given = {"id": "é", "usage": usage, "choices": [{"usage": 7}]}
    found, body = passed_on(envoy, pod, status, "application/json", json.dumps(given, ensure_ascii=False).encode())
    assert (found, json.loads(body)) == (status, {**given, "usage": None})


@pytest.mark.parametrize(
    "body",
    [
        b"not JSON: a prompt",
        b"[1]",
        b'{"usage": {}, "usage": 1}',
        b'{"usage": {"prompt_tokens": 9}} ',
        b'{"us\\u0061ge": {"prompt_tokens": 9}}',
        b"\x1f\x8b\x08",
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "Text/Event-Stream", ""])
def test_nothing_else_that_it_would_log_or_end_at(envoy: Envoy, pod: Pod, body: bytes, content_type: str) -> None:
    status, found = passed_on(envoy, pod, 200, content_type, body)
    document = json.loads(found)
    assert (status, (document or {}).get("usage")) == (200, None)
    status, found = passed_on(envoy, pod, 500, content_type, body)
    assert (status, json.loads(found).get("usage")) == (500, None)


def test_the_words_of_an_error_are_kept(envoy: Envoy, pod: Pod) -> None:
    body = b"<html><body>Out of <b>memory</b></body></html>"
    status, found = passed_on(envoy, pod, 500, "text/html", body)
    assert (status, json.loads(found)) == (500, {"message": "Out of memory"})
    compressed = {"content-encoding": "gzip"}
    status, found = passed_on(envoy, pod, 500, "text/html", b"\x1f\x8b\x08", **compressed)
    assert (status, json.loads(found)) == (500, {"message": "in words that are compressed with gzip."})


def test_a_stream_is_not_kept(envoy: Envoy, pod: Pod) -> None:
    body = b'data: {"usage": {}}\n\n' * LIMIT
    assert passed_on(envoy, pod, 200, "text/event-stream; charset=utf-8", body) == (200, body)


def test_an_answer_beyond_the_limit_is_refused(envoy: Envoy, pod: Pod) -> None:
    """The picker keeps an answer of any size."""
    status, found = passed_on(envoy, pod, 200, "application/json", b'{"id": "%s"}' % (b"a" * 20 * LIMIT))
    assert (status, b"aaaa" in found) == (500, False)
    body = b'{"id": "%s"}' % (b"a" * (LIMIT // 2))
    assert passed_on(envoy, pod, 200, "application/json", body) == (200, body)
