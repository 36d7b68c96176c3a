# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Deletes a set's objects: whole collections by the set's label where nothing of them stays, the others one by one."""

from __future__ import annotations

import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_kinds import NAMESPACE, GroupKind, ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_reading import Body, Identity, Seen

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


class Deletion(t.NamedTuple):
    """One request: the path of an object or a collection, its query and options, and what it deletes in words."""

    path: str
    query: dict[str, str]
    options: Body
    what: str


def deletions(members: t.Iterable[Seen], staying: t.Collection[Identity], selector: str, dependents: bool) -> list[Deletion]:
    """The requests that delete ``members`` and nothing else.

    :param staying: objects of the set that stay; a collection with one of them is deleted object by object.
    :param dependents: let a workload be gone only when its pods are.
    """
    collections: dict[tuple[ResourceType, str], list[Seen]] = {}
    for member in members:
        collections.setdefault((member.type, member.reference.namespace), []).append(member)
    inhabited = {(group, kind, namespace) for group, kind, namespace, _name in staying}
    requests = []
    for (resource_type, namespace), found in collections.items():
        foreground = dependents and resource_type.group_kind in _OWNERS
        options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground" if foreground else "Background"}
        whole = (*resource_type.group_kind, namespace) not in inhabited
        if whole and len(found) > 1 and "deletecollection" in resource_type.verbs:
            requests.append(Deletion(resource_type.path(namespace), {"labelSelector": selector}, options, f"the set's {resource_type.plural}"))
            continue
        for member in found:
            # Only the very object that was seen: its successor of the same name may be somebody else's.
            precondition = {**options, "preconditions": {"uid": member.uid}}
            requests.append(Deletion(resource_type.path(namespace, member.reference.name), {}, precondition, str(member.reference)))
    return requests


def request_deletions(api: Api, requests: t.Sequence[Deletion]) -> list[str]:
    """Send the requests; one line for each that was refused."""

    def delete(request: Deletion) -> str:
        try:
            api.request("DELETE", request.path, request.query, request.options)
        except ApiError as error:
            # Gone already, or replaced by another object of that name.
            if error.status == 404 or (error.status == 409 and "uid" in error.message.lower()):
                return ""
            return f"deleting {request.what}: {error.message}"
        return ""

    return [failure for failure in api.each(delete, requests) if failure]


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
