# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of metrics, rules, dashboards and spans, against a real Prometheus, on the embedded cluster.

They run alone too: make integration ARGS="-k observability".
"""

from __future__ import annotations

import json
import pathlib
import time
import typing as t

import abandoned_streams
import gateway_requests
import observability
import pytest
import yaml
from gateway_requests import Ask, body_of
from objects import kubectl
from observability import CANARY, INTERVAL
from provider_kinds import token_of
from runs import INVENTORY, playbook
from sites import SAME_CLUSTER, Sites, gateway_url

SITE = "the default inventory, observed"
PROVIDERS = {"gpt-4": "openai", "claude-3-sonnet": "anthropic"}
#: A model that both of them serve, in turn.
SHARED = "shared-model"
MODELS = (*PROVIDERS, SHARED)
CHAT = "/v1/chat/completions"
PRICES = {
    "gpt-4": {"input": 2.5, "output": 10},
    "claude-3-sonnet": {"input": 3, "output": 15},
    SHARED: {"input": 1, "output": 2},
}
TOKENS = "envoy_ai_gateway_tokens_total"
#: Requests of which each kind is sent so many times.
TIMES = 20


def variables(directory: pathlib.Path, content: bool = False) -> dict[str, t.Any]:
    inventory = yaml.safe_load((INVENTORY / "group_vars/all/ai_gateway.yml").read_text(encoding="utf-8"))
    shared = {"name": SHARED, "weight": 1}
    return {
        "ai_gateway_providers": [
            {**provider, "models": [*provider["models"], shared]} for provider in inventory["ai_gateway_providers"]
        ],
        "ai_gateway_prices": PRICES,
        "ai_gateway_observability": {
            "enabled": True,
            "traces": {"endpoint": f"http://{observability.HOST}:{observability.PORT}", "content": content},
        },
        "observability_rules_file": str(directory / "rules.yml"),
        "observability_scrape_file": str(directory / "scrape.yml"),
        "observability_dashboards_directory": str(directory / "dashboards"),
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    observability.prometheus_programs.build()
    return tmp_path_factory.mktemp("observability")


@pytest.fixture(scope="module")
def collector(sites: Sites) -> t.Iterator[observability.Collector]:
    # The address is there with the cluster.
    sites.ensure_any()
    found = observability.Collector()
    yield found
    found.stop()


def site(directory: pathlib.Path, *arguments: str, content: bool = False) -> int:
    path = directory / "site.yml"
    path.write_text(yaml.safe_dump(variables(directory, content)), encoding="utf-8")
    return playbook(
        "egress.ai_gateway.site", "--extra-vars", f"@{path}", "--skip-tags=validation", SAME_CLUSTER, *arguments
    )


@pytest.fixture
def observed(sites: Sites, directory: pathlib.Path) -> None:
    observe(sites, directory)


def observe(sites: Sites, directory: pathlib.Path) -> None:
    sites.ensure_any()
    sites.ensure(SITE, lambda: site(directory))


@pytest.fixture(scope="module")
def server(sites: Sites, directory: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[t.Any]:
    # The files that it reads are written by the site.
    observe(sites, directory)
    place = tmp_path_factory.mktemp("prometheus")
    found = observability.prometheus(place, directory / "scrape.yml", directory / "rules.yml")
    yield found
    found.stop()


@pytest.mark.usefixtures("observed")
def test_observed_site_stays_as_it_is(directory: pathlib.Path) -> None:
    assert site(directory, "--check", "--diff") == 0


@pytest.mark.usefixtures("observed", "collector")
def test_totals_are_those_of_the_simulators_to_the_token(server: t.Any) -> None:
    """Whole answers, streams, refusals of every kind, and a proxy that is replaced in between."""
    url = gateway_url()
    server.wait_for('up{job=~"ai-gateway-.*"}', lambda found: len(found) == 6 and all(value for _, value in found))
    users = {tier: token_of(tier) for tier in ("premium", "enterprise")}
    before, simulated = counted(server), observability.simulated(PROVIDERS.values())
    requests = observability.counted(server, "envoy_ai_gateway_requests_total", "code")
    statuses = traffic(url, users)
    replace_proxy()
    statuses += traffic(url, users)
    settled(server, requests, statuses)
    after = observability.simulated(PROVIDERS.values())
    expected = {key: after[key] - simulated[key] for key in after}
    found = {key: value - before.get(key, 0) for key, value in counted(server).items()}
    print(f"simulators {expected}, Prometheus {found}")
    assert all(value > 0 for value in expected.values())
    assert found == expected
    # And each user has what its own requests had.
    names = {name for name, _token in users.values()}
    by_user = observability.counted(server, TOKENS, "user")
    assert sum(by_user[(name,)] for name in names) == sum(expected.values())


def counted(server: t.Any) -> dict[tuple[str, ...], int]:
    return observability.counted(server, TOKENS, "provider", "type")


def traffic(url: str, users: dict[str, tuple[str, str]]) -> list[int]:
    """The statuses of some requests; each prompt has the canary."""
    statuses = []
    said = {"messages": [{"role": "user", "content": CANARY}]}
    for _name, token in users.values():
        asks = [
            Ask(CHAT, {**body_of(CHAT, model, stream=stream), **said})
            for model in MODELS
            for stream in (False, True)
            for _time in range(TIMES)
        ]
        # Names that are no model's, and requests that end before their model is known.
        asks += [Ask(CHAT, {**body_of(CHAT, f"no-model-{number}"), **said}) for number in range(TIMES)]
        asks += [Ask("/v1/nowhere", body_of(CHAT, "gpt-4")), Ask(CHAT, b"{")]
        statuses += [reply.status for reply in gateway_requests.send_all(url, token, asks)]
    statuses += [reply.status for reply in gateway_requests.send_all(url, "no-token", [Ask(CHAT, said)] * 3)]
    assert {status: statuses.count(status) for status in set(statuses)} == {
        200: 12 * TIMES,
        404: 2 * TIMES + 2,
        400: 2,
        401: 3,
    }
    return statuses


def replace_proxy() -> None:
    """Another pod takes the place of the proxy, which has been read since it counted the last request."""
    time.sleep(2 * INTERVAL + 1)
    where = f"--namespace={gateway_requests.PROXIES}"
    deployment = kubectl("get", "deployment", where, f"--selector={gateway_requests.SELECTOR}", "--output=name").strip()
    selected = (where, f"--selector={gateway_requests.SELECTOR}")
    old = kubectl("get", "pods", *selected, "--output=name").split()
    kubectl("rollout", "restart", where, deployment)
    kubectl("rollout", "status", where, deployment, "--timeout=100s")
    kubectl("wait", *old, where, "--for=delete", "--timeout=120s")
    assert kubectl("get", "pods", *selected, "--output=name")


def settled(server: t.Any, before: dict[tuple[str, ...], int], statuses: list[int]) -> None:
    """Wait until Prometheus has read all requests."""
    deadline = time.monotonic() + 40
    while True:
        now = observability.counted(server, "envoy_ai_gateway_requests_total", "code")
        found = {key: value - before.get(key, 0) for key, value in now.items() if value != before.get(key, 0)}
        if found == {(str(status),): statuses.count(status) for status in set(statuses)}:
            return
        assert time.monotonic() < deadline, f"{found}, and sent were {statuses}"
        time.sleep(1)


@pytest.mark.usefixtures("observed")
def test_labels_are_of_the_catalogue(server: t.Any) -> None:
    assert set(server.get("label/model/values")) == set(MODELS)
    assert set(server.get("label/provider/values")) == set(PROVIDERS.values())
    assert set(server.get("label/tier/values")) <= {"free", "premium", "enterprise"}
    assert set(server.get("label/refused_by/values")) <= {"gateway", "provider"}
    reasons = {
        found["reason"] for found, _ in server.query("sum by (reason) (envoy_ai_gateway_requests_total)") if found
    }
    assert {"model_not_found", "unknown_url", "invalid_api_key", "invalid_json"} <= reasons


@pytest.mark.usefixtures("observed")
def test_a_stream_that_is_left_costs_what_the_log_says(server: t.Any) -> None:
    ask = Ask(CHAT, body_of(CHAT, "gpt-4", stream=True, max_tokens=4000))
    name, token = token_of("premium")
    events = abandoned_streams.leave(gateway_url(), token, ask, "--http1.1")
    entry = gateway_requests.log([ask.agent])[ask.agent]
    print(f"left after {events} events: {gateway_requests.tokens(entry)} tokens in the log")
    found = server.wait_for(f'sum({TOKENS}{{user="{name}"}})', bool)
    assert found[0][1] == gateway_requests.tokens(entry) > 0


@pytest.mark.usefixtures("observed")
def test_rules_are_evaluated_and_nothing_fires_unasked(server: t.Any) -> None:
    groups = server.get("rules")["groups"]
    wrong = [rule for group in groups for rule in group["rules"] if rule["health"] == "err"]
    assert [(rule["name"], rule.get("lastError")) for rule in wrong] == []
    server.wait_for("ai_gateway:tokens:rate5m", bool)
    firing = {found["alertname"] for found, _ in server.query('ALERTS{alertstate="firing"}')}
    assert firing <= {"AIGatewayCertificateExpires"}
    cost = server.value("sum(last_over_time(envoy_ai_gateway_cost_millionths_total[1h])) / 1e6")
    by_price = server.value(
        "sum(sum by (gateway, model, provider, type) (last_over_time(envoy_ai_gateway_tokens_total[1h]))"
        " * on (gateway, model, provider, type) ai_gateway:price_per_token)"
    )
    # A request's cost is rounded up to a millionth.
    assert 0 < by_price <= cost < by_price + 0.001


@pytest.mark.usefixtures("observed")
def test_each_query_of_the_dashboards_is_answered(server: t.Any, directory: pathlib.Path) -> None:
    queries = {
        (panel["title"], target["expr"])
        for path in sorted((directory / "dashboards").glob("*.json"))
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in panel.get("targets", [])
    }
    assert len(queries) > 40

    def is_empty(expression: str) -> bool:
        for variable in ("cluster", "tier", "user", "model", "provider"):
            expression = expression.replace(f"${variable}", ".*")
        return not server.query(expression.replace("$__rate_interval", "5m").replace("$__range", "1h"))

    def unanswered() -> set[str]:
        # No simulator has a cache.
        return {title for title, expression in queries if is_empty(expression)} - {
            "Input that providers had in their cache"
        }

    # A counter's growth is one from its second sample on, and a rule's result comes after it.
    token, deadline = token_of("premium")[1], time.monotonic() + 30
    while unanswered() and time.monotonic() < deadline:
        assert gateway_requests.send(gateway_url(), token, Ask(CHAT, body_of(CHAT, "gpt-4"))).status == 200
        time.sleep(INTERVAL)
    assert unanswered() == set()


@pytest.mark.usefixtures("observed")
def test_monitors_come_and_go_with_their_crds(directory: pathlib.Path) -> None:
    files = [f"--filename={path}" for path in observability.operator_crds()]
    kubectl("apply", "--server-side", *files)
    try:
        kubectl("wait", "--for=condition=Established", "--timeout=30s", *files)
        assert site(directory, "--tags=observability") > 0
        found = kubectl("get", ",".join(observability.MONITORS), "--namespace=ai-gateway", "--output=name").split()
        assert sorted(name.split(".")[0] for name in found) == ["podmonitor"] * 5 + ["prometheusrule", "servicemonitor"]
        assert site(directory, "--tags=observability") == 0
    finally:
        kubectl("delete", *files)
    site(directory, "--tags=observability")


@pytest.mark.usefixtures("observed")
def test_spans_have_no_prompt_unless_asked(collector: observability.Collector, directory: pathlib.Path) -> None:
    said = {"messages": [{"role": "user", "content": CANARY}]}
    name, token = token_of("premium")

    def ask() -> None:
        for model in PROVIDERS:
            reply = gateway_requests.send(gateway_url(), token, Ask(CHAT, {**body_of(CHAT, model), **said}))
            assert reply.status == 200

    def found() -> list[tuple[str, observability.Attributes]]:
        return [(title, kept) for title, kept in collector.spans() if kept.get("user.id") == name]

    ask()
    wait_until(
        lambda: len({title for title, _ in found()} & {f"chat {model}" for model in PROVIDERS}) == len(PROVIDERS)
    )
    kept = next(kept for title, kept in found() if title == "chat gpt-4")
    tokens = {kind: int(kept[f"gen_ai.usage.{kind}_tokens"]) for kind in ("input", "output")}
    assert tokens["input"] > 0
    assert tokens["output"] > 0
    expected = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4",
        "ai_gateway.tier": "premium",
    }
    assert {key: kept[key] for key in expected} == expected
    assert CANARY.encode() not in collector.everything()
    assert token.encode() not in collector.everything()

    assert site(directory, "--tags=gateway,observability", content=True) > 0

    def is_told() -> bool:
        ask()
        return CANARY.encode() in collector.everything()

    # By the pods that take the place of the others.
    wait_until(is_told, 120)
    assert token.encode() not in collector.everything()

    telling = pods()
    assert site(directory, "--tags=gateway,observability") > 0
    wait_until(lambda: not pods() & telling, 120)
    collector.forget()
    ask()
    wait_until(lambda: len(found()) >= len(PROVIDERS))
    assert CANARY.encode() not in collector.everything()


def pods() -> set[str]:
    """The pods of the proxies, also those on their way out."""
    where = (f"--namespace={gateway_requests.PROXIES}", f"--selector={gateway_requests.SELECTOR}")
    return set(kubectl("get", "pods", *where, "--output=name").split())


def wait_until(holds: t.Callable[[], bool], seconds: int = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.5)
