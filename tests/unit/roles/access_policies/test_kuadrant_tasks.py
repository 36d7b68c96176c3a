# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role does where Kuadrant is not as it should be."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from kuadrants import Kuadrant

VARIABLES: dict[str, t.Any] = {
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_policy_engine": "kuadrant",
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "k"},
            "models": [{"name": "gpt-4"}],
        }
    ],
    "ai_gateway_tiers": [
        {"name": "free", "level": 0, "groups": ["all"], "token_limit": {"tokens": 100, "window": "1m"}}
    ],
    "access_policies_wait_timeout": 2,
}
OURS = {"AuthPolicy": "gateway-auth-policy", "TokenRateLimitPolicy": "gateway-token-rate-limits"}


@pytest.fixture
def kuadrant() -> t.Iterator[Kuadrant]:
    server = Kuadrant()
    yield server
    server.close()


def is_ours(kuadrant: Kuadrant, kind: str) -> bool:
    found = kuadrant.of_kind(kind).get(OURS[kind])
    return bool(found) and "applyset.kubernetes.io/part-of" in (found["metadata"].get("labels") or {})


def test_policies_are_applied_and_stay(kuadrant: Kuadrant, tmp_path: Path) -> None:
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES)
    assert status == 0, output
    assert all(is_ours(kuadrant, kind) for kind in OURS)
    assert "external" in kuadrant.of_kind("HTTPRoute")
    assert "There is no Authorino kuadrant-system/authorino" in output
    # A policy of this set on the Gateway is nobody else's.
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES)
    assert status == 0, output
    assert "changed=0" in output
    assert kuadrant.restarts == 0


def authorino(kuadrant: Kuadrant, spec: dict[str, int]) -> None:
    metadata = {"name": "authorino", "namespace": "kuadrant-system"}
    kuadrant.add(
        {
            "apiVersion": "operator.authorino.kuadrant.io/v1beta1",
            "kind": "Authorino",
            "metadata": metadata,
            "spec": spec,
        }
    )


def test_authorinos_cache_is_large_enough_and_what_it_was_afterwards(kuadrant: Kuadrant, tmp_path: Path) -> None:
    authorino(kuadrant, {})
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES)
    assert status == 0, output
    assert kuadrant.of_kind("Authorino")["authorino"]["spec"] == {"evaluatorCacheSize": 64}
    status, output = kuadrant.run(tmp_path, "access_policies", {**VARIABLES, "access_policies_state": "absent"})
    assert status == 0, output
    assert kuadrant.of_kind("Authorino")["authorino"]["spec"] == {}
    assert kuadrant.of_kind("AuthPolicy") == kuadrant.of_kind("ConfigMap") == {}


@pytest.mark.parametrize(("before", "meanwhile"), [(1, 64), (100, 100)])
def test_authorinos_cache_only_grows(kuadrant: Kuadrant, tmp_path: Path, before: int, meanwhile: int) -> None:
    authorino(kuadrant, {"evaluatorCacheSize": before})
    for state, size in (("present", meanwhile), ("absent", before)):
        status, output = kuadrant.run(
            tmp_path, "access_policies", {**VARIABLES, "access_policies_state": state}, tasks_from="cache.yml"
        )
        assert status == 0, output
        assert kuadrant.of_kind("Authorino")["authorino"]["spec"] == {"evaluatorCacheSize": size}


def test_check_mode_writes_nothing(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.ready, kuadrant.restarts_needed = False, 1
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES, "--check", "--diff")
    assert status == 0, output
    assert "changed=0" not in output
    assert kuadrant.writes == []


def test_a_cluster_without_kuadrant(tmp_path: Path) -> None:
    server = Kuadrant(installed=False)
    status, output = server.run(tmp_path, "access_policies", VARIABLES)
    server.close()
    assert status != 0
    assert "this cluster has no kind AuthPolicy, TokenRateLimitPolicy, RateLimitPolicy, Kuadrant of Kuadrant" in output
    assert server.writes == []


def test_kuadrant_that_is_told_nothing(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.objects = {key: body for key, body in kuadrant.objects.items() if body["kind"] != "Kuadrant"}
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES)
    assert status != 0
    assert "no object of kind Kuadrant makes its operator work" in output


def test_policies_of_others_are_named_before_anything_is_written(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.policy()
    kuadrant.policy("limits", "TokenRateLimitPolicy")
    kuadrant.policy("elsewhere", gateway="other-gateway")
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES)
    assert status != 0
    words = " ".join(output.split())
    assert "AuthPolicy.kuadrant.io/gateway-auth-policy, TokenRateLimitPolicy.kuadrant.io/limits." in words
    assert "kubectl delete --namespace openshift-ingress AuthPolicy.kuadrant.io/gateway-auth-policy" in words
    assert "elsewhere" not in output
    assert kuadrant.writes == []


def test_policies_of_others_are_kept(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.policy("limits", "TokenRateLimitPolicy")
    status, output = kuadrant.run(tmp_path, "access_policies", {**VARIABLES, "access_policies_keep_existing": True})
    assert status == 0, output
    assert "The token limits that hold are those of that TokenRateLimitPolicy" in " ".join(output.split())
    assert is_ours(kuadrant, "AuthPolicy")
    assert list(kuadrant.of_kind("TokenRateLimitPolicy")) == ["limits"]


@pytest.mark.parametrize("reason", ["Unknown", "MissingDependency"])
def test_an_operator_that_started_too_early_is_started_anew(kuadrant: Kuadrant, tmp_path: Path, reason: str) -> None:
    kuadrant.restarts_needed, kuadrant.reason = 1, reason
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES)
    assert status == 0, output
    assert "is started anew, once" in " ".join(output.split())
    assert kuadrant.restarts == 1


def test_an_operator_that_says_what_it_misses_is_started_anew_first(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.restarts_needed, kuadrant.ready = 1, False
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES)
    assert status == 0, output
    assert "the provider of the gateway is not installed" in output
    assert (kuadrant.restarts, kuadrant.writes[0]) == (1, "PATCH kuadrant-operator-controller-manager")


@pytest.mark.parametrize("ready", [True, False])
def test_a_second_failure_is_an_error(kuadrant: Kuadrant, tmp_path: Path, ready: bool) -> None:
    kuadrant.restarts_needed, kuadrant.ready = 2, ready
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES)
    assert status != 0
    words = " ".join(output.split())
    assert "condition Enforced is False: Unknown: it waits" in words
    assert "kubectl logs --namespace kuadrant-system deployment/kuadrant-operator-controller-manager" in words
    assert kuadrant.restarts == 1


def test_what_a_new_start_cannot_cure_is_an_error_at_once(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.restarts_needed, kuadrant.reason = 1, "InvalidCelExpression"
    status, output = kuadrant.run(tmp_path, "access_policies", VARIABLES)
    assert status != 0
    assert "condition Enforced is False: InvalidCelExpression" in " ".join(output.split())
    assert kuadrant.restarts == 0


def test_an_operator_of_another_name(kuadrant: Kuadrant, tmp_path: Path) -> None:
    kuadrant.restarts_needed = 1
    operator = {"namespace": "operators", "name": "kuadrant"}
    status, output = kuadrant.run(
        tmp_path, "access_policies", {**VARIABLES, "access_policies_kuadrant_operator": operator}
    )
    assert status != 0
    assert "there is no Deployment operators/kuadrant. Set access_policies_kuadrant_operator" in " ".join(
        output.split()
    )
