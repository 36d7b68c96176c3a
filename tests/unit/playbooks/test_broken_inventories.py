# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Broken inventories: each gets an error that names the path, before anything is asked of a cluster.

BROKEN_INVENTORIES is how many are made of each kind of mistake, of which there are nine. They are the same each time.
"""

from __future__ import annotations

import contextlib
import copy
import os
import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import CatalogError
from broken_inventories import MISTAKES, Broken, places, replaced
from full_inventory import INVENTORY, KEY
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EACH = int(os.environ.get("BROKEN_INVENTORIES", "40"))
#: No error is longer than a screen: each fault is one line.
LONGEST = 1500


def refused(broken: Broken) -> CatalogError:
    try:
        build(broken.inventory)
    except CatalogError as error:
        return error
    raise AssertionError(f"{broken.mistake} at {broken.paths[0]} was accepted")


def test_the_inventory_itself_is_whole() -> None:
    assert build(copy.deepcopy(INVENTORY)).as_dict()["providers"]


@pytest.mark.parametrize("mistakes", MISTAKES)
def test_each_mistake_is_an_error_with_its_path(mistakes: str) -> None:
    tried = 0

    @settings(
        max_examples=EACH,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example, HealthCheck.data_too_large],
    )
    @given(broken=MISTAKES[mistakes])
    def each(broken: Broken) -> None:
        nonlocal tried
        tried += 1
        error = refused(broken)
        paths = [fault.path for fault in error.faults]
        assert any(found.startswith(wanted) for found in paths for wanted in broken.paths), (broken.mistake, paths)
        for fault in error.faults:
            assert fault.path.startswith("ai_gateway")
            assert fault.problem
            assert fault.remedy
            assert str(fault).isprintable()
            assert len(str(fault)) < LONGEST
        assert KEY not in str(error)

    each()
    assert tried >= min(EACH, 20)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)


def test_nothing_at_any_place_ends_in_a_traceback() -> None:
    """Whether or not it is a mistake."""

    @settings(max_examples=EACH * 5, derandomize=True, database=None, deadline=None)
    @given(place=st.sampled_from([place for place, _value in places(INVENTORY)]), value=JSON)
    def each(place: tuple[t.Any, ...], value: t.Any) -> None:
        with contextlib.suppress(CatalogError):
            build(replaced(place, value)).as_dict()

    each()
