# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A report of usage: as JSON, as CSV, as a page of HTML and as a table for the terminal."""

from __future__ import annotations

import csv
import io
import json
import textwrap
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.charts import Chart, stacked
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.cost import (
    MILLION,
    Price,
    Total,
    number_of,
    total_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import (
    DIMENSIONS,
    Amount,
    Caution,
    Key,
    Reading,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.page import PAGE
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import duration, readable, shown

UNKNOWN = "not known"
#: Groups that the terminal shows of each dimension, and rows that the page shows.
_MOST_LINES = 10
_MOST_ROWS = 500
#: What makes a spreadsheet take a value for a formula, in both widths.
_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
_TITLES = {"user": "User", "tier": "Tier", "model": "Model", "provider": "Provider"}


@dataclass(frozen=True)
class Group:
    """What one user, tier, model or provider used, or one combination of them."""

    names: tuple[str, ...]
    total: Total

    @property
    def name(self) -> str:
        return printable(self.names[0]) or UNKNOWN


@dataclass(frozen=True)
class Report:
    """The usage of one cluster. Prices are by the names of models."""

    cluster: str
    gateway: str
    reading: Reading
    prices: Mapping[str, Price]
    currency: str
    #: In milliseconds since 1970.
    created: int

    @property
    def unit(self) -> str:
        """The currency for people."""
        return printable(self.currency)

    @cached_property
    def amounts(self) -> dict[Key, Amount]:
        result = {}
        for key, parts in self.reading.usage.items():
            result[key] = amount = Amount()
            for part in parts.values():
                amount.add(part)
        return result

    @cached_property
    def total(self) -> Total:
        return total_of((amount, self.prices.get(key.model)) for key, amount in self.amounts.items())

    @cached_property
    def rows(self) -> list[Group]:
        """Each combination, the dearest first."""
        return self._sorted(
            {key: total_of([(amount, self.prices.get(key.model))]) for key, amount in self.amounts.items()}
        )

    def by(self, dimension: str) -> list[Group]:
        """What each value of a dimension used, the dearest first."""
        index = DIMENSIONS.index(dimension)
        found: dict[tuple[str, ...], Total] = {}
        for key, amount in self.amounts.items():
            found.setdefault((key[index],), Total()).add(amount, self.prices.get(key.model))
        return self._sorted(found)

    @staticmethod
    def _sorted(found: Mapping[t.Any, Total]) -> list[Group]:
        groups = [Group(tuple(names), total) for names, total in found.items()]
        return sorted(groups, key=lambda group: (-group.total.known_cost, -group.total.amount.tokens, group.names))

    @cached_property
    def cautions(self) -> list[Caution]:
        """Those of the source, and what the prices and the requests themselves have to say."""
        result = list(self.reading.cautions)
        early = sum(amount.refused for key, amount in self.amounts.items() if not key.tier)
        if early:
            result.append(
                Caution(
                    "unknown_callers",
                    f"{early:,} requests were refused before the gateway knew their user and model, such as those "
                    f"without a valid token. Their names are {UNKNOWN}.",
                )
            )
        unpriced = sorted(
            {
                printable(key.model) or UNKNOWN
                for key, amount in self.amounts.items()
                if amount.tokens and key.model not in self.prices
            }
        )
        if unpriced:
            shown_names = ", ".join(unpriced[:5]) + (f" and {len(unpriced) - 5} more" if len(unpriced) > 5 else "")
            result.append(
                Caution(
                    "no_price",
                    f"The cost of {self.total.unpriced_tokens:,} tokens is not known, as there is no price of "
                    f"{shown_names}. It is in no sum; write prices in ai_gateway_prices.",
                )
            )
        uncounted = sum(amount.requests for key, amount in self.amounts.items() if key.model and not amount.tokens)
        if uncounted:
            result.append(
                Caution(
                    "uncounted_requests",
                    f"{uncounted:,} answered requests of callers that used no tokens of their model: their tokens were "
                    "not counted, or are free.",
                )
            )
        recorded = Decimal(sum(amount.recorded_cost for amount in self.amounts.values())) / MILLION
        # Each request's cost is rounded up to a millionth.
        slack = Decimal(self.total.amount.requests + self.total.amount.refused + 1) / MILLION
        if self.total.cost is not None and not -slack <= recorded - self.total.known_cost <= slack:
            result.append(
                Caution(
                    "other_prices",
                    f"At the prices of now the cost is {money(self.total.known_cost)}. The gateway itself counted "
                    f"{money(recorded)}, at the prices of the time of each request.",
                )
            )
        return result

    @property
    def summary(self) -> str:
        amount = self.total.amount
        return (
            f"{amount.tokens:,} tokens ({amount.input:,} in, {amount.output:,} out) of {amount.requests:,} requests, "
            f"{amount.refused:,} more refused; cost {self.cost_of(self.total)}"
        )

    def cost_of(self, total: Total) -> str:
        """A cost for people, which says what is not known of it."""
        if total.cost is None:
            return UNKNOWN
        unit = f" {self.unit}" if self.unit else ""
        return f"{money(total.cost)}{unit}" + (" and more, not known" if total.unpriced_tokens else "")

    def as_dict(self) -> dict[str, t.Any]:
        period, covered = self.reading.period, self.reading.covered
        return {
            "cluster": self.cluster,
            "gateway": self.gateway,
            "from": shown(period.start),
            "to": shown(period.end),
            "created": shown(self.created),
            "source": self.reading.source,
            "covered": {"from": shown(covered.start), "to": shown(covered.end)} if covered else None,
            "currency": self.currency,
            "totals": self.total.as_dict(),
            **{
                f"{dimension}s": [{"name": group.names[0], **group.total.as_dict()} for group in self.by(dimension)]
                for dimension in DIMENSIONS
            },
            "cautions": [{"code": caution.code, "message": caution.message} for caution in self.cautions],
        }

    def to_json(self) -> str:
        bars = self.reading.period.bars()
        document = {
            **self.as_dict(),
            "prices": {
                model: {name: number_of(getattr(price, name)) for name in ("input", "cached_input", "output")}
                for model, price in self.prices.items()
            },
            "rows": [{**dict(zip(DIMENSIONS, row.names)), **row.total.as_dict()} for row in self.rows],
            "parts": [
                {"from": shown(span.start), "to": shown(span.end), **self._of_part(index).as_dict()}
                for index, span in enumerate(bars)
            ],
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"

    def _of_part(self, index: int) -> Total:
        return total_of(
            (parts[index], self.prices.get(key.model)) for key, parts in self.reading.usage.items() if index in parts
        )

    def to_csv(self) -> str:
        """A line for each combination, as RFC 4180 has it. An unknown cost is empty."""
        stream = io.StringIO()
        writer = csv.writer(stream)
        period = self.reading.period
        measures = [name for name in Total().as_dict() if name != "unpriced_tokens"]
        writer.writerow(["cluster", "from", "to", *DIMENSIONS, *measures, "currency"])
        for row in self.rows:
            values = row.total.as_dict()
            writer.writerow(
                [
                    *map(cell, (self.cluster, shown(period.start), shown(period.end), *row.names)),
                    *(_plain(values[name]) for name in measures),
                    cell(self.currency),
                ]
            )
        return stream.getvalue()

    def to_html(self) -> str:
        """One page that needs nothing else. Raises ImportError without the library Jinja2."""
        from jinja2 import Environment

        # Everything that came from outside is escaped: clients choose their names.
        page = Environment(
            autoescape=True, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
        ).from_string(PAGE)
        page.globals.update(money=money, printable=printable, compact=compact, readable=readable, duration=duration)
        return page.render(
            report=self,
            now=self.created,
            unknown=UNKNOWN,
            titles=_TITLES,
            dimensions={dimension: self.by(dimension) for dimension in DIMENSIONS},
            rows=self.rows[:_MOST_ROWS],
            more_rows=max(0, len(self.rows) - _MOST_ROWS),
            charts=self.charts(),
        )

    def charts(self) -> list[tuple[str, Chart]]:
        """What was used part by part, by model: cost where there are prices, and tokens."""
        bars = self.reading.period.bars()
        tokens: dict[str, dict[int, float]] = {}
        costs: dict[str, dict[int, float]] = {}
        for key, parts in self.reading.usage.items():
            price = self.prices.get(key.model)
            for index, amount in parts.items():
                if not amount.tokens:
                    continue
                name = printable(key.model) or UNKNOWN
                series = tokens.setdefault(name, {})
                series[index] = series.get(index, 0) + amount.tokens
                if price is not None:
                    series = costs.setdefault(name, {})
                    series[index] = series.get(index, 0) + float(price.cost(amount))
        names = sorted(tokens, key=lambda name: (-sum(tokens[name].values()), name))
        unit = f"Cost in {self.unit}" if self.unit else "Cost"
        result = [("Tokens", stacked(bars, names, tokens, compact))] if tokens else []
        if any(value for series in costs.values() for value in series.values()):
            result.insert(0, (unit, stacked(bars, names, costs, lambda value: money(Decimal(str(value))))))
        return result

    def to_table(self, width: int = 120) -> list[tuple[str, str]]:
        """The lines of a table of at most ``width`` columns, each with what selects its colour or an empty string."""
        period = self.reading.period
        lines = [
            (
                f"Usage of {printable(self.cluster)} from {shown(period.start)} to {shown(period.end)} "
                f"({duration(period.end - period.start)}), by {self.reading.source}",
                "",
            )
        ]
        columns = ("requests", "refused", "input", "cached", "output")
        unit = f"cost {self.unit}".strip()
        widths = (10, 9, 15, 15, 15, 16)
        names = width - sum(widths)
        for dimension in DIMENSIONS:
            groups = self.by(dimension)
            if not groups:
                continue
            heads = "".join(f"{head:>{size}}" for head, size in zip((*columns, unit), widths))
            lines += [("", ""), (f"{_TITLES[dimension]:<{names}}{heads}", "head")]
            for group in groups[:_MOST_LINES]:
                amount, total = group.total.amount, group.total
                cost = "?" if total.cost is None else money(total.cost) + (" + ?" if total.unpriced_tokens else "")
                numbers = (amount.requests, amount.refused, amount.input, amount.cached_input, amount.output)
                cells = [f"{number:,}" for number in numbers] + [cost]
                name = group.name if len(group.name) < names else f"{group.name[: names - 2]}…"
                lines.append((f"{name:<{names}}" + "".join(f"{c:>{size}}" for c, size in zip(cells, widths)), ""))
            if len(groups) > _MOST_LINES:
                lines.append((f"{len(groups) - _MOST_LINES} more are in the files", ""))
        lines.append(("", ""))
        for caution in self.cautions:
            wrapped = textwrap.wrap(f"caution: {printable(caution.message)}", width, subsequent_indent="  ")
            lines += [(line, "caution") for line in wrapped]
        lines.append((self.summary, "total"))
        return lines


def printable(name: str) -> str:
    """A name without what moves a cursor, or turns the direction of what follows."""
    return "".join(character if character.isprintable() else "?" for character in name)


def cell(value: str) -> str:
    """A string that no spreadsheet takes for a formula: an apostrophe comes before what may be one."""
    text = printable(value)
    return f"'{text}" if text.lstrip()[:1] in _FORMULA and text.strip() else text


def _plain(value: t.Any) -> str:
    """A number without an exponent; empty where it is not known."""
    if value is None:
        return ""
    return f"{value:.12f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


def money(cost: Decimal) -> str:
    """A cost for people: to the hundredth, and below one to the first two digits that are not 0."""
    if cost == 0 or cost >= 1:
        return f"{cost:,.2f}"
    places = max(2, 1 - cost.adjusted())
    return f"{cost:.{min(places, 9)}f}"


def compact(number: float) -> str:
    """A number in about three digits, with a sign for thousands and more."""
    signs = ("", " k", " M", " G", " T")
    size = 0
    while number >= 999.5 and size < len(signs) - 1:
        number, size = number / 1000, size + 1
    if number == int(number) and (not size or number >= 100):
        return f"{int(number)}{signs[size]}"
    places = 0 if number >= 100 else 1 if number >= 10 else 2
    shown_number = f"{number:.{places}f}"
    return f"{shown_number.rstrip('0').rstrip('.') if places else shown_number}{signs[size]}"
