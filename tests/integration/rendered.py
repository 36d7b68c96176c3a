# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Render a site into files, apply them by kubectl as their README says, and compare them with the cluster."""

from __future__ import annotations

import json
import pathlib
import subprocess
import tempfile
import time
import typing as t

import crd_defaults
import objects
import yaml
from runs import playbook

#: The field manager of the playbooks, by which they find objects as their own.
APPLY = ("apply", "--server-side", "--field-manager=egress.ai_gateway")
#: The address of the embedded cluster's node, which no rendering can know.
NODE = "10.245.0.2"
ARGO_CD = "github.com/argoproj/argo-cd/v3@v3.3.0"
ARGO_CD_SUM = "h1:9UlruTd5cC/MyvorTXgAIblfZTy63MF5FYvvoAaUvwU="


class Tree(t.NamedTuple):
    """A rendered directory and the file of its Secrets."""

    directory: pathlib.Path
    secrets: pathlib.Path

    def parts(self) -> list[str]:
        """The directories of manifests in their order."""
        root = yaml.safe_load((self.directory / "kustomization.yaml").read_text(encoding="utf-8"))
        return list(root["resources"])

    def files(self) -> dict[str, bytes]:
        """By path, what its files hold."""
        return {
            str(path.relative_to(self.directory)): path.read_bytes()
            for path in sorted(self.directory.rglob("*"))
            if path.is_file()
        }


def render(place: pathlib.Path, name: str = "tree", **variables: t.Any) -> tuple[Tree, int]:
    """Render the embedded inventory without a cluster; the tree, and how many tasks changed something.

    Trees of one ``place`` share their Secrets.
    """
    tree = Tree(place / name, place / "secrets.yaml")
    given = {
        "render_directory": str(tree.directory),
        "render_secrets_file": str(tree.secrets),
        "ai_gateway_kubeconfig": "/nonexistent/kubeconfig",
        "gateway_tls_own_ca_hosts": [NODE],
        **variables,
    }
    return tree, playbook(
        "egress.ai_gateway.render", "--extra-vars", json.dumps(given), reaches="egress.ai_gateway.render"
    )


def put_secrets(tree: Tree) -> int:
    """Write the Secrets into the cluster by the playbook; how many tasks changed something."""
    given = {"render_directory": str(tree.directory), "render_secrets_file": str(tree.secrets)}
    return playbook("egress.ai_gateway.render", "--tags", "secrets", "--extra-vars", json.dumps(given))


def await_established(*which: str) -> None:
    """Wait for CRDs. kubectl fails on one that has no status yet, so it is asked again."""
    deadline = time.monotonic() + 120
    while True:
        try:
            objects.kubectl("wait", "--for=condition=Established", "--timeout=1m", *which)
            return
        except subprocess.CalledProcessError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


def apply(tree: Tree) -> None:
    """As the README of the tree says, except for its Secrets."""
    objects.kubectl(*APPLY, "--kustomize", f"{tree.directory}/namespaces")
    objects.kubectl(*APPLY, "--kustomize", f"{tree.directory}/crds")
    await_established("customresourcedefinitions", "--all")
    objects.kubectl(*APPLY, "--kustomize", str(tree.directory))


def differences(tree: Tree) -> str:
    """What kubectl says that applying the tree once more would change; empty where nothing would."""
    command = [*objects.KUBECTL, "diff", "--server-side", "--field-manager=egress.ai_gateway", "--kustomize"]
    ended = subprocess.run([*command, str(tree.directory)], capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode in (0, 1), ended.stderr
    return ended.stdout


def left_to_defaults(tree: Tree) -> list[str]:
    """The fields of custom objects that the API server has and the files do not, by kind and name."""
    bodies = crd_defaults.objects(tree.directory)
    schemas = crd_defaults.schemas(bodies)
    assert len(schemas) > 20
    found = []
    for body in bodies:
        if (body["apiVersion"], body["kind"]) not in schemas:
            continue
        name, namespace = body["metadata"]["name"], body["metadata"].get("namespace")
        title = f"{body['kind']} {namespace}/{name}"
        found += [f"{title}: {line}" for line in crd_defaults.added(body, schemas[body["apiVersion"], body["kind"]])]
        group = body["apiVersion"].rpartition("/")[0]
        place = ("--namespace", namespace) if namespace else ()
        live = json.loads(objects.kubectl("get", f"{body['kind'].lower()}.{group}", name, *place, "--output=json"))
        if live.get("spec") != body.get("spec"):
            found.append(f"{title}: spec on the cluster is {json.dumps(live['spec'])}")
    return found


def argo_cd_crds() -> pathlib.Path:
    """The directory of Argo CD's CRDs in its Go module, which is downloaded where it is not in Go's cache."""
    with tempfile.TemporaryDirectory() as directory:
        command = ["go", "mod", "download", "-json", ARGO_CD]
        ended = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert found["Sum"] == ARGO_CD_SUM
    return pathlib.Path(found["Dir"], "manifests/crds")


def accepted_by_argo_cd_crds(tree: Tree, crds: pathlib.Path) -> list[str]:
    """The objects of the tree that the API server accepts by Argo CD's CRDs, which are removed again.

    Unknown fields are refused, and nothing is left to a default.
    """
    files = [
        argument
        for name in ("application-crd.yaml", "applicationset-crd.yaml", "appproject-crd.yaml")
        for argument in ("--filename", str(crds / name))
    ]
    namespace = "render-argocd"
    try:
        objects.kubectl("create", "namespace", namespace)
        objects.kubectl("apply", "--server-side", *files)
        await_established(*files)
        manifests = [tree.directory / "applicationset.yaml", *tree.directory.glob("apps/*/applications.yaml")]
        accepted = []
        for path in manifests:
            strict = ("--validate=strict", "--namespace", namespace, "--filename", str(path))
            accepted += objects.kubectl(*APPLY, *strict, "--output=name").split()
            assert differences_of(path, namespace) == ""
        return accepted
    finally:
        objects.kubectl("delete", "--ignore-not-found", *files)
        objects.kubectl("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")


def differences_of(path: pathlib.Path, namespace: str) -> str:
    """The fields that the API server added to the objects of a file, as lines."""
    lines = []
    for body in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kind = f"{body['kind'].lower()}.argoproj.io"
        found = objects.kubectl("get", kind, body["metadata"]["name"], "--namespace", namespace, "--output=json")
        if json.loads(found)["spec"] != body["spec"]:
            lines.append(f"{kind} {body['metadata']['name']}: {json.loads(found)['spec']}")
    return "\n".join(lines)
