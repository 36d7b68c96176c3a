# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What probes cost that reach providers outside: how many there are, and that they are no more than allowed."""

from __future__ import annotations

import typing as t
from collections.abc import Collection, Mapping, Sequence

Probe = Mapping[str, t.Any]


def is_paid(probe: Probe, models: Collection[str]) -> bool:
    """Whether a probe reaches one of the models: it is sent, with a token, and is to be answered."""
    statuses = (probe.get("expect") or {}).get("status") or [200]
    return not probe.get("skip") and bool(probe.get("token")) and probe.get("model") in models and 200 in statuses


def bounded(probes: Sequence[Probe], models: Collection[str], limit: int) -> list[dict[str, t.Any]]:
    """The probes, those that would be paid beyond the limit skipped for that reason.

    The first of each model goes before the others.
    """
    paid = [index for index, probe in enumerate(probes) if is_paid(probe, models)]
    first = {probes[index]["model"]: index for index in reversed(paid)}
    kept = set(sorted(paid, key=lambda index: (first[probes[index]["model"]] != index, index))[: max(limit, 0)])
    reason = f"validation_paid_requests lets no more than {max(limit, 0)} of these requests reach providers outside"
    return [
        {**probe, "skip": reason} if index in paid and index not in kept else dict(probe)
        for index, probe in enumerate(probes)
    ]
