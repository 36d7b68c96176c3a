# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.egress.ai_gateway.plugins.filter import subject_alternative_names as filters
from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway.hostnames import (
    accepts,
    covers,
    host_fault,
    hostname_fault,
)


@pytest.mark.parametrize("hostname", ["ai.example.com", "*.ai.example.com", "localhost", "a-1.b2", "1a.example"])
def test_host_names_of_listeners(hostname: str) -> None:
    assert hostname_fault(hostname) == ""


@pytest.mark.parametrize(
    ("hostname", "said"),
    [
        ("10.245.0.2", "is an IP address"),
        ("fd00::2", "is an IP address"),
        ("AI.example.com", "no host name in lower case"),
        ("ai.*.example.com", "no host name in lower case"),
        ("*", "no host name in lower case"),
        ("ai_gateway.example.com", "no host name in lower case"),
        ("ai.example.com.", "no host name in lower case"),
        ("https://ai.example.com", "no host name in lower case"),
        ("ai.example.com:443", "no host name in lower case"),
        ("-ai.example.com", "no host name in lower case"),
        (f"{'a' * 64}.example.com", "no host name in lower case"),
        (".".join(["a" * 63] * 4), "no host name in lower case"),
        ("1.2.3.400", "no host name in lower case"),
        ("bücher.example.com", "has letters that DNS has not; write it as xn--bcher-kva.example.com"),
        ("*.com", "top-level domain"),
    ],
)
def test_what_is_no_host_name_of_a_listener(hostname: str, said: str) -> None:
    assert said in hostname_fault(hostname)


@pytest.mark.parametrize(
    ("names", "hostname", "covered"),
    [
        (["DNS:ai.example.com"], "ai.example.com", True),
        (["DNS:AI.example.com"], "ai.example.com", True),
        (["DNS:other.example.com", "DNS:*.example.com"], "ai.example.com", True),
        # A wildcard stands for one label, and not for none.
        (["DNS:*.example.com"], "a.b.example.com", False),
        (["DNS:*.example.com"], "example.com", False),
        (["DNS:*.ai.example.com"], "*.ai.example.com", True),
        (["DNS:x.ai.example.com", "DNS:*.example.com"], "*.ai.example.com", False),
        (["IP:10.245.0.2"], "10.245.0.2", False),
        ([], "ai.example.com", False),
    ],
)
def test_which_names_cover_a_host_name(names: list[str], hostname: str, covered: bool) -> None:
    assert covers(names, hostname) is covered


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("203.0.113.7", ""),
        ("fd00::2", ""),
        ("ai.example.com", ""),
        (
            "203.0.113.300",
            "is no host name in lower case such as ai.example.com or *.ai.example.com, and no IP address",
        ),
        ("bad_host name", "and no IP address"),
        ("fe80::1%eth0", "has a zone"),
        ("[::1]", "and no IP address"),
    ],
)
def test_what_clients_call(host: str, said: str) -> None:
    fault = host_fault(host)
    assert said in fault
    assert bool(fault) is bool(said)


@pytest.mark.parametrize(
    ("listener", "hostname", "accepted"),
    [
        ("", "ai.example.com", True),
        ("ai.example.com", "ai.example.com", True),
        ("ai.example.com", "x.ai.example.com", False),
        ("*.example.com", "ai.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "ai-example.com", False),
    ],
)
def test_which_hosts_a_listener_accepts(listener: str, hostname: str, accepted: bool) -> None:
    assert accepts(listener, hostname) is accepted


def test_hosts_become_subject_alternative_names() -> None:
    asked = filters.FilterModule().filters()["subject_alternative_names"]
    assert asked(["b.example.com", "FD00::2", "10.245.0.2", "b.example.com", "*.a.example.com"]) == [
        "DNS:*.a.example.com",
        "DNS:b.example.com",
        "IP:10.245.0.2",
        "IP:fd00::2",
    ]
