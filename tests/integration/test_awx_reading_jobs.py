# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The job templates that only read, run by ansible-runner as AWX runs them."""

from __future__ import annotations

import pathlib
import re
import typing as t

import awx_jobs
import pytest
from awx_server import Awx
from sites import Sites

#: The tasks that write the file which checks need. No earlier job has left it.
FILE = {"Certification authority | Make the directory of its file", "Certification authority | Write its certificate"}


@pytest.fixture(scope="module")
def awx(sites: Sites) -> t.Iterator[Awx]:
    # A credential is one of a cluster, and the jobs have the inventory of the default site.
    sites.ensure_default()
    with awx_jobs.administrator() as token, awx_jobs.controller(token) as server:
        yield server.awx


def test_preflight_and_check_find_a_gateway_that_stands(awx: Awx, tmp_path: pathlib.Path) -> None:
    job = awx_jobs.launch(awx, "Preflight", tmp_path / "preflight", {"preflight_rehearse": "always"})
    assert job.status == "successful", job.output[-3000:]
    assert job.stats["embedded"].get("changed", 0) == 0
    # All sets are rehearsed, though no tag is a role's.
    for role in ("crds", "controllers", "gateway", "simulators", "access_policies", "providers"):
        assert f"TASK [egress.ai_gateway.{role} : Apply" in job.output
    # Of the validation, its variables are checked, and no request is sent.
    assert set(re.findall(r"TASK \[egress\.ai_gateway\.validation : (\w+)", job.output)) == {"Validate", "Validating"}

    job = awx_jobs.launch(awx, "Site in check mode", tmp_path / "check")
    assert job.status == "successful", job.output[-3000:]
    assert job.changed == FILE


def test_jobs_that_read_have_artifacts_and_disclose_nothing(awx: Awx, tmp_path: pathlib.Path) -> None:
    job = awx_jobs.launch(awx, "Diagnose", tmp_path / "diagnose", {"diagnosis_fail_on": "never"})
    assert job.status == "successful", job.output[-3000:]
    assert "counts" in job.artifacts["ai_gateway_diagnosis"]["embedded"]

    job = awx_jobs.launch(awx, "Validate", tmp_path / "validate", {"validation_mode": "quick"})
    assert job.status == "successful", job.output[-3000:]
    found = job.artifacts["ai_gateway_validation"]["embedded"]
    assert found["counts"]["failed"] == 0 < found["counts"]["passed"]
    assert found["failed_checks"] == []

    job = awx_jobs.launch(awx, "Drift", tmp_path / "drift")
    assert job.status == "successful", job.output[-3000:]
    assert job.artifacts["ai_gateway_drift"]["embedded"]["drift"] is False

    # Counted from the access logs, as no Prometheus is named.
    job = awx_jobs.launch(awx, "Usage", tmp_path / "usage", {"usage_from": "10m"})
    assert job.status == "successful", job.output[-3000:]
    found = job.artifacts["ai_gateway_usage"]["embedded"]
    # The validation's own requests.
    assert found["source"] == "access log"
    assert found["totals"]["requests"] > 0

    job = awx_jobs.launch(awx, "Dump", tmp_path / "dump")
    assert job.status == "successful", job.output[-3000:]
    found = job.artifacts["ai_gateway_dump"]["embedded"]
    assert found["differences"] == []
    assert "ai_gateway_providers" in found["variables"]
    # The output is all that stays of the file.
    assert "+ai_gateway_providers:" in job.output

    job = awx_jobs.launch(awx, "Upgrade", tmp_path / "upgrade")
    assert job.status == "successful", job.output[-3000:]
    assert "Nothing is to be done." in " ".join(job.output.split())
    assert job.changed == FILE

    # And no secret of a credential is in what they leave, of which the events hold the results of tasks.
    (secret,) = {
        credential["inputs"]["bearer_token"]
        for credential in awx.objects["credentials"].values()
        if "bearer_token" in credential["inputs"]
    }
    assert awx_jobs.disclosing(tmp_path, secret) == []
