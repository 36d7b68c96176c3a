# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role and the playbook, with a fake Prometheus."""

from __future__ import annotations

import json
import stat
import time
import typing as t
from pathlib import Path

import pytest
from plays import Ended, ansible_playbook, run_playbook
from prometheus import PrometheusServer, basic

#: A minute ago, in milliseconds.
NOW = round(time.time()) * 1000 - 60_000
MINUTE = 60_000
INVENTORY = {
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "provider-key"},
            "models": [{"name": "gpt-4"}, {"name": "gpt-5"}],
        }
    ],
    "ai_gateway_tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["system:authenticated"],
            "token_limit": {"tokens": 100, "window": "1m"},
            "models": ["*"],
        }
    ],
    "ai_gateway_prices": {"gpt-4": {"input": 2, "output": 10}},
    "ai_gateway_currency": "EUR",
    "usage_from": "1h",
}


@pytest.fixture
def server() -> t.Iterator[PrometheusServer]:
    server = PrometheusServer(authorization=basic("jane", "hidden-password"))
    fill(server, "ai-gateway", "jane", 1_000_000)
    yield server
    server.close()


def fill(server: PrometheusServer, gateway: str, user: str, tokens: float, **labels: str) -> None:
    who = {
        "gateway": gateway,
        "user": user,
        "tier": "free",
        "provider": "openai",
        "job": "p",
        "instance": "a",
        **labels,
    }
    times = range(NOW - 120 * MINUTE, NOW + 1, MINUTE)
    server.fake.add("up", [(at, 1.0) for at in times], job="p", instance="a")
    for model, kind, amount in (("gpt-4", "input", tokens), ("gpt-4", "output", 500), ("gpt-5", "input", 7)):
        samples = [(at, 100.0 + (amount if at > NOW - 30 * MINUTE else 0)) for at in times]
        server.fake.add("envoy_ai_gateway_tokens_total", samples, **who, model=model, type=kind)
    requests = [(at, 5.0 + (2 if at > NOW - 30 * MINUTE else 0)) for at in times]
    server.fake.add("envoy_ai_gateway_requests_total", requests, **who, model="gpt-4", code="200")


def variables(directory: Path, server: PrometheusServer, **others: t.Any) -> dict[str, t.Any]:
    return {
        **INVENTORY,
        "usage_prometheus_url": server.url,
        "usage_prometheus_username": "jane",
        "usage_prometheus_password": "hidden-password",
        "usage_report_directory": str(directory / "report"),
        "ai_gateway_kubeconfig": "/nonexistent/kubeconfig",
        **others,
    }


def used(directory: Path, given: dict[str, t.Any], *arguments: str) -> Ended:
    return run_playbook(
        directory,
        "egress.ai_gateway.usage",
        given,
        *arguments,
        host="production",
        environment={"ANSIBLE_SHOW_CUSTOM_STATS": "true"},
    )


def said(ended: Ended) -> str:
    return " ".join(ended.output.split())


def test_a_report_is_written_and_shown(server: PrometheusServer, tmp_path: Path) -> None:
    ended = used(tmp_path, variables(tmp_path, server), "-vvv", "--diff")
    assert ended.returncode == 0, ended.output
    assert "changed=0" in ended.output
    # 1 million at 2 and 500 at 10, and no price of gpt-5.
    assert "1,000,507 tokens (1,000,007 in, 500 out) of 2 requests, 0 more refused; cost 2.00 EUR and more" in said(
        ended
    )
    assert "there is no price of gpt-5" in said(ended)
    assert "unpriced_tokens" in said(ended)
    report = json.loads((tmp_path / "report/usage.json").read_text(encoding="utf-8"))
    assert report["totals"]["cost"] == 2.005
    assert report["cluster"] == "production"
    assert (tmp_path / "report/usage.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert len((tmp_path / "report/usage.csv").read_text(encoding="utf-8").splitlines()) == 3
    for kind in ("csv", "html", "json"):
        assert stat.S_IMODE((tmp_path / f"report/usage.{kind}").stat().st_mode) == 0o640
    assert "hidden-password" not in ended.output
    assert "provider-key" not in ended.output


def test_a_check_writes_nothing(server: PrometheusServer, tmp_path: Path) -> None:
    # A string, as a variable of the command line is.
    ended = used(tmp_path, variables(tmp_path, server, usage_prometheus_timeout="30"), "--check")
    assert ended.returncode == 0, ended.output
    assert "1,000,507 tokens" in ended.output
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"usage_source": "prometheus", "usage_prometheus_url": ""}, "usage_prometheus_url is empty. Write the URL"),
        (
            {"usage_prometheus_token_file": "/t"},
            "usage_prometheus_token_file and usage_prometheus_username are both set",
        ),
        ({"usage_prometheus_password": ""}, "belong together, and one of them is empty"),
        ({"usage_prometheus_timeout": 0}, "usage_prometheus_timeout is 0. Write a number of seconds from 1."),
        ({"usage_prometheus_timeout": "0"}, "usage_prometheus_timeout is 0. Write a number of seconds from 1."),
        ({"usage_source": "logs"}, "value of usage_source must be one of"),
        ({"usage_from": "yesterday"}, "from: 'yesterday' is no time; write ISO 8601 with a zone"),
        ({"usage_from": "1h", "usage_to": "2h"}, "write an earlier from or a later to"),
        ({"usage_prices": {"gpt-4": {"input": 1}}}, "prices.gpt-4.output: is missing"),
        ({"usage_prometheus_password": "other"}, "answered with status 401"),
        ({"usage_report_directory": "/proc/none"}, "directory: cannot write to /proc/none"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(
    server: PrometheusServer, given: dict[str, t.Any], message: str, tmp_path: Path
) -> None:
    ended = used(tmp_path, variables(tmp_path, server, **given))
    assert ended.returncode == 2
    assert message in said(ended)
    assert not (tmp_path / "report").exists()


def test_each_cluster_of_a_fleet_has_its_own_report(server: PrometheusServer, tmp_path: Path) -> None:
    """Two clusters behind one Prometheus, and one that does not answer, which does not stop them."""
    fill(server, "ai-gateway", "omar", 3_000_000, cluster="second")
    given = variables(tmp_path, server)
    del given["usage_report_directory"]
    inventory = {
        "all": {
            "vars": {
                **given,
                "ansible_connection": "local",
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            },
            "hosts": {
                "first": {"usage_prometheus_matchers": {"cluster": ""}},
                "second": {"usage_prometheus_matchers": {"cluster": "second"}},
                "third": {"usage_prometheus_url": "http://127.0.0.1:1"},
            },
        }
    }
    (tmp_path / "inventory.json").write_text(json.dumps(inventory), encoding="utf-8")
    ended = ansible_playbook(
        tmp_path,
        "--inventory",
        str(tmp_path / "inventory.json"),
        "egress.ai_gateway.usage",
        environment={"PWD": str(tmp_path)},
    )
    assert ended.returncode == 2
    assert "cannot reach http://127.0.0.1:1" in said(ended)
    totals = {
        name: json.loads((tmp_path / f"reports/{name}/usage.json").read_text(encoding="utf-8"))["totals"]
        for name in ("first", "second")
    }
    assert totals["first"]["input_tokens"] == 1_000_007
    assert totals["second"]["input_tokens"] == 3_000_007
    assert not (tmp_path / "reports/third").exists()


def test_where_no_prometheus_is_logs_are_read(server: PrometheusServer, tmp_path: Path) -> None:
    given = variables(
        tmp_path, server, usage_prometheus_url="", usage_prometheus_username="", usage_prometheus_password=""
    )
    ended = used(tmp_path, given)
    assert ended.returncode == 2
    # Of the cluster that is not there.
    assert "/nonexistent/kubeconfig" in said(ended)
