#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_api_key
short_description: Issue and revoke API keys for the users of an AI gateway
version_added: 1.0.0
description:
  - Issues a key with which a program of an owner can call an AI gateway, as C(Authorization) with C(Bearer) or as
    C(x-api-key), and revokes keys, one or many.
  - The gateway must have callers of kind C(api_key) in C(ai_gateway_callers), and engine C(authorino).
  - A key is returned once, by the run that issues it. The cluster keeps its SHA-256 in a Secret beside Authorino, with
    owner, tier and times. All keys of an owner in a tier share the limits of one user.
  - Keys are refused about a second after they are revoked or replaced.
  - The result of an issue holds the key. Set C(no_log=true) on the task.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    details:
      - Issues no key in check mode. The keys that would be revoked are listed.
  diff_mode:
    support: full
    details:
      - Shows what is kept of a key, without its SHA-256.
  idempotent:
    support: full
    details:
      - A key of the same name that exists is not issued anew, so that no key is returned. With O(rotate=true), each run
        issues a new one.
options:
  state:
    description:
      - With V(present), a key named O(name) exists.
      - With V(absent), all keys are revoked that match O(name), O(owner), O(tier) and O(expired) together. At least one
        of these is required, or O(all).
    type: str
    choices: [present, absent]
    default: present
  gateway:
    description: Name of the gateway.
    type: str
    default: ai-gateway
  namespace:
    description: Namespace of Authorino, where the Secrets of the keys are. C(ai_gateway_authorino_namespace) sets it.
    type: str
    default: ai-gateway-authorino
  name:
    description: >-
      Name of the key, a DNS label that no other key of the gateway has. Required with O(state=present).
    type: str
  owner:
    description: >-
      User or program that the key is for, such as C(jane@example.com). Letters, digits and C(. _ @ + -). Required with
      O(state=present).
    type: str
  tier:
    description: Tier of the owner, one of C(ai_gateway_tiers) in the cluster. Required with O(state=present).
    type: str
  expired:
    description: >-
      Whether the keys have ended. V(true) revokes only keys that are refused already, V(false) only the others. Not
      with O(state=present).
    type: bool
  all:
    description: Whether to revoke all keys of the gateway. Not with O(name), O(owner), O(tier) or O(expired).
    type: bool
    default: false
  description:
    description: What the key is for, one line of at most 256 characters. It is kept in the cluster and listed.
    type: str
    default: ""
  expires:
    description:
      - When the key ends, as a duration such as V(90d), V(12h) or V(1d12h), or as a time of RFC 3339 such as
        V(2027-01-31T00:00:00Z).
      - The time is part of the key. Another one needs a new key.
    type: str
    default: 90d
  maximum_lifetime:
    description: Longest duration from the issue of a key to its end.
    type: str
    default: 365d
  prefix:
    description: >-
      What the key begins with, before an underscore. The gateway accepts the C(prefix) of its callers of kind
      C(api_key).
    type: str
    default: aigw
  rotate:
    description: >-
      Whether to issue a new key in the place of one that exists. The previous key is refused about a second later.
    type: bool
    default: false
requirements:
  - kubernetes >= 24.2.0
seealso:
  - module: egress.ai_gateway.gateway_api_key_info
  - module: egress.ai_gateway.gateway_token
"""

EXAMPLES = r"""
- name: Issue a key for a nightly build
  egress.ai_gateway.gateway_api_key:
    name: nightly-build
    owner: builds@example.com
    tier: premium
    expires: 30d
  register: nightly
  no_log: true

- name: Replace the key
  egress.ai_gateway.gateway_api_key:
    name: nightly-build
    owner: builds@example.com
    tier: premium
    rotate: true
  register: nightly
  no_log: true

- name: Revoke the key
  egress.ai_gateway.gateway_api_key:
    name: nightly-build
    state: absent

- name: List the keys that would be revoked of an owner
  egress.ai_gateway.gateway_api_key:
    owner: jane@example.com
    state: absent
  check_mode: true
  register: of_jane

- name: Delete what is kept of keys that have ended
  egress.ai_gateway.gateway_api_key:
    expired: true
    state: absent
"""

RETURN = r"""
key:
  description: The key. Anyone who holds it can call as the owner.
  returned: when a key is issued, not in check mode
  type: str
api_key:
  description: What is known of the key.
  returned: when O(state=present)
  type: dict
  contains: &contents
    name: {description: Name of the key., type: str, returned: always, sample: nightly-build}
    owner: {description: User or program that the key is for., type: str, returned: always, sample: jane@example.com}
    tier: {description: Tier of the owner., type: str, returned: always, sample: premium}
    id:
      description: The eight characters of the key after its prefix. Empty before the issue, in check mode.
      type: str
      returned: always
      sample: 4fT9xQ2a
    created: {description: Time of the issue., type: str, returned: always, sample: "2026-01-01T12:00:00Z"}
    expires: {description: Time at which the key ends., type: str, returned: always, sample: "2026-04-01T12:00:00Z"}
    expired: {description: Whether the key has ended., type: bool, returned: always, sample: false}
    description: {description: What the key is for., type: str, returned: always, sample: ""}
revoked:
  description: The keys that were revoked, in check mode those that would be.
  returned: when O(state=absent)
  type: list
  elements: dict
  contains: *contents
status:
  description: HTTP status of the refusal.
  returned: when the API server refuses
  type: int
  sample: 403
"""

import tempfile
import time
import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._api_keys import (
    ISSUE_ARGUMENT_SPEC,
    SELECTION_ARGUMENT_SPEC,
    ApiKey,
    ApiKeyError,
    ApiKeys,
    Kept,
    Selection,
    digest_of,
    expiry,
    id_of,
    new_key,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import (
    ApiError,
    ConnectionSettingsError,
    connect,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import hidden_values
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC

__all__ = ["arguments", "hidden_values", "perform"]

#: Requests at a time.
_PARALLEL = 8


@dataclass
class Run:
    """One run of the module, in a process of its own or inside of Ansible."""

    params: dict[str, t.Any]
    check_mode: bool
    now: int
    warnings: list[str] = field(default_factory=list)


def present(run: Run, keys: ApiKeys, selection: Selection) -> dict[str, t.Any]:
    """The key exists; a new one is returned."""
    params = run.params
    kept = next(keys.find(Selection(name=selection.name), run.now), None)
    if kept and not params["rotate"]:
        return existing(run, kept)
    if kept:
        check_same(params, kept.key)
    expires = expiry(params["expires"], params["maximum_lifetime"], run.now)
    if not keys.has_tier(params["tier"]):
        problem = f"tier: gateway {keys.gateway} has no tier {params['tier']!r}"
        if not run.check_mode:
            raise ApiKeyError(
                f"{problem}; define it in ai_gateway_tiers and run role access_policies, or name another tier"
            )
        run.warnings.append(f"{problem}; outside check mode this fails unless it exists by then")
    key = new_key(params["prefix"], expires)
    issued = ApiKey(
        name=params["name"],
        owner=params["owner"],
        tier=params["tier"],
        id="" if run.check_mode else id_of(key),
        created=run.now,
        expires=expires,
        description=params["description"],
    )
    if not run.check_mode and not keys.store(issued, digest_of(key), kept):
        raise ApiKeyError(
            f"name: another run issued key {issued.name} meanwhile, or its Secret in namespace {keys.namespace} is "
            "somebody else's; list the keys, and name another"
        )
    shown = issued.as_dict(run.now)
    return {
        "changed": True,
        "api_key": shown,
        "diff": {"before": kept.key.as_dict(run.now) if kept else {}, "after": shown},
        **({} if run.check_mode else {"key": key}),
    }


def existing(run: Run, kept: Kept) -> dict[str, t.Any]:
    """The result for a key that was issued before."""
    check_same(run.params, kept.key)
    shown = kept.key.as_dict(run.now)
    if shown["expired"]:
        run.warnings.append(f"Key {kept.key.name} ended at {shown['expires']}; set rotate to issue a new one")
    return {"changed": False, "api_key": shown, "diff": {"before": shown, "after": shown}}


def check_same(params: dict[str, t.Any], key: ApiKey) -> None:
    """Whether the key of a name is for whom the options say.

    :raises ApiKeyError: where it is not.
    """
    for option in ("owner", "tier"):
        found = getattr(key, option)
        if params[option] != found:
            raise ApiKeyError(
                f"{option}: key {key.name} exists and is of {option} {found!r}; give the new key another name, or "
                "revoke this one first"
            )


def absent(run: Run, keys: ApiKeys, selection: Selection) -> dict[str, t.Any]:
    """Revoke what is selected; a run that was interrupted has revoked some, and the next one finds the others."""
    found = list(keys.find(selection, run.now))
    revoked = found
    if not run.check_mode:
        gone = keys.api.each(keys.revoke, found)
        revoked = [kept for kept, done in zip(found, gone, strict=True) if done]
    shown = [kept.key.as_dict(run.now) for kept in sorted(revoked, key=lambda kept: kept.key.name)]
    return {"changed": bool(revoked), "revoked": shown, "diff": {"before": shown, "after": []}}


def selected(params: dict[str, t.Any]) -> Selection:
    """Which keys the options mean.

    :raises ApiKeyError: where they are wrong, or mean all keys without saying so.
    """
    selection = Selection.from_params(params)
    if params["state"] == "present":
        if selection.expired is not None:
            raise ApiKeyError("expired: selects keys to revoke; leave it out, or set state to absent")
        if params["all"]:
            raise ApiKeyError("all: selects keys to revoke; leave it out, or set state to absent")
    elif selection.is_everything and not params["all"]:
        raise ApiKeyError(
            "state: absent needs to know which keys to revoke; give name, owner, tier or expired, or set all to true"
        )
    elif params["all"] and not selection.is_everything:
        raise ApiKeyError("all: revokes more than the keys that the other options select; leave it or these out")
    return selection


def arguments() -> dict[str, t.Any]:
    return {
        "argument_spec": {
            **AUTH_ARG_SPEC,
            **SELECTION_ARGUMENT_SPEC,
            **ISSUE_ARGUMENT_SPEC,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "all": {"type": "bool", "default": False},
        },
        "required_if": [("state", "present", ("name", "owner", "tier"))],
    }


def perform(
    params: dict[str, t.Any], check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure, ``warnings`` are for the user."""
    run = Run(params, check_mode, int(time.time()))
    # The kubernetes library keeps a kubeconfig's keys in files until its process ends, which may be Ansible's own.
    with tempfile.TemporaryDirectory(prefix="ai-gateway-") as directory:
        try:
            selection = selected(params)
            keys = ApiKeys(connect(params, _PARALLEL, directory), params["gateway"], params["namespace"])
            result = (present if params["state"] == "present" else absent)(run, keys, selection)
        except ImportError as error:
            result = {"failed": True, "msg": f"{missing_required_lib('kubernetes')} ({error})"}
        except (ApiKeyError, ConnectionSettingsError) as error:
            result = {"failed": True, "msg": str(error)}
        except ApiError as error:
            result = {"failed": True, "msg": f"{error.message}{remedy_of(error, params)}", "status": error.status}
    return {**result, "warnings": run.warnings}


def remedy_of(error: ApiError, params: dict[str, t.Any]) -> str:
    if error.status in (401, 403):
        return f"; check the rights of the credentials in use to Secrets of namespace {params['namespace']}"
    if error.status == 404:
        return f"; check that namespace {params['namespace']} is Authorino's, and run site first"
    return ""


def main() -> None:
    run_module(arguments(), perform)


if __name__ == "__main__":
    main()
