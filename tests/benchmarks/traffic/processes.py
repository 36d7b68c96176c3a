# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What processes use, read from /proc."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import typing as t

PROC = pathlib.Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")
#: Of the first line of /proc/stat: what the machine worked for, in the order of its fields, and what the host of a
#: virtual machine took away.
BUSY, STOLEN = (0, 1, 2, 5, 6), 7

#: Process ids by a name for them.
Groups = t.Mapping[str, t.Sequence[int]]


@dataclasses.dataclass(frozen=True)
class Process:
    parent: int
    #: CPU seconds so far, its threads and the children that it has waited for not among them.
    cpu: float


def process(directory: pathlib.Path) -> Process:
    """Return what ``stat`` of a process says. The name in parentheses may hold anything."""
    fields = (directory / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return Process(int(fields[1]), (int(fields[11]) + int(fields[12])) / TICKS)


def memory(directory: pathlib.Path) -> int:
    """Return the KiB of a process that are resident; 0 of one of the kernel's."""
    for line in (directory / "status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def _directories(proc: pathlib.Path) -> t.Iterator[tuple[int, pathlib.Path]]:
    for directory in proc.glob("[0-9]*"):
        yield int(directory.name), directory


def family(root: int, proc: pathlib.Path = PROC) -> list[int]:
    """Return a process and all that descend from it."""
    parents = {}
    for number, directory in _directories(proc):
        try:
            parents[number] = process(directory).parent
        except OSError:
            continue  # It has ended.
    found = [root] if root in parents else []
    for number in found:
        found += [child for child, parent in parents.items() if parent == number]
    return found


def of_containers(names: t.Mapping[str, str], proc: pathlib.Path = PROC) -> dict[str, list[int]]:
    """Return the processes of containers by the name that ``names`` has for each id: their control groups have it."""
    found: dict[str, list[int]] = {name: [] for name in names.values()}
    for number, directory in _directories(proc):
        try:
            parts = (directory / "cgroup").read_text(encoding="utf-8").replace("\n", "/").split("/")
        except OSError:
            continue
        for identity in names.keys() & set(parts):
            found[names[identity]].append(number)
    return found


def _seconds(groups: Groups, proc: pathlib.Path) -> dict[int, float]:
    found = {}
    for number in (number for members in groups.values() for number in members):
        try:
            found[number] = process(proc / str(number)).cpu
        except OSError:
            continue
    return found


def _machine(proc: pathlib.Path) -> tuple[float, float]:
    ticks = [int(value) for value in (proc / "stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]]
    return sum(ticks[field] for field in BUSY) / TICKS, ticks[STOLEN] / TICKS


def resident(groups: Groups, proc: pathlib.Path = PROC) -> dict[str, float]:
    """Return the MiB that are resident, by group."""
    found = {}
    for name, members in groups.items():
        found[name] = 0.0
        for number in members:
            try:
                found[name] += memory(proc / str(number)) / 1024
            except OSError:
                continue
    return found


class Meter:
    """As a context: what groups of processes and the machine used within it."""

    def __init__(self, groups: t.Callable[[], Groups], proc: pathlib.Path = PROC) -> None:
        self._groups, self._proc = groups, proc
        #: CPU seconds by group.
        self.cpu: dict[str, float] = {}
        #: CPU seconds of the whole machine, and those that its host took away.
        self.machine = self.stolen = 0.0

    def __enter__(self) -> t.Self:
        self._before = _seconds(self._groups(), self._proc)
        self._machine_before = _machine(self._proc)
        return self

    def __exit__(self, *_error: object) -> None:
        machine, stolen = _machine(self._proc)
        self.machine, self.stolen = machine - self._machine_before[0], stolen - self._machine_before[1]
        groups = self._groups()
        after = _seconds(groups, self._proc)
        # One that has started meanwhile counts from zero on.
        self.cpu = {
            name: sum(after[number] - self._before.get(number, 0) for number in members if number in after)
            for name, members in groups.items()
        }
