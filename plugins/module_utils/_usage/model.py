# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was used: tokens and requests of each caller, model and provider, part by part of a period. Pure."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, fields

from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import Period


class Key(t.NamedTuple):
    """Who used what. A name is empty where it is not known."""

    user: str
    tier: str
    model: str
    provider: str


DIMENSIONS = Key._fields


@dataclass
class Amount:
    """Numbers of requests and of tokens."""

    #: Those that were answered, or that the client gave up.
    requests: int = 0
    #: Those with a status from 400. Each request is one or the other.
    refused: int = 0
    input: int = 0
    #: The part of the input that the provider had in its cache.
    cached_input: int = 0
    output: int = 0
    #: What the gateway itself counted, in millionths of the currency, at the prices of the time of the requests.
    recorded_cost: int = 0

    @property
    def tokens(self) -> int:
        return self.input + self.output

    def add(self, other: Amount) -> None:
        for measure in MEASURES:
            setattr(self, measure, getattr(self, measure) + getattr(other, measure))


MEASURES = tuple(item.name for item in fields(Amount))


@dataclass(frozen=True)
class Caution:
    """What a reader must know of the numbers."""

    #: For programs.
    code: str
    message: str


@dataclass
class Reading:
    """What a source knows of a period."""

    period: Period
    #: In words, where it comes from.
    source: str
    #: By key, and by the index of the part of the period.
    usage: dict[Key, dict[int, Amount]] = field(default_factory=dict)
    cautions: list[Caution] = field(default_factory=list)
    #: The part of the period of which everything is there for certain; None where that is not known.
    covered: Period | None = None

    def add(self, key: Key, index: int, measure: str, amount: int) -> None:
        found = self.usage.setdefault(key, {}).setdefault(index, Amount())
        setattr(found, measure, getattr(found, measure) + amount)

    def caution(self, code: str, message: str) -> None:
        self.cautions.append(Caution(code, message))


class SourceError(Exception):
    """A source that does not answer as it must; the message names the field and the remedy."""
