# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of a rendered site on the embedded cluster: files become the gateway that site makes.

The tests are steps, on a cluster without a site, which gets that of the default inventory. Each runs alone too:
make integration ARGS="-k NAME".
"""

from __future__ import annotations

import json

import objects
import pytest
import rendered
import translation
from runs import playbook
from sites import DEFAULT, NO_SITE, UNKNOWN, Sites, is_used, validation


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> rendered.Tree:
    """The embedded inventory as files."""
    return rendered.render(tmp_path_factory.mktemp("rendered"))[0]


@pytest.fixture
def applied(sites: Sites, tree: rendered.Tree) -> rendered.Tree:
    """The tree on the cluster."""
    if sites.present != "a rendered tree":
        if sites.present not in (UNKNOWN, NO_SITE) or (sites.present == UNKNOWN and is_used()):
            playbook("egress.ai_gateway.destroy")
        is_bare = sites.present == NO_SITE
        with sites.becomes("a rendered tree"):
            if not is_bare:
                playbook("egress.ai_gateway.cluster")
                playbook("egress.ai_gateway.teardown")
            assert rendered.put_secrets(tree) > 0
            rendered.apply(tree)
    return tree


def test_twice_is_the_same(tree: rendered.Tree) -> None:
    before = tree.files()
    again, changed = rendered.render(tree.directory.parent)
    assert changed == 0
    assert again.files() == before
    assert len(before) > 100


def test_the_files_become_a_gateway_that_works(applied: rendered.Tree) -> None:
    assert rendered.put_secrets(applied) == 0
    # Until all parts run, which site would wait for.
    available = ("wait", "--for=condition=Available", "--timeout=5m", "deployments", "--all", "--all-namespaces")
    objects.kubectl(*available)
    programmed = ("wait", "--for=condition=Programmed", "--timeout=5m", "gateways", "--all", "--all-namespaces")
    objects.kubectl(*programmed)
    playbook("egress.ai_gateway.validate", "--extra-vars", "validation_recovery=false")
    checks = validation()
    assert {check for check, status in checks.items() if status == "failed"} == set()
    assert {"models", "chat:gpt-4", "stream:gpt-4", "rate-limit", "key:gpt-4"} <= set(checks)


def test_the_cluster_has_what_the_files_say(applied: rendered.Tree) -> None:
    assert rendered.left_to_defaults(applied) == []
    assert rendered.differences(applied) == ""


def test_envoy_gateway_accepts_the_files_without_a_cluster(tree: rendered.Tree) -> None:
    statuses = translation.translated(tree.directory, tree.secrets, translation.build())
    conditions = [condition for found in statuses.values() for condition in found]
    assert [condition for condition in conditions if condition["status"] != "True"] == []
    assert len(conditions) >= 10


def test_site_finds_nothing_to_change(applied: rendered.Tree, sites: Sites) -> None:
    assert applied
    with sites.becomes(DEFAULT):
        variables = {"validation_recovery": False, "gateway_tls_own_ca_hosts": [rendered.NODE]}
        changed = playbook("egress.ai_gateway.site", "--extra-vars", json.dumps(variables))
    assert changed == 0


@pytest.mark.usefixtures("any_site")
def test_argo_cd_accepts_its_tree(tree: rendered.Tree) -> None:
    crds = rendered.argo_cd_crds()
    variables = {
        "render_format": "argocd",
        "render_argocd_repository": "https://git.example.com/platform.git",
        "render_argocd_path": "clusters/embedded",
        "render_argocd_namespace": "render-argocd",
    }
    argo, _changed = rendered.render(tree.directory.parent, "argocd", **variables)
    accepted = rendered.accepted_by_argo_cd_crds(argo, crds)
    assert len(accepted) == 1 + len(argo.parts())
