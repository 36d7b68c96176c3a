# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules drift_info and drift_report refuse what they cannot use, and say what to give instead."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.callback.drift_status import has_error
from ansible_collections.egress.ai_gateway.plugins.modules import drift_info, drift_report


def silent(_line: str) -> None:
    pass


@pytest.mark.parametrize(
    ("options", "message"),
    [({"parallel": 0}, "parallel is 0"), ({}, "collected_in has no sets")],
)
def test_drift_info_names_a_wrong_option(tmp_path: Path, options: dict[str, t.Any], message: str) -> None:
    params = {"collected_in": str(tmp_path), "parallel": 8, **options}
    result = drift_info.perform(params, False, False, silent)
    assert result["failed"]
    assert message in result["msg"]


DRIFT = {
    "differences": [
        {
            "set": "home/shop",
            "action": "create",
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "namespace": "home",
            "name": "a",
            "fields": [],
            "reason": "",
        }
    ],
    "sets": [{"name": "home/shop", "objects": 2, "differences": 1, "exists": True}],
    "seconds": 0.5,
}


def options(directory: Path, **more: t.Any) -> dict[str, t.Any]:
    return {"name": "drift", "cluster": "here", "directory": str(directory), "drift": DRIFT, "show": True, **more}


def test_drift_report_writes_three_files(tmp_path: Path) -> None:
    result = drift_report.perform(options(tmp_path / "new"), False, False, silent)
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["drift.html", "drift.json", "drift.xml"]
    assert result["counts"]["create"] == 1
    assert result["objects"] == ["create ConfigMap home/a"]
    assert json.loads(Path(result["files"]["json"]).read_text(encoding="utf-8"))["summary"] == result["summary"]
    assert result["table"]


def test_in_check_mode_it_writes_nothing(tmp_path: Path) -> None:
    result = drift_report.perform(options(tmp_path / "new", show=False), True, False, silent)
    assert not (tmp_path / "new").exists()
    assert result["table"] == []
    assert result["files"]["html"] == str(tmp_path / "new/drift.html")


def test_drift_report_names_what_is_missing(tmp_path: Path) -> None:
    result = drift_report.perform(options(tmp_path, drift={}), False, False, silent)
    assert result == {"failed": True, "msg": "drift has no differences and no sets; give what drift_info returned"}


def test_drift_report_names_a_directory_that_it_cannot_write_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    result = drift_report.perform(options(tmp_path / "file"), False, False, silent)
    assert result["failed"]
    assert "name another directory" in result["msg"]


@pytest.mark.parametrize(
    ("failed", "custom", "is_error"),
    [
        ([], {}, False),
        (["a"], {}, True),
        (["a"], {"_run": {"ai_gateway_drift": {"a": {"drift": True}}}}, False),
        # It failed after the report.
        (["a"], {"_run": {"ai_gateway_drift": {"a": {"drift": False}}}}, True),
        (["a", "b"], {"_run": {"ai_gateway_drift": {"a": {"drift": True}}}}, True),
        (["b"], {"b": {"ai_gateway_drift": {"b": {"drift": True}}}}, False),
        (["a"], {"_run": {"other": 1}}, True),
    ],
)
def test_an_error_is_a_failure_of_another_cause(failed: list[str], custom: dict[str, t.Any], is_error: bool) -> None:
    assert has_error(failed, custom) == is_error
