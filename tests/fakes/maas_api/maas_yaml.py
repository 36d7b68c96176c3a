# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of YAML in which lists of tiers and of models are written, since the standard library reads none of it.

Read are block and flow sequences and mappings, plain and quoted scalars over one line or more, block scalars, comments,
and one document; JSON too. Anchors, tags, directives and complex keys are not, and are errors as all else that is not
understood.
"""

from __future__ import annotations

import json
import re
import typing as t

_KEY = re.compile(r"""("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'\[\]{},&*!|>%@`#-][^#]*?|-[^\s#][^#]*?)\s*:(?=\s|$)""")
_SPECIAL = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_TRUE = {"true", "True", "TRUE"}
_FALSE = {"false", "False", "FALSE"}
_ESCAPES = {
    "n": "\n",
    "t": "\t",
    "r": "\r",
    "0": "\0",
    "e": "\x1b",
    "b": "\b",
    "a": "\a",
    "f": "\f",
    "v": "\v",
    "N": "\x85",
    "_": "\xa0",
    "L": "\u2028",
}
_ESCAPES.update({"P": "\u2029", " ": " ", "/": "/", '"': '"', "\\": "\\", "\t": "\t"})
_HEX = {"x": 2, "u": 4, "U": 8}


def load(text: str) -> t.Any:
    """The document; raises ValueError where it is not understood."""
    try:
        return json.loads(text)
    except ValueError:
        return _Reader(text).document()


def _scalar(text: str) -> t.Any:
    """What a plain scalar means."""
    if text in _SPECIAL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if re.fullmatch(r"[-+]?[0-9]+", text):
        return int(text)
    if re.fullmatch(r"[-+]?(\.[0-9]+|[0-9]+\.[0-9]*)([eE][-+]?[0-9]+)?", text):
        return float(text)
    if text[0] in "&*!|>%@`\"'[]{},#" or re.match(r"[-?:](\s|$)", text):
        raise ValueError(f"{text!r} is not understood")
    return text


def _quoted(text: str, start: int) -> tuple[str, int] | None:
    """The quoted scalar that begins at ``start`` and where it ends; None where its end is missing."""
    quote, position, found = text[start], start + 1, []
    while position < len(text):
        character = text[position]
        if character == quote:
            if quote == "'" and text[position + 1 : position + 2] == "'":
                found.append("'")
                position += 2
                continue
            return "".join(found), position + 1
        if character == "\\" and quote == '"':
            escape = text[position + 1 : position + 2]
            if escape in _HEX:
                digits = text[position + 2 : position + 2 + _HEX[escape]]
                found.append(chr(int(digits, 16)))
                position += 2 + _HEX[escape]
                continue
            if escape == "\n" or (escape and escape not in _ESCAPES):
                raise ValueError(f"the escape \\{escape} is not understood")
            if not escape:
                return None
            found.append(_ESCAPES[escape])
            position += 2
            continue
        found.append(character)
        position += 1
    return None


class _Flow:
    """A flow collection in one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def value(self) -> t.Any:
        self._space()
        character = self._next()
        if character == "[":
            return self._items("]", self.value)
        if character == "{":
            return dict(self._items("}", self._pair))
        return self._word()

    def _pair(self) -> tuple[t.Any, t.Any]:
        key = self._word(in_key=True)
        self._space()
        if self._next() != ":":
            return key, None
        self.position += 1
        return key, self.value()

    def _items(self, end: str, item: t.Callable[[], t.Any]) -> list[t.Any]:
        self.position += 1
        found: list[t.Any] = []
        while True:
            self._space()
            if self._next() == end:
                self.position += 1
                return found
            found.append(item())
            self._space()
            if self._next() == ",":
                self.position += 1
            elif self._next() != end:
                raise EOFError if not self._next() else ValueError(f"{self.text[self.position :]!r} is not understood")

    def _word(self, in_key: bool = False) -> t.Any:
        self._space()
        if self._next() in ("'", '"'):
            quoted = _quoted(self.text, self.position)
            if quoted is None:
                raise EOFError
            self.position = quoted[1]
            return quoted[0]
        match = re.compile(r"(?:[^,\[\]{}:#]|:(?![\s,\[\]{}]|$)|(?<=\S)#)*").match(self.text, self.position)
        word = match[0] if match else ""
        self.position += len(word)
        if not self._next():
            raise EOFError
        if not word.strip() and not in_key and self._next() not in ",]}":
            raise ValueError(f"{self.text[self.position :]!r} is not understood")
        return _scalar(word.strip())

    def _space(self) -> None:
        while self._next() in (" ", "\t", "\n"):
            self.position += 1

    def _next(self) -> str:
        return self.text[self.position : self.position + 1]


class _Reader:
    def __init__(self, text: str) -> None:
        self.lines = text.expandtabs(1).splitlines()
        self.number = 0

    def document(self) -> t.Any:
        line = self._line()
        if line is not None and re.fullmatch(r"---(\s+#.*)?", line[1]):
            self.number += 1
        found = self._node(-1)
        if self._line() is not None:
            raise ValueError(f"line {self.number + 1} is not understood")
        return found

    def _line(self) -> tuple[int, str] | None:
        """Indentation and text of the next line that says anything."""
        while self.number < len(self.lines):
            line = self.lines[self.number]
            text = line.strip()
            if text and not text.startswith("#"):
                return len(line) - len(line.lstrip()), text
            self.number += 1
        return None

    def _node(self, parent: int) -> t.Any:
        """What stands at the next line, deeper than its parent."""
        line = self._line()
        if line is None or line[0] <= parent:
            return None
        indentation, text = line
        if re.match(r"-(\s|$)", text):
            return self._sequence(indentation)
        if text[0] not in "[{" and _KEY.match(text):
            return self._mapping(indentation)
        self.number += 1
        return self._value(text, parent)

    def _sequence(self, indentation: int) -> list[t.Any]:
        found = []
        while (line := self._line()) and line[0] == indentation and re.match(r"-(\s|$)", line[1]):
            rest = line[1][1:]
            if not rest.strip() or rest.strip().startswith("#"):
                self.number += 1
            else:
                # What follows the dash is a node at its own column.
                self.lines[self.number] = " " * (indentation + 1) + rest
            found.append(self._node(indentation))
        return found

    def _mapping(self, indentation: int) -> dict[t.Any, t.Any]:
        found: dict[t.Any, t.Any] = {}
        while (line := self._line()) and line[0] == indentation and (match := _KEY.match(line[1])):
            quoted = _quoted(match[1], 0) if match[1][0] in "'\"" else None
            key = quoted[0] if quoted else _scalar(match[1])
            if key in found:
                raise ValueError(f"line {self.number + 1}: {key} is there twice")
            rest = line[1][match.end() :].strip()
            self.number += 1
            if rest and not rest.startswith("#"):
                found[key] = self._value(rest, indentation)
                continue
            following = self._line()
            if following and following[0] == indentation and re.match(r"-(\s|$)", following[1]):
                found[key] = self._sequence(indentation)
            else:
                found[key] = self._node(indentation)
        return found

    def _value(self, text: str, parent: int) -> t.Any:
        """A scalar or flow collection that begins with ``text``, on the line before the next."""
        if text[0] in "|>":
            return self._block(text, parent)
        if text[0] in "'\"":
            while (quoted := _quoted(text, 0)) is None:
                text = self._folded(text)
            if not re.fullmatch(r"(\s+#.*)?", text[quoted[1] :]):
                raise ValueError(f"{text[quoted[1] :]!r} is not understood")
            return quoted[0]
        if text[0] in "[{":
            while True:
                flow = _Flow(text)
                try:
                    found = flow.value()
                except EOFError:
                    text = self._folded(text)
                    continue
                if not re.fullmatch(r"(\s+#.*|\s*)", text[flow.position :]):
                    raise ValueError(f"{text[flow.position :]!r} is not understood")
                return found
        text = re.split(r"\s+#", text)[0]
        while (line := self._line()) and line[0] > parent:
            if _KEY.match(line[1]):
                raise ValueError(f"line {self.number + 1} is not understood")
            text = self._folded(text)
            text = re.split(r"\s+#", text)[0]
        return _scalar(text)

    def _folded(self, text: str) -> str:
        """The text with the next line; an empty line between them is a line break."""
        breaks = 0
        while self.number < len(self.lines):
            line = self.lines[self.number].strip()
            self.number += 1
            if line:
                if text.endswith("\\") and not breaks:
                    # In double quotes, a line break that counts for nothing.
                    return text[:-1] + line
                return text + ("\n" * breaks or " ") + line
            breaks += 1
        raise ValueError(f"{text!r} has no end")

    def _block(self, header: str, parent: int) -> str:
        """A literal or folded block scalar."""
        match = re.fullmatch(r"([|>])([-+]?)(\s+#.*)?", header)
        if not match:
            raise ValueError(f"{header!r} is not understood")
        lines = []
        while self.number < len(self.lines):
            line = self.lines[self.number]
            if line.strip() and len(line) - len(line.lstrip()) <= parent:
                break
            lines.append(line)
            self.number += 1
        width = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
        lines = [line[width:] for line in lines]
        text = "\n".join(lines)
        content = text.rstrip("\n")
        if match[1] == ">":
            content = re.sub(r"(?<=\S)\n(\n*)(?=\S)", lambda found: found[1] or " ", content)
        kept = {"-": "", "": "\n" if content else "", "+": text[len(text.rstrip("\n")) :] + "\n"}[match[2]]
        return content + kept
