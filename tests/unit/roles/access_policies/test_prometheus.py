# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Totals in a real Prometheus beside those of the simulators: a real Envoy with the programs of the proxies, without
Envoy AI Gateway and the controllers.
"""

from __future__ import annotations

import concurrent.futures
import http.client
import json
import sys
import time
import typing as t
from pathlib import Path

import prometheus_programs
import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.dashboards import dashboards
from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.rules import rule_groups
from envoys import Envoy, envoy_program
from proxies import identity_key, programs
from rendering import rendered
from test_metrics import METERED, free_port, loggers, patches

sys.path.append(str(Path(__file__).parents[1] / "simulators"))
from simulator_process import BEARER, Simulator

TOKENS = "envoy_ai_gateway_tokens_total"
LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
#: In place of authorization: who calls is what a header says, and the provider's key is put in.
IDENTITY = """
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace("x-maas-tier", "free")
  headers:replace("x-maas-user", headers:get("x-test-user") or "nobody")
end
"""
KEY = f"""
function envoy_on_request(handle)
  handle:headers():replace("authorization", "{BEARER["Authorization"]}")
end
"""
#: Requests of each kind, and of which users.
TIMES, USERS = 10, ("ada", "bob")
VARIABLES = {
    **METERED,
    "ai_gateway_observability": {"enabled": True},
    "ai_gateway_prices": {"gpt-4": {"input": 2.5, "output": 10}, "Qwen/Qwen3-0.6B": {"input": 1, "output": 2}},
}


class Gateway:
    """An Envoy with the programs, between clients and two simulators that serve the same models."""

    def __init__(self, directory: Path, simulators: dict[str, Simulator]) -> None:
        self.directory = directory
        text = rendered(directory, "access_policies", "authorino.yaml.j2", VARIABLES)
        found = programs(text)
        found["body_filter"] = found["body_filter"].replace("/run/ai-gateway/key", str(identity_key(directory)))
        backends = {
            line.split('"')[3]: line.split('"')[1]
            for line in found["response_filter"].splitlines()
            if line.strip().startswith('["ai-gateway/') and ".count" not in line
        }
        served_by, replies = (
            next(patch["operation"]["value"] for patch in patches(text) if patch["operation"].get("path") == path)
            for path in ("/response_headers_to_add", "/local_reply_config")
        )
        order = [IDENTITY, found["request_filter"], found["body_filter"], KEY, found["response_filter"]]
        endpoints = [
            {
                "endpoint": {"address": _address(simulator.port)},
                "metadata": {
                    "filter_metadata": {
                        "aigateway.envoy.io": {"per_route_rule_backend_name": f"{backends[name]}/route/x/rule/0/ref/0"}
                    }
                },
            }
            for name, simulator in simulators.items()
        ]
        self.listen, self.admin = free_port(), free_port()
        self.bootstrap = _bootstrap(order, loggers(text), served_by, replies, endpoints, self.listen, self.admin)
        self.program = envoy_program(directory)
        self.start()

    def start(self) -> None:
        self.envoy = Envoy(self.program, self.directory, self.bootstrap, self.listen)
        deadline = time.monotonic() + 60
        while self.envoy.ask("/")[0] == 0:
            assert self.envoy.process.poll() is None, self.envoy.log[-2000:]
            assert time.monotonic() < deadline

    def stop(self) -> None:
        self.envoy.stop()

    def chat(self, user: str, model: str, stream: bool = False, leave: bool = False) -> int:
        """The status of a chat; ``leave`` closes the connection after the first bytes of the answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.listen, timeout=30)
        body = {"model": model, "messages": [{"role": "user", "content": "Hello there you"}], "stream": stream}
        headers = {"content-type": "application/json", "x-test-user": user}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read(1 if leave else None)
        answer.close()
        connection.close()
        return answer.status


def _address(port: int) -> dict[str, t.Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _bootstrap(
    order: list[str],
    access_log: list[dict[str, t.Any]],
    served_by: t.Any,
    replies: t.Any,
    endpoints: list[dict[str, t.Any]],
    listen: int,
    admin: int,
) -> dict[str, t.Any]:
    types = "type.googleapis.com/envoy.extensions.filters."
    filters = [
        {"name": f"program-{index}", "typed_config": {"@type": LUA, "default_source_code": {"inline_string": program}}}
        for index, program in enumerate(order)
    ]
    router = {"name": "router", "typed_config": {"@type": types + "http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "providers"}}
    manager = {
        "@type": types + "network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "clients",
        "access_log": access_log,
        "local_reply_config": replies,
        "route_config": {
            "response_headers_to_add": served_by,
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
        },
        "http_filters": [*filters, router],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    assignment = {"cluster_name": "providers", "endpoints": [{"lb_endpoints": endpoints}]}
    return {
        "admin": {"address": _address(admin)},
        "static_resources": {
            "listeners": [{"name": "clients", "address": _address(listen), "filter_chains": [chain]}],
            "clusters": [{"name": "providers", "load_assignment": assignment}],
        },
    }


@pytest.fixture(scope="module")
def simulators(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[dict[str, Simulator]]:
    found = {name: Simulator(tmp_path_factory.mktemp(name), "--admin-port=0") for name in ("openai", "second")}
    yield found
    for simulator in found.values():
        simulator.stop()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, simulators: dict[str, Simulator]) -> t.Iterator[Gateway]:
    if not prometheus_programs.plan().built:
        pytest.skip("Prometheus is not built on this machine; the end-to-end tests build it")
    found = Gateway(tmp_path_factory.mktemp("gateway"), simulators)
    yield found
    found.stop()


CATALOG = build(
    {name.removeprefix("ai_gateway_"): value for name, value in VARIABLES.items() if name.startswith("ai_")}
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gateway: Gateway) -> t.Iterator[prometheus_programs.Prometheus]:
    directory = tmp_path_factory.mktemp("prometheus")
    rules = rule_groups(CATALOG.as_dict(), {}, "https://example.com/operations.md")
    (directory / "rules.yml").write_text(yaml.safe_dump(rules), encoding="utf-8")
    configuration = {
        "rule_files": ["rules.yml"],
        "scrape_configs": [
            {
                "job_name": "ai-gateway-proxies",
                "metrics_path": "/stats/prometheus",
                "static_configs": [{"targets": [f"127.0.0.1:{gateway.admin}"]}],
            }
        ],
    }
    found = prometheus_programs.Prometheus(directory, configuration)
    yield found
    found.stop()


def traffic(gateway: Gateway) -> None:
    """Whole answers, streams, and requests for models that do not exist."""
    kinds = [
        (user, model, stream)
        for user in USERS
        for model in ("gpt-4", "Qwen/Qwen3-0.6B", "unknown")
        for stream in (False, True)
        for _time in range(TIMES)
    ]
    names = [
        (user, f"unknown-{index}" if model == "unknown" else model, s) for index, (user, model, s) in enumerate(kinds)
    ]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(lambda kind: gateway.chat(*kind), names))
    assert {status: statuses.count(status) for status in statuses} == {200: 8 * TIMES, 404: 4 * TIMES}


def simulated(simulators: dict[str, Simulator]) -> dict[tuple[str, str], int]:
    found = {}
    for name, simulator in simulators.items():
        counts = simulator.admin("GET", "/counters")[1]["counts"]
        for kind in ("input", "output"):
            found[name, kind] = sum(count[f"{kind}_tokens"] for count in counts)
    return found


def counted(server: prometheus_programs.Prometheus) -> dict[tuple[str, str], int]:
    found = server.query(f"sum by (provider, type) ({TOKENS})")
    return {(labels["provider"], labels["type"]): int(value) for labels, value in found}


def settle(server: prometheus_programs.Prometheus) -> None:
    """Wait until Prometheus has read the proxy a second or more after the last answer."""
    ended = time.time() + 1
    server.wait_for(
        "min(timestamp(envoy_ai_gateway_requests_total))", lambda found: bool(found) and found[0][1] > ended
    )


def test_totals_are_those_of_the_simulators_to_the_token(
    gateway: Gateway, server: prometheus_programs.Prometheus, simulators: dict[str, Simulator]
) -> None:
    traffic(gateway)
    settle(server)
    first, expected = counted(server), simulated(simulators)
    assert first == expected
    # Both have answered.
    assert all(expected.values())
    # A new process begins anew, which Prometheus takes for what it is.
    gateway.stop()
    gateway.start()
    # Read while it has counted less than the one before, as nothing else shows that it began anew.
    for user in USERS:
        assert gateway.chat(user, "gpt-4") == 200
    settle(server)
    traffic(gateway)
    settle(server)
    second = counted(server)
    assert {key: first[key] + second[key] for key in first} == simulated(simulators)
    started_anew = server.query(f"max(resets({TOKENS}[5m]))")
    assert started_anew[0][1] == 1
    by_user = {labels["user"]: value for labels, value in server.query(f"sum by (user) ({TOKENS})")}
    assert by_user == {user: sum(second.values()) / len(USERS) for user in USERS}


def test_no_name_of_a_client_becomes_a_label(gateway: Gateway, server: prometheus_programs.Prometheus) -> None:
    traffic(gateway)
    settle(server)
    assert set(server.get("label/model/values")) <= {"gpt-4", "Qwen/Qwen3-0.6B"}
    assert set(server.get("label/provider/values")) <= {"openai", "second"}
    assert set(server.get("label/user/values")) <= {*USERS, "nobody"}
    assert set(server.get("label/reason/values")) <= {"model_not_found", "method_not_allowed", "unknown_url"}


def test_a_stream_that_its_client_leaves_is_counted(gateway: Gateway, server: prometheus_programs.Prometheus) -> None:
    assert gateway.chat("eve", "gpt-4", stream=True, leave=True) == 200
    found = server.wait_for(f'sum by (type) ({TOKENS}{{user="eve"}})', bool)
    assert sum(value for _labels, value in found) > 0


def test_the_queries_of_the_dashboard_are_answered(gateway: Gateway, server: prometheus_programs.Prometheus) -> None:
    traffic(gateway)
    server.wait_for("ai_gateway:tokens:rate5m", bool)
    server.wait_for("ai_gateway:request_duration_seconds:p99_5m", bool)
    empty = set()
    for panel in dashboards(CATALOG.as_dict())["ai-gateway-usage"]["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "5m")
            for variable in ("cluster", "tier", "user", "model", "provider"):
                expression = expression.replace(f"${variable}", ".*")
            if not server.query(expression):
                empty.add(panel["title"])
    # No simulator has a cache.
    assert empty <= {"Input that providers had in their cache"}


def test_cost_is_tokens_at_their_price(gateway: Gateway, server: prometheus_programs.Prometheus) -> None:
    traffic(gateway)
    settle(server)
    server.wait_for("ai_gateway:price_per_token", bool)
    cost = server.value("sum(envoy_ai_gateway_cost_millionths_total) / 1e6")
    by_price = server.value(
        f"sum(sum by (gateway, model, type) ({TOKENS})"
        " * on (gateway, model, type) max by (gateway, model, type) (ai_gateway:price_per_token))"
    )
    requests = server.value('sum(envoy_ai_gateway_requests_total{code="200"})')
    # This Envoy sends each model to both simulators, so prices are those of the model.
    # A request's cost is rounded up to a millionth.
    assert 0 < by_price <= cost <= by_price + requests / 1e6


def test_rules_are_healthy(server: prometheus_programs.Prometheus) -> None:
    rules = [rule for group in server.get("rules")["groups"] for rule in group["rules"]]
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    firing = {labels["alertname"] for labels, _value in server.query('ALERTS{alertstate="firing"}')}
    assert firing == set()
