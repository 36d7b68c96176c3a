# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions of the Model Context Protocol through an AI gateway: what a validation asks, how it is sent, and what is
expected of the answers.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import typing as t
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import Finding, shortened
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import Answer, Gateway, GatewayError

PATH = "/mcp"
VERSION = "2025-06-18"
#: The tool of a simulator that shows what it received.
RECEIVED = "received_requests"
#: How names of headers begin that no server may receive.
CALLERS_HEADERS = ("x-maas-", "x-ai-gateway-")

Document = dict[str, t.Any]


@dataclass(frozen=True)
class Probe:
    """A session: it begins, the tools are listed and, where a tool is named, it is called."""

    token: str = field(repr=False)
    path: str
    tool: str
    arguments: Mapping[str, t.Any]
    #: The HTTP status of the last answer.
    status: int
    #: What ``error.data.code`` of a refusal is; empty where it does not matter.
    code: str
    #: Patterns of the listed tools: each tool fits one, and each pattern has a tool. None where it does not matter.
    tools: tuple[str, ...] | None
    #: Whether the tool shows requests that a server received, which must hold nothing of the caller.
    received: bool
    #: The only credential among those, as SHA-256; empty where it is not known.
    credential: str

    @classmethod
    def from_params(cls, params: Mapping[str, t.Any]) -> Probe:
        """From a module's parameters, where ``expect`` may be None."""
        expect = params["expect"] or {}
        tools = expect.get("tools")
        return cls(
            token=params["token"] or "",
            path=params["path"] or PATH,
            tool=params["tool"] or "",
            arguments=params["arguments"] or {},
            status=expect.get("status") or 200,
            code=expect.get("code") or "",
            tools=None if tools is None else tuple(tools),
            received=bool(expect.get("received")),
            credential=expect.get("credential") or "",
        )


@dataclass(frozen=True)
class Seen:
    """What the last answer of a session was, and what the list had; ``error`` says why there was no answer."""

    status: int | None = None
    error: str = ""
    document: Document = field(default_factory=dict)
    tools: tuple[str, ...] = ()

    @property
    def code(self) -> str:
        fault = self.document.get("error")
        data = fault.get("data") if isinstance(fault, dict) else None
        return str(data.get("code") or "") if isinstance(data, dict) else ""

    @property
    def said(self) -> str:
        """The result of a tool as a string, or the message of an error."""
        fault, result = self.document.get("error"), self.document.get("result")
        if isinstance(fault, dict):
            return str(fault.get("message", ""))
        content = result.get("content") if isinstance(result, dict) else None
        return "".join(str(item.get("text", "")) for item in content or () if isinstance(item, dict))


def ask(gateway: Gateway, probe: Probe) -> Seen:
    """Hold the session. It ends at the first answer that is none of the protocol."""
    session = ""
    tools: tuple[str, ...] = ()

    def send(method: str, number: int | None, **params: t.Any) -> tuple[Answer, Document]:
        headers = {"Mcp-Session-Id": session, "Mcp-Protocol-Version": VERSION} if session else {}
        message: Document = {"jsonrpc": "2.0", "method": method, "params": params}
        if number is not None:
            message["id"] = number
        answer = gateway.send("POST", probe.path, token=probe.token, headers=headers, body=message)
        return answer, _document(answer, number)

    try:
        client = {"name": "egress.ai_gateway", "version": "1.0.0"}
        answer, document = send("initialize", 1, protocolVersion=VERSION, capabilities={}, clientInfo=client)
        session = answer.headers.get("mcp-session-id", "")
        if answer.status != 200 or "result" not in document:
            return Seen(answer.status, "", document)
        answer, document = send("notifications/initialized", None)
        if answer.status != 202:
            return Seen(answer.status, "", document)
        answer, document = send("tools/list", 2)
        if answer.status == 200:
            tools = _names(document)
        if answer.status == 200 and probe.tool:
            answer, document = send("tools/call", 3, name=probe.tool, arguments=dict(probe.arguments))
        gateway.send("DELETE", probe.path, token=probe.token, headers={"Mcp-Session-Id": session})
    except GatewayError as error:
        return Seen(None, str(error), {}, tools)
    return Seen(answer.status, "", document, tools)


def _document(answer: Answer, number: int | None) -> Document:
    """The answer to the message of this number, from a body or a stream; empty where there is none."""
    texts = [event.data for event in answer.events] if answer.is_event_stream else [answer.text]
    for text in texts:
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, dict) and (found.get("id") in (number, None) and ("result" in found or "error" in found)):
            return found
    return {}


def _names(document: Document) -> tuple[str, ...]:
    result = document.get("result")
    tools = result.get("tools") if isinstance(result, dict) else None
    return tuple(str(tool.get("name", "")) for tool in tools or () if isinstance(tool, dict))


def describe(probe: Probe) -> str:
    """What is expected, for a probe that is not sent."""
    return "; ".join(finding.expected for finding in judge(probe, Seen()))


def judge(probe: Probe, seen: Seen) -> list[Finding]:
    """What was expected and what was seen."""
    if seen.error:
        return [Finding(f"status {probe.status}", seen.error, False)]
    said = f" ({shortened(seen.said)})" if seen.said and seen.status != 200 else ""
    found = [Finding(f"status {probe.status}", f"status {seen.status}{said}", seen.status == probe.status)]
    if probe.status >= 400:
        is_rpc = seen.document.get("jsonrpc") == "2.0" and isinstance(seen.document.get("error"), dict)
        observed = "an error of JSON-RPC" if is_rpc else "no error of JSON-RPC"
        found.append(Finding("an error of JSON-RPC", observed, is_rpc))
    if probe.code:
        found.append(Finding(f"code {probe.code}", f"code {seen.code or 'none'}", seen.code == probe.code))
    if probe.tools is not None:
        found.append(_tools(probe.tools, seen.tools))
    if probe.received:
        found.append(_received(probe, seen))
    return found


def _tools(patterns: Sequence[str], seen: Sequence[str]) -> Finding:
    others = [name for name in seen if not any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    missing = [pattern for pattern in patterns if not fnmatch.filter(seen, pattern)]
    parts = [f"{len(seen)} tools"]
    parts += [f"not expected {', '.join(others)}"] if others else []
    parts += [f"none of {', '.join(missing)}"] if missing else []
    return Finding(f"tools of {', '.join(patterns) or 'none'}", "; ".join(parts), not others and not missing)


def _received(probe: Probe, seen: Seen) -> Finding:
    """Whether the requests that a server shows hold nothing of the caller.

    Those of other sessions may be older than the server's key.
    """
    expected = "requests without the token and without a name of the caller"
    if probe.credential:
        expected += ", with the key of the server"
    try:
        requests = json.loads(seen.said)
        headers = [dict(request["headers"]) for request in requests]
    except (ValueError, KeyError, TypeError):
        return Finding(expected, f"no list of requests but {shortened(seen.said) or 'nothing'}", False)
    faults = dict.fromkeys(fault for received in headers for fault in _faults(probe, received))
    sessions = [received.get("mcp-session-id") for received in headers]
    own = [received for received, session in zip(headers, sessions) if session == sessions[-1]]
    if not headers:
        faults["no request"] = None
    if probe.credential and not all(_has_key(probe, received) for received in own):
        faults["a request without the key of the server"] = None
    return Finding(expected, "; ".join(faults) or f"{len(headers)} such requests", not faults)


def _has_key(probe: Probe, headers: Mapping[str, str]) -> bool:
    return any(value.endswith(f"sha256:{probe.credential}") for value in headers.values())


def _faults(probe: Probe, headers: Mapping[str, str]) -> Iterator[str]:
    digest = hashlib.sha256(probe.token.encode()).hexdigest()
    for name, value in headers.items():
        if name.startswith(CALLERS_HEADERS):
            yield f"header {name}"
        if probe.token and (probe.token in value or digest in value):
            yield f"the token in header {name}"


def planned(
    catalog: Mapping[str, t.Any],
    tier: Mapping[str, t.Any],
    token: str,
    no_token: str,
    run: str,
    keys: Mapping[str, str],
    wait_timeout: int,
) -> list[Document]:
    """The probes of a validation, as module mcp_probe accepts them; none without MCP servers.

    :param tier: that of the caller, of the catalogue.
    :param no_token: why there is no token, where there is none.
    :param run: the random name of the run.
    :param keys: those of MCP servers that the inventory knows, by server.
    """
    if not catalog.get("mcp_servers"):
        return []
    name, tools = tier["name"], tier["mcp_tools"]
    hint = f"See MCPRoute mcp-servers in namespace {catalog['namespace']}, and the logs of the proxies' processor."
    common = {"hint": hint, "token": token, "skip": no_token}
    found: list[Document] = [
        {
            "id": "mcp:no-token",
            "name": "A message to MCP servers without a token is refused",
            "hint": hint,
            "token": "",
            "expect": {"status": 401, "code": "invalid_api_key"},
        }
    ]
    if not tools:
        refused = {"status": 403, "code": "tool_not_allowed"}
        return [*found, {**common, "id": "mcp:tools", "name": f"Tier {name} may call no tool", "expect": refused}]
    found.append(
        {
            **common,
            "id": "mcp:tools",
            "name": f"Tier {name} sees its tools and no others",
            "wait_timeout": wait_timeout,
            "expect": {"tools": _patterns(tools)},
        }
    )
    others = [server["name"] for server in catalog["mcp_servers"] if not _whole(tools, server["name"])]
    unfit = "" if others else f"tier {name} may call all tools"
    found.append(
        {
            **common,
            "id": "mcp:forbidden",
            "name": f"Tier {name} may not call another tool",
            "skip": no_token or unfit,
            "tool": f"{others[0] if others else 'none'}__no-such-tool-{run}",
            "expect": {"status": 403, "code": "tool_not_allowed"},
        }
    )
    for server in catalog["mcp_servers"]:
        if not server["simulated"]:
            continue
        shown = any(_allows(entry, server["name"], RECEIVED) for entry in tools)
        unseen = "" if shown else f"tier {name} may not call {server['name']}__{RECEIVED}, which shows them"
        key = keys.get(server["name"], "")
        credential = {"credential": hashlib.sha256(key.encode()).hexdigest()} if key else {}
        found.append(
            {
                **common,
                "id": f"mcp:key:{server['name']}",
                "name": f"MCP server {server['name']} learns nothing of the caller",
                "skip": no_token or unseen,
                "tool": f"{server['name']}__{RECEIVED}",
                "expect": {"received": True, **credential},
            }
        )
    return found


def _patterns(tools: Sequence[Mapping[str, t.Any]]) -> list[str]:
    found: list[str] = []
    for entry in tools:
        names = ["*"] if entry["every"] else [*(f"{prefix}*" for prefix in entry["prefixes"]), *entry["names"]]
        found += [f"{entry['server']}__{name}" for name in names]
    return found


def _whole(tools: Sequence[Mapping[str, t.Any]], server: str) -> bool:
    return any(entry["server"] == server and entry["every"] for entry in tools)


def _allows(entry: Mapping[str, t.Any], server: str, tool: str) -> bool:
    return entry["server"] == server and (
        entry["every"] or tool in entry["names"] or any(tool.startswith(prefix) for prefix in entry["prefixes"])
    )
