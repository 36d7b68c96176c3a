# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import queue
import time
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Answer, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.expectations import Expectation
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import reference_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.readiness import State, Verdict
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.wait import (
    Awaited,
    Waiter,
    WaitError,
    pod_selector,
    pod_troubles,
)

DEPLOYMENTS = ResourceType("apps/v1", "Deployment", "deployments", True, frozenset())
JOBS = ResourceType("batch/v1", "Job", "jobs", True, frozenset())
PODS = ResourceType("v1", "Pod", "pods", True, frozenset())


def deployment(ready: int, name: str = "web") -> dict[str, t.Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "shop", "generation": 1},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"tier": "front", "app": name}}},
        "status": {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": ready},
    }


CRASHING = {
    "metadata": {"name": "web-1"},
    "status": {
        "containerStatuses": [
            {
                "name": "web",
                "restartCount": 3,
                "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            }
        ]
    },
}


class Cluster:
    """Collections by plural; ``changes`` and ``deletions`` are what a watch of any of them reports, ``objects`` exist
    by path.
    """

    def __init__(
        self,
        changes: t.Sequence[dict[str, t.Any]] = (),
        deletions: t.Sequence[dict[str, t.Any]] = (),
        **collections: list[dict[str, t.Any]],
    ) -> None:
        self.collections = collections
        self.changes = changes
        self.deletions = deletions
        self.objects: dict[str, dict[str, t.Any]] = {
            "/apis/gateway.networking.k8s.io/v1/namespaces/shop/gateways/door": {"spec": {"gatewayClassName": "glass"}},
            "/apis/gateway.networking.k8s.io/v1/gatewayclasses/glass": {"spec": {"controllerName": "example.com/ours"}},
        }
        self.lost_logs = False
        #: Explaining reads are answered with it.
        self.trouble: ApiError | None = None
        self.explaining_reads = 0
        self.queries: list[dict[str, str]] = []

    def pages(
        self, resource_type: ResourceType, namespace: str, query: dict[str, str], patience: float | None = None
    ) -> t.Iterator[tuple[str, list[dict[str, t.Any]]]]:
        explains = resource_type.plural in ("pods", "events") and query.get("labelSelector") != "part-of=x"
        assert (patience == 0) == explains
        self.queries.append(query)
        if explains:
            self.explain()
        yield "7", copy.deepcopy(self.collections.get(resource_type.plural, []))

    def explain(self) -> None:
        self.explaining_reads += 1
        if self.trouble:
            raise self.trouble

    def watch(
        self, resource_type: ResourceType, namespace: str, version: str, seconds: float, query: dict[str, str]
    ) -> t.Iterator[tuple[str, dict[str, t.Any]]]:
        assert version == "7"
        for body in self.changes:
            yield "MODIFIED", body
        for body in self.deletions:
            yield "DELETED", body
        time.sleep(0.05)

    def each(self, function: t.Callable[[t.Any], t.Any], items: t.Sequence[t.Any]) -> list[t.Any]:
        return [function(item) for item in items]

    def get(self, path: str) -> dict[str, t.Any] | None:
        return self.objects.get(path)

    def request(self, method: str, path: str, query: dict[str, t.Any], accept: str, patience: float) -> Answer:
        assert patience == 0
        self.explain()
        assert path == "/api/v1/namespaces/shop/pods/web-1/log"
        if query["previous"] == "true":
            if self.lost_logs:
                raise ApiError(400, "BadRequest", "previous terminated container not found")
            return Answer(200, {"text": "unable to retrieve container logs for containerd://1"})
        return Answer(200, {"text": "starting\nno such table\n"})


def waiter(cluster: Cluster, timeout: float = 5.0) -> tuple[Waiter, list[str]]:
    said: list[str] = []
    return Waiter(cluster, "part-of=x", timeout, said.append), said  # type: ignore[arg-type]


def awaited(body: dict[str, t.Any], resource_type: ResourceType = DEPLOYMENTS, labelled: bool = True) -> Awaited:
    return Awaited(reference_of(body), resource_type, body, labelled)


def test_objects_that_are_ready_cost_no_request() -> None:
    cluster = Cluster()
    waiter(cluster)[0].ready([awaited(deployment(1))])
    assert cluster.queries == []


def test_readiness_reported_by_the_list_or_by_the_watch_ends_the_wait() -> None:
    waiter(Cluster(deployments=[deployment(1)]))[0].ready([awaited(deployment(0))])
    wait, said = waiter(Cluster([deployment(1)], deployments=[deployment(0)]))
    wait.ready([awaited(deployment(0))])
    assert said == ["waiting for Deployment shop/web: 0 of 1 ready (0 s)"]


def test_members_are_watched_together_and_others_alone() -> None:
    cluster = Cluster(deployments=[deployment(1, "a"), deployment(1, "b"), deployment(1, "c")])
    waiter(cluster)[0].ready(
        [awaited(deployment(0, "a")), awaited(deployment(0, "b")), awaited(deployment(0, "c"), labelled=False)]
    )
    watched = {tuple(query.items()) for query in cluster.queries if "app=" not in query.get("labelSelector", "")}
    assert watched == {(("labelSelector", "part-of=x"),), (("fieldSelector", "metadata.name=c"),)}


def test_a_time_out_names_object_pods_log_and_event() -> None:
    events = [
        {
            "involvedObject": {"kind": "Pod", "name": "web-1"},
            "reason": "Old",
            "message": "old",
            "lastTimestamp": "2026-01-01T00:00:00Z",
            "metadata": {},
        },
        {
            "involvedObject": {"kind": "Pod", "name": "web-1"},
            "reason": "BackOff",
            "message": "restarting",
            "lastTimestamp": "2026-01-02T00:00:00Z",
            "metadata": {},
        },
        {
            "involvedObject": {"kind": "Pod", "name": "other"},
            "reason": "Other",
            "message": "no",
            "lastTimestamp": "2026-01-03T00:00:00Z",
            "metadata": {},
        },
    ]
    wait, said = waiter(Cluster(deployments=[deployment(0)], pods=[CRASHING], events=events), timeout=0.2)
    with pytest.raises(WaitError) as error:
        wait.ready([awaited(deployment(0))])
    assert str(error.value) == (
        "Deployment shop/web not ready after 0 s: 0 of 1 ready\n"
        "  pod web-1 container web: CrashLoopBackOff: back-off 40s\n"
        "    starting\n"
        "    no such table\n"
        "  newest warning event: BackOff: restarting"
    )
    assert said == [
        "waiting for Deployment shop/web: 0 of 1 ready; pod web-1 container web: CrashLoopBackOff: back-off 40s (0 s)"
    ]


def test_a_failed_job_ends_the_wait_at_once() -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate", "namespace": "shop", "generation": 1},
        "spec": {},
        "status": {},
    }
    failed = {**job, "status": {"conditions": [{"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded"}]}}
    started = time.monotonic()
    with pytest.raises(WaitError, match="Job shop/migrate failed: condition Failed is True: BackoffLimitExceeded"):
        waiter(Cluster([failed], jobs=[job]), timeout=60)[0].ready([awaited(job, JOBS)])
    assert time.monotonic() - started < 5


def test_only_the_first_objects_are_described() -> None:
    bodies = [deployment(0, f"web-{number}") for number in range(12)]
    with pytest.raises(WaitError) as error:
        waiter(Cluster(deployments=bodies), timeout=0.1)[0].ready([awaited(body) for body in bodies])
    assert str(error.value).splitlines()[-1] == "also Deployment shop/web-10, Deployment shop/web-11"


def test_what_troubles_pods() -> None:
    pods = [
        CRASHING,
        {
            "metadata": {"name": "web-2"},
            "status": {
                "initContainerStatuses": [
                    {
                        "name": "init",
                        "restartCount": 2,
                        "state": {"running": {}},
                        "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
                    }
                ],
                "containerStatuses": [{"name": "web", "state": {"running": {}}}],
            },
        },
        {
            "metadata": {"name": "web-3"},
            "status": {
                "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available"}]
            },
        },
        {
            "metadata": {"name": "web-4"},
            "status": {"containerStatuses": [{"name": "web", "state": {"terminated": {"exitCode": 0}}}]},
        },
    ]
    assert pod_troubles(pods) == [
        ("web-1", "web", "CrashLoopBackOff: back-off 40s"),
        ("web-2", "init", "exited with 1 (Error), 2 restarts"),
        ("web-3", "", "not scheduled: 0/1 nodes are available"),
    ]


def test_pod_selector() -> None:
    assert pod_selector(deployment(0)) == "app=web,tier=front"
    assert pod_selector({"spec": {}}) == ""


def test_gone_waits_until_nothing_is_left() -> None:
    left = [[deployment(0)], [deployment(0)], []]
    waiter(Cluster())[0].gone(lambda: left.pop(0), time.monotonic() + 5)
    assert left == []


def test_what_holds_an_object_is_named() -> None:
    body = deployment(0)
    body["metadata"]["finalizers"] = ["example.com/a", "example.com/b"]
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "shop"},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {
            "conditions": [
                {"type": "NamespaceContentRemaining", "status": "True", "message": "pods. has 1 resource instances"}
            ]
        },
    }
    with pytest.raises(WaitError) as error:
        waiter(Cluster())[0].gone(lambda: [body, namespace], time.monotonic())
    assert str(error.value) == (
        "Deployment shop/web still exists after 0 s (held by finalizer example.com/a, example.com/b)\n"
        "Namespace shop still exists after 0 s (held by finalizer kubernetes; pods. has 1 resource instances)"
    )


def test_a_route_waits_for_the_controller_of_its_gateway() -> None:
    yes = [{"type": name, "status": "True"} for name in ("Accepted", "ResolvedRefs")]
    parent = {"name": "door"}
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"parentRefs": [parent]},
        "status": {"parents": [{"parentRef": parent, "controllerName": "example.com/foreign", "conditions": yes}]},
    }
    routes = ResourceType("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", True, frozenset())
    with pytest.raises(WaitError, match=r"parent Gateway shop/door: controller example.com/ours has not answered yet"):
        waiter(Cluster(httproutes=[route]), timeout=0.1)[0].ready([awaited(route, routes)])
    accepted = copy.deepcopy(route)
    accepted["status"]["parents"].append({"parentRef": parent, "controllerName": "example.com/ours", "conditions": yes})
    waiter(Cluster([accepted], httproutes=[route]))[0].ready([awaited(route, routes)])


def test_what_a_user_expects_is_waited_for_too() -> None:
    waits = waiter(Cluster(deployments=[deployment(2)]), timeout=0.1)[0]
    waits.expectations = [Expectation("Deployment", "status.color == 'green'")]
    assert waits.observes(reference_of(deployment(2)))
    with pytest.raises(
        WaitError, match=r"Deployment shop/web not ready after 0 s: wait_for query status.color == 'green' is false"
    ):
        waits.ready([awaited(deployment(2))])


def test_an_object_that_is_gone_ends_the_wait_at_once() -> None:
    deleted = "Deployment shop/web failed: it was deleted while it was waited for"
    for cluster in (Cluster(), Cluster(deletions=[deployment(0)], deployments=[deployment(0)])):
        started = time.monotonic()
        with pytest.raises(WaitError, match=deleted):
            waiter(cluster, timeout=60)[0].ready([awaited(deployment(0))])
        assert time.monotonic() - started < 5


def test_a_job_may_be_gone_once_it_is_complete() -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "migrate", "namespace": "shop"},
        "spec": {},
        "status": {},
    }
    complete = {**job, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    waiter(Cluster(deletions=[complete], jobs=[job]))[0].ready([awaited(job, JOBS)])
    waiter(Cluster())[0].ready([awaited({**job, "spec": {"ttlSecondsAfterFinished": 0}}, JOBS)])


def test_an_object_that_only_leaves_its_collection_is_still_waited_for() -> None:
    for cluster in (Cluster(), Cluster(deletions=[deployment(0)], deployments=[deployment(0)])):
        cluster.objects["/apis/apps/v1/namespaces/shop/deployments/web"] = deployment(1)
        waiter(cluster)[0].ready([awaited(deployment(0))])


def test_a_kind_that_is_not_served_yet_reports_nothing() -> None:
    cluster = Cluster()
    cluster.pages = lambda *args, **keywords: iter(())  # type: ignore[method-assign]
    with pytest.raises(WaitError, match="Deployment shop/web not ready after 0 s: 0 of 1 ready"):
        waiter(cluster, timeout=0.1)[0].ready([awaited(deployment(0))])


def test_pages_are_looked_at_one_by_one_and_of_them_only_what_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    queued: list[str] = []
    page_read_after: list[int] = []

    class Paged(Cluster):
        def pages(self, *args: t.Any, **keywords: t.Any) -> t.Iterator[tuple[str, list[dict[str, t.Any]]]]:
            for names in (["web", "other-1"], ["other-2", "last"]):
                page_read_after.append(len(queued))
                yield "7", [deployment(1, name) for name in names]

    waits = waiter(Paged())[0]
    put = queue.Queue.put

    def recorded(self: t.Any, item: t.Any, *args: t.Any, **keywords: t.Any) -> None:
        queued.append(item.identity[3])
        put(self, item, *args, **keywords)

    monkeypatch.setattr(queue.Queue, "put", recorded)
    waits.ready([awaited(deployment(0)), awaited(deployment(0, "last"))])
    assert queued[:2] == ["web", "last"]
    assert page_read_after[:2] == [0, 1]
    assert "other-1" not in queued


def test_each_reading_is_judged_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    judged = 0

    class Counted(Verdict):
        def __getattribute__(self, name: str) -> t.Any:
            nonlocal judged
            judged += name == "state"
            return super().__getattribute__(name)

    bodies = [deployment(0, f"web-{number}") for number in range(200)]
    waits = waiter(Cluster([deployment(1, f"web-{number}") for number in range(200)], deployments=bodies))[0]
    monkeypatch.setattr(
        waits,
        "verdict",
        lambda body: Counted(State.CURRENT if body["status"]["availableReplicas"] else State.IN_PROGRESS),
    )
    waits.ready([awaited(body) for body in bodies])
    assert judged < 200 * 8


def warning(kind: str, name: str, message: str) -> dict[str, t.Any]:
    return {
        "involvedObject": {"kind": kind, "name": name},
        "reason": "FailedCreate",
        "message": message,
        "metadata": {"creationTimestamp": message},
    }


def failure(cluster: Cluster, *items: Awaited) -> str:
    with pytest.raises(WaitError) as error:
        waiter(cluster, timeout=0.1)[0].ready(items)
    return str(error.value)


def test_warnings_about_replica_sets_are_reported_for_their_deployment() -> None:
    events = [
        warning("ReplicaSet", "web-5d4f", "1 quota"),
        warning("ReplicaSet", "web-api-77c9", "2 other"),
        warning("Job", "web-1", "3 other"),
    ]
    told = failure(Cluster(deployments=[deployment(0)], events=events), awaited(deployment(0)))
    assert told.splitlines()[-1] == "  newest warning event: FailedCreate: 1 quota"


def test_a_bare_pod_reports_its_troubles_and_log() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", **CRASHING, "metadata": {"name": "web-1", "namespace": "shop"}}
    lines = failure(Cluster(pods=[pod]), awaited(pod, PODS)).splitlines()
    assert lines[1:] == [
        "  pod web-1 container web: CrashLoopBackOff: back-off 40s",
        "    starting",
        "    no such table",
    ]


def test_logs_of_three_containers_are_quoted() -> None:
    lines = failure(Cluster(deployments=[deployment(0)], pods=[CRASHING] * 5), awaited(deployment(0))).splitlines()
    assert sum(line.startswith("  pod web-1") for line in lines) == 5
    assert lines.count("    no such table") == 3


def test_reads_that_only_explain_are_bounded_and_end_when_nobody_answers() -> None:
    bodies = [deployment(0, f"web-{number}") for number in range(10)]
    cluster = Cluster(deployments=bodies, pods=[CRASHING] * 3)
    assert "web-9 not ready" in failure(cluster, *map(awaited, bodies))
    # One of them for the line of progress, the end of which is not read.
    assert 50 < cluster.explaining_reads <= 62
    away = Cluster(deployments=bodies)
    away.trouble = ApiError(0, "NoAnswer", "no answer")
    assert "web-9 not ready" in failure(away, *map(awaited, bodies))
    assert away.explaining_reads == 2


def test_the_gateways_that_only_a_policys_status_names_are_looked_up_when_they_appear() -> None:
    policy: dict[str, t.Any] = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "BackendTLSPolicy",
        "metadata": {"name": "orders", "namespace": "shop"},
        "spec": {"targetRefs": [{"group": "", "kind": "Service", "name": "orders"}]},
    }
    yes = [{"type": name, "status": "True"} for name in ("Accepted", "ResolvedRefs")]
    entry = {"ancestorRef": {"name": "door"}, "controllerName": "example.com/foreign", "conditions": yes}
    policies = ResourceType("gateway.networking.k8s.io/v1", "BackendTLSPolicy", "backendtlspolicies", True, frozenset())
    foreign = {**policy, "status": {"ancestors": [entry]}}
    assert "no controller has answered yet" in failure(Cluster(backendtlspolicies=[foreign]), awaited(policy, policies))
    ours = {
        **policy,
        "status": {"ancestors": [{**entry, "conditions": []}, {**entry, "controllerName": "example.com/ours"}]},
    }
    waiter(Cluster(backendtlspolicies=[ours]))[0].ready([awaited(policy, policies)])


def late(moment: str, ready: int = 0) -> dict[str, t.Any]:
    """A Deployment whose progress deadline was exceeded."""
    body = deployment(ready)
    condition = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
    body["status"]["conditions"] = [{**condition, "lastUpdateTime": moment}]
    return body


def test_a_deadline_that_was_exceeded_before_does_not_end_the_wait() -> None:
    before = late("2026-02-17T04:05:16Z")
    cluster = Cluster(changes=[before, deployment(1)], deployments=[before])
    found, _lines = waiter(cluster)
    found.ready([awaited(before)])


def test_a_deadline_that_is_exceeded_meanwhile_ends_the_wait() -> None:
    before = late("2026-02-17T04:05:16Z")
    for first in (before, deployment(0)):
        cluster = Cluster(changes=[late("2026-02-17T04:15:16Z")], deployments=[first])
        found, _lines = waiter(cluster)
        with pytest.raises(WaitError, match="failed"):
            found.ready([awaited(first)])


def test_a_deadline_that_stays_exceeded_is_reported_after_the_time_out() -> None:
    before = late("2026-02-17T04:05:16Z")
    found, _lines = waiter(Cluster(deployments=[before]), timeout=0.3)
    with pytest.raises(WaitError, match=r"not ready after .*ProgressDeadlineExceeded"):
        found.ready([awaited(before)])
