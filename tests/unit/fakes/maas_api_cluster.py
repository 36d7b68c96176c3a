# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server on the loopback interface, as far as the stand-ins for maas-api and KServe need one, and a request to
either of them.

It keeps objects by their path and issues unsigned tokens. It validates nothing, and knows namespaces only as far as
nothing is made in one that is not there.
"""

from __future__ import annotations

import base64
import http.client
import json
import threading
import time
import typing as t
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Body = dict[str, t.Any]

KSERVE = "/apis/serving.kserve.io/v1alpha1"
GATEWAY_API = "/apis/gateway.networking.k8s.io/v1"
CREATED = "2026-02-17T04:05:16Z"
CREATED_SECONDS = 1771301116


class Cluster:
    """``objects`` by path; ``kinds`` are the plurals that are served; ``refusals`` are statuses by method and the
    path's beginning.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Body] = {}
        self.kinds = {
            "namespaces",
            "configmaps",
            "serviceaccounts",
            "llminferenceservices",
            "httproutes",
            "gateways",
            "deployments",
        }
        self.refusals: dict[tuple[str, str], int] = {}
        self.requests: list[str] = []
        self.token_requests: list[Body] = []
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, body = cluster.answer(self.command, self.path, json.loads(content) if content else {})
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_DELETE = do_PATCH = serve  # noqa: N815

            def log_message(self, *arguments: t.Any) -> None:
                pass

        self._handler = Handler
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen, after ``stop`` on the port as before."""
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def put(self, path: str, **content: t.Any) -> Body:
        """An object that somebody else made."""
        parts = path.split("/")
        metadata = {"name": parts[-1], "uid": str(uuid.uuid4()), "creationTimestamp": CREATED, "generation": 1}
        if parts[-4] == "namespaces":
            metadata["namespace"] = parts[-3]
        self.objects[path] = {**content, "metadata": {**metadata, **content.get("metadata", {})}}
        return self.objects[path]

    def config_map(self, name: str, **data: str) -> None:
        self.put(f"/api/v1/namespaces/opendatahub/configmaps/{name}", data=data)

    def names(self, plural: str) -> list[str]:
        return sorted(path for path in self.objects if path.split("/")[-2] == plural)

    def answer(self, method: str, target: str, body: Body) -> tuple[int, Body]:
        split = urlsplit(target)
        path, query = split.path, {name: values[0] for name, values in parse_qs(split.query).items()}
        self.requests.append(f"{method} {path}")
        for (refused, beginning), status in self.refusals.items():
            if method == refused and path.startswith(beginning):
                return status, {"kind": "Status", "message": f"refused with {status}"}
        if method == "POST" and path.endswith("/token"):
            return self._token(path.removesuffix("/token"), body)
        if path.endswith("/status"):
            found = self.objects[path.removesuffix("/status")]
            found["status"] = {
                name: value
                for name, value in {**found.get("status", {}), **body["status"]}.items()
                if value is not None
            }
            return 200, found
        plural = next(
            part for part in reversed(path.split("/")) if part in self.kinds | {"llminferenceservices", "httproutes"}
        )
        if plural not in self.kinds:
            return 404, {"kind": "Status", "message": "the server could not find the requested resource"}
        if path.endswith(f"/{plural}"):
            return self._create(path, body) if method == "POST" else (200, {"items": self._list(path, plural, query)})
        if path not in self.objects:
            return 404, {"kind": "Status", "message": "not found"}
        return 200, self.objects.pop(path) if method == "DELETE" else self.objects[path]

    def _list(self, path: str, plural: str, query: dict[str, str]) -> list[Body]:
        wanted = dict(pair.split("=") for pair in query.get("labelSelector", "").split(",") if pair)
        base = path.removesuffix(f"/{plural}")
        found = [item for name, item in self.objects.items() if name.startswith(base) and name.split("/")[-2] == plural]
        return [item for item in found if wanted.items() <= item["metadata"].get("labels", {}).items()]

    def _create(self, path: str, body: Body) -> tuple[int, Body]:
        name = f"{path}/{body['metadata']['name']}"
        if name in self.objects:
            return 409, {"kind": "Status", "message": "already exists"}
        namespace = path.rsplit("/", 1)[0]
        if "/namespaces/" in namespace and namespace not in self.objects:
            return 404, {"kind": "Status", "message": "namespace not found"}
        return 201, self.put(name, **body)

    def _token(self, account: str, body: Body) -> tuple[int, Body]:
        if account not in self.objects:
            return 404, {"kind": "Status", "message": "serviceaccount not found"}
        self.token_requests.append(body)
        now = int(time.time())
        expires = now + body["spec"]["expirationSeconds"]
        parts = account.split("/")
        claims = {"aud": body["spec"]["audiences"], "iat": now, "exp": expires, "jti": str(uuid.uuid4())}
        claims["sub"] = f"system:serviceaccount:{parts[-3]}:{parts[-1]}"
        claims["uid"] = self.objects[account]["metadata"]["uid"]
        coded = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "none"}, claims)
        ]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        return 201, {**body, "status": {"token": ".".join([*coded, "x"]), "expirationTimestamp": stamp}}


def ask(
    port: int, method: str, path: str, body: t.Any = None, headers: dict[str, str] | None = None
) -> tuple[int, t.Any]:
    """Status and document of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(
            method, path, body if body is None or isinstance(body, str) else json.dumps(body), headers or {}
        )
        answer = connection.getresponse()
        content = answer.read().decode()
        return answer.status, json.loads(content) if answer.headers.get("content-type", "").startswith(
            "application/json"
        ) else content
    finally:
        connection.close()
