# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbook api_keys against an API server on the loopback interface."""

from __future__ import annotations

import base64
import re
import stat
import sys
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._api_keys import pattern

sys.path.insert(0, str(Path(__file__).parents[1] / "roles"))
from api_server import Server
from plays import ansible_playbook

Run = Callable[..., tuple[int, str]]
NAMESPACE = "ai-gateway-authorino"
WANTED = {"api_keys_name": "build", "api_keys_owner": "jane@example.com", "api_keys_tier": "free"}


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server({("v1", "namespaces"): "Namespace", ("v1", "secrets"): "Secret"})
    for namespace in (NAMESPACE, "ai-gateway-tier-free"):
        running.put("namespaces", "", namespace)
    yield running
    running.close()


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Run:
    """Run the playbook and return its exit status and what it printed."""

    def run(
        *arguments: str, callers: t.Any = ({"kind": "api_key", "prefix": "acme"},), **extra: t.Any
    ) -> tuple[int, str]:
        variables = {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "ai_gateway_kubeconfig": str(server.kubeconfig(tmp_path)),
            "ai_gateway_callers": list(callers),
            **extra,
        }
        inventory = {"all": {"hosts": {"cluster": None}, "vars": variables}}
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump(inventory), encoding="utf-8")
        ended = ansible_playbook(
            tmp_path, "--inventory", f"{tmp_path}/hosts.yml", *arguments, "egress.ai_gateway.api_keys"
        )
        return ended.returncode, " ".join(ended.output.split())

    return run


def test_a_key_is_issued_into_a_file_listed_and_revoked(server: Server, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "key"
    issue = {"api_keys_state": "present", "api_keys_file": str(file), **WANTED}
    returncode, said = run("--check", **issue)
    assert (returncode, server.writes, file.exists()) == (0, [], False), said
    returncode, said = run("--diff", **issue)
    assert returncode == 0, said
    key = file.read_text(encoding="ascii").strip()
    assert re.fullmatch(pattern("acme"), key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert key not in said
    assert f"It is in {file}." in said

    returncode, said = run(**issue)
    assert "cannot be shown again" in said
    assert file.read_text(encoding="ascii").strip() == key

    server.writes.clear()
    returncode, said = run()
    assert "1 keys" in said
    assert all(word in said for word in ("build", "jane@example.com", "free", key[5:13]))
    many = {"api_keys_state": "absent", "api_keys_owner": "jane@example.com"}
    returncode, said = run(**many)
    assert (returncode, server.writes) == (0, [])
    assert "Nothing is revoked yet. Add --extra-vars api_keys_confirmed=true to revoke these 1 keys." in said
    returncode, said = run("--check", **many, api_keys_confirmed=True)
    assert server.writes == []
    assert "1 keys would be revoked." in said
    # As --extra-vars name=value has it.
    returncode, said = run(**many, api_keys_confirmed="true")
    assert "1 keys are revoked." in said
    assert server.writes == ["DELETE ai-gateway-api-key-build"]


def test_a_key_is_issued_into_a_secret(server: Server, run: Run) -> None:
    server.put("namespaces", "", "team")
    issue = {"api_keys_state": "present", "api_keys_secret": "build-key", "api_keys_secret_namespace": "team", **WANTED}
    returncode, said = run("--check", **issue)
    assert (returncode, "build-key" in str(server.writes)) == (0, False), said
    returncode, said = run("--diff", **issue)
    assert returncode == 0, said
    assert "It is in Secret team/build-key." in said
    kept = server.objects["secrets", "team", "build-key"]
    key = base64.b64decode(kept["data"]["api-key"]).decode() if "data" in kept else kept["stringData"]["api-key"]
    assert re.fullmatch(pattern("acme"), key)
    assert key not in said
    # That of a key of another name is of others.
    server.writes.clear()
    returncode, said = run(**{**issue, "api_keys_name": "other"})
    assert returncode != 0
    assert "Secret team/build-key exists and is of others." in said
    assert server.writes == []


def test_one_key_is_revoked_by_its_name_at_once(server: Server, run: Run, tmp_path: Path) -> None:
    run(api_keys_state="present", api_keys_file=str(tmp_path / "key"), **WANTED)
    server.writes.clear()
    assert run(api_keys_state="absent", api_keys_name="build")[0] == 0
    assert server.writes == ["DELETE ai-gateway-api-key-build"]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"callers": ()}, 'may have an API key. Add "- kind: api_key" to ai_gateway_callers and run site first.'),
        ({"api_keys_owner": "", "api_keys_file": ""}, "api_keys_owner, api_keys_file: empty."),
        ({"api_keys_file": "/nonexistent/key"}, "api_keys_file: /nonexistent is no directory that can be written."),
        ({"api_keys_secret": "a", "api_keys_secret_namespace": "team"}, "A new key is written into one place"),
        ({"api_keys_file": "", "api_keys_secret": "a"}, "A new key is written into one place"),
        ({"api_keys_tier": "gold"}, "tier: gateway ai-gateway has no tier 'gold'"),
        ({"api_keys_expires": "400d"}, "expires: '400d' is later than maximum_lifetime allows"),
        ({"api_keys_state": "absent", **dict.fromkeys(WANTED, "")}, "api_keys_state is absent and no key is named."),
        (
            {"callers": ({"kind": "api_key", "prefix": "Acme"}, {"kind": "api_key"})},
            "is of kind api_key as ai_gateway_callers[0] is",
        ),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    variables: dict[str, t.Any], message: str, server: Server, run: Run, tmp_path: Path
) -> None:
    given = {"api_keys_state": "present", "api_keys_file": str(tmp_path / "key"), **WANTED, **variables}
    returncode, said = run(**given)
    assert returncode != 0
    assert message in said
    assert server.writes == []
