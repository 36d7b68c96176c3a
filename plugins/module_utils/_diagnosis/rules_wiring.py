# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about how Envoy AI Gateway's processor is wired into the proxies. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.proxies import (
    EXT_PROC_CLUSTER,
    EXT_PROC_FILTER,
    SIDECAR,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import (
    Body,
    Component,
    Snapshot,
    container_statuses,
    moment,
    name_of,
)

_STREAMS = re.compile(
    r"^(?:.*\.)?cluster\.(?P<cluster>(?:(?!\.cluster\.).)+?)ext_proc\.streams_started$"
    r"|^http\.(?P<listener>[^.]+)\.ext_proc\.streams_started$"
)
#: Of gRPC in Go, where nothing else is set.
_DEFAULT_MESSAGE = 4 << 20
_SECRET_LIMIT = 1 << 20
_NEAR = 0.75
#: Of a configuration in JSON, how large it is as a message: names of fields are left out there.
_MESSAGE_PART = 0.6
_UNITS = {"": 1, "k": 1000, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}
FILTER_CONFIGURATION = "filter-config.yaml"


def scope_of(gateway: Body, *more: str) -> frozenset[str]:
    return frozenset({f"gateway {name_of(gateway)}", *more})


def proxy_name(proxy: Body) -> str:
    return f"{proxy['namespace']}/{proxy['pod']}"


def _controller(snapshot: Snapshot) -> dict[str, str]:
    """Where Envoy AI Gateway runs, for commands."""
    found = snapshot.component("Envoy AI Gateway")
    if not found:
        return {"namespace": "envoy-ai-gateway-system", "controller": "ai-gateway-controller"}
    return {"namespace": found[0].namespace, "controller": found[0].deployment}


def has_processor(proxy: Body) -> bool:
    """Whether a proxy's configuration mentions the processor at all."""
    configuration = proxy["configuration"]
    return any(cluster["name"] == EXT_PROC_CLUSTER for cluster in configuration["clusters"]) or any(
        socket.endswith("/run.sock") for socket in configuration["sockets"]
    )


def hooks(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        if not snapshot.routes_of(gateway, "AIGatewayRoute"):
            continue
        for component, settings in snapshot.envoy_gateways(gateway):
            if not settings.get("extension"):
                detail = "its configuration names no extension manager"
            elif not settings.get("hooks") or not settings.get("translation"):
                detail = "its extension manager has no hook Translation"
            else:
                continue
            yield _not_wired(gateway, component.namespace, detail)
            break
        else:
            without = [proxy for proxy in snapshot.proxies_of(gateway) if _serves(proxy) and not has_processor(proxy)]
            if without:
                namespaces = [component.namespace for component, _settings in snapshot.envoy_gateways(gateway)]
                yield _not_wired(
                    gateway,
                    (namespaces or [without[0]["namespace"]])[0],
                    "no cluster of the processor and no run.sock in the configuration of proxy "
                    f"{proxy_name(without[0])}",
                )


def _serves(proxy: Body) -> bool:
    """Whether a proxy has routes of AIGatewayRoutes."""
    return any(
        route["generated"]
        for configuration in proxy["configuration"]["route_configs"]
        for route in configuration["routes"]
    )


def _not_wired(gateway: Body, namespace: str, detail: str) -> Finding:
    return Finding(
        "AIG0101", {"gateway": name_of(gateway), "namespace": namespace, "detail": detail}, scope_of(gateway)
    )


def routes_without_filter(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        for proxy in snapshot.proxies_of(gateway):
            for configuration in proxy["configuration"]["route_configs"]:
                generated = [route for route in configuration["routes"] if route["generated"]]
                missing = [
                    route
                    for route in generated
                    if EXT_PROC_FILTER not in route["filters"] or EXT_PROC_FILTER in route["off"]
                ]
                if missing:
                    yield Finding(
                        "AIG0103",
                        {
                            "count": str(len(missing)),
                            "total": str(len(generated)),
                            "route_config": configuration["name"],
                            "pod": proxy_name(proxy),
                            "route": missing[0]["name"],
                            **_controller(snapshot),
                        },
                        scope_of(gateway),
                        (
                            f"{missing[0]['name']} of {missing[0]['resource']} has no typed_per_filter_config "
                            f"{EXT_PROC_FILTER}",
                        ),
                    )


def listeners_without_filter(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        for proxy in snapshot.proxies_of(gateway):
            generated = {
                configuration["name"]
                for configuration in proxy["configuration"]["route_configs"]
                if any(route["generated"] for route in configuration["routes"])
            }
            for listener in proxy["configuration"]["listeners"]:
                for chain in listener["chains"]:
                    if chain["route_config"] in generated and EXT_PROC_FILTER not in (chain["filters"] or ()):
                        yield Finding(
                            "AIG0104",
                            {
                                "listener": chain["name"] or listener["name"],
                                "pod": proxy_name(proxy),
                                **_controller(snapshot),
                            },
                            scope_of(gateway),
                            (f"its filters are {', '.join(chain['filters'] or ())}",),
                        )


def clusters_without_filter(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        for proxy in snapshot.proxies_of(gateway):
            named = {
                cluster
                for configuration in proxy["configuration"]["route_configs"]
                for route in configuration["routes"]
                if route["generated"]
                for cluster in route["clusters"]
            }
            for cluster in proxy["configuration"]["clusters"]:
                if cluster["name"] in named and EXT_PROC_FILTER not in cluster["filters"]:
                    yield Finding(
                        "AIG0102",
                        {"cluster": cluster["name"], "pod": proxy_name(proxy), **_controller(snapshot)},
                        scope_of(gateway) | snapshot.scope_of_cluster(cluster["name"]),
                    )


def streams(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        for proxy in snapshot.proxies_of(gateway):
            statistics = proxy.get("statistics") or {}
            for name, started in sorted(statistics.items()):
                match = _STREAMS.match(name)
                if not match or not started:
                    continue
                stem = name.removesuffix("streams_started")
                failed, received = (
                    statistics.get(f"{stem}streams_failed", 0),
                    statistics.get(f"{stem}stream_msgs_received", 0),
                )
                if failed < started or received:
                    continue
                cluster = match["cluster"]
                uds = {
                    key.rpartition(".")[2]: value
                    for key, value in statistics.items()
                    if key.startswith(f"cluster.{EXT_PROC_CLUSTER}.upstream_")
                }
                yield Finding(
                    "AIG0105",
                    {
                        "started": str(started),
                        "place": f"cluster {cluster}" if cluster else f"listener {match['listener']}",
                        "pod": proxy_name(proxy),
                        "namespace": proxy["namespace"],
                        "name": proxy["pod"],
                    },
                    scope_of(gateway, f"pod {proxy_name(proxy)}")
                    | (snapshot.scope_of_cluster(cluster) if cluster else frozenset()),
                    (
                        f"streams_started {started}, streams_failed {failed}, stream_msgs_received {received}",
                        *(
                            (
                                f"{EXT_PROC_CLUSTER}: "
                                + ", ".join(f"{key} {value}" for key, value in sorted(uds.items())),
                            )
                            if uds
                            else ()
                        ),
                    ),
                )


def sidecars(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        if not snapshot.has_models(gateway):
            continue
        deployments = snapshot.proxy_deployments(gateway)
        for pod in snapshot.proxy_pods(gateway):
            specification = pod.get("spec") or {}
            names = [
                container["name"]
                for container in [
                    *(specification.get("initContainers") or ()),
                    *(specification.get("containers") or ()),
                ]
            ]
            arguments = {
                "pod": name_of(pod),
                "namespace": pod["metadata"]["namespace"],
                "name": pod["metadata"]["name"],
                "deployment": deployments[0]["metadata"]["name"] if deployments else "NAME",
            }
            scope = scope_of(gateway, f"pod {name_of(pod)}")
            if SIDECAR not in names:
                yield Finding("AIG0106", arguments, scope, (f"its containers are {', '.join(names)}",))
                continue
            for status in container_statuses(pod):
                if status["name"] == SIDECAR and not status.get("ready"):
                    reason = _not_ready(snapshot, status)
                    if reason:
                        yield Finding("AIG0107", {**arguments, "reason": reason}, scope)
            lines = snapshot.pod_lines(
                pod["metadata"]["namespace"],
                pod["metadata"]["name"],
                r"run\.sock.*no such file|no such file.*run\.sock",
            )
            if lines:
                yield Finding("AIG0108", {**arguments, "line": lines[-1]}, scope)


def _not_ready(snapshot: Snapshot, status: Body) -> str:
    """Why a container is not ready; empty where it has just begun."""
    state = status.get("state") or {}
    for name in ("waiting", "terminated"):
        reason = (state.get(name) or {}).get("reason", "")
        if reason and reason not in ("PodInitializing", "ContainerCreating"):
            return str(reason)
    started = moment(str((state.get("running") or {}).get("startedAt", "")))
    return "it runs and is not ready" if started and (snapshot.taken - started).total_seconds() > 60 else ""


def overloaded(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        for proxy in snapshot.proxies_of(gateway):
            overflows = (proxy.get("statistics") or {}).get(
                f"cluster.{EXT_PROC_CLUSTER}.upstream_rq_pending_overflow", 0
            )
            if overflows:
                limit = ((proxy.get("clusters") or {}).get(EXT_PROC_CLUSTER) or {}).get(
                    "max_requests"
                ) or "as many as may"
                yield Finding(
                    "AIG0109",
                    {
                        "pod": proxy_name(proxy),
                        "namespace": proxy["namespace"],
                        "name": proxy["pod"],
                        "overflows": str(overflows),
                        "limit": str(limit),
                    },
                    scope_of(gateway),
                )


def webhooks(snapshot: Snapshot) -> t.Iterator[Finding]:
    controllers = snapshot.component("Envoy AI Gateway")
    gateways = [gateway for gateway in snapshot.gateways if snapshot.routes_of(gateway, "AIGatewayRoute", "MCPRoute")]
    if not controllers or not gateways or not snapshot.could_read("MutatingWebhookConfiguration"):
        return
    namespaces = {component.namespace for component in controllers}
    found = [
        (configuration, number, webhook)
        for configuration in snapshot.objects("MutatingWebhookConfiguration")
        for number, webhook in enumerate(configuration.get("webhooks") or ())
        if ((webhook.get("clientConfig") or {}).get("service") or {}).get("namespace") in namespaces
    ]
    for namespace in sorted(
        {pod["metadata"]["namespace"] for gateway in gateways for pod in snapshot.proxy_pods(gateway)}
    ):
        if not any(_selects(snapshot, webhook, namespace) for _configuration, _number, webhook in found):
            evidence = tuple(
                f"{configuration['metadata']['name']} selects namespaces by {webhook.get('namespaceSelector') or {}}"
                for configuration, _number, webhook in found
            )
            yield Finding("AIG0112", {"namespace": namespace}, evidence=evidence)
    for configuration, number, webhook in found:
        detail = _webhook_fault(snapshot, controllers, configuration, number, webhook)
        if detail:
            yield Finding("AIG0110", {"webhook": configuration["metadata"]["name"], "detail": detail})


def _selects(snapshot: Snapshot, webhook: Body, namespace: str) -> bool:
    labels = (webhook.get("namespaceSelector") or {}).get("matchLabels") or {}
    body = snapshot.get("Namespace", "", namespace)
    own = {"kubernetes.io/metadata.name": namespace, **((body or {}).get("metadata") or {}).get("labels", {})}
    return bool(labels.items() <= own.items())


def _webhook_fault(
    snapshot: Snapshot, controllers: t.Sequence[Component], configuration: Body, number: int, webhook: Body
) -> str:
    service = webhook["clientConfig"]["service"]
    bundles = configuration.get("bundles") or []
    if number < len(bundles) and not bundles[number]:
        return "its caBundle holds no certificate"
    trust = (configuration.get("trust") or [{}] * (number + 1))[number]
    mounted = {
        secret
        for component in controllers
        if component.namespace == service["namespace"]
        for secret in component.body.get("secrets") or ()
    }
    host = f"{service['name']}.{service['namespace']}.svc"
    for secret, fits in sorted(trust.items()):
        if secret not in mounted:
            continue
        if fits is False:
            return f"its caBundle has not issued the certificate in Secret {service['namespace']}/{secret}"
        body = snapshot.get("Secret", service["namespace"], secret) or {}
        served = (body.get("certificates") or {}).get("tls.crt") or []
        if served and served[0]["names"] and host not in served[0]["names"]:
            return f"the certificate in Secret {service['namespace']}/{secret} is not for {host}"
        if body.get("fits") is False:
            return f"the key in Secret {service['namespace']}/{secret} is not that of its certificate"
    return ""


def refused_pods(snapshot: Snapshot) -> t.Iterator[Finding]:
    """Proxies without pods, as a webhook refuses them."""
    for gateway in snapshot.gateways:
        for deployment in snapshot.proxy_deployments(gateway):
            wanted = int(deployment["spec"].get("replicas", 1))
            if len(snapshot.proxy_pods(gateway)) >= wanted:
                continue
            namespace = deployment["metadata"]["namespace"]
            lines = [
                str(event.get("message", ""))
                for event in snapshot.objects("Event")
                if event.get("reason") == "FailedCreate"
                and "webhook" in str(event.get("message", ""))
                and (event.get("involvedObject") or {}).get("namespace") == namespace
                and str((event.get("involvedObject") or {}).get("name", "")).startswith(deployment["metadata"]["name"])
                and snapshot.is_recent(str(event.get("lastTimestamp") or event.get("eventTime") or ""))
            ]
            if lines:
                yield Finding(
                    "AIG0111",
                    {
                        "object": f"Deployment {name_of(deployment)}",
                        "namespace": namespace,
                        "line": lines[-1],
                    },
                    scope_of(gateway),
                )


def _bytes(quantity: str | None) -> int:
    match = re.fullmatch(r"(\d+)([kMG]i?|Ki)?", quantity or "")
    return int(match[1]) * _UNITS[match[2] or ""] if match else _DEFAULT_MESSAGE


def _shown(size: float) -> str:
    return f"{size / (1 << 20):.1f} MiB" if size >= 1 << 20 else f"{size / 1024:.0f} KiB"


def message_sizes(snapshot: Snapshot) -> t.Iterator[Finding]:
    pattern = r"larger than max|ResourceExhausted"
    for component in [*snapshot.component("Envoy Gateway"), *snapshot.component("Envoy AI Gateway")]:
        lines = snapshot.lines(component, pattern)
        if lines:
            yield Finding(
                "AIG0113", {"line": lines[-1], "namespace": component.namespace, "name": component.deployment}
            )
    for gateway in snapshot.gateways:
        limits = [
            (_bytes(settings.get("maxMessageSize")), "Envoy Gateway", component.namespace)
            for component, settings in snapshot.envoy_gateways(gateway)
        ]
        limits += [
            (_bytes(component.argument("maxRecvMsgSize")), "Envoy AI Gateway", component.namespace)
            for component in snapshot.component("Envoy AI Gateway")
        ]
        for proxy in snapshot.proxies_of(gateway):
            size = proxy["configuration"]["bytes"] * _MESSAGE_PART
            for limit, component_name, namespace in sorted(limits)[:1]:
                if size > _NEAR * limit and has_processor(proxy):
                    yield Finding(
                        "AIG0114",
                        {
                            "pod": proxy_name(proxy),
                            "size": f"about {_shown(size)}",
                            "limit": _shown(limit),
                            "component": component_name,
                            "namespace": namespace,
                        },
                        scope_of(gateway),
                    )


def filter_configuration(snapshot: Snapshot) -> t.Iterator[Finding]:
    for body in snapshot.objects("Secret"):
        size = (body.get("keys") or {}).get(FILTER_CONFIGURATION, 0)
        if size > _NEAR * _SECRET_LIMIT:
            yield Finding(
                "AIG0115",
                {
                    "secret": name_of(body),
                    "namespace": body["metadata"]["namespace"],
                    "name": body["metadata"]["name"],
                    "size": _shown(size),
                },
            )
    for component in snapshot.component("Envoy AI Gateway"):
        lines = snapshot.lines(component, r"must have at most 1048576 bytes|Too long.*1048576|filter-config.*too large")
        if lines:
            yield Finding(
                "AIG0116", {"line": lines[-1], "namespace": component.namespace, "name": component.deployment}
            )


RULES = (
    hooks,
    routes_without_filter,
    listeners_without_filter,
    clusters_without_filter,
    streams,
    sidecars,
    overloaded,
    webhooks,
    refused_pods,
    message_sizes,
    filter_configuration,
)
