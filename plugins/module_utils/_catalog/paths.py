# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The paths of the APIs, and what becomes of a request to each by the schema of its provider.

This is what Envoy AI Gateway 1.0 registers and translates, with what this gateway adds and refuses. body_filter.lua
judges requests by it, and docs/clients.md shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import SCHEMAS

#: What a combination of path and schema is, where it is no reason to refuse it.
SERVED = "served"
TRANSLATED = "translated"

#: Which usage the answers of a path report: that of OpenAI's API, of its responses, of Anthropic's, or none for sure.
OF_COMPLETIONS = "completions"
OF_RESPONSES = "responses"
OF_MESSAGES = "messages"
#: Not every provider reports tokens: what is not reported is estimated from the request, and a tier needs a request
#: limit.
UNSURE = "unsure"
#: The answer costs no tokens at its provider, and a tier needs a request limit.
FREE = "free"


@dataclass(frozen=True)
class ApiPath:
    """A path of an API, to which clients send requests with POST."""

    path: str
    #: Which usage its answers report.
    usage: str
    #: By schema, SERVED or TRANSLATED; other schemas are refused.
    schemas: Mapping[str, str]
    #: Why the other schemas are refused, in words that follow "is not served under this path: ".
    reason: str
    #: The value of header x-ai-gateway-api, which routes match.
    api: str = "openai"
    #: The path that Envoy AI Gateway knows it by; empty for the same.
    known_as: str = ""

    @property
    def limited(self) -> bool:
        """Whether a tier needs a request limit to use it."""
        return self.usage in (UNSURE, FREE)

    def refusal(self, schema: str) -> str:
        """Why a model of a provider of ``schema`` is not served here; empty where it is."""
        return "" if schema in self.schemas else _REASONS.get((self.path, schema), self.reason)


_OPENAI = "its provider has no such API, and Envoy AI Gateway translates none to it"
_UNTRANSLATED = (
    "Envoy AI Gateway translates requests of OpenAI's API to Anthropic's models at Amazon Bedrock and Vertex AI alone. "
    "Use /v1/messages"
)
_RERANK = "its provider reranks documents. Use /cohere/v2/rerank"

PATHS = (
    ApiPath(
        "/v1/chat/completions",
        OF_COMPLETIONS,
        {
            "openai": SERVED,
            "azure_openai": SERVED,
            "aws_bedrock": TRANSLATED,
            "aws_anthropic": TRANSLATED,
            "gcp_vertex_ai": TRANSLATED,
            "gcp_anthropic": TRANSLATED,
        },
        _OPENAI,
    ),
    ApiPath("/v1/completions", OF_COMPLETIONS, {"openai": SERVED}, _OPENAI),
    ApiPath(
        "/v1/embeddings",
        OF_COMPLETIONS,
        {"openai": SERVED, "azure_openai": SERVED, "aws_bedrock": TRANSLATED, "gcp_vertex_ai": TRANSLATED},
        _OPENAI,
    ),
    ApiPath("/v1/responses", OF_RESPONSES, {"openai": SERVED, "azure_openai": SERVED}, _OPENAI),
    ApiPath("/v1/audio/speech", UNSURE, {"openai": SERVED}, _OPENAI),
    ApiPath("/v1/images/generations", UNSURE, {"openai": SERVED}, _OPENAI),
    ApiPath("/cohere/v2/rerank", UNSURE, {"cohere": SERVED}, "its provider does not rerank documents in Cohere's API"),
    ApiPath(
        "/v1/messages",
        OF_MESSAGES,
        {
            "openai": TRANSLATED,
            "anthropic": SERVED,
            "aws_bedrock": TRANSLATED,
            "aws_anthropic": SERVED,
            "gcp_anthropic": SERVED,
        },
        "Envoy AI Gateway translates no request of Anthropic's API to its provider. Use /v1/chat/completions",
        api="anthropic",
    ),
    ApiPath(
        "/v1/messages/count_tokens",
        FREE,
        {"anthropic": SERVED},
        "its provider does not count the tokens of a request in Anthropic's API",
        api="anthropic-count",
        known_as="/v1/messages",
    ),
)
_REASONS = {
    ("/v1/messages", "cohere"): _RERANK,
    **{
        (path.path, schema): _RERANK if schema == "cohere" else _UNTRANSLATED
        for path in PATHS[:2]
        for schema in ("anthropic", "cohere")
    },
}

#: Beginnings of paths that are refused for every model, and why.
REFUSED = {
    **dict.fromkeys(
        ("/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/edits", "/v1/images/variations"),
        "Its body is a form, in which several fields could name the model. This gateway serves bodies of JSON alone.",
    ),
    **dict.fromkeys(
        ("/v1/responses/", "/v1/conversations", "/v1/chat/completions/"),
        "It needs what one provider has stored, and this gateway keeps none of it. "
        "Send the whole conversation in each request.",
    ),
    **dict.fromkeys(
        ("/v1/files", "/v1/uploads", "/v1/vector_stores", "/v1/assistants", "/v1/threads"),
        "It needs a store behind one provider, which all callers would share. Send the content in the request.",
    ),
    **dict.fromkeys(
        ("/v1/batches", "/v1/messages/batches"),
        "A batch needs a store behind one provider, and its tokens would be spent without a limit. "
        "Send its requests one by one.",
    ),
}


@dataclass(frozen=True)
class ServedPath:
    """A path as the programs of the proxies know it; the fields are those of ``ApiPath``."""

    path: str
    api: str
    usage: str
    limited: bool
    known_as: str
    #: By schema, why its models are not served.
    refused: Mapping[str, str]


SERVED_PATHS = tuple(
    ServedPath(
        path.path,
        path.api,
        path.usage,
        path.limited,
        path.known_as,
        {schema: path.refusal(schema) for schema in SCHEMAS if path.refusal(schema)},
    )
    for path in PATHS
)


def serving(schema: str) -> tuple[ApiPath, ...]:
    """The paths under which models of providers of ``schema`` are served."""
    return tuple(path for path in PATHS if schema in path.schemas)


def serves(path: str, schema: str) -> bool:
    """Whether models of providers of ``schema`` are served under a path."""
    return any(found.path == path for found in serving(schema))


def table() -> list[list[str]]:
    """The paths and schemas as a table for readers, with a line of headings; a reason is a number."""
    reasons: dict[str, int] = {}
    lines = [["path", *SCHEMAS]]
    for path in PATHS:
        line = [f"`{path.path}`"]
        for schema in SCHEMAS:
            reason = path.refusal(schema)
            line.append(f"refused ({reasons.setdefault(reason, len(reasons) + 1)})" if reason else path.schemas[schema])
        lines.append(line)
    return lines


def reasons() -> list[str]:
    """The reasons of the table in the order of their numbers."""
    return list(dict.fromkeys(path.refusal(schema) for path in PATHS for schema in SCHEMAS if path.refusal(schema)))
