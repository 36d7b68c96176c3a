# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a gateway behind Models-as-a-Service is compared with its bridges and policies."""

from __future__ import annotations

import base64
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import collected_sets
from maas_clusters import INVENTORY, KEY, Maas, collect
from plays import Ended
from provisioned import apply


@pytest.fixture
def maas() -> t.Iterator[Maas]:
    server = Maas()
    yield server
    server.close()


def provision(server: Maas, directory: Path, **variables: t.Any) -> None:
    """What site would apply."""
    sets = collect(server, directory, **variables)
    server.serve_kinds(sets)
    for item in collected_sets(sets):
        apply(server, item)
    server.writes.clear()


def dump(server: Maas, directory: Path) -> Ended:
    given = {
        **{name: value for name, value in INVENTORY.items() if name.startswith("__")},
        # Where the record is depends on it.
        "ai_gateway_stack": "wg_ai_gateway",
        "dump_file": f"{directory}/dump.yml",
    }
    return server.run_with(directory, "egress.ai_gateway.dump", given)


def test_bridges_and_the_egress_gateway_are_compared(tmp_path: Path, maas: Maas) -> None:
    data = {"apiKey": base64.b64encode(KEY.encode()).decode()}
    metadata = {"name": "openai-key", "namespace": "ai-gateway"}
    maas.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    (provider,) = INVENTORY["ai_gateway_providers"]
    provision(maas, tmp_path, ai_gateway_providers=[{**provider, "credential": {"secret": "openai-key"}}])
    ended = dump(maas, tmp_path)
    assert ended.returncode == 0, ended.output
    assert "providers, observability, maas_bridge: 0 differ." in " ".join(ended.output.split())
    assert KEY not in ended.output + (tmp_path / "dump.yml").read_text()

    bridge = next(key for key in maas.objects if key[0] == "authpolicies" and key[1] == "ai-gateway")
    egress = next(key for key in maas.objects if key[0] == "gateways" and key[1] == "ai-gateway-egress")
    del maas.objects[bridge], maas.objects[egress]
    (tmp_path / "dump.yml").unlink()
    ended = dump(maas, tmp_path)
    assert ended.returncode == 2, ended.output
    said = " ".join(ended.output.split())
    assert "2 objects are not as the record" in said
    assert f"AuthPolicy ai-gateway/{bridge[2]} is missing" in said
    assert f"Gateway ai-gateway-egress/{egress[2]} is missing" in said
    assert KEY not in ended.output
    assert maas.writes == []


def test_keys_that_are_in_no_secret_are_an_error_with_the_remedy(tmp_path: Path, maas: Maas) -> None:
    provision(maas, tmp_path)
    ended = dump(maas, tmp_path)
    assert ended.returncode == 2
    said = " ".join(ended.output.split())
    assert "namespace ai-gateway does not have, openai-credential." in said
    assert "set dump_differences to ignore" in said
