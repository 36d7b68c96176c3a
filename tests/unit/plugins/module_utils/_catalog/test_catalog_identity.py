# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values of callers and tiers, as Ansible and the program of the proxies make them."""

from __future__ import annotations

import random
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import identity as catalog_identity
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.identity import digest
from lupa import luajit21

FILES = Path(catalog_identity.__file__).parents[3] / "roles/access_policies/files"


def identity(key_file: Path) -> t.Any:
    """What the program makes values with, which reads its key from that file."""
    settings = f'local settings = {{identity_key_file = "{key_file}"}}'
    programs = [(FILES / name).read_text(encoding="utf-8") for name in ("hashes.lua", "identity.lua")]
    return luajit21.LuaRuntime().execute("\n".join([settings, *programs, "return identity"]))


def test_a_value_names_nobody_and_differs_by_installation() -> None:
    values = {
        digest(key, tier, user)
        for key in ("one", "other")
        for tier in ("free", "premium")
        for user in ("", "alice", "bob")
    }
    assert len(values) == 12
    assert all(re.fullmatch("[0-9a-f]{32}", value) for value in values)
    # No user of a tier can be mistaken for a tier, whose names have no colon.
    assert digest("key", "free", "alice") == digest("key", "free:alice")


@pytest.mark.parametrize("length", [32, 63, 64, 65, 200])
def test_the_proxies_make_the_same_values(tmp_path: Path, length: int) -> None:
    generator = random.Random(length)  # noqa: S311
    key = "".join(generator.choices("abcXYZ019.,:-_", k=length))
    (tmp_path / "key").write_text(key, encoding="ascii")
    program = identity(tmp_path / "key")
    for number in range(100):
        tier, user = "t" * generator.randint(1, 60), "u" * (number * 2) + str(number)
        assert program.of(tier, user) == digest(key, tier, user)


def test_without_a_key_the_proxies_make_none(tmp_path: Path) -> None:
    for content in (None, "short"):
        if content is not None:
            (tmp_path / "key").write_text(content, encoding="ascii")
        assert identity(tmp_path / "key").of("free", "alice") is None
