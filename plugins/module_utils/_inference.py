# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to models through a gateway, what is seen of the answer, and what was expected of it."""

from __future__ import annotations

import hashlib
import json
import re
import typing as t
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._checks import Finding, shortened
from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway import DONE, Answer, Gateway, GatewayError

try:
    import jmespath
except ImportError:
    # The module says so when an expectation needs it.
    jmespath = None

#: A simulator of this collection answers a request that carries the first with the second.
ECHO_HEADER = "x-simulator-echo"
RECEIVED_HEADER = "x-simulator-received-headers"


@dataclass(frozen=True)
class Operation:
    """One operation of an inference API: its path, how a request is built, and where an answer or a chunk holds its text."""

    method: str
    path: str
    content: Callable[[Probe], dict[str, t.Any]] | None = None
    text: Callable[[Mapping[str, t.Any]], str] = lambda document: ""

    def body(self, probe: Probe) -> dict[str, t.Any] | None:
        if self.content is None:
            return None
        body: dict[str, t.Any] = {"model": probe.model, **self.content(probe)}
        if probe.max_tokens is not None:
            body["max_tokens"] = probe.max_tokens
        if probe.stream:
            body.update(stream=True, stream_options={"include_usage": True})
        return {**body, **probe.extra_body}


def _chat_content(probe: Probe) -> dict[str, t.Any]:
    return {"messages": probe.messages or [{"role": "user", "content": probe.prompt}]}


def _choice(document: Mapping[str, t.Any]) -> Mapping[str, t.Any]:
    choices = document.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _chat_text(document: Mapping[str, t.Any]) -> str:
    choice = _choice(document)
    message = choice.get("delta") or choice.get("message") or {}
    return str(message.get("content") or "") if isinstance(message, dict) else ""


OPERATIONS: dict[str, Operation] = {
    "chat_completions": Operation("POST", "/v1/chat/completions", _chat_content, _chat_text),
    "completions": Operation("POST", "/v1/completions", lambda probe: {"prompt": probe.prompt}, lambda document: str(_choice(document).get("text") or "")),
    "models": Operation("GET", "/v1/models"),
}

EXPECT_ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "status": {"type": "list", "elements": "int", "default": [200]},
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
    "upstream_headers": {"type": "dict"},
    "upstream_credentials": {"type": "list", "elements": "str", "no_log": False},
}

#: What one probe takes; documented once, for the module's own options and for the entries of ``probes``.
PROBE_ARGUMENT_SPEC: dict[str, dict[str, t.Any]] = {
    "operation": {"type": "str", "choices": list(OPERATIONS)},
    "path": {"type": "str"},
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
    """What an answer must be like. Fields that are None or empty expect nothing; the option's documentation says what each means."""

    status: tuple[int, ...] = (200,)
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
    upstream_headers: Mapping[str, str | None] = field(default_factory=dict)
    upstream_credentials: tuple[str, ...] = ()

    @classmethod
    def from_params(cls, params: Mapping[str, t.Any] | None) -> Expectation:
        """From the option; raises ValueError for what can never be met."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        lists = {name: tuple(value) for name, value in given.items() if isinstance(value, list)}
        # An empty text is in every text: a secret that was not defined would look like a leak.
        lists.update({name: tuple(filter(None, lists[name])) for name in ("contains", "excludes") if name in lists})
        expectation = cls(**{**given, **lists})
        patterns = {"expect.matches": expectation.matches, **{f"expect.headers.{name}": value for name, value in expectation.headers.items()}}
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
        path = given.pop("path", operation.path)
        if not path.startswith("/"):
            raise ValueError(f"path: {path!r} does not begin with a slash; write one such as {operation.path}")
        if operation.content is not None and not given.get("model"):
            raise ValueError("model: name the model to ask")
        if given.get("stream") and operation.content is None:
            raise ValueError("stream: the list of models cannot be streamed")
        for option in ("max_tokens", "wait_timeout"):
            if given.get(option, 0) < 0:
                raise ValueError(f"{option}: {given[option]} is negative")
        given["messages"] = tuple(given.get("messages", ()))
        given["extra_headers"] = {str(name): str(value) for name, value in given.get("extra_headers", {}).items()}
        given["expect"] = Expectation.from_params(given.get("expect"))
        return cls(operation=operation, path=path, **given)

    @property
    def headers(self) -> dict[str, str]:
        return {**({ECHO_HEADER: "headers"} if self.echo else {}), **self.extra_headers}

    @property
    def body(self) -> dict[str, t.Any] | None:
        return self.operation.body(self)


@dataclass(frozen=True)
class Observation:
    """What came back. Without an answer ``error`` says why and the rest is empty; times are in seconds."""

    error: str = ""
    status: int | None = None
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
    upstream_headers: Mapping[str, t.Any] | None = None

    def as_dict(self) -> dict[str, t.Any]:
        """As the module returns it."""
        names = ("error", "status", "headers", "body", "text", "model", "usage", "seconds", "time_to_first_token", "chunks", "upstream_headers")
        return {name: getattr(self, name) for name in names}


def ask(gateway: Gateway, probe: Probe) -> Observation:
    """Send the probe once; a gateway that gives no whole answer is an observation too."""
    try:
        answer = gateway.send(probe.operation.method, probe.path, token=probe.token, headers=probe.headers, body=probe.body)
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
        "upstream_headers": upstream if isinstance(upstream, dict) else None,
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
        text=operation.text(body),
        model=str(body.get("model") or ""),
        models=tuple(str(item.get("id")) for item in listed if isinstance(item, dict)) if isinstance(listed, list) else (),
        usage=_usage(body),
    )


def _observe_stream(operation: Operation, answer: Answer, common: Mapping[str, t.Any]) -> Observation:
    events = [event for event in answer.events if event.data != DONE]
    documents = [document if isinstance(document := _parsed(event.data), dict) else {} for event in events]
    texts = [operation.text(document) for document in documents]
    return Observation(
        **common,
        raw="\n".join(event.data for event in answer.events),
        text="".join(texts),
        model=next((str(document["model"]) for document in documents if document.get("model")), ""),
        # Only of the last chunk: a client that reads on to it must find the whole usage there.
        usage=_usage(documents[-1]) if documents else {},
        time_to_first_token=next((round(event.seconds, 3) for event, text in zip(events, texts) if text), None),
        streamed=True,
        chunks=len(events),
        done=bool(answer.events) and answer.events[-1].data == DONE,
    )


def judge(probe: Probe, seen: Observation) -> list[Finding]:
    """What was expected of the answer beside what was seen of it, in the order of the options."""
    return list(_findings(probe, seen))


def describe(probe: Probe) -> str:
    """What is expected, as text."""
    return "; ".join(finding.expected for finding in _findings(probe, Observation()))


def _findings(probe: Probe, seen: Observation) -> t.Iterator[Finding]:
    if seen.error:
        yield Finding(describe(probe), seen.error, False)
        return
    expect = probe.expect
    statuses = " or ".join(map(str, expect.status))
    yield Finding(f"status {statuses}", _status_text(seen), seen.status in expect.status)
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
        found = jmespath.search(expression, seen.body)
        yield Finding(f"{expression} = {json.dumps(value)}", f"{expression} = {shortened(json.dumps(found))}", found == value)
    for name, pattern in expect.headers.items():
        yield _header_finding(name, pattern, seen.headers.get(name.lower()))
    if probe.stream:
        yield Finding("a stream that ends with [DONE]", _stream_text(seen), seen.streamed and seen.done)
    if expect.minimum_chunks is not None:
        yield Finding(f"at least {expect.minimum_chunks} chunks", f"{seen.chunks} chunks", seen.chunks >= expect.minimum_chunks)
    if expect.usage:
        total = seen.usage.get("total_tokens", 0)
        where = "usage in the last chunk" if probe.stream else "usage"
        yield Finding(where, f"{total} tokens" if total else "no usage", total > 0)
    if expect.maximum_seconds is not None:
        yield Finding(f"within {expect.maximum_seconds:g} s", f"{seen.seconds:g} s", seen.seconds <= expect.maximum_seconds)
    yield from _upstream_findings(probe, seen)


def _upstream_findings(probe: Probe, seen: Observation) -> t.Iterator[Finding]:
    expect = probe.expect
    if not (probe.echo or expect.upstream_headers or expect.upstream_credentials):
        return
    upstream = seen.upstream_headers
    if upstream is None:
        yield Finding("the headers that reached the model's server", f"no header {RECEIVED_HEADER}: is it a simulator that serves the model?", False)
        upstream = {}
    for name, value in expect.upstream_headers.items():
        found = upstream.get(name.lower())
        wanted = f"upstream {name}: {value}" if value is not None else f"no {name} upstream"
        yield Finding(wanted, f"upstream {name}: {_header_text(found)}" if found is not None else f"no {name} upstream", found == value)
    digests = {name: str(value["sha256"]) for name, value in upstream.items() if isinstance(value, dict) and "sha256" in value}
    if expect.upstream_credentials:
        wanted = " or ".join(digest[:8] for digest in expect.upstream_credentials)
        met = bool(digests) and set(digests.values()) <= set(expect.upstream_credentials)
        shown = ", ".join(f"{digest[:8]} in {name}" for name, digest in sorted(digests.items()))
        yield Finding(f"the provider's key upstream (SHA-256 {wanted}…)", f"key upstream: {shown or 'none'}", met)
    if probe.token:
        own = hashlib.sha256(probe.token.encode()).hexdigest()
        holders = [name for name, value in upstream.items() if digests.get(name) == own or probe.token in _header_text(value)]
        yield Finding("the caller's token not upstream", f"token in header {', '.join(holders)}" if holders else "no token upstream", not holders)


def _models_finding(expected: tuple[str, ...], seen: tuple[str, ...]) -> Finding:
    missing = [name for name in expected if name not in seen]
    extra = [name for name in seen if name not in expected]
    parts = [f"{len(seen)} models" if len(seen) > 5 else f"models {', '.join(seen) or 'none'}"]
    parts += [f"missing {', '.join(missing)}"] if missing else []
    parts += [f"not expected {', '.join(extra)}"] if extra else []
    wanted = f"exactly the {len(expected)} models of the catalogue" if len(expected) > 5 else f"models {', '.join(expected) or 'none'}"
    return Finding(wanted, "; ".join(parts), not missing and not extra)


def _excludes_finding(secrets: tuple[str, ...], seen: Observation) -> Finding:
    places = [f"header {name}" for name, value in seen.headers.items() if any(secret in value for secret in secrets)]
    places += ["the body"] if any(secret in seen.raw for secret in secrets) else []
    return Finding("no excluded text in the answer", f"excluded text in {', '.join(places)}" if places else "no excluded text", not places)


def _header_finding(name: str, pattern: str | None, value: str | None) -> Finding:
    observed = f"header {name}: {shortened(value)}" if value is not None else f"no header {name}"
    if pattern is None:
        return Finding(f"no header {name}", observed, value is None)
    return Finding(f"header {name} that matches {pattern!r}", observed, value is not None and re.search(pattern, value) is not None)


def _is_model(seen: str, expected: str) -> bool:
    """Providers answer a request for a model with the name of its dated snapshot, such as gpt-4-0613 for gpt-4."""
    return seen.startswith(expected) and re.fullmatch(r"(-\d{4}(-?\d{2}-?\d{2})?)?", seen[len(expected) :]) is not None


def _status_text(seen: Observation) -> str:
    message = ""
    if seen.status is not None and seen.status >= 400:
        error = seen.body.get("error") if isinstance(seen.body, dict) else None
        message = str(error.get("message") or "") if isinstance(error, dict) else str(error or "")
        message = shortened(message or seen.raw)
    return f"status {seen.status}" + (f" ({message})" if message else "")


def _stream_text(seen: Observation) -> str:
    if not seen.streamed:
        return f"no event stream but {seen.headers.get('content-type', 'no content type')}"
    return f"a stream of {seen.chunks} chunks" + ("" if seen.done else " without [DONE]")


def _header_text(value: t.Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _usage(document: Mapping[str, t.Any]) -> dict[str, int]:
    usage = document.get("usage")
    return {name: value for name, value in usage.items() if isinstance(value, int)} if isinstance(usage, dict) else {}


def _parsed(text: str) -> t.Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
