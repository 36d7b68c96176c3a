# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for a set: one watch for each collection that holds an object not ready yet."""

from __future__ import annotations

import queue
import threading
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_kinds import GroupKind, ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_manifests import Reference, reference_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_status import READY, State, Verdict, can_wait, parent_gateways, readiness
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_wait_for import Expectation, verdict_of

Body = dict[str, t.Any]

#: Seconds between two progress lines.
_PROGRESS_INTERVAL = 5.0
#: Seconds between two looks at objects that are going away.
_GONE_INTERVAL = 0.25
#: Lines of a failing container's log that an error quotes.
_LOG_LINES = 10
#: Objects that an error describes in full.
_DESCRIBED = 10

_POD = ResourceType("v1", "Pod", "pods", True, frozenset())
_GATEWAY = ResourceType("gateway.networking.k8s.io/v1", "Gateway", "gateways", True, frozenset())
_GATEWAY_CLASS = ResourceType("gateway.networking.k8s.io/v1", "GatewayClass", "gatewayclasses", False, frozenset())
_EVENT = ResourceType("v1", "Event", "events", True, frozenset())

_WORKLOADS = frozenset((GroupKind("apps", "Deployment"), GroupKind("apps", "StatefulSet"), GroupKind("apps", "DaemonSet"), GroupKind("batch", "Job")))
_POD_TROUBLES = frozenset(
    (
        "CrashLoopBackOff",
        "ImagePullBackOff",
        "ErrImagePull",
        "ErrImageNeverPull",
        "InvalidImageName",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    )
)


class WaitError(Exception):
    """The set did not become ready, or not gone; says which objects and why."""


@dataclass(frozen=True)
class Awaited:
    """One object to wait for; ``labelled`` says that the set's selector finds it."""

    reference: Reference
    type: ResourceType
    body: Body
    labelled: bool = True


def pod_troubles(pods: t.Iterable[Body]) -> list[tuple[str, str, str]]:
    """(pod, container, what is wrong) of every container that cannot start or keeps failing."""
    troubles = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            ended = (container.get("state") or {}).get("terminated") or (container.get("lastState") or {}).get("terminated") or {}
            if waiting.get("reason") in _POD_TROUBLES:
                what = f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
            elif ended.get("exitCode"):
                what = f"exited with {ended['exitCode']} ({ended.get('reason', 'Error')}), {int(container.get('restartCount') or 0)} restarts"
            else:
                continue
            troubles.append((name, container["name"], what))
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                troubles.append((name, "", f"not scheduled: {condition.get('message', '')}"))
    return troubles


def pod_selector(workload: Body) -> str:
    """Label selector of a workload's pods; empty when it cannot be told by labels alone."""
    labels = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


class Waiter:
    """Waits within ``timeout`` seconds and says meanwhile what for."""

    def __init__(self, api: Api, selector: str, timeout: float, say: t.Callable[[str], None]) -> None:
        self._api = api
        self._selector = selector
        self._timeout = timeout
        self._say = say
        self._controllers: dict[tuple[str, str], str] = {}
        #: What is demanded of objects beyond what their kinds report.
        self.expectations: t.Sequence[Expectation] = ()

    def observes(self, reference: Reference) -> bool:
        """Whether anything is to be waited for at this object."""
        return can_wait(reference.group_kind) or any(expectation.matches(reference) for expectation in self.expectations)

    def verdict(self, body: Body) -> Verdict:
        """The verdict on one object, by its kind and by what is expected of it."""
        verdict = readiness(body, self._controllers)
        return verdict_of(body, self.expectations) if verdict is READY else verdict

    def ready(self, awaited: t.Sequence[Awaited]) -> None:
        """Return once every object is ready.

        :raises WaitError: after the time-out, or at once when an object has failed for good.
        """
        objects = {item.reference.identity: item for item in awaited}
        bodies = {key: item.body for key, item in objects.items()}
        self._look_up_controllers(bodies.values())
        verdicts = {key: self.verdict(body) for key, body in bodies.items()}
        pending = {key: verdict for key, verdict in verdicts.items() if verdict.state is not State.READY}
        if not pending:
            return
        started = time.monotonic()
        deadline = started + self._timeout
        events: queue.Queue[tuple[tuple[str, str, str, str], Body] | ApiError] = queue.Queue()
        stop = threading.Event()
        for collection in self._collections([objects[key] for key in pending]):
            threading.Thread(target=self._watch, args=(*collection, deadline, events, stop), daemon=True).start()
        try:
            spoken = 0.0
            while pending:
                failed = {key: verdict for key, verdict in pending.items() if verdict.state is State.FAILED}
                if failed:
                    raise WaitError(self._report("failed", failed, objects, bodies))
                now = time.monotonic()
                if now >= deadline:
                    raise WaitError(self._report(f"not ready after {self._timeout:.0f} s", pending, objects, bodies))
                if now - spoken >= _PROGRESS_INTERVAL:
                    self._say(self._progress(pending, objects, bodies, now - started))
                    spoken = now
                try:
                    event = events.get(timeout=min(1.0, max(0.01, deadline - now)))
                except queue.Empty:
                    continue
                if isinstance(event, ApiError):
                    raise WaitError(f"cannot watch the set: {event.message}")
                key, body = event
                if key in objects:
                    bodies[key] = body
                    verdict = self.verdict(body)
                    if verdict.state is State.READY:
                        pending.pop(key, None)
                    else:
                        pending[key] = verdict
        finally:
            stop.set()

    def _look_up_controllers(self, bodies: t.Iterable[Body]) -> None:
        """Find out which controller serves each Gateway that a route names; others may write a status too, and do."""
        gateways = sorted({key for body in bodies for key in parent_gateways(body)})

        def field(path: str, name: str) -> str:
            try:
                return str(((self._api.get(path) or {}).get("spec") or {}).get(name) or "")
            except ApiError:
                # Whoever may not look takes every controller's word.
                return ""

        classes = self._api.each(lambda key: field(_GATEWAY.path(*key), "gatewayClassName"), gateways)
        names = sorted({name for name in classes if name})
        served = dict(zip(names, self._api.each(lambda name: field(_GATEWAY_CLASS.path(name=name), "controllerName"), names)))
        self._controllers.update({key: served[name] for key, name in zip(gateways, classes) if served.get(name)})

    def _collections(self, awaited: t.Sequence[Awaited]) -> list[tuple[ResourceType, str, dict[str, str]]]:
        """What to watch: the set's members of a kind and namespace together, any other object alone."""
        members: dict[tuple[ResourceType, str], list[Awaited]] = {}
        alone = []
        for item in awaited:
            if item.labelled:
                members.setdefault((item.type, item.reference.namespace), []).append(item)
            else:
                alone.append((item.type, item.reference.namespace, {"fieldSelector": f"metadata.name={item.reference.name}"}))
        return [(resource_type, namespace, {"labelSelector": self._selector}) for resource_type, namespace in members] + alone

    def _watch(
        self,
        resource_type: ResourceType,
        namespace: str,
        query: dict[str, str],
        deadline: float,
        events: queue.Queue[tuple[tuple[str, str, str, str], Body] | ApiError],
        stop: threading.Event,
    ) -> None:
        """Put every reading of the collection's objects into ``events``: a list, then its changes, and again when the watch breaks."""
        while not stop.is_set() and time.monotonic() < deadline:
            try:
                pages = list(self._api.pages(resource_type, namespace, query))
                for _version, items in pages:
                    for body in items:
                        events.put((reference_of(body).identity, body))
                version = pages[-1][0] if pages else ""
                remaining = deadline - time.monotonic()
                for event_type, body in self._api.watch(resource_type, namespace, version, min(60.0, max(1.0, remaining)), query):
                    if stop.is_set():
                        return
                    if event_type in ("ADDED", "MODIFIED"):
                        events.put((reference_of(body).identity, body))
            except ApiError as error:
                if error.status in (401, 403) and not self._api.is_of_a_restart(error):
                    events.put(error)
                    return
                stop.wait(0.5)
            except Exception:
                # A stream that breaks off in the middle of a line; the next list tells what was missed.
                stop.wait(0.5)

    def _progress(self, pending: t.Mapping[t.Any, Verdict], objects: t.Mapping[t.Any, Awaited], bodies: t.Mapping[t.Any, Body], elapsed: float) -> str:
        key, verdict = next(iter(pending.items()))
        line = f"waiting for {objects[key].reference}: {verdict.message}"
        for pod, container, what in self._pod_troubles(objects[key], bodies[key])[:1]:
            line += f"; pod {pod}{f' container {container}' if container else ''}: {what}"
        if len(pending) > 1:
            line += f", and {len(pending) - 1} more"
        return f"{line} ({elapsed:.0f} s)"

    def _report(self, what: str, pending: t.Mapping[t.Any, Verdict], objects: t.Mapping[t.Any, Awaited], bodies: t.Mapping[t.Any, Body]) -> str:
        lines = []
        for key, verdict in list(pending.items())[:_DESCRIBED]:
            item = objects[key]
            lines.append(f"{item.reference} {what}: {verdict.message}")
            pods = self._pod_troubles(item, bodies[key])
            for pod, container, trouble in pods:
                lines.append(f"  pod {pod}{f' container {container}' if container else ''}: {trouble}")
                lines.extend(f"    {line}" for line in self._last_log_lines(item.reference.namespace, pod, container))
            event = self._newest_warning(item.reference, [pod for pod, container, trouble in pods])
            if event:
                lines.append(f"  newest warning event: {event}")
        if len(pending) > _DESCRIBED:
            lines.append("also " + ", ".join(str(objects[key].reference) for key in list(pending)[_DESCRIBED:]))
        return "\n".join(lines)

    def _pod_troubles(self, item: Awaited, body: Body) -> list[tuple[str, str, str]]:
        if item.reference.group_kind not in _WORKLOADS:
            return []
        selector = pod_selector(body)
        return pod_troubles(self._quietly(_POD, item.reference.namespace, {"labelSelector": selector})) if selector else []

    def _last_log_lines(self, namespace: str, pod: str, container: str) -> list[str]:
        if not container:
            return []
        path = f"{_POD.path(namespace, pod)}/log"
        for previous in ("true", "false"):
            try:
                answer = self._api.request(
                    "GET", path, {"container": container, "previous": previous, "tailLines": _LOG_LINES, "limitBytes": 4096}, accept="*/*"
                )
            except ApiError:
                continue
            text = str(answer.body.get("text", "")).strip()
            # The container runtime has dropped the log already, which kubelet says in its place.
            if text and not text.startswith("unable to retrieve container logs"):
                return text.splitlines()
        return []

    def _newest_warning(self, reference: Reference, pods: t.Sequence[str]) -> str:
        """The newest Warning about an object or one of its pods."""
        names = {reference.name, *pods}
        events = [
            event
            # Events about cluster-scoped objects are kept in namespace default.
            for event in self._quietly(_EVENT, reference.namespace or "default", {"fieldSelector": "type=Warning"})
            if event.get("involvedObject", {}).get("name") in names and event["involvedObject"].get("kind") in (reference.kind, "Pod")
        ]
        if not events:
            return ""
        newest = max(events, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")))
        return f"{newest.get('reason')}: {newest.get('message')}"

    def _quietly(self, resource_type: ResourceType, namespace: str, query: dict[str, str]) -> list[Body]:
        """A list that only explains; what may not be read explains nothing."""
        try:
            return [body for version, items in self._api.pages(resource_type, namespace, query) for body in items]
        except ApiError:
            return []

    def gone(self, what: t.Callable[[], list[Body]], deadline: float) -> None:
        """Return once ``what`` finds nothing any more.

        :raises WaitError: at ``deadline`` (monotonic seconds), naming each object left and what holds it.
        """
        started, spoken, pause = time.monotonic(), time.monotonic(), 0.02
        while True:
            left = what()
            if not left:
                return
            now = time.monotonic()
            if now >= deadline:
                raise WaitError(self._left(left, now - started))
            if now - spoken >= _PROGRESS_INTERVAL:
                more = " and others" if len(left) > 1 else ""
                self._say(f"waiting for {reference_of(left[0])} to be gone{_held_by(left[0])}{more} ({now - started:.0f} s)")
                spoken = now
            time.sleep(pause)
            pause = min(_GONE_INTERVAL, pause * 2)

    @staticmethod
    def _left(left: t.Sequence[Body], elapsed: float) -> str:
        lines = [f"{reference_of(body)} still exists after {elapsed:.0f} s{_held_by(body)}" for body in left[:_DESCRIBED]]
        if len(left) > _DESCRIBED:
            lines.append("also " + ", ".join(str(reference_of(body)) for body in left[_DESCRIBED:]))
        return "\n".join(lines)


def _held_by(body: Body) -> str:
    """What keeps a deleted object, as far as the object itself says."""
    reasons = []
    finalizers = [*(body["metadata"].get("finalizers") or ()), *((body.get("spec") or {}).get("finalizers") or () if body["kind"] == "Namespace" else ())]
    if finalizers:
        reasons.append(f"held by finalizer {', '.join(finalizers)}")
    for condition in (body.get("status") or {}).get("conditions") or () if body["kind"] == "Namespace" else ():
        if condition.get("status") == "True" and condition.get("message"):
            reasons.append(condition["message"])
    return f" ({'; '.join(reasons)})" if reasons else ""
