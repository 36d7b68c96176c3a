# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a validation asks the listeners of a Gateway."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.evaluation import checks
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import Probe
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.listeners import asked
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import Plan, Seen, Settings
from validated_providers import REAL, SIMULATED

TIER = {"name": "free", "level": 0, "groups": ["a"], "token_limit": {"tokens": 100, "window": "1m"}, "models": ["*"]}
BOTH = [{"name": "wildcard", "hostname": "*.ai.example.com"}, {"name": "bare", "hostname": "ai.example.com"}]
REDIRECT = {"name": "http-redirect", "protocol": "HTTP", "port": 80}
URL = "https://ai.example.com:30080"


def plan(spec: list[dict[str, t.Any]], *providers: dict[str, t.Any], url: str = URL, **seen: t.Any) -> Plan:
    catalog = build({"tiers": [TIER], "providers": list(providers or (SIMULATED,))}).as_dict()
    settings = Settings.of({"gateway_url": url, "http_url": "http://ai.example.com:30081"})
    issued = {"results": [{"item": {"id": "caller"}, "token": "t"}]}
    gateway = {"resources": [{"spec": {"listeners": spec}}]}
    return Plan(catalog, settings, Seen(**{"run": "r1", "issued": issued, "gateway": gateway, **seen}))


@pytest.mark.parametrize("listeners", [[], BOTH[:1], [BOTH[1]]])
def test_one_listener_is_what_all_probes_ask(listeners: list[dict[str, t.Any]]) -> None:
    assert asked(plan(listeners)) == []


def test_a_model_answers_under_the_host_name_of_each() -> None:
    found = asked(plan([*BOTH, {"name": "any"}], url="https://10.245.0.2:30080"))
    assert [(entry["probe"]["id"], entry["url"]) for entry in found] == [
        ("listener:wildcard", "https://ai-gateway.ai.example.com:30080"),
        ("listener:bare", URL),
        ("listener:any", "https://10.245.0.2:30080"),
    ]
    for entry in found:
        assert entry["user"] == "caller"
        assert (entry["probe"]["model"], entry["probe"]["expect"]) == ("gpt-4", {"usage": True})
        # The module accepts it.
        assert Probe.from_params({**entry["probe"], "token": "t"}).model == "gpt-4"


def test_a_listener_of_all_host_names_is_not_asked_under_that_of_another() -> None:
    found = asked(plan([*BOTH, {"name": "any"}]))
    assert [entry["probe"]["id"] for entry in found] == ["listener:wildcard", "listener:bare"]


def test_without_a_model_for_nothing_the_list_is_asked_for() -> None:
    (first, _second) = asked(plan(BOTH, REAL))
    assert first["probe"]["operation"] == "models"
    assert first["probe"]["expect"] == {"models": [model["name"] for model in REAL["models"]]}


def test_plain_http_gets_no_token() -> None:
    (entry,) = asked(plan([BOTH[1], REDIRECT]))
    assert (entry["url"], entry["user"], entry["probe"]["id"]) == ("http://ai.example.com:30081", "", "http-redirect")
    expected = entry["probe"]["expect"]
    assert expected["status"] == [308]
    pattern = expected["headers"]["location"]
    assert re.search(pattern, "https://ai.example.com:30080/v1/models")
    for wrong in ("http://ai.example.com:30080/v1/models", "https://ai.example.com:30081/v1/models", "/v1/models"):
        assert not re.search(pattern, wrong)


@pytest.mark.parametrize("location", ["https://ai.example.com/v1/models", "https://ai.example.com:443/v1/models"])
def test_a_redirect_may_name_the_port_of_its_scheme(location: str) -> None:
    (entry,) = asked(plan([BOTH[1], REDIRECT], url="https://ai.example.com"))
    assert re.search(entry["probe"]["expect"]["headers"]["location"], location)


def test_nothing_is_asked_in_check_mode() -> None:
    assert asked(plan([*BOTH, REDIRECT], check_mode=True)) == []


def test_the_outcomes_are_checks_of_the_report() -> None:
    outcome = {"id": "listener:bare", "status": "passed"}
    made = plan(BOTH, listeners={"results": [{"checks": [outcome]}, {"skipped": True}]})
    assert outcome in checks(made)
