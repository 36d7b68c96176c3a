# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from proxies import VARIABLES, Program, identity_key, programs
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
