# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to models through a gateway, what is seen of the answer, and what was expected of it."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import Finding, shortened
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import (
    DONE,
    Answer,
    Event,
    Gateway,
    GatewayError,
)

try:
    import jmespath
except ImportError:
    # The module says so when an expectation needs it.
    jmespath = None

#: A simulator of this collection answers a request that carries the first with the second.
ECHO_HEADER = "x-simulator-echo"
RECEIVED_HEADER = "x-simulator-received-headers"
#: Where the token is sent: as a bearer token, or as the clients of Anthropic's API send their keys.
AUTHORIZATION = "authorization"
API_KEY = "x-api-key"


#: A JSON object of an answer: its body, or the data of one event of its stream.
Document = Mapping[str, t.Any]


@dataclass(frozen=True)
class Dialect:
    """What the operations of one API have in common.

    ``end`` is the data of the event that ends a stream, its name where ``named_events``. ``usage`` takes the documents
    of an answer in their order, at least one, and returns the tokens used as ``prompt_tokens``, ``completion_tokens``
    and ``total_tokens``, without those that are not reported.
    """

    name: str
    end: str
    usage: Callable[[Sequence[Document]], dict[str, int]]
    stream_fields: Document
    named_events: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)

    def is_end(self, event: Event) -> bool:
        return (event.name if self.named_events else event.data) == self.end

    def document(self, event: Event) -> Document:
        """The document of an event; an empty one where a client of the API would overlook the event, as its name is not
        the type of its data.
        """
        document = _object(event.data)
        return {} if self.named_events and event.name != document.get("type") else document


def _openai_usage(documents: Sequence[Document]) -> dict[str, int]:
    # Only of the last chunk: a client that reads on to it must find the whole usage there.
    return _integers(documents[-1].get("usage"))


def _anthropic_usage(documents: Sequence[Document]) -> dict[str, int]:
    """A body reports the whole usage, a stream that of the prompt at its start and that of the answer at its end."""
    last = _integers(documents[-1].get("usage"))
    if "output_tokens" not in last:
        return {}
    message = documents[0].get("message")
    reported = {**_integers(message.get("usage") if isinstance(message, dict) else None), **last}
    # Tokens that a cache takes or gives are reported apart from the others of the prompt.
    prompt = sum(
        reported.get(name, 0) for name in ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    )
    return {
        "prompt_tokens": prompt,
        "completion_tokens": reported["output_tokens"],
        "total_tokens": prompt + reported["output_tokens"],
    }


OPENAI = Dialect("openai", DONE, _openai_usage, {"stream": True, "stream_options": {"include_usage": True}})
ANTHROPIC = Dialect(
    "anthropic",
    "message_stop",
    _anthropic_usage,
    {"stream": True},
    named_events=True,
    headers={"anthropic-version": "2023-06-01"},
)


@dataclass(frozen=True)
class Operation:
    """One operation of an inference API: its path, how a request is built, and how an answer or a chunk is read.

    ``text`` returns the content of an answer or a chunk. An operation that ``generates`` content can stream it and
    accepts a limit of tokens, by default ``max_tokens``. None means that the API needs no limit.
    """

    method: str
    path: str
    content: Callable[[Probe], dict[str, t.Any]] | None = None
    text: Callable[[Document], str] = lambda document: ""
    dialect: Dialect = OPENAI
    generates: bool = True
    max_tokens: int | None = None

    def body(self, probe: Probe) -> dict[str, t.Any] | None:
        if self.content is None:
            return None
        body: dict[str, t.Any] = {"model": probe.model, **self.content(probe)}
        max_tokens = self.max_tokens if probe.max_tokens is None else probe.max_tokens
        if self.generates and max_tokens is not None:
            body["max_tokens"] = max_tokens
        if probe.stream:
            body.update(self.dialect.stream_fields)
        return {**body, **probe.extra_body}


def _chat_content(probe: Probe) -> dict[str, t.Any]:
    return {"messages": probe.messages or [{"role": "user", "content": probe.prompt}]}


def _choice(document: Document) -> Document:
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _chat_text(document: Document) -> str:
    choice = _choice(document)
    message = choice.get("delta") or choice.get("message") or {}
    return str(message.get("content") or "") if isinstance(message, dict) else ""


def _messages_text(document: Document) -> str:
    """The content of a message's blocks, or of an event that adds to one."""
    blocks = [document.get("delta")] if document.get("type") == "content_block_delta" else document.get("content")
    if not isinstance(blocks, list):
        return ""
    return "".join(
        str(block.get("text") or "")
        for block in blocks
        if isinstance(block, dict) and block.get("type") in ("text", "text_delta")
    )


OPERATIONS: dict[str, Operation] = {
    "chat_completions": Operation("POST", "/v1/chat/completions", _chat_content, _chat_text),
    "completions": Operation(
        "POST",
        "/v1/completions",
        lambda probe: {"prompt": probe.prompt},
        lambda document: str(_choice(document).get("text") or ""),
    ),
    "embeddings": Operation("POST", "/v1/embeddings", lambda probe: {"input": probe.prompt}, generates=False),
    "messages": Operation("POST", "/v1/messages", _chat_content, _messages_text, ANTHROPIC, max_tokens=1024),
    "models": Operation("GET", "/v1/models", generates=False),
}

EXPECT_ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "status": {"type": "list", "elements": "int", "default": [200]},
    "api_error": {"type": "bool", "default": False},
    "model": {"type": "list", "elements": "str"},
    "models": {"type": "list", "elements": "str"},
    "contains": {"type": "list", "elements": "str"},
    "matches": {"type": "str"},
    "excludes": {"type": "list", "elements": "str", "no_log": True},
    "query": {"type": "dict"},
    "headers": {"type": "dict"},
    "usage": {"type": "bool", "default": False},
    "minimum_chunks": {"type": "int"},
    "maximum_seconds": {"type": "float"},
    "received_headers": {"type": "dict"},
    "received_credentials": {"type": "list", "elements": "str", "no_log": False},
}

#: What one probe takes; documented once, for the module's own options and for the entries of ``probes``.
PROBE_ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "operation": {"type": "str", "choices": list(OPERATIONS)},
    "base_path": {"type": "str"},
    "path": {"type": "str"},
    "token_header": {"type": "str", "choices": [AUTHORIZATION, API_KEY], "no_log": False},
    "model": {"type": "str"},
    "prompt": {"type": "str"},
    "messages": {"type": "list", "elements": "dict"},
    "max_tokens": {"type": "int", "no_log": False},
    "stream": {"type": "bool"},
    "echo": {"type": "bool"},
    "extra_headers": {"type": "dict"},
    "extra_body": {"type": "dict"},
    "wait_timeout": {"type": "int"},
    "expect": {"type": "dict", "options": EXPECT_ARGUMENT_SPEC},
}


@dataclass(frozen=True)
class Expectation:
    """What an answer must be like.

    Fields that are None or empty expect nothing; the option's documentation says what each means.
    """

    status: tuple[int, ...] = (200,)
    api_error: bool = False
    model: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    contains: tuple[str, ...] = ()
    matches: str | None = None
    excludes: tuple[str, ...] = ()
    query: Mapping[str, t.Any] = field(default_factory=dict)
    headers: Mapping[str, str | None] = field(default_factory=dict)
    usage: bool = False
    minimum_chunks: int | None = None
    maximum_seconds: float | None = None
    received_headers: Mapping[str, str | None] = field(default_factory=dict)
    received_credentials: tuple[str, ...] = ()

    @classmethod
    def from_params(cls, params: Mapping[str, t.Any] | None) -> Expectation:
        """From the option; raises ValueError for what can never be met."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        # Every string contains the empty one: a secret that was not defined would look like a leak.
        lists.update({name: tuple(filter(None, lists[name])) for name in ("contains", "excludes") if name in lists})
        expectation = cls(**{**given, **lists})
        patterns = {
            "expect.matches": expectation.matches,
            **{f"expect.headers.{name}": value for name, value in expectation.headers.items()},
        }
        for option, pattern in patterns.items():
            try:
                re.compile(pattern or "")
            except re.error as error:
                raise ValueError(f"{option}: {pattern!r} is not a regular expression: {error}") from error
        if expectation.query and jmespath is None:
            raise ImportError("jmespath")
        for expression in expectation.query:
            try:
                jmespath.compile(expression)
            except jmespath.exceptions.JMESPathError as error:
                raise ValueError(f"expect.query: {expression!r} is not a JMESPath expression: {error}") from error
        return expectation


@dataclass(frozen=True)
class Probe:
    """One request and what is expected of its answer."""

    operation: Operation = OPERATIONS["chat_completions"]
    path: str = OPERATIONS["chat_completions"].path
    token_header: str = AUTHORIZATION
    model: str = ""
    prompt: str = "Hello"
    messages: tuple[Mapping[str, t.Any], ...] = ()
    max_tokens: int | None = None
    stream: bool = False
    echo: bool = False
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    extra_body: Mapping[str, t.Any] = field(default_factory=dict)
    wait_timeout: int = 0
    token: str = field(default="", repr=False)
    expect: Expectation = field(default_factory=Expectation)

    @classmethod
    def from_params(cls, params: Mapping[str, t.Any]) -> Probe:
        """From a module's parameters; raises ValueError that names the option where one is missing or wrong."""
        given = {name: params[name] for name in (*PROBE_ARGUMENT_SPEC, "token") if params.get(name) is not None}
        operation = OPERATIONS[given.pop("operation", "chat_completions")]
        base_path = given.pop("base_path", "")
        path = given.pop("path", operation.path)
        for option, value, example in (
            ("base_path", base_path or "/", "/external/openai"),
            ("path", path, operation.path),
        ):
            if not value.startswith("/"):
                raise ValueError(f"{option}: {value!r} does not begin with a slash; write one such as {example}")
        if base_path.rstrip("/").endswith("/v1") and path.startswith("/v1/"):
            raise ValueError(f"base_path: {base_path!r} ends in /v1, with which the path {path} begins; leave it out")
        if operation.content is not None and not given.get("model"):
            raise ValueError("model: name the model to ask")
        if given.get("stream") and not operation.generates:
            raise ValueError(
                f"stream: {'the list of models' if operation.content is None else 'an embedding'} cannot be streamed"
            )
        for option in ("max_tokens", "wait_timeout"):
            if given.get(option, 0) < 0:
                raise ValueError(f"{option}: {given[option]} is negative")
        given["messages"] = tuple(given.get("messages", ()))
        given["extra_headers"] = {str(name): str(value) for name, value in given.get("extra_headers", {}).items()}
        given["expect"] = Expectation.from_params(given.get("expect"))
        return cls(operation=operation, path=base_path.rstrip("/") + path, **given)

    @property
    def bearer_token(self) -> str:
        return self.token if self.token_header == AUTHORIZATION else ""

    @property
    def headers(self) -> dict[str, str]:
        """The headers beyond those of every request and the bearer token."""
        headers = dict(self.operation.dialect.headers)
        if self.token and not self.bearer_token:
            headers[self.token_header] = self.token
        if self.echo:
            headers[ECHO_HEADER] = "headers"
        return {**headers, **self.extra_headers}

    @property
    def body(self) -> dict[str, t.Any] | None:
        return self.operation.body(self)


@dataclass(frozen=True)
class ApiError:
    """An error that an answer or an event of its stream reports.

    ``dialects`` names the APIs whose errors have the form of this one.
    """

    dialects: tuple[str, ...]
    type: str
    code: str | None
    message: str

    @classmethod
    def of(cls, document: Document) -> ApiError | None:
        """The error in a document, if it reports one."""
        error = document.get("error")
        if isinstance(error, str) and error:
            return cls((), "", None, error)
        if not isinstance(error, dict):
            return None
        marked = document.get("type") == "error"
        texts = isinstance(error.get("message"), str)
        # A gateway's own errors may have all that either API's have.
        forms = {
            OPENAI.name: texts and (not marked or "code" in error or "param" in error),
            ANTHROPIC.name: texts and marked and isinstance(error.get("type"), str),
        }
        code = error.get("code")
        return cls(
            dialects=tuple(name for name, met in forms.items() if met),
            type=str(error.get("type") or ""),
            code=None if code is None else str(code),
            message=str(error.get("message") or ""),
        )


@dataclass(frozen=True)
class Observation:
    """What came back. Without an answer ``error`` says why and the rest is empty; times are in seconds."""

    error: str = ""
    status: int | None = None
    api_error: ApiError | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: t.Any = None
    raw: str = field(default="", repr=False)
    text: str = ""
    model: str = ""
    models: tuple[str, ...] = ()
    usage: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    time_to_first_token: float | None = None
    streamed: bool = False
    chunks: int = 0
    done: bool = False
    received_headers: Mapping[str, t.Any] | None = None

    def as_dict(self) -> dict[str, t.Any]:
        """As the module returns it."""
        names = (
            "error",
            "status",
            "headers",
            "body",
            "text",
            "model",
            "usage",
            "seconds",
            "time_to_first_token",
            "chunks",
            "received_headers",
        )
        return {
            **{name: getattr(self, name) for name in names},
            "api_error": asdict(self.api_error) if self.api_error else None,
        }


def ask(gateway: Gateway, probe: Probe) -> Observation:
    """Send the probe once; a gateway that gives no whole answer is an observation too."""
    try:
        answer = gateway.send(
            probe.operation.method, probe.path, token=probe.bearer_token, headers=probe.headers, body=probe.body
        )
    except GatewayError as error:
        return Observation(error=str(error))
    return observe(probe.operation, answer)


def observe(operation: Operation, answer: Answer) -> Observation:
    """What an answer to an operation says."""
    upstream = _parsed(answer.headers.get(RECEIVED_HEADER, ""))
    common: dict[str, t.Any] = {
        "status": answer.status,
        "headers": dict(answer.headers),
        "seconds": round(answer.seconds, 3),
        "received_headers": upstream if isinstance(upstream, dict) else None,
    }
    if answer.is_event_stream:
        return _observe_stream(operation, answer, common)
    document = answer.json()
    body = document if isinstance(document, dict) else {}
    listed = body.get("data")
    return Observation(
        **common,
        body=answer.text if document is None else document,
        raw=answer.text,
        api_error=ApiError.of(body),
        text=operation.text(body),
        model=_model(body),
        models=tuple(str(item.get("id")) for item in listed if isinstance(item, dict))
        if isinstance(listed, list)
        else (),
        usage=operation.dialect.usage([body]),
    )


def _observe_stream(operation: Operation, answer: Answer, common: Mapping[str, t.Any]) -> Observation:
    dialect = operation.dialect
    # A ping keeps the connection alive and says nothing.
    events = [event for event in answer.events if not dialect.is_end(event) and event.name != "ping"]
    documents = [dialect.document(event) for event in events]
    texts = [operation.text(document) for document in documents]
    return Observation(
        **common,
        raw="\n".join(event.data for event in answer.events),
        # Of any event: one that a client overlooks reports all the same what went wrong.
        api_error=next((error for event in events if (error := ApiError.of(_object(event.data)))), None),
        text="".join(texts),
        model=next((model for document in documents if (model := _model(document))), ""),
        usage=dialect.usage(documents) if documents else {},
        time_to_first_token=next((round(event.seconds, 3) for event, text in zip(events, texts) if text), None),
        streamed=True,
        chunks=len(events),
        done=bool(answer.events) and dialect.is_end(answer.events[-1]),
    )


def judge(probe: Probe, seen: Observation) -> list[Finding]:
    """What was expected of the answer beside what was seen of it, in the order of the options."""
    return list(_findings(probe, seen))


def describe(probe: Probe) -> str:
    """What is expected, as a string."""
    return "; ".join(finding.expected for finding in _findings(probe, Observation()))


def _findings(probe: Probe, seen: Observation) -> t.Iterator[Finding]:
    if seen.error:
        yield Finding(describe(probe), seen.error, False)
        return
    expect = probe.expect
    statuses = " or ".join(map(str, expect.status))
    yield Finding(f"status {statuses}", _status_text(seen), seen.status in expect.status)
    if expect.api_error:
        yield _api_error_finding(probe.operation.dialect, seen)
    if expect.model:
        met = any(_is_model(seen.model, name) for name in expect.model)
        yield Finding(f"model {' or '.join(expect.model)}", f"model {seen.model}" if seen.model else "no model", met)
    if expect.models is not None:
        yield _models_finding(expect.models, seen.models)
    for text in expect.contains:
        met = text in seen.raw
        yield Finding(f"a body with {text!r}", "" if met else f"body: {shortened(seen.raw)}", met)
    if expect.matches is not None:
        met = re.search(expect.matches, seen.raw) is not None
        yield Finding(f"a body that matches {expect.matches!r}", "" if met else f"body: {shortened(seen.raw)}", met)
    if expect.excludes:
        yield _excludes_finding(expect.excludes, seen)
    for expression, value in expect.query.items():
        yield _query_finding(expression, value, seen.body)
    for name, pattern in expect.headers.items():
        yield _header_finding(name, pattern, seen.headers.get(name.lower()))
    if probe.stream and not expect.api_error:
        end = probe.operation.dialect.end
        yield Finding(
            f"a stream that ends with {end}",
            _stream_text(seen, end),
            seen.streamed and seen.done and not seen.api_error,
        )
    if expect.minimum_chunks is not None:
        yield Finding(
            f"at least {expect.minimum_chunks} chunks", f"{seen.chunks} chunks", seen.chunks >= expect.minimum_chunks
        )
    if expect.usage:
        total = seen.usage.get("total_tokens", 0)
        where = "usage in the last chunk" if probe.stream else "usage"
        yield Finding(where, f"{total} tokens" if total else "no usage", total > 0)
    if expect.maximum_seconds is not None:
        yield Finding(
            f"within {expect.maximum_seconds:g} s", f"{seen.seconds:g} s", seen.seconds <= expect.maximum_seconds
        )
    yield from _upstream_findings(probe, seen)


def _upstream_findings(probe: Probe, seen: Observation) -> t.Iterator[Finding]:
    expect = probe.expect
    if not (probe.echo or expect.received_headers or expect.received_credentials):
        return
    upstream = seen.received_headers
    if upstream is None:
        yield Finding(
            "the headers that reached the model's server",
            f"no header {RECEIVED_HEADER}: is it a simulator that serves the model?",
            False,
        )
        upstream = {}
    for name, value in expect.received_headers.items():
        found = upstream.get(name.lower())
        wanted = f"upstream {name}: {value}" if value is not None else f"no {name} upstream"
        yield Finding(
            wanted,
            f"upstream {name}: {_header_text(found)}" if found is not None else f"no {name} upstream",
            found == value,
        )
    digests = {
        name: str(value["sha256"]) for name, value in upstream.items() if isinstance(value, dict) and "sha256" in value
    }
    if expect.received_credentials:
        wanted = " or ".join(digest[:8] for digest in expect.received_credentials)
        met = bool(digests) and set(digests.values()) <= set(expect.received_credentials)
        shown = ", ".join(f"{digest[:8]} in {name}" for name, digest in sorted(digests.items()))
        yield Finding(f"the provider's key upstream (SHA-256 {wanted}…)", f"key upstream: {shown or 'none'}", met)
    if probe.token:
        own = hashlib.sha256(probe.token.encode()).hexdigest()
        holders = [
            name for name, value in upstream.items() if digests.get(name) == own or probe.token in _header_text(value)
        ]
        yield Finding(
            "the caller's token not upstream",
            f"token in header {', '.join(holders)}" if holders else "no token upstream",
            not holders,
        )


def _models_finding(expected: tuple[str, ...], seen: tuple[str, ...]) -> Finding:
    missing = [name for name in expected if name not in seen]
    extra = [name for name in seen if name not in expected]
    parts = [f"{len(seen)} models" if len(seen) > 5 else f"models {', '.join(seen) or 'none'}"]
    parts += [f"missing {', '.join(missing)}"] if missing else []
    parts += [f"not expected {', '.join(extra)}"] if extra else []
    wanted = (
        f"exactly the {len(expected)} models of the catalogue"
        if len(expected) > 5
        else f"models {', '.join(expected) or 'none'}"
    )
    return Finding(wanted, "; ".join(parts), not missing and not extra)


def _api_error_finding(dialect: Dialect, seen: Observation) -> Finding:
    error = seen.api_error
    if error is None:
        observed = f"no error but {shortened(seen.raw) or 'an empty body'}"
    else:
        said = shortened(": ".join(filter(None, (error.type, error.message))))
        observed = f"an error of dialect {' and '.join(error.dialects) or 'unknown'} ({said})"
    return Finding(
        f"an error of dialect {dialect.name}", observed, error is not None and dialect.name in error.dialects
    )


def _query_finding(expression: str, value: t.Any, body: t.Any) -> Finding:
    wanted = f"{expression} = {json.dumps(value)}"
    try:
        found = jmespath.search(expression, body)
    except jmespath.exceptions.JMESPathError as error:
        # A function that does not take what the body has there.
        return Finding(wanted, shortened(f"{expression}: {error}"), False)
    return Finding(wanted, f"{expression} = {shortened(json.dumps(found))}", found == value)


def _excludes_finding(secrets: tuple[str, ...], seen: Observation) -> Finding:
    places = [f"header {name}" for name, value in seen.headers.items() if any(secret in value for secret in secrets)]
    places += ["the body"] if any(secret in seen.raw for secret in secrets) else []
    return Finding(
        "no excluded string in the answer",
        f"excluded string in {', '.join(places)}" if places else "no excluded string",
        not places,
    )


def _header_finding(name: str, pattern: str | None, value: str | None) -> Finding:
    observed = f"header {name}: {shortened(value)}" if value is not None else f"no header {name}"
    if pattern is None:
        return Finding(f"no header {name}", observed, value is None)
    return Finding(
        f"header {name} that matches {pattern!r}", observed, value is not None and re.search(pattern, value) is not None
    )


def _is_model(seen: str, expected: str) -> bool:
    """Providers answer a request for a model with the name of its dated snapshot, such as gpt-4-0613 for gpt-4."""
    return seen.startswith(expected) and re.fullmatch(r"(-\d{4}(-?\d{2}-?\d{2})?)?", seen[len(expected) :]) is not None


def _status_text(seen: Observation) -> str:
    message = ""
    if seen.status is not None and seen.status >= 400:
        message = shortened((seen.api_error.message if seen.api_error else "") or seen.raw)
    return f"status {seen.status}" + (f" ({message})" if message else "")


def _stream_text(seen: Observation, end: str) -> str:
    if not seen.streamed:
        return f"no event stream but {seen.headers.get('content-type', 'no content type')}"
    error = f" with an error ({shortened(seen.api_error.message or seen.api_error.type)})" if seen.api_error else ""
    return f"a stream of {seen.chunks} chunks{error}" + ("" if seen.done else f" without {end}")


def _header_text(value: t.Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _model(document: Document) -> str:
    """The model that a document names, itself or in the message that it begins."""
    message = document.get("message")
    return str((message if isinstance(message, dict) else document).get("model") or "")


def _integers(fields: t.Any) -> dict[str, int]:
    return {name: value for name, value in fields.items() if isinstance(value, int)} if isinstance(fields, dict) else {}


def _object(text: str) -> Document:
    document = _parsed(text)
    return document if isinstance(document, dict) else {}


def _parsed(text: str) -> t.Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
