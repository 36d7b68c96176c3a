# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the odd provider answers:

a function of the path, the model's name and whether a stream is asked for. Nothing here knows of sockets.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field, replace

from odd_encodings import ENCODINGS

Document = dict[str, t.Any]

PREFIX = "odd-"
APIS = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "messages",
}
#: Prompt, completion and total.
GOOD = (60, 40, 100)
USAGES: dict[str, tuple[t.Any, t.Any, t.Any]] = {
    "negative": (-2, -3, -5),
    "huge": (3_000_000_000, 2_000_000_000, 5_000_000_000),
    "float": (6.25, 6.25, 12.5),
    "text": ("60", "40", "100"),
    "zero": (0, 0, 0),
}
#: Seconds between the events of a slow stream, and how many words it has.
SLOW_PAUSE = 0.2
SLOW_EVENTS = 20
BIG_BYTES = 300_000
RETRY_AFTER = "7"
STATUSES = (400, 401, 403, 404, 409, 422, 429, 500, 502, 503, 529)
KINDS = ("json", "anthropic", "html", "text", "empty", "gzip-html", "gzip-json", "utf8", "latin1", "broken-json")
OF_ANSWERS = ("good", "no-total", *USAGES, "none", "null", *ENCODINGS, "big", "reset", "half", "redirect")
OF_STREAMS = (
    *("no-space", "crlf", "usage-first", "usage-every-chunk", "split", "slow", "cr", "ndjson", "json-stream"),
    *("no-done", "no-end", "stream-error", "stream-reset"),
)
#: Every model but those of usages of any size, good-N.
MODELS = [
    PREFIX + name
    for name in (*OF_ANSWERS, *OF_STREAMS, *(f"error-{status}-{kind}" for status in STATUSES for kind in KINDS))
]


@dataclass(frozen=True)
class Answer:
    """An answer as it is sent.

    ``status`` 0 sends nothing. ``pieces`` are chunks of a stream, ``pause`` seconds apart; without them ``body`` goes
    as a whole, with ``missing`` bytes more in its content-length than it has. With ``reset`` the connection is reset
    afterwards.
    """

    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    pieces: list[bytes] | None = None
    pause: float = 0
    missing: int = 0
    reset: bool = False


def behaviour_of(model: object) -> str:
    """Return how a model of this name behaves, "good" where the name says nothing."""
    return model.removeprefix(PREFIX) if isinstance(model, str) and model.startswith(PREFIX) else "good"


def usage_of(behaviour: str, api: str) -> Document | None:
    """Return the usage in the words of ``api``, or None where there is none to report."""
    prompt, completion, total = USAGES.get(behaviour, GOOD)
    if match := re.fullmatch(r"good-([0-9]{1,15})", behaviour):
        total = int(match[1])
        prompt = total * 60 // 100
        completion = total - prompt
    if behaviour in ("none", "null"):
        return None
    if api == "messages":
        return {"input_tokens": prompt, "output_tokens": completion}
    if api == "embeddings":
        usage = {"prompt_tokens": total, "total_tokens": total}
    else:
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}
    if behaviour == "no-total":
        del usage["total_tokens"]
    return usage


def with_usage(document: Document, behaviour: str, api: str) -> Document:
    usage = usage_of(behaviour, api)
    return document if usage is None and behaviour != "null" else {**document, "usage": usage}


def words_of(behaviour: str) -> list[str]:
    if behaviour == "big":
        return ["x" * BIG_BYTES]
    if behaviour == "slow":
        return [f"word{number} " for number in range(SLOW_EVENTS)]
    return ["This ", "is ", "an ", "odd ", "answer."]


def document_of(api: str, model: str, behaviour: str) -> Document:
    text = "".join(words_of(behaviour))
    documents: dict[str, Document] = {
        "chat": {
            "id": "chatcmpl-odd",
            "object": "chat.completion",
            "created": 1,
            "model": model,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        },
        "completions": {
            "id": "cmpl-odd",
            "object": "text_completion",
            "created": 1,
            "model": model,
            "choices": [{"index": 0, "text": text, "logprobs": None, "finish_reason": "stop"}],
        },
        "embeddings": {
            "object": "list",
            "model": model,
            # The content is no part of it, so a big one has many numbers.
            "data": [
                {"object": "embedding", "index": 0, "embedding": [0.25] * (BIG_BYTES // 6 if behaviour == "big" else 8)}
            ],
        },
        "messages": {
            "id": "msg_odd",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
        },
    }
    return with_usage(documents[api], behaviour, api)


def partial(usage: Document, share: float) -> Document:
    """Return a usage with that share of its completion."""
    name = "output_tokens" if "output_tokens" in usage else "completion_tokens"
    spent = round(usage[name] * share)
    changed = {**usage, name: spent}
    if "total_tokens" in usage:
        changed["total_tokens"] = usage["prompt_tokens"] + spent
    return changed


def openai_events(api: str, model: str, behaviour: str, wanted: bool) -> list[Document]:
    """Return the events of a stream of OpenAI's API; as there, the last has the usage if it is ``wanted``."""
    head: Document = {
        "id": f"{api}-odd",
        "object": "chat.completion.chunk" if api == "chat" else "text_completion",
        "created": 1,
        "model": model,
    }
    usage = usage_of(behaviour, api)
    words = words_of(behaviour)

    def choice(text: str, finish: str | None = None) -> Document:
        said: Document = {"delta": {"content": text} if text else {}} if api == "chat" else {"text": text}
        return {**head, "choices": [{"index": 0, **said, "finish_reason": finish}]}

    events = [choice(word) for word in words] + [choice("", "stop")]
    if api == "chat":
        events.insert(
            0, {**head, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]}
        )
    if behaviour == "usage-first":
        events[0]["usage"] = usage
    elif behaviour == "usage-every-chunk" and usage:
        for number, event in enumerate(events, start=1):
            event["usage"] = partial(usage, number / len(events))
    elif wanted and behaviour != "none":
        events.append({**head, "choices": [], "usage": usage})
    return events


def anthropic_events(model: str, behaviour: str) -> list[Document]:
    """Return the events of a stream of Anthropic's API:

    the prompt's tokens are reported by the first, the completion's by the last but one.
    """
    usage = usage_of(behaviour, "messages")
    message = document_of("messages", model, behaviour) | {"content": [], "stop_reason": None}
    if usage and behaviour != "usage-first":
        message["usage"] = {
            **usage,
            "output_tokens": 1
            if isinstance(usage["output_tokens"], int) and usage["output_tokens"] > 0
            else usage["output_tokens"],
        }
    events: list[Document] = [
        {"type": "message_start", "message": message},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
    ]
    words = words_of(behaviour)
    for number, word in enumerate(words, start=1):
        events.append({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
        if behaviour == "usage-every-chunk" and usage:
            events.append({"type": "message_delta", "delta": {}, "usage": partial(usage, number / len(words))})
    last: Document = {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}}
    if behaviour == "null":
        last["usage"] = None
    elif usage and behaviour != "usage-first":
        last["usage"] = {"output_tokens": usage["output_tokens"]}
    return [*events, {"type": "content_block_stop", "index": 0}, last, {"type": "message_stop"}]


def stream_of(api: str, model: str, behaviour: str, wanted: bool) -> Answer:
    anthropic = api == "messages"
    documents = anthropic_events(model, behaviour) if anthropic else openai_events(api, model, behaviour, wanted)
    if behaviour == "stream-reset":
        documents = documents[:2]
    elif behaviour == "stream-error":
        documents = [*documents[:3], error_document("anthropic" if anthropic else "json", 500)]
    space = "" if behaviour == "no-space" else " "
    end = {"crlf": "\r\n", "cr": "\r"}.get(behaviour, "\n")

    def event(document: Document) -> str:
        name = f"event:{space}{document['type']}{end}" if anthropic else "event: error\n" if "error" in document else ""
        return f"{name}data:{space}{json.dumps(document)}{end}{end}"

    texts = [event(document) for document in documents]
    if not anthropic and behaviour not in ("no-done", "no-end", "stream-error", "stream-reset"):
        texts.append(f"data:{space}[DONE]{end}{end}")
    if behaviour in ("no-done", "no-end"):
        texts[-1] = texts[-1].rstrip("\n") + ("\n" if behaviour == "no-done" else "")
    pieces = [text.encode() for text in texts]
    answer = Answer(headers=[("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache")])
    if behaviour == "ndjson":
        return Answer(
            headers=[("content-type", "application/x-ndjson")],
            pieces=[json.dumps(document).encode() + b"\n" for document in documents],
        )
    if behaviour == "json-stream":
        return replace(answer, pieces=[json.dumps(document_of(api, model, behaviour)).encode()])
    if behaviour in ENCODINGS:
        return replace(
            answer,
            headers=[*answer.headers, ("content-encoding", behaviour)],
            pieces=list(ENCODINGS[behaviour](pieces)),
        )
    if behaviour == "split":
        # The event with the usage is the last or, with [DONE] or message_stop behind it, the last but one.
        number = max(number for number, text in enumerate(texts) if number == 0 or '"usage"' in text)
        single = [bytes([byte]) for byte in pieces[number]]
        return replace(answer, pieces=[*pieces[:number], *single, *pieces[number + 1 :]], pause=0.0005)
    if behaviour == "half":
        return replace(answer, body=b"".join(pieces[:2]), missing=1000)
    return replace(
        answer, pieces=pieces, pause=SLOW_PAUSE if behaviour == "slow" else 0, reset=behaviour == "stream-reset"
    )


def error_document(kind: str, status: int) -> Document:
    message = f"The odd provider refuses with {status}."
    if kind == "anthropic":
        return {
            "type": "error",
            "error": {"type": "api_error" if status >= 500 else "invalid_request_error", "message": message},
            "request_id": "req_odd",
        }
    return {
        "error": {
            "message": message,
            "type": "server_error" if status >= 500 else "invalid_request_error",
            "param": None,
            "code": f"odd_{status}",
        }
    }


def error_of(status: int, kind: str) -> Answer:
    """Return a refusal with a body of ``kind``, one of KINDS; another is an error of OpenAI's API."""
    headers = [("retry-after", RETRY_AFTER)] if status in (429, 503) else []
    body = f"<body><h1>{status}</h1><p>The odd provider refuses.</p></body>"
    page = f"<html><head><title>{status}</title></head>{body}</html>".encode()
    document = json.dumps(error_document(kind, status)).encode()
    bodies = {
        "html": ("text/html", page),
        "gzip-html": ("text/html", page),
        "text": ("text/plain", b"The odd provider refuses."),
        "empty": ("", b""),
        # Three bytes each, and over 5 kB: who cuts it by bytes is likely to cut a letter.
        "utf8": ("text/plain; charset=utf-8", "\u20ac".encode() * 1800),
        "latin1": ("text/plain", "Der Anbieter l\u00e4sst es nicht zu: \u00dcberlast \u00ff\u00fe".encode("latin-1")),
        "broken-json": ("application/json", b'{"error": {"message": "The odd provider'),
    }
    content_type, body = bodies.get(kind, ("application/json", document))
    if content_type:
        headers.append(("content-type", content_type))
    if kind.startswith("gzip-"):
        headers.append(("content-encoding", "gzip"))
        body = b"".join(ENCODINGS["gzip"]([body]))
    return Answer(status, headers, body)


def answer_of(path: str, body: object) -> Answer:
    """Return the answer to a request for ``path`` with the document ``body``."""
    api = APIS.get(path.partition("?")[0].rstrip("/"))
    if api is None:
        return error_of(404, "json")
    asked: Document = body if isinstance(body, dict) else {}
    model = asked.get("model")
    behaviour = behaviour_of(model)
    if match := re.fullmatch(r"error-([45][0-9]{2})-(.+)", behaviour):
        return error_of(int(match[1]), match[2])
    if behaviour == "reset":
        return Answer(0, reset=True)
    if behaviour == "redirect":
        return Answer(302, [("location", f"http://elsewhere.example{path}")])
    # A name of megabytes would make such an answer.
    name = model[:1000] if isinstance(model, str) else "odd-good"
    if asked.get("stream") is True and api != "embeddings":
        options = asked.get("stream_options")
        return stream_of(api, name, behaviour, isinstance(options, dict) and options.get("include_usage") is True)
    text = json.dumps(document_of(api, name, behaviour)).encode()
    headers = [("content-type", "application/json")]
    if behaviour in ENCODINGS:
        return Answer(200, [*headers, ("content-encoding", behaviour)], b"".join(ENCODINGS[behaviour]([text])))
    if behaviour == "half":
        return Answer(200, headers, text[: len(text) // 2], missing=len(text) - len(text) // 2)
    if behaviour == "slow":
        return Answer(200, headers, text, pause=SLOW_PAUSE * SLOW_EVENTS)
    return Answer(200, headers, text)
