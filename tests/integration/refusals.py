# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's own refusals, in both APIs; requests of browsers; and tokens that come twice or in other forms."""

from __future__ import annotations

import time

import external_provider
import limits_and_identity
from gateway_requests import Ask, Reply, body_of, send
from provider_kinds import KINDS, ORIGIN, token_of

APIS = ("/v1/chat/completions", "/v1/messages")
MODEL = "odd-good"
ALLOWED = "access-control-allow-origin"


def of_the_gateway(url: str, token: str, spent: str) -> list[tuple[int, Reply]]:
    """Return each expected status with the answer.

    :param token: of a tier that may use all models.
    :param spent: of a user whose limit is used up.
    """
    found = []
    _user, outsider = token_of("free", namespace=external_provider.NAMESPACE)
    for path in APIS:
        right = body_of(path, MODEL)
        for status, given, ask in (
            (401, "", Ask(path, right)),
            (401, "not-a-token", Ask(path, right)),
            (403, outsider, Ask(path, right)),
            (429, spent, Ask(path, right)),
            (404, token, Ask(path, body_of(path, "no-such-model"))),
            (404, token, Ask(f"/external/nobody{path}", right)),
            (405, token, Ask(path, method="GET")),
            (413, token, Ask(path, headers={"content-length": "60000000"})),
            (415, token, Ask(path, b"--a", {"content-type": "multipart/form-data; boundary=a"})),
            (415, token, Ask(path, right, {"content-encoding": "gzip"})),
            (400, token, Ask(path, b"{")),
            (400, token, Ask(f"{path}?a=%zz", right)),
        ):
            found.append((status, send(url, given, ask)))
    return found


def spent_token(url: str) -> str:
    """Return the token of a user who has used up the limit, which ends with the minute."""
    limits_and_identity.fresh_window()
    _user, token = token_of("free")
    kind = KINDS[2]
    for number in range(limits_and_identity.calls(kind)):
        assert send(url, token, limits_and_identity.ask(kind, number)).status == 200
    time.sleep(limits_and_identity.COUNTED)
    return token


def preflight(url: str, origin: str) -> Reply:
    """Ask as a browser does whether a page may call."""
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    return send(url, "", Ask(APIS[0], method="OPTIONS", headers=headers))


def browser_faults(url: str, spent: str) -> list[str]:
    """Return what is wrong where ORIGIN alone may call from a browser."""
    found = []
    asked = preflight(url, ORIGIN)
    if asked.status not in (200, 204) or asked.header(ALLOWED) != ORIGIN:
        found.append(f"preflight: {asked.status} {asked.headers}")
    if (other := preflight(url, "https://elsewhere.example.com")).header(ALLOWED):
        found.append(f"preflight of another page: {other.status} {other.headers}")
    for status, token in ((401, ""), (429, spent)):
        for path in APIS:
            reply = send(url, token, Ask(path, body_of(path, MODEL), {"origin": ORIGIN}))
            print(f"{path} of a page: {reply.status}, {ALLOWED}: {reply.header(ALLOWED)}")
            if (reply.status, reply.header(ALLOWED)) != (status, ORIGIN):
                found.append(f"{path} of a page: {reply.status} instead of {status}, {reply.headers}")
    return found


def token_faults(url: str, token: str, other: str) -> list[str]:
    """Return which forms of tokens are not taken as they must be.

    :param other: another token than `token`.
    """
    found = []
    for status, headers in (
        (200, {"authorization": f"Bearer {token}"}),
        (200, {"authorization": f"bearer {token}"}),
        (200, {"authorization": f"BEARER {token}"}),
        (200, {"authorization": f"Bearer  {token}"}),
        (200, {"x-api-key": token}),
        (200, {"authorization": f"Bearer {token}", "x-api-key": token}),
        (400, {"authorization": f"Bearer {token}", "x-api-key": other}),
        (400, {"authorization": f"Bearer {other}", "x-api-key": token}),
        (401, {"authorization": f"Bearer {token}x"}),
        (401, {"x-api-key": "sk-of-nobody"}),
    ):
        for path in APIS:
            reply = send(url, "", Ask(path, body_of(path, MODEL), headers))
            if reply.status != status or reply.problems:
                shown = {
                    name: value.replace(token, "<token>").replace(other, "<other>") for name, value in headers.items()
                }
                found.append(f"{path} with {shown}: {reply.status} instead of {status} {reply.problems}")
    return found
