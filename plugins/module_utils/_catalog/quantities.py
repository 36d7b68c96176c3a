# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sizes as Kubernetes writes them."""

from __future__ import annotations

import math
import re
from decimal import Decimal

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import Rule

SIZE = Rule("a size", r"(?=.*[1-9])[0-9]{1,12}(\.[0-9]{1,6})?([kMG]|[KMG]i)?", "a size such as 4Mi", limit=24)
_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def bytes_of(size: str) -> int:
    """The bytes of a size that the rule ``SIZE`` accepts."""
    number = re.sub(r"[A-Za-z]+$", "", size)
    return math.ceil(Decimal(number) * _UNITS.get(size[len(number) :], 1))
