#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: inference_probe
short_description: Ask models through an AI gateway and compare the answers with what is expected
version_added: 1.0.0
description:
  - Sends one request to a gateway, or many at once with O(probes), and compares each answer with what O(expect) says of its status, model, body, headers,
    stream and time.
  - Returns the answers, and the outcome of each probe as a check that M(egress.ai_gateway.validation_report) takes.
  - A gateway that cannot be reached is an answer that meets no expectation.
  - Tokens and excluded texts are never returned, shown or logged.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
  - egress.ai_gateway.gateway_options
attributes:
  check_mode:
    support: full
    details:
      - Sends nothing in check mode, as requests cost tokens, and returns each probe as skipped.
options:
  operation:
    description: &operation
      - What to ask for. By default V(chat_completions).
      - V(messages) is the operation of Anthropic's API and sends C(anthropic-version), the others are of OpenAI's. The stream, the usage and the errors of an
        answer are those of the same API.
    type: str
    choices: &operations [chat_completions, completions, embeddings, messages, models]
  base_path:
    description: &base_path
      - What comes between the gateway's address and the path of the operation, for example C(/external/openai) or C(/anthropic). By default nothing.
    type: str
  path:
    description: &path
      - Path of the request after the gateway's address and the base path. By default that of the operation in its API, such as C(/v1/chat/completions).
    type: str
  token_header:
    description: &token_header
      - The header for the token. By default V(authorization), where it is sent as bearer token; V(x-api-key) holds the token alone.
    type: str
    choices: &token_headers [authorization, x-api-key]
  model:
    description: &model The model to ask. Required for every operation but V(models).
    type: str
  prompt:
    description: &prompt What to say to the model, or the text to embed. By default C(Hello).
    type: str
  messages:
    description: &messages The conversation for V(chat_completions) and V(messages), instead of the prompt.
    type: list
    elements: dict
  max_tokens:
    description: &max_tokens
      - How many tokens the model may answer with. By default what the provider allows, for V(messages) 1024, as it must be given one.
      - Not sent for V(embeddings) and V(models).
    type: int
  stream:
    description: &stream
      - Whether to have the answer streamed. By default V(false).
      - A streamed answer must be an event stream that reports no error and ends with C([DONE]), for V(messages) with event C(message_stop).
    type: bool
  echo:
    description: &echo
      - Whether to ask for the headers that reached the model's server. By default V(false).
      - Only the simulators of role P(egress.ai_gateway.simulators#role) answer that. They show credentials as SHA-256.
      - The token of the request must not be among those headers.
    type: bool
  extra_headers:
    description: &extra_headers Headers to send beyond those of the operation, or instead of them.
    type: dict
  extra_body:
    description: &extra_body Fields of the request's body to send beyond those of the operation, or instead of them, such as C(temperature).
    type: dict
  wait_timeout:
    description: &wait_timeout
      - How long to repeat the request, once a second, until the answer is as expected, in seconds. By default V(0), which asks once.
      - For routes that a gateway may not have programmed yet. An answer that must never have been otherwise is not for waiting.
    type: int
  expect:
    description: &expect What the answer must be like.
    type: dict
    suboptions: &expectations
      status:
        description: One of these statuses.
        type: list
        elements: int
        default: [200]
      api_error:
        description:
          - Whether the answer must be an error in the form of the API that the operation is of, so that a client of it understands the error.
          - With a stream, one of its events must be such an error, or else the body instead of a stream. It then need not end as it should.
        type: bool
        default: false
      model:
        description: One of these models, or a dated snapshot of one, such as C(gpt-4-0613) for C(gpt-4).
        type: list
        elements: str
      models:
        description: Exactly these models are listed, in any order.
        type: list
        elements: str
      contains:
        description: The body contains each of these texts.
        type: list
        elements: str
      matches:
        description: The body matches this regular expression somewhere.
        type: str
      excludes:
        description: Neither the body nor a header contains any of these texts. They are secrets that must not leak.
        type: list
        elements: str
      query:
        description: JMESPath expressions on the body, each with the value it must have. Needs the Python library jmespath.
        type: dict
      headers:
        description: Headers of the answer, each with a regular expression that its value matches somewhere, or null where the header must be absent.
        type: dict
      usage:
        description: Whether the answer must report the tokens used. A stream must report them in its last chunk.
        type: bool
        default: false
      minimum_chunks:
        description: The stream has at least so many chunks, which are its events but pings and the one that ends it.
        type: int
      maximum_seconds:
        description: The answer is complete after so many seconds.
        type: float
      received_headers:
        description: Headers that reached the model's server, each with its exact value, or null where it must be absent. Needs O(echo).
        type: dict
      received_credentials:
        description: The model's server received a key with one of these SHA-256 digests, in hexadecimal, and no other. Needs O(echo).
        type: list
        elements: str
  probes:
    description:
      - Requests to send instead of a single one. What an entry leaves out is taken from the options above.
    type: list
    elements: dict
    suboptions:
      id:
        description: Identifies the check in reports. Unique in the list.
        type: str
        required: true
      name:
        description: What is checked, in words. By default the O(probes[].id).
        type: str
      hint:
        description: Where to look when the check fails.
        type: str
        default: ""
      skip:
        description: Why this probe cannot be sent. It is returned as skipped for that reason, unless it is empty.
        type: str
        default: ""
      token:
        description: Sent in the token header, by default as bearer token. An empty one sends none.
        type: str
      operation:
        description: *operation
        type: str
        choices: *operations
      base_path:
        description: *base_path
        type: str
      path:
        description: *path
        type: str
      token_header:
        description: *token_header
        type: str
        choices: *token_headers
      model:
        description: *model
        type: str
      prompt:
        description: *prompt
        type: str
      messages:
        description: *messages
        type: list
        elements: dict
      max_tokens:
        description: *max_tokens
        type: int
      stream:
        description: *stream
        type: bool
      echo:
        description: *echo
        type: bool
      extra_headers:
        description: *extra_headers
        type: dict
      extra_body:
        description: *extra_body
        type: dict
      wait_timeout:
        description: *wait_timeout
        type: int
      expect:
        description: *expect
        type: dict
        suboptions: *expectations
  parallel:
    description: How many of O(probes) to send at a time.
    type: int
    default: 8
  fail_on_mismatch:
    description: Whether the module fails where an answer is not as expected.
    type: bool
    default: true
seealso:
  - module: egress.ai_gateway.rate_limit_probe
  - module: egress.ai_gateway.validation_report
"""

EXAMPLES = r"""
- name: Ask a model
  egress.ai_gateway.inference_probe:
    url: "{{ gateway_url }}"
    token: "{{ jane.token }}"
    model: gpt-4
    prompt: Say hello in one sentence.
    max_tokens: 20
    expect:
      model: [gpt-4]
      usage: true
  register: answer

- name: Show what it said
  ansible.builtin.debug:
    msg: "{{ answer.text }} ({{ answer.usage.total_tokens }} tokens in {{ answer.seconds }} s)"

- name: Check several things at once and see all outcomes
  egress.ai_gateway.inference_probe:
    url: "{{ gateway_url }}"
    token: "{{ jane.token }}"
    model: gpt-4
    fail_on_mismatch: false
    probes:
      - id: streaming
        stream: true
        expect: {usage: true, minimum_chunks: 2}
      - id: no-token
        token: ""
        expect: {status: [401]}
      - id: models
        operation: models
        expect: {models: [gpt-4, claude-3-sonnet]}
  register: outcome

- name: Ask each provider by its own path, as clients of either API do
  egress.ai_gateway.inference_probe:
    url: "{{ gateway_url }}"
    token: "{{ jane.token }}"
    parallel: 16
    probes:
      - id: chat
        base_path: /external/openai
        model: gpt-4
      - id: embedding
        operation: embeddings
        base_path: /external/openai
        model: text-embedding-3-small
        expect: {query: {"length(data[0].embedding)": 1536}, usage: true}
      - id: messages
        operation: messages
        base_path: /external/anthropic
        model: claude-3-sonnet
        stream: true
        expect: {usage: true}
      - id: messages-no-token
        operation: messages
        base_path: /external/anthropic
        model: claude-3-sonnet
        token: ""
        expect: {status: [401], api_error: true, query: {error.type: authentication_error}}
"""

RETURN = r"""
status:
  description: The status of the answer. None where there was none. This and the values down to RV(failures) are of a single request.
  returned: without O(probes), not in check mode
  type: int
  sample: 200
error:
  description: Why there was no answer, and what to look at. Empty where there was one.
  returned: without O(probes), not in check mode
  type: str
api_error:
  description: The error that the answer or an event of its stream reports, in one form for all APIs. None where it reports none.
  returned: without O(probes), not in check mode
  type: dict
  contains:
    dialects:
      description: The APIs whose errors have the form of this one, C(openai) and C(anthropic). The errors of a gateway may have both.
      type: list
      elements: str
      sample: [openai]
    type:
      description: The kind of error. Empty where it is not reported.
      type: str
      sample: invalid_request_error
    code:
      description: The code, which is reported in OpenAI's API alone. None where it is not.
      type: str
      sample: model_not_found
    message:
      description: What is wrong, in words.
      type: str
headers:
  description: The headers of the answer, with names in lower case.
  returned: without O(probes), not in check mode
  type: dict
body:
  description: The body, parsed where it is JSON. None of a stream.
  returned: without O(probes), not in check mode
  type: raw
text:
  description: What the model said. Empty of V(embeddings) and V(models), whose answer is in RV(body).
  returned: without O(probes), not in check mode
  type: str
model:
  description: The model that the answer names.
  returned: without O(probes), not in check mode
  type: str
usage:
  description: The tokens used, as the answer reports them, under the names of OpenAI's API. What is not reported is missing.
  returned: without O(probes), not in check mode
  type: dict
  sample: {prompt_tokens: 10, completion_tokens: 20, total_tokens: 30}
  contains:
    prompt_tokens:
      description: Tokens of the request. In Anthropic's API C(input_tokens) and those that were written to a cache or read from it.
      type: int
    completion_tokens:
      description: Tokens of the answer. In Anthropic's API C(output_tokens).
      type: int
    total_tokens:
      description: The sum of both.
      type: int
seconds:
  description: How long the answer took to its end.
  returned: without O(probes), not in check mode
  type: float
time_to_first_token:
  description: How long the first text of a stream took, in seconds. None where nothing was streamed.
  returned: without O(probes), not in check mode
  type: float
chunks:
  description: How many events the stream had, without pings and the one that ends it.
  returned: without O(probes), not in check mode
  type: int
received_headers:
  description: The headers that reached the model's server, as a simulator reports them. None where it did not.
  returned: without O(probes), not in check mode
  type: dict
attempts:
  description: How often the request was sent.
  returned: without O(probes), not in check mode
  type: int
failures:
  description: What was not as expected.
  returned: without O(probes), not in check mode
  type: list
  elements: dict
  contains:
    expected:
      description: What was expected.
      type: str
      sample: status 401
    observed:
      description: What was seen.
      type: str
      sample: status 200
probes:
  description: The same values for each of O(probes) that was sent, with its RV(probes[].id).
  returned: with O(probes), not in check mode
  type: list
  elements: dict
  contains:
    id:
      description: The probe's id.
      type: str
checks:
  description: The outcome of each probe, in the order given.
  returned: always
  type: list
  elements: dict
  contains:
    id:
      description: The probe's id, of a single request the operation.
      type: str
      sample: no-token
    name:
      description: What was checked.
      type: str
    status:
      description: C(passed), C(failed) or C(skipped).
      type: str
    expected:
      description: What was expected.
      type: str
    observed:
      description: What was seen of it, of a skipped one the reason.
      type: str
    seconds:
      description: How long it took, with all repetitions.
      type: float
    hint:
      description: Where to look when it failed.
      type: str
"""

import time
import typing as t
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.findings import FAILED, Check, failures
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.http_client import (
    GATEWAY_ARGUMENT_SPEC,
    Gateway,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes.inference import (
    PROBE_ARGUMENT_SPEC,
    Probe,
    ask,
    describe,
    judge,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress

INHERITED = (*PROBE_ARGUMENT_SPEC, "token")
#: Seconds between two attempts of a probe that waits.
INTERVAL = 1.0


@dataclass(frozen=True)
class Task:
    """A probe and how it appears among the checks; ``skip`` is the reason for not sending it."""

    id: str
    name: str
    hint: str
    skip: str
    probe: Probe


def tasks_of(params: Mapping[str, t.Any]) -> list[Task]:
    """The probes of a module's parameters.

    Raises ValueError that names the entry and option where something is wrong.
    """
    if params["probes"] is None:
        probe = Probe.from_params(params)
        operation = params["operation"] or "chat_completions"
        return [Task(operation, operation, "", "", probe)]
    tasks: list[Task] = []
    ids: set[str] = set()
    for index, entry in enumerate(params["probes"]):
        merged = {name: params[name] if entry[name] is None else entry[name] for name in INHERITED}
        try:
            if entry["id"] in ids:
                raise ValueError(f"id: {entry['id']!r} is given twice; name each probe once")
            ids.add(entry["id"])
            tasks.append(
                Task(entry["id"], entry["name"] or entry["id"], entry["hint"], entry["skip"], Probe.from_params(merged))
            )
        except ValueError as error:
            raise ValueError(f"probes[{index}].{error}") from error
    return tasks


def run(gateway: Gateway, task: Task) -> tuple[Check, dict[str, t.Any]]:
    """Send the probe until its answer is as expected or its time is up; return the check and the last answer."""
    started = time.monotonic()
    attempts = 0
    while True:
        attempts += 1
        seen = ask(gateway, task.probe)
        findings = judge(task.probe, seen)
        elapsed = time.monotonic() - started
        unmet = failures(findings)
        if not unmet or elapsed + INTERVAL > task.probe.wait_timeout:
            break
        time.sleep(INTERVAL)
    check = Check.of(task.id, task.name, findings, elapsed, task.hint)
    return check, {"id": task.id, **seen.as_dict(), "attempts": attempts, "failures": unmet}


def run_all(gateway: Gateway, tasks: list[Task], parallel: int) -> tuple[list[Check], list[dict[str, t.Any]]]:
    """The checks of all tasks and the answers of those that were sent, in their order."""
    checks: dict[str, Check] = {}
    answers: dict[str, dict[str, t.Any]] = {}
    progress = Progress()
    with ThreadPoolExecutor(max_workers=parallel) as pool:
        futures = {}
        for task in tasks:
            if task.skip:
                checks[task.id] = Check.skipped(task.id, task.name, describe(task.probe), task.skip, task.hint)
            else:
                futures[pool.submit(run, gateway, task)] = task.id
        for count, future in enumerate(as_completed(futures), start=1):
            check, answer = future.result()
            checks[check.id] = check
            answers[check.id] = answer
            progress.say(f"{count} of {len(futures)} requests: {check.status} {check.name}")
    return [checks[task.id] for task in tasks], [answers[task.id] for task in tasks if task.id in answers]


def main() -> t.NoReturn:
    probe_options = {
        "id": {"type": "str", "required": True},
        "name": {"type": "str"},
        "hint": {"type": "str", "default": ""},
        "skip": {"type": "str", "default": ""},
        "token": GATEWAY_ARGUMENT_SPEC["token"],
        **PROBE_ARGUMENT_SPEC,
    }
    module = AnsibleModule(
        argument_spec={
            **GATEWAY_ARGUMENT_SPEC,
            **PROBE_ARGUMENT_SPEC,
            "probes": {"type": "list", "elements": "dict", "options": probe_options},
            "parallel": {"type": "int", "default": 8},
            "fail_on_mismatch": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    params = module.params
    try:
        tasks = tasks_of(params)
        if params["parallel"] < 1:
            raise ValueError("parallel: give at least 1")
        gateway = Gateway.from_params(params)
        if module.check_mode:
            reason = "check mode sends no requests"
            checks = [Check.skipped(task.id, task.name, describe(task.probe), reason, task.hint) for task in tasks]
            module.exit_json(changed=False, checks=[check.as_dict() for check in checks])
        checks, answers = run_all(gateway, tasks, params["parallel"])
    except ImportError:
        module.fail_json(msg=missing_required_lib("jmespath", reason="for expect.query"))
    except ValueError as error:
        module.fail_json(msg=str(error))
    result: dict[str, t.Any] = {"changed": False, "checks": [check.as_dict() for check in checks]}
    if params["probes"] is None:
        result.update({name: value for name, value in answers[0].items() if name != "id"})
    else:
        result["probes"] = answers
    failed = [check for check in checks if check.status == FAILED]
    if failed and params["fail_on_mismatch"]:
        lines = [f"{check.name}: expected {check.expected}, but observed {check.observed}" for check in failed]
        module.fail_json(msg="\n".join(lines), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
