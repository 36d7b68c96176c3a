# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a regular expression is one to the semantic router, which compiles it with Go's package ``regexp``.

What only some releases of Go take is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: The most characters. No shorter expression is too large or nested too deep for Go.
LIMIT = 512
#: The most copies that repetitions make of what is inside of them.
_COPIES = 1000

_REPETITION = re.compile(r"(?:[*+?]|\{(?P<least>0|[1-9][0-9]*)(?P<range>,(?P<most>0|[1-9][0-9]*)?)?\})\??")
_NAMED = re.compile(r"\(\?P?<(?P<name>[^>]*)>")
_FLAGS = re.compile(r"\(\?(?:[imsU]*|[imsU]*-[imsU]+)(?P<end>[:)])")
#: Of one character. Octal digits are one only with a 0 before or a second one behind them: ``\1`` would look back.
_ESCAPE = re.compile(
    r"\\(?:[afnrtv]|[\x00-/:-@\[-`{-\x7f]|0[0-7]{0,2}|[1-7][0-7]{1,2}"
    r"|x[0-9A-Fa-f]{2}|x\{0*(?:10[0-9A-Fa-f]{4}|[0-9A-Fa-f]{1,5})\})",
)
_ESCAPED_CLASS = re.compile(r"\\[dDsSwW]")
_UNICODE_CLASS = re.compile(r"\\[pP](?:\{\^?(?P<long>[^}]*)\}|(?P<short>[^{]))")
_NAMED_CLASS = re.compile(r"\[:\^?(?P<name>.*?):\]", re.DOTALL)
_ASCII_CLASSES = (
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
    "word", "xdigit",
)  # fmt: skip
_CONTROLS = {"a": 7, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11}
#: Categories of Unicode and scripts, as all releases of Go spell them. Of the scripts these are those of one word.
UNICODE_CLASSES = frozenset((
    "Any", "C", "Cc", "Cf", "Co", "Cs", "L", "Ll", "Lm", "Lo", "Lt", "Lu", "M", "Mc", "Me", "Mn", "N", "Nd", "Nl",
    "No", "P", "Pc", "Pd", "Pe", "Pf", "Pi", "Po", "Ps", "S", "Sc", "Sk", "Sm", "So", "Z", "Zl", "Zp", "Zs",
    "Adlam", "Ahom", "Arabic", "Armenian", "Avestan", "Balinese", "Bamum", "Batak", "Bengali", "Bhaiksuki",
    "Bopomofo", "Brahmi", "Braille", "Buginese", "Buhid", "Carian", "Chakma", "Cham", "Cherokee", "Common",
    "Coptic", "Cuneiform", "Cypriot", "Cyrillic", "Deseret", "Devanagari", "Dogra", "Duployan", "Elbasan",
    "Ethiopic", "Georgian", "Glagolitic", "Gothic", "Grantha", "Greek", "Gujarati", "Gurmukhi", "Han", "Hangul",
    "Hanunoo", "Hatran", "Hebrew", "Hiragana", "Inherited", "Javanese", "Kaithi", "Kannada", "Katakana",
    "Kharoshthi", "Khmer", "Khojki", "Khudawadi", "Lao", "Latin", "Lepcha", "Limbu", "Lisu", "Lycian", "Lydian",
    "Mahajani", "Makasar", "Malayalam", "Mandaic", "Manichaean", "Marchen", "Medefaidrin", "Miao", "Modi",
    "Mongolian", "Mro", "Multani", "Myanmar", "Nabataean", "Newa", "Nko", "Nushu", "Ogham", "Oriya", "Osage",
    "Osmanya", "Palmyrene", "Phoenician", "Rejang", "Runic", "Samaritan", "Saurashtra", "Sharada", "Shavian",
    "Siddham", "Sinhala", "Sogdian", "Soyombo", "Sundanese", "Syriac", "Tagalog", "Tagbanwa", "Takri", "Tamil",
    "Tangut", "Telugu", "Thaana", "Thai", "Tibetan", "Tifinagh", "Tirhuta", "Ugaritic", "Vai", "Yi",
))  # fmt: skip


class ExpressionError(ValueError):
    """What is wrong with an expression, as a clause."""


@dataclass
class _Group:
    """What has been read of a group: whether something can be repeated, and how often repetitions copy it."""

    repeatable: bool = False
    #: Of what was read last.
    copies: int = 1
    #: The most of all that the group has.
    most: int = 1

    def add(self, copies: int = 1) -> None:
        self.repeatable, self.copies, self.most = True, copies, max(self.most, copies)


def check_expression(expression: str) -> None:
    """Raise ExpressionError where the router would refuse the expression."""
    if len(expression) > LIMIT:
        raise ExpressionError(f"has {len(expression)} characters, and {LIMIT} are the most")
    if not expression.isprintable() and re.search(r"[\ud800-\udfff]", expression):
        raise ExpressionError("has half of a character")
    groups = [_Group()]
    place, repeated = 0, False
    while place < len(expression):
        repetition = _REPETITION.match(expression, place)
        if repetition:
            if repeated:
                raise ExpressionError(f"repeats a repetition at {_shown(expression, place)}")
            _repeat(groups[-1], repetition)
            place = repetition.end()
        else:
            place = _one(expression, place, groups)
        repeated = repetition is not None
    if len(groups) > 1:
        raise ExpressionError("lacks a closing parenthesis")


def _shown(expression: str, place: int) -> str:
    return f'"{expression[place : place + 12]}"'


def _repeat(group: _Group, repetition: re.Match[str]) -> None:
    if not group.repeatable:
        raise ExpressionError(f'has nothing for "{repetition[0]}" to repeat')
    if repetition["least"] is None:
        return
    least = int(repetition["least"])
    most = int(repetition["most"] or least) if not repetition["range"] or repetition["most"] else None
    if max(least, most or 0) > _COPIES or (most is not None and most < least):
        raise ExpressionError(f'repeats from {least} to {most} times in "{repetition[0]}": {_COPIES} are the most')
    copies = 1 if most == 0 else group.copies * max(1, least if most is None else most)
    if copies > _COPIES:
        raise ExpressionError(f'repeats more than {_COPIES} times with "{repetition[0]}" and those inside of it')
    group.add(copies)


def _one(expression: str, place: int, groups: list[_Group]) -> int:
    """Read what is at this place and no repetition. Returns the place after it."""
    character = expression[place]
    if character == "(":
        return _opened(expression, place, groups)
    if character == ")":
        if len(groups) == 1:
            raise ExpressionError("has a closing parenthesis too many")
        copies = groups.pop().most
        groups[-1].add(copies)
        return place + 1
    if character == "|":
        groups[-1].repeatable = False
        return place + 1
    if expression.startswith(r"\Q", place):
        return _quoted(expression, place, groups[-1])
    if character == "[":
        place = _class(expression, place)
    elif expression[place : place + 2] in (r"\A", r"\b", r"\B", r"\z"):
        place += 2
    elif character == "\\":
        place = _escaped(expression, place) or _character(expression, place)[1]
    else:
        place += 1
    groups[-1].add()
    return place


def _opened(expression: str, place: int, groups: list[_Group]) -> int:
    if not expression.startswith("(?", place):
        groups.append(_Group())
        return place + 1
    named = _NAMED.match(expression, place)
    if named:
        if not re.fullmatch(r"[A-Za-z0-9_]+", named["name"]):
            raise ExpressionError(f'names a group "{named["name"]}": letters, digits and _ make a name')
        groups.append(_Group())
        return named.end()
    flags = _FLAGS.match(expression, place)
    if not flags:
        raise ExpressionError(f"has {_shown(expression, place)}, and Go knows no such group or flag")
    if flags["end"] == ":":
        groups.append(_Group())
    return flags.end()


def _quoted(expression: str, place: int, group: _Group) -> int:
    end = expression.find(r"\E", place + 2)
    if (end if end >= 0 else len(expression)) > place + 2:
        group.add()
    return end + 2 if end >= 0 else len(expression)


def _escaped(expression: str, place: int) -> int:
    """The place after an escape that stands for a class of characters; 0 where there is none."""
    found = _ESCAPED_CLASS.match(expression, place)
    if found:
        return found.end()
    if expression[place : place + 2] not in (r"\p", r"\P"):
        return 0
    found = _UNICODE_CLASS.match(expression, place)
    if not found or (found["long"] or found["short"] or "") not in UNICODE_CLASSES:
        shown = found[0] if found else _shown(expression, place)
        raise ExpressionError(f"has {shown}, which is no category or script that every release of Go knows")
    return found.end()


def _character(expression: str, place: int) -> tuple[int, int]:
    """The number of a character, which may be escaped, and the place after it."""
    if expression[place] != "\\":
        return ord(expression[place]), place + 1
    found = _ESCAPE.match(expression, place)
    if not found:
        raise ExpressionError(f"has {_shown(expression, place)}, and Go knows no such escape")
    escape = found[0][1:]
    if escape in _CONTROLS:
        number = _CONTROLS[escape]
    elif escape[0] == "x":
        number = int(escape[1:].strip("{}"), 16)
    elif escape[0].isdigit():
        number = int(escape, 8)
    else:
        number = ord(escape)
    return number, found.end()


def _class(expression: str, place: int) -> int:
    """The place after a class in brackets."""
    start = place
    place += 2 if expression.startswith("[^", place) else 1
    first = place
    while place == first or not expression.startswith("]", place):
        named = _NAMED_CLASS.match(expression, place)
        if named:
            if named["name"] not in _ASCII_CLASSES:
                raise ExpressionError(f"has {named[0]}, and Go knows no such class")
            place = named.end()
            continue
        if place >= len(expression):
            raise ExpressionError(f"lacks the closing bracket of {_shown(expression, start)}")
        after = _escaped(expression, place)
        if after:
            place = after
            continue
        low, place = _character(expression, place)
        if expression.startswith("-", place) and expression[place + 1 : place + 2] not in ("", "]"):
            high, place = _character(expression, place + 1)
            if high < low:
                raise ExpressionError(f"has a range that ends before it begins in {_shown(expression, start)}")
    return place + 1
