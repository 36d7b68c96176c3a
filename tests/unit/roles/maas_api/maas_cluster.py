# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster with maas-api, in memory, for the clients of a play."""

from __future__ import annotations

import json
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cluster import Cluster

GROUPS = {"apps": "v1", "apiextensions.k8s.io": "v1"}


class MaasCluster(Cluster):
    """A cluster with maas-api, which clients reach by HTTP at ``url``.

    It has no CustomResourceDefinitions but those named in ``definitions``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.definitions: list[str] = []
        for namespace in ("opendatahub", "ai-gateway"):
            self.put("namespaces", "", namespace)
        containers = [{"name": "maas-api", "image": "maas-api:before"}]
        status = {"updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}
        self.put(
            "deployments",
            "opendatahub",
            "maas-api",
            spec={"template": {"spec": {"containers": containers}}},
            status=status,
        )
        self.put(
            "configmaps",
            "opendatahub",
            "tier-to-group-mapping",
            data={"tiers": "# Ours\n- {name: free, level: 0, groups: [system:authenticated]}\n"},
        )
        self._lock = threading.Lock()
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, document = cluster.respond(self.command, self.path, body, self.headers.get("Content-Type", ""))
                data = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_PATCH = do_DELETE = answer  # noqa: N815 - names that the library looks for

            def log_message(self, format: str, *arguments: t.Any) -> None:  # noqa: A002 - the library's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def respond(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, t.Any]:
        """Status and document of an answer, also for the discovery of kubernetes.core, which Cluster lacks."""
        if path == "/version":
            return 200, {"gitVersion": "v1.35.0", "major": "1", "minor": "35"}
        if path == "/api":
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if path == "/apis":
            versions = {
                group: {"groupVersion": f"{group}/{version}", "version": version} for group, version in GROUPS.items()
            }
            groups = [
                {"name": group, "versions": [version], "preferredVersion": version}
                for group, version in versions.items()
            ]
            return 200, {"kind": "APIGroupList", "groups": groups}
        if path.startswith("/apis/apiextensions.k8s.io/v1"):
            return self._definition(
                path.removeprefix("/apis/apiextensions.k8s.io/v1").strip("/").removeprefix("customresourcedefinitions/")
            )
        with self._lock:
            answer = self.request(
                method, f"https://cluster{path}", body or None, headers={"Content-Type": content_type}
            )
        document = json.loads(answer.data)
        return answer.status, {"kind": "APIResourceList", **document} if "groupVersion" in document else document

    def _definition(self, name: str) -> tuple[int, t.Any]:
        if not name:
            resource = {
                "name": "customresourcedefinitions",
                "kind": "CustomResourceDefinition",
                "namespaced": False,
                "verbs": ["get", "list"],
            }
            return 200, {"kind": "APIResourceList", "groupVersion": "apiextensions.k8s.io/v1", "resources": [resource]}
        if name not in self.definitions:
            return 404, {"kind": "Status", "reason": "NotFound", "message": "not found"}
        return 200, {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
        }
