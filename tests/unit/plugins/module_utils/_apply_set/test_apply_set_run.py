# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import time
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set import retirement as apply_set_retirement
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import (
    GROUP_KINDS_ANNOTATION,
    NAMESPACES_ANNOTATION,
    PART_OF_LABEL,
    SetIdentity,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import ManifestError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import ApplySetError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import Options, Outcome, Run
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.wait import WaitError
from cluster import RESOURCES, Answer, Cluster, PowerCut

IDENTITY = SetIdentity("shop", "home")
PARENT = "/api/v1/namespaces/home/configmaps/shop"


def config_maps(*names: str, namespace: str = "home", value: str = "a") -> list[dict[str, t.Any]]:
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace},
            "data": {"key": value},
        }
        for name in names
    ]


def namespace(name: str) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}


def apply(cluster: Cluster, manifests: t.Sequence[t.Any], **options: t.Any) -> Outcome:
    run = Run(cluster.api(), IDENTITY, Options(**options), lambda line: None)
    run.present(manifests)
    return run.outcome


def remove(cluster: Cluster, **options: t.Any) -> Outcome:
    run = Run(cluster.api(), IDENTITY, Options(**options), lambda line: None)
    run.absent()
    return run.outcome


def names(references: t.Iterable[t.Any]) -> list[str]:
    return [reference.name for reference in references]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def test_a_second_run_writes_nothing(cluster: Cluster) -> None:
    manifests = [*config_maps("a", "b"), namespace("home")]
    first = apply(cluster, manifests)
    assert names(first.created) == ["home", "a", "b"]
    cluster.writes.clear()
    second = apply(cluster, manifests)
    assert not second.changed
    assert names(second.unchanged) == ["home", "a", "b"]
    assert cluster.writes == []


def test_what_stays_outlives_the_removal_of_its_neighbours(cluster: Cluster) -> None:
    cluster.put("configmaps", "home", "not-ours")
    apply(cluster, config_maps("a", "b", "c", "d"))
    outcome = apply(cluster, config_maps("a", "b", value="new"))
    assert names(outcome.updated) == ["a", "b"]
    assert names(outcome.deleted) == ["c", "d"]
    assert cluster.names() == ["a", "b", "not-ours", "shop"]


def test_a_kind_or_namespace_without_wanted_objects_goes_by_collection(cluster: Cluster) -> None:
    cluster.put("namespaces", "", "far")
    cluster.put("configmaps", "far", "not-ours")
    apply(cluster, [*config_maps("a"), *config_maps("b", "c", namespace="far")])
    cluster.writes.clear()
    outcome = apply(cluster, config_maps("a"))
    assert names(outcome.deleted) == ["b", "c"]
    assert cluster.writes == ["DELETE /api/v1/namespaces/far/configmaps", f"PATCH {PARENT}"]
    assert cluster.names() == ["a", "not-ours", "shop"]


def test_the_parent_records_more_before_members_are_written_and_less_once_others_are_gone(cluster: Cluster) -> None:
    cluster.put("namespaces", "", "far")
    apply(cluster, config_maps("b", "c", namespace="far"))
    cluster.writes.clear()
    apply(cluster, [*config_maps("a"), namespace("more")])
    assert [write for write in cluster.writes if "DELETE" in write or PARENT in write] == [
        f"PATCH {PARENT}",
        "DELETE /api/v1/namespaces/far/configmaps",
        f"PATCH {PARENT}",
    ]
    annotations = cluster.objects["configmaps", "home", "shop"]["metadata"]["annotations"]
    assert annotations[GROUP_KINDS_ANNOTATION] == "ConfigMap,Namespace"
    assert annotations[NAMESPACES_ANNOTATION] == ""


def test_every_fault_is_reported_at_once_and_nothing_written(cluster: Cluster) -> None:
    manifests = [
        *config_maps("a", namespace="nowhere"),
        *config_maps("b", "b"),
        {"apiVersion": "v1", "kind": "Gadget", "metadata": {"name": "c"}},
        {"kind": "ConfigMap", "metadata": {"name": "d"}},
    ]
    with pytest.raises(ManifestError) as error:
        apply(cluster, manifests, wait_for=[{"kind": "Database", "query": "status"}])
    assert str(error.value).splitlines() == [
        "5 faults, nothing was written:",
        "- manifests[4] ConfigMap d: apiVersion is missing; write GROUP/VERSION, or VERSION for the core group",
        "- manifests[3] Gadget c: the cluster serves no Gadget in v1; install its CustomResourceDefinition first, or "
        "correct apiVersion and kind",
        "- manifests[2] ConfigMap home/b: duplicate of manifests[1]; render the object once",
        "- manifests[0] ConfigMap nowhere/a: namespace nowhere does not exist, or is being deleted; add it to the "
        "manifests, or create it first",
        "- wait_for[0]: no manifest is a Database; correct the entry, or leave it out",
    ]
    assert cluster.writes == []


def test_check_mode_reports_the_same_and_writes_nothing(cluster: Cluster) -> None:
    apply(cluster, config_maps("a", "b", "c"))
    cluster.writes.clear()
    wanted = [*config_maps("a"), *config_maps("b", value="new"), *config_maps("d")]
    rehearsal = apply(cluster, wanted, check_mode=True, diff_mode=True)
    assert cluster.writes == []
    real = apply(cluster, wanted, diff_mode=True)
    for part in ("created", "updated", "unchanged", "deleted", "diff"):
        assert getattr(rehearsal, part) == getattr(real, part), part
    assert (names(real.created), names(real.updated), names(real.unchanged), names(real.deleted)) == (
        ["d"],
        ["b"],
        ["a"],
        ["c"],
    )


def test_an_empty_set_is_refused_unless_nothing_is_to_go(cluster: Cluster) -> None:
    assert not apply(cluster, [], prune=False).updated
    apply(cluster, config_maps("a"))
    with pytest.raises(ApplySetError, match="manifests is empty, but set home/shop has 1 members"):
        apply(cluster, [])
    assert names(apply(cluster, [], prune=False).deleted) == []
    assert cluster.names() == ["a", "shop"]


def test_a_namespace_that_goes_is_shown_in_a_diff(cluster: Cluster) -> None:
    """Beside members of another set or none: what is looked at then is more than what is shown."""
    apply(cluster, [namespace("home"), namespace("tier"), *config_maps("a")])
    for check_mode in (True, False):
        outcome = apply(cluster, [namespace("home"), *config_maps("a")], check_mode=check_mode, diff_mode=True)
        assert names(outcome.deleted) == ["tier"]
        assert [entry["before_header"] for entry in outcome.diff] == ["Namespace tier"]


def test_absent_removes_the_set_and_nothing_else(cluster: Cluster) -> None:
    cluster.put("namespaces", "", "home")
    cluster.put("configmaps", "home", "not-ours")
    apply(cluster, [*config_maps("a", "b"), namespace("own"), *config_maps("c", namespace="own")])
    assert sorted(names(remove(cluster, check_mode=True).deleted)) == ["a", "b", "c", "own"]
    outcome = remove(cluster)
    assert sorted(names(outcome.deleted)) == ["a", "b", "c", "own"]
    assert names(outcome.deleted)[-1] == "own"
    assert outcome.changed
    assert cluster.names() == ["not-ours"]
    assert not remove(cluster).changed


def state(cluster: Cluster) -> dict[t.Any, t.Any]:
    """All objects without what differs from one history to another."""
    volatile = ("uid", "resourceVersion")
    return {
        key: {**body, "metadata": {name: value for name, value in body["metadata"].items() if name not in volatile}}
        for key, body in cluster.objects.items()
    }


def test_a_namespace_that_wanted_objects_are_in_is_not_pruned(cluster: Cluster) -> None:
    apply(cluster, [namespace("home"), namespace("far"), *config_maps("a"), *config_maps("b", namespace="far")])
    for kept, message in (
        (
            [namespace("home"), *config_maps("a"), *config_maps("b", namespace="far")],
            "Namespace far is not among .* ConfigMap far/b would go with it",
        ),
        (
            [namespace("far"), *config_maps("b", namespace="far")],
            "Namespace home is not among .* the set's parent object would go with it",
        ),
    ):
        cluster.writes.clear()
        for check_mode in (True, False):
            with pytest.raises(ApplySetError, match=message):
                apply(cluster, kept, check_mode=check_mode)
        assert cluster.writes == []


def test_a_namespace_with_members_of_another_set_is_deleted_only_with_force(cluster: Cluster) -> None:
    apply(cluster, [namespace("home"), *config_maps("a")])
    cluster.put("secrets", "home", "theirs")
    cluster.objects["secrets", "home", "theirs"]["metadata"]["labels"] = {PART_OF_LABEL: "another-set"}
    with pytest.raises(ApplySetError, match="Namespace home cannot be deleted: Secret home/theirs would go with it"):
        remove(cluster)
    assert remove(cluster, force_removal=True).changed
    assert cluster.names("secrets") == []


def written_by(*managers: str) -> list[dict[str, t.Any]]:
    """The ``metadata.managedFields`` of an object that ``managers`` updated."""
    return [{"manager": manager, "operation": "Update", "fieldsV1": {}} for manager in managers]


def owned_by(kind: str) -> dict[str, t.Any]:
    group = {"Certificate": "cert-manager.io/v1"}.get(kind, "apps/v1")
    return {"ownerReferences": [{"apiVersion": group, "kind": kind, "name": "x", "uid": "x"}]}


@pytest.mark.parametrize(
    ("plural", "name", "metadata", "stops"),
    [
        ("secrets", "tls", {"managedFields": written_by("kubectl-create")}, True),
        ("secrets", "unknown", {}, True),
        ("configmaps", "notes", {"managedFields": written_by("envoy-gateway", "kubectl-edit")}, True),
        ("deployments", "theirs", {"managedFields": written_by("helm")}, True),
        ("secrets", "certificate", {"managedFields": written_by("envoy-gateway")}, False),
        ("configmaps", "kube-root-ca.crt", {"managedFields": written_by("kube-controller-manager")}, False),
        ("configmaps", "odh-trusted-ca-bundle", {"managedFields": written_by("manager")}, False),
        # A Certificate that somebody else made stays behind without its Secret; a ReplicaSet goes with its Deployment.
        ("secrets", "issued", {"managedFields": written_by("cert-manager"), **owned_by("Certificate")}, True),
        ("pods", "owned", {"managedFields": written_by("somebody"), **owned_by("ReplicaSet")}, False),
        # Data, and it does not matter who made the claim.
        ("persistentvolumeclaims", "data", {"managedFields": written_by("kube-controller-manager")}, True),
        ("configmaps", "istio-ca-root-cert", {"managedFields": written_by("pilot-discovery")}, False),
        ("secrets", "leaving", {"deletionTimestamp": "2026-02-17T04:05:16Z"}, False),
    ],
)
@pytest.mark.parametrize("pruned", [False, True])
def test_a_namespace_is_not_deleted_with_what_others_keep_in_it(
    plural: str, name: str, metadata: dict[str, t.Any], stops: bool, pruned: bool, cluster: Cluster
) -> None:
    apply(cluster, [namespace("home"), *config_maps("a"), namespace("far"), *config_maps("b", namespace="far")])
    cluster.put(plural, "far", name, metadata=metadata)

    def leave(**options: t.Any) -> Outcome:
        wanted = [namespace("home"), *config_maps("a")]
        return apply(cluster, wanted, **options) if pruned else remove(cluster, **options)

    options: dict[str, t.Any] = {"managers": ["envoy-gateway"]}
    if stops:
        cluster.writes.clear()
        with pytest.raises(ApplySetError, match=f"Namespace far cannot be deleted: .* far/{name} would go with it"):
            leave(**options)
        assert cluster.writes == []
        options["force_removal"] = True
    leave(**options)
    assert ("namespaces", "", "far") not in cluster.objects


def test_existing_objects_are_refused_all_at_once_before_any_write(cluster: Cluster) -> None:
    cluster.put("namespaces", "", "home")
    for name in ("a", "c"):
        cluster.put("configmaps", "home", name, data={"theirs": "1"})
    before = dict(cluster.objects)
    for check_mode in (True, False):
        with pytest.raises(ApplySetError) as caught:
            apply(cluster, [namespace("home"), *config_maps("a", "b", "c")], check_mode=check_mode)
        assert "ConfigMap home/a\n" in str(caught.value)
        assert "ConfigMap home/c\n" in str(caught.value)
        assert "home/b" not in str(caught.value)
        assert "adopt: true" in str(caught.value)
    assert cluster.writes == []
    assert cluster.objects == before


@pytest.mark.parametrize("pruned", [False, True])
def test_what_was_adopted_stays_when_it_leaves_the_set(pruned: bool, cluster: Cluster) -> None:
    cluster.put("namespaces", "", "home")
    cluster.put("configmaps", "home", "a", data={"theirs": "1"}, metadata={"managedFields": written_by("kubectl")})
    first = apply(cluster, config_maps("a", "b"), adopt=True)
    assert (names(first.updated), names(first.created)) == (["a"], ["b"])
    # It is remembered without the option, by runs that change nothing as by others.
    assert not apply(cluster, config_maps("a", "b")).changed
    apply(cluster, config_maps("a", "b", value="c"))
    for check_mode in (True, False):
        if pruned:
            last = apply(cluster, config_maps("c"), check_mode=check_mode)
        else:
            last = remove(cluster, check_mode=check_mode)
        assert (names(last.released), names(last.deleted)) == (["a"], ["b"])
        assert last.changed
    metadata = cluster.objects["configmaps", "home", "a"]["metadata"]
    assert PART_OF_LABEL not in metadata["labels"]
    assert "egress.ai_gateway" not in str(metadata["managedFields"])
    # It is somebody else's again.
    with pytest.raises(ApplySetError, match="ConfigMap home/a"):
        apply(cluster, config_maps("a", *(["c"] if pruned else [])))


def test_what_was_adopted_and_deleted_by_hand_is_the_sets_own_when_it_is_created_anew(cluster: Cluster) -> None:
    cluster.put("namespaces", "", "home")
    cluster.put("configmaps", "home", "a")
    apply(cluster, config_maps("a"), adopt=True)
    del cluster.objects["configmaps", "home", "a"]
    apply(cluster, config_maps("a"))
    assert names(remove(cluster).deleted) == ["a"]


def test_a_namespace_is_not_deleted_with_what_was_adopted_in_it(cluster: Cluster) -> None:
    apply(cluster, [namespace("home"), *config_maps("a")])
    cluster.put("configmaps", "home", "theirs")
    apply(cluster, [namespace("home"), *config_maps("a", "theirs")], adopt=True)
    with pytest.raises(ApplySetError, match="ConfigMap home/theirs would go with it"):
        remove(cluster)
    assert "theirs" in cluster.names()


def test_an_object_whose_label_somebody_removed_is_taken_back(cluster: Cluster) -> None:
    apply(cluster, config_maps("a"))
    del cluster.objects["configmaps", "home", "a"]["metadata"]["labels"]
    assert names(apply(cluster, config_maps("a")).updated) == ["a"]
    assert names(remove(cluster).deleted) == ["a"]


def test_a_rehearsal_returns_all_that_a_run_would_fail_with_and_writes_nothing() -> None:
    cluster = Cluster()
    cluster.put("namespaces", "", "home")
    # Neither the parent object nor the first member is the set's.
    for name in ("shop", "a", "b"):
        cluster.put("configmaps", "home", name)
    cluster.objects["configmaps", "home", "b"]["metadata"]["labels"] = {PART_OF_LABEL: "another-set"}
    outcome = apply(cluster, config_maps("a", "b", "c"), check_mode=True, rehearse=True)
    foreign, member, unmanaged = outcome.faults
    assert "is no parent of a set" in foreign
    assert "ConfigMap home/b" in member
    assert "ConfigMap home/a\n" in unmanaged
    assert cluster.writes == []


def test_a_rehearsed_removal_fails_with_what_would_go_with_it(cluster: Cluster) -> None:
    apply(cluster, [namespace("home"), *config_maps("a"), namespace("far"), *config_maps("b", namespace="far")])
    cluster.put("secrets", "far", "tls", metadata={"managedFields": written_by("kubectl-create")})
    wanted = [namespace("home"), *config_maps("a")]
    (fault,) = apply(cluster, wanted, check_mode=True, rehearse=True).faults
    assert "Secret far/tls would go with it" in fault
    (warning,) = apply(cluster, wanted, check_mode=True).warnings
    assert "Secret far/tls would go with it" in warning


class Conflicts(Cluster):
    """Says of each submission without force that somebody else owns a field of it."""

    def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
        if method == "PATCH" and "force=false" in url and "/theirs?" in url:
            cause = {"reason": "FieldManagerConflict", "field": ".data.key", "message": 'conflict with "helm"'}
            return Answer(409, {"kind": "Status", "reason": "Conflict", "code": 409, "details": {"causes": [cause]}})
        return super().request(method, url, body, **options)


def test_conflicts_are_reported_before_any_write() -> None:
    cluster = Conflicts()
    cluster.put("namespaces", "", "home")
    labels = {PART_OF_LABEL: IDENTITY.id}
    entries = [*written_by("helm"), {"manager": "egress.ai_gateway", "operation": "Apply", "fieldsV1": {}}]
    cluster.put("configmaps", "home", "theirs", metadata={"labels": labels, "managedFields": entries})
    with pytest.raises(ApplySetError, match="nothing was written") as caught:
        apply(cluster, config_maps("a", "theirs"))
    assert 'field .data.key is owned by "helm"' in str(caught.value)
    assert "force_conflicts: true" in str(caught.value)
    assert cluster.writes == []
    assert names(apply(cluster, config_maps("a", "theirs"), force_conflicts=True).updated) == ["theirs"]


def test_what_a_controller_labelled_is_no_member_and_survives(cluster: Cluster) -> None:
    apply(cluster, config_maps("a", "b", "c"))
    copied = dict(
        cluster.objects["configmaps", "home", "a"]["metadata"],
        name="copied",
        uid="copied",
        managedFields=[{"manager": "controller"}],
    )
    cluster.put("configmaps", "home", "copied")
    cluster.objects["configmaps", "home", "copied"]["metadata"] = copied
    assert not apply(cluster, config_maps("a", "b", "c")).changed
    assert names(apply(cluster, config_maps("a")).deleted) == ["b", "c"]
    remove(cluster)
    assert cluster.names() == ["copied"]


def test_the_sets_own_namespace_goes_last(cluster: Cluster) -> None:
    apply(cluster, [namespace("home"), namespace("zoo"), *config_maps("a")])
    cluster.undeletable["namespaces", "", "zoo"] = 403
    for _attempt in range(2):
        with pytest.raises(ApplySetError, match="deleting Namespace zoo: not this one"):
            remove(cluster)
    del cluster.undeletable["namespaces", "", "zoo"]
    assert names(remove(cluster).deleted) == ["zoo", "home"]


def test_what_is_deleted_is_reported_when_not_all_can_be(cluster: Cluster) -> None:
    apply(cluster, config_maps("a", "b", "c"))
    cluster.undeletable["configmaps", "home", "c"] = 403
    run = Run(cluster.api(), IDENTITY, Options(), lambda line: None)
    with pytest.raises(ApplySetError, match="deleting ConfigMap home/c: not this one"):
        run.present(config_maps("a"))
    assert names(run.outcome.deleted) == ["b"]
    assert run.outcome.changed


def test_whoever_may_not_delete_collections_deletes_one_by_one(cluster: Cluster) -> None:
    apply(cluster, config_maps("a", "b"))
    cluster.undeletable["configmaps", "home", ""] = 403
    assert names(remove(cluster).deleted) == ["a", "b"]
    assert cluster.names() == []


def test_a_namespace_on_its_way_out_is_waited_for_and_made_anew_with_the_parent(cluster: Cluster) -> None:
    manifests = [namespace("home"), *config_maps("a")]
    apply(cluster, manifests)
    cluster.objects["namespaces", "", "home"]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    cluster.looks_left = 2
    assert names(apply(cluster, manifests).created) == ["home", "a"]
    assert cluster.names() == ["a", "shop"]


@pytest.mark.parametrize("ending", ["present", "absent"])
def test_a_run_cut_off_before_any_write_is_completed_by_the_next(ending: str) -> None:
    before = [namespace("home"), *config_maps("a", "b", "c"), namespace("old"), *config_maps("d", "e", namespace="old")]
    after = [
        namespace("home"),
        *config_maps("a"),
        *config_maps("b", value="new"),
        *config_maps("f"),
        namespace("new"),
        *config_maps("g", namespace="new"),
    ]

    def run(cluster: Cluster) -> None:
        apply(cluster, after) if ending == "present" else remove(cluster)

    def begun() -> Cluster:
        cluster = Cluster()
        apply(cluster, before)
        cluster.writes.clear()
        return cluster

    whole = begun()
    run(whole)
    count = len(whole.writes)
    assert count > 3
    for writes in range(count):
        cluster = begun()
        cluster.writes_left = writes
        with pytest.raises(PowerCut):
            run(cluster)
        cluster.writes_left = -1
        run(cluster)
        assert state(cluster) == state(whole), f"cut off after {writes} writes"
        cluster.writes.clear()
        run(cluster)
        assert cluster.writes == [], f"cut off after {writes} writes"


def test_a_run_cut_off_before_any_write_is_removed_by_the_next() -> None:
    wanted = [namespace("home"), *config_maps("a", "b"), namespace("new"), *config_maps("g", namespace="new")]
    whole = Cluster()
    apply(whole, wanted)
    for writes in range(len(whole.writes)):
        cluster = Cluster()
        cluster.writes_left = writes
        with pytest.raises(PowerCut):
            apply(cluster, wanted)
        cluster.writes_left = -1
        remove(cluster)
        assert state(cluster) == state(Cluster()), f"cut off after {writes} writes"


class Routes(Cluster):
    """Has AIGatewayRoutes, which their controller accepts only once ``accepting``, and HTTPRoutes of the same names,
    which Envoy Gateway has seen.
    """

    def __init__(self) -> None:
        kinds = {
            "aigateway.envoyproxy.io/v1beta1": {"aigatewayroutes": ("AIGatewayRoute", True)},
            "gateway.networking.k8s.io/v1": {"httproutes": ("HTTPRoute", True)},
        }
        super().__init__({**RESOURCES, **kinds})
        self.put("namespaces", "", "home")
        self.accepting = True
        self.created: dict[str, str] = {}

    def stored(self, body: dict[str, t.Any]) -> dict[str, t.Any]:
        found = super().stored(body)
        if body["kind"] == "AIGatewayRoute":
            created = self.created.setdefault(
                body["metadata"]["name"], time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            )
            found["metadata"]["creationTimestamp"] = created
            found["status"] = {"conditions": [{"type": "Accepted", "status": str(self.accepting)}]}
        return found

    def behold(self, generation: int = 2) -> None:
        """Have each HTTPRoute be what its AIGatewayRoute is, of generation 2, and Envoy Gateway have seen this
        generation of it.
        """
        for key, body in list(self.objects.items()):
            if key[0] == "aigatewayroutes":
                parents = [{"conditions": [{"type": "Accepted", "status": "True", "observedGeneration": generation}]}]
                self.put(
                    "httproutes",
                    key[1],
                    key[2],
                    metadata={"generation": 2},
                    spec=body["spec"],
                    status={"parents": parents},
                )


def routes(*names: str, weight: int = 1) -> list[dict[str, t.Any]]:
    kind = {"apiVersion": "aigateway.envoyproxy.io/v1beta1", "kind": "AIGatewayRoute"}
    return [
        {
            **kind,
            "metadata": {"name": name, "namespace": "home"},
            "spec": {"rules": [{"weight": weight, "matches": [{}]}]},
        }
        for name in names
    ]


def retired(body: dict[str, t.Any]) -> bool:
    """Whether a route matches no request."""
    (rule,) = body["spec"]["rules"]
    return [header["value"] for match in rule["matches"] for header in match.get("headers", ())] == [
        body["metadata"]["uid"]
    ]


def watch_sleeps(monkeypatch: pytest.MonkeyPatch, cluster: Routes) -> list[tuple[int, dict[str, bool]]]:
    """Do not sleep; collect the seconds of each longer sleep, and the routes that there are then, by whether they match
    no request.
    """
    slept: list[tuple[int, dict[str, bool]]] = []

    def sleep(seconds: float) -> None:
        if seconds >= 1:
            slept.append(
                (
                    round(seconds),
                    {key[2]: retired(body) for key, body in cluster.objects.items() if key[0] == "aigatewayroutes"},
                )
            )
        cluster.behold()

    monkeypatch.setattr(time, "sleep", sleep)
    return slept


def test_a_route_outlasts_the_readiness_of_the_one_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Routes()
    slept = watch_sleeps(monkeypatch, cluster)
    apply(cluster, routes("old", "same"), prune_delay=15)
    cluster.accepting = False
    for _run in range(2):
        # The second one finds the new route there.
        with pytest.raises(WaitError, match="AIGatewayRoute home/new"):
            apply(cluster, routes("new", "same"), prune_delay=15, wait_timeout=0.2)
        assert cluster.names("aigatewayroutes") == ["new", "old", "same"]
    assert slept == []
    cluster.objects["aigatewayroutes", "home", "new"]["status"]["conditions"][0]["status"] = "True"
    outcome = apply(cluster, routes("new", "same"), prune_delay=15)
    assert (names(outcome.created), names(outcome.deleted)) == ([], ["old"])
    kept = {"new": False, "old": False, "same": False}
    # What is left of them since the new one was created.
    assert 10 < slept[0][0] <= 15
    assert [found for _seconds, found in slept] == [kept, {**kept, "old": True}]
    assert slept[1][0] == 2
    assert cluster.names("aigatewayroutes") == ["new", "same"]


def test_a_route_in_whose_place_is_none_is_only_taken_out_of_use_before(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Routes()
    cluster.created = dict.fromkeys("ab", "2026-01-01T00:00:00Z")
    apply(cluster, [*routes("a", "b"), *config_maps("a")])
    slept = watch_sleeps(monkeypatch, cluster)
    outcome = apply(cluster, [*routes("b", weight=2), *config_maps("b")], prune_delay=15)
    assert slept == [(2, {"a": True, "b": False})]
    assert outcome.warnings == []
    apply(cluster, [*routes("b", "c"), *config_maps("b")], prune_delay=15)
    assert len(slept) == 1
    assert cluster.names("aigatewayroutes") == ["b", "c"]


def test_a_route_stays_until_the_gateway_knows_that_it_matches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Routes()
    apply(cluster, routes("a", "b"))
    cluster.behold(generation=1)
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        assert "a" in cluster.names("aigatewayroutes")
        cluster.behold(generation=1 if len(looks) < 3 else 2)

    monkeypatch.setattr(time, "sleep", sleep)
    assert apply(cluster, routes("b")).warnings == []
    assert looks == [0.2, 0.2, 0.2, 2]
    monkeypatch.setattr(apply_set_retirement, "_PATIENCE", 0)
    apply(cluster, routes("a", "b"))
    cluster.behold(generation=1)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    (warning,) = apply(cluster, routes("b")).warnings
    assert warning == "AIGatewayRoute home/a: the Gateway's controller has not taken the route out of use"


def test_a_route_is_deleted_where_it_may_not_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Routes()
    apply(cluster, routes("a", "b"))
    monkeypatch.setattr(
        cluster,
        "_json_patched",
        lambda *arguments: Answer(403, {"kind": "Status", "reason": "Forbidden", "message": "you may not"}),
    )
    (warning,) = apply(cluster, routes("b")).warnings
    assert warning.startswith("AIGatewayRoute home/a: cannot be taken out of use before the deletion")
    assert warning.endswith("you may not")
    assert cluster.names("aigatewayroutes") == ["b"]


@pytest.mark.parametrize(
    ("owners", "taken"),
    [(["egress.ai_gateway"], True), (["somebody-else"], False), (["egress.ai_gateway", "somebody-else"], False)],
)
def test_a_field_that_an_earlier_run_changed_on_the_way_to_a_deletion_is_taken_back(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, owners: list[str], taken: bool
) -> None:
    """As where it had a route match no request, and was cut off."""
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{owner}" using v1', "field": ".data.key"}
        for owner in owners
    ]
    request = cluster.request

    def conflicting(method: str, url: str, body: bytes | None, **options: t.Any) -> t.Any:
        if method == "PATCH" and "/configmaps/a?" in url and "force=false" in url:
            return Answer(
                409, {"kind": "Status", "reason": "Conflict", "message": "conflict", "details": {"causes": causes}}
            )
        return request(method, url, body, **options)

    monkeypatch.setattr(cluster, "request", conflicting)
    if taken:
        assert names(apply(cluster, [namespace("home"), *config_maps("a")]).created) == ["home", "a"]
    else:
        with pytest.raises(ApplySetError, match=r"field \.data\.key is owned by .*somebody-else"):
            apply(cluster, [namespace("home"), *config_maps("a")])
