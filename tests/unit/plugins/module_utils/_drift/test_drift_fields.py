# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which fields differ, who manages them, and that no secret is among the values."""

from __future__ import annotations

import base64
import copy
import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.fields import (
    ABSENT,
    MOST,
    FieldDifference,
    Manager,
    field_differences,
    guessed_differences,
    last_manager,
    manager_of,
)

Body = dict[str, t.Any]
OWNED = {
    "f:metadata": {"f:labels": {"f:app": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:rules": {},
        "f:containers": {'k:{"name":"web"}': {".": {}, "f:name": {}, "f:image": {}}},
        "f:finalizers": {'v:"ours"': {}},
    },
}


def entry(fields: Body, manager: str = "egress.ai_gateway", time: str = "2026-01-01T00:00:00Z", **more: str) -> Body:
    operation = "Apply" if manager == "egress.ai_gateway" else "Update"
    return {"manager": manager, "operation": operation, "apiVersion": "v1", "time": time, "fieldsV1": fields, **more}


def deployment() -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Thing",
        "metadata": {"name": "web", "labels": {"app": "web", "theirs": "x"}, "managedFields": [entry(OWNED)]},
        "spec": {
            "replicas": 1,
            "defaulted": True,
            "rules": [{"name": "a", "weight": 1}, {"name": "b", "weight": 2}],
            "containers": [{"name": "sidecar", "image": "x"}, {"name": "web", "image": "v1"}],
            "finalizers": ["theirs", "ours"],
        },
    }


def found(live: Body, wanted: Body | None = None) -> dict[str, FieldDifference]:
    wanted = wanted or deployment()
    differences = field_differences(live, wanted, wanted)
    by_path = {one.path: one for one in differences}
    assert len(by_path) == len(differences)
    return by_path


def test_the_same_object_has_no_differences() -> None:
    assert found(deployment()) == {}


def test_what_others_own_is_no_difference() -> None:
    live = deployment()
    live["metadata"]["labels"]["theirs"] = "y"
    live["spec"]["defaulted"] = False
    live["spec"]["containers"][0]["image"] = "y"
    live["spec"]["finalizers"] = ["ours"]
    live["status"] = {"ready": False}
    assert found(live) == {}


def edited(path: list[str], manager: str = "kubectl-edit") -> Body:
    """An object of which another manager took the field at this path of managedFields."""
    live = deployment()
    entries = live["metadata"]["managedFields"] = copy.deepcopy(live["metadata"]["managedFields"])
    fields = entries[0]["fieldsV1"]
    for step in path[:-1]:
        fields = fields[step]
    taken: Body = {path[-1]: fields.pop(path[-1])}
    for step in reversed(path[:-1]):
        taken = {step: taken}
    entries.append(entry(taken, manager, "2026-02-02T00:00:00Z"))
    return live


def test_a_changed_field_has_both_values_and_its_manager() -> None:
    live = edited(["f:spec", "f:replicas"])
    live["spec"]["replicas"] = 3
    assert found(live) == {
        "spec.replicas": FieldDifference("spec.replicas", 1, 3, Manager("kubectl-edit", "2026-02-02T00:00:00Z"))
    }


def test_an_item_is_found_by_its_key() -> None:
    live = edited(["f:spec", "f:containers", 'k:{"name":"web"}', "f:image"])
    live["spec"]["containers"][1]["image"] = "v2"
    (difference,) = found(live).values()
    assert (difference.path, difference.wanted, difference.found) == ("spec.containers[name=web].image", "v1", "v2")
    assert difference.manager.name == "kubectl-edit"


def test_an_item_that_is_gone_is_one_difference() -> None:
    live = deployment()
    del live["spec"]["containers"][1]
    (difference,) = found(live).values()
    assert (difference.path, difference.wanted) == ("spec.containers[name=web]", {"name": "web", "image": "v1"})
    assert difference.found is ABSENT
    assert difference.manager == Manager()


def test_a_member_of_a_set_that_is_gone() -> None:
    live = deployment()
    live["spec"]["finalizers"] = ["theirs"]
    assert [(one.path, one.wanted) for one in found(live).values()] == [("spec.finalizers[ours]", "ours")]


def test_in_what_is_owned_whole_the_differing_part_is_named() -> None:
    live = deployment()
    live["spec"]["rules"][1]["weight"] = 9
    assert [(one.path, one.wanted, one.found) for one in found(live).values()] == [("spec.rules[name=b].weight", 2, 9)]
    live["spec"]["rules"].append({"name": "c"})
    assert set(found(live)) == {"spec.rules[name=b].weight", "spec.rules[name=c]"}
    live["spec"]["rules"] = [{"name": "b", "weight": 2}, {"name": "a", "weight": 1}]
    assert set(found(live)) == {"spec.rules"}


@pytest.mark.parametrize("labels", [{"theirs": "x"}, None])
def test_a_label_that_is_gone_is_named_even_if_it_was_the_only_one(labels: Body | None) -> None:
    live = deployment()
    live["metadata"]["labels"] = labels
    if labels is None:
        del live["metadata"]["labels"]
    (difference,) = found(live).values()
    assert (difference.path, difference.wanted, difference.found) == ("metadata.labels.app", "web", ABSENT)
    assert difference.as_dict()["state"] == "missing"


def test_a_field_that_left_the_manifest() -> None:
    wanted = deployment()
    del wanted["spec"]["replicas"]
    wanted["metadata"]["managedFields"] = copy.deepcopy(wanted["metadata"]["managedFields"])
    del wanted["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"]["f:replicas"]
    (difference,) = found(deployment(), wanted).values()
    assert difference.as_dict() == {
        "path": "spec.replicas",
        "found": 1,
        "manager": "egress.ai_gateway",
        "time": "2026-01-01T00:00:00Z",
        "secret": False,
        "state": "unwanted",
    }


def test_a_boolean_is_no_number() -> None:
    live = deployment()
    live["spec"]["replicas"] = True
    assert set(found(live)) == {"spec.replicas"}


def secret(value: str) -> Body:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "key", "managedFields": [entry({"f:data": {"f:key": {}}, "f:type": {}})]},
        "type": "Opaque",
        "data": {"key": base64.b64encode(value.encode()).decode()},
    }


@pytest.mark.parametrize("compare", [field_differences, lambda live, _wanted, given: guessed_differences(live, given)])
def test_a_secret_is_only_said_to_differ(compare: t.Callable[[Body, Body, Body], list[FieldDifference]]) -> None:
    old, new = secret("old-canary"), secret("new-canary")
    (difference,) = compare(old, new, new)
    shown = json.dumps(difference.as_dict()) + repr(difference)
    assert difference.path == "data.key"
    assert difference.as_dict()["secret"]
    for value in ("old-canary", "new-canary"):
        assert value not in shown
        assert base64.b64encode(value.encode()).decode() not in shown
    assert compare(old, secret("old-canary"), secret("old-canary")) == []
    without = secret("old-canary")
    del without["data"]
    (missing,) = compare(without, new, new)
    assert (missing.path.split(".")[0], missing.as_dict()["state"], missing.secret) == ("data", "missing", True)


def test_a_marked_field_is_as_secret() -> None:
    live, wanted = deployment(), deployment()
    for body, image in ((live, "old-canary"), (wanted, "new-canary")):
        body["metadata"]["annotations"] = {"egress.ai-gateway/secret-fields": "spec.containers[*].image"}
        body["spec"]["containers"][1]["image"] = image
    (difference,) = found(live, wanted).values()
    assert difference.secret
    assert "canary" not in repr(difference)


def test_a_guess_leaves_fields_of_others_and_empty_values_aside() -> None:
    live = deployment()
    submitted = {
        "apiVersion": "v1",
        "kind": "Thing",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"replicas": 2, "empty": {}, "containers": [{"name": "sidecar"}, {"name": "web", "image": "v1"}]},
    }
    paths = {one.path for one in guessed_differences(live, submitted)}
    assert "spec.replicas" in paths
    assert "spec.rules" in paths
    assert not paths & {"spec.empty", "spec.defaulted", "metadata.labels.theirs", "spec.containers"}


def test_the_manager_is_another_before_this_collection_and_no_status() -> None:
    fields = {"f:spec": {"f:replicas": {}}}
    body = {
        "metadata": {
            "managedFields": [
                entry(fields, time="2026-05-05T00:00:00Z"),
                entry(fields, "first", "2026-01-01T00:00:00Z"),
                entry(fields, "second", "2026-03-03T00:00:00Z"),
                entry({"f:spec": {"f:other": {}}}, "third", "2026-09-09T00:00:00Z"),
                entry(fields, "controller", "2026-10-10T00:00:00Z", subresource="status"),
            ]
        }
    }
    assert manager_of(body, ["f:spec", "f:replicas"]) == Manager("second", "2026-03-03T00:00:00Z")
    # Who owns the whole owns its parts.
    assert manager_of(body, ["f:spec", "f:replicas", "f:part"]).name == "second"
    assert manager_of(body, ["f:spec", "f:nothing"]) == Manager()
    assert last_manager(body).name == "third"


def test_a_long_value_is_cut() -> None:
    live = deployment()
    live["spec"]["replicas"] = "x" * (MOST + 1)
    (difference,) = found(live).values()
    assert len(difference.as_dict()["found"]) < MOST + 40
    assert difference.as_dict()["wanted"] == 1
