# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A semantic router of an inventory, and tiers that may ask it."""

from __future__ import annotations

import typing as t

MATH = {"operator": "AND", "conditions": [{"type": "keyword", "name": "math"}]}
ROUTER: dict[str, t.Any] = {
    "default_model": "model-a",
    "signals": {"keywords": [{"name": "math", "keywords": ["integral"]}]},
    "decisions": [{"name": "math", "priority": 100, "rules": MATH, "model": "model-b"}],
}
LIMIT = {"token_limit": {"tokens": 100, "window": "1m"}}
TIERS = [
    {"name": "free", "level": 0, "groups": ["all"], **LIMIT, "models": ["model-a", "auto"]},
    {"name": "paid", "level": 1, "groups": ["payers"], **LIMIT},
]
