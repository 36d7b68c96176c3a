# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role asks of a cluster for pools that the catalogue only names, and of its own variables."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from api_server import Server

MODEL = {"name": "theirs", "backend_ref": {"kind": "InferencePool", "name": "theirs", "namespace": "llm-d"}}
VARIABLES: dict[str, t.Any] = {"ai_gateway_models": [MODEL]}


@pytest.fixture
def server() -> t.Iterator[Server]:
    running = Server({("inference.networking.k8s.io/v1", "inferencepools"): "InferencePool"})
    yield running
    running.close()


def pool(name: str, namespace: str) -> dict[str, t.Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool", "metadata": metadata}


def test_a_pool_that_the_cluster_lacks_is_named(server: Server, tmp_path: Path) -> None:
    server.add(pool("theirs", "another"))
    code, output = server.run(tmp_path, "inference_pool", VARIABLES, tasks_from="preflight")
    assert code == 2
    message = "The cluster has no InferencePool llm-d/theirs, which ai_gateway_models names."
    assert message in " ".join(output.split())
    assert "The cluster has another/theirs." in " ".join(output.split())
    assert server.writes == []


def test_a_pool_that_the_cluster_has_is_found(server: Server, tmp_path: Path) -> None:
    server.add(pool("theirs", "llm-d"))
    code, output = server.run(tmp_path, "inference_pool", VARIABLES, tasks_from="preflight")
    assert code == 0, output
    assert server.writes == []


def test_without_a_pool_nothing_is_asked(server: Server, tmp_path: Path) -> None:
    provider = {
        "name": "openai",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": "k"},
        "models": [{"name": "gpt-4"}],
    }
    code, output = server.run(tmp_path, "inference_pool", {"ai_gateway_providers": [provider]}, tasks_from="preflight")
    assert code == 0, output


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"inference_pool_picker_verbosity": 11}, "write inference_pool_picker_verbosity from 0 to 10"),
        ({"inference_pool_wait_timeout": 0}, "write inference_pool_picker_verbosity from 0 to 10"),
        ({"inference_pool_objective_api_version": "v1alpha2"}, "such as inference.networking.x-k8s.io/v1alpha2"),
        ({"inference_pool_picker_image": ""}, "write inference_pool_picker_image, the image of the endpoint picker"),
    ],
)
def test_wrong_variables_are_refused(server: Server, tmp_path: Path, variables: dict[str, t.Any], message: str) -> None:
    given = {
        "ai_gateway_inference_pools": [{"name": "own", "selector": {"a": "b"}}],
        "ai_gateway_models": [MODEL, {"name": "m", "backend_ref": {"kind": "InferencePool", "name": "own"}}],
        **variables,
    }
    code, output = server.run(tmp_path, "inference_pool", given, tasks_from="validate_variables")
    assert code == 2
    assert message in " ".join(output.split())
    assert server.writes == []


def test_plugins_that_the_picker_lacks_are_refused_unless_its_image_is_another(server: Server, tmp_path: Path) -> None:
    config = {
        "plugins": [{"type": "queue-scorer"}, {"type": "prefill-filter"}],
        "schedulingProfiles": [{"name": "default", "plugins": [{"pluginRef": "queue-scorer"}]}],
    }
    own = {"name": "own", "namespace": "vllm", "selector": {"a": "b"}, "endpoint_picker": {"config": config}}
    given = {
        "ai_gateway_inference_pools": [own],
        "ai_gateway_models": [
            {"name": "m", "backend_ref": {"kind": "InferencePool", "name": "own", "namespace": "vllm"}}
        ],
    }
    code, output = server.run(tmp_path, "inference_pool", given, tasks_from="validate_variables")
    assert code == 2
    said = " ".join(output.replace("\\n", " ").split())
    assert (
        "InferencePool vllm/own in ai_gateway_inference_pools has the types prefill-filter, which it does not" in said
    )
    theirs = {**given, "inference_pool_picker_image": "ghcr.io/llm-d/llm-d-inference-scheduler:v0.3.0"}
    code, output = server.run(tmp_path, "inference_pool", theirs, tasks_from="validate_variables")
    assert code == 0, output
