# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The gateway's required response to each odd answer:

its status, the tokens that it counts, and whose words an error has.
"""

from __future__ import annotations

import re
import typing as t

from gateway_requests import PATHS, Ask, Entry, Reply, body_of, tokens
from provider_kinds import MODELS

#: Nothing of what the table asks can be reckoned to cost more.
MOST = 5000
UNBELIEVABLE = {"negative", "huge", "float", "text", "zero", "none", "null"}
#: No answer of these can be read: a whole one is refused, and a stream is forwarded unchanged.
UNREAD = {"deflate", "zstd"}
COMPRESSED = {*UNREAD, "gzip", "br"}
#: Streams in a form that no client reads.
FORMLESS = {"cr", "ndjson", "json-stream"}
#: Streams that end before their usage.
CUT = {"stream-error", "stream-reset", "half"}
#: Models whose stream has its usage in a separate event, if the request asks for it.
TELL_USAGE = ("odd-good", "odd-crlf", "odd-no-space", "odd-split", "tls-odd-good", "http2-odd-good")
#: The part of the provider's message that is kept, by the kind of its error.
WORDS = {
    **dict.fromkeys(("json", "anthropic", "gzip-json"), "The odd provider refuses with {}."),
    **dict.fromkeys(("html", "gzip-html", "text"), "The odd provider refuses."),
    "empty": "and said nothing.",
    "utf8": "\u20ac\u20ac\u20ac",
    "latin1": "Der Anbieter l",
    "broken-json": "The odd provider",
}


def behaviour(model: str) -> str:
    return re.sub("^(tls-|http2-|claude-)?odd-", "", model)


def asks() -> list[Ask]:
    """A request for each model, path and form; those that ask for the usage of a stream have a note."""
    found = []
    for provider, models in MODELS.items():
        for model in (name if provider == "odd" else f"{provider}-{name}" for name in models if name != "odd-slow"):
            for path in PATHS:
                # No request of OpenAI's API meets a provider of Anthropic's.
                if provider == "claude" and path != "/v1/messages":
                    continue
                for stream in (False, True)[: 1 if path == "/v1/embeddings" else 2]:
                    found.append(Ask(path, body_of(path, model, stream=stream), note=f"{model}{' stream' * stream}"))
    for model in TELL_USAGE:
        for path in PATHS[:2]:
            found.append(
                Ask(
                    path,
                    body_of(path, model, stream=True, stream_options={"include_usage": True}),
                    note=f"{model} stream and its usage",
                )
            )
    return found


def expected(model: str, stream: bool) -> tuple[set[int], int, int]:
    """The statuses that an answer may have, and the least and the most tokens that it may cost."""
    name = behaviour(model)
    if match := re.fullmatch(r"error-(\d+)-.*", name):
        return {int(match[1])}, 0, 0
    if name in ("redirect", "reset"):
        return {502 if name == "redirect" else 503}, 0, 0
    if name == "half":
        # The head of a stream has gone on by then.
        return {200, 502} if stream else {502}, 1, MOST
    if name in UNREAD:
        return {200 if stream else 502}, 1, MOST
    if name == "ndjson" and stream:
        # By its content type it is a document.
        return {502}, 1, MOST
    if name in UNBELIEVABLE or (stream and name in CUT):
        return {200}, 1, MOST
    total = int(name.removeprefix("good-")) if name.startswith("good-") else 100
    return {200}, total, total


def faults(reply: Reply, entry: Entry) -> list[str]:
    """Return what is wrong with an answer and with its line in the log."""
    model, stream = reply.ask.body["model"], reply.ask.body.get("stream") is True
    statuses, least, most = expected(model, stream)
    found = [] if reply.status in statuses else [f"answered {reply.status}"]
    if not least <= tokens(entry) <= most:
        found.append(f"counted {tokens(entry)} instead of {least} to {most}")
    found += reply.problems
    if behaviour(model).startswith("error-"):
        found += error_faults(reply)
    elif (
        stream
        and reply.status == 200
        and reply.whole
        and behaviour(model) not in COMPRESSED | FORMLESS
        and reply.ask.path in PATHS[:2]
    ):
        of_usage = [event for event in reply.events if event.get("choices") == []]
        wanted = int("stream_options" in reply.ask.body)
        if len(of_usage) != wanted or (wanted and of_usage[0]["usage"]["total_tokens"] != most):
            found.append(f"has {len(of_usage)} events of usage instead of {wanted}")
    return [f"{reply.ask}: {fault}: {reply.body[:150]!r}" for fault in found]


def error_faults(reply: Reply) -> list[str]:
    """Return what is wrong with a refusal of the provider."""
    match = re.fullmatch(r"error-(\d+)-(.*)", behaviour(reply.ask.body["model"]))
    assert match
    status, kind = match.groups()
    found = []
    if WORDS[kind].format(status) not in reply.message:
        found.append(f"the provider's words are lost: {reply.message[:100]}")
    if "provider refuse" not in reply.message:
        found.append(f"it is not said that the provider refused: {reply.message[:100]}")
    if reply.header("retry-after") != ("7" if status in ("429", "503") else ""):
        found.append(f"retry-after is {reply.header('retry-after') or 'missing'}")
    return found


#: Bodies in which one parser may see another request than the next: the path, the body, and whether it is refused.
DISPUTED: list[tuple[str, str, bool]] = [
    ("/v1/completions", '{"model":"odd-good","prompt":"a","stream":true,"metadata":{"include_usage":true}}', False),
    ("/v1/completions", '{"model":"odd-good","prompt":"a","stre\\u0061m":true}', False),
    ("/v1/chat/completions", '{"model":"odd-good","messages":[],"stre\\u0061m":true}', False),
    ("/v1/chat/completions", '{"model":"odd-good","messages":[],"stream":true,"stream_options":null}', False),
    (
        "/v1/chat/completions",
        '{"model":"odd-good","messages":[],"stream":true,'
        '"stream_options":{"include_usage":true},"stream_options":null}',
        True,
    ),
    (
        "/v1/chat/completions",
        '{"model":"odd-good","messages":[],"stream":true,'
        '"stream_options":{"include_usage":true,"include_usage":false}}',
        True,
    ),
    (
        "/v1/completions",
        '{"model":"odd-good","prompt":"a","stream":true,'
        '"stream_options":{"include_usage":false},"stream_options":null}',
        True,
    ),
    ("/v1/completions", '{"model":"odd-good","prompt":"a","stream":true,"stre\\u0061m":false}', True),
    ("/v1/completions", '{"model":"odd-good","prompt":"a","Stream":true}', True),
]


def disputed_asks() -> list[Ask]:
    return [Ask(path, body, note="refused" if refused else "counted") for path, body, refused in DISPUTED]


def disputed_faults(reply: Reply, entry: Entry) -> list[str]:
    """Return what is wrong with the answer to a disputed body."""
    refused = reply.ask.note == "refused"
    found: list[t.Any] = list(reply.problems)
    if (reply.status, tokens(entry)) != ((400, 0) if refused else (200, 100)):
        found.append(f"{reply.status} and {tokens(entry)} tokens")
    if not refused and [event for event in reply.events if event.get("choices") == []]:
        found.append("has a usage that was not asked for")
    return [f"{reply.ask.body}: {fault}" for fault in found]
