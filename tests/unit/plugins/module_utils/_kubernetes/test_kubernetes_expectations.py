# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.expectations import (
    Expectation,
    expectations_of,
    verdict_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Reference
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.readiness import CURRENT, State, Verdict

DATABASE = Reference("example.com/v1", "Database", "shop", "orders")


def database(**status: t.Any) -> dict[str, t.Any]:
    return {
        "apiVersion": "example.com/v1",
        "kind": "Database",
        "metadata": {"name": "orders", "namespace": "shop"},
        "status": status,
    }


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        ({"phase": "Running"}, CURRENT),
        ({"phase": "Starting"}, Verdict(State.IN_PROGRESS, "wait_for query status.phase == 'Running' is false")),
        ({"phase": "Broken"}, Verdict(State.FAILED, "wait_for failed status.phase == 'Broken' is true")),
    ],
)
def test_an_object_is_ready_once_the_query_holds_and_failed_once_failed_does(
    status: dict[str, t.Any], verdict: Verdict
) -> None:
    assert (
        Expectation("Database", "status.phase == 'Running'", "status.phase == 'Broken'").verdict(database(**status))
        == verdict
    )


@pytest.mark.parametrize(
    ("value", "holds"), [(0, True), ("x", True), (None, False), (False, False), ("", False), ([], False), ({}, False)]
)
def test_truth_is_as_jmespath_has_it(value: t.Any, holds: bool) -> None:
    assert (Expectation("Database", "status.value").verdict(database(value=value)) is CURRENT) == holds


def test_a_query_that_cannot_be_evaluated_yet_waits() -> None:
    verdict = Expectation("Database", "length(status.hosts) > `0`").verdict(database())
    assert verdict.state is State.IN_PROGRESS
    assert "cannot be evaluated yet" in verdict.message


@pytest.mark.parametrize(
    ("entry", "matches"),
    [
        ({}, True),
        ({"api_version": "example.com/v1", "namespace": "shop", "name": "orders"}, True),
        ({"api_version": "other.com/v1"}, False),
        ({"namespace": "other"}, False),
        ({"name": "other"}, False),
        ({"kind": "Table"}, False),
    ],
)
def test_an_entry_concerns_what_it_names(entry: dict[str, str], matches: bool) -> None:
    expectation = Expectation(**{"kind": "Database", "query": "status", **entry})
    assert expectation.matches(DATABASE) == matches
    assert (verdict_of(database(), [expectation]) is CURRENT) != matches


def test_faults_name_the_entry_and_the_remedy() -> None:
    entries = [
        {"kind": "Database", "query": "status.", "failed": "a ||", "name": None},
        {"kind": "Table", "api_version": "example.com/v1", "query": "status", "namespace": "shop", "name": "rows"},
        {"kind": "Database", "query": "status"},
    ]
    expectations, faults = expectations_of(entries, [DATABASE])
    assert expectations[2] == Expectation("Database", "status")
    assert len(faults) == 3
    assert faults[0].startswith("wait_for[0].query: 'status.' is no JMESPath: ")
    assert faults[1].startswith("wait_for[0].failed: 'a ||' is no JMESPath: ")
    assert (
        faults[2]
        == "wait_for[1]: no manifest is a Table in example.com/v1 shop/rows; correct the entry, or leave it out"
    )


def test_a_status_of_an_older_generation_is_not_asked() -> None:
    expectation = Expectation("Database", "status.phase == 'Running'", "status.phase == 'Broken'")
    for phase in ("Running", "Broken"):
        body = database(phase=phase, observedGeneration=3)
        body["metadata"]["generation"] = 4
        assert expectation.verdict(body) == Verdict(
            State.IN_PROGRESS, "its controller has seen generation 3, not yet 4"
        )
    body["status"]["observedGeneration"] = 4
    assert expectation.verdict(body).state is State.FAILED


def test_a_result_is_quoted_whole_or_not_at_all() -> None:
    # A part of a secret would not be recognized where secrets are masked.
    text = "x" * 1000 + "secret"
    expectation = Expectation("Database", "status.none", "status.hints")
    assert expectation.verdict(database(hints=[text])).message == f'wait_for failed status.hints is ["{text}"]'
    shown = expectation.verdict(database(hints=[text, text])).message
    assert shown == "wait_for failed status.hints is an array, 2020 characters long as JSON"
