# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the diagnosis says of faults that are put into a site. FAULTS names those to put in, by a part of their name."""

from __future__ import annotations

import os

import diagnosis_faults
import pytest
from sites import gateway_url

#: How many faults may have another finding first, of all.
OTHERS = 1


@pytest.mark.usefixtures("default_site")
def test_the_root_cause_of_each_fault_comes_first(token: str) -> None:
    wanted = os.environ.get("FAULTS", "").split(",")
    faults = [fault for fault in diagnosis_faults.FAULTS if any(part in fault.name for part in wanted)]
    if not faults:
        pytest.skip("FAULTS names others")
    outcomes = diagnosis_faults.try_each(gateway_url(), token, faults)
    print("\n".join(map(str, outcomes)))
    assert {outcome.fault.name: outcome.before for outcome in outcomes if outcome.before != "nothing"} == {}
    assert {outcome.fault.name: outcome.after for outcome in outcomes if outcome.after != "nothing"} == {}
    missed = {outcome.fault.name: outcome.found for outcome in outcomes if not outcome.first}
    assert len(missed) <= (OTHERS if len(faults) >= 20 else 0), missed
