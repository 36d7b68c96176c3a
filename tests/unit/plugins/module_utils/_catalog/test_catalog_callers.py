# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import INVENTORY, faults

COMPANY = {"kind": "oidc", "name": "company", "issuer": "https://login.example.com/a", "audiences": ["models"]}
SIGNATURE = {"kind": "service_account", "check": "signature"}
KEYS = "https://kubernetes.default.svc.cluster.local/openid/v1/jwks"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nTUlJ\n-----END CERTIFICATE-----\n"


def of(*callers: t.Any, **variables: t.Any) -> dict[str, t.Any]:
    return {**INVENTORY, "callers": list(callers), **variables}


def kuadrant(*callers: t.Any) -> dict[str, t.Any]:
    return {
        "platform": "openshift",
        "stack": "wg_ai_gateway",
        "policy_engine": "kuadrant",
        "tiers": INVENTORY["tiers"][:1],
        "callers": list(callers),
        "allow_empty": True,
    }


@pytest.mark.parametrize(
    "callers", [[], [{"kind": "service_account"}], [{"kind": "service_account", "check": "review"}]]
)
def test_by_default_authorino_reviews_service_accounts(callers: list[t.Any]) -> None:
    found = build(of(*callers)).callers
    assert found == build(INVENTORY).callers
    assert (found.service_accounts.check, found.checks) == ("review", ())


def test_the_proxies_check_what_others_have_signed() -> None:
    partner = {
        **COMPANY,
        "name": "partner",
        "issuer": "http://partner.example.com",
        "jwks_uri": "https://keys.example.com:8443/jwks?a=b",
        "ca_bundle": CERTIFICATE,
        "claims": {"user": "email", "groups": "realm_access.roles"},
    }
    catalog = build(of(COMPANY, {**SIGNATURE, "maximum_lifetime": "1800"}, partner))
    accounts = catalog.callers.service_accounts
    assert (accounts.maximum_lifetime, accounts.of_cluster) == (1800, True)
    assert [(check.name, check.issuer, check.hostname, check.port) for check in catalog.callers.checks] == [
        ("signature", "https://kubernetes.default.svc.cluster.local", "kubernetes.default.svc.cluster.local", 443),
        ("oidc:company", "https://login.example.com/a", "login.example.com", 443),
        ("oidc:partner", "http://partner.example.com", "keys.example.com", 8443),
    ]
    assert catalog.callers.checks[0].signing_keys.uri == KEYS
    assert catalog.callers.checks[2].signing_keys.ca_certificates == CERTIFICATE
    assert [(caller.user_claim, caller.groups_claim) for caller in catalog.callers.oidc] == [
        ("sub", "groups"),
        ("email", "realm_access.roles"),
    ]
    # The proxies may call them, and the API server by a policy of its own.
    assert {"port-443", "port-8443"} <= {destination.name for destination in catalog.egress}


def test_keys_of_the_cluster_may_be_elsewhere() -> None:
    elsewhere = {
        **SIGNATURE,
        "issuer": "https://oidc.example.com/id/1",
        "jwks_uri": "https://oidc.example.com:444/keys",
    }
    catalog = build(of(elsewhere))
    assert not catalog.callers.service_accounts.of_cluster
    assert "port-444" in {destination.name for destination in catalog.egress}


def test_an_issuer_in_the_cluster_has_to_be_allowed() -> None:
    inside = {**COMPANY, "issuer": "https://keycloak.login.svc.cluster.local/realms/a"}
    (fault,) = faults(of(inside))
    assert (fault.path, "name inside the cluster" in fault.problem) == ("ai_gateway_callers[0].issuer", True)
    catalog = build(of(inside, allowed_endpoints=["keycloak.login.svc.cluster.local"]))
    assert "namespace.login" in {destination.name for destination in catalog.egress}


@pytest.mark.parametrize(
    ("callers", "path"),
    [
        ([{}], "[0].kind"),
        ([{"kind": "ldap"}], "[0].kind"),
        ([{**COMPANY, "audience": "x"}], "[0].audience"),
        ([{**COMPANY, "check": "signature"}], "[0].check"),
        ([{**SIGNATURE, "name": "x"}], "[0].name"),
        ([{**COMPANY, "name": "Company"}], "[0].name"),
        ([{**COMPANY, "audiences": []}], "[0].audiences"),
        ([{**COMPANY, "audiences": ["a b"]}], "[0].audiences[0]"),
        ([{key: value for key, value in COMPANY.items() if key != "audiences"}], "[0].audiences"),
        ([{key: value for key, value in COMPANY.items() if key != "issuer"}], "[0].issuer"),
        ([{**COMPANY, "issuer": "login.example.com"}], "[0].issuer"),
        ([{**COMPANY, "issuer": "http://login.example.com"}], "[0].issuer"),
        ([{**COMPANY, "issuer": "https://192.0.2.1"}], "[0].issuer"),
        ([{**COMPANY, "issuer": "https://user@login.example.com"}], "[0].issuer"),
        ([{**COMPANY, "jwks_uri": "http://login.example.com/keys"}], "[0].jwks_uri"),
        ([{**COMPANY, "jwks_uri": "https://metadata.google.internal/keys"}], "[0].jwks_uri"),
        ([{**COMPANY, "ca_bundle": "a-secret"}], "[0].ca_bundle"),
        ([{**COMPANY, "claims": {"name": "sub"}}], "[0].claims.name"),
        ([{**COMPANY, "claims": {"user": ["sub"]}}], "[0].claims.user"),
        ([{**COMPANY, "claims": "sub"}], "[0].claims"),
        ([COMPANY, {**COMPANY, "name": "other"}], "[1].issuer"),
        ([COMPANY, {**COMPANY, "issuer": "https://other.example.com"}], "[1].name"),
        ([SIGNATURE, {**COMPANY, "issuer": "https://kubernetes.default.svc.cluster.local"}], "[1].issuer"),
        ([SIGNATURE, SIGNATURE], "[1]"),
        ([{**SIGNATURE, "check": "trust"}], "[0].check"),
        ([{**SIGNATURE, "maximum_lifetime": 599}], "[0].maximum_lifetime"),
        ([{"kind": "service_account", "maximum_lifetime": 3600}], "[0].maximum_lifetime"),
        (["oidc"], "[0]"),
    ],
)
def test_faults_name_their_place(callers: list[t.Any], path: str) -> None:
    found = faults(of(*callers))
    assert f"ai_gateway_callers{path}" in [fault.path for fault in found]
    assert all(fault.remedy for fault in found)


def test_a_tier_has_a_group_that_an_issuer_can_give() -> None:
    tiers = [{**tier, "groups": [f"system:{tier['name']}"]} for tier in INVENTORY["tiers"]]
    (fault,) = faults(of(COMPANY, tiers=tiers))
    assert (fault.path, "system:authenticated" in fault.remedy) == ("ai_gateway_tiers", True)
    build(of(SIGNATURE, tiers=tiers))


def test_what_kuadrant_can_check() -> None:
    catalog = build(kuadrant(COMPANY, {"kind": "service_account"}))
    assert ([caller.name for caller in catalog.callers.oidc], catalog.callers.checks) == (["company"], ())
    for callers, path in (
        (SIGNATURE, "check"),
        ({**COMPANY, "jwks_uri": "https://login.example.com/keys"}, "jwks_uri"),
        ({**COMPANY, "ca_bundle": CERTIFICATE}, "ca_bundle"),
        ({**COMPANY, "claims": {"groups": "realm_access.roles"}}, "claims.groups"),
    ):
        (fault,) = faults(kuadrant(callers))
        assert (fault.path, "kuadrant" in fault.problem) == (f"ai_gateway_callers[0].{path}", True)
    build(kuadrant({**COMPANY, "claims": {"groups": "https://example.com/groups"}}))


def test_two_gateways_without_kuadrant_check_neither() -> None:
    inventory = {**kuadrant(COMPANY, SIGNATURE), "policy_engine": "authorino"}
    assert [fault.path for fault in faults(inventory)] == [
        "ai_gateway_callers[0].kind",
        "ai_gateway_callers[1].check",
    ]
