# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Regular expressions in Go's syntax, by Python's module ``re``.

Here are the spellings that differ, and those that Go refuses; that groups and ranges are whole, ``re`` says itself.
"""

from __future__ import annotations

import functools
import re
import sys
import unicodedata
from collections.abc import Callable, Iterable

#: The most repetitions, alone or inside of each other.
_COPIES = 1000
#: The ASCII characters that Go means by each escape and each name.
_ASCII = {
    "d": "0-9",
    "s": r"\t\n\f\r ",
    "w": "0-9A-Za-z_",
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}
#: What precedes the character in the names of Unicode, where it is not the script.
_NAMES = {"Han": "CJK"}
_SCRIPTS = (
    "Arabic", "Armenian", "Bengali", "Cyrillic", "Devanagari", "Ethiopic", "Georgian", "Greek", "Gujarati", "Han",
    "Hangul", "Hebrew", "Hiragana", "Katakana", "Khmer", "Lao", "Latin", "Malayalam", "Mongolian", "Myanmar",
    "Sinhala", "Tamil", "Telugu", "Thai", "Tibetan",
)  # fmt: skip
_CATEGORIES = [
    "C",
    "Cc",
    "Cf",
    "Co",
    "Cs",
    "L",
    "Ll",
    "Lm",
    "Lo",
    "Lt",
    "Lu",
    "M",
    "Mc",
    "Me",
    "Mn",
    "N",
    "Nd",
    "Nl",
    "No",
    "P",
    "Pc",
    "Pd",
    "Pe",
    "Pf",
    "Pi",
    "Po",
    "Ps",
    "S",
    "Sc",
    "Sk",
    "Sm",
    "So",
    "Z",
    "Zl",
    "Zp",
    "Zs",
]
#: The pieces of an expression outside of classes.
_PIECE = re.compile(
    r"""
    (?P<quoted>\\Q (?P<literal>.*?) (?:\\E|\Z))
    | (?P<escape>\\ (?:[pP](?:\{[^}]*\}|.) | x\{[0-9A-Fa-f]+\} | x[0-9A-Fa-f]{2} | 0[0-7]{0,2} | [1-7][0-7]{1,2} | .))
    | (?P<named>\(\?P?<\w+>)
    | \(\? (?P<flags>[imsU]*(?:-[imsU]+)?) (?P<end>[:)])
    | (?P<open>\(\??)
    | (?P<repeat>[*+?] | \{(?P<least>0|[1-9]\d*)(?P<range>,(?P<most>0|[1-9]\d*)?)?\}) (?P<lazy>\??)
    | (?P<class>\[)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
#: Those inside of a class, where most mean the first character alone.
_MEMBER = re.compile(r"\[:\^?[^]]*?:\]|" + _PIECE.pattern, _PIECE.flags)


@functools.lru_cache(maxsize=1000)
def compiled(expression: str, case_sensitive: bool) -> re.Pattern[str]:
    """The expression for ``re``. Raises ValueError where Go would refuse it."""
    try:
        return re.compile(_Translation(expression).text(), 0 if case_sensitive else re.IGNORECASE)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(str(error)) from error


class _Group:
    """A group that is open: the flags that hold in it, and what repetitions copy."""

    def __init__(self, flags: frozenset[str]) -> None:
        self.flags = flags
        #: Of the last piece, and the most of all.
        self.copies = self.most = 1

    def add(self, copies: int = 1) -> None:
        self.copies, self.most = copies, max(self.most, copies)


class _Translation:
    def __init__(self, expression: str) -> None:
        self._expression = expression
        self._groups = [_Group(frozenset())]

    def text(self) -> str:
        found, place, repeated = [], 0, False
        while place < len(self._expression):
            piece = _PIECE.match(self._expression, place)
            assert piece
            if piece["repeat"] and repeated:
                raise ValueError(f"invalid nested repetition operator: {self._expression[: piece.end()]!r}")
            repeated = bool(piece["repeat"])
            place = piece.end()
            if piece["class"]:
                text, place = self._class(place)
                self._groups[-1].add()
            else:
                text = self._piece(piece)
            found.append(text)
        return "".join(found)

    def _piece(self, piece: re.Match[str]) -> str:
        group = self._groups[-1]
        if piece["repeat"]:
            return self._repeat(piece, group)
        if piece["named"] or piece["open"] == "(":
            self._groups.append(_Group(group.flags))
            return "(?:"
        if piece["end"]:
            added, _minus, removed = piece["flags"].partition("-")
            flags = (group.flags | set(added)) - set(removed)
            if piece["end"] == ":":
                self._groups.append(_Group(flags))
                return "(?:"
            group.flags = flags
            return ""
        if piece["open"]:
            raise ValueError(f"invalid or unsupported Perl syntax: {self._expression[piece.start() :][:4]!r}")
        if piece["other"] == ")" and len(self._groups) > 1:
            most = self._groups.pop().most
            self._groups[-1].add(most)
            return ")"
        if piece["other"] == "|":
            return "|"
        group.add()
        if piece["quoted"]:
            return "".join(self._cased(re.escape(character)) for character in piece["literal"])
        if piece["escape"]:
            return self._cased(_escape(piece["escape"]))
        return self._cased(self._other(piece["other"]))

    def _other(self, character: str) -> str:
        flags = self._groups[-1].flags
        if character == "^":
            return "(?m:^)" if "m" in flags else "^"
        if character == "$":
            return "(?m:$)" if "m" in flags else r"\Z"
        if character == ".":
            return "(?s:.)" if "s" in flags else "."
        if character == "\\":
            raise ValueError("trailing backslash at end of expression")
        return character if character == ")" else re.escape(character)

    def _cased(self, text: str) -> str:
        """So that a flag in the midst of an expression counts from there on."""
        return f"(?i:{text})" if "i" in self._groups[-1].flags else text

    def _repeat(self, piece: re.Match[str], group: _Group) -> str:
        lazy = bool(piece["lazy"]) != ("U" in group.flags)
        if piece["least"] is not None:
            least = int(piece["least"])
            most = least if not piece["range"] else int(piece["most"]) if piece["most"] else None
            copies = 1 if most == 0 else group.copies * max(1, least if most is None else most)
            if max(least, most or 0, copies) > _COPIES:
                raise ValueError(f"invalid repeat count: {piece['repeat']!r}")
            group.add(copies)
        return piece["repeat"] + ("?" if lazy else "")

    def _class(self, place: int) -> tuple[str, int]:
        """The class whose bracket is before this place, and the place after it."""
        expression = self._expression
        start = "["
        if expression.startswith("^", place):
            start, place = "[^", place + 1
        parts: list[str] = []
        while not expression.startswith("]", place) or not parts:
            piece = _MEMBER.match(expression, place)
            if piece is None:
                raise ValueError("missing closing ]")
            text, place = self._member(piece, place)
            if parts[1:] and parts[-1] == "-" and text.count("-") and text != "-" and parts[-2] != "-":
                raise ValueError(f"invalid character class range: {piece[0]!r}")
            parts.append(text)
        return self._cased(f"{start}{''.join(parts)}]"), place + 1

    def _member(self, piece: re.Match[str], place: int) -> tuple[str, int]:
        if piece[0].startswith("[:"):
            return _ascii(piece[0][2:-2].lstrip("^"), piece[0][2] == "^"), piece.end()
        if piece["other"] == "\\":
            raise ValueError("missing closing ]")
        if piece["escape"]:
            if piece["escape"] in (r"\A", r"\z", r"\b", r"\B"):
                raise ValueError(f"invalid escape sequence: {piece['escape']!r}")
            text = _escape(piece["escape"])
            return text[1:-1] if text.startswith("[") else text, piece.end()
        if piece["quoted"]:
            raise ValueError(r"invalid escape sequence: \Q")
        character = self._expression[place]
        # Python takes two of some of them for more than themselves.
        return character if character == "-" else re.escape(character), place + 1


def _escape(escape: str) -> str:
    """An escape as ``re`` spells it; a class in brackets."""
    kind, rest = escape[1], escape[2:]
    simple = {"A": r"\A", "z": r"\Z", "b": r"(?a:\b)", "B": r"(?!(?a:\b))"}
    if kind in simple:
        return simple[kind]
    if kind in "dDsSwW":
        return f"[{_ascii(kind.lower(), kind.isupper())}]"
    if kind in "pP" and rest:
        name = rest.strip("{}")
        return f"[{_members(name.removeprefix('^'), (kind == 'P') != name.startswith('^'))}]"
    if kind == "x" and rest:
        return re.escape(chr(int(rest.strip("{}"), 16)))
    if kind.isascii() and kind.isdigit() and (kind == "0" or rest):
        return re.escape(chr(int(escape[1:], 8)))
    if kind in "afnrtv":
        return escape
    if kind.isascii() and not kind.isalnum():
        return re.escape(kind)
    raise ValueError(f"invalid escape sequence: {escape!r}")


def _ascii(name: str, other: bool) -> str:
    """The inside of a class of these characters, or of all others."""
    if name not in _ASCII:
        raise ValueError(f"invalid character class range: {name!r}")
    if not other:
        return _ASCII[name]
    one = re.compile(f"[{_ASCII[name]}]")
    within = (number for number in range(128) if not one.match(chr(number)))
    return _ranges(within) + rf"\x80-{chr(sys.maxunicode)}"


@functools.cache
def _members(name: str, other: bool) -> str:
    """The inside of a class of all characters of a category or a script, or of all others."""
    holds: Callable[[str], bool]
    if name in _CATEGORIES:
        holds = lambda character: unicodedata.category(character).startswith(name)  # noqa: E731
    elif name in _SCRIPTS:
        start = _NAMES.get(name, name.upper()) + " "
        holds = lambda character: unicodedata.name(character, "").startswith(start)  # noqa: E731
    else:
        raise ValueError(f"invalid character class range: {name!r} is unknown to the fake")
    return _ranges(number for number in range(sys.maxunicode + 1) if holds(chr(number)) != other)


def _ranges(numbers: Iterable[int]) -> str:
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return "".join(f"{_spelled(first)}-{_spelled(last)}" for first, last in found)


def _spelled(number: int) -> str:
    return f"\\U{number:08x}"
