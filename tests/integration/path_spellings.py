# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A limit that is used up stays so, whatever the path of a request is made to look like."""

from __future__ import annotations

import json

import gateway_tls

PATH = "/external/openai/v1/chat/completions"
LIST = "/external/openai/v1/models"
BODY = json.dumps(
    {"model": "gpt-4", "max_tokens": 16, "messages": [{"role": "user", "content": "Hello, and say something"}]}
)
#: The same request, dressed up as one that is free.
DRESSED = (
    f"{PATH}?x=/v1/models",
    f"{PATH}?/v1/models",
    f"{PATH}?x=/maas-api/v1/tokens",
    f"/maas-api/..{PATH}",
    f"/maas-api/%2e%2e{PATH}",
    f"/x/y/v1/models/../../../..{PATH}",
    f"/{PATH}",
    PATH.replace("/chat", "//chat"),
    PATH.replace("/chat", "/models/../chat"),
    PATH.replace("/chat", "/models/%2E%2E/chat"),
    f"{PATH}/",
    f"{PATH}/v1/models",
    f"{PATH};/v1/models",
    f"{PATH}#/v1/models",
)
#: So many requests use up the limit of the tier at the latest.
MOST = 60
#: So many windows may end in the middle of a look.
WINDOWS = 4


class Caller:
    """A user of the gateway at ``url``."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def ask(self, path: str, method: str = "POST") -> int:
        """The status of one request; its path is sent as it is."""
        connection = gateway_tls.connection(self._url, timeout=30)
        try:
            connection.request(method, path, BODY if method == "POST" else None, self._headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def spend(self) -> None:
        """Ask until the limit is used up."""
        for _number in range(MOST):
            status = self.ask(PATH)
            if status == 429:
                return
            assert status == 200, f"{PATH} is answered with {status}"
        raise AssertionError(f"the limit is not used up after {MOST} requests")


def passed(caller: Caller) -> list[str]:
    """The dressed paths that were answered while the limit was used up, before and after."""
    found = []
    for path in DRESSED:
        for _window in range(WINDOWS):
            caller.spend()
            if caller.ask(path) != 200:
                break
            # Where the window ended meanwhile, it was no dress.
            if caller.ask(PATH) == 429:
                found.append(path)
                break
    return found
