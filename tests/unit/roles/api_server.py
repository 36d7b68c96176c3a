# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake API server, for roles whose tasks a test runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml
from cluster import Cluster, Key, Resources
from rendering import COLLECTIONS

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
        self.kubeconfig(directory)
        task = {"ansible.builtin.import_role": {"name": f"egress.ai_gateway.{role}", "tasks_from": tasks_from}}
        play = {"hosts": "localhost", "gather_facts": False, "tasks": [task]}
        (directory / "play.yml").write_text(json.dumps([play]))
        (directory / "variables.yml").write_text(
            yaml.safe_dump({"ansible_python_interpreter": sys.executable, **variables})
        )
        environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_HOME": str(directory / "home"),
            "ANSIBLE_FORCE_COLOR": "false",
            "K8S_AUTH_KUBECONFIG": str(directory / "kubeconfig"),
        }
        command = [
            str(Path(sys.executable).parent / "ansible-playbook"),
            "-i",
            "localhost,",
            "-c",
            "local",
            "-e",
            f"@{directory}/variables.yml",
        ]
        ended = subprocess.run(
            [*command, *arguments, f"{directory}/play.yml"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        return ended.returncode, ended.stdout + ended.stderr
