# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The site on the embedded cluster that the tests share, and the fixtures that provide it.

In a whole run each step finds what the previous one left. A step that runs alone gets the cluster and the site that it
needs from its fixtures.
"""

from __future__ import annotations

import contextlib
import json
import pathlib
import typing as t

import catalogs
import machine
import objects
import provider_secrets
import pytest
from runs import ROOT, playbook

#: For sites whose limit another step has seen end, which takes up to a minute.
WITHOUT_RECOVERY = ("--extra-vars", "validation_recovery=false")
#: For sites on the cluster that an earlier step has brought up, which takes a sixth of the time of a run. It loads no
#: images, so it is not for the first site that needs some.
SAME_CLUSTER = "--skip-tags=embedded_cluster"
REPORT = ROOT / "reports/embedded/validation.json"
#: The possible states of the machine, besides the names of sites.
UNKNOWN, NO_CLUSTER, NO_SITE = "unknown", "no cluster", "no site"
DEFAULT, MIXED = "the default inventory", "a mixed catalogue"


class Sites:
    """Knows which site is on the cluster, as far as this run of the tests has seen it."""

    def __init__(self) -> None:
        self.present = UNKNOWN

    @contextlib.contextmanager
    def becomes(self, name: str) -> t.Iterator[None]:
        """For a block that replaces the site by the one of this name."""
        self.present = UNKNOWN
        yield
        self.present = name

    def ensure(self, name: str, apply: t.Callable[[], object]) -> None:
        """Apply the site of this name unless it is the present one."""
        if self.present != name:
            if self.present == UNKNOWN and is_used():
                playbook("egress.ai_gateway.destroy")
            with self.becomes(name):
                apply()

    def ensure_default(self) -> None:
        """Provision the site of the default inventory."""
        self.ensure(DEFAULT, lambda: playbook("egress.ai_gateway.site", *WITHOUT_RECOVERY))

    def ensure_mixed(self, variables: pathlib.Path) -> None:
        """Provision the site of the mixed catalogue, whose Secret has the first key."""

        def apply() -> None:
            provider_secrets.put(provider_secrets.KEYS[0])
            playbook("egress.ai_gateway.site", "--extra-vars", f"@{variables}", *WITHOUT_RECOVERY)

        self.ensure(MIXED, apply)

    def ensure_any(self) -> None:
        """Provision the default site where there is none."""
        if self.present in (UNKNOWN, NO_CLUSTER, NO_SITE):
            self.ensure_default()


def is_used() -> bool:
    """Whether the cluster has what a new one has not: the platform of two gateways, or another's Envoy Gateway."""
    others = ("opendatahub", "envoy-gateway-system")
    return pathlib.Path(objects.STATE).exists() and bool(
        objects.kubectl("get", "namespace", *others, "--ignore-not-found", "--output=name")
    )


def gateway_url() -> str:
    """The URL of the gateway, from the last report."""
    return str(json.loads(REPORT.read_text(encoding="utf-8"))["gateway_url"])


def validation() -> dict[str, str]:
    """Return the status of each check of the last report."""
    return {check["id"]: check["status"] for check in json.loads(REPORT.read_text(encoding="utf-8"))["checks"]}


@pytest.fixture(scope="session")
def sites() -> Sites:
    return Sites()


@pytest.fixture(scope="session")
def machine_before(sites: Sites) -> dict[str, object]:
    """The state of the machine without a cluster."""
    with sites.becomes(NO_CLUSTER):
        playbook("egress.ai_gateway.destroy")
    return machine.state()


@pytest.fixture(scope="session")
def bare_objects(sites: Sites, machine_before: dict[str, object]) -> set[str]:
    """The objects of a new cluster without a site."""
    assert sites.present == NO_CLUSTER
    assert machine_before
    with sites.becomes(NO_SITE):
        assert playbook("egress.ai_gateway.cluster") > 0
    return objects.settled_listing()


@pytest.fixture
def default_site(sites: Sites) -> None:
    """The site of the default inventory."""
    sites.ensure_default()


@pytest.fixture
def any_site(sites: Sites) -> None:
    """Any site: the present one, else that of the default inventory."""
    sites.ensure_any()


@pytest.fixture(scope="session")
def mixed_variables(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The extra variables of the mixed catalogue. Their certificates differ from file to file, so there is one file."""
    return catalogs.variables(tmp_path_factory.mktemp("mixed") / "mixed.yml")


@pytest.fixture
def mixed_site(sites: Sites, mixed_variables: pathlib.Path) -> None:
    """The site of the mixed catalogue."""
    sites.ensure_mixed(mixed_variables)


@pytest.fixture(scope="session")
def token(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A token of the enterprise tier."""
    sites.ensure_any()
    path = tmp_path_factory.mktemp("token") / "token"
    playbook("egress.ai_gateway.token", "--extra-vars", f"tokens_file={path} tokens_tier=enterprise")
    return path.read_text(encoding="utf-8").strip()
