# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The admin endpoint, counters and the keys of a rotation, over sockets."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import typing as t
from collections.abc import Callable, Iterator

import pytest
from simulator_process import BEARER, CHAT, KEY, MESSAGES, Simulator

FINGERPRINT = hashlib.sha256(KEY.encode()).hexdigest()[:12]


@pytest.fixture
def counting(simulator: Simulator) -> Iterator[Simulator]:
    assert simulator.admin("POST", "/reset")[0] == 200
    yield simulator
    assert simulator.admin("DELETE", "/failures")[0] == 200


def counts(simulator: Simulator, expected: int) -> dict[tuple[t.Any, ...], tuple[int, int, int]]:
    """The counts, once so many requests are in them: they are counted after their answers."""
    deadline = time.monotonic() + 10
    while True:
        status, document = simulator.admin("GET", "/counters")
        assert status == 200
        if document["totals"]["requests"] >= expected:
            break
        assert time.monotonic() < deadline, document
        time.sleep(0.02)
    return {
        (count["path"], count["model"], count["status"], count["key"]): (
            count["requests"],
            count["input_tokens"],
            count["output_tokens"],
        )
        for count in document["counts"]
    }


def test_requests_and_tokens_are_counted(counting: Simulator) -> None:
    for _number in range(2):
        counting.chat()
    counting.chat({**CHAT, "stream": True})
    counting.chat(**{"x-simulator-prompt-tokens": "100", "x-simulator-completion-tokens": "50"})
    counting.chat(**{"x-simulator-status": "503"})
    counting.chat({**CHAT, "model": "gpt-5"})
    counting.ask("POST", "/v1/embeddings", {"model": "gpt-4", "input": "one two three"}, **BEARER)
    counting.ask("GET", "/v1/models", Authorization="Bearer somebody")
    counting.ask("GET", "/v1/models")
    counting.ask("GET", "/v1/some/path", **BEARER)
    counting.ask("GET", "/health")
    chat = "/v1/chat/completions"
    assert counts(counting, 10) == {
        (chat, "gpt-4", 200, FINGERPRINT): (4, 3 * 5 + 100, 3 * 11 + 50),
        (chat, "gpt-4", 503, FINGERPRINT): (1, 0, 0),
        (chat, "", 404, FINGERPRINT): (1, 0, 0),
        ("/v1/embeddings", "gpt-4", 200, FINGERPRINT): (1, 3, 0),
        ("/v1/models", "", 401, "unknown"): (1, 0, 0),
        ("/v1/models", "", 401, ""): (1, 0, 0),
        ("", "", 404, FINGERPRINT): (1, 0, 0),
    }
    document = counting.admin("GET", "/counters")[1]
    assert document["totals"] == {"requests": 10, "input_tokens": 118, "output_tokens": 83}
    assert (document["provider"], document["keys"]) == ("openai", [FINGERPRINT])
    assert time.time() - 60 < document["since"] <= time.time()
    assert KEY not in str(document)
    reset = counting.admin("POST", "/reset")[1]
    assert (reset["counts"], reset["totals"]["requests"]) == ([], 0)


def test_broken_answers_count_without_tokens(counting: Simulator) -> None:
    stream = {**CHAT, "stream": True}
    for control in ("headers", "body", "stream"):
        counting.raw_post("/v1/chat/completions", stream, **BEARER, **{"x-simulator-break": control})
    counting.chat(stream, **{"x-simulator-break": "event", "x-simulator-status": "529"})
    assert counts(counting, 4) == {
        ("/v1/chat/completions", "gpt-4", 0, FINGERPRINT): (3, 0, 0),
        ("/v1/chat/completions", "gpt-4", 529, FINGERPRINT): (1, 0, 0),
    }


def test_a_caller_that_goes_away_counts_without_tokens(counting: Simulator) -> None:
    connection = counting.connect()
    connection.request(
        "POST",
        "/v1/chat/completions",
        json.dumps({**CHAT, "stream": True}),
        {**BEARER, "x-simulator-event-delay": "0.1"},
    )
    connection.getresponse().read(1)
    connection.close()
    assert counts(counting, 1) == {("/v1/chat/completions", "gpt-4", 499, FINGERPRINT): (1, 0, 0)}


def test_tokens_of_anthropic_are_counted(anthropic_simulator: Simulator) -> None:
    anthropic_simulator.admin("POST", "/reset")
    anthropic_simulator.message()
    anthropic_simulator.message({**MESSAGES, "stream": True, "max_tokens": 2})
    assert counts(anthropic_simulator, 2) == {("/v1/messages", "gpt-4", 200, FINGERPRINT): (2, 10, 13)}


def test_failures_that_are_set(counting: Simulator) -> None:
    status, document = counting.admin("POST", "/failures", {"status": 429, "retry_after": 9, "rate": 0.5})
    assert (status, document["status"], document["retry_after"], document["rate"], document["break"]) == (
        200,
        429,
        9,
        0.5,
        None,
    )
    assert counting.admin("GET", "/failures") == (200, document)
    answers = [counting.chat()[:2] for _number in range(4)]
    assert [(status, headers.get("retry-after")) for status, headers in answers] == [(200, None), (429, "9")] * 2
    # A request's own headers come first.
    assert counting.chat(**{"x-simulator-status": "500"})[0] == 500
    assert counting.admin("POST", "/failures", {"break": "headers"})[1]["rate"] == 1
    assert counting.raw_post("/v1/chat/completions", CHAT, **BEARER) == b""
    counting.admin("POST", "/failures", {"delay": 0.3})
    begin = time.monotonic()
    assert counting.chat()[0] == 200
    assert time.monotonic() - begin >= 0.3
    assert counting.admin("DELETE", "/failures")[1]["rate"] == 0
    assert counting.chat()[0] == 200


def test_health_and_refused_keys_do_not_fail_on_request(counting: Simulator) -> None:
    counting.admin("POST", "/failures", {"status": 503})
    assert counting.ask("GET", "/health")[0] == 200
    assert counting.ask("GET", "/v1/models")[0] == 401


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "at least one of"),
        ({"rate": 0.5, "retry_after": 3}, "at least one of"),
        ({"status": 200}, "status must be a number from 400 to 599"),
        ({"status": "many"}, "status must be"),
        ({"status": True}, "status must be"),
        ({"status": 503, "rate": 2}, "rate must be a number from 0 to 1"),
        ({"break": "all"}, "break accepts"),
        ({"statsu": 503}, "statsu is not known"),
        ([], "JSON object"),
        (b"{", "Expecting"),
        (b"[" * 60000, ""),
        (b" " * 70000, "65536 bytes"),
    ],
)
def test_failures_that_do_not_fit(counting: Simulator, body: t.Any, words: str) -> None:
    status, document = counting.admin("POST", "/failures", body)
    assert status == 400
    assert words in document["error"]
    assert counting.admin("GET", "/failures")[1]["rate"] == 0


def test_paths_and_methods_of_the_admin_endpoint(simulator: Simulator) -> None:
    assert simulator.admin("GET", "/v1/models")[0] == 404
    assert simulator.admin("GET", "/reset")[0] == 405
    assert simulator.admin("DELETE", "/counters")[0] == 405
    # What it offers is not on the provider's port.
    assert simulator.ask("GET", "/counters", **BEARER)[0] == 404
    assert simulator.ask("POST", "/reset", {}, **BEARER)[0] == 404


def test_the_admin_endpoint_listens_on_loopback_alone(start: Callable[..., Simulator]) -> None:
    simulator = start("--admin-port=0")
    # The whole of 127.0.0.0/8 is the loopback interface, and it listens on one address of it.
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", simulator.admin_port), timeout=5)
    assert start().admin_port == 0


def test_a_rotation_without_a_restart(start: Callable[..., Simulator]) -> None:
    simulator = start("--admin-port=0")
    new = {"Authorization": "Bearer sk-the-new-key"}

    def write(*keys: str) -> None:
        staged = simulator.key_file.with_suffix(".new")
        staged.write_text("\n".join(keys), encoding="ascii")
        os.replace(staged, simulator.key_file)

    fingerprint = hashlib.sha256(b"sk-the-new-key").hexdigest()[:12]
    assert simulator.ask("GET", "/v1/models", **new)[0] == 401
    write(KEY, "sk-the-new-key")
    assert simulator.ask("GET", "/v1/models", **new)[0] == simulator.ask("GET", "/v1/models", **BEARER)[0] == 200
    assert simulator.admin("GET", "/counters")[1]["keys"] == [FINGERPRINT, fingerprint]
    write("sk-the-new-key")
    assert simulator.ask("GET", "/v1/models", **new)[0] == 200
    status, headers, document = simulator.ask(
        "GET", "/v1/models", **BEARER, **{"x-simulator-echo": "headers", "x-copy": "sk-the-new-key"}
    )
    assert (status, document["error"]["code"]) == (401, "invalid_api_key")
    assert "sk-the-new-key" not in str(headers)
    assert simulator.admin("GET", "/counters")[1]["keys"] == [fingerprint]
    assert counts(simulator, 5) == {
        ("/v1/models", "", 200, FINGERPRINT): (1, 0, 0),
        ("/v1/models", "", 200, fingerprint): (2, 0, 0),
        ("/v1/models", "", 401, "unknown"): (1, 0, 0),
        # A removed key is distinguished from one that was never accepted.
        ("/v1/models", "", 401, FINGERPRINT): (1, 0, 0),
    }
    assert KEY not in simulator.log
    assert "sk-the-new-key" not in simulator.log


def test_several_key_files(start: Callable[..., Simulator], tmp_path: t.Any) -> None:
    (tmp_path / "additional").write_text("sk-second\nsk-third\n", encoding="ascii")
    simulator = start(f"--key-file={tmp_path / 'additional'}")
    for key, status in ((KEY, 200), ("sk-second", 200), ("sk-third", 200), ("sk-fourth", 401)):
        assert simulator.ask("GET", "/v1/models", Authorization=f"Bearer {key}")[0] == status
