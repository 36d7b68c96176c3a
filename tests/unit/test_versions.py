# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one table of versions, and what has to agree with it."""

from __future__ import annotations

import re
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.go_tools import parse_go_mod

ROOT = Path(__file__).parents[2]
TABLE = "roles/versions/vars/main.yml"
STATED: dict[str, t.Any] = yaml.safe_load((ROOT / TABLE).read_text(encoding="utf-8"))
DIFFERENCES = STATED["versions_embedded_differences"]
GO = ROOT / "roles/embedded_cluster/files/go"
#: By the directory of each go.mod, its modules that have a version in the table.
GO_MODULES = {
    "authorino": {"github.com/kuadrant/authorino": STATED["versions_authorino"]},
    "coredns": {"github.com/coredns/coredns": STATED["versions_coredns"]},
    "endpoint-picker": {
        "sigs.k8s.io/gateway-api-inference-extension": STATED["versions_inference_extension"],
    },
    "envoy-ai-gateway": {
        "github.com/envoyproxy/ai-gateway": STATED["versions_envoy_ai_gateway"],
        "sigs.k8s.io/gateway-api-inference-extension": STATED["versions_inference_extension"],
    },
    "envoy-gateway": {
        "github.com/envoyproxy/gateway": STATED["versions_envoy_gateway"],
        "github.com/envoyproxy/ratelimit": DIFFERENCES["ratelimit"]["version"],
    },
    "etcd": {"go.etcd.io/etcd/server/v3": f"v{STATED['versions_etcd']}"},
    "helm": {"helm.sh/helm/v3": STATED["versions_helm"]},
    "kubernetes": {"k8s.io/kubernetes": STATED["versions_kubernetes"]},
    # A program of our own.
    "pause": {},
    "ratelimit": {"github.com/envoyproxy/ratelimit": DIFFERENCES["ratelimit"]["version"]},
}
#: Files that state versions as well: go.mod, what tools write, what was measured or decided with a version, and
#: examples of unit tests.
OTHERS = re.compile(r"(.*/)?go\.(mod|sum)|requirements\.txt|(changelogs|docs/decisions|tests/benchmarks|tests/unit)/.*")


def trusted(value: t.Any) -> t.Any:
    if isinstance(value, dict):
        return {key: trusted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [trusted(item) for item in value]
    return trust_as_template(value) if isinstance(value, str) else value


def table(platform: str, mirror: str = "", **more: t.Any) -> dict[str, t.Any]:
    """All variables of the role, as a play on that platform has them; what needs a catalogue only with ``more``."""
    loader = DataLoader()
    given = {"ai_gateway_platform": platform, "ai_gateway_image_mirror": mirror, **more}
    templar = Templar(loader, variables={**trusted(STATED), **given})
    return {
        name: templar.template(trusted(value))
        for name, value in STATED.items()
        if more or name not in ("versions_used_images", "__versions_used_names")
    }


def test_the_endpoint_picker_is_used_and_built_where_a_pool_is_described() -> None:
    catalog = {"policy_engine": "authorino", "stack": "envoy_ai_gateway", "providers": []}
    for managed in (True, False):
        given = {**catalog, "inference_pools": [{"managed": managed}]}
        for platform, name in (("kubernetes", "inference-extension/epp"), ("embedded", "endpoint-picker")):
            used = table(platform, ai_gateway_catalog=given)["versions_used_images"]
            assert any(name in image for image in used) is managed
    role = ROOT / "roles/embedded_cluster"
    defaults = yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8"))
    optional = {
        name: value
        for name, value in yaml.safe_load((role / "vars/main.yml").read_text(encoding="utf-8")).items()
        if name.startswith("__embedded_cluster_optional_upstreams")
    }
    for pools, built in (([], []), ([{"name": "a"}], [{"name": "endpoint-picker"}])):
        variables = {**trusted(defaults), **trusted(optional), "ai_gateway_inference_pools": pools}
        templar = Templar(DataLoader(), variables=variables)
        assert templar.template(trusted(optional["__embedded_cluster_optional_upstreams"])) == built


def test_the_images_of_one_gateway() -> None:
    catalog = {"policy_engine": "authorino", "stack": "envoy_ai_gateway", "providers": [{"simulated": True}]}
    redis = table("kubernetes")["versions_images"]["redis"]
    used = table("kubernetes", ai_gateway_catalog=catalog, gateway_proxy_image="mine/envoy:1")["versions_used_images"]
    assert len(used) == 8
    assert "mine/envoy:1" in used
    assert redis in used
    fewer = table("kubernetes", ai_gateway_catalog={**catalog, "providers": []}, controllers_redis={"url": "a:1"})
    assert redis not in fewer["versions_used_images"]
    assert not [image for image in fewer["versions_used_images"] if "python" in image]
    two = {"policy_engine": "kuadrant", "stack": "wg_ai_gateway", "providers": []}
    images = {"wg_ai_gateway": "mine/wg@sha256:0"}
    found = table("openshift", ai_gateway_catalog=two, controllers_images=images)["versions_used_images"]
    assert sorted(image.partition("@")[0].partition(":")[0] for image in found) == [
        "docker.io/envoyproxy/envoy",
        "mine/wg",
    ]


@pytest.fixture(scope="module")
def published() -> dict[str, t.Any]:
    return table("kubernetes")


@pytest.fixture(scope="module")
def embedded() -> dict[str, t.Any]:
    return table("embedded")


@pytest.mark.parametrize("name", sorted(path.name for path in GO.iterdir()))
def test_each_go_mod_agrees(name: str) -> None:
    required = parse_go_mod((GO / name / "go.mod").read_text(encoding="utf-8"))
    assert {module: required.requires[module] for module in GO_MODULES[name]} == GO_MODULES[name]
    for tool in required.tools:
        assert any(tool == module or tool.startswith(f"{module}/") for module in GO_MODULES[name]), (
            f"{tool} has no version"
        )


def test_the_parts_of_kubernetes_are_of_its_version() -> None:
    replaced = re.findall(r"^\tk8s\.io/\S+ => k8s\.io/\S+ (\S+)$", (GO / "kubernetes/go.mod").read_text(), re.MULTILINE)
    assert set(replaced) == {STATED["versions_kubernetes"].replace("v1.", "v0.", 1)}


def test_the_images(published: dict[str, t.Any], embedded: dict[str, t.Any]) -> None:
    ours, others = embedded["versions_images"], published["versions_images"]
    assert (ours, others) == (embedded["versions_embedded_images"], published["versions_published_images"])
    assert set(ours) == set(others)
    assert all(image.startswith("localhost/egress-ai-gateway/") for image in ours.values())
    assert not [image for image in others.values() if image.startswith("localhost")]
    # Its users name it.
    assert others.pop("wg_ai_gateway") == ""
    assert all(re.fullmatch(r"[a-z0-9./-]+:[A-Za-z0-9._-]+", image) for image in ours.values())
    pattern = r"[a-z0-9./-]+:[A-Za-z0-9._-]+(@sha256:[0-9a-f]{64})?"
    assert all(re.fullmatch(pattern, image) for image in others.values())
    by_tag = {name for name, image in others.items() if "@" not in image}
    assert by_tag == {"ai_gateway_controller", "ai_gateway_extproc", "authorino", "endpoint_picker", "semantic_router"}


def test_a_mirror_holds_the_images_under_their_names() -> None:
    mirrored, published = table("kubernetes", mirror="mirror.example.com:5000/ai"), table("kubernetes")
    assert mirrored["versions_images"] == {
        name: image and f"mirror.example.com:5000/ai/{image}" for name, image in published["versions_images"].items()
    }
    assert table("embedded", mirror="mirror.example.com")["versions_images"] == table("embedded")["versions_images"]


def test_what_is_tested_is_what_others_get(published: dict[str, t.Any], embedded: dict[str, t.Any]) -> None:
    """Of each image the same version, or a reason."""
    for name, image in published["versions_images"].items():
        if not image:
            assert name == "wg_ai_gateway"
            continue
        tag = image.partition("@")[0].rpartition(":")[2]
        theirs = re.sub(r"^distroless-|-slim-bookworm$", "", tag).removeprefix("v")
        tested = embedded["versions_images"][name].rpartition(":")[2].removeprefix("v")
        difference = DIFFERENCES.get(name, {"version": theirs, "reason": ""})
        assert difference["version"].endswith(tested)
        assert bool(difference["reason"]) == (theirs != tested), name


def test_charts_and_crds_have_their_version(published: dict[str, t.Any]) -> None:
    charts = {
        name: (re.sub(r"@sha256:[0-9a-f]{64}$", "", chart["reference"]), chart["version"])
        for name, chart in published["versions_charts"].items()
    }
    assert charts == {
        name: (f"oci://docker.io/envoyproxy/{name}", STATED[version])
        for name, version in {
            "gateway-helm": "versions_envoy_gateway",
            "gateway-crds-helm": "versions_envoy_gateway",
            "ai-gateway-helm": "versions_envoy_ai_gateway",
            "ai-gateway-crds-helm": "versions_envoy_ai_gateway",
        }.items()
    }
    for crds in published["versions_crds"].values():
        assert re.fullmatch(
            r"https://raw\.githubusercontent\.com/[\w/-]+/(v[\d.]+|[0-9a-f]{40})/[\w/.-]+\.yaml", crds["url"]
        )
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", crds["checksum"])


def test_packages_are_pinned(embedded: dict[str, t.Any]) -> None:
    for package in embedded["versions_packages"].values():
        assert re.fullmatch(r"[a-z-]+==[\d.]+", package["requirement"])
        assert package["hashes"]


def test_no_other_file_states_a_version() -> None:
    """As a tag of an image, in a path of a URL, as a requirement, or alone as a value."""
    versions = {
        value for value in STATED.values() if isinstance(value, str) and re.search(r"\d", value) and "{{" not in value
    }
    versions |= {difference["version"].rpartition("-")[2] for difference in DIFFERENCES.values()} - {"latest"}
    one = "|".join(sorted(map(re.escape, versions), key=len, reverse=True))
    pattern = re.compile(rf"(?:\w:(?:distroless-)?v?|==|/v?|: \"?|-v?)(?:{one})(?![\w.])")
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = []
    for name in listing.stdout.split("\0"):
        path = ROOT / name
        if not name or name.startswith("roles/versions/") or OTHERS.fullmatch(name) or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{name}:{number}: {line.strip()}")
    assert not found


def test_the_semantic_router_is_of_the_release_whose_program_checks_configurations() -> None:
    (locked,) = re.findall(r"^vllm-sr==(\S+)", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert STATED["versions_semantic_router"] == f"v{locked}"
