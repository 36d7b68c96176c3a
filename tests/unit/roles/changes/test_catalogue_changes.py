# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""From any catalogue to any other: a check tells with a diff what a run does with it, the run after it does nothing, and none of them tells a key."""

from __future__ import annotations

import base64
import json
import os
import typing as t
from pathlib import Path

import catalogue_changes
import catalogue_pairs
import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_run import Options, Outcome, Run
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set_identity import SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build
from api_server import Server
from cluster import RESOURCES, Resources
from merging_cluster import MergingCluster
from rendering import ROLES

PAIRS = int(os.environ.get("CATALOGUE_CHANGES", "40"))
#: The set of each role, and its templates.
SETS = {"access_policies": ("access-policies", "authorino.yaml.j2"), "providers": ("providers", "envoy_ai_gateway.yaml.j2")}
GATEWAY_RESOURCES: Resources = {
    **RESOURCES,
    "networking.k8s.io/v1": {"networkpolicies": ("NetworkPolicy", True)},
    "authorino.kuadrant.io/v1beta3": {"authconfigs": ("AuthConfig", True)},
    "gateway.networking.k8s.io/v1": {"httproutes": ("HTTPRoute", True)},
    "gateway.envoyproxy.io/v1alpha1": {
        "backends": ("Backend", True),
        "securitypolicies": ("SecurityPolicy", True),
        "backendtrafficpolicies": ("BackendTrafficPolicy", True),
        "envoyextensionpolicies": ("EnvoyExtensionPolicy", True),
        "clienttrafficpolicies": ("ClientTrafficPolicy", True),
        "httproutefilters": ("HTTPRouteFilter", True),
    },
    "aigateway.envoyproxy.io/v1beta1": {
        "aigatewayroutes": ("AIGatewayRoute", True),
        "aiservicebackends": ("AIServiceBackend", True),
        "backendsecuritypolicies": ("BackendSecurityPolicy", True),
    },
}
LOADER = DataLoader()


def variables_of(role: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = {}
    for name in ("ai_gateway", role):
        for path in (ROLES / name / "defaults/main.yml", ROLES / name / "vars/main.yml"):
            found |= (LOADER.load_from_file(str(path), trusted_as_template=True) or {}) if path.exists() else {}
    return found


DEFAULTS = {role: variables_of(role) for role in SETS}


def rendered(role: str, catalogue: dict[str, t.Any]) -> str:
    """The manifests of a role's set, rendered as its task renders them."""
    catalog = build({"providers": catalogue["ai_gateway_providers"], "tiers": catalogue["ai_gateway_tiers"]})
    variables = {**DEFAULTS[role], **catalogue, "ai_gateway_catalog": catalog.as_dict()}
    path = ROLES / role / "templates" / SETS[role][1]
    templar = Templar(loader=LOADER).copy_with_new_env(searchpath=[str(path.parent)], available_variables=variables)
    text = LOADER.get_text_file_contents(str(path))
    return str(templar.template(trust_as_template(text), escape_backslashes=False, overrides={"trim_blocks": True}))


def apply(cluster: MergingCluster, role: str, text: str, check_mode: bool = False) -> Outcome:
    # Nobody is there who would make anything ready.
    options = Options(wait=False, check_mode=check_mode, diff_mode=True)
    run = Run(cluster.api(), SetIdentity(SETS[role][0], "ai-gateway"), options, lambda line: None)
    run.present([text])
    return run.outcome


def new_cluster(seed: int) -> MergingCluster:
    cluster = MergingCluster(GATEWAY_RESOURCES, seed)
    for name in ("ai-gateway", "authorino", "envoy-gateway-system"):
        cluster.put("namespaces", "", name)
    return cluster


def contents(cluster: MergingCluster) -> dict[t.Any, t.Any]:
    """All objects without what differs from one history to another."""
    return {
        key: {**body, "metadata": {name: value for name, value in body["metadata"].items() if name not in ("uid", "resourceVersion")}}
        for key, body in cluster.objects.items()
    }


def changes(outcome: Outcome) -> dict[str, list[str]]:
    return {name: sorted(map(str, getattr(outcome, name))) for name in ("created", "updated", "unchanged", "deleted", "kept")}


@pytest.mark.parametrize("seed", range(PAIRS))
def test_a_check_tells_what_a_run_does(seed: int) -> None:
    first, second = catalogue_pairs.pair(seed)
    cluster, other = new_cluster(seed), new_cluster(seed)
    told: list[t.Any] = []
    for role in SETS:
        before, after = rendered(role, first), rendered(role, second)
        apply(cluster, role, before)
        assert not apply(cluster, role, before).changed
        cluster.writes.clear()
        rehearsal = apply(cluster, role, after, check_mode=True)
        assert cluster.writes == []
        real = apply(cluster, role, after)
        assert changes(rehearsal) == changes(real)
        assert rehearsal.diff == real.diff
        assert sorted(entry["after_header"] for entry in real.diff) == sorted(map(str, [*real.created, *real.updated, *real.deleted]))
        cluster.writes.clear()
        assert not apply(cluster, role, after).changed
        assert cluster.writes == []
        told += [rehearsal.diff, rehearsal.warnings, real.diff, real.warnings]
        apply(other, role, after)
    assert contents(cluster) == contents(other), "something is left of the first catalogue"
    text = json.dumps(told)
    for key in catalogue_pairs.keys(first, second):
        assert key not in text
        assert base64.b64encode(key.encode()).decode() not in text


def test_the_catalogues_are_as_different_as_their_seeds() -> None:
    pairs = [catalogue_pairs.pair(seed) for seed in range(200)]
    assert pairs == [catalogue_pairs.pair(seed) for seed in range(200)]
    assert [len(catalogue["ai_gateway_tiers"]) for catalogue in (*pairs[0], *pairs[1])] == [3, 4, 4, 3]
    restricted = [any(tier["models"] != ["*"] for tier in first["ai_gateway_tiers"]) for first, _second in pairs]
    assert 20 < sum(restricted) < 180
    for change in ("ai_gateway_tiers", "ai_gateway_providers"):
        assert sum({entry["name"] for entry in first[change]} != {entry["name"] for entry in second[change]} for first, second in pairs) > 30
    for first, second in pairs:
        for catalogue in (first, second):
            build({"providers": catalogue["ai_gateway_providers"], "tiers": catalogue["ai_gateway_tiers"]})


def test_a_catalogue_is_written_for_its_owner_and_shown_without_keys(tmp_path: Path) -> None:
    catalogue = catalogue_pairs.pair(5)[0]
    path = catalogue_pairs.write(tmp_path / "catalogue.yml", catalogue)
    assert path.stat().st_mode & 0o777 == 0o600
    assert LOADER.load_from_file(str(path)) == catalogue
    assert not any(key in catalogue_pairs.shown(catalogue) for key in catalogue_pairs.keys(catalogue))


def test_what_a_playbook_shows_of_its_sets_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the integration test reads it, through the action plugin and Ansible's callback."""
    monkeypatch.setenv("ANSIBLE_CALLBACK_RESULT_FORMAT", "yaml")
    first, second = catalogue_pairs.pair(1)
    kinds = {(version, plural): kind for version, listed in GATEWAY_RESOURCES.items() for plural, (kind, _namespaced) in listed.items()}
    server = Server(kinds)
    for name in ("ai-gateway", "authorino"):
        server.put({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    conditions = [{"type": name, "status": "True"} for name in ("Accepted", "Ready")]
    ancestor = {"ancestorRef": {"name": "ai-gateway"}, "controllerName": "example.com/ours", "conditions": conditions}
    server.status = lambda body: {"phase": "Active", "conditions": conditions, "ancestors": [ancestor]}
    title = "egress.ai_gateway.access_policies : Apply the access policies"
    expected: dict[str, list[str]] = {}
    try:
        for catalogue, arguments in ((first, []), (second, ["--check"]), (second, []), (second, [])):
            status, output = server.run(tmp_path, "access_policies", {**catalogue, "access_policies_wait_timeout": 5}, "--diff", "-v", *arguments)
            assert status == 0, output
            found = catalogue_changes.changes(output)
            if catalogue is first:
                assert "Namespace /ai-gateway-tier-research" in found[f"{title}: created"]
            elif arguments:
                assert found[f"{title}: deleted"] == ["Namespace /ai-gateway-tier-research"]
                assert "SecurityPolicy ai-gateway/ai-gateway" in found[f"{title}: updated"]
                expected = found
            else:
                assert found == expected
                expected = {}
    finally:
        server.close()
