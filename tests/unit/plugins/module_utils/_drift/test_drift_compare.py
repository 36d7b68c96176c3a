# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sets and patches beside a fake cluster: what a run of apply_set would do, and what others did."""

from __future__ import annotations

import copy
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import (
    CollectedPatch,
    CollectedSet,
    collect_patch,
    collect_set,
    collected_patches,
    collected_sets,
    overlaid,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL, SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import ManifestError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import Options, Run
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.compare import Comparison, compare
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.fields import fields_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.patch import (
    Options as PatchOptions,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.patch import (
    RecordedPatch,
    target_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import ApiError
from cluster import Answer, Body, Cluster, refusal

SHOP = SetIdentity("shop", "home")
NAMESPACE: Body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "home"}}
DEFAULTS = {"prune": True, "adopt": False, "force_conflicts": False}


def config(name: str, namespace: str = "home", **data: str) -> Body:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data or {"key": "value"}}


def a_set(tmp_path: Path, *manifests: Body, identity: SetIdentity = SHOP, **options: t.Any) -> CollectedSet:
    """The set as a task of apply_set collects it."""
    params = {"name": identity.name, "namespace": identity.namespace, "state": "present", **DEFAULTS, **options}
    collect_set(tmp_path, params, copy.deepcopy(list(manifests)))
    return next(item for item in collected_sets(tmp_path) if item.identity == identity)


def apply(cluster: Cluster, *manifests: Body, identity: SetIdentity = SHOP, **options: t.Any) -> None:
    Run(cluster.api(), identity, Options(wait=False, **options), lambda _line: None).present(
        copy.deepcopy(list(manifests))
    )
    cluster.writes.clear()


def found(cluster: Cluster, *sets: CollectedSet, patches: t.Sequence[CollectedPatch] = ()) -> dict[str, str]:
    """By object, the action; nothing may have been written."""
    comparison = compared(cluster, *sets, patches=patches)
    differences = {str(one.reference): one.action for one in comparison.differences}
    assert len(differences) == len(comparison.differences)
    return differences


def compared(cluster: Cluster, *sets: CollectedSet, patches: t.Sequence[CollectedPatch] = ()) -> Comparison:
    cluster.writes.clear()
    comparison = compare(cluster.api(), sets, patches)
    assert cluster.writes == []
    return comparison


def test_nothing_differs_after_a_run(tmp_path: Path) -> None:
    cluster = Cluster()
    manifests = [NAMESPACE, config("a"), config("b", "home", key="other")]
    apply(cluster, *manifests)
    comparison = compared(cluster, a_set(tmp_path, *manifests))
    assert comparison.differences == ()
    (summary,) = comparison.sets
    # The parent object is one of them.
    assert summary.as_dict() == {"name": "home/shop", "objects": 4, "differences": 0, "exists": True}


def test_a_new_cluster_gets_all_of_it(tmp_path: Path) -> None:
    kind = {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "x", "namespace": "home"}}
    comparison = compared(Cluster(), a_set(tmp_path, NAMESPACE, config("a"), kind))
    assert {str(one.reference): one.action for one in comparison.differences} == {
        "Namespace home": "create",
        "ConfigMap home/a": "create",
        "Thing home/x": "create",
        "ConfigMap home/shop": "create",
    }
    assert not comparison.sets[0].exists


def test_the_namespace_of_the_parent_object_is_created_where_no_set_has_it(tmp_path: Path) -> None:
    assert found(Cluster(), a_set(tmp_path, config("a")))["Namespace home"] == "create"


def test_changed_deleted_left_and_foreign_objects(tmp_path: Path) -> None:
    cluster = Cluster()
    wanted = [NAMESPACE, config("a"), config("b"), config("c"), config("unlabelled")]
    apply(cluster, *wanted, config("left"))
    cluster.objects["configmaps", "home", "a"]["data"]["key"] = "changed"
    del cluster.objects["configmaps", "home", "b"]
    del cluster.objects["configmaps", "home", "unlabelled"]["metadata"]["labels"][PART_OF_LABEL]
    label = {"labels": {PART_OF_LABEL: SHOP.id}}
    theirs = {"managedFields": [{"manager": "kubectl-create", "operation": "Update", "fieldsV1": {}}]}
    cluster.put("configmaps", "home", "foreign", metadata={**label, **theirs})
    # What a controller made of an object of the set.
    owner = {"ownerReferences": [{"kind": "ConfigMap", "name": "c", "uid": "1"}]}
    cluster.put("configmaps", "home", "dependent", metadata={**label, **theirs, **owner})
    assert found(cluster, a_set(tmp_path, *wanted)) == {
        "ConfigMap home/a": "update",
        "ConfigMap home/b": "create",
        "ConfigMap home/left": "delete",
        "ConfigMap home/foreign": "foreign",
        "ConfigMap home/unlabelled": "update",
    }


def test_an_object_that_was_made_anew_by_others_is_foreign(tmp_path: Path) -> None:
    cluster = Cluster()
    apply(cluster, NAMESPACE, config("a"))
    entry = {"manager": "kubectl-create", "operation": "Update", "time": "2026-01-01T00:00:00Z", "fieldsV1": {}}
    cluster.put("configmaps", "home", "a", metadata={"labels": {PART_OF_LABEL: SHOP.id}, "managedFields": [entry]})
    (difference,) = compared(cluster, a_set(tmp_path, NAMESPACE, config("a"))).differences
    assert (difference.action, str(difference.reference)) == ("foreign", "ConfigMap home/a")
    assert difference.reason == (
        "It is in the place of the set's, and was last written by kubectl-create at 2026-01-01T00:00:00Z."
    )
    assert [one.path for one in difference.fields] == ["data.key"]


def test_what_others_took_or_have_is_foreign(tmp_path: Path) -> None:
    cluster = Cluster()
    apply(cluster, NAMESPACE, config("taken"))
    other = SetIdentity("other", "home")
    apply(cluster, config("theirs"), identity=other)
    cluster.objects["configmaps", "home", "taken"]["metadata"]["labels"][PART_OF_LABEL] = other.id
    cluster.put("configmaps", "home", "existing")
    wanted = [NAMESPACE, config("taken"), config("theirs"), config("existing")]
    reasons = {str(one.reference): one.reason for one in compared(cluster, a_set(tmp_path, *wanted)).differences}
    assert set(reasons) == {"ConfigMap home/taken", "ConfigMap home/theirs", "ConfigMap home/existing"}
    assert "belongs to set home/other" in reasons["ConfigMap home/taken"]
    assert "belongs to set home/other" in reasons["ConfigMap home/theirs"]
    assert "ai_gateway_adopt: true" in reasons["ConfigMap home/existing"]


def test_an_existing_object_is_adopted_where_that_is_asked_for(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.put("configmaps", "home", "existing", data={"key": "theirs"})
    cluster.put("namespaces", "", "home")
    wanted = a_set(tmp_path, NAMESPACE, config("existing"), adopt=True)
    actions = found(cluster, wanted)
    assert actions["ConfigMap home/existing"] == "update"
    apply(cluster, NAMESPACE, config("existing"), adopt=True)
    assert found(cluster, wanted) == {}
    # It leaves the set and stays.
    (difference, _parent) = compared(cluster, a_set(tmp_path, NAMESPACE, adopt=True)).differences
    assert (difference.action, str(difference.reference)) in (
        ("update", "ConfigMap home/existing"),
        ("update", "ConfigMap home/shop"),
    )


def test_a_namespace_of_others_is_used_as_it_is(tmp_path: Path) -> None:
    cluster = Cluster()
    cluster.put("namespaces", "", "home")
    apply(cluster, NAMESPACE, config("a"))
    assert PART_OF_LABEL not in (cluster.objects["namespaces", "", "home"]["metadata"].get("labels") or {})
    assert found(cluster, a_set(tmp_path, NAMESPACE, config("a"))) == {}


def test_what_a_run_would_not_prune_is_no_difference(tmp_path: Path) -> None:
    cluster = Cluster()
    apply(cluster, NAMESPACE, config("a"), config("b"))
    assert found(cluster, a_set(tmp_path, NAMESPACE, config("a"), prune=False)) == {}


def test_a_set_that_is_to_be_absent(tmp_path: Path) -> None:
    cluster = Cluster()
    absent = a_set(tmp_path, state="absent")
    assert compared(cluster, absent).sets == ()
    apply(cluster, config("a"))
    assert found(cluster, absent) == {"ConfigMap home/a": "delete", "ConfigMap home/shop": "delete"}


def test_a_parent_object_that_is_gone_changed_or_of_others(tmp_path: Path) -> None:
    cluster = Cluster()
    apply(cluster, NAMESPACE, config("a"))
    wanted = a_set(tmp_path, NAMESPACE, config("a"))
    parent = cluster.objects["configmaps", "home", "shop"]
    kinds = "applyset.kubernetes.io/contains-group-kinds"
    parent["metadata"]["annotations"][kinds] = "Namespace"
    (difference,) = compared(cluster, wanted).differences
    assert (difference.action, str(difference.reference)) == ("update", "ConfigMap home/shop")
    assert [one.path for one in difference.fields] == [f"metadata.annotations['{kinds}']"]
    parent["metadata"]["labels"] = {}
    assert found(cluster, wanted) == {"ConfigMap home/shop": "foreign"}
    del cluster.objects["configmaps", "home", "shop"]
    assert found(cluster, wanted) == {"ConfigMap home/shop": "create"}


def test_an_object_that_is_being_deleted_is_to_be_created(tmp_path: Path) -> None:
    cluster = Cluster()
    apply(cluster, NAMESPACE, config("a"), config("left"))
    for name in ("a", "left"):
        cluster.objects["configmaps", "home", name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert found(cluster, a_set(tmp_path, NAMESPACE, config("a"))) == {"ConfigMap home/a": "create"}


def test_scaled_replicas_are_no_difference(tmp_path: Path) -> None:
    cluster = Cluster()
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "home"},
        "spec": {"replicas": 1, "selector": {"a": "b"}},
    }
    apply(cluster, NAMESPACE, manifest)
    live = cluster.objects["deployments", "home", "web"]
    live["spec"]["replicas"] = 5
    owned = live["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]
    del owned["f:replicas"]
    scaled = {"manager": "kube-controller-manager", "operation": "Update", "subresource": "scale"}
    live["metadata"]["managedFields"].append({**scaled, "fieldsV1": {"f:spec": {"f:replicas": {}}}})
    assert found(cluster, a_set(tmp_path, NAMESPACE, manifest)) == {}


class Defaulting(Cluster):
    """Writes a quantity in another unit, and adds a default to what is owned as a whole."""

    def stored(self, body: Body) -> Body:
        after = super().stored(body)
        if "rules" in after:
            after["rules"] = [{"port": 1, **rule, "cpu": "1"} for rule in after["rules"]]
        return after


def test_another_form_of_a_value_is_no_difference(tmp_path: Path) -> None:
    cluster = Defaulting()
    manifest = {**config("a"), "rules": [{"cpu": "1000m"}]}
    apply(cluster, NAMESPACE, manifest)
    assert found(cluster, a_set(tmp_path, NAMESPACE, manifest)) == {}
    other = {**config("a"), "rules": [{"cpu": "1000m", "port": 2}]}
    (difference,) = compared(cluster, a_set(tmp_path, NAMESPACE, other)).differences
    assert [(one.path, one.wanted, one.found) for one in difference.fields] == [("rules[0].port", 2, 1)]
    # Here the collection itself applied what was found.
    assert difference.fields[0].manager.name == "egress.ai_gateway"
    assert difference.reason == ""


class Reading(Cluster):
    """Lets a user read only."""

    message = "no patches"
    status_of_patches = 403

    def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
        if method == "PATCH" and "dryRun" in url and self.url == "refuse":
            return refusal(self.status_of_patches, "Forbidden", self.message)
        return super().request(method, url, body, **options)


def test_a_user_who_may_only_read_sees_what_differs(tmp_path: Path) -> None:
    cluster = Reading()
    apply(cluster, NAMESPACE, config("a"), config("same"))
    cluster.objects["configmaps", "home", "a"]["data"]["key"] = "changed"
    cluster.url = "refuse"
    comparison = compared(cluster, a_set(tmp_path, NAMESPACE, config("a"), config("same")))
    (difference,) = comparison.differences
    assert [(one.path, one.wanted, one.found) for one in difference.fields] == [("data.key", "value", "changed")]
    (warning,) = comparison.warnings
    assert "may not apply objects" in warning


def test_what_the_api_server_refuses_is_named_without_secrets(tmp_path: Path) -> None:
    cluster = Reading()
    secret = {**config("a"), "kind": "Secret", "data": {"key": "czNjcmV0LWNhbmFyeQ=="}}
    apply(cluster, NAMESPACE, secret)
    cluster.objects["secrets", "home", "a"]["data"]["key"] = "b3RoZXItY2FuYXJ5"
    cluster.url, cluster.status_of_patches, cluster.message = "refuse", 422, "s3cret-canary is no key"
    (difference,) = compared(cluster, a_set(tmp_path, NAMESPACE, secret)).differences
    assert difference.reason.startswith("The API server refuses it: ")
    shown = str(difference.as_dict())
    assert not [part for part in ("canary", "czNjcmV0", "b3RoZXIt") if part in shown]


def test_a_cluster_that_does_not_answer_is_an_error(tmp_path: Path) -> None:
    class Silent(Cluster):
        def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
            return refusal(403, "Forbidden", "nothing for you")

    with pytest.raises(ApiError, match="nothing for you"):
        compare(Silent().api(), [a_set(tmp_path, config("a"))], [])


def test_without_the_right_to_look_everywhere_namespaces_are_looked_at(tmp_path: Path) -> None:
    class Narrow(Cluster):
        def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
            if method == "GET" and "/configmaps?" in url and "/namespaces/" not in url:
                return refusal(403, "Forbidden", "not everywhere")
            return super().request(method, url, body, **options)

    cluster = Narrow()
    apply(cluster, NAMESPACE, config("a"), config("left"))
    assert found(cluster, a_set(tmp_path, NAMESPACE, config("a"))) == {"ConfigMap home/left": "delete"}


def test_an_object_of_two_sets_is_named(tmp_path: Path) -> None:
    one = a_set(tmp_path, NAMESPACE, config("a"))
    other = a_set(tmp_path, config("a"), identity=SetIdentity("other", "home"))
    actions = [
        (one.set, one.action) for one in compared(Cluster(), one, other).differences if one.reference.name == "a"
    ]
    assert actions == [("home/shop", "create"), ("home/other", "foreign")]


# --- patches ---

TARGET = {"api_version": "v1", "kind": "ConfigMap", "namespace": "home", "name": "theirs"}
FIELDS = [{"path": ["data", "key"], "value": "ours"}]


def a_patch(tmp_path: Path, state: str = "present", fields: t.Sequence[Body] = FIELDS) -> CollectedPatch:
    target = TARGET if state == "present" else None
    params = {"name": "record", "namespace": "home", "state": state, "target": target, "fields": list(fields)}
    collect_patch(tmp_path, params)
    (patch,) = collected_patches(tmp_path)
    return patch


def test_fields_of_others_that_are_not_as_wanted(tmp_path: Path) -> None:
    cluster = Cluster()
    patch = a_patch(tmp_path)
    assert found(cluster, patches=[patch]) == {"ConfigMap home/theirs": "foreign"}
    cluster.put("namespaces", "", "home")
    cluster.put("configmaps", "home", "theirs", data={"key": "before"})
    assert found(cluster, patches=[patch]) == {"ConfigMap home/theirs": "update", "ConfigMap home/record": "create"}
    run = RecordedPatch(cluster.api(), "record", "home", PatchOptions(wait=False), lambda _line: None)
    run.present(target_of(TARGET), fields_of(FIELDS))
    assert found(cluster, patches=[patch]) == {}
    cluster.objects["configmaps", "home", "theirs"]["data"]["key"] = "changed"
    (difference,) = compared(cluster, patches=[patch]).differences
    assert [(one.path, one.wanted, one.found) for one in difference.fields] == [("data.key", "ours", "changed")]
    cluster.objects["configmaps", "home", "theirs"]["data"]["key"] = "ours"
    absent = a_patch(tmp_path, "absent")
    assert found(cluster, patches=[absent]) == {"ConfigMap home/theirs": "update", "ConfigMap home/record": "delete"}
    del cluster.objects["configmaps", "home", "record"]
    assert compared(cluster, patches=[absent]) == Comparison((), ())


# --- collecting ---


def test_a_set_is_collected_for_its_owner_alone_and_once(tmp_path: Path) -> None:
    a_set(tmp_path, config("a"))
    a_set(tmp_path, config("b"))
    (path,) = (tmp_path / "sets").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    (item,) = collected_sets(tmp_path)
    assert [body["metadata"]["name"] for body in item.objects] == ["b"]


def test_a_wrong_manifest_is_not_collected(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="kind is missing"):
        a_set(tmp_path, {"apiVersion": "v1", "metadata": {"name": "x"}})
    assert collected_sets(tmp_path) == []


def test_the_cluster_is_read_as_it_would_be_after_the_sets(tmp_path: Path) -> None:
    a_set(tmp_path, config("a", key="collected"), config("new"))
    live = [config("a"), config("b")]
    live[0]["metadata"]["resourceVersion"] = "7"
    live[0]["status"] = {"ready": True}
    wanted = {"api_version": "v1", "kind": "ConfigMap", "namespace": "home", "name": "", "label_selectors": []}
    by_name = {body["metadata"]["name"]: body for body in overlaid(tmp_path, wanted, live)}
    assert set(by_name) == {"a", "b", "new"}
    assert by_name["a"]["data"] == {"key": "collected"}
    assert by_name["a"]["status"] == {"ready": True}
    assert by_name["a"]["metadata"]["resourceVersion"] == "7"
    named = {**wanted, "name": "new"}
    assert [body["metadata"]["name"] for body in overlaid(tmp_path, named, [])] == ["new"]
