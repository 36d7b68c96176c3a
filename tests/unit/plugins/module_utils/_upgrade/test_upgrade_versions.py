# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.versions import (
    Pairs,
    compare,
    judge,
    meets,
    plan_of,
    version_of,
)

PAIRS = Pairs(
    tested=({"envoy_gateway": ">=1.8.2,<1.9", "envoy_ai_gateway": "==1.0.0", "envoy": ">=1.38.3,<=1.40.0"},),
    bad=(
        {"envoy_gateway": "<1.8.2", "reason": "no tokens are counted"},
        {"envoy_gateway": ">=1.9,<=1.9.1", "envoy_ai_gateway": "<=1.0.0", "reason": "no backend is found"},
    ),
)
GOOD = {"envoy_gateway": "1.8.3", "envoy_ai_gateway": "1.0.0", "envoy": "1.38.3"}


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("localhost/egress-ai-gateway/envoy-gateway:v1.8.3", "1.8.3"),
        ("docker.io/envoyproxy/gateway:v1.8.3@sha256:" + "e7" * 32, "1.8.3"),
        ("docker.io/envoyproxy/envoy:distroless-v1.38.3@sha256:" + "57" * 32, "1.38.3"),
        ("mirror:5000/envoyproxy/envoy:1.40.0", "1.40.0"),
        ("mirror:5000/envoyproxy/envoy", ""),
        ("envoy@sha256:" + "57" * 32, ""),
        ("envoy:latest", ""),
        ("", ""),
    ],
)
def test_the_version_of_an_image(image: str, version: str) -> None:
    assert version_of(image) == version


def test_versions_are_compared_by_numbers() -> None:
    assert compare("v1.10.0", "1.9") == 1
    assert compare("1.8", "v1.8.0") == 0
    assert compare("1.8.2", "1.8.10") == -1
    with pytest.raises(ValueError, match="write one such as"):
        compare("latest", "1.8.3")


def test_conditions() -> None:
    assert meets("1.8.3", ">=1.8.2,<1.9")
    assert not meets("1.9.0", ">=1.8.2,<1.9")
    assert not meets("1.8.2", ">1.8.2")
    with pytest.raises(ValueError, match="no condition of versions"):
        meets("1.8.3", "~1.8")


def test_a_tested_set_is_neither_bad_nor_untried() -> None:
    assert judge(GOOD, PAIRS) == ([], [])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"envoy_gateway": "1.8.1"}, "Envoy Gateway 1.8.1: no tokens are counted"),
        ({"envoy_gateway": "1.9.1"}, "Envoy Gateway 1.9.1 with Envoy AI Gateway 1.0.0: no backend is found"),
    ],
)
def test_a_bad_pair_is_named_with_its_reason(change: dict[str, str], said: str) -> None:
    assert judge({**GOOD, **change}, PAIRS)[0] == [said]


@pytest.mark.parametrize("change", [{"envoy": "1.41.0"}, {"envoy_gateway": "1.10.0"}, {"envoy_ai_gateway": "1.1.0"}])
def test_what_nobody_has_tried_is_said(change: dict[str, str]) -> None:
    bad, untried = judge({**GOOD, **change}, PAIRS)
    assert bad == []
    assert len(untried) == 1
    assert "have not been tried together" in untried[0]


def test_an_unknown_version_is_not_taken_for_a_bad_one() -> None:
    assert judge({**GOOD, "envoy_ai_gateway": "", "envoy_gateway": "1.9.1"}, PAIRS)[0] == []


def test_an_unknown_version_has_not_been_tried() -> None:
    said = (
        "Envoy Gateway of an unknown version with Envoy AI Gateway 1.0.0 with Envoy 1.38.3 have not been tried together"
    )
    assert judge({**GOOD, "envoy_gateway": ""}, PAIRS) == ([], [said])


def test_a_plan_names_what_changes() -> None:
    found = {"envoy_gateway": "eg:v1", "envoy": "envoy:v1"}
    assert plan_of(found, found, None) == {"changes": {}, "needed": False, "resumed": False}
    plan = plan_of(found, {**found, "envoy_gateway": "eg:v2"}, {"phase": "done"})
    assert plan == {"changes": {"envoy_gateway": {"from": "eg:v1", "to": "eg:v2"}}, "needed": True, "resumed": False}


@pytest.mark.parametrize(("phase", "resumed"), [("replacing", True), ("back", True), ("canary", False)])
def test_a_run_that_was_cut_off_is_needed_where_all_images_are_new(phase: str, resumed: bool) -> None:
    """Before the replacement, it has left a canary alone, and what runs is what ran before."""
    found = {"envoy_gateway": "eg:v2"}
    assert plan_of(found, found, {"phase": phase}) == {"changes": {}, "needed": True, "resumed": resumed}
