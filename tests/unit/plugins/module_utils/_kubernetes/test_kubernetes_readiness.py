# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import GroupKind
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.readiness import (
    CURRENT,
    State,
    Verdict,
    can_wait,
    outdated,
    parent_gateways,
    readiness,
    readiness_of_gone,
)

GATEWAY_API = "gateway.networking.k8s.io/v1"
ENVOY = "gateway.envoyproxy.io/v1alpha1"
AI = "aigateway.envoyproxy.io/v1beta1"


def body(
    api_version: str,
    kind: str,
    spec: dict[str, t.Any] | None = None,
    status: dict[str, t.Any] | None = None,
    generation: int = 2,
) -> dict[str, t.Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "x", "namespace": "shop", "generation": generation},
        "spec": spec or {},
        "status": status or {},
    }


def condition(
    condition_type: str, status: str = "True", observed: int | None = 2, reason: str = "", message: str = ""
) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {"type": condition_type, "status": status}
    if observed is not None:
        found["observedGeneration"] = observed
    return {**found, **({"reason": reason} if reason else {}), **({"message": message} if message else {})}


def in_progress(message: str) -> Verdict:
    return Verdict(State.IN_PROGRESS, message)


def test_kinds_that_report_nothing_are_ready() -> None:
    assert readiness(body("v1", "ConfigMap")) is CURRENT
    assert readiness(body("example.com/v1", "Gateway")) is CURRENT
    assert not can_wait(GroupKind("example.com", "Gateway"))
    assert can_wait(GroupKind("gateway.networking.k8s.io", "Gateway"))


def test_an_object_that_is_being_deleted_is_not_ready() -> None:
    namespace = body("v1", "Namespace", status={"phase": "Active"})
    assert readiness(namespace) is CURRENT
    namespace["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert readiness(namespace) == in_progress("it is being deleted")


SETTLED = {"observedGeneration": 2, "replicas": 2, "updatedReplicas": 2, "availableReplicas": 2}


@pytest.mark.parametrize(
    ("replicas", "status", "verdict"),
    [
        (2, SETTLED, CURRENT),
        (0, {"observedGeneration": 2}, CURRENT),
        (2, {}, in_progress("its controller has seen generation 0, not yet 2")),
        (2, {**SETTLED, "observedGeneration": 1}, in_progress("its controller has seen generation 1, not yet 2")),
        (2, {**SETTLED, "updatedReplicas": 1}, in_progress("1 of 2 updated")),
        (2, {**SETTLED, "replicas": 3}, in_progress("1 old replicas left")),
        (2, {**SETTLED, "availableReplicas": 0}, in_progress("0 of 2 ready")),
        (
            2,
            {
                **SETTLED,
                "availableReplicas": 0,
                "conditions": [condition("Progressing", "False", None, "ProgressDeadlineExceeded", "timed out")],
            },
            Verdict(State.FAILED, "condition Progressing is False: ProgressDeadlineExceeded: timed out"),
        ),
        (
            2,
            {
                "observedGeneration": 2,
                "conditions": [
                    condition("Available", "False"),
                    condition("ReplicaFailure", "True", None, "FailedCreate", "quota"),
                ],
            },
            in_progress("0 of 2 updated; condition ReplicaFailure is True: FailedCreate: quota"),
        ),
        (
            2,
            {
                **SETTLED,
                "availableReplicas": 0,
                "conditions": [condition("Available", "False", None, "MinimumReplicasUnavailable", "too few")],
            },
            in_progress("0 of 2 ready; condition Available is False: MinimumReplicasUnavailable: too few"),
        ),
    ],
)
def test_deployment(replicas: int, status: dict[str, t.Any], verdict: Verdict) -> None:
    assert readiness(body("apps/v1", "Deployment", {"replicas": replicas}, status)) == verdict


def test_a_paused_deployment_is_not_waited_for() -> None:
    assert (
        readiness(body("apps/v1", "Deployment", {"replicas": 2, "paused": True}, {"observedGeneration": 1})) is CURRENT
    )


@pytest.mark.parametrize(
    ("spec", "status", "verdict"),
    [
        ({}, {"observedGeneration": 2, "updatedReplicas": 1, "readyReplicas": 1}, CURRENT),
        ({"replicas": 3}, {"observedGeneration": 1}, in_progress("its controller has seen generation 1, not yet 2")),
        (
            {"replicas": 3},
            {
                "observedGeneration": 2,
                "updatedReplicas": 1,
                "currentRevision": "a",
                "updateRevision": "b",
                "readyReplicas": 3,
            },
            in_progress("1 of 3 updated"),
        ),
        (
            {"replicas": 3},
            {"observedGeneration": 2, "currentRevision": "a", "updateRevision": "a", "readyReplicas": 2},
            in_progress("2 of 3 ready"),
        ),
        (
            {"replicas": 3, "updateStrategy": {"rollingUpdate": {"partition": 2}}},
            {
                "observedGeneration": 2,
                "updatedReplicas": 1,
                "currentRevision": "a",
                "updateRevision": "b",
                "readyReplicas": 3,
            },
            CURRENT,
        ),
        (
            {"replicas": 1, "updateStrategy": {"type": "OnDelete"}},
            {"observedGeneration": 2, "currentRevision": "a", "updateRevision": "b", "readyReplicas": 1},
            CURRENT,
        ),
    ],
)
def test_stateful_set(spec: dict[str, t.Any], status: dict[str, t.Any], verdict: Verdict) -> None:
    assert readiness(body("apps/v1", "StatefulSet", spec, status)) == verdict


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (
            {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 3},
            CURRENT,
        ),
        (
            {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 1, "numberAvailable": 3},
            in_progress("1 of 3 updated"),
        ),
        (
            {"observedGeneration": 2, "desiredNumberScheduled": 3, "updatedNumberScheduled": 3, "numberAvailable": 2},
            in_progress("2 of 3 ready"),
        ),
        ({"observedGeneration": 1}, in_progress("its controller has seen generation 1, not yet 2")),
    ],
)
def test_daemon_set(status: dict[str, t.Any], verdict: Verdict) -> None:
    assert readiness(body("apps/v1", "DaemonSet", {}, status)) == verdict


@pytest.mark.parametrize(
    ("spec", "status", "verdict"),
    [
        ({}, {"conditions": [condition("Complete", observed=None)]}, CURRENT),
        ({"suspend": True}, {}, CURRENT),
        ({"completions": 3}, {"succeeded": 1, "active": 2}, in_progress("1 of 3 complete, 2 running")),
        (
            {},
            {"conditions": [condition("Failed", "True", None, "BackoffLimitExceeded", "has reached the limit")]},
            Verdict(State.FAILED, "condition Failed is True: BackoffLimitExceeded: has reached the limit"),
        ),
    ],
)
def test_a_job_completes_or_fails_at_once(spec: dict[str, t.Any], status: dict[str, t.Any], verdict: Verdict) -> None:
    assert readiness(body("batch/v1", "Job", spec, status)) == verdict


def test_pod() -> None:
    assert readiness(body("v1", "Pod", status={"phase": "Succeeded"})) is CURRENT
    assert readiness(body("v1", "Pod", status={"phase": "Failed", "reason": "Evicted"})) == Verdict(
        State.FAILED, "phase Failed: Evicted"
    )
    assert readiness(body("v1", "Pod", status={"conditions": [condition("Ready", observed=None)]})) is CURRENT
    assert readiness(body("v1", "Pod")) == in_progress("no condition Ready yet")


def test_crd() -> None:
    api_version, kind = "apiextensions.k8s.io/v1", "CustomResourceDefinition"
    assert (
        readiness(
            body(
                api_version,
                kind,
                status={
                    "conditions": [condition("NamesAccepted", observed=None), condition("Established", observed=None)]
                },
            )
        )
        is CURRENT
    )
    assert readiness(body(api_version, kind)) == in_progress("no condition Established yet")
    clash = condition("NamesAccepted", "False", None, "PluralConflict", "taken")
    assert readiness(body(api_version, kind, status={"conditions": [clash]})) == in_progress(
        "condition NamesAccepted is False: PluralConflict: taken"
    )


ACCEPTED = [condition("Accepted")]
LISTENER = {"name": "http", "conditions": [condition("Accepted"), condition("ResolvedRefs"), condition("Programmed")]}


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ({"conditions": [condition("Accepted"), condition("Programmed")], "listeners": [LISTENER]}, CURRENT),
        # The controller of wg-ai-gateway says nothing of listeners.
        ({"conditions": [condition("Accepted"), condition("Programmed")]}, CURRENT),
        ({}, in_progress("no condition Accepted yet")),
        (
            {"conditions": [condition("Accepted", observed=1)]},
            in_progress("condition Accepted is about generation 1, not yet 2"),
        ),
        ({"conditions": ACCEPTED}, in_progress("listener http: no condition Accepted yet")),
        (
            {
                "conditions": ACCEPTED,
                "listeners": [
                    {
                        "name": "http",
                        "conditions": [
                            condition("Accepted"),
                            condition("ResolvedRefs", "False", 2, "InvalidCertificateRef", "no Secret tls"),
                        ],
                    }
                ],
            },
            in_progress("listener http: condition ResolvedRefs is False: InvalidCertificateRef: no Secret tls"),
        ),
        (
            {
                "conditions": [*ACCEPTED, condition("Programmed", "False", 2, "AddressNotAssigned")],
                "listeners": [LISTENER],
            },
            in_progress("condition Programmed is False: AddressNotAssigned"),
        ),
    ],
)
def test_gateway(status: dict[str, t.Any], verdict: Verdict) -> None:
    assert readiness(body(GATEWAY_API, "Gateway", {"listeners": [{"name": "http"}]}, status)) == verdict


def parent(
    name: str, accepted: str = "True", resolved: str = "True", controller: str = "a", **reference: t.Any
) -> dict[str, t.Any]:
    return {
        "parentRef": {"name": name, **reference},
        "controllerName": controller,
        "conditions": [condition("Accepted", accepted), condition("ResolvedRefs", resolved, 2, "BackendNotFound")],
    }


@pytest.mark.parametrize(
    ("references", "parents", "verdict"),
    [
        ([{"name": "one"}], [parent("one")], CURRENT),
        # Controllers write the reference out in full.
        (
            [{"name": "one"}],
            [parent("one", namespace="shop", group="gateway.networking.k8s.io", kind="Gateway")],
            CURRENT,
        ),
        ([{"name": "one"}], [parent("one", resolved="False"), parent("one", controller="b")], CURRENT),
        (
            [{"name": "one"}],
            [parent("one", resolved="False")],
            in_progress("parent Gateway shop/one: condition ResolvedRefs is False: BackendNotFound"),
        ),
        (
            [{"name": "one"}, {"name": "two"}],
            [parent("one")],
            in_progress(
                "parent Gateway shop/two: no controller has answered yet; does it exist, and is its class served?"
            ),
        ),
        (
            [{"name": "one", "namespace": "infra", "sectionName": "https"}],
            [parent("one", namespace="infra")],
            in_progress(
                "parent Gateway infra/one listener https: no controller has answered yet; does it exist, and is its "
                "class served?"
            ),
        ),
        ([], [], CURRENT),
    ],
)
def test_every_parent_of_a_route_must_accept_it(
    references: list[dict[str, t.Any]], parents: list[dict[str, t.Any]], verdict: Verdict
) -> None:
    assert readiness(body(GATEWAY_API, "HTTPRoute", {"parentRefs": references}, {"parents": parents})) == verdict


def test_only_the_controller_that_serves_the_gateway_is_believed() -> None:
    parent = {"name": "door"}
    foreign = {
        "parentRef": parent,
        "controllerName": "example.com/foreign",
        "conditions": [condition("Accepted"), condition("ResolvedRefs")],
    }
    route = body(GATEWAY_API, "HTTPRoute", {"parentRefs": [parent]}, {"parents": [foreign]})
    (gateway,) = parent_gateways(route)
    assert gateway[1] == "door"
    assert readiness(route) is CURRENT
    assert readiness(route, {gateway: "example.com/foreign"}) is CURRENT
    verdict = readiness(route, {gateway: "example.com/ours"})
    assert verdict.state is State.IN_PROGRESS
    assert verdict.message.endswith("/door: controller example.com/ours has not answered yet")
    assert parent_gateways(body("v1", "ConfigMap")) == []


def ancestor(name: str, accepted: str = "True", controller: str = "a", **reference: t.Any) -> dict[str, t.Any]:
    return {
        "ancestorRef": {"name": name, **reference},
        "controllerName": controller,
        "conditions": [condition("Accepted", accepted, 2, "", "conflicts")],
    }


def gateway(name: str, **reference: t.Any) -> dict[str, t.Any]:
    return {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": name, **reference}


UNANSWERED = "no controller has answered yet; does it exist, and is its class served?"


@pytest.mark.parametrize(
    ("spec", "ancestors", "verdict"),
    [
        (
            {"targetRefs": [gateway("one"), gateway("two")]},
            [ancestor("one")],
            in_progress(f"target Gateway shop/two: {UNANSWERED}"),
        ),
        (
            {"targetRefs": [gateway("one"), gateway("two")]},
            [ancestor("two"), ancestor("one", namespace="shop")],
            CURRENT,
        ),
        (
            {"targetRef": gateway("one")},
            [ancestor("one", namespace="infra")],
            in_progress(f"target Gateway shop/one: {UNANSWERED}"),
        ),
        (
            {"targetRef": gateway("one", sectionName="https")},
            [ancestor("one")],
            in_progress(f"target Gateway shop/one listener https: {UNANSWERED}"),
        ),
        ({"targetRef": gateway("one", sectionName="https")}, [ancestor("one", sectionName="https")], CURRENT),
        ({"targetRef": gateway("one")}, [ancestor("one", sectionName="https")], CURRENT),
        # The Gateways that a route is attached to report it.
        ({"targetRefs": [{**gateway("orders"), "kind": "HTTPRoute"}]}, [ancestor("one")], CURRENT),
        # A status has room for 16.
        (
            {"targetRefs": [gateway(str(number)) for number in range(17)]},
            [ancestor(str(number)) for number in range(16)],
            CURRENT,
        ),
    ],
)
def test_a_policy_must_be_accepted_for_every_gateway_that_is_its_target(
    spec: dict[str, t.Any], ancestors: list[dict[str, t.Any]], verdict: Verdict
) -> None:
    assert readiness(body(ENVOY, "SecurityPolicy", spec, {"ancestors": ancestors})) == verdict


def test_of_a_policy_too_only_the_controller_that_serves_the_gateway_is_believed() -> None:
    controllers = {("shop", "one"): "ours"}
    refused, accepted = ancestor("one", "False", "foreign"), ancestor("one", controller="ours")
    policy = body(ENVOY, "SecurityPolicy", {"targetRef": gateway("one")}, {"ancestors": [refused, accepted]})
    assert readiness(policy).state is State.IN_PROGRESS
    assert readiness(policy, controllers) is CURRENT
    policy["status"]["ancestors"] = [ancestor("one", controller="foreign"), ancestor("two")]
    assert readiness(policy, controllers) == in_progress(
        "target Gateway shop/one: controller ours has not answered yet"
    )


def test_the_gateways_of_a_policy_are_its_targets_and_ancestors() -> None:
    spec = {"targetRefs": [gateway("one"), {**gateway("orders"), "kind": "HTTPRoute"}]}
    policy = body(ENVOY, "BackendTrafficPolicy", spec, {"ancestors": [ancestor("two", namespace="infra")]})
    assert parent_gateways(policy) == [("shop", "one"), ("infra", "two")]


def test_a_policy_must_be_accepted_for_every_ancestor() -> None:
    spec = {"targetRefs": [{"kind": "Gateway", "name": "one"}]}
    ancestors = [
        {"ancestorRef": {"name": name}, "conditions": [condition("Accepted", status, 2, "", "conflicts")]}
        for name, status in (("one", "True"), ("two", "False"))
    ]
    assert readiness(body(ENVOY, "SecurityPolicy", spec, {"ancestors": ancestors[:1]})) is CURRENT
    assert readiness(body(ENVOY, "SecurityPolicy", spec, {"ancestors": ancestors})) == in_progress(
        "ancestor Gateway shop/two: condition Accepted is False: conflicts"
    )
    assert readiness(body(ENVOY, "SecurityPolicy", spec)) == in_progress(
        "no controller has answered yet; does its target exist (Gateway one)?"
    )


def test_the_listener_whose_policy_was_merged_with_needs_no_word_of_its_own() -> None:
    spec = {"targetRefs": [{"kind": "HTTPRoute", "name": "orders"}]}
    merged = {"ancestorRef": {"name": "one", "sectionName": "http"}, "conditions": [condition("Merged")]}
    accepted = {"ancestorRef": {"name": "one"}, "conditions": [condition("Accepted")]}
    assert readiness(body(ENVOY, "BackendTrafficPolicy", spec, {"ancestors": [merged, accepted]})) is CURRENT
    assert readiness(body(ENVOY, "BackendTrafficPolicy", spec, {"ancestors": [merged]})).state is State.IN_PROGRESS


@pytest.mark.parametrize("kind", ["AuthPolicy", "RateLimitPolicy", "DNSPolicy", "TLSPolicy"])
def test_kuadrant_policies_must_be_enforced_too(kind: str) -> None:
    assert (
        readiness(body("kuadrant.io/v1", kind, status={"conditions": [condition("Accepted"), condition("Enforced")]}))
        is CURRENT
    )
    assert readiness(body("kuadrant.io/v1", kind, status={"conditions": [condition("Accepted")]})) == in_progress(
        "no condition Enforced yet"
    )


@pytest.mark.parametrize(
    ("api_version", "kind"), [("kuadrant.io/v1", "AuthPolicy"), ("serving.kserve.io/v1alpha1", "LLMInferenceService")]
)
def test_conditions_that_name_no_generation_are_of_the_one_that_the_status_names(api_version: str, kind: str) -> None:
    conditions = [condition(name, observed=None) for name in ("Accepted", "Enforced", "Ready")]
    assert readiness(body(api_version, kind, status={"conditions": conditions, "observedGeneration": 2})) is CURRENT
    verdict = in_progress("its controller has seen generation 1, not yet 2")
    assert readiness(body(api_version, kind, status={"conditions": conditions, "observedGeneration": 1})) == verdict


@pytest.mark.parametrize(
    "status", [{}, {"observedGeneration": 2}, {"observedGeneration": "6c5b"}, {"observedGeneration": None}, "Ready"]
)
def test_a_status_that_names_no_older_generation_is_not_outdated(status: t.Any) -> None:
    assert outdated({**body("example.com/v1", "Database"), "status": status}) is None


DELETED = Verdict(State.FAILED, "it was deleted while it was waited for")


@pytest.mark.parametrize(
    ("gone", "is_last", "verdict"),
    [
        (body("apps/v1", "Deployment", status=SETTLED), True, DELETED),
        (body("batch/v1", "Job", status={"conditions": [condition("Complete")]}), True, CURRENT),
        (body("batch/v1", "Job", status={"conditions": [condition("Complete")]}), False, CURRENT),
        (
            body("batch/v1", "Job", {"ttlSecondsAfterFinished": 0}, {"conditions": [condition("Failed")]}),
            True,
            Verdict(State.FAILED, "condition Failed is True"),
        ),
        (body("batch/v1", "Job", {"ttlSecondsAfterFinished": 0}), False, CURRENT),
        # Deleted while it was running.
        (body("batch/v1", "Job", {"ttlSecondsAfterFinished": 0}), True, DELETED),
        (body("batch/v1", "Job"), False, DELETED),
        (body("v1", "Pod", status={"phase": "Succeeded"}), True, CURRENT),
        (body("v1", "Pod", status={"phase": "Failed"}), True, Verdict(State.FAILED, "phase Failed")),
        (body("v1", "Pod", status={"phase": "Running", "conditions": [condition("Ready")]}), True, DELETED),
    ],
)
def test_only_a_job_or_pod_that_has_ended_may_be_gone(gone: dict[str, t.Any], is_last: bool, verdict: Verdict) -> None:
    assert readiness_of_gone(gone, is_last) == verdict


def test_envoy_ai_gateway_says_not_accepted_by_another_condition() -> None:
    refused = condition("NotAccepted", "False", None, "ReconciliationFailed", "no such backend")
    assert (
        readiness(body(AI, "AIGatewayRoute", status={"conditions": [condition("Accepted", observed=None)]})) is CURRENT
    )
    assert readiness(body(AI, "AIGatewayRoute", status={"conditions": [refused]})) == in_progress(
        "condition NotAccepted is False: ReconciliationFailed: no such backend"
    )


def test_a_backend_nothing_refers_to_is_ready_without_a_word() -> None:
    assert readiness(body(ENVOY, "Backend")) is CURRENT
    assert readiness(
        body(ENVOY, "Backend", status={"conditions": [condition("Accepted", "False", 2, "Invalid")]})
    ) == in_progress("condition Accepted is False: Invalid")
