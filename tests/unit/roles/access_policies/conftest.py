# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
import yaml
from proxies import VARIABLES, Program, identity_key, programs, with_router
from rendering import rendered


@pytest.fixture(scope="session")
def texts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The programs as they are rendered, with the key of identities in a file of the test's."""
    found = programs(rendered(tmp_path_factory.mktemp("policies"), "access_policies", "authorino.yaml.j2", VARIABLES))
    path = identity_key(tmp_path_factory.mktemp("identity"))
    assert '"/run/ai-gateway/key"' in found["body_filter"]
    return {**found, "body_filter": found["body_filter"].replace("/run/ai-gateway/key", str(path))}


@pytest.fixture(scope="session")
def request_filter(texts: dict[str, str]) -> Program:
    return Program(texts["request_filter"])


@pytest.fixture(scope="session")
def body_filter(texts: dict[str, str]) -> Program:
    return Program(texts["body_filter"])


@pytest.fixture(scope="session")
def response_filter(texts: dict[str, str]) -> Program:
    return Program(texts["response_filter"])


def policies(directory: t.Any, mode: str) -> str:
    """The rendered policies of a gateway with a semantic router."""
    variables = with_router(mode)
    text = rendered(directory, "access_policies", "authorino.yaml.j2", variables)
    if mode != "single_gateway":
        return text
    (directory / "patches").mkdir()
    patched = rendered(directory / "patches", "access_policies", "router_patches.yaml.j2", variables)
    patches = yaml.load(patched, yaml.CSafeLoader)
    return f"{text}\n---\n{yaml.safe_dump({'kind': 'EnvoyPatchPolicy', 'spec': {'jsonPatches': patches}})}"


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("single")
    return policies(directory, "single_gateway").replace("/run/ai-gateway/key", str(identity_key(directory)))


@pytest.fixture(scope="session")
def dual(tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("dual")
    return policies(directory, "dual_gateway").replace("/run/ai-gateway/key", str(identity_key(directory)))
