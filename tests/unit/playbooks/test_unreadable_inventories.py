# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Inventories that a user writes and Ansible reads: what only YAML, templates and Ansible's own conversions can break.

Site refuses each before it asks the cluster for anything, by the path of what is wrong, and shows no key of the
inventory.
"""

from __future__ import annotations

import sys
import typing as t
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1] / "roles"))
from api_server import Server
from plays import ansible_playbook

KEY = "sk-a-key-that-must-not-show"
#: The key is on the line of what is broken, and on those around it.
INVENTORY = f"""
ai_gateway_platform: kubernetes
gateway_allow_plain_http: true
ai_gateway_providers:
  - {{name: first, schema: openai, simulated: true, credential: {{value: {KEY}}}, models: [{{name: gpt-3}}]}}
  - {{name: openai, schema: openai, simulated: true, credential: {{value: {KEY}}}, models: [{{name: MODEL}}]}}
"""
NAME = "ai_gateway_providers[1].models[0].name"
RENDERED = f"{NAME}: cannot be rendered: "


class Recorder(Server):
    """Counts all requests, not those alone that write."""

    def __init__(self) -> None:
        self.requests = 0
        super().__init__({("v1", "secrets"): "Secret"})

    def request(self, *arguments: t.Any, **options: t.Any) -> t.Any:
        self.requests += 1
        return super().request(*arguments, **options)


def site(directory: Path, inventory: str) -> tuple[int, str, Recorder]:
    """Run site with an inventory as it is written; the exit status, what was said, and the API server."""
    (directory / "inventory/group_vars").mkdir(parents=True)
    host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {"all": {"hosts": {"cluster": host}}}
    (directory / "inventory/hosts.yml").write_text(yaml.safe_dump(hosts), encoding="utf-8")
    server = Recorder()
    try:
        if "ai_gateway_kubeconfig" not in inventory:
            inventory += f"\nai_gateway_kubeconfig: {server.kubeconfig(directory)}\n"
        (directory / "inventory/group_vars/all.yml").write_text(inventory, encoding="utf-8")
        ended = ansible_playbook(
            directory, "--inventory", str(directory / "inventory"), "--diff", "-v", "egress.ai_gateway.site"
        )
    finally:
        server.close()
    return ended.returncode, ended.output, server


def named(model: str) -> str:
    return INVENTORY.replace("MODEL", model)


def with_variable(text: str) -> str:
    return f"{named('gpt-4')}{text}\n"


BROKEN = {
    "an undefined variable": (named("'{{ no_such_variable }}'"), f"{RENDERED}'no_such_variable' is undefined"),
    "a template without an end": (named("'{{ unclosed'"), f"{RENDERED}Syntax error in template"),
    "a filter that does not exist": (named("'{{ 1 | no_such_filter }}'"), f"{RENDERED}Syntax error in template"),
    "a template that fails": (named("'{{ 1 / 0 }}'"), f"{RENDERED}Error rendering template: division by zero"),
    "a lookup that fails": (
        named("\"{{ lookup('file', '/nonexistent/name') }}\""),
        f"{RENDERED}The lookup plugin 'file'",
    ),
    "a vault that is none": (named("!vault abc"), RENDERED),
    "a key that quotes itself": (
        named("gpt-4").replace(KEY, f"\"{{{{ '{KEY}' | int / 0 }}}}\"", 1),
        "ai_gateway_providers[0].credential.value: cannot be rendered: Error rendering template",
    ),
    "a template of another type": (
        with_variable('ai_gateway_tiers: "{{ range(3) }}"'),
        "ai_gateway_tiers: cannot be rendered",
    ),
    "a variable that is itself": (
        with_variable("ai_gateway_namespace: '{{ ai_gateway_namespace }}'"),
        "ai_gateway_namespace: cannot be rendered",
    ),
    "an anchor within itself": (
        with_variable("ai_gateway_tiers: &tiers\n  - *tiers"),
        "ai_gateway_tiers: is nested more than 60 levels deep, or holds itself",
    ),
    "a thousand lists": (
        with_variable(f"ai_gateway_models: {'[' * 1000}{']' * 1000}"),
        "ai_gateway_models: is nested more than 60 levels deep",
    ),
    "a date": (named("2024-10-21"), f"{NAME}: is a date; write a string"),
    "a truth value": (named("no"), f"{NAME}: is a truth value"),
    "not a number": (
        with_variable("ai_gateway_uncounted_tokens: .nan"),
        "ai_gateway_uncounted_tokens: is no finite number",
    ),
    "a key that is a truth value": (
        with_variable("ai_gateway_semantic_router: {on: 1}"),
        "ai_gateway_semantic_router: has a key that is a truth value, True",
    ),
    "a character of another direction": (named('"gpt\\u202e4"'), f'{NAME}: "gpt\\u202e4" is not a model\'s name'),
    "a zero": (named('"gpt\\0"'), f'{NAME}: "gpt\\x00" is not a model\'s name'),
    "a template that is not to be rendered": (
        named("!unsafe '{{ x }}'"),
        f'{NAME}: "{{{{ x }}}}" is not a model\'s name',
    ),
    "a misspelt variable of a role": (
        with_variable("gateway_replcas: 3"),
        "gateway_replcas: is no variable of this collection; did you mean `gateway_replicas`?",
    ),
    "a misspelt variable of the catalogue": (
        with_variable("ai_gateway_provders: []"),
        "ai_gateway_provders: is not a variable",
    ),
    "a huge number": (with_variable(f"gateway_replicas: 1{'0' * 30}"), "gateway_replicas: is a number of 100 bits"),
    "a negative number": (with_variable("gateway_replicas: -1"), "gateway_replicas: is -1; write a number from 0"),
    "no number": (with_variable("gateway_replicas: many"), "argument 'gateway_replicas' is of type str"),
    "a list for a path": (
        with_variable("ai_gateway_kubeconfig: [a]"),
        "ai_gateway_kubeconfig: is a list; write a string",
    ),
    "a mapping for a string": (
        with_variable("ai_gateway_context: {a: 1}"),
        "ai_gateway_context: is a mapping; write a string",
    ),
    "a string for a list": (with_variable("gateway_listeners: one"), "gateway_listeners: is a string; write a list"),
    "a list for a string of an item": (
        with_variable("gateway_listeners: [{name: a, hostname: [b]}]"),
        "gateway_listeners[0].hostname: is a list; write a string",
    ),
    "a list for a mapping": (with_variable("ai_gateway_workloads: [1]"), "ai_gateway_workloads"),
    "an unknown unit": (with_variable("ai_gateway_request_body_limit: 5 apples"), "ai_gateway_request_body_limit: "),
}
#: What Ansible refuses before any task, by the file.
UNREADABLE = {
    "a number of 5000 digits": with_variable(f"ai_gateway_uncounted_tokens: {'9' * 5000}"),
    "half of a character": with_variable('ai_gateway_namespace: "\\ud800"'),
    "a tab": with_variable("ai_gateway_tiers:\n\t- name: x"),
    "an object of Python": with_variable("ai_gateway_tiers: !!python/object/apply:os.system ['id']"),
    "a key that is a list": with_variable("ai_gateway_semantic_router: {? [a] : 1}"),
    "two documents": with_variable("---\na: 1"),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_a_broken_inventory_is_refused_by_its_path(mistake: str, tmp_path: Path) -> None:
    inventory, said = BROKEN[mistake]
    status, output, server = site(tmp_path, inventory)
    assert status != 0
    assert said in " ".join(output.split()), output
    assert server.requests == 0
    assert "changed=0" in output
    assert KEY not in output
    for word in ("Traceback", "unexpected failure", "Unexpected failure", "_Ansible"):
        assert word not in output


@pytest.mark.parametrize("mistake", UNREADABLE)
def test_what_is_no_inventory_is_refused_by_its_file(mistake: str, tmp_path: Path) -> None:
    status, output, server = site(tmp_path, UNREADABLE[mistake])
    assert status != 0
    assert "YAML parsing failed" in output, output
    assert server.requests == 0
    assert "Traceback" not in output
