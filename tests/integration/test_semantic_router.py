# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of the semantic router, asked by the gateway and behind it, on the embedded cluster.

Each runs alone too: make integration ARGS="-k semantic_router".
"""

from __future__ import annotations

import pathlib

import external_provider
import filter_order
import pytest
import semantic_router
import two_gateways
from runs import playbook
from semantic_router import DUAL, EASY, HARD, NEW, SINGLE
from sites import SAME_CLUSTER, WITHOUT_RECOVERY, Sites, gateway_url, validation

NAMES = {SINGLE: "a site whose gateway asks a semantic router", DUAL: "a site with a semantic router behind it"}
TIERS = ("free", "premium", "enterprise")
Tokens = dict[str, str]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The extra variables that load the images of the fakes."""
    return two_gateways.images(tmp_path_factory.mktemp("images") / "images.json")


@pytest.fixture(scope="module", params=[SINGLE, DUAL])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def extra(mode: str, archive: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return semantic_router.variables(tmp_path_factory.mktemp(mode) / "router.yml", mode, archive)


@pytest.fixture
def router_site(sites: Sites, mode: str, extra: pathlib.Path) -> None:
    sites.ensure(
        NAMES[mode], lambda: playbook("egress.ai_gateway.site", "--extra-vars", f"@{extra}", *WITHOUT_RECOVERY)
    )


@pytest.fixture(scope="module")
def tokens() -> dict[str, Tokens]:
    """What ``callers`` has made, by the mode."""
    return {}


@pytest.fixture
def callers(
    router_site: None, mode: str, tokens: dict[str, Tokens], tmp_path: pathlib.Path, extra: pathlib.Path
) -> Tokens:
    """A token of each tier."""
    assert router_site is None
    if mode not in tokens:
        tokens[mode] = {tier: semantic_router.token_of(tier, tmp_path / tier, extra) for tier in TIERS}
    return tokens[mode]


def test_a_site_with_a_router_is_valid(sites: Sites, mode: str, extra: pathlib.Path) -> None:
    with sites.becomes(NAMES[mode]):
        more = ("--extra-vars", "validation_mode=full", *WITHOUT_RECOVERY)
        assert playbook("egress.ai_gateway.site", "--extra-vars", f"@{extra}", *more) > 0
    checks = validation()
    wanted = {f"router:{check}" for check in ("no-token", "bad-token", "chat", "stream", "forged", "keywords:math")}
    assert {check: checks.get(check) for check in wanted} == dict.fromkeys(wanted, "passed")
    assert "failed" not in checks.values()
    assert semantic_router.policies_in_conflict() == []
    # The site before had one model more.
    models = semantic_router.configured()
    assert {EASY, HARD} <= set(models)
    assert NEW not in models
    again = ("--skip-tags=validation", SAME_CLUSTER, "--extra-vars", f"@{extra}")
    assert playbook("egress.ai_gateway.site", *again) == 0, "a second run changed something"


def test_the_order_of_the_filters(router_site: None, mode: str) -> None:
    assert router_site is None
    chains = filter_order.chains(filter_order.dump(), gateway_url())
    assert chains
    for names in chains.values():
        assert filter_order.faults(names) == []
        assert ("egress.ai_gateway.semantic_router" in names) == (mode == SINGLE)


def test_the_fitting_model_answers(callers: Tokens) -> None:
    assert semantic_router.choices(gateway_url(), callers["enterprise"]) == []


def test_what_was_executed_is_counted(callers: Tokens, mode: str) -> None:
    assert semantic_router.counted(gateway_url(), callers["enterprise"], mode) == []


def test_a_budget_is_spent_at_the_prices_of_the_models_that_answer(
    callers: Tokens, mode: str, extra: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    assert callers
    if mode == DUAL:
        pytest.skip("behind the gateway nobody knows what a request costs, and the catalogue has no budget")
    found = semantic_router.spent(gateway_url(), semantic_router.token_of("budget", tmp_path / "budget", extra))
    refused = ("auto", "another model by auto", "the model by its name", "another model by its name")
    # 500 millionths: seven requests cost 490, and the eighth begins below the limit.
    assert found == {"passed": 8, **dict.fromkeys(refused, 429)}


def test_a_tier_never_gets_a_model_that_it_may_not_use(callers: Tokens, mode: str) -> None:
    url = gateway_url()
    assert semantic_router.refused_or_replaced(url, callers["free"], mode) == []
    # What it may use, it gets.
    assert semantic_router.executed(semantic_router.chat(url, callers["free"])) == (200, EASY)
    # Nor does a tier that may not ask the router.
    refused = semantic_router.chat(url, callers["premium"])
    assert (refused.status, refused.problems) == (403, [])


def test_forged_headers_have_no_effect(callers: Tokens, mode: str) -> None:
    url = gateway_url()
    forged = {name.replace("-", "_"): value for name, value in semantic_router.FORGED.items()}
    assert semantic_router.refused_or_replaced(url, callers["free"], mode, **forged) == []
    reply = semantic_router.chat(url, callers["enterprise"], **forged)
    assert semantic_router.executed(reply) == (200, EASY)
    # A request that names its model is one for that.
    reply = semantic_router.chat(url, callers["enterprise"], model=HARD, x_ai_gateway_ask_router="1")
    assert semantic_router.executed(reply) == (200, HARD)


def test_without_a_router_nothing_is_chosen(callers: Tokens) -> None:
    found = semantic_router.away(gateway_url(), callers["enterprise"])
    assert found["auto"] == [503]
    assert found["problems"] == []
    assert found["explicit"] == [200]
    assert found["recovery"] < 30


def test_a_diagnosis_names_the_router_that_is_away(callers: Tokens, extra: pathlib.Path) -> None:
    assert callers
    assert "AIG0701" not in semantic_router.diagnosed(extra)
    with semantic_router.without_router():
        assert "AIG0701" in semantic_router.diagnosed(extra)


def test_the_latency_of_a_choice(callers: Tokens, mode: str) -> None:
    found = semantic_router.latency(gateway_url(), callers["enterprise"])
    assert mode
    # A choice by keywords is no question of seconds.
    assert found["auto"]["p50"] - found[EASY]["p50"] < 200


def test_a_new_model_of_the_catalogue_is_one_of_the_router(
    sites: Sites, callers: Tokens, mode: str, archive: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """One on the cluster, and in mode single_gateway one of a provider outside.

    The site of the next mode takes them out again.
    """
    more = semantic_router.variables(tmp_path / "more.yml", mode, archive, NEW)
    tags = "simulators,inference_pool,semantic_router,access_policies,providers"
    arguments = ("--extra-vars", f"@{more}", f"--tags={tags}")
    token = callers["enterprise"]
    try:
        if mode == SINGLE:
            semantic_router.with_outside(more)
            # In check mode first, which writes nothing and finds no fault.
            playbook("egress.ai_gateway.site", "--check", "--diff", *arguments)
            assert NEW not in semantic_router.configured()
        with sites.becomes(f"{NAMES[mode]}, and more models"):
            playbook("egress.ai_gateway.site", *arguments)
        assert NEW in semantic_router.configured()
        assert semantic_router.executed(semantic_router.soon(gateway_url(), token, NEW)) == (200, NEW)
        if mode == SINGLE:
            asked = (semantic_router.OUTSIDE, semantic_router.OUTSIDE_PROMPT)
            reply = semantic_router.soon(gateway_url(), token, *asked)
            assert semantic_router.executed(reply) == (200, semantic_router.OUTSIDE)
            assert semantic_router.outside_faults(gateway_url(), token) == []
    finally:
        if mode == SINGLE:
            external_provider.remove()
