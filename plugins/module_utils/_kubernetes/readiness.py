# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The status of an object in kstatus's words, from the object alone. Pure."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind

Body = dict[str, t.Any]
#: The name of the controller that serves a Gateway, by its (namespace, name).
Controllers = t.Mapping[tuple[str, str], str]

_GATEWAY = "gateway.networking.k8s.io"
_ROUTES = frozenset(GroupKind(_GATEWAY, f"{protocol}Route") for protocol in ("HTTP", "GRPC", "TLS", "TCP", "UDP"))
_JOB, _POD = GroupKind("batch", "Job"), GroupKind("", "Pod")
#: The most entries that status.ancestors may have.
_MOST_ANCESTORS = 16


class State(enum.Enum):
    """kstatus's names for what a controller has made of an object."""

    #: The object is as its specification says.
    CURRENT = "Current"
    #: It is not yet.
    IN_PROGRESS = "InProgress"
    #: It will not be, however long one waits.
    FAILED = "Failed"


@dataclass(frozen=True)
class Verdict:
    """The state of one object, and why."""

    state: State
    #: What is missing or what failed, with condition, reason and message where there are any; empty if current.
    message: str = ""


CURRENT = Verdict(State.CURRENT)


def _in_progress(message: str) -> Verdict:
    return Verdict(State.IN_PROGRESS, message)


def readiness(body: Body, controllers: Controllers | None = None) -> Verdict:
    """The verdict on one object as the API server returned it; kinds that report nothing are current.

    :param controllers: of the Gateways known; what another controller says about a route or policy at one of them does
        not count.
    """
    group_kind = _group_kind(body)
    if not can_wait(group_kind):
        return CURRENT
    if body["metadata"].get("deletionTimestamp"):
        return _in_progress("it is being deleted")
    if group_kind in _ROUTES:
        return _route(body, controllers or {})
    if group_kind in _POLICIES:
        return _policy(body, _POLICIES[group_kind], controllers or {})
    return _CHECKS[group_kind](body)


def readiness_of_gone(body: Body, is_last: bool) -> Verdict:
    """The verdict on an object that no longer exists: Failed, except for Jobs and Pods, which may go once they have
    ended.

    :param is_last: ``body`` is what the object was in the end; else it is an earlier reading. A Job that has
        ttlSecondsAfterFinished and whose end nobody saw counts as complete.
    """
    group_kind, status = _group_kind(body), _status(body)
    if group_kind == _JOB:
        failed, complete = (_find(status.get("conditions"), name) for name in ("Failed", "Complete"))
        if failed and failed.get("status") == "True":
            return _job(body)
        if (complete and complete.get("status") == "True") or (
            not is_last and _spec(body).get("ttlSecondsAfterFinished") is not None
        ):
            return CURRENT
    elif group_kind == _POD and status.get("phase") in ("Succeeded", "Failed"):
        return _pod(body)
    return Verdict(State.FAILED, "it was deleted while it was waited for")


def parent_gateways(body: Body) -> list[tuple[str, str]]:
    """(namespace, name) of the Gateways on which an object's status depends; none for an object of another kind.

    A route's are its parents, a policy's are those of its targets and of the ancestors in its status.
    """
    group_kind = _group_kind(body)
    references: list[Body] = []
    if group_kind in _ROUTES:
        references = list(_spec(body).get("parentRefs") or ())
    elif group_kind in _POLICIES:
        references = [
            *_targets(body),
            *(ancestor.get("ancestorRef") or {} for ancestor in _status(body).get("ancestors") or ()),
        ]
    keys = [_parent_key(reference, body["metadata"].get("namespace")) for reference in references]
    return [(key[2], key[3]) for key in keys if key[:2] == (_GATEWAY, "Gateway")]


def can_wait(group_kind: GroupKind) -> bool:
    """Whether objects of this kind report readiness."""
    return group_kind in _CHECKS or group_kind in _ROUTES or group_kind in _POLICIES


def outdated(body: Body) -> Verdict | None:
    """In progress when the object's own status names an older generation; None also when it names none."""
    status = body.get("status")
    try:
        observed = int(status["observedGeneration"]) if isinstance(status, dict) else None
    except (KeyError, TypeError, ValueError):
        # Kinds that this collection does not know may write anything there.
        return None
    return _behind(observed, _generation(body)) if observed is not None else None


def _behind(observed: int, generation: int) -> Verdict | None:
    return (
        _in_progress(f"its controller has seen generation {observed}, not yet {generation}")
        if observed < generation
        else None
    )


def _group_kind(body: Body) -> GroupKind:
    return GroupKind(body["apiVersion"].rpartition("/")[0], body["kind"])


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


def conditions_true(
    conditions: t.Any, wanted: t.Sequence[str], generation: int, who: str = "", undated: Verdict | None = None
) -> Verdict:
    """Current when every condition of ``wanted`` is True for ``generation``.

    :param undated: the verdict on a condition without observedGeneration; without one, such a condition counts as
        current.
    """
    prefix = f"{who}: " if who else ""
    for condition_type in wanted:
        condition = _find(conditions, condition_type)
        if condition is None:
            others = [_describe(other) for other in conditions or () if other.get("status") != "True"]
            return _in_progress(prefix + (others[0] if others else f"no condition {condition_type} yet"))
        observed = condition.get("observedGeneration")
        if observed is not None and observed < generation:
            return _in_progress(
                f"{prefix}condition {condition_type} is about generation {observed}, not yet {generation}"
            )
        if observed is None and undated:
            return undated
        if condition.get("status") != "True":
            return _in_progress(prefix + _describe(condition))
    return CURRENT


def _own_conditions(body: Body, wanted: t.Sequence[str]) -> Verdict:
    """Of the object as a whole; those without observedGeneration are of the generation that the status names, if it
    names one.
    """
    return conditions_true(_status(body).get("conditions"), wanted, _generation(body), undated=outdated(body))


def _conditions(*wanted: str) -> t.Callable[[Body], Verdict]:
    return lambda body: _own_conditions(body, wanted)


def _conditions_if_any(*wanted: str) -> t.Callable[[Body], Verdict]:
    """For kinds whose controller looks only at objects that something refers to."""

    def check(body: Body) -> Verdict:
        return _own_conditions(body, wanted) if _status(body).get("conditions") else CURRENT

    return check


def _observed(body: Body) -> Verdict | None:
    """In progress until the controller has seen the object as it is.

    For kinds whose controllers always report which generation they have seen.
    """
    return _behind(int(_status(body).get("observedGeneration") or 0), _generation(body))


def _deployment(body: Body) -> Verdict:
    status, wanted = _status(body), int(_spec(body).get("replicas", 1))
    if _spec(body).get("paused"):
        # Nothing is rolled out until someone resumes it.
        return CURRENT
    stale = _observed(body)
    if stale:
        return stale
    why = _why_pods_are_missing(status.get("conditions"))
    progressing = _find(status.get("conditions"), "Progressing")
    if progressing and progressing.get("reason") == "ProgressDeadlineExceeded":
        return Verdict(State.FAILED, _describe(progressing) + why)
    updated, total, available = (
        int(status.get(field) or 0) for field in ("updatedReplicas", "replicas", "availableReplicas")
    )
    if updated < wanted:
        return _in_progress(f"{updated} of {wanted} updated{why}")
    if total > updated:
        return _in_progress(f"{total - updated} old replicas left{why}")
    if available < wanted:
        return _in_progress(f"{available} of {wanted} ready{why}")
    return CURRENT


def exceeded_deadline(body: Body) -> str:
    """When a Deployment's progress deadline was found exceeded; empty where it was not.

    It is no end: the Deployment goes on once what it waits for is there.
    """
    progressing = _find(_status(body).get("conditions"), "Progressing") or {}
    exceeded = progressing.get("reason") == "ProgressDeadlineExceeded"
    return str(progressing.get("lastUpdateTime") or "unknown") if exceeded else ""


def _why_pods_are_missing(conditions: t.Any) -> str:
    """What a Deployment itself says about it, such as that a quota or an admission webhook refuses its pods."""
    for condition_type, status in (("ReplicaFailure", "True"), ("Available", "False")):
        condition = _find(conditions, condition_type)
        if condition and condition.get("status") == status:
            return f"; {_describe(condition)}"
    return ""


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
            return _in_progress(f"{updated} of {to_update} updated")
    if ready < wanted:
        return _in_progress(f"{ready} of {wanted} ready")
    return CURRENT


def _daemon_set(body: Body) -> Verdict:
    status = _status(body)
    stale = _observed(body)
    if stale:
        return stale
    wanted, updated, available = (
        int(status.get(field) or 0) for field in ("desiredNumberScheduled", "updatedNumberScheduled", "numberAvailable")
    )
    if (_spec(body).get("updateStrategy") or {}).get("type") != "OnDelete" and updated < wanted:
        return _in_progress(f"{updated} of {wanted} updated")
    if available < wanted:
        return _in_progress(f"{available} of {wanted} ready")
    return CURRENT


def _job(body: Body) -> Verdict:
    conditions = _status(body).get("conditions")
    failed, complete = _find(conditions, "Failed"), _find(conditions, "Complete")
    if failed and failed.get("status") == "True":
        return Verdict(State.FAILED, _describe(failed))
    if (complete and complete.get("status") == "True") or _spec(body).get("suspend"):
        return CURRENT
    status = _status(body)
    return _in_progress(
        f"{int(status.get('succeeded') or 0)} of {int(_spec(body).get('completions') or 1)} "
        f"complete, {int(status.get('active') or 0)} running"
    )


def _pod(body: Body) -> Verdict:
    status = _status(body)
    if status.get("phase") == "Succeeded":
        return CURRENT
    if status.get("phase") == "Failed":
        return Verdict(
            State.FAILED, f"phase Failed: {status.get('reason', '')} {status.get('message', '')}".strip(": ")
        )
    return conditions_true(status.get("conditions"), ("Ready",), 0)


def _namespace(body: Body) -> Verdict:
    phase = _status(body).get("phase")
    return CURRENT if phase == "Active" else _in_progress(f"phase is {phase}")


def _crd(body: Body) -> Verdict:
    conditions = _status(body).get("conditions")
    accepted = _find(conditions, "NamesAccepted")
    if accepted and accepted.get("status") == "False":
        return _in_progress(_describe(accepted))
    return conditions_true(conditions, ("Established",), 0)


def _gateway(body: Body) -> Verdict:
    status, generation = _status(body), _generation(body)
    verdict = _own_conditions(body, ("Accepted",))
    if verdict is not CURRENT:
        return verdict
    programmed = _own_conditions(body, ("Programmed",))
    listeners = {listener.get("name"): listener for listener in status.get("listeners") or ()}
    if programmed is CURRENT and not listeners:
        # Some controllers, such as wg-ai-gateway's, never report the status of listeners.
        return CURRENT
    for listener in _spec(body).get("listeners") or ():
        name = listener.get("name")
        conditions = (listeners.get(name) or {}).get("conditions")
        verdict = conditions_true(
            conditions, ("Accepted", "ResolvedRefs", "Programmed"), generation, f"listener {name}"
        )
        if verdict is not CURRENT:
            return verdict
    return programmed


def _route(body: Body, controllers: Controllers) -> Verdict:
    """Every parent named in spec has an entry of status.parents, of the controller that serves it, that accepts this
    generation.
    """
    metadata = body["metadata"]
    reported = _status(body).get("parents") or ()
    for parent in _spec(body).get("parentRefs") or ():
        wanted = _parent_key(parent, metadata.get("namespace"))
        name, controller = f"parent {_title(wanted)}", _controller_of(wanted, controllers)
        verdicts = [
            conditions_true(entry.get("conditions"), ("Accepted", "ResolvedRefs"), _generation(body), name)
            for entry in reported
            if _parent_key(entry.get("parentRef") or {}, metadata.get("namespace")) == wanted
            and controller in (None, entry.get("controllerName"))
        ]
        if not verdicts:
            return _unanswered(name, controller)
        if CURRENT not in verdicts:
            return verdicts[0]
    return CURRENT


def _parent_key(parent: Body, namespace: str | None) -> tuple[t.Any, ...]:
    return (
        parent.get("group", _GATEWAY),
        parent.get("kind", "Gateway"),
        parent.get("namespace") or namespace,
        parent.get("name"),
        parent.get("sectionName"),
        parent.get("port"),
    )


def _title(key: tuple[t.Any, ...]) -> str:
    return f"{key[1] or 'Gateway'} {key[2]}/{key[3]}" + (f" listener {key[4]}" if key[4] else "")


def _controller_of(key: tuple[t.Any, ...], controllers: Controllers) -> str | None:
    return controllers.get((key[2], key[3])) if key[:2] == (_GATEWAY, "Gateway") else None


def _unanswered(name: str, controller: str | None) -> Verdict:
    doubt = "" if controller else "; does it exist, and is its class served?"
    return _in_progress(
        f"{name}: {f'controller {controller} has not' if controller else 'no controller has'} answered yet{doubt}"
    )


def _policy(body: Body, wanted: t.Sequence[str], controllers: Controllers) -> Verdict:
    """Current when every ancestor is that the controller which serves it reports.

    There must be at least one, and each Gateway that is itself a target must be among them.
    """
    namespace = body["metadata"].get("namespace")
    reported = _status(body).get("ancestors") or ()
    answered = []
    for ancestor in reported:
        key = _parent_key(ancestor.get("ancestorRef") or {}, namespace)
        if _controller_of(key, controllers) not in (None, ancestor.get("controllerName")):
            continue
        # What Envoy Gateway says of the listener whose policy this one is merged with; the Gateway itself has a word of
        # its own.
        if {condition.get("type") for condition in ancestor.get("conditions") or ()} == {"Merged"}:
            continue
        verdict = conditions_true(ancestor.get("conditions"), wanted, _generation(body), f"ancestor {_title(key)}")
        if verdict is not CURRENT:
            return verdict
        answered.append(key)
    targets = _targets(body)
    if not answered:
        names = ", ".join(f"{target.get('kind')} {target.get('name')}" for target in targets) or "targetSelectors"
        return _in_progress(f"no controller has answered yet; does its target exist ({names})?")
    if len(reported) >= _MOST_ANCESTORS:
        # There is no room for more, so what is missing says nothing.
        return CURRENT
    for key in [_parent_key(target, namespace) for target in targets]:
        # A target without sectionName is the whole Gateway.
        if key[:2] == (_GATEWAY, "Gateway") and not any(
            found[:4] == key[:4] and key[4] in (None, found[4]) for found in answered
        ):
            return _unanswered(f"target {_title(key)}", _controller_of(key, controllers))
    return CURRENT


def _targets(body: Body) -> list[Body]:
    spec = _spec(body)
    return [*(spec.get("targetRefs") or ()), *([spec["targetRef"]] if spec.get("targetRef") else ())]


def _checks() -> dict[GroupKind, t.Callable[[Body], Verdict]]:
    envoy, ai = "gateway.envoyproxy.io", "aigateway.envoyproxy.io"
    table: tuple[tuple[str, str, t.Callable[[Body], Verdict]], ...] = (
        ("", "Namespace", _namespace),
        ("", "Pod", _pod),
        ("apps", "Deployment", _deployment),
        ("apps", "StatefulSet", _stateful_set),
        ("apps", "DaemonSet", _daemon_set),
        ("batch", "Job", _job),
        ("apiextensions.k8s.io", "CustomResourceDefinition", _crd),
        ("apiregistration.k8s.io", "APIService", _conditions("Available")),
        (_GATEWAY, "GatewayClass", _conditions("Accepted")),
        (_GATEWAY, "Gateway", _gateway),
        (envoy, "Backend", _conditions_if_any("Accepted")),
        (ai, "AIGatewayRoute AIServiceBackend BackendSecurityPolicy", _conditions("Accepted")),
        (ai, "MCPRoute", _conditions("Accepted")),
        (ai, "GatewayConfig", _conditions_if_any("Accepted")),
        ("authorino.kuadrant.io", "AuthConfig", _conditions("Ready")),
        (
            "kuadrant.io",
            "AuthPolicy RateLimitPolicy TokenRateLimitPolicy DNSPolicy TLSPolicy",
            _conditions("Accepted", "Enforced"),
        ),
        ("serving.kserve.io", "LLMInferenceService", _conditions("Ready")),
        ("cert-manager.io", "Certificate Issuer ClusterIssuer", _conditions("Ready")),
    )
    return {GroupKind(group, kind): check for group, kinds, check in table for kind in kinds.split()}


_CHECKS = _checks()
#: What each ancestor in a policy's status must say.
_POLICIES = {
    GroupKind(_GATEWAY, "BackendTLSPolicy"): ("Accepted", "ResolvedRefs"),
    **{
        GroupKind("gateway.envoyproxy.io", kind): ("Accepted",)
        for kind in ("SecurityPolicy", "BackendTrafficPolicy", "ClientTrafficPolicy", "EnvoyExtensionPolicy")
    },
    GroupKind("gateway.envoyproxy.io", "EnvoyPatchPolicy"): ("Accepted", "Programmed"),
}
