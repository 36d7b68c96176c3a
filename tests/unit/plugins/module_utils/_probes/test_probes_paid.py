# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.paid import bounded, is_paid

PROBE = {"id": "chat:gpt-4", "token": "t", "model": "gpt-4", "skip": ""}


@pytest.mark.parametrize(
    ("changes", "paid"),
    [
        ({}, True),
        ({"expect": {"status": [200]}}, True),
        ({"expect": {"usage": True}}, True),
        ({"expect": {"status": [401]}}, False),
        ({"token": ""}, False),
        ({"skip": "no token"}, False),
        ({"model": "simulated"}, False),
        ({"model": None}, False),
    ],
)
def test_what_is_paid(changes: dict[str, object], paid: bool) -> None:
    assert is_paid({**PROBE, **changes}, {"gpt-4", "other"}) is paid


def test_the_first_of_each_model_goes_before_the_others() -> None:
    probes = [
        {**PROBE, "id": f"{number}:{model}", "model": model}
        for model in ("gpt-4", "free", "other")
        for number in range(3)
    ]
    for limit, sent in (
        (0, set()),
        (1, {"0:gpt-4"}),
        (2, {"0:gpt-4", "0:other"}),
        (3, {"0:gpt-4", "0:other", "1:gpt-4"}),
        (9, None),
        (-1, set()),
    ):
        found = bounded(probes, ["gpt-4", "other"], limit)
        assert [probe["id"] for probe in found] == [probe["id"] for probe in probes]
        paid = {probe["id"] for probe in probes if probe["model"] != "free"}
        assert {probe["id"] for probe in found if not probe["skip"] and probe["model"] != "free"} == (
            paid if sent is None else sent
        )
        assert all("validation_paid_requests" in probe["skip"] for probe in found if probe["skip"])
