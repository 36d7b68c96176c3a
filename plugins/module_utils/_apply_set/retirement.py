# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes AIGatewayRoutes out of use before they are deleted.

What their controller and Envoy Gateway made of a route goes piece by piece, and requests meet what is left: no cluster,
or one that lets the caller's headers through as they are. A route that matches no request is out of use at once, and
its pieces with it.
"""

from __future__ import annotations

import time
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import Body, Seen
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import JSON_PATCH, Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind, ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import FIELD_MANAGER, some

#: Seconds that proxies are given to take up what Envoy Gateway has made of a change.
_TAKING_UP = 2.0
#: Seconds that Envoy Gateway is given to make it.
_PATIENCE = 60.0
_AI_GATEWAY_ROUTE = GroupKind("aigateway.envoyproxy.io", "AIGatewayRoute")
_HTTP_ROUTES = ResourceType("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", True, frozenset())


def retire(api: Api, members: t.Sequence[Seen]) -> list[str]:
    """Have the AIGatewayRoutes among ``members`` match no request any more, and wait until the proxies know; what could
    not be done about it.

    Where the change is refused, the deletion has to do.
    """
    found = [member for member in members if member.reference.group_kind == _AI_GATEWAY_ROUTE]
    refusals = dict(zip(found, api.each(lambda member: _change(api, member), found)))
    refused = [member for member, refusal in refusals.items() if refusal]
    warnings = []
    if refused:
        warnings.append(
            f"{some([member.reference for member in refused])}: cannot be taken "
            "out of use before the deletion, so that requests may fail meanwhile: "
            f"{refusals[refused[0]]}"
        )
    waiting = [member for member in found if not refusals[member]]
    if waiting:
        deadline = time.monotonic() + _PATIENCE
        while late := [
            member
            for member, done in zip(waiting, api.each(lambda member: _is_known(api, member), waiting))
            if not done
        ]:
            if time.monotonic() >= deadline:
                warnings.append(
                    f"{some([member.reference for member in late])}: the "
                    "Gateway's controller has not taken the route out of use"
                )
                break
            waiting = late
            time.sleep(0.2)
        time.sleep(_TAKING_UP)
    return warnings


def _change(api: Api, member: Seen) -> str:
    """Change one; why that was refused, if it was."""
    path = member.type.path(member.reference.namespace, member.reference.name)
    try:
        body = api.get(path)
        if body is None or body["metadata"]["uid"] != member.uid:
            return ""
        operations: list[Body] = [{"op": "test", "path": "/metadata/uid", "value": member.uid}]
        for number in range(len(body["spec"].get("rules", ()))):
            operations.append({"op": "add", "path": f"/spec/rules/{number}/matches", "value": _matches(member)})
        api.request("PATCH", path, {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict"}, operations, JSON_PATCH)
    except ApiError as error:
        # Gone meanwhile.
        return "" if error.status == 404 else error.message
    return ""


def _matches(member: Seen) -> list[Body]:
    # No model has such a name, and what is no exact match is not listed among them.
    return [{"headers": [{"type": "RegularExpression", "name": "x-ai-eg-model", "value": member.uid}]}]


def _is_known(api: Api, member: Seen) -> bool:
    """Whether the HTTPRoute that was made of a route matches no request, as all its Gateways know; one that is not
    there is known.
    """
    try:
        body = api.get(_HTTP_ROUTES.path(member.reference.namespace, member.reference.name))
    except ApiError:
        return False
    if body is None:
        return True
    values = [
        header["value"] for match in body["spec"]["rules"][0].get("matches", ()) for header in match.get("headers", ())
    ]
    parents = body.get("status", {}).get("parents", ())
    generations = [
        condition.get("observedGeneration", 0) for parent in parents for condition in parent.get("conditions", ())
    ]
    return values == [member.uid] and all(generation >= body["metadata"]["generation"] for generation in generations)
