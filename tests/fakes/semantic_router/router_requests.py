# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a request: the model that answers it, its body with that model, and the headers of the answer.

The gRPC and the HTTP server share it.
"""

from __future__ import annotations

import json
import re
import sys
import typing as t
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from router_config import Config, Model
from router_metrics import Metrics
from router_signals import AuthzError, choose

#: Says on every answer that it is of no real router.
MARKER = "x-vsr-fake"
SELECTED = "x-selected-model"
SKIP = "x-vsr-skip-processing"
DEBUG = "x-vsr-debug"
#: What a client cannot say. The real one believes `x-vsr-destination-endpoint` of old Envoys, so it is not among them.
RESERVED = (
    SELECTED, "x-vsr-looper-request", "x-vsr-looper-secret", "x-vsr-looper-decision", "x-vsr-looper-iteration",
)  # fmt: skip
SCHEMA_VERSION = "2"
#: Where a model answers a chat.
CHAT = "/v1/chat/completions"
#: The header with the matched signals of each type, which a client asks for.
_MATCHED = {
    "keyword": "x-vsr-matched-keywords",
    "context": "x-vsr-matched-context",
    "structure": "x-vsr-matched-structure",
    "conversation": "x-vsr-matched-conversation",
    "language": "x-vsr-matched-language",
    "authz": "x-vsr-matched-authz",
}


class MalformedError(Exception):
    """A body that is no JSON. The real router ends its stream with an error, without an answer."""


class RefusedError(Exception):
    """A request that the router answers itself, with an error of OpenAI's API."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status

    @property
    def body(self) -> bytes:
        kind = "api_error" if self.status >= 500 else "invalid_request_error"
        return json.dumps({"error": {"message": str(self), "type": kind, "code": self.status}}).encode()


@dataclass(frozen=True)
class Routed:
    """A request on its way. Without a model the router changes nothing of it."""

    model: Model | None
    body: bytes
    #: Of the answer, where the model's is a success.
    answer: Mapping[str, str]


class Router:
    """Chooses by a configuration, and counts."""

    def __init__(self, config: Config, metrics: Metrics) -> None:
        self.config = config
        self.metrics = metrics

    def route(self, raw: bytes, headers: Mapping[str, str]) -> Routed:
        """What becomes of a request. Its headers have names in lower case. Raises MalformedError and RefusedError."""
        if self.skips(headers):
            return Routed(None, raw, {})
        try:
            request = read(raw)
        except MalformedError:
            self.metrics.add("llm_request_errors_total", model="", reason="parse_error")
            raise
        asked = request.body.get("model")
        asked = asked if isinstance(asked, str) else ""
        recipe = self.config.entrypoints.get(asked)
        if recipe is None:
            return self._explicit(asked, request)
        self.metrics.add("llm_entrypoint_requests_total", entrypoint=asked, recipe=recipe.name)
        self.metrics.add("llm_decision_evaluation_total")
        try:
            choice = choose(self.config, recipe, request.body, headers)
        except AuthzError as error:
            self.metrics.add("llm_request_errors_total", model=asked, reason="authz")
            raise RefusedError(403, str(error)) from error
        if choice is None:
            return Routed(None, raw, self._answer())
        for kind, names in choice.signals.items():
            for name in names:
                self.metrics.add("llm_signal_match_total", signal_type=kind, signal_name=name)
        if choice.decision:
            self.metrics.add("llm_decision_match_total", decision_name=choice.decision)
        model = self.config.models[choice.model]
        self.metrics.add("llm_model_routing_modifications_total", source_model=asked, target_model=model.name)
        self.metrics.add("llm_model_requests_total", model=model.name)
        self.metrics.add(
            "llm_recipe_selections_total",
            recipe=recipe.name,
            decision=choice.decision or "unknown",
            algorithm="static",
            model=model.name,
        )
        log(f"{asked} -> {model.name} by decision {choice.decision or 'none'} of recipe {recipe.name}")
        answer = {"x-vsr-selected-recipe": recipe.name, "x-vsr-selected-model": model.name}
        if choice.decision:
            answer |= {"x-vsr-selected-decision": choice.decision, "x-vsr-selected-confidence": "1.0000"}
            answer |= {"x-vsr-selected-algorithm": "static"}
        if headers.get(DEBUG, "").lower() == "true":
            answer |= {_MATCHED[kind]: ",".join(names) for kind, names in choice.signals.items() if names}
        return Routed(model, request.with_model(model.provider_model), self._answer(**answer))

    def skips(self, headers: Mapping[str, str]) -> bool:
        return self.config.skip_processing and headers.get(SKIP, "").lower() == "true"

    def models(self) -> bytes:
        """What a client may ask for, as OpenAI lists models."""
        data = [
            {"id": name, "object": "model", "created": 0, "owned_by": "vllm-semantic-router"}
            for name in self.config.entrypoints
        ]
        return json.dumps({"object": "list", "data": data}).encode()

    def _explicit(self, asked: str, request: Request) -> Routed:
        model = self.config.models.get(asked)
        if model is None:
            self.metrics.add("llm_request_errors_total", model="unknown", reason="unknown_model")
            raise RefusedError(400, f"model {asked!r} is not configured")
        self.metrics.add("llm_model_requests_total", model=model.name)
        log(f"{model.name} by its name")
        return Routed(
            model, request.with_model(model.provider_model), self._answer(**{"x-vsr-selected-model": model.name})
        )

    def _answer(self, **headers: str) -> dict[str, str]:
        return headers | ({"x-vsr-replay-id": str(uuid.uuid4())} if self.config.replay else {})


def produced(path: str) -> dict[str, str]:
    """The headers of every answer, by how it was produced."""
    return {"x-vsr-schema-version": SCHEMA_VERSION, "x-vsr-response-path": path, MARKER: "true"}


@dataclass(frozen=True)
class Request:
    """A body with the places of its models."""

    raw: str
    body: Mapping[str, t.Any]
    models: tuple[tuple[int, int], ...]

    def with_model(self, name: str) -> bytes:
        """The body with another model, and all else as it was."""
        parts, place = [], 0
        for start, end in self.models:
            parts += [self.raw[place:start], json.dumps(name)]
            place = end
        return "".join([*parts, self.raw[place:]]).encode()


def _refuse_constant(name: str) -> t.NoReturn:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
_SPACE = re.compile(r"[ \t\n\r]*")


def read(raw: bytes) -> Request:
    """The members of an object, the first of each name. Raises MalformedError."""
    try:
        text = raw.decode()
        whole = json.loads(text, parse_constant=_refuse_constant)
        if not isinstance(whole, dict):
            return Request(text, {}, ())
        body: dict[str, t.Any] = {}
        models = []
        place = _after(text, _after(text, 0) + 1)
        while text[place] != "}":
            name, place = _DECODER.raw_decode(text, place)
            start = _after(text, _after(text, place) + 1)
            value, end = _DECODER.raw_decode(text, start)
            body.setdefault(name, value)
            if name == "model":
                models.append((start, end))
            place = _after(text, end)
            if text[place] == ",":
                place = _after(text, place + 1)
        return Request(text, body, tuple(models))
    except (ValueError, RecursionError) as error:
        raise MalformedError(f"invalid request body: {error}") from error


def _after(text: str, place: int) -> int:
    """The place behind spaces."""
    return t.cast("re.Match[str]", _SPACE.match(text, place)).end()


def log(message: str) -> None:
    """Nothing of a prompt or an answer is ever in it."""
    print(message, file=sys.stderr, flush=True)
