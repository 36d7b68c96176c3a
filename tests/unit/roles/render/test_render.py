# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What playbook render writes."""

from __future__ import annotations

import base64
import itertools
import os
import re
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

import crd_defaults
import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.staging import CLUSTER_SCOPED
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.paths import paths
from api_server import Server
from trees import CANARY, INVENTORIES, OPENAI, files, render

ROOT = Path(__file__).parents[4]
VERSIONS: dict[str, t.Any] = yaml.safe_load((ROOT / "roles/versions/vars/main.yml").read_text(encoding="utf-8"))
MODULES = Path(os.environ.get("GOMODCACHE", Path.home() / "go/pkg/mod"))
#: Where Go modules hold CRDs as YAML.
PLACES = (
    f"github.com/envoyproxy/gateway@{VERSIONS['versions_envoy_gateway']}/charts/gateway-helm/charts/crds/crds/generated",
    f"github.com/envoyproxy/ai-gateway@{VERSIONS['versions_envoy_ai_gateway']}"
    "/manifests/charts/ai-gateway-crds-helm/templates",
    f"github.com/kuadrant/authorino@{VERSIONS['versions_authorino']}/install/crd",
    "sigs.k8s.io/gateway-api@*/config/crd/standard",
)
Rendered = tuple[str, Path]


def secrets(directory: Path) -> list[dict[str, t.Any]]:
    return list(yaml.safe_load_all((directory / "secrets.yaml").read_text(encoding="utf-8")))


#: What site runs and files cannot hold: see the decision on trees.
NOT_RENDERED = {"maas_bridge", "maas_api"}
RENDERED = yaml.safe_load((ROOT / "roles/render/vars/main.yml").read_text(encoding="utf-8"))["__render_roles"]
ARGOCD = {
    "render_format": "argocd",
    "render_argocd_repository": "git@git.example.com:platform.git",
    "render_argocd_path": "clusters/one",
}
#: Modules that read a cluster in any case.
CALLING = {"kubernetes.core.k8s", "kubernetes.core.k8s_info", "egress.ai_gateway.wait_for_objects"}


def test_every_role_of_site_is_rendered_in_its_order() -> None:
    (site,) = yaml.safe_load((ROOT / "playbooks/site.yml").read_text(encoding="utf-8"))
    (block,) = [task["block"] for task in site["tasks"] if "block" in task]
    imports = [task["ansible.builtin.import_role"] for task in block]
    roles = [found["name"].removeprefix("egress.ai_gateway.") for found in imports if "tasks_from" not in found]
    assert [role for role in roles if role not in {*NOT_RENDERED, "validation"}] == RENDERED
    (play,) = yaml.safe_load((ROOT / "playbooks/render.yml").read_text(encoding="utf-8"))
    checked = [task["ansible.builtin.import_role"]["name"] for task in play["pre_tasks"]]
    assert checked == [f"egress.ai_gateway.{role}" for role in RENDERED]


def tasks_of(role: str, file: str) -> t.Iterator[dict[str, t.Any]]:
    """The tasks of a file of a role, and of those that it includes."""
    pending = yaml.safe_load((ROOT / f"roles/{role}/tasks/{file}").read_text(encoding="utf-8"))
    while pending:
        task = pending.pop()
        yield task
        pending += [*task.get("block", ()), *task.get("rescue", ()), *task.get("always", ())]
        for name in ("ansible.builtin.include_tasks", "ansible.builtin.import_tasks"):
            if name in task:
                included = task[name] if isinstance(task[name], str) else task[name]["file"]
                assert "{{" not in included
                yield from tasks_of(role, included)


@pytest.mark.parametrize("role", RENDERED)
def test_what_is_rendered_calls_no_cluster(role: str) -> None:
    tasks = list(tasks_of(role, "apply.yml"))
    assert any("egress.ai_gateway.apply_set" in task for task in tasks)
    # Those that can be rendered are apply_set and objects_info.
    assert not [task["name"] for task in tasks if CALLING & set(task)]


def vault(directory: Path) -> tuple[str, str]:
    """Encrypt the Secrets in a directory, as somebody who keeps them does; the arguments that open them."""
    password = directory / "password"
    password.write_text("correct horse", encoding="utf-8")
    command = ["ansible-vault", "encrypt", "--vault-password-file", str(password), f"{directory}/secrets.yaml"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return "--vault-password-file", str(password)


def test_twice_is_the_same(rendered: Rendered, tmp_path: Path) -> None:
    """In the same place, where the Secrets are in a vault by now, and elsewhere with the same Secrets."""
    name, directory = rendered
    first, kept = files(directory / "tree"), (directory / "secrets.yaml").read_bytes()
    same, elsewhere = tmp_path / "same", tmp_path / "elsewhere"
    shutil.copytree(directory / "tree", same / "tree")
    elsewhere.mkdir()
    for place in (same, elsewhere):
        shutil.copy(directory / "secrets.yaml", place)
    again = render(same, INVENTORIES[name], *vault(same))
    assert again.returncode == 0, again.output
    assert "changed=0 " in again.output
    assert (same / "secrets.yaml").read_text(encoding="utf-8").startswith("$ANSIBLE_VAULT")
    ended = render(elsewhere, INVENTORIES[name])
    assert ended.returncode == 0, ended.output
    assert (elsewhere / "secrets.yaml").read_bytes() == kept
    assert files(same / "tree") == files(elsewhere / "tree") == first


def test_no_secret_is_in_the_tree(rendered: Rendered) -> None:
    name, directory = rendered
    values = {
        base64.b64decode(value)
        for body in secrets(directory)
        for key, value in body["data"].items()
        # Certificates are public.
        if key not in ("ca.crt", "tls.crt")
    }
    # The key of a provider, the key of identities, the password of Redis, and the keys of certificates.
    assert any(CANARY.encode() in value for value in values)
    assert (
        sum(b"PRIVATE KEY" in value for value in values)
        == {
            "providers": 3,
            "simulators": 5,
            "router": 5,
            "pools": 6,
        }[name]
    )
    assert len(values) > 6
    searched = [value for value in values if len(value) > 4]
    found = [
        path
        for path, content in files(directory / "tree").items()
        for value in searched
        if value in content or base64.b64encode(value) in content
    ]
    assert not found
    assert stat.S_IMODE((directory / "secrets.yaml").stat().st_mode) == 0o600


def test_the_list_names_every_secret(rendered: Rendered) -> None:
    name, directory = rendered
    listed = yaml.safe_load((directory / "tree/required-secrets.yaml").read_text(encoding="utf-8"))
    named = {(entry["namespace"], entry["name"]): entry for entry in listed}
    assert len(named) == len(listed)
    for body in secrets(directory):
        entry = named.pop((body["metadata"]["namespace"], body["metadata"]["name"]))
        assert (entry["keys"], entry["in"]) == (sorted(body["data"]), "render_secrets_file")
    expected = {("gw", "azure-key"), ("gw", "azure-client"), ("gw", "azure-ca")} if name == "providers" else set()
    assert set(named) == expected
    assert all("azure" in entry["in"] for entry in named.values())


def test_kustomizations_name_every_file_once(rendered: Rendered) -> None:
    tree = rendered[1] / "tree"
    root = yaml.safe_load((tree / "kustomization.yaml").read_text(encoding="utf-8"))
    assert sorted(root["resources"]) == sorted(path.name for path in tree.iterdir() if path.is_dir())
    assert root["sortOptions"] == {"order": "fifo"}
    objects = 0
    for part in root["resources"]:
        resources = yaml.safe_load((tree / part / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
        assert sorted([*resources, "kustomization.yaml"]) == sorted(path.name for path in (tree / part).iterdir())
        objects += len(resources)
    bodies = crd_defaults.objects(tree)
    assert len(bodies) == objects > 30
    identities = {
        (body["apiVersion"], body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"])
        for body in bodies
    }
    assert len(identities) == objects


def test_the_order_is_that_of_site(rendered: Rendered) -> None:
    name, directory = rendered
    root = yaml.safe_load((directory / "tree/kustomization.yaml").read_text(encoding="utf-8"))
    before_policies = {
        "providers": [],
        "simulators": ["simulators"],
        "pools": ["simulators", "inference-pool"],
        "router": ["simulators", "semantic-router"],
    }[name]
    expected = ["namespaces", "crds", "controllers", "gateway", *before_policies, "access-policies", "providers"]
    assert root["resources"] == expected
    resources = yaml.safe_load((directory / "tree/providers/kustomization.yaml").read_text(encoding="utf-8"))
    kinds = [resource.partition(".")[0] for resource in resources["resources"]]
    order = ["backend", "backendsecuritypolicy", "aigatewayroute"]
    assert [kind for kind in dict.fromkeys(kinds) if kind in order] == [kind for kind in order if kind in kinds]
    assert {"backend", "aigatewayroute"} <= set(kinds)


def test_every_object_is_of_a_set_whose_parent_names_its_kind(rendered: Rendered) -> None:
    bodies = [*crd_defaults.objects(rendered[1] / "tree"), *secrets(rendered[1])]
    parents = {
        body["metadata"]["labels"]["applyset.kubernetes.io/id"]: body["metadata"]["annotations"]
        for body in bodies
        if "applyset.kubernetes.io/id" in body["metadata"]["labels"]
    }
    members = [body for body in bodies if "applyset.kubernetes.io/part-of" in body["metadata"]["labels"]]
    assert len(parents) + len(members) == len(bodies)
    for body in members:
        annotations = parents[body["metadata"]["labels"]["applyset.kubernetes.io/part-of"]]
        group = body["apiVersion"].rpartition("/")[0]
        kind = f"{body['kind']}.{group}" if group else body["kind"]
        assert kind in annotations["applyset.kubernetes.io/contains-group-kinds"].split(",")


def test_programs_of_proxies_know_the_listener_that_is_rendered(rendered: Rendered) -> None:
    name, directory = rendered
    bodies = crd_defaults.objects(directory / "tree")
    (gateway,) = [body for body in bodies if body["kind"] == "Gateway"]
    names = {listener["name"] for listener in gateway["spec"]["listeners"]}
    assert (
        names
        == {
            "providers": {"https"},
            "simulators": {"https", "http-redirect"},
            "router": {"https", "http-redirect"},
            "pools": {"wildcard", "bare", "http-redirect"},
        }[name]
    )
    patched = {
        patch["name"].rpartition("/")[2]
        for body in bodies
        if body["kind"] == "EnvoyPatchPolicy"
        for patch in body["spec"]["jsonPatches"]
        if patch["type"].endswith(".Listener")
    }
    assert patched == ({"tcp-443", "tcp-80"} if "http-redirect" in names else {"tcp-443"})


def crds() -> list[dict[str, t.Any]]:
    """The CRDs of the versions in use."""
    directories = [path for place in PLACES for path in MODULES.glob(place)]
    if len(directories) < len(PLACES):
        pytest.skip("the Go modules with the CRDs are not on this machine; the end-to-end tests check the same")
    return [
        body
        for path in itertools.chain.from_iterable(directory.glob("*.yaml") for directory in directories)
        if path.name != "kustomization.yaml"
        for body in yaml.load_all(path.read_text(encoding="utf-8"), yaml.CSafeLoader)
        if body
    ]


def test_no_field_is_left_to_a_default_of_its_crd(rendered: Rendered) -> None:
    definitions = crds()
    schemas, scopes = crd_defaults.schemas(definitions), crd_defaults.scopes(definitions)
    bodies = crd_defaults.objects(rendered[1] / "tree")
    known = [body for body in bodies if (body["apiVersion"], body["kind"]) in schemas]
    # Else Argo CD would show it out of sync.
    assert not [
        f"{body['kind']} {body['metadata']['name']}: {line}"
        for body in known
        for line in crd_defaults.added(body, schemas[body["apiVersion"], body["kind"]])
    ]
    kinds = {body["kind"] for body in known}
    assert {
        "Gateway",
        "GatewayClass",
        "EnvoyProxy",
        "Backend",
        "SecurityPolicy",
        "AIGatewayRoute",
        "AuthConfig",
    } <= kinds
    for body in known:
        group_kind = body["apiVersion"].rpartition("/")[0], body["kind"]
        assert (scopes[group_kind] == "Cluster") == (group_kind in CLUSTER_SCOPED)


def test_a_field_that_is_left_out_is_found() -> None:
    schema = {
        "properties": {
            "spec": {
                "properties": {
                    "weights": {"items": {"properties": {"weight": {"default": 1}, "name": {}}}},
                    "headers": {"additionalProperties": {"properties": {"invert": {"default": False}}}},
                }
            },
            "status": {"default": {"conditions": []}},
        }
    }
    body = {
        "spec": {"weights": [{"name": "a"}, {"name": "b", "weight": 2}], "headers": {"x": {}, "y": {"invert": True}}}
    }
    assert crd_defaults.added(body, schema) == ["spec.weights[0].weight=1", "spec.headers[x].invert=False"]


def test_a_field_that_no_schema_has_is_found() -> None:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"weight": {"type": "integer"}}}},
    }
    assert list(crd_defaults.unknown({"spec": {"weight": 1}}, schema)) == []
    assert list(crd_defaults.unknown({"spec": {"wieght": 1}}, schema)) == ["spec.wieght is not in the schema"]
    assert list(crd_defaults.unknown({"spec": {"weight": "1"}}, schema)) == [
        "spec.weight: '1' is not of type 'integer'"
    ]


def kubectl() -> str:
    """The program of the embedded cluster of this machine, or of the path."""
    embedded = paths()["kubectl"]
    return embedded if os.access(embedded, os.X_OK) else shutil.which("kubectl") or ""


def test_kubectl_reads_the_kustomizations(rendered: Rendered) -> None:
    program = kubectl()
    if not program:
        pytest.skip("there is no kubectl on this machine; the end-to-end tests apply the tree with it")
    tree = rendered[1] / "tree"
    built = subprocess.run([program, "kustomize", str(tree)], capture_output=True, text=True, timeout=120, check=True)
    # In the same order, and with the same content.
    listed = [
        yaml.load((tree / part / resource).read_text(encoding="utf-8"), yaml.CSafeLoader)
        for part in yaml.safe_load((tree / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
        for resource in yaml.safe_load((tree / part / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    ]
    assert list(yaml.load_all(built.stdout, yaml.CSafeLoader)) == listed


def test_argo_cd_gets_an_application_for_each_directory(tmp_path: Path) -> None:
    variables = {
        **INVENTORIES["simulators"],
        "render_format": "argocd",
        "render_argocd_repository": "https://git.example.com/platform.git",
        "render_argocd_path": "clusters/one",
    }
    ended = render(tmp_path, variables)
    assert ended.returncode == 0, ended.output
    tree = tmp_path / "tree"
    bodies = list(yaml.safe_load_all((tree / "apps/cluster-ai-gateway/applications.yaml").read_text(encoding="utf-8")))
    parts = [body["spec"]["source"]["path"].removeprefix("clusters/one/") for body in bodies]
    root = yaml.safe_load((tree / "kustomization.yaml").read_text(encoding="utf-8"))
    assert parts == root["resources"]
    waves = [int(body["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"]) for body in bodies]
    assert waves == list(range(len(parts)))
    assert all("ServerSideApply=true" in body["spec"]["syncPolicy"]["syncOptions"] for body in bodies)
    # With a Namespace or a CRD all that is in it or of it would go.
    kept = {path for path, body in zip(parts, bodies) if not body["spec"]["syncPolicy"]["automated"]["prune"]}
    assert kept == {"namespaces", "crds"}
    applications = yaml.safe_load((tree / "applicationset.yaml").read_text(encoding="utf-8"))
    assert applications["kind"] == "ApplicationSet"
    assert applications["spec"]["generators"][0]["git"]["directories"] == [{"path": "clusters/one/apps/*"}]


def test_argo_cd_knows_every_field_and_adds_none(tmp_path: Path) -> None:
    directories = sorted(MODULES.glob("github.com/argoproj/argo-cd/v3@*/manifests/crds"))
    if not directories:
        pytest.skip("the Go module of Argo CD is not on this machine: go mod download github.com/argoproj/argo-cd/v3")
    definitions = [
        yaml.load((directories[-1] / f"{name}-crd.yaml").read_text(encoding="utf-8"), yaml.CSafeLoader)
        for name in ("application", "applicationset")
    ]
    schemas = crd_defaults.schemas(definitions)
    ended = render(tmp_path, {**INVENTORIES["simulators"], **ARGOCD})
    assert ended.returncode == 0, ended.output
    bodies = [
        body
        for path in (tmp_path / "tree/applicationset.yaml", *(tmp_path / "tree/apps").rglob("*.yaml"))
        for body in yaml.safe_load_all(path.read_text(encoding="utf-8"))
    ]
    assert {body["kind"] for body in bodies} == {"Application", "ApplicationSet"}
    for body in bodies:
        schema = schemas[body["apiVersion"], body["kind"]]
        assert list(crd_defaults.unknown(body, schema)) == []
        assert crd_defaults.added(body, schema) == []


def test_what_leaves_the_inventory_leaves_the_tree_and_what_others_wrote_stays(tmp_path: Path) -> None:
    both = INVENTORIES["simulators"]
    assert render(tmp_path, both).returncode == 0
    (tmp_path / "tree/providers/notes.md").write_text("mine", encoding="utf-8")
    before = files(tmp_path / "tree")
    fewer = {**both, "ai_gateway_providers": both["ai_gateway_providers"][:1]}
    checked = render(tmp_path, fewer, "--check")
    assert checked.returncode == 0
    assert "changed=1 " in checked.output
    assert files(tmp_path / "tree") == before
    assert render(tmp_path, fewer).returncode == 0
    after = files(tmp_path / "tree")
    gone = {name for name in before if name not in after}
    assert gone
    assert all("two" in name for name in gone)
    assert after["providers/notes.md"] == b"mine"
    assert not [body for body in secrets(tmp_path) if "two" in body["metadata"]["name"]]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"render_secrets_file": "{{ render_directory }}/secrets.yaml"}, "that of a file outside of it"),
        ({"render_directory": ""}, "Write the path of a directory"),
        ({"render_format": "argocd"}, 'render_argocd_repository is ""'),
        (
            {"render_format": "argocd", "render_argocd_repository": "https://g", "render_argocd_path": "/clusters"},
            'render_argocd_path is "/clusters"',
        ),
        ({**ARGOCD, "render_argocd_repository": "not a url"}, 'render_argocd_repository is "not a url"'),
        ({**ARGOCD, "render_argocd_namespace": "Bad_NS"}, 'render_argocd_namespace is "Bad_NS"'),
        ({**ARGOCD, "render_argocd_project": "My Project"}, 'render_argocd_project is "My Project"'),
        ({**ARGOCD, "render_argocd_revision": ""}, 'render_argocd_revision is ""'),
        ({**ARGOCD, "render_argocd_server": "foo"}, 'render_argocd_server is "foo"'),
        ({"render_format": "helm"}, "value of render_format must be one of"),
        (
            {
                "ai_gateway_stack": "wg_ai_gateway",
                "ai_gateway_policy_engine": "kuadrant",
                "ai_gateway_providers": [{**OPENAI, "headers": {}, "models": [{"name": "gpt-4"}]}],
                "crds_wg_ai_gateway": __file__,
                "controllers_images": {"wg_ai_gateway": "registry.example.com/wg-ai-gateway:1"},
            },
            "A gateway behind Models-as-a-Service cannot be rendered: ai_gateway_policy_engine is kuadrant",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    variables: dict[str, t.Any], said: str, tmp_path: Path
) -> None:
    ended = render(tmp_path, {**INVENTORIES["simulators"], **variables})
    assert ended.returncode != 0
    assert said in " ".join(ended.output.split())
    assert not (tmp_path / "tree").exists()
    assert not (tmp_path / "secrets.yaml").exists()


def test_what_was_rendered_stays_in_a_second_run_and_where_one_cannot_go_on(tmp_path: Path) -> None:
    variables = INVENTORIES["simulators"]
    assert render(tmp_path, variables).returncode == 0
    first, kept = files(tmp_path / "tree"), (tmp_path / "secrets.yaml").read_bytes()
    assert "changed=0 " in render(tmp_path, variables).output
    assert (files(tmp_path / "tree"), (tmp_path / "secrets.yaml").read_bytes()) == (first, kept)

    def refusal(*arguments: str, **others: t.Any) -> str:
        ended = render(tmp_path, {**variables, **others}, *arguments)
        assert ended.returncode != 0
        assert files(tmp_path / "tree") == first
        return " ".join(ended.output.split())

    # The tree of another cluster is not overwritten.
    assert "of host cluster, and that of Gateway" in refusal("--inventory", "another,", "--limit", "another")
    # A vault is never written in plain.
    password = vault(tmp_path)
    provider = {**OPENAI, "credential": {"value": "another-key-that-is-new"}}
    said = refusal(*password, ai_gateway_providers=[provider])
    assert "is encrypted by ansible-vault, and a Secret in it is new" in said
    assert (tmp_path / "secrets.yaml").read_text(encoding="utf-8").startswith("$ANSIBLE_VAULT")
    # A tree whose Secrets are lost is not rendered with others.
    (tmp_path / "secrets.yaml").unlink()
    assert "was rendered before, and its Secrets are not in render_secrets_file" in refusal()


def test_the_secrets_are_written_into_the_cluster_as_members_of_their_sets(rendered: Rendered) -> None:
    name, directory = rendered
    server = Server({("v1", "secrets"): "Secret", ("v1", "namespaces"): "Namespace"})
    try:
        given = {**INVENTORIES[name], "ai_gateway_kubeconfig": str(server.kubeconfig(directory))}
        ended = render(directory, given, "--tags", "secrets")
        assert ended.returncode == 0, ended.output
        assert CANARY not in ended.output
        live = {body["metadata"]["name"]: body for body in server.of_kind("Secret").values()}
        kept = {body["metadata"]["name"]: body for body in secrets(directory)}
        assert set(live) == set(kept)
        for key, body in kept.items():
            assert live[key]["data"] == body["data"]
            assert live[key]["metadata"]["labels"] == body["metadata"]["labels"]
            assert {entry["manager"] for entry in live[key]["metadata"]["managedFields"]} == {"egress.ai_gateway"}
        assert "changed=0 " in render(directory, given, "--tags", "secrets").output
    finally:
        server.close()


#: A key that nothing but this test seals anything for.
RECIPIENT = "age12cwcunvc9xqn5qp29ckk2ugupqszdrmga6wmqlccrhnsmu2fcqzqj3gqq0"
IDENTITY = "AGE-SECRET-KEY-15WLYDCZRS79X7QF50DGSWHNVWR9PN4PVMT5RG4ECAY8S59HGC4EQQ796LF"


def test_sops_seals_what_a_cluster_gets(tmp_path: Path) -> None:
    program = os.environ.get("SOPS") or shutil.which("sops")
    if not program:
        pytest.skip("there is no sops on this machine, nor does SOPS name one")
    variables = {
        **INVENTORIES["simulators"],
        "render_secrets": "sops",
        "render_sops_binary": program,
        "render_sops_age": [RECIPIENT],
    }
    assert render(tmp_path, variables).returncode == 0
    before = files(tmp_path / "tree")
    assert "changed=0 " in render(tmp_path, variables).output
    assert files(tmp_path / "tree") == before
    sealed = sorted((tmp_path / "tree/secrets").glob("*.sops.yaml"))
    opened = [
        subprocess.run(
            [program, "decrypt", str(path)],
            env={**os.environ, "SOPS_AGE_KEY": IDENTITY},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for path in sealed
    ]
    kept = sorted(secrets(tmp_path), key=lambda body: (body["metadata"]["namespace"], body["metadata"]["name"]))
    found = sorted(
        map(yaml.safe_load, opened), key=lambda body: (body["metadata"]["namespace"], body["metadata"]["name"])
    )
    assert found == kept
    assert not [
        path
        for path, content in before.items()
        for body in kept
        for key, value in body["data"].items()
        if key not in ("ca.crt", "tls.crt") and value and value.encode() in content
    ]
    assert yaml.safe_load(before["required-secrets.yaml"]) == []


def test_secrets_that_were_not_rendered_are_not_written(tmp_path: Path) -> None:
    ended = render(tmp_path, INVENTORIES["simulators"], "--tags", "secrets")
    assert ended.returncode != 0
    assert f"There is no {tmp_path}/secrets.yaml. Run the playbook without --tags secrets first" in " ".join(
        ended.output.split()
    )


def test_the_readme_says_where_clients_get_the_certification_authority(rendered: Rendered) -> None:
    name, directory = rendered
    (ca,) = [
        body["metadata"] for body in secrets(directory) if body["metadata"]["name"].endswith(".certification-authority")
    ] or [None]
    assert (ca is None) == (name == "providers")
    text = (directory / "tree/README.md").read_text(encoding="utf-8")
    command = "" if ca is None else f"kubectl get secret --namespace {ca['namespace']} {ca['name']} --output jsonpath="
    assert command in text
    assert ("## For clients" in text) == bool(ca)


def test_check_mode_says_what_would_be(tmp_path: Path) -> None:
    ended = render(tmp_path, INVENTORIES["simulators"], "--check")
    assert ended.returncode == 0, ended.output
    said = " ".join(ended.output.split())
    assert f"directories of manifests would be in {tmp_path}/tree" in said
    assert f"Secrets would be in {tmp_path}/secrets.yaml" in said
    assert not (tmp_path / "tree").exists()


def test_each_cluster_of_a_run_has_its_own_tree(tmp_path: Path) -> None:
    ended = render(tmp_path, INVENTORIES["simulators"], "--inventory", "another,")
    assert ended.returncode != 0
    said = " ".join(ended.output.split())
    assert re.search(r"render_directory is \S+/tree for \S+ and for \S+: one would overwrite the other's", said)
    assert not (tmp_path / "tree").exists()


def test_the_readme_names_the_namespaces_of_others(rendered: Rendered) -> None:
    name, directory = rendered
    bodies = crd_defaults.objects(directory / "tree")
    used = {body["metadata"]["namespace"] for body in [*bodies, *secrets(directory)] if "namespace" in body["metadata"]}
    others = used - {body["metadata"]["name"] for body in bodies if body["kind"] == "Namespace"}
    assert others == ({"vllm"} if name == "pools" else set())
    text = (directory / "tree/README.md").read_text(encoding="utf-8")
    listed = [line for line in text.splitlines() if line.startswith("The cluster must have these namespaces")]
    assert {found for line in listed for found in re.findall(r"`([^`]+)`", line)} == others
