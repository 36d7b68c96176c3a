# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Change a site's catalogue to others:

a check with a diff must show what the run does, the next run must change nothing, and none may show a key.
"""

from __future__ import annotations

import base64
import collections
import json
import os
import pathlib
import random
import re
import time

import catalogue_pairs
from runs import ANSI, INVENTORY, recaps, run

#: The roles whose sets follow from providers and tiers, without the simulators: nothing is asked of the gateway, so
#: that no route has to outlast another.
COMMAND = (
    *(
        "ansible-playbook",
        "--inventory",
        INVENTORY,
        "--tags",
        "access_policies,providers",
        "egress.ai_gateway.site",
        "--diff",
        "-v",
    ),
    *("--extra-vars", "providers_prune_delay=0"),
)
#: A result of apply_set, as the callback of ansible.cfg shows it with -v.
LIST_LINE = re.compile(r"^ {4}(?P<list>\w+):")
FIELD_LINE = re.compile(r"^ {4}(?:-   | {4})(?P<field>apiVersion|kind|namespace|name): (?P<value>.*)$")
TASK_LINE = re.compile(r"^TASK \[(?P<title>.*)\]")

#: By task and list, the objects as "kind namespace/name".
Changes = dict[str, list[str]]


def changes(output: str) -> Changes:
    """The objects that the results of apply_set in the output of a run list as created, updated or deleted."""
    found: dict[str, list[dict[str, str]]] = collections.defaultdict(list)
    title = name = ""
    for line in ANSI.sub("", output).splitlines():
        if match := TASK_LINE.match(line):
            title, name = match["title"], ""
        elif match := LIST_LINE.match(line):
            name = match["list"]
        elif name in ("created", "updated", "deleted") and (match := FIELD_LINE.match(line)):
            if line.startswith("    -"):
                found[f"{title}: {name}"].append({})
            found[f"{title}: {name}"][-1][match["field"]] = match["value"].strip("'\"")
    return {
        key: sorted(f"{entry['kind']} {entry['namespace']}/{entry['name']}" for entry in entries)
        for key, entries in found.items()
    }


def _run(path: pathlib.Path, *arguments: str) -> tuple[int, str]:
    """Run the playbook with a catalogue; how many tasks changed something, and what it said."""
    output = run(*COMMAND, "--extra-vars", f"@{path}", *arguments)
    (recap,) = recaps(output)
    assert recap["embedded"]["failed"] == 0
    return recap["embedded"]["changed"], output


def change(directory: pathlib.Path, seed: int) -> str:
    """Go through the pair of one seed; return what it was in a line, without keys."""
    first, second = catalogue_pairs.pair(seed)
    before = catalogue_pairs.write(directory / f"{seed}-first.yml", first)
    after = catalogue_pairs.write(directory / f"{seed}-second.yml", second)
    print(f"pair {seed}: from {catalogue_pairs.shown(first)} to {catalogue_pairs.shown(second)}")
    started = time.monotonic()
    outputs = [_run(before)[1]]
    expected, output = _run(after, "--check")
    told = changes(output)
    outputs.append(output)
    count, output = _run(after)
    outputs.append(output)
    assert changes(output) == told, f"pair {seed}: the check shows other changes than the run"
    assert (count > 0) == (expected > 0) == bool(told), (
        f"pair {seed}: {expected} tasks change in the check, {count} in the run, objects: {told}"
    )
    count, output = _run(after)
    outputs.append(output)
    assert (count, changes(output)) == (0, {}), f"pair {seed}: the run after it changed something"
    for key in catalogue_pairs.keys(first, second):
        for output in outputs:
            assert key not in output, f"pair {seed}: a key is shown"
            assert base64.b64encode(key.encode()).decode() not in output, f"pair {seed}: a key is shown"
    counts = json.dumps({key: len(found) for key, found in told.items()})
    return f"pair {seed}: {counts} in {time.monotonic() - started:.0f} s"


def change_often(directory: pathlib.Path, pairs: int) -> None:
    """Go through so many pairs: one by chance, one that adds a tier of one model, one that takes it away, and more by
    chance.

    CATALOGUE_SEED repeats a run.
    """
    # The seed chooses catalogues and keeps no secret.
    seed = int(os.environ.get("CATALOGUE_SEED") or random.randrange(2, 10**6))  # noqa: S311
    print(f"{pairs} pairs of catalogues, CATALOGUE_SEED={seed}")
    lines = [change(directory, number) for number in [seed, 0, 1, *range(seed + 1, seed + pairs)][:pairs]]
    print("\n".join(lines))
