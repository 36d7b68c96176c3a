# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pages say of the project is so."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[2]


def existing_tests() -> set[str]:
    """Return the names of all test functions."""
    return {
        name
        for path in ROOT.glob("tests/**/test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.M)
    }


def test_each_threat_names_tests_that_exist() -> None:
    page = (ROOT / "docs/security.md").read_text(encoding="utf-8")
    section = page.split("## Threats")[1].split("## Who calls")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| threat")]
    assert len(rows) > 20
    existing = existing_tests()
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row.split("|")[3])
        assert named, f"no test is named: {row}"
        assert set(named) <= existing, f"no such test: {set(named) - existing}"


def test_each_page_is_on_the_site() -> None:
    index = (ROOT / "docs/docsite/index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^(?:.* <)?([\w/-]+)>?$", index, re.M))
    assert {path.stem for path in ROOT.glob("docs/*.md")} - listed == set()
