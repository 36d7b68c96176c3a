# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Findings, and which of them follow from others. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.messages import (
    LEVELS,
    Message,
    message_of,
)


@dataclass
class Finding:
    """One message about one thing.

    :param scope: what it is about, such as ``gateway a/b`` and ``secret a/c``. A finding explains others of the codes
        that its message names where their scopes have something in common, or where one has none.
    """

    code: str
    arguments: dict[str, str]
    scope: frozenset[str] = frozenset()
    evidence: tuple[str, ...] = ()
    #: Findings that follow from this one.
    consequences: list[Finding] = field(default_factory=list)

    @property
    def message(self) -> Message:
        return message_of(self.code)

    @property
    def level(self) -> str:
        return self.message.level

    @property
    def sentence(self) -> str:
        return self.message.template.format_map(self.arguments)

    @property
    def command(self) -> str:
        return self.message.command.format_map(self.arguments)

    @property
    def cure(self) -> str:
        return self.message.cure.format_map(self.arguments) if "{" in self.message.cure else self.message.cure

    def explains(self, other: Finding) -> bool:
        return (
            other is not self
            and other.code in self.message.explains
            and (not self.scope or not other.scope or bool(self.scope & other.scope))
        )

    def as_dict(self) -> dict[str, t.Any]:
        """As the module returns it and the JSON report has it."""
        message = self.message
        return {
            "code": self.code,
            "name": message.name,
            "level": message.level,
            "message": self.sentence,
            "evidence": list(self.evidence),
            "cause": message.cause,
            "cure": self.cure,
            "command": self.command,
            "reference": message.reference,
            "consequences": [finding.as_dict() for finding in self.consequences],
        }


def root_causes(findings: t.Sequence[Finding]) -> list[Finding]:
    """The findings that no other explains, the gravest first, each with all that follows from it.

    Of several findings that explain one, the first in the order of the result has it.
    """
    unique = list({(finding.code, finding.sentence): finding for finding in findings}.values())
    explained_by = {id(finding): [other for other in unique if other.explains(finding)] for finding in unique}
    roots = [finding for finding in unique if not explained_by[id(finding)]]
    # Findings that explain each other in a circle have no root: the first of them is one.
    reached = _reached(roots, unique)
    for finding in unique:
        if id(finding) not in reached:
            roots.append(finding)
            reached |= _reached([finding], unique)
    following = {id(root): len(_reached([root], unique)) for root in roots}
    roots.sort(key=lambda root: (LEVELS.index(root.level), -following[id(root)], root.code, root.sentence))
    taken = {id(root) for root in roots}
    for root in roots:
        for other in unique:
            if id(other) in _reached([root], unique) and id(other) not in taken:
                root.consequences.append(other)
                taken.add(id(other))
    return roots


def _reached(roots: t.Sequence[Finding], findings: t.Sequence[Finding]) -> set[int]:
    """The ids of ``roots`` and of all that follows from them."""
    reached: set[int] = set()
    waiting = list(roots)
    while waiting:
        finding = waiting.pop()
        if id(finding) not in reached:
            reached.add(id(finding))
            waiting += [other for other in findings if finding.explains(other)]
    return reached


def counts_of(roots: t.Sequence[Finding]) -> dict[str, int]:
    """How many root causes have each level."""
    return {level: sum(root.level == level for root in roots) for level in LEVELS}
