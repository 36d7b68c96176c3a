# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What tokens cost, exactly. Pure.

A model without a price has an unknown cost, which is never 0: sums say how many of their tokens it leaves out.
"""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import Amount, SourceError

MILLION = 1_000_000
_HIGHEST = 100_000
_NUMBERS = ("input", "output", "cached_input")


@dataclass(frozen=True)
class Price:
    """What a million tokens cost."""

    input: Decimal
    output: Decimal
    #: Of the input that the provider had in its cache.
    cached_input: Decimal

    def cost(self, amount: Amount) -> Decimal:
        cached = min(amount.cached_input, amount.input)
        spent = (amount.input - cached) * self.input + cached * self.cached_input + amount.output * self.output
        return spent / MILLION


@dataclass
class Total:
    """A sum of amounts, and of what is known of their cost."""

    amount: Amount = field(default_factory=Amount)
    known_cost: Decimal = Decimal(0)
    #: Tokens of models without a price.
    unpriced_tokens: int = 0

    @property
    def cost(self) -> Decimal | None:
        """None where no token has a price."""
        return None if self.unpriced_tokens and self.unpriced_tokens == self.amount.tokens else self.known_cost

    def add(self, amount: Amount, price: Price | None) -> None:
        self.amount.add(amount)
        if price is None:
            self.unpriced_tokens += amount.tokens
        else:
            self.known_cost += price.cost(amount)

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "requests": self.amount.requests,
            "refused": self.amount.refused,
            "input_tokens": self.amount.input,
            "cached_input_tokens": self.amount.cached_input,
            "output_tokens": self.amount.output,
            "total_tokens": self.amount.tokens,
            "cost": None if self.cost is None else number_of(self.cost),
            "unpriced_tokens": self.unpriced_tokens,
        }


def total_of(amounts: Iterable[tuple[Amount, Price | None]]) -> Total:
    result = Total()
    for amount, price in amounts:
        result.add(amount, price)
    return result


def number_of(cost: Decimal) -> float:
    """A cost in JSON, to a millionth of a millionth."""
    return float(round(cost, 12))


def prices_of(written: Mapping[str, t.Any]) -> dict[str, Price]:
    """By the name of each model its price.

    :raises SourceError: for what is no price; it names the field and the remedy.
    """
    return {model: _price(f"prices.{model}", value) for model, value in written.items()}


def _price(path: str, written: t.Any) -> Price:
    if not isinstance(written, Mapping):
        raise SourceError(f"{path}: is no mapping; write input and output, and cached_input where it has a price")
    unknown = [name for name in written if name not in _NUMBERS]
    if unknown:
        raise SourceError(f"{path}.{unknown[0]}: is not known; write input, output and cached_input")
    numbers = {name: _number(f"{path}.{name}", written[name]) for name in _NUMBERS if written.get(name) is not None}
    for name in ("input", "output"):
        if name not in numbers:
            raise SourceError(f"{path}.{name}: is missing; write what a million tokens cost, 0 for nothing")
    return Price(numbers["input"], numbers["output"], numbers.get("cached_input", numbers["input"]))


def _number(path: str, written: t.Any) -> Decimal:
    try:
        number = None if isinstance(written, bool) else Decimal(str(written))
    except ArithmeticError:
        number = None
    if number is None or not number.is_finite() or not 0 <= number <= _HIGHEST:
        raise SourceError(f"{path}: is {str(written)[:40]!r}; write a number from 0 to {_HIGHEST}")
    return number
