#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rate_limit_probe
short_description: Spend the token or request limit of a user until an AI gateway refuses, and see when it recovers
version_added: 1.0.0
description:
  - Asks a model again and again with one token until the gateway answers with status 429, and compares the calls that passed with what the limit allows.
  - A gateway counts the tokens that a response used after it was sent. So calls pass until the counter has reached the limit, and the call that reaches
    it passes too. With a limit of 100 tokens and 30 tokens a call, four calls pass. Requests it counts at once, so of a limit of 5 requests five pass.
  - Where C(x-ratelimit-limit) of the refusal reports another limit than the one that was to be spent, that is not as expected either.
  - Waits at the start for the next window where too little is left of the current one, and spends the limit once more where a window ended meanwhile.
  - The token's user must not have spent anything in the window, so use one of its own.
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
    description: Identifies the check in reports. That of the recovery is the same with C(-recovery).
    type: str
    default: rate-limit
  name:
    description: What is checked, in words.
    type: str
    default: Rate limit
  hint:
    description: Where to look when a check fails.
    type: str
    default: ""
  skip:
    description: Why nothing can be sent. The checks are returned as skipped for that reason, unless it is empty.
    type: str
    default: ""
  model:
    description: The model to ask.
    type: str
    required: true
  operation:
    description: What to ask for. See M(egress.ai_gateway.inference_probe).
    type: str
    choices: [chat_completions, completions, embeddings, messages]
    default: chat_completions
  base_path:
    description: What comes between the gateway's address and the path of the operation, for example C(/external/openai). By default nothing.
    type: str
  stream:
    description: Whether to have the answers streamed.
    type: bool
    default: false
  limit:
    description: How many tokens the user may spend in a window. At least one of this and O(request_limit) is required.
    type: int
  counted_tokens:
    description: Which tokens O(limit) counts, V(all) or those of the V(input) or the V(output) alone.
    type: str
    choices: [all, input, output]
    default: all
  request_limit:
    description: How many requests the user may send in a window. With O(limit) too, the one that is spent first must refuse.
    type: int
  window:
    description: Length of the window in seconds.
    type: int
    default: 60
  window_alignment:
    description:
      - When windows begin.
      - V(clock) is at multiples of their length, as the rate limit service of Envoy counts. The clocks of both sides should agree to the second.
      - V(first_request) is with the first call, as Limitador counts.
    type: str
    choices: [clock, first_request]
    default: clock
  simulated_tokens:
    description:
      - How many tokens a simulator of role P(egress.ai_gateway.simulators#role) shall report for each call.
      - They are of the kind that O(counted_tokens) names; of V(all), two thirds are input, and for V(embeddings) all.
      - Not given, the calls use what the model uses.
    type: int
  max_tokens:
    description: How many tokens the model may answer a call with.
    type: int
    default: 20
  elsewhere:
    description:
      - Calls that must be refused as well once the limit is reached, as it is the user's for all models and by all paths. Each is sent once.
      - With it, there is a third check, whose id ends in C(-elsewhere).
    type: list
    elements: dict
    default: []
    suboptions:
      model:
        description: The model to ask. By default O(model).
        type: str
      operation:
        description: What to ask for. By default O(operation).
        type: str
        choices: [chat_completions, completions, embeddings, messages]
      base_path:
        description: What comes between the gateway's address and the path of the operation. By default nothing.
        type: str
  max_requests:
    description: How many calls to send at most in a round.
    type: int
    default: 30
  pause:
    description: Seconds between two calls, so that the tokens of one are counted before the next.
    type: float
    default: 0.2
  wait_for_recovery:
    description: Whether to wait until calls pass again.
    type: bool
    default: true
  recovery_timeout:
    description: How long to wait for that from the first refused call, in seconds. By default a quarter longer than O(window), and 10 seconds more at least.
    type: int
  fail_on_mismatch:
    description: Whether the module fails where a check does.
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

- name: Assert that it was the requests that ran out, and that the refusal said when to try again
  ansible.builtin.assert:
    that:
      - spending.refusal.exhausted == 'requests'
      - spending.refusal.retry_after or spending.refusal.reset
"""

RETURN = r"""
statuses:
  description: The status of each call, in order. The last one that is refused is a second look.
  returned: when something was sent
  type: list
  elements: int
  sample: [200, 200, 200, 200, 429, 429]
allowed_requests:
  description: How many calls passed.
  returned: when something was sent
  type: int
  sample: 4
expected_requests:
  description: How many calls were to pass, by the limit and the tokens they used. Empty where tokens are limited and no answer reports its usage.
  returned: when something was sent
  type: dict
  contains:
    minimum:
      description: As few.
      type: int
      sample: 4
    maximum:
      description: As many.
      type: int
      sample: 4
tokens_spent:
  description: How many tokens the calls that passed used, of those that O(counted_tokens) names.
  returned: when something was sent
  type: int
  sample: 120
usage:
  description: How many tokens of each kind the calls that passed used together. What no answer reports is missing.
  returned: when something was sent
  type: dict
  sample: {prompt_tokens: 80, completion_tokens: 40, total_tokens: 120}
limited_after:
  description: Seconds from the first call to the first that was refused. None where none was.
  returned: when something was sent
  type: float
recovered_after:
  description: Seconds from the first refused call to the one that passed again. None where none did or it was not waited for.
  returned: when something was sent
  type: float
limit_headers:
  description: What the first refusal says of the limit, C(retry-after) and C(x-ratelimit-…).
  returned: when something was sent
  type: dict
  sample: {x-ratelimit-limit: "100, 100;w=60", x-ratelimit-remaining: "0", x-ratelimit-reset: "37"}
refusal:
  description: What the first refusal reports, parsed. None where no call was refused, and so is each value that it does not report.
  returned: when something was sent
  type: dict
  contains:
    exhausted:
      description:
        - What ran out, C(requests) or C(tokens).
        - A gateway reports the number of the limit and not its kind. So this is None too where O(limit) and O(request_limit) are the same number, and where
          it is neither of them.
      type: str
      sample: tokens
    limit:
      description: The limit that ran out, the first number of C(x-ratelimit-limit).
      type: int
      sample: 100
    window:
      description: The length of its window in seconds, from the same header.
      type: int
      sample: 60
    remaining:
      description: What is left of it, C(x-ratelimit-remaining).
      type: int
      sample: 0
    reset:
      description: Seconds until its window ends, C(x-ratelimit-reset).
      type: int
      sample: 37
    retry_after:
      description: Seconds to wait, C(retry-after) where it is no date.
      type: int
      sample: 37
    api_error:
      description: The error in the body, as M(egress.ai_gateway.inference_probe) returns it.
      type: dict
straddled:
  description: Whether a window ended while the limit was spent, in the second round as in the first.
  returned: when something was sent
  type: bool
checks:
  description: The outcome for the limit and for the recovery, as M(egress.ai_gateway.validation_report) takes them.
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
