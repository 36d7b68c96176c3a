# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""One session of the client of the SDK of the Model Context Protocol, as mcp_servers.py runs it.

Standard input has {"url", "ca_file", "address", "token", "mark", "mode", "calls": [[tool, arguments], ...]}: the
address is that of the URL's host, and the mark is sent in a header. Standard output gets {"server", "tools", "calls"}:
the server's name, the names of the listed tools, and for each call {"said", "failed"} or {"error"}; or {"error"} alone,
where no session began. An error has the code, message and data of JSON-RPC.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import sys
import typing as t
import urllib.parse

import httpx2
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

Document = dict[str, t.Any]


def error_of(error: BaseException) -> Document | None:
    """The error of JSON-RPC in an exception, or in a group of them."""
    if isinstance(error, MCPError):
        return {"code": error.error.code, "message": error.error.message, "data": error.error.data}
    if isinstance(error, BaseExceptionGroup):
        return next(filter(None, map(error_of, error.exceptions)), None)
    return None


def resolve(host: str, address: str) -> None:
    """Have this process find a host name that no DNS has."""
    found = socket.getaddrinfo
    # Libraries ask by strings and by bytes.
    names = (host, host.encode())
    socket.getaddrinfo = lambda name, *others, **more: found(address if name in names else name, *others, **more)


async def session(given: Document) -> Document:
    # Envoy AI Gateway would pass on the second, as an identifier of an agent's session.
    headers = {"authorization": f"Bearer {given['token']}"} if given["token"] else {}
    headers["agent-session-id"] = given["mark"]
    verify = ssl.create_default_context(cafile=given["ca_file"])
    async with httpx2.AsyncClient(headers=headers, timeout=60, verify=verify) as http:
        transport = streamable_http_client(given["url"], http_client=http)
        async with Client(transport, mode=given["mode"]) as client:
            tools = (await client.list_tools()).tools
            outcomes: list[Document] = []
            for tool, arguments in given["calls"]:
                try:
                    result = await client.call_tool(tool, arguments)
                except MCPError as error:
                    outcomes.append({"error": error_of(error)})
                else:
                    said = "".join(getattr(item, "text", "") for item in result.content)
                    outcomes.append({"said": said, "failed": bool(result.is_error)})
            name = client.server_info.name if client.server_info else ""
            return {"server": name, "tools": [tool.name for tool in tools], "calls": outcomes}


def main() -> None:
    try:
        given = json.load(sys.stdin)
        resolve(urllib.parse.urlsplit(given["url"]).hostname or "", given["address"])
        found = asyncio.run(session(given))
    except BaseException as error:
        known = error_of(error)
        if known is None:
            raise
        found = {"error": known}
    print(json.dumps(found))


if __name__ == "__main__":
    main()
