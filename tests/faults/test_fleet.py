# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two embedded clusters side by side, provisioned by one run, with one page for both.

They have names, interfaces and networks of their own, so the cluster of the other tests may run beside them.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import machine
import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.node import KERNEL_SETTINGS
from runs import follow, recaps, start

#: By host: interface, address of this machine and address of the node, each pair in a network of its own.
HOSTS = {
    "north": ("egress-north0", "10.246.0.1/30", "10.246.0.2"),
    "south": ("egress-south0", "10.246.0.5/30", "10.246.0.6"),
}
PLAYBOOK = "egress.ai_gateway."
QUICK = ("--extra-vars", "validation_recovery=false")


def inventory(directory: pathlib.Path, **changes: dict[str, t.Any]) -> pathlib.Path:
    """Write an inventory of both clusters; ``changes`` are further variables of a host."""
    provider = {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": "sk-of-the-fleet"}}
    hosts = {
        name: {
            "embedded_cluster_name": f"egress-{name}",
            "embedded_cluster_interface": interface,
            "embedded_cluster_host_address": host_address,
            "embedded_cluster_node_address": node_address,
            **changes.get(name, {}),
        }
        for name, (interface, host_address, node_address) in HOSTS.items()
    }
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "ai_gateway_platform": "embedded",
        "ai_gateway_providers": [{**provider, "models": [{"name": "gpt-4"}]}],
        # Two at once, on whatever machine.
        "embedded_cluster_wait_timeout": 600,
        "validation_report_directory": f"{directory}/reports/{{{{ inventory_hostname }}}}",
        "fleet_report_directory": f"{directory}/reports",
    }
    path = directory / "hosts.yml"
    path.write_text(yaml.safe_dump({"all": {"vars": variables, "hosts": hosts}}), encoding="utf-8")
    return path


class Ran(t.NamedTuple):
    """The exit status of a run, the recap by host, and all that was printed."""

    returncode: int
    recap: dict[str, dict[str, int]]
    output: str


def run(playbook: str, hosts: pathlib.Path, *arguments: str) -> Ran:
    with start("ansible-playbook", "--inventory", hosts, *arguments, PLAYBOOK + playbook) as process:
        output = follow(process)
    (recap,) = recaps(output)
    return Ran(process.returncode, recap, output)


def page(directory: pathlib.Path) -> tuple[str, dict[str, dict[str, t.Any]]]:
    """The page of both clusters, and what it says of each."""
    document = json.loads((directory / "reports/fleet.json").read_text(encoding="utf-8"))
    found = {cluster["name"]: cluster for cluster in document["clusters"]}
    assert list(found) == list(HOSTS)
    return (directory / "reports/fleet.html").read_text(encoding="utf-8"), found


def traces() -> dict[str, list[str]]:
    """What of both clusters is on the machine, and the kernel's settings that clusters change."""
    processes = []
    for place in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            said = (place / "cmdline").read_text(errors="replace") + (place / "cgroup").read_text(encoding="utf-8")
        except OSError:
            continue  # it has ended
        processes += [said for name in HOSTS if f"/egress-{name}" in said]
    found = {
        "processes": processes,
        "mounts": machine.mounts(),
        "files": machine.files(),
        "interfaces": [path.name for path in pathlib.Path("/sys/class/net").iterdir()],
    }
    kernel = [pathlib.Path("/proc/sys", name).read_text(encoding="utf-8") for name in KERNEL_SETTINGS]
    return {
        **{
            kind: [one for one in each if any(f"egress-{name}" in one for name in HOSTS)]
            for kind, each in found.items()
        },
        "kernel": kernel,
    }


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[pathlib.Path]:
    """Where the inventory and the reports are. Both clusters are gone before and after, without a trace."""
    place = tmp_path_factory.mktemp("fleet")
    hosts = inventory(place)
    assert run("destroy", hosts).returncode == 0
    before = traces()
    assert not any(found for kind, found in before.items() if kind != "kernel")
    try:
        yield place
    finally:
        assert run("destroy", inventory(place)).returncode == 0
    assert traces() == before


def test_two_clusters_are_provisioned_by_one_run(directory: pathlib.Path) -> None:
    ran = run("site", inventory(directory), *QUICK)
    assert ran.returncode == 0
    assert all(counts["changed"] > 0 for counts in ran.recap.values())
    html, found = page(directory)
    assert "<h1>All 2 clusters passed</h1>" in html
    for name, (_interface, _host, node) in HOSTS.items():
        cluster = found[name]
        assert (cluster["status"], cluster["reachable"]) == ("passed", True)
        assert cluster["gateway_url"].startswith(f"https://{node}:")
        assert cluster["versions"]["Kubernetes"].startswith("v1.")
        assert {"Envoy Gateway", "Envoy AI Gateway", "Authorino"} <= set(cluster["versions"])
        (report,) = cluster["reports"]
        assert report["counts"]["passed"] > 10
        assert report["counts"]["failed"] == 0
        assert f'href="{name}/validation.html"' in html
        assert f"  [{name}] " in ran.output
    # Each is a cluster of its own.
    identities = [identity(name) for name in HOSTS]
    assert len(set(identities)) == len(HOSTS)


def identity(name: str) -> str:
    place = f"/var/lib/egress-{name}"
    command = [f"{place}/bin/kubectl", f"--kubeconfig={place}/kubeconfig", "get", "namespace", "kube-system"]
    done = subprocess.run([*command, "--output=jsonpath={.metadata.uid}"], capture_output=True, text=True, check=True)
    return done.stdout


def test_the_second_run_changes_neither(directory: pathlib.Path) -> None:
    ran = run("site", inventory(directory), *QUICK, "--forks=1")
    assert ran.returncode == 0
    assert [counts["changed"] for counts in ran.recap.values()] == [0, 0]


@pytest.mark.parametrize(
    ("playbook", "changes", "reason", "reachable"),
    [
        (
            "site",
            {"ai_gateway_providers": [{"name": "openai"}]},
            "ai_gateway_providers[0].credential: is missing",
            True,
        ),
        ("site", {"ai_gateway_context": "nobody"}, "nobody", False),
        # The gateway's certification authority is none of them.
        ("validate", {"validation_ca_path": "/etc/ssl/certs/ca-certificates.crt"}, "checks failed", True),
    ],
)
def test_one_that_fails_does_not_stop_the_other(
    playbook: str, changes: dict[str, t.Any], reason: str, reachable: bool, directory: pathlib.Path
) -> None:
    ran = run(playbook, inventory(directory, south=changes), *QUICK)
    assert ran.returncode == 2
    assert ran.recap["north"]["failed"] == ran.recap["north"]["changed"] == 0
    assert ran.recap["south"]["failed"] == 1
    html, found = page(directory)
    assert "<h1>1 of 2 clusters failed</h1>" in html
    assert found["north"]["status"] == "passed"
    assert found["north"]["reports"][0]["of_this_run"] is True
    assert found["south"]["status"] == "failed"
    assert reason in found["south"]["reason"]
    assert found["south"]["reachable"] is reachable
    fresh = [report["title"] for report in found["south"]["reports"] if report["of_this_run"]]
    assert ("Validation" in fresh) == (playbook == "validate")


def test_a_cluster_that_is_down_is_named_as_such(directory: pathlib.Path) -> None:
    down = {"embedded_cluster_state": "stopped"}
    # As a power cut would.
    run("cluster", inventory(directory, south=down), "--limit=south")
    ran = run("validate", inventory(directory), *QUICK)
    assert ran.returncode == 2
    html, found = page(directory)
    assert [cluster["status"] for cluster in found.values()] == ["passed", "failed"]
    assert found["south"]["reachable"] is False
    assert "API server does not answer" in html
    assert "no answer from the API server" in found["south"]["reason"]
    assert run("cluster", inventory(directory), "--limit=south").returncode == 0


def test_one_of_them_alone_leaves_the_other_named_as_not_run(directory: pathlib.Path) -> None:
    ran = run("validate", inventory(directory), *QUICK, "--limit=south")
    assert ran.returncode == 0
    html, found = page(directory)
    assert [cluster["status"] for cluster in found.values()] == ["not run", "passed"]
    assert found["north"]["of_this_run"] is False
    assert "is stale" in html


def test_two_hosts_that_are_one_cluster_are_refused(directory: pathlib.Path) -> None:
    kubeconfig = {"ai_gateway_kubeconfig": "/var/lib/egress-north/kubeconfig"}
    ran = run("site", inventory(directory, south=kubeconfig), "--skip-tags=embedded_cluster")
    assert ran.returncode == 2
    assert [(counts["failed"], counts["changed"]) for counts in ran.recap.values()] == [(1, 0), (1, 0)]
    said = " ".join(ran.output.split())
    for one, other in (("north", "south"), ("south", "north")):
        assert f"{one}: Gateway ai-gateway/ai-gateway of cluster {identity('north')} is also that of {other}." in said
