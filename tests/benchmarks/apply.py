# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Apply, apply again and remove the same objects by apply_set, by kubectl, by kubernetes.core.k8s and by a raw client,
side by side, on the embedded cluster, or on the one that KUBECONFIG and KUBECTL name.

Each round runs every way once, in another order each time and in a separate namespace. It measures whole commands:
their seconds, the largest memory that one of their processes held, and the requests to write objects of the benchmark's
kinds that the API server answered meanwhile, those that change nothing and those of others among them. Deleting a whole
collection is one request, whatever it holds. Removal lasts until the objects are gone. That is where kubectl takes
longest: it looks after the objects one by one, five a second. Two of the ways run in Ansible, so a play without tasks
is timed in each round as well; its median is taken off theirs. The raw client sends the requests that apply_set was
recorded to send, so it shows what the API server alone needs for them; its own start is not counted. The cluster needs
only the CRDs of the objects' kinds; controllers that look after the objects are measured with them. Everything is
removed again.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import importlib.metadata
import itertools
import json
import os
import pathlib
import re
import resource
import signal
import statistics
import string
import subprocess
import sys
import tempfile
import time
import typing as t

ROOT = pathlib.Path(__file__).resolve().parents[2]
STATE = pathlib.Path("/var/lib/egress-ai-gateway")
KUBECONFIG = pathlib.Path(os.environ.get("KUBECONFIG", STATE / "kubeconfig"))
KUBECTL = pathlib.Path(os.environ.get("KUBECTL", STATE / "bin/kubectl"))
#: How each kubectl command begins.
KUBECTL_COMMAND = (str(KUBECTL), "--kubeconfig", str(KUBECONFIG))

RAW_CLIENT = "raw client"
WAYS = ("apply_set", "kubectl", "kubernetes.core.k8s", RAW_CLIENT)
#: Those of them that run in a play.
IN_ANSIBLE = ("apply_set", "kubernetes.core.k8s")
EMPTY_PLAY = "empty play"
PHASES = ("first apply", "nothing to change", "removal")

#: What a provider is made of on stack envoy_ai_gateway. Of the mix, $number objects are applied in $namespace;
#: $provider counts the providers.
LABEL = "app.kubernetes.io/part-of=benchmark"
METADATA = "metadata: {name: provider-$provider, namespace: $namespace, labels: {app.kubernetes.io/part-of: benchmark}}"
SECRET = base64.b64encode(b"secret" * 8).decode()
OBJECTS = [
    string.Template(f"---\n{text}\n{METADATA}\n")
    for text in (
        f"apiVersion: v1\nkind: Secret\ntype: Opaque\ndata: {{apiKey: {SECRET}}}",
        "apiVersion: gateway.envoyproxy.io/v1alpha1\nkind: Backend\nspec:\n"
        "  endpoints: [{fqdn: {hostname: provider-$provider.example.com, port: 443}}]\n"
        "  tls: {sni: provider-$provider.example.com, wellKnownCACertificates: System}",
        "apiVersion: aigateway.envoyproxy.io/v1beta1\nkind: AIServiceBackend\nspec:\n  schema: {name: OpenAI}\n"
        "  backendRef: {group: gateway.envoyproxy.io, kind: Backend, name: provider-$provider}",
        "apiVersion: aigateway.envoyproxy.io/v1beta1\nkind: BackendSecurityPolicy\nspec:\n"
        "  targetRefs: [{group: aigateway.envoyproxy.io, kind: AIServiceBackend, name: provider-$provider}]\n"
        "  type: APIKey\n  apiKey: {secretRef: {name: provider-$provider}}",
    )
]
GROUPS = {
    "secrets": "",
    "backends": "gateway.envoyproxy.io",
    "aiservicebackends": "aigateway.envoyproxy.io",
    "backendsecuritypolicies": "aigateway.envoyproxy.io",
}
RESOURCES = [f"{resource}.{group}" if group else resource for resource, group in GROUPS.items()]

#: How the API server counts requests that write: a server-side apply as APPLY, and the deletion of a collection as
#: DELETE.
WRITES = ("APPLY", "DELETE", "DELETECOLLECTION", "PATCH", "POST", "PUT")
METRIC_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclasses.dataclass(frozen=True)
class Figures:
    """Time, memory and requests of one command."""

    objects: int
    round: int
    way: str
    phase: str
    seconds: float
    #: Seconds that its processes computed.
    computing: float
    #: Largest resident set of any of its processes, in KiB.
    memory: int
    #: Requests to write that the API server answered meanwhile.
    writes: int


def kubectl(*arguments: str) -> str:
    """Return what kubectl prints; end the benchmark when it fails."""
    ended = subprocess.run([*KUBECTL_COMMAND, *arguments], stdout=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        sys.exit(f"kubectl {' '.join(arguments)}: exit status {ended.returncode}")
    return ended.stdout


def count_objects(namespace: str) -> int:
    return len(
        kubectl("get", ",".join(RESOURCES), "--namespace", namespace, "--selector", LABEL, "--output=name").splitlines()
    )


def count_writes() -> int:
    """Return how many requests to write objects of RESOURCES the API server has answered since its start.

    Dry runs are left out, and subresources, which hold statuses and the tokens that others request.
    """
    total = 0
    # Read line by line, as the answer has many megabytes and this process is to stay small; see measure.
    with subprocess.Popen([*KUBECTL_COMMAND, "get", "--raw", "/metrics"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            if line.startswith("apiserver_request_total{"):
                labels = dict(METRIC_LABEL.findall(line))
                if (
                    GROUPS.get(labels["resource"]) == labels["group"]
                    and labels["verb"] in WRITES
                    and not labels["dry_run"]
                    and not labels["subresource"]
                ):
                    total += int(float(line.rpartition(" ")[2]))
    if process.returncode:
        sys.exit(f"cannot read the API server's metrics: exit status {process.returncode}")
    return total


def measure(command: t.Sequence[str]) -> tuple[float, float, int, str]:
    """Run `command` and return its seconds, those that its processes computed, their largest resident set in KiB and
    what it printed; end the benchmark with its output when it fails.
    """
    with tempfile.TemporaryFile() as output:
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            # Covers the command and every descendant that was waited for.
            _pid, status, usage = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise
        seconds = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        printed = output.read().decode(errors="replace")
        if process.returncode:
            sys.exit(f"\n{' '.join(command)}: exit status {process.returncode}\n{printed}")
    # Linux counts the memory of the process that started the command as the command's own, so only what exceeds it
    # counts.
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert usage.ru_maxrss > own, (
        f"the benchmark itself holds {own} KiB, so it cannot measure the memory of a command that holds less"
    )
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss, printed


def write_objects(path: pathlib.Path, namespace: str, count: int) -> None:
    with path.open("w", encoding="utf-8") as stream:
        for number, template in zip(range(count), itertools.cycle(OBJECTS)):
            stream.write(template.substitute(provider=number // len(OBJECTS), namespace=namespace))


def play(path: pathlib.Path, **task: t.Any) -> list[str]:
    """Write a playbook of one task to `path` and return the command that runs it."""
    variables = {"ansible_python_interpreter": sys.executable}
    content = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": [task]}
    # JSON is YAML too.
    path.write_text(json.dumps([content]), encoding="utf-8")
    return ["ansible-playbook", "--inventory", "localhost,", str(path)]


def raw_client(namespace: str, requests: pathlib.Path, *options: str) -> list[str]:
    """Return the command of the raw client, which records into the file `requests` or sends them."""
    client = pathlib.Path(__file__).with_name("raw_client.py")
    return [sys.executable, str(client), str(KUBECONFIG), namespace, str(requests), *options]


def commands(way: str, namespace: str, objects: pathlib.Path) -> tuple[list[str], list[str]]:
    """Return the commands by which `way` applies the file `objects`, and removes them and waits until they are gone."""
    if way == "kubectl":
        file = ("--filename", str(objects))
        return [*KUBECTL_COMMAND, "apply", "--server-side", *file], [*KUBECTL_COMMAND, "delete", "--wait", *file]
    text = f"lookup('ansible.builtin.file', '{objects}')"
    options: dict[str, t.Any]
    present: dict[str, t.Any]
    absent: dict[str, t.Any]
    if way == "apply_set":
        name = "egress.ai_gateway.apply_set"
        options = {"name": "benchmark", "namespace": namespace}
        # The other two do not wait until the objects are ready.
        present = {"manifests": f"{{{{ {text} }}}}", "wait": False}
        absent = {"state": "absent"}
    else:
        name = "kubernetes.core.k8s"
        options = {"definition": f"{{{{ {text} | from_yaml_all | list }}}}"}
        present = {"apply": True, "server_side_apply": {"field_manager": "benchmark"}}
        absent = {"state": "absent", "wait": True}
    options["kubeconfig"] = str(KUBECONFIG)
    return (
        play(objects.with_suffix(".present.json"), **{name: options | present}),
        play(objects.with_suffix(".absent.json"), **{name: options | absent}),
    )


class Benchmark:
    """Runs the turns and keeps their figures; what it made on the cluster meanwhile is in `namespaces`."""

    def __init__(self, directory: pathlib.Path) -> None:
        self.figures: list[Figures] = []
        self.namespaces: list[str] = []
        self._directory = directory
        #: Where the requests of the raw client are, by the number of objects.
        self._recorded: dict[int, pathlib.Path] = {}
        # Names that no other run uses.
        self._names = (f"benchmark-{os.getpid()}-{number}" for number in itertools.count(1))

    def run(self, sizes: t.Sequence[int], rounds: int, removals: int, ways: t.Sequence[str]) -> None:
        participants = [*ways, EMPTY_PLAY]
        for objects in sizes:
            for number in range(rounds):
                shift = number % len(participants)
                for way in participants[shift:] + participants[:shift]:
                    print(f"{objects} objects, round {number + 1} of {rounds}, {way}:", end="", flush=True)
                    if way == EMPTY_PLAY:
                        command = play(self._directory / "empty.json", **{"ansible.builtin.meta": "noop"})
                        self._measure(objects, number, way, EMPTY_PLAY, command)
                    else:
                        self._turn(objects, number, way, PHASES if number < removals else PHASES[:2])
                    print(flush=True)

    def _turn(self, objects: int, number: int, way: str, phases: t.Sequence[str]) -> None:
        if way == RAW_CLIENT and objects not in self._recorded:
            self._record(objects)
        namespace = self._make_namespace()
        if way == RAW_CLIENT:
            sent = [raw_client(namespace, self._recorded[objects], "--send", phase) for phase in PHASES]
        else:
            source = self._directory / f"{namespace}.yaml"
            write_objects(source, namespace, objects)
            apply, remove = commands(way, namespace, source)
            sent = [apply, apply, remove]
        for phase, command, expected in zip(phases, sent, (objects, objects, 0)):
            self._measure(objects, number, way, phase, command)
            if (there := count_objects(namespace)) != expected:
                sys.exit(f"\n{way}, {phase}: {there} objects are there and not {expected}")
        self.remove_namespaces()

    def _record(self, objects: int) -> None:
        namespace = self._make_namespace()
        source, requests = (self._directory / f"{namespace}.{suffix}" for suffix in ("yaml", "json"))
        write_objects(source, namespace, objects)
        measure(raw_client(namespace, requests, "--record", str(source)))
        self.remove_namespaces()
        self._recorded[objects] = requests

    def _measure(self, objects: int, number: int, way: str, phase: str, command: t.Sequence[str]) -> None:
        before = count_writes()
        seconds, computing, memory, printed = measure(command)
        if way == RAW_CLIENT:
            # Its own count, which leaves out its start.
            seconds = float(printed)
        writes = count_writes() - before
        if writes < 0:
            sys.exit(f"\n{way}, {phase}: the API server restarted meanwhile")
        self.figures.append(Figures(objects, number + 1, way, phase, seconds, computing, memory, writes))
        print(f"  {phase} {seconds:.2f} s", end="", flush=True)

    def _make_namespace(self) -> str:
        namespace = next(self._names)
        # Noted first, so that an interruption leaves nothing behind.
        self.namespaces.append(namespace)
        kubectl("create", "namespace", namespace)
        return namespace

    def remove_namespaces(self) -> None:
        if self.namespaces:
            kubectl("delete", "namespace", "--ignore-not-found", "--wait", *self.namespaces)
            self.namespaces.clear()


def environment() -> dict[str, t.Any]:
    """Return what the figures depend on:

    the machine, and how busy it is before the benchmark starts, and the versions.
    """
    versions = json.loads(kubectl("version", "--output=json"))
    listed = subprocess.run(
        ["ansible-galaxy", "collection", "list", "kubernetes.core", "--format=json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    collection = next(iter(json.loads(listed.stdout).values()))["kubernetes.core"]
    return {
        "cores": os.cpu_count(),
        "load at the start": round(os.getloadavg()[0], 1),
        "kubectl": versions["clientVersion"]["gitVersion"],
        "server": versions["serverVersion"]["gitVersion"],
        "ansible-core": importlib.metadata.version("ansible-core"),
        "kubernetes client": importlib.metadata.version("kubernetes"),
        "kubernetes.core": collection["version"],
    }


def table(figures: t.Sequence[Figures]) -> str:
    """Return the figures of one size as lines, those of each phase and way in one."""
    groups: dict[tuple[str, str], list[Figures]] = {}
    for figure in figures:
        groups.setdefault((figure.phase, figure.way), []).append(figure)
    medians = {key: statistics.median(figure.seconds for figure in group) for key, group in groups.items()}
    empty = medians[EMPTY_PLAY, EMPTY_PLAY]
    net = {(phase, way): seconds - (empty if way in IN_ANSIBLE else 0) for (phase, way), seconds in medians.items()}
    rounds = max(figure.round for figure in figures)
    lines = [
        f"{figures[0].objects} objects, {rounds} round{'s' if rounds > 1 else ''}",
        f"{'':40}{'whole command':^30}  {'net of':>9}  {'times':>9}  {'':>9}  {'peak':>8}  {'writing':>9}",
        f"{'phase':18}  {'way':20}{'median':>9}  {'least - most':>19}"
        f"  {'Ansible':>9}  {'apply_set':>9}  {'computing':>9}  {'memory':>8}  {'requests':>9}",
    ]
    for phase, way in sorted(
        groups, key=lambda key: ((EMPTY_PLAY, *PHASES).index(key[0]), (EMPTY_PLAY, *WAYS).index(key[1]))
    ):
        group = groups[phase, way]
        seconds = [figure.seconds for figure in group]
        base = net.get((phase, "apply_set"))
        writes = [figure.writes for figure in group]
        lines.append(
            f"{phase:18}  {way if way != phase else '':20}{medians[phase, way]:7.2f} s"
            f"  {min(seconds):7.2f} - {max(seconds):7.2f} s"
            f"  {f'{net[phase, way]:7.2f} s' if way != EMPTY_PLAY else '':>9}"
            f"  {f'{net[phase, way] / base:.2f}' if base else '':>9}"
            f"  {statistics.median(figure.computing for figure in group):7.2f} s"
            f"  {max(figure.memory for figure in group) / 1024:4.0f} MiB"
            f"  {f'{min(writes)} - {max(writes)}' if len(set(writes)) > 1 else writes[0]:>9}"
        )
    for phase in PHASES:
        raw = {figure.round: figure.seconds for figure in groups.get((phase, RAW_CLIENT), [])}
        ratios = [
            (figure.seconds - empty) / raw[figure.round]
            for figure in groups.get((phase, "apply_set"), [])
            if figure.round in raw
        ]
        if ratios:
            lines.append(
                f"{phase}: apply_set takes {statistics.median(ratios):.2f} times what the raw client takes"
                f" ({min(ratios):.2f} - {max(ratios):.2f} by round)"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare apply_set with other ways to apply.")
    parser.add_argument(
        "--objects",
        type=int,
        nargs="+",
        default=[50, 500, 5000],
        metavar="NUMBER",
        help="how many objects to apply, one size after another",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, metavar="NUMBER", help="how many turns each way gets at each size"
    )
    parser.add_argument(
        "--removals", type=int, default=5, metavar="NUMBER", help="in how many of the rounds removal is measured"
    )
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS, help="the ways to compare")
    parser.add_argument(
        "--json",
        type=pathlib.Path,
        metavar="FILE",
        help="write all raw figures to this file, those before a failure too",
    )
    arguments = parser.parse_args()
    if not KUBECONFIG.exists() or not KUBECTL.exists():
        sys.exit(
            f"There is no cluster to measure on: {KUBECONFIG} or {KUBECTL} is missing. Bring one up with `make site`."
        )
    served = set(kubectl("api-resources", "--cached=false", "--output=name").split())
    if missing := [resource for resource in RESOURCES if resource not in served]:
        sys.exit(f"The cluster does not serve {', '.join(missing)}. Install their CRDs with `make site`.")
    # A termination cleans up like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    around = environment()
    if arguments.json:
        # A path that cannot be written fails here, before hours of measuring.
        arguments.json.touch()
    with contextlib.ExitStack() as stack:
        benchmark = Benchmark(pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory())))
        stack.callback(benchmark.remove_namespaces)
        try:
            benchmark.run(arguments.objects, arguments.rounds, arguments.removals, arguments.ways)
        except KeyboardInterrupt:
            print("\ninterrupted; removing what was made ...", flush=True)
            sys.exit(130)
        finally:
            if arguments.json:
                figures = [dataclasses.asdict(figure) for figure in benchmark.figures]
                arguments.json.write_text(
                    json.dumps({"environment": around, "figures": figures}, indent=2) + "\n", encoding="utf-8"
                )
    for objects in arguments.objects:
        print(f"\n{table([figure for figure in benchmark.figures if figure.objects == objects])}")
    print("\n" + ", ".join(f"{name} {value}" for name, value in around.items()))


if __name__ == "__main__":
    main()
