# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import ANTHROPIC, CERTIFICATE, changed, paths


def test_plain_http_has_port_80() -> None:
    endpoint = build(changed("providers.1.endpoint.tls", {"mode": "none"})).as_dict()["providers"][1]["endpoint"]
    assert endpoint == {
        "hostname": "api.anthropic.com",
        "port": 80,
        "tls": {"mode": "none"},
        "address": False,
        "prefix": "/v1",
    }


def test_mutual_tls() -> None:
    tls = {"mode": "mutual", "sni": "other.example.com", "ca_bundle": "ca", "client_certificate": "client"}
    assert build(changed("providers.1.endpoint.tls", tls)).as_dict()["providers"][1]["endpoint"]["tls"] == {
        **tls,
        "ca_certificates": "",
    }


def test_certificates_may_be_written_where_the_name_of_a_secret_may() -> None:
    tls = build(changed("providers.1.endpoint.tls", {"ca_bundle": CERTIFICATE * 2})).providers[1].endpoint.tls
    assert (tls.ca_bundle, tls.ca_certificates) == (f"{ANTHROPIC}-ca-bundle", CERTIFICATE * 2)


def test_what_stands_between_certificates_is_left_out() -> None:
    text = f"# Issuer: CN=Example\n{CERTIFICATE}subject=/CN=Another - one\n\n  {CERTIFICATE}# the end"
    assert (
        build(changed("providers.1.endpoint.tls", {"ca_bundle": text})).providers[1].endpoint.tls.ca_certificates
        == CERTIFICATE * 2
    )


def test_an_address_needs_a_name_to_verify() -> None:
    found = paths(changed("providers.1.endpoint", {"hostname": "1.2.3.4"}))
    assert found == ["ai_gateway_providers[1].endpoint.tls"]
    found = paths(changed("providers.1.endpoint", {"hostname": "1.2.3.4", "tls": {"mode": "simple"}}))
    assert found == ["ai_gateway_providers[1].endpoint.tls.sni"]
    for tls in ({"sni": "api.example.com"}, {"mode": "none"}):
        endpoint = build(changed("providers.1.endpoint", {"hostname": "1.2.3.4", "tls": tls})).providers[1].endpoint
        assert (endpoint.hostname, endpoint.address, endpoint.tls.sni) == ("1.2.3.4", True, tls.get("sni", ""))
