# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `make bench-traffic`; the package says what it measures."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import signal
import subprocess
import sys
import tempfile
import typing as t

import yaml
from apply import ROOT

import traffic
from traffic import measure, page, programs, subjects
from traffic.cluster import NODE, VARIANTS, Cluster
from traffic.subjects import Subject, SubjectError

PAGE = ROOT / "docs/performance.md"
JSON = ROOT / "reports/traffic.json"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make bench-traffic", description=traffic.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, metavar="NUMBER")
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement (default: %(default)s)")
    parser.add_argument("--warm-up", type=float, default=3, metavar="SECONDS", help="(default: %(default)s)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64], metavar="NUMBER", help="16 is one")
    parser.add_argument("--rate", type=float, default=300, help="the fixed rate (default: %(default)s)")
    parser.add_argument("--limits", type=float, nargs="+", default=[10, 50, 100], metavar="MS", help="of p99")
    parser.add_argument("--streams", type=int, default=16, metavar="NUMBER", help="at a time (default: %(default)s)")
    parser.add_argument(
        "--subjects", nargs="+", metavar="NAME", help="only those whose names begin so; `ours` for all of ours"
    )
    parser.add_argument("--gateways", type=pathlib.Path, metavar="FILE", help="YAML of further gateways")
    parser.add_argument("--first-port", type=int, default=18780, help="the first of four ports (default: %(default)s)")
    parser.add_argument("--json", type=pathlib.Path, default=JSON, metavar="FILE", help="takes all figures")
    parser.add_argument("--page", default=str(PAGE), metavar="FILE", help="takes the tables; empty for none")
    parser.add_argument("--from", dest="source", type=pathlib.Path, metavar="FILE", help="write the page from a JSON")
    found = parser.parse_args()
    if found.rounds < 1 or min(found.connections) < 1 or min(found.seconds, found.warm_up, found.rate) <= 0:
        parser.error("--rounds, --connections, --seconds, --warm-up and --rate are above 0")
    if measure.CONNECTIONS_OF_CPU not in found.connections:
        parser.error(f"--connections needs {measure.CONNECTIONS_OF_CPU}, for which the CPU of processes is read")
    return found


def wanted(name: str, options: argparse.Namespace) -> bool:
    return not options.subjects or any(name.startswith(prefix) for prefix in options.subjects)


def machine() -> dict[str, t.Any]:
    """What the figures depend on."""
    lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model,
        "kernel": f"Linux {platform.release()}",
        "load at the start": round(os.getloadavg()[0], 1),
    }


def versions(names: t.Iterable[str]) -> dict[str, str]:
    """The versions of what is measured."""
    known = programs.versions()
    found = {"Envoy": str(known["versions_envoy"])}
    for name in names:
        if name.startswith("ours"):
            found |= {
                "Envoy Gateway": known["versions_envoy_gateway"],
                "Envoy AI Gateway": known["versions_envoy_ai_gateway"],
                "Authorino": known["versions_authorino"],
            }
        elif name.startswith("LiteLLM"):
            found["LiteLLM"] = programs.pinned("LiteLLM")
        elif name == "Portkey":
            node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
            found |= {"Portkey": programs.pinned("Portkey"), "Node.js": node}
    return found


def measured(options: argparse.Namespace, content: dict[str, t.Any]) -> None:
    """Measure all rounds into ``content``; what there is remains where one fails."""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        address, command = "127.0.0.1", [str(programs.traffic()), "serve", f"127.0.0.1:{options.first_port}"]
        chosen: list[Subject] = []
        if any(wanted(variant.name, options) for variant in VARIANTS):
            cluster = stack.enter_context(Cluster(directory, options.first_port))
            address, command = NODE, cluster.upstream_command(programs.traffic())
            chosen = cluster.subjects()
        local = subjects.Local(
            directory, (address, options.first_port), options.first_port + 1, content["machine"]["cores"]
        ).subjects()
        chosen = [*local[:2], *chosen, *local[2:]]
        if options.gateways:
            chosen += subjects.others(options.gateways)
        chosen = [subject for subject in chosen if wanted(subject.name, options)]
        if not chosen:
            raise SubjectError("--subjects leaves none")
        content["notes"] = {subject.name: subject.note for subject in chosen}
        content["versions"] = versions(content["notes"])
        upstream = stack.enter_context(subjects.running(command, directory / "upstream.log"))
        plan = measure.Plan(**content["plan"])
        for number in range(options.rounds):
            for index in measure.order(len(chosen), number):
                subject = chosen[index]
                result = measure.one(subject, plan, programs.traffic(), upstream)
                content["results"].append({"round": number + 1, **result})
                sent = result["closed"][subjects.CHAT][str(measure.CONNECTIONS_OF_CPU)]
                held = ", ".join(f"{rate:.0f}/s at {limit} ms" for limit, rate in result["held"].items())
                print(
                    f"round {number + 1} of {options.rounds}, {subject.name}: {sent['rate']:.0f}/s, held {held}",
                    flush=True,
                )


def main() -> None:
    options = arguments()
    # A termination cleans up like Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if options.source:
        page.write(json.loads(options.source.read_text(encoding="utf-8")), pathlib.Path(options.page))
        return
    if options.page:
        # Fails here rather than after an hour.
        page.put(pathlib.Path(options.page).read_text(encoding="utf-8"), "")
    options.json.parent.mkdir(parents=True, exist_ok=True)
    plan = measure.Plan(
        options.seconds, options.warm_up, options.connections, options.rate, options.limits, options.streams
    )
    content: dict[str, t.Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": machine(),
        "plan": dataclasses.asdict(plan),
        "results": [],
    }
    try:
        measured(options, content)
    finally:
        options.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if options.page:
        page.write(content, pathlib.Path(options.page))


if __name__ == "__main__":
    try:
        main()
    except (SubjectError, programs.ProgramError, OSError, yaml.YAMLError, ValueError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
