# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of the callers with API keys."""

from __future__ import annotations

import re

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import ApiKeyCallers
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import Rule

DEFAULT_PREFIX = "aigw"
DEFAULT_LIFETIME = "365d"
#: The keys of an entry of kind api_key beside its kind.
KEYS = ("prefix", "maximum_lifetime")
PREFIX = Rule(
    "a prefix of API keys",
    r"[a-z][a-z0-9]{1,15}",
    "2 to 16 lower-case letters and digits, a letter first",
    limit=16,
)
_UNITS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
#: A duration of at most 9999 days, so that a key can hold the time at which it ends.
LIFETIME = Rule(
    "a duration",
    r"(?=.*[1-9])([0-9]{1,4}d)?([0-9]{1,5}h)?([0-9]{1,6}m)?([0-9]{1,8}s)?",
    "days, hours, minutes or seconds, such as 90d or 12h",
    limit=32,
)


def lifetime_of(duration: str) -> int:
    """The seconds of a duration that the rule LIFETIME accepts."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)([dhms])", duration))


def read_api_keys(entry: Entry, engine: str) -> ApiKeyCallers:
    """The settings of callers of kind api_key.

    :param engine: the engine of policies.
    """
    if engine == "kuadrant":
        entry.fault(
            "kind",
            "is api_key, and with engine kuadrant no program of this collection is before the check, so that keys "
            "would have to be kept as they are",
            "leave it out, or use engine authorino",
        )
    return ApiKeyCallers(
        prefix=entry.string("prefix", PREFIX, DEFAULT_PREFIX),
        maximum_lifetime=entry.string("maximum_lifetime", LIFETIME, DEFAULT_LIFETIME),
    )
