# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Renew the certificate of the gateway's own certification authority while requests run."""

from __future__ import annotations

import base64
import collections
import dataclasses
import json
import socket
import ssl
import time
import urllib.parse

import gateway_tls
from load import Load, Request
from objects import kubectl
from runs import playbook
from sites import WITHOUT_RECOVERY

NAMESPACE = "ai-gateway"
SECRET = "ai-gateway-tls"
#: Seconds in which the proxies serve a new certificate.
PATIENCE = 60
#: Requests before and after each renewal.
MARGIN = 500


@dataclasses.dataclass(frozen=True)
class Renewed:
    """The outcome of renewals.

    `outcomes` counts the requests meanwhile by status or error, `refusals` quotes some that were not answered, and
    `seconds` says for each renewal how long after the run the new certificate was served. `again` is how many tasks a
    run after them changed.
    """

    outcomes: collections.Counter[str]
    refusals: list[str]
    seconds: list[float]
    again: int


def served(url: str) -> bytes:
    """Return the certificate that a new connection gets, verified, in DER."""
    address = urllib.parse.urlsplit(url)
    with (
        socket.create_connection((address.hostname or "", address.port or 443), timeout=10) as plain,
        gateway_tls.context().wrap_socket(plain, server_hostname=address.hostname) as connection,
    ):
        certificate = connection.getpeercert(binary_form=True)
    assert certificate
    return certificate


def kept() -> bytes:
    """Return the certificate in the Secret, in DER."""
    secret = json.loads(kubectl("get", "secret", SECRET, f"--namespace={NAMESPACE}", "--output=json"))
    return ssl.PEM_cert_to_DER_cert(base64.b64decode(secret["data"]["tls.crt"]).decode())


def renew(url: str, token: str, requests: list[Request], *, renewals: int = 3) -> Renewed:
    """Have site renew the certificate so many times under load, each time for another address besides the nodes' own.

    The certification authority stays, as clients have it. The URL is that of a Gateway with its own authority.
    """
    seconds = []
    authority = gateway_tls.CA_FILE.read_bytes()
    with Load(url, token, requests) as load:
        load.wait(MARGIN)
        for _number in range(renewals):
            before = served(url)
            assert before == kept()
            assert playbook("egress.ai_gateway.site", "--tags=gateway", *_other_hosts(len(seconds))) > 0
            began = time.monotonic()
            while (now := served(url)) == before:
                assert time.monotonic() - began < PATIENCE, f"the old certificate is served after {PATIENCE} s"
                time.sleep(0.2)
            seconds.append(round(time.monotonic() - began, 1))
            assert now == kept()
            load.wait(sum(load.outcomes.values()) + MARGIN)
        assert gateway_tls.CA_FILE.read_bytes() == authority
    again = playbook("egress.ai_gateway.site", *_other_hosts(renewals - 1), *WITHOUT_RECOVERY)
    return Renewed(load.outcomes, load.refusals, seconds, again)


def _other_hosts(number: int) -> tuple[str, str]:
    """Extra variables with another address in the certificate than the run before."""
    return (
        "--extra-vars",
        json.dumps({"gateway_tls_own_ca": True, "gateway_tls_own_ca_hosts": [f"192.0.2.{number + 1}"]}),
    )
