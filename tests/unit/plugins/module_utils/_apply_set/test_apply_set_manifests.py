# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import datetime
import time
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL, SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import (
    Desired,
    Manifest,
    ManifestError,
    check,
    complete,
    unfold,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Reference, reference_of

IDENTITY = SetIdentity("shop", "ai-gateway")
TYPES = {
    ("v1", "ConfigMap"): ResourceType("v1", "ConfigMap", "configmaps", True, frozenset()),
    ("v1", "Secret"): ResourceType("v1", "Secret", "secrets", True, frozenset()),
    ("v1", "Namespace"): ResourceType("v1", "Namespace", "namespaces", False, frozenset()),
    ("example.com/v1", "Widget"): ResourceType("example.com/v1", "Widget", "widgets", True, frozenset()),
    ("example.com/v2", "Widget"): ResourceType("example.com/v2", "Widget", "widgets", True, frozenset()),
}


def read_manifests(manifests: t.Sequence[t.Any]) -> tuple[list[Manifest], list[str]]:
    return check(unfold(manifests))


def config_map(name: str = "one", **metadata: t.Any) -> dict[str, t.Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}}


def submitted(*manifests: dict[str, t.Any]) -> list[Desired]:
    well_formed, faults = read_manifests(manifests)
    desired, more = complete(well_formed, TYPES, IDENTITY)
    assert faults + more == []
    return desired


def test_nulls_lists_and_kind_list_are_flattened_with_their_positions() -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": [config_map("b"), None, config_map("c")]}
    well_formed, faults = read_manifests([None, config_map("a"), listed, [config_map("d"), [config_map("e")]]])
    assert faults == []
    assert [(manifest.position, manifest.body["metadata"]["name"]) for manifest in well_formed] == [
        ("manifests[1]", "a"),
        ("manifests[2].items[0]", "b"),
        ("manifests[2].items[2]", "c"),
        ("manifests[3][0]", "d"),
        ("manifests[3][1][0]", "e"),
    ]


def test_strings_of_yaml_are_parsed() -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\n"
        "- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n"
    )
    well_formed, faults = read_manifests([text, ""])
    assert faults == []
    assert [(manifest.position, manifest.body["metadata"]["name"]) for manifest in well_formed] == [
        ("manifests[0][0]", "a"),
        ("manifests[0][2][0]", "b"),
    ]


def test_broken_yaml_is_named_by_line_and_not_quoted() -> None:
    well_formed, faults = read_manifests(["stringData:\n  key: hunter22: x\n"])
    assert well_formed == []
    assert len(faults) == 1
    assert faults[0].startswith("manifests[0]: is no YAML at line 2: mapping values are not allowed ")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a: 1\nb: !hunter2 x", "is no YAML at line 2: could not determine a constructor for the tag ..."),
        ("a: !hun'ter2 x", "is no YAML at line 1: could not determine a constructor for the tag ..."),
        ("a: *hunter2", "is no YAML at line 1: found undefined alias"),
        ("a: &hunter2 1\nb: &hunter2 1", "is no YAML at line "),
        ("a: 1\nb: hunter2\x01", "is no YAML at line 2: "),
        ("a: !!int hunter2", "is no YAML: a value does not fit its type; quote it"),
        ("a: 0x_", "is no YAML: a value does not fit its type; quote it"),
        ("a: !!bool hunter2", "is no YAML: a value does not fit its type; quote it"),
        ("a: !!timestamp hunter2", "is no YAML: a value does not fit its type; quote it"),
        ("&hunter2 [*hunter2]", "is no YAML: it is nested too deeply, or a list holds itself"),
    ],
)
def test_whatever_the_parser_raises_is_a_fault_without_a_part_of_the_string(text: str, fault: str) -> None:
    well_formed, faults = read_manifests([text, config_map()])
    assert [str(manifest) for manifest in well_formed] == ["manifests[1] ConfigMap one"]
    assert len(faults) == 1
    assert faults[0].startswith(f"manifests[0]: {fault}")
    assert "hun" not in faults[0]


@pytest.mark.parametrize("date", ["2024-10-21", "2024-13-45", "2024-10-21T01:02:03Z"])
def test_dates_in_strings_are_strings(date: str) -> None:
    well_formed, faults = read_manifests(
        [f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a}}\ndata: {{version: {date}, size: 5}}\n"]
    )
    assert faults == []
    assert well_formed[0].body["data"] == {"version": date, "size": 5}


def test_dates_of_mappings_become_strings() -> None:
    noon = datetime.datetime(2024, 10, 21, 12, tzinfo=datetime.UTC)
    original = config_map(annotations={"day": datetime.date(2024, 10, 21)})
    original["data"] = {"times": [noon], "pair": ("a", "b")}
    well_formed, faults = read_manifests([original])
    assert faults == []
    assert well_formed[0].body["metadata"]["annotations"] == {"day": "2024-10-21"}
    assert well_formed[0].body["data"] == {"times": ["2024-10-21T12:00:00+00:00"], "pair": ["a", "b"]}
    assert original["data"]["times"] == [noon], "the caller's manifest stays as it is"


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ({"a.b": [{"c": {"x"}}]}, "data['a.b'][0].c is a set, which JSON does not have; write a list"),
        ({"a": b"hunter2"}, "data.a is a bytes, which JSON does not have; quote it"),
        ({"a": float("nan")}, "data.a is nan, which JSON does not have; quote it"),
        ({"a": float("-inf")}, "data.a is -inf, which JSON does not have; quote it"),
        ({"a": "\ud800"}, "data.a has characters that are no Unicode; write it in base64"),
        ({"a": {1: "x"}}, "data.a has the key 1, which is not a string; quote it"),
        ({True: "x"}, "data has the key True, which is not a string; quote it"),
        ({None: "x"}, "data has the key None, which is not a string; quote it"),
    ],
)
def test_what_is_not_json_is_a_fault_that_names_its_path(data: t.Any, fault: str) -> None:
    assert read_manifests([{**config_map(), "data": data}]) == ([], [f"manifests[0] ConfigMap one: {fault}"])


def test_what_is_not_json_in_a_string_is_a_fault_too() -> None:
    text = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {on: .inf, raw: !!binary aGk=, "
        "day: !!timestamp 2024-10-21}\n"
    )
    well_formed, faults = read_manifests([text])
    assert well_formed == []
    assert [fault.partition(": ")[2] for fault in faults] == [
        "data has the key True, which is not a string; quote it",
        "data.True is inf, which JSON does not have; quote it",
        "data.raw is a bytes, which JSON does not have; quote it",
    ]
    well_formed, faults = read_manifests(["apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: &a {b: *a}\n"])
    assert well_formed == []
    assert "a part of it holds itself" in faults[0]


def test_the_check_for_json_is_fast() -> None:
    large = {**config_map(), "spec": {"env": [{"name": f"NAME_{number}", "value": "value"} for number in range(25)]}}
    start = time.process_time()
    well_formed, _faults = read_manifests([large] * 5000)
    assert len(well_formed) == 5000
    # Many times what it takes, so that a busy machine does not fail it.
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    "fields", [{"data": "hunter2"}, {"data": ["hunter2"], "stringData": {"a": "b"}}, {"stringData": "hunter2"}]
)
def test_data_of_a_secret_that_is_no_mapping_is_a_fault_that_does_not_show_it(fields: dict[str, t.Any]) -> None:
    well_formed, faults = read_manifests([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, **fields}])
    assert well_formed == []
    assert len(faults) == 1
    assert "; write a mapping" in faults[0]
    assert "hunter2" not in faults[0]


def test_an_empty_namespace_is_none() -> None:
    (item,) = submitted(config_map(namespace=""))
    assert item.body["metadata"]["namespace"] == "ai-gateway"
    (item,) = submitted({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": ""}})
    assert "namespace" not in item.body["metadata"]


@pytest.mark.parametrize(
    ("manifest", "fault"),
    [
        ("text", "manifests[0]: is a str, not a mapping; write a manifest as a mapping or as a string of YAML"),
        (
            {"kind": "ConfigMap", "metadata": {"name": "x"}},
            "manifests[0] ConfigMap x: apiVersion is missing; write GROUP/VERSION, or VERSION for the core group",
        ),
        ({"apiVersion": "a/b/c", "kind": "ConfigMap", "metadata": {"name": "x"}}, "apiVersion is 'a/b/c'"),
        ({"apiVersion": "apps/", "kind": "ConfigMap", "metadata": {"name": "x"}}, "apiVersion is 'apps/'"),
        ({"apiVersion": "/v1", "kind": "ConfigMap", "metadata": {"name": "x"}}, "apiVersion is '/v1'"),
        ({"apiVersion": "../v1", "kind": "ConfigMap", "metadata": {"name": "x"}}, "apiVersion is '../v1'"),
        ({"apiVersion": "v1?x", "kind": "ConfigMap", "metadata": {"name": "x"}}, "apiVersion is 'v1?x'"),
        ({"apiVersion": "v1", "metadata": {"name": "x"}}, "manifests[0] x: kind is missing"),
        ({"apiVersion": "v1", "kind": ["ConfigMap"], "metadata": {"name": "x"}}, "kind is a list"),
        ({"apiVersion": "v1", "kind": "ConfigMap"}, "metadata is missing; write a mapping with at least name"),
        (config_map(""), "metadata.name is ''; write a non-empty string"),
        (config_map(7), "metadata.name is 7"),  # type: ignore[arg-type]
        (config_map("a/b"), "metadata.name 'a/b' cannot be part of a path"),
        (config_map(".."), "metadata.name '..' cannot be part of a path"),
        (
            {"apiVersion": "v1", "kind": "Job", "metadata": {"generateName": "x-"}},
            "metadata.generateName cannot be applied twice",
        ),
        (config_map(namespace="Not_A_Label"), "metadata.namespace is 'Not_A_Label'"),
        (config_map(namespace=5), "metadata.namespace is 5"),
        (config_map(labels=["a"]), "metadata.labels is a list; write a mapping of strings"),
        (config_map(annotations={"on": True}), "metadata.annotations['on'] is a bool, not a string; quote it"),
        (
            config_map(labels={PART_OF_LABEL: "x"}),
            f"metadata.labels has {PART_OF_LABEL}, which this module sets; remove it",
        ),
    ],
)
def test_a_fault_names_position_field_and_remedy(manifest: t.Any, fault: str) -> None:
    well_formed, faults = read_manifests([manifest])
    assert well_formed == []
    assert len(faults) == 1
    assert fault in faults[0]


def test_every_fault_of_a_manifest_is_reported() -> None:
    well_formed, faults = read_manifests([{"apiVersion": "", "kind": "", "metadata": {"name": "", "labels": {"a": 1}}}])
    assert well_formed == []
    assert len(faults) == 4


def test_the_error_counts_and_lists_the_faults() -> None:
    assert str(ManifestError(["a", "b"])) == "2 faults, nothing was written:\n- a\n- b"
    assert str(ManifestError(["a"])).startswith("1 fault, nothing")


def test_duplicates_are_found_across_versions_and_defaulted_namespaces() -> None:
    widgets = [
        {"apiVersion": f"example.com/{version}", "kind": "Widget", "metadata": {"name": "w"}}
        for version in ("v1", "v2")
    ]
    well_formed, faults = read_manifests(
        [config_map(), config_map(namespace="ai-gateway"), config_map(namespace="other"), *widgets]
    )
    desired, more = complete(well_formed, TYPES, IDENTITY)
    assert faults == []
    assert more == [
        "manifests[1] ConfigMap ai-gateway/one: duplicate of manifests[0]; render the object once",
        "manifests[4] Widget w: duplicate of manifests[3]; render the object once",
    ]
    assert [item.position for item in desired] == ["manifests[0]", "manifests[2]", "manifests[3]"]


def test_the_parent_object_itself_is_no_manifest() -> None:
    well_formed, faults = read_manifests([config_map("shop"), config_map("shop", namespace="other")])
    desired, more = complete(well_formed, TYPES, IDENTITY)
    assert faults == []
    assert [str(item.reference) for item in desired] == ["ConfigMap other/shop"]
    assert len(more) == 1
    assert "is the parent object of the set itself" in more[0]


def test_unknown_kinds_are_left_to_the_caller() -> None:
    well_formed, faults = read_manifests([{"apiVersion": "v1", "kind": "Unknown", "metadata": {"name": "x"}}])
    assert (len(well_formed), faults) == (1, [])
    assert complete(well_formed, TYPES, IDENTITY) == ([], [])


def test_what_is_submitted_has_namespace_and_label_and_nothing_the_server_writes() -> None:
    original = config_map(
        labels={"app": "x"},
        annotations={},
        creationTimestamp=None,
        resourceVersion="7",
        uid="u",
        managedFields=[],
        generation=3,
    )
    original["status"] = {}
    (item,) = submitted(original)
    assert item.body == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "one", "namespace": "ai-gateway", "labels": {"app": "x", PART_OF_LABEL: IDENTITY.id}},
    }
    assert item.reference == Reference("v1", "ConfigMap", "ai-gateway", "one")
    # The caller's manifest stays as it is.
    assert "status" in original
    assert original["metadata"]["uid"] == "u"


def test_a_cluster_scoped_object_has_no_namespace() -> None:
    (item,) = submitted({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "namespace": "b"}})
    assert "namespace" not in item.body["metadata"]
    assert str(item.reference) == "Namespace a"
    assert item.reference.as_dict() == {"apiVersion": "v1", "kind": "Namespace", "namespace": "", "name": "a"}


def test_string_data_of_a_secret_becomes_data_and_wins() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s"},
        "data": {"a": "b2xk", "b": "b2xk"},
        "stringData": {"a": "n\u00e9w", "c": 5},
    }
    (item,) = submitted(secret)
    assert "stringData" not in item.body
    assert item.body["data"] == {"a": base64.b64encode("n\u00e9w".encode()).decode(), "b": "b2xk", "c": 5}


def test_string_data_of_another_kind_stays() -> None:
    (item,) = submitted(
        {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "w"}, "stringData": {"a": "b"}}
    )
    assert item.body["stringData"] == {"a": "b"}


def test_a_reference_is_read_from_an_object() -> None:
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"}}
    assert reference_of(body).identity == ("apps", "Deployment", "shop", "web")
