# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of two gateways in a row on the embedded cluster, with the fakes of tests/fakes where no registry
has a component.

The tests are steps, for one policy engine after the other, on the cluster that the tests of one gateway leave. Each
runs alone too: make integration ARGS="-k NAME".
"""

from __future__ import annotations

import json
import pathlib
import shutil

import path_spellings
import pytest
import rule_bodies
import semantic_router
import two_gateways
from sites import NO_SITE, REPORT, SAME_CLUSTER, WITHOUT_RECOVERY, Sites, validation
from two_gateways import ENGINES, Platform, arguments, site

pytestmark = pytest.mark.skipif(
    not two_gateways.CRDS.is_dir(), reason="THIRD_PARTY_CRDS names no directory of CustomResourceDefinitions"
)

#: Checks that validation must have run, besides others: those that the proof of concept does by hand.
CHECKS = {
    *(
        "gateway",
        "tokens",
        "models",
        "foreign-proxies",
        "maas-api-token",
        "maas-api-models",
        "maas-api-chat",
        "maas-api-no-token",
    ),
    *(
        "no-token:chat",
        "no-token:openai",
        "no-token:anthropic",
        "no-token:vllm",
        "bad-token",
        "tampered-token",
        "expired-token",
        "other-audience",
    ),
    *(
        "outsider",
        "unknown-model",
        "unknown-path",
        "api-key-header",
        "wrong-key",
        "rate-limit",
        "rate-limit-elsewhere",
    ),
    *(
        f"{check}:{model}"
        for check in ("chat", "stream")
        for model in ("gpt-4", "claude-3-sonnet", "Qwen/Qwen3-0.6B", "facebook/opt-125m")
    ),
    *(f"{check}:{model}" for check in ("key", "forged") for model in ("gpt-4", "claude-3-sonnet", "Qwen/Qwen3-0.6B")),
    *("path:openai:gpt-4", "path:anthropic:claude-3-sonnet", "path:vllm:Qwen/Qwen3-0.6B"),
}
#: Those of a semantic router, which engine kuadrant leads to by a route.
ROUTER_CHECKS = {f"router:{check}" for check in ("no-token", "bad-token", "chat", "stream", "forged", "keywords:math")}


@pytest.fixture(scope="class", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="class")
def platform(directory: pathlib.Path, engine: str) -> Platform:
    """A user's cluster, with Models-as-a-Service."""
    assert directory
    two_gateways.platform(engine)
    return two_gateways.Platform.present()


@pytest.fixture
def both_gateways(sites: Sites, directory: pathlib.Path, platform: Platform, engine: str) -> None:
    """The site of both gateways."""
    assert platform
    sites.ensure(engine, lambda: site(directory, engine, "site", *WITHOUT_RECOVERY))


class TestTwoGateways:
    def test_a_run_is_cut_off(self, directory: pathlib.Path, platform: Platform, engine: str) -> None:
        """Cut off after maas-api was changed and before its pods were replaced."""
        two_gateways.cut_off([*arguments(directory, engine), "egress.ai_gateway.site"])
        assert two_gateways.maas_api() != platform.maas_api
        if engine == "authorino":
            # Here the next run completes it; with the other engine it is taken back.
            return
        assert site(directory, engine, "teardown") > 0
        assert two_gateways.maas_api() == platform.maas_api
        assert platform.differences() == ([], [])

    def test_site_provisions_both_gateways(
        self, sites: Sites, directory: pathlib.Path, platform: Platform, engine: str
    ) -> None:
        assert platform
        shutil.rmtree(REPORT.parent, ignore_errors=True)
        # With this engine the limit is the one whose end was seen with one gateway.
        more = ("--extra-vars", "validation_mode=full", *(WITHOUT_RECOVERY if engine == "authorino" else ()))
        with sites.becomes(engine):
            # What was cut off above had written everything but the report, where it was not taken back.
            assert site(directory, engine, "site", *more) > 0 or engine == "authorino"
        checks = CHECKS if engine == "authorino" else CHECKS | ROUTER_CHECKS | {"rate-limit-recovery"}
        assert {check for check, status in validation().items() if status == "passed"} >= checks
        assert {check: status for check, status in validation().items() if status == "failed"} == {}

    @pytest.mark.usefixtures("both_gateways")
    def test_a_used_up_limit_is_not_passed_by_the_look_of_a_path(self, directory: pathlib.Path, engine: str) -> None:
        token = directory / f"{engine}.token"
        site(directory, engine, "token", "--extra-vars", f"tokens_file={token} tokens_tier=free tokens_user=dressed")
        url = json.loads(REPORT.read_text(encoding="utf-8"))["gateway_url"]
        caller = path_spellings.Caller(url, token.read_text(encoding="utf-8").strip())
        assert path_spellings.passed(caller) == []
        caller.spend()
        assert caller.ask(f"{path_spellings.LIST}?limit=5", "GET") == 200

    @pytest.mark.usefixtures("both_gateways")
    def test_without_its_policy_the_router_is_closed(self, sites: Sites, directory: pathlib.Path, engine: str) -> None:
        """Somebody deletes the AuthPolicy, under which the route was; a client says itself who calls."""
        if engine != "kuadrant":
            pytest.skip("with engine authorino no policy of the route says who calls")
        token = directory / "router.token"
        site(directory, engine, "token", "--extra-vars", f"tokens_file={token} tokens_tier=premium tokens_user=forger")
        url = json.loads(REPORT.read_text(encoding="utf-8"))["gateway_url"]
        with sites.becomes(engine):
            found = semantic_router.without_policy(url, token.read_text(encoding="utf-8").strip())
            assert site(directory, engine, "site", "--tags=semantic_router,maas_bridge,access_policies,providers") > 0
        # Before the deletion arrives, the policy is in force.
        assert {status for status, _code in found[:-1]} <= {200}, found
        assert found[-1] == (503, "gateway_fault")
        assert semantic_router.chat(url, token.read_text(encoding="utf-8").strip()).status == 200

    @pytest.mark.usefixtures("both_gateways")
    def test_again_it_changes_nothing(self, directory: pathlib.Path, engine: str) -> None:
        more = ("--skip-tags=validation_probes,validation_rate_limit", SAME_CLUSTER)
        assert site(directory, engine, "site", *more) == 0

    @pytest.mark.usefixtures("both_gateways")
    def test_teardown_leaves_the_platform_as_it_was(
        self, sites: Sites, directory: pathlib.Path, platform: Platform, engine: str
    ) -> None:
        with sites.becomes(f"no site, with the platform of {engine}"):
            assert site(directory, engine, "teardown") > 0
        assert two_gateways.maas_api() == platform.maas_api
        left, taken = platform.differences()
        assert left == [], "left behind"
        assert taken == [], "taken away"


@pytest.mark.usefixtures("authorino")
def test_both_bodies_of_rules_say_the_same(tmp_path: pathlib.Path) -> None:
    """The engines' rules, rendered from one source, all tried with the one Authorino on the cluster."""
    assert rule_bodies.compare(tmp_path) > 0


@pytest.fixture
def authorino(sites: Sites, directory: pathlib.Path) -> None:
    """A cluster with an Authorino, which the platform of engine kuadrant has."""
    if sites.present == NO_SITE:
        assert directory
        two_gateways.platform("kuadrant")
