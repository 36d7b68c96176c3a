# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about routes and policies: whether they are accepted, and whether the proxies do what they say. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.proxies import MCP_BACKEND_LISTENER
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.rules_controllers import (
    MANAGER,
    PART_OF,
    resource_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.rules_wiring import proxy_name, scope_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import (
    Body,
    Snapshot,
    failed_conditions,
    is_parent,
    label_of,
    name_of,
    target_refs,
    thing_of,
)

_POLICIES = (
    "SecurityPolicy",
    "BackendTrafficPolicy",
    "ClientTrafficPolicy",
    "EnvoyExtensionPolicy",
    "EnvoyPatchPolicy",
)
_AI_KINDS = ("AIGatewayRoute", "AIServiceBackend", "BackendSecurityPolicy", "MCPRoute", "QuotaPolicy", "GatewayConfig")
#: Metadata that Envoy AI Gateway's processor writes, and that the program of this collection writes.
_PROCESSOR, _PROGRAM = "io.envoy.ai_gateway", "egress.ai-gateway"
_RESPONSE_FILTER = "egress.ai_gateway.response_filter"
_RATE_LIMIT = "envoy.filters.http.ratelimit"


def object_of(body: Body) -> dict[str, str]:
    return {
        "object": label_of(body),
        "resource": resource_of(body["kind"]),
        "namespace": body["metadata"].get("namespace", "default"),
        "name": body["metadata"]["name"],
    }


def _said(condition: Body) -> dict[str, str]:
    return {
        "condition": str(condition.get("type", "")),
        "reason": str(condition.get("reason", "")),
        "detail": str(condition.get("message", "")),
    }


def _route_scope(gateway: Body, body: Body) -> frozenset[str]:
    namespace = body["metadata"].get("namespace", "")
    backends = {
        f"{thing_of(ref)} {ref.get('namespace', namespace)}/{ref.get('name')}"
        for rule in (body.get("spec") or {}).get("rules") or ()
        for ref in rule.get("backendRefs") or ()
    }
    return scope_of(gateway, f"route {name_of(body)}", *backends)


def routes(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        controller = snapshot.controller_of(gateway)
        for body in snapshot.routes_of(gateway, "HTTPRoute"):
            generation = body["metadata"].get("generation", 0)
            scope = _route_scope(gateway, body)
            for parent in (body.get("status") or {}).get("parents") or ():
                if not is_parent(gateway, parent.get("parentRef") or {}, body):
                    continue
                if controller and parent.get("controllerName") != controller:
                    continue
                for condition in failed_conditions(parent.get("conditions") or (), generation, "Accepted"):
                    yield Finding(
                        "AIG0301", {**object_of(body), **_said(condition), "gateway": name_of(gateway)}, scope
                    )
                for condition in failed_conditions(parent.get("conditions") or (), generation, "ResolvedRefs"):
                    yield Finding("AIG0302", {**object_of(body), **_said(condition)}, scope)


def foreign_routes(snapshot: Snapshot) -> t.Iterator[Finding]:
    """Routes of other namespaces on a Gateway of this collection that are not of its own.

    Who may write in the Gateway's namespace may change everything there.
    """
    for gateway in snapshot.gateways:
        if PART_OF not in gateway["metadata"]["labels"]:
            continue
        for body in snapshot.routes_of(gateway, "HTTPRoute", "AIGatewayRoute", "MCPRoute"):
            metadata = body["metadata"]
            # Of what Envoy AI Gateway makes, the route that it makes it of is judged.
            derived = {owner.get("kind") for owner in metadata.get("owners") or ()} & {"AIGatewayRoute", "MCPRoute"}
            own = PART_OF in metadata["labels"] or MANAGER in (metadata.get("managers") or ())
            if metadata["namespace"] != gateway["metadata"]["namespace"] and not derived and not own:
                yield Finding(
                    "AIG0313",
                    {**object_of(body), "gateway": name_of(gateway)},
                    scope_of(gateway, f"route {name_of(body)}"),
                )


def backends(snapshot: Snapshot) -> t.Iterator[Finding]:
    """References of AIServiceBackends to backends that do not exist, and Backends that are refused."""
    for body in snapshot.own("Backend"):
        conditions = (body.get("status") or {}).get("conditions") or ()
        for condition in failed_conditions(conditions, body["metadata"].get("generation", 0), "Accepted"):
            yield Finding("AIG0302", {**object_of(body), **_said(condition)}, frozenset({f"backend {name_of(body)}"}))
    for body in snapshot.own("AIServiceBackend"):
        ref = (body.get("spec") or {}).get("backendRef") or {}
        if ref.get("kind") != "Backend" or not snapshot.could_read("Backend"):
            continue
        namespace = ref.get("namespace") or body["metadata"]["namespace"]
        if snapshot.get("Backend", namespace, ref["name"]) is None:
            yield Finding(
                "AIG0302",
                {
                    **object_of(body),
                    "reason": "BackendNotFound",
                    "detail": f"Backend {namespace}/{ref['name']} does not exist",
                },
                frozenset({f"backend {name_of(body)}"}),
            )
    for gateway in snapshot.gateways:
        for body in snapshot.routes_of(gateway, "AIGatewayRoute"):
            namespace = body["metadata"]["namespace"]
            for rule in (body.get("spec") or {}).get("rules") or ():
                for ref in rule.get("backendRefs") or ():
                    kind = ref.get("kind") or "AIServiceBackend"
                    if kind not in ("AIServiceBackend", "InferencePool") or not snapshot.could_read(kind):
                        continue
                    place = ref.get("namespace") or namespace
                    if snapshot.get(kind, place, ref["name"]) is None:
                        thing = "pool" if kind == "InferencePool" else "backend"
                        yield Finding(
                            "AIG0302",
                            {
                                **object_of(body),
                                "reason": "BackendNotFound",
                                "detail": f"{kind} {place}/{ref['name']} does not exist",
                            },
                            scope_of(gateway, f"route {name_of(body)}", f"{thing} {place}/{ref['name']}"),
                        )


def reconciled(snapshot: Snapshot) -> t.Iterator[Finding]:
    for body in snapshot.own(*_AI_KINDS):
        generation = body["metadata"].get("generation", 0)
        conditions = (body.get("status") or {}).get("conditions") or ()
        refused = [
            condition
            for condition in conditions
            if condition.get("type") == "NotAccepted" and condition.get("status") == "True"
        ]
        for condition in refused or failed_conditions(conditions, generation, "Accepted"):
            thing = "route" if body["kind"] in ("AIGatewayRoute", "MCPRoute") else "backend"
            targets = {f"backend {body['metadata'].get('namespace')}/{ref.get('name')}" for ref in target_refs(body)}
            yield Finding(
                "AIG0303",
                {**object_of(body), "detail": str(condition.get("message", ""))},
                frozenset({f"{thing} {name_of(body)}", *targets}),
            )


def policies(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        controller = snapshot.controller_of(gateway)
        for body in snapshot.policies_of(gateway, *_POLICIES, "BackendTLSPolicy"):
            generation = body["metadata"].get("generation", 0)
            scope = scope_of(gateway, label_of(body))
            for ancestor in (body.get("status") or {}).get("ancestors") or ():
                if controller and ancestor.get("controllerName") != controller:
                    continue
                conditions = ancestor.get("conditions") or ()
                for condition in failed_conditions(conditions, generation, "Accepted", "Programmed", "ResolvedRefs"):
                    yield Finding("AIG0305", {**object_of(body), **_said(condition)}, scope)
                for condition in conditions:
                    if condition.get("type") == "Overridden" and condition.get("status") == "True":
                        message = str(condition.get("message", ""))
                        if not _only_redirects(snapshot, message):
                            yield Finding("AIG0306", {**object_of(body), "detail": message}, scope)


def _only_redirects(snapshot: Snapshot, message: str) -> bool:
    """Whether the routes that a message about overriding lists lead to no backend, as one from HTTP to HTTPS does: for
    them a policy has nothing to hold.
    """
    listed = re.search(r"for these routes: \[([^\]]+)\]", message)
    if not listed:
        return False
    for name in listed.group(1).replace(",", " ").split():
        route = snapshot.get("HTTPRoute", *name.partition("/")[::2])
        if route is None or any(rule.get("backendRefs") for rule in (route.get("spec") or {}).get("rules") or ()):
            return False
    return True


def _own_chains(proxy: Body) -> list[Body]:
    """The filter chains in which a Gateway's policies have to be: no chain that only redirects, and none between the
    processor and MCP servers.
    """
    names = {
        configuration["name"]
        for configuration in proxy["configuration"]["route_configs"]
        if not configuration["routes"] or not all(route.get("redirect") for route in configuration["routes"])
    }
    return [
        chain
        for listener in proxy["configuration"]["listeners"]
        if listener["name"] != MCP_BACKEND_LISTENER
        for chain in listener["chains"]
        if chain["filters"] and chain["route_config"] in names
    ]


def _targets_all_of(gateway: Body, body: Body) -> bool:
    """Whether a policy targets all listeners of a Gateway."""
    return (
        any(
            ref.get("kind") == "Gateway"
            and ref.get("name") == gateway["metadata"]["name"]
            and not ref.get("sectionName")
            for ref in target_refs(body)
        )
        and body["metadata"].get("namespace") == gateway["metadata"]["namespace"]
    )


def _is_accepted(body: Body) -> bool:
    ancestors = (body.get("status") or {}).get("ancestors") or ()
    return any(
        condition.get("type") in ("Accepted", "Programmed") and condition.get("status") == "True"
        for ancestor in ancestors
        for condition in ancestor.get("conditions") or ()
    )


def enforced(snapshot: Snapshot) -> t.Iterator[Finding]:
    """Policies of a whole Gateway whose filters are in its proxies."""
    for gateway in snapshot.gateways:
        accepted = [
            body
            for body in snapshot.policies_of(gateway, *_POLICIES)
            if _targets_all_of(gateway, body) and _is_accepted(body)
        ]
        for proxy in snapshot.proxies_of(gateway):
            chains = _own_chains(proxy)
            for body in accepted:
                detail = _not_enforced(proxy, chains, body)
                if detail:
                    yield Finding(
                        "AIG0304",
                        {**object_of(body), "pod": proxy_name(proxy), "detail": detail},
                        scope_of(gateway, label_of(body)),
                    )


def _not_enforced(proxy: Body, chains: t.Sequence[Body], body: Body) -> str:
    """What a proxy lacks of a policy; empty where it lacks nothing."""
    specification, own = body.get("spec") or {}, name_of(body)
    if body["kind"] == "SecurityPolicy" and specification.get("extAuth"):
        return _lacking(proxy, chains, f"envoy.filters.http.ext_authz/securitypolicy/{own}", on_routes=True)
    if body["kind"] == "BackendTrafficPolicy" and _shared_rules(body):
        for chain in chains:
            if not any(name.startswith(_RATE_LIMIT) for name in chain["filters"]):
                return f"{chain['name']} has no filter {_RATE_LIMIT}"
        for route in _routes_for_models(proxy):
            if not route["limits"]:
                return f"route {route['name']} has no limits"
    if body["kind"] == "EnvoyPatchPolicy":
        for patch in specification.get("jsonPatches") or ():
            value = (patch.get("operation") or {}).get("value") or {}
            name = value.get("name", "") if isinstance(value, dict) else ""
            # What this collection adds to the filter chain; other patches may be of anything.
            if name.startswith("egress.ai_gateway."):
                lacking = _lacking(proxy, chains, name, on_routes=False)
                if lacking:
                    return lacking
    if body["kind"] == "EnvoyExtensionPolicy":
        for chain in chains:
            if not any(f"/envoyextensionpolicy/{own}/" in name for name in chain["filters"]):
                return f"{chain['name']} has no filter of it"
    return ""


def _lacking(proxy: Body, chains: t.Sequence[Body], name: str, on_routes: bool) -> str:
    for chain in chains:
        if name not in chain["filters"]:
            return f"{chain['name']} has no filter {name}"
    for route in _routes_for_models(proxy) if on_routes else ():
        # Another policy may guard the route; which one is its own status to say.
        if not any(found.startswith(name.partition("/")[0]) for found in route["filters"]):
            return f"route {route['name']} does not turn {name} on"
    return ""


def _routes_for_models(proxy: Body) -> t.Iterator[Body]:
    for configuration in proxy["configuration"]["route_configs"]:
        for route in configuration["routes"]:
            if route["generated"] and not route["status"]:
                yield route


def _shared_rules(body: Body) -> list[Body]:
    limits = (body.get("spec") or {}).get("rateLimit") or {}
    return list((limits.get("global") or {}).get("rules") or ())


def counting(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        ai_routes = snapshot.routes_of(gateway, "AIGatewayRoute")
        everywhere = {
            cost.get("metadataKey")
            for body in snapshot.objects("GatewayConfig")
            for cost in (body.get("spec") or {}).get("globalLLMRequestCosts") or ()
        }
        proxies = snapshot.proxies_of(gateway)
        for body in snapshot.policies_of(gateway, "BackendTrafficPolicy"):
            for number, rule in enumerate(_shared_rules(body)):
                detail = _uncounted(rule.get("cost") or {}, ai_routes, everywhere, proxies)
                if detail:
                    yield Finding(
                        "AIG0307",
                        {**object_of(body), "rule": str(rule.get("name") or number), "detail": detail},
                        scope_of(gateway, label_of(body)),
                    )
                    break


def _uncounted(cost: Body, ai_routes: t.Sequence[Body], everywhere: set[t.Any], proxies: t.Sequence[Body]) -> str:
    """Why a limit counts nothing; empty where it counts, or where nothing is known of what it counts."""
    request, response = cost.get("request") or {}, cost.get("response") or {}
    if not response:
        return "every request costs 0" if request.get("from") == "Number" and request.get("number") == 0 else ""
    metadata = response.get("metadata") or {}
    name = f"{metadata.get('namespace')}/{metadata.get('key')}"
    if metadata.get("namespace") == _PROCESSOR and metadata.get("key") not in everywhere:
        for body in ai_routes:
            costs = (body.get("spec") or {}).get("llmRequestCosts") or ()
            if metadata.get("key") not in {found.get("metadataKey") for found in costs}:
                return f"it reads {name}, and {label_of(body)} has no llmRequestCosts with this metadataKey"
    if metadata.get("namespace") == _PROGRAM:
        for proxy in proxies:
            for chain in _own_chains(proxy):
                if _RESPONSE_FILTER not in chain["filters"]:
                    return f"it reads {name}, which filter {_RESPONSE_FILTER} writes, and {chain['name']} has none"
    return ""


def rate_limiter(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        limited = [body for body in snapshot.policies_of(gateway, "BackendTrafficPolicy") if _shared_rules(body)]
        if not limited:
            continue
        for component, settings in snapshot.envoy_gateways(gateway):
            if "rateLimit" not in settings.get("sections", ()):
                yield Finding(
                    "AIG0311", {"object": label_of(limited[0]), "namespace": component.namespace}, scope_of(gateway)
                )
            elif snapshot.could_read("Deployment") and not any(
                found.namespace == component.namespace for found in snapshot.component("Rate limit service")
            ):
                yield Finding(
                    "AIG0308",
                    {
                        "detail": f"namespace {component.namespace} has no Deployment of it",
                        "namespace": component.namespace,
                        "name": "envoy-ratelimit",
                    },
                )


def checks_that_failed(snapshot: Snapshot) -> t.Iterator[Finding]:
    """Limits and authorization that a proxy could not ask for, with no good answer since."""
    for gateway in snapshot.gateways:
        for proxy in snapshot.proxies_of(gateway):
            answers = proxy.get("answers") or {}
            for kind, code in (("rate_limiter_error", "AIG0310"), ("ext_authz_error", "AIG0405")):
                answer = (answers.get("own") or {}).get(kind)
                if answer and answer["start_time"] > answers.get("reached", ""):
                    yield Finding(
                        code,
                        {
                            "pod": proxy_name(proxy),
                            "namespace": proxy["namespace"],
                            "name": proxy["pod"],
                            "time": answer["start_time"],
                        },
                        scope_of(gateway),
                        (f"response_code {answer.get('response_code')}, response_code_details {kind}",),
                    )


def quotas(snapshot: Snapshot) -> t.Iterator[Finding]:
    for body in snapshot.own("QuotaPolicy"):
        namespace = body["metadata"]["namespace"]
        detail = _quota_fault(snapshot, body, namespace)
        if detail:
            yield Finding("AIG0312", {**object_of(body), "detail": detail}, frozenset({label_of(body)}))


def _quota_fault(snapshot: Snapshot, body: Body, namespace: str) -> str:
    targets = [ref.get("name", "") for ref in target_refs(body)]
    if snapshot.could_read("AIServiceBackend"):
        missing = [name for name in targets if snapshot.get("AIServiceBackend", namespace, name) is None]
        if missing:
            return f"AIServiceBackend {namespace}/{missing[0]} does not exist and is passed over"
    for component in snapshot.component("Envoy AI Gateway"):
        address = (component.argument("quotaRateLimitServiceAddr") or "").partition(":")[0].split(".")
        if len(address) > 1 and snapshot.could_read("Service") and not snapshot.get("Service", address[1], address[0]):
            open_ = component.argument("quotaRateLimitFailureModeDeny") != "true"
            return f"its rate limit service, Service {address[1]}/{address[0]}, does not exist" + (
                ", and requests pass without it" if open_ else ""
            )
    quotas_of = (body.get("spec") or {}).get("perModelQuotas") or ()
    for quota in quotas_of:
        rules = (quota.get("quota") or {}).get("bucketRules") or ()
        if any(rule.get("shadowMode") for rule in rules):
            return f"a rule of model {quota.get('modelName')} has shadowMode, which only counts"
    upstream = {
        ref.get("modelNameOverride")
        for route in snapshot.objects("AIGatewayRoute")
        if route["metadata"]["namespace"] == namespace
        for rule in (route.get("spec") or {}).get("rules") or ()
        for ref in rule.get("backendRefs") or ()
        if ref.get("name") in targets and ref.get("modelNameOverride")
    }
    for quota in quotas_of:
        if upstream and quota.get("modelName") not in upstream:
            return (
                f"model {quota.get('modelName')} is none of {', '.join(sorted(map(str, upstream)))}, the names by "
                "which its targets are asked"
            )
    if not quotas_of and not (((body.get("spec") or {}).get("serviceQuota") or {}).get("quota") or {}).get("limit"):
        return "it has no quota above 0"
    return ""


RULES = (
    routes,
    foreign_routes,
    backends,
    reconciled,
    policies,
    enforced,
    counting,
    rate_limiter,
    checks_that_failed,
    quotas,
)
