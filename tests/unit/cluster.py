# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake API server of all unit tests: in memory for those that bring their own client, by HTTP for others.

It has discovery, lists by label, name and page, server-side apply, JSON patch, merge patch, statuses, creation,
deletion, tokens of ServiceAccounts and reviews of access, which allow everything.

It knows field selectors of names alone, and takes a strategic merge patch for a JSON merge patch. It does not validate,
default or convert anything, ends each watch without an event, gives each object one field manager, and deletes at once
what has finalizers and nothing of what an object owns.
"""

from __future__ import annotations

import base64
import copy
import json
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api

#: By API version and plural, each kind and whether it is namespaced.
Resources = dict[str, dict[str, tuple[str, bool]]]
RESOURCES: Resources = {
    "v1": {
        "configmaps": ("ConfigMap", True),
        "secrets": ("Secret", True),
        "namespaces": ("Namespace", False),
        "persistentvolumeclaims": ("PersistentVolumeClaim", True),
        "pods": ("Pod", True),
    },
    "apps/v1": {"deployments": ("Deployment", True)},
}
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]
CREATED = "2026-02-17T04:05:16Z"

Body = dict[str, t.Any]
#: (plural, namespace, name)
Key = tuple[str, str, str]


class Answer:
    """What urllib3 returns, as far as it is read."""

    def __init__(self, status: int, body: Body) -> None:
        self.status = status
        self.data = json.dumps(body).encode()
        self.headers: dict[str, str] = {"Content-Type": "application/json"}

    def stream(self, **_options: t.Any) -> t.Iterator[bytes]:
        """The events of a watch: none."""
        time.sleep(0.02)
        yield from ()

    def close(self) -> None:
        pass


def refusal(status: int, reason: str, message: str) -> Answer:
    return Answer(status, {"kind": "Status", "reason": reason, "code": status, "message": message})


class PowerCut(BaseException):
    """The client dies: nothing catches this."""


def fields_of(value: t.Any) -> Body:
    return {f"f:{key}": fields_of(item) for key, item in value.items()} if isinstance(value, dict) else {}


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


class Cluster:
    """Holds ``objects`` by key and the ``writes`` it got, and cuts the client off after ``writes_left`` more of them.

    ``status`` gives what an object's controller says of it, asked whenever the object is read; None for what was
    written.
    """

    def __init__(self, resources: Resources = RESOURCES) -> None:
        self.resources = resources
        self.objects: dict[Key, Body] = {}
        self.writes: list[str] = []
        self.writes_left = -1
        #: What must not be deleted: by key, the HTTP status that says so; a collection has no name.
        self.undeletable: dict[Key, int] = {}
        #: How often objects that are being deleted may still be looked at.
        self.looks_left = 0
        self.status: t.Callable[[Body], Body | None] = lambda body: None
        self.url = ""
        self._version = 0
        self._lock = threading.Lock()
        self.put("namespaces", "", "default")

    def api(self) -> Api:
        """A client that sends one request at a time, so that what is sent has an order."""
        return Api(self, "https://cluster", dict, parallel=1)

    # --- what tests put there and look at ---

    def put(self, plural: str, namespace: str, name: str, **content: t.Any) -> None:
        """An object that somebody else made."""
        metadata = {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "0",
            **({"namespace": namespace} if namespace else {}),
        }
        ((api_version, (kind, _namespaced)),) = [
            (version, listed[plural]) for version, listed in self.resources.items() if plural in listed
        ]
        body = {
            "apiVersion": api_version,
            "kind": kind,
            **content,
            "metadata": {**content.get("metadata", {}), **metadata},
        }
        self.objects[plural, namespace, name] = body

    def add(self, *bodies: Body) -> None:
        """Objects that somebody else made, as manifests."""
        for body in bodies:
            kind, metadata = body["kind"], {"generation": 1, "creationTimestamp": CREATED, **body["metadata"]}
            (plural,) = [name for name, (found, _ns) in self.resources[body["apiVersion"]].items() if found == kind]
            self.put(plural, metadata.get("namespace", ""), metadata["name"], **{**body, "metadata": metadata})

    def names(self, plural: str = "configmaps") -> list[str]:
        return sorted(name for found, _namespace, name in self.objects if found == plural)

    def of_kind(self, kind: str) -> dict[str, Body]:
        return {key[2]: body for key, body in self.objects.items() if body["kind"] == kind}

    def record(self, method: str, path: str, _keys: t.Collection[Key]) -> None:
        """Note a write that is about to happen to objects."""
        self.writes.append(f"{method} {path}")

    # --- requests ---

    def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
        split = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        parts = split.path.strip("/").split("/")
        root = parts.pop(0)
        if root == "version":
            return Answer(200, {"major": "1", "minor": "34", "gitVersion": "v1.34.0"})
        if not parts or (root == "apis" and len(parts) == 1):
            return self._groups(root, *parts)
        group = parts.pop(0) if root == "api" else "/".join((parts.pop(0), parts.pop(0)))
        resources = self.resources.get(group, {})
        if parts == ["selfsubjectaccessreviews"]:
            return Answer(201, {"status": {"allowed": True}})
        if not parts:
            listed = [
                {
                    "name": plural,
                    "singularName": kind.lower(),
                    "kind": kind,
                    "namespaced": namespaced,
                    "verbs": VERBS,
                }
                for plural, (kind, namespaced) in resources.items()
            ]
            found = {"kind": "APIResourceList", "groupVersion": group, "resources": listed}
            return Answer(200, found) if listed else Answer(404, {"kind": "Status"})
        namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 and parts[2] != "status" else ""
        plural, *name = parts[2:] if namespace else parts
        if plural not in resources:
            return Answer(404, {"kind": "Status"})
        content = json.loads(body) if body else {}
        if method != "GET" and "dryRun" not in query:
            if self.writes_left == 0:
                raise PowerCut
            self.writes_left -= 1
            selected = [(plural, namespace, name[0])] if name else list(self._selected(plural, namespace, query))
            self.record(method, split.path, selected)
        if not name:
            if method == "POST":
                return self._create((plural, namespace, content["metadata"]["name"]), content)
            return self._collection(method, group, plural, namespace, query)
        key, part = (plural, namespace, name[0]), "".join(name[1:])
        if key not in self.objects and (part or method == "PUT"):
            return refusal(404, "NotFound", f"{key[2]} not found")
        if part == "token":
            return self._token(key, content)
        content_type = options.get("headers", {}).get("Content-Type", "")
        if part == "status" or method == "PUT" or content_type.endswith("merge-patch+json"):
            return self._changed(method, key, content, part)
        if content_type == "application/json-patch+json":
            return self._json_patched(key, content, "dryRun" in query)
        return self._object(method, key, content, query)

    def _groups(self, root: str, name: str = "") -> Answer:
        groups: dict[str, Body] = {}
        for version in sorted(version for version in self.resources if "/" in version):
            group, short = version.split("/")
            entry = {"groupVersion": version, "version": short}
            groups.setdefault(group, {"name": group, "preferredVersion": entry, "versions": []})
            groups[group]["versions"].append(entry)
        if root == "api":
            return Answer(200, {"kind": "APIVersions", "versions": ["v1"]})
        if not name:
            return Answer(200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(groups.values())})
        return Answer(200, {"kind": "APIGroup", **groups[name]}) if name in groups else Answer(404, {"kind": "Status"})

    def _selected(self, plural: str, namespace: str, query: dict[str, str]) -> dict[Key, Body]:
        """The objects of a collection that the selectors of a query select."""
        field, _equals, value_of_field = query.get("fieldSelector", "").partition("=")
        named = value_of_field if field == "metadata.name" else ""
        wanted = _requirements(query.get("labelSelector", ""))

        def is_selected(key: Key, body: Body) -> bool:
            labels = body["metadata"].get("labels") or {}
            return (
                key[0] == plural
                and namespace in ("", key[1])
                and named in ("", key[2])
                and all(
                    label[1:] not in labels
                    if label.startswith("!")
                    else label in labels and labels[label] in (values or labels.values())
                    for label, values in wanted
                )
            )

        return {key: body for key, body in self.objects.items() if is_selected(key, body)}

    def _collection(self, method: str, version: str, plural: str, namespace: str, query: dict[str, str]) -> Answer:
        found = self._selected(plural, namespace, query)
        if method == "DELETE":
            if (plural, namespace, "") in self.undeletable:
                return refusal(self.undeletable[plural, namespace, ""], "Forbidden", "no collections")
            for key in found if "dryRun" not in query else ():
                self._remove(key)
        start, limit = int(query.get("continue", "0")), int(query.get("limit", "0")) or len(found)
        more = str(start + limit) if len(found) > start + limit else ""
        items = [self._read(body) for body in list(found.values())[start : start + limit]]
        metadata = {"resourceVersion": str(self._version), **({"continue": more} if more else {})}
        kind = self.resources[version][plural][0]
        return Answer(200, {"apiVersion": version, "kind": f"{kind}List", "metadata": metadata, "items": items})

    def _create(self, key: Key, body: Body) -> Answer:
        if key in self.objects:
            return refusal(409, "AlreadyExists", f"{key[2]} already exists")
        if key[1] and ("namespaces", "", key[1]) not in self.objects:
            return refusal(404, "NotFound", f'namespaces "{key[1]}" not found')
        self._version += 1
        self.put(*key, **body)
        self.objects[key]["metadata"].update(uid=f"uid-{self._version}", creationTimestamp=CREATED, generation=1)
        return Answer(201, self._read(self.objects[key]))

    def _token(self, key: Key, body: Body) -> Answer:
        """A token of a ServiceAccount that nothing signs."""
        now = int(time.time())
        expires = now + body["spec"]["expirationSeconds"]
        claims = {
            "aud": body["spec"]["audiences"],
            "sub": f"system:serviceaccount:{key[1]}:{key[2]}",
            "uid": self.objects[key]["metadata"]["uid"],
            "iat": now,
            "exp": expires,
            "jti": f"{self._version}-{now}",
        }
        coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "none"}, claims)]
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(expires))
        token = ".".join([*(part.rstrip("=") for part in coded), "x"])
        return Answer(201, {**body, "status": {"token": token, "expirationTimestamp": stamp}})

    def _changed(self, method: str, key: Key, body: Body, part: str) -> Answer:
        """Replaced, or patched by a merge patch: a status alone, or all but the status."""
        live = self.objects.get(key)
        if live is None:
            return refusal(404, "NotFound", f"{key[2]} not found")
        version = body.get("metadata", {}).get("resourceVersion", live["metadata"]["resourceVersion"])
        if version != live["metadata"]["resourceVersion"]:
            return refusal(409, "Conflict", "the object has been modified")
        after = dict(body) if method == "PUT" else merged(live, body)
        if part == "status":
            after = {**live, "status": after.get("status", {})}
        self._store(key, live, after)
        return Answer(200, self._read(self.objects[key]))

    def _object(self, method: str, key: Key, body: Body, query: dict[str, str]) -> Answer:
        live = self.objects.get(key)
        if method == "PATCH":
            if key[1] and ("namespaces", "", key[1]) not in self.objects:
                return refusal(404, "NotFound", f'namespaces "{key[1]}" not found')
            after = self._applied(key, live, body, query.get("fieldManager", ""))
            if "dryRun" not in query:
                self.objects[key] = after
            return Answer(200 if live else 201, self._read(after))
        if live is None:
            return refusal(404, "NotFound", f"{key[2]} not found")
        if method == "DELETE":
            if key in self.undeletable:
                return refusal(self.undeletable[key], "Forbidden", "not this one")
            uid = body.get("preconditions", {}).get("uid")
            if uid and uid != live["metadata"]["uid"]:
                return refusal(409, "Conflict", "the UID in the precondition does not match")
            if "dryRun" not in query:
                self._remove(key)
        elif live["metadata"].get("deletionTimestamp"):
            self.looks_left -= 1
            if self.looks_left < 0:
                self._remove(key)
                return refusal(404, "NotFound", f"{key[2]} not found")
        return Answer(200, self._read(live))

    def _json_patched(self, key: Key, operations: t.Any, dry_run: bool) -> Answer:
        if key not in self.objects:
            return refusal(404, "NotFound", f"{key[2]} not found")
        live = self.objects[key]
        after = copy.deepcopy(live)
        for operation in operations:
            *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
            container: t.Any = after
            for part in way:
                container = container[int(part) if isinstance(container, list) else part]
            if operation["op"] == "test" and container.get(last) != operation["value"]:
                return refusal(422, "Invalid", "the server rejected our request due to an error in our request")
            if operation["op"] == "remove":
                del container[last]
            elif operation["op"] != "test":
                assert operation["op"] == "add" or last in container, operation
                container[last] = operation["value"]
        if not dry_run:
            self._store(key, live, after)
            after = self.objects[key]
        return Answer(200, self._read(after))

    # --- what is stored ---

    def _store(self, key: Key, live: Body, after: Body) -> None:
        """What a client changed of an object; those that count their generations count on."""
        if after == live:
            return
        self._version += 1
        metadata = {**after["metadata"], "resourceVersion": str(self._version)}
        if "generation" in live["metadata"] and _specified(after) != _specified(live):
            metadata["generation"] = live["metadata"]["generation"] + 1
        self.objects[key] = {**after, "metadata": metadata}

    def _applied(self, key: Key, live: Body | None, body: Body, manager: str) -> Body:
        after = self.stored(body)
        metadata = after["metadata"]
        metadata.update({"namespace": key[1]} if key[1] else {})
        owned = self.fields(
            {
                **{name: value for name, value in body.items() if name not in ("apiVersion", "kind")},
                "metadata": dict(body["metadata"]),
            }
        )
        for name in ("name", "namespace"):
            owned["f:metadata"].pop(f"f:{name}", None)
        entry = {"manager": manager, "operation": "Apply", "apiVersion": body["apiVersion"], "fieldsV1": owned}
        if (
            live
            and self._submitted(live) == self._submitted(after)
            and live["metadata"].get("managedFields") == [entry]
        ):
            return live
        self._version += 1
        uid, generation = f"uid-{self._version}", 1
        if live:
            uid = live["metadata"]["uid"]
            generation = live["metadata"].get("generation", 0) + (_specified(live) != _specified(after))
            after.update({"status": live["status"]} if "status" in live else {})
        metadata.update(uid=uid, resourceVersion=str(self._version), generation=generation, managedFields=[entry])
        if key[0] == "namespaces":
            after["status"] = {"phase": "Active"}
        return after

    def stored(self, body: Body) -> Body:
        """What is stored of what was applied."""
        return copy.deepcopy(body)

    def fields(self, body: Body) -> Body:
        """The field set of what was applied."""
        return fields_of(body)

    @staticmethod
    def _submitted(body: Body) -> Body:
        """An object without what only a server writes."""
        metadata = {
            name: value
            for name, value in body["metadata"].items()
            if name not in ("uid", "resourceVersion", "generation", "managedFields")
        }
        return {**{name: value for name, value in body.items() if name != "status"}, "metadata": metadata}

    def _remove(self, key: Key) -> None:
        """Remove an object, and with a namespace what is in it."""
        del self.objects[key]
        if key[0] == "namespaces":
            for inside in [inside for inside in self.objects if inside[1] == key[2]]:
                del self.objects[inside]

    def _read(self, body: Body) -> Body:
        status = self.status(body)
        return body if status is None else {**body, "status": status}

    # --- by HTTP ---

    def serve(self) -> None:
        """Listen at ``url``, on the loopback interface."""
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def serve(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                status, data = 200, b""
                if "watch=" in self.path:
                    time.sleep(1)
                else:
                    headers = {"Content-Type": self.headers.get("content-type", "")}
                    with cluster._lock:
                        answer = cluster.request(self.command, self.path, body, headers=headers)
                    status, data = answer.status, answer.data
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815

            def log_message(self, *_arguments: t.Any) -> None:
                """Nothing is logged."""

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: t.Any) -> None:
        """Clients end watches as they like."""


def _requirements(selector: str) -> list[tuple[str, list[str]]]:
    """Of a label selector, each label and the values that it may have; none for any."""
    label, among, values = selector.partition(" in (")
    if among:
        return [(label, values.removesuffix(")").split(","))]
    pairs = [pair.partition("=") for pair in selector.split(",") if pair]
    return [(label, [value] if value else []) for label, _equals, value in pairs]


def _specified(body: Body) -> Body:
    return {name: value for name, value in body.items() if name not in ("metadata", "status")}
