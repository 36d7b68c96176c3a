# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.filter.gateway_listeners import gateway_listeners

PEM = {"certificate": "a certificate", "private_key": "a private key"}
OF_ROLE: dict[str, t.Any] = {
    "name": "ai-gateway",
    "listeners": [],
    "hostname": "",
    "tls_secret": "",
    "tls_certificate": "",
    "tls_private_key": "",
    "tls_issuer": {},
    "tls_own_ca": False,
    "tls_own_ca_hosts": [],
    "http_redirect": False,
    "service_type": "NodePort",
    "addresses": [],
    "node_port": 30080,
    "http_node_port": 30081,
}
#: As in an installation that others know.
BOTH = [
    {"name": "https-wildcard", "hostname": "*.ai.example.com"},
    {"name": "https-bare", "hostname": "ai.example.com"},
]


def found(
    variables: dict[str, t.Any],
    certificates: list[dict[str, t.Any]] | None = None,
    keys: list[dict[str, t.Any]] | None = None,
) -> dict[str, t.Any]:
    return gateway_listeners({**OF_ROLE, **variables}, certificates, keys)


def faults(*arguments: t.Any) -> list[str]:
    return t.cast("list[str]", found(*arguments)["faults"])


@pytest.mark.parametrize(
    ("variables", "name", "secret", "kind"),
    [
        ({}, "http", "", None),
        ({"tls_secret": "of-others"}, "https", "of-others", None),
        ({"tls_certificate": "c", "tls_private_key": "k"}, "https", "ai-gateway-tls", "pem"),
        ({"tls_issuer": {"name": "letsencrypt"}, "hostname": "ai.example.com"}, "https", "ai-gateway-tls", "issuer"),
        ({"tls_own_ca": True}, "https", "ai-gateway-tls", "own_ca"),
    ],
)
def test_one_listener_of_the_variables_without_a_list(
    variables: dict[str, t.Any], name: str, secret: str, kind: str | None
) -> None:
    plan = found(variables)
    assert plan["faults"] == []
    port = 443 if secret else 80
    assert plan["listeners"] == [
        {
            "name": name,
            "hostname": variables.get("hostname", ""),
            "protocol": "HTTPS" if secret else "HTTP",
            "port": port,
            "secret": secret,
        }
    ]
    assert [made["kind"] for made in plan["secrets"]] == ([kind] if kind else [])
    assert (plan["ports"], plan["https"], plan["redirects"]) == ([port], bool(secret), False)
    assert plan["named_secrets"] == (
        [{"name": "of-others", "users": ["gateway_tls_secret"]}] if secret == "of-others" else []
    )


def test_a_wildcard_and_a_bare_host_share_a_certificate() -> None:
    for source in ({"tls_secret": "of-others"}, {"tls_issuer": {"name": "letsencrypt"}}):
        plan = found({"listeners": BOTH, **source})
        assert plan["faults"] == []
        assert plan["ports"] == [443]
        assert len({listener["secret"] for listener in plan["listeners"]}) == 1
        assert [made["hostnames"] for made in plan["secrets"]] == (
            [["*.ai.example.com", "ai.example.com"]] if "tls_issuer" in source else []
        )
        assert plan["issued"] is ("tls_issuer" in source)
        assert plan["url_hostname"] == "ai.example.com"


def test_the_own_authority_gives_each_listener_its_own() -> None:
    plan = found({"listeners": BOTH, "tls_own_ca": True})
    assert [(made["secret"], made["hostnames"]) for made in plan["secrets"]] == [
        ("ai-gateway.https-wildcard.tls", ["*.ai.example.com"]),
        ("ai-gateway.https-bare.tls", ["ai.example.com"]),
    ]
    assert [listener["secret"] for listener in plan["listeners"]] == [made["secret"] for made in plan["secrets"]]
    assert plan["own_ca"] is True


def test_listeners_with_certificates_of_their_own() -> None:
    listeners = [
        {"name": "a", "hostname": "a.example.com", "tls": {"secret": "of-others", "certificate": "", "issuer": {}}},
        {"name": "b", "hostname": "b.example.com", "tls": PEM},
        {"name": "c", "hostname": "c.example.com", "tls": {"issuer": {"name": "ca", "kind": "Issuer"}}},
        {"name": "d", "hostname": "d.example.com"},
        {"name": "e", "hostname": "e.example.com", "tls": {"secret": "of-others"}},
    ]
    plan = found({"listeners": listeners, "tls_certificate": "shared", "tls_private_key": "key"})
    assert plan["faults"] == []
    assert [listener["secret"] for listener in plan["listeners"]] == [
        "of-others",
        "ai-gateway.b.tls",
        "ai-gateway.c.tls",
        "ai-gateway-tls",
        "of-others",
    ]
    assert plan["named_secrets"] == [
        {"name": "of-others", "users": ["gateway_listeners[0].tls.secret", "gateway_listeners[4].tls.secret"]}
    ]
    assert [made["place"] for made in plan["certificates"]] == ["gateway_listeners[1].tls.", "gateway_tls_"]
    (issued,) = (made for made in plan["secrets"] if made["kind"] == "issuer")
    assert issued["issuer"] == {"group": "cert-manager.io", "kind": "Issuer", "name": "ca"}


@pytest.mark.parametrize(
    ("variables", "hostname"),
    [
        ({}, ""),
        ({"hostname": "ai.example.com"}, "ai.example.com"),
        ({"hostname": "*.ai.example.com"}, "ai-gateway.ai.example.com"),
        ({"listeners": [*BOTH, {"name": "any"}]}, ""),
    ],
)
def test_the_host_name_of_the_url(variables: dict[str, t.Any], hostname: str) -> None:
    assert found(variables)["url_hostname"] == hostname


def test_plain_http_is_redirected_beside_https_alone() -> None:
    plan = found({"tls_own_ca": True, "http_redirect": True})
    assert (plan["faults"], plan["ports"], plan["redirects"]) == ([], [443, 80], True)
    (fault,) = faults({"http_redirect": True})
    assert "gateway_http_redirect is true and no listener serves HTTPS" in fault
    (fault,) = faults({"tls_own_ca": True, "http_redirect": True, "http_node_port": "30080"})
    assert "gateway_node_port and gateway_http_node_port are both 30080" in fault


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"listeners": BOTH, "tls_secret": "s", "hostname": "x.example.com"}, "gateway_hostname is given beside"),
        (
            {"listeners": [*BOTH, {"name": "third", "hostname": "ai.example.com"}], "tls_secret": "s"},
            "gateway_listeners[2].hostname is ai.example.com, as is that of gateway_listeners[1]",
        ),
        (
            {"listeners": [{"name": "a"}, {"name": "b"}], "tls_secret": "s"},
            "gateway_listeners[1].hostname is every host name, as is that of gateway_listeners[0]",
        ),
        (
            {"listeners": [{"name": "a", "hostname": "AI.example.com"}]},
            "gateway_listeners[0].hostname is 'AI.example.com' and is no host name in lower case",
        ),
        ({"hostname": "10.1.2.3"}, "gateway_hostname is '10.1.2.3' and is an IP address"),
        (
            {"listeners": [BOTH[0], {**BOTH[1], "name": "https-wildcard"}], "tls_secret": "s"},
            "gateway_listeners[1].name is https-wildcard, as is gateway_listeners[0].name",
        ),
        ({"listeners": [{"name": "https.bare"}]}, "gateway_listeners[0].name is 'https.bare'; write a DNS label"),
        ({"listeners": [{"name": "http-redirect"}]}, "and not http-redirect"),
        ({"listeners": [{"name": "a" * 64}]}, "at most 63 characters"),
        (
            {"tls_secret": "s", "tls_issuer": {"name": "x"}, "hostname": "a.example.com"},
            "gateway_tls_secret and gateway_tls_issuer are given, and a certificate has one source",
        ),
        ({"tls_secret": "s", "tls_own_ca": True}, "gateway_tls_secret and gateway_tls_own_ca are given"),
        (
            {"listeners": [{**BOTH[1], "tls": {**PEM, "secret": "s"}}]},
            "gateway_listeners[0].tls.secret and gateway_listeners[0].tls.certificate are given",
        ),
        ({"tls_certificate": "c"}, "gateway_tls_private_key is missing beside gateway_tls_certificate"),
        (
            {"listeners": [{**BOTH[1], "tls": {"private_key": "k"}}]},
            "gateway_listeners[0].tls.certificate is missing beside gateway_listeners[0].tls.private_key",
        ),
        ({"tls_issuer": {"kind": "Issuer"}, "hostname": "a.example.com"}, "gateway_tls_issuer.name is missing"),
        ({"tls_issuer": {"name": "ca"}}, "gateway_hostname is empty, and gateway_tls_issuer issues"),
        (
            {"listeners": [BOTH[0], {"name": "any"}], "tls_issuer": {"name": "ca"}},
            "gateway_listeners[1].hostname is empty, and gateway_tls_issuer issues",
        ),
        (
            {"listeners": [BOTH[0], {**BOTH[1], "tls": PEM}]},
            "gateway_listeners[0].tls is missing while other listeners serve HTTPS",
        ),
        (
            {"tls_own_ca": True, "service_type": "LoadBalancer"},
            "gateway_hostname is empty, and the address of a Service of type LoadBalancer is not known",
        ),
        (
            {"tls_own_ca": True, "tls_own_ca_hosts": ["::1", "a_b"]},
            "gateway_tls_own_ca_hosts has 'a_b', which is no host",
        ),
        (
            {"tls_own_ca": True, "addresses": ["203.0.113.7", "203.0.113.300"]},
            "gateway_addresses has '203.0.113.300', which is no host name",
        ),
        ({"tls_own_ca": True, "tls_own_ca_hosts": ["fe80::1%eth0"]}, "'fe80::1%eth0', which has a zone"),
        ({"tls_secret": "Foo_Bar/x"}, "gateway_tls_secret is 'Foo_Bar/x'; write the name of a Secret"),
        (
            {"listeners": [{**BOTH[1], "tls": {"secret": "Foo"}}]},
            "gateway_listeners[0].tls.secret is 'Foo'; write the name of a Secret",
        ),
        (
            {"tls_issuer": {"name": "Le_x"}, "hostname": "a.example.com"},
            "gateway_tls_issuer.name is 'Le_x'; write lower-case letters",
        ),
        (
            {"tls_issuer": {"name": "x", "kind": "issuer"}, "hostname": "a.example.com"},
            "gateway_tls_issuer.kind is 'issuer'; write ClusterIssuer or Issuer",
        ),
        (
            {"tls_issuer": {"name": "x", "foo": 1}, "hostname": "a.example.com"},
            "gateway_tls_issuer.foo is not a known key; it takes group, kind and name",
        ),
        (
            {"tls_issuer": {"name": "x", "kind": "X", "group": "no group"}, "hostname": "a.example.com"},
            "gateway_tls_issuer.group is 'no group'; write",
        ),
        (
            {"listeners": [{"name": f"l{n}", "hostname": f"l{n}.example.com"} for n in range(65)]},
            "gateway_listeners has 65 listeners, and a Gateway at most 64",
        ),
    ],
)
def test_what_is_wrong_names_the_variable(variables: dict[str, t.Any], said: str) -> None:
    assert any(said in fault for fault in faults(variables)), faults(variables)


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"listeners": BOTH, "tls_secret": "s"}, ""),
        ({}, ""),
        ({"hostname": "*.example.com", "tls_secret": "s"}, ""),
        ({"listeners": [BOTH[1]], "tls_secret": "s"}, "accepted by no listener: they are for ai.example.com; write"),
        ({"hostname": "*.other.example.com"}, "or add a listener with a wildcard for it to gateway_listeners"),
        (
            {"listeners": [*BOTH, {"name": "third", "hostname": "direct.ai.example.com"}], "tls_secret": "s"},
            "which is the host of listener third (gateway_listeners[2].hostname), where all models are served",
        ),
        ({"hostname": "direct.ai.example.com"}, "which is the host of listener http (gateway_hostname)"),
        ({"hostname": "*.ai.example.com", "name": "direct"}, "which is the host of the Gateway's URL"),
    ],
)
def test_a_direct_route_has_a_host_of_its_own_that_a_listener_accepts(variables: dict[str, t.Any], said: str) -> None:
    found = faults({"direct_hostnames": ["", "direct.ai.example.com"], **variables})
    if not said:
        assert found == []
        return
    (fault,) = found
    assert fault.startswith("ai_gateway_inference_pools[1].direct_route.hostname is direct.ai.example.com, ")
    assert said in fault


def test_one_mistake_is_one_fault() -> None:
    assert len(faults({"tls_secret": "s", "tls_own_ca": True})) == 1
    assert len(faults({"listeners": [*BOTH, BOTH[1] | {"name": "third"}], "tls_secret": "s"})) == 1
    assert faults({"tls_own_ca": True, "service_type": "LoadBalancer", "addresses": ["203.0.113.7"]}) == []
    assert faults({"tls_own_ca": True, "service_type": "ClusterIP", "tls_own_ca_hosts": ["a.svc", "10.1.2.3"]}) == []
    assert faults({"tls_own_ca": True, "service_type": "LoadBalancer", "hostname": "ai.example.com"}) == []
    # Issuers of others have kinds of their own.
    theirs = {"name": "ca", "kind": "AWSPCAClusterIssuer", "group": "awspca.cert-manager.io"}
    assert faults({"tls_issuer": theirs, "hostname": "a.example.com"}) == []
    assert len(faults({"tls_issuer": {"kind": "Issuer"}, "hostname": "a.example.com"})) == 1


GOOD = {
    "public_key_fingerprints": {"sha256": "f1"},
    "valid_at": {"tomorrow": True},
    "not_before": "20260101000000Z",
    "not_after": "20270101000000Z",
    "subject_alt_name": ["DNS:ai.example.com", "DNS:*.ai.example.com"],
}
KEY = {"public_key_fingerprints": {"sha256": "f1"}}


@pytest.mark.parametrize(
    ("certificate", "key", "said"),
    [
        ({"public_key_fingerprints": None, "msg": "no PEM"}, KEY, "certificate cannot be read as a certificate in PEM"),
        ({}, {"msg": "bad"}, "private_key cannot be read as a private key in PEM without a passphrase"),
        ({}, {"public_key_fingerprints": {"sha256": "f2"}}, "private_key is not the key of gateway_tls_certificate"),
        ({"valid_at": {"tomorrow": False}}, KEY, "is valid from 20260101000000Z to 20270101000000Z"),
        (
            {"subject_alt_name": ["DNS:ai.example.com"]},
            KEY,
            "gateway_tls_certificate is for DNS:ai.example.com, and not for *.ai.example.com of gateway_listeners[0]",
        ),
        (
            {"subject_alt_name": None},
            KEY,
            "is for no subjectAltName, and not for ai.example.com of gateway_listeners[1]",
        ),
    ],
)
def test_a_certificate_in_pem_fits_its_key_and_its_listeners(
    certificate: dict[str, t.Any], key: dict[str, t.Any], said: str
) -> None:
    variables = {"listeners": BOTH, "tls_certificate": "c", "tls_private_key": "k"}
    assert faults(variables, [GOOD], [KEY]) == []
    wrong = faults(variables, [{**GOOD, **certificate}], [key])
    assert any(said in fault for fault in wrong), wrong
    assert all(fault.startswith("gateway_tls_") for fault in wrong)


def test_each_listener_is_compared_with_its_own_certificate() -> None:
    listeners = [
        {"name": "a", "hostname": "a.example.com", "tls": PEM},
        {"name": "b", "hostname": "b.example.com", "tls": PEM},
        {"name": "any", "tls": PEM},
    ]
    of_a = {**GOOD, "subject_alt_name": ["DNS:a.example.com"]}
    (fault,) = faults({"listeners": listeners}, [of_a, of_a, of_a], [KEY, KEY, KEY])
    assert fault.startswith("gateway_listeners[1].tls.certificate is for DNS:a.example.com, and not for b.example.com")
