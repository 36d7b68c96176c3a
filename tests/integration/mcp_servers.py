# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""MCP servers behind the gateway: a simulator, and servers of the SDK in pods outside of what the collection deploys,
one plain and one in TLS. The client is the SDK's too.

Both packages are those of mcp_packages.txt, in a cache of their own, so that no other test's change with them.
"""

from __future__ import annotations

import hashlib
import json
import pathlib
import subprocess
import sys
import typing as t

import catalogs
import external_provider
import gateway_requests
import gateway_tls
from gateway_requests import Ask, Reply
from objects import kubectl
from runs import ROOT

HERE = pathlib.Path(__file__).parent
LOCK = HERE / "mcp_packages.txt"
CACHE = pathlib.Path.home() / ".cache/egress-ai-gateway/mcp" / hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]
#: The Python of the image of the pods.
PODS_PYTHON = external_provider.VERSIONS["versions_embedded_differences"]["python"]["version"]

NAMESPACE = "outside-tools"
PORT, TLS_PORT = 8000, 8443
PATH = "/mcp"
#: The servers of the SDK by name, their ports and keys.
SERVERS = {"tools": (PORT, "sk-tools-key-of-outside"), "secure": (TLS_PORT, "sk-secure-key-of-outside")}
#: One that does what mcp_tools_server.py says of hostile ones.
HOSTILE, HOSTILE_PORT = "hostile", 8002
PODS = {**SERVERS, HOSTILE: (HOSTILE_PORT, "sk-hostile-key-of-outside")}
SIMULATOR, SIMULATORS_KEY = "weather", "sk-weather-key-for-demo"
#: What a caller says of itself in the query and in a header.
MARK = "a-mark-of-the-caller"
REQUESTS = {"requests": 1000, "window": "1m"}
#: What each tier may call.
TOOLS = {
    "free": [f"{SIMULATOR}__echo", "tools__s*"],
    "enterprise": ["*"],
}
#: The tools that a tier sees, by the names that clients use.
SEEN = {
    "free": {"weather__echo", "tools__search", "tools__seen"},
    "enterprise": {
        *(f"weather__{tool}" for tool in ("echo", "add", "fail", "received_requests")),
        *(f"{server}__{tool}" for server in PODS for tool in ("search", "delete_all", "seen")),
    },
}
Document = dict[str, t.Any]


def hostname(name: str) -> str:
    return f"{name}.{NAMESPACE}.svc.cluster.local"


def packages() -> pathlib.Path:
    """The packages for the Python of the pods, installed once."""
    directory = CACHE / f"packages-{PODS_PYTHON}"
    marker = directory / ".complete"
    if not marker.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary=:all:"]
        command += [
            "--python-version",
            PODS_PYTHON,
            "--upgrade",
            "--target",
            str(directory),
            "--requirement",
            str(LOCK),
        ]
        subprocess.run(command, check=True, timeout=600)
        marker.touch()
    return directory


def client_python() -> pathlib.Path:
    """The Python of the client's own environment, made once."""
    directory = CACHE / f"client-{sys.version_info.major}.{sys.version_info.minor}"
    subprocess.run([sys.executable, str(ROOT / "scripts/venv"), str(LOCK), str(directory)], check=True, timeout=600)
    return directory / "bin/python"


def manifests(certificate: t.Mapping[str, str]) -> list[Document]:
    """The objects of the servers of the SDK; `certificate` is that of `secure`. Their node is this machine, from which
    the pods have the packages.
    """
    program = {"server.py": (HERE / "mcp_tools_server.py").read_text(encoding="utf-8")}
    tls = {"tls.crt": certificate["certificate"], "tls.key": certificate["key"]}
    found: list[Document] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata("program"), "data": program},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": _metadata("tls"),
            "type": "kubernetes.io/tls",
            "stringData": tls,
        },
    ]
    for name, (port, key) in PODS.items():
        files = ["/run/tls/tls.crt", "/run/tls/tls.key"] if port == TLS_PORT else []
        files += ["hostile"] if name == HOSTILE else []
        checksum = hashlib.sha256(json.dumps([program, tls, key]).encode()).hexdigest()
        container = {
            "name": "server",
            "image": external_provider.IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-u", "-B", "/opt/program/server.py", str(port), key, *files],
            "env": [{"name": "PYTHONPATH", "value": "/opt/packages"}],
            "readinessProbe": {"tcpSocket": {"port": port}, "periodSeconds": 1},
            "volumeMounts": [
                {"name": "program", "mountPath": "/opt/program", "readOnly": True},
                {"name": "packages", "mountPath": "/opt/packages", "readOnly": True},
                {"name": "tls", "mountPath": "/run/tls", "readOnly": True},
            ],
        }
        pod = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "runAsGroup": 65534, "fsGroup": 65534},
            "containers": [container],
            "volumes": [
                {"name": "program", "configMap": {"name": "program"}},
                {"name": "packages", "hostPath": {"path": str(packages()), "type": "Directory"}},
                {"name": "tls", "secret": {"secretName": "tls", "defaultMode": 0o440}},
            ],
        }
        labels = {"app.kubernetes.io/name": name}
        deployment = {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels, "annotations": {"checksum": checksum}}, "spec": pod},
        }
        service = {"selector": labels, "ports": [{"port": port}]}
        found += [
            {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": _metadata(name), "spec": deployment},
            {"apiVersion": "v1", "kind": "Service", "metadata": _metadata(name), "spec": service},
        ]
    return found


def _metadata(name: str) -> Document:
    return {"name": name, "namespace": NAMESPACE}


def deploy() -> str:
    """Deploy the servers of the SDK and wait until they answer; return the certificate of their authority."""
    authority = catalogs.Authority("Tools")
    listed = {"apiVersion": "v1", "kind": "List", "items": manifests(authority.issue(hostname("secure")))}
    kubectl("apply", "--server-side", "--filename=-", document=json.dumps(listed))
    for name in PODS:
        kubectl("rollout", "status", "--namespace", NAMESPACE, f"deployment/{name}", "--timeout=100s")
    return authority.certificate


def remove() -> None:
    """Remove the servers of the SDK with their namespace."""
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=100s")


def entries(authority: str) -> list[Document]:
    """The entries of ai_gateway_mcp_servers; the names of those outside have to be in ai_gateway_allowed_endpoints."""
    simulated = {"name": SIMULATOR, "simulated": True, "credential": {"value": SIMULATORS_KEY}}
    outside = []
    for name, (port, key) in PODS.items():
        tls = {"mode": "simple", "ca_bundle": authority} if port == TLS_PORT else {"mode": "none"}
        endpoint = {"hostname": hostname(name), "port": port, "path": PATH, "tls": tls}
        outside.append({"name": name, "endpoint": endpoint, "credential": {"value": key}})
    return [simulated, *outside]


def with_servers(variables: Document, authority: str) -> Document:
    """Variables of a catalogue with these servers, and with tools for its tiers of these names."""
    tiers = [
        {**tier, "request_limit": REQUESTS, "mcp_tools": TOOLS[tier["name"]]} if tier["name"] in TOOLS else tier
        for tier in variables["ai_gateway_tiers"]
    ]
    allowed = [*variables.get("ai_gateway_allowed_endpoints", ()), *map(hostname, PODS)]
    return {
        **variables,
        "ai_gateway_mcp_servers": entries(authority),
        "ai_gateway_tiers": tiers,
        "ai_gateway_allowed_endpoints": allowed,
    }


def session(url: str, token: str, *calls: tuple[str, Document], mode: str = "auto") -> Document:
    """What the client of the SDK saw in one session; mcp_session.py says what is in it."""
    given = {
        "url": f"{url}{PATH}?user={MARK}",
        "mark": MARK,
        "ca_file": str(gateway_tls.CA_FILE),
        "address": gateway_tls.NODE,
        "token": token,
        "mode": mode,
        "calls": calls,
    }
    ended = subprocess.run(
        [str(client_python()), "-I", str(HERE / "mcp_session.py")],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found: Document = json.loads(ended.stdout)
    return found


def header_faults(outcome: Document, token: str, user: str, key: str) -> list[str]:
    """What is wrong with the requests that a server of the SDK shows: each has its own key alone, and nothing of who
    called.
    """
    requests = json.loads(outcome["said"])
    found = [] if requests else ["the server shows no request"]
    for request in requests:
        headers = dict(request["headers"])
        if headers.get("authorization") != f"Bearer {key}":
            found.append(f"{request['method']}: another authorization than the server's key")
        told = json.dumps(request)
        found += [f"{request['method']}: {what} is in it" for what in (token, user, MARK) if what in told]
        found += [
            f"{request['method']}: it has {name}"
            for name in headers
            if name.startswith(("x-maas-", "x-ai-gateway-")) or name in ("cookie", "x-api-key")
        ]
    return found


def ask(url: str, token: str, message: t.Any, session_id: str = "", **headers: str) -> Reply:
    """One message to the gateway, as a plain request; bytes are sent as they are."""
    given = {
        "accept": "application/json, text/event-stream",
        **({"mcp-session-id": session_id} if session_id else {}),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return gateway_requests.send(url, token, Ask(PATH, message, given, note="MCP"))


def call(tool: str, **arguments: t.Any) -> Document:
    return {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": tool, "arguments": arguments}}


def answer(given: str) -> Document:
    """What a client answers to a server that asked with this id."""
    return {"jsonrpc": "2.0", "id": given, "result": {}}


def begin(url: str, token: str, name: str = "end-to-end-test") -> str:
    """A new session's identifier, of a client with this name."""
    params = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": name, "version": "1"},
    }
    reply = ask(url, token, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params})
    assert reply.status == 200, reply
    return reply.header("mcp-session-id")


def listed(url: str, token: str, session_id: str, cursor: str = "") -> set[str]:
    """The servers whose tools are listed."""
    params = {"cursor": cursor} if cursor else {}
    reply = ask(url, token, {"jsonrpc": "2.0", "id": 3, "method": "tools/list", "params": params}, session_id)
    assert reply.status == 200, reply
    found = [json.loads(line[6:]) for line in reply.body.decode().splitlines() if line.startswith("data: ")]
    return {tool["name"].split("__")[0] for message in found for tool in message.get("result", {}).get("tools", ())}


def hostile_faults(url: str, token: str) -> list[str]:
    """What a hostile server does to the others, with the token of a tier that may call all tools."""
    every = {SIMULATOR, *PODS}
    found = []
    for kind in ("redirect", "null", "large"):
        servers = listed(url, token, begin(url, token, kind))
        if servers != every - {HOSTILE}:
            found.append(f"a session that begins with {kind} has the tools of {servers}")
    mine = begin(url, token)
    for cursor, wanted in (("", every), ("nulls", every - {HOSTILE}), ("redirect", every - {HOSTILE})):
        servers = listed(url, token, mine, cursor)
        if servers != wanted:
            found.append(f"the list at {cursor!r} has the tools of {servers}")
    for tool, status, number in (("redirect", 502, -32000), ("large", 502, -32000), ("null", 200, -32603)):
        reply = ask(url, token, call(f"{HOSTILE}__{tool}"), mine)
        try:
            told = (reply.status, json.loads(reply.body)["error"]["code"])
        except (ValueError, KeyError, TypeError):
            told = (reply.status, repr(reply.body[:200]))
        if told != (status, number):
            found.append(f"tool {tool}: {told} instead of {status} {number}")
    allowed = ask(url, token, call(f"{SIMULATOR}__echo", text="Hello"), mine)
    if allowed.status != 200 or b"Hello" not in allowed.body:
        found.append(f"another server's tool: {allowed}")
    return found


def refusals(url: str, tokens: t.Mapping[str, str], other: str) -> list[str]:
    """What is wrong with how the gateway refuses messages.

    :param tokens: of tiers, by their names.
    :param other: of another user of tier free.
    """
    free = tokens["free"]
    mine = begin(url, free)
    twice = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"weather__echo","name":"weather__add"}}'
    forged = {"x_ai_gateway_mcp_tier": "enterprise", "x_maas_tier": "enterprise", "x_ai_eg_mcp_route": "a/b"}
    table: list[tuple[str, Reply, int, str]] = [
        ("no token", ask(url, "", call("weather__echo")), 401, "invalid_api_key"),
        ("a wrong token", ask(url, "none", call("weather__echo")), 401, "invalid_api_key"),
        ("no session", ask(url, free, call("weather__echo")), 400, "missing_session"),
        ("another's session", ask(url, other, call("weather__echo"), mine), 404, "unknown_session"),
        ("another tier's", ask(url, tokens["enterprise"], call("weather__echo"), mine), 404, "unknown_session"),
        ("another tool", ask(url, free, call("weather__add", a=1, b=2), mine), 403, "tool_not_allowed"),
        ("forged headers", ask(url, free, call("weather__add", a=1, b=2), mine, **forged), 403, "tool_not_allowed"),
        ("an unknown tool", ask(url, free, call("nowhere__tool"), mine), 403, "tool_not_allowed"),
        ("a tier without tools", ask(url, tokens["premium"], call("weather__echo")), 403, "tool_not_allowed"),
        ("a key twice", ask(url, free, twice, mine), 400, "invalid_json"),
        ("several messages", ask(url, free, [call("weather__echo")], mine), 400, "invalid_request"),
        ("resources", ask(url, free, {**call("a"), "method": "resources/list"}, mine), 404, "method_not_found"),
        ("an answer that ends a handler", ask(url, free, answer("00__f__tools"), mine), 400, "invalid_params"),
        ("an answer to a server of others", ask(url, free, answer("1__i__secure"), mine), 400, "invalid_params"),
    ]
    found = []
    for what, reply, status, code in table:
        try:
            document = json.loads(reply.body)
            told = (reply.status, document["jsonrpc"], document["error"]["data"]["code"])
        except (ValueError, KeyError, TypeError):
            told = (reply.status, "", repr(reply.body[:200]))
        if told != (status, "2.0", code):
            found.append(f"{what}: {told} instead of {status} {code}")
    allowed = ask(url, free, call("weather__echo", text="Hello"), mine)
    if allowed.status != 200 or b"Hello" not in allowed.body:
        found.append(f"the allowed tool: {allowed}")
    return found
