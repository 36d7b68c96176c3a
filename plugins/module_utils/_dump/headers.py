# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which headers of others a provider's entry may have. Pure."""

from __future__ import annotations

import re
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.credentials import read_headers
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault

#: How the value of a header begins that has a key, whatever its name is.
_KEY = re.compile(r"(bearer|basic)\s", re.IGNORECASE)


def read_header(name: str, value: t.Any) -> tuple[dict[str, str], str]:
    """The header as a catalogue has it; without it, what keeps it out, a clause whose subject is the header."""
    faults: list[Fault] = []
    read = read_headers(Entry({"headers": {name: value}}, "", None, faults))
    if faults:
        return {}, faults[0].problem
    return ({}, "carries a key") if _KEY.match(str(value)) else (read, "")
