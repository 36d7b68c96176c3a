# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Have the API server check the manifests of every combination of platform, stack and policy engine, and print a table
of them.

The embedded cluster must have a site of two gateways with engine authorino, whose CRDs all combinations use; Kuadrant's
are added from THIRD_PARTY_CRDS. Each combination is a run of site in check mode: module apply_set submits each object
as a dry run with strict validation of its fields, so that an unknown or a wrong field fails the run. The row of a
combination shows its catalogue and the number of submitted objects.

Usage: python tests/integration/combinations.py
"""

from __future__ import annotations

import itertools
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import typing as t

import objects
import two_gateways
import yaml
from runs import INVENTORY, ROOT, start

PLATFORMS = ("embedded", "kind", "openshift", "kubernetes")
#: Stack and engine; what the catalogue refuses is no combination.
ENGINES = (("envoy_ai_gateway", "authorino"), ("wg_ai_gateway", "authorino"), ("wg_ai_gateway", "kuadrant"))
#: The lists of a result of apply_set with objects that were submitted, or looked at because nothing of them would
#: change.
SUBMITTED = {"created", "updated", "unchanged"}
RESULT_LINE = re.compile(r"^ {4}(?:(?P<list>\w+):|-   apiVersion: )")
KUADRANT = {
    "apiVersion": "kuadrant.io/v1beta1",
    "kind": "Kuadrant",
    "metadata": {"name": "kuadrant", "namespace": two_gateways.MAAS_NAMESPACE},
}


def prepare() -> None:
    """Kuadrant's CRDs, its object and the namespace of a MaaS gateway; nobody acts on them."""
    crds = [str(path) for path in sorted(two_gateways.CRDS.glob("kuadrant.io_*.yaml"))]
    objects.kubectl("apply", "--server-side", *itertools.chain.from_iterable(("--filename", path) for path in crds))
    objects.kubectl(
        "wait",
        "--for",
        "condition=Established",
        *itertools.chain.from_iterable(("--filename", path) for path in crds),
    )
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": two_gateways.MAAS_NAMESPACE}}
    for body in (namespace, KUADRANT):
        command = [*objects.KUBECTL, "apply", "--server-side", "--filename", "-"]
        subprocess.run(command, input=json.dumps(body), text=True, check=True, timeout=60, capture_output=True)


def check(directory: pathlib.Path, platform: str, stack: str, engine: str) -> tuple[bool, int, str]:
    """Whether the API server takes everything, how many objects it was given, and what it said against them."""
    path = two_gateways.variables(directory / f"{platform}-{stack}-{engine}.yml", engine)
    given: dict[str, t.Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    given |= {
        "ai_gateway_platform": platform,
        "ai_gateway_stack": stack,
        "ai_gateway_kubeconfig": f"{objects.STATE}/kubeconfig",
        "ai_gateway_helm_binary": f"{objects.STATE}/bin/helm",
        "ai_gateway_offline_directory": f"{objects.STATE}/upstream",
        "gateway_allow_plain_http": True,
    }
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    skipped = ["--skip-tags", "validation_probes,validation_rate_limit"]
    with start(
        "ansible-playbook",
        "--check",
        "--inventory",
        INVENTORY,
        "--extra-vars",
        f"@{path}",
        *skipped,
        "-v",
        "egress.ai_gateway.site",
    ) as run:
        output = run.communicate()[0]
    (directory / f"{path.stem}.txt").write_text(output, encoding="utf-8")
    said = output[output.find("fatal:") :][:600] if run.returncode else ""
    return run.returncode == 0, submitted(output), said


def submitted(output: str) -> int:
    """How many objects the results of apply_set in the output of a run list."""
    count, name = 0, ""
    for line in output.splitlines():
        if found := RESULT_LINE.match(line):
            name = found["list"] or name
            count += not found["list"] and name in SUBMITTED
    return count


def main() -> int:
    prepare()
    directory = pathlib.Path(tempfile.mkdtemp())
    rows = []
    for platform, (stack, engine) in itertools.product(PLATFORMS, ENGINES):
        accepted, count, said = check(directory, platform, stack, engine)
        rows.append(accepted)
        print(
            f"| {platform} | {stack} | {engine} | {count} objects | {'accepted' if accepted else 'REFUSED'} |",
            flush=True,
        )
        if said:
            print(said, flush=True)
    print(f"{sum(rows)} of {len(rows)} combinations accepted; what each run said is in {directory}")
    return 0 if all(rows) else 1


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests/integration"))
    sys.exit(main())
