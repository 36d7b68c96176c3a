#!/usr/bin/env python3
# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send malformed requests to a gateway, each on a separate connection, and count their outcomes.

python tests/integration/malformed.py --url http://127.0.0.1:8080 --token-file token --seed 1 --count 500
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import pathlib
import select
import socket
import ssl
import struct
import sys
import threading
import time
import typing as t
import urllib.parse

import api_errors
import gateway_tls
import hpack
import http2_frames as h2
import malformed_requests
from malformed_requests import Case

#: Connections that are open at the same time.
CONNECTIONS = 8
#: Seconds without a byte in either direction after which a complete request has timed out.
PATIENCE = 5.0
#: Seconds that one which is not complete gets: the gateway waits for more, and rightly.
SHORT_PATIENCE = 0.3
#: Seconds between two segments.
PAUSE = 0.02
#: Seconds for one case, whatever it does, and bytes of one answer.
MOST_SECONDS = 30.0
MOST_BYTES = 2**22
#: Outcomes that no complete request may have.
NO_ANSWER = ("timeout", "not-connected", "too-large")
#: Samples of each sort that are kept or printed.
SAMPLES = 20


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a case: a status, or `closed`, `reset`, `stream-reset`, `goaway`, `timeout`, `no-http`,
    `no-http2`, `too-large`, `not-connected`, or for one that is not complete `unanswered`."""

    name: str
    answer: Answer | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class Sample:
    """A case with its outcome, which is printed, and can be sent again by its seed and number."""

    case: Case
    outcome: Outcome
    problems: list[str] = dataclasses.field(default_factory=list)

    def __str__(self) -> str:
        problems = f": {'; '.join(self.problems)}" if self.problems else ""
        body = f" {self.outcome.answer.body[:160]!r}" if self.outcome.answer else ""
        case = f"{self.case.kind} #{self.case.index}"
        return f"{case}: {self.outcome.name} after {self.outcome.seconds:.2f} s{problems}{body}"


class Reader(t.Protocol):
    """Reads what arrives; `answer` is the first whole answer, and `end` says how the gateway ended the request
    otherwise.
    """

    answer: Answer | None
    end: str

    def feed(self, data: bytes) -> bytes:
        """Read bytes; return the bytes to send for them."""

    def close(self) -> None:
        """The gateway sends no more."""


class Http1Reader:
    def __init__(self, head: bool) -> None:
        self._head = head
        self._data = bytearray()
        #: Status and headers of the answer, once they are whole; what is left of the data is its body.
        self._begun: tuple[int, list[tuple[str, str]]] | None = None
        self.answer: Answer | None = None
        self.end = ""

    def feed(self, data: bytes) -> bytes:
        self._data += data
        self._parse(False)
        if len(self._data) > MOST_BYTES and not self.answer:
            self.end = "too-large"
        return b""

    def close(self) -> None:
        self._parse(True)
        if self._data and not self._begun and not self._data.startswith(b"HTTP/1."):
            self.end = "no-http"

    def _parse(self, closed: bool) -> None:
        while not self._begun and self._data.startswith(b"HTTP/1."):
            head, separator, rest = bytes(self._data).partition(b"\r\n\r\n")
            if not separator:
                return
            line, *lines = head.decode("latin-1").split("\r\n")
            words = line.split(" ", 2)
            if len(words) < 2 or not words[1].isdigit():
                self.end = "no-http"
                return
            status = int(words[1])
            self._data = bytearray(rest)
            if status >= 200 or status == 101:
                headers = [
                    (name.strip().lower(), value.strip())
                    for name, _colon, value in (text.partition(":") for text in lines)
                ]
                self._begun = status, headers
        if self._begun:
            body = self._body(closed)
            if body is not None:
                self.answer = Answer(*self._begun, body)

    def _body(self, closed: bool) -> bytes | None:
        status, pairs = self._begun or (0, [])
        headers = dict(pairs)
        if self._head or status in (101, 204, 304):
            return b""
        if "chunked" in headers.get("transfer-encoding", ""):
            return dechunked(bytes(self._data))
        if (length := headers.get("content-length", "")).isdigit():
            return bytes(self._data[: int(length)]) if len(self._data) >= int(length) else None
        return bytes(self._data) if closed else None


def dechunked(data: bytes) -> bytes | None:
    """Return the body of chunks, None before their end."""
    body = b""
    while True:
        line, separator, rest = data.partition(b"\r\n")
        if not separator:
            return None
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            return None
        if size == 0:
            return body if rest.startswith(b"\r\n") or b"\r\n\r\n" in rest else None
        if len(rest) < size + 2:
            return None
        body, data = body + rest[:size], rest[size + 2 :]


class Http2Reader:
    def __init__(self) -> None:
        self._data = b""
        self._decoder = hpack.Decoder(max_header_list_size=2**20)
        self._block = b""
        self._headers: list[tuple[str, str]] = []
        self._body = b""
        self.answer: Answer | None = None
        self.end = ""

    def feed(self, data: bytes) -> bytes:
        self._data += data
        if self._data.startswith(b"HTTP/1."):
            self.end = "no-http2"
            return b""
        found, self._data = h2.frames(self._data)
        return b"".join(self._take(*frame) for frame in found)

    def close(self) -> None:
        pass

    def _take(self, kind: int, flags: int, _stream: int, payload: bytes) -> bytes:
        if kind == h2.SETTINGS and not flags & h2.ACK:
            return h2.frame(h2.SETTINGS, h2.ACK, 0)
        if kind == h2.PING and not flags & h2.ACK:
            return h2.frame(h2.PING, h2.ACK, 0, payload)
        if kind == h2.GOAWAY:
            # It may still answer what was begun; the close that follows says that it does not.
            self.end = "goaway"
        elif kind == h2.RST_STREAM:
            self.end = "stream-reset"
        elif kind in (h2.HEADERS, h2.CONTINUATION):
            skipped = 5 if kind == h2.HEADERS and flags & h2.HAS_PRIORITY else 0
            self._block += payload[skipped:]
            if flags & h2.END_HEADERS:
                self._take_headers()
            if kind == h2.HEADERS and flags & h2.END_STREAM:
                self._finish()
        elif kind == h2.DATA:
            self._body += payload
            if flags & h2.END_STREAM:
                self._finish()
        return b""

    def _take_headers(self) -> None:
        decoded = self._decoder.decode(self._block, raw=True)
        self._block = b""
        headers = [(bytes(header[0]).decode("latin-1"), bytes(header[1]).decode("latin-1")) for header in decoded]
        # An interim answer is followed by another, and an answer by its trailers.
        if not self._headers or dict(self._headers).get(":status", "").startswith("1"):
            self._headers = headers

    def _finish(self) -> None:
        status = dict(self._headers).get(":status", "")
        if self.answer is None and status.isdigit():
            self.answer = Answer(
                int(status), [header for header in self._headers if not header[0].startswith(":")], self._body
            )


def exchange(connection: socket.socket, case: Case) -> Outcome:
    """Send the case and read until there is an answer, an end, or nothing more comes."""
    reader: Reader = Http2Reader() if case.http2 else Http1Reader(case.head)
    started = moved = time.monotonic()
    segments = list(case.segments)
    waiting = memoryview(segments.pop(0))
    resume = 0.0
    writable = True
    end = ""
    while not (reader.answer or end):
        now = time.monotonic()
        if not waiting and segments and now >= resume:
            waiting = memoryview(segments.pop(0))
        patience = PATIENCE if case.complete or waiting or segments else SHORT_PATIENCE
        if now - moved > patience or now - started > MOST_SECONDS:
            end = reader.end or ("timeout" if case.complete else "unanswered")
            break
        pending = getattr(connection, "pending", lambda: 0)()
        readable, ready, _errors = select.select(
            [connection],
            [connection] if waiting and writable else [],
            [],
            0 if pending else 0.02 if segments else patience,
        )
        if not (readable or ready or pending):
            continue
        if ready:
            try:
                count = connection.send(waiting[:262_144])
                waiting = waiting[count:]
                moved, resume = now, now + PAUSE
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                pass
            except OSError:
                # The gateway reads no more, and may have answered.
                writable, segments = False, []
                waiting = memoryview(b"")
        if readable or pending:
            try:
                data = connection.recv(65_536)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                continue
            except OSError:
                reader.close()
                end = reader.end or "reset"
                break
            moved = now
            if not data:
                reader.close()
                end = reader.end or "closed"
                break
            reply = reader.feed(data)
            if reader.end in ("no-http", "no-http2", "stream-reset", "too-large"):
                end = reader.end
            if reply and writable:
                waiting = memoryview(bytes(waiting) + reply) if len(waiting) < 2**16 else waiting
    seconds = time.monotonic() - started
    return Outcome(str(reader.answer.status), reader.answer, seconds) if reader.answer else Outcome(end, None, seconds)


def send(url: str, case: Case) -> Outcome:
    """Send a case on a connection of its own; in TLS the protocol of the case alone is offered."""
    address = urllib.parse.urlsplit(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    started = time.monotonic()
    try:
        connection = socket.create_connection((address.hostname or "", port), timeout=PATIENCE)
    except OSError:
        return Outcome("not-connected", None, time.monotonic() - started)
    try:
        if address.scheme == "https":
            context = gateway_tls.context("h2" if case.http2 else "http/1.1")
            connection = context.wrap_socket(connection, server_hostname=address.hostname)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # Thousands of connections in TIME_WAIT would use up the ports.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.setblocking(False)
        return exchange(connection, case)
    except OSError:
        return Outcome("reset", None, time.monotonic() - started)
    finally:
        connection.close()


def is_json(answer: Answer) -> bool:
    """Whether the body is JSON and its content-type says so."""
    types = [value for name, value in answer.headers if name == "content-type"]
    if len(types) != 1 or types[0].partition(";")[0].strip().lower() != "application/json":
        return False
    try:
        api_errors.document(answer.body)
    except ValueError:
        return False
    return True


class Result:
    """The findings of a run:

    `counts` by kind and outcome, `json` by status and whether the answer was JSON, and samples of what should not be.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.counts: collections.Counter[tuple[str, str]] = collections.Counter()
        self.json: collections.Counter[tuple[str, bool]] = collections.Counter()
        #: Answers of 500 and above, and complete requests without an answer: the first of each kind and outcome.
        self.errors: list[Sample] = []
        self.timeouts: list[Sample] = []
        #: Answers that are no JSON.
        self.not_json: list[Sample] = []
        #: Answers in JSON in which api_errors.problems finds faults, where the path decides the API.
        self.problems: list[Sample] = []
        #: Outcomes of a well-formed request before and after.
        self.before = self.after = ""
        self.seconds = 0.0
        self.slowest: list[Sample] = []
        self._kept: collections.Counter[tuple[str, str]] = collections.Counter()

    def add(self, case: Case, outcome: Outcome) -> None:
        self.counts[case.kind, outcome.name] += 1
        sample = Sample(case, outcome)
        self.slowest = sorted([*self.slowest, sample], key=lambda found: -found.outcome.seconds)[:5]
        answer = outcome.answer
        first = self.counts[case.kind, outcome.name] == 1
        if outcome.name in NO_ANSWER and first:
            self.timeouts.append(sample)
        if answer is None or answer.status < 400:
            return
        if answer.status >= 500 and first:
            self.errors.append(sample)
        if case.head:
            return
        right = is_json(answer)
        self.json[outcome.name, right] += 1
        problems = api_errors.problems(answer.status, answer.headers, answer.body, case.path)
        if not right:
            self._keep(self.not_json, Sample(case, outcome, problems))
        elif problems and case.path.startswith(("/v1/chat/completions", "/v1/messages", "/v1/models")):
            self._keep(self.problems, Sample(case, outcome, problems))

    def _keep(self, samples: list[Sample], sample: Sample) -> None:
        """Keep one of each group of kinds and status, for variety."""
        key = (
            sample.case.kind.partition("/")[0],
            sample.outcome.name + sample.problems[0][:40] if sample.problems else sample.outcome.name,
        )
        if not self._kept[key] and len(samples) < SAMPLES:
            samples.append(sample)
        self._kept[key] += 1

    def table(self, kinds: bool = False) -> str:
        """Return the counts, a line for each group of kinds, or for each kind."""
        rows: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
        for (kind, outcome), count in self.counts.items():
            rows[kind if kinds else kind.partition("/")[0]][outcome] += count
            rows["all"][outcome] += count
        names = sorted(rows, key=lambda name: (name == "all", name))
        width = max(map(len, names), default=0)
        return "\n".join(
            f"{name:{width}}  " + "  ".join(f"{outcome} {count}" for outcome, count in sorted(rows[name].items()))
            for name in names
        )

    def faults(self, allowed: t.Container[int] = ()) -> list[str]:
        """Return what may not be, a line for each kind: statuses of 500 and above but those allowed, complete requests
        without an answer, and a gateway that answers a well-formed request differently afterwards."""
        refused = [
            sample for sample in self.errors if sample.outcome.answer and sample.outcome.answer.status not in allowed
        ]
        found = [
            f"{self.counts[sample.case.kind, sample.outcome.name]} of {sample}" for sample in (*refused, *self.timeouts)
        ]
        if self.after != self.before:
            found.append(f"a well-formed request got {self.before} before and {self.after} afterwards")
        return found

    def __str__(self) -> str:
        total = sum(self.counts.values())
        lines = [
            self.table(),
            f"{total} cases of seed {self.seed} in {self.seconds:.1f} s; "
            f"a well-formed request: {self.before} before, {self.after} afterwards",
        ]
        right = sum(count for (_status, json), count in self.json.items() if json)
        lines.append(f"answers of 400 and above: {right} JSON, {sum(self.json.values()) - right} not")
        lines += [f"slow: {sample}" for sample in self.slowest if sample.outcome.seconds > 1]
        for title, samples in (
            ("error", self.errors),
            ("no answer", self.timeouts),
            ("not JSON", self.not_json),
            ("not of the API", self.problems),
        ):
            lines += [f"{title}: {sample}" for sample in samples[:SAMPLES]]
        return "\n".join(lines)


#: What the gateway says of requests that Envoy's codec refuses. No program has seen their path, so they are answered in
#: OpenAI's API on every path.
OF_THE_CODEC = ("is no HTTP", '"Bad Request"')


def unexplained(result: Result) -> list[str]:
    """Return the answers that are no error of the client's API, those of the codec excepted if they are JSON."""
    of_others = [sample for sample in result.problems if not any(words in str(sample) for words in OF_THE_CODEC)]
    return [str(sample) for sample in (*result.not_json, *of_others)]


def well_formed(url: str, token: str, model: str) -> str:
    """Return the outcome of a request for the models, with the token if there is one."""
    host = urllib.parse.urlsplit(url).netloc
    authorization = f"authorization: Bearer {token}\r\n" if token else ""
    data = f"GET /v1/models HTTP/1.1\r\nhost: {host}\r\n{authorization}\r\n".encode()
    return send(url, Case("well-formed", 0, (data,))).name


def run(
    url: str,
    token: str,
    seed: int,
    count: int,
    *,
    model: str = "gpt-4",
    kind: str = "",
    first: int = 0,
    connections: int = CONNECTIONS,
) -> Result:
    """Send `count` cases of `seed` from number `first` on, a few at a time, and a well-formed request before and after.

    :param token: of a caller, which about six in ten cases have; empty for none.
    :param kind: only kinds that begin so; others are skipped, and the cases keep their numbers.
    """
    result = Result(seed)
    host = urllib.parse.urlsplit(url).netloc
    lock = threading.Lock()
    numbers = iter(range(first, first + count))
    failures: list[BaseException] = []

    def work() -> None:
        while True:
            with lock:
                index = next(numbers, None)
            if index is None or failures:
                return
            try:
                case = malformed_requests.case(seed, index, token=token, host=host, model=model)
                if not case.kind.startswith(kind):
                    continue
                outcome = send(url, case)
                with lock:
                    result.add(case, outcome)
            except BaseException as error:
                failures.append(error)
                raise

    started = time.monotonic()
    result.before = well_formed(url, token, model)
    threads = [threading.Thread(target=work, daemon=True) for _number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    result.after = well_formed(url, token, model)
    result.seconds = time.monotonic() - started
    return result


def show(url: str, case: Case, token: str) -> str:
    """Send one case and return what was sent and what came, without the token."""
    outcome = send(url, case)
    sent = case.data[:4000]
    hidden = sent.replace(token.encode(), b"<token>") if token else sent
    lines = [
        f"{case.kind} #{case.index}: {len(case.data)} bytes in {len(case.segments)} segments",
        repr(hidden),
        f"{outcome.name} after {outcome.seconds:.2f} s",
    ]
    if outcome.answer:
        lines += [f"{name}: {value}" for name, value in outcome.answer.headers] + [repr(outcome.answer.body[:4000])]
    return "\n".join(lines)


def main(arguments: t.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Send malformed requests to a gateway and count what became of them.")
    parser.add_argument("--url", required=True)
    parser.add_argument(
        "--token-file", type=pathlib.Path, help="a caller's token; without it all requests come without one"
    )
    parser.add_argument("--model", default="gpt-4", help="a model that the gateway has (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--kind", default="", help="only kinds that begin so")
    parser.add_argument("--connections", type=int, default=CONNECTIONS)
    parser.add_argument(
        "--allow", type=int, nargs="*", default=[], metavar="STATUS", help="statuses of 500 and above that are no fault"
    )
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send the case of this number alone, and show it")
    parser.add_argument("--kinds", action="store_true", help="a line for each kind instead of each group")
    options = parser.parse_args(arguments)
    token = options.token_file.read_text(encoding="utf-8").strip() if options.token_file else ""
    if options.only is not None:
        host = urllib.parse.urlsplit(options.url).netloc
        print(
            show(
                options.url,
                malformed_requests.case(options.seed, options.only, token=token, host=host, model=options.model),
                token,
            )
        )
        return 0
    result = run(
        options.url,
        token,
        options.seed,
        options.count,
        model=options.model,
        kind=options.kind,
        first=options.first,
        connections=options.connections,
    )
    if options.kinds:
        print(result.table(kinds=True))
    print(result)
    return 1 if result.faults(options.allow) else 0


if __name__ == "__main__":
    sys.exit(main())
