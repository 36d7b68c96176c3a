# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user's ``wait_for`` demands of objects, in JMESPath, beyond what their kinds report. Pure."""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Reference, reference_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.readiness import (
    CURRENT,
    State,
    Verdict,
    outdated,
)

try:
    import jmespath
    from jmespath.exceptions import JMESPathError

    HAS_JMESPATH = True
except ImportError:  # The module asks for it where wait_for is given.
    HAS_JMESPATH = False
    JMESPathError = ValueError

#: Longest result of a query that a message quotes, in characters.
_LONGEST_RESULT = 2000


@dataclass(frozen=True)
class Expectation:
    """One entry of ``wait_for``; empty strings match everything."""

    kind: str
    query: str
    failed: str = ""
    api_version: str = ""
    namespace: str = ""
    name: str = ""

    def matches(self, reference: Reference) -> bool:
        return (
            self.kind == reference.kind
            and self.api_version in ("", reference.api_version)
            and self.namespace in ("", reference.namespace)
            and self.name in ("", reference.name)
        )

    def verdict(self, body: dict[str, t.Any]) -> Verdict:
        """Failed once ``failed`` holds of the object, else Current once ``query`` does.

        Neither is asked of the status of an older generation.
        """
        stale = outdated(body)
        if stale:
            return stale
        try:
            if self.failed and _holds(found := jmespath.search(self.failed, body)):
                return Verdict(State.FAILED, f"wait_for failed {self.failed} is {_shown(found)}")
            found = jmespath.search(self.query, body)
        except JMESPathError as error:
            # Such as a function of a field that does not exist yet.
            return Verdict(State.IN_PROGRESS, f"wait_for query {self.query} cannot be evaluated yet: {error}")
        return (
            CURRENT if _holds(found) else Verdict(State.IN_PROGRESS, f"wait_for query {self.query} is {_shown(found)}")
        )


def expectations_of(
    entries: t.Sequence[dict[str, t.Any]], references: t.Collection[Reference]
) -> tuple[list[Expectation], list[str]]:
    """The entries of ``wait_for``, and one line for each fault in them.

    :param references: the objects of the set; an entry that matches none waits for nothing, and so is a fault.
    """
    expectations, faults = [], []
    for index, entry in enumerate(entries):
        expectation = Expectation(**{key: value for key, value in entry.items() if value is not None})
        for option in ("query", "failed"):
            expression = getattr(expectation, option)
            try:
                if expression or option == "query":
                    jmespath.compile(expression)
            except JMESPathError as error:
                reason = str(error).splitlines()[0].rstrip(": ")
                faults.append(f"wait_for[{index}].{option}: {expression!r} is no JMESPath: {reason}")
        if not any(expectation.matches(reference) for reference in references):
            wanted = "/".join(part for part in (expectation.namespace, expectation.name) if part)
            kind = f"{expectation.kind}{f' in {expectation.api_version}' if expectation.api_version else ''}"
            faults.append(
                f"wait_for[{index}]: no manifest is a "
                f"{kind}{f' {wanted}' if wanted else ''}; correct the entry, or leave it out"
            )
        expectations.append(expectation)
    return expectations, faults


def verdict_of(body: dict[str, t.Any], expectations: t.Sequence[Expectation]) -> Verdict:
    """The first verdict of ``expectations`` that is not Current; Current when none concerns the object."""
    if expectations:
        reference = reference_of(body)
        for expectation in expectations:
            if expectation.matches(reference):
                verdict = expectation.verdict(body)
                if verdict is not CURRENT:
                    return verdict
    return CURRENT


def _holds(value: t.Any) -> bool:
    """Truth as JMESPath has it: numbers are true, zero too."""
    return value is not None and value is not False and value not in ("", [], {})


def _shown(value: t.Any) -> str:
    """``value`` as JSON, or its type and size where that is long.

    It is never cut: secrets are masked in the finished message, where part of a secret would not be recognized.
    """
    text = json.dumps(value, ensure_ascii=False)
    if len(text) <= _LONGEST_RESULT:
        return text
    kind = "a string" if isinstance(value, str) else "an array" if isinstance(value, list) else "an object"
    return f"{kind}, {len(text)} characters long as JSON"
