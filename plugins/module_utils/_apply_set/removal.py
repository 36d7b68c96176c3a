# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes a set's objects: whole collections by the set's label where nothing of them stays, the others one by one."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import Body, Seen
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import NAMES_ONLY, Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import (
    NAMESPACE,
    GroupKind,
    ResourceType,
)

#: Their dependents go with them, and absence means that those are gone too.
_OWNERS = frozenset(
    (
        GroupKind("apps", "Deployment"),
        GroupKind("apps", "StatefulSet"),
        GroupKind("apps", "DaemonSet"),
        GroupKind("batch", "Job"),
        GroupKind("batch", "CronJob"),
    )
)


_PODS = ResourceType("v1", "Pod", "pods", True, frozenset())


@dataclass(frozen=True, eq=False)
class Deletion:
    """One request: the path of an object or a collection, its query and options, and the members that it deletes."""

    path: str
    query: dict[str, str]
    options: Body
    members: list[Seen]

    def __str__(self) -> str:
        return str(self.members[0].reference) if len(self.members) == 1 else f"the set's {self.members[0].type.plural}"


def deletions(
    members: t.Iterable[Seen], non_empty: t.Collection[tuple[str, str, str]], selector: str, dependents: bool
) -> list[Deletion]:
    """The requests that delete ``members`` and nothing else.

    :param non_empty: (group, kind, namespace) of collections with objects that stay; there ``members`` are deleted one
        by one.
    :param dependents: let a workload be gone only when its pods are.
    """
    collections: dict[tuple[ResourceType, str], list[Seen]] = {}
    for member in members:
        collections.setdefault((member.type, member.reference.namespace), []).append(member)
    requests = []
    for (resource_type, namespace), found in collections.items():
        foreground = dependents and resource_type.group_kind in _OWNERS
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Foreground" if foreground else "Background",
        }
        whole = (*resource_type.group_kind, namespace) not in non_empty
        if whole and len(found) > 1 and "deletecollection" in resource_type.verbs:
            requests.append(Deletion(resource_type.path(namespace), {"labelSelector": selector}, options, found))
        else:
            requests += _one_by_one(found, options)
    return requests


def _one_by_one(members: t.Iterable[Seen], options: Body) -> list[Deletion]:
    # Only the very object that was seen: its successor of the same name may be somebody else's.
    return [
        Deletion(
            member.type.path(member.reference.namespace, member.reference.name),
            {},
            {**options, "preconditions": {"uid": member.uid}},
            [member],
        )
        for member in members
    ]


def request_deletions(api: Api, requests: t.Sequence[Deletion]) -> tuple[list[Seen], list[str]]:
    """Send the requests; the members that are deleted, and one line for each request that was refused."""

    def delete(request: Deletion) -> str:
        try:
            # A collection answers with all of it, of which nothing is needed.
            accept = NAMES_ONLY if request.query else "application/json"
            api.request("DELETE", request.path, request.query, request.options, accept=accept)
        except ApiError as error:
            if error.status == 403 and len(request.members) > 1:
                # A user who may delete objects may not always delete collections.
                return "\n".join(filter(None, map(delete, _one_by_one(request.members, request.options))))
            # Gone already, or replaced by another object of that name.
            if error.status == 404 or (error.status == 409 and "uid" in error.message.lower()):
                return ""
            return f"deleting {request}: {error.message}"
        return ""

    failures = api.each(delete, requests)
    deleted = [member for request, failure in zip(requests, failures) if not failure for member in request.members]
    return deleted, [failure for failure in failures if failure]


def still_there(api: Api, members: t.Sequence[Seen], selector: str) -> list[Body]:
    """Some of those of ``members`` that are not gone yet, a page of each collection at most; none when all are."""
    wanted = {member.uid for member in members}
    collections = sorted({(member.type, member.reference.namespace) for member in members}, key=str)

    def left(collection: tuple[ResourceType, str]) -> list[Body]:
        # What holds a Namespace stands in its spec and status, what holds another object in its metadata.
        names_only = collection[0].group_kind != NAMESPACE
        for _version, items in api.pages(*collection, {"labelSelector": selector}, names_only=names_only):
            found = [body for body in items if body["metadata"]["uid"] in wanted]
            if found:
                return found
        return []

    return [body for found in api.each(left, collections) for body in found]


def ending_pods(api: Api, namespaces: t.Sequence[str]) -> list[Body]:
    """Pods of ``namespaces`` that are being deleted; none where they may not be read."""

    def ending(namespace: str) -> list[Body]:
        try:
            pages = api.pages(_PODS, namespace, names_only=True)
            return [body for _version, items in pages for body in items if body["metadata"].get("deletionTimestamp")]
        except ApiError as error:
            if error.status == 403:
                return []
            raise

    return [body for found in api.each(ending, namespaces) for body in found]
