# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of callers whose tokens the proxies verify, on the embedded cluster:

ServiceAccounts by signature, and users of an issuer whose keys are rotated, whose clock is off and that is away; and of
callers with API keys, which Authorino knows by their hash.

Each runs alone too: make integration ARGS="-k callers".
"""

from __future__ import annotations

import os
import pathlib
import typing as t

import api_keys
import callers
import gateway_requests
import pytest
import yaml
from runs import playbook
from sites import WITHOUT_RECOVERY, Sites, gateway_url, validation

SITE = "callers that the proxies verify"
#: How many keys of others there are beside the one that is measured; 10,000 take five minutes.
OTHER_KEYS = int(os.environ.get("API_KEYS", "300"))


@pytest.fixture(scope="module")
def issuer() -> t.Iterator[callers.Issuer]:
    yield callers.Issuer()
    callers.remove()


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("callers") / api_keys.SITE


@pytest.fixture
def callers_site(sites: Sites, issuer: callers.Issuer, variables: pathlib.Path) -> callers.Issuer:
    """The site, with its issuer."""

    def provision() -> None:
        issuer.deploy()
        variables.write_text(yaml.safe_dump(issuer.variables()), encoding="utf-8")
        playbook("egress.ai_gateway.site", "--extra-vars", f"@{variables}", *WITHOUT_RECOVERY)

    if sites.present != SITE:
        # The issuer needs a cluster.
        sites.ensure_any()
    sites.ensure(SITE, provision)
    return issuer


def test_callers_site_is_valid_and_stays_as_it_is(callers_site: callers.Issuer, variables: pathlib.Path) -> None:
    assert callers_site
    assert "failed" not in validation().values()
    assert playbook("egress.ai_gateway.site", "--extra-vars", f"@{variables}", "--skip-tags=validation") == 0


def test_callers_are_who_their_token_says(callers_site: callers.Issuer) -> None:
    name, token = callers.account("premium")
    replies = {
        (name, "premium"): callers.ask(gateway_url(), token, x_maas_user="root", x_maas_tier="enterprise"),
        ("oidc:company:alice", "enterprise"): callers.ask(gateway_url(), callers_site.token("alice")),
        ("oidc:company:bob", "premium"): callers.ask(gateway_url(), "", x_api_key=callers_site.token("bob")),
    }
    assert {str(reply) for reply in replies.values() if reply.status != 200} == set()
    entries = gateway_requests.log([reply.ask.agent for reply in replies.values()])
    for (user, tier), reply in replies.items():
        entry = entries[reply.ask.agent]
        assert (entry["user"], entry["tier"]) == (user, tier)


def test_callers_without_a_tier_or_for_another_audience_are_refused(callers_site: callers.Issuer) -> None:
    for token, status in (
        (callers_site.token("eve"), 403),
        (callers_site.token("alice", "urn:others"), 401),
        (callers.account("free", callers.MAXIMUM + 600)[1], 401),
        ("none", 401),
        ("", 401),
    ):
        reply = callers.ask(gateway_url(), token)
        assert (reply.status, reply.problems) == (status, []), str(reply)


def test_callers_whose_account_was_deleted_call_until_their_token_expires(callers_site: callers.Issuer) -> None:
    assert callers_site
    name, token = callers.account("free", 600)
    callers.delete_account("free", name)
    assert callers.ask(gateway_url(), token).status == 200


@pytest.mark.parametrize("offset", [-60, 60])
def test_callers_of_an_issuer_whose_clock_is_off(callers_site: callers.Issuer, offset: int) -> None:
    callers_site.offset = offset
    try:
        callers_site.deploy()
        assert callers.ask(gateway_url(), callers_site.token("alice")).status == 200
    finally:
        callers_site.offset = 0
        callers_site.deploy()


def test_callers_of_an_issuer_that_rotates_its_keys(callers_site: callers.Issuer) -> None:
    (first,), second = callers_site.keys, callers.new_key()
    old = callers_site.token("alice")
    # Published, not used yet.
    callers_site.keys = [first, second]
    callers_site.deploy()
    callers.wait_for_keys()
    assert callers.ask(gateway_url(), old).status == 200
    callers_site.keys = [second, first]
    callers_site.deploy()
    new = callers_site.token("alice")
    assert [callers.ask(gateway_url(), token).status for token in (old, new)] == [200, 200]
    callers_site.keys = [second]
    callers_site.deploy()
    callers.wait_for_keys()
    assert [callers.ask(gateway_url(), token).status for token in (old, new)] == [401, 200]


def test_callers_of_an_issuer_that_is_away(callers_site: callers.Issuer) -> None:
    token = callers_site.token("alice")
    assert callers.ask(gateway_url(), token).status == 200
    callers_site.deploy(replicas=0)
    try:
        callers.wait_for_keys()
        assert callers.ask(gateway_url(), token).status == 200
        assert callers.ask(gateway_url(), callers.account("free")[1]).status == 200
    finally:
        callers_site.deploy()


def test_callers_with_api_keys(callers_site: callers.Issuer, variables: pathlib.Path) -> None:
    assert callers_site
    assert api_keys.lifecycle(gateway_url(), variables.parent) == []
    assert api_keys.refusals(gateway_url(), variables.parent) == []


def test_callers_whose_api_key_is_revoked(callers_site: callers.Issuer, variables: pathlib.Path) -> None:
    assert callers_site
    seconds = api_keys.revoked_under_load(gateway_url(), variables.parent)
    print(f"an API key let requests in for {seconds:.2f} s after it was revoked")
    assert seconds < 5


def test_callers_do_not_feel_how_many_api_keys_there_are(callers_site: callers.Issuer, variables: pathlib.Path) -> None:
    assert callers_site
    found = api_keys.beside_many(gateway_url(), variables.parent, OTHER_KEYS, 500)
    print(found)
    assert found.many.median < 1.5 * found.few.median + 2
