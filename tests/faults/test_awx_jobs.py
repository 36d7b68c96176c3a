# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job templates that change a gateway, run by ansible-runner as AWX runs them, and the execution environment."""

from __future__ import annotations

import pathlib
import re
import shutil
import subprocess
import sys
import typing as t

import awx_jobs
import objects
import pytest
import yaml
from awx_server import Server
from runs import ROOT
from sites import SAME_CLUSTER, Sites

KEYS = {"OPENAI_API_KEY": "sk-openai-key-for-demo", "ANTHROPIC_API_KEY": "sk-ant-claude-key-for-demo"}
#: How the inventory reads each: from the environment, and from a file.
LOOKUPS = {
    "openai": "{{ lookup('ansible.builtin.env', 'OPENAI_API_KEY') }}",
    "anthropic": "{{ lookup('ansible.builtin.file', lookup('ansible.builtin.env', 'ANTHROPIC_API_KEY_FILE')) }}",
}


@pytest.fixture(scope="module")
def server(sites: Sites) -> t.Iterator[Server]:
    """An AWX with credentials of the cluster and of both types with providers' keys."""
    sites.ensure_any()
    with (
        awx_jobs.administrator() as token,
        awx_jobs.controller(token, awx_key_variables=sorted(KEYS)) as made,
    ):
        for name, variable in (("Provider keys", "OPENAI_API_KEY"), ("Provider keys in files", "ANTHROPIC_API_KEY")):
            kind = made.awx.named("credential_types", name)["id"]
            made.awx.put("credentials", name=name, credential_type=kind, inputs={variable.lower(): KEYS[variable]})
        ended = awx_jobs.provisioned(
            made,
            awx_cluster_credentials=[awx_jobs.CLUSTER],
            awx_key_variables=sorted(KEYS),
            awx_key_credentials=["Provider keys", "Provider keys in files"],
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        yield made


@pytest.fixture(scope="module")
def inventory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The inventory of the embedded cluster, which reads the keys from credentials and lets callers have API keys."""
    directory = tmp_path_factory.mktemp("inventory") / "embedded"
    shutil.copytree(awx_jobs.INVENTORY, directory)
    path = directory / "group_vars/all/ai_gateway.yml"
    variables = yaml.safe_load(path.read_text(encoding="utf-8"))
    for provider in variables["ai_gateway_providers"]:
        provider["credential"]["value"] = LOOKUPS[provider["name"]]
    variables["ai_gateway_callers"] = [{"kind": "api_key"}]
    path.write_text(yaml.safe_dump(variables), encoding="utf-8")
    return directory


@pytest.mark.usefixtures("default_site")
def test_site_keys_and_teardown_by_job_templates(
    sites: Sites, server: Server, inventory: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    awx, given = server.awx, {"inventory": inventory}
    with sites.becomes("one that was removed"):
        job = awx_jobs.launch(awx, "Site", tmp_path / "site", **given)
        assert job.status == "successful", job.output[-3000:]
        found = job.artifacts["ai_gateway_validation"]["embedded"]
        assert found["counts"]["failed"] == 0 < found["counts"]["passed"]

        # A key in a credential is replaced, and a job gives it to the gateway.
        credential = awx.named("credentials", "Provider keys")
        credential["inputs"]["openai_api_key"] = "sk-openai-second-key"
        job = awx_jobs.launch(awx, "Rotate keys", tmp_path / "rotate", **given)
        assert job.status == "successful", job.output[-3000:]
        assert "New keys for openai" in job.output
        job = awx_jobs.launch(awx, "Validate", tmp_path / "validate", {"validation_mode": "quick"}, **given)
        assert job.status == "successful", job.output[-3000:]

        answers = {
            "api_keys_state": "present",
            "api_keys_name": "job",
            "api_keys_owner": "awx",
            "api_keys_tier": "free",
            "api_keys_secret": "job-key",
            "api_keys_secret_namespace": "default",
        }
        job = awx_jobs.launch(awx, "API keys", tmp_path / "key", answers, **given)
        assert job.status == "successful", job.output[-3000:]
        template = '--output=go-template={{index .data "api-key" | base64decode}}'
        key = objects.kubectl("get", "secret", "job-key", "--namespace=default", template)
        assert re.fullmatch(r"aigw_[0-9A-Za-z]{50}", key)
        objects.kubectl("delete", "secret", "job-key", "--namespace=default")

        job = awx_jobs.launch(awx, "Teardown", tmp_path / "teardown", **given)
        assert job.status == "successful", job.output[-3000:]
        assert "namespace/ai-gateway" not in objects.kubectl("get", "namespaces", "--output=name").splitlines()
        assert awx_jobs.disclosing(tmp_path, "sk-openai-second-key", *KEYS.values(), key) == []
    sites.ensure_default()


@pytest.mark.usefixtures("any_site")
def test_site_runs_from_what_the_execution_environment_lists(tmp_path: pathlib.Path) -> None:
    """Its packages and collections alone, in an environment of their own. An image is not made of them here."""
    builder = awx_jobs.programs() / "ansible-builder"
    definition = ROOT / "awx/execution-environment/execution-environment.yml"
    subprocess.run([builder, "create", "--file", definition, "--context", tmp_path / "context"], check=True)
    # Its name is that of the program that would build it.
    assert list((tmp_path / "context").glob("*file"))
    listed = yaml.safe_load((tmp_path / "context/_build/requirements.yml").read_text(encoding="utf-8"))["collections"]
    # Where no Galaxy is: the collection as it is built, and the others from package ansible.
    collections = tmp_path / "collections/ansible_collections"
    subprocess.run([ROOT / "scripts/package"], cwd=ROOT, check=True)
    galaxy = yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))
    (packaged,) = pathlib.Path(sys.prefix).glob("lib/python3*/site-packages/ansible_collections")
    wanted = {entry["name"] for entry in listed} - {"egress.ai_gateway"} | set(galaxy["dependencies"])
    for name in wanted:
        shutil.copytree(packaged / name.replace(".", "/"), collections / name.replace(".", "/"))
    shutil.copytree(ROOT / ".build/ansible_collections/egress", collections / "egress")
    requirements, system = tmp_path / "requirements.txt", tmp_path / "bindep.txt"
    subprocess.run(
        [builder, "introspect", tmp_path / "collections", f"--write-pip={requirements}", f"--write-bindep={system}"],
        check=True,
        capture_output=True,
    )
    assert "helm" in system.read_text(encoding="utf-8")
    place = tmp_path / "environment"
    core = yaml.safe_load(definition.read_text(encoding="utf-8"))["dependencies"]["ansible_core"]["package_pip"]
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    install = [place / "bin/pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    subprocess.run([*install, core, "--requirement", requirements], check=True, timeout=900)
    environment = {"HOME": str(tmp_path), "PATH": f"{place}/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}
    ended = subprocess.run(
        [
            *("ansible-playbook", "egress.ai_gateway.site", "--check", SAME_CLUSTER),
            *("--inventory", str(awx_jobs.INVENTORY)),
        ],
        cwd=tmp_path,
        env=environment | {"ANSIBLE_COLLECTIONS_PATH": str(tmp_path / "collections"), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout[-4000:] + ended.stderr[-2000:]
    assert "failed=0" in ended.stdout
