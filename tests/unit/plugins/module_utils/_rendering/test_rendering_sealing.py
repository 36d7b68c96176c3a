# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._rendering import sealing


def secret(name: str, value: str, kept: bool = False) -> dict[str, t.Any]:
    labels = {"egress.ai-gateway/kept": "true"} if kept else {}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "type": "Opaque",
        "data": {"key": base64.b64encode(value.encode()).decode()},
    }


class Sops:
    """Seals as sops does: differently each time."""

    def __init__(self) -> None:
        self.sealed: list[str] = []

    def __call__(self, text: str, path: str) -> str:
        self.sealed.append(path)
        body = yaml.safe_load(text)
        sealed = {key: f"ENC[{len(self.sealed)}]" for key in body["data"]}
        return yaml.safe_dump({**body, "data": sealed, "sops": {"version": "3"}})


IDENTITY = secret("identity", "identity" * 8, kept=True)
PATHS = ["secrets/secret.shop.identity.sops.yaml", "secrets/secret.shop.one.sops.yaml"]


def test_a_secret_is_sealed_anew_only_when_it_changed() -> None:
    sops, secrets = Sops(), [IDENTITY, secret("one", "1")]
    first = sealing.sealed_files(secrets, {}, "age1a", sops, False)
    assert sops.sealed == PATHS
    assert sealing.sealed_files(secrets, first, "age1a", sops, False) == first
    assert sops.sealed == PATHS
    second = sealing.sealed_files([IDENTITY, secret("one", "2")], first, "age1a", sops, False)
    assert sops.sealed == [*PATHS, PATHS[1]]
    assert second[PATHS[0]] == first[PATHS[0]]
    # Who can open them is a change too.
    sealing.sealed_files([IDENTITY, secret("one", "2")], second, "age1a,age1b", sops, False)
    assert sops.sealed == [*PATHS, PATHS[1], *PATHS]


def test_the_digest_says_nothing_to_others() -> None:
    sops = Sops()
    other = secret("identity", "another " * 8, kept=True)
    first, second = (
        json.loads(sealing.sealed_files([key, secret("one", "1")], {}, "age1a", sops, False)[".sealed.json"])[PATHS[1]]
        for key in (IDENTITY, other)
    )
    assert first != second


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((PATHS[0], content) for content in ("{", "a: b", "[]", "")),
        *((".sealed.json", content) for content in ("{", "[]", "{}", "")),
    ],
)
def test_what_somebody_broke_is_sealed_anew(name: str, content: str) -> None:
    sops = Sops()
    files = sealing.sealed_files([IDENTITY], {}, "age1a", sops, False)
    again = sealing.sealed_files([IDENTITY], {**files, name: content}, "age1a", sops, False)
    assert sops.sealed == [PATHS[0]] * 2
    assert again[".sealed.json"] == files[".sealed.json"]


def test_a_sealed_secret_is_the_secret_and_nothing_more() -> None:
    seen: list[str] = []
    sealing.sealed_files([IDENTITY], {}, "age1a", lambda text, _path: seen.append(text) or "", False)
    assert yaml.safe_load(seen[0]) == IDENTITY


def test_who_opens_them() -> None:
    plain = sealing.sealed_files([IDENTITY], {}, "age1a", Sops(), False)
    assert yaml.safe_load(plain["secrets/kustomization.yaml"])["resources"] == [Path(PATHS[0]).name]
    ksops = sealing.sealed_files([IDENTITY], {}, "age1a", Sops(), True)
    kustomization = yaml.safe_load(ksops["secrets/kustomization.yaml"])
    assert (kustomization["resources"], kustomization["generators"]) == ([], ["ksops.yaml"])
    generator = yaml.safe_load(ksops["secrets/ksops.yaml"])
    assert (generator["kind"], generator["files"]) == ("ksops", [Path(PATHS[0]).name])
    assert sealing.sealed_files([], {}, "age1a", Sops(), True) == {}


def test_recipients(tmp_path: Path) -> None:
    assert sealing.recipients_of(tmp_path, ["age1a", "age1b"]) == "age1a,age1b"
    (tmp_path / ".sops.yaml").write_text("creation_rules: []", encoding="utf-8")
    assert sealing.recipients_of(tmp_path / "clusters/one", []) == "creation_rules: []"
    (tmp_path / ".sops.yaml").unlink()
    with pytest.raises(sealing.SealingError, match="write the recipients of age in render_sops_age"):
        sealing.recipients_of(tmp_path, [])
