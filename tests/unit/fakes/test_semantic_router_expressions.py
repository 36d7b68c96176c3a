# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The regular expressions that the catalogue and the fake of the router take are those that Go takes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.expressions import (
    LIMIT,
    UNICODE_CLASSES,
    ExpressionError,
    check_expression,
)
from contracts import FAKES
from go_expressions import ACCEPTED, GO, REFUSED, TEXTS, generated, matches

sys.path.append(str(FAKES / "semantic_router"))
from router_expressions import compiled

#: What only newer releases of Go take.
NEWER = [r"\p{Letter}", r"\p{lu}", r"\p{LC}", r"\p{Cn}", r"\p{Assigned}"]


def checked(expression: str) -> None:
    check_expression(expression)


def translated(expression: str) -> None:
    compiled(expression, case_sensitive=True)


both = pytest.mark.parametrize("take", [checked, translated])


def takes(take: Callable[[str], None], expression: str) -> bool:
    try:
        take(expression)
    except ValueError:
        return False
    return True


@both
@pytest.mark.parametrize("expression", REFUSED + NEWER)
def test_refused(take: Callable[[str], None], expression: str) -> None:
    assert not takes(take, expression)


@both
@pytest.mark.parametrize("expression", ACCEPTED)
def test_accepted(take: Callable[[str], None], expression: str) -> None:
    if take is translated and expression in ("^*", r"\b+", "a(?i)*", r"a*\Q\E*"):
        pytest.skip("Python has no such repetition")
    take(expression)


@pytest.mark.skipif(not GO, reason="there is no Go")
def test_go_takes_the_same(tmp_path: Path) -> None:
    expressions = [*REFUSED, *ACCEPTED, *generated(4000)]
    found = matches(tmp_path, expressions)
    by_go = {expression: counts is not None for expression, counts in zip(expressions, found)}
    assert [by_go[expression] for expression in REFUSED] == [False] * len(REFUSED)
    assert [by_go[expression] for expression in ACCEPTED] == [True] * len(ACCEPTED)
    assert None not in matches(tmp_path, [rf"\p{{{name}}}" for name in UNICODE_CLASSES])
    assert sum(by_go.values()) > 500
    assert [one for one in expressions if takes(checked, one) != by_go[one]] == []


@pytest.mark.skipif(not GO, reason="there is no Go")
def test_the_fake_finds_what_go_finds(tmp_path: Path) -> None:
    expressions = [*REFUSED, *ACCEPTED, *generated(1500)]
    wrong = []
    for expression, counts in zip(expressions, matches(tmp_path, expressions, TEXTS)):
        if not takes(translated, expression):
            continue
        found = compiled(expression, case_sensitive=True)
        # Python finds an empty string behind each match too.
        if counts is None or [bool(found.search(text)) for text in TEXTS] != [count > 0 for count in counts]:
            wrong.append(expression)
    assert wrong == []


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("a**", 'repeats a repetition at "*"'),
        ("+", 'has nothing for "+" to repeat'),
        ("a{1001}", 'repeats from 1001 to 1001 times in "{1001}": 1000 are the most'),
        ("(a{9}){999}", 'repeats more than 1000 times with "{999}" and those inside of it'),
        ("(a", "lacks a closing parenthesis"),
        ("a)", "has a closing parenthesis too many"),
        ("a(?=b)", 'has "(?=b)", and Go knows no such group or flag'),
        ("(?P<a b>c)", 'names a group "a b": letters, digits and _ make a name'),
        (r"foo\Z", r'has "\Z", and Go knows no such escape'),
        (r"\p{Klingon}", r"has \p{Klingon}, which is no category or script that every release of Go knows"),
        ("[[:foo:]]", "has [:foo:], and Go knows no such class"),
        ("[ab", 'lacks the closing bracket of "[ab"'),
        ("[b-a]", 'has a range that ends before it begins in "[b-a]"'),
        ("a" * (LIMIT + 1), "has 513 characters, and 512 are the most"),
        ("\ud800", "has half of a character"),
    ],
)
def test_what_is_wrong_is_said(expression: str, problem: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        check_expression(expression)
    assert str(caught.value) == problem


def test_no_expression_within_the_limit_is_too_large_or_too_deep(tmp_path: Path) -> None:
    half = LIMIT // 2
    expressions = ["(" * half + ")" * half, "(" * (half - 5) + "a{1000}" + ")" * (half - 5), r"\pL" * (LIMIT // 3)]
    expressions += ["a|" * half, "(?:" + "[a-z]*|" * 70 + "){1000}", "a{1000}" * (LIMIT // 7)]
    for expression in expressions:
        check_expression(expression)
    if GO:
        assert None not in matches(tmp_path, expressions)
