# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ansible-playbook as a user does, and split its time into parts by the lines of its output and their times."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import threading
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]

#: What the time of a run goes into: checking the catalogue; rendering templates and reading what the cluster has of it;
#: writing and deleting, until what is deleted is gone; waiting until controllers and proxies report that they are
#: ready; everything else, Ansible's own start among it.
PARTS = ("catalogue", "preparing", "writing", "waiting", "other")

TASK = re.compile(r"^(?:TASK|RUNNING HANDLER) \[(?:(?P<role>\S+) : )?(?P<title>.*)\] \**$")
PLAY = re.compile(r"^PLAY (?:\[|RECAP)")
#: Lines of progress from apply_set.
PROGRESS = re.compile(r"^  \[\S+\] (?P<what>applying|deleting|waiting for) ")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CHANGED = re.compile(r"^\S+\s*: ok=\d+ +changed=(\d+)")

#: Seconds after its start, and what was said then.
Line = tuple[float, str]


class RunError(Exception):
    """A run failed, or did not end in time; the message holds its output."""


@dataclasses.dataclass(frozen=True)
class Run:
    """The times of one run; ``parts`` are its seconds by PARTS, ``started`` and ``ended`` of the monotonic clock."""

    started: float
    ended: float
    changed: int
    parts: dict[str, float]
    output: str

    @property
    def seconds(self) -> float:
        return self.ended - self.started


def _part(line: str, current: str) -> str:
    """Return what a run is at once it has said ``line``, having been at ``current`` before."""
    if task := TASK.match(line):
        if task["title"].rpartition(" | ")[2].startswith("Wait"):
            return "waiting"
        if task["role"] == "egress.ai_gateway.catalog":
            return "catalogue"
        return "preparing" if task["role"] and task["title"].startswith("Apply") else "other"
    if progress := PROGRESS.match(line):
        return "waiting" if progress["what"] == "waiting for" else "writing"
    return "other" if PLAY.match(line) else current


def parts(lines: t.Iterable[Line], seconds: float) -> dict[str, float]:
    """Divide the ``seconds`` of a run that said ``lines`` among PARTS."""
    divided = dict.fromkeys(PARTS, 0.0)
    current, since = "other", 0.0
    for when, line in lines:
        divided[current] += when - since
        current, since = _part(line, current), when
    divided[current] += seconds - since
    return divided


def changed(lines: t.Iterable[Line]) -> int:
    """Return how many tasks changed something, by the recap."""
    return sum(int(found[1]) for _when, line in lines if (found := CHANGED.match(line)))


def playbook(name: str, inventories: t.Sequence[pathlib.Path], *arguments: str, limit: float) -> Run:
    """Run a playbook; ``limit`` is in seconds.

    :raises RunError: when it fails or does not end in time.
    """
    command = ["ansible-playbook", *(f"--inventory={path}" for path in inventories), *arguments, name]
    environment = os.environ | {
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_FORCE_COLOR": "false",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }
    lines: list[Line] = []
    started = time.monotonic()
    # Ansible's workers are of its session, which so can be ended as a whole.
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    overdue = threading.Event()

    def end() -> None:
        overdue.set()
        _kill(process)

    timer = threading.Timer(limit, end)
    timer.start()
    try:
        assert process.stdout
        for line in process.stdout:
            lines.append((time.monotonic() - started, ANSI.sub("", line.rstrip("\n"))))
        process.wait()
    except BaseException:
        _kill(process)
        process.wait()
        raise
    finally:
        timer.cancel()
        if process.stdout:
            process.stdout.close()
    ended = time.monotonic()
    output = "\n".join(line for _when, line in lines)
    if overdue.is_set() or process.returncode:
        what = (
            f"did not end within {limit:.0f} s" if overdue.is_set() else f"ended with exit status {process.returncode}"
        )
        raise RunError(f"{' '.join(command)} {what}\n{output}")
    return Run(started, ended, changed(lines), parts(lines, ended - started), output)


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
