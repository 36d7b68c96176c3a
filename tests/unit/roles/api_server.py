# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake API server, for roles whose tasks a test runs."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from cluster import Cluster, Key, Resources
from plays import run_playbook

Body = dict[str, t.Any]


class Server(Cluster):
    """Serves ``kinds``, given as (api_version, plural), and lists the names of what it wrote in ``writes``."""

    def __init__(self, kinds: dict[tuple[str, str], str], cluster_scoped: t.Collection[str] = ("Namespace",)) -> None:
        resources: Resources = {"v1": {"namespaces": ("Namespace", False)}}
        for (version, plural), kind in kinds.items():
            resources.setdefault(version, {})[plural] = (kind, kind not in cluster_scoped)
        super().__init__(resources)
        self.serve()

    def record(self, method: str, path: str, keys: t.Collection[Key]) -> None:
        self.writes += [f"{method} {name}" for _plural, _namespace, name in keys]

    def kubeconfig(self, directory: Path) -> Path:
        """Write a kubeconfig for this server into the directory."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "test", "user": {}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
        }
        path = directory / "kubeconfig"
        path.write_text(json.dumps(config))
        return path

    def run(
        self, directory: Path, role: str, variables: Body, *arguments: str, tasks_from: str = "main"
    ) -> tuple[int, str]:
        """Exit status and output of a play with the role, or with a part of its tasks."""
        task = {"ansible.builtin.import_role": {"name": f"egress.ai_gateway.{role}", "tasks_from": tasks_from}}
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
        environment = {"K8S_AUTH_KUBECONFIG": str(self.kubeconfig(directory))}
        ended = run_playbook(directory, play, variables, *arguments, environment=environment)
        return ended.returncode, ended.output
