# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which origins the checks of the role take, and what they say of the others."""

from __future__ import annotations

import typing as t

import pytest
import yaml
from plays import run_playbook
from rendering import ROLES

GOOD: dict[str, list[str]] = {
    "none": [],
    "hosts": [
        "https://app.example.com",
        "http://localhost:3000",
        "https://10.0.0.1:8443",
        "https://my_app.example.com",
    ],
    "wildcards": ["https://*.example.com", "http://*.example.com:8080", "https://*"],
    "any": ["*"],
}
BAD: dict[str, tuple[list[str], str]] = {
    "slash": (
        ["https://app.example.com/"],
        'has "https://app.example.com/", which no browser sends as an origin. Write scheme and host alone',
    ),
    "path": (["https://a.example.com", "https://b.example.com/ui"], 'has "https://b.example.com/ui", which'),
    "no-scheme": (["app.example.com"], 'has "app.example.com", which'),
    "other-scheme": (["ws://app.example.com"], 'has "ws://app.example.com", which'),
    "upper-case": (["https://App.example.com"], 'has "https://App.example.com", which'),
    "inner-wildcard": (["https://app.*.com"], 'has "https://app.*.com", which'),
    "part-of-a-label": (["https://*app.example.com"], 'has "https://*app.example.com", which'),
    "own-port": (
        ["https://app.example.com:443", "http://app.example.com:80"],
        'has "https://app.example.com:443", "http://app.example.com:80", which',
    ),
    "line-break": (["https://app.example.com\n"], "which no browser sends as an origin"),
    "null": (["null"], 'has "null", which'),
    "any-and-more": (
        ["*", "https://app.example.com"],
        'names origins beside "*", which stands for all of them. Write ["*"] to let any page in, or leave it out.',
    ),
}
KUADRANT = ["https://app.example.com"]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the checks say of each list, an empty string where they accept it; all in one play."""
    directory = tmp_path_factory.mktemp("checks")
    checks = yaml.safe_load((ROLES / "access_policies/tasks/validate_variables.yml").read_text())
    lists = {**GOOD, **{name: origins for name, (origins, _said) in BAD.items()}, "kuadrant": KUADRANT}
    tasks: list[dict[str, t.Any]] = []
    for name, origins in lists.items():
        catalog = {"policy_engine": "kuadrant" if name == "kuadrant" else "authorino", "audience": "a"}
        keep = {
            "ansible.builtin.copy": {"content": "{{ ansible_failed_result.msg }}", "dest": f"{directory}/{name}.said"}
        }
        tasks.append(
            {
                "block": checks,
                "rescue": [keep],
                "vars": {"access_policies_cors": origins, "ai_gateway_catalog": catalog},
            }
        )
    files = [str(ROLES / "access_policies" / name / "main.yml") for name in ("defaults", "vars")]
    play = {"hosts": "localhost", "gather_facts": False, "vars_files": files, "tasks": tasks}
    ended = run_playbook(directory, play, {})
    assert ended.returncode == 0, ended.output
    return {
        name: " ".join(file.read_text().split()) if (file := directory / f"{name}.said").exists() else ""
        for name in lists
    }


@pytest.mark.parametrize("name", GOOD)
def test_origins_that_are_taken(said: dict[str, str], name: str) -> None:
    assert said[name] == ""


@pytest.mark.parametrize("name", BAD)
def test_origins_that_are_refused(said: dict[str, str], name: str) -> None:
    assert said[name].startswith("access_policies_cors ")
    assert BAD[name][1] in said[name]


def test_kuadrant_does_not_heed_them(said: dict[str, str]) -> None:
    assert said["kuadrant"].startswith("access_policies_cors is for engine authorino.")
