# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Envoy gives its programs, on the interpreter that it has."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.identity import digest
from lupa import luajit21
from rendering import ROLES, documents

#: That of identities.
KEY = "k" * 64
#: How Envoy's own answers begin to say why.
REFUSED_BY = digest(KEY, "/refused-by")
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "k"},
            "models": [{"name": "gpt-4"}, {"name": "Qwen/Qwen3-0.6B"}],
        },
        {
            "name": "claude",
            "schema": "anthropic",
            "simulated": True,
            "credential": {"value": "k"},
            "models": [{"name": "claude-3-sonnet"}],
        },
    ],
    "ai_gateway_models": [
        {"name": "facebook/opt-125m", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}}
    ],
    "ai_gateway_tiers": [
        {
            "name": "free",
            "level": 0,
            "groups": ["all"],
            "token_limit": {"tokens": 100, "window": "1m"},
            "request_limit": {"requests": 20, "window": "1m"},
            "model_limits": [
                {
                    "models": ["gpt-4"],
                    "output_token_limit": {"tokens": 7, "window": "1h"},
                    "cost_limit": {"cost": 0.25, "window": "24h"},
                }
            ],
        },
        {
            "name": "narrow",
            "level": 1,
            "groups": ["few"],
            "token_limit": {"tokens": 5, "window": "24h"},
            "models": ["claude-3-sonnet"],
        },
    ],
    "ai_gateway_prices": {"gpt-4": {"input": 2.5, "output": 10}},
    "ai_gateway_request_body_limit": "1Mi",
    "access_policies_cors": ["https://app.example.com", "https://*.pages.example.com"],
    "__access_policies_identity_key": KEY,
    "__access_policies_authorino_ca": "authority",
}
#: With a keyword that leads to another model.
ROUTER = {
    "models": ["gpt-4", "Qwen/Qwen3-0.6B", "pooled"],
    "default_model": "gpt-4",
    "signals": {"keywords": [{"name": "math", "keywords": ["integral"]}]},
    "decisions": [
        {
            "name": "math",
            "priority": 100,
            "rules": {"operator": "AND", "conditions": [{"type": "keyword", "name": "math"}]},
            "model": "Qwen/Qwen3-0.6B",
        }
    ],
}
#: Headers are no plain table: what goes over all of them asks for them.
PAIRS = (
    "local plain = pairs; function pairs(value) if value.all then return plain(value.all()) end return plain(value) end"
)


def with_router(mode: str) -> dict[str, t.Any]:
    """The variables with a semantic router of that mode."""
    free, narrow = VARIABLES["ai_gateway_tiers"]
    return {
        **VARIABLES,
        "ai_gateway_request_body_limit": "50Mi",
        "access_policies_router_timeout": "20s",
        "ai_gateway_models": [
            {"name": "pooled", "backend_ref": {"kind": "InferencePool", "name": "pool"}},
            {"name": "opt", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}},
        ],
        "ai_gateway_inference_pools": [
            {"name": "pool", "selector": {"model": "pooled"}, "objectives": [{"name": "batch", "priority": -1}]}
        ],
        "ai_gateway_tiers": [
            # Its limits are of single models, which a gateway behind this one would pass by.
            {**{key: value for key, value in free.items() if key != "model_limits"}, "objective": "batch"},
            {**narrow, "models": ["gpt-4", "auto", *(["opt"] if mode == "dual_gateway" else [])]},
            {**narrow, "name": "closed", "level": 2, "models": ["gpt-4"]},
        ],
        "ai_gateway_semantic_router": {**ROUTER, "mode": mode}
        if mode == "single_gateway"
        else {"default_model": "opt", "mode": mode},
    }


class Handle:
    """One request or answer; bytes are kept as strings of Latin-1, as the interpreter has them."""

    def __init__(
        self, lua: t.Any, headers: dict[str, str], chunks: list[bytes], metadata: dict[str, t.Any] | None = None
    ) -> None:
        self.lua = lua
        self.values = headers
        self.chunks = chunks
        self.kept = metadata if metadata is not None else {}
        self.sent: tuple[dict[str, str], bytes] | None = None
        self.errors: list[str] = []
        self.warnings: list[str] = []
        #: By the name of a cluster, its gRPC status, empty before the end of its answer; those that are missing do not
        #: exist.
        self.clusters: dict[str, str] = {}
        self.calls: list[str] = []
        self.resumed = 0
        self.protocol = "HTTP/1.1"
        #: Milliseconds since the epoch.
        self.now = 1_000_000

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)

    def answer(self) -> tuple[int, t.Any]:
        """Status and document of what the program answered itself."""
        assert self.sent, "the program answered nothing itself"
        headers, body = self.sent
        assert headers["content-type"] == "application/json"
        return int(headers[":status"]), json.loads(body)

    # From here on the names are Envoy's.
    def headers(self, _self: t.Any) -> t.Any:
        got = self.resumed

        def alive() -> dict[str, str]:
            assert got == self.resumed, "object used outside of proper scope"
            return self.values

        return self.lua.table_from(
            {
                "get": lambda _table, name: (alive().get(name) or "").split("\n")[0] if name in alive() else None,
                "getNumValues": lambda _table, name: len(alive()[name].split("\n")) if name in alive() else 0,
                "replace": lambda _table, name, value: alive().__setitem__(name, value),
                "remove": lambda _table, name: alive().pop(name, None),
                "all": lambda: self.lua.table_from(alive()),
            }
        )

    def _buffer(self, first: int, last: int) -> t.Any:
        def replace(_table: t.Any, content: str) -> int:
            self.chunks[first:last] = [content.encode("latin-1"), *[b""] * (last - first - 1)]
            return len(content)

        def content() -> bytes:
            return b"".join(self.chunks[first:last])

        return self.lua.table_from(
            {
                "length": lambda _table: len(content()),
                "getBytes": lambda _table, start, length: content()[start : start + length].decode("latin-1"),
                "setBytes": replace,
            }
        )

    def body(self, _self: t.Any, _always: bool) -> t.Any:
        # The program sleeps until the body is there, and Envoy takes back what it had given.
        self.resumed += 1
        return self._buffer(0, len(self.chunks))

    def bodyChunks(self, _self: t.Any) -> t.Any:  # noqa: N802
        places = iter(range(len(self.chunks)))

        def next_chunk(*_arguments: t.Any) -> t.Any:
            self.resumed += 1
            place = next(places, None)
            return None if place is None else self._buffer(place, place + 1)

        return next_chunk

    def streamInfo(self, _self: t.Any) -> t.Any:  # noqa: N802
        metadata = self.lua.table_from(
            {
                "get": lambda _table, name: self.lua.table_from(self.kept[name]) if self.kept.get(name) else None,
                "set": lambda _table, name, key, value: self.kept.setdefault(name, {}).__setitem__(key, value),
            }
        )
        return self.lua.table_from(
            {"dynamicMetadata": lambda _table: metadata, "protocol": lambda _table: self.protocol}
        )

    def respond(self, _self: t.Any, headers: t.Any, body: str) -> None:
        if self.sent is None:
            self.sent = (dict(headers.items()), body.encode("latin-1"))

    def logErr(self, _self: t.Any, message: str) -> None:  # noqa: N802
        self.errors.append(message)

    def logWarn(self, _self: t.Any, message: str) -> None:  # noqa: N802
        self.warnings.append(message)

    def httpCall(self, _self: t.Any, cluster: str, _headers: t.Any, _body: str, _milliseconds: int) -> t.Any:  # noqa: N802
        self.resumed += 1
        self.calls.append(cluster)
        if cluster not in self.clusters:
            raise ValueError("http call cluster invalid. Must be configured")
        status = self.clusters[cluster]
        return self.lua.table_from({":status": "200", **({"grpc-status": status} if status else {})}), ""

    def timestamp(self, _self: t.Any) -> int:
        return self.now

    def as_table(self) -> t.Any:
        names = ("headers", "body", "bodyChunks", "streamInfo", "respond", "logErr", "logWarn", "httpCall", "timestamp")
        return self.lua.table_from({name: getattr(self, name) for name in names})


class Program:
    """A program of the proxies."""

    def __init__(self, text: str) -> None:
        self.lua = luajit21.LuaRuntime(unpack_returned_tuples=True, encoding="latin-1")
        self.lua.execute(PAIRS)
        self.lua.execute(text.encode())

    def request(
        self,
        headers: dict[str, str],
        body: bytes = b"",
        kept: dict[str, t.Any] | None = None,
        clusters: dict[str, str] | None = None,
    ) -> Handle:
        """``kept`` is what programs before this one have kept of the request, ``clusters`` what answers besides."""
        handle = Handle(self.lua, dict(headers), [body], {"egress.ai-gateway": dict(kept)} if kept else None)
        handle.clusters = clusters or {}
        self.lua.globals().envoy_on_request(handle.as_table())
        assert not handle.errors, handle.errors
        return handle

    def response(self, headers: dict[str, str], chunks: list[bytes], metadata: dict[str, t.Any]) -> Handle:
        handle = Handle(self.lua, dict(headers), list(chunks), metadata)
        self.lua.globals().envoy_on_response(handle.as_table())
        assert not handle.errors, handle.errors
        return handle


def part(name: str, returned: str) -> t.Any:
    """What a file of the programs defines, where it stands alone."""
    lua = luajit21.LuaRuntime(unpack_returned_tuples=True, encoding="latin-1")
    return lua.execute((ROLES / "access_policies/files" / name).read_bytes() + f"\nreturn {returned}".encode())


def programs(rendered: str) -> dict[str, str]:
    """The programs in the rendered policies:

    that before every filter, that after authorization, that next to the providers and, where there are MCP servers,
    that next to these.
    """
    found = documents(rendered)
    filters = [
        patch["operation"]["value"]
        for manifest in found
        if manifest["kind"] == "EnvoyPatchPolicy"
        for patch in manifest["spec"]["jsonPatches"]
    ]
    (extension,) = (manifest["spec"] for manifest in found if manifest["kind"] == "EnvoyExtensionPolicy")
    named = {
        item["name"].rpartition("egress.ai_gateway.")[2]: item["typed_config"]["default_source_code"]["inline_string"]
        for item in filters
        if isinstance(item, dict) and "default_source_code" in item.get("typed_config", {})
    }
    return {**named, "body_filter": extension["lua"][0]["inline"]}


def identity_key(directory: Path) -> Path:
    path = directory / "key"
    path.write_text("k" * 64, encoding="ascii")
    return path


def costs(handle: Handle) -> tuple[int, int, int]:
    """What a request costs: all tokens, those of its input and of its output."""
    kept = handle.kept["egress.ai-gateway"]
    return kept["total_tokens"], kept["input_tokens"], kept["output_tokens"]


def events(*documents: t.Any, separator: str = ": ", end: str = "\n\n") -> bytes:
    return "".join(f"data{separator}{json.dumps(document)}{end}" for document in documents).encode()


CHUNK = {"id": "1", "choices": [{"index": 0, "delta": {"content": "a"}}], "usage": None}
LAST = {"id": "1", "choices": [], "usage": {"prompt_tokens": 60, "completion_tokens": 40, "total_tokens": 100}}
DONE = b"data: [DONE]\n\n"
STREAM = {"content_type": "text/event-stream; charset=utf-8"}


def cuts(text: bytes) -> list[list[bytes]]:
    """The string in one piece, in two at several places, and byte by byte."""
    return [
        [text],
        *([text[:place], text[place:]] for place in range(1, len(text), 37)),
        [bytes([byte]) for byte in text],
        [text, b""],
    ]
