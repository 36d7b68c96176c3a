# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of tools of the SDK of the Model Context Protocol, as it runs in the pod of mcp_servers.py.

It accepts one key, and shows what it received. Usage: mcp_tools_server.py PORT KEY [hostile | CERTIFICATE KEY_OF_IT]

A hostile one does what a message names, as its client's name, its cursor or its tool: `redirect` leads to the admin
interface of the Envoy that asks, `null` answers with the result null, `nulls` with a list of tools that has null, and
`large` with 64 MiB.
"""

from __future__ import annotations

import json
import sys
import typing as t

import uvicorn
from mcp.server import MCPServer

#: Of the last requests: HTTP method and headers, in their order.
SEEN: list[dict[str, t.Any]] = []
server = MCPServer("tools")


@server.tool()
def search(query: str) -> str:
    """Finds something."""
    return f"found {query}"


@server.tool()
def delete_all() -> str:
    """Deletes everything."""
    return "deleted"


@server.tool()
def seen() -> str:
    """Shows the last requests as JSON."""
    return json.dumps(SEEN)


class WithKey:
    """Refuses requests without the key, and remembers all."""

    def __init__(self, app: t.Any, key: str) -> None:
        self.app = app
        self.key = key

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]]
        SEEN.append({"method": scope["method"], "path": scope["path"], "headers": headers})
        del SEEN[:-100]
        if dict(headers).get("authorization") == f"Bearer {self.key}":
            await self.app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Bearer")]})
        await send({"type": "http.response.body", "body": b"wrong key"})


class Hostile:
    """Does what a message names, and else what the server does."""

    def __init__(self, app: t.Any) -> None:
        self.app = app

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        received, body = [], b""
        while not received or received[-1].get("more_body"):
            received.append(await receive())
            body += received[-1].get("body", b"")
        message = json.loads(body)
        params = message.get("params") or {}
        named = {params.get("name"), params.get("cursor"), (params.get("clientInfo") or {}).get("name")}
        answer = {"jsonrpc": "2.0", "id": message.get("id"), "result": None}
        if "redirect" in named:
            headers = [(b"location", b"http://127.0.0.1:19000/quitquitquit"), (b"content-length", b"0")]
            await send({"type": "http.response.start", "status": 307, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        elif named & {"null", "nulls", "large"}:
            if "nulls" in named:
                answer["result"] = {"tools": [None]}
            if "large" in named:
                answer["result"] = {"content": [{"type": "text", "text": "x" * 2**26}]}
            headers = [(b"content-type", b"application/json")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": json.dumps(answer).encode()})
        else:

            async def again() -> t.Any:
                return received.pop(0) if received else await receive()

            await self.app(scope, again, send)


def main() -> None:
    port, key, *tls = sys.argv[1:]
    served: t.Any = server.streamable_http_app(host="0.0.0.0")
    if tls == ["hostile"]:
        served, tls = Hostile(served), []
    app = WithKey(served, key)
    files = {"ssl_certfile": tls[0], "ssl_keyfile": tls[1]} if tls else {}
    uvicorn.run(app, host="0.0.0.0", port=int(port), **files)


if __name__ == "__main__":
    main()
