# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be said of a variable of a role by its documented type alone.

Ansible converts: it takes a mapping for a string, and a string for a list. Roles do not, so that a value of another
type would come as far as a manifest.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Iterator, Mapping

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.content import content_faults
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, nearest, type_name

#: What argument_specs.yml says of variables, by their names.
Options = Mapping[str, Mapping[str, t.Any]]

#: The largest number of most fields of Kubernetes.
_MOST = 2**31 - 1
#: How much alike a name and a variable must be for the name to be a mistake. A plural is another name.
_LIKENESS = 0.9
_QUOTES = "write a string (in quotes if it looks like a truth value)"


def misspelt(defined: Iterable[str], options: Options, roles: Iterable[str]) -> Iterator[Fault]:
    """The faults of names that nearly are a variable of these roles.

    :param defined: the names of all variables in scope.
    :param roles: whose names variables begin with.
    """
    prefixes = tuple(f"{role}_" for role in roles)
    for name in sorted(defined):
        if name in options or not name.startswith(prefixes):
            continue
        near = nearest(name, options, _LIKENESS)
        if near and near not in (f"{name}s", f"{name}es") and name not in (f"{near}s", f"{near}es"):
            remedy = f"did you mean `{near}`? Give it another name if it is your own"
            yield Fault(name, "is no variable of this collection", remedy)


def variable_faults(path: str, value: t.Any, option: Mapping[str, t.Any]) -> list[Fault]:
    """The faults of a variable's value, without those that Ansible's own validation names.

    :param path: the variable's name.
    :param option: what argument_specs.yml says of it. Type ``raw`` is for its role to judge.
    """
    if value is None:
        return []
    faults = list(content_faults(path, value))
    return faults or list(_of_type(path, value, option))


def _of_type(path: str, value: t.Any, option: Mapping[str, t.Any]) -> Iterator[Fault]:
    if value is None:
        return
    kind = option.get("type", "str")
    if kind in ("str", "path"):
        if isinstance(value, (bool, list, tuple, dict)):
            yield Fault(path, f"is {type_name(value)}", _QUOTES)
    elif kind in ("int", "float"):
        yield from _of_number(path, value)
    elif kind == "list":
        yield from _of_list(path, value, option)
    elif kind == "dict":
        yield from _of_mapping(path, value, option)


def _of_number(path: str, value: t.Any) -> Iterator[Fault]:
    """What is no number at all is named by Ansible's own validation."""
    number = value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,18}", value):
        number = int(value)
    if isinstance(value, (bool, list, tuple, dict)):
        yield Fault(path, f"is {type_name(value)}", "write a number")
    elif isinstance(number, (int, float)) and not 0 <= number <= _MOST:
        yield Fault(path, f"is {number}", f"write a number from 0 to {_MOST}")


def _of_list(path: str, value: t.Any, option: Mapping[str, t.Any]) -> Iterator[Fault]:
    if not isinstance(value, (list, tuple)):
        remedy = 'write a list (each item on a line of its own that starts with "-")'
        yield Fault(path, f"is {type_name(value)}", remedy)
        return
    element = {**option, "type": option.get("elements", "raw")}
    for index, item in enumerate(value):
        yield from _of_type(f"{path}[{index}]", item, element)


def _of_mapping(path: str, value: t.Any, option: Mapping[str, t.Any]) -> Iterator[Fault]:
    if not isinstance(value, dict):
        yield Fault(path, f"is {type_name(value)}", "write a mapping")
        return
    for name, suboption in (option.get("options") or {}).items():
        yield from _of_type(f"{path}.{name}", value.get(name), suboption)
