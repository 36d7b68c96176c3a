# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks: what was expected, what was seen, how long it took, and what to look at when the two differ."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

PASSED = "passed"
FAILED = "failed"
SKIPPED = "skipped"
STATUSES = (PASSED, FAILED, SKIPPED)


@dataclass(frozen=True)
class Finding:
    """One expectation and the observation of it, both as strings without secrets."""

    expected: str
    observed: str
    met: bool


@dataclass(frozen=True)
class Check:
    """One line of a report; ``status`` is one of STATUSES, ``seconds`` how long it took.

    Of a skipped one, ``observed`` is the reason.
    """

    id: str
    name: str
    status: str
    expected: str
    observed: str
    seconds: float
    hint: str

    @classmethod
    def of(cls, id_: str, name: str, findings: Sequence[Finding], seconds: float, hint: str) -> Check:
        """Passed where all findings are met; a failed one shows what was seen of those that are not."""
        unmet = [finding for finding in findings if not finding.met]
        return cls(
            id=id_,
            name=name,
            status=FAILED if unmet else PASSED,
            expected="; ".join(finding.expected for finding in findings),
            observed="; ".join(finding.observed for finding in unmet or findings if finding.observed),
            seconds=round(seconds, 3),
            hint=hint,
        )

    @classmethod
    def skipped(cls, id_: str, name: str, expected: str, reason: str, hint: str) -> Check:
        return cls(id_, name, SKIPPED, expected, reason, 0.0, hint)

    @classmethod
    def from_mapping(cls, values: Mapping[str, t.Any]) -> Check:
        return cls(**{name: values[name] for name in cls.__dataclass_fields__})

    def as_dict(self) -> dict[str, t.Any]:
        return asdict(self)


def failures(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """The findings that are not met, as the modules return them."""
    return [{"expected": finding.expected, "observed": finding.observed} for finding in findings if not finding.met]


def shortened(text: str, length: int = 200) -> str:
    """The string on one line, cut at ``length`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1]}…"
