# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Users of an issuer where Kuadrant's Authorino checks their tokens: its expressions, in CEL."""

from __future__ import annotations

import time
import typing as t

import cel
import pytest
from rendering import manifests

COMPANY = "https://login.example.com/realms/company"
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_platform": "openshift",
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_allow_empty": True,
    "ai_gateway_tiers": [
        {
            "name": name,
            "level": level,
            "groups": groups,
            "token_limit": {"tokens": 1, "window": "1m"},
        }
        for name, level, groups in (("high", 2, ["few"]), ("free", 0, ["all", "system:masters"]), ("mid", 1, ["some"]))
    ],
    "ai_gateway_callers": [
        {
            "kind": "oidc",
            "name": "company",
            "issuer": COMPANY,
            "audiences": ["models", "chat"],
            "claims": {"user": "email", "groups": "https://example.com/groups"},
        }
    ],
}
ACCOUNT = {"user": {"username": "system:serviceaccount:maas-default-gateway-tier-mid:alice"}}


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> dict[str, t.Any]:
    directory = tmp_path_factory.mktemp("kuadrant")
    objects = manifests(directory, "access_policies", "kuadrant.yaml.j2", VARIABLES)
    return dict(objects["AuthPolicy", "gateway-auth-policy"]["spec"]["rules"])


def evaluated(expression: str, identity: dict[str, t.Any]) -> t.Any:
    context = cel.Context()
    context.add_function("split", lambda text, separator: text.split(separator))
    context.add_function("substring", lambda text, start: text[int(start) :])
    context.add_variable("auth", {"identity": identity})
    return cel.evaluate(expression, context)


def user(groups: t.Any = ("all",), **claims: t.Any) -> dict[str, t.Any]:
    found = {"iss": COMPANY, "aud": "chat", "email": "alice", "exp": int(time.time()) + 60, **claims}
    return found if groups is None else {**found, "https://example.com/groups": groups}


def admitted(rules: dict[str, t.Any], identity: dict[str, t.Any]) -> bool:
    (pattern,) = rules["authorization"]["tier"]["patternMatching"]["patterns"]
    (audience,) = rules["authorization"]["audience"]["patternMatching"]["patterns"]
    predicates = [item["predicate"] for item in pattern["any"]]
    return any(evaluated(item, identity) for item in predicates) and evaluated(audience["predicate"], identity)


def caller(rules: dict[str, t.Any], identity: dict[str, t.Any]) -> tuple[str, str]:
    properties = rules["response"]["success"]["filters"]["identity"]["json"]["properties"]
    return tuple(evaluated(properties[name]["expression"], identity) for name in ("userid", "tier"))  # type: ignore[return-value]


def test_tokens_of_the_issuer_are_accepted_in_both_headers(rules: dict[str, t.Any]) -> None:
    found = {name: method for name, method in rules["authentication"].items() if "jwt" in method}
    assert list(found) == ["oidc-company-by-authorization", "oidc-company-by-x-api-key"]
    assert {method["jwt"]["issuerUrl"] for method in found.values()} == {COMPANY}
    assert COMPANY in rules["response"]["unauthenticated"]["message"]["value"]


@pytest.mark.parametrize(
    ("groups", "tier"), [(["all"], "free"), ("all", "free"), (["all", "few", "some"], "high"), (["some", "x"], "mid")]
)
def test_the_highest_tier_of_the_groups_counts(rules: dict[str, t.Any], groups: t.Any, tier: str) -> None:
    assert admitted(rules, user(groups))
    assert caller(rules, user(groups)) == ("oidc:company:alice", tier)


@pytest.mark.parametrize("groups", [None, [], ["others"], ["system:masters"], "few all"])
def test_without_a_group_of_a_tier_nobody_comes_in(rules: dict[str, t.Any], groups: t.Any) -> None:
    assert not admitted(rules, user(groups))


@pytest.mark.parametrize(("audience", "accepted"), [("models", True), (["x", "chat"], True), ("x", False), ([], False)])
def test_audiences_are_compared(rules: dict[str, t.Any], audience: t.Any, accepted: bool) -> None:
    assert admitted(rules, user(aud=audience)) is accepted


def test_a_service_account_stays_itself(rules: dict[str, t.Any]) -> None:
    assert admitted(rules, ACCOUNT)
    assert caller(rules, ACCOUNT) == ("alice", "mid")
    assert not admitted(rules, {"user": {"username": "system:serviceaccount:default:alice"}})
    # What an issuer writes beside its own claims makes no account.
    assert not admitted(rules, user([], **ACCOUNT))
    assert caller(rules, user(**ACCOUNT)) == ("oidc:company:alice", "free")
