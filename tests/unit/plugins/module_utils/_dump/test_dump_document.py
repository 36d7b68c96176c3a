# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file is read again as what it was made of, and templates only where they are meant."""

from __future__ import annotations

import random
import typing as t

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import is_trusted_as_template
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.document import (
    Expression,
    Note,
    document,
    one_line,
)

STRINGS = (
    *(
        "{{ x }}",
        "{% x %}",
        "{# x #}",
        "{{ x\n}}",
        "}}",
        "{ {",
        "!unsafe x",
        "&x",
        "*x",
        "~",
        "",
        " ",
        " x ",
        "-",
        "- a",
    ),
    *(
        "yes",
        "No",
        "on",
        "null",
        "1",
        "1e3",
        "0x1f",
        "1_000",
        "2024-10-21",
        "12:30:45",
        ".inf",
        "=",
        "<<",
        "key: value",
    ),
    *("a\nb\n", "a\n\n b", "\ttab", "# x", "a # b", "a: b", "'", '"', "\\", "ä", "日本", "\u202e", "\x07", "x" * 300),
)
SCALARS = (*STRINGS, None, True, False, 0, -1, 10**20, 0.1, 2.5, 1e-9, 1e22)


def made(chance: random.Random, depth: int = 3) -> t.Any:
    """A value that YAML can hold."""
    kind = chance.randrange(4) if depth else 0
    if kind == 2:
        return [made(chance, depth - 1) for _number in range(chance.randrange(4))]
    if kind == 3:
        return {chance.choice(["a", "b-c", "x.y", "yes", "1"]): made(chance, depth - 1) for _number in range(3)}
    return chance.choice(SCALARS)


def load(content: str) -> t.Any:
    """As Ansible loads variables."""
    from ansible.parsing.utils.yaml import from_yaml
    from ansible.template import trust_as_template

    return from_yaml(trust_as_template(content))


def strings(value: t.Any) -> t.Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


@pytest.mark.parametrize("seed", range(40))
def test_what_is_written_is_read_again_and_not_templated(seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - spreads shapes, keeps no secret
    variables = {f"v{number}": made(chance) for number in range(12)}
    read = load(document(variables, ["Header."], {})) or {}
    assert read == variables
    for string in strings(read):
        assert not ("{{" in string or "{%" in string or "{#" in string) or not is_trusted_as_template(string)


@pytest.mark.parametrize("ending", ["\x85", "\u2028", "\u2029", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\ufeff"])
def test_every_end_of_a_line_stays_what_it_is(ending: str) -> None:
    variables = {"a": [f"b{ending}c", f"b{ending}c\nd\n", f"b\n{ending}", f"{ending}\nb", {f"b{ending}c\nd": 1}]}
    content = document(variables, [], {})
    assert load(content) == variables
    assert yaml.safe_load(content) == variables
    assert len(content.splitlines()) == content.count("\n")


def test_an_expression_is_a_template_with_its_comment() -> None:
    content = document({"a": [{"b": Expression("{{ lookup('env', 'X') }}", "from\nX")}]}, [], {"a": ["The a."]})
    assert content == "---\n\n# The a.\na:\n  - b: \"{{ lookup('env', 'X') }}\"  # from\\nX\n"
    read = load(content)["a"][0]["b"]
    assert is_trusted_as_template(read)


def test_no_comment_ends_its_line() -> None:
    evil = "x\ninjected: true\n\u2028injected: true\r\nmore"
    content = document({"a": 1}, [evil, f"- {Note(evil, evil)}"], {"a": [evil]})
    assert load(content) == {"a": 1}
    assert one_line("a\u202eb") == "a\\u202eb"


def test_lines_of_comments_are_short() -> None:
    content = document({"a": 1}, ["word " * 100, "- " + "word " * 100], {})
    assert max(map(len, content.splitlines())) <= 120
    assert not [line for line in content.splitlines() if line != line.rstrip()]


@pytest.mark.parametrize("name", ["{{ x }}", "a{%b"])
def test_a_name_with_a_template_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="has the form of a template"):
        document({"a": {name: 1}}, [], {})


def test_the_loader_of_files_reads_it_too(tmp_path: t.Any) -> None:
    path = tmp_path / "x.yml"
    path.write_text(document({"a": "{{ evil }}"}, [], {}), encoding="utf-8")
    read = DataLoader().load_from_file(str(path), trusted_as_template=True)
    assert read == {"a": "{{ evil }}"}
    assert not is_trusted_as_template(read["a"])
