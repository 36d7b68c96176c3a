# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders: sound, safe, and fit for the program it starts."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils import _catalog

COLLECTIONS = Path(_catalog.__file__).parents[5]
ROLE = Path(_catalog.__file__).parents[2] / "roles/simulators"
KEYS = {"openai": "sk-openai-key-for-demo", "vllm": "change-me-super-secret"}
PROVIDERS = [
    {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": KEYS["openai"]}, "models": [{"name": "gpt-4"}]},
    {
        "name": "vllm",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": KEYS["vllm"]},
        "models": [{"name": "qwen", "upstream_name": "Qwen/Qwen3-0.6B"}, {"name": "qwen-small", "upstream_name": "Qwen/Qwen3-0.6B"}],
    },
    {"name": "real", "schema": "openai", "endpoint": {"hostname": "api.openai.com"}, "credential": {"secret": "real"}, "models": [{"name": "gpt-5"}]},
]


def render(directory: Path, **variables: t.Any) -> list[dict[str, t.Any]]:
    (directory / "files").symlink_to(ROLE / "files")
    files = [str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")]
    tasks = [
        {
            "ansible.builtin.copy": {
                "content": f"{{{{ lookup('ansible.builtin.template', '{ROLE}/templates/simulators.yaml.j2') }}}}",
                "dest": f"{directory}/out",
            }
        }
    ]
    play = {"hosts": "localhost", "gather_facts": False, "roles": ["egress.ai_gateway.ai_gateway"], "vars_files": files, "tasks": tasks}
    (directory / "play.yml").write_text(json.dumps([play]))
    (directory / "variables.yml").write_text(yaml.safe_dump({"ai_gateway_platform": "embedded", "ai_gateway_providers": PROVIDERS, **variables}))
    environment = {**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_HOME": str(directory / "home")}
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", "-e", f"@{directory}/variables.yml"]
    python = ["-e", f"ansible_python_interpreter={sys.executable}"]
    ended = subprocess.run([*command, *python, f"{directory}/play.yml"], env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return [manifest for manifest in yaml.safe_load_all((directory / "out").read_text()) if manifest]


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, t.Any]]:
    return render(tmp_path_factory.mktemp("manifests"))


def of_kind(manifests: list[dict[str, t.Any]], kind: str) -> dict[str, dict[str, t.Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def test_one_simulator_for_each_simulated_provider(manifests: list[dict[str, t.Any]]) -> None:
    names = {"openai-simulator", "vllm-simulator"}
    assert set(of_kind(manifests, "Deployment")) == set(of_kind(manifests, "Service")) == set(of_kind(manifests, "Secret")) == names
    assert set(of_kind(manifests, "Namespace")) == {"external-models"}
    identities = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(set(identities)) == len(identities) == 3 + 3 * 2
    assert {manifest["metadata"]["namespace"] for manifest in manifests if manifest["kind"] != "Namespace"} == {"external-models"}


def test_keys_stand_in_secrets_alone(manifests: list[dict[str, t.Any]]) -> None:
    for name, key in KEYS.items():
        secret = of_kind(manifests, "Secret")[f"{name}-simulator"]
        assert base64.b64decode(secret["data"]["apiKey"]).decode() == key
        others = json.dumps([manifest for manifest in manifests if manifest["kind"] != "Secret"])
        assert key not in others
        assert secret["data"]["apiKey"] not in others


def test_pods_are_restricted(manifests: list[dict[str, t.Any]]) -> None:
    for deployment in of_kind(manifests, "Deployment").values():
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65534
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        assert "env" not in container
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]


def test_the_wiring_of_labels_ports_and_volumes(manifests: list[dict[str, t.Any]]) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["provider-simulator"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    for name, deployment in of_kind(manifests, "Deployment").items():
        template = deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        labels = template["metadata"]["labels"].items()
        service = of_kind(manifests, "Service")[name]["spec"]
        for selector in (deployment["spec"]["selector"]["matchLabels"], service["selector"], policy["podSelector"]["matchLabels"]):
            assert selector.items() <= labels
        assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(8000, "http")]
        assert container["ports"] == [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        assert set(mounted) == set(volumes)
        assert container["command"][-1] == f"{mounted['program']}/{next(iter(of_kind(manifests, 'ConfigMap')['provider-simulator']['data']))}"
        assert volumes["program"]["configMap"]["name"] == "provider-simulator"
        assert volumes["key"]["secret"]["secretName"] == name
        assert f"--key-file={mounted['key']}/apiKey" in container["args"]


def test_the_program_in_the_config_map_takes_the_arguments_and_runs(manifests: list[dict[str, t.Any]], tmp_path: Path) -> None:
    program = tmp_path / "provider_simulator.py"
    files = of_kind(manifests, "ConfigMap")["provider-simulator"]["data"]
    assert set(files) == {file.name for file in (ROLE / "files").glob("*.py")}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        assert content == (ROLE / "files" / name).read_text()
    arguments = of_kind(manifests, "Deployment")["vllm-simulator"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [argument for argument in arguments if argument.startswith("--model")] == ["--model=Qwen/Qwen3-0.6B"]
    # It reads the arguments and then stumbles over the key, which is not there.
    ended = subprocess.run([sys.executable, "-B", str(program), *arguments], capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert "--key-file /run/simulator/apiKey: FileNotFoundError" in ended.stderr


def test_settings_reach_the_program_and_a_new_key_rolls_its_own_pods_alone(manifests: list[dict[str, t.Any]], tmp_path: Path) -> None:
    providers = [{**PROVIDERS[0], "credential": {"value": "sk-another"}}, *PROVIDERS[1:]]
    settings = {"simulators_prompt_tokens": 0, "simulators_delay": 0.5, "simulators_failure_rate": 0.25, "simulators_failure_status": 503}
    changed = of_kind(
        render(tmp_path, ai_gateway_providers=providers, ai_gateway_platform="openshift", ai_gateway_policy_engine="authorino", **settings), "Deployment"
    )
    pod = changed["openai-simulator"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][-4:] == ["--prompt-tokens=0", "--delay=0.5", "--failure-rate=0.25", "--failure-status=503"]
    assert pod["containers"][0]["image"].startswith("docker.io/library/python:3.")
    assert "runAsUser" not in pod["securityContext"]
    for name, same in (("openai-simulator", False), ("vllm-simulator", True)):
        before, after = (deployments[name]["spec"]["template"]["metadata"]["annotations"] for deployments in (of_kind(manifests, "Deployment"), changed))
        assert (before == after) is same
