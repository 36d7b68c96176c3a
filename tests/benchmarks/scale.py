# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bring a gateway of the embedded cluster to many providers and back, and see how long it takes and what it costs.

One simulator stands for all providers: they are not simulated, and have its Service for an endpoint and its key for a
credential. Each has an object of every kind that a provider has, and a model of its own. Beside them stands the
simulator's provider, which is not counted.

Each round takes each size through these phases, every one of them by the command that a user with another catalogue
runs, ``ansible-playbook egress.ai_gateway.site --tags simulators,access_policies,providers``:

* first converge: from no provider but the simulator's to N;
* nothing to change: the same again, which must change nothing;
* one added: to N + 1;
* prune: to 10, or to none from 10 and fewer. Nothing of the others may be left then.

After each phase the gateway is asked, from the end of the command on, until the last provider's model answers (after a
prune, until the model that went last is refused with 404), and until /v1/models lists exactly the existing
models. Once all models have answered, the next phase waits until the controllers are at rest. The time of a play
without tasks over the same inventory is subtracted from Ansible's, as is the time in which a task waits for
controllers; the rest is the collection's own part. Memory is the resident set of a component's processes, read before
the prune; as sizes go up, memory that a controller keeps of a larger size is not counted for a smaller one.

In the end the inventory's own catalogue is restored.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import secrets
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

import scale_catalogue
import scale_cluster
import yaml
from apply import KUBECONFIG, KUBECTL, ROOT, environment
from scale_catalogue import model_name
from scale_cluster import ClusterError, Gateway, wait_until
from scale_runs import PARTS, Run, RunError, playbook

INVENTORY = ROOT / "inventories/embedded"
HOST = "embedded"
SITE = "egress.ai_gateway.site"
TAGS = "--tags=simulators,access_policies,providers"
EMPTY_PLAY = "empty play"
PHASES = ("first converge", "nothing to change", "one added", "prune")
#: How many providers a prune leaves, of those that have more.
KEPT = 10
MEMORY = scale_cluster.GATEWAY_COMPONENTS


@dataclasses.dataclass(frozen=True)
class Figures:
    """The figures of one phase. Without a gateway to ask, as for an empty play, all but the first five are empty."""

    providers: int
    round: int
    phase: str
    seconds: float
    #: Seconds by PARTS of a run.
    parts: dict[str, float]
    changed: int = 0
    #: Seconds from the end of the command until the last model answered, or the removed one was refused; until exactly
    #: the models there were listed; and until the controllers were at rest.
    served: float = 0.0
    listed: float = 0.0
    rested: float = 0.0
    #: By component, from the start of the command until the controllers were at rest: CPU seconds, and restarts.
    cpu: dict[str, float] = dataclasses.field(default_factory=dict)
    restarts: dict[str, int] = dataclasses.field(default_factory=dict)
    #: By component at the end: KiB of its resident set, and of the largest that it ever had.
    memory: dict[str, int] = dataclasses.field(default_factory=dict)
    peak: dict[str, int] = dataclasses.field(default_factory=dict)


#: Names and tiers of the embedded inventory, or else of the collection's defaults.
SETTINGS = ("ai_gateway_namespace", "ai_gateway_name", "ai_gateway_simulators_namespace", "ai_gateway_tiers")


def settings(directory: pathlib.Path, limit: float, names: t.Iterable[str] = SETTINGS) -> dict[str, t.Any]:
    """Return variables as a play has them; ``directory`` takes the play and what it writes."""
    written = directory / "settings.json"
    content = ", ".join(f"{name!r}: {name}" for name in names)
    tasks = [
        {
            "ansible.builtin.copy": {
                "content": f"{{{{ {{{content}}} | to_json }}}}",
                "dest": str(written),
                "mode": "0600",
            }
        }
    ]
    play = directory / "settings.yml"
    play.write_text(
        yaml.safe_dump(
            [{"hosts": "all", "gather_facts": False, "roles": ["egress.ai_gateway.catalog"], "tasks": tasks}]
        ),
        encoding="utf-8",
    )
    playbook(str(play), [INVENTORY], limit=limit)
    found: dict[str, t.Any] = json.loads(written.read_text(encoding="utf-8"))
    return found


class Benchmark:
    """Takes the gateway through the phases and keeps their figures."""

    def __init__(self, directory: pathlib.Path, limit: float) -> None:
        self.figures: list[Figures] = []
        #: Of no providers but the simulator's: KiB of memory by component.
        self.memory_before: dict[str, int] = {}
        self._directory = directory
        #: Seconds, for each command and for the wait after it.
        self._limit = limit
        self._key = f"sk-{secrets.token_urlsafe(24)}"
        self._settings = settings(directory, limit)
        self._inventories: dict[int, pathlib.Path] = {}
        self._gateway: Gateway | None = None

    def run(self, sizes: t.Sequence[int], rounds: int) -> None:
        self._say("bringing the gateway to one simulated provider ...")
        self._site(0)
        self._gateway = Gateway(self._url(), self._token())
        self._settle(0)
        self.memory_before = {name: used.memory for name, used in scale_cluster.usage().items()}
        for count in sorted(sizes):
            for number in range(1, rounds + 1):
                print(f"{count} providers, round {number} of {rounds}:", flush=True)
                self._round(count, number)

    def restore(self) -> None:
        """Bring back the inventory's own catalogue, and see that nothing of the benchmark's is left."""
        self._say("restoring the inventory's own catalogue ...")
        playbook(SITE, [INVENTORY], TAGS, limit=self._limit)
        wait_until(
            lambda: not scale_catalogue.of_the_benchmark(scale_cluster.objects()),
            "all that the benchmark made gone",
            self._limit,
            pause=2,
        )

    def _round(self, count: int, number: int) -> None:
        empty = playbook(str(self._empty_play()), [INVENTORY, self._inventory(count)], limit=self._limit)
        self._keep(Figures(count, number, EMPTY_PLAY, empty.seconds, empty.parts))
        self._phase(count, number, "first converge", count)
        again = self._phase(count, number, "nothing to change", count)
        if again.changed:
            raise ClusterError(
                f"{again.changed} tasks changed something in a run that had nothing to change\n{again.output}"
            )
        self._phase(count, number, "one added", count + 1)
        kept = KEPT if count > KEPT else 0
        self._phase(count, number, "prune", kept, removed=count + 1)
        if kept:
            self._site(0)
            self._settle(0)

    def _phase(self, count: int, number: int, phase: str, target: int, removed: int = 0) -> Run:
        """Run the command for ``target`` providers and measure; ``removed`` is the number of a provider that then must
        be gone.
        """
        before = scale_cluster.usage()
        run = self._site(target)
        served = (
            self._until_status(model_name(removed), 404, run.ended)
            if removed
            else self._until_status(model_name(target), 200, run.ended)
        )
        listed = self._until_listed(target, run.ended)
        rested = self._settle(target) - run.ended
        after = scale_cluster.usage()
        self._keep(
            Figures(
                count,
                number,
                phase,
                run.seconds,
                run.parts,
                run.changed,
                served,
                listed,
                rested,
                cpu={name: after[name].cpu - before[name].cpu for name in after},
                restarts={name: after[name].restarts - before[name].restarts for name in after},
                memory={name: used.memory for name, used in after.items()},
                peak={name: used.peak for name, used in after.items()},
            )
        )
        return run

    def _settle(self, target: int) -> float:
        """See that the gateway is as a catalogue of ``target`` providers wants it; return when its controllers came to
        rest.
        """
        client = self._client()
        models = [model_name(number) for number in range(target + 1)]
        refused = models
        deadline = time.monotonic() + self._limit
        while refused := client.refusals(refused):
            if time.monotonic() > deadline:
                raise ClusterError(
                    f"{len(refused)} of {len(models)} models do not answer, {', '.join(refused[:3])} among them"
                )
        self._until_listed(target, 0)
        waited = time.monotonic()
        rested = waited + scale_cluster.rest(self._limit)
        wait_until(
            lambda: not scale_catalogue.surplus(scale_cluster.objects(), target),
            f"no object of more than {target} providers",
            self._limit,
            pause=2,
        )
        return rested

    def _until_status(self, model: str, wanted: int, since: float) -> float:
        client, seen = self._client(), time.monotonic()

        def has_come() -> bool:
            nonlocal seen
            found = client.status(model)
            seen = time.monotonic()
            return found == wanted

        wait_until(has_come, f"status {wanted} for model {model}", self._limit)
        return seen - since

    def _until_listed(self, target: int, since: float) -> float:
        client, wanted = self._client(), sorted(model_name(number) for number in range(target + 1))
        wait_until(lambda: sorted(client.models()) == wanted, f"exactly {len(wanted)} models listed", self._limit)
        return time.monotonic() - since

    def _client(self) -> Gateway:
        assert self._gateway
        return self._gateway

    def _site(self, target: int) -> Run:
        return playbook(SITE, [INVENTORY, self._inventory(target)], TAGS, limit=self._limit)

    def _inventory(self, count: int) -> pathlib.Path:
        if count not in self._inventories:
            found = self._settings
            variables = scale_catalogue.catalogue(
                count, self._key, found["ai_gateway_tiers"], found["ai_gateway_simulators_namespace"]
            )
            self._inventories[count] = scale_catalogue.write_inventory(
                self._directory / f"inventory-{count}", HOST, variables
            )
        return self._inventories[count]

    def _empty_play(self) -> pathlib.Path:
        path = self._directory / "empty.yml"
        path.write_text(
            yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.meta": "noop"}]}]),
            encoding="utf-8",
        )
        return path

    def _url(self) -> str:
        return scale_cluster.gateway_url(self._settings["ai_gateway_namespace"], self._settings["ai_gateway_name"])

    def _token(self) -> str:
        path = self._directory / "token"
        variables = {
            "tokens_tier": scale_catalogue.TIER,
            "tokens_user": "scale",
            "tokens_expiration": "24h",
            "tokens_file": str(path),
        }
        playbook("egress.ai_gateway.token", [INVENTORY], "--extra-vars", json.dumps(variables), limit=self._limit)
        return path.read_text(encoding="utf-8").strip()

    def _keep(self, figures: Figures) -> None:
        self.figures.append(figures)
        asked = figures.phase in PHASES
        more = f", served after {figures.served:.1f} s more, at rest after {figures.rested:.0f} s" if asked else ""
        self._say(f"{figures.phase} {figures.seconds:.1f} s{more}")

    @staticmethod
    def _say(line: str) -> None:
        print(f"  {line}", flush=True)


# --- tables ---

Group = t.Sequence[Figures]
Measure = t.Callable[[Figures], float]


def whole(figure: Figures) -> float:
    return figure.seconds


def waiting(figure: Figures) -> float:
    return figure.parts["waiting"]


def until_served(figure: Figures) -> float:
    return figure.seconds + figure.served


def median(group: Group, measure: Measure) -> float:
    return statistics.median(map(measure, group))


def spread(group: Group, measure: Measure) -> str:
    """Return median, least and most."""
    values = list(map(measure, group))
    return f"{statistics.median(values):8.1f} s {f'({min(values):.1f} - {max(values):.1f})':>17}"


def slope(points: t.Mapping[int, float]) -> str:
    """Return by least squares how many milliseconds a provider adds; nothing for fewer than two sizes."""
    return (
        f"{statistics.linear_regression(list(points), list(points.values())).slope * 1000:.2f} ms"
        if len(points) > 1
        else ""
    )


class Table:
    """The figures of all sizes as lines, those of one phase and size in one."""

    def __init__(self, figures: Group, memory_before: t.Mapping[str, int]) -> None:
        self._figures = figures
        self._memory_before = memory_before
        self._groups: dict[tuple[str, int], list[Figures]] = {}
        for figure in figures:
            self._groups.setdefault((figure.phase, figure.providers), []).append(figure)
        self._empty = {
            size: median(group, whole) for (phase, size), group in self._groups.items() if phase == EMPTY_PLAY
        }

    def __str__(self) -> str:
        rounds = max(figure.round for figure in self._figures)
        title = (
            f"{rounds} round{'s' if rounds > 1 else ''}; times are medians, with the least and the most in parentheses"
        )
        blocks = [[title], self._times(), self._parts(), self._slopes(), self._memory(), self._cpu(), self._restarts()]
        return "\n\n".join("\n".join(block) for block in blocks if block)

    def _measured(self) -> t.Iterator[tuple[str, int, list[Figures]]]:
        for phase in PHASES:
            for size in self._empty:
                if group := self._groups.get((phase, size)):
                    yield phase, size, group

    def _own(self, group: Group) -> float:
        """Return the seconds of a phase that are the collection's:

        neither Ansible's own nor spent waiting for controllers.
        """
        return median(group, lambda figure: figure.seconds - waiting(figure)) - self._empty[group[0].providers]

    def _times(self) -> list[str]:
        head = f"{'':27}  {'whole command':>28}  {'empty':>10}  {'':>8}  {'own':>9}"
        head += f"  {'last model, from the end':>28}  {'from the':>9}"
        lines = [
            head,
            f"{'phase':18}{'providers':>9}  {'':28}  {'play':>10}  {'waiting':>8}  {'part':>9}"
            f"  {'of the command':>28}  {'start':>9}",
        ]
        for phase, size, group in self._measured():
            own = f"{self._empty[size]:8.1f} s  {median(group, waiting):6.1f} s  {self._own(group):7.1f} s"
            served = f"{spread(group, lambda figure: figure.served)}  {median(group, until_served):7.1f} s"
            lines.append(f"{phase:18}{size:9}  {spread(group, whole)}  {own}  {served}")
        return lines

    def _parts(self) -> list[str]:
        lines = [f"{'seconds of':27}" + "".join(f"  {name:>10}" for name in (*PARTS, "listed", "at rest"))]
        for phase, size, group in self._measured():
            values = [statistics.median(figure.parts[part] for figure in group) for part in PARTS]
            values += [median(group, lambda figure: figure.listed), median(group, lambda figure: figure.rested)]
            lines.append(f"{phase:18}{size:9}" + "".join(f"  {value:10.1f}" for value in values))
        return lines

    def _slopes(self) -> list[str]:
        names = ("whole command", "waiting", "own part", "last model, from the start")
        lines = [f"{'slope a provider':27}" + "".join(f"  {name:>{max(12, len(name))}}" for name in names)]
        for phase in PHASES:
            groups = {size: group for found, size, group in self._measured() if found == phase}
            measures: tuple[t.Callable[[Group], float], ...] = (
                lambda group: median(group, whole),
                lambda group: median(group, waiting),
                self._own,
                lambda group: median(group, until_served),
            )
            cells = [slope({size: measure(group) for size, group in groups.items()}) for measure in measures]
            lines.append(f"{phase:27}" + "".join(f"  {cell:>{max(12, len(name))}}" for name, cell in zip(names, cells)))
        return lines

    def _memory(self) -> list[str]:
        lines = [f"{'MiB resident (most ever)':27}" + "".join(f"  {name:>21}" for name in MEMORY)]
        lines.append(
            f"{'before':18}{0:9}"
            + "".join(f"  {f'{self._memory_before.get(name, 0) / 1024:.0f}':>21}" for name in MEMORY)
        )
        for phase, size, group in self._measured():
            if phase == "one added":
                now = [statistics.median(figure.memory[name] for figure in group) / 1024 for name in MEMORY]
                most = [max(figure.peak[name] for figure in group) / 1024 for name in MEMORY]
                lines.append(
                    f"{phase:18}{size:9}"
                    + "".join(f"  {f'{value:.0f} ({peak:.0f})':>21}" for value, peak in zip(now, most))
                )
        return lines

    def _cpu(self) -> list[str]:
        names = scale_cluster.COMPONENTS
        lines = [f"{'CPU seconds until at rest':27}" + "".join(f"  {name:>21}" for name in names)]
        for phase, size, group in self._measured():
            lines.append(
                f"{phase:18}{size:9}"
                + "".join(f"  {statistics.median(figure.cpu[name] for figure in group):21.1f}" for name in names)
            )
        return lines

    def _restarts(self) -> list[str]:
        counts = {
            name: sum(figure.restarts.get(name, 0) for figure in self._figures) for name in scale_cluster.COMPONENTS
        }
        return (
            ["Restarted meanwhile: " + ", ".join(f"{name} {count} times" for name, count in counts.items() if count)]
            if any(counts.values())
            else []
        )


def failure_of(step: t.Callable[[], None]) -> str:
    """Take a step; show and return why it failed, or return nothing."""
    try:
        step()
    except KeyboardInterrupt:
        failure = "interrupted"
    except (ClusterError, RunError, subprocess.SubprocessError) as error:
        failure = str(error)
    else:
        return ""
    print(f"\n{failure}\n", flush=True)
    return f"{failure}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the gateway of the embedded cluster with many providers.")
    parser.add_argument(
        "--providers",
        type=int,
        nargs="+",
        default=[1, 10, 100, 1000],
        metavar="NUMBER",
        help="how many providers to come to",
    )
    parser.add_argument("--rounds", type=int, default=3, metavar="NUMBER", help="how often each size is measured")
    parser.add_argument(
        "--limit",
        type=float,
        default=1800,
        metavar="SECONDS",
        help="how long one command, or the wait after it, may take",
    )
    parser.add_argument(
        "--json",
        type=pathlib.Path,
        metavar="FILE",
        help="write all raw figures to this file, those before a failure too",
    )
    arguments = parser.parse_args()
    if min(arguments.providers) < 1 or arguments.rounds < 1:
        parser.error("--providers and --rounds count from 1")
    if not KUBECONFIG.exists() or not KUBECTL.exists():
        sys.exit(
            f"There is no cluster to measure on: {KUBECONFIG} or {KUBECTL} is missing. Bring one up with `make site`."
        )
    # A termination cleans up like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    around = environment()
    if arguments.json:
        # A path that cannot be written fails here, before hours of measuring.
        arguments.json.touch()
    with tempfile.TemporaryDirectory() as directory:
        benchmark = Benchmark(pathlib.Path(directory), arguments.limit)
        failure = ""
        try:
            failure = failure_of(lambda: benchmark.run(arguments.providers, arguments.rounds))
        finally:
            failure += failure_of(benchmark.restore)
            if arguments.json:
                figures = [dataclasses.asdict(figure) for figure in benchmark.figures]
                content = {
                    "environment": around,
                    "memory before": benchmark.memory_before,
                    "figures": figures,
                    "failure": failure,
                }
                arguments.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if benchmark.figures:
        print(f"\n{Table(benchmark.figures, benchmark.memory_before)}")
    print("\n" + ", ".join(f"{name} {value}" for name, value in around.items()))
    if failure:
        sys.exit(1)


if __name__ == "__main__":
    main()
