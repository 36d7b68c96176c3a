# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulated model server: how many requests it serves at a time, what it reports, and what it keeps."""

from __future__ import annotations

import re
import threading
import time
import typing as t
from collections.abc import Callable

from simulator_process import Simulator

LONG = " ".join(f"word{number}" for number in range(64))


def metrics(simulator: Simulator) -> dict[str, float]:
    connection = simulator.connect()
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    text = response.read().decode()
    assert (response.status, response.headers["content-type"]) == (200, "text/plain; version=0.0.4")
    return {name: float(value) for name, value in re.findall(r"^vllm:(\w+)\{[^}]*\} (\S+)$", text, re.MULTILINE)}


def until(simulator: Simulator, **wanted: float) -> dict[str, float]:
    deadline = time.monotonic() + 30
    while True:
        found = metrics(simulator)
        if wanted.items() <= found.items():
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def chat(content: str, **more: t.Any) -> dict[str, t.Any]:
    return {"model": "gpt-4", "messages": [{"role": "user", "content": content}], **more}


def test_requests_beyond_the_slots_wait_and_all_are_answered(start: Callable[..., Simulator]) -> None:
    simulator = start("--no-key", "--slots=2", "--cache-blocks=100")
    idle = {"num_requests_running": 0, "num_requests_waiting": 0, "kv_cache_usage_perc": 0}
    until(simulator, **idle)
    answers: list[int] = []

    def ask() -> None:
        headers = {"x-simulator-delay": "1", "x-simulator-completion-tokens": "16"}
        answers.append(simulator.ask("POST", "/v1/chat/completions", chat(LONG), **headers)[0])

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    # 64 words and 16 tokens of the answer are 5 blocks.
    until(simulator, num_requests_running=2, num_requests_waiting=3, kv_cache_usage_perc=0.1)
    for thread in threads:
        thread.join()
    assert answers == [200] * 5
    until(simulator, **idle)


def test_a_stream_holds_its_place_to_the_end(start: Callable[..., Simulator]) -> None:
    simulator = start("--no-key", "--slots=1", "--cache-blocks=4")
    connection = simulator.connect()
    body = b'{"model": "gpt-4", "stream": true, "messages": [{"role": "user", "content": "Hello"}]}'
    connection.request("POST", "/v1/chat/completions", body, {"x-simulator-event-delay": "0.2"})
    response = connection.getresponse()
    assert response.status == 200
    assert metrics(simulator)["num_requests_running"] == 1
    assert response.read().rstrip().endswith(b"data: [DONE]")
    until(simulator, num_requests_running=0, kv_cache_usage_perc=0)


def test_a_full_cache_lets_requests_wait(start: Callable[..., Simulator]) -> None:
    simulator = start("--no-key", "--slots=4", "--cache-blocks=8")
    body, headers = chat(LONG), {"x-simulator-delay": "0.5", "x-simulator-completion-tokens": "16"}
    threads = [
        threading.Thread(target=simulator.ask, args=("POST", "/v1/chat/completions", body), kwargs=headers)
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    until(simulator, num_requests_running=1, num_requests_waiting=1, kv_cache_usage_perc=0.625)
    for thread in threads:
        thread.join()


def test_a_prefix_that_was_seen_is_in_the_cache(start: Callable[..., Simulator]) -> None:
    simulator = start("--no-key", "--slots=4", "--cache-blocks=100")
    for content, queried, hit in (
        (LONG, 64, 0),
        (LONG, 128, 64),
        # The first two blocks are the same, and from the third on they differ.
        (LONG.replace("word33", "other"), 192, 96),
        ("short", 192, 96),
    ):
        assert simulator.ask("POST", "/v1/chat/completions", chat(content))[0] == 200
        found = metrics(simulator)
        assert (found["prefix_cache_queries_total"], found["prefix_cache_hits_total"]) == (queried, hit)
    # Of another model it is not.
    simulator.ask("POST", "/v1/chat/completions", {**chat(LONG), "model": "Qwen/Qwen3-0.6B"})
    assert metrics(simulator)["prefix_cache_hits_total"] == 96


def test_completions_and_embeddings_are_read_too(start: Callable[..., Simulator]) -> None:
    simulator = start("--no-key", "--slots=4", "--cache-blocks=100")
    for path, body in (("completions", {"prompt": LONG}), ("embeddings", {"input": [LONG]})):
        assert simulator.ask("POST", f"/v1/{path}", {"model": "gpt-4", **body})[0] == 200
    assert metrics(simulator)["prefix_cache_queries_total"] == 128


def test_a_body_in_chunks_is_read(start: Callable[..., Simulator]) -> None:
    """As an endpoint picker passes it on, which may have changed its length."""
    simulator = start("--no-key", "--slots=4")
    body = b'{"model": "gpt-4", "messages": [{"role": "user", "content": "Hello"}]}'
    parts = [body[:20], body[20:]]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert simulator.raw(head + chunks).startswith(b"HTTP/1.1 200 ")


def test_without_slots_there_are_no_metrics(start: Callable[..., Simulator]) -> None:
    assert start("--no-key").ask("GET", "/metrics")[0] == 404
