# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults by the dozen and the thousand; the end-to-end tests have a sample of each.

Each uses the site on the embedded cluster, or provisions one. FAULTS_SEED, APPLY_SET_SEED and CATALOGUE_SEED repeat a
run.
"""

from __future__ import annotations

import os
import pathlib

import apply_set_faults
import catalogue_changes
import certificate_renewal
import finalizers
import gateway_requests
import lost_replicas
import malformed
import provider_kinds
import pytest
import rotation
from load import Request
from runs import playbook
from sites import WITHOUT_RECOVERY, Sites, gateway_url

SEED = int(os.environ.get("FAULTS_SEED", "1"))


@pytest.mark.usefixtures("default_site")
def test_malformed_requests_restart_nothing() -> None:
    """The gateway has no internal error, no malformed answer and no restart, and it answers afterwards."""
    before = gateway_requests.restarts()
    result = malformed.run(
        gateway_url(),
        provider_kinds.token_of("enterprise")[1],
        SEED,
        int(os.environ.get("MALFORMED_REQUESTS", "20000")),
    )
    print(result)
    assert result.faults() == []
    assert malformed.unexplained(result) == []
    assert gateway_requests.restarts() == before


@pytest.mark.usefixtures("default_site")
def test_removals_in_a_row_do_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["finalizers.py", f"--removals={os.environ.get('REMOVALS', '100')}"])
    assert finalizers.main() == 0


@pytest.mark.usefixtures("any_site")
def test_killed_runs_of_apply_set_are_completed_by_the_next(tmp_path: pathlib.Path) -> None:
    apply_set_faults.kill_and_complete(tmp_path, kills=int(os.environ.get("APPLY_SET_KILLS", "24")))


@pytest.mark.usefixtures("mixed_site")
def test_keys_are_rotated_under_load(sites: Sites, token: str, tmp_path: pathlib.Path) -> None:
    with sites.becomes("a mixed catalogue of other keys"):
        rotated = rotation.rotate(
            tmp_path,
            gateway_url(),
            token,
            rotations=int(os.environ.get("ROTATIONS", "6")),
            requests=int(os.environ.get("ROTATION_REQUESTS", "20000")),
        )
    print(f"{sum(rotated.outcomes.values())} requests during rotations: {dict(rotated.outcomes)}")
    assert set(rotated.outcomes) == {"200"}, "\n".join(rotated.refusals)
    assert (rotated.again, rotated.site) == (0, 0)


@pytest.mark.usefixtures("any_site")
def test_certificates_are_renewed_under_load(sites: Sites, token: str) -> None:
    """Those of the gateway's own certification authority, which clients keep trusting."""
    with sites.becomes("a site with certificates of its own authority"):
        playbook("egress.ai_gateway.site", "--extra-vars", "gateway_tls_own_ca=true", *WITHOUT_RECOVERY)
        renewed = certificate_renewal.renew(
            gateway_url(),
            token,
            [Request("/v1/chat/completions", "gpt-4")],
            renewals=int(os.environ.get("RENEWALS", "6")),
        )
    print(f"{sum(renewed.outcomes.values())} requests during renewals: {dict(renewed.outcomes)}, {renewed.seconds} s")
    assert set(renewed.outcomes) == {"200"}, renewed.refusals
    assert renewed.again == 0


@pytest.mark.usefixtures("default_site")
def test_any_catalogue_becomes_any_other(sites: Sites, tmp_path: pathlib.Path) -> None:
    with sites.becomes("one of a pair of catalogues"):
        catalogue_changes.change_often(tmp_path, pairs=int(os.environ.get("CATALOGUE_PAIRS", "20")))


@pytest.mark.usefixtures("default_site")
def test_pods_are_lost_and_evicted_under_load(sites: Sites, token: str) -> None:
    """Each component loses a pod in each way, as when a node is drained or dies, and no request is refused."""
    replicas = ("--extra-vars", "ai_gateway_controller_replicas=2 gateway_replicas=2")
    with sites.becomes("a site with two pods of each component"):
        playbook("egress.ai_gateway.site", *replicas, *WITHOUT_RECOVERY)
    losses = lost_replicas.lose_each(gateway_url(), token, [Request("/v1/chat/completions", "gpt-4")])
    print(losses)
    assert {name: loss.refusals for name, loss in losses.items() if loss.refusals} == {}
