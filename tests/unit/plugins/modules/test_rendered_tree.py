# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from ansible_collections.community.sops.plugins.module_utils.sops import Sops, SopsError
from ansible_collections.egress.ai_gateway.plugins.modules import rendered_tree

Run = Callable[..., dict[str, t.Any]]
MANIFESTS = [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "prices"}, "data": {"tea": "1"}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "till"}, "stringData": {"code": "c0de-of-the-till"}},
]


@pytest.fixture
def options(tmp_path: Path, run_module: Run) -> dict[str, t.Any]:
    """Those of a set that is rendered, as a task of apply_set does it."""
    (tmp_path / "staging").mkdir()
    applied = {"name": "shop", "namespace": "shop", "manifests": MANIFESTS, "render_to": f"{tmp_path}/staging"}
    # Nothing listens there.
    result = run_module("apply_set", {**applied, "host": "https://127.0.0.1:1", "api_key": "x"})
    assert (result["changed"], [item["kind"] for item in result["created"]]) == (
        False,
        ["Namespace", "ConfigMap", "Secret"],
    )
    return {
        "source": f"{tmp_path}/staging",
        "directory": f"{tmp_path}/tree",
        "secrets_file": f"{tmp_path}/secrets.yaml",
    }


def test_the_documentation_and_the_options_agree() -> None:
    documented = yaml.safe_load(rendered_tree.DOCUMENTATION)["options"]
    specified = rendered_tree.arguments()["argument_spec"]
    assert set(documented) == set(specified)
    for name, option in documented.items():
        for key in ("type", "default", "choices"):
            assert option.get(key) == specified[name].get(key), name


def test_a_set_becomes_a_tree(options: dict[str, t.Any], run_module: Run, tmp_path: Path) -> None:
    file = {"path": "README.md", "content": "# Shop\n"}
    checked = run_module("rendered_tree", {**options, "files": [file]}, check_mode=True)
    assert checked["changed"]
    assert not (tmp_path / "tree").exists()
    result = run_module("rendered_tree", {**options, "files": [file]})
    assert result["created"] == checked["created"]
    assert "README.md" in result["created"]
    assert "shop/configmap.shop.prices.yaml" in result["created"]
    assert (result["parts"], result["secrets"]) == (["namespaces", "shop"], ["shop/till"])
    assert (tmp_path / "tree/README.md").read_text(encoding="utf-8") == "# Shop\n"
    assert "c0de-of-the-till" not in str(result)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"secrets_file": "{tmp_path}/tree/secrets.yaml"}, "where everybody reads; move it out"),
        ({"source": "{tmp_path}/nothing"}, "has no rendered set"),
        ({"secrets": "sops"}, "write the recipients of age in render_sops_age"),
        ({"directory": "{tmp_path}/staging/00-shop.json"}, "make it readable and writable"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    more: dict[str, str], said: str, options: dict[str, t.Any], run_module: Run, tmp_path: Path
) -> None:
    given = {**options, **{name: value.format(tmp_path=tmp_path) for name, value in more.items()}}
    result = run_module("rendered_tree", given)
    assert result["failed"]
    assert said in result["msg"]
    assert not (tmp_path / "tree").exists()


def program(directory: Path) -> str:
    """The path of a program that is never run."""
    path = directory / "sops"
    path.touch(0o755)
    return str(path)


@pytest.mark.parametrize("check_mode", [False, True])
def test_without_sops_nothing_is_written(
    check_mode: bool, options: dict[str, t.Any], run_module: Run, tmp_path: Path
) -> None:
    sops = {"secrets": "sops", "sops_age": ["age1a"], "sops_binary": f"{tmp_path}/sops"}
    result = run_module("rendered_tree", {**options, **sops}, check_mode=check_mode)
    assert result["failed"]
    assert result["msg"].startswith(f"there is no program {tmp_path}/sops")
    assert "write its path in render_sops_binary" in result["msg"]
    assert not (tmp_path / "tree").exists()
    assert not (tmp_path / "secrets.yaml").exists()


def test_sops_is_asked_to_seal_values_alone(
    options: dict[str, t.Any], run_module: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, t.Any]] = []

    def encrypt(data: bytes, **given: t.Any) -> bytes:
        asked.append({name: given["get_option_value"](name) for name in ("sops_binary", "age", "encrypted_regex")})
        body = yaml.safe_load(data)
        return yaml.safe_dump({**body, "data": {"code": f"ENC[{len(asked)}]"}, "sops": {}}).encode()

    monkeypatch.setattr(Sops, "encrypt", encrypt)
    sops = {**options, "secrets": "sops", "sops_age": ["age1a"], "sops_binary": program(tmp_path)}
    assert run_module("rendered_tree", sops, check_mode=True)["changed"]
    assert asked == []
    assert run_module("rendered_tree", sops)["changed"]
    assert asked == [{"sops_binary": f"{tmp_path}/sops", "age": ["age1a"], "encrypted_regex": "^(data|stringData)$"}]
    (tmp_path / "staging/kept.yaml").write_bytes((tmp_path / "secrets.yaml").read_bytes())
    assert not run_module("rendered_tree", sops)["changed"]
    assert len(asked) == 1
    assert yaml.safe_load((tmp_path / "tree/required-secrets.yaml").read_text(encoding="utf-8")) == []


def test_what_sops_says_is_shown(
    options: dict[str, t.Any], run_module: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encrypt(_data: bytes, **_given: t.Any) -> bytes:
        raise SopsError("to stdout", 128, b"no such recipient", decryption=False)

    monkeypatch.setattr(Sops, "encrypt", encrypt)
    sops = {"secrets": "sops", "sops_age": ["age1a"], "sops_binary": program(tmp_path)}
    result = run_module("rendered_tree", {**options, **sops})
    assert result["failed"]
    assert "sops does not seal secrets/secret.shop.till.sops.yaml" in result["msg"]
    assert "no such recipient" in result["msg"]
    assert not (tmp_path / "secrets.yaml").exists()
