# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""From any catalogue to any other:

check mode shows with a diff what a run does with it, the run after it does nothing, and none of them shows a key.
"""

from __future__ import annotations

import base64
import json
import os
import typing as t
from pathlib import Path

import catalogue_changes
import catalogue_pairs
import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import SetIdentity
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import Options, Outcome, Run
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from api_server import Server
from cluster import RESOURCES, Resources
from merging_cluster import MergingCluster
from plays import run_playbook
from rendering import ROLES

PAIRS = int(os.environ.get("CATALOGUE_CHANGES", "12"))
#: The set of each role, and its template.
SETS = {
    "access_policies": ("access-policies", "authorino.yaml.j2"),
    "providers": ("providers", "envoy_ai_gateway.yaml.j2"),
}
KEY_OF_IDENTITIES = "k" * 32
Catalogue = dict[str, t.Any]
#: Of each catalogue, by role, the manifests.
Texts = list[dict[str, str]]


def rendered(directory: Path, catalogues: t.Sequence[Catalogue]) -> Texts:
    """The manifests of all catalogues, from one play for each role."""
    found: Texts = [{} for _catalogue in catalogues]
    given = [
        {
            **catalogue,
            "ai_gateway_catalog": build(
                {"providers": catalogue["ai_gateway_providers"], "tiers": catalogue["ai_gateway_tiers"]}
            ).as_dict(),
        }
        for catalogue in catalogues
    ]
    for role, (_name, template) in SETS.items():
        texts = f"lookup('ansible.builtin.template', '{ROLES / role}/templates/{template}', template_vars=catalogue)"
        content = (
            f"{{% set rendered = [] %}}{{% for catalogue in catalogues %}}{{{{ rendered.append({texts}) or '' }}}}"
            "{% endfor %}{{ rendered | to_json }}"
        )
        defaults = [
            str(ROLES / name / f"{kind}/main.yml") for name in ("catalog", role) for kind in ("defaults", "vars")
        ]
        (directory / role).mkdir()
        for part in ("templates", "files"):
            if (ROLES / role / part).exists():
                (directory / role / part).symlink_to(ROLES / role / part)
        play = {
            "hosts": "localhost",
            "gather_facts": False,
            "vars_files": [path for path in defaults if Path(path).exists()],
            "tasks": [{"ansible.builtin.copy": {"content": content, "dest": f"{directory / role}.json"}}],
        }
        variables = {"catalogues": given, "__access_policies_identity_key": KEY_OF_IDENTITIES}
        ended = run_playbook(directory / role, play, variables)
        assert ended.returncode == 0, ended.output
        for texts_of_one, text in zip(found, json.loads((directory / f"{role}.json").read_text())):
            texts_of_one[role] = text
    return found


def served(texts: Texts) -> Resources:
    """The kinds that there are manifests of, beside those that every cluster has."""
    resources = {version: dict(listed) for version, listed in RESOURCES.items()}
    known = {(version, kind) for version, listed in RESOURCES.items() for kind, _namespaced in listed.values()}
    for text in {text for texts_of_one in texts for text in texts_of_one.values()}:
        for body in yaml.load_all(text, yaml.CSafeLoader):
            if body and (body["apiVersion"], body["kind"]) not in known:
                resources.setdefault(body["apiVersion"], {})[f"{body['kind'].lower()}s"] = (body["kind"], True)
    return resources


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, str], dict[str, str]]]:
    """By seed, the manifests of both catalogues."""
    texts = rendered(
        tmp_path_factory.mktemp("catalogues"),
        [catalogue for seed in range(PAIRS) for catalogue in catalogue_pairs.pair(seed)],
    )
    found = list(zip(texts[::2], texts[1::2]))
    assert all(first != second for first, second in found)
    return found


def apply(cluster: MergingCluster, role: str, text: str, check_mode: bool = False) -> Outcome:
    # Nobody is there who would make anything ready.
    options = Options(wait=False, check_mode=check_mode, diff_mode=True)
    run = Run(cluster.api(), SetIdentity(SETS[role][0], "ai-gateway"), options, lambda line: None)
    run.present([text])
    return run.outcome


def new_cluster(resources: Resources, seed: int) -> MergingCluster:
    cluster = MergingCluster(resources, seed)
    for name in ("ai-gateway", "ai-gateway-authorino", "ai-gateway-envoy-gateway"):
        cluster.put("namespaces", "", name)
    return cluster


def contents(cluster: MergingCluster) -> dict[t.Any, t.Any]:
    """All objects without what differs from one history to another."""
    return {
        key: {
            **body,
            "metadata": {
                name: value
                for name, value in body["metadata"].items()
                if name not in ("uid", "resourceVersion", "generation")
            },
        }
        for key, body in cluster.objects.items()
    }


def changes(outcome: Outcome) -> dict[str, list[str]]:
    return {
        name: sorted(map(str, getattr(outcome, name)))
        for name in ("created", "updated", "unchanged", "deleted", "kept")
    }


@pytest.mark.parametrize("seed", range(PAIRS))
def test_a_check_tells_what_a_run_does(seed: int, pairs: list[tuple[dict[str, str], dict[str, str]]]) -> None:
    first, second = pairs[seed]
    resources = served([first, second])
    cluster, other = new_cluster(resources, seed), new_cluster(resources, seed)
    told: list[t.Any] = []
    for role in SETS:
        before, after = first[role], second[role]
        apply(cluster, role, before)
        assert not apply(cluster, role, before).changed
        cluster.writes.clear()
        rehearsal = apply(cluster, role, after, check_mode=True)
        assert cluster.writes == []
        real = apply(cluster, role, after)
        assert changes(rehearsal) == changes(real)
        assert rehearsal.diff == real.diff
        assert sorted(entry["after_header"] for entry in real.diff) == sorted(
            map(str, [*real.created, *real.updated, *real.deleted])
        )
        cluster.writes.clear()
        assert not apply(cluster, role, after).changed
        assert cluster.writes == []
        told += [rehearsal.diff, rehearsal.warnings, real.diff, real.warnings]
        apply(other, role, after)
    assert contents(cluster) == contents(other), "something is left of the first catalogue"
    text = json.dumps(told)
    for key in catalogue_pairs.keys(*catalogue_pairs.pair(seed)):
        assert key not in text
        assert base64.b64encode(key.encode()).decode() not in text


def test_the_catalogues_are_as_different_as_their_seeds() -> None:
    pairs = [catalogue_pairs.pair(seed) for seed in range(200)]
    assert pairs == [catalogue_pairs.pair(seed) for seed in range(200)]
    assert [len(catalogue["ai_gateway_tiers"]) for catalogue in (*pairs[0], *pairs[1])] == [3, 4, 4, 3]
    restricted = [any(tier["models"] != ["*"] for tier in first["ai_gateway_tiers"]) for first, _second in pairs]
    assert 20 < sum(restricted) < 180
    for change in ("ai_gateway_tiers", "ai_gateway_providers"):
        assert (
            sum(
                {entry["name"] for entry in first[change]} != {entry["name"] for entry in second[change]}
                for first, second in pairs
            )
            > 30
        )
    for first, second in pairs:
        for catalogue in (first, second):
            build({"providers": catalogue["ai_gateway_providers"], "tiers": catalogue["ai_gateway_tiers"]})


def test_a_catalogue_is_written_for_its_owner_and_shown_without_keys(tmp_path: Path) -> None:
    catalogue = catalogue_pairs.pair(5)[0]
    path = catalogue_pairs.write(tmp_path / "catalogue.yml", catalogue)
    assert path.stat().st_mode & 0o777 == 0o600
    assert yaml.safe_load(path.read_text()) == catalogue
    assert not any(key in catalogue_pairs.shown(catalogue) for key in catalogue_pairs.keys(catalogue))


def test_what_a_playbook_shows_of_its_sets_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """As the integration test reads it, through the action plugin and Ansible's callback."""
    monkeypatch.setenv("ANSIBLE_CALLBACK_RESULT_FORMAT", "yaml")
    first, second = catalogue_pairs.pair(1)
    (texts,) = rendered(tmp_path_factory.mktemp("first"), [first])
    kinds = {
        (version, plural): kind
        for version, listed in served([texts]).items()
        for plural, (kind, _namespaced) in listed.items()
    }
    server = Server({**kinds, ("gateway.networking.k8s.io/v1", "gateways"): "Gateway"})
    for name in ("ai-gateway", "ai-gateway-authorino"):
        server.add({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    identity_key = build({"providers": first["ai_gateway_providers"], "tiers": first["ai_gateway_tiers"]}).as_dict()[
        "identity_key"
    ]
    labels = {"egress.ai-gateway/kept": "true"}
    metadata = {"name": identity_key["secret"], "namespace": identity_key["namespace"], "labels": labels}
    data = {"key": base64.b64encode(KEY_OF_IDENTITIES.encode()).decode()}
    server.add({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data})
    conditions = [{"type": name, "status": "True"} for name in ("Accepted", "Programmed", "Ready")]
    ancestor = {"ancestorRef": {"name": "ai-gateway"}, "controllerName": "example.com/ours", "conditions": conditions}
    server.status = lambda body: {"phase": "Active", "conditions": conditions, "ancestors": [ancestor]}
    title = "egress.ai_gateway.access_policies : Apply the access policies"
    expected: dict[str, list[str]] = {}
    try:
        for catalogue, arguments in ((first, []), (second, ["--check"]), (second, []), (second, [])):
            status, output = server.run(
                tmp_path,
                "access_policies",
                {**catalogue, "access_policies_wait_timeout": 5},
                "--diff",
                "-v",
                *arguments,
            )
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
