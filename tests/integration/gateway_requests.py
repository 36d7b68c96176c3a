# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ask a gateway by plain requests, and find in the log of its proxies what they counted for each."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import functools
import http.client
import json
import time
import typing as t
import uuid

import api_errors
import gateway_tls
from objects import kubectl

#: Each path that takes a body.
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages")
THREADS = 8
#: Seconds after which the proxies have written their log: they do so every ten seconds.
PATIENCE = 25
SELECTOR = "gateway.envoyproxy.io/owning-gateway-name=ai-gateway"
PROXIES = "ai-gateway-envoy-gateway"

#: A line of the proxies' log.
Entry = dict[str, t.Any]


@dataclasses.dataclass(frozen=True)
class Ask:
    """A request; `body` is sent as it is, or as JSON. `agent` finds it in the log."""

    path: str
    body: t.Any = b""
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    method: str = "POST"
    note: str = ""
    agent: str = dataclasses.field(default_factory=lambda: f"test/{uuid.uuid4().hex}")

    def __str__(self) -> str:
        return f"{self.note or self.method} {self.path}"


@dataclasses.dataclass(frozen=True)
class Reply:
    """An answer; `whole` unless the connection ended within it.

    Without any, `status` is 0 and `body` is the error.
    """

    ask: Ask
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    whole: bool
    seconds: float

    def header(self, name: str) -> str:
        return next((value for found, value in self.headers if found.lower() == name), "")

    @functools.cached_property
    def problems(self) -> list[str]:
        """What is wrong with an error of the client's API. The path shows the API, also below a provider's prefix."""
        path = self.ask.path[max(0, self.ask.path.find("/v1/")) :]
        return api_errors.problems(
            self.status, self.headers, self.body, path, request_headers=self.ask.headers, method=self.ask.method
        )

    @property
    def message(self) -> str:
        """The sentence of an error, empty where there is none."""
        try:
            return str(json.loads(self.body)["error"]["message"])
        except (ValueError, KeyError, TypeError):
            return ""

    @property
    def events(self) -> list[t.Any]:
        """The documents of a stream."""
        lines = [line.removeprefix(b"data:").strip() for line in self.body.splitlines() if line.startswith(b"data:")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]

    def __str__(self) -> str:
        return f"{self.ask}: {self.status} {self.body[:200]!r}"


def body_of(path: str, model: str, *, stream: bool = False, **others: t.Any) -> dict[str, t.Any]:
    """Return a body for the path; embeddings have no streams."""
    said: dict[str, t.Any] = {
        "/v1/completions": {"prompt": "Hello"},
        "/v1/embeddings": {"input": "Hello"},
        "/v1/messages": {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 9},
    }.get(path[path.find("/v1/") :], {"messages": [{"role": "user", "content": "Hello"}]})
    return {"model": model, **said, **({"stream": True} if stream else {}), **others}


def send(url: str, token: str, ask: Ask, timeout: float = 30) -> Reply:
    """Send a request on a connection of its own; without a token where that is empty, and a header of the request
    stands in place of one of these.
    """
    connection = gateway_tls.connection(url, timeout)
    headers = {"content-type": "application/json", "user-agent": ask.agent}
    if token:
        headers["authorization"] = f"Bearer {token}"
    headers |= ask.headers
    body = ask.body if isinstance(ask.body, bytes | str) else json.dumps(ask.body)
    started = time.monotonic()
    try:
        connection.request(ask.method, ask.path, body or None, headers)
        answer = connection.getresponse()
        try:
            content, whole = answer.read(), True
        except http.client.IncompleteRead as error:
            content, whole = error.partial, False
        return Reply(ask, answer.status, answer.getheaders(), content, whole, time.monotonic() - started)
    except (OSError, http.client.HTTPException) as error:
        return Reply(ask, 0, [], repr(error).encode(), False, time.monotonic() - started)
    finally:
        connection.close()


def send_all(url: str, token: str, asks: t.Iterable[Ask]) -> list[Reply]:
    """Send the requests, a few at a time; return the answers in their order."""
    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda ask: send(url, token, ask), asks))


def entries(since: int) -> list[Entry]:
    """Return the lines that the proxies have written in the last `since` seconds."""
    lines = kubectl(
        "logs",
        f"--namespace={PROXIES}",
        f"--selector={SELECTOR}",
        "--container=envoy",
        "--tail=-1",
        f"--since={since}s",
    ).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def log(agents: t.Iterable[str], since: int = 300) -> dict[str, Entry]:
    """Return the proxies' line of each of these requests of the last `since` seconds, once all are written; raise
    AssertionError where some are not.
    """
    wanted = set(agents)
    deadline = time.monotonic() + PATIENCE
    while True:
        found = {entry["user_agent"]: entry for entry in entries(since) if entry.get("user_agent") in wanted}
        if wanted <= set(found):
            return found
        assert time.monotonic() < deadline, f"{len(wanted - set(found))} of {len(wanted)} requests are not in the log"
        time.sleep(1)


def tokens(entry: Entry) -> int:
    """The tokens that a line of the log has; 0 where it has none."""
    value = entry.get("total_tokens")
    return int(value) if value not in (None, "-", "") else 0


def restarts() -> dict[str, int]:
    """How often each container of the gateway was restarted, by "namespace/pod/container"."""
    found = {}
    for namespace in (PROXIES, "ai-gateway-authorino", "ai-gateway-envoy-ai-gateway"):
        for pod in json.loads(kubectl("get", "pods", f"--namespace={namespace}", "--output=json"))["items"]:
            statuses = [*pod["status"].get("initContainerStatuses", []), *pod["status"].get("containerStatuses", [])]
            for status in statuses:
                found[f"{namespace}/{pod['metadata']['name']}/{status['name']}"] = status["restartCount"]
    return found
