# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to a gateway from several connections at once, bounded in count, and what became of each."""

from __future__ import annotations

import collections
import dataclasses
import http.client
import json
import threading
import time
import uuid

import gateway_tls

#: Connections that are open at the same time.
CONNECTIONS = 4
#: No load goes on for ever.
MOST = 100_000
#: Each request is to cost so little that no limit is reached.
HEADERS = {
    "content-type": "application/json",
    "anthropic-version": "2023-06-01",
    "x-simulator-prompt-tokens": "1",
    "x-simulator-completion-tokens": "0",
}


@dataclasses.dataclass(frozen=True)
class Request:
    path: str
    model: str


class Load:
    """Sends `requests` in turn, again and again, until it is asked to end or MOST were sent; `outcomes` counts statuses
    and errors, and `agent` finds the requests in the proxies' log.
    """

    def __init__(self, url: str, token: str, requests: list[Request], pause: float = 0) -> None:
        """:param pause: seconds between two requests of a connection, so that others have the machine too."""
        self._url = url
        self._pause = pause
        self.agent = f"load-{uuid.uuid4().hex[:12]}"
        self._headers = {**HEADERS, "authorization": f"Bearer {token}", "user-agent": self.agent}
        self._requests = requests
        self._lock = threading.Lock()
        self._enough = threading.Event()
        self._sent = 0
        self.outcomes: collections.Counter[str] = collections.Counter()
        #: The first answers that were none, for the message of a test.
        self.refusals: list[str] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _number in range(CONNECTIONS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._enough.set()
        for thread in self._threads:
            thread.join()

    def wait(self, count: int, timeout: float = 120) -> None:
        """Wait until so many requests were sent."""
        deadline = time.monotonic() + timeout
        while self._sent < count:
            assert time.monotonic() < deadline, f"{self._sent} of {count} requests after {timeout} s"
            time.sleep(0.1)

    def _next(self) -> Request | None:
        with self._lock:
            if self._enough.is_set() or self._sent >= MOST:
                return None
            self._sent += 1
            return self._requests[self._sent % len(self._requests)]

    def _run(self) -> None:
        connection = gateway_tls.connection(self._url, timeout=30)
        while request := self._next():
            try:
                body = json.dumps(
                    {"model": request.model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 1}
                )
                connection.request("POST", request.path, body, self._headers)
                answer = connection.getresponse()
                content = answer.read()
                outcome = str(answer.status)
            except (OSError, http.client.HTTPException) as error:
                outcome, content = type(error).__name__, str(error).encode()
                connection.close()
            with self._lock:
                self.outcomes[outcome] += 1
                if outcome != "200" and len(self.refusals) < 5:
                    self.refusals.append(
                        f"{time.strftime('%H:%M:%S')} {request.path} of {request.model}: {outcome} "
                        f"{content[:300].decode(errors='replace')}"
                    )
            self._enough.wait(self._pause)
        connection.close()
