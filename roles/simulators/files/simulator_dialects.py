# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dialects that a provider simulator speaks: what the paths answer, what an error and a stream look like.

Nothing here knows of sockets, keys or failures. Tokens are words, unless a call says how many to report.
"""

from __future__ import annotations

import abc
import base64
import hashlib
import itertools
import json
import math
import re
import struct
import time
import typing as t
from dataclasses import dataclass

from simulator_state import Usage

Document = dict[str, t.Any]

INPUTS_LIMIT = 2048
DIMENSIONS = 256
DIMENSIONS_LIMIT = 3072
PICTURES_LIMIT = 10
#: One transparent pixel, as PNG.
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
#: Numbers in one answer of embeddings, which bounds its memory.
NUMBERS_LIMIT = 2**20


class ApiError(Exception):
    """A refusal:

    HTTP status, message, the code and parameter that OpenAI's dialect names with it, and seconds for the header
    retry-after.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str = "invalid_request",
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after


@dataclass(frozen=True)
class KeyForm:
    """A header that may carry the key, in lower case, and the scheme before it, empty for none."""

    header: str
    scheme: str = ""

    def presented(self, headers: t.Mapping[str, str]) -> str | None:
        """What a request presents as its key, None without the header; with another scheme that is nothing that can
        match.
        """
        value = headers.get(self.header)
        if value is None:
            return None
        scheme, _space, rest = value.strip().partition(" ")
        if not self.scheme:
            return value.strip()
        return rest.strip() if scheme.lower() == self.scheme.lower() else ""


@dataclass(frozen=True)
class Call:
    """A request as a dialect gets it; tokens of None are counted from the words."""

    body: Document
    query: t.Mapping[str, str]
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


@dataclass(frozen=True)
class Reply:
    """A document, or without one the events of a stream; ``model`` and ``usage`` are what is counted and logged."""

    document: Document | None = None
    events: t.Iterable[Document] = ()
    model: str = ""
    usage: Usage | None = None


class Dialect(abc.ABC):
    """What the dialects share: the paths, the models and the answer itself."""

    #: Default headers of the key.
    key_forms: tuple[KeyForm, ...]
    #: The response header with the request's id.
    request_id_header: str
    #: What ends a stream after its last event.
    stream_end = b""

    def __init__(self, provider: str, models: t.Sequence[str]) -> None:
        self.provider = provider
        self.models = tuple(models)
        self.started = int(time.time())
        self.numbers = itertools.count(1)
        #: By path, its method and what answers.
        self.routes: dict[str, tuple[str, t.Callable[[Call], Reply]]] = {"/v1/models": ("GET", self.list_models)}
        for name in self.models:
            self.routes[f"/v1/models/{name}"] = ("GET", lambda call, name=name: Reply(self.model(name), model=name))  # type: ignore[misc]

    def route(self, method: str, path: str) -> t.Callable[[Call], Reply]:
        """What answers ``method`` on ``path``.

        :raises ApiError: 404 for an unknown path or model, 405 for a path that takes another method.
        """
        if path not in self.routes:
            if path.startswith("/v1/models/"):
                raise self.unknown_model(path[len("/v1/models/") :])
            raise ApiError(404, f"No such path: {path}", "unknown_url")
        wanted, answer = self.routes[path]
        if wanted != method:
            raise ApiError(405, f"{path} accepts {wanted}", "method_not_allowed")
        return answer

    def check_headers(self, headers: t.Mapping[str, str]) -> None:  # noqa: B027 (one that takes all is fine)
        """:raises ApiError: 400 for headers (lower-case names) that the dialect does not take."""

    @abc.abstractmethod
    def error(self, error: ApiError, request_id: str) -> Document:
        """The document of an error."""

    def event(self, event: Document) -> bytes:
        """An event as a stream carries it."""
        return b"data: " + encoded(event) + b"\n\n"

    @abc.abstractmethod
    def model(self, name: str) -> Document:
        """The description of a model."""

    @abc.abstractmethod
    def list_models(self, call: Call) -> Reply:
        """All models, or the page of them that ``call`` asks for."""

    def unknown_model(self, name: str) -> ApiError:
        return ApiError(
            404, f"The model {name!r} does not exist at provider {self.provider}", "model_not_found", "model"
        )

    def checked_model(self, call: Call) -> str:
        model = call.body.get("model")
        if not isinstance(model, str) or not model:
            raise ApiError(400, "model must be the name of a model", "missing_model", "model")
        if model not in self.models:
            raise self.unknown_model(model)
        return model

    def answer(self, call: Call, prompt_words: int, limit: int | None) -> tuple[list[str], bool, Usage]:
        """The words of the answer, cut at ``limit``; whether that is all of it; and its usage."""
        words = f"This is a simulated answer of provider {self.provider} to {prompt_words} words.".split()
        whole = limit is None or limit >= len(words)
        words = words[:limit]
        usage = Usage(
            prompt_words if call.prompt_tokens is None else call.prompt_tokens,
            len(words) if call.completion_tokens is None else call.completion_tokens,
        )
        return words, whole, usage


class OpenAI(Dialect):
    """The OpenAI API: chat completions, completions, responses, embeddings, images and models.

    Where a request demands a tool, the answer calls it without arguments.
    """

    key_forms = (KeyForm("authorization", "Bearer"), KeyForm("x-api-key"), KeyForm("x-provider-api-key"))
    request_id_header = "x-request-id"
    stream_end = b"data: [DONE]\n\n"
    error_types = {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        429: "rate_limit_error",
    }

    def __init__(self, provider: str, models: t.Sequence[str]) -> None:
        super().__init__(provider, models)
        self.routes.update(
            {
                "/v1/chat/completions": ("POST", self.chat),
                "/v1/completions": ("POST", self.complete),
                "/v1/embeddings": ("POST", self.embed),
                "/v1/responses": ("POST", self.respond),
                "/v1/images/generations": ("POST", self.draw),
            }
        )

    def error(self, error: ApiError, request_id: str) -> Document:
        kind = self.error_types.get(error.status, "server_error" if error.status >= 500 else "invalid_request_error")
        return {"error": {"message": error.message, "type": kind, "param": error.param, "code": error.code}}

    def model(self, name: str) -> Document:
        return {"id": name, "object": "model", "created": self.started, "owned_by": self.provider}

    def list_models(self, call: Call) -> Reply:
        return Reply({"object": "list", "data": [self.model(name) for name in self.models]})

    def chat(self, call: Call) -> Reply:
        messages = call.body.get("messages")
        if (
            not isinstance(messages, list)
            or not messages
            or not all(isinstance(item, dict) and "role" in item for item in messages)
        ):
            raise ApiError(
                400,
                "messages must be a list of at least one object with role and content",
                "invalid_messages",
                "messages",
            )
        words = sum(count_words(item.get("content")) for item in messages)
        return self._completion(call, "chat.completion", "chatcmpl", words)

    def complete(self, call: Call) -> Reply:
        prompt = call.body.get("prompt")
        if not isinstance(prompt, (str, list)) or not prompt:
            raise ApiError(400, "prompt must be a string or a list of strings", "invalid_prompt", "prompt")
        return self._completion(call, "text_completion", "cmpl", count_words(prompt))

    def draw(self, call: Call) -> Reply:
        """A picture of one transparent pixel for each that is wanted."""
        model = self.checked_model(call)
        prompt, wanted = call.body.get("prompt"), call.body.get("n") or 1
        if not isinstance(prompt, str) or not prompt:
            raise ApiError(400, "prompt must be a string", "invalid_prompt", "prompt")
        if not _is_whole(wanted) or not 1 <= wanted <= PICTURES_LIMIT:
            raise ApiError(400, f"n must be a whole number from 1 to {PICTURES_LIMIT}", "invalid_n", "n")
        usage = Usage(
            count_words(prompt) if call.prompt_tokens is None else call.prompt_tokens,
            wanted if call.completion_tokens is None else call.completion_tokens,
        )
        document = {"created": int(time.time()), "data": [{"b64_json": PICTURE}] * wanted, "usage": _tokens(usage)}
        return Reply(document, model=model, usage=usage)

    def respond(self, call: Call) -> Reply:
        """A response with one message, or one call of the tool that is demanded. None is stored."""
        model, given = self.checked_model(call), call.body.get("input")
        items = [{"content": given}] if isinstance(given, str) else given
        if not isinstance(items, list) or not items or not all(isinstance(item, dict) for item in items):
            raise ApiError(400, "input must be a string or a list of items", "invalid_input", "input")
        for name in ("previous_response_id", "conversation"):
            if call.body.get(name) is not None:
                raise ApiError(404, f"{name}: nothing of that name is stored", "not_found", name)
        limit = call.body.get("max_output_tokens")
        if limit is not None and (not _is_whole(limit) or limit < 1):
            raise ApiError(400, "max_output_tokens must be a whole number of at least 1", "invalid_max", None)
        words, whole, usage = self.answer(call, sum(count_words(item.get("content")) for item in items), limit)
        number, tool = next(self.numbers), demanded_tool(call.body)
        part = {"type": "output_text", "text": " ".join(words), "annotations": []}
        message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "status": "completed"}
        item = {**message, "content": [part]}
        if tool:
            item = {"id": f"fc_{number}", "type": "function_call", "status": "completed", "arguments": "{}"}
            item |= {"call_id": f"call_{number}", "name": tool}
        response: Document = {
            "id": f"resp_{self.provider}_{number}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "completed" if whole else "incomplete",
            "error": None,
            "incomplete_details": None if whole else {"reason": "max_output_tokens"},
            "instructions": call.body.get("instructions"),
            "model": model,
            "output": [item],
            "parallel_tool_calls": True,
            "store": False,
            "tool_choice": call.body.get("tool_choice") or "auto",
            "tools": call.body.get("tools") or [],
            "usage": {
                **_tokens(usage),
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            },
        }
        if call.body.get("stream") is True:
            return Reply(events=self._response_events(response, item, words), model=model, usage=usage)
        return Reply(response, model=model, usage=usage)

    @staticmethod
    def _response_events(response: Document, item: Document, words: list[str]) -> t.Iterator[Document]:
        """The response's beginning, one delta a word or the call of a tool, and its end, with the usage."""
        numbers = itertools.count()

        def event(kind: str, **fields: t.Any) -> Document:
            return {"type": f"response.{kind}", "sequence_number": next(numbers), **fields}

        begun = {**response, "status": "in_progress", "output": [], "usage": None}
        yield event("created", response=begun)
        yield event("in_progress", response=begun)
        at = {"item_id": item["id"], "output_index": 0}
        if item["type"] == "function_call":
            opened = {**item, "status": "in_progress", "arguments": ""}
            yield event("output_item.added", output_index=0, item=opened)
            yield event("function_call_arguments.delta", **at, delta=item["arguments"])
            yield event("function_call_arguments.done", **at, name=item["name"], arguments=item["arguments"])
        else:
            part, at_part = item["content"][0], {**at, "content_index": 0}
            yield event("output_item.added", output_index=0, item={**item, "status": "in_progress", "content": []})
            yield event("content_part.added", **at_part, part={**part, "text": ""})
            for index, word in enumerate(words):
                yield event("output_text.delta", **at_part, delta=f" {word}" if index else word, logprobs=[])
            yield event("output_text.done", **at_part, text=part["text"], logprobs=[])
            yield event("content_part.done", **at_part, part=part)
        yield event("output_item.done", output_index=0, item=item)
        yield event("completed" if response["status"] == "completed" else "incomplete", response=response)

    def event(self, event: Document) -> bytes:
        kind = event.get("type", "")
        name = f"event: {kind}\n".encode() if isinstance(kind, str) and kind.startswith("response.") else b""
        return name + super().event(event)

    def embed(self, call: Call) -> Reply:
        model = self.checked_model(call)
        inputs = self._inputs(call.body.get("input"))
        encoding = call.body.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise ApiError(400, "encoding_format must be float or base64", "invalid_encoding_format", "encoding_format")
        dimensions = call.body.get("dimensions")
        dimensions = DIMENSIONS if dimensions is None else dimensions
        if not _is_whole(dimensions) or not 1 <= dimensions <= DIMENSIONS_LIMIT:
            raise ApiError(
                400,
                f"dimensions must be a whole number from 1 to {DIMENSIONS_LIMIT}",
                "invalid_dimensions",
                "dimensions",
            )
        if len(inputs) * dimensions > NUMBERS_LIMIT:
            raise ApiError(
                400,
                f"an answer has up to {NUMBERS_LIMIT} numbers: ask for fewer inputs or dimensions",
                "invalid_input",
                "input",
            )
        words = count_words(inputs)
        usage = Usage(words if call.prompt_tokens is None else call.prompt_tokens, 0)

        def embedding(item: t.Any) -> t.Any:
            packed = vector_of(f"{model} {json.dumps(item)}", dimensions)
            return (
                base64.b64encode(packed).decode()
                if encoding == "base64"
                else list(struct.unpack(f"<{dimensions}f", packed))
            )

        data = [
            {"object": "embedding", "index": index, "embedding": embedding(item)} for index, item in enumerate(inputs)
        ]
        tokens = {"prompt_tokens": usage.input_tokens, "total_tokens": usage.input_tokens}
        return Reply({"object": "list", "data": data, "model": model, "usage": tokens}, model=model, usage=usage)

    @staticmethod
    def _inputs(value: t.Any) -> list[t.Any]:
        """The inputs of embeddings: a string, strings, a list of tokens (one input), or a list of such lists."""
        inputs = value if isinstance(value, list) and not all(map(_is_whole, value)) else [value]
        texts = all(isinstance(item, str) and item for item in inputs)
        tokens = all(isinstance(item, list) and item and all(map(_is_whole, item)) for item in inputs)
        if not (texts or tokens) or len(inputs) > INPUTS_LIMIT:
            raise ApiError(
                400,
                f"input must be a string, tokens, or a list of up to {INPUTS_LIMIT} of either, none of them empty",
                "invalid_input",
                "input",
            )
        return inputs

    def _completion(self, call: Call, kind: str, prefix: str, prompt_words: int) -> Reply:
        model = self.checked_model(call)
        stream = call.body.get("stream") or False
        if not isinstance(stream, bool):
            raise ApiError(400, "stream must be true or false", "invalid_stream", "stream")
        options = call.body.get("stream_options") or {}
        if not isinstance(options, dict):
            raise ApiError(400, "stream_options must be an object", "invalid_stream_options", "stream_options")
        words, whole, usage = self.answer(call, prompt_words, self._limit(call.body))
        finish = "stop" if whole else "length"
        chat = kind == "chat.completion"
        head = {
            "id": f"{prefix}-{self.provider}-{next(self.numbers)}",
            "object": "chat.completion.chunk" if chat and stream else kind,
            "created": int(time.time()),
            "model": model,
        }
        tokens = {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        }
        tool = demanded_tool(call.body) if chat else ""
        called = {"id": f"call_{head['id']}", "type": "function", "function": {"name": tool, "arguments": "{}"}}
        if stream:
            shown = tokens if options.get("include_usage") is True else None
            events = self._events(head, words, finish, chat, shown, called if tool else None)
            return Reply(events=events, model=model, usage=usage)
        text = " ".join(words)
        choice: Document = {"index": 0, "logprobs": None, "finish_reason": finish}
        choice.update({"message": {"role": "assistant", "content": text}} if chat else {"text": text})
        if tool:
            choice |= {"message": {"role": "assistant", "content": None, "tool_calls": [called]}}
            choice |= {"finish_reason": "tool_calls"}
        return Reply({**head, "choices": [choice], "usage": tokens}, model=model, usage=usage)

    @staticmethod
    def _events(
        head: Document,
        words: list[str],
        finish: str,
        chat: bool,
        tokens: dict[str, int] | None,
        called: Document | None,
    ) -> t.Iterator[Document]:
        """One chunk a word, or one with the call of a tool.

        With ``tokens`` these stand in a last chunk of their own; without, a stream reports no usage, as at OpenAI.
        """
        empty = {} if tokens is None else {"usage": None}

        def chunk(content: Document, reason: str | None = None) -> Document:
            return {**head, "choices": [{"index": 0, **content, "logprobs": None, "finish_reason": reason}], **empty}

        if chat:
            yield chunk({"delta": {"role": "assistant", "content": ""}})
        if called:
            yield chunk({"delta": {"tool_calls": [{"index": 0, **called}]}})
            words, finish = [], "tool_calls"
        for index, word in enumerate(words):
            text = f" {word}" if index else word
            yield chunk({"delta": {"content": text}} if chat else {"text": text})
        yield chunk({"delta": {}} if chat else {"text": ""}, finish)
        if tokens is not None:
            yield {**head, "choices": [], "usage": tokens}

    @staticmethod
    def _limit(body: Document) -> int | None:
        for name in ("max_completion_tokens", "max_tokens"):
            limit = body.get(name)
            if limit is not None:
                if not _is_whole(limit) or limit < 1:
                    raise ApiError(400, f"{name} must be a whole number of at least 1", "invalid_" + name, name)
                return t.cast(int, limit)
        return None


class Anthropic(Dialect):
    """The Anthropic API: messages, the count of their tokens and models."""

    #: Newer SDKs send a token of either kind as the second.
    key_forms = (KeyForm("x-api-key"), KeyForm("authorization", "Bearer"))
    request_id_header = "request-id"
    error_types = {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        504: "timeout_error",
        529: "overloaded_error",
    }
    #: Types of content blocks. Only the content of the first two is checked.
    blocks = ("text", "image", "document", "search_result", "thinking", "redacted_thinking", "tool_use", "tool_result")

    def __init__(self, provider: str, models: t.Sequence[str]) -> None:
        super().__init__(provider, models)
        self.routes.update(
            {"/v1/messages": ("POST", self.create), "/v1/messages/count_tokens": ("POST", self.count_tokens)}
        )

    def check_headers(self, headers: t.Mapping[str, str]) -> None:
        version = headers.get("anthropic-version")
        if version is None:
            raise ApiError(400, "anthropic-version: header is required")
        # Clients of any age name the version they were made for, and all get the one shape.
        if not re.fullmatch("[0-9]{4}-[0-9]{2}-[0-9]{2}", version):
            raise ApiError(400, f"anthropic-version: {version!r} is not a valid version")

    def error(self, error: ApiError, request_id: str) -> Document:
        kind = self.error_types.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": request_id}

    def event(self, event: Document) -> bytes:
        return f"event: {event['type']}\n".encode() + super().event(event)

    def model(self, name: str) -> Document:
        created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.started))
        return {"type": "model", "id": name, "display_name": name, "created_at": created}

    def list_models(self, call: Call) -> Reply:
        """A page of ``limit`` models: the first after ``after_id``, or the last before ``before_id``."""
        limit = call.query.get("limit", "20")
        if not re.fullmatch("[0-9]{1,4}", limit) or not 1 <= int(limit) <= 1000:
            raise ApiError(400, "limit: Input should be a whole number from 1 to 1000")
        names = list(self.models)
        backwards = "before_id" in call.query
        cursor = call.query.get("before_id") if backwards else call.query.get("after_id")
        if cursor is not None:
            if cursor not in names:
                raise ApiError(400, "before_id and after_id: Input should be the id of a model")
            names = names[: names.index(cursor)] if backwards else names[names.index(cursor) + 1 :]
        page = names[-int(limit) :] if backwards else names[: int(limit)]
        ends = {"first_id": page[0], "last_id": page[-1]} if page else {"first_id": None, "last_id": None}
        return Reply({"data": [self.model(name) for name in page], "has_more": len(page) < len(names), **ends})

    def create(self, call: Call) -> Reply:
        model, prompt_words = self._prompt(call)
        limit = call.body.get("max_tokens")
        if limit is None:
            raise ApiError(400, "max_tokens: Field required")
        if not _is_whole(limit) or limit < 1:
            raise ApiError(400, "max_tokens: Input should be a whole number of at least 1")
        stream = call.body.get("stream") or False
        if not isinstance(stream, bool):
            raise ApiError(400, "stream: Input should be true or false")
        words, whole, usage = self.answer(call, prompt_words, limit)
        reason = "end_turn" if whole else "max_tokens"
        tool = demanded_tool(call.body)
        content: Document = {"type": "text", "text": " ".join(words)}
        if tool:
            content = {"type": "tool_use", "id": f"toolu_{next(self.numbers)}", "name": tool, "input": {}}
            reason = "tool_use"
        message: Document = {
            "id": f"msg_{self.provider}_{next(self.numbers)}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [content],
            "stop_reason": reason,
            "stop_sequence": None,
            "usage": {
                "input_tokens": usage.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": usage.output_tokens,
            },
        }
        if stream:
            return Reply(events=self._events(message, words), model=model, usage=usage)
        return Reply(message, model=model, usage=usage)

    def count_tokens(self, call: Call) -> Reply:
        model, prompt_words = self._prompt(call)
        return Reply({"input_tokens": prompt_words if call.prompt_tokens is None else call.prompt_tokens}, model=model)

    @staticmethod
    def _events(message: Document, words: list[str]) -> t.Iterator[Document]:
        """The message's beginning, one delta a word, and its end; the counts of tokens are those of all the message so
        far.
        """
        usage = message["usage"]
        # The real end has made the first token when it begins.
        begun = {**usage, "output_tokens": min(1, usage["output_tokens"])}
        yield {"type": "message_start", "message": {**message, "content": [], "stop_reason": None, "usage": begun}}
        (content,) = message["content"]
        calls = content["type"] == "tool_use"
        opened = content if calls else {"type": "text", "text": ""}
        yield {"type": "content_block_start", "index": 0, "content_block": opened}
        yield {"type": "ping"}
        if calls:
            delta = {"type": "input_json_delta", "partial_json": "{}"}
            yield {"type": "content_block_delta", "index": 0, "delta": delta}
        for index, word in enumerate(() if calls else words):
            yield {
                "type": "content_block_delta",
                "index": 0,
                "delta": {"type": "text_delta", "text": f" {word}" if index else word},
            }
        yield {"type": "content_block_stop", "index": 0}
        delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
        yield {"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage["output_tokens"]}}
        yield {"type": "message_stop"}

    def _prompt(self, call: Call) -> tuple[str, int]:
        """The model, and the words of the system prompt and all messages."""
        model = self.checked_model(call)
        messages = call.body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise ApiError(400, "messages: at least one message is required")
        words = 0
        for index, message in enumerate(messages):
            where = f"messages.{index}"
            role = message.get("role") if isinstance(message, dict) else None
            if role not in ("user", "assistant"):
                raise ApiError(
                    400,
                    f"{where}.role: Input should be 'user' or 'assistant'; a system prompt belongs in the field system",
                )
            # The real API joins consecutive messages of one role, so it refuses an order only by the first message.
            if index == 0 and role != "user":
                raise ApiError(400, 'messages: first message must use the "user" role')
            words += self._words(
                message.get("content"), f"{where}.content", empty=index == len(messages) - 1 > 0 and role == "assistant"
            )
        system = call.body.get("system")
        if system is not None:
            if isinstance(system, list) and not all(
                isinstance(block, dict) and block.get("type") == "text" for block in system
            ):
                raise ApiError(400, "system: Input should be a string or a list of blocks of type `text`")
            words += self._words(system, "system", empty=True)
        tools = call.body.get("tools")
        if tools is not None and (
            not isinstance(tools, list) or not all(isinstance(tool, dict) and tool.get("name") for tool in tools)
        ):
            raise ApiError(400, "tools: Input should be a list of tools, each with a name")
        return model, words

    def _words(self, content: t.Any, where: str, empty: bool) -> int:
        """The words of a content, a string or a list of blocks. It may be without any only where ``empty`` says so."""
        if not isinstance(content, (str, list)):
            raise ApiError(400, f"{where}: Input should be a string or a list of content blocks")
        if not content and not empty:
            raise ApiError(400, f"{where}: only the last message of the assistant may be empty")
        for index, block in enumerate(content if isinstance(content, list) else ()):
            kind = block.get("type") if isinstance(block, dict) else None
            if kind not in self.blocks:
                raise ApiError(400, f"{where}.{index}.type: Input should be one of {', '.join(self.blocks)}")
            if kind == "text" and not (isinstance(block.get("text"), str) and block["text"]):
                raise ApiError(400, f"{where}.{index}.text: text content blocks must be non-empty")
            source = block.get("source")
            if kind == "image" and not (isinstance(source, dict) and source.get("type") in ("base64", "url", "file")):
                raise ApiError(400, f"{where}.{index}.source: Input should be an object of type base64, url or file")
        return count_words(content)


#: The dialects by the catalogue's names.
DIALECTS: dict[str, type[Dialect]] = {"openai": OpenAI, "anthropic": Anthropic}


def encoded(document: Document) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def demanded_tool(body: Document) -> str:
    """The name of the tool that a request demands to be called, in either API; empty where it demands none."""
    choice, tools = body.get("tool_choice"), body.get("tools")
    names = [
        (tool.get("function") or tool).get("name") if isinstance(tool.get("function"), (dict, type(None))) else None
        for tool in (tools if isinstance(tools, list) else ())
        if isinstance(tool, dict)
    ]
    if isinstance(choice, dict):
        named = choice.get("function") if isinstance(choice.get("function"), dict) else choice
        wanted = named.get("name") if isinstance(named, dict) else None
        if wanted in names and isinstance(wanted, str):
            return wanted
    demands = choice == "required" or (isinstance(choice, dict) and choice.get("type") == "any")
    return next((name for name in names if isinstance(name, str)), "") if demands else ""


def _tokens(usage: Usage) -> Document:
    """A usage in the words of responses and images."""
    return {
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def count_words(content: t.Any) -> int:
    """Words of a string, of a list of strings or of the `text` parts of a message; a number is a token."""
    if isinstance(content, str):
        return len(content.split())
    if isinstance(content, list):
        return sum(count_words(item.get("text") if isinstance(item, dict) else item) for item in content)
    return 1 if _is_whole(content) else 0


def vector_of(text: str, dimensions: int) -> bytes:
    """A vector of length 1 that depends on the input alone, as 32-bit floating point numbers, little-endian."""
    digest = hashlib.shake_256(text.encode()).digest(2 * dimensions)
    # None of them is zero, so neither is their length.
    numbers = [number - 32767.5 for number in struct.unpack(f"<{dimensions}H", digest)]
    length = math.sqrt(sum(number * number for number in numbers))
    return struct.pack(f"<{dimensions}f", *(number / length for number in numbers))


def _is_whole(value: t.Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
