# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import datetime
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.filter.certificate_renewal import certificate_renewal
from ansible_collections.egress.ai_gateway.plugins.filter.own_ca_servers import own_ca_servers
from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway.certificates import (
    authority_renewal,
    renewal,
)

BEGAN = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
AUTHORITY = {"subject_key_identifier": "aa:bb", "not_after": "20360101000000Z"}
#: Valid for 300 days.
CERTIFICATE = {
    "not_before": "20260101000000Z",
    "not_after": "20261028000000Z",
    "subject_alt_name": ["DNS:ai.example.com", "IP:FD00::2"],
    "authority_key_identifier": "aa:bb",
}
HOSTS = ["fd00::2", "ai.example.com"]


def after(days: float) -> datetime.datetime:
    return BEGAN + datetime.timedelta(days=days)


def test_a_certificate_is_kept_while_a_third_of_its_time_is_left() -> None:
    assert renewal(CERTIFICATE, HOSTS, AUTHORITY, after(0)) == ""
    assert renewal(CERTIFICATE, HOSTS, AUTHORITY, after(199.9)) == ""
    assert "2026-10-28" in renewal(CERTIFICATE, HOSTS, AUTHORITY, after(200.1))
    assert "2026-10-28" in renewal(CERTIFICATE, HOSTS, AUTHORITY, after(400))


@pytest.mark.parametrize(
    ("certificate", "hosts", "authority", "said"),
    [
        ({}, ["ai.example.com"], {}, "it is for DNS:ai.example.com, IP:fd00::2, not for DNS:ai.example.com"),
        ({}, [*HOSTS, "*.ai.example.com"], {}, "not for DNS:*.ai.example.com"),
        ({"subject_alt_name": None}, HOSTS, {}, "it is for no host"),
        ({}, HOSTS, {"subject_key_identifier": "cc"}, "another certification authority"),
        ({"authority_key_identifier": None}, HOSTS, {}, "another certification authority"),
    ],
)
def test_a_certificate_is_renewed_for_other_hosts_and_another_authority(
    certificate: dict[str, t.Any], hosts: list[str], authority: dict[str, t.Any], said: str
) -> None:
    assert said in renewal({**CERTIFICATE, **certificate}, hosts, {**AUTHORITY, **authority}, after(1))


def test_an_authority_outlives_what_it_signs() -> None:
    ends = datetime.datetime(2036, 1, 1, tzinfo=datetime.UTC)
    assert authority_renewal(AUTHORITY, ends - datetime.timedelta(days=366)) == ""
    assert "2036-01-01" in authority_renewal(AUTHORITY, ends - datetime.timedelta(days=364))


def test_the_filter_distinguishes_authorities_from_servers() -> None:
    ended = {**CERTIFICATE, "not_after": "20200101000000Z", "not_before": "20190101000000Z"}
    assert certificate_renewal({"not_after": "29990101000000Z"}) == ""
    assert "before a certificate" in certificate_renewal(ended)
    assert "a third" in certificate_renewal(ended, HOSTS, AUTHORITY)


def test_servers_keep_what_the_cluster_has() -> None:
    def made(name: str, kind: str, *hostnames: str) -> dict[str, t.Any]:
        return {"secret": name, "kind": kind, "hostnames": list(hostnames)}

    kept = {"metadata": {"name": "a"}, "data": {key: base64.b64encode(key.encode()) for key in ("tls.crt", "tls.key")}}
    secrets = [made("a", "own_ca", "ai.example.com"), made("b", "own_ca"), made("c", "pem", "c.example.com")]
    assert own_ca_servers(secrets, [kept, {"metadata": {"name": "b"}}], ["10.245.0.2"]) == [
        {"name": "a", "hosts": ["ai.example.com"], "certificate": "tls.crt", "key": "tls.key"},
        {"name": "b", "hosts": ["10.245.0.2"], "certificate": "", "key": ""},
    ]
