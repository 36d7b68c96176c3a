# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rules about Gateways, their listeners and certificates, and the proxies behind them. Pure."""

from __future__ import annotations

import datetime
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.rules_controllers import waiting_reasons
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.rules_wiring import proxy_name, scope_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.snapshot import (
    Body,
    Snapshot,
    failed_conditions,
    is_ready,
    moment,
    name_of,
)

#: How long before its end a certificate should have been renewed; less for one that is short-lived.
_RENEWED = datetime.timedelta(days=14)
_PART_OF_LIFE = 5


def _place(gateway: Body) -> dict[str, str]:
    return {
        "gateway": name_of(gateway),
        "namespace": gateway["metadata"]["namespace"],
        "name": gateway["metadata"]["name"],
    }


def _condition(condition: Body) -> dict[str, str]:
    return {
        "condition": str(condition.get("type", "")),
        "reason": str(condition.get("reason", "")),
        "detail": str(condition.get("message", "")),
    }


def missing(snapshot: Snapshot) -> t.Iterator[Finding]:
    for namespace, name in snapshot.missing_gateways:
        yield Finding("AIG0200", {"gateway": f"{namespace}/{name}"}, frozenset({f"gateway {namespace}/{name}"}))


def programmed(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        generation = gateway["metadata"].get("generation", 0)
        conditions = (gateway.get("status") or {}).get("conditions") or ()
        for condition in failed_conditions(conditions, generation, "Accepted", "Programmed"):
            yield Finding("AIG0201", {**_place(gateway), **_condition(condition)}, scope_of(gateway))
        if not any(condition.get("observedGeneration", 0) >= generation for condition in conditions):
            yield Finding(
                "AIG0201",
                {
                    **_place(gateway),
                    "condition": "Programmed",
                    "reason": "Pending",
                    "detail": "no controller has looked at its present generation",
                },
                scope_of(gateway),
            )


def gateway_class(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        name = gateway["spec"].get("gatewayClassName", "")
        body = snapshot.get("GatewayClass", "", name)
        detail = ""
        if body is None:
            detail = "does not exist" if snapshot.could_read("GatewayClass") else ""
        else:
            conditions = (body.get("status") or {}).get("conditions") or ()
            failed = failed_conditions(conditions, body["metadata"].get("generation", 0), "Accepted")
            waiting = [condition for condition in conditions if condition.get("reason") == "Pending"]
            if failed and not waiting:
                detail = f"is not accepted: {failed[0].get('reason')}: {failed[0].get('message')}"
            elif waiting or not conditions:
                detail = f"is accepted by no controller; its controllerName is {snapshot.controller_of(gateway)}"
            elif _is_envoy_gateways(snapshot, gateway) and not snapshot.envoy_gateways(gateway):
                detail = f"has the controllerName {snapshot.controller_of(gateway)}, which no Envoy Gateway has"
        if detail:
            yield Finding(
                "AIG0202", {"gateway_class": name, "gateway": name_of(gateway), "detail": detail}, scope_of(gateway)
            )


def _is_envoy_gateways(snapshot: Snapshot, gateway: Body) -> bool:
    """Whether the class of a Gateway is one of Envoy Gateway's, and their names could be read."""
    return bool(snapshot.envoy_gateway_settings) and snapshot.controller_of(gateway).startswith(
        "gateway.envoyproxy.io/"
    )


def listeners(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        generation = gateway["metadata"].get("generation", 0)
        for listener in (gateway.get("status") or {}).get("listeners") or ():
            conditions = listener.get("conditions") or ()
            arguments = {**_place(gateway), "listener": listener.get("name", "")}
            scope = scope_of(gateway, f"listener {name_of(gateway)}/{listener.get('name', '')}")
            conflicts = [
                condition
                for condition in conditions
                if condition.get("type") == "Conflicted" and condition.get("status") == "True"
            ]
            for condition in conflicts:
                yield Finding("AIG0203", {**arguments, **_condition(condition)}, scope)
            for condition in failed_conditions(conditions, generation, "Accepted", "ResolvedRefs"):
                yield Finding("AIG0204", {**arguments, **_condition(condition)}, scope)


def rejected_configuration(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        for proxy in snapshot.proxies_of(gateway):
            for kind, name in (
                ("listeners", "listener"),
                ("route_configs", "route configuration"),
                ("clusters", "cluster"),
            ):
                for entry in proxy["configuration"][kind]:
                    if entry.get("error"):
                        yield Finding(
                            "AIG0205",
                            {"pod": proxy_name(proxy), "kind": name, "name": entry["name"], "detail": entry["error"]},
                            scope_of(gateway),
                        )


def proxies_ready(snapshot: Snapshot) -> t.Iterator[Finding]:
    for gateway in snapshot.gateways:
        deployments = snapshot.proxy_deployments(gateway)
        pods = snapshot.proxy_pods(gateway)
        if not deployments and not pods:
            continue
        wanted = sum(int((body.get("spec") or {}).get("replicas", 1)) for body in deployments) or len(pods)
        ready = sum(map(is_ready, pods))
        reasons = waiting_reasons(pods)
        metadata = gateway["metadata"]
        arguments = {
            "gateway": name_of(gateway),
            "ready": str(ready),
            "wanted": str(wanted),
            "detail": f" ({'; '.join(reasons)})" if reasons else "",
            "namespace": (deployments or pods)[0]["metadata"]["namespace"],
            "selector": f"gateway.envoyproxy.io/owning-gateway-name={metadata['name']},"
            f"gateway.envoyproxy.io/owning-gateway-namespace={metadata['namespace']}",
        }
        scope = scope_of(gateway, *(f"pod {name_of(pod)}" for pod in pods))
        if ready == 0:
            yield Finding("AIG0206", arguments, scope)
        elif ready < wanted and not _begins(snapshot, pods):
            yield Finding("AIG0207", arguments, scope)


def _begins(snapshot: Snapshot, pods: t.Iterable[Body]) -> bool:
    """Whether the pods that are not ready have just been created."""
    return all(
        (snapshot.taken - created).total_seconds() < 90
        for pod in pods
        if not is_ready(pod)
        for created in [moment(str(pod["metadata"].get("creationTimestamp", "")))]
        if created
    )


def _listener_certificates(snapshot: Snapshot) -> t.Iterator[tuple[Body, Body, str, str]]:
    """Gateway, listener, namespace and name of each Secret that a listener names."""
    for gateway in snapshot.gateways:
        for listener in gateway["spec"].get("listeners") or ():
            for ref in (listener.get("tls") or {}).get("certificateRefs") or ():
                if (ref.get("kind") or "Secret") == "Secret":
                    yield gateway, listener, ref.get("namespace") or gateway["metadata"]["namespace"], ref["name"]


def listener_certificates(snapshot: Snapshot) -> t.Iterator[Finding]:
    if not snapshot.could_read("Secret"):
        return
    for gateway, listener, namespace, name in _listener_certificates(snapshot):
        body = snapshot.get("Secret", namespace, name)
        arguments = {
            "listener": listener["name"],
            "gateway": name_of(gateway),
            "secret": f"{namespace}/{name}",
            "namespace": namespace,
            "name": name,
        }
        scope = scope_of(gateway, f"listener {name_of(gateway)}/{listener['name']}", f"secret {namespace}/{name}")
        keys = (body or {}).get("keys") or {}
        lacking = [key for key in ("tls.crt", "tls.key") if not keys.get(key)]
        if body is None or lacking:
            detail = "does not exist" if body is None else f"has no {' and no '.join(lacking)}"
            yield Finding("AIG0211", {**arguments, "detail": detail}, scope)
            continue
        served = ((body.get("certificates") or {}).get("tls.crt") or [None])[0]
        hostname = listener.get("hostname", "")
        detail = ""
        if body.get("fits") is False:
            detail = "its key is not that of its certificate"
        elif served and hostname and not any(covers(name, hostname) for name in served["names"]):
            detail = f"it is for {', '.join(served['names']) or served['subject']}, and the hostname is {hostname}"
        if detail:
            use = f"listener {listener['name']} of Gateway {name_of(gateway)}"
            yield Finding("AIG0210", {**arguments, "use": use, "detail": detail}, scope)


def covers(name: str, hostname: str) -> bool:
    """Whether a name of a certificate is good for all of a listener's hostname."""
    name, hostname = name.lower().rstrip("."), hostname.lower().rstrip(".")
    if name == hostname:
        return True
    suffix = name.removeprefix("*")
    return name.startswith("*.") and hostname.endswith(suffix) and "." not in hostname.removesuffix(suffix).lstrip("*")


def expiry(snapshot: Snapshot) -> t.Iterator[Finding]:
    uses: dict[tuple[str, str], tuple[str, frozenset[str]]] = {}
    for gateway, listener, namespace, name in _listener_certificates(snapshot):
        use = f"listener {listener['name']} of Gateway {name_of(gateway)}"
        uses.setdefault((namespace, name), (use, scope_of(gateway)))
    for component in snapshot.components:
        for secret in component.body.get("secrets") or ():
            # Such as those of the webhook and of Authorino.
            uses.setdefault((component.namespace, secret), (component.name, frozenset()))
    for (namespace, name), (use, scope) in uses.items():
        body = snapshot.get("Secret", namespace, name) or {}
        for served in ((body.get("certificates") or {}).get("tls.crt") or [])[:1]:
            ends, begins = moment(served["not_after"]), moment(served["not_before"])
            if not ends or not begins:
                continue
            left = ends - snapshot.taken
            code = "AIG0208" if left.total_seconds() <= 0 else "AIG0209"
            if left <= min(_RENEWED, (ends - begins) / _PART_OF_LIFE):
                yield Finding(
                    code,
                    {
                        "secret": f"{namespace}/{name}",
                        "namespace": namespace,
                        "name": name,
                        "use": use,
                        "expires": served["not_after"],
                    },
                    scope,
                )


RULES = (
    missing,
    programmed,
    gateway_class,
    listeners,
    rejected_configuration,
    proxies_ready,
    listener_certificates,
    expiry,
)
