# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import Check
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.report import Report, report_faults

PASSED = Check(
    "gateway", "The Gateway is programmed", "passed", "Programmed=True", "Programmed=True", 0.5, "See the Gateway."
)
FAILED = Check(
    "chat:gpt-4",
    "gpt-4 answers",
    "failed",
    "status 200",
    "status 500 <script>alert(1)</script> \x1b[2J & more",
    1.25,
    'See the "routes".',
)
SKIPPED = Check("key:llama", "llama gets its key", "skipped", "the key", "it is no simulator", 0.0, "")
REPORT = Report(
    "Validation", "production", "https://maas.example.com", "2026-01-01T12:00:00Z", (PASSED, FAILED, SKIPPED)
)


def test_json() -> None:
    document = json.loads(REPORT.to_json())
    assert document["cluster"] == "production"
    assert document["gateway_url"] == "https://maas.example.com"
    assert document["counts"] == {"passed": 1, "failed": 1, "skipped": 1}
    assert document["checks"][1] == FAILED.as_dict()
    assert set(document["checks"][0]) == {"id", "name", "status", "expected", "observed", "seconds", "hint"}


def test_junit() -> None:
    suite = ElementTree.fromstring(REPORT.to_junit()).find("testsuite")  # noqa: S314
    assert suite is not None
    assert suite.attrib["name"] == "Validation of production"
    assert {name: suite.attrib[name] for name in ("tests", "failures", "skipped", "errors", "time")} == {
        "tests": "3", "failures": "1", "skipped": "1", "errors": "0", "time": "1.75",
    }  # fmt: skip
    passed, failed, skipped = suite.findall("testcase")
    assert (failed.attrib["classname"], failed.attrib["name"], failed.attrib["time"]) == (
        "validation.chat",
        "gpt-4 answers",
        "1.250000",
    )
    failure = failed.find("failure")
    assert failure is not None
    assert failure.attrib["message"] == "status 500 <script>alert(1)</script> ?[2J & more"
    assert failure.text is not None
    assert "expected: status 200" in failure.text
    assert 'hint: See the "routes".' in failure.text
    assert skipped.find("skipped") is not None
    assert passed.find("failure") is None


def test_html_stands_alone_and_escapes() -> None:
    page = REPORT.to_html()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "src=" not in page
    assert "url(" not in page
    assert page.index("gpt-4 answers") < page.index("The Gateway is programmed") < page.index("llama gets its key")
    assert "See the &#34;routes&#34;." in page
    # A hint is for what failed.
    assert "See the Gateway." not in page


def test_table() -> None:
    lines = REPORT.to_table()
    assert [line for line, _status in lines] == [
        "Validation of production at https://maas.example.com",
        "passed  The Gateway is programmed    0.50 s  Programmed=True",
        "failed  gpt-4 answers                1.25 s",
        "        expected: status 200",
        "        observed: status 500 <script>alert(1)</script> ?[2J & more",
        '        hint: See the "routes".',
        "skipped llama gets its key                   it is no simulator",
        "3 checks: 1 passed, 1 failed, 1 skipped",
    ]
    assert [status for _line, status in lines] == [
        "",
        "passed",
        "failed",
        "failed",
        "failed",
        "failed",
        "skipped",
        "failed",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_table_keeps_to_its_width(width: int) -> None:
    long = Check(
        "a",
        "A name that is as long as it can be and then some more " * 3,
        "failed",
        "word " * 60,
        "word " * 60,
        1234.5,
        "word " * 40,
    )
    report = Report(
        "Validation",
        "production",
        "",
        "2026-01-01T12:00:00Z",
        (long, Check("b", "b", "passed", "", "word " * 60, 1, "")),
    )
    assert all(len(line) <= width for line, _status in report.to_table(width))


@pytest.mark.parametrize(
    ("checks", "status"),
    [((), "skipped"), ((PASSED,), "passed"), ((SKIPPED,), "skipped"), ((PASSED, FAILED), "failed")],
)
def test_summary_has_the_worst_status(checks: tuple[Check, ...], status: str) -> None:
    report = Report("Validation", "production", "", "", checks)
    assert report.to_table()[-1] == (report.summary, status)


def test_faults() -> None:
    assert report_faults([PASSED, FAILED]) == []
    assert report_faults([PASSED, PASSED]) == ["checks[1].id: 'gateway' is given twice"]


def test_a_diagnosis_has_a_section() -> None:
    finding = {
        "code": "AIG0106",
        "level": "Error",
        "message": "Proxy <a> has no container",
        "evidence": ["its containers are envoy"],
        "cause": "It is older.",
        "cure": "Restart it.",
        "command": "kubectl rollout restart",
        "consequences": [{"code": "AIG0105", "message": "Streams fail"}],
    }
    report = Report("Validation", "c", "", "2026-01-01T00:00:00Z", (), (finding,))
    page = report.to_html()
    assert "<h2>Diagnosis</h2>" in page
    assert "Proxy &lt;a&gt; has no container" in page
    assert "AIG0105 Streams fail" in page
    assert json.loads(report.to_json())["diagnosis"] == [finding]
    without = Report("Validation", "c", "", "2026-01-01T00:00:00Z", ())
    assert "<h2>Diagnosis</h2>" not in without.to_html()
    assert "diagnosis" not in json.loads(without.to_json())
