# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Kuadrant's policies become, and what their statuses say. Nothing here asks the cluster."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from kubernetes_client import Object

GATEWAY_API = "gateway.networking.k8s.io"
ENVOY_GATEWAY = "gateway.envoyproxy.io"
#: By kind, API version and plural.
KINDS = {
    "GatewayClass": (f"{GATEWAY_API}/v1", "gatewayclasses"),
    "Gateway": (f"{GATEWAY_API}/v1", "gateways"),
    "HTTPRoute": (f"{GATEWAY_API}/v1", "httproutes"),
    "Kuadrant": ("kuadrant.io/v1beta1", "kuadrants"),
    "AuthPolicy": ("kuadrant.io/v1", "authpolicies"),
    "TokenRateLimitPolicy": ("kuadrant.io/v1alpha1", "tokenratelimitpolicies"),
    "AuthConfig": ("authorino.kuadrant.io/v1beta3", "authconfigs"),
    "Backend": (f"{ENVOY_GATEWAY}/v1alpha1", "backends"),
    "SecurityPolicy": (f"{ENVOY_GATEWAY}/v1alpha1", "securitypolicies"),
    "EnvoyExtensionPolicy": (f"{ENVOY_GATEWAY}/v1alpha1", "envoyextensionpolicies"),
    "BackendTrafficPolicy": (f"{ENVOY_GATEWAY}/v1alpha1", "backendtrafficpolicies"),
}
POLICIES = ("AuthPolicy", "TokenRateLimitPolicy")
#: In the order in which they are written; they are deleted in the reverse.
MADE = ("AuthConfig", "Backend", "SecurityPolicy", "EnvoyExtensionPolicy", "BackendTrafficPolicy")
#: What carries this label and is no longer wanted is deleted.
LABEL = {"app.kubernetes.io/managed-by": "kuadrant-operator-fake"}
#: As the real operator says it.
MISSING_PROVIDER = (
    "[Gateway API provider (istio / envoy gateway)] is not installed, "
    "please restart Kuadrant Operator pod once dependency has been installed"
)

#: The headers by which Envoy counts, by the property of filter ``identity`` that they hold.
HEADERS = {"userid": "x-kuadrant-user", "tier": "x-kuadrant-tier"}
#: What such a header says where the policy names no such property, so that no client can send it.
NOBODY = "-"
UNITS = {"1s": "Second", "1m": "Minute", "1h": "Hour", "24h": "Day"}
_PREDICATE = re.compile(
    r'auth\.identity\.tier == "(?P<tier>[^"\\]*)"|!request\.url_path\.matches\("\^(?P<path>.*)\$"\)'
)

#: The program of the proxies: the path as it was before a route rewrote it, and the tokens of an answer.
PROGRAM = r"""
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace("x-kuadrant-path", headers:get(":path"))
  -- In a compressed answer no tokens can be found.
  headers:remove("accept-encoding")
end

function envoy_on_response(handle)
  local tail, metadata = "", handle:streamInfo():dynamicMetadata()
  metadata:set("kuadrant", "total_tokens", 0)
  for chunk in handle:bodyChunks() do
    if chunk:length() > 0 then
      tail = tail .. chunk:getBytes(0, chunk:length())
      -- In a model's own words quotes are escaped, so this is the count of the response. A stream ends with its sum.
      local total
      for count in tail:gmatch('"total_tokens"%s*:%s*(%d+)') do total = tonumber(count) end
      if total then handle:streamInfo():dynamicMetadata():set("kuadrant", "total_tokens", total) end
      tail = tail:sub(-64)
    end
  end
end
"""

#: Kind, namespace and name.
Key = tuple[str, str, str]


class UnsupportedError(Exception):
    """A policy asks for something that this fake does not do. The message names the field and never its value, which
    may be a key.
    """


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a policy is not in force: the condition that is False, and what it says."""

    reason: str
    message: str
    condition: str = "Enforced"


def key_of(item: Object) -> Key:
    return item["kind"], item["metadata"].get("namespace", ""), item["metadata"]["name"]


def path_of(kind: str, namespace: str = "") -> str:
    """The collection of a kind, in a namespace or the whole cluster."""
    version, plural = KINDS[kind]
    return f"/apis/{version}/{f'namespaces/{namespace}/' if namespace else ''}{plural}"


def made_of(policy: Object, authorino_namespace: str) -> list[Object]:
    """The objects that enforce a policy.

    :raises UnsupportedError: if it asks for more.
    """
    part = "rules" if policy["kind"] == "AuthPolicy" else "limits"
    for field in sorted(policy["spec"].keys() - {"targetRef", part}):
        raise UnsupportedError(f"spec.{field} is not supported")
    if "sectionName" in policy["spec"]["targetRef"]:
        raise UnsupportedError("spec.targetRef.sectionName is not supported")
    return _authorization(policy, authorino_namespace) if part == "rules" else _limits(policy)


def _made(kind: str, namespace: str, name: str, spec: Object) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": LABEL}
    return {"apiVersion": KINDS[kind][0], "kind": kind, "metadata": metadata, "spec": spec}


def _targets(policy: Object) -> list[Object]:
    target = policy["spec"]["targetRef"]
    return [{"group": GATEWAY_API, "kind": target["kind"], "name": target["name"]}]


def _authorization(policy: Object, authorino_namespace: str) -> list[Object]:
    """Rules for Authorino, and what makes Envoy ask it before it lets a request in."""
    _kind, namespace, name = key_of(policy)
    rules = dict(policy["spec"].get("rules") or {})
    response = dict(rules.get("response") or {})
    success = response.get("success") or {}
    identity = success.get("filters", {}).get("identity", {}).get("json", {}).get("properties", {})
    headers = {header: {"plain": identity.get(field) or {"value": NOBODY}} for field, header in HEADERS.items()}
    rules["response"] = {**response, "success": {"headers": {**success.get("headers", {}), **headers}}}
    host = f"{namespace}.{name}.authpolicy.kuadrant"
    # By its host name: of a Service without ready endpoints Envoy Gateway would take the authorization filter out.
    authorino = {"hostname": f"authorino.{authorino_namespace}.svc.cluster.local", "port": 50051}
    extension = {
        "grpc": {"backendRefs": [{"group": ENVOY_GATEWAY, "kind": "Backend", "name": "kuadrant-authorino"}]},
        "contextExtensions": [{"name": "host", "type": "Value", "value": host}],
        "failOpen": False,
        "statusOnError": 503,
        "timeout": "5s",
    }
    return [
        _made("AuthConfig", authorino_namespace, f"{namespace}.{name}", {"hosts": [host], **rules}),
        # Whose certificate the fake does not know.
        _made(
            "Backend",
            namespace,
            "kuadrant-authorino",
            {"endpoints": [{"fqdn": authorino}], "tls": {"insecureSkipVerify": True, "alpnProtocols": ["h2"]}},
        ),
        _made(
            "SecurityPolicy",
            namespace,
            f"kuadrant-auth-{name}",
            {"targetRefs": _targets(policy), "extAuth": extension},
        ),
    ]


def _limits(policy: Object) -> list[Object]:
    """Limits of tokens for Envoy's rate limit service, and the program that finds the tokens of an answer."""
    _kind, namespace, name = key_of(policy)
    used = {"from": "Metadata", "metadata": {"namespace": "kuadrant", "key": "total_tokens"}}
    cost = {"request": {"from": "Number", "number": 0}, "response": used}
    rules = []
    for limit_name, limit in sorted((policy["spec"].get("limits") or {}).items()):
        where = f"spec.limits.{limit_name}"
        if [counter["expression"] for counter in limit.get("counters", [])] != ["auth.identity.userid"]:
            raise UnsupportedError(f"{where}.counters: the supported counter is auth.identity.userid")
        headers = [{"name": HEADERS["userid"], "type": "Distinct"}]
        headers += [_match(item["predicate"], where) for item in limit.get("when", [])]
        for rate in limit["rates"]:
            if rate["window"] not in UNITS:
                raise UnsupportedError(f"{where}.rates: the supported windows are {', '.join(UNITS)}")
            amount = {"requests": rate["limit"], "unit": UNITS[rate["window"]]}
            # One count for all routes of the Gateway.
            rules.append({"limit": amount, "shared": True, "cost": cost, "clientSelectors": [{"headers": headers}]})
    common = {"targetRefs": _targets(policy)}
    limits = {"type": "Global", "global": {"rules": rules}}
    return [
        _made(
            "EnvoyExtensionPolicy",
            namespace,
            f"kuadrant-{name}",
            {**common, "lua": [{"type": "Inline", "inline": PROGRAM}]},
        ),
        _made("BackendTrafficPolicy", namespace, f"kuadrant-{name}", {**common, "rateLimit": limits}),
    ]


def _match(predicate: str, where: str) -> Object:
    found = _PREDICATE.fullmatch(predicate)
    if not found:
        raise UnsupportedError(
            f'{where}.when: the supported predicates are auth.identity.tier == "..." and '
            '!request.url_path.matches("^...$")'
        )
    if found["tier"] is not None:
        return {"name": HEADERS["tier"], "type": "Exact", "value": found["tier"]}
    # The header holds a query too, which is no part of the path.
    path = rf"(?:{found['path']})(\?.*)?"
    return {"name": "x-kuadrant-path", "type": "RegularExpression", "value": path, "invert": True}


def condition_of(item: Object, name: str) -> Object:
    conditions = (item.get("status") or {}).get("conditions") or []
    return next((condition for condition in conditions if condition.get("type") == name), {})


def gateways_of(route: Object) -> set[Key]:
    """The Gateways that took a route."""
    return {
        ("Gateway", parent["parentRef"].get("namespace", route["metadata"]["namespace"]), parent["parentRef"]["name"])
        for parent in (route.get("status") or {}).get("parents") or []
        if condition_of({"status": parent}, "Accepted").get("status") == "True"
    }


def target_of(policy: Object) -> Key:
    target = policy["spec"]["targetRef"]
    return target["kind"], policy["metadata"]["namespace"], target["name"]


def out_of_path(policy: Object, policies: t.Sequence[Object], targets: t.Sequence[Object]) -> Refusal | None:
    """Why a policy meets no request:

    its target is missing, its Gateway has no routes, or each has an AuthPolicy of its own, or its route has no Gateway.
    ``targets`` are all Gateways and HTTPRoutes.
    """
    target = target_of(policy)
    if target not in map(key_of, targets):
        return Refusal("TargetNotFound", f"{' '.join(target)} was not found", "Accepted")
    routes = [item for item in targets if item["kind"] == "HTTPRoute" and target in {key_of(item), *gateways_of(item)}]
    if not any(map(gateways_of, routes)):
        return Refusal("Unknown", f"No route that a Gateway took is in the path of this {policy['kind']}.")
    own = {target_of(item) for item in policies if item["kind"] == "AuthPolicy"}
    if (policy["kind"], target[0]) == ("AuthPolicy", "Gateway") and {key_of(route) for route in routes} <= own:
        return Refusal("Overridden", "Every route of the Gateway has an AuthPolicy of its own.")
    return None


def is_in_force(item: Object) -> bool:
    """Whether Authorino or Envoy Gateway took an object as it is."""
    if item["kind"] == "AuthConfig":
        return bool(condition_of(item, "Ready").get("status") == "True")
    ancestors = [
        condition_of({"status": ancestor}, "Accepted") for ancestor in (item.get("status") or {}).get("ancestors") or []
    ]
    return item["kind"] == "Backend" or (
        bool(ancestors)
        and all(
            accepted.get("status") == "True" and accepted.get("observedGeneration") == item["metadata"]["generation"]
            for accepted in ancestors
        )
    )


def conditions_of(policy: Object, refusal: Refusal | None) -> list[Object]:
    """The conditions of a policy, without their times."""
    found = []
    for name in ("Accepted", "Enforced"):
        said = refusal if refusal and refusal.condition == name else None
        reason, message = (said.reason, said.message) if said else (name, f"The {policy['kind']} is {name.lower()}.")
        found.append({"type": name, "status": "False" if said else "True", "reason": reason, "message": message})
        if said:
            break
    return found


def new_status(item: Object, conditions: t.Sequence[Object], now: str) -> Object | None:
    """The status to write, with the times of its transitions; None where it is written already."""
    generation = item["metadata"]["generation"]
    timed = []
    for condition in conditions:
        before = condition_of(item, condition["type"])
        since = before["lastTransitionTime"] if before.get("status") == condition["status"] else now
        timed.append({**condition, "observedGeneration": generation, "lastTransitionTime": since})
    status = {"conditions": timed, "observedGeneration": generation}
    return None if {name: (item.get("status") or {}).get(name) for name in status} == status else status
