# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A fake Prometheus, which answers the few forms of PromQL that usage is read by, from samples in memory.

As Prometheus 3 it leaves out a sample at the beginning of a window, and it looks back five minutes for an instant.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import ssl
import threading
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

#: Milliseconds and values, in order of their time.
Samples = list[tuple[int, float]]

_LOOKBACK = 300_000
_SELECTOR = r'(?P<name>[a-zA-Z_:][\w:]*)\{(?P<matchers>(?:[^"{}]|"(?:[^"\\]|\\.)*")*)\}'
_MATCHER = re.compile(r'(?:(\w+)|"((?:[^"\\]|\\.)*)")(=~?)"((?:[^"\\]|\\.)*)"(?:,|$)')
_WINDOW = re.compile(rf"(?:(?P<function>\w+)\()?{_SELECTOR}\[(?P<range>\d+)ms\]\)?")
_TIMESTAMP = re.compile(rf"timestamp\({_SELECTOR}\)")
_FUNCTIONS: dict[str, t.Callable[[list[float]], float]] = {
    "min_over_time": min,
    "last_over_time": lambda values: values[-1],
    "count_over_time": lambda values: float(len(values)),
    "sum_over_time": sum,
    "resets": lambda values: float(sum(after < before for before, after in itertools.pairwise(values))),
}


class QueryError(ValueError):
    """A query that this fake does not understand."""


class FakePrometheus:
    """Series, and the answers to queries about them."""

    def __init__(self) -> None:
        self.series: list[tuple[dict[str, str], Samples]] = []
        self.queries: list[str] = []
        self.closed_windows = False

    def add(self, name: str, samples: Samples, **labels: str) -> None:
        self.series.append(({"__name__": name, **labels}, samples))

    def query(self, kind: str, parameters: t.Mapping[str, str]) -> list[dict[str, t.Any]]:
        """The result, as the API has it."""
        text = parameters["query"]
        self.queries.append(text)
        if kind == "query_range":
            start, end, step = (round(float(parameters[name]) * 1000) for name in ("start", "end", "step"))
            return self._range(text, list(range(start, end + 1, step)))
        return self._instant(text, round(float(parameters["time"]) * 1000))

    def _range(self, text: str, times: list[int]) -> list[dict[str, t.Any]]:
        found: dict[str, dict[str, t.Any]] = {}
        for time in times:
            for item in self._instant(text, time):
                key = json.dumps(item["metric"], sort_keys=True)
                entry = found.setdefault(key, {"metric": item["metric"], "values": []})
                entry["values"].append(item["value"])
        return list(found.values())

    def _instant(self, text: str, time: int) -> list[dict[str, t.Any]]:
        stamped = _TIMESTAMP.fullmatch(text)
        if stamped:
            return [
                {"metric": _nameless(labels), "value": [time / 1000, str(inside[-1][0] / 1000)]}
                for labels, inside in self._chosen(stamped, time, _LOOKBACK)
            ]
        match = _WINDOW.fullmatch(text)
        if not match:
            raise QueryError(f"parse error: {text}")
        found = self._chosen(match, time, int(match["range"]))
        if not match["function"]:
            return [
                {"metric": labels, "values": [[at / 1000, str(value)] for at, value in inside]}
                for labels, inside in found
            ]
        function = _FUNCTIONS[match["function"]]
        kept = match["function"] == "last_over_time"
        return [
            {
                "metric": labels if kept else _nameless(labels),
                "value": [time / 1000, str(function([value for _at, value in inside]))],
            }
            for labels, inside in found
        ]

    def _chosen(self, match: re.Match[str], time: int, length: int) -> t.Iterator[tuple[dict[str, str], Samples]]:
        wanted = {
            _unquoted(name or quoted): _unquoted(value) if operator == "=~" else re.escape(_unquoted(value))
            for name, quoted, operator, value in _MATCHER.findall(match["matchers"])
        }
        first = time - length - (1 if self.closed_windows else 0)
        for labels, samples in self.series:
            if labels["__name__"] != match["name"] or not all(
                re.fullmatch(wanted[name], labels.get(name, "")) for name in wanted
            ):
                continue
            inside = [sample for sample in samples if first < sample[0] <= time]
            if inside:
                yield dict(labels), inside


def _nameless(labels: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in labels.items() if name != "__name__"}


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", lambda found: {"n": "\n"}.get(found[1], found[1]), value)


class PrometheusServer:
    """A fake Prometheus with the HTTP API, and with the credentials that it asks for."""

    def __init__(
        self, fake: FakePrometheus | None = None, authorization: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.fake = fake or FakePrometheus()
        #: By path, where requests are redirected to.
        self.redirects: dict[str, str] = {}
        #: The status and body of each answer, where it is to be another.
        self.answer: tuple[int, bytes] | None = None
        #: The value of header Authorization of each request.
        self.authorizations: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.authorizations.append(self.headers.get("Authorization", ""))
                parts = urlsplit(self.path)
                parameters = {
                    name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
                }
                for prefix, target in outer.redirects.items():
                    if parts.path.startswith(prefix):
                        self.send_response(302)
                        self.send_header("Location", target + self.path.removeprefix(prefix))
                        self.end_headers()
                        return
                if authorization and self.headers.get("Authorization") != authorization:
                    self.reply(401, b"Unauthorized")
                elif outer.answer:
                    self.reply(*outer.answer)
                elif "/api/v1/" not in parts.path:
                    self.reply(404, b"404 page not found")
                else:
                    self.reply(*outer.result(parts.path.rpartition("/")[2], parameters))

            def reply(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: t.Any) -> None:
                """Nothing is logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def result(self, kind: str, parameters: dict[str, str]) -> tuple[int, bytes]:
        try:
            result = self.fake.query(kind, parameters)
        except QueryError as error:
            return 400, json.dumps({"status": "error", "errorType": "bad_data", "error": str(error)}).encode()
        return 200, json.dumps({"status": "success", "data": {"result": result}}).encode()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()
