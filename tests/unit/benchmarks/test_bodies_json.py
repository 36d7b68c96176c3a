# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The strict reader of JSON, on the interpreter that Envoy has, beside Python's."""

from __future__ import annotations

import json
import pathlib
import random
import typing as t

import pytest
from lupa import luajit21

READER = pathlib.Path(__file__).resolve().parents[2] / "benchmarks/bodies/json.lua"


class RefusedError(Exception):
    """The reader's problem with a text."""


class Reader:
    def __init__(self) -> None:
        self.lua = luajit21.LuaRuntime(encoding=None)
        names = b"function(value) return value == null and 1 or value == judged and 2 or 0 end"
        self.read, self.named = self.lua.execute(READER.read_bytes() + b"\nreturn read, " + names)

    def __call__(self, text: bytes | str) -> t.Any:
        result = self.read(text.encode() if isinstance(text, str) else text)
        if isinstance(result, tuple):
            raise RefusedError(result[1].decode())
        return self.kept(result)

    def kept(self, value: t.Any) -> t.Any:
        if name := self.named(value):
            return None if name == 1 else ...
        if isinstance(value, bytes):
            return value.decode()
        if luajit21.lua_type(value) != "table":
            return value
        if value[0] is not None:
            return [...] * value[0]
        return {name.decode(): self.kept(member) for name, member in value.items()}


@pytest.fixture(scope="module")
def read() -> Reader:
    return Reader()


def expected(value: t.Any, levels: int = 3) -> t.Any:
    """What the reader keeps of a value that Python read."""
    if isinstance(value, dict | list):
        if levels < 2:
            return ...
        return [...] * len(value) if isinstance(value, list) else {name: expected(member, levels - 1) for name, member in value.items()}
    return value if levels > 0 else ...


VALID = [
    *("{}", "[]", "0", "-0", "1.5e-3", "1E400", "-12.25", "true", "false", "null", '""', '"a"', " [ ] ", "\t\r\n{ } \n"),
    '{"model":"gpt-4","stream":true,"stream_options":{"include_usage":true,"more":{"deep":1}},"messages":[{"role":"user","content":"hello"},{}],"n":null}',
    r'{"stre\u0061m":false,"\"\\\/\b\f\n\r\t":"\u00e9\u20ac\ud83d\ude00\u0000\ud7ff\ue000"}',
    '{"é€😀\x7f":"\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff"}',
    '{"a":{"b":{"a":1,"b":2}},"b":[{"a":1},{"a":1}]}',
    "[1,2,3,4,5,6,7,8,9]",
    "[1, 2, 3, 4, 5, 6, 7, 8, 90, 0, -1, 1.5]",
    r'["\n\n\n\n\n\n\n\n\n","a\nb\"c\\d\/e\bf\fg\nh\ri\tj"]',
    r'"\u4f60\u597d\u4f60\u597d\u4f60\u597d\u4f60\u597d\u4f60\ud83d\ude00"',
    '"' + "你好" * 9 + 'é"',
    "[" * 60 + "]" * 60,
]


@pytest.mark.parametrize("text", VALID)
def test_reads_what_is_json(read: Reader, text: str) -> None:
    assert read(text) == expected(json.loads(text))


INVALID = {
    "twice": ['{"a":1,"a":1}', r'{"stream":false,"stre\u0061m":true}', '{"a":null,"a":null}', '{"a":false,"a":false}'],
    "twice below": ['[[{"b":{"a":1,"c":2,"a":3}}]]', r'{"b":{"/":1,"\/":1}}'],
    "names": ["{,}", '{"a":1,}', "{a:1}", '{"a" 1}', '{"a":1 "b":2}', "{1:2}", "{", '{"a"', '{"a":', '{"a":1'],
    "arrays": ["[,]", "[1,]", "[1 2]", "[", "[1", "[1,", "[1,2,3,4,5,6,7,8,]", "[1,2,3,4,5,6,7,08]", "[1,,1]"],
    "numbers": ["01", "-", "+1", ".5", "1.", "1e", "1e+", "0x10", "1_0", "NaN", "Infinity", "-Infinity", "--1", "1.5.5", "00", "-01", "1e1.5"],
    "words": ["tru", "True", "nul", "nulll", "falsy", "", " ", "\ufeff{}", "{}{}", "{} x", "// a\n{}", "\0", "{}\0", "'a'", "\v1", "\xa01"],
    "strings": ['"', '"a', '"\\', '"\\"', '"\n"', '"\0"', '"\x1f"', r'"\a"', r'"\u12"', r'"\u12g4"', r'"\U0041"', '"a\tb"', r'"\n\n\n\n\n\n\n\x"', r'"\u"'],
    "surrogates": [r'"\ud83d"', r'"\ude00"', r'"\ud83d\n"', r'"\ud83d\u0041"', r'"\ud83d\ud83d"', r'"\ude00\ud83d"', r'"\udfff"'],
    "deep": ["[" * 61 + "]" * 61, '{"a":' * 61 + "1" + "}" * 61, "[" * 300000, '{"a":' * 60000],
    "much": ["[" + "[]," * 100000 + "[]]", "[" + "1," * 800000 + "1]", '{"' + "a" * 1001 + '":1}'],
}


@pytest.mark.parametrize("text", [text for texts in INVALID.values() for text in texts], ids=lambda text: ascii(text[:24]))
def test_refuses_what_is_not(read: Reader, text: str) -> None:
    with pytest.raises(RefusedError):
        read(text)


NOT_UTF8 = [
    *("80", "bf", "c0af", "c1bf", "c2", "c241", "e0809f", "e09fbf", "eda080", "edbfbf", "e282", "e28241"),
    *("f08fbfbf", "f4908080", "f5808080", "ff", "f0908041", "f09f98"),
]


@pytest.mark.parametrize("bad", NOT_UTF8)
@pytest.mark.parametrize("around", [b'"%b"', '"你好你好你好你好%b"'.replace("%b", "\0").encode().replace(b"\0", b"%b"), b'{"%b":1}'])
def test_refuses_what_is_not_utf8(read: Reader, bad: str, around: bytes) -> None:
    with pytest.raises(RefusedError):
        read(around % bytes.fromhex(bad))


def test_every_byte_of_a_string_is_judged(read: Reader) -> None:
    refused = []
    for value in range(256):
        try:
            assert read(b'"a%cx"' % value) == f"a{value:c}x"
        except RefusedError:
            refused.append(value)
    assert refused == [*range(32), ord('"'), ord("\\"), *range(128, 256)]


def test_says_where_and_what(read: Reader) -> None:
    with pytest.raises(RefusedError, match="an object with stream twice"):
        read(r'{"stream":false,"stre\u0061m":true}')
    with pytest.raises(RefusedError, match="no comma between an object's members at byte 8"):
        read('{"a":1 "b":2}')


def test_long_strings_are_judged_and_not_kept(read: Reader) -> None:
    assert read(json.dumps({"a": "b" * 998, "c": "d" * 1001, "e": [1, "f"]})) == {"a": "b" * 998, "c": ..., "e": [..., ...]}


def no_name_twice(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError
    return dict(pairs)


def accepted(text: bytes) -> bool:
    """Whether Python reads a text as strictly."""

    def refused(constant: str) -> t.Any:
        raise ValueError(constant)

    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=no_name_twice, parse_constant=refused)
        json.dumps(value, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def test_agrees_with_python_about_damaged_texts(read: Reader) -> None:
    """A few bytes of valid texts are changed, removed or doubled."""
    chance = random.Random(1)  # noqa: S311
    texts = [text.encode() for text in VALID[:-1]]
    seen = {True: 0, False: 0}
    for _ in range(20000):
        text = bytearray(chance.choice(texts))
        for _ in range(chance.randint(1, 3)):
            where = chance.randrange(len(text) + 1)
            width = chance.choice([0, 1, 1, 2, 6])
            other = chance.choice(b'{}[]",:\\u0123e.-truefalsn \n\0\x80\xc3\xe4\xf0')
            text[where : where + width] = chance.choice([b"", text[where : where + width] * 2, bytes([other])])
        judgement = True
        try:
            read(bytes(text))
        except RefusedError:
            judgement = False
        assert judgement == accepted(bytes(text)), bytes(text)
        seen[judgement] += 1
    assert min(seen.values()) > 1000
