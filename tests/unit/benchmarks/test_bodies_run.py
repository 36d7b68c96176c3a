# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the benchmark of bodies sends, and what its program in Lua says of it."""

from __future__ import annotations

import json
import typing as t

import pytest
from bodies import run
from lupa import luajit21

#: A handle of which the program sees a body; what it answers is returned.
HANDLE = b"""
return function(body)
  local status
  envoy_on_request({
    body = function()
      return {
        length = function() return #body end,
        getBytes = function(_, from, length) return body:sub(from + 1, from + length) end,
      }
    end,
    respond = function(_, headers) status = headers[":status"] end,
  })
  return status
end
"""


@pytest.fixture(scope="module")
def answer() -> t.Callable[[bytes], bytes | None]:
    code = b"\n".join(path.read_bytes() for path in (run.READER, run.HERE / "body.lua"))
    program: t.Callable[[bytes], bytes | None] = luajit21.LuaRuntime(encoding=None).execute(code + HANDLE)
    return program


@pytest.mark.parametrize(
    ("good", "body"), run.JUDGEMENTS, ids=lambda value: ascii(value[:20]) if isinstance(value, bytes) else str(value)
)
def test_the_program_judges_as_the_benchmark_wants(
    answer: t.Callable[[bytes], bytes | None], good: bool, body: bytes
) -> None:
    assert answer(body) == (None if good else b"400")


@pytest.mark.parametrize(("name", "body"), run.HONEST.items())
def test_honest_bodies_have_the_size_of_their_names(name: str, body: bytes) -> None:
    assert len(body) == pytest.approx(int(name.split()[0]) * 1000, rel=0.12)
    assert json.loads(body)["model"] == "gpt-4"


def test_hostile_bodies_have_one_size() -> None:
    assert {round(len(body), -3) for body in run.HOSTILE.values()} == {run.LARGE}


def test_spread() -> None:
    assert run.spread([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"
    assert run.spread([300, 100, 200.4]) == "200 (100 to 300)"
