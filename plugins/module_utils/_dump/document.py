# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables as a file of YAML that people read and Ansible loads: comments, and no string that Ansible would template
unasked. Pure.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

try:
    import yaml

    _Base: t.Any = yaml.SafeDumper
except ImportError:  # The kubernetes client brings it.
    yaml = None  # type: ignore[assignment]
    _Base = object

#: Without quotes, no parser of YAML takes these for anything else than strings.
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./@-]*( [A-Za-z][A-Za-z0-9_./@-]*)*")
_WORDS = frozenset(["yes", "no", "on", "off", "true", "false", "null", "nan", "inf", "y", "n"])
#: What Ansible takes for a template.
_TEMPLATE = re.compile(r"\{[{%#]")
#: Characters of a line of a comment.
_WIDTH = 116


class Expression(str):
    """A template of Ansible, in place of a key. ``comment`` says in a line where the key is."""

    comment: str

    def __new__(cls, template: str, comment: str = "") -> t.Self:
        made = super().__new__(cls, template)
        made.comment = one_line(comment)
        return made


@dataclass(frozen=True)
class Note:
    """Something that a file does not say, and why."""

    #: Where it was: a path of the source, or an object.
    path: str
    #: A clause whose subject is the path, with what to do instead.
    reason: str

    def __str__(self) -> str:
        return f"{one_line(self.path)}: {one_line(self.reason)}"


def one_line(string: str) -> str:
    """The string with an escape for each character that cannot be seen, so that no line ends in it."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in string)


def document(variables: Mapping[str, t.Any], header: Iterable[str], comments: Mapping[str, Sequence[str]]) -> str:
    """The file.

    :param header: the paragraphs of its first comment, each of any length; an empty one is an empty line.
    :param comments: by variable, the lines before it.
    """
    lines = [line for paragraph in header for line in _comment(paragraph)]
    parts = ["\n".join([*lines, "---"]) + "\n"]
    for name, value in variables.items():
        before = [line for paragraph in comments.get(name, ()) for line in _comment(paragraph)]
        parts.append("\n" + "".join(f"{line}\n" for line in before) + _dumped({name: value}))
    return "".join(parts)


def _comment(paragraph: str) -> list[str]:
    if not paragraph:
        return ["#"]
    lines = [""]
    for word in one_line(paragraph).split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > _WIDTH:
            lines.append("  " + word if paragraph.startswith("- ") else word)
        else:
            lines[-1] = f"{lines[-1]} {word}" if lines[-1] else word
    return [f"# {line}" for line in lines]


class _Dumper(_Base):
    """Lists are indented, strings are in quotes where a parser could take them for something else."""

    def ignore_aliases(self, data: t.Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> t.Any:
        return super().increase_indent(flow, False)

    def process_scalar(self) -> None:
        comment = getattr(self.event.value, "comment", "")
        super().process_scalar()
        if comment:
            self.write_indicator(f" # {comment}", need_whitespace=True)


def _represent_string(dumper: t.Any, value: str) -> t.Any:
    # Other characters that end a line have an escape in quotes alone.
    if "\n" in value and value.replace("\n", "").isprintable() and not _TEMPLATE.search(value):
        style: str | None = "|"
    elif _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        style = None
    else:
        style = '"'
    # Ansible would template it.
    tag = "!unsafe" if _TEMPLATE.search(value) else "tag:yaml.org,2002:str"
    return dumper.represent_scalar(tag, value, style=style)


def _represent_expression(dumper: t.Any, value: Expression) -> t.Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style='"')


if yaml:
    _Dumper.add_representer(str, _represent_string)
    _Dumper.add_representer(Expression, _represent_expression)


def _dumped(body: t.Any) -> str:
    found: str = yaml.dump(
        _checked(body), Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=10**9
    )
    return found


def _checked(value: t.Any) -> t.Any:
    """The value with Python's own types, which alone have a representation.

    :raises ValueError: for a name in a mapping that Ansible could take for a template.
    """
    if isinstance(value, Mapping):
        templates = [str(key) for key in value if _TEMPLATE.search(str(key))]
        if templates:
            raise ValueError(f"the name {one_line(templates[0])!r} has the form of a template and cannot be written")
        return {str(key): _checked(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_checked(item) for item in value]
    return value
