# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about Authorino, providers and inference pools. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.proxies import UPSTREAM_FLAGS
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.rules_controllers import restarted
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.rules_routes import object_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.rules_wiring import proxy_name, scope_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import (
    Body,
    Snapshot,
    failed_conditions,
    is_ready,
    label_of,
    name_of,
    target_refs,
)

#: Megabytes of Authorino's cache from which a review of a ServiceAccount's token fits.
_LEAST_CACHE = 8
#: By the field of a BackendSecurityPolicy that names a Secret, the key that Envoy AI Gateway reads.
_KEYS = {
    ("apiKey", "secretRef"): "apiKey",
    ("anthropicAPIKey", "secretRef"): "apiKey",
    ("azureAPIKey", "secretRef"): "apiKey",
    ("awsCredentials", "credentialsFile", "secretRef"): "credentials",
    ("gcpCredentials", "credentialsFile", "secretRef"): "service_account.json",
    ("azureCredentials", "clientSecretRef"): "client-secret",
    **{
        (*field, "oidc", "clientSecret"): "client-secret"
        for field in (
            ("awsCredentials", "oidcExchangeToken"),
            ("azureCredentials", "oidcExchangeToken"),
            ("gcpCredentials", "workloadIdentityFederationConfig", "oidcExchangeToken"),
        )
    },
}
_MCP_KEY = "apiKey"
_TLS = re.compile(r"TLS|SSL|CERTIFICATE", re.IGNORECASE)
#: Flags that say that no connection came about.
_UNREACHED = frozenset(("UF", "UH", "DF", "URX"))


def authorino_cache(snapshot: Snapshot) -> t.Iterator[Finding]:
    for component in snapshot.component("Authorino"):
        size = int(component.argument("evaluator-cache-size") or 1)
        caching = [body for body in snapshot.objects("AuthConfig") if body.get("caches")]
        if size < _LEAST_CACHE and caching:
            yield Finding(
                "AIG0403",
                {
                    "size": str(size),
                    "auth_config": name_of(caching[0]),
                    "namespace": component.namespace,
                    "name": component.deployment,
                },
            )


def auth_configs(snapshot: Snapshot) -> t.Iterator[Finding]:
    for body in snapshot.objects("AuthConfig"):
        conditions = (body.get("status") or {}).get("conditions") or ()
        for condition in failed_conditions(conditions, 0, "Ready", "Available"):
            yield Finding(
                "AIG0404",
                {
                    "auth_config": name_of(body),
                    "namespace": body["metadata"]["namespace"],
                    "name": body["metadata"]["name"],
                    "detail": f"{condition.get('reason', '')}: {condition.get('message', '')}".strip(": "),
                },
                frozenset({label_of(body)}),
            )
            break


def keys(snapshot: Snapshot) -> t.Iterator[Finding]:
    if not snapshot.could_read("Secret"):
        return
    for body, ref, key, scope in [*_provider_keys(snapshot), *_mcp_keys(snapshot)]:
        namespace = ref.get("namespace") or body["metadata"]["namespace"]
        place = f"{namespace}/{ref['name']}"
        secret = snapshot.get("Secret", namespace, ref["name"])
        arguments = {
            **object_of(body),
            "secret": place,
            "namespace": namespace,
            "name": ref["name"],
            "key": key,
        }
        scope = scope | {f"secret {place}"}
        if secret is None:
            yield Finding("AIG0501", arguments, scope)
        elif not (secret.get("keys") or {}).get(key):
            names = ", ".join(secret.get("keys") or ()) or "none"
            yield Finding("AIG0504", {**arguments, "keys": names}, scope)


def _provider_keys(snapshot: Snapshot) -> t.Iterator[tuple[Body, Body, str, frozenset[str]]]:
    """Each policy with a reference to a Secret, its key and the backends that it is for."""
    for body in snapshot.own("BackendSecurityPolicy"):
        specification, namespace = body.get("spec") or {}, body["metadata"]["namespace"]
        wanted = [(_at(specification, field), key) for field, key in _KEYS.items()]
        targets = {f"backend {namespace}/{target.get('name')}" for target in target_refs(body)}
        for ref, key in wanted:
            if ref:
                yield body, ref, key, frozenset({f"backend {name_of(body)}", *targets})


def _at(value: t.Any, field: t.Iterable[str]) -> t.Any:
    """What a field of a field has; None where one is missing."""
    for name in field:
        value = (value or {}).get(name)
    return value


def _mcp_keys(snapshot: Snapshot) -> t.Iterator[tuple[Body, Body, str, frozenset[str]]]:
    """Each MCPRoute with a reference to a Secret, its key and the server that it is for.

    Envoy AI Gateway reads it in the namespace of the route, and accepts the route only with all keys.
    """
    for body in snapshot.own("MCPRoute"):
        for server in (body.get("spec") or {}).get("backendRefs") or ():
            ref = ((server.get("securityPolicy") or {}).get("apiKey") or {}).get("secretRef")
            if ref:
                backend = f"backend {body['metadata']['namespace']}/{server['name']}"
                yield body, {"name": ref["name"]}, _MCP_KEY, frozenset({f"route {name_of(body)}", backend})


def answers(snapshot: Snapshot) -> t.Iterator[Finding]:
    """The last answer of each backend."""
    for gateway in snapshot.gateways:
        last: dict[str, tuple[Body, Body]] = {}
        for proxy in snapshot.proxies_of(gateway):
            known = {cluster["name"] for cluster in proxy["configuration"]["clusters"]}
            for cluster, answer in ((proxy.get("answers") or {}).get("backends") or {}).items():
                if cluster in known and (cluster not in last or last[cluster][0]["start_time"] < answer["start_time"]):
                    last[cluster] = answer, proxy
        for cluster, (answer, proxy) in sorted(last.items()):
            yield from _judged(snapshot, gateway, cluster, answer, proxy)


def _judged(snapshot: Snapshot, gateway: Body, cluster: str, answer: Body, proxy: Body) -> t.Iterator[Finding]:
    found, mcp_server = snapshot.rule_of(cluster), snapshot.mcp_server_of(cluster)
    arguments = {
        "cluster": cluster,
        "server": _server(mcp_server),
        "time": answer["start_time"],
        "namespace": found[0]["metadata"]["namespace"] if found else proxy["namespace"],
        "pod": proxy_name(proxy),
    }
    scope = scope_of(gateway) | snapshot.scope_of_cluster(cluster)
    status, reason = answer.get("response_code", 0), str(answer.get("upstream_transport_failure_reason", ""))
    flags = set(str(answer.get("response_flags", "")).split(","))
    evidence = (
        f"response_code {status}, response_flags {answer.get('response_flags', '-')}, upstream_host "
        f"{answer.get('upstream_host', '-')}",
    )
    of_pool = found is not None and any(ref.get("kind") == "InferencePool" for ref in found[1])
    # Another server may ask its client for a token, or limit it, as may an MCP server that gets the client's token.
    of_provider = found is not None and found[0]["kind"] == "AIGatewayRoute" and not of_pool
    forwarded = {entry["name"].lower() for entry in (mcp_server or {}).get("forwardHeaders") or ()}
    asked_with_key = of_provider or (mcp_server is not None and "authorization" not in forwarded)
    if not flags & UPSTREAM_FLAGS:
        if status in (401, 403) and asked_with_key:
            yield Finding("AIG0505", {**arguments, "status": str(status)}, scope, evidence)
        elif status == 429 and asked_with_key:
            yield Finding("AIG0506", arguments, scope, evidence)
        return
    if reason and _TLS.search(reason):
        yield Finding("AIG0503", {**arguments, "detail": reason}, scope, evidence)
    elif flags & _UNREACHED:
        detail = reason or str(answer.get("response_code_details", ""))
        yield Finding("AIG0606" if of_pool else "AIG0502", {**arguments, "detail": detail}, scope, evidence)


def _server(mcp_server: Body | None) -> str:
    """What a sentence calls the server behind a cluster."""
    return "provider" if mcp_server is None else "MCP server"


def names(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        for proxy in snapshot.proxies_of(gateway):
            hosts = proxy.get("clusters") or {}
            for cluster in proxy["configuration"]["clusters"]:
                name = cluster["name"]
                if cluster["type"] not in ("STRICT_DNS", "LOGICAL_DNS") or hosts.get(name, {}).get("hosts", 1):
                    continue
                found = snapshot.rule_of(name)
                if found is None:
                    continue
                yield Finding(
                    "AIG0507",
                    {
                        "cluster": name,
                        "server": _server(snapshot.mcp_server_of(name)),
                        "pod": proxy_name(proxy),
                        "namespace": found[0]["metadata"]["namespace"],
                    },
                    scope_of(gateway) | snapshot.scope_of_cluster(name),
                )


def _used_backends(snapshot: Snapshot, gateway: Body) -> set[tuple[str, str]]:
    """Namespace and name of each Backend that a route of a Gateway names."""
    return {
        (ref.get("namespace") or body["metadata"]["namespace"], ref["name"])
        for body in snapshot.routes_of(gateway, "HTTPRoute")
        for rule in (body.get("spec") or {}).get("rules") or ()
        for ref in rule.get("backendRefs") or ()
        if ref.get("kind") == "Backend"
    }


def backends_enabled(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        count = len(_used_backends(snapshot, gateway))
        for component, settings in snapshot.envoy_gateways(gateway):
            if count and settings.get("enableBackend") != "true":
                yield Finding("AIG0508", {"count": str(count), "namespace": component.namespace}, scope_of(gateway))


def _used_pools(snapshot: Snapshot) -> dict[str, Body]:
    """The pools that routes of the diagnosed Gateways name and that exist, by name."""
    found = {}
    for gateway in snapshot.gateways:
        for body in snapshot.routes_of(gateway, "AIGatewayRoute", "HTTPRoute"):
            for rule in (body.get("spec") or {}).get("rules") or ():
                for ref in rule.get("backendRefs") or ():
                    if ref.get("kind") == "InferencePool":
                        namespace = ref.get("namespace") or body["metadata"]["namespace"]
                        pool = snapshot.get("InferencePool", namespace, ref["name"])
                        if pool:
                            found[name_of(pool)] = pool
    return found


def _pool_arguments(pool: Body) -> dict[str, str]:
    return {
        "pool": name_of(pool),
        "namespace": pool["metadata"]["namespace"],
        "name": pool["metadata"]["name"],
    }


def pickers(snapshot: Snapshot) -> t.Iterator[Finding]:
    for name, pool in sorted(_used_pools(snapshot).items()):
        ref = (pool.get("spec") or {}).get("endpointPickerRef") or {}
        namespace, scope = pool["metadata"]["namespace"], frozenset({f"pool {name}"})
        if not ref.get("name") or not snapshot.could_read("Service"):
            continue
        arguments = {**_pool_arguments(pool), "service": f"{namespace}/{ref['name']}", "name": ref["name"]}
        service = snapshot.get("Service", namespace, ref["name"])
        if service is None:
            yield Finding("AIG0601", {**arguments, "detail": "does not exist"}, scope)
            continue
        selector = (service.get("spec") or {}).get("selector") or {}
        pods = snapshot.pods_of(namespace, selector)
        shown = ", ".join(f"{key}={value}" for key, value in sorted(selector.items())) or "it has no selector"
        if not pods and not _is_scaled_down(snapshot, namespace, selector):
            yield Finding("AIG0602", {**arguments, "selector": shown}, scope)
        elif not any(map(is_ready, pods)):
            yield Finding("AIG0601", {**arguments, "detail": f"has no ready pod ({len(pods)} of {shown})"}, scope)
        for pod in pods:
            for restarts in restarted(snapshot, pod, 1):
                yield Finding("AIG0608", {**restarts, "pool": name}, scope)


def _is_scaled_down(snapshot: Snapshot, namespace: str, selector: t.Mapping[str, str]) -> bool:
    """Whether a Deployment would make pods that a Service selects, and has none now."""
    return any(
        body["metadata"]["namespace"] == namespace
        and selector
        and selector.items() <= (((body.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}).items()
        for body in snapshot.objects("Deployment")
    )


def pools(snapshot: Snapshot) -> t.Iterator[Finding]:
    for name, pool in sorted(_used_pools(snapshot).items()):
        scope = frozenset({f"pool {name}"})
        labels = ((pool.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
        pods = snapshot.pods_of(pool["metadata"]["namespace"], labels)
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        if snapshot.could_read("Pod") and not any(map(is_ready, pods)):
            detail = (
                f"its selector {selector} selects {len(pods)} pods, and none is ready"
                if pods
                else (f"its selector {selector} selects no pod")
            )
            yield Finding("AIG0603", {**_pool_arguments(pool), "selector": selector, "detail": detail}, scope)
        generation = pool["metadata"].get("generation", 0)
        for parent in (pool.get("status") or {}).get("parents") or ():
            for condition in failed_conditions(parent.get("conditions") or (), generation, "Accepted", "ResolvedRefs"):
                yield Finding(
                    "AIG0604",
                    {
                        **_pool_arguments(pool),
                        "condition": str(condition.get("type")),
                        "reason": str(condition.get("reason", "")),
                        "detail": str(condition.get("message", "")),
                    },
                    scope,
                )


def pools_enabled(snapshot: Snapshot) -> t.Iterator[Finding]:
    used = sorted(_used_pools(snapshot))
    for gateway in snapshot.gateways:
        for component, settings in snapshot.envoy_gateways(gateway):
            if used and "InferencePool" not in settings.get("resources", ()):
                yield Finding(
                    "AIG0605",
                    {"pools": ", ".join(used), "namespace": component.namespace},
                    frozenset(f"pool {name}" for name in used),
                )


RULES = (
    authorino_cache,
    auth_configs,
    keys,
    answers,
    names,
    backends_enabled,
    pickers,
    pools,
    pools_enabled,
)
