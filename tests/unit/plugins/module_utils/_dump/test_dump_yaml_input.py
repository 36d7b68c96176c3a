# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.yaml_input import (
    DEPTH,
    SIZE,
    YamlInputError,
    read_yaml,
)


def test_values_are_what_is_written() -> None:
    read = read_yaml(b'a: 1\nb: [x, 1.5, true, ~, "2"]\nversion: 2024-10-21\n1: {yes: no}\n')
    assert read == {"a": 1, "b": ["x", 1.5, True, None, "2"], "version": "2024-10-21", "1": {"yes": False}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: 2\na: 3\n", "line 3, column 1: has the name 'a' a second time"),
        (b"a: {b: 1,\n b: 2}", "line 2, column 2: has the name 'b' a second time"),
        (b"a: &x 1\n", "line 1, column 4: is an anchor or an alias"),
        (b"a: [&x [1], *x]\n", "is an anchor or an alias"),
        (b"a: !!python/object/apply:os.system [id]", "line 1, column 4: has a tag"),
        (b"a: !unsafe x", "has a tag"),
        (b"a: .inf", "is no finite number"),
        (b"a: .nan", "is no finite number"),
        (b"? [a]\n: 1", "is no name"),
        (b"a: " + b"[" * (DEPTH + 1), "levels deep"),
        (b"[" * 100_000, "levels deep"),
        (b"a: 1" + b"0" * 5000, "cannot be read"),
        (b"a: b: c", "line 1, column 5: is no YAML"),
        (b"a: '", "is no YAML"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"\x00", "is no YAML"),
        (b"", "is not one mapping"),
        (b"- 1", "is not one mapping"),
        (b"a: 1\n---\nb: 2", "is not one mapping"),
        (b"#" * (SIZE + 1), f"has {SIZE + 1} bytes; write at most {SIZE}"),
    ],
)
def test_what_is_refused_says_where(content: bytes, said: str) -> None:
    with pytest.raises(YamlInputError) as caught:
        read_yaml(content)
    assert said in str(caught.value)


def test_a_merge_is_no_merge() -> None:
    assert read_yaml(b"a: {<<: {b: 1}}") == {"a": {"<<": {"b": 1}}}
