# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of one site with InferencePools and their endpoint pickers, a wildcard and a bare host on one port,
and MCP servers, on the embedded cluster.

Each runs alone too: make integration ARGS="-k NAME".
"""

from __future__ import annotations

import json
import pathlib
import urllib.parse

import diagnoses
import filter_order
import gateway_requests
import gateway_tls
import inference_pools
import mcp_servers
import objects
import provider_kinds
import pytest
import several_listeners
import yaml
from gateway_requests import Ask, body_of, send
from runs import INVENTORY, follow, playbook, start
from sites import NO_SITE, SAME_CLUSTER, WITHOUT_RECOVERY, Sites, gateway_url, validation

SITE = "pools, listeners and MCP servers"
TIER = "enterprise"
POOLED = [inference_pools.CLOSED, inference_pools.ALIAS, inference_pools.BATCH, inference_pools.OPEN]
#: A namespace whose routes the Gateway lets in, as it would for a pool.
GUARDED = "guarded-pools"
#: The two names of one model, as clients give them.
NAMES = (inference_pools.CLOSED, inference_pools.ALIAS)


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Where the extra variables of the site are."""
    return tmp_path_factory.mktemp("combined") / "combined.yml"


def provision(variables: pathlib.Path) -> int:
    """Deploy the MCP servers outside and provision the site; return how many tasks changed something."""
    listeners = {"gateway_listeners": several_listeners.LISTENERS, "ai_gateway_tiers": provider_kinds.tiers()}
    # The pools of this site are beside the Gateway, where nothing has to be guarded.
    guarded = {"gateway_route_namespaces": [GUARDED], "gateway_guarded_namespaces": [GUARDED]}
    given = {**inference_pools.pools(), **listeners, **guarded}
    variables.write_text(yaml.safe_dump(mcp_servers.with_servers(given, mcp_servers.deploy())), encoding="utf-8")
    # The cluster gets the image of the endpoint picker.
    return playbook("egress.ai_gateway.site", "--extra-vars", f"@{variables}", *WITHOUT_RECOVERY)


@pytest.fixture
def combined_site(sites: Sites, variables: pathlib.Path) -> None:
    if sites.present != SITE:
        # The MCP servers outside need a cluster.
        sites.ensure_any()
    sites.ensure(SITE, lambda: provision(variables))


@pytest.fixture
def caller(combined_site: None) -> tuple[str, str]:
    """The name of a user, which is found where it is, and a token."""
    assert combined_site is None
    return provider_kinds.token_of(TIER, "pool-tester")


@pytest.fixture
def rich(caller: tuple[str, str]) -> str:
    """A token of a user whose limits nobody reaches."""
    return caller[1]


def test_a_site_with_pools_listeners_and_mcp_servers_is_valid(sites: Sites, variables: pathlib.Path) -> None:
    sites.ensure_any()
    with sites.becomes(SITE):
        assert provision(variables) > 0
    checks = validation()
    wanted = {f"{check}:{model}" for check in ("chat", "stream", "key", "forged", "pool") for model in POOLED}
    wanted |= {"listener:https-wildcard", "listener:https-bare", "http-redirect"}
    assert {check: checks.get(check) for check in wanted} == dict.fromkeys(wanted, "passed")
    assert "failed" not in checks.values()
    assert urllib.parse.urlsplit(gateway_url()).hostname == several_listeners.DOMAIN
    # A pool of several models puts its picker into the proxies once.
    routes = json.loads(objects.kubectl("get", "aigatewayroutes", "--namespace=ai-gateway", "--output=json"))["items"]
    of_pools = [
        route["spec"]["rules"]
        for route in routes
        if route["spec"]["rules"][0]["backendRefs"][0].get("kind") == "InferencePool"
    ]
    assert sorted(len(rules[0]["matches"]) for rules in of_pools) == [1, 3]
    assert {len(rules) for rules in of_pools} == {1}
    again = ("--skip-tags=validation", SAME_CLUSTER, "--extra-vars", f"@{variables}")
    assert playbook("egress.ai_gateway.site", *again) == 0, "a second run changed something"


@pytest.mark.usefixtures("combined_site")
def test_the_diagnosis_finds_nothing(variables: pathlib.Path) -> None:
    playbook("egress.ai_gateway.diagnose", "--extra-vars", f"@{variables}")
    assert diagnoses.nothing_is_found() == "nothing"


def test_a_wildcard_and_a_bare_host(rich: str) -> None:
    """With certificates of the gateway's own authority, and plain HTTP redirected."""
    place = several_listeners.Place(gateway_tls.NODE, 30080, 30081)
    assert list(several_listeners.faults(place, rich, "gpt-4")) == []
    for found in filter_order.chains(filter_order.dump(), gateway_url()).values():
        assert filter_order.faults(found) == []


def test_a_pool_answers_on_both_hosts_under_both_names(rich: str) -> None:
    """With verified certificates, streams, and tokens counted."""
    for host in several_listeners.HOSTS:
        url = gateway_url().replace(f"//{several_listeners.DOMAIN}", f"//{host}")
        # An external processor between would lose some streams of a hundred.
        assert inference_pools.counted(url, rich, times=25) == [], host


def test_the_picker_prefers_the_idle_replica(rich: str) -> None:
    assert set(inference_pools.idle_is_preferred(gateway_url(), rich).values()) == {0}


def test_the_picker_keeps_a_prefix_where_it_is_cached(rich: str) -> None:
    assert len(inference_pools.prefixes_stay(gateway_url(), rich)) == 6


def test_low_priority_is_shed_when_all_replicas_are_full(rich: str) -> None:
    assert inference_pools.low_priority_is_shed(gateway_url(), rich)["full"] == [429] * 5


def test_without_a_picker_a_pool_is_closed_or_open_as_the_catalogue_says(rich: str) -> None:
    found, said = inference_pools.pickers_away(gateway_url(), rich)
    assert set(found[inference_pools.OPEN]) == {200}
    print(diagnoses.shown(said))
    assert [finding.code for finding in said] == ["AIG0601", "AIG0601"]
    assert diagnoses.nothing_is_found() == "nothing"


def test_no_answer_ends_a_picker(rich: str) -> None:
    assert inference_pools.pickers_outlive(gateway_url(), rich) == {
        "embeddings": 404,
        "embeddings of the pool": 404,
        "message": 200,
        "embeddings of the direct route": 200,
    }


@pytest.mark.usefixtures("combined_site")
def test_routes_of_others_are_refused_where_pools_are() -> None:
    assert inference_pools.routes_of_others(GUARDED) == {"developer": False, "administrator": True}


def test_a_pod_of_a_pool_learns_nothing_of_the_caller(caller: tuple[str, str]) -> None:
    user, token = caller
    assert inference_pools.headers_of_a_pod(gateway_url(), token, user, TIER)


def test_the_direct_route_has_the_same_callers_and_counts_the_same(rich: str) -> None:
    url = gateway_url().replace(f"//{several_listeners.DOMAIN}", f"//{inference_pools.DIRECT}")
    assert inference_pools.counted(url, rich) == []
    chat = inference_pools.CHAT
    refused = send(url, "", Ask(chat, body_of(chat, inference_pools.CLOSED)))
    assert (refused.status, refused.problems) == (401, [])
    # Models of others are not there.
    missing = send(url, rich, Ask(chat, body_of(chat, "gpt-4")))
    assert missing.status == 404, missing


@pytest.mark.usefixtures("combined_site")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_mcp_sdk_sees_and_calls_the_tools_of_its_tier(mode: str) -> None:
    for tier, seen in mcp_servers.SEEN.items():
        _user, token = provider_kinds.token_of(tier)
        found = mcp_servers.session(
            gateway_url(),
            token,
            ("weather__echo", {"text": "Hello"}),
            ("tools__search", {"query": "it"}),
            ("tools__delete_all", {}),
            ("secure__search", {"query": "it"}),
            mode=mode,
        )
        print(f"{tier}: {found}")
        assert set(found["tools"]) == seen
        assert [outcome.get("said") for outcome in found["calls"][:2]] == ["Hello", "found it"]
        if tier == "enterprise":
            assert [outcome.get("said") for outcome in found["calls"][2:]] == ["deleted", "found it"]
        else:
            codes = [outcome["error"]["data"]["code"] for outcome in found["calls"][2:]]
            assert codes == ["tool_not_allowed", "tool_not_allowed"]
    refused = mcp_servers.session(gateway_url(), "not-a-token", mode=mode)
    assert refused["error"]["data"]["code"] == "invalid_api_key"


@pytest.mark.usefixtures("combined_site")
def test_what_mcp_servers_learn_of_the_caller() -> None:
    user, token = provider_kinds.token_of("enterprise")
    for name, (_port, key) in mcp_servers.SERVERS.items():
        (outcome,) = mcp_servers.session(gateway_url(), token, (f"{name}__seen", {}))["calls"]
        assert mcp_servers.header_faults(outcome, token, user, key) == []


@pytest.mark.usefixtures("combined_site")
def test_what_the_gateway_refuses_of_messages_to_mcp_servers() -> None:
    tokens = {tier: provider_kinds.token_of(tier)[1] for tier in ("free", "premium", "enterprise")}
    before = gateway_requests.restarts()
    assert mcp_servers.refusals(gateway_url(), tokens, provider_kinds.token_of("free")[1]) == []
    assert gateway_requests.restarts() == before


@pytest.mark.usefixtures("combined_site")
def test_a_hostile_mcp_server_stops_neither_proxy_nor_processor() -> None:
    """It leads the processor to the proxy's own admin interface, and answers what the processor cannot take."""
    before = gateway_requests.restarts()
    assert mcp_servers.hostile_faults(gateway_url(), provider_kinds.token_of("enterprise")[1]) == []
    assert gateway_requests.restarts() == before


@pytest.mark.usefixtures("combined_site")
def test_the_answers_of_mcp_servers_pass_a_program() -> None:
    assert filter_order.mcp_faults(filter_order.dump()) == []


@pytest.mark.usefixtures("combined_site")
def test_the_key_of_an_mcp_server_reaches_no_other_endpoint(variables: pathlib.Path) -> None:
    """Site refuses a server with a key at another endpoint, before it changes the one that there is."""
    moved = yaml.safe_load(variables.read_text(encoding="utf-8"))
    servers = [dict(server) for server in moved["ai_gateway_mcp_servers"]]
    servers[1]["endpoint"] = {**servers[1]["endpoint"], "port": 8001}
    moved["ai_gateway_mcp_servers"] = servers
    path = variables.with_name("moved.yml")
    path.write_text(yaml.safe_dump(moved), encoding="utf-8")
    extra = ["--extra-vars", f"@{path}", "--tags", "providers"]
    with start("ansible-playbook", "--inventory", INVENTORY, *extra, "egress.ai_gateway.site") as site:
        output = follow(site)
    assert site.returncode != 0
    assert "ai_gateway_mcp_servers[1].endpoint: server tools was at" in " ".join(output.split())
    token = provider_kinds.token_of("enterprise")[1]
    (outcome,) = mcp_servers.session(gateway_url(), token, ("tools__search", {"query": "it"}))["calls"]
    assert outcome["said"] == "found it"


@pytest.mark.usefixtures("combined_site")
def test_teardown_leaves_nothing_of_it(sites: Sites) -> None:
    mcp_servers.remove()
    with sites.becomes(NO_SITE):
        assert playbook("egress.ai_gateway.teardown") > 0
    assert "ai-gateway" not in objects.kubectl("get", "namespaces", "--output=name")
    crds = objects.kubectl("get", "customresourcedefinitions", "--output=name")
    assert "inference" not in crds
    assert "gateway" not in crds
