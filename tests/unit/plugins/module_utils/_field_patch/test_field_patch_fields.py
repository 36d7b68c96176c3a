# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.fields import (
    ABSENT,
    Entry,
    Field,
    FieldError,
    Plan,
    fields_of,
    managers_of,
    path_of,
    plain_path,
    plan_absent,
    plan_present,
    pointer,
    same,
    same_entries,
    shown,
    value_at,
)

Body = dict[str, t.Any]
IMAGE = path_of(["spec", "template", "spec", "containers", {"name": "maas-api"}, "image"])
MANAGED = path_of(["metadata", "annotations", "opendatahub.io/managed"])
OTHER = path_of(["metadata", "annotations", "other"])


def deployment(**metadata: t.Any) -> Body:
    containers = [{"name": "proxy", "image": "proxy:1"}, {"name": "maas-api", "image": "maas-api:1"}]
    return {
        "kind": "Deployment",
        "metadata": {"name": "maas-api", **metadata},
        "spec": {"template": {"spec": {"containers": containers}}},
    }


def carried_out(body: Body, plan: Plan) -> Body:
    """The object after the operations of a plan."""
    after = copy.deepcopy(body)
    for operation in plan.operations:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
        container: t.Any = after
        for part in way:
            container = container[int(part) if isinstance(container, list) else part]
        assert (last in container) == (operation["op"] != "add")
        if operation["op"] == "remove":
            del container[last]
        else:
            container[last] = operation["value"]
    return after


def actions(plan: Plan) -> list[tuple[str, str]]:
    return [(str(change.path[-1]), change.action) for change in plan.changes]


def test_fields_are_written_in_their_order_and_restored_in_the_reverse() -> None:
    before = deployment()
    plan = plan_present(before, [Field(MANAGED, "false"), Field(IMAGE, "maas-api:2")], ())
    assert plan.operations == [
        {"op": "add", "path": "/metadata/annotations", "value": {"opendatahub.io/managed": "false"}},
        {"op": "replace", "path": "/spec/template/spec/containers/1/image", "value": "maas-api:2"},
    ]
    assert (
        plan.recorded
        == plan.remaining
        == (Entry(MANAGED, ABSENT, 1, ("false",)), Entry(IMAGE, "maas-api:1", 5, ("maas-api:2",)))
    )
    written = carried_out(before, plan)
    back = plan_absent(written, plan.recorded)
    assert actions(back) == [("image", "restored"), ("opendatahub.io/managed", "restored")]
    assert back.operations[-1] == {"op": "remove", "path": "/metadata/annotations"}
    assert carried_out(written, back) == before
    assert before == deployment()


def test_what_has_its_value_is_neither_written_nor_recorded() -> None:
    plan = plan_present(deployment(), [Field(IMAGE, "maas-api:1")], ())
    assert (plan.operations, plan.recorded, actions(plan)) == ([], (), [("image", "unchanged")])


@pytest.mark.parametrize("first", [MANAGED, OTHER])
def test_a_mapping_that_came_with_fields_goes_with_the_last_of_them_in_any_order(first: t.Any) -> None:
    second = OTHER if first == MANAGED else MANAGED
    before = deployment()
    plan = plan_present(before, [Field(MANAGED, "1"), Field(OTHER, "2")], ())
    written = carried_out(before, plan)
    # The first is dropped, so that it is restored while the other stays.
    dropped = plan_present(written, [Field(second, "1" if second == MANAGED else "2")], plan.remaining)
    assert dropped.changes[0].action == "restored"
    assert [entry.path for entry in dropped.remaining] == [second]
    rest = carried_out(written, dropped)
    assert list(rest["metadata"]["annotations"]) == [second[-1]]
    assert carried_out(rest, plan_absent(rest, dropped.remaining)) == before


def test_a_mapping_that_holds_somebody_elses_stays() -> None:
    plan = plan_present(deployment(), [Field(MANAGED, "1")], ())
    written = carried_out(deployment(), plan)
    written["metadata"]["annotations"]["theirs"] = "x"
    assert carried_out(written, plan_absent(written, plan.recorded)) == deployment(annotations={"theirs": "x"})


def test_several_mappings_that_came_go() -> None:
    path = path_of(["spec", "a", "b", "c"])
    plan = plan_present(deployment(), [Field(path, 1)], ())
    assert plan.operations == [{"op": "add", "path": "/spec/a", "value": {"b": {"c": 1}}}]
    written = carried_out(deployment(), plan)
    assert plan_absent(written, plan.recorded).operations == [{"op": "remove", "path": "/spec/a"}]


def test_an_existing_empty_mapping_stays() -> None:
    before = deployment(annotations={})
    plan = plan_present(before, [Field(MANAGED, "1")], ())
    written = carried_out(before, plan)
    assert carried_out(written, plan_absent(written, plan.recorded)) == before


def test_another_value_is_recorded_beside_the_one_that_stands() -> None:
    entry = Entry(IMAGE, "maas-api:0", 5, ("maas-api:old", "maas-api:1"))
    plan = plan_present(deployment(), [Field(IMAGE, "maas-api:2")], [entry])
    # A run may end before the write or after it: both values are ours.
    assert plan.recorded == (Entry(IMAGE, "maas-api:0", 5, ("maas-api:1", "maas-api:2")),)
    for image in ("maas-api:1", "maas-api:2"):
        live = deployment()
        live["spec"]["template"]["spec"]["containers"][1]["image"] = image
        assert plan_absent(live, plan.recorded).operations[0]["value"] == "maas-api:0"
    assert plan.warnings == []


def test_what_the_owner_wrote_meanwhile_is_what_is_restored() -> None:
    plan = plan_present(deployment(), [Field(IMAGE, "maas-api:3")], [Entry(IMAGE, "maas-api:0", 5, ("maas-api:2",))])
    assert plan.recorded == (Entry(IMAGE, "maas-api:1", 5, ("maas-api:3",)),)
    assert plan.warnings[0].startswith(
        "spec.template.spec.containers[name=maas-api].image was changed by somebody since it was recorded"
    )


def test_what_was_recorded_and_not_written_yet_is_no_change_of_somebody() -> None:
    entry = Entry(IMAGE, "maas-api:1", 5, ("maas-api:2",))
    plan = plan_present(deployment(), [Field(IMAGE, "maas-api:2")], [entry])
    assert (plan.recorded, plan.warnings) == ((entry,), [])
    assert actions(plan_absent(deployment(), [entry])) == [("image", "unchanged")]


def test_what_somebody_changed_is_left_and_named() -> None:
    entry = Entry(IMAGE, "maas-api:0", 5, ("maas-api:2",))
    plan = plan_absent(deployment(), [entry])
    assert (plan.operations, actions(plan)) == ([], [("image", "left")])
    assert plan.warnings == [
        "spec.template.spec.containers[name=maas-api].image was changed by somebody since it was "
        "written; it is left as it is, and no longer recorded"
    ]
    dropped = plan_present(deployment(), [], [entry])
    assert (dropped.operations, dropped.remaining, dropped.warnings) == ([], (), plan.warnings)


def test_what_has_no_place_any_more_is_left() -> None:
    live = deployment()
    live["spec"]["template"]["spec"]["containers"].pop()
    entry = Entry(IMAGE, "maas-api:1", 5, ("maas-api:2",))
    assert actions(plan_absent(live, [entry])) == [("image", "left")]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (
            ["spec", "template", "spec", "containers", {"name": "web"}, "image"],
            r"has no item whose name is web; there are proxy, maas-api; correct",
        ),
        (
            ["spec", "template", "spec", "containers", "image"],
            r"spec\.template\.spec\.containers is a list; select one of its items",
        ),
        (["metadata", "name", "x"], r'metadata\.name is "maas-api", which has no x; correct'),
        (
            ["spec", "others", {"name": "web"}, "image"],
            r"spec\.others does not exist, and so no item whose name is web",
        ),
        (["spec", {"name": "web"}, "image"], r"spec has no item whose name is web; correct"),
    ],
)
def test_a_field_without_a_place_is_reported(path: list[t.Any], message: str) -> None:
    with pytest.raises(FieldError, match=message):
        plan_present(deployment(), [Field(path_of(path), "x")], ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([{"path": [], "value": "x"}], r"fields\[0\]\.path is empty is no field to write"),
        (
            [{"path": ["spec", 1], "value": "x"}],
            r"fields\[0\]\.path has 1; write the key of a mapping as a string, or select",
        ),
        ([{"path": ["spec", {"name": 1}, "a"], "value": "x"}], r"fields\[0\]\.path has \{'name': 1\}"),
        (
            [{"path": ["spec", "a"], "value": "x"}, {"path": ["status", "a"], "value": "x"}],
            r"fields\[1\]\.path status\.a is no field to write",
        ),
        (
            [{"path": ["metadata", "name"], "value": "x"}],
            r"metadata\.name is no field to write; name one below spec or data, or a label or an annotation",
        ),
        ([{"path": ["kind"], "value": "x"}], "kind is no field"),
        ([{"path": ["spec", {"name": "a"}], "value": "x"}], r"spec\[name=a\] ends with the item of a list"),
        (
            [{"path": ["data", "a"], "value": None}],
            r"fields\[0\]\.value is missing; write the value that data\.a shall have",
        ),
        (
            [{"path": ["spec", "a"], "value": 1}, {"path": ["spec", "a", "b"], "value": 1}],
            r"fields\[1\]\.path spec\.a\.b and fields\[0\]\.path spec\.a name",
        ),
    ],
)
def test_fields_that_cannot_be(options: list[Body], message: str) -> None:
    with pytest.raises(FieldError, match=message):
        fields_of(options)


def test_fields_of_options() -> None:
    options = [{"path": ["data", "tiers"], "value": ""}, {"path": plain_path(IMAGE), "value": "x"}]
    assert fields_of(options) == [Field(("data", "tiers"), ""), Field(IMAGE, "x")]


def test_shown_paths() -> None:
    assert shown(MANAGED) == "metadata.annotations['opendatahub.io/managed']"
    assert shown(IMAGE) == "spec.template.spec.containers[name=maas-api].image"


def test_pointers_escape() -> None:
    assert pointer(["a/b", "c~d", 0]) == "/a~1b/c~0d/0"


@pytest.mark.parametrize(
    "entry",
    [Entry(MANAGED, ABSENT, 1, ("false",)), Entry(IMAGE, {"a": [1]}, 5, ("x", "y")), Entry(OTHER, None, 2, ("x",))],
)
def test_an_entry_is_read_as_it_was_written(entry: Entry) -> None:
    assert Entry.from_dict(entry.as_dict()) == entry
    assert same_entries([Entry.from_dict(entry.as_dict())], [entry])


def test_sameness() -> None:
    assert same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    assert not same(1, True)
    assert not same(ABSENT, None)
    assert same(ABSENT, ABSENT)
    assert copy.deepcopy(ABSENT) is ABSENT


def test_managers_of_a_field() -> None:
    containers = {
        "f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"maas-api"}': {".": {}, "f:image": {}}}}}}
    }
    live = deployment(
        managedFields=[
            {"manager": "operator", "fieldsV1": containers},
            {"manager": "kubectl", "fieldsV1": {"f:metadata": {}}},
        ]
    )
    assert managers_of(live, IMAGE) == ["operator"]
    assert managers_of(live, path_of(["spec", "template", "spec", "containers", {"name": "web"}, "image"])) == []
    assert managers_of(deployment(), IMAGE) == []


def test_value_at() -> None:
    assert value_at(deployment(), IMAGE) == "maas-api:1"
    assert value_at(deployment(), MANAGED) is ABSENT
    assert value_at({"metadata": {}}, IMAGE) is ABSENT
