# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The page of all clusters, as plays with several hosts write it: with forks, a limit, batches, and hosts that fail in
every way.
"""

from __future__ import annotations

import json
import sys
import typing as t
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from api_server import Server
from plays import Ended, ansible_playbook

Hosts = dict[str, dict[str, t.Any]]
PREFIX = "egress.ai_gateway."
CHECK = {"id": "chat", "name": "Chat", "status": "passed", "seconds": 1}


def role(tasks_from: str = "main") -> dict[str, t.Any]:
    return {"ansible.builtin.import_role": {"name": f"{PREFIX}fleet", "tasks_from": tasks_from}}


#: What site does, as far as the page is concerned: a host fails by its variables, at once or in its checks.
PLAY: dict[str, t.Any] = {
    "name": "A play",
    "hosts": "all",
    "gather_facts": False,
    "module_defaults": {f"group/{PREFIX}ai_gateway": {"kubeconfig": "{{ ai_gateway_kubeconfig }}"}},
    "tasks": [
        role("started"),
        {
            "block": [
                {
                    "name": "Fail at once",
                    "ansible.builtin.fail": {"msg": "{{ fault }}"},
                    "when": "fault is defined",
                    "no_log": "{{ hidden | default(false) }}",
                },
                # Modules would be run here by the tests, whatever the connection is.
                {"ansible.builtin.raw": "true", "when": "ansible_connection == 'ssh'"},
                {
                    f"{PREFIX}validation_report": {
                        "cluster": "{{ inventory_hostname }}",
                        "directory": "{{ playbook_dir }}/reports/{{ inventory_hostname }}",
                        "checks": [{**CHECK, "status": "{{ 'failed' if check_fails | default(false) else 'passed' }}"}],
                    },
                    "register": "report",
                },
                {
                    "name": "Fail where a check did",
                    "ansible.builtin.fail": {"msg": "1 of 1 checks failed"},
                    "when": "report.counts.failed > 0",
                },
                {"ansible.builtin.set_fact": {"gateway_url": "https://{{ inventory_hostname }}.example.com"}},
            ],
            "rescue": [{"ansible.builtin.include_role": {"name": f"{PREFIX}fleet", "tasks_from": "failed"}}],
        },
        role(),
    ],
}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server({("apps/v1", "deployments"): "Deployment"})
    running.put("namespaces", "", "kube-system")
    container = {"image": "docker.io/envoyproxy/gateway:v1.8.3"}
    running.put("deployments", "x", "envoy-gateway", spec={"template": {"spec": {"containers": [container]}}})
    yield running
    running.close()


def run(
    directory: Path,
    hosts: Hosts,
    *arguments: str,
    playbook: str | dict[str, t.Any] = PLAY,
    configuration: dict[str, str] | None = None,
) -> Ended:
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    unknown = {"ai_gateway_kubeconfig": "/nonexistent/kubeconfig"}
    inventory = {"all": {"hosts": {name: {**local, **unknown, **variables} for name, variables in hosts.items()}}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    if isinstance(playbook, dict):
        (directory / "play.yml").write_text(json.dumps([playbook]), encoding="utf-8")
        playbook = str(directory / "play.yml")
    return ansible_playbook(
        directory, "--inventory", f"{directory}/hosts.yml", *arguments, playbook, environment=configuration
    )


def fleet(directory: Path) -> dict[str, dict[str, t.Any]]:
    document = json.loads((directory / "reports/fleet.json").read_text(encoding="utf-8"))
    assert (directory / "reports/fleet.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    suites = ElementTree.fromstring((directory / "reports/fleet.xml").read_text(encoding="utf-8"))  # noqa: S314
    assert [case.get("name") for case in suites.iter("testcase")] == [one["name"] for one in document["clusters"]]
    return {cluster["name"]: cluster for cluster in document["clusters"]}


def statuses(directory: Path) -> dict[str, str]:
    return {name: cluster["status"] for name, cluster in fleet(directory).items()}


@pytest.mark.parametrize("forks", ["1", "5"])
def test_one_that_fails_does_not_stop_the_others(forks: str, server: Server, tmp_path: Path) -> None:
    reached = {"ai_gateway_kubeconfig": str(server.kubeconfig(tmp_path))}
    hosts: Hosts = {
        "good": reached,
        "faulty": {"fault": "It has 2 faults:\n  - a is missing\n  - b is missing"},
        "failing": {**reached, "check_fails": True},
        "other": reached,
        "secret": {"fault": "sk-secret", "hidden": True},
        "remote": {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1},
    }
    ended = run(tmp_path, hosts, "--forks", forks)
    assert ended.returncode not in (0, 1)
    found = fleet(tmp_path)
    assert {name: cluster["status"] for name, cluster in found.items()} == {
        "good": "passed",
        "faulty": "failed",
        "failing": "failed",
        "other": "passed",
        "secret": "failed",
        "remote": "failed",
    }
    assert found["good"]["reachable"] is True
    assert found["good"]["versions"] == {"Kubernetes": "v1.34.0", "Envoy Gateway": "v1.8.3"}
    assert found["good"]["gateway_url"] == "https://good.example.com"
    assert found["good"]["reports"][0]["counts"] == {"passed": 1, "failed": 0, "skipped": 0}
    assert found["faulty"]["reason"] == "Fail at once: It has 2 faults: a is missing"
    assert found["faulty"]["reachable"] is False
    assert found["failing"]["reason"] == "Fail where a check did: 1 of 1 checks failed"
    assert found["failing"]["failed_checks"] == ["chat"]
    assert found["secret"]["reason"] == "Fail at once: it failed, and its result is not shown"
    assert found["remote"]["reason"].startswith("Ansible lost this host before its end.")
    page = (tmp_path / "reports/fleet.html").read_text(encoding="utf-8")
    # Of ansible-core's own message of the failed task nothing here can be said.
    assert "sk-secret" not in page + (tmp_path / "reports/fleet.json").read_text(encoding="utf-8")
    assert "sk-secret" not in ended.output.partition("[Write the page of all clusters]")[2]
    assert "4 of 6 clusters failed" in page
    # Shown once, by the last one.
    assert ended.output.count("6 clusters: 2 passed, 4 failed") == 1
    assert server.writes == []


def test_the_others_and_earlier_reports_are_named_as_what_they_are(tmp_path: Path) -> None:
    hosts: Hosts = {"a": {}, "b": {"check_fails": True}, "c": {}}
    assert run(tmp_path, hosts).returncode == 2
    assert statuses(tmp_path) == {"a": "passed", "b": "failed", "c": "passed"}
    # What follows begins in another second, which is how exact a report says when it has finished.
    for path in tmp_path.glob("reports/*/validation.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        path.write_text(json.dumps({**report, "finished": "2026-01-01T00:00:00Z"}), encoding="utf-8")
    ended = run(tmp_path, {**hosts, "c": {"fault": "x"}}, "--limit", "a,c")
    assert ended.returncode == 2
    found = fleet(tmp_path)
    assert {name: one["status"] for name, one in found.items()} == {"a": "passed", "b": "not run", "c": "failed"}
    assert {name: one["of_this_run"] for name, one in found.items()} == {"a": True, "b": False, "c": True}
    assert {name: one["reports"][0]["of_this_run"] for name, one in found.items()} == {
        "a": True,
        "b": False,
        "c": False,
    }
    assert found["b"]["failed_checks"] == []
    page = " ".join((tmp_path / "reports/fleet.html").read_text(encoding="utf-8").split())
    assert page.count("is stale") == 2
    assert "A play of" in page
    # All of it anew.
    assert run(tmp_path, {"a": {}, "b": {}}).returncode == 0
    assert statuses(tmp_path) == {"a": "passed", "b": "passed"}


def test_a_batch_that_fails_leaves_the_next_one_named(tmp_path: Path) -> None:
    hosts: Hosts = {"a": {}, "b": {"fault": "x"}, "c": {}}
    ended = run(tmp_path, hosts, playbook={**PLAY, "serial": 1})
    assert ended.returncode == 2
    assert statuses(tmp_path) == {"a": "passed", "b": "failed", "c": "not run"}
    assert fleet(tmp_path)["c"]["reason"] == "The run has not come to it."
    assert run(tmp_path, {"a": {}, "b": {}, "c": {}}, playbook={**PLAY, "serial": 1}).returncode == 0
    assert statuses(tmp_path) == {"a": "passed", "b": "passed", "c": "passed"}


def test_every_host_may_fail(tmp_path: Path) -> None:
    ended = run(tmp_path, {"a": {"fault": "x"}, "b": {"fault": "y"}})
    assert ended.returncode == 2
    assert statuses(tmp_path) == {"a": "failed", "b": "failed"}
    assert f"a has failed, see {tmp_path}/reports/fleet.html. Fail at once: x" in " ".join(ended.output.split())


def test_one_host_and_check_mode_write_no_page(tmp_path: Path) -> None:
    ended = run(tmp_path, {"a": {"fault": "the whole\nmessage"}})
    assert ended.returncode == 2
    assert run(tmp_path, {"a": {}, "b": {}}, "--check").returncode == 0
    # As --extra-vars name=value has it.
    assert run(tmp_path, {"a": {}, "b": {}}, "--extra-vars", "fleet_write=false").returncode == 0
    assert not (tmp_path / "reports/fleet.json").exists()
    # All of it is its last message, as there is no page.
    assert "message" in ended.output.partition("Report the task that failed")[2]


def test_a_page_that_cannot_be_written_does_not_hide_the_failure(tmp_path: Path) -> None:
    arguments = ("--extra-vars", "fleet_report_directory=/proc/nothing", "--start-at-task", "Fail at once")
    ended = run(tmp_path, {"a": {"fault": "the fault"}, "b": {"fault": "the fault"}}, *arguments)
    assert ended.returncode == 2
    assert "cannot write to /proc/nothing" in ended.output
    assert "Fail at once: the fault" in ended.output.partition("Report the task that failed")[2]


def test_the_statistic_has_all_clusters(tmp_path: Path) -> None:
    ended = run(tmp_path, {"a": {}, "b": {"fault": "x"}}, configuration={"ANSIBLE_SHOW_CUSTOM_STATS": "true"})
    said = ended.output.partition("CUSTOM STATS")[2]
    assert "ai_gateway_fleet" in said
    assert "Fail at once: x" in said
    assert "https://a.example.com" in said


@pytest.mark.parametrize("playbook", ["site", "validate"])
def test_playbooks_write_the_page(playbook: str, tmp_path: Path) -> None:
    provider = {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": "k"}}
    common = {"ai_gateway_providers": [{**provider, "models": [{"name": "gpt-4"}]}], "gateway_allow_plain_http": True}
    wrong = {**common, "ai_gateway_providers": [{"name": "openai"}]}
    ended = run(tmp_path, {"unreachable": common, "wrong": wrong}, playbook=f"{PREFIX}{playbook}")
    assert ended.returncode == 2, ended.output
    found = fleet(tmp_path)
    assert {name: cluster["status"] for name, cluster in found.items()} == {"unreachable": "failed", "wrong": "failed"}
    assert found["unreachable"]["reachable"] is False
    assert "/nonexistent/kubeconfig" in found["unreachable"]["reason"]
    assert "ai_gateway_providers[0].credential: is missing" in found["wrong"]["reason"]
    assert ended.output.count("changed=0") == 2
