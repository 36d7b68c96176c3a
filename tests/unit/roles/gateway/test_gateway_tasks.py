# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The own certification authority on a cluster: what is made and kept, written to a file for clients, and removed."""

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

import pytest
from api_server import Server
from cryptography import x509
from plays import run_playbook

ADDRESS = "10.245.0.2"
KINDS = {
    ("v1", "secrets"): "Secret",
    ("v1", "configmaps"): "ConfigMap",
    ("v1", "nodes"): "Node",
    ("v1", "services"): "Service",
    ("gateway.networking.k8s.io/v1", "gateways"): "Gateway",
}
AUTHORITY, SERVER = "ai-gateway.certification-authority", "ai-gateway-tls"
VARIABLES: dict[str, t.Any] = {
    "ai_gateway_allow_empty": True,
    "gateway_tls_own_ca": True,
    "gateway_service_type": "NodePort",
}
Made = dict[str, t.Any]


@pytest.fixture
def server() -> t.Iterator[Server]:
    made = Server(KINDS, ("Namespace", "Node"))
    addresses = [{"type": "InternalIP", "address": ADDRESS}, {"type": "Hostname", "address": "node"}]
    made.put("nodes", "", "node", status={"addresses": addresses})
    gateway = {
        "spec": {
            "listeners": [
                {"name": "https", "protocol": "HTTPS", "port": 443},
                {"name": "http-redirect", "protocol": "HTTP", "port": 80},
            ]
        },
        "status": {"addresses": [{"type": "IPAddress", "value": ADDRESS}]},
    }
    made.put("gateways", "ai-gateway", "ai-gateway", **gateway)
    yield made
    made.close()


def make(server: Server, directory: Path, **variables: t.Any) -> Made:
    """The certificates that the role would apply."""
    role = {"name": "egress.ai_gateway.gateway", "tasks_from": "own_ca.yml"}
    copy = {"content": "{{ __gateway_made | to_json }}", "dest": f"{directory}/made", "mode": "0600"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.import_role": role},
            {"ansible.builtin.copy": copy, "no_log": True},
        ],
    }
    environment = {"K8S_AUTH_KUBECONFIG": str(server.kubeconfig(directory))}
    ended = run_playbook(directory, play, {**VARIABLES, **variables}, environment=environment)
    assert ended.returncode == 0, ended.output
    made: Made = json.loads((directory / "made").read_text())
    return made


def keep(server: Server, made: Made) -> None:
    """Put what the set would hold on the cluster."""
    for name, pair in ((AUTHORITY, made["authority"]), (SERVER, made["servers"][SERVER])):
        data = {"tls.crt": pair["certificate"], "tls.key": pair["key"]}
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
        labels = {"egress.ai-gateway/kept": "true"}
        server.put("secrets", "ai-gateway", name, data=encoded, metadata={"labels": labels})


def names(made: Made) -> list[str]:
    found = x509.load_pem_x509_certificate(made["servers"][SERVER]["certificate"].encode())
    extension = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return sorted(str(name.value) for name in extension)


def test_a_certificate_for_the_nodes_is_kept_until_others_are_wanted(server: Server, tmp_path: Path) -> None:
    made = make(server, tmp_path)
    assert names(made) == [ADDRESS]
    keep(server, made)
    assert make(server, tmp_path) == made
    other = make(server, tmp_path, gateway_tls_own_ca_hosts=["localhost"])
    assert other["authority"] == made["authority"]
    assert names(other) == [ADDRESS, "localhost"]
    named = make(server, tmp_path, gateway_hostname="ai.example.com")
    assert named["authority"] == made["authority"]
    assert names(named) == ["ai.example.com"]


def test_clients_get_a_file_with_the_authority(server: Server, tmp_path: Path) -> None:
    made = make(server, tmp_path)
    keep(server, made)
    file = tmp_path / "clients/ca.crt"
    variables = {**VARIABLES, "gateway_ca_file": str(file)}

    def url(*arguments: str) -> str:
        copy = {
            "content": "{{ [gateway_url, gateway_http_url, gateway_ca_path] | to_json }}",
            "dest": f"{tmp_path}/facts",
        }
        tasks = [
            {"ansible.builtin.import_role": {"name": "egress.ai_gateway.gateway", "tasks_from": "url.yml"}},
            {"ansible.builtin.copy": copy, "check_mode": False, "changed_when": False},
        ]
        play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
        environment = {"K8S_AUTH_KUBECONFIG": str(server.kubeconfig(tmp_path))}
        ended = run_playbook(tmp_path, play, variables, *arguments, environment=environment)
        assert ended.returncode == 0, ended.output
        assert made["authority"]["key"] not in ended.output
        return ended.output

    def facts() -> list[str]:
        return t.cast("list[str]", json.loads((tmp_path / "facts").read_text()))

    # Only a file that exists is named.
    url("--check")
    assert (file.exists(), facts()[2]) == (False, "")
    assert "changed=2" in url("--diff")
    assert file.read_text() == made["authority"]["certificate"]
    assert "PRIVATE" not in file.read_text()
    assert facts() == [f"https://{ADDRESS}", f"http://{ADDRESS}", str(file)]
    assert "changed=0" in url()


def test_removal_takes_the_file_away(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "ca.crt"
    file.write_text("an authority")
    variables = {**VARIABLES, "gateway_ca_file": str(file), "gateway_state": "absent"}
    for arguments, exists in ((("--check",), True), ((), False), ((), False)):
        status, output = server.run(tmp_path, "gateway", variables, *arguments)
        assert status == 0, output
        assert file.exists() is exists


def test_a_direct_route_is_compared_with_the_listeners(tmp_path: Path) -> None:
    role = {"name": "egress.ai_gateway.gateway", "tasks_from": "validate_variables.yml"}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [{"ansible.builtin.import_role": role}]}
    pools = [
        {"name": name, "selector": {"model": name}, "direct_route": {"hostname": f"{name}.ai.example.com"}}
        for name in ("gemma2", "qwen")
    ]
    given = {
        **VARIABLES,
        "ai_gateway_inference_pools": pools,
        "ai_gateway_models": [
            {"name": pool["name"], "backend_ref": {"kind": "InferencePool", "name": pool["name"]}} for pool in pools
        ],
    }
    assert run_playbook(tmp_path, play, {**given, "gateway_hostname": "*.ai.example.com"}).returncode == 0
    refused = run_playbook(tmp_path, play, {**given, "gateway_hostname": "qwen.ai.example.com"})
    assert refused.returncode != 0
    assert "ai_gateway_inference_pools[1].direct_route.hostname is qwen.ai.example.com, which is the host of" in (
        refused.output
    )
    assert "ai_gateway_inference_pools[0].direct_route.hostname is gemma2.ai.example.com, which is accepted by no" in (
        refused.output
    )
