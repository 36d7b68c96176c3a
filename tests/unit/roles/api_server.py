# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server on the loopback interface, as far as roles need one whose tasks a test runs: discovery, lists, apply,
patch, deletion.

It validates, defaults and converts nothing, gives each object one field manager, and ends each watch after a second.
"""

from __future__ import annotations

import copy
import json
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from plays import run_playbook

VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]

Body = dict[str, t.Any]


class _Quiet(ThreadingHTTPServer):
    def handle_error(self, *_arguments: t.Any) -> None:
        """Clients end watches as they like."""


class Server:
    """Holds ``objects`` by (api_version, plural, namespace, name), knows ``kinds`` as (api_version, plural) and lists
    the ``writes`` it got.

    ``status`` returns the status that an object's controller sets, and is called whenever the object is read.
    """

    def __init__(self, kinds: dict[tuple[str, str], str], cluster_scoped: t.Collection[str] = ("Namespace",)) -> None:
        self.kinds = kinds
        self.cluster_scoped = cluster_scoped
        self.objects: dict[tuple[str, str, str, str], Body] = {}
        self.writes: list[str] = []
        self.status: t.Callable[[Body], Body | None] = lambda body: None
        self._version = 1
        self._lock = threading.Lock()
        self._server = _Quiet(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def put(self, body: Body) -> None:
        """An object that somebody else made."""
        (plural,) = [
            plural
            for (version, plural), kind in self.kinds.items()
            if (version, kind) == (body["apiVersion"], body["kind"])
        ]
        metadata = {
            "uid": f"uid-{body['metadata']['name']}",
            "resourceVersion": "1",
            "generation": 1,
            **body["metadata"],
        }
        self.objects[body["apiVersion"], plural, metadata.get("namespace", ""), metadata["name"]] = {
            **body,
            "metadata": metadata,
        }

    def of_kind(self, kind: str) -> dict[str, Body]:
        return {key[3]: body for key, body in self.objects.items() if body["kind"] == kind}

    def kubeconfig(self, directory: Path) -> Path:
        """Write a kubeconfig for this server into the directory."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": f"http://127.0.0.1:{self._server.server_port}"}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path = directory / "kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def run(
        self, directory: Path, role: str, variables: Body, *arguments: str, tasks_from: str = "main"
    ) -> tuple[int, str]:
        """Exit status and output of a play with the role, or with a part of its tasks."""
        task = {"ansible.builtin.import_role": {"name": f"egress.ai_gateway.{role}", "tasks_from": tasks_from}}
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
        environment = {"K8S_AUTH_KUBECONFIG": str(self.kubeconfig(directory))}
        ended = run_playbook(directory, play, variables, *arguments, environment=environment)
        return ended.returncode, ended.output

    # --- requests ---

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def serve(self) -> None:
                content = self.rfile.read(int(self.headers.get("content-length", 0)))
                with server._lock:
                    status, body = server._answer(
                        self.command,
                        self.path,
                        json.loads(content) if content else {},
                        self.headers.get("content-type", ""),
                    )
                if body is None:
                    time.sleep(1)
                sent = json.dumps(body).encode() if body is not None else b""
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(sent)))
                self.end_headers()
                self.wfile.write(sent)

            do_GET = do_POST = do_PATCH = do_DELETE = serve  # noqa: N815

            def log_message(self, *_arguments: t.Any) -> None:
                """Nothing is logged."""

        return Handler

    def _answer(self, method: str, path: str, body: Body, content_type: str) -> tuple[int, Body | None]:
        split = urlsplit(path)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        parts = split.path.strip("/").split("/")
        if parts == ["version"]:
            return 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}
        if parts == ["api"]:
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(self._groups().values())}
        if len(parts) == 2 and parts[1] in self._groups():
            return 200, {"kind": "APIGroup", "apiVersion": "v1", **self._groups()[parts[1]]}
        api_version, rest = (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
        if not rest:
            return self._discovery(api_version)
        namespace = rest[1] if rest[0] == "namespaces" and len(rest) > 2 else ""
        plural, *names = rest[2:] if namespace else rest
        if (api_version, plural) not in self.kinds:
            return 404, {"kind": "Status", "reason": "NotFound", "code": 404, "message": f"no {plural}"}
        if "watch" in query:
            return 200, None
        if not names:
            return self._collection(method, api_version, plural, namespace, query)
        return self._object(method, (api_version, plural, namespace, names[0]), body, content_type, "dryRun" in query)

    def _groups(self) -> dict[str, Body]:
        found: dict[str, Body] = {}
        for version in sorted({version for version, _plural in self.kinds if "/" in version}):
            name, short = version.split("/")
            entry = {"groupVersion": version, "version": short}
            found.setdefault(name, {"name": name, "versions": [], "preferredVersion": entry})["versions"].append(entry)
        return found

    def _discovery(self, api_version: str) -> tuple[int, Body]:
        found = [
            {
                "name": plural,
                "singularName": kind.lower(),
                "kind": kind,
                "namespaced": kind not in self.cluster_scoped,
                "verbs": VERBS,
            }
            for (version, plural), kind in self.kinds.items()
            if version == api_version
        ]
        if not found:
            return 404, {"kind": "Status", "reason": "NotFound", "code": 404, "message": "no such version"}
        return 200, {"kind": "APIResourceList", "groupVersion": api_version, "resources": found}

    def _collection(
        self, method: str, api_version: str, plural: str, namespace: str, query: dict[str, str]
    ) -> tuple[int, Body]:
        label, _equals, value = query.get("labelSelector", "").partition("=")
        found = {}
        for key, body in self.objects.items():
            labels = body["metadata"].get("labels") or {}
            if (
                key[:2] == (api_version, plural)
                and namespace in ("", key[2])
                and (not label or (label in labels and value in ("", labels[label])))
            ):
                found[key] = body
        if method == "DELETE" and "dryRun" not in query:
            self._record(method, *(key[3] for key in found))
            for key in found:
                del self.objects[key]
        kind = self.kinds[api_version, plural]
        listed = {"kind": f"{kind}List", "apiVersion": api_version, "metadata": {"resourceVersion": str(self._version)}}
        return 200, {**listed, "items": [self._read(body) for body in found.values()]}

    def _object(
        self, method: str, key: tuple[str, str, str, str], body: Body, content_type: str, dry_run: bool
    ) -> tuple[int, Body]:
        live = self.objects.get(key)
        missing = 404, {"kind": "Status", "reason": "NotFound", "code": 404, "message": f"{key[3]} not found"}
        if method == "PATCH" and "apply" in content_type:
            if key[2] and ("v1", "namespaces", "", key[2]) not in self.objects:
                return missing
            after = self._applied(live, body)
        elif live is None:
            return missing
        elif method == "PATCH":
            after = patched(live, body) if "json-patch" in content_type else merged(live, body)
        elif method == "DELETE":
            if not dry_run:
                self._record(method, key[3])
                del self.objects[key]
            return 200, live
        else:
            return 200, self._read(live)
        if after is not live:
            self._version += 1
            generation = live["metadata"]["generation"] + 1 if live else 1
            after["metadata"] = {
                **after["metadata"],
                "uid": f"uid-{key[3]}",
                "resourceVersion": str(self._version),
                "generation": generation,
            }
            if not dry_run:
                self._record(method, key[3])
                self.objects[key] = after
        return 200 if live else 201, self._read(after)

    def _applied(self, live: Body | None, body: Body) -> Body:
        metadata = {name: value for name, value in body["metadata"].items() if name not in ("name", "namespace")}
        owned = fields_of(
            {
                **{name: value for name, value in body.items() if name not in ("apiVersion", "kind")},
                "metadata": metadata,
            }
        )
        entry = {
            "manager": "egress.ai_gateway",
            "operation": "Apply",
            "apiVersion": body["apiVersion"],
            "fieldsV1": owned,
        }
        if live and live["metadata"].get("managedFields") == [entry] and merged(live, body) == live:
            return live
        after = copy.deepcopy(body)
        after["metadata"]["managedFields"] = [entry]
        return after

    def _record(self, method: str, *names: str) -> None:
        self.writes += [f"{method} {name}" for name in names]

    def _read(self, body: Body) -> Body:
        status = self.status(body)
        return {**body, "status": status} if status else body


def fields_of(value: t.Any) -> Body:
    return {f"f:{key}": fields_of(item) for key, item in value.items()} if isinstance(value, dict) else {}


def patched(value: Body, operations: t.Any) -> Body:
    """A mapping changed by JSON patch, as far as it adds, replaces, removes and tests keys of mappings."""
    after = copy.deepcopy(value)
    for operation in operations:
        *parents, last = (
            step.replace("~1", "/").replace("~0", "~") for step in operation["path"].strip("/").split("/")
        )
        inner = after
        for step in parents:
            inner = inner[step]
        if operation["op"] == "test":
            assert inner[last] == operation["value"]
        elif operation["op"] == "remove":
            del inner[last]
        else:
            inner[last] = operation["value"]
    return after


def merged(value: Body, patch: Body) -> Body:
    """A mapping with the values of another, by JSON merge patch."""
    after = dict(value)
    for key, item in patch.items():
        if item is None:
            after.pop(key, None)
        elif isinstance(item, dict):
            after[key] = merged(after[key] if isinstance(after.get(key), dict) else {}, item)
        else:
            after[key] = item
    return after
