# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Go's package ``regexp`` makes of regular expressions."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PROGRAM = r"""
package main

import (
	"encoding/json"
	"os"
	"regexp"
)

func main() {
	var asked struct{ Expressions, Bodies []string }
	if err := json.NewDecoder(os.Stdin).Decode(&asked); err != nil {
		panic(err)
	}
	found := make([][]int, len(asked.Expressions))
	for index, expression := range asked.Expressions {
		compiled, err := regexp.Compile(expression)
		if err != nil {
			continue
		}
		found[index] = []int{}
		for _, body := range asked.Bodies {
			found[index] = append(found[index], len(compiled.FindAllStringIndex(body, -1)))
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		panic(err)
	}
}
"""
GO = shutil.which("go")

REFUSED = [
    r"foo\Z", "(?x)a", "(?a)w", "(?u:x)", "(?#n)a", "a{1001}", r"\u4e00", r"\N{BULLET}", "\\é", "a(?=b)", "a(?!b)",
    "(?<=a)b", "(?<!a)b", r"(a)\1", "(?P<n>a)(?P=n)", "a++", "a*+", "a?+", "a{2}+", "(?>a)", "a**", "a*{2}", "a???",
    "(a", "a)", "[a", "[]", "[^]", "[b-a]", "[[:foo:]]", "[[::]]", "*a", "(|*)", "(?i)*", "{2}", "a|*", "a{2,1}",
    "(a{500}){3}", "((a{10}){11}){10}", "(a{2}b|c{600}){2}", r"\p{Klingon}", r"\pX", r"\p{Han", r"\p", r"\C",
    r"[\A]", r"[\b]", r"[\Q]\E]", r"[\z]", r"[a-\d]", "a\\", "[\\", r"\8", r"\9a", r"\xg1", r"\x{110000}", r"\x{}",
    "(?P<>a)", "(?P<a b>a)", "(?<n", "(?'n'a)", "(?-)a", "(?i-)a", "(?L)a", "(?|a)", r"\G", r"\K",
    r"\R", r"\h", r"\_a\y",
]  # fmt: skip
ACCEPTED = [
    r"\p{Han}+", r"\Qa.b\E", r"\Qa.b", r"a\z", r"\Aa", "(?<name>a)", "(?P<name>a)", "(?P<1>a)(?P<1>b)",
    "(?i)x", "(?U)a+",
    "[[:alpha:]]", "[[:^digit:]x]", r"\x{4e00}", r"\x41", r"\101", r"\07", r"\012", r"\12", r"\d{4,}",
    "[*+]+x", r"a\++",
    r"\(?=x", "a{,5}", "a{", "a{x}", "{", "}", "]", "a{01}", "a{0,1000}", "(a{2}){500}", "(a{500}){0}", "(a*){1000}",
    "a*?", "a{2}?", "(?:a|b)*", "()", "(|a)", "a||b", "^*", r"\b+", "(?i:A)b", "a(?i)b|C", "(?s-i:.)",
    "(?)", "a(?i)*",
    r"a*\Q\E*", "[]a]", "[^]a]", "[a-]", "[-a]", r"[\d-x]", r"[\pL\p{Greek}]", r"\p{^Greek}", r"\PL",
    r"[^\D]", r"[\]\-]",
    r"\_", "é", r"\a\f\n\r\t\v", r"[\x{4e00}-\x{9fff}]", r"(?m)^b", "(?U)a+?", "a.c", r"\w+\s\W", r"\B1", r"(?:)*",
    "[[:word:]]", "[[a]", "[[:a]",
]  # fmt: skip
TEXTS = ["", "a", "A b", "aab\nb", "AAA", "Qa.bE 1", "x{,5} a{,5}", "天气 αβ é", "a\vb\t c", "12-x]_", "\n", "foo\n"]
_PIECES = [
    "a", "b", "é", "天", ".", "^", "|", "(", "(", ")", ")", "(?:", "(?i)", "(?i:", "(?P<n>", "(?<n>",
    "(?U)", "(?s-i:", "(?=",
    "*", "+", "?", "??", "{2}", "{2,}", "{,2}", "{30,40}", "{1000}", "{1001}", "[", "]", "[^", "-", "[a-c]", "[b-a]",
    r"\d", r"\W", r"\s", r"\b", r"\B", r"\A", r"\z", r"\Z", r"\Q", r"\E", r"\1", r"\12", r"\0", r"\x41",
    r"\x{3b1}", r"\x",
    r"\p{Greek}", r"\PL", r"\p", r"\-", r"\]", r"\u", "[:alpha:]", "[[:^upper:]]", "[:", ":]", "\\", "_", "1",
]  # fmt: skip


def generated(count: int) -> list[str]:
    """Expressions of random pieces, the same ones each time; most are wrong."""
    chance = random.Random(20)  # noqa: S311 (no secret)
    return ["".join(chance.choices(_PIECES, k=chance.randint(1, 7))) for _number in range(count)]


def matches(directory: Path, expressions: Sequence[str], bodies: Sequence[str] = ()) -> list[list[int] | None]:
    """How often each expression is in each body, by Go; None for an expression that it refuses."""
    program = directory / "expressions.go"
    program.write_text(PROGRAM, encoding="utf-8")
    asked = json.dumps({"Expressions": expressions, "Bodies": bodies})
    done = subprocess.run(
        [str(GO), "run", str(program)],
        input=asked.encode(),
        capture_output=True,
        check=True,
        timeout=120,
        env={**os.environ, "GO111MODULE": "off", "GOTOOLCHAIN": "local"},
    )
    found: list[list[int] | None] = json.loads(done.stdout)
    return found
