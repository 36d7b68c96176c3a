# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the values of an inventory may consist of, whatever they mean: what JSON has, within bounds.

YAML and templates have more: dates, anchors within themselves, numbers without an end. A reader that meets one would
fail, or hand it to a component that cannot read it.
"""

from __future__ import annotations

import math
import typing as t
from collections.abc import Iterator

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, key_of_path, type_name

#: How many lists and mappings may be within each other. The deepest that has a meaning has about twenty.
DEPTH = 60
#: Whole numbers are of so many bits in what is written for the API server.
_BITS = 63
_QUOTES = "write a string (in quotes if it looks like a number, a date or a truth value)"


def too_deep(value: t.Any, depth: int = 0) -> bool:
    """Whether lists and mappings are within each other more often than ``DEPTH``, for example without an end."""
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
    return items is not None and (depth == DEPTH or any(too_deep(item, depth + 1) for item in items))


def content_faults(path: str, value: t.Any, depth: int = 0) -> Iterator[Fault]:
    """The faults of ``value`` and of what is in it.

    :param path: where it is, such as ``ai_gateway_providers``.
    """
    if isinstance(value, (dict, list, tuple)):
        if depth == DEPTH:
            yield Fault(path, f"is nested more than {DEPTH} levels deep, or holds itself", "write it without an anchor")
        elif isinstance(value, dict):
            yield from _of_mapping(path, value, depth)
        else:
            for index, item in enumerate(value):
                yield from content_faults(f"{path}[{index}]", item, depth + 1)
    elif isinstance(value, str):
        yield from _of_string(path, value)
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield Fault(path, "is no finite number", "write one")
    elif isinstance(value, int):
        if value.bit_length() > _BITS:
            # Not all of Python's numbers can be shown.
            yield Fault(path, f"is a number of {value.bit_length()} bits", f"write one of at most {_BITS}")
    elif value is not None:
        yield Fault(path, f"is {type_name(value)}", _QUOTES)


def _of_mapping(path: str, value: dict[t.Any, t.Any], depth: int) -> Iterator[Fault]:
    for key, item in value.items():
        if not isinstance(key, str):
            shown = f", {key}" if isinstance(key, (bool, float)) or key is None else ""
            yield Fault(path, f"has a key that is {type_name(key)}{shown}", "write the key in quotes")
            continue
        yield from _of_string(f"{path}, a key", key)
        yield from content_faults(f"{path}.{key_of_path(key)}", item, depth + 1)


def _of_string(path: str, value: str) -> Iterator[Fault]:
    try:
        value.encode()
    except UnicodeEncodeError:
        yield Fault(path, "has a character that is half of one (a surrogate)", "write the whole character")
