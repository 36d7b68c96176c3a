# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The catalogue of messages, its page, and how findings are shown."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.findings import (
    Finding,
    counts_of,
    root_causes,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.messages import (
    BY_CODE,
    LEVELS,
    MESSAGES,
    Message,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._diagnosis.output import checks_of, lines_of, summary_of

ROOT = Path(__file__).parents[5]


def test_codes_are_unique() -> None:
    assert len(BY_CODE) == len(MESSAGES)
    assert len({message.name for message in MESSAGES}) == len(MESSAGES)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.code)
def test_a_message_says_all_that_it_must(message: Message) -> None:
    assert re.fullmatch(r"AIG\d{4}", message.code)
    assert re.fullmatch(r"[A-Z][A-Za-z]+", message.name)
    assert message.level in LEVELS
    assert message.cause.endswith(".")
    assert message.cure.endswith(".")
    assert not message.template.endswith(".")
    assert message.reference.startswith("https://")
    assert message.command.startswith("kubectl ")
    assert set(message.explains) <= set(BY_CODE) - {message.code}


def test_no_command_shows_what_a_secret_holds() -> None:
    shown = [
        message.command
        for message in MESSAGES
        if re.search(r"kubectl (get|describe) [^|]*\bsecrets?\b", message.command) and "--output" in message.command
    ]
    assert shown
    for command in shown:
        assert re.search(
            r"--output jsonpath='\{\{\.data\.tls\\\.crt\}\}' \| base64 --decode \| openssl x509 -noout", command
        )


def test_the_page_has_a_section_for_each_message() -> None:
    page = (ROOT / "docs/diagnosis.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", page, re.M)
    assert headings == [f"{message.code} {message.name}" for message in MESSAGES]
    # As one types it, with the names of arguments in braces.
    assert r"get secret --namespace {namespace} {name} --output jsonpath='{.data.tls\.crt}' |" in page
    command = [sys.executable, ROOT / "scripts/messages", "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout) == (0, "")


def finding(code: str, *scope: str, **arguments: str) -> Finding:
    names = {name: name for name in BY_CODE[code].arguments}
    return Finding(code, {**names, **arguments}, frozenset(scope))


def test_what_follows_is_beneath_its_cause() -> None:
    webhook, sidecar, streams = finding("AIG0110"), finding("AIG0106", "pod a"), finding("AIG0105", "pod a")
    other = finding("AIG0506", "cluster c")
    roots = root_causes([streams, other, sidecar, webhook])
    assert [root.code for root in roots] == ["AIG0110", "AIG0506"]
    assert [found.code for found in roots[0].consequences] == ["AIG0105", "AIG0106"]
    assert counts_of(roots) == {"Error": 1, "Warning": 1, "Info": 0}


def test_another_place_is_not_explained() -> None:
    roots = root_causes([finding("AIG0106", "pod a"), finding("AIG0105", "pod b")])
    assert [root.code for root in roots] == ["AIG0105", "AIG0106"]


def test_a_fault_with_consequences_comes_before_one_without() -> None:
    roots = root_causes([finding("AIG0404"), finding("AIG0501", "backend a"), finding("AIG0505", "backend a")])
    assert [root.code for root in roots] == ["AIG0501", "AIG0404"]


def test_findings_that_explain_each_other_are_not_lost() -> None:
    one, two = finding("AIG0202"), finding("AIG0005")
    # As if each explained the other.
    assert two.explains(one)
    assert sorted(root.code for root in root_causes([one, two])) == ["AIG0005"]


def test_the_same_finding_is_shown_once() -> None:
    assert len(root_causes([finding("AIG0404"), finding("AIG0404")])) == 1


def test_lines_for_a_terminal() -> None:
    roots = root_causes(
        [finding("AIG0106", "pod a", pod="a\x1b[31m"), *(finding("AIG0105", "pod a", place=str(n)) for n in range(6))]
    )
    roots[0].evidence = ("its containers are envoy",)
    lines = [line for line, _level in lines_of(roots, "Diagnosis of production", width=100)]
    assert lines[0] == "Diagnosis of production"
    assert lines[1] == "AIG0106 Error: Proxy a?[31m has no container ai-gateway-extproc"
    assert lines[2] == "  seen: its containers are envoy"
    assert any(line.startswith("  next: kubectl rollout restart") for line in lines)
    assert lines[-2:] == ["  so: 2 more", "1 Error; 6 more follow from these."]
    assert max(map(len, lines)) <= 100
    assert lines_of([], "Diagnosis")[-1] == ("Nothing is wrong, as far as can be seen.", "ok")


def test_checks_of_a_report() -> None:
    assert [check["status"] for check in checks_of([])] == ["passed"]
    checks = checks_of(root_causes([finding("AIG0404"), finding("AIG0506"), finding("AIG0506", cluster="b")]))
    assert [check["status"] for check in checks] == ["failed", "skipped", "skipped"]
    assert len({check["id"] for check in checks}) == 3
    assert summary_of(root_causes([finding("AIG0404")])) == "1 Error."
