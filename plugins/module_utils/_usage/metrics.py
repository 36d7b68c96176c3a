# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The counters of a gateway's proxies that usage is counted from. Data."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

#: The labels of the user, the tier, the model and the provider.
DIMENSION_LABELS = ("user", "tier", "model", "provider")
#: The label of the Gateway's name.
GATEWAY_LABEL = "gateway"
#: The value of the label user that stands for all users beyond the number of them that a proxy distinguishes.
OTHER_USERS = "other"

Labels = t.Mapping[str, str]


@dataclass(frozen=True)
class Metric:
    """A counter, and by the labels of a series which measure of a model.Amount it is; an empty string for none."""

    name: str
    measure: t.Callable[[Labels], str]


def _of_type(labels: Labels) -> str:
    return {"input": "input", "output": "output"}.get(labels.get("type", ""), "")


def measure_of_code(code: str) -> str:
    """Whether requests with a status were refused, those from 400 were. A client that left before the answer has 0."""
    return "refused" if code.isdecimal() and int(code) >= 400 else "requests"


METRICS = (
    Metric("envoy_ai_gateway_tokens_total", _of_type),
    Metric("envoy_ai_gateway_cached_tokens_total", lambda labels: "cached_input"),
    Metric("envoy_ai_gateway_cost_millionths_total", lambda labels: "recorded_cost"),
    Metric("envoy_ai_gateway_requests_total", lambda labels: measure_of_code(labels.get("code", ""))),
)
#: The counter that every request makes grow.
REQUESTS = METRICS[-1]
