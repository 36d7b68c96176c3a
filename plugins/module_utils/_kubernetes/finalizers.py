# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Has controllers look again at objects that are being deleted and whose finalizers they do not remove.

Some take no second look by themselves: an error as they take their finalizer off is logged, and only a new generation
of the object wakes them, which no label or annotation makes. A change of ``spec`` does, and is allowed until the object
is gone. So a field that matters no more is changed. The finalizer itself stays its owner's.
"""

from __future__ import annotations

import json
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import (
    NAMESPACE,
    GroupKind,
    ResourceType,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import (
    FIELD_MANAGER,
    Reference,
    reference_of,
    some,
)

Body = dict[str, t.Any]

#: Seconds without any movement among a kind's finalizers before its controller is reminded; twice as many before each
#: next time.
PATIENCE = 5.0
#: Begins every name that a reminder writes.
_MARK = "egress-ai-gateway-removal-"

_AI_GROUP = "aigateway.envoyproxy.io"
_AI_FINALIZER = "aigateway.envoyproxy.io/finalizer"
_AI_REASON = "Envoy AI Gateway only logs an error as it removes its finalizer, such as a conflict with another writer."
_ENVOY_REASON = "Envoy Gateway only logs most errors as it removes its finalizer."


@dataclass(frozen=True, eq=False)
class _Reminder:
    """The field below ``spec`` that is changed for a kind.

    A list gets the item that ``item`` makes of a new name; a string becomes that item.
    """

    plural: str
    namespaced: bool
    finalizer: str
    field: tuple[str, ...]
    item: t.Callable[[str], t.Any]
    reason: str


def _target(name: str) -> Body:
    return {"group": _AI_GROUP, "kind": "AIServiceBackend", "name": name}


#: The kinds whose controllers are known to need it. Other controllers that keep finalizers try again by themselves.
_REMINDERS: dict[GroupKind, _Reminder] = {
    # A header that no request has is removed.
    GroupKind(_AI_GROUP, "AIServiceBackend"): _Reminder(
        "aiservicebackends", True, _AI_FINALIZER, ("headerMutation", "remove"), lambda name: name, _AI_REASON
    ),
    # A backend that there is not is a target.
    GroupKind(_AI_GROUP, "BackendSecurityPolicy"): _Reminder(
        "backendsecuritypolicies", True, _AI_FINALIZER, ("targetRefs",), _target, _AI_REASON
    ),
    GroupKind(_AI_GROUP, "QuotaPolicy"): _Reminder(
        "quotapolicies", True, _AI_FINALIZER, ("targetRefs",), _target, _AI_REASON
    ),
    # Nothing is made of a route any more that is being deleted.
    GroupKind(_AI_GROUP, "AIGatewayRoute"): _Reminder(
        "aigatewayroutes",
        True,
        _AI_FINALIZER,
        ("llmRequestCosts",),
        lambda name: {"metadataKey": name, "type": "InputToken"},
        _AI_REASON,
    ),
    GroupKind(_AI_GROUP, "MCPRoute"): _Reminder(
        "mcproutes", True, _AI_FINALIZER, ("headers",), lambda name: {"name": name, "value": name}, _AI_REASON
    ),
    GroupKind("gateway.networking.k8s.io", "GatewayClass"): _Reminder(
        "gatewayclasses",
        False,
        "gateway-exists-finalizer.gateway.networking.k8s.io",
        ("description",),
        lambda name: name,
        _ENVOY_REASON,
    ),
}


def held_kind(body: Body) -> GroupKind | None:
    """The kind of an object that is being deleted and kept by a finalizer whose owner can be reminded; else None."""
    group_kind = reference_of(body).group_kind
    metadata = body["metadata"]
    reminder = _REMINDERS.get(group_kind)
    held = (
        reminder is not None
        and metadata.get("deletionTimestamp")
        and reminder.finalizer in (metadata.get("finalizers") or ())
    )
    return group_kind if held else None


def change_of(body: Body) -> Body:
    """The merge patch, for this very object alone, that gives it a new generation; another one for each of its
    resourceVersions.
    """
    reminder, metadata = _REMINDERS[reference_of(body).group_kind], body["metadata"]
    *parents, last = reminder.field
    found = body.get("spec") or {}
    for step in parents:
        found = found.get(step) or {}
    value, before = reminder.item(f"{_MARK}{metadata['resourceVersion']}"), found.get(last)
    if last != "description":
        # In place of what the last reminder put there.
        value = [*(item for item in before or () if _MARK not in json.dumps(item)), value]
    for step in reversed(reminder.field):
        value = {step: value}
    return {"metadata": {"uid": metadata["uid"]}, "spec": value}


@dataclass
class _Standstill:
    """Which objects of a kind with which finalizers have been there since when (monotonic seconds), and for how long
    that is borne.
    """

    state: frozenset[t.Any]
    since: float
    patience: float


class Reminders:
    """Of one wait for objects to be gone: reminds the owners of finalizers that do not move, and says so."""

    def __init__(self, api: Api, say: t.Callable[[str], None], warn: t.Callable[[str], None]) -> None:
        """:param warn: is called with what was done about each object, once."""
        self._api = api
        self._say = say
        self._warn = warn
        self._standstills: dict[GroupKind, _Standstill] = {}
        #: How often each object's controller was reminded.
        self._times: dict[tuple[str, str, str, str], int] = {}

    def look(self, left: t.Sequence[Body]) -> None:
        """Remind owners of finalizers where nothing has moved for a while.

        :param left: objects that are being deleted; with a Namespace, those in it count too.
        """
        by_kind: dict[GroupKind, list[Body]] = {}
        for body in left:
            group_kind = held_kind(body) or (NAMESPACE if reference_of(body).group_kind == NAMESPACE else None)
            if group_kind:
                by_kind.setdefault(group_kind, []).append(body)
        # A controller that gets on with others of its kind gets to all of them.
        self._standstills = {
            group_kind: self._standstills[group_kind] for group_kind in by_kind if group_kind in self._standstills
        }
        now = time.monotonic()
        for group_kind, bodies in by_kind.items():
            state = frozenset(_state(body) for body in bodies)
            standstill = self._standstills.get(group_kind)
            if standstill is None or standstill.state != state:
                self._standstills[group_kind] = _Standstill(state, now, PATIENCE)
            elif now - standstill.since >= standstill.patience:
                self._remind(self._inside(bodies) if group_kind == NAMESPACE else bodies, standstill.patience)
                standstill.since, standstill.patience = time.monotonic(), 2 * standstill.patience

    def times(self, body: Body) -> int:
        """How often the controller of an object was reminded."""
        return self._times.get(reference_of(body).identity, 0)

    def _inside(self, namespaces: t.Sequence[Body]) -> list[Body]:
        """What is held in ``namespaces`` by finalizers whose owners can be reminded, a page of each kind at most."""
        groups = sorted({group_kind.group for group_kind, reminder in _REMINDERS.items() if reminder.namespaced})
        versions = [version for found in self._api.each(self._api.versions, groups) for version in found]
        served = {
            resource_type.group_kind: resource_type
            for found in reversed(self._api.each(self._api.types, versions))
            for resource_type in found
            if resource_type.group_kind in _REMINDERS and resource_type.namespaced
        }
        collections = [
            (resource_type, body["metadata"]["name"]) for resource_type in served.values() for body in namespaces
        ]

        def held(collection: tuple[ResourceType, str]) -> list[Body]:
            for _version, items in self._api.pages(*collection, names_only=True):
                return [body for body in items if held_kind(body)]
            return []

        return [body for found in self._api.each(held, collections) for body in found]

    def _remind(self, bodies: t.Sequence[Body], waited: float) -> None:
        by_kind: dict[GroupKind, list[Body]] = {}
        for body in bodies:
            by_kind.setdefault(reference_of(body).group_kind, []).append(body)
        for group_kind, found in by_kind.items():
            reminder = _REMINDERS[group_kind]
            references = [reference_of(body) for body in found]
            first = [reference for reference in references if reference.identity not in self._times]
            field = ".".join(("spec", *reminder.field))
            line = (
                f"finalizer {reminder.finalizer} has not moved for {waited:.0f} "
                f"s; {field} is changed to have its controller look again"
            )
            self._say(f"{some(references)}: {line}")
            failures = [failure for failure in self._api.each(self._change, found) if failure]
            for reference in references:
                self._times[reference.identity] = self._times.get(reference.identity, 0) + 1
            if first:
                refused = f" That was refused: {'; '.join(failures[:3])}" if failures else ""
                self._warn(f"{some(first)}: {line}. {reminder.reason}{refused}")

    def _change(self, seen: Body) -> str:
        """Change one object; why that was refused, if it was."""
        reference = reference_of(seen)
        path = _path(reference)
        try:
            body = self._api.get(path)
            if body is None or not held_kind(body) or body["metadata"]["uid"] != seen["metadata"]["uid"]:
                return ""
            # Strict, as a field that this version of the kind does not have would change nothing.
            query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}
            self._api.request(
                "PATCH", path, query, change_of(body), content_type="application/merge-patch+json", patience=0
            )
        except ApiError as error:
            # Gone, or changed by somebody else, who has then made a new generation or will be seen next time.
            return "" if error.status in (404, 409) else f"{reference}: {error.message}"
        return ""


def _path(reference: Reference) -> str:
    reminder = _REMINDERS[reference.group_kind]
    return ResourceType(reference.api_version, reference.kind, reminder.plural, reminder.namespaced, frozenset()).path(
        reference.namespace, reference.name
    )


def _state(body: Body) -> tuple[t.Any, ...]:
    """What would be another if anything moved."""
    conditions = (body.get("status") or {}).get("conditions") or () if body["kind"] == "Namespace" else ()
    return (
        body["metadata"]["uid"],
        *(body["metadata"].get("finalizers") or ()),
        *(str(condition.get("message")) for condition in conditions),
    )
