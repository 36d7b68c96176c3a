# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waits for a set: one watch for each collection that holds an object not ready yet."""

from __future__ import annotations

import functools
import queue
import threading
import time
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.expectations import Expectation, verdict_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.finalizers import Reminders
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind, ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Reference, reference_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.readiness import (
    CURRENT,
    State,
    Verdict,
    can_wait,
    exceeded_deadline,
    parent_gateways,
    readiness,
    readiness_of_gone,
)

Body = dict[str, t.Any]
Identity = tuple[str, str, str, str]
Result = t.TypeVar("Result")

#: Seconds between two progress lines.
_PROGRESS_INTERVAL = 5.0
#: Seconds between two looks at objects that are going away.
_GONE_INTERVAL = 0.25
#: Lines of a failing container's log that an error quotes.
_LOG_LINES = 10
#: Containers of one workload whose logs an error quotes.
_LOGS = 3
#: Objects that an error describes in full.
_DESCRIBED = 10
#: The most reads that one error makes to explain itself.
_EXPLAINING_READS = 60
#: Readings that wait to be evaluated; a reader that has more of them waits too.
_QUEUED = 1000

_POD = ResourceType("v1", "Pod", "pods", True, frozenset())
_DEPLOYMENTS = ResourceType("apps/v1", "Deployment", "deployments", True, frozenset())
_GATEWAY = ResourceType("gateway.networking.k8s.io/v1", "Gateway", "gateways", True, frozenset())
_GATEWAY_CLASS = ResourceType("gateway.networking.k8s.io/v1", "GatewayClass", "gatewayclasses", False, frozenset())
_EVENT = ResourceType("v1", "Event", "events", True, frozenset())

_DEPLOYMENT = GroupKind("apps", "Deployment")
_WORKLOADS = frozenset(
    (_DEPLOYMENT, GroupKind("apps", "StatefulSet"), GroupKind("apps", "DaemonSet"), GroupKind("batch", "Job"))
)
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


@dataclass(frozen=True, eq=False)
class Awaited:
    """One object to wait for; ``labelled`` says that the set's selector finds it."""

    reference: Reference
    type: ResourceType
    body: Body
    labelled: bool = True


@dataclass(frozen=True, eq=False)
class _Collection:
    """What one watch is about; ``awaited`` are the objects of it that count."""

    type: ResourceType
    namespace: str
    query: dict[str, str]
    awaited: set[Identity]


@dataclass(frozen=True, eq=False)
class _Reading:
    """An object as it is, or as it was last if it no longer ``exists``; ``body`` is None if nobody saw that."""

    identity: Identity
    body: Body | None
    exists: bool = True


def pod_troubles(pods: t.Iterable[Body]) -> list[tuple[str, str, str]]:
    """(pod, container, what is wrong) of every container that cannot start or keeps failing."""
    troubles = []
    for pod in pods:
        name, status = pod["metadata"]["name"], pod.get("status") or {}
        for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            waiting = (container.get("state") or {}).get("waiting") or {}
            ended = (
                (container.get("state") or {}).get("terminated")
                or (container.get("lastState") or {}).get("terminated")
                or {}
            )
            if waiting.get("reason") in _POD_TROUBLES:
                what = f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
            elif ended.get("exitCode"):
                what = (
                    f"exited with {ended['exitCode']} ({ended.get('reason', 'Error')}), "
                    f"{int(container.get('restartCount') or 0)} restarts"
                )
            else:
                continue
            troubles.append((name, container["name"], what))
        for condition in status.get("conditions") or ():
            if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
                troubles.append((name, "", f"not scheduled: {condition.get('message', '')}"))
    return troubles


def proxies_of(gateway: Reference) -> str:
    """Label selector of what Envoy Gateway makes for a Gateway."""
    prefix = "gateway.envoyproxy.io/owning-gateway"
    return f"{prefix}-name={gateway.name},{prefix}-namespace={gateway.namespace}"


def pod_selector(workload: Body) -> str:
    """Label selector of a workload's pods; empty when labels alone do not say."""
    labels = ((workload.get("spec") or {}).get("selector") or {}).get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


class _Explanation:
    """Why objects are not ready, from reads that are not tried again and of which there are only so many.

    What may not be read explains nothing; where the API server does not answer, no more is asked.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._reads_left = _EXPLAINING_READS
        #: (kind, name, time, message) of the Warning events by namespace.
        self._warnings: dict[str, list[tuple[str, str, str, str]]] = {}

    def lines(self, reference: Reference, body: Body) -> t.Iterator[str]:
        """The troubles of an object's pods with the last lines of their logs, and its newest warning event.

        Those of a Gateway are the ones of the proxies that Envoy Gateway made for it.
        """
        if reference.group_kind == _GATEWAY.group_kind:
            for proxies in self._objects(_DEPLOYMENTS, "", {"labelSelector": proxies_of(reference)}):
                yield f"its proxies are {reference_of(proxies)}"
                yield from (f"  {line}" for line in self.lines(reference_of(proxies), proxies))
        troubles = self.pod_troubles(reference, body)
        logs = 0
        for pod, container, trouble in troubles:
            yield f"pod {pod}{f' container {container}' if container else ''}: {trouble}"
            if container and logs < _LOGS:
                logs += 1
                yield from (f"  {line}" for line in self._last_log_lines(reference.namespace, pod, container))
        event = self._newest_warning(reference, {pod for pod, container, trouble in troubles})
        if event:
            yield f"newest warning event: {event}"

    def pod_troubles(self, reference: Reference, body: Body) -> list[tuple[str, str, str]]:
        if reference.group_kind == _POD.group_kind:
            return pod_troubles([body])
        selector = pod_selector(body) if reference.group_kind in _WORKLOADS else ""
        return pod_troubles(self._objects(_POD, reference.namespace, {"labelSelector": selector})) if selector else []

    def _last_log_lines(self, namespace: str, pod: str, container: str) -> list[str]:
        path = f"{_POD.path(namespace, pod)}/log"
        for previous in ("true", "false"):
            query = {"container": container, "previous": previous, "tailLines": _LOG_LINES, "limitBytes": 4096}
            answer = self._read(functools.partial(self._api.request, "GET", path, query, accept="*/*", patience=0))
            text = str(answer.body.get("text", "")).strip() if answer else ""
            # The container runtime has dropped the log already, which kubelet says in its place.
            if text and not text.startswith("unable to retrieve container logs"):
                return text.splitlines()
        return []

    def _newest_warning(self, reference: Reference, pods: t.Collection[str]) -> str:
        """The newest Warning about an object, one of its pods or one of its ReplicaSets, which say why there are no
        pods.
        """

        def concerns(kind: str, name: str) -> bool:
            if kind == "Pod" and name in pods:
                return True
            if kind == "ReplicaSet" and reference.group_kind == _DEPLOYMENT:
                # The last part of its name is a hash: Deployment web-api is not web.
                return name.rpartition("-")[0] == reference.name
            return (kind, name) == (reference.kind, reference.name)

        # Events about cluster-scoped objects are kept in namespace default.
        namespace = reference.namespace or "default"
        if namespace not in self._warnings:
            self._warnings[namespace] = [
                _warning(event) for event in self._objects(_EVENT, namespace, {"fieldSelector": "type=Warning"})
            ]
        found = [(when, text) for kind, name, when, text in self._warnings[namespace] if concerns(kind, name)]
        return max(found)[1] if found else ""

    def _objects(self, resource_type: ResourceType, namespace: str, query: dict[str, str]) -> t.Iterator[Body]:
        """A collection, as far as it can be read; each page counts as a read."""
        pages = self._api.pages(resource_type, namespace, query, patience=0)
        while page := self._read(lambda: next(pages, None)):
            yield from page[1]

    def _read(self, read: t.Callable[[], Result | None]) -> Result | None:
        if self._reads_left <= 0:
            return None
        self._reads_left -= 1
        try:
            return read()
        except ApiError as error:
            if error.status == 0:
                self._reads_left = 0
            return None


def _warning(event: Body) -> tuple[str, str, str, str]:
    about = event.get("involvedObject") or {}
    when = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    return str(about.get("kind")), str(about.get("name")), str(when), f"{event.get('reason')}: {event.get('message')}"


class Waiter:
    """Waits within ``timeout`` seconds and says meanwhile what for."""

    def __init__(
        self,
        api: Api,
        selector: str,
        timeout: float,
        say: t.Callable[[str], None],
        warn: t.Callable[[str], None] = lambda warning: None,
    ) -> None:
        """:param warn: is called with what was done to have an object go."""
        self._api = api
        self._warn = warn
        self._selector = selector
        self._timeout = timeout
        self._say = say
        self._controllers: dict[tuple[str, str], str] = {}
        #: The Gateways whose controllers have been looked up, found or not.
        self._gateways: set[tuple[str, str]] = set()
        #: When the progress deadlines of objects were exceeded before the wait began.
        self._exceeded: dict[Identity, str] = {}
        #: What is demanded of objects beyond what their kinds report.
        self.expectations: t.Sequence[Expectation] = ()

    def observes(self, reference: Reference) -> bool:
        """Whether anything is to be waited for at this object."""
        return can_wait(reference.group_kind) or any(
            expectation.matches(reference) for expectation in self.expectations
        )

    def verdict(self, body: Body) -> Verdict:
        """The verdict on one object, by its kind and by what is expected of it."""
        verdict = readiness(body, self._controllers)
        return verdict_of(body, self.expectations) if verdict is CURRENT else verdict

    def ready(self, awaited: t.Sequence[Awaited]) -> None:
        """Return once every object is ready.

        :raises WaitError: after the time-out, or at once when an object has failed for good.
        """
        objects = {item.reference.identity: item for item in awaited}
        bodies = {key: item.body for key, item in objects.items()}
        self._look_up_controllers(bodies.values())
        # What an earlier run waited for in vain may have been mended since.
        self._exceeded = {key: exceeded_deadline(body) for key, body in bodies.items()}
        verdicts = {key: self._now(key, self.verdict(body), body) for key, body in bodies.items()}
        pending = {key: verdict for key, verdict in verdicts.items() if verdict.state is not State.CURRENT}
        if not pending:
            return
        failed = {key: verdict for key, verdict in pending.items() if verdict.state is State.FAILED}
        if failed:
            raise WaitError(self._report("failed", failed, objects, bodies))
        started = time.monotonic()
        deadline = started + self._timeout
        events: queue.Queue[_Reading | Exception] = queue.Queue(_QUEUED)
        stop = threading.Event()
        for collection in self._collections(awaited):
            if not collection.awaited.isdisjoint(pending):
                threading.Thread(target=self._watch, args=(collection, deadline, events, stop), daemon=True).start()
        try:
            spoken = 0.0
            while pending:
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
                if isinstance(event, Exception):
                    raise event
                key = event.identity
                verdict = self._verdict_of(event, bodies)
                if verdict.state is State.CURRENT:
                    pending.pop(key, None)
                    continue
                pending[key] = verdict
                if verdict.state is State.FAILED:
                    raise WaitError(self._report("failed", {key: verdict}, objects, bodies))
        finally:
            stop.set()

    def _verdict_of(self, reading: _Reading, bodies: dict[Identity, Body]) -> Verdict:
        """The verdict on an object read anew, which is kept in ``bodies``."""
        seen_last = reading.body is not None
        body = bodies[reading.identity] = reading.body or bodies[reading.identity]
        if not reading.exists:
            return readiness_of_gone(body, seen_last)
        # Only its controllers name a policy's Gateways, where its target is a route.
        self._look_up_controllers([body])
        return self._now(reading.identity, self.verdict(body), body)

    def _now(self, identity: Identity, verdict: Verdict, body: Body) -> Verdict:
        """A verdict, in which a deadline that was exceeded before the wait began is no failure of it."""
        before = self._exceeded.get(identity)
        if before and verdict.state is State.FAILED and exceeded_deadline(body) == before:
            return Verdict(State.IN_PROGRESS, verdict.message)
        return verdict

    def _look_up_controllers(self, bodies: t.Iterable[Body]) -> None:
        """Find out which controller serves each Gateway that a route or policy names; others may write a status too,
        and do.
        """
        gateways = sorted({key for body in bodies for key in parent_gateways(body)} - self._gateways)
        if not gateways:
            return
        self._gateways.update(gateways)

        def field(path: str, name: str) -> str:
            try:
                return str(((self._api.get(path) or {}).get("spec") or {}).get(name) or "")
            except ApiError:
                # A user who may not read it trusts every controller's report.
                return ""

        classes = self._api.each(lambda key: field(_GATEWAY.path(*key), "gatewayClassName"), gateways)
        names = sorted({name for name in classes if name})
        served = dict(
            zip(names, self._api.each(lambda name: field(_GATEWAY_CLASS.path(name=name), "controllerName"), names))
        )
        self._controllers.update({key: served[name] for key, name in zip(gateways, classes) if served.get(name)})

    def _collections(self, awaited: t.Sequence[Awaited]) -> list[_Collection]:
        """What can be watched: the set's members of a kind and namespace together, any other object alone."""
        members: dict[tuple[ResourceType, str], _Collection] = {}
        alone = []
        for item in awaited:
            namespace, identity = item.reference.namespace, item.reference.identity
            if item.labelled:
                collection = _Collection(item.type, namespace, {"labelSelector": self._selector}, set())
                members.setdefault((item.type, namespace), collection).awaited.add(identity)
            else:
                alone.append(
                    _Collection(
                        item.type, namespace, {"fieldSelector": f"metadata.name={item.reference.name}"}, {identity}
                    )
                )
        return [*members.values(), *alone]

    def _watch(
        self, collection: _Collection, deadline: float, events: queue.Queue[_Reading | Exception], stop: threading.Event
    ) -> None:
        """Put every reading of the awaited objects into ``events``: a list, then its changes, and again when the watch
        breaks.

        What ends the watching for good is put there too, as an exception.
        """

        def put(event: _Reading | Exception) -> None:
            while not stop.is_set():
                try:
                    events.put(event, timeout=0.5)
                    return
                except queue.Full:
                    continue

        while not stop.is_set() and time.monotonic() < deadline:
            try:
                version = self._list(collection, put, stop)
                if version is None:
                    # This API server does not know the kind yet, so that what is missing says nothing.
                    stop.wait(0.5)
                    continue
                seconds = min(60.0, max(1.0, deadline - time.monotonic()))
                for event_type, body in self._api.watch(
                    collection.type, collection.namespace, version, seconds, collection.query
                ):
                    if stop.is_set():
                        return
                    identity = reference_of(body).identity
                    if identity not in collection.awaited:
                        continue
                    if event_type in ("ADDED", "MODIFIED"):
                        put(_Reading(identity, body))
                    elif event_type == "DELETED":
                        put(self._missed(collection.type, identity, body))
            except ApiError as error:
                if error.status in (401, 403) and not self._api.is_of_a_restart(error):
                    where = f" in namespace {collection.namespace}" if collection.namespace else ""
                    put(WaitError(f"cannot watch the set's {collection.type.plural}{where}: {error.message}"))
                    return
                # The next list has what was missed.
                stop.wait(0.5)
            except Exception as error:
                put(error)
                return

    def _list(self, collection: _Collection, put: t.Callable[[_Reading], None], stop: threading.Event) -> str | None:
        """``put`` the awaited objects page by page, then those that are missing; returns the list's version, None when
        the kind is not served.
        """
        missing, version = set(collection.awaited), None
        for page_version, items in self._api.pages(collection.type, collection.namespace, collection.query):
            version = page_version
            for body in items:
                identity = reference_of(body).identity
                if identity in missing:
                    missing.remove(identity)
                    put(_Reading(identity, body))
        for identity in missing if version is not None else ():
            if stop.is_set():
                break
            put(self._missed(collection.type, identity, None))
        return version

    def _missed(self, resource_type: ResourceType, identity: Identity, last: Body | None) -> _Reading:
        """The reading of an object that its collection no longer has.

        It is gone, unless it has only lost the set's label or was created anew.
        """
        found = self._api.get(resource_type.path(identity[2], identity[3]))
        return _Reading(identity, found) if found else _Reading(identity, last, exists=False)

    def _progress(
        self,
        pending: t.Mapping[t.Any, Verdict],
        objects: t.Mapping[t.Any, Awaited],
        bodies: t.Mapping[t.Any, Body],
        elapsed: float,
    ) -> str:
        key, verdict = next(iter(pending.items()))
        line = f"waiting for {objects[key].reference}: {verdict.message}"
        for pod, container, what in _Explanation(self._api).pod_troubles(objects[key].reference, bodies[key])[:1]:
            line += f"; pod {pod}{f' container {container}' if container else ''}: {what}"
        if len(pending) > 1:
            line += f", and {len(pending) - 1} more"
        return f"{line} ({elapsed:.0f} s)"

    def _report(
        self,
        what: str,
        pending: t.Mapping[t.Any, Verdict],
        objects: t.Mapping[t.Any, Awaited],
        bodies: t.Mapping[t.Any, Body],
    ) -> str:
        explanation = _Explanation(self._api)
        lines = []
        for key, verdict in list(pending.items())[:_DESCRIBED]:
            reference = objects[key].reference
            lines.append(f"{reference} {what}: {verdict.message}")
            lines.extend(f"  {line}" for line in explanation.lines(reference, bodies[key]))
        if len(pending) > _DESCRIBED:
            lines.append("also " + ", ".join(str(objects[key].reference) for key in list(pending)[_DESCRIBED:]))
        return "\n".join(lines)

    def gone(self, what: t.Callable[[], list[Body]], deadline: float) -> None:
        """Return once ``what`` finds nothing any more. Where finalizers do not move, their owners are reminded.

        :raises WaitError: at ``deadline`` (monotonic seconds), naming each object left and what holds it.
        """
        started, spoken, pause = time.monotonic(), time.monotonic(), 0.02
        reminders = Reminders(self._api, self._say, self._warn)
        while True:
            left = what()
            if not left:
                return
            now = time.monotonic()
            if now >= deadline:
                raise WaitError(self._left(left, now - started, reminders))
            reminders.look(left)
            if now - spoken >= _PROGRESS_INTERVAL:
                more = " and others" if len(left) > 1 else ""
                self._say(
                    f"waiting for {reference_of(left[0])} to be gone{_held_by(left[0])}{more} ({now - started:.0f} s)"
                )
                spoken = now
            time.sleep(pause)
            pause = min(_GONE_INTERVAL, pause * 2)

    @staticmethod
    def _left(left: t.Sequence[Body], elapsed: float, reminders: Reminders) -> str:
        lines = []
        for body in left[:_DESCRIBED]:
            times = reminders.times(body)
            reminded = f"; its controller was reminded {times} times, does it run?" if times else ""
            lines.append(f"{reference_of(body)} still exists after {elapsed:.0f} s{_held_by(body)}{reminded}")
        if len(left) > _DESCRIBED:
            lines.append("also " + ", ".join(str(reference_of(body)) for body in left[_DESCRIBED:]))
        return "\n".join(lines)


def _held_by(body: Body) -> str:
    """What keeps a deleted object, as far as the object itself says."""
    reasons = []
    finalizers = [
        *(body["metadata"].get("finalizers") or ()),
        *((body.get("spec") or {}).get("finalizers") or () if body["kind"] == "Namespace" else ()),
    ]
    if finalizers:
        reasons.append(f"held by finalizer {', '.join(finalizers)}")
    for condition in (body.get("status") or {}).get("conditions") or () if body["kind"] == "Namespace" else ():
        if condition.get("status") == "True" and condition.get("message"):
            reasons.append(condition["message"])
    return f" ({'; '.join(reasons)})" if reasons else ""
