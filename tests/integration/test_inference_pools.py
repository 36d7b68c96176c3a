# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of InferencePools with their endpoint pickers, on the embedded cluster.

Each runs alone too: make integration ARGS="-k inference_pools".
"""

from __future__ import annotations

import json
import pathlib

import gateway_requests
import inference_pools
import objects
import pytest
from runs import playbook
from sites import WITHOUT_RECOVERY, Sites, gateway_url, validation

POOLS = "a site with InferencePools"
TIER = "enterprise"
USER = "pool-tester"


@pytest.fixture(scope="module")
def pool_variables(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return inference_pools.variables(tmp_path_factory.mktemp("pools") / "pools.yml")


@pytest.fixture
def pool_site(sites: Sites, pool_variables: pathlib.Path) -> None:
    sites.ensure(
        POOLS, lambda: playbook("egress.ai_gateway.site", "--extra-vars", f"@{pool_variables}", *WITHOUT_RECOVERY)
    )


@pytest.fixture
def pool_token(pool_site: None, tmp_path: pathlib.Path, pool_variables: pathlib.Path) -> str:
    """A token of a user with a name that is found where it is."""
    assert pool_site is None
    path = tmp_path / "token"
    playbook(
        "egress.ai_gateway.token",
        "--extra-vars",
        f"@{pool_variables}",
        "--extra-vars",
        f"tokens_file={path} tokens_tier={TIER} tokens_user={USER}",
    )
    return path.read_text(encoding="utf-8").strip()


def test_a_site_with_pools_is_valid(sites: Sites, pool_variables: pathlib.Path) -> None:
    with sites.becomes(POOLS):
        assert playbook("egress.ai_gateway.site", "--extra-vars", f"@{pool_variables}", *WITHOUT_RECOVERY) > 0
    models = [inference_pools.CLOSED, inference_pools.ALIAS, inference_pools.BATCH, inference_pools.OPEN]
    checks = validation()
    wanted = {f"{check}:{model}" for check in ("chat", "stream", "key", "forged", "pool") for model in models}
    assert {check: checks.get(check) for check in wanted} == dict.fromkeys(wanted, "passed")
    assert "failed" not in checks.values()
    # A pool of two models puts its picker into the proxies once.
    routes = json.loads(objects.kubectl("get", "aigatewayroutes", "--namespace=ai-gateway", "--output=json"))["items"]
    of_pools = [
        route["spec"]["rules"]
        for route in routes
        if route["spec"]["rules"][0]["backendRefs"][0].get("kind") == "InferencePool"
    ]
    assert sorted(len(rules[0]["matches"]) for rules in of_pools) == [1, 3]
    assert {len(rules) for rules in of_pools} == {1}
    assert playbook("egress.ai_gateway.site", "--extra-vars", f"@{pool_variables}", "--skip-tags=validation") == 0, (
        "a second run changed something"
    )


def test_the_picker_prefers_the_idle_replica(pool_token: str) -> None:
    assert set(inference_pools.idle_is_preferred(gateway_url(), pool_token).values()) == {0}


def test_the_picker_keeps_a_prefix_where_it_is_cached(pool_token: str) -> None:
    assert len(inference_pools.prefixes_stay(gateway_url(), pool_token)) == 6


def test_low_priority_is_shed_when_all_replicas_are_full(pool_token: str) -> None:
    assert inference_pools.low_priority_is_shed(gateway_url(), pool_token)["full"] == [429] * 5


def test_without_a_picker_a_pool_is_closed_or_open_as_the_catalogue_says(pool_token: str) -> None:
    found = inference_pools.pickers_away(gateway_url(), pool_token)
    assert set(found[inference_pools.OPEN]) == {200}


def test_a_pod_of_a_pool_learns_nothing_of_the_caller(pool_token: str) -> None:
    assert inference_pools.headers_of_a_pod(gateway_url(), pool_token, USER, TIER)


def test_tokens_of_a_pool_are_counted(pool_token: str) -> None:
    assert inference_pools.counted(gateway_url(), pool_token) == []


def test_the_direct_route_has_the_same_callers_and_counts_the_same(pool_token: str) -> None:
    host = inference_pools.DIRECT
    assert inference_pools.counted(gateway_url(), pool_token, host) == []
    ask = gateway_requests.Ask(
        inference_pools.CHAT, gateway_requests.body_of(inference_pools.CHAT, inference_pools.CLOSED), {"host": host}
    )
    refused = gateway_requests.send(gateway_url(), "", ask)
    assert (refused.status, refused.problems) == (401, [])
    # Models of others are not there.
    other = gateway_requests.Ask(
        inference_pools.CHAT, gateway_requests.body_of(inference_pools.CHAT, "gpt-4"), {"host": host}
    )
    missing = gateway_requests.send(gateway_url(), pool_token, other)
    assert missing.status == 404, missing
