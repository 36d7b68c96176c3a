# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill runs of site, all of their processes at once, while they change a site from one catalogue to another."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import time
import typing as t

import objects
import yaml
from runs import INVENTORY, playbook, start

#: What controllers make and name by chance, or remove when they please.
VOLATILE = r"^\S+ (Pod|PodMetrics|ReplicaSet|ControllerRevision|EndpointSlice|IPAddress|Lease|Job) "
#: What controllers make for a member, with its labels, and what they choose of it.
MADE = ("Endpoints", "EndpointSlice")
CHOSEN = ("clusterIP", "clusterIPs", "healthCheckNodePort")
#: Fields of a member of a set that say what it is to be. Others are the API server's, or a controller's.
FIELDS_OF_OTHERS = ("metadata", "status")
#: What writes the same for both catalogues is left out, and the checks, so that a kill meets what is being written.
TAGS = "--skip-tags=embedded_cluster,validation,crds,controllers"
#: A run is killed between these parts of its time: before it reads, and after it writes no more.
BETWEEN = (0.1, 0.97)


def catalogues(directory: pathlib.Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The arguments of site for two catalogues: the inventory's, and one with other providers, keys and tiers."""

    def provider(name: str, *models: str) -> dict[str, t.Any]:
        credential = {"value": f"sk-{name}-of-the-other-catalogue"}
        listed = [{"name": model} for model in models]
        return {"name": name, "schema": "openai", "simulated": True, "credential": credential, "models": listed}

    def tier(level: int, name: str, tokens: int, *models: str) -> dict[str, t.Any]:
        limit = {"tokens": tokens, "window": "1m"}
        return {"name": name, "level": level, "groups": [f"{name}-users"], "token_limit": limit, "models": [*models]}

    other = {
        "ai_gateway_providers": [provider("openai", "gpt-4", "gpt-5"), provider("mistral", "mistral-large")],
        "ai_gateway_tiers": [tier(0, "free", 200, "gpt-4"), tier(1, "gold", 90_000, "*")],
        "gateway_http_redirect": False,
    }
    path = directory / "other.yml"
    path.write_text(yaml.safe_dump(other), encoding="utf-8")
    path.chmod(0o600)
    fast = ("--extra-vars", "providers_prune_delay=0")
    return fast, (*fast, "--extra-vars", f"@{path}")


def run_site(arguments: t.Sequence[str]) -> int:
    """Run site to its end; return how many tasks changed something."""
    return playbook("egress.ai_gateway.site", TAGS, *arguments)


def kill_site(arguments: t.Sequence[str], after: float, directory: pathlib.Path) -> bool:
    """Run site and kill it after so many seconds; return whether it was still running.

    Ansible's workers leave its process group, but nothing leaves a PID namespace, and with its first process everything
    in it has ended.
    """
    litter = {"TMPDIR": str(directory), "ANSIBLE_LOCAL_TEMP": str(directory), "ANSIBLE_REMOTE_TEMP": str(directory)}
    command = ("ansible-playbook", "--inventory", INVENTORY, TAGS, *arguments, "egress.ai_gateway.site")
    command = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *command)
    with start(*command, **litter) as process, concurrent.futures.ThreadPoolExecutor(1) as pool:
        # What nobody reads would stop it.
        said = pool.submit(process.communicate)
        concurrent.futures.wait([said], after)
        children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children")
        for first in children.read_text(encoding="utf-8").split() if not said.done() else ():
            os.kill(int(first), signal.SIGKILL)
        output = said.result()[0]
    titles = re.findall(r"^TASK \[(.*)\]", output, re.MULTILINE)
    print(f"killed after {after:.1f} s in task: {titles[-1] if titles else 'none'}", flush=True)
    return process.returncode != 0


def content() -> dict[str, str]:
    """Digest of what each member of the sets is to be, by kind and name."""
    kinds = set(objects.kubectl("api-resources", "--cached=false", "--verbs=list", "--output=name").split())
    listed = objects.kubectl(
        "get",
        ",".join(sorted(kinds - objects.VOLATILE)),
        "--all-namespaces",
        "--selector=applyset.kubernetes.io/part-of",
        "--output=json",
    )
    found = {}
    for body in json.loads(listed)["items"]:
        metadata = body["metadata"]
        if body["kind"] in MADE:
            continue
        if body["kind"] == "Service":
            body["spec"] = {key: value for key, value in body["spec"].items() if key not in CHOSEN}
        wanted: dict[str, t.Any] = {key: value for key, value in body.items() if key not in FIELDS_OF_OTHERS}
        wanted["labels"] = metadata.get("labels")
        name = f"{body['kind']} {metadata.get('namespace', '')}/{metadata['name']}"
        found[name] = hashlib.sha256(json.dumps(wanted, sort_keys=True).encode()).hexdigest()
    return found


@dataclasses.dataclass(frozen=True)
class State:
    """The names of all objects, and what the members of sets are to be."""

    names: set[str]
    content: dict[str, str]

    def differences(self, other: State) -> list[str]:
        """What `other` has not, has more, and has otherwise."""
        otherwise = [
            name for name, digest in self.content.items() if name in other.content and other.content[name] != digest
        ]
        return [
            *(f"missing: {name}" for name in sorted(self.names - other.names)),
            *(f"more: {name}" for name in sorted(other.names - self.names)),
            *(f"not a member of its set: {name}" for name in sorted(set(self.content) ^ set(other.content))),
            *(f"another content: {name}" for name in sorted(otherwise)),
        ]


def state(expected: set[str] | None = None) -> State:
    """The state of the cluster, once its collectors have done their work; by default once nothing changes."""
    if expected is None:
        names = objects.settled_listing(quiet=5, besides=VOLATILE)
    else:
        names = objects.wait_for(expected, timeout=60, besides=VOLATILE)
    return State(names, content())


class Kills:
    """Two catalogues, each with its undisturbed state, and how long site takes from one to the other."""

    def __init__(self, directory: pathlib.Path, seed: int) -> None:
        self._directory = directory
        # The seed spreads kills and keeps no secret.
        self._chance = random.Random(seed)  # noqa: S311
        self._catalogues = catalogues(directory)
        self._states: list[State] = []
        self._seconds: list[float] = []
        # The last becomes the present one. The first run removes what another test has left.
        run_site(self._catalogues[1])
        for arguments in self._catalogues:
            started = time.monotonic()
            assert run_site(arguments) > 0
            self._seconds.append(time.monotonic() - started)
            self._states.append(state())
        self.present = 1
        #: How many kills came before the end of their runs.
        self.killed = 0
        print(f"undisturbed runs take {', '.join(f'{seconds:.0f} s' for seconds in self._seconds)}")

    def kill_and_complete(self, times: int) -> list[str]:
        """Change to the other catalogue in a run that is killed so many times, and run it to its end.

        Return what differs from the undisturbed state.
        """
        wanted = 1 - self.present
        arguments = self._catalogues[wanted]
        for _number in range(times):
            after = self._seconds[wanted] * self._chance.uniform(*BETWEEN)
            self.killed += kill_site(arguments, after, self._directory)
        run_site(arguments)
        self.present = wanted
        return self._states[wanted].differences(state(self._states[wanted].names))

    def run_again(self) -> int:
        """Run site once more; return how many tasks changed something."""
        return run_site(self._catalogues[self.present])
