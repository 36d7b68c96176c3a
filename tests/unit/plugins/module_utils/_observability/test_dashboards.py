# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._observability.dashboards import dashboards


def found(name: str = "ai-gateway", users: int = 10) -> dict[str, dict[str, t.Any]]:
    models = [{"name": "gpt-4", "price": {"input": 1, "output": 2}}]
    return dashboards({"name": name, "models": models, "observability": {"users": users}})


def expressions(dashboard: dict[str, t.Any]) -> list[str]:
    return [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]


def test_short_names_are_uids() -> None:
    assert [dashboard["uid"] for dashboard in found().values()] == ["ai-gateway-usage", "ai-gateway-health"]


@pytest.mark.parametrize("length", [34, 40, 63])
def test_long_names_have_a_uid_of_each_dashboard(length: int) -> None:
    uids = [dashboard["uid"] for name in ("a" * length, "a" * (length - 1) + "b") for dashboard in found(name).values()]
    assert len(set(uids)) == 4
    assert all(len(uid) <= 40 for uid in uids)
    assert uids[:2] == [dashboard["uid"] for dashboard in found("a" * length).values()]


@pytest.mark.parametrize(
    ("name", "users", "labels"),
    [
        ("ai-gateway-usage", 10, ["cluster", "tier", "user", "model", "provider"]),
        ("ai-gateway-usage", 0, ["cluster", "tier", "model", "provider"]),
        ("ai-gateway-health", 10, ["cluster"]),
    ],
)
def test_each_variable_is_a_label_that_queries_match(name: str, users: int, labels: list[str]) -> None:
    dashboard = found(users=users)[name]
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    assert list(variables) == ["datasource", *labels]
    for label in labels:
        assert variables[label]["query"] == (
            f'label_values(envoy_ai_gateway_requests_total{{gateway="ai-gateway"}}, {label})'
        )
        # So it matches series without the label too.
        assert variables[label]["allValue"] == ".*"
        assert any(f'{label}=~"${label}"' in expression for expression in expressions(dashboard))
    for expression in expressions(dashboard):
        used = set(re.findall(r"\$([a-z]+)", expression.replace("$__range", "")))
        assert used <= set(labels)
        # Prices are those of the rules, wherever these are.
        assert "cluster" in used or "price_per_token" in expression
