# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import faults


@pytest.mark.parametrize(
    ("value", "tokens"), [("estimated", 0), (None, 0), (1, 1), ("500", 500), (10_000_000, 10_000_000)]
)
def test_what_an_uncounted_answer_costs(value: t.Any, tokens: int) -> None:
    assert build({"uncounted_tokens": value}).as_dict()["uncounted_tokens"] == tokens


def test_a_fault_of_what_an_uncounted_answer_costs() -> None:
    assert [str(fault) for fault in faults({"uncounted_tokens": "many"})] == [
        'ai_gateway_uncounted_tokens: is "many"; write a whole number from 1 to 10000000, or estimated'
    ]
