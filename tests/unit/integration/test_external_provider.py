# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import ast
import json
import subprocess
import typing as t
from pathlib import Path

import catalogs
import envoys
import external_provider
import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build

TIER = {
    "name": "free",
    "level": 0,
    "groups": ["system:authenticated"],
    "token_limit": {"tokens": 100, "window": "1m"},
    "models": ["*"],
}
CERTIFICATE = {"certificate": "of the host", "key": "of it"}


def test_the_catalogue_takes_both_providers() -> None:
    ca_bundle = catalogs.Authority("One").certificate
    given = external_provider.variables(
        external_provider.provider(),
        external_provider.provider("odd-claude", schema="anthropic", public="claude-{}", ca_bundle=ca_bundle),
    )
    inputs = {
        "platform": "embedded",
        "tiers": [TIER],
        **{name.removeprefix("ai_gateway_"): value for name, value in given.items()},
    }
    catalog = catalog_build.build(inputs)
    plain, secure = catalog.providers
    assert (plain.endpoint.hostname, plain.endpoint.port, plain.endpoint.tls.mode, plain.simulated) == (
        external_provider.HOSTNAME,
        8000,
        "none",
        False,
    )
    assert (secure.endpoint.port, secure.endpoint.tls.mode) == (8443, "simple")
    assert [model.provider_model for model in secure.models] == external_provider.MODELS
    assert len(external_provider.MODELS) == len(set(external_provider.MODELS))


@pytest.mark.parametrize("certificate", [None, CERTIFICATE])
def test_the_pod_finds_what_it_is_started_with(certificate: dict[str, str] | None) -> None:
    found: dict[str, t.Any] = {item["kind"]: item for item in external_provider.manifests(certificate)}
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert {volume["name"] for volume in pod["volumes"]} == {
        mount["name"] for mount in pod["containers"][0]["volumeMounts"]
    }
    assert pod["containers"][0]["command"][-1] == "/opt/odd/odd_provider.py"
    program = found["ConfigMap"]["data"]
    imported = {
        node.module
        for name, text in program.items()
        if name.endswith(".py")
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom)
    }
    assert {f"{name}.py" for name in imported if name and name.startswith("odd_")} == {
        name for name in program if name.endswith(".py")
    } - {"odd_provider.py"}
    assert (
        ("Secret" in found)
        == ("--tls-key=/run/odd/tls.key" in pod["containers"][0]["args"])
        == (len(pod["containers"]) == 2)
        == (certificate is not None)
    )


def test_envoy_accepts_the_front_for_http2(tmp_path: Path) -> None:
    certificate = catalogs.Authority("One").issue(external_provider.HOSTNAME)
    text = json.dumps(external_provider.http2_front()).replace("/run/odd", str(tmp_path))
    (tmp_path / "tls.crt").write_text(certificate["certificate"])
    (tmp_path / "tls.key").write_text(certificate["key"])
    (tmp_path / "envoy.json").write_text(text)
    arguments = [text.replace("/opt/odd", str(tmp_path)) for text in external_provider.HTTP2_ARGUMENTS]
    command = [str(envoys.envoy_program(tmp_path)), "--mode", "validate", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 0, ended.stderr


def test_another_certificate_rolls_the_pod() -> None:
    def checksum(certificate: dict[str, str] | None) -> str:
        (deployment,) = (item for item in external_provider.manifests(certificate) if item["kind"] == "Deployment")
        return str(deployment["spec"]["template"]["metadata"]["annotations"])

    assert len({checksum(given) for given in (None, CERTIFICATE, {**CERTIFICATE, "key": "another"})}) == 3
