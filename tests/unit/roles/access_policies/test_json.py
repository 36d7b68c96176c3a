# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The strict reader of JSON, and the readers of compressed words and identities, beside Python's own."""

from __future__ import annotations

import gzip
import json
import os
import random
import typing as t
import zlib

import pytest
from proxies import part

ACCEPTED = [
    b"{}",
    b"[]",
    b' {"a" : 1 , "b" : [ 1 , -2.5e3 , { "c" : null } ] , "d" : true , "e" : false } \r\n\t',
    b'{"a": "\\u00e9\\ud83d\\ude00\\n\\"\\\\\\/\\b\\f\\r\\t\x7f"}',
    b"-0",
    b"0.5e+7",
    '{"é": "你好 😀"}'.encode(),
    b'{"a": {"same": 1}, "b": {"same": 1}}',
    b'{"a": [{"same": 1}, {"same": 1}]}',
    b'{"model": "gpt-4", "Model": 1}',
    b"[" * 63 + b"]" * 63,
]
REFUSED = {
    b"": "a number is none of JSON's at byte 1",
    b"{": "a key is missing at byte 2",
    b'{"a":1,}': "a key is missing at byte 8",
    b"[1,]": "a number is none of JSON's at byte 4",
    b"01": "a number is none of JSON's at byte 1",
    b"-": "a number is none of JSON's at byte 2",
    b"1.": "a number is none of JSON's at byte 3",
    b"1e": "a number is none of JSON's at byte 3",
    b"NaN": "a number is none of JSON's at byte 1",
    b"Infinity": "a number is none of JSON's at byte 1",
    b"tru": "a word is none of JSON's at byte 1",
    b'{"a":1,"a":2}': "a key stands twice in one object at byte 11",
    b'{"stream":1,"stre\\u0061m":2}': "a key stands twice in one object at byte 26",
    b'{"a":{"b":[{"c":1,"c":null}]}}': "a key stands twice in one object at byte 22",
    b'"\xff"': "it is not UTF-8 at byte 2",
    b'"\xc0\x80"': "it is not UTF-8 at byte 2",
    b'"\xed\xa0\x80"': "it is not UTF-8 at byte 2",
    b'"\xf4\x90\x80\x80"': "it is not UTF-8 at byte 2",
    b'"\xe4\xbd': "it is not UTF-8 at byte 2",
    b'"\\ud800"': "an escape is half of a character at byte 2",
    b'"\\udc00\\ud800"': "an escape is half of a character at byte 2",
    b'"\\u12"': "an escape is not four hexadecimal digits at byte 4",
    b'"\\x41"': "an escape is none of JSON's at byte 2",
    b'"a\nb"': "a string has a control character at byte 3",
    b'"\x00"': "a string has a control character at byte 2",
    b'"abc': "a string has no end at byte 2",
    b'{"a":1} {}': "something follows the value at byte 9",
    b"\xef\xbb\xbf{}": "a number is none of JSON's at byte 1",
    b"{'a':1}": "a key is missing at byte 2",
    b"[1 2]": "a comma is missing at byte 4",
    b'{"a" 1}': "a colon is missing at byte 6",
    b"[" * 65: "it is nested too deeply at byte 65",
    b"[" + b"1," * 500_000 + b"1]": "there are too many values at byte 1000000",
    b"[{"
    + b",".join(b'"\\u0061%d":1' % number for number in range(1001))
    + b"}]": "there are too many names with escapes at byte 13893",
    b"{"
    + b",".join(b'"%d":1' % number for number in range(1001))
    + b"}": "the outermost object has too many names at byte 7892",
    b"[" + b"[]," * 4000 + b"[]]": "there are too many objects and arrays for its size at byte 10499",
}


VALID = [
    *(
        "{}",
        "[]",
        "0",
        "-0",
        "1.5e-3",
        "1E400",
        "-12.25",
        "true",
        "false",
        "null",
        '""',
        '"a"',
        " [ ] ",
        "\t\r\n{ } \n",
    ),
    '{"model":"gpt-4","stream":true,"stream_options":{"include_usage":true,"more":{"deep":1}},'
    '"messages":[{"role":"user","content":"hello"},{}],"n":null}',
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
INVALID = {
    "twice": ['{"a":1,"a":1}', r'{"stream":false,"stre\u0061m":true}', '{"a":null,"a":null}', '{"a":false,"a":false}'],
    "twice below": ['[[{"b":{"a":1,"c":2,"a":3}}]]', r'{"b":{"/":1,"\/":1}}'],
    "names": ["{,}", '{"a":1,}', "{a:1}", '{"a" 1}', '{"a":1 "b":2}', "{1:2}", "{", '{"a"', '{"a":', '{"a":1'],
    "arrays": ["[,]", "[1,]", "[1 2]", "[", "[1", "[1,", "[1,2,3,4,5,6,7,8,]", "[1,2,3,4,5,6,7,08]", "[1,,1]"],
    "numbers": [
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x10",
        "1_0",
        "NaN",
        "Infinity",
        "-Infinity",
        "--1",
        "1.5.5",
        "00",
        "-01",
        "1e1.5",
    ],
    "words": [
        "tru",
        "True",
        "nul",
        "nulll",
        "falsy",
        "",
        " ",
        "\ufeff{}",
        "{}{}",
        "{} x",
        "// a\n{}",
        "\0",
        "{}\0",
        "'a'",
        "\v1",
        "\xa01",
    ],
    "strings": [
        '"',
        '"a',
        '"\\',
        '"\\"',
        '"\n"',
        '"\0"',
        '"\x1f"',
        r'"\a"',
        r'"\u12"',
        r'"\u12g4"',
        r'"\U0041"',
        '"a\tb"',
        r'"\n\n\n\n\n\n\n\x"',
        r'"\u"',
    ],
    "surrogates": [
        r'"\ud83d"',
        r'"\ude00"',
        r'"\ud83d\n"',
        r'"\ud83d\u0041"',
        r'"\ud83d\ud83d"',
        r'"\ude00\ud83d"',
        r'"\udfff"',
    ],
}
NOT_UTF8 = [
    *("80", "bf", "c0af", "c1bf", "c2", "c241", "e0809f", "e09fbf", "eda080", "edbfbf", "e282", "e28241"),
    *("f08fbfbf", "f4908080", "f5808080", "ff", "f0908041", "f09f98"),
]


@pytest.fixture(scope="module")
def reader() -> t.Any:
    return part("json.lua", "json")


def read(reader: t.Any, text: bytes) -> tuple[t.Any, t.Any]:
    found = reader["read"](text.decode("latin-1"))
    return found if isinstance(found, tuple) else (found, None)


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_is_json(reader: t.Any, text: bytes) -> None:
    json.loads(text)
    assert read(reader, text)[0] is not None


@pytest.mark.parametrize(("text", "problem"), REFUSED.items(), ids=range(len(REFUSED)))
def test_what_is_not(reader: t.Any, text: bytes, problem: str) -> None:
    assert read(reader, text) == (None, problem)


@pytest.mark.parametrize("text", VALID)
def test_texts_of_every_kind(reader: t.Any, text: str) -> None:
    json.loads(text)
    assert read(reader, text.encode())[0] is not None


@pytest.mark.parametrize(
    "text", [text for texts in INVALID.values() for text in texts], ids=lambda text: ascii(text[:24])
)
def test_faults_of_every_kind(reader: t.Any, text: str) -> None:
    assert read(reader, text.encode())[0] is None


@pytest.mark.parametrize("digits", NOT_UTF8)
@pytest.mark.parametrize("around", [b'"%b"', b'"\xe4\xbd\xa0%b"', b'{"%b":1}'])
def test_what_is_not_utf8(reader: t.Any, digits: str, around: bytes) -> None:
    assert read(reader, around % bytes.fromhex(digits))[1].startswith("it is not UTF-8")


LARGE = {
    "numbers of tokens": "[" + "100000," * 100_000 + "1]",
    "a string in escapes": '"' + "\\u4f60" * 50_000 + '"',
    "source code": '"' + "if x:\\n" * 50_000 + '"',
    "short lists of tokens": "[" + "[1]," * 2048 + "[]]",
    "short messages": '{"messages":[' + '{"role":"user","content":"a"},' * 50_000 + "{}]}",
    "rows whose names have escapes": "[" + '{"\\u0438\\u043c\\u044f":1,"\\"":2},' * 50_000 + "{}]",
}


@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
def test_large_honest_texts_are_read(reader: t.Any, text: str) -> None:
    value, problem = read(reader, text.encode())
    assert value is not None, problem


def test_names_with_escapes_are_what_they_stand_for(reader: t.Any) -> None:
    value, _ = read(reader, rb'[{"\u0061\"": 1, "b\n": "c\n"}, {"\u0061\"": 2, "b": [{"\\": 3}], "c": {}}]')
    assert dict(value[1].items()) == {'a"': 1, "b\n": "c\n"}
    assert value[2]['a"'] == 2
    assert value[2]["b"][1]["\\"] == 3


def test_escapes_stay_where_nobody_asks_for_the_text(reader: t.Any) -> None:
    value, _ = read(reader, rb'{"a": "\n", "b": {"c": "\n", "d": {"e": "\n"}}, "f": ["\n"]}')
    assert (value["a"], value["b"]["c"], value["b"]["d"]["e"], value["f"][1]) == ("\n", "\n", "\\n", "\\n")


def test_numbers_in_arrays(reader: t.Any) -> None:
    value, _ = read(reader, b'[1,-2.5, 3e2 ,4 , "five",6,\n7,[8],{"nine": 9},10]')
    assert [value[place] for place in (1, 2, 3, 4, 5, 6, 7, 10)] == [1, -2.5, 300, 4, "five", 6, 7, 10]
    assert (value[8][1], value[9]["nine"]) == (8, 9)


def test_arrays_are_told_from_objects(reader: t.Any) -> None:
    value, _ = read(reader, b'{"empty": [], "one": [1], "object": {}, "zero": {"0": true}, "null": null}')
    assert {name for name in value if reader["is_array"](value[name])} == {"empty", "one"}
    assert {name for name in value if reader["is_object"](value[name])} == {"object", "zero"}
    assert [len(value[name]) for name in ("empty", "one")] == [0, 1]


def test_values_and_their_places(reader: t.Any) -> None:
    text = b'{"model": "g\\u0070t", "n":  -12.5e1 , "deep": {"of": "a\\nb"}, "none": null}'
    value, spans = read(reader, text)
    assert (value["model"], value["n"], value["deep"]["of"]) == ("gpt", -125, "a\nb")
    assert str(value["none"]) == str(reader["null"])
    assert {name: text[span[1] - 1 : span[2]] for name, span in spans.items()} == {
        "model": b'"g\\u0070t"',
        "n": b"-12.5e1",
        "deep": b'{"of": "a\\nb"}',
        "none": b"null",
    }


def test_it_agrees_with_python_about_damaged_texts(reader: t.Any) -> None:
    """But for what is stricter here: a key twice, half a character, and numbers that are none of JSON's."""
    generator = random.Random(11)  # noqa: S311
    text = (
        b'{"model": "gpt-4", "messages": [{"role": "user", "content": "\\u00e9 \xc3\xa9"}], '
        b'"n": 1, "stream": true, "stop": null, "t": 0.5}'
    )

    def parsed(damaged: bytes) -> bool:
        def refuse(_name: str) -> t.NoReturn:
            raise ValueError

        def once(pairs: list[tuple[str, t.Any]]) -> dict[str, t.Any]:
            if len(dict(pairs)) < len(pairs):
                raise ValueError
            return dict(pairs)

        try:
            json.loads(damaged.decode("utf-8"), parse_constant=refuse, object_pairs_hook=once)
        except ValueError:
            return False
        return "\\ud8" not in damaged.decode() and not damaged.startswith(b"\xef\xbb\xbf")

    differing = []
    for _number in range(3000):
        damaged = bytearray(text)
        for _change in range(generator.randint(1, 3)):
            place = generator.randrange(len(damaged))
            damaged[place : place + generator.randint(0, 2)] = generator.choice(
                [b"", b'"', b"\\", b"{", b"}", b",", b"0", b"\xff", b"\x01", b" ", b"e"]
            )
        if parsed(bytes(damaged)) != (read(reader, bytes(damaged))[0] is not None):
            differing.append(bytes(damaged))
    assert not differing


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (b"plain", "plain"),
        (b'a "quote" \\ and\nlines\t\x00\x1f\x7f', 'a "quote" \\ and\nlines\t\x00\x1f\x7f'),
        ("你好 …".encode(), "你好 …"),
        (b"half \xe4\xbd and \xff more", "half \ufffd\ufffd and \ufffd more"),
    ],
)
def test_quoted_texts_are_json(reader: t.Any, words: bytes, told: str) -> None:
    assert json.loads(reader["quoted"](words.decode("latin-1")).encode("latin-1")) == told


def test_compressed_words_are_read() -> None:
    inflate = part("inflate.lua", "inflate")
    generator = random.Random(7)  # noqa: S311
    for number in range(60):
        text = generator.choice(
            [
                os.urandom(number * 40),
                b"<html>" + b"too many requests " * number,
                bytes(generator.choices(b"abcd \n", k=number * 90)),
            ]
        )
        deflate = zlib.compressobj(
            number % 10,
            zlib.DEFLATED,
            -15,
            strategy=generator.choice([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY]),
        )
        for packed in (
            gzip.compress(text, number % 10, mtime=0),
            zlib.compress(text, number % 10),
            deflate.compress(text) + deflate.flush(),
        ):
            assert inflate(packed.decode("latin-1"), 10_000).encode("latin-1") == text[:10_000]
            assert len(inflate(packed.decode("latin-1"), 50)) == min(50, len(text))
    assert len(inflate(gzip.compress(b"\0" * 10_000_000).decode("latin-1"), 4096)) == 4096
    assert inflate("\x1f\x8b\x08\x00 no such thing", 4096) is None
