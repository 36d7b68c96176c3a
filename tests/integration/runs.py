# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run Ansible and molecule as a user does, show their output live, and read the recap that they end with."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
#: EMBEDDED_INVENTORY names one of another embedded cluster, whose host is called embedded too.
INVENTORY = pathlib.Path(os.environ.get("EMBEDDED_INVENTORY", ROOT / "inventories/embedded"))

ANSI = re.compile(r"\x1b\[[0-9;]*m")
RECAP_LINE = re.compile(r"^(?P<host>\S+)\s*:\s*(?P<counts>ok=\d+.*)$")

#: Of one run: the counts (ok, changed, failed, ...) by host.
Recap = dict[str, dict[str, int]]


def recaps(output: str) -> list[Recap]:
    """Return the recap of every ansible-playbook run in `output`, in their order."""
    found: list[Recap] = []
    inside = False
    for line in ANSI.sub("", output).splitlines():
        if line.startswith("PLAY RECAP"):
            found.append({})
            inside = True
        elif inside and (match := RECAP_LINE.match(line.strip())):
            found[-1][match["host"]] = {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", match["counts"])}
        elif line.strip():
            inside = False
    return found


def start(*command: str | pathlib.Path, **variables: str) -> subprocess.Popen[str]:
    """Start `command` in the checkout, its output in a pipe; `variables` are added to its environment."""
    print(f"\n$ {' '.join(map(str, command))}", flush=True)
    environment = (
        os.environ
        | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_FORCE_COLOR": "false", "NO_COLOR": "1"}
        | variables
    )
    return subprocess.Popen(
        [*map(str, command)],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def follow(process: subprocess.Popen[str], end: str = "") -> str:
    """Show and return the output of `process`, as far as the first line that begins with `end`, or all of it."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        lines.append(line)
        if end and line.startswith(end):
            break
    return "".join(lines)


def run(*command: str | pathlib.Path, **variables: str) -> str:
    """Run `command` as start() does, show and return its output."""
    with start(*command, **variables) as process:
        output = follow(process)
    assert process.returncode == 0, f"exit status {process.returncode}: {' '.join(map(str, command))}"
    return output


def playbook(name: str | pathlib.Path, *arguments: str, reaches: str = "", **variables: str) -> int:
    """Run a playbook on the embedded cluster, `variables` in its environment, and return how many tasks changed
    something.

    The run must have come to a task whose title begins with `reaches`.
    """
    output = run("ansible-playbook", "--inventory", INVENTORY, *arguments, name, **variables)
    (recap,) = recaps(output)
    assert list(recap) == ["embedded"], f"the run was not one on the embedded cluster: {recap}"
    counts = recap["embedded"]
    assert counts["ok"] > 0
    assert counts["failed"] == counts["unreachable"] == 0
    assert f"TASK [{reaches}" in output
    return counts["changed"]
