# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.evaluation import checks, unexplained_models
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.listeners import asked
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.plan import (
    Plan,
    Seen,
    Settings,
    setting_faults,
)

DOCUMENTATION = r"""
name: validation_plan
short_description: Plan and checks of a validation of an AI gateway
version_added: 1.0.0
description:
  - Returns the plan of role P(egress.ai_gateway.validation#role) for a catalogue and the role's variables.
  - The plan has the users and tokens of the run, its probes, the limits that it spends, and the reason for each probe
    that it skips.
  - The plan grows with the results in O(seen). A probe without the token that it needs is skipped.
options:
  _input:
    description: The catalogue, as module M(egress.ai_gateway.catalog) returns it.
    type: dict
    required: true
  settings:
    description: The variables of the role without their prefix C(validation_). The defaults are the role's.
    type: dict
    required: true
    suboptions:
      tier:
        description: The tier whose user calls the models. Empty for the tier with the highest token limit.
        type: str
      rate_limit_tier:
        description: The tier whose limit is spent. Empty for the tier with the lowest token limit.
        type: str
      models:
        description: The models to call. Empty for all.
        type: list
        elements: str
      audiences:
        description: Audiences of the tokens.
        type: list
        elements: str
      max_tokens:
        description: Greatest number of tokens in an answer.
        type: int
      paid_requests:
        description: Greatest number of requests that may reach real providers.
        type: int
      recovery:
        description: Whether to wait until the window of the limit ends.
        type: bool
      network_policies:
        description: Whether a pod tries to reach what NetworkPolicies keep from it.
        type: bool
      quick:
        description: Whether to send no paid request and to wait for no window.
        type: bool
      wait_timeout:
        description: Longest wait for routes, in seconds.
        type: int
      expired_token:
        description: An expired token. Empty for none.
        type: str
      gateway_url:
        description: The URL of the gateway.
        type: str
      http_url:
        description: The URL on which plain HTTP is redirected. Empty where it is not.
        type: str
      providers:
        description: The providers of the inventory. Their keys must not be in an answer.
        type: list
        elements: dict
      mcp_servers:
        description: The MCP servers of the inventory. Each has to get its own key.
        type: list
        elements: dict
  seen:
    description: The results that the role's tasks have registered so far. A missing key is not known yet.
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
        description: >-
          Durations in seconds of reading the V(gateway), of issuing V(tokens) and of removing users as V(cleanup).
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
      listeners:
        description: The results of RV(_value.listeners).
        type: dict
      proxy_log:
        description: The result of reading the log of the proxy.
        type: dict
      wrong_key:
        description: The result of calling a simulator with a wrong key.
        type: dict
      connections:
        description: The result of trying what NetworkPolicies forbid.
        type: dict
      limits:
        description: The results of spending RV(_value.limits).
        type: dict
      removed:
        description: The results of removing RV(_value.users).
        type: dict
      mcp:
        description: The result of RV(_value.mcp_probes).
        type: dict
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the probes of a validation of one model
  ansible.builtin.debug:
    msg: "{{ plan.probes | map(attribute='name') }}"
  vars:
    plan: "{{ ai_gateway_catalog | egress.ai_gateway.validation_plan({'models': ['gpt-4']}) }}"
"""

RETURN = r"""
_value:
  description: The plan. It has only RV(_value.faults) if the catalogue has no tier or the settings have faults.
  type: dict
  contains:
    faults:
      description: Faults of the settings, one message each.
      type: list
      elements: str
    users:
      description: The users of the run, as module M(egress.ai_gateway.gateway_token) names them.
      type: list
      elements: dict
    token_requests:
      description: The tokens to issue, as parameters of the same module and an C(id).
      type: list
      elements: dict
    tokens:
      description: The token of each user. An empty string if there is none.
      type: dict
    listing:
      description: >-
        The probe that waits for the list of models, as module M(egress.ai_gateway.inference_probe) accepts it.
      type: dict
    probes:
      description: All other probes. At most RV(_value.paid_requests) of their requests reach real providers.
      type: list
      elements: dict
    mcp_probes:
      description: >-
        The sessions with MCP servers, as module M(egress.ai_gateway.mcp_probe) accepts them. None without a server.
      type: list
      elements: dict
    listeners:
      description: >-
        The probes of each listener and of the redirect from plain HTTP, each as C(probe), with the C(url) that it is
        sent to and the C(user) whose token it carries.
      type: list
      elements: dict
    paid_models:
      description: The models that may cost money.
      type: list
      elements: str
    paid_requests:
      description: Greatest number of requests that reach RV(_value.paid_models).
      type: int
    limits:
      description: >-
        The limits to spend, as parameters of module M(egress.ai_gateway.rate_limit_probe) and the C(user) whose token
        the module sends.
      type: list
      elements: dict
    wrong_key:
      description: >-
        The C(provider) that is called with a wrong key, the C(arguments) of the calling program, and the reason for no
        call as C(skip).
      type: dict
    connections:
      description: >-
        The C(arguments) of the program that tries what NetworkPolicies forbid, and the reason for not trying as
        C(skip).
      type: dict
    unexplained_models:
      description: The models that did not answer over TLS for reasons that the log of the proxy does not show.
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
        "mcp_probes": plan.mcp_probes,
        "listeners": asked(plan),
        "paid_models": plan.paid_models,
        "paid_requests": plan.paid_requests,
        "limits": plan.limits,
        "wrong_key": plan.wrong_key,
        "connections": plan.connections,
        "unexplained_models": unexplained_models(plan),
        "checks": checks(plan),
    }


class FilterModule:
    """The plan of role validation."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"validation_plan": validation_plan}
