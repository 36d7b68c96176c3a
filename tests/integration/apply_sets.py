# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run apply_set by a playbook of its own, as a user does, and look at the set with kubectl alone."""

from __future__ import annotations

import contextlib
import json
import pathlib
import typing as t
from dataclasses import dataclass

from objects import STATE, kubectl
from runs import INVENTORY, run

PLAYBOOK = pathlib.Path(__file__).with_name("apply_set.yml")
KUBECONFIG = f"{STATE}/kubeconfig"

Body = dict[str, t.Any]


@contextlib.contextmanager
def namespaces(*names: str) -> t.Iterator[None]:
    """New namespaces that go afterwards, unless the block fails: then they stay as they are, to be looked at."""
    kubectl("delete", "namespace", "--ignore-not-found", *names)
    for name in names:
        kubectl("create", "namespace", name)
    yield
    kubectl("delete", "namespace", "--wait=false", *names)


@dataclass(frozen=True)
class Set:
    """A set of manifests; `directory` is for the files that pass between the test and its runs."""

    name: str
    namespace: str
    directory: pathlib.Path

    def command(
        self, manifests: list[Body], *arguments: str, kubeconfig: str = KUBECONFIG, **variables: t.Any
    ) -> list[str | pathlib.Path]:
        """Return the command that makes the set `manifests`, or removes it when there are none; `variables` are more of
        the playbook's.
        """
        self.directory.mkdir(exist_ok=True)
        source = self.directory / "manifests.yaml"
        source.write_text("\n---\n".join(map(json.dumps, manifests)), encoding="utf-8")
        values = {
            "set_name": self.name,
            "set_namespace": self.namespace,
            "set_manifests": str(source) if manifests else "",
            "set_result": str(self.directory / "result.json"),
            "set_kubeconfig": kubeconfig,
            **variables,
        }
        return ["ansible-playbook", "--inventory", INVENTORY, "--extra-vars", json.dumps(values), *arguments, PLAYBOOK]

    def result(self) -> Body:
        """Return what the module returned in the last run that succeeded."""
        result: Body = json.loads((self.directory / "result.json").read_text(encoding="utf-8"))
        return result

    def apply(self, manifests: list[Body], **variables: t.Any) -> Body:
        """Make the set `manifests`, or remove it when there are none, and return what the module returned."""
        run(*self.command(manifests, **variables))
        return self.result()

    def parent(self) -> Body:
        """Return the metadata of the set's parent object; empty when there is none."""
        found = kubectl(
            "get", "configmap", self.name, f"--namespace={self.namespace}", "--ignore-not-found", "--output=json"
        )
        return json.loads(found)["metadata"] if found else {}
