# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.diff import (
    content_digest,
    is_applied,
    merge_fields,
    owned_fields,
    project,
    submitted_diff,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import CHANGED_MASK, MASK

#: What a Deployment's ports and environment look like to a field manager.
FIELDS = {
    "f:metadata": {"f:labels": {"f:app": {}}},
    "f:spec": {
        "f:replicas": {},
        "f:containers": {
            'k:{"name":"web"}': {
                ".": {},
                "f:name": {},
                "f:image": {},
                "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
            },
        },
        "f:finalizers": {'v:"example.com/a"': {}},
        "f:args": {},
        "f:emptyDir": {},
    },
}
SUBMITTED: dict[str, t.Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
    "spec": {
        "replicas": 1,
        "containers": [{"name": "web", "image": "web:1", "ports": [{"containerPort": 80}]}],
        "finalizers": ["example.com/a"],
        "args": ["-v"],
        "emptyDir": {},
    },
}


def live(
    fields: dict[str, t.Any] | None = None, manager: str = "egress.ai_gateway", **entry: t.Any
) -> dict[str, t.Any]:
    """SUBMITTED as the API server stores it: defaults, a sidecar of somebody else's, status."""
    body = copy.deepcopy(SUBMITTED)
    body["metadata"].update(uid="u", resourceVersion="7", generation=1)
    body["metadata"]["managedFields"] = [
        {"manager": "kubelet", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:spec": {}}},
        {
            "manager": manager,
            "operation": "Update",
            "apiVersion": "apps/v1",
            "subresource": "status",
            "fieldsV1": {"f:status": {}},
        },
        {
            "manager": manager,
            "operation": "Apply",
            "apiVersion": "apps/v1",
            "fieldsV1": FIELDS if fields is None else fields,
            **entry,
        },
    ]
    body["metadata"]["labels"]["added"] = "by somebody else"
    body["spec"]["strategy"] = {"type": "RollingUpdate"}
    body["spec"]["containers"][0]["ports"][0]["protocol"] = "TCP"
    body["spec"]["containers"].insert(0, {"name": "sidecar", "image": "sidecar:1"})
    body["spec"]["finalizers"].append("example.com/b")
    body["status"] = {"replicas": 1}
    return body


def test_the_field_set_is_ours_and_applied() -> None:
    assert owned_fields(live()) == FIELDS
    assert owned_fields(live(), "apps/v1") == FIELDS
    assert owned_fields(live(), "apps/v2") is None
    assert owned_fields(live(manager="kubectl")) is None
    assert owned_fields(live(operation="Update")) is None
    assert owned_fields({"metadata": {}}) is None


def test_projection_keeps_what_the_field_set_names() -> None:
    expected = {key: value for key, value in SUBMITTED.items() if key not in ("apiVersion", "kind")}
    expected["metadata"] = {"labels": {"app": "web"}}
    assert project(live(), FIELDS) == expected


@pytest.mark.parametrize(
    ("value", "fields", "kept"),
    [
        ({"a": 1, "b": 2}, {"f:a": {}, "f:gone": {}}, {"a": 1}),
        ({"a": {"b": 1}}, {"f:a": {".": {}}}, {"a": {}}),
        ([1, 2, 3], {"i:0": {}, "i:2": {}, "i:9": {}}, [1, 3]),
        (["x", "y"], {'v:"y"': {}, 'v:"z"': {}}, ["y"]),
        ([{"k": 1, "v": 2}, {"k": 2, "v": 3}], {'k:{"k":2}': {".": {}, "f:v": {}}}, [{"v": 3}]),
        ("text", {"f:a": {}}, "text"),
        ({"a": [1]}, {}, {"a": [1]}),
        ([{"a": [1]}, {"a": [2]}], {'v:{"a":[2]}': {}}, [{"a": [2]}]),
        ([[1], [2, 3]], {"v:[2,3]": {}, "i:0": {}}, [[1], [2, 3]]),
        ([[{"k": 1, "l": 2}], []], {"i:0": {'k:{"k":1}': {"f:k": {}}}}, [[{"k": 1}]]),
        ([{"k": None}, {"k": True}, {"k": "1"}], {'k:{"k":true}': {}, 'k:{"k":null}': {}}, [{"k": None}, {"k": True}]),
        ([1, "f:a"], {"f:a": {}, "v:1": {}}, [1]),
        ({"k": {"k": 1}}, {'k:{"k":1}': {}, "i:0": {}}, {}),
        (None, {"f:a": {}, "i:0": {}}, None),
    ],
)
def test_projection_of_each_kind_of_path(value: t.Any, fields: dict[str, t.Any], kept: t.Any) -> None:
    assert project(value, fields) == kept


def test_field_sets_merge_and_a_whole_field_includes_its_parts() -> None:
    assert merge_fields({"f:a": {"f:b": {}}}, {"f:a": {"f:c": {}}, "f:d": {}}) == {
        "f:a": {"f:b": {}, "f:c": {}},
        "f:d": {},
    }
    assert merge_fields({"f:a": {}}, {"f:a": {"f:b": {}}}) == {"f:a": {}}


def test_an_object_that_is_as_submitted_is_known_without_asking() -> None:
    assert is_applied(live(), SUBMITTED)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: body["spec"].update(replicas=2),
        lambda body: body["spec"]["containers"][1].update(image="web:2"),
        lambda body: body["spec"].update(emptyDir={"medium": "Memory"}),
        lambda body: body["metadata"]["labels"].update(app="other"),
        lambda body: body["metadata"].update(deletionTimestamp="2026-01-01T00:00:00Z"),
        lambda body: body["metadata"].update(managedFields=[]),
    ],
)
def test_drift_is_noticed(change: t.Callable[[dict[str, t.Any]], None]) -> None:
    body = live()
    change(body)
    assert not is_applied(body, SUBMITTED)


def test_the_api_server_decides_about_its_own_way_of_writing() -> None:
    body = live()
    body["spec"]["emptyDir"] = {"medium": ""}
    assert is_applied(body, SUBMITTED) is None
    for submitted in ({"emptyDir": {}, "empty": []}, {"args": ["-v"], "empty": False}):
        assert is_applied(live(), {**SUBMITTED, "spec": {**SUBMITTED["spec"], **submitted}}) is None
    body = live()
    body["spec"]["replicas"] = "1Gi"
    for quantity, verdict in (("1024Mi", None), ("1.5e3", None), ("much", False)):
        assert is_applied(body, {**SUBMITTED, "spec": {**SUBMITTED["spec"], "replicas": quantity}}) is verdict
    rules = {
        "apiVersion": "v1",
        "kind": "Policy",
        "metadata": {"name": "a"},
        "spec": {"rules": [{"verbs": ["get"]}], "none": None},
    }
    entry = {
        "manager": "egress.ai_gateway",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsV1": {"f:spec": {"f:rules": {}}},
    }
    policy = {**rules, "metadata": {"name": "a", "managedFields": [entry]}}
    for found, verdict in (
        ([{"verbs": ["get"], "scope": "*"}], None),
        ([{"verbs": ["put"], "scope": "*"}], False),
        ([{"verbs": ["get"]}, {}], False),
    ):
        assert is_applied({**policy, "spec": {"rules": found}}, rules) is verdict


def test_a_field_submitted_before_and_dropped_since_is_noticed() -> None:
    less = copy.deepcopy(SUBMITTED)
    del less["spec"]["args"]
    assert not is_applied(live(), less)


def test_another_version_of_the_api_is_asked_about() -> None:
    assert not is_applied(live(), {**SUBMITTED, "apiVersion": "apps/v2"})


def test_status_and_bookkeeping_make_no_difference() -> None:
    other = live()
    other["status"] = {"replicas": 9}
    other["metadata"].update(resourceVersion="8", generation=2)
    other["metadata"]["managedFields"][0]["time"] = "now"
    assert content_digest(live()) == content_digest(other)
    other["spec"]["replicas"] = 3
    assert content_digest(live()) != content_digest(other)


def test_gaining_ownership_alone_is_a_difference() -> None:
    assert content_digest(live(manager="kubectl")) != content_digest(live())


def test_the_difference_shows_submitted_fields_of_either_side_only() -> None:
    after = live(fields={"f:spec": {"f:replicas": {}}})
    after["spec"]["replicas"] = 2
    diff = submitted_diff("Deployment shop/web", live(fields={"f:spec": {"f:replicas": {}, "f:args": {}}}), after)
    assert diff == {
        "before_header": "Deployment shop/web",
        "after_header": "Deployment shop/web",
        "before": {"spec": {"replicas": 1, "args": ["-v"]}},
        "after": {"spec": {"replicas": 2, "args": ["-v"]}},
    }


def test_new_and_deleted_objects_have_one_side() -> None:
    assert submitted_diff("x", None, live())["before"] == {}
    assert submitted_diff("x", None, live())["after"]["spec"]["replicas"] == 1
    assert submitted_diff("x", live(), None)["after"] == {}
    assert submitted_diff("x", live(), None)["before"]["spec"]["replicas"] == 1
    assert submitted_diff("x", None, None, SUBMITTED)["after"]["spec"] == SUBMITTED["spec"]


def secret(**data: str) -> dict[str, t.Any]:
    fields: dict[str, t.Any] = {"f:data": {f"f:{key}": {} for key in data}}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "s",
            "managedFields": [
                {"manager": "egress.ai_gateway", "operation": "Apply", "apiVersion": "v1", "fieldsV1": fields}
            ],
        },
        "data": data,
    }


def test_secret_data_shows_which_keys_differ_and_nothing_else() -> None:
    diff = submitted_diff(
        "Secret s",
        secret(same="c2FtZQ==", other="b2xk", gone="Z29uZQ=="),
        secret(same="c2FtZQ==", other="bmV3", new="bmV3"),
    )
    assert diff["before"] == {"data": {"same": MASK, "other": MASK, "gone": MASK}}
    assert diff["after"] == {"data": {"same": MASK, "other": CHANGED_MASK, "new": MASK}}


def test_a_secret_not_yet_submitted_and_one_of_an_earlier_kubectl_are_masked_too() -> None:
    manifest = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "hunter22"}},
        "stringData": {"a": "hunter22"},
    }
    diff = submitted_diff("Secret s", None, None, manifest)
    assert "hunter22" not in str(diff)
    assert diff["after"]["stringData"] == {"a": MASK}
    assert manifest["stringData"] == {"a": "hunter22"}, "the manifest itself stays as it is"
