# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the contract tests of the semantic router run against: its fake in front of two models, or the real one.

The real one answers where CONTRACT_SEMANTIC_ROUTER leads to, a host and port of its external processor. It has to run
with the configuration that this program prints.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import struct
import threading
import time
import typing as t
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
from contracts import Program, eventually
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as messages
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as service

#: The real router's external processor.
ROUTER = os.environ.get("CONTRACT_SEMANTIC_ROUTER", "")
CHAT = "/v1/chat/completions"
EASY, HARD = "Model-A", "Model-B"
USER, GROUPS = "x-authz-user-id", "x-authz-user-groups"
#: The largest message, in megabytes.
LARGEST_MESSAGE = 22
#: Where nothing listens.
NOWHERE = "127.0.0.1:9"
Body = dict[str, t.Any]


def backend(endpoint: str) -> Body:
    return {"name": "backend", "endpoint": endpoint, "protocol": "http", "weight": 1}


def signal(kind: str, name: str) -> Body:
    return {"type": kind, "name": name}


def when(operator: str, *conditions: Body) -> Body:
    return {"operator": operator, "conditions": list(conditions)}


def decision(name: str, priority: int, model: str, rules: Body) -> Body:
    references = [{"model": model, "use_reasoning": False}]
    return {"name": name, "description": name, "priority": priority, "rules": rules, "modelRefs": references}


def configuration(easy: str = NOWHERE, hard: str = NOWHERE) -> Body:
    """A configuration as the role renders it, with a decision by each kind of signal.

    :param easy: the first model's endpoint, which is the default model.
    """
    names = {EASY: easy, HARD: hard}
    one = {"type": "regex", "pattern": "\\bstep [0-9]+\\b", "case_sensitive": False}
    signals = {
        "keywords": [
            {"name": "math", "operator": "OR", "keywords": ["integral", "derivative"], "case_sensitive": False},
            {"name": "code", "operator": "AND", "method": "regex", "keywords": ["def \\w+", "return"]},
            {"name": "impolite", "operator": "NOR", "keywords": ["please"], "case_sensitive": False},
        ],
        "context": [{"name": "long", "min_tokens": "2K"}],
        "structure": [
            {
                "name": "steps",
                "description": "Several steps",
                "feature": {"type": "count", "source": one},
                "predicate": {"gte": 3},
            }
        ],
        "conversation": [
            {
                "name": "tools",
                "description": "Offers tools",
                "feature": {"type": "count", "source": {"type": "tool_definition"}},
                "predicate": {"gte": 1},
            }
        ],
        "language": [{"name": "zh", "description": "Chinese"}],
        "role_bindings": [
            {"name": tier, "role": tier, "subjects": [{"kind": "Group", "name": tier}]} for tier in ("free", "premium")
        ],
    }
    kinds = {"context": "long", "structure": "steps", "conversation": "tools", "language": "zh"}
    keywords = [signal("keyword", name) for name in ("math", "code")]
    hard_ones = when("OR", *keywords, *(signal(kind, name) for kind, name in kinds.items()))
    polite = when("AND", signal("authz", "premium"), when("NOT", signal("keyword", "impolite")))
    return {
        "version": "v0.3",
        "providers": {
            "defaults": {"model": EASY},
            "models": [
                {"name": name, "provider_model_id": f"served/{name}", "backend_refs": [backend(endpoint)]}
                for name, endpoint in names.items()
            ],
        },
        "routing": {
            "modelCards": [{"name": name} for name in names],
            "signals": signals,
            "decisions": [
                decision("hard.free", 30, EASY, when("AND", signal("authz", "free"), hard_ones)),
                decision("hard", 20, HARD, hard_ones),
                decision("polite", 10, HARD, polite),
            ],
        },
        "entrypoints": [{"model_names": ["code-helper"], "recipe": "code"}],
        "recipes": [
            {
                "name": "code",
                "description": "Of programs",
                "routing": {"signals": {}, "decisions": [decision("all", 1, HARD, {})]},
            }
        ],
        "global": {
            "router": {
                "config_source": "file",
                "auto_model_names": ["auto"],
                "clear_route_cache": True,
                "skip_processing": {"enabled": False},
            },
            "services": {
                "authz": {"fail_open": False, "identity": {"user_id_header": USER, "user_groups_header": GROUPS}},
                "router_replay": {"enabled": False},
                "response_api": {"enabled": False},
            },
            "stores": {"response_cache": {"enabled": False}, "memory": {"enabled": False}},
            "integrations": {"looper": {"grpc_max_msg_size_mb": LARGEST_MESSAGE}},
        },
    }


class ModelServer(ThreadingHTTPServer):
    """A model that answers with the name that it was asked by, and keeps what it received.

    The header ``x-do`` of a request has it do otherwise: ``429`` for that status, ``break`` to break off, ``hold`` to
    stream until its client goes away, ``wait`` to answer nothing until then.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], bytes]] = []
        #: Set where a client went away before the end of a stream.
        self.left = threading.Event()
        #: The requests that wait.
        self.waiting: set[int] = set()
        super().__init__(("127.0.0.1", 0), _ModelHandler)
        self.endpoint = f"127.0.0.1:{self.server_address[1]}"

    def start(self) -> ModelServer:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client went away."""


class _ModelHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: ModelServer

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", "0")))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((headers, body))
        deed = headers.get("x-do", "")
        asked = json.loads(body)
        usage = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
        answer = {"object": "chat.completion", "model": asked["model"], "choices": [], "usage": usage}
        if deed == "wait":
            self.server.waiting.add(id(self))
            self.rfile.read(1)
            self.server.waiting.discard(id(self))
            self.close_connection = True
        elif deed.isdigit():
            self._send(int(deed), json.dumps({"error": {"message": "no", "type": "rate_limit_error"}}).encode())
        elif not asked.get("stream"):
            self._send(200, json.dumps(answer).encode())
        else:
            self.send_response(200)
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            self._stream(asked["model"], deed)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("x-vsr-selected-model", "forged by the model")
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, model: str, deed: str) -> None:
        for number in range(3) if deed != "hold" else range(600):
            event = json.dumps({"object": "chat.completion.chunk", "model": model, "choices": [{"index": number}]})
            try:
                self._chunk(f"data: {event}\n\n")
            except OSError:
                self.server.left.set()
                return
            if deed == "break" and number == 1:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                os.close(self.connection.detach())
                return
            # So that each arrives by itself.
            time.sleep(0.05)
        self._chunk("data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, piece: str) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece.encode()))


class Reply(t.NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Body:
        return t.cast("Body", json.loads(self.body))


def send(port: int, body: bytes, path: str = CHAT, method: str = "POST", **headers: str) -> Reply:
    """A request over HTTP/1.1, with underscores in place of hyphens in the names of headers."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"content-type": "application/json", **named})
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, found, response.read())


def chat(content: t.Any = "Hello", model: t.Any = "auto", **more: t.Any) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": content}], **more}
    return json.dumps(body).encode()


class Fake(Program):
    """The fake's program with a configuration; ``ports`` once it is ready."""

    def __init__(self, directory: Path, config: t.Any, *arguments: str) -> None:
        path = directory / "config.yaml"
        path.write_text(config if isinstance(config, str) else json.dumps(config), encoding="utf-8")
        ports = [f"--{name}=0" for name in ("port", "api-port", "metrics-port", "http-port")]
        more = [f"--config={path}", "--host=127.0.0.1", *ports, *arguments]
        super().__init__(directory, "semantic_router/semantic_router.py", "", *more)

    @property
    def ports(self) -> dict[str, int]:
        line = eventually(lambda: re.search(r"^ready: (.*)$", self.log, re.M))
        return {name: int(port) for name, port in re.findall(r"(\w+)=(\d+)", line[1])}

    def refusal(self) -> str:
        """What it wrote before it ended with status 1."""
        assert self.process.wait(timeout=20) == 1, self.log
        return self.log


class Processor:
    """A client of the external processor, as an Envoy is."""

    def __init__(self, address: str) -> None:
        sizes = [("grpc.max_receive_message_length", 2**26), ("grpc.max_send_message_length", 2**26)]
        self._channel = grpc.insecure_channel(address, options=sizes)
        self._stub = service.ExternalProcessorStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def start(self, requests: t.Iterator[messages.ProcessingRequest]) -> grpc.Call:
        """A stream whose answers nobody reads yet."""
        return self._stub.Process(requests)

    def process(self, *requests: messages.ProcessingRequest) -> list[messages.ProcessingResponse]:
        return list(self._stub.Process(iter(requests), timeout=60))

    def ask(self, body: bytes, **headers: str) -> messages.ProcessingResponse:
        """The answer to the body of a request."""
        given = {USER: "somebody", GROUPS: "premium", **{key.replace("_", "-"): item for key, item in headers.items()}}
        found = self.process(request_headers(**{name: value for name, value in given.items() if value}), of_body(body))
        assert len(found) == 2, found
        return found[1]


def _map(headers: t.Mapping[str, str]) -> messages.HttpHeaders:
    values = [base_pb2.HeaderValue(key=name, raw_value=value.encode()) for name, value in headers.items()]
    return messages.HttpHeaders(headers=base_pb2.HeaderMap(headers=values))


def request_headers(method: str = "POST", path: str = CHAT, **headers: str) -> messages.ProcessingRequest:
    start = {":method": method, ":path": path, ":authority": "gateway", "content-type": "application/json"}
    return messages.ProcessingRequest(request_headers=_map({**start, **headers}))


def of_body(body: bytes) -> messages.ProcessingRequest:
    return messages.ProcessingRequest(request_body=messages.HttpBody(body=body, end_of_stream=True))


def response_headers(status: int) -> messages.ProcessingRequest:
    return messages.ProcessingRequest(response_headers=_map({":status": str(status)}))


def changes(common: messages.CommonResponse) -> dict[str, str]:
    """The headers that an answer sets."""
    return {item.header.key: item.header.raw_value.decode() for item in common.header_mutation.set_headers}


def selected(response: messages.ProcessingResponse) -> str:
    return changes(response.request_body.response).get("x-selected-model", "")


if __name__ == "__main__":
    print(json.dumps(configuration(), indent=2))
