# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What counts as a client that works."""

from __future__ import annotations

import json
import re
import typing as t

import clients
import pytest

SAID = {"said": "hello"}


def found(**changes: t.Any) -> list[dict[str, t.Any]]:
    """What all clients did, where all went well, but for the changes to those of OpenAI's SDK."""
    return [
        {
            "name": name,
            "version": "1",
            "did": {
                "chat": SAID,
                **{
                    f"refused {status}": {"error": error, "status": status, "message": "no"}
                    for status, error in errors.items()
                },
                **(changes if name == "openai" else {}),
            },
        }
        for name, errors in clients.ERRORS.items()
    ]


def test_clients_that_work() -> None:
    stored = {"error": "BadRequestError", "status": 400, "message": "no"}
    assert clients.problems(found(**{"refused store": stored})) == []
    shown = clients.table(found()).splitlines()
    assert len(shown) == 2 + len(clients.ERRORS)
    assert shown[2] == "| openai | 1 | chat | 403 PermissionDeniedError, 429 RateLimitError |"


@pytest.mark.parametrize(
    "changes",
    [
        {"chat": {"said": ""}},
        {"stream": {"error": "APIError", "status": 500, "message": "no"}},
        {"refused 403": SAID},
        {"refused 429": {"error": "APIError", "status": 429, "message": "no"}},
        {"refused 429": {"error": "RateLimitError", "status": None, "message": "no"}},
        {"refused store": SAID},
    ],
)
def test_a_client_that_does_not_work(changes: dict[str, t.Any]) -> None:
    (line,) = clients.problems(found(**changes))
    assert line.startswith(f"openai: {next(iter(changes))}: ")


def test_a_client_that_did_not_run() -> None:
    assert clients.problems(found()[1:]) == ["openai did nothing"]


def test_each_client_is_pinned() -> None:
    lock = clients.LOCK.read_text(encoding="utf-8")
    packages = json.loads((clients.VERCEL / "package.json").read_text(encoding="utf-8"))["dependencies"]
    for name in clients.ERRORS:
        pinned = re.search(rf"^{re.escape(name)}(\[.*\])?==[0-9.]+ ", lock, re.MULTILINE)
        assert pinned or re.fullmatch(r"[0-9.]+", packages.get(name, ""))
