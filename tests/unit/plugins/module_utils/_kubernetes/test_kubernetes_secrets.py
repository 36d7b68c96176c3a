# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import datetime
import json
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import (
    CHANGED_MASK,
    MASK,
    SECRET_FIELDS_ANNOTATION,
    SecretMask,
    mask_fields,
    parse_path,
    secret_field_faults,
    secret_paths,
    shown_path,
)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("spec.password", ("spec", "password")),
        (" .spec.users[*].token ", ("spec", "users", None, "token")),
        ("data['a.key']", ("data", "a.key")),
        ('data["a, key"].b', ("data", "a, key", "b")),
    ],
)
def test_paths_are_written_as_kubernetes_writes_them(text: str, path: tuple[str | None, ...]) -> None:
    assert parse_path(text) == path
    assert parse_path(shown_path(path)) == path


@pytest.mark.parametrize("text", ["", "spec[0]", "spec..x", "spec[", "spec['a", "a b"])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="is no path"):
        parse_path(text)


def marked(fields: str, **content: t.Any) -> dict[str, t.Any]:
    return {
        "apiVersion": "v1",
        "kind": "Database",
        "metadata": {"name": "a", "annotations": {SECRET_FIELDS_ANNOTATION: fields}},
        **content,
    }


def test_marked_fields_are_found_and_those_that_are_not_there_are_faults() -> None:
    body = marked(
        "spec.users[*].token, spec['pass,word'], spec.gone, spec[1]", spec={"users": [{"token": "a"}], "pass,word": "b"}
    )
    assert secret_paths(body)[:3] == [("spec", "users", None, "token"), ("spec", "pass,word"), ("spec", "gone")]
    faults = secret_field_faults(body)
    assert len(faults) == 2
    assert "has 'spec[1]', which is no path; write it as" in faults[0]
    assert "names spec.gone, which is not there" in faults[1]
    assert secret_field_faults({"metadata": {}}) == []
    assert secret_paths({"kind": "ConfigMap", "metadata": {"annotations": None}}) == []
    assert secret_paths("text") == []


@pytest.mark.parametrize(
    ("spec", "is_there"),
    [
        ({"users": []}, True),
        ({"users": None}, True),
        ({"users": [{"keys": []}]}, True),
        ({"users": [{}, {"keys": [{"token": "a"}]}]}, True),
        ({"users": [{}]}, False),
        ({"users": [{"keys": [{"tokens": "a"}]}]}, False),
        ({"users": {"keys": []}}, False),
        ({}, False),
    ],
)
def test_a_mark_may_name_items_of_an_empty_list(spec: dict[str, t.Any], is_there: bool) -> None:
    assert bool(secret_field_faults(marked("spec.users[*].keys[*].token", spec=spec))) is not is_there


def test_marked_fields_are_masked_with_everything_below_them() -> None:
    before = marked("spec.users", spec={"users": [{"name": "a", "token": "old"}], "size": 1})
    after = marked("spec.users", spec={"users": [{"name": "a", "token": "new"}, {"name": "b"}], "size": 2})
    old, new = mask_fields(before, after, [*secret_paths(after), ("spec", "users", None, "token")])
    assert old["spec"] == {"users": [{"name": MASK, "token": MASK}], "size": 1}
    assert new["spec"] == {"users": [{"name": MASK, "token": CHANGED_MASK}, {"name": MASK}], "size": 2}
    assert before["spec"]["users"][0]["token"] == "old", "the objects themselves stay as they are"
    assert mask_fields({}, after, [("spec", "users", None, "token")])[1]["spec"]["users"][0] == {
        "name": "a",
        "token": MASK,
    }


def test_marked_values_are_hidden_in_messages_too() -> None:
    mask = SecretMask([marked("spec", spec={"a": ["swordfish"], "on": True, "size": 123456})])
    assert mask.masked("swordfish, 123456, True") == f"{MASK}, {MASK}, True"


def test_known_values_are_hidden_in_messages_in_every_form() -> None:
    value = "line-one-secret\nline-two-secret"
    encoded = base64.b64encode(value.encode()).decode()
    mask = SecretMask(
        [
            {"kind": "Secret", "data": {"a": encoded}, "stringData": {"b": "plain-secret", "c": 12345}},
            {"kind": "ConfigMap", "data": {"x": "public"}},
            "text",
            None,
        ]
    )
    for hidden in (value, encoded, "line-two-secret", "plain-secret", "12345"):
        assert hidden not in mask.masked(f"bad value {hidden}!")
    assert mask.masked("public") == "public"


def test_string_data_is_hidden_as_it_is_submitted() -> None:
    value = "plain-secret, day 2024-10-21"
    mask = SecretMask(
        [{"kind": "Secret", "stringData": {"a": value, "b": datetime.date(2030, 1, 2), "c": ("in-a-tuple",)}}]
    )
    for hidden in (value, "2030-01-02"):
        encoded = base64.b64encode(hidden.encode()).decode()
        assert mask.masked(f"{hidden}, {encoded}") == f"{MASK}, {MASK}"
    assert mask.masked("in-a-tuple") == MASK


def test_values_that_cannot_be_submitted_do_not_stop_the_mask() -> None:
    endless: dict[str, t.Any] = {"first": "swordfish"}
    endless["itself"] = endless
    assert SecretMask([{"kind": "Secret", "data": {"a": "x\ud800"}, "stringData": endless}]).masked("swordfish") == MASK


def test_values_are_hidden_as_go_writes_them() -> None:
    mask = SecretMask([{"kind": "Secret", "stringData": {"a": 'horse <"&">'}}])
    assert mask.masked(r"got horse \u003c\"\u0026\"\u003e") == f"got {MASK}"


def test_values_are_hidden_as_others_quote_them() -> None:
    value = 'correct "horse" \\ b\u00e4ttery'
    mask = SecretMask([{"kind": "Secret", "data": {"a": base64.b64encode(value.encode()).decode()}}])
    for quoted in (value, json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert "horse" not in mask.masked(f"expected string, got {quoted}")


def test_short_values_do_not_spoil_ordinary_messages() -> None:
    assert SecretMask([{"kind": "Secret", "stringData": {"a": "on", "b": ""}}]).masked("condition on") == "condition on"


def test_a_value_quoted_in_a_message_about_a_secret_is_hidden() -> None:
    message = 'Secret "s" is invalid: data[a b]: Invalid value: "x \\"y": must be short'
    assert (
        SecretMask().masked(message, secret=True)
        == f'Secret "s" is invalid: data[a b]: Invalid value: {MASK}: must be short'
    )
    assert SecretMask().masked(message) == message


@pytest.mark.parametrize(
    ("message", "masked"),
    [
        ("a: Invalid value: hunter two: must be short: 3", f"a: Invalid value: {MASK}: must be short: 3"),
        ('a: Invalid value: {"b":"hunter: two"} c: must be short', f"a: Invalid value: {MASK}: must be short"),
        ('a: Invalid value: "hunter" two: must be short', f"a: Invalid value: {MASK}: must be short"),
        ('a: Invalid value: hunter "two: must be short', f"a: Invalid value: {MASK}: must be short"),
        ("a: Invalid value: hunter two\nb: must be short", f"a: Invalid value: {MASK}\nb: must be short"),
        (
            "[a: Invalid value: 5 x: bad, b: Invalid value: 6 y: bad]",
            f"[a: Invalid value: {MASK}: bad, b: Invalid value: {MASK}: bad]",
        ),
    ],
)
def test_a_value_shown_in_a_message_about_a_secret_is_hidden_to_its_end(message: str, masked: str) -> None:
    assert SecretMask().masked(message, secret=True) == masked


def test_an_expression_that_is_a_string_is_hidden_without_its_quotes_too() -> None:
    annotations = {"egress.ai-gateway/secret-fields": "spec.expression"}
    body = {
        "apiVersion": "a/v1",
        "kind": "B",
        "metadata": {"name": "c", "annotations": annotations},
        "spec": {"expression": '"Bearer \\"sk-key\\""'},
    }
    assert "sk-key" not in SecretMask([body]).masked('the provider refused Bearer "sk-key"')
