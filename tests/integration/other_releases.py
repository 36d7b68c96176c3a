# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other releases of Envoy Gateway than that of role versions, built from releases/, on the embedded cluster."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import shutil

from objects import STATE
from runs import ROOT, run

IMAGES = "localhost/egress-ai-gateway"


@dataclasses.dataclass(frozen=True)
class Releases:
    """The archive of their images, and the directory of the program and charts of each."""

    archive: str
    charts: dict[str, str]


def build(directory: pathlib.Path) -> Releases:
    """Build all of them, or find them in the cache."""
    found = directory / "releases.json"
    run(
        "ansible-playbook",
        ROOT / "tests/integration/releases/images.yml",
        "--extra-vars",
        f"releases_variables_file={found}",
    )
    return Releases(**json.loads(found.read_text(encoding="utf-8")))


def variables(releases: Releases, release: str, directory: pathlib.Path, state: str = STATE) -> dict[str, str]:
    """Return the extra variables by which the collection has this release in place of its own.

    Its charts are in a directory beside those of the other upstreams, as a collection of that release has them.
    """
    offline = directory / f"upstream-{release}"
    if not offline.exists():
        shutil.copytree(f"{state}/upstream", offline, symlinks=True)
        for chart in ("gateway-helm", "gateway-crds-helm"):
            shutil.rmtree(offline / chart)
            shutil.copytree(f"{releases.charts[release]}/charts/{chart}", offline / chart)
        values = (offline / "gateway-helm/values.tmpl.yaml").read_text(encoding="utf-8")
        for name, value in (
            ("GatewayImagePullPolicy", "IfNotPresent"),
            ("GatewayImage", f"{IMAGES}/envoy-gateway:{release}"),
        ):
            values = values.replace(f"${{{name}}}", value)
        (offline / "gateway-helm/values.yaml").write_text(values, encoding="utf-8")
    return {"versions_envoy_gateway": release, "ai_gateway_offline_directory": str(offline)}
