# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A server of tools of the SDK of the Model Context Protocol, as it runs in the pod of mcp_servers.py.

It accepts one key, and shows what it received. Usage: mcp_tools_server.py PORT KEY [CERTIFICATE KEY_OF_IT]
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


def main() -> None:
    port, key, *tls = sys.argv[1:]
    app = WithKey(server.streamable_http_app(host="0.0.0.0"), key)
    files = {"ssl_certfile": tls[0], "ssl_keyfile": tls[1]} if tls else {}
    uvicorn.run(app, host="0.0.0.0", port=int(port), **files)


if __name__ == "__main__":
    main()
