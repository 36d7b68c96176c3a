# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of YAML that others wrote: nothing in them is guessed, unfolded or run. Pure."""

from __future__ import annotations

import math
import typing as t

try:
    import yaml

    _Base: t.Any = yaml.SafeLoader
    _Error: t.Any = yaml.YAMLError
except ImportError:  # The kubernetes client brings it.
    yaml = None  # type: ignore[assignment]
    _Base = object
    _Error = ()

#: Bytes of a file, and levels of nesting.
SIZE = 2 * 1024 * 1024
DEPTH = 30
_STRING = "tag:yaml.org,2002:str"
_KINDS = tuple(f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "map", "seq"))


class YamlInputError(ValueError):
    """A file cannot be taken; the message says where and why, and quotes no value."""


class _Loader(_Base):
    """Refuses anchors, tags and names that come twice, and leaves dates the strings that they are."""

    def compose_node(self, parent: t.Any, index: t.Any) -> t.Any:
        event = self.peek_event()
        if isinstance(event, yaml.events.AliasEvent) or getattr(event, "anchor", None):
            raise _refused(event.start_mark, "is an anchor or an alias", "write out what it is for")
        self.level = getattr(self, "level", 0) + 1
        if self.level > DEPTH:
            raise _refused(event.start_mark, f"is nested more than {DEPTH} levels deep", "check the indentation")
        node = super().compose_node(parent, index)
        self.level -= 1
        if node.tag not in _KINDS:
            raise _refused(node.start_mark, "has a tag", "leave the tag out")
        return node

    def construct_mapping(self, node: t.Any, deep: bool = False) -> dict[str, t.Any]:
        found: dict[str, t.Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge" or not isinstance(key_node, yaml.ScalarNode):
                raise _refused(key_node.start_mark, "is no name", "write a string")
            key = str(key_node.value)
            if key in found:
                raise _refused(key_node.start_mark, f"has the name {key[:80]!r} a second time", "leave one of them out")
            found[key] = self.construct_object(value_node, deep=True)
        return found

    def construct_yaml_float(self, node: t.Any) -> float:
        number = float(super().construct_yaml_float(node))
        if not math.isfinite(number):
            raise _refused(node.start_mark, "is no finite number", "write a number")
        return number


def _refused(mark: t.Any, problem: str, remedy: str) -> YamlInputError:
    return YamlInputError(f"line {mark.line + 1}, column {mark.column + 1}: {problem}; {remedy}")


if yaml:
    # A copy: that of the class above is PyYAML's own.
    _Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _KINDS]
        for first, resolvers in _Base.yaml_implicit_resolvers.items()
    }
    _Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
    _Loader.add_constructor("tag:yaml.org,2002:map", _Loader.construct_mapping)


def read_yaml(content: bytes) -> dict[str, t.Any]:
    """The mapping of a file.

    :raises YamlInputError: with the line, for everything else.
    """
    if len(content) > SIZE:
        raise YamlInputError(f"has {len(content)} bytes; write at most {SIZE}")
    try:
        string = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise YamlInputError(f"byte {error.start} is not UTF-8; write the file in UTF-8") from None
    try:
        documents = list(yaml.load_all(string, _Loader))
    except YamlInputError:
        raise
    except _Error as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        raise YamlInputError(f"{place}is no YAML ({problem}); correct it") from None
    except (ValueError, OverflowError, RecursionError):
        raise YamlInputError("has a value that cannot be read; write numbers and strings") from None
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise YamlInputError("is not one mapping; write model_list and the other settings at its top")
    return documents[0]
