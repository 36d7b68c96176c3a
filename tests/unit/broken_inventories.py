# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventories that are broken, made of one that has everything.

Each kind of mistake is made at a place that is drawn, and says which path the error has to name. What a mistake is
follows from the mistake, never from what the catalogue says of it: each of these has to be refused.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import functools
import math
import typing as t
from pathlib import Path

import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build
from full_inventory import INVENTORY
from hypothesis import strategies as st

#: Keys and indices that lead to a value.
Place = tuple[t.Any, ...]

#: Mappings and lists whose content is another program's: any key, and any value that JSON has.
FREE = (("headers",), ("selector",), ("parameters",), ("settings",), ("spec",))
SPECIFICATION = Path(catalog_build.__file__).parents[3] / "roles/catalog/meta/argument_specs.yml"


@dataclasses.dataclass(frozen=True)
class Broken:
    """An inventory with one mistake, and the beginnings of paths of which the error has to name one."""

    mistake: str
    inventory: dict[str, t.Any]
    paths: tuple[str, ...]


def path_of(place: Place) -> str:
    """A place as errors write it."""
    return "ai_gateway_" + "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" if index else str(part) for index, part in enumerate(place)
    )


def places(value: t.Any, place: Place = ()) -> t.Iterator[tuple[Place, t.Any]]:
    """All values below one, with their places."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*place, key), item
        yield from places(item, (*place, key))


def at(inventory: t.Any, place: Place) -> t.Any:
    return functools.reduce(lambda node, key: node[key], place, inventory)


def changed(place: Place, change: t.Callable[[t.Any, t.Any], None]) -> dict[str, t.Any]:
    """The inventory after a change of what holds a value, by its key or index."""
    inventory = copy.deepcopy(INVENTORY)
    change(at(inventory, place[:-1]), place[-1])
    return inventory


def replaced(place: Place, value: t.Any) -> dict[str, t.Any]:
    return changed(place, lambda node, key: node.__setitem__(key, value))


def _is_free(place: Place) -> bool:
    return any(name in place for (name,) in FREE)


PLACES = [(place, value) for place, value in places(INVENTORY) if not _is_free(place)]
STRINGS = [place for place, value in PLACES if isinstance(value, str)]
#: What is a number here; where a string is expected, one is refused too.
NUMBERS = [place for place, value in PLACES if isinstance(value, (int, float)) and not isinstance(value, bool)]
KEYED = [place for place, _value in PLACES if isinstance(place[-1], str)]


# --- the mistakes ---


@st.composite
def misspelt_keys(draw: st.DrawFn) -> Broken:
    """A key that has a letter more, which no key has."""
    place = draw(st.sampled_from([place for place in KEYED if len(place) > 1 and place[0] != "prices"]))
    index = draw(st.integers(0, len(place[-1])))
    name = place[-1][:index] + draw(st.sampled_from("qxQ-_ 9")) + place[-1][index:]
    wrong = (*place[:-1], name)
    return Broken(
        "a misspelt key", changed(place, lambda node, key: node.__setitem__(name, node.pop(key))), (path_of(wrong),)
    )


@st.composite
def other_types(draw: st.DrawFn) -> Broken:
    """A value of a type that none like it may have."""
    place, value = draw(st.sampled_from(PLACES))
    if isinstance(value, (dict, list)):
        others: list[t.Any] = [7, True, "yes", 1.5, [[]], {"key": 1} if isinstance(value, list) else ["key"]]
        if isinstance(value, dict):
            others.append([{}])
    elif isinstance(value, bool):
        others = ["maybe", 7, [], {}, 1.5, [True]]
    elif isinstance(value, str):
        others = [True, 7.5, ["a"], {"a": "b"}, []]
    else:
        others = ["many", True, [1], {"a": 1}, "1 000", "0x10", "1e3"]
    other = draw(st.sampled_from(others))
    # A mapping or list of its parent may be what the error names.
    return Broken("another type", replaced(place, other), (path_of(place),))


@st.composite
def numbers_out_of_range(draw: st.DrawFn) -> Broken:
    place = draw(st.sampled_from(NUMBERS))
    number = draw(
        st.one_of(
            st.integers(10**13, 10**30),
            st.integers(-(10**30), -(10**13)),
            st.sampled_from([math.nan, math.inf, -math.inf, 10**5000, -(10**5000), 1e308, 0.1 + 0.2]),
        )
    )
    return Broken("a number out of range", replaced(place, number), (path_of(place),))


@functools.cache
def required() -> tuple[Place, ...]:
    """The places in the inventory of keys that the role documents as required."""
    specification = yaml.safe_load(SPECIFICATION.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"]
    found: list[Place] = []

    def collect(value: t.Any, options: t.Mapping[str, t.Any], place: Place) -> None:
        if isinstance(value, list):
            for index, item in enumerate(value):
                collect(item, options, (*place, index))
        elif isinstance(value, dict):
            for name, option in options.items():
                if name in value:
                    found.extend([(*place, name)] if option.get("required") else [])
                    collect(value[name], option.get("options", {}), (*place, name))

    for name, value in INVENTORY.items():
        collect(value, specification[f"ai_gateway_{name}"].get("options", {}), (name,))
    # An endpoint without a host name describes the simulator itself.
    return tuple(place for place in found if place != ("providers", 0, "endpoint", "hostname"))


@st.composite
def missing_keys(draw: st.DrawFn) -> Broken:
    """A required key that is not there, or empty."""
    place = draw(st.sampled_from(required()))
    if draw(st.booleans()):
        return Broken("an empty key", replaced(place, draw(st.sampled_from([None, ""]))), (path_of(place),))
    return Broken("a missing key", changed(place, lambda node, key: node.pop(key)), (path_of(place),))


#: Lists whose items have a name that no other may have, or are names.
_NAMED: tuple[Place, ...] = (
    ("providers",),
    ("providers", 0, "models"),
    ("models",),
    ("inference_pools",),
    ("inference_pools", 0, "objectives"),
    ("inference_pools", 0, "endpoint_picker", "scorers"),
    ("mcp_servers",),
    ("semantic_router", "decisions"),
    ("semantic_router", "signals", "keywords"),
    ("semantic_router", "models"),
    ("tiers",),
    ("tiers", 0, "groups"),
    ("tiers", 0, "mcp_tools"),
    ("tiers", 1, "models"),
    ("callers",),
    ("allowed_endpoints",),
    ("cluster_networks",),
)


@st.composite
def duplicates(draw: st.DrawFn) -> Broken:
    place = draw(st.sampled_from(_NAMED))
    listed = at(INVENTORY, place)
    again = [*listed, copy.deepcopy(draw(st.sampled_from(listed)))]
    return Broken("a duplicate", replaced(place, again), (path_of(place),))


#: Names of what is described elsewhere in the inventory, each with where its error may be.
_REFERENCES: tuple[Place, ...] = (
    ("models", 3, "objective"),
    ("semantic_router", "models", 0),
    ("semantic_router", "default_model"),
    ("semantic_router", "fallback"),
    ("semantic_router", "decisions", 0, "model"),
    ("semantic_router", "decisions", 0, "rules", "conditions", 0, "name"),
    ("tiers", 0, "mcp_tools", 0),
    ("tiers", 1, "models", 0),
    ("tiers", 1, "model_limits", 0, "models", 0),
)


@st.composite
def references_to_nothing(draw: st.DrawFn) -> Broken:
    place = draw(st.sampled_from(_REFERENCES))
    name = "nobody-" + draw(st.text("abcdefghij", min_size=1, max_size=20))
    name += "__get" if "mcp_tools" in place else ""
    return Broken("a reference to nothing", replaced(place, name), (path_of(place),))


#: Characters that cannot be seen, or change how others are seen.
UNSEEN = [*map(chr, range(32)), "\x7f", "\x85", "\u200b", "\u2028", "\u202e", "\u2066", "\ufeff", "\ud800", "\udfff"]


@st.composite
def unseen_characters(draw: st.DrawFn) -> Broken:
    # Comments of any kind may be between certificates.
    place = draw(st.sampled_from([place for place in STRINGS if place[-1] != "ca_bundle"]))
    value = at(INVENTORY, place)
    index = draw(st.integers(0, len(value)))
    wrong = value[:index] + draw(st.sampled_from(UNSEEN)) + value[index:]
    return Broken("an unseen character", replaced(place, wrong), (path_of(place),))


@st.composite
def huge_values(draw: st.DrawFn) -> Broken:
    """A string, a list or a nesting that is larger than any has to be."""
    place, value = draw(st.sampled_from([found for found in PLACES if not isinstance(found[1], dict)]))
    if isinstance(value, str):
        return Broken("a huge string", replaced(place, "x" * draw(st.integers(300_000, 400_000))), (path_of(place),))
    nested: t.Any = []
    for _level in range(draw(st.integers(70, 400))):
        nested = [nested]
    return Broken("a deep nesting", replaced(place, nested), (path_of(place),))


class Unknown:
    """Of no type that an inventory has."""


def _within_itself() -> list[t.Any]:
    value: list[t.Any] = []
    value.append(value)
    return value


#: What YAML or a template can give, and JSON cannot.
_ODD: tuple[t.Callable[[], t.Any], ...] = (
    lambda: datetime.date(2024, 10, 21),
    lambda: datetime.datetime(2024, 10, 21, tzinfo=datetime.UTC),
    lambda: b"bytes",
    lambda: {"a", "b"},
    lambda: {True: "on"},
    lambda: {1: "one"},
    lambda: {None: "empty"},
    lambda: {("a", "b"): "pair"},
    lambda: math.nan,
    lambda: 1j,
    lambda: range(3),
    Unknown,
    _within_itself,
    lambda: {"itself": _within_itself()},
)


@st.composite
def odd_values(draw: st.DrawFn) -> Broken:
    """Anywhere, where content is another program's too."""
    place = draw(st.sampled_from([place for place, _value in places(INVENTORY)]))
    return Broken("an odd value", replaced(place, draw(st.sampled_from(_ODD))()), (path_of(place),))


MISTAKES: dict[str, st.SearchStrategy[Broken]] = {
    "misspelt keys": misspelt_keys(),
    "other types": other_types(),
    "numbers out of range": numbers_out_of_range(),
    "missing keys": missing_keys(),
    "duplicates": duplicates(),
    "references to nothing": references_to_nothing(),
    "unseen characters": unseen_characters(),
    "huge values": huge_values(),
    "odd values": odd_values(),
}
