# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role and the playbook, with snapshots and with an API server that has no gateway."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from api_server import Server
from plays import Ended, run_playbook

sys.path.insert(0, str(Path(__file__).parents[2] / "plugins/module_utils/_diagnosis"))
from seeds import seed_004, site

ROOT = Path(__file__).parents[4]
KINDS = {
    ("v1", "secrets"): "Secret",
    ("v1", "pods"): "Pod",
    ("gateway.networking.k8s.io/v1", "gateways"): "Gateway",
}
#: A role that fails, as those of site do.
FAILING = {
    "name": "Provision",
    "block": [{"name": "Wait for the moon", "ansible.builtin.fail": {"msg": "the moon did not come"}}],
    "rescue": [
        {
            "name": "Find out why",
            "ansible.builtin.include_role": {"name": "egress.ai_gateway.diagnosis", "tasks_from": "after_failure.yml"},
        }
    ],
}


def diagnosed(directory: Path, snapshot: t.Any, **variables: t.Any) -> Ended:
    """Run playbook diagnose for a snapshot in a file."""
    (directory / "snapshot.json").write_text(json.dumps(snapshot), encoding="utf-8")
    given = {
        "diagnosis_snapshot_file": str(directory / "snapshot.json"),
        "diagnosis_report_directory": str(directory / "report"),
        "ai_gateway_kubeconfig": "/nonexistent/kubeconfig",
        **variables,
    }
    return run_playbook(directory, "egress.ai_gateway.diagnose", given, host="production")


def said(ended: Ended) -> str:
    return " ".join(ended.output.split())


def test_the_installation_that_never_worked_is_explained(tmp_path: Path) -> None:
    ended = diagnosed(tmp_path, seed_004())
    assert ended.returncode == 2
    assert "Diagnosis of production" in ended.output
    assert "AIG0001 Error: Envoy AI Gateway v0.4.0 serves only the first of the HTTPS listeners" in said(ended)
    assert "changed=0" in ended.output
    report = json.loads((tmp_path / "report/diagnosis.json").read_text(encoding="utf-8"))
    assert [finding["code"] for finding in report["diagnosis"]] == ["AIG0001"]
    assert report["counts"] == {"passed": 0, "failed": 1, "skipped": 0}
    page = (tmp_path / "report/diagnosis.html").read_text(encoding="utf-8")
    assert "<h2>Diagnosis</h2>" in page
    assert "AIG0105" in page


def test_a_gateway_that_works_passes(tmp_path: Path) -> None:
    ended = diagnosed(tmp_path, site(), diagnosis_fail_on="warning")
    assert ended.returncode == 0, ended.output
    assert "Nothing is wrong, as far as can be seen." in ended.output
    assert "changed=0" in ended.output
    assert "<h2>Diagnosis</h2>" not in (tmp_path / "report/diagnosis.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("fail_on", "status"), [("error", 0), ("warning", 2), ("never", 0)])
def test_the_level_decides(fail_on: str, status: int, tmp_path: Path) -> None:
    data = site()
    data["unread"] = [{"kind": "Event", "what": "events", "reason": "forbidden"}]
    ended = diagnosed(tmp_path, data, diagnosis_fail_on=fail_on)
    assert ended.returncode == status, ended.output
    assert "AIG0901 Warning" in ended.output


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"diagnosis_window": 0}, "diagnosis_window is 0. Write a number of seconds from 1."),
        ({"diagnosis_snapshot_to": "/a"}, "diagnosis_snapshot_file and diagnosis_snapshot_to are both set."),
        ({"diagnosis_fail_on": "soon"}, "value of diagnosis_fail_on must be one of"),
        ({"diagnosis_snapshot_file": "/nonexistent/s"}, "snapshot_file: cannot read /nonexistent/s: No such file"),
    ],
)
def test_what_is_wrong_with_the_variables(variables: dict[str, t.Any], message: str, tmp_path: Path) -> None:
    ended = diagnosed(tmp_path, site(), **variables)
    assert ended.returncode == 2
    assert message in said(ended)


def test_another_file_is_refused(tmp_path: Path) -> None:
    ended = diagnosed(tmp_path, {"format": 7})
    assert ended.returncode == 2
    assert "it is no snapshot of format 1; write one with snapshot_to" in said(ended)


def failing(directory: Path, kubeconfig: Path | str) -> Ended:
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [FAILING]}
    provider = {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": "k"}}
    variables = {
        "ai_gateway_providers": [{**provider, "models": [{"name": "gpt-4"}]}],
        "diagnosis_report_directory": str(directory / "report"),
    }
    return run_playbook(directory, play, variables, environment={"K8S_AUTH_KUBECONFIG": str(kubeconfig)})


def test_a_failure_is_diagnosed_and_is_still_the_last_word(tmp_path: Path) -> None:
    server = Server(KINDS)
    try:
        ended = failing(tmp_path, server.kubeconfig(tmp_path))
    finally:
        server.close()
    assert ended.returncode == 2
    output = said(ended)
    assert output.count("the moon did not come") >= 2
    assert "AIG0200 Error: Gateway ai-gateway/ai-gateway does not exist" in output
    assert output.index("AIG0200") < output.rindex("Wait for the moon: the moon did not come")
    assert "failed=1" in output
    assert server.writes == []
    assert (tmp_path / "report/diagnosis.html").exists()


def test_a_cluster_that_is_away_does_not_hide_the_failure(tmp_path: Path) -> None:
    ended = failing(tmp_path, "/nonexistent/kubeconfig")
    assert ended.returncode == 2
    assert "Wait for the moon: the moon did not come" in said(ended)


def rescues(tasks: list[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    """The tasks after a failure, of all blocks."""
    for task in tasks:
        yield from task.get("rescue", ())
        for part in ("block", "rescue", "always"):
            yield from rescues(task.get(part, []))


@pytest.mark.parametrize("playbook", ["site", "validate"])
def test_a_playbook_diagnoses_what_fails_in_it(playbook: str) -> None:
    (play,) = yaml.safe_load((ROOT / f"playbooks/{playbook}.yml").read_text(encoding="utf-8"))
    found = [task for rescue in rescues(play["tasks"]) for task in (rescue, *rescue.get("block", ()))]
    roles = [(task, role) for task in found if (role := task.get("ansible.builtin.include_role"))]
    ((task, role),) = [(task, role) for task, role in roles if role["name"] == "egress.ai_gateway.diagnosis"]
    assert role["tasks_from"] == "after_failure.yml"
    # Whatever tags a run has.
    assert task["tags"] == role["apply"]["tags"] == ["always"]
    assert "roles" not in play
