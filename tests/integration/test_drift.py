# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of playbook drift on the embedded cluster: nothing right after site, what was changed by hand and
nothing else, and an error that is no drift.
"""

from __future__ import annotations

import base64
import json
import pathlib
import time
import typing as t
import xml.etree.ElementTree as ET

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import PART_OF_LABEL, SetIdentity
from objects import STATE, kubectl
from runs import INVENTORY, ROOT, follow, playbook, start
from sites import Sites

REPORT = ROOT / "reports/embedded"
#: Of the comparison alone, which takes half a second on a quiet machine. The rest of a run is the time of Ansible.
SECONDS = 20.0
SIMULATORS = SetIdentity("simulators", "ai-gateway").id
NEW_KEY = "sk-canary-of-drift-4711"
#: What does not depend on whether checks with requests pass.
WITHOUT_VALIDATION = "--skip-tags=embedded_cluster,validation"


def drift(*arguments: str) -> tuple[int, str]:
    """Run the playbook; its exit status and its output."""
    command = ("ansible-playbook", "--inventory", INVENTORY, *arguments, "egress.ai_gateway.drift")
    with start(*command) as process:
        output = follow(process)
    return process.returncode, output


def report() -> dict[str, t.Any]:
    found: dict[str, t.Any] = json.loads((REPORT / "drift.json").read_text(encoding="utf-8"))
    return found


def assert_none(*arguments: str) -> None:
    """Assert that nothing differs, and that this was found out within seconds."""
    started = time.monotonic()
    status, output = drift(*arguments)
    seconds = time.monotonic() - started
    found = report()
    print(
        f"drift: {seconds:.1f} s in all, {found['seconds']:.2f} s of them the comparison of {found['objects']} objects"
    )
    assert found["differences"] == []
    assert status == 0
    assert found["summary"] in output
    assert found["seconds"] < SECONDS


def change() -> dict[tuple[str, str], str]:
    """Change six objects by hand; by kind and name, what drift has to say of each."""
    patch = [{"op": "replace", "path": "/spec/template/spec/automountServiceAccountToken", "value": True}]
    deployment = ("deployment", "anthropic-simulator", "--namespace=external-models")
    kubectl("patch", *deployment, "--type=json", f"--patch={json.dumps(patch)}")
    kubectl("delete", "service", "anthropic-simulator", "--namespace=external-models")
    kubectl("label", "service", "openai-simulator", "--namespace=external-models", f"{PART_OF_LABEL}-")
    secrets = kubectl("get", "secrets", "--namespace=ai-gateway", "--output=name").split()
    (secret,) = [name.removeprefix("secret/") for name in secrets if name.startswith("secret/openai-credential.")]
    (key,) = json.loads(kubectl("get", "secret", secret, "--namespace=ai-gateway", "--output=json"))["data"]
    data = {"data": {key: base64.b64encode(NEW_KEY.encode()).decode()}}
    kubectl("patch", "secret", secret, "--namespace=ai-gateway", f"--patch={json.dumps(data)}")
    metadata = {"namespace": "external-models", "labels": {PART_OF_LABEL: SIMULATORS}}
    foreign, left = (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {**metadata, "name": name}}
        for name in ("notes", "left-the-catalogue")
    )
    kubectl("create", "--filename=-", document=json.dumps(foreign))
    # As a set of an earlier catalogue would have it.
    apply = ("apply", "--server-side", "--field-manager=egress.ai_gateway", "--filename=-")
    kubectl(*apply, document=json.dumps(left))
    return {
        ("Deployment", "anthropic-simulator"): "update",
        ("Service", "anthropic-simulator"): "create",
        ("Service", "openai-simulator"): "update",
        ("Secret", secret): "update",
        ("ConfigMap", "notes"): "foreign",
        ("ConfigMap", "left-the-catalogue"): "delete",
    }


@pytest.mark.usefixtures("default_site")
def test_right_after_site_nothing_differs() -> None:
    playbook("egress.ai_gateway.site", WITHOUT_VALIDATION)
    assert_none()


@pytest.mark.usefixtures("default_site")
def test_six_changes_by_hand_are_named_and_nothing_else() -> None:
    changed = change()
    status, output = drift("-vv")
    found = report()
    assert {(one["kind"], one["name"]): one["action"] for one in found["differences"]} == changed
    assert status == 2
    assert found["summary"] == "6 objects differ: 1 to create, 3 to update, 1 to delete, 1 foreign"
    fields = {one["name"]: one["fields"] for one in found["differences"] if one["action"] == "update"}
    (field,) = fields["anthropic-simulator"]
    assert field["path"] == "spec.template.spec.automountServiceAccountToken"
    assert (field["wanted"], field["found"], field["manager"]) == (False, True, "kubectl-patch")
    assert field["time"]
    assert [(one["path"], one["state"]) for one in fields["openai-simulator"]] == [
        (f"metadata.labels['{PART_OF_LABEL}']", "missing")
    ]
    (secret,) = next(fields[name] for kind, name in changed if kind == "Secret")
    assert (secret["secret"], secret["manager"]) == (True, "kubectl-patch")
    assert len(ET.parse(REPORT / "drift.xml").getroot().findall(".//failure")) == 6  # noqa: S314 - our own
    for shown in (output, *(path.read_text(encoding="utf-8") for path in REPORT.glob("drift.*"))):
        for value in (NEW_KEY, "sk-openai-key-for-demo"):
            assert value not in shown
            assert base64.b64encode(value.encode()).decode() not in shown


@pytest.mark.usefixtures("default_site")
def test_site_brings_the_cluster_back() -> None:
    kubectl("delete", "configmap", "notes", "--namespace=external-models", "--ignore-not-found")
    # Fields that kubectl has written are its own.
    playbook("egress.ai_gateway.site", WITHOUT_VALIDATION, "--extra-vars", "ai_gateway_force_conflicts=true")
    assert_none()


def test_a_cluster_that_does_not_answer_is_an_error(tmp_path: pathlib.Path) -> None:
    config = json.loads(kubectl("config", "view", "--raw", "--output=json"))
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    assert pathlib.Path(STATE).exists()
    status, output = drift("--extra-vars", f"ai_gateway_kubeconfig={path}")
    assert status == 1
    assert "no answer from the API server https://127.0.0.1:9" in output


@pytest.mark.usefixtures("mixed_site")
def test_right_after_a_site_of_several_kinds_nothing_differs(sites: Sites, mixed_variables: pathlib.Path) -> None:
    assert sites.present
    assert_none("--extra-vars", f"@{mixed_variables}")
