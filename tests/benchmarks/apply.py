# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply the same objects by apply_set, by kubectl and by kubernetes.core.k8s, side by side, on the embedded cluster.

Each round gives every way a turn, in another order each time, on namespaces of its own: first with nothing there, then with nothing
to change. Printed are the median and the spread of each over the rounds, and how many times as long as apply_set it took.
Times are of whole commands, so Ansible's start counts for the two that run in it; it is measured too, with a task that does nothing.
Everything is removed again.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATE = pathlib.Path("/var/lib/egress-ai-gateway")
KUBECONFIG = pathlib.Path(os.environ.get("KUBECONFIG", STATE / "kubeconfig"))
KUBECTL = STATE / "bin/kubectl"

#: Tasks that apply the file @manifests@, which holds objects of namespace @namespace@.
TASKS: dict[str, dict[str, t.Any]] = {
    "apply_set": {
        "egress.ai_gateway.apply_set": {
            "kubeconfig": "@kubeconfig@",
            "name": "benchmark",
            "namespace": "@namespace@",
            "manifests": "{{ lookup('ansible.builtin.file', '@manifests@') }}",
        }
    },
    "kubernetes.core.k8s": {
        "kubernetes.core.k8s": {
            "kubeconfig": "@kubeconfig@",
            "definition": "{{ lookup('ansible.builtin.file', '@manifests@') | from_yaml_all | list }}",
            "apply": True,
            "server_side_apply": {"field_manager": "benchmark"},
        }
    },
    "Ansible alone": {"ansible.builtin.meta": "noop"},
}
WAYS = ("apply_set", "kubectl", "kubernetes.core.k8s")


def manifests(namespace: str, count: int) -> str:
    """Return `count` objects as YAML, ConfigMaps and Secrets in turn, of about 1 kB each."""
    value = "x" * 700
    secret = base64.b64encode(value.encode()).decode()
    objects = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": f"object-{number}", "namespace": namespace}, "data": {"value": secret}}
        if number % 2
        else {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"object-{number}", "namespace": namespace}, "data": {"value": value}}
        for number in range(count)
    ]
    return yaml.safe_dump_all(objects)


def timed(*command: str | pathlib.Path) -> float:
    """Run `command` and return its seconds; end the benchmark with its output when it fails."""
    started = time.monotonic()
    ended = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    if ended.returncode:
        sys.exit(f"{' '.join(map(str, command))}: exit status {ended.returncode}\n{ended.stdout}{ended.stderr}")
    return seconds


def kubectl(*arguments: str | pathlib.Path) -> float:
    return timed(KUBECTL, "--kubeconfig", KUBECONFIG, *arguments)


def count_objects(namespace: str) -> int:
    command = [str(KUBECTL), "--kubeconfig", str(KUBECONFIG), "get", "configmaps,secrets", "--namespace", namespace, "--output=name"]
    return sum("/object-" in line for line in subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines())


class Benchmark:
    def __init__(self, directory: pathlib.Path, count: int) -> None:
        self.directory = directory
        self.count = count

    def prepare(self, way: str, namespace: str) -> list[str | pathlib.Path]:
        """Write what `way` needs to apply the objects to `namespace` and return its command."""
        source = self.directory / f"{namespace}.yaml"
        source.write_text(manifests(namespace, self.count), encoding="utf-8")
        if way == "kubectl":
            return [KUBECTL, "--kubeconfig", KUBECONFIG, "apply", "--server-side", "--filename", source]
        text = json.dumps(TASKS[way])
        for name, value in {"kubeconfig": KUBECONFIG, "namespace": namespace, "manifests": source}.items():
            text = text.replace(f"@{name}@", str(value))
        task = json.loads(text)
        play = {
            "name": "Benchmark",
            "hosts": "localhost",
            "connection": "local",
            "gather_facts": False,
            "vars": {"ansible_python_interpreter": sys.executable},
            "tasks": [{"name": way, **task}],
        }
        playbook = self.directory / f"{namespace}-playbook.yml"
        playbook.write_text(yaml.safe_dump([play]), encoding="utf-8")
        return ["ansible-playbook", "--inventory", "localhost,", playbook]

    def turn(self, way: str, number: int) -> tuple[float, float]:
        """Apply everything with nothing there, then again; return the seconds of both."""
        namespace = f"benchmark-{WAYS.index(way)}-{number}"
        kubectl("create", "namespace", namespace)
        try:
            command = self.prepare(way, namespace)
            first = timed(*command)
            if (there := count_objects(namespace)) != self.count:
                sys.exit(f"{way} left {there} objects of {self.count}")
            return first, timed(*command)
        finally:
            kubectl("delete", "namespace", namespace)


def row(name: str, seconds: list[float], base: float) -> str:
    median = statistics.median(seconds)
    return f"{name:22}{median:8.2f} s   {min(seconds):6.2f} - {max(seconds):6.2f} s   {median / base:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare apply_set with kubectl and kubernetes.core.k8s.")
    parser.add_argument("--objects", type=int, default=500, help="how many objects to apply")
    parser.add_argument("--rounds", type=int, default=3, help="how many turns each way gets")
    arguments = parser.parse_args()
    if not KUBECONFIG.exists() or not KUBECTL.exists():
        sys.exit(f"There is no cluster to measure on: {KUBECONFIG} or {KUBECTL} is missing. Bring one up with `make site`.")

    first: dict[str, list[float]] = {way: [] for way in WAYS}
    again: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as name:
        benchmark = Benchmark(pathlib.Path(name), arguments.objects)
        start = timed(*benchmark.prepare("Ansible alone", "benchmark"))
        for number in range(arguments.rounds):
            shift = number % len(WAYS)
            for way in WAYS[shift:] + WAYS[:shift]:
                print(f"round {number + 1} of {arguments.rounds}: {way} ...", flush=True)
                seconds = benchmark.turn(way, number)
                first[way].append(seconds[0])
                again[way].append(seconds[1])

    print(f"\n{arguments.objects} objects, {arguments.rounds} rounds, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, {platform.machine()}")
    print(f"Ansible alone takes {start:.2f} s of each of its runs.")
    for title, times in (("first apply", first), ("nothing to change", again)):
        print(f"\n{title:22}{'median':>10}   {'least - most':>17}   times apply_set")
        base = statistics.median(times["apply_set"])
        for way in WAYS:
            print(row(way, times[way], base))


if __name__ == "__main__":
    main()
