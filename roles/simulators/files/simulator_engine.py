# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The engine of a simulated model server: it serves some requests at a time, lets others wait, and keeps a cache of
prompts in blocks of tokens, where a token is a word.

It reports what it does under the names that vLLM has for it, so that an endpoint picker can choose by them. Everything
here may be used from many threads at once.
"""

from __future__ import annotations

import contextlib
import threading
import time
import typing as t
from collections import OrderedDict, deque

#: Tokens of a block of the cache, as in vLLM.
BLOCK_TOKENS = 16
#: Tokens of an answer whose length nobody says.
ANSWER_TOKENS = 16


def words_of(document: t.Mapping[str, t.Any]) -> list[str]:
    """The words of a request's prompt: of its messages, its prompt or its input."""
    texts: list[str] = []
    pending: deque[t.Any] = deque(document.get(name) for name in ("system", "messages", "prompt", "input"))
    while pending:
        found = pending.popleft()
        if isinstance(found, str):
            texts.append(found)
        elif isinstance(found, list):
            pending.extendleft(reversed(found))
        elif isinstance(found, dict):
            pending.extendleft(found.get(name) for name in ("text", "content"))
    return " ".join(texts).split()


def blocks_of(words: t.Sequence[str]) -> list[int]:
    """A value for each whole block of the prompt, which stands for that block and all before it."""
    values: list[int] = []
    for start in range(0, len(words) - len(words) % BLOCK_TOKENS, BLOCK_TOKENS):
        values.append(hash((values[-1] if values else 0, tuple(words[start : start + BLOCK_TOKENS]))))
    return values


class Engine:
    """Serves up to ``slots`` requests at a time whose tokens fit into ``blocks`` blocks; others wait in their order."""

    def __init__(self, slots: int, blocks: int) -> None:
        self.slots = slots
        self.blocks = blocks
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._running = 0
        self._used = 0
        self._cached: OrderedDict[int, None] = OrderedDict()
        self._queried = 0
        self._hit = 0

    @contextlib.contextmanager
    def serving(self, document: t.Mapping[str, t.Any], answer_tokens: int | None) -> t.Iterator[None]:
        """Wait for the request's turn, and hold its place and its blocks until the end."""
        words = words_of(document)
        tokens = len(words) + (ANSWER_TOKENS if answer_tokens is None else answer_tokens)
        needed = min(self.blocks, -(-tokens // BLOCK_TOKENS))
        place = object()
        with self._changed:
            self._waiting.append(place)
            self._changed.wait_for(lambda: self._waiting[0] is place and self._fits(needed))
            self._waiting.popleft()
            self._running += 1
            self._used += needed
            self._look_up([hash((document.get("model"), block)) for block in blocks_of(words)])
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._used -= needed
                self._changed.notify_all()

    def _fits(self, needed: int) -> bool:
        return self._running < self.slots and self._used + needed <= self.blocks

    def _look_up(self, blocks: t.Sequence[int]) -> None:
        """Count how much of a prompt is in the cache from its beginning on, and keep all of it."""
        known = 0
        while known < len(blocks) and blocks[known] in self._cached:
            known += 1
        self._queried += len(blocks) * BLOCK_TOKENS
        self._hit += known * BLOCK_TOKENS
        for block in blocks:
            self._cached[block] = None
            self._cached.move_to_end(block)
        while len(self._cached) > self.blocks:
            self._cached.popitem(last=False)

    def metrics(self, model: str) -> str:
        """What it does now, in the format that Prometheus reads."""
        with self._changed:
            label = model.replace("\\", "\\\\").replace('"', '\\"')
            own = f'{{model_name="{label}"}}'
            cache = f'{{block_size="{BLOCK_TOKENS}",num_gpu_blocks="{self.blocks}"}}'
            lora = '{max_lora="0",running_lora_adapters="",waiting_lora_adapters=""}'
            found = (
                ("vllm:num_requests_running", "gauge", own, self._running),
                ("vllm:num_requests_waiting", "gauge", own, len(self._waiting)),
                ("vllm:kv_cache_usage_perc", "gauge", own, self._used / self.blocks),
                ("vllm:prefix_cache_queries_total", "counter", own, self._queried),
                ("vllm:prefix_cache_hits_total", "counter", own, self._hit),
                ("vllm:cache_config_info", "gauge", cache, 1),
                ("vllm:lora_requests_info", "gauge", lora, time.time()),
            )
        return "".join(f"# TYPE {name} {kind}\n{name}{labels} {value:.6f}\n" for name, kind, labels, value in found)
