# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The policy with which the proxies check tokens themselves comes with the routes, where they do."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from rendering import manifests

PATCHES = [{"type": "type.googleapis.com/envoy.config.listener.v3.Listener", "name": "tcp-80"}]
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_providers": [
        {
            "name": "openai",
            "schema": "openai",
            "simulated": True,
            "credential": {"value": "sk-other"},
            "models": [{"name": "gpt-4"}],
        }
    ],
    "access_policies_caller_patches": PATCHES,
}
SIGNATURE = {"kind": "service_account", "check": "signature"}


@pytest.mark.parametrize(
    ("changed", "rendered"),
    [
        ({"ai_gateway_callers": [SIGNATURE]}, True),
        ({"ai_gateway_callers": [{"kind": "service_account"}]}, False),
    ],
)
def test_the_policy_comes_with_the_routes(tmp_path: Path, changed: dict[str, t.Any], rendered: bool) -> None:
    objects = manifests(tmp_path, "providers", "envoy_ai_gateway.yaml.j2", {**VARIABLES, **changed})
    policy = objects.get(("EnvoyPatchPolicy", "ai-gateway.callers"))
    assert (policy is not None) is rendered
    if policy:
        # What it changes, the policy of role access_policies has put in before.
        assert (policy["spec"]["priority"], policy["spec"]["jsonPatches"]) == (1, PATCHES)
