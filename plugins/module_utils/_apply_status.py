# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether an object is ready, told from the object alone. Pure."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_kinds import GroupKind

Body = dict[str, t.Any]
#: The name of the controller that serves a Gateway, by its (namespace, name).
Controllers = t.Mapping[tuple[str, str], str]

_GATEWAY = "gateway.networking.k8s.io"
_ROUTES = frozenset(GroupKind(_GATEWAY, f"{protocol}Route") for protocol in ("HTTP", "GRPC", "TLS", "TCP", "UDP"))


class State(enum.Enum):
    READY = "ready"
    WAITING = "waiting"
    #: Waiting longer cannot help.
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """``message`` says what is missing or what failed, naming condition, reason and message where there are any."""

    state: State
    message: str = ""


READY = Verdict(State.READY)


def _waiting(message: str) -> Verdict:
    return Verdict(State.WAITING, message)


def readiness(body: Body, controllers: Controllers | None = None) -> Verdict:
    """The verdict on one object as the API server returned it; kinds that report nothing are ready.

    :param controllers: of the Gateways known; what another controller says about a route to one of them does not count.
    """
    group_kind = GroupKind(body["apiVersion"].rpartition("/")[0], body["kind"])
    if group_kind not in _CHECKS and group_kind not in _ROUTES:
        return READY
    if body["metadata"].get("deletionTimestamp"):
        return _waiting("it is being deleted")
    return _route(body, controllers or {}) if group_kind in _ROUTES else _CHECKS[group_kind](body)


def parent_gateways(body: Body) -> list[tuple[str, str]]:
    """(namespace, name) of the Gateways that a route names as its parents; none for an object of another kind."""
    if GroupKind(body["apiVersion"].rpartition("/")[0], body["kind"]) not in _ROUTES:
        return []
    keys = [_parent_key(parent, body["metadata"].get("namespace")) for parent in _spec(body).get("parentRefs") or ()]
    return [(key[2], key[3]) for key in keys if key[:2] == (_GATEWAY, "Gateway")]


def can_wait(group_kind: GroupKind) -> bool:
    """Whether objects of this kind report readiness."""
    return group_kind in _CHECKS or group_kind in _ROUTES


def _status(body: Body) -> Body:
    return body.get("status") or {}


def _spec(body: Body) -> Body:
    return body.get("spec") or {}


def _generation(body: Body) -> int:
    return int(body["metadata"].get("generation") or 0)


def _find(conditions: t.Any, condition_type: str) -> Body | None:
    for condition in conditions or ():
        if condition.get("type") == condition_type:
            return condition
    return None


def _describe(condition: Body) -> str:
    text = ": ".join(str(part) for part in (condition.get("reason"), condition.get("message")) if part)
    return f"condition {condition.get('type')} is {condition.get('status')}" + (f": {text}" if text else "")


def conditions_true(conditions: t.Any, wanted: t.Sequence[str], generation: int, who: str = "") -> Verdict:
    """Ready when every condition of ``wanted`` is True for ``generation``; conditions without observedGeneration count as current."""
    prefix = f"{who}: " if who else ""
    for condition_type in wanted:
        condition = _find(conditions, condition_type)
        if condition is None:
            others = [_describe(other) for other in conditions or () if other.get("status") != "True"]
            return _waiting(prefix + (others[0] if others else f"no condition {condition_type} yet"))
        observed = condition.get("observedGeneration")
        if observed is not None and observed < generation:
            return _waiting(f"{prefix}condition {condition_type} is about generation {observed}, not yet {generation}")
        if condition.get("status") != "True":
            return _waiting(prefix + _describe(condition))
    return READY


def _conditions(*wanted: str) -> t.Callable[[Body], Verdict]:
    def check(body: Body) -> Verdict:
        return conditions_true(_status(body).get("conditions"), wanted, _generation(body))

    return check


def _conditions_if_any(*wanted: str) -> t.Callable[[Body], Verdict]:
    """For kinds whose controller looks only at objects that something refers to."""

    def check(body: Body) -> Verdict:
        conditions = _status(body).get("conditions")
        return conditions_true(conditions, wanted, _generation(body)) if conditions else READY

    return check


def _observed(body: Body) -> Verdict | None:
    generation, observed = _generation(body), int(_status(body).get("observedGeneration") or 0)
    if observed < generation:
        return _waiting(f"its controller has seen generation {observed}, not yet {generation}")
    return None


def _deployment(body: Body) -> Verdict:
    status, wanted = _status(body), int(_spec(body).get("replicas", 1))
    stale = _observed(body)
    if stale:
        return stale
    progressing = _find(status.get("conditions"), "Progressing")
    if progressing and progressing.get("reason") == "ProgressDeadlineExceeded":
        return Verdict(State.FAILED, _describe(progressing))
    updated, total, available = (int(status.get(field) or 0) for field in ("updatedReplicas", "replicas", "availableReplicas"))
    if updated < wanted:
        return _waiting(f"{updated} of {wanted} updated")
    if total > updated:
        return _waiting(f"{total - updated} old replicas left")
    if available < wanted:
        return _waiting(f"{available} of {wanted} ready")
    return READY


def _stateful_set(body: Body) -> Verdict:
    status, spec = _status(body), _spec(body)
    stale = _observed(body)
    if stale:
        return stale
    wanted = int(spec.get("replicas", 1))
    strategy = spec.get("updateStrategy") or {}
    ready = int(status.get("readyReplicas") or 0)
    if strategy.get("type") != "OnDelete":
        partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
        to_update, updated = max(0, wanted - partition), int(status.get("updatedReplicas") or 0)
        if updated < to_update and status.get("currentRevision") != status.get("updateRevision"):
            return _waiting(f"{updated} of {to_update} updated")
    if ready < wanted:
        return _waiting(f"{ready} of {wanted} ready")
    return READY


def _daemon_set(body: Body) -> Verdict:
    status = _status(body)
    stale = _observed(body)
    if stale:
        return stale
    wanted, updated, available = (int(status.get(field) or 0) for field in ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable"))
    if (_spec(body).get("updateStrategy") or {}).get("type") != "OnDelete" and updated < wanted:
        return _waiting(f"{updated} of {wanted} updated")
    if available < wanted:
        return _waiting(f"{available} of {wanted} ready")
    return READY


def _job(body: Body) -> Verdict:
    conditions = _status(body).get("conditions")
    failed, complete = _find(conditions, "Failed"), _find(conditions, "Complete")
    if failed and failed.get("status") == "True":
        return Verdict(State.FAILED, _describe(failed))
    if (complete and complete.get("status") == "True") or _spec(body).get("suspend"):
        return READY
    status = _status(body)
    return _waiting(f"{int(status.get('succeeded') or 0)} of {int(_spec(body).get('completions') or 1)} complete, {int(status.get('active') or 0)} running")


def _pod(body: Body) -> Verdict:
    status = _status(body)
    if status.get("phase") == "Succeeded":
        return READY
    if status.get("phase") == "Failed":
        return Verdict(State.FAILED, f"phase Failed: {status.get('reason', '')} {status.get('message', '')}".strip(": "))
    return conditions_true(status.get("conditions"), ("Ready",), 0)


def _namespace(body: Body) -> Verdict:
    phase = _status(body).get("phase")
    return READY if phase == "Active" else _waiting(f"phase is {phase}")


def _definition(body: Body) -> Verdict:
    conditions = _status(body).get("conditions")
    accepted = _find(conditions, "NamesAccepted")
    if accepted and accepted.get("status") == "False":
        return _waiting(_describe(accepted))
    return conditions_true(conditions, ("Established",), 0)


def _gateway(body: Body) -> Verdict:
    status, generation = _status(body), _generation(body)
    verdict = conditions_true(status.get("conditions"), ("Accepted",), generation)
    if verdict is not READY:
        return verdict
    listeners = {listener.get("name"): listener for listener in status.get("listeners") or ()}
    for listener in _spec(body).get("listeners") or ():
        name = listener.get("name")
        conditions = (listeners.get(name) or {}).get("conditions")
        verdict = conditions_true(conditions, ("Accepted", "ResolvedRefs", "Programmed"), generation, f"listener {name}")
        if verdict is not READY:
            return verdict
    return conditions_true(status.get("conditions"), ("Programmed",), generation)


def _route(body: Body, controllers: Controllers) -> Verdict:
    """Every parent named in spec has an entry of status.parents, of the controller that serves it, that accepts this generation."""
    metadata = body["metadata"]
    reported = _status(body).get("parents") or ()
    for parent in _spec(body).get("parentRefs") or ():
        name = f"parent {parent.get('kind') or 'Gateway'} {parent.get('namespace') or metadata.get('namespace')}/{parent.get('name')}"
        if parent.get("sectionName"):
            name += f" listener {parent['sectionName']}"
        wanted = _parent_key(parent, metadata.get("namespace"))
        controller = controllers.get((wanted[2], wanted[3])) if wanted[:2] == (_GATEWAY, "Gateway") else None
        verdicts = [
            conditions_true(entry.get("conditions"), ("Accepted", "ResolvedRefs"), _generation(body), name)
            for entry in reported
            if _parent_key(entry.get("parentRef") or {}, metadata.get("namespace")) == wanted and controller in (None, entry.get("controllerName"))
        ]
        if not verdicts:
            doubt = "" if controller else "; does it exist, and is its class served?"
            return _waiting(f"{name}: {f'controller {controller} has not' if controller else 'no controller has'} answered yet{doubt}")
        if READY not in verdicts:
            return verdicts[0]
    return READY


def _parent_key(parent: Body, namespace: str | None) -> tuple[t.Any, ...]:
    return (
        parent.get("group", _GATEWAY),
        parent.get("kind", "Gateway"),
        parent.get("namespace") or namespace,
        parent.get("name"),
        parent.get("sectionName"),
        parent.get("port"),
    )


def _policy(*wanted: str) -> t.Callable[[Body], Verdict]:
    """Every ancestor reported holds; at least one is."""

    def check(body: Body) -> Verdict:
        ancestors = _status(body).get("ancestors") or ()
        for ancestor in ancestors:
            reference = ancestor.get("ancestorRef") or {}
            name = f"ancestor {reference.get('kind', 'Gateway')} {reference.get('namespace') or body['metadata'].get('namespace')}/{reference.get('name')}"
            verdict = conditions_true(ancestor.get("conditions"), wanted, _generation(body), name)
            if verdict is not READY:
                return verdict
        if ancestors:
            return READY
        return _waiting(f"no controller has answered yet; does its target exist ({_targets(body)})?")

    return check


def _targets(body: Body) -> str:
    spec = _spec(body)
    targets = [*(spec.get("targetRefs") or ()), *([spec["targetRef"]] if spec.get("targetRef") else ())]
    return ", ".join(f"{target.get('kind')} {target.get('name')}" for target in targets) or "targetSelectors"


def _checks() -> dict[GroupKind, t.Callable[[Body], Verdict]]:
    envoy, ai = "gateway.envoyproxy.io", "aigateway.envoyproxy.io"
    table: tuple[tuple[str, str, t.Callable[[Body], Verdict]], ...] = (
        ("", "Namespace", _namespace),
        ("", "Pod", _pod),
        ("apps", "Deployment", _deployment),
        ("apps", "StatefulSet", _stateful_set),
        ("apps", "DaemonSet", _daemon_set),
        ("batch", "Job", _job),
        ("apiextensions.k8s.io", "CustomResourceDefinition", _definition),
        ("apiregistration.k8s.io", "APIService", _conditions("Available")),
        (_GATEWAY, "GatewayClass", _conditions("Accepted")),
        (_GATEWAY, "Gateway", _gateway),
        (_GATEWAY, "BackendTLSPolicy", _policy("Accepted", "ResolvedRefs")),
        (envoy, "SecurityPolicy BackendTrafficPolicy ClientTrafficPolicy EnvoyExtensionPolicy", _policy("Accepted")),
        (envoy, "EnvoyPatchPolicy", _policy("Accepted", "Programmed")),
        (envoy, "Backend", _conditions_if_any("Accepted")),
        (ai, "AIGatewayRoute AIServiceBackend BackendSecurityPolicy", _conditions("Accepted")),
        (ai, "MCPRoute", _conditions("Accepted")),
        (ai, "GatewayConfig", _conditions_if_any("Accepted")),
        ("authorino.kuadrant.io", "AuthConfig", _conditions("Ready")),
        ("kuadrant.io", "AuthPolicy RateLimitPolicy TokenRateLimitPolicy", _conditions("Accepted", "Enforced")),
        ("serving.kserve.io", "LLMInferenceService", _conditions("Ready")),
        ("cert-manager.io", "Certificate Issuer ClusterIssuer", _conditions("Ready")),
    )
    return {GroupKind(group, kind): check for group, kinds, check in table for kind in kinds.split()}


_CHECKS = _checks()
