# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings for people: lines for a terminal, and checks of a report. Pure."""

from __future__ import annotations

import textwrap
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import Finding, counts_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.messages import ERROR, INFO, WARNING

#: Consequences of a finding that are shown in full.
_SHOWN = 4
#: The status of a check by the level of its finding.
_STATUS = {ERROR: "failed", WARNING: "skipped", INFO: "passed"}


def summary_of(roots: t.Sequence[Finding]) -> str:
    """How much was found, as a sentence."""
    if not roots:
        return "Nothing is wrong, as far as can be seen."
    counts = counts_of(roots)
    following = sum(_following(root) for root in roots)
    shown = ", ".join(f"{count} {level}" for level, count in counts.items() if count)
    return f"{shown}; {following} more follow from these." if following else f"{shown}."


def _following(finding: Finding) -> int:
    return len(finding.consequences)


def lines_of(roots: t.Sequence[Finding], title: str, width: int = 120) -> list[tuple[str, str]]:
    """Lines for a terminal, each with the level that selects its colour or an empty string."""
    lines = [(title, "")]
    for root in roots:
        lines += [(line, root.level) for line in _wrapped(f"{root.code} {root.level}: {root.sentence}", "", width)]
        for evidence in root.evidence:
            lines += [(line, "") for line in _wrapped(f"seen: {evidence}", "  ", width)]
        lines += [(line, "") for line in _wrapped(f"cure: {root.cure}", "  ", width)]
        lines += [(line, "") for line in _wrapped(f"next: {root.command}", "  ", width)]
        for finding in root.consequences[:_SHOWN]:
            lines += [(line, "") for line in _wrapped(f"so: {finding.code} {finding.sentence}", "  ", width)]
        if len(root.consequences) > _SHOWN:
            lines.append((f"  so: {len(root.consequences) - _SHOWN} more", ""))
    lines.append((summary_of(roots), roots[0].level if roots else "ok"))
    return lines


def _wrapped(text: str, indent: str, width: int) -> list[str]:
    printable = "".join(character if character.isprintable() else "?" for character in " ".join(text.split()))
    return textwrap.wrap(
        printable, width, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False
    ) or [indent]


def checks_of(roots: t.Sequence[Finding]) -> list[dict[str, t.Any]]:
    """The findings as checks of module validation_report; a warning does not fail, so that it is a skipped check."""
    if not roots:
        return [
            {
                "id": "diagnosis",
                "name": "Diagnosis",
                "status": "passed",
                "expected": "nothing is wrong",
                "observed": "nothing is wrong, as far as can be seen",
            }
        ]
    return [
        {
            "id": f"{root.code}:{number}",
            "name": root.message.name,
            "status": _STATUS[root.level],
            "expected": "nothing is wrong",
            "observed": "; ".join([root.sentence, *root.evidence]),
            "hint": f"{root.cure} Next: {root.command}",
        }
        for number, root in enumerate(roots, start=1)
    ]
