# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of callers whose tokens the proxies verify, on the embedded cluster:

ServiceAccounts by signature, and users of an issuer whose keys are rotated, whose clock is off and that is away; and of
callers with API keys, which Authorino knows by their hash.

Each runs alone too: make integration ARGS="-k callers".
"""

from __future__ import annotations

import json
import os
import pathlib
import typing as t

import api_keys
import callers
import external_provider
import gateway_requests
import key_search
import pytest
import yaml
from runs import playbook
from sites import REPORT, SAME_CLUSTER, WITHOUT_RECOVERY, Sites, gateway_url, validation

SITE = "callers that the proxies verify"
#: How many keys of others there are beside the one that is measured; 10,000 take five minutes.
OTHER_KEYS = int(os.environ.get("API_KEYS", "300"))


@pytest.fixture(scope="module")
def issuer() -> t.Iterator[callers.Issuer]:
    yield callers.Issuer()
    callers.remove()
    external_provider.remove()


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("callers") / api_keys.SITE


@pytest.fixture
def callers_site(sites: Sites, issuer: callers.Issuer, variables: pathlib.Path) -> callers.Issuer:
    """The site, with its issuer."""

    def provision() -> None:
        issuer.deploy()
        variables.write_text(yaml.safe_dump(issuer.variables()), encoding="utf-8")
        playbook("egress.ai_gateway.site", SAME_CLUSTER, "--extra-vars", f"@{variables}", *WITHOUT_RECOVERY)

    if sites.present != SITE:
        # The issuer needs a cluster.
        sites.ensure_any()
    sites.ensure(SITE, provision)
    return issuer


def test_callers_site_is_valid_and_stays_as_it_is(callers_site: callers.Issuer, variables: pathlib.Path) -> None:
    assert callers_site
    assert "failed" not in validation().values()
    again = ("--extra-vars", f"@{variables}", "--skip-tags=validation", SAME_CLUSTER, "--check", "--diff")
    assert playbook("egress.ai_gateway.site", *again) == 0


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


def test_callers_of_a_provider_outside(callers_site: callers.Issuer, variables: pathlib.Path) -> None:
    """Over HTTP/2: each is counted, whole and streamed, and the provider sees its own key alone."""
    key, url = api_keys.issue(variables.parent, "outside"), gateway_url()
    account, token = callers.account("premium")
    alice = callers_site.token("alice")
    api_keys.until(url, key, 200)
    external_provider.reset()
    asked = [
        (user, callers.ask(url, bearer, callers.OUTSIDE, stream, **headers))
        for stream in (False, True)
        for user, bearer, headers in (
            (account, token, {}),
            ("oidc:company:alice", alice, {}),
            ("key:integration", key, {}),
            ("key:integration", "", {"x_api_key": key}),
        )
    ]
    assert [str(reply) for _user, reply in asked if reply.status != 200] == []
    entries = gateway_requests.log([reply.ask.agent for _user, reply in asked])
    for user, reply in asked:
        entry = entries[reply.ask.agent]
        assert (entry["user"], gateway_requests.tokens(entry)) == (user, callers.OUTSIDE_COST), str(reply)
    received = external_provider.requests(callers.UPSTREAM)
    assert len(received) == len(asked)
    for request in received:
        values = [value for name, value in request["headers"] if name.lower() in ("authorization", "x-api-key")]
        assert values == [f"Bearer {callers.OUTSIDE_KEY}"]
        assert not [secret for secret in (key, token, alice) if secret in json.dumps(request)]
    api_keys.keys_of(variables.parent / "none", api_keys_state="absent", api_keys_name="outside")


def test_no_credential_of_callers_is_disclosed(callers_site: callers.Issuer, variables: pathlib.Path) -> None:
    """Nor in a Secret; of an API key, one has the digest, which a search for it has to find."""
    key = api_keys.issue(variables.parent, "searched")
    credentials = [key, callers_site.token("alice"), callers.account("free")[1]]
    api_keys.until(gateway_url(), key, 200)
    assert {callers.ask(gateway_url(), credential).status for credential in credentials} == {200}
    secret = f"{api_keys.NAMESPACE}/{api_keys.GATEWAY}-api-key-searched"
    paths = [variables.parent / "searched.txt", REPORT.parent]
    report = key_search.search([*credentials, api_keys.digest_of("searched")], [secret], paths)
    print(report)
    assert report.faults == []
    api_keys.keys_of(variables.parent / "none", api_keys_state="absent", api_keys_name="searched")


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
