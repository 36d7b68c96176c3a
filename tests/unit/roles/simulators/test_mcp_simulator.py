# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The simulator of MCP servers in a process of its own, and what the role renders for it."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import re
import subprocess
import sys
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import pytest
from rendering import manifests
from simulator_process import FILES

KEY = "sk-mcp-key"
ACCEPT = {"accept": "application/json, text/event-stream", "content-type": "application/json"}
BEARER = {"authorization": f"Bearer {KEY}", **ACCEPT}


class Server:
    """Starts the program and waits until it listens."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.log_file = directory / "log"
        with self.log_file.open("wb") as log:
            command = [sys.executable, "-u", "-B", str(FILES / "mcp_simulator.py"), "--host=127.0.0.1", "--port=0"]
            self.process = subprocess.Popen([*command, "--name=weather", *arguments], stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not (found := re.search(r"listens on 127\.0\.0\.1:(\d+)", self.log_file.read_text())):
            assert self.process.poll() is None, self.log_file.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        self.port = int(found[1])

    def ask(
        self, body: t.Any = None, headers: dict[str, str] | None = None, method: str = "POST", path: str = "/mcp"
    ) -> tuple[int, dict[str, str], t.Any]:
        """Status, headers and document of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        content = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        connection.request(method, path, content, BEARER if headers is None else headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, named, json.loads(text) if text else None

    def begin(self) -> dict[str, str]:
        """The headers of a new session."""
        status, headers, document = self.ask(message("initialize"))
        assert (status, document["result"]["serverInfo"]["name"]) == (200, "weather")
        return {**BEARER, "mcp-session-id": headers["mcp-session-id"]}

    def call(self, session: dict[str, str], tool: str, **arguments: t.Any) -> t.Any:
        return self.ask(message("tools/call", name=tool, arguments=arguments), session)[2]


def message(method: str, **params: t.Any) -> dict[str, t.Any]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("server")
    (directory / "key").write_text(KEY + "\n", encoding="ascii")
    running = Server(directory, f"--key-file={directory}/key")
    yield running
    running.process.terminate()
    assert running.process.wait(10) == 0


def test_a_session(server: Server) -> None:
    session = server.begin()
    assert server.ask({"jsonrpc": "2.0", "method": "notifications/initialized"}, session)[0] == 202
    tools = server.ask(message("tools/list"), session)[2]["result"]["tools"]
    assert [tool["name"] for tool in tools] == ["echo", "add", "fail", "received_requests"]
    assert server.call(session, "echo", text="Hello")["result"]["content"] == [{"type": "text", "text": "Hello"}]
    assert server.call(session, "add", a=1, b=2.5)["result"]["content"][0]["text"] == "3.5"
    assert server.call(session, "fail")["result"]["isError"] is True
    assert server.ask(message("ping"), session)[2]["result"] == {}
    assert server.ask(headers=session, method="GET")[0] == 405
    assert server.ask(headers=session, method="DELETE")[0] == 200
    assert server.ask(message("ping"), session)[0] == 404


@pytest.mark.parametrize(
    ("tool", "arguments", "code"),
    [
        ("nothing", {}, -32602),
        ("echo", {}, -32602),
        ("echo", {"text": 1}, -32602),
        ("add", {"a": True, "b": 1}, -32602),
        ("add", {"a": 1, "b": 1, "c": 1}, -32602),
    ],
)
def test_calls_that_do_not_fit(server: Server, tool: str, arguments: dict[str, t.Any], code: int) -> None:
    assert server.call(server.begin(), tool, **arguments)["error"]["code"] == code


def test_methods_that_there_are_not(server: Server) -> None:
    assert server.ask(message("prompts/list"), server.begin())[2]["error"]["code"] == -32601


@pytest.mark.parametrize(
    ("body", "headers", "path", "status"),
    [
        (message("initialize"), {**ACCEPT, "authorization": "Bearer other"}, "/mcp", 401),
        (message("initialize"), {**ACCEPT, "authorization": KEY}, "/mcp", 401),
        (message("initialize"), ACCEPT, "/mcp", 401),
        (message("initialize"), BEARER, "/", 404),
        (message("ping"), BEARER, "/mcp", 400),
        (message("ping"), {**BEARER, "mcp-session-id": "none"}, "/mcp", 404),
        (message("initialize"), {**BEARER, "accept": "application/json"}, "/mcp", 406),
        (b"{", BEARER, "/mcp", 400),
        ([], BEARER, "/mcp", 400),
    ],
)
def test_requests_that_are_refused(
    server: Server, body: t.Any, headers: dict[str, str], path: str, status: int
) -> None:
    received, _headers, document = server.ask(body, headers, path=path)
    assert received == status
    assert document["jsonrpc"] == "2.0"
    assert document["error"]["message"]


def test_received_requests_show_no_credential(server: Server) -> None:
    session = server.begin()
    server.ask(message("ping"), {**session, "cookie": "secret", "x-odd": "odd"})
    shown = json.loads(server.call(session, "received_requests")["result"]["content"][0]["text"])
    assert [request["method"] for request in shown[-3:]] == ["initialize", "ping", "tools/call"]
    assert shown[-1]["tool"] == "received_requests"
    headers = dict(shown[-2]["headers"])
    assert headers["x-odd"] == "odd"
    assert headers["authorization"] == f"Bearer sha256:{hashlib.sha256(KEY.encode()).hexdigest()}"
    assert headers["cookie"] == f"sha256:{hashlib.sha256(b'secret').hexdigest()}"
    assert KEY not in server.log_file.read_text()


VARIABLES: dict[str, t.Any] = {
    "ai_gateway_platform": "embedded",
    "simulators_image": "python",
    "ai_gateway_mcp_servers": [
        {"name": "weather", "simulated": True, "credential": {"header": "x-api-key", "value": KEY}},
        {"name": "plain", "simulated": True},
        {"name": "real", "endpoint": {"hostname": "mcp.example.com"}},
    ],
    "ai_gateway_providers": [
        {
            "name": "real",
            "schema": "openai",
            "endpoint": {"hostname": "api.openai.com"},
            "credential": {"secret": "real"},
            "models": [{"name": "gpt-5"}],
        }
    ],
}


def test_manifests(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    found = manifests(tmp_path_factory.mktemp("manifests"), "simulators", "mcp_servers.yaml.j2", VARIABLES)
    names = {"weather-mcp-server", "plain-mcp-server"}
    assert {name for kind, name in found if kind == "Deployment"} == names
    assert {name for kind, name in found if kind == "Service"} == names
    secret = found["Secret", "weather-mcp-server"]
    assert base64.b64decode(secret["data"]["apiKey"]).decode() == KEY
    assert KEY not in json.dumps(list(found.values()))
    for name, text in found["ConfigMap", "mcp-simulator"]["data"].items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    arguments: dict[str, list[str]] = {}
    for name in names:
        pod = found["Deployment", name]["spec"]["template"]
        # The policies of the simulators' network select them.
        assert pod["metadata"]["labels"]["app.kubernetes.io/name"] == "provider-simulator"
        assert found["Service", name]["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        arguments[name] = container["args"]
    assert "--no-key" in arguments["plain-mcp-server"]
    assert "--key-header=x-api-key" in arguments["weather-mcp-server"]
    assert "--key-scheme=" in arguments["weather-mcp-server"]
    program = [sys.executable, "-B", str(tmp_path / "mcp_simulator.py")]
    ended = subprocess.run([*program, "--help"], capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr
