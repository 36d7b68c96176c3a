# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connections to the gateway: plain ones, or in TLS with the certification authority that site has written."""

from __future__ import annotations

import functools
import http.client
import os
import pathlib
import socket
import ssl
import urllib.parse

import objects

#: The certification authority of the gateway of the embedded cluster. GATEWAY_CA_FILE names another one.
CA_FILE = pathlib.Path(os.environ.get("GATEWAY_CA_FILE", f"{objects.STATE}/gateway-ca.crt"))

#: The address of the embedded cluster's node, where the gateway is under each of its host names, which are below
#: example.com.
NODE = "10.245.0.2"


class _Named(http.client.HTTPSConnection):
    """A connection to the gateway under a host name."""

    def connect(self) -> None:
        plain = socket.create_connection((NODE, self.port), self.timeout)
        self.sock = context("http/1.1").wrap_socket(plain, server_hostname=self.host)


def context(alpn: str = "") -> ssl.SSLContext:
    """Return what verifies the gateway's certificate, and offers this protocol of HTTP alone where one is given."""
    # A later site may have written another authority.
    return _context(alpn, CA_FILE.stat().st_mtime_ns if CA_FILE.exists() else 0)


@functools.lru_cache(maxsize=8)
def _context(alpn: str, written: int) -> ssl.SSLContext:
    # Written once by the machine of the tests, so that no other authority has a say.
    made = ssl.create_default_context(cafile=str(CA_FILE) if written else None)
    if alpn:
        made.set_alpn_protocols([alpn])
    return made


def connection(url: str, timeout: float) -> http.client.HTTPConnection:
    """Return a connection to the gateway at this URL, which is not open yet."""
    address = urllib.parse.urlsplit(url)
    host = address.hostname or ""
    if address.scheme == "https":
        if host.endswith("example.com"):
            return _Named(host, address.port or 443, timeout=timeout)
        return http.client.HTTPSConnection(host, address.port or 443, timeout=timeout, context=context("http/1.1"))
    return http.client.HTTPConnection(host, address.port or 80, timeout=timeout)


def curl_options(url: str) -> list[str]:
    """Return the options by which curl trusts the gateway at this URL."""
    return ["--cacert", str(CA_FILE)] if url.startswith("https:") and CA_FILE.exists() else []
