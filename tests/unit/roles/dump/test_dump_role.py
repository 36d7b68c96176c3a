# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""From what stands to a file, and from the file to the same objects, byte by byte."""

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.objects import KINDS
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.record import Record, manifests
from api_server import Server
from cluster import Body
from plays import Ended, run_playbook
from trees import CANARY, INVENTORIES, VARIABLES, files, render

PLURALS = {kind: kind.lower().replace("policy", "policie") + "s" for kind in KINDS}
#: What is no part of a dump, and has to be given again.
MACHINE = {name: value for name, value in VARIABLES.items() if name.startswith("__")}


class Reader(yaml.SafeLoader):
    """Reads a file as Ansible does, but for templates."""


Reader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def server(*objects: Body) -> Server:
    """An API server with these objects."""
    kinds = {(version, PLURALS[kind]): kind for kind, version in KINDS.items()}
    made = Server({**kinds, ("v1", "configmaps"): "ConfigMap", ("v1", "secrets"): "Secret"})
    for body in objects:
        made.add(body)
    return made


def dump(directory: Path, api: Server | None, *arguments: str, **variables: t.Any) -> Ended:
    """Run the playbook, whose file is ``<directory>/dump/ai_gateway.yml``."""
    given = {
        "dump_file": f"{directory}/dump/ai_gateway.yml",
        # Not all kinds of a gateway are served here, and the charts would need Helm: the end-to-end tests compare.
        "dump_differences": "ignore",
        "ai_gateway_kubeconfig": str(api.kubeconfig(directory)) if api else "/nonexistent/kubeconfig",
        **variables,
    }
    return run_playbook(directory, "egress.ai_gateway.dump", given, *arguments, host="cluster")


def applied(directory: Path) -> Server:
    """An API server with all that was rendered into a directory, as site would have applied it."""
    paths = [path for path in sorted((directory / "tree").rglob("*.yaml")) if path.name != "kustomization.yaml"]
    documents = [*paths, directory / "secrets.yaml"]
    bodies = [body for path in documents for body in yaml.safe_load_all(path.read_text()) if isinstance(body, dict)]
    bodies = [body for body in bodies if "metadata" in body]
    kinds = {(body["apiVersion"], plural(body["kind"])): body["kind"] for body in bodies}
    cluster_scoped = {body["kind"] for body in bodies if "namespace" not in body["metadata"]}
    made = Server(kinds, cluster_scoped)
    # Namespaces first, as the others need them.
    for body in sorted(bodies, key=lambda body: body["kind"] != "Namespace"):
        key = (plural(body["kind"]), body["metadata"].get("namespace", ""), body["metadata"]["name"])
        assert made._object("PATCH", key, body, {"fieldManager": "egress.ai_gateway"}).status < 300
    return made


def plural(kind: str) -> str:
    name = kind.lower()
    return f"{name}es" if name.endswith("s") else name.replace("policy", "policie") + "s"


def record_of(tree: Path) -> list[Body]:
    """The record in a rendered tree."""
    found = [yaml.safe_load(path.read_text()) for path in sorted(tree.rglob("configmap.*.catalogue*.yaml"))]
    assert found
    return found


@pytest.fixture(params=sorted(INVENTORIES))
def rendered(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path]:
    """The name of an inventory, and the directory that it was rendered into."""
    ended = render(tmp_path, INVENTORIES[request.param])
    assert ended.returncode == 0, ended.output
    return request.param, tmp_path


def names(value: t.Any) -> t.Iterator[tuple[str, str]]:
    """The variables of the environment that a dump reads, with the key of each in INVENTORIES."""
    for provider in [*value.get("ai_gateway_providers", ()), *value.get("ai_gateway_mcp_servers", ())]:
        reference = str(provider.get("credential", {}).get("value", ""))
        if reference:
            ending = "" if provider["name"] == "openai" else f"-{provider['name']}"
            yield reference.split("'")[3], CANARY + ending


def test_a_dump_renders_what_was_rendered(rendered: tuple[str, Path]) -> None:
    name, directory = rendered
    bodies = record_of(directory / "tree")
    place = bodies[0]["metadata"]["namespace"]
    ended = dump(directory, server(*bodies), ai_gateway_namespace=place)
    assert ended.returncode == 0, ended.output
    assert "changed=2" in ended.output
    file = directory / "dump/ai_gateway.yml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    content = file.read_text()
    assert CANARY not in content + ended.output
    keys = dict(names(yaml.load(content, Reader)))  # noqa: S506 (a SafeLoader)
    assert keys or name not in ("providers", "simulators")
    variables = {
        **MACHINE,
        "render_directory": f"{directory}/again",
        "render_secrets_file": f"{directory}/secrets.yaml",
        "ai_gateway_cache_directory": f"{directory}/cache",
        "ai_gateway_kubeconfig": "/nonexistent/kubeconfig",
    }
    if name == "router":
        variables["semantic_router_validator"] = ""
    # As group_vars would, so that its templates are templates.
    again = run_playbook(
        directory,
        "egress.ai_gateway.render",
        variables,
        "--extra-vars",
        f"@{file}",
        host="cluster",
        environment=keys,
    )
    assert again.returncode == 0, again.output
    assert files(directory / "again") == files(directory / "tree")


def test_the_record_is_compared_with_the_objects(tmp_path: Path) -> None:
    ended = render(tmp_path, {**INVENTORIES["simulators"], "ai_gateway_observability": {"enabled": True}})
    assert ended.returncode == 0, ended.output
    api = applied(tmp_path)
    compared = {**MACHINE, "dump_differences": "fail", "ai_gateway_cache_directory": f"{tmp_path}/cache"}
    ended = dump(tmp_path, api, "-vv", "--diff", **compared)
    assert ended.returncode == 0, ended.output
    said = " ".join(ended.output.split())
    assert "inference_pool, semantic_router, access_policies, providers, observability: 0 differ." in said
    assert not [write for write in api.writes if not write.startswith("PATCH ")]
    content = (tmp_path / "dump/ai_gateway.yml").read_text()
    assert CANARY not in content + ended.output
    keys = sorted(key for key in api.objects if key[0] == "aigatewayroutes")
    missing, changed = keys[0], next(key for key in api.objects if key[0] == "backends")
    del api.objects[missing]
    api.objects[changed]["spec"]["endpoints"][0]["fqdn"]["port"] = 9
    dashboards = [key for key in api.objects if key[0] == "configmaps" and key[2].startswith("dashboard-")]
    del api.objects[dashboards[0]]
    (tmp_path / "dump/ai_gateway.yml").unlink()
    refused = dump(tmp_path, api, **compared)
    assert refused.returncode == 2
    said = " ".join(refused.output.split())
    assert "msg: |- 3 objects are not as the record of Gateway ai-gateway/ai-gateway says" in said
    assert f"AIGatewayRoute ai-gateway/{missing[2]} is missing" in said
    assert f"ConfigMap ai-gateway/{dashboards[0][2]} is missing" in said
    assert f"Backend ai-gateway/{changed[2]} is not as the record says" in said
    assert not (tmp_path / "dump/ai_gateway.yml").exists()
    noted = dump(tmp_path, api, **{**compared, "dump_differences": "note"})
    assert noted.returncode == 0, noted.output
    content = (tmp_path / "dump/ai_gateway.yml").read_text()
    assert f"# - AIGatewayRoute ai-gateway/{missing[2]} is missing\n" in content
    assert yaml.load(content, Reader)["ai_gateway_platform"] == "kind"  # noqa: S506 (a SafeLoader)


def test_keys_can_be_read_from_the_cluster(tmp_path: Path) -> None:
    """With and without a context, by the client of Ansible's own collection."""
    ended = render(tmp_path, INVENTORIES["simulators"])
    assert ended.returncode == 0, ended.output
    secrets = [yaml.safe_load(path) for path in (tmp_path / "secrets.yaml").read_text().split("---\n") if path.strip()]
    named = {body["metadata"]["name"]: body for body in secrets if body}
    api = server(*record_of(tmp_path / "tree"), *(body for name, body in named.items() if "-credential." in name))
    ended = dump(tmp_path, api, dump_keys="cluster")
    assert ended.returncode == 0, ended.output
    assert "lookup('kubernetes.core.k8s'" in (tmp_path / "dump/ai_gateway.yml").read_text()
    assert CANARY not in (tmp_path / "dump/ai_gateway.yml").read_text() + ended.output
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars_files": [f"{tmp_path}/dump/ai_gateway.yml"],
        "roles": ["egress.ai_gateway.catalog"],
        "tasks": [
            {
                "ansible.builtin.assert": {
                    "that": f"ai_gateway_providers | map(attribute='credential.value') | list == {wanted}",
                    "quiet": True,
                }
            }
            for wanted in [[f"{CANARY}-one", f"{CANARY}-two"]]
        ],
    }
    for context in ({}, {"ai_gateway_context": "test"}):
        variables = {"ai_gateway_kubeconfig": str(api.kubeconfig(tmp_path)), **context}
        ended = run_playbook(tmp_path, play, variables, host="cluster")
        assert ended.returncode == 0, ended.output


def test_a_file_with_other_content_is_not_overwritten_unasked(tmp_path: Path) -> None:
    ended = render(tmp_path, INVENTORIES["simulators"])
    assert ended.returncode == 0, ended.output
    api = server(*record_of(tmp_path / "tree"))
    file = tmp_path / "dump/ai_gateway.yml"
    checked = dump(tmp_path, api, "--check", "--diff")
    assert checked.returncode == 0, checked.output
    assert not file.exists()
    assert "would have" in checked.output
    assert dump(tmp_path, api).returncode == 0
    made = file.read_text()
    again = dump(tmp_path, api)
    assert "changed=0" in again.output
    file.write_text("# mine\n")
    refused = dump(tmp_path, api)
    assert refused.returncode == 2
    assert "exists and has other content" in refused.output
    assert "dump_force" in refused.output
    shown = dump(tmp_path, api, "--check", "--diff")
    assert "-# mine" in shown.output
    assert "+ai_gateway_providers:" in shown.output
    assert file.read_text() == "# mine\n"
    # As the command line has them.
    refused = dump(tmp_path, api, dump_force="false", dump_backup="false")
    assert refused.returncode == 2
    assert "which keeps a copy" not in " ".join(refused.output.split())
    assert file.read_text() == "# mine\n"
    forced = dump(tmp_path, api, dump_force="true")
    assert forced.returncode == 0, forced.output
    assert file.read_text() == made
    (kept,) = (path for path in file.parent.iterdir() if path != file)
    assert kept.read_text() == "# mine\n"
    assert {path.name for path in file.parent.iterdir()} == {file.name, kept.name}


@pytest.mark.parametrize("change", [{"digest": "0" * 64}, {"variables": "{}"}, {"part": "2/2"}])
def test_a_record_that_is_not_whole_is_an_error(change: dict[str, str], tmp_path: Path) -> None:
    ended = render(tmp_path, INVENTORIES["simulators"])
    assert ended.returncode == 0, ended.output
    (body,) = record_of(tmp_path / "tree")
    if "part" not in change:
        body["data"] |= change
    else:
        body["metadata"]["name"] += ".1"
        body["data"] |= change | {"variables": body["data"]["variables"][100:]}
    ended = dump(tmp_path, server(body))
    assert ended.returncode == 2
    assert "is not whole or was changed by hand" in " ".join(ended.output.split())
    assert not (tmp_path / "dump").exists()


def test_a_record_cannot_say_how_a_run_is_done(tmp_path: Path) -> None:
    evil = {"ansible_become_exe": "touch x; sudo", "ai_gateway_platform": "kind"}
    ended = dump(tmp_path, server(*manifests(Record(evil, ()), "ai-gateway", "ai-gateway")))
    assert ended.returncode == 2
    said = " ".join(ended.output.split())
    assert 'ConfigMap ai-gateway.catalogue has what no record of a gateway has, "ansible_become_exe"; run' in said
    assert not (tmp_path / "dump").exists()


def test_a_gateway_that_does_not_exist_is_an_error_that_names_others(tmp_path: Path) -> None:
    other = {
        "apiVersion": KINDS["Gateway"],
        "kind": "Gateway",
        "metadata": {"name": "theirs", "namespace": "apps"},
        "spec": {"listeners": []},
    }
    ended = dump(tmp_path, server(other))
    assert ended.returncode == 2
    said = " ".join(ended.output.split())
    assert "There is no Gateway ai-gateway/ai-gateway. The cluster has apps/theirs." in said
    ended = dump(tmp_path, server(other), dump_source="record")
    assert "Gateway ai-gateway/ai-gateway has no record" in " ".join(ended.output.split())


def test_a_configuration_of_litellm_calls_no_cluster(tmp_path: Path) -> None:
    config = {
        "model_list": [
            {"model_name": "gpt-4", "litellm_params": {"model": "openai/gpt-4-0613", "api_key": CANARY}},
            {"model_name": "{{ lookup('pipe', 'touch x') }}", "litellm_params": {"model": "openai/x"}},
        ],
        "general_settings": {"master_key": CANARY},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    ended = dump(tmp_path, None, dump_litellm_config=f"{tmp_path}/config.yaml")
    assert ended.returncode == 0, ended.output
    content = (tmp_path / "dump/ai_gateway.yml").read_text()
    assert CANARY not in content + ended.output
    assert "model_list[0].litellm_params.api_key: is a key in plain and was not copied" in ended.output
    assert "general_settings.master_key" in ended.output
    assert "model_list[1]" in ended.output
    assert not (tmp_path / "x").exists()
    assert not Path("x").exists()
    (provider,) = yaml.load(content, Reader)["ai_gateway_providers"]  # noqa: S506 (a SafeLoader)
    assert provider["credential"] == {"value": "{{ lookup('ansible.builtin.env', 'OPENAI_API_KEY') }}"}


def test_a_configuration_that_is_none_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model_list: 1\nmodel_list: 2\n")
    ended = dump(tmp_path, None, dump_litellm_config=f"{tmp_path}/config.yaml")
    assert ended.returncode == 2
    assert "line 2, column 1: has the name 'model_list' a second time" in " ".join(ended.output.split())


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"dump_file": ""}, 'dump_file is ""'),
        ({"dump_file": "/"}, "which is a directory"),
        ({"dump_source": "litellm"}, "Write the path of the config.yaml"),
        ({"dump_source": "record", "dump_litellm_config": "/etc/hostname"}, "Write the path of the config.yaml"),
        ({"dump_litellm_config": "/nonexistent"}, "which is no file"),
        ({"dump_keys": "plain"}, "dump_keys"),
    ],
)
def test_variables_are_checked_first(variables: dict[str, str], said: str, tmp_path: Path) -> None:
    ended = dump(tmp_path, None, **variables)
    assert ended.returncode == 2
    assert said in " ".join(ended.output.split())
    assert "dump" not in os.listdir(tmp_path)
