# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json

import gateway_requests
import pytest
import rotation
from load import Load


def test_the_proxies_lines_of_refused_requests_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of the load alone, once the proxies have written them."""
    load = Load("https://localhost", "token", rotation.REQUESTS)
    load.outcomes.update({"200": 7, "503": 1, "IncompleteRead": 1})
    answered = {"user_agent": load.agent, "response_code": 200, "response_flags": "-"}
    refused = {**answered, "response_code": 503, "response_code_details": "no_healthy_upstream", "response_flags": "UH"}
    cut_off = {**answered, "response_code_details": "upstream_reset", "response_flags": "UR"}
    logs = [
        "\n".join(["[warning] not an entry", *map(json.dumps, entries)])
        for entries in ([answered, refused], [answered, refused, cut_off, {**refused, "user_agent": "other"}])
    ]
    commands = []

    def kubectl(*arguments: str) -> str:
        commands.append(arguments)
        return logs[len(commands) - 1]

    monkeypatch.setattr(gateway_requests, "kubectl", kubectl)
    monkeypatch.setattr(rotation.time, "sleep", lambda _seconds: None)
    assert [json.loads(line) for line in rotation.refused_lines(load, 40)] == [refused, cut_off]
    assert [command[-1] for command in commands] == ["--since=41s", "--since=41s"]


def test_no_log_is_read_where_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Load("https://localhost", "token", rotation.REQUESTS)
    load.outcomes["200"] = 7
    monkeypatch.setattr(gateway_requests, "kubectl", lambda *_arguments: pytest.fail("the log is read"))
    assert rotation.refused_lines(load, 40) == []
