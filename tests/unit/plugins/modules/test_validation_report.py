# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest

RunModule = Callable[..., dict[str, t.Any]]
CHECKS = [
    {"id": "a", "name": "A", "status": "passed", "seconds": 0.5},
    {"id": "b", "name": "B", "status": "failed", "expected": "status 401", "observed": "status 200", "seconds": 1},
]


def test_files(tmp_path: Path, run_module: RunModule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = run_module(
        "validation_report", {"cluster": "c", "gateway_url": "http://g", "directory": "reports/c", "checks": CHECKS}
    )
    assert not result["changed"]
    assert result["counts"] == {"passed": 1, "failed": 1, "skipped": 0}
    assert result["failed_checks"] == ["b"]
    assert result["summary"] == "2 checks: 1 passed, 1 failed, 0 skipped"
    assert result["files"] == {kind: str(tmp_path / f"reports/c/validation.{kind}") for kind in ("json", "xml", "html")}
    document = json.loads((tmp_path / "reports/c/validation.json").read_text())
    assert [check["observed"] for check in document["checks"]] == ["", "status 200"]
    assert "<testsuite " in (tmp_path / "reports/c/validation.xml").read_text()
    assert (tmp_path / "reports/c/validation.html").stat().st_mode & 0o777 == 0o644


def test_a_report_is_replaced(tmp_path: Path, run_module: RunModule) -> None:
    arguments = {"cluster": "c", "directory": str(tmp_path), "name": "drift", "checks": CHECKS}
    run_module("validation_report", arguments)
    run_module("validation_report", {**arguments, "checks": []})
    assert json.loads((tmp_path / "drift.json").read_text())["checks"] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drift.html", "drift.json", "drift.xml"]


def test_check_mode_writes_nothing(tmp_path: Path, run_module: RunModule) -> None:
    result = run_module(
        "validation_report", {"cluster": "c", "directory": str(tmp_path / "new"), "checks": CHECKS}, check_mode=True
    )
    assert result["table"][-1] == ["2 checks: 1 passed, 1 failed, 0 skipped", "failed"]
    assert not (tmp_path / "new").exists()


def test_wrong_checks(tmp_path: Path, run_module: RunModule) -> None:
    result = run_module(
        "validation_report", {"cluster": "c", "directory": str(tmp_path), "checks": [CHECKS[0], CHECKS[0]]}
    )
    assert result["msg"] == "checks[1].id: 'a' is given twice"
    result = run_module(
        "validation_report", {"cluster": "c", "directory": str(tmp_path), "checks": [{**CHECKS[0], "status": "ok"}]}
    )
    assert "value of status must be one of: passed, failed, skipped, got: ok" in result["msg"]


def test_a_directory_that_cannot_be(tmp_path: Path, run_module: RunModule) -> None:
    (tmp_path / "file").write_text("")
    result = run_module(
        "validation_report", {"cluster": "c", "directory": str(tmp_path / "file/reports"), "checks": CHECKS}
    )
    assert (
        result["msg"] == f"directory: cannot write to {tmp_path}/file/reports: Not a directory; name another directory"
    )


def test_loads_are_bars(tmp_path: Path, run_module: RunModule) -> None:
    figures = {"requests": 135, "refused": 1, "open": 0, "error_rate": 0.0074, "p50": 0.02, "outcomes": {}}
    loads = [
        {"name": "Before", "figures": {**figures, "p99": 0.05}, "faults": [], "p99": 0},
        {"name": "After <b>", "figures": {**figures, "p99": 0.1}, "faults": ["slow"], "p99": 0.08},
    ]
    run_module("validation_report", {"cluster": "c", "directory": str(tmp_path), "checks": CHECKS, "loads": loads})
    assert json.loads((tmp_path / "validation.json").read_text())["loads"] == loads
    page = (tmp_path / "validation.html").read_text()
    assert [page.count(f"width: {width}%") for width in ("20.0", "50.0", "100.0")] == [2, 1, 1]
    assert "After &lt;b&gt;" in page
    # The steps keep their order, where checks alone begin with what failed.
    assert page.index(">A<") < page.index(">B<")
