# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A report of drift in its four forms."""

from __future__ import annotations

import json
import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.report import (
    MOST_CREATED,
    DriftReport,
    manager_of,
    values_of,
)


def difference(action: str, name: str, *fields: dict[str, t.Any], **more: str) -> dict[str, t.Any]:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "namespace": "home", "name": name}
    return {"set": "home/shop", "action": action, **reference, "fields": list(fields), "reason": "", **more}


def field(path: str = "spec.replicas", **more: t.Any) -> dict[str, t.Any]:
    given = {"path": path, "wanted": 1, "found": 2, "manager": "kubectl-edit", "time": "2026-01-01T00:00:00Z"}
    return {**given, "secret": False, "state": "changed", **more}


def report(
    *differences: dict[str, t.Any], objects: int = 9, exists: bool = True, warnings: t.Sequence[str] = ()
) -> DriftReport:
    sets = (
        {"name": "home/crds", "objects": 3, "differences": 0, "exists": True},
        {"name": "home/shop", "objects": objects, "differences": len(differences), "exists": exists},
    )
    return DriftReport("here", "2026-02-02T00:00:00Z", differences, sets, 0.5, tuple(warnings))


SIX = (
    difference("update", "a", field()),
    difference("create", "b"),
    difference("update", "c", field("metadata.labels.app", state="missing", manager="", time="", found=None)),
    difference("update", "d", field("data.key", secret=True)),
    difference("foreign", "e", reason="kubectl-create made it."),
    difference("delete", "f"),
)


def table(of: DriftReport, width: int = 120) -> str:
    return "\n".join(line for line, _kind in of.to_table(width))


def test_the_first_sentence_sums_up() -> None:
    assert report(*SIX).summary == "6 objects differ: 1 to create, 3 to update, 1 to delete, 1 foreign"
    assert report(SIX[1]).summary == "1 object differs: 1 to create"
    assert report().summary == "No drift: all 12 objects are as the catalogue has them"
    assert table(report(*SIX)).splitlines()[0] == f"Drift of here: {report(*SIX).summary}"
    assert report().to_table() == [(f"Drift of here: {report().summary}", "none")]


def test_the_table_names_each_field_and_who_wrote_it() -> None:
    lines = table(report(*SIX)).splitlines()
    assert "update  ConfigMap home/a" in lines
    assert "        spec.replicas: wanted 1, found 2 (written by kubectl-edit at 2026-01-01T00:00:00Z)" in lines
    assert (
        "        data.key: wanted a secret, found another secret (written by kubectl-edit at 2026-01-01T00:00:00Z)"
        in (lines)
    )
    assert "        kubectl-create made it." in lines


def test_many_objects_to_create_are_counted_on_the_terminal_and_all_on_the_page() -> None:
    names = [f"object-{number:03d}" for number in range(MOST_CREATED + 20)]
    of = report(*(difference("create", name) for name in names), exists=False)
    lines = table(of)
    assert lines.count("create  ConfigMap") == MOST_CREATED
    assert "create  and 20 more" in lines
    assert "home/shop, which the cluster does not have: 25 of 9 objects" in lines
    page = of.to_html()
    assert all(f"ConfigMap home/{name}" in page for name in names)


def test_lines_fit_the_terminal() -> None:
    long = field("spec." + "x" * 150, wanted="y" * 1000, found="y" * 900 + "z" * 100)
    of = report(difference("update", "a", *[long] * 30), warnings=["w " * 200])
    assert all(len(line) <= 100 for line, _kind in of.to_table(100))
    assert "and 22 more fields" in table(of)


def test_long_values_show_where_they_differ() -> None:
    wanted, found = values_of(
        field(wanted="a" * 5000 + "WANTED" + "b" * 5000, found="a" * 5000 + "FOUND" + "b" * 5000), 80
    )
    assert "WANTED" in wanted
    assert "FOUND" in found
    assert max(len(wanted), len(found)) <= 82
    assert values_of(field(wanted="1", found=1), 80) == ('"1"', "1")
    missing = field(state="missing")
    del missing["found"]
    assert values_of(missing, 80) == ("1", "nothing")
    assert values_of(field(secret=True, state="unwanted"), 80) == ("nothing", "a secret")


def test_who_wrote_a_field() -> None:
    assert manager_of(field()) == "written by kubectl-edit at 2026-01-01T00:00:00Z"
    ours = field(manager="egress.ai_gateway", time="")
    assert manager_of(ours) == "applied, and the catalogue has changed since"
    assert manager_of(field(state="missing")) == ""


def test_the_json_has_all_of_it() -> None:
    document = json.loads(report(*SIX).to_json())
    assert document["differences"] == list(SIX)
    assert document["counts"] == {"create": 1, "update": 3, "delete": 1, "foreign": 1}
    assert (document["cluster"], document["objects"]) == ("here", 12)


def test_junit_has_a_failure_for_each_object_and_a_pass_for_each_set_without() -> None:
    root = ET.fromstring(report(*SIX).to_junit())  # noqa: S314 - our own
    cases = root.findall(".//testcase")
    assert [case.get("name") for case in cases if case.find("failure") is None] == ["3 objects"]
    failures = {case.get("name"): case.find("failure") for case in cases if case.find("failure") is not None}
    assert set(failures) == {f"ConfigMap home/{name}" for name in "abcdef"}
    changed = failures["ConfigMap home/a"]
    assert changed is not None
    assert changed.get("message") == "to update: ConfigMap home/a"
    assert "spec.replicas: wanted 1, found 2" in str(changed.text)


def test_the_page_needs_nothing_from_outside_and_escapes_what_it_shows() -> None:
    page = report(difference("update", "<script>", field(found="<b>", path="a\x07b")), warnings=["<i>"]).to_html()
    assert "<script" not in page
    assert "<b>&" not in page
    assert "&lt;b&gt;" in page
    assert "&lt;i&gt;" in page
    for outside in ("http://", "https://", "src=", "@import", "url("):
        assert outside not in page


@pytest.mark.parametrize("of", [report(), report(*SIX)])
def test_a_page_says_its_sentence_in_title_and_heading(of: DriftReport) -> None:
    page = of.to_html()
    assert f"<title>Drift of here: {of.summary}</title>" in page
    assert page.count(of.summary) == 2
