# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What two hosts of a run must not have in common."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._fleet.sharing import shared_paths, shared_values


def test_a_value_of_another_host_is_named_with_it() -> None:
    others = {"b": {"Gateway": "x", "Namespace": "y"}, "c": {"Gateway": "x"}, "d": {}}
    assert shared_values({"Gateway": "x", "Namespace": "z"}, others) == ["Gateway x is also that of b and c."]
    assert shared_values({"Gateway": ""}, {"b": {"Gateway": ""}}) == []
    assert shared_values({"Gateway": "x"}, {}) == []


def test_a_path_of_two_hosts_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    hostvars = {
        "a": {"tokens_file": f"{tmp_path}/token"},
        "b": {"tokens_file": f"{tmp_path}/link/token"},
        "c": {"tokens_file": f"{tmp_path}/c"},
        "d": {"tokens_file": ""},
        "e": {},
    }
    (fault,) = shared_paths(["tokens_file"], hostvars, hostvars, "a")
    assert fault.startswith(f"tokens_file is {tmp_path}/token for a and for b: one would overwrite the other's.")
    assert "inventory_hostname" in fault
    for host in ("c", "d", "e"):
        assert shared_paths(["tokens_file"], hostvars, hostvars, host) == []


def test_one_host_looks_at_nothing() -> None:
    class NoVariables(dict[str, dict[str, str]]):
        def __getitem__(self, host: str) -> dict[str, str]:
            pytest.fail(f"variables of {host} are read")

    assert shared_paths(["tokens_file"], NoVariables(), ["a"], "a") == []
