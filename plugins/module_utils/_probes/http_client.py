# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP to an AI gateway: one request, its answer, and the events of a streamed one with their times."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import time
import typing as t
import urllib.error
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ansible.module_utils.urls import ConnectionError as AnsibleConnectionError
from ansible.module_utils.urls import Request, make_context

#: The options of every module that talks to a gateway; documented in the fragment `gateway_options`.
GATEWAY_ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "url": {"type": "str", "required": True, "aliases": ["gateway_url"]},
    "token": {"type": "str", "no_log": True},
    "validate_certs": {"type": "bool", "default": True},
    "ca_path": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path"},
    "use_proxy": {"type": "bool", "default": True},
    "connect_to": {"type": "str", "default": ""},
    "timeout": {"type": "int", "default": 30},
}

EVENT_STREAM = "text/event-stream"
#: Data of the event that ends a stream of the OpenAI API.
DONE = "[DONE]"
#: Bytes that are read of one answer at most.
ANSWER_LIMIT = 16 * 1024 * 1024


class GatewayError(Exception):
    """The gateway gave no whole answer; the message says why and what to look at."""


@dataclass(frozen=True)
class Event:
    """One server-sent event.

    ``seconds`` are those from the request to its arrival; ``name`` is empty where it has none.
    """

    data: str
    seconds: float
    name: str = ""


@dataclass(frozen=True)
class Answer:
    """An answer of any status. Header names are in lower case; times are seconds from the request's start."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float
    events: tuple[Event, ...] = field(default=())

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    @property
    def is_event_stream(self) -> bool:
        return _content_type(self.headers) == EVENT_STREAM

    def json(self) -> t.Any:
        """The body parsed, or None where it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


def base_url(url: str) -> str:
    """The address of the gateway, given as itself or as an OpenAI base URL, which ends in ``/v1``.

    Raises ValueError where it is not an absolute http or https URL, or carries credentials, a query or a fragment.
    """
    parts = urllib.parse.urlsplit(url.strip())
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(
            f"url: {url!r} is not an absolute URL; write one such as http://10.245.0.2:30080 or "
            "https://maas.example.com"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("url: it may hold no credentials, query or fragment; give the token with option token")
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, parts.path.rstrip("/").removesuffix("/v1"), "", ""))


def events_of(lines: Iterable[bytes], clock: t.Callable[[], float]) -> Iterator[Event]:
    """The events in the lines of an event stream, each with the time the clock showed when it was complete.

    Fields other than ``data`` and ``event`` are ignored, as are comments and an event that the stream's end cuts off.
    """
    data: list[str] = []
    name = ""
    for line in lines:
        text = line.decode("utf-8", "replace").rstrip("\r\n")
        if not text:
            if data:
                yield Event("\n".join(data), clock(), name)
            data, name = [], ""
            continue
        field_name, _colon, value = text.partition(":")
        value = value.removeprefix(" ")
        if field_name == "data":
            data.append(value)
        elif field_name == "event":
            name = value


#: Addresses to connect to in place of names that do not resolve.
_ADDRESSES: dict[str, str] = {}
_create_connection = socket.create_connection


def _connect(address: tuple[str, int], *args: t.Any, **options: t.Any) -> socket.socket:
    """A connection as ``socket.create_connection`` makes it, to the address that stands for a name."""
    host, port = address[:2]
    return _create_connection((_ADDRESSES.get(host, host), port), *args, **options)


def _stand_in(name: str, address: str) -> None:
    """Let connections to ``name`` go to ``address`` where the name does not resolve.

    There is no option of urllib for this. The name stays that of the request, of SNI and of the certificate.
    """
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        _ADDRESSES[name] = address.strip("[]")
        socket.create_connection = _connect  # type: ignore[assignment]


class Gateway:
    """Sends requests to one gateway. Safe to use from several threads."""

    def __init__(
        self,
        url: str,
        validate_certs: bool = True,
        ca_path: str | None = None,
        client_cert: str | None = None,
        client_key: str | None = None,
        use_proxy: bool = True,
        connect_to: str = "",
        timeout: int = 30,
    ) -> None:
        self.url = base_url(url)
        if connect_to:
            _stand_in(str(urllib.parse.urlsplit(self.url).hostname), connect_to)
        self.timeout = timeout
        for option, file in (("ca_path", ca_path), ("client_cert", client_cert), ("client_key", client_key)):
            if file and not os.path.isfile(file):
                raise ValueError(f"{option}: there is no file {file}")
        try:
            # Made once: collecting the system's authorities takes longer than a request.
            context = (
                make_context(
                    cafile=ca_path, validate_certs=validate_certs, client_cert=client_cert, client_key=client_key
                )
                if self.url.startswith("https:")
                else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            )
        except ssl.SSLError as error:
            raise ValueError(f"ca_path, client_cert or client_key holds no valid PEM: {error}") from error
        # No redirect is followed and no .netrc read: the token is for this gateway, and no other credential is.
        self._request = Request(
            use_proxy=use_proxy,
            follow_redirects="none",
            use_netrc=False,
            decompress=False,
            http_agent="egress.ai_gateway",
            context=context,
        )

    @classmethod
    def from_params(cls, params: Mapping[str, t.Any]) -> Gateway:
        """From a module's parameters; raises ValueError where one of them is wrong."""
        if params["timeout"] < 1:
            raise ValueError("timeout: give at least 1 second")
        return cls(**{name: params[name] for name in GATEWAY_ARGUMENT_SPEC if name != "token"})

    def send(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        body: t.Any = None,
        timeout: float | None = None,
    ) -> Answer:
        """Send one request and read its answer to the end, whatever its status.

        ``path`` begins with a slash, ``body`` is sent as JSON, ``timeout`` bounds the whole exchange in seconds.
        Raises GatewayError where no whole answer came, and ValueError for a header that cannot be sent.
        """
        limit = self.timeout if timeout is None else min(self.timeout, timeout)
        sent = {"Accept": f"application/json, {EVENT_STREAM}"}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = json.dumps(body)
        sent.update(headers or {})
        _check_headers(sent)
        events: list[Event] = []
        started = time.monotonic()

        def clock() -> float:
            return time.monotonic() - started

        try:
            try:
                response = self._request.open(method, self.url + path, data=data, headers=sent, timeout=limit)
            except urllib.error.HTTPError as error:
                response = error
            with response:
                received = _joined(response.headers.items())
                pieces = _pieces(response, clock, limit)
                body_bytes = b""
                if _content_type(received) == EVENT_STREAM:
                    # One by one, so that a stream that breaks off leaves those before.
                    for event in events_of(_lines(pieces), clock):
                        events.append(event)
                else:
                    body_bytes = b"".join(pieces)
                status = int(response.getcode())
        except GatewayError:
            raise
        except (OSError, http.client.HTTPException, AnsibleConnectionError) as error:
            raise GatewayError(self._explain(error, limit, len(events))) from error
        return Answer(status, received, body_bytes, clock(), tuple(events))

    def _explain(self, error: Exception, limit: float, events: int) -> str:
        """What happened, after how many events of a stream, and what to do about it; never holds a header of the
        request.
        """
        after = f", only {events} events of a stream" if events else ""
        reason: t.Any = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return (
                f"the certificate of {self.url} cannot be trusted: {reason.verify_message}; "
                "give the file of its certification authority with ca_path, or call the gateway by a name in its "
                "certificate"
            )
        if isinstance(reason, ssl.SSLError):
            return (
                f"no TLS connection to {self.url}: {reason}; check that the port speaks TLS and, where it asks for "
                "one, client_cert"
            )
        if isinstance(reason, TimeoutError):
            return (
                f"no whole answer from {self.url} within {limit:g} s{after}; check that the gateway is programmed, "
                "or raise timeout"
            )
        if isinstance(reason, ConnectionRefusedError):
            return (
                f"connection to {self.url} refused; check that the gateway is programmed and the address and port "
                "are right"
            )
        if isinstance(reason, (ConnectionError, http.client.HTTPException)):
            return (
                f"{self.url} closed the connection before a whole answer came{after} ({type(reason).__name__}); "
                "see the logs of the gateway's proxy"
            )
        return f"cannot reach {self.url}: {reason}; check the address, the name's resolution and the route to it"


def _content_type(headers: Mapping[str, str]) -> str:
    return headers.get("content-type", "").split(";")[0].strip().lower()


def _check_headers(headers: Mapping[str, str]) -> None:
    """Raise ValueError for what cannot be sent, without repeating a value, which may be secret."""
    for name, value in headers.items():
        if not re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            raise ValueError(f"{name!r} is not the name of a header")
        if not re.fullmatch(r"[\t -~]*", value):
            what = "the token" if name.lower() == "authorization" else f"header {name}"
            raise ValueError(f"{what} holds line breaks or characters that are not ASCII; give it without them")


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def _pieces(response: t.Any, clock: t.Callable[[], float], limit: float) -> Iterator[bytes]:
    """The body as it comes. The socket's own time-out bounds each wait, this bounds their sum."""
    size = 0
    while piece := response.read1(64 * 1024):
        size += len(piece)
        if size > ANSWER_LIMIT:
            raise GatewayError(
                f"the answer is longer than {ANSWER_LIMIT // 1024 // 1024} MiB; ask for less with max_tokens"
            )
        yield piece
        if clock() > limit:
            raise TimeoutError
    if response.length:
        # A cut in the middle of chunks is noticed by the library, one before the announced length is not.
        raise http.client.IncompleteRead(b"", response.length)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        yield from lines
