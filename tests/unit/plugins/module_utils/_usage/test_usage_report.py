# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The four forms of a report: sums, unknown costs, and names that clients choose."""

from __future__ import annotations

import csv
import io
import json
import re
import typing as t
from decimal import Decimal
from html.parser import HTMLParser

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.charts import COLOURS, OTHERS, stacked
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.cost import prices_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import Key, Reading, SourceError
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.period import DAY, HOUR, Period
from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.report import Report, cell, compact, money

NOON = 1_795_608_000_000
PRICES = {"gpt-4": {"input": 2.5, "cached_input": 0.5, "output": 10}, "gemma2": {"input": 0, "output": 0}}
HOSTILE = "</svg><script>alert('1')</script>\u202e\x1b[2J"


def report(*uses: tuple[Key, int, dict[str, int]], prices: t.Any = PRICES, currency: str = "EUR") -> Report:
    reading = Reading(Period(NOON - DAY, NOON), "Prometheus")
    for key, index, amounts in uses:
        for measure, amount in amounts.items():
            reading.add(key, index, measure, amount)
    return Report("production", "ai-gateway", reading, prices_of(prices), currency, NOON)


JANE = Key("jane", "free", "gpt-4", "openai")
USES = (
    (JANE, 0, {"requests": 2, "input": 1000, "cached_input": 400, "output": 300, "recorded_cost": 4700}),
    (JANE, 5, {"requests": 1, "input": 7, "output": 1, "recorded_cost": 28, "refused": 3}),
    (Key("omar", "premium", "gemma2", "local"), 5, {"requests": 1, "input": 50, "output": 50}),
    (Key("", "", "", ""), 5, {"refused": 4}),
)
UNPRICED = (Key("omar", "premium", "claude", "anthropic"), 9, {"requests": 1, "input": 90, "output": 10})


def codes(of: Report) -> list[str]:
    return [caution.code for caution in of.cautions]


def test_sums_are_exact_and_cached_input_has_its_price() -> None:
    totals = report(*USES).as_dict()["totals"]
    assert totals == {
        "requests": 4,
        "refused": 7,
        "input_tokens": 1057,
        "cached_input_tokens": 400,
        "output_tokens": 351,
        "total_tokens": 1408,
        # 600 and 7 at 2.5, 400 at 0.5, 301 at 10, for a million.
        "cost": (607 * 2.5 + 400 * 0.5 + 301 * 10) / 1_000_000,
        "unpriced_tokens": 0,
    }
    assert codes(report(*USES)) == ["unknown_callers"]


def test_what_has_no_price_has_no_cost_and_is_in_no_sum() -> None:
    found = report(*USES, UNPRICED)
    document = json.loads(found.to_json())
    by_model = {entry["name"]: entry for entry in document["models"]}
    assert by_model["claude"]["cost"] is None
    assert by_model["gemma2"]["cost"] == 0
    assert by_model[""]["cost"] == 0
    assert document["totals"]["unpriced_tokens"] == 100
    assert document["totals"]["cost"] == report(*USES).as_dict()["totals"]["cost"]
    omar = next(entry for entry in document["users"] if entry["name"] == "omar")
    assert (omar["cost"], omar["unpriced_tokens"]) == (0, 100)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert {row["model"]: row["cost"] for row in rows} == {"gpt-4": "0.0047275", "gemma2": "0", "claude": "", "": "0"}
    assert "cost 0.0047 EUR and more, not known" in found.summary
    assert "no_price" in codes(found)
    lines = [line for line, _kind in found.to_table()]
    assert next(line for line in lines if line.startswith("claude")).endswith(" ?")
    assert next(line for line in lines if line.startswith("omar")).endswith("0.00 + ?")
    assert '<span class="unknown">not known</span>' in found.to_html()


def test_without_any_price_the_cost_is_unknown() -> None:
    found = report(*USES, prices={}, currency="")
    assert found.as_dict()["totals"]["cost"] is None
    assert found.summary.endswith("cost not known")
    page = found.to_html()
    assert "with the share of tokens" in page
    assert "Cost over time" not in page


def test_requests_that_counted_nothing_and_other_prices_are_said() -> None:
    free = (JANE, 1, {"requests": 3})
    assert codes(report((JANE._replace(user="x"), 1, {"requests": 3}))) == ["uncounted_requests"]
    # A caller that did use tokens has counted requests too.
    assert codes(report(free, *USES)) == ["unknown_callers"]
    dearer = (JANE, 2, {"requests": 1, "recorded_cost": 1_000_000})
    (caution,) = [one for one in report(*USES, dearer).cautions if one.code == "other_prices"]
    assert "is 0.0047. The gateway itself counted 1.00" in caution.message


def test_parts_and_rows_add_up_to_the_totals() -> None:
    document = json.loads(report(*USES, UNPRICED).to_json())
    for name in ("requests", "refused", "input_tokens", "output_tokens", "unpriced_tokens"):
        for of in ("rows", "parts", "users", "tiers", "models", "providers"):
            assert sum(entry[name] for entry in document[of]) == document["totals"][name], (name, of)
    assert document["parts"][0]["from"] == document["from"]
    assert document["parts"][-1]["to"] == document["to"]


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("jane", "jane"),
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        (" =1", "' =1"),
        ("\t=1", "?=1"),
        ("\r=1", "?=1"),
        ("\uff1d1", "'\uff1d1"),
        ("a=1", "a=1"),
        ("", ""),
        ("\u202e", "?"),
    ],
)
def test_no_cell_is_a_formula(name: str, written: str) -> None:
    assert cell(name) == written
    found = report((JANE._replace(user=name, model=name), 0, {"requests": 1, "input": 1}), currency=name)
    (row,) = csv.DictReader(io.StringIO(found.to_csv()))
    assert (row["user"], row["model"], row["currency"]) == (written, written, written)
    # Programs read the name itself.
    assert json.loads(found.to_json())["rows"][0]["user"] == name


class Page(HTMLParser):
    """The tags of a page, its attributes that lead elsewhere, and its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [name for name, _value in attrs if name in ("src", "href", "xlink:href", "onload", "style")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_names_on_the_page_are_words_and_nothing_else() -> None:
    keys = [JANE._replace(**{dimension: HOSTILE}) for dimension in Key._fields]
    hostile = Report(
        HOSTILE,
        HOSTILE,
        report(*((key, 1, {"requests": 1, "input": 5}) for key in keys), UNPRICED).reading,
        prices_of({**PRICES, HOSTILE: {"input": 1, "output": 1}}),
        HOSTILE,
        NOON,
    )
    hostile.reading.caution("x", HOSTILE)
    page = hostile.to_html()
    parsed = Page(page)
    assert "script" not in parsed.tags
    assert "svg" in parsed.tags
    assert not parsed.links
    assert "</svg><script>alert('1')</script>??[2J" in " ".join(parsed.words)
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "\u202e" not in page
    for line, _kind in hostile.to_table():
        assert line.isprintable()


def test_a_page_of_nothing_is_a_page() -> None:
    empty = report()
    empty.reading.caution("no_series", "Nothing is there.")
    assert "Nothing is there." in empty.to_html()
    assert "rect" not in Page(empty.to_html()).tags
    assert json.loads(empty.to_json())["totals"]["cost"] == 0
    assert empty.to_table()[-1][0].startswith("0 tokens")


def test_many_rows_are_cut_on_the_page_and_on_the_terminal_alone() -> None:
    many = report(*((JANE._replace(user=f"user-{number}"), 0, {"input": number + 1}) for number in range(700)))
    assert "200 more are in usage.csv" in many.to_html()
    assert len(many.to_csv().splitlines()) == 701
    assert ("690 more are in the files", "") in many.to_table()
    assert max(len(line) for line, _kind in many.to_table()) <= 120


def test_colours_are_of_names_and_bars_are_as_high_as_their_values() -> None:
    bars = Period(NOON - 2 * HOUR, NOON).bars()
    names = [f"m{number}" for number in range(COLOURS + 3)]
    values = {name: {0: 1.0, 1: 3.0} for name in names[1:]}
    chart = stacked(bars, names, values, str)
    assert chart.legend == (*((f"m{number}", number) for number in range(1, COLOURS)), (OTHERS, COLOURS))
    heights = {(r.x, r.colour): r.height for r in chart.rectangles}
    first, second = sorted({x for x, _colour in heights})
    assert heights[second, 1] == pytest.approx(3 * heights[first, 1], rel=0.02)
    assert heights[second, COLOURS] == pytest.approx(3 * heights[second, 1], rel=0.02)
    # 27 tokens in the highest bar: the axis ends at the next whole step.
    assert [label.words for label in chart.amounts] == ["0.0", "10.0", "20.0", "30.0"]
    assert all(r.y >= 0 and r.y + r.height <= chart.bottom + 0.1 for r in chart.rectangles)


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0"), (999, "999"), (999.6, "1 k"), (1000, "1 k"), (12_345, "12.3 k"), (999_999, "1 M"), (1.5, "1.5"),
     (4_647_144, "4.65 M"), (16_096_846, "16.1 M"), (536_450, "536 k"), (7e15, "7000 T")],
)  # fmt: skip
def test_compact_numbers(number: float, shown: str) -> None:
    assert compact(number) == shown


@pytest.mark.parametrize(
    ("cost", "shown"),
    [("0", "0.00"), ("12.345", "12.34"), ("1234567.5", "1,234,567.50"), ("0.5", "0.50"), ("0.00472", "0.0047"),
     ("0.000000001", "0.000000001")],
)  # fmt: skip
def test_money(cost: str, shown: str) -> None:
    assert money(Decimal(cost)) == shown


@pytest.mark.parametrize(
    ("prices", "message"),
    [
        ({"gpt-4": 3}, "prices.gpt-4: is no mapping"),
        ({"gpt-4": {"input": 3}}, "prices.gpt-4.output: is missing"),
        ({"gpt-4": {"input": 3, "output": "dear"}}, "prices.gpt-4.output: is 'dear'; write a number from 0 to 100000"),
        ({"gpt-4": {"input": -1, "output": 1}}, "prices.gpt-4.input: is '-1'"),
        ({"gpt-4": {"input": True, "output": 1}}, "prices.gpt-4.input: is 'True'"),
        ({"gpt-4": {"input": float("nan"), "output": 1}}, "prices.gpt-4.input: is 'nan'"),
        ({"gpt-4": {"input": 1, "output": 1, "cached": 1}}, "prices.gpt-4.cached: is not known"),
    ],
)
def test_wrong_prices(prices: t.Any, message: str) -> None:
    with pytest.raises(SourceError, match=re.escape(message)):
        prices_of(prices)
