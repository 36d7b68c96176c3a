# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.staging import StagedSet
from ansible_collections.egress.ai_gateway.plugins.module_utils._rendering import files


def an(kind: str, name: str, namespace: str = "", api_version: str = "v1", **more: t.Any) -> dict[str, t.Any]:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **more}


@pytest.mark.parametrize(
    "value",
    [
        "yes",
        "No",
        "null",
        "~",
        "",
        " ",
        "1",
        "1e3",
        "0x1F",
        "0o17",
        "1_000",
        "12:30:45",
        "2026-02-17",
        ".inf",
        "y",
        "=",
        "<<",
    ],
)
def test_a_string_stays_one_for_every_parser(value: str) -> None:
    text = files.dumped({"key": value})
    assert yaml.safe_load(text) == {"key": value}
    # With quotes, whatever version of YAML a parser reads.
    assert text.split(": ", 1)[1].startswith('"')


@pytest.mark.parametrize(
    "value",
    [
        "plain words",
        "a\nb\n",
        "  begins with spaces\nand ends without a newline",
        "ends with spaces  \nand goes on",
        "tabs\tand \x07 bells\n",
        "ü 漢字 🙂",
        "\n",
        "a: b # c",
        "{{ braces }}",
    ],
)
def test_any_string_is_read_as_it_was(value: str) -> None:
    assert yaml.safe_load(files.dumped([value, {value: value}])) == [value, {value: value}]


def test_programs_are_written_line_by_line() -> None:
    assert files.dumped({"inline": "local a = 1\nreturn a\n"}) == "inline: |\n  local a = 1\n  return a\n"


def test_keys_are_sorted_and_lists_are_not() -> None:
    shared = {"port": 1}
    assert files.dumped({"ports": [shared, shared], "open": True}) == "open: true\nports:\n- port: 1\n- port: 1\n"


def test_names_of_files() -> None:
    bodies = [
        an("Namespace", "shop"),
        an("Backend", "a", "shop", "gateway.envoyproxy.io/v1alpha1"),
        an("Backend", "a", "shop", "ainetworking.example.com/v1"),
        an("ClusterRole", "system:auth", api_version="rbac.authorization.k8s.io/v1"),
    ]
    assert files.file_names(bodies) == [
        "namespace.shop.yaml",
        "backend.gateway.envoyproxy.io.shop.a.yaml",
        "backend.ainetworking.example.com.shop.a.yaml",
        "clusterrole.system_auth.yaml",
    ]


def test_namespaces_come_first_and_secrets_are_left_out() -> None:
    secret = an("Secret", "key", "shop", data={"apiKey": "c2VjcmV0"})
    sets = [
        StagedSet("crds", [an("ConfigMap", "crds", "shop"), an("Namespace", "shop")]),
        StagedSet("gateway", [an("Namespace", "tiers"), secret]),
        StagedSet("providers", [an("ConfigMap", "providers", "shop")]),
    ]
    written = files.manifest_files(sets)
    assert sorted(written) == [
        "crds/configmap.shop.crds.yaml",
        "crds/kustomization.yaml",
        "kustomization.yaml",
        "namespaces/kustomization.yaml",
        "namespaces/namespace.shop.yaml",
        "namespaces/namespace.tiers.yaml",
        "providers/configmap.shop.providers.yaml",
        "providers/kustomization.yaml",
    ]
    assert yaml.safe_load(written["kustomization.yaml"])["resources"] == ["namespaces", "crds", "providers"]
    assert files.secrets_of(sets) == [secret]


def test_the_list_of_secrets_has_names_alone() -> None:
    made = an("Secret", "made", "shop", data={"b": "eA==", "a": "eQ=="}, type="Opaque")
    existing = {"namespace": "gw", "name": "there", "keys": ["apiKey"], "users": ["provider two", "provider one"]}
    text = files.required_secrets([made], [existing])
    assert yaml.safe_load(text) == [
        {
            "namespace": "gw",
            "name": "there",
            "keys": ["apiKey"],
            "in": "the cluster: named by provider one, provider two",
        },
        {"namespace": "shop", "name": "made", "keys": ["a", "b"], "type": "Opaque", "in": "render_secrets_file"},
    ]
    assert "eA==" not in text
