# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/operations.md has a line for every error that the gateway gives."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = sorted((ROOT / "roles/access_policies/files").glob("*.lua"))
TEMPLATES = sorted((ROOT / "roles/access_policies/templates").glob("*.j2"))
HEADING = "## Every answer of 400 and above, and its cure"
#: A string, a number, a name, or any other sign of Lua; comments are skipped.
LUA = re.compile(r'--[^\n]*|"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'|(\b\d+\b)|([A-Za-z_]\w*)|([^\s])')
#: What ends an expression.
KEYWORDS = {"end", "return", "local", "if", "then", "elseif", "else", "for", "while", "function", "do"}
CODE = re.compile(r"[a-z]+(_[a-z]+)+")
#: The status and the code in the arguments of the macro ``refusal``, and the code in a local reply of Envoy.
REFUSAL = re.compile(r"\{\{ refusal\((\d{3}),.*?_error',\s*'([a-z_]+)'", re.S)
REPLY = re.compile(r"'code': '([a-z_]+)'")

Refusal = tuple[int, str]


def refusals_of_program(text: str) -> set[Refusal]:
    """Each status from 400 in a program, with the codes of the first of the following arguments that has any."""
    tokens = [match for match in LUA.finditer(text) if not match[0].startswith("--")]
    found = set()
    for index, token in enumerate(tokens):
        compared = "".join(before[5] or " " for before in tokens[max(0, index - 2) : index])
        if not token[3] or not 400 <= int(token[3]) < 600 or compared[-2:] in ("==", "~=", "<=", ">="):
            continue
        depth, codes = 0, set()
        for following in tokens[index + 1 :]:
            sign = following[5] or " "
            depth += (sign in "([{") - (sign in ")]}")
            if depth < 0 or following[4] in KEYWORDS or (codes and sign == "," and not depth):
                break
            string = following[1] or following[2] or ""
            if not depth and CODE.fullmatch(string):
                codes.add((int(token[3]), string))
        found |= codes
    return found


def refusals() -> dict[Refusal, str]:
    """All of the gateway, each with the file that has it."""
    found: dict[Refusal, str] = {}
    for path in PROGRAMS:
        found |= dict.fromkeys(refusals_of_program(path.read_text(encoding="utf-8")), path.name)
    # The caller of this one has the status.
    keys = (ROOT / "roles/access_policies/files/api_keys.lua").read_text(encoding="utf-8")
    found |= {(401, code): "api_keys.lua" for code in re.findall(r'return true,[^;]*?"([a-z]+_[a-z_]+)"', keys)}
    for path in TEMPLATES:
        text = path.read_text(encoding="utf-8")
        found |= {(int(status), code): path.name for status, code in REFUSAL.findall(text)}
    return found


def lines() -> dict[tuple[str, str], list[str]]:
    """By status and code the columns of each line of the table."""
    section = (ROOT / "docs/operations.md").read_text(encoding="utf-8").partition(HEADING)[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in section.split("\n") if line[:1] == "|"]
    # A line without a code is for what has none.
    return {(row[0].strip("| "), row[1].strip("`")): row for row in rows if row[0].strip("| ")[:1] in "45"}


@pytest.mark.parametrize(
    ("program", "found"),
    [
        ('return refused(handle, 400, "The path " .. problem .. ".", "malformed_path") end', {(400, "malformed_path")}),
        ('{"a", 413, "words, and more", "body_too_large"},\n{"b", 200, "x", "not_this"}', {(413, "body_too_large")}),
        ('return nil, 403, f("x", "not_this"), "no_tier"\nend\nlocal x = "not_this"', {(403, "no_tier")}),
        ('errors.refuse(h, 404, m, a, r and "one_code" or "other_code")', {(404, "one_code"), (404, "other_code")}),
        ('-- 400, "no_code"\nlocal SECONDS = 500\nlocal name = "no_code"', set()),
        ('f(404, "Say.", "unknown_session", id, "server_error")', {(404, "unknown_session")}),
        ('set(status == 401 and "one_code" or "other_code")', set()),
        ("x = 503,\n  'Say it.', 'gateway_fault'", {(503, "gateway_fault")}),
    ],
)
def test_codes_of_a_program_are_found(program: str, found: set[Refusal]) -> None:
    assert refusals_of_program(program) == found


def test_the_programs_are_read() -> None:
    found = refusals()
    # A code of each program and template that refuses; a pattern that finds none of them is no longer one.
    assert {
        (400, "malformed_path"),
        (429, "rate_limit_exceeded"),
        (404, "unsupported_path"),
        (404, "unknown_url"),
        (401, "token_lifetime"),
        (401, "expired_api_key"),
        (502, "server_error"),
        (503, "router_fault"),
        (503, "authorization_unavailable"),
        (400, "missing_session"),
        (403, "no_tier"),
        (401, "invalid_api_key"),
        (503, "router_busy"),
        (502, "provider_error"),
    } <= set(found)
    assert set(found.values()) >= {"rules.yaml.j2", "request_filter.lua", "body_filter.lua"}


@pytest.mark.parametrize("refusal", sorted(refusals()), ids=lambda refusal: f"{refusal[0]}-{refusal[1]}")
def test_an_error_has_a_cause_and_a_cure(refusal: Refusal) -> None:
    status, code = refusal
    row = lines().get((str(status), code))
    assert row, (
        f"{refusals()[refusal]} answers with status {status} and code {code}, which docs/operations.md does not have; "
        f"write a line | {status} | `{code}` | cause | cure | into its last section"
    )
    assert len(row) == 4
    assert all(len(cell) > 10 for cell in row[2:])


def test_the_table_has_nothing_else() -> None:
    """A line of an error that nobody gives any more leads astray."""
    others = {("400", "malformed_request"), *OF_OTHERS}
    found = {(str(status), code) for status, code in refusals()}
    assert set(lines()) - found - others == set()


#: Those that a filter of Envoy, a component or a provider gives without a code of a program, and local replies.
OF_OTHERS: t.Final = {
    ("4xx, 5xx", "provider_error"),
    ("4xx", "none"),
    ("500", "provider_error"),
}


def test_local_replies_have_lines() -> None:
    text = (ROOT / "roles/access_policies/templates/authorino.yaml.j2").read_text(encoding="utf-8")
    codes = set(REPLY.findall(text))
    assert codes == {"gateway_fault", "malformed_request", "provider_error"}
    assert codes <= {code for _status, code in lines()}
