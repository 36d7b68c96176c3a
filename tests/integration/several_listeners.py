# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A wildcard and a bare host on one port of the gateway: what holds at one listener holds at each."""

from __future__ import annotations

import dataclasses
import http.client
import json
import socket
import ssl
import time
import typing as t

import gateway_tls
from gateway_requests import body_of
from limits_and_identity import COUNTED, fresh_window
from provider_kinds import token_of

DOMAIN = "ai.example.com"
#: Listeners of role gateway, and a host name of each that a client calls.
LISTENERS = [{"name": "https-wildcard", "hostname": f"*.{DOMAIN}"}, {"name": "https-bare", "hostname": DOMAIN}]
HOSTS = (f"team.{DOMAIN}", DOMAIN)
PATH = "/v1/chat/completions"
#: Tokens a minute of tier free, and of one call.
LIMIT, COST = 100, 40


@dataclasses.dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclasses.dataclass(frozen=True)
class Place:
    """The gateway at an address, whose names no DNS has; `http_port` is that of plain HTTP."""

    address: str
    port: int
    http_port: int

    def _tls(self, host: str, alpn: str) -> ssl.SSLSocket:
        """A verified connection in TLS; raises OSError where there is none."""
        plain = socket.create_connection((self.address, self.port), timeout=30)
        return gateway_tls.context(alpn).wrap_socket(plain, server_hostname=host)

    def protocol(self, host: str) -> str:
        """The protocol of HTTP that a client of HTTP/2 gets; an empty string where it gets none."""
        with self._tls(host, "h2") as connection:
            return connection.selected_alpn_protocol() or ""

    def ask(
        self,
        host: str,
        path: str,
        body: t.Any = None,
        *,
        token: str = "",
        plain: bool = False,
        named: str = "",
        **headers: str,
    ) -> Reply:
        """The answer under a host name; `plain` without TLS. The request names another host where `named` is given."""
        port = self.http_port if plain else self.port
        connection = http.client.HTTPConnection(self.address, port, timeout=30)
        if not plain:
            connection.sock = self._tls(host, "http/1.1")
        sent = {"host": f"{named or host}:{port}", "content-type": "application/json", **headers}
        if token:
            sent["authorization"] = f"Bearer {token}"
        try:
            connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, sent)
            answer = connection.getresponse()
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
        finally:
            connection.close()


def faults(place: Place, token: str, model: str) -> t.Iterator[str]:
    """Yield what is wrong.

    :param token: of a user whose limit is not reached.
    :param model: one that a simulator serves.
    """
    asked = body_of(PATH, model)
    for host in HOSTS:
        protocol = place.protocol(host)
        print(f"{host}: {protocol}")
        if protocol != "h2":
            yield f"{host}: HTTP/2 is not offered, as if its certificate named the host of another listener"
        for status, given in ((200, token), (401, ""), (401, "not-a-token")):
            if (reply := place.ask(host, PATH, asked, token=given)).status != status:
                yield f"{host}: {reply.status} instead of {status}: {reply.body[:200]!r}"
        # The programs of the proxies judge paths and bodies.
        for status, path, body in ((400, f"{PATH}?a=%zz", asked), (404, "/v1/nothing", asked)):
            if (reply := place.ask(host, path, body, token=token)).status != status:
                yield f"{host}{path}: {reply.status} instead of {status}: {reply.body[:200]!r}"
        stream = place.ask(host, PATH, body_of(PATH, model, stream=True), token=token)
        if stream.status != 200 or not stream.body.rstrip().endswith(b"data: [DONE]"):
            yield f"{host}: a stream ends with {stream.status} {stream.body[-100:]!r}"
        # Nothing but the redirect answers plain HTTP, with a token or without.
        for given in ("", token):
            moved = place.ask(host, PATH, asked, token=given, plain=True)
            location = f"https://{host}:{place.port}{PATH}"
            if (moved.status, moved.headers.get("location")) != (308, location) or moved.body:
                yield f"{host}: plain HTTP gets {moved.status} {moved.headers.get('location')} {moved.body[:200]!r}"
    # A name that no listener has gets no certificate, and a connection is for its own listener alone.
    try:
        other = place.ask("elsewhere.example.com", PATH, asked, token=token)
        yield f"elsewhere.example.com: {other.status}"
    except OSError:
        pass
    crossed = place.ask(HOSTS[0], PATH, asked, token=token, named="elsewhere.example.com")
    if crossed.status != 404:
        yield f"{HOSTS[0]}: another host in the request gets {crossed.status}"
    yield from _one_limit(place, model)


def _one_limit(place: Place, model: str) -> t.Iterator[str]:
    """A user's limit is one for all host names."""
    fresh_window()
    _user, token = token_of("free")
    statuses = []
    for number in range(LIMIT // COST + 2):
        host = HOSTS[number % 2]
        costs = {"x-simulator-prompt-tokens": str(COST), "x-simulator-completion-tokens": "0"}
        statuses.append(place.ask(host, PATH, body_of(PATH, model), token=token, **costs).status)
        time.sleep(COUNTED)
    print(f"tier free over both hosts: {statuses}")
    if statuses != [200] * (LIMIT // COST + 1) + [429]:
        yield f"the limit of tier free over both hosts: {statuses}"
