# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Envoy Gateway says of a tree, without a cluster."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import translation

Rendered = tuple[str, Path]


@pytest.fixture(scope="module")
def egctl() -> Path:
    if not translation.program().exists():
        pytest.skip("egctl is not built on this machine; the end-to-end tests build it")
    return translation.program()


def test_envoy_gateway_accepts_every_object(rendered: Rendered, egctl: Path) -> None:
    name, directory = rendered
    statuses = translation.translated(directory / "tree", directory / "secrets.yaml", egctl)
    refused = {
        title: [condition for condition in conditions if condition["status"] != "True"]
        for title, conditions in statuses.items()
    }
    assert {title: conditions for title, conditions in refused.items() if conditions} == {}
    judged = {title.split(" ")[0] for title, conditions in statuses.items() if conditions}
    assert judged == {
        "Backend",
        "BackendTrafficPolicy",
        "ClientTrafficPolicy",
        "EnvoyExtensionPolicy",
        "EnvoyPatchPolicy",
        "Gateway",
        "GatewayClass",
        # The redirect from plain HTTP.
        *(["HTTPRoute"] if name != "providers" else []),
        "SecurityPolicy",
    }
    # Its route is Envoy AI Gateway's to make.
    silent = [title for title, conditions in statuses.items() if not conditions]
    assert sorted({title.split(" ")[0] for title in silent}) == (
        ["BackendTrafficPolicy", "EnvoyProxy"] if name == "providers" else ["EnvoyProxy"]
    )


def test_a_fault_is_seen(rendered: Rendered, egctl: Path, tmp_path: Path) -> None:
    _name, directory = rendered
    shutil.copytree(directory / "tree", tmp_path / "tree")
    (path,) = (tmp_path / "tree/access-policies").glob("backend.*.yaml")
    path.unlink()
    statuses = translation.translated(tmp_path / "tree", directory / "secrets.yaml", egctl)
    policy = statuses["SecurityPolicy ai-gateway"]
    assert [condition["status"] for condition in policy if condition["type"] == "Accepted"] == ["False"]
