# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of components, and which of them go together. Pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

_TAG = re.compile(r":(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]*)(@sha256:[0-9a-f]+)?$")
_VERSION = re.compile(r"v?(?P<numbers>[0-9]+(\.[0-9]+)*)")
_CONDITION = re.compile(r"\s*(?P<operator><=|>=|<|>|==)\s*v?(?P<numbers>[0-9]+(\.[0-9]+)*)\s*")

#: As people call the components that pairs are about.
PRODUCTS = {"envoy_gateway": "Envoy Gateway", "envoy_ai_gateway": "Envoy AI Gateway", "envoy": "Envoy"}
#: Phases of a record in which nothing that serves is being replaced.
CANARY, DONE = "canary", "done"


@dataclass(frozen=True)
class Pairs:
    """Which versions go together.

    ``tested`` and ``bad`` have for each component a condition such as ``>=1.8.2,<1.9``; a component that is not named
    may have any version. ``bad`` have a ``reason`` besides.
    """

    tested: tuple[Mapping[str, str], ...]
    bad: tuple[Mapping[str, str], ...]


def version_of(image: str) -> str:
    """The version in an image's tag, without ``v`` and what is before it, or an empty string where it has none."""
    match = _TAG.search(image)
    if not match:
        return ""
    found = re.search(r"(^|-)v?(?P<numbers>[0-9]+\.[0-9]+(\.[0-9]+)?)", match["tag"])
    return found["numbers"] if found else ""


def numbers_of(version: str) -> tuple[int, ...]:
    """The numbers of a version such as ``v1.8.3``.

    Raises ValueError for anything else.
    """
    match = _VERSION.fullmatch(version.strip())
    if not match:
        raise ValueError(f"{version!r} is no version; write one such as v1.8.3")
    return tuple(int(part) for part in match["numbers"].split("."))


def compare(one: str, other: str) -> int:
    """-1, 0 or 1 where ``one`` is older than ``other``, the same or newer."""
    left, right = numbers_of(one), numbers_of(other)
    length = max(len(left), len(right))
    left, right = (numbers + (0,) * (length - len(numbers)) for numbers in (left, right))
    return (left > right) - (left < right)


def meets(version: str, conditions: str) -> bool:
    """Whether a version meets all conditions, as in ``>=1.8.2,<1.9``.

    Raises ValueError for a condition that cannot be read.
    """
    for condition in conditions.split(","):
        match = _CONDITION.fullmatch(condition)
        if not match:
            raise ValueError(f"{condition!r} is no condition of versions; write one such as >=1.8.2,<1.9")
        order = compare(version, match["numbers"])
        if not {"<": order < 0, "<=": order <= 0, "==": order == 0, ">=": order >= 0, ">": order > 0}[
            match["operator"]
        ]:
            return False
    return True


def judge(versions: Mapping[str, str], pairs: Pairs) -> tuple[list[str], list[str]]:
    """Why these versions must not run together, and what nobody has tried.

    :param versions: by component, those of PRODUCTS; an empty one is unknown, as that of an image with a digest alone.
    :returns: a sentence for each pair that is known to be bad; and one where no tested set has these versions. An
        unknown version is neither bad nor tested.
    """
    judged = {name: version for name, version in versions.items() if name in PRODUCTS}
    known = {name: version for name, version in judged.items() if version}
    bad = [
        f"{_named(known, entry)}: {entry['reason']}"
        for entry in pairs.bad
        if _conditions(entry) and all(name in known and meets(known[name], text) for name, text in _conditions(entry))
    ]
    tested = any(
        all(name not in judged or (name in known and meets(known[name], text)) for name, text in _conditions(entry))
        for entry in pairs.tested
    )
    untried = [] if tested else [f"{_named(judged, judged)} have not been tried together"]
    return bad, untried


def _conditions(entry: Mapping[str, str]) -> list[tuple[str, str]]:
    return [(name, text) for name, text in entry.items() if name in PRODUCTS]


def _named(versions: Mapping[str, str], names: Iterable[str]) -> str:
    return " with ".join(
        f"{PRODUCTS[name]} {versions[name] or 'of an unknown version'}"
        for name in PRODUCTS
        if name in names and name in versions
    )


def plan_of(
    found: Mapping[str, str], wanted: Mapping[str, str], record: Mapping[str, t.Any] | None
) -> dict[str, t.Any]:
    """What an upgrade has to do.

    :param found: by component, the image that runs; ``wanted`` the same of the one that is to run.
    :param record: that of an earlier run, with its ``phase`` and the images it goes to.
    :returns: ``changes``, a dict of the components that change with ``from`` and ``to``, ``needed``, and ``resumed``,
        whether an earlier run was cut off while it replaced. One that was cut off before has left a canary alone.
    """
    changes = {
        name: {"from": found.get(name, ""), "to": image}
        for name, image in wanted.items()
        if image and found.get(name, "") != image
    }
    phase = (record or {}).get("phase") or DONE
    return {"changes": changes, "needed": bool(changes) or phase != DONE, "resumed": phase not in (CANARY, DONE)}
