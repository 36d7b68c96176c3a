# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotate the keys of all providers of the mixed catalogue while requests run."""

from __future__ import annotations

import collections
import dataclasses
import pathlib

import catalogs
from load import Load, Request
from runs import INVENTORY, playbook, recaps, start
from sites import WITHOUT_RECOVERY

REQUESTS = [
    Request("/v1/chat/completions", "gpt-4"),
    Request("/external/vllm/v1/chat/completions", "Qwen/Qwen3-0.6B"),
    Request("/v1/messages", "claude-sonnet-4"),
]


@dataclasses.dataclass(frozen=True)
class Rotated:
    """The outcome of rotations.

    `outcomes` counts the requests during them by status or error, `refusals` quotes some that were not answered.
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
    """A playbook with its differences and all that Ansible prints."""
    arguments = ("--inventory", INVENTORY, "--extra-vars", f"@{variables}", *WITHOUT_RECOVERY)
    return ["ansible-playbook", "-vvv", "--diff", *arguments, f"egress.ai_gateway.{playbook_name}"]


def _run(playbook_name: str, variables: pathlib.Path, output: pathlib.Path) -> int:
    """Run a playbook with its output in a file; return how many tasks changed something."""
    with start(*_command(playbook_name, variables)) as process:
        output.write_text(process.communicate()[0], encoding="utf-8")
    assert process.returncode == 0, output.read_text(encoding="utf-8")[-4000:]
    (recap,) = recaps(output.read_text(encoding="utf-8"))
    return recap["embedded"]["changed"]


def rotate(directory: pathlib.Path, url: str, token: str, *, rotations: int, requests: int) -> Rotated:
    """Rotate so many times, each begun by a run that is cut off and completed by the next, and until there were so many
    requests.

    :param directory: an empty one, for variables and outputs.
    """
    keys: dict[str, str] = {}
    outputs = [directory / f"{name}.txt" for name in ("cut_off", "complete", "site")]
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
    again = playbook("egress.ai_gateway.rotate_keys", "--extra-vars", f"@{mixed}")
    site = _run("site", mixed, outputs[2])
    return Rotated(load.outcomes, load.refusals, again, site, keys, outputs)
