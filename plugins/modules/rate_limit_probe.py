#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rate_limit_probe
short_description: Spend the token or request limit of a user at an AI gateway and check the refusal and the recovery
version_added: 1.0.0
description:
  - Calls a model repeatedly with one token until the gateway answers with status 429, and compares the calls that
    passed with the limit.
  - A gateway counts the tokens of a response after it was sent. So calls pass until the counter has reached the limit,
    and the call that reaches it passes too. With a limit of 100 tokens and 30 tokens a call, four calls pass.
  - A gateway counts requests at once. With a limit of 5 requests, five calls pass.
  - The check also fails if C(x-ratelimit-limit) of the refusal reports another limit than the one to spend.
  - The module waits for the next window if too little is left of the current one. It spends the limit once more if a
    window ended in the meantime.
  - The token's user must not have spent anything in the window. Use a user for this test alone.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - egress.ai_gateway.gateway_options
attributes:
  check_mode:
    support: full
    details:
      - Sends nothing in check mode, as requests cost tokens, and returns its checks as skipped.
options:
  id:
    description: Identifies the check in reports. The id of the recovery's check has the suffix C(-recovery).
    type: str
    default: rate-limit
  name:
    description: Description of the check.
    type: str
    default: Rate limit
  hint:
    description: Hint for the user when a check fails.
    type: str
    default: ""
  skip:
    description: Reason why nothing can be sent. The checks are then returned as skipped. Empty to send the calls.
    type: str
    default: ""
  model:
    description: Model to call.
    type: str
    required: true
  operation:
    description: Operation to call. See M(egress.ai_gateway.inference_probe).
    type: str
    choices: [chat_completions, completions, embeddings, messages]
    default: chat_completions
  base_path:
    description: >-
      Path between the gateway's address and the path of the operation, for example V(/external/openai). Empty by
      default.
    type: str
  stream:
    description: Whether to request streamed answers.
    type: bool
    default: false
  limit:
    description: >-
      Number of tokens that the user may spend in a window, at least 1. At least one of this and O(request_limit) is
      required.
    type: int
  counted_tokens:
    description: The tokens that O(limit) counts, V(all) or only those of the V(input) or the V(output).
    type: str
    choices: [all, input, output]
    default: all
  request_limit:
    description: >-
      Number of requests that the user may send in a window, at least 1. With O(limit) too, the refusal must report the
      limit that is spent first.
    type: int
  window:
    description: Length of the window in seconds, at least 1.
    type: int
    default: 60
  window_alignment:
    description:
      - Start of the windows.
      - With V(clock), windows begin at multiples of their length, as in the rate limit service of Envoy. The clocks of
        both sides should agree to the second.
      - With V(first_request), a window begins with the first call, as in Limitador.
    type: str
    choices: [clock, first_request]
    default: clock
  simulated_tokens:
    description:
      - Number of tokens that a simulator of role P(egress.ai_gateway.simulators#role) reports for each call, at least
        1.
      - They are of the kind in O(counted_tokens). With V(all), two thirds are input tokens, and for V(embeddings) all
        are.
      - By default the simulator or model reports its own usage.
    type: int
  max_tokens:
    description: Greatest number of tokens in an answer, at least 1.
    type: int
    default: 20
  elsewhere:
    description:
      - Calls that must be refused too once the limit is reached, as the limit of a user is shared by all models and
        paths. Each is sent once.
      - With it, the module returns a third check, whose id has the suffix C(-elsewhere).
    type: list
    elements: dict
    default: []
    suboptions:
      model:
        description: Model to call. By default O(model).
        type: str
      operation:
        description: Operation to call. By default O(operation).
        type: str
        choices: [chat_completions, completions, embeddings, messages]
      base_path:
        description: Path between the gateway's address and the path of the operation. Empty by default.
        type: str
  max_requests:
    description: >-
      Greatest number of calls in a round. The module fails before it sends a call if this number cannot spend the
      limit.
    type: int
    default: 30
  pause:
    description: Seconds between two calls, in which the gateway counts the tokens of the first. At least 0.
    type: float
    default: 0.2
  wait_for_recovery:
    description: Whether to wait until calls pass again.
    type: bool
    default: true
  recovery_timeout:
    description: >-
      Longest wait for the recovery, in seconds from the first refused call, at least 1. By default O(window) and a
      quarter of it, or O(window) and 10 seconds if that is more.
    type: int
  fail_on_mismatch:
    description: Whether the module fails if a check fails.
    type: bool
    default: true
seealso:
  - module: egress.ai_gateway.inference_probe
  - module: egress.ai_gateway.validation_report
"""

EXAMPLES = r"""
- name: Issue a token of the free tier for this test alone
  egress.ai_gateway.gateway_token:
    tier: free
    user: limit-test
  register: tester
  no_log: true

- name: Spend 100 tokens a minute and wait for the next one
  egress.ai_gateway.rate_limit_probe:
    url: "{{ gateway_url }}"
    token: "{{ tester.token }}"
    model: gpt-4
    limit: 100
    window: 60
    simulated_tokens: 30

- name: Send 5 requests a minute, which use fewer tokens than are allowed
  egress.ai_gateway.rate_limit_probe:
    url: "{{ gateway_url }}"
    token: "{{ tester.token }}"
    model: gpt-4
    limit: 100
    request_limit: 5
    simulated_tokens: 3
    wait_for_recovery: false
  register: spending

- name: Assert that the request limit was spent, and that the refusal says when to retry
  ansible.builtin.assert:
    that:
      - spending.refusal.exhausted == 'requests'
      - spending.refusal.retry_after or spending.refusal.reset
"""

RETURN = r"""
statuses:
  description: HTTP status of each call, in order. The last refused call confirms the refusal.
  returned: when something was sent
  type: list
  elements: int
  sample: [200, 200, 200, 200, 429, 429]
allowed_requests:
  description: Number of calls that passed.
  returned: when something was sent
  type: int
  sample: 4
expected_requests:
  description: >-
    Expected number of calls that pass, by the limit and the tokens used. Empty if tokens are limited and no answer
    reports its usage.
  returned: when something was sent
  type: dict
  contains:
    minimum:
      description: The least number.
      type: int
      sample: 4
    maximum:
      description: The greatest number.
      type: int
      sample: 4
tokens_spent:
  description: Number of tokens that the passed calls used, of the kind in O(counted_tokens).
  returned: when something was sent
  type: int
  sample: 120
usage:
  description: Number of tokens of each kind that all passed calls used. A kind that no answer reports is missing.
  returned: when something was sent
  type: dict
  sample: {prompt_tokens: 80, completion_tokens: 40, total_tokens: 120}
limited_after:
  description: Seconds from the first call to the first refused one. Null if none was refused.
  returned: when something was sent
  type: float
recovered_after:
  description: >-
    Seconds from the first refused call to the next call that passed. Null if none passed or with
    O(wait_for_recovery=false).
  returned: when something was sent
  type: float
limit_headers:
  description: The headers C(retry-after) and C(x-ratelimit-…) of the first refusal.
  returned: when something was sent
  type: dict
  sample: {x-ratelimit-limit: "100, 100;w=60", x-ratelimit-remaining: "0", x-ratelimit-reset: "37"}
refusal:
  description: >-
    The parsed first refusal. Null if no call was refused. A value that the refusal does not report is null too.
  returned: when something was sent
  type: dict
  contains:
    exhausted:
      description:
        - The kind of the limit that was reached, V(requests) or V(tokens).
        - A gateway reports the number of the limit and not its kind. So this is null too if O(limit) and
          O(request_limit) are equal, or if the number is neither of them.
      type: str
      sample: tokens
    limit:
      description: The limit that was reached, the first number of C(x-ratelimit-limit).
      type: int
      sample: 100
    window:
      description: Length of its window in seconds, from the same header.
      type: int
      sample: 60
    remaining:
      description: The remaining number, from C(x-ratelimit-remaining).
      type: int
      sample: 0
    reset:
      description: Seconds until its window ends, from C(x-ratelimit-reset).
      type: int
      sample: 37
    retry_after:
      description: Seconds to wait, from C(retry-after) unless it is a date.
      type: int
      sample: 37
    api_error:
      description: The error in the body, as M(egress.ai_gateway.inference_probe) returns it.
      type: dict
straddled:
  description: Whether a window ended while the limit was spent, in both rounds.
  returned: when something was sent
  type: bool
checks:
  description: The outcome for the limit and for the recovery, as M(egress.ai_gateway.validation_report) accepts them.
  returned: always
  type: list
  elements: dict
  sample:
    - id: rate-limit
      name: Rate limit
      status: passed
      expected: 4 calls of 30 tokens pass a limit of 100 tokens in 60 s, then 429
      observed: 4 calls with 120 tokens passed, then 429
      seconds: 2.1
      hint: ""
"""

import functools
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import FAILED, Check
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import (
    GATEWAY_ARGUMENT_SPEC,
    Gateway,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import OPERATIONS, Probe, ask
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.rate_limit import (
    COUNTED_TOKENS,
    REFUSALS,
    Limit,
    LimitProbe,
    describe_elsewhere,
    describe_limit,
    judge_elsewhere,
    judge_limit,
    judge_recovery,
    result_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress

SPENDING_OPERATIONS = [name for name in OPERATIONS if name != "models"]


def probe_of(params: dict[str, t.Any]) -> Probe:
    headers: dict[str, str] = {}
    if params["simulated_tokens"] is not None:
        simulated = params["simulated_tokens"]
        kind = "input" if params["operation"] == "embeddings" else params["counted_tokens"]
        completion = {"all": simulated // 3, "input": 0, "output": simulated}[kind]
        headers = {
            "x-simulator-prompt-tokens": str(simulated - completion),
            "x-simulator-completion-tokens": str(completion),
        }
    passed_on = {name: params[name] for name in ("operation", "base_path", "stream", "model", "max_tokens", "token")}
    return Probe.from_params({**passed_on, "extra_headers": headers})


def probes_elsewhere(params: dict[str, t.Any]) -> dict[str, Probe]:
    """The further calls, by what they are."""
    probes = {}
    for entry in params["elsewhere"]:
        given = {
            "model": params["model"],
            "operation": params["operation"],
            **{name: value for name, value in entry.items() if value is not None},
        }
        name = " ".join(
            filter(
                None,
                (given["operation"], "of", given["model"], f"at {given['base_path']}" if "base_path" in given else ""),
            )
        )
        probes[name] = probe_of({**params, "base_path": None, **given})
    return probes


def calls_known(limit: Limit, simulated_tokens: int | None) -> int | None:
    """How many calls may pass at most, where that is known before a call was sent."""
    if limit.tokens is None or simulated_tokens:
        return limit.expected_calls([simulated_tokens or 0])[1]
    return limit.requests


def validate(params: dict[str, t.Any], limit: Limit) -> None:
    """Raise ValueError for what cannot be spent."""
    # An option that is given as null counts as given to Ansible.
    if limit.tokens is None and limit.requests is None:
        raise ValueError("limit: give it or request_limit, or both")
    numbers = ("limit", "request_limit", "window", "simulated_tokens", "max_tokens", "max_requests", "recovery_timeout")
    for option, least in {**dict.fromkeys(numbers, 1), "pause": 0}.items():
        if params[option] is not None and params[option] < least:
            raise ValueError(f"{option}: {params[option]} is too little; give at least {least}")
    most = calls_known(limit, params["simulated_tokens"])
    if most is not None and most + REFUSALS > params["max_requests"]:
        of = (
            f" of {params['simulated_tokens']} tokens"
            if limit.tokens is not None and params["simulated_tokens"]
            else ""
        )
        remedy = "give more of either" if of else "give more"
        raise ValueError(
            f"max_requests: {params['max_requests']} calls{of} cannot spend {limit.amount} and be refused; {remedy}"
        )


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **GATEWAY_ARGUMENT_SPEC,
            "id": {"type": "str", "default": "rate-limit"},
            "name": {"type": "str", "default": "Rate limit"},
            "hint": {"type": "str", "default": ""},
            "skip": {"type": "str", "default": ""},
            "model": {"type": "str", "required": True},
            "operation": {"type": "str", "choices": SPENDING_OPERATIONS, "default": "chat_completions"},
            "base_path": {"type": "str"},
            "stream": {"type": "bool", "default": False},
            "elsewhere": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "model": {"type": "str"},
                    "operation": {"type": "str", "choices": SPENDING_OPERATIONS},
                    "base_path": {"type": "str"},
                },
            },
            "limit": {"type": "int"},
            "counted_tokens": {"type": "str", "choices": list(COUNTED_TOKENS), "default": "all", "no_log": False},
            "request_limit": {"type": "int"},
            "window": {"type": "int", "default": 60},
            "window_alignment": {"type": "str", "choices": ["clock", "first_request"], "default": "clock"},
            "simulated_tokens": {"type": "int", "no_log": False},
            "max_tokens": {"type": "int", "default": 20, "no_log": False},
            "max_requests": {"type": "int", "default": 30},
            "pause": {"type": "float", "default": 0.2},
            "wait_for_recovery": {"type": "bool", "default": True},
            "recovery_timeout": {"type": "int"},
            "fail_on_mismatch": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    aligned = params["window_alignment"] == "clock"
    limit = Limit(params["limit"], params["window"], aligned, params["request_limit"], params["counted_tokens"])
    recovery_timeout = params["recovery_timeout"] or params["window"] + max(10, params["window"] // 4)
    try:
        validate(params, limit)
        probe = probe_of(params)
        elsewhere = probes_elsewhere(params)
        gateway = Gateway.from_params(params)
    except ValueError as error:
        module.fail_json(msg=str(error))

    expected_recovery = f"status 200 again within {recovery_timeout} s"
    recovery_id, recovery_name = f"{params['id']}-recovery", f"{params['name']}: recovery"

    elsewhere_id, elsewhere_name = f"{params['id']}-elsewhere", f"{params['name']}: other models and paths"

    def leave(checks: list[Check], result: dict[str, t.Any]) -> t.NoReturn:
        result.update(changed=False, checks=[check.as_dict() for check in checks])
        failed = [check for check in result["checks"] if check["status"] == FAILED]
        if failed and params["fail_on_mismatch"]:
            lines = [
                f"{check['name']}: expected {check['expected']}, but observed {check['observed']}" for check in failed
            ]
            module.fail_json(msg="\n".join(lines), **result)
        module.exit_json(**result)

    skip = "check mode sends no requests" if module.check_mode else params["skip"]
    if skip:
        leave(
            [
                Check.skipped(params["id"], params["name"], describe_limit(limit), skip, params["hint"]),
                *(
                    [
                        Check.skipped(
                            elsewhere_id, elsewhere_name, describe_elsewhere(list(elsewhere)), skip, params["hint"]
                        )
                    ]
                    if elsewhere
                    else []
                ),
                Check.skipped(recovery_id, recovery_name, expected_recovery, skip, params["hint"]),
            ],
            {},
        )

    limit_probe = LimitProbe(
        limit,
        lambda: ask(gateway, probe),
        max_requests=params["max_requests"],
        pause=params["pause"],
        now=time.time,
        sleep=time.sleep,
        say=Progress().say,
        elsewhere=[functools.partial(ask, gateway, other) for other in elsewhere.values()],
    )
    expected_calls = calls_known(limit, params["simulated_tokens"]) or params["max_requests"]
    started = time.monotonic()
    try:
        outcome = limit_probe.run(recovery_timeout if params["wait_for_recovery"] else None, expected_calls)
    except ValueError as error:
        module.fail_json(msg=str(error))
    elapsed = time.monotonic() - started
    if outcome.last:
        recovery = Check.of(
            recovery_id, recovery_name, judge_recovery(outcome, recovery_timeout), outcome.waited, params["hint"]
        )
    else:
        why = "the limit was not reached" if params["wait_for_recovery"] else "it is not waited for"
        recovery = Check.skipped(recovery_id, recovery_name, expected_recovery, why, params["hint"])
    spending = Check.of(
        params["id"], params["name"], judge_limit(limit, outcome), max(0.0, elapsed - outcome.waited), params["hint"]
    )
    checks = [spending, recovery]
    if elsewhere:
        checks[1:1] = [
            Check.of(elsewhere_id, elsewhere_name, judge_elsewhere(list(elsewhere), outcome), 0.0, params["hint"])
            if outcome.elsewhere and not outcome.straddled
            else Check.skipped(
                elsewhere_id,
                elsewhere_name,
                describe_elsewhere(list(elsewhere)),
                "the limit was not reached",
                params["hint"],
            )
        ]
    leave(checks, result_of(limit, outcome))


if __name__ == "__main__":
    main()
