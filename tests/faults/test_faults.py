# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make test` has samples of, by the dozen and the thousand, against the gateway that stands on the embedded
cluster.
"""

from __future__ import annotations

import json
import os
import pathlib

import asking
import catalogue_changes
import finalizers
import malformed
import provider_kinds
import pytest
from runs import ROOT

SEED = int(os.environ.get("FAULTS_SEED", "1"))


def test_malformed_requests_restart_nothing() -> None:
    """No error of ours, no answer that cannot be read, no restart, and the gateway answers afterwards."""
    url = json.loads((ROOT / "reports/embedded/validation.json").read_text(encoding="utf-8"))["gateway_url"]
    before = asking.restarts()
    result = malformed.run(
        url, provider_kinds.token_of("enterprise")[1], SEED, int(os.environ.get("MALFORMED_REQUESTS", "20000"))
    )
    print(result)
    assert result.faults() == []
    assert malformed.unexplained(result) == []
    assert asking.restarts() == before


def test_removals_in_a_row_do_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["finalizers.py", f"--removals={os.environ.get('REMOVALS', '100')}"])
    assert finalizers.main() == 0


def test_any_catalogue_becomes_any_other(tmp_path: pathlib.Path) -> None:
    catalogue_changes.change_often(tmp_path, pairs=int(os.environ.get("CATALOGUE_PAIRS", "20")))
