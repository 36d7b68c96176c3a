# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rotate the keys of all providers of the mixed catalogue while requests run."""

from __future__ import annotations

import collections
import dataclasses
import pathlib

import catalogs
from load import Load, Request
from runs import INVENTORY, follow, playbook, recaps, start
from sites import WITHOUT_RECOVERY

REQUESTS = [
    Request("/v1/chat/completions", "gpt-4"),
    Request("/external/vllm/v1/chat/completions", "Qwen/Qwen3-0.6B"),
    Request("/v1/messages", "claude-sonnet-4"),
]


@dataclasses.dataclass(frozen=True)
class Rotated:
    """What a rotation came to.

    `outcomes` counts the requests during it by status or error, `refusals` quotes some that were not answered.
    `again` and `site` say how many tasks the runs after it changed. `keys` are the last ones by provider, and `outputs`
    are the files with all that Ansible prints of the run that gave the gateway these keys and of site after it.
    """

    rotations: int
    outcomes: collections.Counter[str]
    refusals: list[str]
    again: int
    site: int
    keys: dict[str, str]
    outputs: list[pathlib.Path]


def _verbose(playbook_name: str, variables: pathlib.Path, output: pathlib.Path) -> int:
    """Run a playbook with differences and all that it prints, into a file; return how many tasks changed something."""
    arguments = ("--inventory", INVENTORY, "--extra-vars", f"@{variables}", *WITHOUT_RECOVERY)
    with start("ansible-playbook", "-vvv", "--diff", *arguments, f"egress.ai_gateway.{playbook_name}") as process:
        output.write_text(process.communicate()[0], encoding="utf-8")
    assert process.returncode == 0, output.read_text(encoding="utf-8")[-4000:]
    (recap,) = recaps(output.read_text(encoding="utf-8"))
    return recap["embedded"]["changed"]


def rotate(directory: pathlib.Path, url: str, token: str, least: int) -> Rotated:
    """Cut a rotation off, complete it, and rotate again until there were at least so many requests.

    :param directory: an empty one, for variables and outputs.
    """
    keys: dict[str, str] = {}
    rotations = 0

    def with_new_keys() -> pathlib.Path:
        keys.update({entry["name"]: f"{entry['key']}-{rotations}" for entry in catalogs.PROVIDERS})
        return catalogs.variables(directory / "mixed.yml", keys=keys)

    outputs = [directory / "rotate_keys.txt", directory / "site.txt"]
    mixed = with_new_keys()
    with Load(url, token, REQUESTS) as load:
        load.wait(100)
        with start(
            "ansible-playbook", "--inventory", INVENTORY, "--extra-vars", f"@{mixed}", "egress.ai_gateway.rotate_keys"
        ) as cut_off:
            follow(cut_off, end="TASK [egress.ai_gateway.providers : Apply the providers]")
            cut_off.kill()
        playbook("egress.ai_gateway.rotate_keys", "--extra-vars", f"@{mixed}")
        while True:
            rotations += 1
            mixed = with_new_keys()
            assert _verbose("rotate_keys", mixed, outputs[0]) > 0
            if sum(load.outcomes.values()) >= least:
                break
    again = playbook("egress.ai_gateway.rotate_keys", "--extra-vars", f"@{mixed}")
    site = _verbose("site", mixed, outputs[1])
    return Rotated(rotations + 1, load.outcomes, load.refusals, again, site, keys, outputs)
