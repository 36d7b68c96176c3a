# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
from time_limit import TimeLimit

def pytest_configure(config):
    config.pluginmanager.register(TimeLimit("0.001", "units", "last"))
"""
TESTS = """
import time
import pytest

def test_first():
    time.sleep(0.07)

@pytest.fixture(scope="class", params=["one", "two"])
def engine(request):
    return request.param

class TestSteps:
    def test_a(self, engine):
        time.sleep(0.07)

    def test_b(self, engine):
        pass

def test_alone():
    pass
"""


@pytest.mark.parametrize(
    ("alone", "passed", "late"),
    [
        # Over before the steps begin.
        ("", 2, [*(f"TestSteps::test_{step}[{engine}]" for engine in ("one", "two") for step in "ab"), "test_alone"]),
        # Over at the first step: those of the same parameters go on, those of the next do not begin.
        ("not first", 3, ["TestSteps::test_a[two]", "TestSteps::test_b[two]", "test_alone"]),
    ],
)
def test_no_test_begins_after_the_limit(pytester: pytest.Pytester, alone: str, passed: int, late: list[str]) -> None:
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_steps=TESTS, test_last="def test_it():\n    pass\n")
    ended = pytester.runpytest_inprocess("-p", "no:cacheprovider", "-k", alone, "test_steps.py", "test_last.py")
    outcomes = ended.parseoutcomes()
    assert outcomes["passed"] == passed
    assert outcomes["skipped"] == len(late)
    for name in late:
        ended.stdout.fnmatch_lines([f"NOT RUN test_steps.py::{name}".replace("[", "[[]")])
    ended.stdout.fnmatch_lines(["Run them: make units ARGS=\"-k 'steps'\""])
