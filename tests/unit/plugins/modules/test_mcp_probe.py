# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions with MCP servers: what a validation asks, what is expected, and the module against a simulator."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.evaluation import checks
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.mcp import Probe, Seen, describe, judge
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import Plan, Settings
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import Seen as SeenByRole

KEY = "sk-mcp-key"
TOKEN = "a-token-that-must-not-show"
SIMULATOR = Path(catalog_build.__file__).parents[3] / "roles/simulators/files/mcp_simulator.py"
SERVERS: list[dict[str, t.Any]] = [
    {"name": "weather", "simulated": True, "credential": {"value": KEY}},
    {"name": "jira", "endpoint": {"hostname": "mcp.example.com"}},
]
PROVIDER = {
    "name": "openai",
    "schema": "openai",
    "simulated": True,
    "credential": {"value": "k"},
    "models": [{"name": "gpt-4"}],
}


def plan(*tools: str, servers: list[dict[str, t.Any]] = SERVERS, **seen: t.Any) -> Plan:
    tier = {
        "name": "free",
        "level": 0,
        "groups": ["a"],
        "request_limit": {"requests": 9, "window": "1m"},
        **({"mcp_tools": list(tools)} if tools else {}),
    }
    catalog = build({"providers": [PROVIDER], "mcp_servers": servers, "tiers": [tier]}).as_dict()
    issued = {"results": [{"item": {"id": "caller"}, "token": TOKEN}]}
    settings = Settings.of({"providers": [PROVIDER], "mcp_servers": servers})
    return Plan(catalog, settings, SeenByRole(**{"run": "r1", "issued": issued, **seen}))


def by_id(made: Plan) -> dict[str, dict[str, t.Any]]:
    return {probe["id"]: probe for probe in made.mcp_probes}


def test_without_servers_nothing_is_asked() -> None:
    assert plan(servers=[]).mcp_probes == []


def test_a_tier_without_tools() -> None:
    probes = by_id(plan())
    assert list(probes) == ["mcp:no-token", "mcp:tools"]
    assert probes["mcp:no-token"]["token"] == ""
    assert probes["mcp:tools"]["expect"] == {"status": 403, "code": "tool_not_allowed"}


def test_a_tier_of_some_tools() -> None:
    probes = by_id(plan("weather__*", "jira__search", "jira__list_*"))
    assert list(probes) == ["mcp:no-token", "mcp:tools", "mcp:forbidden", "mcp:key:weather"]
    assert probes["mcp:tools"]["expect"] == {"tools": ["weather__*", "jira__list_*", "jira__search"]}
    assert probes["mcp:forbidden"]["tool"] == "jira__no-such-tool-r1"
    assert probes["mcp:key:weather"]["tool"] == "weather__received_requests"
    assert probes["mcp:key:weather"]["expect"]["credential"] == hashlib.sha256(KEY.encode()).hexdigest()
    assert not any(probe.get("skip") for probe in probes.values())


def test_what_cannot_be_asked_says_why() -> None:
    probes = by_id(plan("*"))
    assert probes["mcp:forbidden"]["skip"] == "tier free may call all tools"
    probes = by_id(plan("weather__echo"))
    assert probes["mcp:key:weather"]["skip"].startswith("tier free may not call weather__received_requests")
    failed = {"results": [{"item": {"id": "caller"}, "msg": "forbidden"}]}
    assert by_id(plan("*", issued=failed))["mcp:tools"]["skip"] == "no token: forbidden"


def test_the_checks_are_in_the_report() -> None:
    check = {"id": "mcp:tools", "status": "passed"}
    assert check in checks(plan("*", mcp={"checks": [check]}))


def probe(tool: str = "", token: str = TOKEN, **expect: t.Any) -> Probe:
    return Probe.from_params({"token": token, "path": None, "tool": tool, "arguments": None, "expect": expect})


def met(probe: Probe, seen: Seen) -> bool:
    return all(finding.met for finding in judge(probe, seen))


REFUSED = {"jsonrpc": "2.0", "id": 1, "error": {"code": 1, "message": "No.", "data": {"code": "tool_not_allowed"}}}


@pytest.mark.parametrize(
    ("expect", "seen", "is_met"),
    [
        ({}, Seen(200), True),
        ({}, Seen(202), False),
        ({}, Seen(error="refused"), False),
        ({"status": 403}, Seen(403, "", REFUSED), True),
        ({"status": 403}, Seen(403, "", {"error": {"message": "No."}}), False),
        ({"status": 403, "code": "tool_not_allowed"}, Seen(403, "", REFUSED), True),
        ({"status": 403, "code": "other"}, Seen(403, "", REFUSED), False),
        ({"tools": ["a__*"]}, Seen(200, tools=("a__x", "a__y")), True),
        ({"tools": ["a__*"]}, Seen(200, tools=("a__x", "b__y")), False),
        ({"tools": ["a__*", "b__y"]}, Seen(200, tools=("a__x",)), False),
        ({"tools": []}, Seen(200), True),
    ],
)
def test_expectations(expect: dict[str, t.Any], seen: Seen, is_met: bool) -> None:
    assert met(probe(**expect), seen) is is_met


def received(*requests: dict[str, str]) -> Seen:
    shown = json.dumps([{"headers": list(request.items())} for request in requests])
    return Seen(200, "", {"result": {"content": [{"type": "text", "text": shown}]}})


@pytest.mark.parametrize(
    ("requests", "is_met"),
    [
        ([{"authorization": "Bearer sha256:abc"}], True),
        ([], False),
        ([{"authorization": "Bearer sha256:other"}], False),
        ([{"authorization": "Bearer sha256:abc"}, {"accept": "a"}], False),
        # Of another session, from before the key was replaced.
        ([{"mcp-session-id": "1", "accept": "a"}, {"mcp-session-id": "2", "authorization": "Bearer sha256:abc"}], True),
        (
            [{"mcp-session-id": "2", "accept": "a"}, {"mcp-session-id": "2", "authorization": "Bearer sha256:abc"}],
            False,
        ),
        ([{"authorization": "Bearer sha256:abc", "x-maas-tier": "free"}], False),
        ([{"authorization": "Bearer sha256:abc", "x-ai-gateway-mcp-tier": "free"}], False),
        ([{"authorization": "Bearer sha256:abc", "x-odd": f"a {TOKEN}"}], False),
        ([{"authorization": "Bearer sha256:abc", "x-odd": hashlib.sha256(TOKEN.encode()).hexdigest()}], False),
    ],
)
def test_what_a_server_received(requests: list[dict[str, str]], is_met: bool) -> None:
    expected = probe("weather__received_requests", received=True, credential="abc")
    assert met(expected, received(*requests)) is is_met
    assert not met(expected, Seen(200, "", {"result": {"content": [{"type": "text", "text": "none"}]}}))


def test_descriptions_hold_no_token() -> None:
    expected = probe("a", status=403, code="x", tools=["a__*"], received=True, credential="abc")
    assert "403" in describe(expected)
    assert TOKEN not in repr(expected) + describe(expected)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A simulator, in place of a gateway: its key is the token."""
    directory = tmp_path_factory.mktemp("simulator")
    (directory / "key").write_text(TOKEN, encoding="ascii")
    command = [sys.executable, "-u", "-B", str(SIMULATOR), "--name=a", "--host=127.0.0.1", "--port=0"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--key-file={directory}/key"], stdout=log, stderr=log)
    deadline = time.monotonic() + 60
    while not (found := re.search(r"listens on (127\.0\.0\.1:\d+)", (directory / "log").read_text())):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield f"http://{found[1]}"
    process.terminate()
    process.wait(10)


RunModule = Callable[..., dict[str, t.Any]]


def test_the_module(url: str, run_module: RunModule) -> None:
    probes = [
        {"id": "tools", "expect": {"tools": ["echo", "add", "fail", "received_requests"]}},
        {"id": "echo", "tool": "echo", "arguments": {"text": "Hello"}},
        {"id": "refused", "token": "", "expect": {"status": 401}},
        {"id": "path", "path": "/other", "expect": {"status": 404}},
        {"id": "shown", "tool": "received_requests", "expect": {"received": True}},
        {"id": "left-out", "skip": "for a reason"},
    ]
    result = run_module("mcp_probe", {"url": url, "token": TOKEN, "probes": probes, "fail_on_mismatch": False})
    assert [check["status"] for check in result["checks"]] == [*["passed"] * 4, "failed", "skipped"]
    assert result["probes"][1]["said"] == "Hello"
    # A gateway would have put the server's key in its place.
    assert "the token in header authorization" in result["checks"][4]["observed"]
    assert TOKEN not in json.dumps(result)
    failed = run_module("mcp_probe", {"url": url, "token": TOKEN, "probes": [probes[4]]})
    assert failed["failed"] is True


def test_without_a_gateway(run_module: RunModule) -> None:
    result = run_module("mcp_probe", {"url": "http://127.0.0.1:1", "probes": [{"id": "a"}], "fail_on_mismatch": False})
    assert result["checks"][0]["status"] == "failed"
    assert "refused" in result["checks"][0]["observed"]


def test_check_mode_sends_nothing(run_module: RunModule) -> None:
    result = run_module("mcp_probe", {"url": "http://127.0.0.1:1", "probes": [{"id": "a"}]}, check_mode=True)
    assert [(check["status"], check["observed"]) for check in result["checks"]] == [
        ("skipped", "check mode sends no requests")
    ]
