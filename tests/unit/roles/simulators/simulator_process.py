# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A simulator in a process of its own, and what tests ask it."""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
import subprocess
import sys
import time
import typing as t
from pathlib import Path

FILES = Path(__file__).resolve().parents[4] / "roles/simulators/files"
PROGRAM = FILES / "provider_simulator.py"
KEY = "sk-openai-key-for-demo"
BEARER = {"Authorization": f"Bearer {KEY}"}
CHAT = {
    "model": "gpt-4",
    "messages": [{"role": "system", "content": "Be brief"}, {"role": "user", "content": "Hello there you"}],
}
ANTHROPIC = {"x-api-key": KEY, "anthropic-version": "2023-06-01"}
MESSAGES = {
    "model": "gpt-4",
    "max_tokens": 100,
    "system": "Be brief",
    "messages": [{"role": "user", "content": "Hello there you"}],
}


class Simulator:
    """Starts the program with the key of these tests and waits until it listens; ``tls`` is how the requests then speak
    to it.
    """

    def __init__(self, directory: Path, *arguments: str, tls: ssl.SSLContext | None = None) -> None:
        self.key_file = directory / "key"
        self.key_file.write_text(KEY + "\n", encoding="ascii")
        self.log_file = directory / "log"
        self.tls = tls
        command = [
            sys.executable,
            "-u",
            "-B",
            str(PROGRAM),
            "--host=127.0.0.1",
            "--port=0",
            "--provider=openai",
            "--model=gpt-4",
            "--model=Qwen/Qwen3-0.6B",
        ]
        key = [] if "--no-key" in arguments else [f"--key-file={self.key_file}"]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen([*command, *key, *arguments], stderr=log, stdout=log)
        deadline = time.monotonic() + 60
        while not (found := re.search(r"127\.0\.0\.1:(\d+)(?: and 127\.0\.0\.1:(\d+) \(admin\))?.* serves ", self.log)):
            assert self.process.poll() is None, self.log
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        self.port = int(found[1])
        self.admin_port = int(found[2] or 0)

    @property
    def log(self) -> str:
        return self.log_file.read_text(encoding="utf-8")

    def logged(self, pattern: str) -> str:
        """The log, once the pattern is in it: a line is written after its answer."""
        deadline = time.monotonic() + 60
        while not re.search(pattern, self.log):
            assert time.monotonic() < deadline, self.log
            time.sleep(0.02)
        return self.log

    def connect(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=30, context=self.tls)

    def ask(self, method: str, path: str, body: t.Any = None, **headers: str) -> tuple[int, dict[str, str], t.Any]:
        """Status, headers with lower-case names and the parsed body of one request on a connection of its own."""
        return _ask(self.connect(), method, path, body, headers)

    def chat(self, body: t.Any = None, **headers: str) -> tuple[int, dict[str, str], t.Any]:
        return self.ask("POST", "/v1/chat/completions", body or CHAT, **{**BEARER, **headers})

    def message(self, body: t.Any = None, **headers: str) -> tuple[int, dict[str, str], t.Any]:
        return self.ask("POST", "/v1/messages", body or MESSAGES, **{**ANTHROPIC, **headers})

    def admin(self, method: str, path: str, body: t.Any = None) -> tuple[int, t.Any]:
        """Status and document of the admin endpoint."""
        return _ask(http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=30), method, path, body, {})[::2]

    def raw(self, data: bytes) -> bytes:
        """What comes back for ``data`` until the simulator closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(data)
            parts = []
            while part := connection.recv(65536):
                parts.append(part)
        return b"".join(parts)

    def raw_post(self, path: str, body: t.Any, **headers: str) -> bytes:
        """What comes back for a request that may be cut off; the connection is to end with it."""
        content = json.dumps(body)
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: x",
            f"Content-Length: {len(content)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        return self.raw(("\r\n".join(lines) + "\r\n\r\n" + content).encode())

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: t.Any, headers: dict[str, str]
) -> tuple[int, dict[str, str], t.Any]:
    try:
        connection.request(method, path, body if isinstance(body, (bytes, type(None))) else json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        document = json.loads(content) if response.headers["content-type"] == "application/json" else content.decode()
        return response.status, {name.lower(): value for name, value in response.headers.items()}, document
    finally:
        connection.close()


def events_of(text: str) -> list[t.Any]:
    """The chunks of a whole stream in OpenAI's dialect."""
    assert text.endswith("data: [DONE]\n\n")
    return [json.loads(line[len("data: ") :]) for line in text.split("\n\n")[:-2]]


def named_events_of(text: str) -> list[t.Any]:
    """The events of a stream in Anthropic's dialect; each is named as its type says."""
    assert text.endswith("\n\n")
    events = []
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        events.append(json.loads(data[len("data: ") :]))
        assert name == f"event: {events[-1]['type']}"
    return events
