# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What role observability makes of a catalogue: objects, files, and errors about its variables."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import prometheus_programs
import pytest
import yaml
from plays import Ended, ansible_playbook, run_playbook
from rendering import manifests

SCRAPERS = [{"namespace": "monitoring", "pods": {"app.kubernetes.io/name": "prometheus"}}]
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "k"},
            "models": [{"name": "gpt-4"}],
        }
    ],
    "ai_gateway_prices": {"gpt-4": {"input": 2.5, "output": 10}},
    "ai_gateway_observability": {"enabled": True, "scrapers": SCRAPERS},
    "observability_labels": {"release": "prometheus"},
}


def rendered(directory: Path, monitors: str) -> dict[tuple[str, str], dict[str, t.Any]]:
    variables = {**VARIABLES, "observability_monitors": monitors}
    return manifests(directory, "observability", "observability.yaml.j2", variables)


def test_without_the_operator_there_are_config_maps_alone(tmp_path: Path) -> None:
    found = rendered(tmp_path, "never")
    assert sorted(found) == [
        ("ConfigMap", "ai-gateway-rules"),
        ("ConfigMap", "dashboard-ai-gateway-health"),
        ("ConfigMap", "dashboard-ai-gateway-usage"),
    ]
    for (_kind, name), manifest in found.items():
        assert manifest["metadata"]["namespace"] == "ai-gateway"
        assert (manifest["metadata"]["labels"].get("grafana_dashboard") == "1") == name.startswith("dashboard-")
    (content,) = found["ConfigMap", "dashboard-ai-gateway-usage"]["data"].values()
    dashboard = json.loads(content)
    assert dashboard["title"] == "AI gateway ai-gateway: usage"
    titles = {panel["title"] for panel in dashboard["panels"]}
    for what in ("Tokens", "Cost an hour", "Requests", "Refused requests"):
        assert {f"{what} by {label}" for label in ("tier", "user", "model", "provider")} <= titles
    for what in ("Time of requests", "Time to the first token"):
        assert {f"{what} by {label}" for label in ("tier", "model", "provider")} <= titles


def test_with_the_operator_each_part_is_scraped(tmp_path: Path) -> None:
    found = rendered(tmp_path, "always")
    monitors = {name: manifest for (kind, name), manifest in found.items() if kind.endswith("Monitor")}
    assert sorted(monitors) == [
        f"ai-gateway-{part}"
        for part in ("authorino", "controller", "envoy-gateway", "processors", "proxies", "ratelimit")
    ]
    for name, manifest in monitors.items():
        assert manifest["metadata"]["labels"]["release"] == "prometheus"
        (endpoint,) = manifest["spec"].get("podMetricsEndpoints") or manifest["spec"]["endpoints"]
        assert endpoint["honorLabels"] is True
        assert {"targetLabel": "job", "replacement": name} in endpoint["relabelings"]
    (endpoint,) = monitors["ai-gateway-proxies"]["spec"]["podMetricsEndpoints"]
    (kept,) = endpoint["metricRelabelings"]
    rules = found["PrometheusRule", "ai-gateway-rules"]["spec"]
    assert rules == yaml.safe_load(found["ConfigMap", "ai-gateway-rules"]["data"]["ai-gateway.rules.yaml"])
    # Nothing that a rule or a dashboard needs is left out.
    used = set(re.findall(r"envoy_[a-z_]+", json.dumps(list(found.values()))))
    for name in used - {"envoy_ai_gateway_"}:
        series = re.sub(r"_(bucket|sum|count)$", "", name)
        assert re.fullmatch(kept["regex"], series) or series in kept["regex"], name


def test_programs_of_prometheus_accept_the_files(tmp_path: Path) -> None:
    if not prometheus_programs.plan().built:
        pytest.skip("promtool is not built on this machine; the end-to-end tests build it")
    assert files(tmp_path).returncode == 0
    done = prometheus_programs.promtool("check", "rules", str(tmp_path / "out/rules.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    configuration = tmp_path / "prometheus.yml"
    configuration.write_text(yaml.safe_dump({"scrape_config_files": [str(tmp_path / "out/scrape.yml")]}))
    done = prometheus_programs.promtool("check", "config", str(configuration))
    assert done.returncode == 0, done.stdout + done.stderr


def files(directory: Path, *arguments: str, **variables: t.Any) -> Ended:
    """The files of the role, in directory out."""
    role = {"name": "egress.ai_gateway.observability"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.import_role": {**role, "tasks_from": "validate_variables.yml"}},
            {"ansible.builtin.import_role": {**role, "tasks_from": "files.yml"}},
        ],
    }
    out = directory / "out"
    given = {
        **VARIABLES,
        "observability_rules_file": str(out / "rules.yml"),
        "observability_scrape_file": str(out / "scrape.yml"),
        "observability_dashboards_directory": str(out / "dashboards"),
        **variables,
    }
    return run_playbook(directory, play, given, *arguments)


def test_files_are_written_once_and_shown_before(tmp_path: Path) -> None:
    ended = files(tmp_path, "--check", "--diff")
    assert ended.returncode == 0, ended.output
    assert "+    - alert: AIGatewayDown" in ended.stdout or "+  - alert: AIGatewayDown" in ended.stdout
    assert not (tmp_path / "out").exists()
    ended = files(tmp_path)
    assert ended.returncode == 0, ended.output
    assert (tmp_path / "out/rules.yml").stat().st_mode & 0o777 == 0o644
    names = sorted(path.name for path in (tmp_path / "out/dashboards").iterdir())
    assert names == ["ai-gateway-health.json", "ai-gateway-usage.json"]
    assert "changed=0" in files(tmp_path).stdout


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"observability_thresholds": {"error_rate": 1}}, "observability_thresholds"),
        ({"observability_thresholds": {"error_ratio": "much"}}, "error_ratio, refusal_ratio"),
        ({"observability_scrape_interval": "15"}, "observability_scrape_interval"),
        ({"observability_runbook_url": "docs/operations.md"}, "observability_runbook_url"),
    ],
)
def test_wrong_variables_are_named(tmp_path: Path, variables: dict[str, t.Any], told: str) -> None:
    ended = files(tmp_path, **variables)
    assert ended.returncode != 0
    assert told in " ".join(ended.output.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["observability_rules_file", "observability_scrape_file", "observability_dashboards_directory"]
)
def test_two_hosts_do_not_share_a_path(tmp_path: Path, name: str) -> None:
    path = tmp_path / "out"
    role = {"name": "egress.ai_gateway.observability", "tasks_from": "validate_variables.yml"}
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.import_role": role}]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    inventory = {"all": {"vars": {**VARIABLES, name: str(path)}, "hosts": {"one": {}, "two": {}}}}
    (tmp_path / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
    ended = ansible_playbook(tmp_path, "--inventory", str(tmp_path / "inventory.json"), str(tmp_path / "play.yml"))
    assert ended.returncode == 2
    said = " ".join(ended.output.split())
    assert f"{name} is {path} for one and for two: one would overwrite the other's." in said
