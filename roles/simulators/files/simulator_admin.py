# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The admin endpoint of a provider simulator: what it counted, and failures for all requests.

It listens on the loopback interface alone and asks for no key, so every user who may run a command in the pod, or
forward a port to it, may use it:

GET /counters      {"provider", "since": seconds of the epoch, "keys": fingerprints of the keys accepted now, "counts":
[{"path", "model", "status", "key", "requests", "input_tokens", "output_tokens"}, ...], "totals": {"requests",
"input_tokens", "output_tokens"}} POST /reset        sets the counters to zero GET /failures      what is set POST
/failures     a JSON object with at least one of status, break, delay and event_delay, and if wanted break_after,
retry_after and rate (share of the requests that it hits, 1 by default); it takes the place of what was set DELETE
/failures   back to what the process was started with

A fingerprint is the first 12 hexadecimal digits of a key's SHA-256; "unknown" stands for a key that was never accepted
and "" for none. A path or model that the provider does not have is counted as "". The status is that of the response
with three exceptions: 0 for one that was broken on purpose, 499 for a caller that went away, and that of the error for
a stream which ended in one. Tokens are counted when an answer was sent in full.

An error is {"error": "what is wrong"} with status 400, 404 or 405.
"""

from __future__ import annotations

import json
import typing as t
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer

from simulator_state import Counters, Failure, Failures, Fields, Keys

BODY_LIMIT = 65536
FAILURE_FIELDS = ("status", "break", "break_after", "retry_after", "delay", "event_delay", "rate")


def read_failure(document: t.Any) -> tuple[Failure, float]:
    """A failure and its rate, from the JSON of a caller.

    :raises ValueError: with a sentence for the caller.
    """
    if not isinstance(document, dict):
        raise ValueError("the body must be a JSON object")
    unknown = sorted(set(document) - set(FAILURE_FIELDS))
    if unknown:
        raise ValueError(f"{unknown[0]} is not known: a failure has {', '.join(FAILURE_FIELDS)}")
    fields = Fields(document)
    failure = Failure.read(fields)
    if failure.status is None and failure.break_at is None and failure.delay is None and failure.event_delay is None:
        raise ValueError("a failure needs at least one of status, break, delay and event_delay")
    rate = fields.decimal("rate", 0, 1)
    return failure, 1.0 if rate is None else rate


class AdminServer(ThreadingTCPServer):
    """Serves what belongs to one simulator on 127.0.0.1; port 0 takes a free one."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, provider: str, keys: Keys, counters: Counters, failures: Failures) -> None:
        self.provider = provider
        self.keys = keys
        self.counters = counters
        self.failures = failures
        super().__init__(("127.0.0.1", port), _Handler)

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, dict[str, t.Any]]:
        """Status and document of a request's answer."""
        answers: dict[str, dict[str, t.Callable[[bytes], dict[str, t.Any]]]] = {
            "/counters": {"GET": lambda body: self._counters()},
            "/reset": {"POST": lambda body: self._reset()},
            "/failures": {
                "GET": lambda body: self.failures.as_dict(),
                "POST": self._set,
                "DELETE": lambda body: self._clear(),
            },
        }
        if path not in answers:
            return 404, {"error": f"there are {', '.join(answers)}"}
        if method not in answers[path]:
            return 405, {"error": f"{path} accepts {', '.join(answers[path])}"}
        try:
            return 200, answers[path][method](body)
        except (ValueError, RecursionError) as error:
            return 400, {"error": str(error)}

    def _counters(self) -> dict[str, t.Any]:
        return {"provider": self.provider, "keys": self.keys.fingerprints(), **self.counters.as_dict()}

    def _reset(self) -> dict[str, t.Any]:
        self.counters.reset()
        return self._counters()

    def _set(self, body: bytes) -> dict[str, t.Any]:
        self.failures.set(*read_failure(json.loads(body)))
        return self.failures.as_dict()

    def _clear(self) -> dict[str, t.Any]:
        self.failures.clear()
        return self.failures.as_dict()


class _Handler(BaseHTTPRequestHandler):
    """One request a connection, as the callers are commands."""

    timeout = 30
    server: AdminServer

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if length.isascii() and length.isdigit() and int(length) <= BODY_LIMIT:
            status, document = self.server.answer(self.command, self.path, self.rfile.read(int(length)))
        else:
            status, document = 400, {"error": f"the body must have a length of up to {BODY_LIMIT} bytes"}
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815 (the names are the base class's)

    def log_message(self, *_arguments: t.Any) -> None:
        """Commands of operators are no requests to the provider, whose log this is."""
