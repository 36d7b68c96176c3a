# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import named_after
from catalog_inventory import CERTIFICATE, INVENTORY, KEY, changed


def test_a_simulator_stands_in_for_the_endpoint() -> None:
    inventory = changed("providers.0.endpoint", {"hostname": "api.openai.com", "port": 443})
    assert build(inventory).providers[0].endpoint.hostname == "openai-simulator.external-models.svc.cluster.local"


def test_the_endpoint_of_a_simulator() -> None:
    tls = {"mode": "simple", "ca_bundle": CERTIFICATE}
    endpoint = build(changed("providers.0.endpoint", {"port": 8443, "tls": tls})).providers[0].endpoint
    assert (endpoint.hostname, endpoint.port) == ("openai-simulator.external-models.svc.cluster.local", 8443)
    bundle = f"{named_after('openai', endpoint.hostname, 8443)}-ca-bundle"
    assert (endpoint.tls.mode, endpoint.tls.sni, endpoint.tls.ca_bundle) == ("simple", endpoint.hostname, bundle)


@pytest.mark.parametrize(
    ("field", "value", "another"),
    [("hostname", "api.example.com", True), ("port", 8443, True), ("prefix", "/api", False)],
)
def test_what_has_a_key_never_gets_another_place(field: str, value: t.Any, another: bool) -> None:
    """The key of the old place went to the new one, or the other way round, while all learnt of both."""
    managed = {"value": KEY}
    before, after = (
        build(
            {
                **inventory,
                "providers": [inventory["providers"][0], {**inventory["providers"][1], "credential": managed}],
            }
        )
        for inventory in (INVENTORY, changed("providers.1.endpoint", {"hostname": "api.anthropic.com", field: value}))
    )
    assert (before.providers[0], before.models[0]) == (after.providers[0], after.models[0])
    old, new = (
        (found.providers[1].backend, found.providers[1].credential.secret, found.models[1].routes[0].name)
        for found in (before, after)
    )
    assert [one != other for one, other in zip(old, new)] == [another] * 3
    # The path of the provider stays.
    assert before.models[1].routes[0].providers == after.models[1].routes[0].providers == ("*", "anthropic")


def test_the_former_name_of_a_provider_model() -> None:
    written = {"name": "claude", "upstream_name": "claude-3"}
    provider = {"name": "p", "schema": "openai", "simulated": True, "credential": {"value": "k"}, "models": [written]}
    local = {"name": "local", "upstream_name": "served", "simulated": True}
    built = build({"providers": [provider], "models": [local]})
    assert [model.backends[0].provider_model for model in built.models] == ["claude-3", "served"]
    with pytest.raises(CatalogError, match=r"models\[0\]\.upstream_name: is the former name"):
        build({"providers": [{**provider, "models": [{**written, "provider_model": "claude-3"}]}]})
