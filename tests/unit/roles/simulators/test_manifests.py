# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role's template renders: sound, safe, and fit for the program it starts."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build
from plays import Ended, run_playbook
from rendering import documents

GIVEN_BY_AI_GATEWAY: dict[str, t.Any] = {"ai_gateway_platform": "embedded", "ai_gateway_workloads": {}}
ROLE = Path(catalog_build.__file__).parents[3] / "roles/simulators"
KEYS = {"openai": "sk-openai-key-for-demo", "vllm": "change-me-super-secret"}
PROVIDERS = [
    {
        "name": "openai",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": KEYS["openai"]},
        "models": [{"name": "gpt-4"}],
    },
    {
        "name": "vllm",
        "schema": "openai",
        "simulated": True,
        "credential": {"value": KEYS["vllm"]},
        "models": [
            {"name": "qwen", "provider_model": "Qwen/Qwen3-0.6B"},
            {"name": "qwen-small", "provider_model": "Qwen/Qwen3-0.6B"},
        ],
    },
    {
        "name": "real",
        "schema": "openai",
        "endpoint": {"hostname": "api.openai.com"},
        "credential": {"secret": "real"},
        "models": [{"name": "gpt-5"}],
    },
]


def catalogue(*providers: dict[str, t.Any]) -> dict[str, t.Any]:
    """A catalogue made by hand, with what the role reads of it."""
    filled = []
    for provider in providers:
        hostname = f"{provider['name']}-simulator.external-models.svc.cluster.local"
        filled.append(
            {
                "simulated": True,
                "endpoint": {"hostname": hostname, "port": 8000, "tls": {"mode": provider.get("tls", "none")}},
                "credential": {
                    "header": "Authorization",
                    "scheme": "Bearer",
                    "secret": "s",
                    "key": "apiKey",
                    "managed": True,
                },
                "models": [{"name": "model", "provider_model": "model"}],
                **{key: value for key, value in provider.items() if key != "tls"},
            }
        )
    names = {
        "platform": "embedded",
        "namespace": "ai-gateway",
        "controller_namespaces": {"envoy_gateway": "ai-gateway-envoy-gateway"},
        "name": "ai-gateway",
        "simulators_namespace": "external-models",
    }
    return {**names, "egress_gateway": None, "providers": filled, "models": []}


ANTHROPIC = {
    "name": "claude",
    "schema": "anthropic",
    "credential": {"header": "x-api-key", "scheme": "", "key": "apiKey"},
}
GIVEN = [{"name": name, "credential": {"value": f"sk-{name}"}} for name in ("claude", "secure")]


def play(directory: Path, roles: list[str], tasks: list[dict[str, t.Any]], **variables: t.Any) -> Ended:
    """Run tasks with the role's files and variables; those given by name come before all others."""
    files = [str(ROLE.parent / "versions/vars/main.yml"), str(ROLE / "defaults/main.yml"), str(ROLE / "vars/main.yml")]
    content = {"hosts": "localhost", "gather_facts": False, "roles": roles, "vars_files": files, "tasks": tasks}
    return run_playbook(directory, content, {**GIVEN_BY_AI_GATEWAY, "ai_gateway_providers": PROVIDERS, **variables})


def render(directory: Path, **variables: t.Any) -> list[dict[str, t.Any]]:
    """The role's manifests; from the catalogue of the inventory, unless one is given."""
    (directory / "files").symlink_to(ROLE / "files")
    tasks = [
        {
            "ansible.builtin.copy": {
                "content": f"{{{{ lookup('ansible.builtin.template', '{ROLE}/templates/simulators.yaml.j2') }}}}",
                "dest": f"{directory}/out",
            }
        }
    ]
    ended = play(
        directory, [] if "ai_gateway_catalog" in variables else ["egress.ai_gateway.catalog"], tasks, **variables
    )
    assert ended.returncode == 0, ended.output
    return documents((directory / "out").read_text())


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, t.Any]]:
    return render(tmp_path_factory.mktemp("manifests"))


def of_kind(manifests: list[dict[str, t.Any]], kind: str) -> dict[str, dict[str, t.Any]]:
    return {manifest["metadata"]["name"]: manifest for manifest in manifests if manifest["kind"] == kind}


def test_one_simulator_for_each_simulated_provider(manifests: list[dict[str, t.Any]]) -> None:
    names = {"openai-simulator", "vllm-simulator"}
    assert (
        set(of_kind(manifests, "Deployment"))
        == set(of_kind(manifests, "Service"))
        == set(of_kind(manifests, "Secret"))
        == names
    )
    assert set(of_kind(manifests, "Namespace")) == {"external-models"}
    identities = [(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests]
    assert len(set(identities)) == len(identities) == 3 + 3 * 2
    assert {manifest["metadata"]["namespace"] for manifest in manifests if manifest["kind"] != "Namespace"} == {
        "external-models"
    }


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
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert "env" not in container
        assert container["resources"]["limits"]["memory"]
        assert container["resources"]["requests"]["cpu"]


def test_the_wiring_of_labels_ports_and_volumes(manifests: list[dict[str, t.Any]]) -> None:
    policy = of_kind(manifests, "NetworkPolicy")["provider-simulator"]["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in policy
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"port": 8000, "protocol": "TCP"}]
    proxies = {
        "gateway.envoyproxy.io/owning-gateway-name": "ai-gateway",
        "gateway.envoyproxy.io/owning-gateway-namespace": "ai-gateway",
    }
    namespace = {"kubernetes.io/metadata.name": "ai-gateway-envoy-gateway"}
    assert rule["from"] == [{"namespaceSelector": {"matchLabels": namespace}, "podSelector": {"matchLabels": proxies}}]
    for name, deployment in of_kind(manifests, "Deployment").items():
        template = deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        labels = template["metadata"]["labels"].items()
        service = of_kind(manifests, "Service")[name]["spec"]
        for selector in (
            deployment["spec"]["selector"]["matchLabels"],
            service["selector"],
            policy["podSelector"]["matchLabels"],
        ):
            assert selector.items() <= labels
        assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(8000, "http")]
        assert container["ports"] == [{"name": "http", "containerPort": 8000, "protocol": "TCP"}]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in template["spec"]["volumes"]}
        assert set(mounted) == set(volumes)
        assert (
            container["command"][-1]
            == f"{mounted['program']}/{next(iter(of_kind(manifests, 'ConfigMap')['provider-simulator']['data']))}"
        )
        assert volumes["program"]["configMap"]["name"] == "provider-simulator"
        assert volumes["key"]["secret"]["secretName"] == name
        assert f"--key-file={mounted['key']}/apiKey" in container["args"]


def test_the_program_in_the_config_map_takes_the_arguments_and_runs(
    manifests: list[dict[str, t.Any]], tmp_path: Path
) -> None:
    program = tmp_path / "provider_simulator.py"
    files = of_kind(manifests, "ConfigMap")["provider-simulator"]["data"]
    assert set(files) == {file.name for file in (ROLE / "files").glob("*.py")} - {"mcp_simulator.py"}
    for name, content in files.items():
        (tmp_path / name).write_text(content)
        assert content == (ROLE / "files" / name).read_text()
    arguments = of_kind(manifests, "Deployment")["vllm-simulator"]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert [argument for argument in arguments if argument.startswith("--model")] == ["--model=Qwen/Qwen3-0.6B"]
    # It reads the arguments and then stumbles over the key, which is not there.
    ended = subprocess.run(
        [sys.executable, "-B", str(program), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert "--key-file /run/simulator/apiKey: FileNotFoundError" in ended.stderr


def test_settings_reach_the_program_and_a_new_key_rolls_its_own_pods_alone(
    manifests: list[dict[str, t.Any]], tmp_path: Path
) -> None:
    providers = [{**PROVIDERS[0], "credential": {"value": "sk-another"}}, *PROVIDERS[1:]]
    settings = {
        "simulators_prompt_tokens": 0,
        "simulators_delay": 0.5,
        "simulators_failure_rate": 0.25,
        "simulators_failure_status": 503,
    }
    changed = of_kind(
        render(
            tmp_path,
            ai_gateway_providers=providers,
            ai_gateway_platform="openshift",
            ai_gateway_policy_engine="authorino",
            **settings,
        ),
        "Deployment",
    )
    pod = changed["openai-simulator"]["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][-4:] == [
        "--prompt-tokens=0",
        "--delay=0.5",
        "--failure-rate=0.25",
        "--failure-status=503",
    ]
    assert pod["containers"][0]["image"].startswith("docker.io/library/python:3.")
    assert "runAsUser" not in pod["securityContext"]
    for name, same in (("openai-simulator", False), ("vllm-simulator", True)):
        before, after = (
            deployments[name]["spec"]["template"]["metadata"]["annotations"]
            for deployments in (of_kind(manifests, "Deployment"), changed)
        )
        assert (before == after) is same


MODELS = [
    {"name": "facebook/opt-125m", "simulated": True},
    {"name": "gemma", "simulated": True, "backend_ref": {"name": "gemma", "namespace": "llm", "port": 80}},
    {
        "name": "gemma-lora",
        "provider_model": "lora",
        "simulated": True,
        "backend_ref": {"name": "gemma", "namespace": "llm", "port": 80},
    },
    {"name": "real", "backend_ref": {"name": "real", "namespace": "llm", "port": 80}},
]


def test_simulators_of_models_on_the_premises_take_no_key(tmp_path: Path) -> None:
    made = render(tmp_path, ai_gateway_providers=[], ai_gateway_models=MODELS)
    assert (
        set(of_kind(made, "Deployment"))
        == set(of_kind(made, "Service"))
        == {"facebook-opt-125m-simulator", "gemma-simulator"}
    )
    assert not of_kind(made, "Secret")
    arguments = {name: pod_of(made, name)["containers"][0]["args"] for name in of_kind(made, "Deployment")}
    assert [argument for argument in arguments["gemma-simulator"] if argument.startswith("--model")] == [
        "--model=gemma",
        "--model=lora",
    ]
    for name, found in arguments.items():
        assert "--no-key" in found
        assert not any(argument.startswith("--key") for argument in found)
        assert [mount["name"] for mount in pod_of(made, name)["containers"][0]["volumeMounts"]] == ["program"]
        assert [volume["name"] for volume in pod_of(made, name)["volumes"]] == ["program"]
        (port,) = of_kind(made, "Service")[name]["spec"]["ports"]
        assert (port["port"], port["targetPort"]) == (8000, "http")


def pod_of(manifests: list[dict[str, t.Any]], name: str) -> dict[str, t.Any]:
    return of_kind(manifests, "Deployment")[name]["spec"]["template"]["spec"]


def probes_of(pod: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    (container,) = pod["containers"]
    timing = ("periodSeconds", "timeoutSeconds", "failureThreshold")
    return [
        {key: value for key, value in container[f"{kind}Probe"].items() if key not in timing}
        for kind in ("startup", "readiness", "liveness")
    ]


def test_the_dialect_and_the_header_of_the_key_reach_the_program(
    manifests: list[dict[str, t.Any]], tmp_path: Path
) -> None:
    arguments = pod_of(manifests, "openai-simulator")["containers"][0]["args"]
    assert {"--schema=openai", "--key-header=Authorization", "--key-scheme=Bearer", "--admin-port=8001"} <= set(
        arguments
    )
    assert not any(argument.startswith(("--tls", "--client-ca", "--retry-after", "--prefix")) for argument in arguments)
    made = render(
        tmp_path,
        ai_gateway_catalog=catalogue(ANTHROPIC),
        ai_gateway_providers=GIVEN,
        simulators_retry_after=5,
        simulators_event_delay=0.5,
    )
    arguments = pod_of(made, "claude-simulator")["containers"][0]["args"]
    assert {
        "--schema=anthropic",
        "--key-header=x-api-key",
        "--key-scheme=",
        "--retry-after=5",
        "--event-delay=0.5",
    } <= set(arguments)
    assert (
        probes_of(pod_of(made, "claude-simulator"))
        == [{"httpGet": {"path": "/health", "port": "http", "scheme": "HTTP"}}] * 3
    )


def test_names_and_prefixes_reach_the_program_as_they_are(tmp_path: Path) -> None:
    names = ["@cf/meta/llama-3.1-8b-instruct", "claude-sonnet-4@20250514", "My Model: #1", 'a"b\\c']
    provider = {
        **PROVIDERS[0],
        "endpoint": {"prefix": "/"},
        "models": [{"name": f"m{index}", "provider_model": name} for index, name in enumerate(names)],
    }
    arguments = pod_of(render(tmp_path, ai_gateway_providers=[provider]), "openai-simulator")["containers"][0]["args"]
    assert [argument for argument in arguments if argument.startswith("--model")] == [
        f"--model={name}" for name in names
    ]
    assert "--prefix=/" in arguments


def test_additional_keys_are_in_the_secret_and_their_change_rolls_the_pods_unless_told(tmp_path: Path) -> None:
    deployments: dict[tuple[bool, bool], dict[str, t.Any]] = {}
    for restart in (True, False):
        for extra in (False, True):
            directory = tmp_path / f"{restart}-{extra}"
            directory.mkdir()
            keys = {"claude": ["sk-old", "sk-older"]} if extra else {}
            made = render(
                directory,
                ai_gateway_catalog=catalogue(ANTHROPIC),
                ai_gateway_providers=GIVEN,
                simulators_additional_keys=keys,
                simulators_restart_on_key_change=restart,
            )
            data = of_kind(made, "Secret")["claude-simulator"]["data"]
            assert base64.b64decode(data["additionalKeys"]).decode() == ("sk-old\nsk-older" if extra else "")
            assert "sk-old" not in json.dumps([manifest for manifest in made if manifest["kind"] != "Secret"])
            deployments[restart, extra] = of_kind(made, "Deployment")["claude-simulator"]
    assert (
        "--key-file=/run/simulator/additionalKeys"
        in deployments[True, True]["spec"]["template"]["spec"]["containers"][0]["args"]
    )
    assert deployments[True, False] != deployments[True, True]
    assert deployments[False, False] == deployments[False, True]


def test_certificates_by_the_names_of_secrets(tmp_path: Path) -> None:
    secure = {"name": "secure", "schema": "openai", "endpoint": {"port": 8443, "tls": {"mode": "simple"}}}
    made = render(
        tmp_path,
        ai_gateway_catalog=catalogue(ANTHROPIC, secure),
        ai_gateway_providers=GIVEN,
        simulators_certificates={"secure": "its-certificate"},
    )
    assert set(of_kind(made, "Secret")) == {"claude-simulator", "secure-simulator"}
    pod = pod_of(made, "secure-simulator")
    (container,) = pod["containers"]
    volumes = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert volumes["tls"] == "its-certificate"
    assert set(volumes) == set(mounts) == {"program", "key", "tls"}
    assert {f"--tls-certificate={mounts['tls']}/tls.crt", f"--tls-key={mounts['tls']}/tls.key"} <= set(
        container["args"]
    )
    assert probes_of(pod) == [{"httpGet": {"path": "/health", "port": "https", "scheme": "HTTPS"}}] * 3
    (port,) = of_kind(made, "Service")["secure-simulator"]["spec"]["ports"]
    assert (port["port"], port["targetPort"], port["appProtocol"]) == (8443, "https", "https")
    assert [(port["name"], port["containerPort"]) for port in container["ports"]] == [("https", 8000)]
    assert not any("tls" in argument for argument in pod_of(made, "claude-simulator")["containers"][0]["args"])


def test_certificates_as_text(tmp_path: Path) -> None:
    secure = {"name": "secure", "schema": "openai", "tls": "mutual"}
    made: dict[str, list[dict[str, t.Any]]] = {}
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        made[number] = render(
            tmp_path / number,
            ai_gateway_catalog=catalogue(secure),
            ai_gateway_providers=GIVEN,
            simulators_certificates={"secure": {"certificate": f"-- certificate {number} --\n", "key": "-- key --\n"}},
            simulators_client_ca={"secure": {"certificate": "-- authority --\n"}},
        )
    secrets = of_kind(made["1"], "Secret")
    shown = {
        name: {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        for name, secret in secrets.items()
    }
    assert shown["secure-simulator-tls"] == {"tls.crt": "-- certificate 1 --\n", "tls.key": "-- key --\n"}
    assert shown["secure-simulator-client-ca"] == {"ca.crt": "-- authority --\n"}
    assert secrets["secure-simulator-tls"]["type"] == "kubernetes.io/tls"
    assert {secret["metadata"]["namespace"] for secret in secrets.values()} == {"external-models"}
    pod = pod_of(made["1"], "secure-simulator")
    volumes = {volume["name"]: volume.get("secret", {}).get("secretName") for volume in pod["volumes"]}
    assert (volumes["tls"], volumes["client-ca"]) == ("secure-simulator-tls", "secure-simulator-client-ca")
    assert "--client-ca=/run/simulator-client-ca/ca.crt" in pod["containers"][0]["args"]
    assert probes_of(pod) == [{"tcpSocket": {"port": "https"}}] * 3
    assert "-- key --" not in json.dumps([manifest for manifest in made["1"] if manifest["kind"] != "Secret"])
    # What the role itself puts in place is there when it ends, so its change rolls the pods.
    assert of_kind(made["1"], "Deployment") != of_kind(made["2"], "Deployment")


SECURE = {"name": "secure", "schema": "openai", "tls": "simple"}
MUTUAL = {"name": "secure", "schema": "openai", "tls": "mutual"}
PEM = {"certificate": "c", "key": "k"}


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """For each of the settings below, whether the role's checks take them; all in one play, as each start of Ansible
    takes a second.
    """
    directory = tmp_path_factory.mktemp("checks")
    checks = [
        task
        for task in yaml.safe_load((ROLE / "tasks/validate_variables.yml").read_text())
        if "ansible.builtin.assert" in task
    ]
    assert len(checks) == 2
    tasks: list[dict[str, t.Any]] = []
    for number, (_good, provider, settings) in SETTINGS.items():
        said = {"ansible.builtin.debug": {"msg": f"settings {number} are refused"}}
        tasks.append(
            {
                "block": checks,
                "rescue": [said],
                "vars": {"ai_gateway_catalog": catalogue(ANTHROPIC, provider), **settings},
            }
        )
    ended = play(directory, [], tasks)
    assert ended.returncode == 0, ended.output
    return {number: "refused" if f"settings {number} are refused" in ended.stdout else "taken" for number in SETTINGS}


SETTINGS: dict[str, tuple[bool, dict[str, t.Any], dict[str, t.Any]]] = {
    "none": (True, {**SECURE, "tls": "none"}, {}),
    "keys": (True, {**SECURE, "tls": "none"}, {"simulators_additional_keys": {"claude": ["a", "b"], "secure": []}}),
    "name": (True, SECURE, {"simulators_certificates": {"secure": "a.name"}}),
    "text": (True, SECURE, {"simulators_certificates": {"secure": PEM}}),
    "client-ca-of-simple": (
        True,
        SECURE,
        {"simulators_certificates": {"secure": PEM}, "simulators_client_ca": {"secure": "name"}},
    ),
    "mutual": (
        True,
        MUTUAL,
        {"simulators_certificates": {"secure": PEM}, "simulators_client_ca": {"secure": {"certificate": "c"}}},
    ),
    "delay": (
        True,
        SECURE,
        {"simulators_certificates": {"secure": PEM}, "simulators_event_delay": 600, "simulators_retry_after": 0},
    ),
    "absent": (True, SECURE, {"simulators_state": "absent"}),
    "long-delay": (False, SECURE, {"simulators_certificates": {"secure": PEM}, "simulators_event_delay": 601}),
    "negative-retry": (False, SECURE, {"simulators_certificates": {"secure": PEM}, "simulators_retry_after": -1}),
    "unknown-provider": (False, {**SECURE, "tls": "none"}, {"simulators_additional_keys": {"cluade": ["a"]}}),
    "key-as-text": (False, {**SECURE, "tls": "none"}, {"simulators_additional_keys": {"claude": "a"}}),
    "key-with-line-break": (False, {**SECURE, "tls": "none"}, {"simulators_additional_keys": {"claude": ["a\n"]}}),
    "empty-key": (False, {**SECURE, "tls": "none"}, {"simulators_additional_keys": {"claude": [""]}}),
    "no-certificate": (False, SECURE, {}),
    "certificate-without-tls": (False, {**SECURE, "tls": "none"}, {"simulators_certificates": {"secure": PEM}}),
    "certificate-without-key": (False, SECURE, {"simulators_certificates": {"secure": {"certificate": "c"}}}),
    "certificate-in-the-place-of-a-name": (False, SECURE, {"simulators_certificates": {"secure": "-----BEGIN"}}),
    "empty-name": (False, SECURE, {"simulators_certificates": {"secure": ""}}),
    "mutual-without-authority": (False, MUTUAL, {"simulators_certificates": {"secure": PEM}}),
    "authority-without-certificate": (False, {**SECURE, "tls": "none"}, {"simulators_client_ca": {"secure": "name"}}),
}


@pytest.mark.parametrize("number", SETTINGS)
def test_the_checks_of_the_settings(checked: dict[str, str], number: str) -> None:
    assert checked[number] == ("taken" if SETTINGS[number][0] else "refused")
