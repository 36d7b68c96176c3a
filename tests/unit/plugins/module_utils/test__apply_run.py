# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_manifests import ManifestError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_reading import ApplySetError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_run import Options, Outcome, Run
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set_identity import GROUP_KINDS_ANNOTATION, NAMESPACES_ANNOTATION, SetIdentity
from cluster import Cluster, PowerCut

IDENTITY = SetIdentity("shop", "home")
PARENT = "/api/v1/namespaces/home/configmaps/shop"


def config_maps(*names: str, namespace: str = "home", value: str = "a") -> list[dict[str, t.Any]]:
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}, "data": {"key": value}} for name in names]


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


def test_every_fault_is_told_at_once_and_nothing_written(cluster: Cluster) -> None:
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
        "- manifests[3] Gadget c: the cluster serves no Gadget in v1; install its CustomResourceDefinition first, or correct apiVersion and kind",
        "- manifests[2] ConfigMap home/b: duplicate of manifests[1]; render the object once",
        "- manifests[0] ConfigMap nowhere/a: namespace nowhere does not exist; add it to the manifests, or create it first",
        "- wait_for[0]: no manifest is a Database; correct the entry, or leave it out",
    ]
    assert cluster.writes == []


def test_check_mode_tells_the_same_and_writes_nothing(cluster: Cluster) -> None:
    apply(cluster, config_maps("a", "b", "c"))
    cluster.writes.clear()
    wanted = [*config_maps("a"), *config_maps("b", value="new"), *config_maps("d")]
    rehearsal = apply(cluster, wanted, check_mode=True, diff_mode=True)
    assert cluster.writes == []
    real = apply(cluster, wanted, diff_mode=True)
    for part in ("created", "updated", "unchanged", "deleted", "diff"):
        assert getattr(rehearsal, part) == getattr(real, part), part
    assert (names(real.created), names(real.updated), names(real.unchanged), names(real.deleted)) == (["d"], ["b"], ["a"], ["c"])


def test_an_empty_set_is_refused_unless_nothing_is_to_go(cluster: Cluster) -> None:
    assert not apply(cluster, [], prune=False).updated
    apply(cluster, config_maps("a"))
    with pytest.raises(ApplySetError, match="manifests is empty, but set home/shop has 1 members"):
        apply(cluster, [])
    assert names(apply(cluster, [], prune=False).deleted) == []
    assert cluster.names() == ["a", "shop"]


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
        key: {**body, "metadata": {name: value for name, value in body["metadata"].items() if name not in volatile}} for key, body in cluster.objects.items()
    }


@pytest.mark.parametrize("ending", ["present", "absent"])
def test_a_run_cut_off_before_any_write_is_completed_by_the_next(ending: str) -> None:
    before = [*config_maps("a", "b", "c"), namespace("old"), *config_maps("d", "e", namespace="old")]
    after = [*config_maps("a"), *config_maps("b", value="new"), *config_maps("f"), namespace("new"), *config_maps("g", namespace="new")]

    def finish(cluster: Cluster) -> None:
        apply(cluster, after) if ending == "present" else remove(cluster)

    def begun() -> Cluster:
        cluster = Cluster()
        apply(cluster, before)
        cluster.writes.clear()
        return cluster

    whole = begun()
    apply(whole, after)
    count = len(whole.writes)
    finish(whole)
    assert count > 8
    for writes in range(count):
        cluster = begun()
        cluster.writes_left = writes
        with pytest.raises(PowerCut):
            apply(cluster, after)
        cluster.writes_left = -1
        finish(cluster)
        assert state(cluster) == state(whole), f"cut off after {writes} writes"
        cluster.writes.clear()
        finish(cluster)
        assert cluster.writes == [], f"cut off after {writes} writes"
