# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys that nothing else can look like, and the runs that could disclose them, with all that Ansible prints.

With them the search of key_search.py has an answer: whatever is found is a leak.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import pathlib
import secrets
import typing as t

import catalogs
import gateway_requests
import yaml
from objects import kubectl
from runs import INVENTORY, recaps, start
from simulators import NAMESPACE
from sites import gateway_url

#: What is encoded in one way or another: in JSON, HTML, YAML, URLs, base64, shells and regular expressions.
ODD = "\"'<>&%+/=\\$#{}"
PROVIDERS = ("openai", "anthropic")
MCP_SERVER = "tools"
PLANTED = "planted-canary"


def new_key(name: str) -> str:
    return f"sk-canary-{name}-{secrets.token_hex(8)}{ODD}{secrets.token_hex(8)}"


@dataclasses.dataclass
class Canaries:
    """A catalogue whose providers and MCP server have such keys."""

    directory: pathlib.Path
    keys: dict[str, str] = dataclasses.field(default_factory=dict)
    #: All that were in use at any time.
    every: list[str] = dataclasses.field(default_factory=list)

    @property
    def path(self) -> pathlib.Path:
        return self.directory / "canaries.yml"

    def renew(self) -> None:
        """Give each another key."""
        self.keys = {name: new_key(name) for name in (*PROVIDERS, MCP_SERVER)}
        self.every += self.keys.values()
        entries = [entry for entry in catalogs.PROVIDERS if entry["name"] in PROVIDERS]
        providers = [
            catalogs.provider({**entry, "models": [entry["models"][0]]}, {entry["name"]: self.keys[entry["name"]]})
            for entry in entries
        ]
        server = {"name": MCP_SERVER, "simulated": True, "credential": {"value": self.keys[MCP_SERVER]}}
        variables = {"ai_gateway_providers": providers, "ai_gateway_mcp_servers": [server]}
        # Unsafe, as braces would be a template.
        self.path.write_text(_as_yaml(variables), encoding="utf-8")
        self.path.chmod(0o600)

    def expected_secrets(self) -> list[str]:
        """The Secrets that must hold one of the keys, as patterns."""
        return [
            *(f"{NAMESPACE}/{name}-simulator*" for name in PROVIDERS),
            *(f"ai-gateway/{name}-credential.*" for name in PROVIDERS),
            f"{NAMESPACE}/{MCP_SERVER}-mcp-server*",
            f"ai-gateway/{MCP_SERVER}-mcp-key.*",
            # Envoy AI Gateway's own copy.
            f"ai-gateway/ai-eg-mcp-cred-mcp-servers-{MCP_SERVER}",
            "ai-gateway-envoy-gateway/ai-gateway-ai-gateway*",
        ]


class _Unsafe(str):
    """A string that Ansible does not render."""


class _Dumper(yaml.SafeDumper):
    pass


_Dumper.add_representer(_Unsafe, lambda dumper, value: dumper.represent_scalar("!unsafe", str(value), style='"'))


def _as_yaml(value: t.Any) -> str:
    def unsafe(node: t.Any) -> t.Any:
        if isinstance(node, dict):
            return {key: _Unsafe(item) if key == "value" else unsafe(item) for key, item in node.items()}
        return [unsafe(item) for item in node] if isinstance(node, list) else node

    return yaml.dump(unsafe(value), Dumper=_Dumper)


def run(canaries: Canaries, name: str, playbook: str, *arguments: str, fails: bool = False) -> int:
    """Run a playbook with all that Ansible prints, shown statistics and a log, in files; return how many tasks changed
    something.
    """
    output = canaries.directory / f"{name}.txt"
    settings = {
        "ANSIBLE_LOG_PATH": str(canaries.directory / f"{name}.log"),
        "ANSIBLE_SHOW_CUSTOM_STATS": "true",
        "ANSIBLE_DISPLAY_ARGS_TO_STDOUT": "true",
    }
    command = ("ansible-playbook", "--inventory", INVENTORY, "-vvv", "--diff", "--extra-vars", f"@{canaries.path}")
    with start(*command, *arguments, f"egress.ai_gateway.{playbook}", **settings) as process:
        output.write_text(process.communicate()[0], encoding="utf-8")
    assert (process.returncode != 0) == fails, f"{name}: exit status {process.returncode}, see {output}"
    (recap,) = recaps(output.read_text(encoding="utf-8"))
    return recap["embedded"]["changed"]


def run_everything(canaries: Canaries) -> None:
    """Run what reads keys: checked, applied, validated, diagnosed, rendered, rotated, refused."""
    canaries.renew()
    no_cluster = "--skip-tags=embedded_cluster"
    recovery = ("--extra-vars", "validation_recovery=false")
    run(canaries, "check", "site", no_cluster, "--check")
    assert run(canaries, "site", "site", no_cluster, *recovery) > 0
    run(canaries, "diagnose", "diagnose", "--extra-vars", "diagnosis_fail_on=never")
    rendered = {
        "render_directory": str(canaries.directory / "rendered"),
        # Outside of what is searched: this one has the keys.
        "render_secrets_file": str(canaries.directory.parent / f"{canaries.directory.name}-secrets.yaml"),
        "gateway_tls_own_ca_hosts": ["10.245.0.2"],
    }
    run(canaries, "render", "render", "--extra-vars", json.dumps(rendered))
    canaries.renew()
    run(canaries, "check of a rotation", "rotate_keys", "--check")
    assert run(canaries, "rotation", "rotate_keys") > 0
    wrong = json.dumps({"ai_gateway_tiers": [{"name": "wrong"}], "gateway_replicas": "many"})
    run(canaries, "refused", "site", no_cluster, "--extra-vars", wrong, fails=True)
    run(canaries, "validate", "validate", "--extra-vars", "validation_mode=quick")


def files(canaries: Canaries) -> list[pathlib.Path]:
    """What the runs have written, without the variables."""
    return sorted(path for path in canaries.directory.iterdir() if path != canaries.path)


@contextlib.contextmanager
def planted(key: str) -> t.Iterator[str]:
    """For a block, an object that discloses a key; its name as the search shows it."""
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": PLANTED, "namespace": "default"},
        "data": {"page": f"the key is {key}"},
    }
    kubectl("create", "--filename=-", document=json.dumps(body))
    try:
        yield f"default/{PLANTED}"
    finally:
        kubectl("delete", "configmap", PLANTED, "--namespace=default")


def answers(token: str) -> list[str]:
    """What a client learns: the bodies and headers of answers, good and bad."""
    path, found = "/v1/chat/completions", []
    for headers in ({}, {"x-simulator-status": "401"}, {"x-simulator-status": "500"}):
        ask = gateway_requests.Ask(path, gateway_requests.body_of(path, "gpt-4"), headers)
        reply = gateway_requests.send(gateway_url(), token, ask)
        found.append(f"{reply.headers} {reply.body.decode(errors='replace')}")
    return found
