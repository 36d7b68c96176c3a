# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role asks of its own variables and of the router's own program, before anything is written."""

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

import pytest
from api_server import Server
from plays import run_playbook

VARIABLES: dict[str, t.Any] = {
    "ai_gateway_models": [{"name": "model-a", "simulated": True}],
    "ai_gateway_tiers": [
        {"name": "free", "level": 0, "groups": ["all"], "token_limit": {"tokens": 100, "window": "1m"}}
    ],
    "ai_gateway_semantic_router": {"default_model": "model-a"},
    "semantic_router_image": "registry.example.com/router:v1",
    "semantic_router_validator": "",
}


@pytest.fixture
def server() -> t.Iterator[Server]:
    running = Server({})
    yield running
    running.close()


def validated(server: Server, directory: Path, *arguments: str, **changed: t.Any) -> tuple[int, str]:
    variables = {**VARIABLES, "ai_gateway_cache_directory": f"{directory}/cache", **changed}
    code, output = server.run(directory, "semantic_router", variables, *arguments, tasks_from="validate_variables")
    assert server.writes == []
    return code, " ".join(output.split())


def program(directory: Path, status: int, answer: str, version: str = "1") -> str:
    """In place of vllm-sr: prints its arguments and an answer."""
    path = directory / "vllm-sr"
    path.write_text(
        f'#!/bin/sh\nif [ "$1" = --version ]; then echo {version}; exit 0; fi\necho "$@" >> {directory}/calls\n'
        f"cp \"$4\" {directory}/config.yaml\necho '{answer}'\nexit {status}\n"
    )
    path.chmod(0o755)
    return str(path)


def test_all_is_well(server: Server, tmp_path: Path) -> None:
    code, output = validated(server, tmp_path)
    assert code == 0, output


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"semantic_router_image": ""}, "semantic_router_image is empty. Write the image of the router"),
        ({"semantic_router_schema": "v0.4"}, "This collection writes configurations of version v0.3"),
        ({"semantic_router_digest": "sha256:12"}, "Write a digest as sha256: and 64"),
        ({"semantic_router_discover": True}, "Write the LLMInferenceServices as backend_ref in ai_gateway_models"),
        ({"semantic_router_requests_per_second": 0}, "semantic_router_requests_per_second from 1 to 1000000"),
        ({"semantic_router_timeout": "5"}, "semantic_router_timeout in seconds such as 5s"),
        ({"semantic_router_cache_size": "much"}, "semantic_router_cache_size such as 10Gi"),
        (
            {
                "semantic_router_offline": True,
                "ai_gateway_semantic_router": {
                    "default_model": "model-a",
                    "classifiers": {"embeddings": {}},
                    "signals": {"domains": [{"name": "law"}]},
                },
            },
            "names a PersistentVolumeClaim that holds the models already",
        ),
    ],
)
def test_faults(server: Server, tmp_path: Path, changed: dict[str, t.Any], message: str) -> None:
    code, output = validated(server, tmp_path, **changed)
    assert code == 2
    assert message in output


@pytest.mark.parametrize("arguments", [(), ("--check", "--diff")])
def test_the_routers_own_program_is_asked(server: Server, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    directory = tmp_path / "program"
    directory.mkdir()
    code, output = validated(server, tmp_path, *arguments, semantic_router_validator=program(directory, 0, "valid"))
    assert code == 0, output
    assert (directory / "calls").read_text().startswith("config validate --config ")
    assert '"version": "v0.3"' in (directory / "config.yaml").read_text()


def test_what_the_routers_own_program_refuses(server: Server, tmp_path: Path) -> None:
    directory = tmp_path / "program"
    directory.mkdir()
    code, output = validated(
        server, tmp_path, semantic_router_validator=program(directory, 1, "decision math references nothing")
    )
    assert code == 2
    assert "vllm-sr refuses the configuration of ai_gateway_semantic_router" in output
    assert "decision math references nothing" in output


def test_the_program_is_asked_once_about_what_it_has_accepted(server: Server, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    other = {"ai_gateway_semantic_router": {"default_model": "model-a", "mode": "dual_gateway"}}
    # What it is asked, and how often it was asked then.
    for version, status, changed, asked in (
        ("1", 1, {}, 1),
        ("1", 0, {}, 2),
        ("1", 0, {}, 2),
        ("1", 0, other, 3),
        ("2", 0, {}, 4),
        ("2", 0, other, 5),
        ("2", 1, {}, 5),
    ):
        validator = program(tmp_path, status, "an answer", version)
        code, output = validated(server, tmp_path, semantic_router_validator=validator, **changed)
        assert len(calls.read_text(encoding="utf-8").splitlines()) == asked, output
        assert code == (2 if (version, status) == ("1", 1) else 0), output


def test_without_the_program_the_run_says_so(server: Server, tmp_path: Path) -> None:
    code, output = validated(server, tmp_path, semantic_router_validator="/nonexistent/vllm-sr")
    assert code == 0, output
    assert "Install the Python package vllm-sr" in output


# The models that are found

DUAL = {"ai_gateway_semantic_router": {"default_model": "model-a", "mode": "dual_gateway"}}


def found_service(name: str, namespace: str, keywords: str) -> dict[str, t.Any]:
    annotations = {"egress.ai-gateway/semantic-router": "true", "egress.ai-gateway/keywords": keywords}
    return {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "LLMInferenceService",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {},
    }


def test_one_that_is_wrong_is_left_out_before_anything_is_written(tmp_path: Path) -> None:
    server = Server({("serving.kserve.io/v1alpha1", "llminferenceservices"): "LLMInferenceService"})
    directory = tmp_path / "program"
    directory.mkdir()
    variables = {
        **VARIABLES,
        **DUAL,
        "semantic_router_discover": True,
        "semantic_router_discover_namespaces": ["llm"],
        "semantic_router_validator": program(directory, 0, "valid"),
    }
    try:
        server.add(found_service("sql", "llm", "database"))
        server.add(found_service("greedy", "llm", "the, a"))
        server.add(found_service("tenant", "other", "prompts"))
        code, output = server.run(tmp_path, "semantic_router", variables, tasks_from="preflight")
        assert server.writes == []
    finally:
        server.close()
    assert code == 0, output
    shown = " ".join(output.split())
    assert "These are no models of the router until they are corrected" in shown
    assert "LLMInferenceService llm/greedy: annotation egress.ai-gateway/keywords has" in shown
    models = json.loads((directory / "config.yaml").read_text())["providers"]["models"]
    assert [model["name"] for model in models] == ["model-a", "sql"]


def test_where_they_are_looked_for_is_named(server: Server, tmp_path: Path) -> None:
    code, output = validated(server, tmp_path, **DUAL, semantic_router_discover=True)
    assert code == 2
    assert "Name the namespaces whose LLMInferenceServices may be models of the router" in output


@pytest.mark.parametrize("arguments", [(), ("--check", "--diff")])
def test_the_run_goes_on_without_those_with_which_the_configuration_is_refused(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    server = Server({("serving.kserve.io/v1alpha1", "llminferenceservices"): "LLMInferenceService"})
    validator = tmp_path / "vllm-sr"
    validator.write_text(
        '#!/bin/sh\nif [ "$1" = --version ]; then exit 0; fi\n'
        'if grep -q llm.sql "$4"; then echo "keyword of llm.sql in $4 is odd" >&2; exit 1; fi\n'
    )
    validator.chmod(0o755)
    variables = {
        **VARIABLES,
        **DUAL,
        "semantic_router_discover": True,
        "semantic_router_discover_namespaces": ["llm"],
        "semantic_router_validator": str(validator),
    }
    role = {"name": "egress.ai_gateway.semantic_router", "public": True}
    parts = [
        {"ansible.builtin.include_role": {**role, "tasks_from": part}} for part in ("validate_variables", "preflight")
    ]
    names = "{{ __semantic_router_whole.models | map(attribute='name') | join(' ') }}"
    told = {"ansible.builtin.debug": {"msg": f"its models are <{names}>"}}
    play = {"hosts": "localhost", "gather_facts": False, "tasks": [*parts, told]}
    environment = {"K8S_AUTH_KUBECONFIG": str(server.kubeconfig(tmp_path))}
    try:
        server.add(found_service("sql", "llm", "database"))
        ended = run_playbook(tmp_path, play, variables, *arguments, environment=environment)
        assert server.writes == []
    finally:
        server.close()
    assert ended.returncode == 0, ended.output
    output = " ".join(ended.output.split())
    assert "No LLMInferenceService that was found is a model of the router" in output
    assert "keyword of llm.sql in configuration is odd" in output
    assert "its models are <model-a>" in output


# The key by which the router knows its policy

KUADRANT = {
    **VARIABLES,
    "ai_gateway_platform": "openshift",
    "ai_gateway_stack": "wg_ai_gateway",
    "ai_gateway_policy_engine": "kuadrant",
    "ai_gateway_models": [
        {"name": "model-a", "backend_ref": {"kind": "LLMInferenceService", "name": "model-a", "namespace": "llm"}}
    ],
}
PLACE = {"namespace": "vllm-semantic-router-system"}


@pytest.mark.parametrize(
    ("key", "policy", "told"),
    [
        (b"k" * 64, True, False),
        (b"k" * 63, True, True),
        (b"k" * 64 + b"\n", True, True),
        (b"\xff" * 64, True, True),
        (None, True, True),
        (None, False, False),
    ],
)
def test_a_new_key_is_told_where_a_policy_has_another(
    tmp_path: Path, key: bytes | None, policy: bool, told: bool
) -> None:
    server = Server({("v1", "secrets"): "Secret", ("kuadrant.io/v1", "authpolicies"): "AuthPolicy"})
    try:
        if key is not None:
            data = {"key": base64.b64encode(key).decode()}
            metadata = {**PLACE, "name": "semantic-router-key"}
            server.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
        if policy:
            metadata = {**PLACE, "name": "semantic-router"}
            server.add({"apiVersion": "kuadrant.io/v1", "kind": "AuthPolicy", "metadata": metadata, "spec": {}})
        code, output = server.run(tmp_path, "semantic_router", KUADRANT, "-vvv", tasks_from="key")
    finally:
        server.close()
    assert code == 0, output
    assert ("until role maas_bridge has run" in " ".join(output.split())) is told
    assert "k" * 63 not in output
