# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""An API server in memory, as far as apply_set and reversible_patch need one: discovery, server-side apply, JSON Patch,
lists by label, deletion.

It does not validate, default or convert anything, ends each watch without an event, and gives each object one field
manager.
"""

from __future__ import annotations

import copy
import json
import time
import typing as t
from urllib.parse import parse_qs, urlsplit

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api

#: By API version and plural, each kind and whether it is namespaced.
Resources = dict[str, dict[str, tuple[str, bool]]]
RESOURCES: Resources = {
    "v1": {"configmaps": ("ConfigMap", True), "secrets": ("Secret", True), "namespaces": ("Namespace", False)},
    "apps/v1": {"deployments": ("Deployment", True)},
}
VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]

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


class PowerCut(BaseException):
    """The client dies: nothing catches this."""


def fields_of(value: t.Any) -> Body:
    return {f"f:{key}": fields_of(item) for key, item in value.items()} if isinstance(value, dict) else {}


class Cluster:
    """Holds ``objects`` by key and the ``writes`` it got. Disconnects the client after ``writes_left`` more writes."""

    def __init__(self, resources: Resources = RESOURCES) -> None:
        self.resources = resources
        self.objects: dict[Key, Body] = {}
        self.writes: list[str] = []
        self.writes_left = -1
        #: What must not be deleted: by key, the HTTP status that says so; a collection has no name.
        self.undeletable: dict[Key, int] = {}
        #: How often objects that are being deleted may still be looked at.
        self.looks_left = 0
        self._version = 0
        self.put("namespaces", "", "default")

    def api(self) -> Api:
        """A client that sends one request at a time, so that what is sent has an order."""
        return Api(self, "https://cluster", dict, parallel=1)

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

    def names(self, plural: str = "configmaps") -> list[str]:
        return sorted(name for found, _namespace, name in self.objects if found == plural)

    def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
        split = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(split.query).items()}
        parts = split.path.strip("/").split("/")[1:]
        if split.path.startswith("/apis/") and len(parts) == 1:
            versions = [{"groupVersion": version} for version in self.resources if version.startswith(f"{parts[0]}/")]
            return (
                Answer(200, {"preferredVersion": versions[0], "versions": versions})
                if versions
                else Answer(404, {"kind": "Status"})
            )
        group = parts.pop(0) if split.path.startswith("/api/") else "/".join((parts.pop(0), parts.pop(0)))
        resources = self.resources.get(group, {})
        if not parts:
            listed = [
                {"name": plural, "kind": kind, "namespaced": namespaced, "verbs": VERBS}
                for plural, (kind, namespaced) in resources.items()
            ]
            return (
                Answer(200, {"groupVersion": group, "resources": listed}) if listed else Answer(404, {"kind": "Status"})
            )
        namespace = parts[1] if parts[0] == "namespaces" and len(parts) > 2 else ""
        plural, *name = parts[2:] if namespace else parts
        if plural not in resources:
            return Answer(404, {"kind": "Status"})
        if method != "GET" and "dryRun" not in query:
            if self.writes_left == 0:
                raise PowerCut
            self.writes_left -= 1
            self.writes.append(f"{method} {split.path}")
        if not name:
            return self._collection(method, plural, namespace, query)
        if options.get("headers", {}).get("Content-Type") == "application/json-patch+json":
            return self._json_patched((plural, namespace, name[0]), json.loads(body or b"[]"), "dryRun" in query)
        return self._object(method, (plural, namespace, name[0]), json.loads(body) if body else {}, "dryRun" in query)

    def _collection(self, method: str, plural: str, namespace: str, query: dict[str, str]) -> Answer:
        label, _equals, value = query.get("labelSelector", "").partition("=")

        def is_selected(key: Key, body: Body) -> bool:
            labels = body["metadata"].get("labels") or {}
            return (
                key[0] == plural
                and namespace in ("", key[1])
                and (not label or (label in labels and value in ("", labels[label])))
            )

        found = {key: body for key, body in self.objects.items() if is_selected(key, body)}
        if method == "DELETE":
            if (plural, namespace, "") in self.undeletable:
                return Answer(
                    self.undeletable[plural, namespace, ""],
                    {"kind": "Status", "reason": "Forbidden", "message": "no collections"},
                )
            for key in found:
                self._remove(key)
        return Answer(200, {"metadata": {"resourceVersion": str(self._version)}, "items": list(found.values())})

    def _object(self, method: str, key: Key, body: Body, dry_run: bool) -> Answer:
        live = self.objects.get(key)
        if method == "PATCH":
            if key[1] and ("namespaces", "", key[1]) not in self.objects:
                return Answer(
                    404, {"kind": "Status", "reason": "NotFound", "message": f'namespaces "{key[1]}" not found'}
                )
            after = self._applied(key, live, body)
            if not dry_run:
                self.objects[key] = after
            return Answer(200 if live else 201, after)
        if live is None:
            return Answer(404, {"kind": "Status", "reason": "NotFound", "message": f"{key[2]} not found"})
        if method == "DELETE":
            if key in self.undeletable:
                return Answer(
                    self.undeletable[key], {"kind": "Status", "reason": "Forbidden", "message": "not this one"}
                )
            uid = body.get("preconditions", {}).get("uid")
            if uid and uid != live["metadata"]["uid"]:
                return Answer(
                    409,
                    {"kind": "Status", "reason": "Conflict", "message": "the UID in the precondition does not match"},
                )
            self._remove(key)
        elif live["metadata"].get("deletionTimestamp"):
            self.looks_left -= 1
            if self.looks_left < 0:
                self._remove(key)
                return Answer(404, {"kind": "Status", "reason": "NotFound", "message": f"{key[2]} not found"})
        return Answer(200, live)

    def _json_patched(self, key: Key, operations: list[Body], dry_run: bool) -> Answer:
        if key not in self.objects:
            return Answer(404, {"kind": "Status", "reason": "NotFound", "message": f"{key[2]} not found"})
        after = copy.deepcopy(self.objects[key])
        for operation in operations:
            *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
            container: t.Any = after
            for part in way:
                container = container[int(part) if isinstance(container, list) else part]
            if operation["op"] == "test" and container.get(last) != operation["value"]:
                return Answer(
                    422,
                    {
                        "kind": "Status",
                        "reason": "Invalid",
                        "message": "the server rejected our request due to an error in our request",
                    },
                )
            if operation["op"] == "remove":
                del container[last]
            elif operation["op"] != "test":
                assert operation["op"] == "add" or last in container, operation
                container[last] = operation["value"]
        if not dry_run:
            self._version += 1
            after["metadata"]["resourceVersion"] = f"patched-{self._version}"
            self.objects[key] = after
        return Answer(200, after)

    def _applied(self, key: Key, live: Body | None, body: Body) -> Body:
        after = self.stored(body)
        metadata = after["metadata"]
        owned = self.fields(
            {
                **{name: value for name, value in body.items() if name not in ("apiVersion", "kind")},
                "metadata": dict(body["metadata"]),
            }
        )
        for name in ("name", "namespace"):
            owned["f:metadata"].pop(f"f:{name}", None)
        entry = {
            "manager": "egress.ai_gateway",
            "operation": "Apply",
            "apiVersion": body["apiVersion"],
            "fieldsV1": owned,
        }
        if (
            live
            and self._submitted(live) == self._submitted(after)
            and live["metadata"].get("managedFields") == [entry]
        ):
            return live
        self._version += 1
        uid = live["metadata"]["uid"] if live else f"uid-{self._version}"
        metadata.update(uid=uid, resourceVersion=str(self._version), managedFields=[entry])
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
            if name not in ("uid", "resourceVersion", "managedFields")
        }
        return {**{name: value for name, value in body.items() if name != "status"}, "metadata": metadata}

    def _remove(self, key: Key) -> None:
        """Remove an object, and with a namespace what is in it."""
        del self.objects[key]
        if key[0] == "namespaces":
            for inside in [inside for inside in self.objects if inside[1] == key[2]]:
                del self.objects[inside]
