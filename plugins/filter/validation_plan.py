# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.evaluation import checks, unexplained_models
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import (
    Plan,
    Seen,
    Settings,
    setting_faults,
)

DOCUMENTATION = r"""
name: validation_plan
short_description: What a validation of an AI gateway sends, and what it has seen
version_added: 1.0.0
description:
  - Makes the plan of role P(egress.ai_gateway.validation#role) from a catalogue and the role's variables. The plan names the users and tokens of the run, its
    probes, where it spends a limit, and whatever it skips with the reason.
  - As long as less is known in O(seen), less is in the plan. A probe without the token that it needs is skipped.
options:
  _input:
    description: The catalogue, as module M(egress.ai_gateway.catalog) returns it.
    type: dict
    required: true
  settings:
    description: The variables of the role, without their prefix.
    type: dict
    required: true
    suboptions:
      tier:
        description: The tier whose user asks the models. Empty for the one with the highest token limit.
        type: str
      rate_limit_tier:
        description: The tier whose limit is spent. Empty for the one with the lowest token limit.
        type: str
      models:
        description: The models to ask. Empty for all.
        type: list
        elements: str
      audiences:
        description: Audiences of the tokens.
        type: list
        elements: str
      max_tokens:
        description: How many tokens a model may answer with.
        type: int
      paid_requests:
        description: How many requests may reach providers outside.
        type: int
      recovery:
        description: Whether to wait for the end of the limit's window.
        type: bool
      wait_timeout:
        description: How long to wait for routes, in seconds.
        type: int
      expired_token:
        description: An expired token. Empty for none.
        type: str
      providers:
        description: The providers of the inventory, whose keys must not show in an answer.
        type: list
        elements: dict
  seen:
    description: What the role has found so far, as its tasks registered it. What is missing is not known yet.
    type: dict
    default: {}
    suboptions:
      check_mode:
        description: Whether the run is in check mode.
        type: bool
      run:
        description: The random name of the run.
        type: str
      seconds:
        description: How long it took to look at the C(gateway), to issue C(tokens) and to remove users, which is C(cleanup).
        type: dict
      gateway:
        description: The result of reading the Gateway.
        type: dict
      proxies:
        description: The result of reading the Deployments of wg-ai-gateway.
        type: dict
      identity:
        description: The result of reading the Secret with the key of identities.
        type: dict
      issued:
        description: The results of issuing RV(_value.token_requests).
        type: dict
      listing:
        description: The result of RV(_value.listing).
        type: dict
      probes:
        description: The result of RV(_value.probes).
        type: dict
      proxy_log:
        description: The result of reading the log of the proxy.
        type: dict
      wrong_key:
        description: The result of asking a simulator with a wrong key.
        type: dict
      limits:
        description: The results of spending RV(_value.limits).
        type: dict
      removed:
        description: The results of removing RV(_value.users).
        type: dict
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show what a validation would ask of one model
  ansible.builtin.debug:
    msg: "{{ (ai_gateway_catalog | egress.ai_gateway.validation_plan({'models': ['gpt-4']})).probes | map(attribute='name') }}"
"""

RETURN = r"""
_value:
  description: The plan. Without a tier in the catalogue, or with any fault, it has RV(_value.faults) alone.
  type: dict
  contains:
    faults:
      description: What is wrong with the settings, one message each.
      type: list
      elements: str
    users:
      description: The users of the run, as module M(egress.ai_gateway.gateway_token) names them.
      type: list
      elements: dict
    token_requests:
      description: The tokens to issue, as parameters of the same module with an C(id).
      type: list
      elements: dict
    tokens:
      description: The token of each user, an empty string where there is none.
      type: dict
    listing:
      description: The probe that waits for the list of models, as module M(egress.ai_gateway.inference_probe) accepts it.
      type: dict
    probes:
      description: All other probes, no more of them paid than C(paid_requests).
      type: list
      elements: dict
    paid_models:
      description: The models that may cost money.
      type: list
      elements: str
    paid_requests:
      description: How many requests reach them at most.
      type: int
    limits:
      description: Where a limit is spent, as parameters of module M(egress.ai_gateway.rate_limit_probe) with the C(user) whose token it takes.
      type: list
      elements: dict
    wrong_key:
      description: The C(provider) that is asked with a wrong key, the C(arguments) of the program that asks, and why nothing is asked as C(skip).
      type: dict
    unexplained_models:
      description: The models that did not answer over TLS, for reasons that are not in the log of the proxy.
      type: list
      elements: str
    checks:
      description: All checks so far, as module M(egress.ai_gateway.validation_report) accepts them.
      type: list
      elements: dict
"""


def validation_plan(
    catalog: Mapping[str, t.Any], settings: Mapping[str, t.Any], seen: Mapping[str, t.Any] | None = None
) -> dict[str, t.Any]:
    # Lists and dictionaries of a play are templated lazily, and its strings carry marks.
    catalog, given = plain(catalog), Settings.of(plain(settings))
    faults = setting_faults(catalog, given)
    if faults or not catalog["tiers"]:
        return {"faults": faults}
    plan = Plan(catalog, given, Seen(**plain(seen or {})))
    return {
        "faults": [],
        "users": plan.users,
        "token_requests": plan.token_requests,
        "tokens": plan.tokens,
        "listing": plan.listing,
        "probes": plan.probes,
        "paid_models": plan.paid_models,
        "paid_requests": plan.paid_requests,
        "limits": plan.limits,
        "wrong_key": plan.wrong_key,
        "unexplained_models": unexplained_models(plan),
        "checks": checks(plan),
    }


class FilterModule:
    """The plan of role validation."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"validation_plan": validation_plan}
