# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import sys
import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.modules import gateway_diagnosis_info

sys.path.insert(0, str(Path(__file__).parents[1] / "module_utils/_diagnosis"))
from seeds import seed_004, site

RunModule = Callable[..., dict[str, t.Any]]
#: The options that reach a cluster, which is not asked here.
CLUSTER = {"host": "http://127.0.0.1:9", "api_key": "token-of-the-user"}


def test_a_snapshot_in_a_file_is_diagnosed(tmp_path: Path, run_module: RunModule) -> None:
    (tmp_path / "snapshot.json").write_text(json.dumps(seed_004()))
    result = run_module("gateway_diagnosis_info", {"snapshot_file": str(tmp_path / "snapshot.json"), "title": "Seed"})
    assert not result["changed"]
    assert (result["level"], result["counts"]) == ("Error", {"Error": 1, "Warning": 0, "Info": 0})
    (finding,) = result["findings"]
    assert finding["code"] == "AIG0001"
    assert set(finding) == {
        "code", "name", "level", "message", "evidence", "cause", "cure", "command", "reference", "consequences",
    }  # fmt: skip
    assert result["lines"][0] == ["Seed", ""]
    assert result["checks"][0]["status"] == "failed"
    assert result["gateways"] == [{"namespace": "envoy-ai-gateway-system", "name": "eg-ai"}]


def test_nothing_wrong(tmp_path: Path, run_module: RunModule) -> None:
    (tmp_path / "snapshot.json").write_text(json.dumps(site()))
    result = run_module("gateway_diagnosis_info", {"snapshot_file": str(tmp_path / "snapshot.json")})
    assert (result["findings"], result["level"]) == ([], "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("[]", "it is no snapshot of format 1; write one with snapshot_to"),
        ('{"format": 1, "objects": [{"kind": "Pod"}]}', "it is no snapshot of this version: KeyError"),
    ],
)
def test_another_file_is_refused(content: str, message: str, tmp_path: Path, run_module: RunModule) -> None:
    (tmp_path / "snapshot.json").write_text(content)
    result = run_module("gateway_diagnosis_info", {"snapshot_file": str(tmp_path / "snapshot.json")})
    assert result["failed"]
    assert result["msg"].startswith(f"snapshot_file: {tmp_path}/snapshot.json")
    assert message in result["msg"]


def test_a_window_of_nothing(run_module: RunModule) -> None:
    assert run_module("gateway_diagnosis_info", {"window": 0})["msg"].startswith("window: 0 is not from 1")


@pytest.fixture
def collected(monkeypatch: pytest.MonkeyPatch) -> list[tuple[t.Any, ...]]:
    """What a snapshot was asked for, in place of a cluster."""
    asked: list[tuple[t.Any, ...]] = []

    def collect(_api: t.Any, _forward: t.Any, gateways: t.Any, window: int) -> dict[str, t.Any]:
        asked.append((gateways, window))
        return seed_004()

    monkeypatch.setattr(gateway_diagnosis_info, "collect", collect)
    return asked


def test_a_snapshot_is_kept_for_its_owner(
    tmp_path: Path, run_module: RunModule, collected: list[tuple[t.Any, ...]]
) -> None:
    path = tmp_path / "new/snapshot.json"
    gateways = [{"namespace": "a", "name": "b"}]
    arguments = {**CLUSTER, "gateways": gateways, "window": 60, "snapshot_to": str(path)}
    result = run_module("gateway_diagnosis_info", arguments)
    assert result["findings"][0]["code"] == "AIG0001"
    assert collected == [(gateways, 60)]
    assert json.loads(path.read_text()) == seed_004()
    assert path.stat().st_mode & 0o777 == 0o600
    again = run_module("gateway_diagnosis_info", {"snapshot_file": str(path)})
    assert again["findings"] == result["findings"]


@pytest.mark.usefixtures("collected")
def test_check_mode_writes_nothing(tmp_path: Path, run_module: RunModule) -> None:
    result = run_module(
        "gateway_diagnosis_info", {**CLUSTER, "snapshot_to": str(tmp_path / "snapshot.json")}, check_mode=True
    )
    assert result["findings"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("collected")
def test_a_place_that_cannot_be_written(tmp_path: Path, run_module: RunModule) -> None:
    (tmp_path / "file").write_text("")
    result = run_module("gateway_diagnosis_info", {**CLUSTER, "snapshot_to": str(tmp_path / "file/snapshot.json")})
    assert result["msg"].startswith(f"snapshot_to: cannot write {tmp_path}/file/snapshot.json")


def test_no_cluster(run_module: RunModule) -> None:
    result = run_module("gateway_diagnosis_info", CLUSTER)
    assert "diagnosing: GET " in result["msg"]
    assert "no answer from the API server" in result["msg"]
