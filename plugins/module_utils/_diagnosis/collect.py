# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes a snapshot of gateways on a cluster. Reads only, through the API server."""

from __future__ import annotations

import datetime
import json
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.objects import KEPT, ROUTER, add_trust, kept
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.proxies import (
    SIDECAR,
    kept_clusters,
    kept_configuration,
    kept_statistics,
    last_answers,
    shortened,
    trouble,
    without_secrets,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import (
    COMPONENTS,
    FORMAT,
    Body,
    parts_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.port_forward import ForwardError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import SecretMask

#: Envoy's administration in the proxies.
ADMINISTRATION = 19000
#: Lines of a log.
_LINES = 5000
#: Shorter values of Secrets occur in ordinary messages too often to be worth hiding there.
_SHORTEST_SECRET = 8
#: Of all kinds, those that only some objects of are read.
_QUERIES = {"Secret": {"fieldSelector": "type!=helm.sh/release.v1"}, "Event": {"fieldSelector": "type=Warning"}}
_OWNING = "gateway.envoyproxy.io/owning-gateway-name"
_PODS_OF_PICKERS = ("/epp", "/llm-d-inference-scheduler")
#: Keys of Secrets that are no secret, and that of the processor's configuration: it has ordinary lines, and the keys of
#: providers, which are in Secrets of their own too.
_PUBLIC_KEYS = frozenset(("tls.crt", "ca.crt", "filter-config.yaml"))


class Forward(t.Protocol):
    def get(self, namespace: str, pod: str, port: int, path: str) -> bytes: ...


def collect(
    api: Api,
    forward: Forward,
    gateways: t.Sequence[t.Mapping[str, str]],
    window: int,
    now: datetime.datetime | None = None,
) -> Body:
    """A snapshot.

    :param gateways: namespace and name of each Gateway; empty for all of Envoy Gateway's.
    :param window: seconds for which logs are read.
    """
    unread: list[Body] = []
    raw = _read_objects(api, unread)
    mask = _mask_of(raw)
    objects = [kept(body) for body in raw]
    _note_trust(objects, raw)
    chosen = [{"namespace": entry["namespace"], "name": entry["name"]} for entry in gateways] or _all_gateways(objects)
    pods = [body for body in objects if body["kind"] == "Pod"]
    proxies = [pod for pod in pods if _gateway_of(pod) in {f"{entry['namespace']}/{entry['name']}" for entry in chosen}]
    read = api.each(lambda pod: _read_proxy(api, forward, pod, window, unread, mask), proxies)
    components = [pod for pod in pods if pod not in proxies and _is_component(pod)]
    logs = api.each(lambda pod: _read_logs(api, pod, window, unread, mask), components)
    taken = now or datetime.datetime.now(datetime.UTC)
    snapshot = {
        "format": FORMAT,
        "taken": taken.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "window": window,
        "version": _version(api, unread),
        "gateways": chosen,
        "objects": [_masked_messages(body, mask) for body in _relevant(objects)],
        "proxies": [proxy for proxy, _logs in read],
        "logs": [log for _proxy, found in read for log in found] + [log for found in logs for log in found],
        "unread": unread,
    }
    # What cannot be written to a file would be found here and not at its reader's.
    return t.cast(Body, json.loads(json.dumps(snapshot)))


def _version(api: Api, unread: list[Body]) -> str:
    try:
        return str((api.get("/version") or {}).get("gitVersion", ""))
    except ApiError as error:
        unread.append({"what": "the version of Kubernetes", "reason": error.message})
        return ""


def _read_objects(api: Api, unread: list[Body]) -> list[Body]:
    """The objects of the kinds of KEPT that the cluster serves, as the API server returns them."""
    found: list[ResourceType] = []
    for group, resource_types in zip(KEPT, api.each(lambda group: _types(api, group, unread), list(KEPT))):
        for kind in KEPT[group]:
            served = [resource_type for resource_type in resource_types if resource_type.kind == kind]
            # Preferred versions come first.
            found += served[:1]
    return [body for bodies in api.each(lambda kind: _listed(api, kind, unread), found) for body in bodies]


def _types(api: Api, group: str, unread: list[Body]) -> list[ResourceType]:
    try:
        return [served for version in api.versions(group) for served in api.types(version)]
    except ApiError as error:
        if error.status == 0:
            raise
        unread.append({"what": f"API group {group}", "reason": error.message})
        return []


def _listed(api: Api, kind: ResourceType, unread: list[Body]) -> list[Body]:
    try:
        return [body for _version, items in api.pages(kind, "", _QUERIES.get(kind.kind)) for body in items]
    except ApiError as error:
        if error.status == 0:
            raise
        unread.append({"kind": kind.kind, "what": kind.plural, "reason": error.message})
        return []


def _mask_of(raw: t.Sequence[Body]) -> SecretMask:
    """Hides the values of Secrets in what is quoted."""
    mask = SecretMask()
    for body in raw:
        if body["kind"] == "Secret":
            data = {
                key: value
                for key, value in (body.get("data") or {}).items()
                if key not in _PUBLIC_KEYS and len(value) >= _SHORTEST_SECRET
            }
            mask.learn({"kind": "Secret", "data": data})
    return mask


def _note_trust(objects: t.Sequence[Body], raw: t.Sequence[Body]) -> None:
    webhooks = [(left, right) for left, right in zip(objects, raw) if left["kind"] == "MutatingWebhookConfiguration"]
    secrets = [body for body in raw if body["kind"] == "Secret"]
    add_trust([left for left, _right in webhooks], [right for _left, right in webhooks], secrets)


def _all_gateways(objects: t.Sequence[Body]) -> list[Body]:
    """The Gateways of the classes of Envoy Gateway."""
    classes = {
        body["metadata"]["name"]
        for body in objects
        if body["kind"] == "GatewayClass"
        and str((body.get("spec") or {}).get("controllerName", "")).startswith("gateway.envoyproxy.io/")
    }
    return [
        {"namespace": body["metadata"]["namespace"], "name": body["metadata"]["name"]}
        for body in objects
        if body["kind"] == "Gateway" and body["spec"].get("gatewayClassName") in classes
    ]


def _gateway_of(pod: Body) -> str:
    labels = pod["metadata"].get("labels") or {}
    return f"{labels.get('gateway.envoyproxy.io/owning-gateway-namespace', '')}/{labels.get(_OWNING, '')}"


def _is_component(pod: Body) -> bool:
    """Whether a pod is one of a component, an endpoint picker or the semantic router, whose logs are read."""
    images = [
        f"/{parts_of(str(container.get('image', '')))[0]}"
        for container in (pod.get("spec") or {}).get("containers") or ()
    ]
    ends = [end for name, ends in COMPONENTS.items() if name != "Redis" for end in ends] + list(_PODS_OF_PICKERS)
    return _OWNING not in (pod["metadata"].get("labels") or {}) and (
        _is_of_router(pod) or any(image.endswith(end) for image in images for end in ends)
    )


def _read_proxy(
    api: Api, forward: Forward, pod: Body, window: int, unread: list[Body], mask: SecretMask
) -> tuple[Body, list[Body]]:
    """A proxy's configuration, counters and answers, and the lines of its logs."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    proxy: Body = {"namespace": namespace, "pod": name, "gateway": _gateway_of(pod), "error": ""}
    running = any(
        status["name"] == "envoy" and "running" in (status.get("state") or {})
        for status in (pod.get("status") or {}).get("containerStatuses") or ()
    )
    if running:
        try:
            for key, path, keep in (
                ("configuration", "/config_dump?include_eds", kept_configuration),
                ("statistics", "/stats?format=json", kept_statistics),
                ("clusters", "/clusters?format=json", kept_clusters),
            ):
                proxy[key] = keep(json.loads(forward.get(namespace, name, ADMINISTRATION, path)))
        except (ForwardError, ValueError) as error:
            proxy["error"] = shortened(str(error))
            proxy.pop("configuration", None)
            unread.append({"what": f"the configuration of proxy {namespace}/{name}", "reason": proxy["error"]})
    logs = []
    for container in ("envoy", SIDECAR):
        lines = _log(api, pod, container, window, unread)
        if container == "envoy":
            proxy["answers"] = last_answers(lines)
        logs.append({"namespace": namespace, "pod": name, "container": container, "lines": trouble(lines, mask.masked)})
    return proxy, logs


def _read_logs(api: Api, pod: Body, window: int, unread: list[Body], mask: SecretMask) -> list[Body]:
    return [
        {
            "namespace": pod["metadata"]["namespace"],
            "pod": pod["metadata"]["name"],
            "container": container["name"],
            "lines": trouble(_log(api, pod, container["name"], window, unread), mask.masked),
        }
        for container in (pod.get("spec") or {}).get("containers") or ()
    ]


def _log(api: Api, pod: Body, container: str, window: int, unread: list[Body]) -> list[str]:
    """The lines of a container; none where it does not exist or has not begun."""
    namespace, name = pod["metadata"]["namespace"], pod["metadata"]["name"]
    statuses = pod.get("status") or {}
    begun = {
        status["name"]
        for status in [*(statuses.get("initContainerStatuses") or ()), *(statuses.get("containerStatuses") or ())]
        if {"running", "terminated"} & set(status.get("state") or ())
    }
    if container not in begun:
        return []
    try:
        answer = api.request(
            "GET",
            f"/api/v1/namespaces/{namespace}/pods/{name}/log",
            {"container": container, "sinceSeconds": window, "tailLines": _LINES},
            accept="application/json, */*",
            patience=3.0,
        )
    except ApiError as error:
        if error.status != 404:
            unread.append({"what": f"logs of pod {namespace}/{name}", "reason": error.message})
        return []
    except ValueError:
        return []
    return str(answer.body.get("text", "")).splitlines()


def _relevant(objects: t.Sequence[Body]) -> list[Body]:
    """The objects without those that no rule looks at: Secrets, ConfigMaps, Pods and Services of other namespaces."""
    namespaces = {
        body["metadata"].get("namespace", "")
        for body in objects
        if body["kind"] in ("Gateway", "HTTPRoute", "AIGatewayRoute", "BackendSecurityPolicy", "InferencePool")
        or (body["kind"] == "Deployment" and (_is_deployment_of_component(body) or _is_of_router(body)))
        or "semantic_router" in body
        or (body["kind"] == "Pod" and _OWNING in (body["metadata"].get("labels") or {}))
    }
    # What serves the models that a semantic router calls itself.
    namespaces |= {
        endpoint.split(".")[1]
        for body in objects
        for endpoint in (body.get("semantic_router") or {}).get("models", {}).values()
        if ".svc" in endpoint
    }
    local = {"Secret", "Pod", "Service", "Event", "EndpointSlice", "Deployment"}
    return [
        body
        for body in objects
        if (body["kind"] not in local or body["metadata"].get("namespace", "") in namespaces)
        and (body["kind"] != "ConfigMap" or "envoy_gateway" in body or "semantic_router" in body)
    ]


def _is_of_router(body: Body) -> bool:
    return (body["metadata"].get("labels") or {}).get("app.kubernetes.io/name") == ROUTER


def _is_deployment_of_component(body: Body) -> bool:
    ends = [end for found in COMPONENTS.values() for end in found]
    return any(
        f"/{parts_of(container['image'])[0]}".endswith(end)
        for container in body.get("containers") or ()
        for end in ends
    )


def _masked_messages(value: t.Any, mask: SecretMask) -> t.Any:
    """An object whose free words are without secrets: messages of conditions, events and containers."""
    if isinstance(value, dict):
        return {
            key: shortened(without_secrets(mask.masked(item)))
            if key == "message" and isinstance(item, str)
            else _masked_messages(item, mask)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_masked_messages(item, mask) for item in value]
    return value
