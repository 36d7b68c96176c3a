# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What playbooks consist of: roles in their order, with a tag of each role's name, and no variable of a role that the
inventory could not set.
"""

from __future__ import annotations

import re
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build

sys.path.insert(0, str(Path(__file__).parents[1] / "roles"))
from api_server import Server
from plays import ansible_playbook

COLLECTION = Path(catalog_build.__file__).parents[3]
PLAYBOOKS = {path.stem: path for path in (COLLECTION / "playbooks").glob("*.yml")}
ROLES = sorted(path.name for path in (COLLECTION / "roles").iterdir())
#: Roles without an object in a cluster, which others depend on.
FACTS = {"catalog", "certificates", "variables", "versions"}
#: What is done for hosts of a run, and not for a gateway.
OF_A_RUN = {"cluster_identity", "fleet"}
#: Playbooks that write to no cluster, but to its own machine.
READING = {"awx", "cluster", "destroy", "diagnose", "drift", "dump", "images", "usage", "validate"}
#: What comes before, as it writes to no gateway.
BEFORE = {"cluster_identity", "embedded_cluster", "fleet"}
#: What playbooks beside site are for.
OTHERS = {"api_keys", "awx", "diagnosis", "drift", "dump", "key_rotation", "render", "tokens", "upgrade", "usage"}
#: What site applies and validates, and what it asks the cluster before.
SITE_ROLES = set(ROLES) - FACTS - OF_A_RUN - OTHERS
PREFLIGHT = "preflight"
IMPORTS = ("ansible.builtin.import_role", "ansible.builtin.include_role")
PREFIX = "egress.ai_gateway."
KEYS = {
    "name",
    "hosts",
    "connection",
    "gather_facts",
    "serial",
    "module_defaults",
    "vars_files",
    "pre_tasks",
    "roles",
    "tasks",
    "post_tasks",
}


#: Playbooks that need the names of the catalogue alone.
NAMES_ONLY = ("api_keys", "diagnose", "dump", "token")


class Step(t.NamedTuple):
    """A role in a play, with the entry point that is run."""

    role: str
    entry: str
    tags: tuple[str, ...]


def plays(playbook: str) -> list[dict[str, t.Any]]:
    found: list[dict[str, t.Any]] = yaml.safe_load(PLAYBOOKS[playbook].read_text(encoding="utf-8"))
    return found


def unfolded(tasks: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """Tasks with those of blocks in their place; what a block does after a failure is left out."""
    return [inner for task in tasks for inner in (unfolded(task["block"]) if "block" in task else [task])]


def rescues(tasks: list[dict[str, t.Any]]) -> list[dict[str, t.Any]]:
    """What blocks do after a failure, with tasks of blocks in their place."""
    inner = [step for task in tasks for step in (*task.get("block", []), *task.get("rescue", []))]
    own = [step for task in tasks for step in unfolded(task.get("rescue", []))]
    return [*own, *(rescues(inner) if inner else [])]


def steps(playbook: str, of_a_run: bool = False) -> list[Step]:
    """The roles of a playbook in their order. Fails where a task is anything else than a role.

    :param of_a_run: whether those are among them that are for the hosts of a run.
    """
    found = []
    for play in plays(playbook):
        for section in ("pre_tasks", "roles", "tasks", "post_tasks"):
            for task in unfolded(play.get(section, [])):
                (role,) = [task] if section == "roles" else [task[key] for key in IMPORTS if key in task]
                name = role["role" if section == "roles" else "name"].removeprefix(PREFIX)
                found.append(
                    Step(name, role.get("tasks_from", "main").removesuffix(".yml"), tuple(task.get("tags", ())))
                )
    return [step for step in found if of_a_run or step.role not in OF_A_RUN]


@pytest.mark.parametrize("playbook", sorted(PLAYBOOKS))
def test_a_playbook_holds_the_order_of_roles_and_nothing_else(playbook: str) -> None:
    assert {step.role for step in steps(playbook)} <= set(ROLES)
    for play in plays(playbook):
        assert set(play) <= KEYS
        tasks = [*play.get("pre_tasks", []), *play.get("tasks", []), *play.get("post_tasks", [])]
        for task in [*unfolded(tasks), *rescues(tasks)]:
            assert set(task) <= {"name", "when", "tags", *IMPORTS}


@pytest.mark.parametrize("playbook", sorted(set(PLAYBOOKS) - {"teardown"}))
def test_no_variable_of_a_role_is_set_by_a_playbook(playbook: str) -> None:
    """It would beat the inventory. The exception are playbooks that need the names of the catalogue alone."""
    (play,) = plays(playbook)
    assert play.get("vars_files", []) == (["vars/names_only.yml"] if playbook in NAMES_ONLY else [])
    for role in play.get("roles", []):
        assert set(role) <= {"role", "tags"}


def test_teardown_applies_the_roles_of_site_in_reverse() -> None:
    applied = [step.role for step in steps("site") if step.entry == "main"]
    # What an upgrade leaves is no part of a site, and goes before the controllers that it is a replica of.
    removed = [step.role for step in steps("teardown") if step.entry == "main"]
    assert removed.index("upgrade") == removed.index("controllers") - 1
    removed.remove("upgrade")
    assert removed == [role for role in reversed(applied) if role not in ("embedded_cluster", "validation", PREFLIGHT)]
    for role in plays("teardown")[0]["roles"]:
        name = role["role"].removeprefix(PREFIX)
        assert role == {"role": role["role"], f"{name}_state": "absent", "tags": [name]}


def test_every_role_has_a_tag_of_its_name() -> None:
    site = [step for step in steps("site") if step.entry == "main"]
    assert {step.role for step in site} == SITE_ROLES
    for step in [*site, *(step for step in steps("teardown") if step.entry == "main"), *steps("validate")]:
        assert {step.role, "always"} & set(step.tags)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_that_asserts_something_of_its_variables_does_so_before_anything_is_written(role: str) -> None:
    tasks = {path.stem for path in (COLLECTION / "roles" / role / "tasks").glob("*.yml")}
    assert ("validate_variables" in tasks) == (role not in FACTS | OF_A_RUN | {PREFLIGHT})
    if role in SITE_ROLES - {PREFLIGHT}:
        site = steps("site")
        (checked,) = [step for step in site if (step.role, step.entry) == (role, "validate_variables")]
        assert role in checked.tags
        assert site.index(checked) < min(site.index(step) for step in site if step.entry == "main")


@pytest.mark.parametrize("playbook", sorted(set(PLAYBOOKS) - READING))
def test_two_hosts_that_are_one_gateway_are_refused_before_the_first_write(playbook: str) -> None:
    found = steps(playbook, of_a_run=True)
    (refusing,) = [step for step in found if step.role == "cluster_identity"]
    assert "secrets" in refusing.tags if playbook == "render" else "always" in refusing.tags
    wrote = [step for step in found if step.entry in ("main", "secrets") and step.role not in BEFORE]
    assert found.index(refusing) < min(
        found.index(step) for step in wrote if playbook != "render" or step.entry != "main"
    )


@pytest.mark.parametrize("playbook", ["site", "validate", "drift"])
def test_the_page_of_all_clusters_is_written_whatever_happens(playbook: str) -> None:
    found = steps(playbook, of_a_run=True)
    assert found[0] == Step("fleet", "started", ("always",))
    assert found[-1] == Step("fleet", "main", ("always",))
    (play,) = plays(playbook)
    sections = [task for section in ("pre_tasks", "tasks") for task in play.get(section, []) if "block" in task]
    assert sections
    for task in sections:
        last = task
        while "rescue" in last:
            last = last["rescue"][-1]
        assert last["ansible.builtin.include_role"]["name"] == f"{PREFIX}fleet"
        assert last["ansible.builtin.include_role"]["tasks_from"] == "failed"
        assert last["tags"] == ["always"]


@pytest.mark.parametrize("path", sorted(COLLECTION.glob("roles/*/tasks/*.yml")) + sorted(PLAYBOOKS.values()))
def test_no_host_decides_for_the_others(path: Path) -> None:
    """Neither a keyword nor an action that runs once for all hosts of a run, nor a failure of one that ends all."""
    content = path.read_text(encoding="utf-8")
    assert not re.search(r"^\s*(- )?(run_once|any_errors_fatal|max_fail_percentage):", content, re.M)
    assert not re.search(r"^\s*(- )?ansible\.builtin\.(pause|add_host):", content, re.M)


def test_every_preflight_is_run_before_the_first_role() -> None:
    with_preflight = {role for role in ROLES if (COLLECTION / f"roles/{role}/tasks/preflight.yml").exists()}
    site = steps("site")
    # What role providers looks for by itself, role preflight looks for in site.
    assert {step.role for step in site if step.entry == "preflight"} == with_preflight - {"providers"}
    first = site.index(Step("crds", "main", ("crds",)))
    assert max(site.index(step) for step in site if PREFLIGHT in step) < first


def test_tag_preflight_is_all_that_precedes_the_first_write_and_nothing_else() -> None:
    for step in (step for step in steps("site") if step.role not in ("fleet", "cluster_identity")):
        before = step.entry in ("validate_variables", "preflight") or step.role == PREFLIGHT
        assert ({PREFLIGHT, "always"} & set(step.tags) != set()) == before, step


def run(directory: Path, playbook: str, variables: dict[str, t.Any], *arguments: str) -> str:
    """Run a playbook that fails, with ``variables`` in its inventory, and return what it printed."""
    provider = {"name": "openai", "schema": "openai", "simulated": True, "credential": {"value": "k"}}
    given = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "ai_gateway_providers": [{**provider, "models": [{"name": "gpt-4"}]}],
        **variables,
    }
    inventory = {"all": {"hosts": {"cluster": None}, "vars": given}}
    (directory / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
    ended = ansible_playbook(directory, "--inventory", f"{directory}/hosts.yml", *arguments, f"{PREFIX}{playbook}")
    assert ended.returncode != 0
    return " ".join(ended.output.split())


@pytest.mark.parametrize(
    ("playbook", "variables", "said"),
    [
        ("rotate_keys", {"key_rotation_providers": ["nobody"]}, "no provider is named nobody"),
        ("rotate_keys", {"key_rotation_overlap": "soon"}, "argument 'key_rotation_overlap' is of type"),
        ("token", {"tokens_source": "maas_api", "tokens_file": "/a"}, "tokens_maas_api_url is empty"),
        ("token", {}, "tokens_file is empty"),
    ],
)
def test_a_variable_in_the_inventory_takes_effect(
    playbook: str, variables: dict[str, t.Any], said: str, tmp_path: Path
) -> None:
    assert said in run(tmp_path, playbook, {"ai_gateway_kubeconfig": "/nonexistent/kubeconfig", **variables})


@pytest.mark.parametrize("step", ["accept", "revoke"])
def test_tasks_for_real_providers_that_the_inventory_names_are_run(step: str, tmp_path: Path) -> None:
    tasks = [{"ansible.builtin.fail": {"msg": "these tasks run for {{ key_rotation_replaced | join }}"}}]
    (tmp_path / "tasks.yml").write_text(yaml.safe_dump(tasks), encoding="utf-8")
    variables = {
        f"key_rotation_{step}_tasks": "{{ inventory_dir }}/tasks.yml",
        "providers_replaced_keys": {"openai": ["k"]},
    }
    (title,) = [
        task["name"]
        for task in yaml.safe_load((COLLECTION / "roles/key_rotation/tasks/main.yml").read_text(encoding="utf-8"))
        if f"key_rotation_{step}_tasks" in str(task.get("ansible.builtin.include_tasks"))
    ]
    # What comes before asks a cluster.
    assert "these tasks run for openai" in run(tmp_path, "rotate_keys", variables, f"--start-at-task={title}")


def test_a_token_is_of_the_tier_that_the_inventory_names(tmp_path: Path) -> None:
    server = Server({("v1", "namespaces"): "Namespace"})
    variables = {"tokens_file": str(tmp_path / "token"), "tokens_tier": "gold"}
    try:
        said = run(tmp_path, "token", {"ai_gateway_kubeconfig": str(server.kubeconfig(tmp_path)), **variables})
    finally:
        server.close()
    assert "tier 'gold' has no namespace ai-gateway-tier-gold" in said
    assert server.writes == []


@pytest.mark.parametrize("playbook", ["teardown", *NAMES_ONLY])
def test_no_key_of_a_provider_is_needed_where_the_names_are_enough(playbook: str, tmp_path: Path) -> None:
    variables = {
        "ai_gateway_kubeconfig": "/nonexistent/kubeconfig",
        "ai_gateway_providers": "{{ lookup('ansible.builtin.file', '/nonexistent/key') }}",
        "ai_gateway_prices": {"gpt-4": {"input": 1, "output": 2}},
        "tokens_file": str(tmp_path / "token"),
    }
    said = run(tmp_path, playbook, variables)
    # It came as far as the cluster.
    assert "cannot read how to reach the cluster from kubeconfig" in said
    assert "/nonexistent/key" not in said
    assert "changed=0" in said
