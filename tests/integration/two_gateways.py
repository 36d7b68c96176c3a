# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two gateways in a row on the embedded cluster:

what must be there before site comes, and the variables that site gets.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import subprocess
import time
import typing as t

import objects
import pytest
import yaml
from runs import INVENTORY, ROOT, follow, playbook, run, start
from sites import NO_SITE, Sites

FAKES = ROOT / "tests/fakes"
#: Third-party CRDs that no package registry has.
CRDS = pathlib.Path(os.environ.get("THIRD_PARTY_CRDS") or "/nonexistent")
#: The namespace of the fake of a cluster's own MaaS gateway.
MAAS_NAMESPACE = "openshift-ingress"
#: Whose routes attach to it: ours, that of maas-api, those of KServe and that of the semantic router.
ROUTES = ["ai-gateway", "opendatahub", "llm", "vllm-semantic-router-system"]

ENGINES = ("authorino", "kuadrant")
HEADERS = {"authorino": {}, "kuadrant": {"header": "X-Provider-Api-Key"}}
MODEL = {"kind": "LLMInferenceService", "name": "facebook-opt-125m-simulated", "namespace": "llm"}
#: With engine kuadrant a semantic router chooses between that model and another one.
ROUTER: dict[str, t.Any] = {
    "semantic_router_image": "localhost/egress-ai-gateway/semantic-router:fake",
    "ai_gateway_semantic_router": {
        "default_model": "facebook/opt-125m",
        "signals": {"keywords": [{"name": "math", "keywords": ["integral", "derivative"]}]},
        "decisions": [
            {
                "name": "math",
                "priority": 100,
                "rules": {"operator": "AND", "conditions": [{"type": "keyword", "name": "math"}]},
                "model": "Model-B",
            }
        ],
    },
}

#: A Deployment that was changed for a while, or restarted, has other pods and keeps the other template in its history.
#: And Kuadrant's operator enforces the policy of maas-api only since its restart.
HISTORY = "|".join(
    [
        r"^(apps/v1 ReplicaSet|v1 Pod) (opendatahub/maas-api|kuadrant-system/kuadrant-operator)-",
        r" opendatahub/kuadrant-(authorino|auth-maas-api-auth-policy)$",
        r" AuthConfig ai-gateway-authorino/opendatahub\.maas-api-auth-policy$",
    ]
)


def variables(path: pathlib.Path, engine: str) -> pathlib.Path:
    """Write the extra variables of the catalogue for a policy engine: three providers and a model on the premises, and
    with engine kuadrant a second one and a semantic router.
    """
    given = yaml.safe_load((pathlib.Path(__file__).parent / "two_gateways.yml").read_text(encoding="utf-8"))
    keys = {
        "openai": ("sk-openai-key-for-demo", "gpt-4"),
        "anthropic": ("sk-ant-claude-key-for-demo", "claude-3-sonnet"),
    }
    providers = [
        {
            "name": name,
            "schema": "openai",
            "simulated": True,
            "credential": {"value": key, **HEADERS[engine]},
            "models": [{"name": model}],
        }
        for name, (key, model) in keys.items()
    ]
    vllm = {"value": "change-me-super-secret", "header": "Authorization", "scheme": "Bearer"}
    providers.append(
        {
            "name": "vllm",
            "schema": "openai",
            "simulated": True,
            "credential": vllm,
            "models": [{"name": "Qwen/Qwen3-0.6B"}],
        }
    )
    models = [{"name": "facebook/opt-125m", "backend_ref": {**MODEL, "tls": {"mode": "none"}}}]
    if engine == "kuadrant":
        models = [
            {"name": "facebook/opt-125m", "backend_ref": MODEL},
            {"name": "Model-B", "backend_ref": {**MODEL, "name": "model-b-simulated"}},
        ]
    written: dict[str, t.Any] = {
        **given,
        "ai_gateway_policy_engine": engine,
        "ai_gateway_providers": providers,
        "ai_gateway_models": models,
        **(ROUTER if engine == "kuadrant" else {}),
        "crds_wg_ai_gateway": str(CRDS / "ainetworking.prototype.x-k8s.io_xbackenddestinations.yaml"),
        # Kuadrant's fake counts by the clock, as Envoy's rate limit service does.
        "validation_window_alignment": "clock",
    }
    path.write_text(yaml.safe_dump(written), encoding="utf-8")
    return path


def images(path: pathlib.Path) -> pathlib.Path:
    """Make the images of the fakes, and write the extra variables that load them into the cluster."""
    run("ansible-playbook", FAKES / "images.yml", "--extra-vars", json.dumps({"fakes_variables_file": str(path)}))
    return path


def platform(engine: str) -> None:
    """Deploy what plays a cluster with Models-as-a-Service, and with engine kuadrant for its gateway and its
    Kuadrant too.

    Kuadrant's operator is installed before any gateway provider, so that it enforces nothing until it restarts.
    """
    gateway_api()
    maas: dict[str, t.Any] = {"maas_platform_crds": str(CRDS), "maas_platform_model": True, "maas_platform_wait": False}
    if engine == "authorino":
        playbook(
            FAKES / "maas_platform.yml",
            "--extra-vars",
            json.dumps({**maas, "maas_platform_gateway_namespace": "ai-gateway"}),
        )
        return
    maas |= {"maas_platform_gateway_namespace": MAAS_NAMESPACE, "maas_platform_kuadrant": True}
    playbook(FAKES / "maas_platform.yml", "--extra-vars", json.dumps(maas))
    playbook(FAKES / "kuadrant.yml", K8S_AUTH_KUBECONFIG=f"{objects.STATE}/kubeconfig")
    base = {
        "ai_gateway_namespace": MAAS_NAMESPACE,
        "ai_gateway_name": "maas-default-gateway",
        "gateway_route_namespaces": ROUTES,
        # In place of the platform's gateway, whose certificate is not of this collection's authority.
        "gateway_tls_own_ca": False,
    }
    playbook("egress.ai_gateway.site", "--tags", "crds,controllers,gateway", "--extra-vars", json.dumps(base))


def gateway_api() -> None:
    """Install the CRDs of the Gateway API, as another owner does."""
    chart = f"{objects.STATE}/upstream/gateway-crds-helm"
    values = [
        "--set",
        "crds.gatewayAPI.enabled=true",
        "--set",
        "crds.gatewayAPI.channel=standard",
        "--set",
        "crds.envoyGateway.enabled=false",
    ]
    with start(f"{objects.STATE}/bin/helm", "template", "gateway-api", chart, *values) as helm:
        rendered = helm.communicate()[0]
    assert helm.returncode == 0, rendered
    subprocess.run(
        [*objects.KUBECTL, "apply", "--server-side", "--filename", "-"],
        input=rendered,
        text=True,
        check=True,
        timeout=120,
    )


def maas_api() -> dict[str, t.Any]:
    """The objects of maas-api and of the tiers, without the fields that the API server counts."""
    found: dict[str, t.Any] = {}
    for kind in ("deployment/maas-api", "configmap/tier-to-group-mapping"):
        read = json.loads(objects.kubectl("--namespace", "opendatahub", "get", kind, "--output", "json"))
        metadata = {name: read["metadata"].get(name) for name in ("labels", "annotations")}
        # The Deployment's controller counts its changes.
        (metadata["annotations"] or {}).pop("deployment.kubernetes.io/revision", None)
        found[kind] = {
            "metadata": metadata,
            **{name: value for name, value in read.items() if name not in ("metadata", "status")},
        }
    return found


def cut_off(arguments: list[str]) -> None:
    """Run a playbook with these arguments, and kill it after maas-api was changed and before its new pods were seen."""
    before = maas_api()
    with start("ansible-playbook", "--inventory", INVENTORY, *arguments) as process:
        follow(process, end="TASK [egress.ai_gateway.maas_api : Present | Have maas-api read the list]")
        deadline = time.monotonic() + 30
        while maas_api() == before and process.poll() is None and time.monotonic() < deadline:
            pass
        assert process.poll() is None, "it ended before it could be cut off"
        process.kill()


@dataclasses.dataclass(frozen=True)
class Platform:
    """The state of a cluster before site: the names of all objects, and the objects of maas-api."""

    objects: set[str]
    maas_api: dict[str, t.Any]

    @classmethod
    def present(cls) -> Platform:
        return cls(objects.settled_listing(quiet=5, besides=HISTORY), maas_api())

    def differences(self) -> tuple[list[str], list[str]]:
        """The objects left behind and those missing, after garbage collection."""
        after = objects.wait_for(self.objects, besides=HISTORY)
        return sorted(after - self.objects), sorted(self.objects - after)


def arguments(directory: pathlib.Path, engine: str) -> list[str]:
    """The extra variables of an engine, as arguments."""
    return ["--extra-vars", f"@{directory / engine}.yml", "--extra-vars", f"@{directory}/images.json"]


def site(directory: pathlib.Path, engine: str, name: str = "site", *more: str) -> int:
    return playbook(f"egress.ai_gateway.{name}", *arguments(directory, engine), *more)


@pytest.fixture(scope="module")
def directory(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Files of the extra variables of each engine and of the fakes' images, which a cluster without a site has."""
    found = tmp_path_factory.mktemp("two-gateways")
    if sites.present != NO_SITE:
        playbook("egress.ai_gateway.destroy")
    archive = images(found / "images.json")
    with sites.becomes(NO_SITE):
        playbook("egress.ai_gateway.cluster", "--extra-vars", f"@{archive}")
    for engine in ENGINES:
        variables(found / f"{engine}.yml", engine)
    return found
