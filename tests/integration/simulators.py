# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The admin ends of the simulators: what they counted, and how they are to fail."""

from __future__ import annotations

import json
import typing as t

from objects import kubectl

NAMESPACE = "external-models"
#: Sends one request from inside of the pod, where alone the admin end listens.
PROGRAM = """
import sys, urllib.request
method, path, body = sys.argv[1:]
request = urllib.request.Request("http://127.0.0.1:8001" + path, body.encode() or None, method=method)
print(urllib.request.urlopen(request, timeout=10).read().decode())
"""


def admin(provider: str, method: str, path: str, body: dict[str, t.Any] | None = None) -> t.Any:
    """Send a request to the admin end of the simulator of `provider`; return what it answers."""
    text = json.dumps(body) if body else ""
    answer = kubectl(
        "exec",
        "--namespace",
        NAMESPACE,
        f"deployment/{provider}-simulator",
        "--",
        "python3",
        "-c",
        PROGRAM,
        method,
        path,
        text,
    )
    return json.loads(answer) if answer.strip() else None


def requests(provider: str) -> dict[str, int]:
    """Return how many requests the simulator of `provider` answered with which status since it was reset."""
    found: dict[str, int] = {}
    for count in admin(provider, "GET", "/counters")["counts"]:
        found[str(count["status"])] = found.get(str(count["status"]), 0) + count["requests"]
    return found
