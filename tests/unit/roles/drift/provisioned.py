# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake API server with a site: the sets that role drift collects, applied as apply_set does."""

from __future__ import annotations

import copy
import json
import sys
import typing as t
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import (
    CollectedSet,
    collected_sets,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import Options, Run
from api_server import Server
from cluster import Body
from plays import Ended, ansible_playbook, run_playbook
from trees import INVENTORIES, VARIABLES

INVENTORY = INVENTORIES["simulators"]
CALLBACKS = {"ANSIBLE_CALLBACKS_ENABLED": "egress.ai_gateway.drift_status"}
NODES = {("v1", "nodes"): "Node"}


def collected(directory: Path, inventory: dict[str, t.Any]) -> Path:
    """Collect what site would apply to a cluster that has nothing, into a directory in this one."""
    server = empty_server()
    (directory / "sets").mkdir()
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"__drift_directory": {"path": f"{directory}/sets"}},
        "tasks": [
            {"ansible.builtin.import_role": {"name": "egress.ai_gateway.drift", "tasks_from": "collect.yml"}},
        ],
    }
    environment = {"K8S_AUTH_KUBECONFIG": str(server.kubeconfig(directory))}
    given = {**VARIABLES, **inventory, "ai_gateway_cache_directory": f"{directory}/cache"}
    ended = run_playbook(directory, play, given, environment=environment)
    assert ended.returncode == 0, ended.output
    assert server.writes == []
    server.close()
    return directory / "sets"


def plural_of(kind: str) -> str:
    """How the fake calls the objects of a kind."""
    return f"{kind.lower().removesuffix('y')}ies" if kind.endswith("cy") else f"{kind.lower()}s"


def apply(server: Server, item: CollectedSet) -> None:
    """Apply a collected set as a task of apply_set does."""
    if item.present:
        manifests = copy.deepcopy(item.objects)
        for body in manifests:
            del body["metadata"]["labels"][PART_OF_LABEL]
        Run(server.api(), item.identity, Options(wait=False), lambda _line: None).present(manifests)


class Provisioned(Server):
    """Serves the kinds of the collected sets, which are applied to it."""

    def __init__(self, sets: Path) -> None:
        found = collected_sets(sets)
        kinds = {(body["apiVersion"], plural_of(body["kind"])): body["kind"] for item in found for body in item.objects}
        scoped = {body["kind"] for item in found for body in item.objects if not body["metadata"].get("namespace")} | {
            "Node"
        }
        kinds.pop(("v1", "namespaces"))
        super().__init__({**kinds, **NODES}, cluster_scoped=scoped)
        for item in found:
            apply(self, item)
        self.writes.clear()

    def edited(self, plural: str, namespace: str, name: str, edit: t.Callable[[Body], None], *path: str) -> None:
        """Change an object as kubectl does, which takes the field at ``path`` from others that own it."""
        body = self.objects[plural, namespace, name]
        edit(body)
        entries = body["metadata"]["managedFields"]
        fields: Body = {}
        for step in reversed(path):
            fields = {f"f:{step}": fields}
        owned = entries[0]["fieldsV1"]
        for step in path[:-1]:
            owned = owned[f"f:{step}"]
        owned.pop(f"f:{path[-1]}")
        entries.append(
            {
                "manager": "kubectl-edit",
                "operation": "Update",
                "apiVersion": body["apiVersion"],
                "time": "2026-02-17T05:00:00Z",
                "fieldsV1": fields,
            }
        )


def drift(
    server: Server, directory: Path, *arguments: str, inventory: dict[str, t.Any] = INVENTORY, **more: t.Any
) -> Ended:
    """Run the playbook, whose report is in ``<directory>/report``."""
    given = variables(server, directory, inventory, **more)
    return run_playbook(directory, "egress.ai_gateway.drift", given, *arguments, host="cluster", environment=CALLBACKS)


def variables(
    server: Server, directory: Path, inventory: dict[str, t.Any] = INVENTORY, **more: t.Any
) -> dict[str, t.Any]:
    return {
        **VARIABLES,
        **inventory,
        "ai_gateway_cache_directory": f"{directory}/cache",
        "ai_gateway_kubeconfig": str(server.kubeconfig(directory)),
        "ai_gateway_context": "test",
        "drift_report_directory": f"{directory}/report",
        **more,
    }


def empty_server() -> Server:
    """A cluster without a site."""
    return Server(NODES, cluster_scoped=("Namespace", "Node"))


def report(directory: Path) -> dict[str, t.Any]:
    """What the JSON of a report says."""
    found: dict[str, t.Any] = json.loads((directory / "report/drift.json").read_text(encoding="utf-8"))
    return found


def drift_of_hosts(directory: Path, hosts: dict[str, dict[str, t.Any]]) -> Ended:
    """Run the playbook for several clusters, by name their variables."""
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    inventory = {"all": {"hosts": hosts, "vars": local}}
    (directory / "hosts.json").write_text(json.dumps(inventory), encoding="utf-8")
    # What takes the place of variables of roles.
    extra = {name: value for name, value in VARIABLES.items() if name.startswith("__")}
    arguments = ["--inventory", f"{directory}/hosts.json", "--extra-vars", json.dumps(extra)]
    return ansible_playbook(directory, *arguments, "egress.ai_gateway.drift", environment=CALLBACKS)
