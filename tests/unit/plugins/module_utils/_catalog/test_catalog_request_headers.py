# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of headers, and that nothing lists them again."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.request_headers import (
    AFTER_AUTHORIZATION,
    AT_BACKEND,
    AT_BRIDGE,
    AT_LISTENER,
    FAMILIES,
    HEADERS,
    HTTP,
    KEPT,
    KEY_SUFFIX,
    RESERVED,
    TABLE,
    removed_at,
)

ROOT = Path(__file__).parents[5]
NAMES = {header.name for header in TABLE}


def is_removed_after_authorization(name: str) -> bool:
    """As body_filter.lua decides."""
    family = re.match(r"x-([a-z]+)-", name)
    of_family = family is not None and family[1] in FAMILIES and name not in KEPT
    return of_family or name.endswith(KEY_SUFFIX) or name in HEADERS.removed_after_authorization


def test_each_header_is_named_once_in_lower_case() -> None:
    assert len(NAMES) == len(TABLE)
    assert all(re.fullmatch(r"[a-z-]+", name) for name in NAMES)
    places = {AT_LISTENER, AFTER_AUTHORIZATION, AT_BACKEND, AT_BRIDGE}
    assert all(set(header.removed_at) <= places for header in TABLE)


def test_what_a_client_may_not_say_is_removed_at_the_listener_or_after_authorization() -> None:
    theirs = [header for header in TABLE if header.set_by != HTTP]
    assert all(AT_LISTENER in header.removed_at or is_removed_after_authorization(header.name) for header in theirs)


def test_a_key_is_removed_everywhere_it_could_go() -> None:
    for header in TABLE:
        if header.token or header.name in ("api-key", "proxy-authorization", "cookie"):
            assert {AT_BACKEND, AT_BRIDGE} <= set(header.removed_at)
            assert is_removed_after_authorization(header.name)
    assert HEADERS.tokens == ("authorization", "x-api-key")


def test_routes_of_the_gateway_api_may_remove_that_many() -> None:
    # A filter of an HTTPRoute has 16, a ClientTrafficPolicy 64.
    assert len(removed_at(AT_BRIDGE)) <= 16
    assert len(removed_at(AT_LISTENER)) <= 64


def test_what_decides_is_reserved() -> None:
    assert {"host", "x-maas-user", "x-maas-tier", "x-ai-eg-model", "x-ai-gateway-provider"} <= RESERVED


def test_the_catalogue_has_the_names() -> None:
    assert build({"allow_empty": True}).as_dict()["headers"] == plain(dataclasses.asdict(HEADERS))


def test_nothing_lists_the_names_again() -> None:
    """Four of them between two brackets are a list."""
    found = []
    for path in [*(ROOT / "roles").rglob("*"), *(ROOT / "plugins").rglob("*.py")]:
        if path.suffix not in (".py", ".j2", ".lua", ".yml"):
            continue
        if path.name == "request_headers.py" or "simulators" in path.parts:
            continue
        for listed in re.findall(r"[\[({]([^\[\](){}]*)[\])}]", path.read_text(encoding="utf-8")):
            names = NAMES & set(re.findall(r"[a-z-]+", listed.lower()))
            if len({name for name in names if "-" in name or name == "authorization"}) >= 4:
                found.append(f"{path.relative_to(ROOT)}: {' '.join(listed.split())}")
    assert not found
