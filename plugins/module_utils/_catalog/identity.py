# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The values that stand for callers and tiers behind the gateway's first filters.

Envoy Gateway counts by headers, and these headers reach the provider. So they hold values that differ for each caller
and name nobody.
"""

from __future__ import annotations

import hashlib
import hmac

#: Hexadecimal digits of a value.
LENGTH = 32


def digest(key: str, tier: str, user: str = "") -> str:
    """The value of a user of a tier, or of the tier itself: LENGTH hexadecimal digits.

    It is made of HMAC-SHA256 with the installation's key, as in files/identity.lua of role access_policies.
    """
    name = f"{tier}:{user}" if user else tier
    return hmac.new(key.encode(), name.encode(), hashlib.sha256).hexdigest()[:LENGTH]
