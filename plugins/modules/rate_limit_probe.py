#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: rate_limit_probe
short_description: Spend the token limit of a user until an AI gateway refuses, and see when it recovers
version_added: 1.0.0
description:
  - Asks a model again and again with one token until the gateway answers with status 429, and compares the calls that passed with what the limit allows.
  - A gateway counts the tokens that a response used after it was sent. So calls pass until the counter has reached the limit, and the call that reaches
    it passes too. With a limit of 100 tokens and 30 tokens a call, four calls pass.
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
    default: Token limit
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
  limit:
    description: How many tokens the user may spend in a window.
    type: int
    required: true
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
      - Not given, the calls use what the model uses.
    type: int
  max_tokens:
    description: How many tokens the model may answer a call with.
    type: int
    default: 20
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
  egress.ai_gateway.maas_token:
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
  description: How many calls were to pass, by the tokens they used. Empty where no answer tells its usage.
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
  description: How many tokens the calls that passed used.
  returned: when something was sent
  type: int
  sample: 120
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
      name: Token limit
      status: passed
      expected: 4 calls of 30 tokens pass a limit of 100 tokens in 60 s, then 429
      observed: 4 calls with 120 tokens passed, then 429
      seconds: 2.1
      hint: ""
"""

import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._checks import FAILED, Check
from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway import GATEWAY_ARGUMENT_SPEC, Gateway
from ansible_collections.egress.ai_gateway.plugins.module_utils._inference import Probe, ask
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress
from ansible_collections.egress.ai_gateway.plugins.module_utils._rate_limit import Limit, Spender, judge_limit, judge_recovery, result_of

RECOVERY = "-recovery"


def probe_of(params: dict[str, t.Any]) -> Probe:
    headers = {}
    if params["simulated_tokens"] is not None:
        completion = params["simulated_tokens"] // 3
        headers = {
            "x-simulator-prompt-tokens": str(params["simulated_tokens"] - completion),
            "x-simulator-completion-tokens": str(completion),
        }
    return Probe.from_params({"model": params["model"], "max_tokens": params["max_tokens"], "token": params["token"], "extra_headers": headers})


def validate(params: dict[str, t.Any]) -> None:
    """Raise ValueError for what cannot be spent."""
    for option, least in {"limit": 1, "window": 1, "simulated_tokens": 1, "max_tokens": 1, "max_requests": 1, "pause": 0, "recovery_timeout": 1}.items():
        if params[option] is not None and params[option] < least:
            raise ValueError(f"{option}: {params[option]} is too little; give at least {least}")
    if params["simulated_tokens"]:
        _least, most = Limit(params["limit"], params["window"]).expected_calls([params["simulated_tokens"]])
        if most >= params["max_requests"]:
            most_sent = f"{params['max_requests']} calls of {params['simulated_tokens']} tokens"
            raise ValueError(f"max_requests: {most_sent} cannot spend {params['limit']}; give more of either")


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            **GATEWAY_ARGUMENT_SPEC,
            "id": {"type": "str", "default": "rate-limit"},
            "name": {"type": "str", "default": "Token limit"},
            "hint": {"type": "str", "default": ""},
            "skip": {"type": "str", "default": ""},
            "model": {"type": "str", "required": True},
            "limit": {"type": "int", "required": True},
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
    limit = Limit(params["limit"], params["window"], aligned=params["window_alignment"] == "clock")
    recovery_timeout = params["recovery_timeout"] or params["window"] + max(10, params["window"] // 4)
    try:
        validate(params)
        probe = probe_of(params)
        gateway = Gateway.from_params(params)
    except ValueError as error:
        module.fail_json(msg=str(error))

    expected = f"calls pass until {limit.tokens} tokens are spent in {limit.window} s, then 429"
    expected_recovery = f"status 200 again within {recovery_timeout} s"
    recovery_id, recovery_name = f"{params['id']}-recovery", f"{params['name']}: recovery"

    def leave(checks: list[Check], result: dict[str, t.Any]) -> t.NoReturn:
        result.update(changed=False, checks=[check.as_dict() for check in checks])
        failed = [check for check in result["checks"] if check["status"] == FAILED]
        if failed and params["fail_on_mismatch"]:
            lines = [f"{check['name']}: expected {check['expected']}, but observed {check['observed']}" for check in failed]
            module.fail_json(msg="\n".join(lines), **result)
        module.exit_json(**result)

    skip = "check mode sends no requests" if module.check_mode else params["skip"]
    if skip:
        leave(
            [
                Check.skipped(params["id"], params["name"], expected, skip, params["hint"]),
                Check.skipped(recovery_id, recovery_name, expected_recovery, skip, params["hint"]),
            ],
            {},
        )

    spender = Spender(
        limit,
        lambda: ask(gateway, probe),
        max_requests=params["max_requests"],
        pause=params["pause"],
        now=time.time,
        sleep=time.sleep,
        say=Progress().say,
    )
    expected_calls = limit.expected_calls([params["simulated_tokens"]])[1] if params["simulated_tokens"] else params["max_requests"]
    started = time.monotonic()
    try:
        outcome = spender.run(recovery_timeout if params["wait_for_recovery"] else None, expected_calls)
    except ValueError as error:
        module.fail_json(msg=str(error))
    elapsed = time.monotonic() - started
    if outcome.last:
        recovery = Check.of(recovery_id, recovery_name, judge_recovery(outcome, recovery_timeout), outcome.waited, params["hint"])
    else:
        why = "the limit was not reached" if params["wait_for_recovery"] else "it is not waited for"
        recovery = Check.skipped(recovery_id, recovery_name, expected_recovery, why, params["hint"])
    spending = Check.of(params["id"], params["name"], judge_limit(limit, outcome), max(0.0, elapsed - outcome.waited), params["hint"])
    leave([spending, recovery], result_of(limit, outcome))


if __name__ == "__main__":
    main()
