# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from catalog_inventory import CERTIFICATE, INVENTORY, KSERVE, paths

ON_PREMISES = {"name": "facebook/opt-125m", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}}


def test_an_on_premises_model() -> None:
    pool = {
        "name": "gemma2",
        "backend_ref": {"kind": "InferencePool", "name": "gemma2"},
    }
    assert build({**INVENTORY, "models": [ON_PREMISES, pool]}).as_dict()["models"][2:] == [
        {
            "name": "facebook/opt-125m",
            "backends": [
                {
                    "name": "service.llm.opt.8000",
                    "backend_ref": {
                        "kind": "Service",
                        "name": "opt",
                        "namespace": "llm",
                        "hostname": "opt.llm.svc.cluster.local",
                        "port": 8000,
                        "tls": {"mode": "none"},
                        "simulator": "",
                    },
                    "provider_model": "facebook/opt-125m",
                    "weight": 1,
                    "priority": 0,
                }
            ],
            "routes": [
                {
                    "name": "facebook-opt-125m-31509eb9",
                    "providers": ["*", "service.llm.opt.8000"],
                    "backends": [
                        {
                            "name": "service.llm.opt.8000",
                            "provider_model": "facebook/opt-125m",
                            "weight": 1,
                            "priority": 0,
                        }
                    ],
                }
            ],
        },
        {
            "name": "gemma2",
            "backends": [
                {
                    "name": "inferencepool.ai-gateway.gemma2",
                    "backend_ref": {
                        "kind": "InferencePool",
                        "name": "gemma2",
                        "namespace": "ai-gateway",
                        "hostname": "",
                        "port": None,
                        "tls": {"mode": "none"},
                        "simulator": "",
                    },
                    "provider_model": "gemma2",
                    "weight": 1,
                    "priority": 0,
                }
            ],
            "routes": [],
        },
    ]


def reference_of(*models: dict[str, t.Any]) -> dict[str, t.Any]:
    """The backend of the last of the models, with its reference."""
    return t.cast("dict[str, t.Any]", build({"models": list(models)}).as_dict()["models"][-1]["backends"][0])


def test_a_simulated_model_needs_no_object() -> None:
    backend = reference_of({"name": "facebook/OPT-125m", "simulated": True})
    assert backend["name"] == "service.external-models.facebook-opt-125m-simulator.8000"
    assert backend["provider_model"] == "facebook/OPT-125m"
    assert backend["backend_ref"] == {
        "kind": "Service",
        "name": "facebook-opt-125m-simulator",
        "namespace": "external-models",
        "hostname": "facebook-opt-125m-simulator.external-models.svc.cluster.local",
        "port": 8000,
        "tls": {"mode": "none"},
        "simulator": "facebook-opt-125m-simulator",
    }


def test_a_simulator_in_the_place_of_an_object_keeps_its_name() -> None:
    model = {
        "name": "m",
        "simulated": True,
        "backend_ref": {**KSERVE, "tls": {"ca_bundle": "ca"}, "spec": {"model": {"uri": "hf://a/b", "name": "a/b"}}},
    }
    backend = reference_of(model)
    reference = backend["backend_ref"]
    assert (reference["kind"], reference["namespace"], reference["name"]) == ("LLMInferenceService", "llm", "opt")
    assert (reference["simulator"], reference["hostname"]) == (
        "opt-simulator",
        "opt-simulator.external-models.svc.cluster.local",
    )
    assert (reference["port"], reference["tls"]) == (8000, {"mode": "none"})
    assert backend["provider_model"] == "a/b"
    # Two models may share one server, and so its simulator; others need another.
    shared = [model, {**model, "name": "n", "provider_model": "c"}]
    assert len({model.backends[0].name for model in build({"models": shared}).models}) == 1
    assert paths({"models": [*shared, {"name": "opt", "simulated": True}]}) == ["ai_gateway_models[2]"]
    assert paths({"models": [{"name": "a/b", "simulated": True}, {"name": "a-b", "simulated": True}]}) == [
        "ai_gateway_models[1]"
    ]


def test_an_inference_service() -> None:
    reference = reference_of({"name": "m", "backend_ref": KSERVE})["backend_ref"]
    assert (reference["hostname"], reference["port"]) == ("opt-kserve-workload-svc.llm.svc.cluster.local", 8000)
    assert reference["tls"] == {"mode": "none"}
    assert "spec" not in reference
    secured = reference_of({"name": "m", "backend_ref": {**KSERVE, "tls": {"ca_bundle": "kserve-ca"}}})["backend_ref"][
        "tls"
    ]
    assert (secured["mode"], secured["sni"], secured["ca_bundle"]) == (
        "simple",
        "opt-kserve-workload-svc.llm.svc.cluster.local",
        "kserve-ca",
    )
    pem = reference_of({"name": "m", "backend_ref": {**KSERVE, "tls": {"ca_bundle": CERTIFICATE}}})["backend_ref"][
        "tls"
    ]
    assert (pem["ca_bundle"], pem["ca_certificates"]) == ("llminferenceservice.llm.opt.8000-ca-bundle", CERTIFICATE)


@pytest.mark.parametrize(
    ("spec", "given", "name"),
    [
        (None, None, "m"),
        ({"model": {"uri": "hf://a/b"}}, None, "opt"),
        ({"model": {"uri": "hf://a/b", "name": "a/b"}}, None, "a/b"),
        ({"model": {"uri": "hf://a/b", "name": "a/b"}}, "lora", "lora"),
    ],
)
def test_the_name_of_a_model_at_its_inference_service(spec: t.Any, given: str | None, name: str) -> None:
    backend = reference_of({"name": "m", "provider_model": given, "backend_ref": {**KSERVE, "spec": spec}})
    assert backend["provider_model"] == name
    assert backend["backend_ref"].get("spec") == spec


def test_where_models_on_the_premises_are_called() -> None:
    models = [
        {"name": "a", "backend_ref": {"name": "a", "namespace": "llm", "port": 80}},
        {"name": "b", "backend_ref": {"name": "b", "namespace": "llm", "port": 81}},
        {"name": "c", "backend_ref": KSERVE},
    ]
    catalog = build({"models": models})
    assert [(destination.name, destination.port) for destination in catalog.egress] == [
        ("namespace.llm", None),
        ("llminferenceservice.llm.opt", 8000),
    ]
    catalog = build({"models": [{**model, "simulated": True} for model in models]})
    assert [(destination.name, destination.port) for destination in catalog.egress] == [("simulators", 8000)]


@pytest.mark.parametrize(
    ("model", "fault"),
    [
        ({"name": "m"}, "[0].backend_ref"),
        ({"name": "m", "backend_ref": {"name": "m"}}, "[0].backend_ref.port"),
        ({"name": "m", "backend_ref": {"port": 80}}, "[0].backend_ref.name"),
        ({"name": "m", "backend_ref": {"kind": "Deployment", "name": "m"}}, "[0].backend_ref.kind"),
        ({"name": "m", "backend_ref": {"kind": "InferencePool", "name": "m", "port": 80}}, "[0].backend_ref.port"),
        ({"name": "m", "backend_ref": {"name": "m", "namespace": "a.b", "port": 80}}, "[0].backend_ref.namespace"),
        ({"name": "gpt-4", "backend_ref": {"name": "m", "port": 80}}, "[0].name"),
        ({"name": "m", "simulated": "yes"}, "[0].simulated"),
        ({"name": "m", "simulatd": True}, "[0].simulatd"),
        # Names that no Service can have.
        ({"name": "7b-model", "simulated": True}, "[0].name"),
        ({"name": "m" * 53, "simulated": True}, "[0].name"),
        ({"name": "m", "simulated": True, "backend_ref": {"name": "7b", "port": 80}}, "[0].backend_ref.name"),
        # That of the provider openai.
        ({"name": "openai", "simulated": True}, "[0]"),
        ({"name": "m", "backend_ref": {"name": "m", "port": 80, "spec": {}}}, "[0].backend_ref.spec"),
        (
            {"name": "m", "backend_ref": {"name": "m", "port": 80, "tls": {"ca_bundle": "ca"}}},
            "[0].backend_ref.tls.ca_bundle",
        ),
        (
            {"name": "m", "backend_ref": {"kind": "InferencePool", "name": "m", "tls": {"mode": "none"}}},
            "[0].backend_ref.tls",
        ),
        ({"name": "m", "backend_ref": {"kind": "LLMInferenceService", "name": "m"}}, "[0].backend_ref.tls"),
        (
            {"name": "m", "backend_ref": {"kind": "LLMInferenceService", "name": "m", "tls": {}}},
            "[0].backend_ref.tls.ca_bundle",
        ),
        (
            {"name": "m", "backend_ref": {"kind": "LLMInferenceService", "name": "m", "tls": {"sni": "m.example.com"}}},
            "[0].backend_ref.tls.ca_bundle",
        ),
        (
            {"name": "m", "backend_ref": {**KSERVE, "tls": {"mode": "mutual", "ca_bundle": "ca"}}},
            "[0].backend_ref.tls.client_certificate",
        ),
        ({"name": "m", "backend_ref": {**KSERVE, "port": 8000}}, "[0].backend_ref.port"),
        ({"name": "m", "backend_ref": {**KSERVE, "spec": "uri"}}, "[0].backend_ref.spec"),
        # KServe would cut the name of the Service, and 7b-kserve-workload-svc is none.
        ({"name": "m", "backend_ref": {**KSERVE, "name": "m" * 44}}, "[0].backend_ref.name"),
        ({"name": "m", "backend_ref": {**KSERVE, "name": "7b"}}, "[0].backend_ref.name"),
    ],
)
def test_faults_of_on_premises_models(model: dict[str, t.Any], fault: str) -> None:
    assert paths({**INVENTORY, "models": [model]}) == [f"ai_gateway_models{fault}"]
