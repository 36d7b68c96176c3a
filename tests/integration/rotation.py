# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotate the keys of all providers of the mixed catalogue while requests run."""

from __future__ import annotations

import collections
import dataclasses
import json
import pathlib
import time

import catalogs
import gateway_requests
from load import Load, Request
from runs import INVENTORY, playbook, recaps, start

REQUESTS = [
    Request("/v1/chat/completions", "gpt-4"),
    Request("/external/vllm/v1/chat/completions", "Qwen/Qwen3-0.6B"),
    Request("/v1/messages", "claude-sonnet-4"),
]
#: So many lines of the proxies' log are enough for a message.
LINES = 20


@dataclasses.dataclass(frozen=True)
class Rotated:
    """The outcome of rotations.

    `outcomes` counts the requests during them by status or error, `refusals` quotes some that were not answered, and
    then the proxies' lines of them.
    `again` and `site` say how many tasks the runs after them changed. `keys` are the last ones by provider, and
    `outputs` are files with all that Ansible prints of the last runs: cut off, complete, and site.
    """

    outcomes: collections.Counter[str]
    refusals: list[str]
    again: int
    site: int
    keys: dict[str, str]
    outputs: list[pathlib.Path]


def _command(playbook_name: str, variables: pathlib.Path) -> list[str | pathlib.Path]:
    """A playbook with its differences and all that Ansible prints, without the checks by requests."""
    arguments = ("--inventory", INVENTORY, "--extra-vars", f"@{variables}", "--skip-tags=validation")
    return ["ansible-playbook", "-vvv", "--diff", *arguments, f"egress.ai_gateway.{playbook_name}"]


def _run(playbook_name: str, variables: pathlib.Path, output: pathlib.Path) -> int:
    """Run a playbook with its output in a file; return how many tasks changed something."""
    with start(*_command(playbook_name, variables)) as process:
        output.write_text(process.communicate()[0], encoding="utf-8")
    assert process.returncode == 0, output.read_text(encoding="utf-8")[-4000:]
    (recap,) = recaps(output.read_text(encoding="utf-8"))
    return recap["embedded"]["changed"]


def refused_lines(load: Load, seconds: float) -> list[str]:
    """Return the proxies' lines of the requests of this load that were not answered well in the last `seconds`, with
    their details and flags; none where all were.

    Some errors of a client have no line: it is waited for all of them only as long as a proxy takes to write.
    """
    expected = sum(count for outcome, count in load.outcomes.items() if outcome != "200")
    began = time.monotonic()
    found: list[gateway_requests.Entry] = []
    while len(found) < expected and time.monotonic() - began < gateway_requests.PATIENCE:
        time.sleep(1)
        found = [
            entry
            for entry in gateway_requests.entries(int(seconds + time.monotonic() - began) + 1)
            if entry.get("user_agent") == load.agent
            and (entry["response_code"] != 200 or entry["response_flags"] not in ("-", "", None))
        ]
    return [json.dumps(entry) for entry in found[:LINES]]


def rotate(directory: pathlib.Path, url: str, token: str, *, rotations: int, requests: int) -> Rotated:
    """Rotate so many times, each begun by a run that is cut off and completed by the next, and until there were so many
    requests.

    :param directory: an empty one, for variables and outputs.
    """
    keys: dict[str, str] = {}
    outputs = [directory / f"{name}.txt" for name in ("cut_off", "complete", "site")]
    began = time.monotonic()
    with Load(url, token, REQUESTS) as load:
        load.wait(100)
        for number in range(rotations):
            keys.update({entry["name"]: f"{entry['key']}-{number}" for entry in catalogs.PROVIDERS})
            mixed = catalogs.variables(directory / "mixed.yml", keys=keys)
            with start(*_command("rotate_keys", mixed)) as cut_off:
                # As it is printed, so that the tests' own output has nothing of -vvv.
                assert cut_off.stdout
                printed = []
                for line in cut_off.stdout:
                    printed.append(line)
                    if line.startswith("TASK [egress.ai_gateway.providers : Apply the providers]"):
                        break
                cut_off.kill()
            outputs[0].write_text("".join(printed), encoding="utf-8")
            assert _run("rotate_keys", mixed, outputs[1]) > 0
        load.wait(requests)
    # Before other runs, which may replace a proxy, and its log with it.
    lines = refused_lines(load, time.monotonic() - began)
    again = playbook("egress.ai_gateway.rotate_keys", "--extra-vars", f"@{mixed}")
    site = _run("site", mixed, outputs[2])
    return Rotated(load.outcomes, [*load.refusals, *lines], again, site, keys, outputs)
