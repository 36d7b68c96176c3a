# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every answer of 400 and above must be: valid JSON, as an error of the API that the client speaks."""

from __future__ import annotations

import json
import typing as t

Headers = t.Mapping[str, str] | t.Iterable[tuple[str, str]]

ANTHROPIC_PATH = "/v1/messages"
ANTHROPIC_HEADER = "anthropic-version"


def anthropic(path: str, request_headers: t.Iterable[str] = ()) -> bool:
    """Whether a request for `path` with headers of these names is one of Anthropic's API."""
    plain = path.partition("?")[0].rstrip("/")
    return (
        plain == ANTHROPIC_PATH
        or plain.startswith(f"{ANTHROPIC_PATH}/")
        or ANTHROPIC_HEADER in {name.lower() for name in request_headers}
    )


def _once(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is twice in an object")
    return found


def _constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def document(body: bytes) -> t.Any:
    """Return the document of a body; raise ValueError unless it is strictly JSON in UTF-8, with each name of an object
    once.
    """
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _text(holder: dict[str, t.Any], name: str, place: str) -> list[str]:
    value = holder.get(name)
    if not isinstance(value, str):
        return [f"{place}.{name} is no string but {value!r}"]
    return [] if value.strip() else [f"{place}.{name} is empty"]


def _openai(found: t.Any) -> list[str]:
    error = found.get("error") if isinstance(found, dict) else None
    if not isinstance(error, dict):
        return ["the body has no object error, as OpenAI's API has"]
    faults = _text(error, "message", "error") + _text(error, "type", "error")
    faults += [f"error has no {name}" for name in ("param", "code") if name not in error]
    if not isinstance(error.get("param"), str | None):
        faults.append(f"error.param is neither a string nor null but {error['param']!r}")
    if not isinstance(error.get("code"), str | int | None) or isinstance(error.get("code"), bool):
        faults.append(f"error.code is neither a string nor null but {error['code']!r}")
    return faults


def _anthropic(found: t.Any) -> list[str]:
    if not isinstance(found, dict) or found.get("type") != "error":
        return ["the body's type is not error, as in Anthropic's API"]
    error = found.get("error")
    if not isinstance(error, dict):
        return ["the body has no object error, as Anthropic's API has"]
    return _text(error, "message", "error") + _text(error, "type", "error")


def problems(
    status: int,
    headers: Headers,
    body: bytes,
    path: str,
    accept: str | None = None,
    request_headers: t.Iterable[str] = (),
    method: str = "POST",
) -> list[str]:
    """Return what is wrong with an answer as it came over the wire, nothing for one below 400.

    :param headers: of the answer, with names in any case; the same name may come more than once.
    :param body: without the chunks' framing, and not decompressed.
    :param path: of the request; it decides the API together with the names in `request_headers`.
    :param accept: what the request accepts, which changes nothing: the error is JSON whatever it says. The message
        quotes it.
    :param method: of the request; the answer to HEAD has no body.
    """
    if status < 400:
        return []
    pairs = [(name.lower(), value) for name, value in (headers.items() if isinstance(headers, t.Mapping) else headers)]

    def values(name: str) -> list[str]:
        return [value.strip() for found, value in pairs if found == name]

    faults = []
    types = values("content-type")
    media = types[0].partition(";")[0].strip().lower() if types else ""
    if len(types) != 1 or media != "application/json":
        asked = f" (the request accepts {accept})" if accept else ""
        faults.append(f"content-type is {', '.join(types) or 'missing'} instead of application/json{asked}")
    elif "charset=" in types[0].lower() and not types[0].lower().replace('"', "").rstrip("; ").endswith(
        "charset=utf-8"
    ):
        faults.append(f"content-type says {types[0]}, and JSON is UTF-8")
    if encodings := [value for value in values("content-encoding") if value.lower() != "identity"]:
        faults.append(f"content-encoding {', '.join(encodings)} is left")
    if method == "HEAD":
        return [*faults, *(["the answer to HEAD has a body"] if body else [])]
    lengths = values("content-length")
    if lengths and lengths != [str(len(body))]:
        faults.append(f"content-length is {', '.join(lengths)} and the body has {len(body)} bytes")
    if lengths and values("transfer-encoding"):
        faults.append("there is content-length beside transfer-encoding")
    try:
        found = document(body)
    except UnicodeDecodeError as error:
        return [
            *faults,
            f"the body is no UTF-8 at byte {error.start}: {body[max(0, error.start - 20) : error.start + 20]!r}",
        ]
    except ValueError as error:
        return [*faults, f"the body is no JSON, {error}: {body[:200]!r}"]
    return faults + (_anthropic(found) if anthropic(path, request_headers) else _openai(found))
