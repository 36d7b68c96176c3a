# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Issuers are asked where their keys are, once in a run, and what they say is rendered."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from envoys import certificates
from plays import Ended, run_playbook
from rendering import ROLES
from token_issuers import Issuer

TIER = {"name": "free", "level": 0, "groups": ["all"], "token_limit": {"tokens": 1, "window": "1m"}}


def run(directory: Path, callers: list[t.Any]) -> Ended:
    tasks_from = {"name": "egress.ai_gateway.access_policies", "tasks_from": "signing_keys.yml"}
    path = ROLES / "access_policies/templates/caller_patches.yaml.j2"
    content = f"{{{{ lookup('ansible.builtin.template', '{path}') | from_yaml | to_json }}}}"
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "roles": ["egress.ai_gateway.catalog"],
        "vars_files": [str(ROLES / "access_policies" / name / "main.yml") for name in ("defaults", "vars")],
        "tasks": [
            {"ansible.builtin.include_role": tasks_from},
            {"ansible.builtin.include_role": tasks_from},
            {"ansible.builtin.copy": {"content": content, "dest": f"{directory}/out"}},
        ],
    }
    (directory / "templates").symlink_to(ROLES / "access_policies/templates")
    variables = {
        "ai_gateway_allow_empty": True,
        "ai_gateway_allowed_endpoints": ["localhost"],
        "ai_gateway_tiers": [TIER],
        "ai_gateway_callers": callers,
    }
    return run_playbook(directory, play, variables)


def test_what_the_issuer_says_is_rendered(tmp_path: Path) -> None:
    context, bundle, _certificate, _key = certificates(tmp_path, "localhost")
    server = Issuer(context)
    name = f"{server.url}/realms/a"
    server.documents = {
        "/realms/a/.well-known/openid-configuration": {"issuer": name, "jwks_uri": f"{server.url}/certs"},
        "/certs": {"keys": [{"kty": "EC", "kid": "1"}]},
    }
    issuer = {"kind": "oidc", "audiences": ["models"], "ca_bundle": bundle.decode()}
    given = {**issuer, "name": "given", "issuer": "https://b.example.com", "jwks_uri": "https://b.example.com/keys"}
    try:
        ended = run(tmp_path, [{**issuer, "name": "asked", "issuer": name}, given])
        assert ended.returncode == 0, ended.output
        patches = json.loads((tmp_path / "out").read_text())
        values = [patch["operation"]["value"] for patch in patches]
        (providers,) = (
            value["typed_config"]["providers"] for value in values if value.get("name", "").endswith("jwt_authn")
        )
        uris = {check: found["remote_jwks"]["http_uri"]["uri"] for check, found in providers.items()}
        assert uris == {"oidc:asked": f"{server.url}/certs", "oidc:given": "https://b.example.com/keys"}
        assert server.asked == 2
        server.documents = {}
        (tmp_path / "again").mkdir()
        ended = run(tmp_path / "again", [{**issuer, "name": "asked", "issuer": name}])
        assert ended.returncode != 0
        assert "jwks_uri" in ended.output
    finally:
        server.shutdown()
        server.server_close()
