#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: maas_token
short_description: Issue and revoke tokens for the users of an AI gateway
version_added: 1.0.0
description:
  - Issues a token that opens an AI gateway for a user of a tier, as Models-as-a-Service does, and revokes all tokens of a user.
  - The user becomes a ServiceAccount in the namespace of the tier, C(<instance>-tier-<tier>), and the token is a token of it for the audience
    C(<instance>-sa). The ServiceAccount's name is the user's, reduced to what a DNS label may hold, with eight digits of its SHA-1.
  - The result holds the token. Set C(no_log=true) on the task.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    details:
      - Issues no token in check mode, as there need be no ServiceAccount to issue it for.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - Each run issues a new token, which changes no state of the cluster. The change it reports is the ServiceAccount's.
options:
  state:
    description:
      - With V(present), the ServiceAccount exists and a token is returned.
      - With V(absent), the ServiceAccount is gone, and all its tokens with it. A gateway that caches reviews of tokens accepts them until its cache forgets.
    type: str
    choices: [present, absent]
    default: present
  source:
    description:
      - Where the token comes from.
      - V(service_account) is the API server's TokenRequest.
      - V(signing_key) is for tests. The token is the API server's too, but signed again with the cluster's own O(signing_key) for any O(expiration), one in
        the past included, to see that expired tokens are refused.
    type: str
    choices: [service_account, signing_key]
    default: service_account
  instance:
    description: Name of the gateway.
    type: str
    default: ai-gateway
  tier:
    description: Name of the user's tier. Required unless O(namespace) is given.
    type: str
  namespace:
    description: Namespace of the ServiceAccount. By default that of the tier.
    type: str
  user:
    description: Name of the user, in any form.
    type: str
    required: true
  expiration:
    description:
      - How long the token is valid, such as V(10m), V(4h), V(1h30m) or a number of seconds. At least 10 minutes from O(source=service_account).
      - The API server may cap it; a warning says so.
    type: str
    default: 4h
  audiences:
    description: Whom the token is for. By default C(<instance>-sa), the audience of the gateway.
    type: list
    elements: str
  signing_key:
    description:
      - File on the managed host with the private key that the cluster signs ServiceAccount tokens with, in PEM.
      - Required with O(source=signing_key), which needs the Python library cryptography.
    type: path
requirements:
  - kubernetes >= 24.2.0
seealso:
  - module: egress.ai_gateway.maas_models_info
"""

EXAMPLES = r"""
- name: Issue a token for a user of the free tier
  egress.ai_gateway.maas_token:
    tier: free
    user: jane@example.com
    expiration: 1h
  register: jane
  no_log: true

- name: List the models it can use
  egress.ai_gateway.maas_models_info:
    url: http://10.245.0.2:30080
    token: "{{ jane.token }}"

- name: Revoke all tokens of the user
  egress.ai_gateway.maas_token:
    tier: free
    user: jane@example.com
    state: absent
"""

RETURN = r"""
token:
  description: The token. Whoever holds it is the user.
  returned: when O(state=present), not in check mode
  type: str
expiration:
  description: How long the token is valid from its issue, in seconds.
  returned: when O(state=present), not in check mode
  type: int
  sample: 3600
issued_at:
  description: When it was issued, RFC 3339.
  returned: when O(state=present), not in check mode
  type: str
  sample: "2026-01-01T12:00:00Z"
expires_at:
  description: When it expires, RFC 3339.
  returned: when O(state=present), not in check mode
  type: str
  sample: "2026-01-01T13:00:00Z"
jti:
  description: The token's id, which the audit log of the cluster shows. Empty where the API server sets none.
  returned: when O(state=present), not in check mode
  type: str
  sample: 2edabfe4-643d-474c-b154-b107c3b8ba93
audiences:
  description: Whom the token is for.
  returned: when O(state=present)
  type: list
  elements: str
  sample: [ai-gateway-sa]
namespace:
  description: Namespace of the ServiceAccount.
  returned: success
  type: str
  sample: ai-gateway-tier-free
service_account:
  description: Name of the ServiceAccount, which is the user's name for the gateway.
  returned: success
  type: str
  sample: jane-example-com-0850a4cf
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_api import Api, ApiError, ConnectionSettingsError, connect
from ansible_collections.egress.ai_gateway.plugins.module_utils._maas_token import (
    SOURCES,
    Identity,
    ServiceAccountSource,
    TokenError,
    rfc3339,
    service_account_name,
    tier_namespace,
)
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC


def present(module: AnsibleModule, source: ServiceAccountSource) -> dict[str, t.Any]:
    identity = source.identity
    audiences = module.params["audiences"] or [f"{identity.instance}-sa"]
    result: dict[str, t.Any] = {"changed": False, "audiences": audiences}
    wanted = source.expiration(module.params)
    if not source.namespace_exists():
        where = f"tier {identity.tier!r} has no namespace {identity.namespace}" if identity.tier else f"there is no namespace {identity.namespace}"
        remedy = "define it in ai_gateway_tiers and run role access_policies, or name another tier" if identity.tier else "create it, or name another"
        if not module.check_mode:
            raise TokenError(f"{where}; {remedy}")
        module.warn(f"{where}; outside check mode this fails unless it exists by then")
        return {**result, "changed": True}
    if not source.service_account_exists():
        result["changed"] = module.check_mode or source.create_service_account()
    if module.check_mode:
        return result
    token = source.issue(audiences)
    lifetime = token.expires_at - token.issued_at
    if token.expires_at < token.issued_at + wanted:
        module.warn(f"The API server issued the token for {lifetime} s instead of {wanted} s")
    return {
        **result,
        "token": token.token,
        "expiration": wanted if wanted < 0 else lifetime,
        "issued_at": rfc3339(token.issued_at),
        "expires_at": rfc3339(token.expires_at),
        "jti": token.jti,
        "audiences": list(token.audiences),
    }


def absent(module: AnsibleModule, source: ServiceAccountSource) -> dict[str, t.Any]:
    return {"changed": source.service_account_exists() and (module.check_mode or source.revoke())}


def api_of(module: AnsibleModule) -> Api:
    """The API server of the options. Afterwards an inline kubeconfig is no longer among the parameters, which Ansible returns."""
    try:
        return connect(module.params, parallel=1)
    finally:
        if isinstance(module.params["kubeconfig"], dict):
            # Ansible would hide each of its texts wherever it occurs; with one such as v1, the token would be destroyed.
            module.no_log_values = {value for value in (module.params["api_key"], module.params["password"]) if value}
            module.params["kubeconfig"] = "not shown"


def main() -> None:
    argument_spec = {
        **AUTH_ARG_SPEC,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "source": {"type": "str", "choices": list(SOURCES), "default": "service_account"},
        "instance": {"type": "str", "default": "ai-gateway"},
        "tier": {"type": "str"},
        "namespace": {"type": "str"},
        "user": {"type": "str", "required": True},
        "expiration": {"type": "str", "default": "4h"},
        "audiences": {"type": "list", "elements": "str"},
        "signing_key": {"type": "path", "no_log": False},
    }
    module = AnsibleModule(
        argument_spec=argument_spec,
        required_one_of=[("tier", "namespace")],
        required_if=[("source", source.NAME, source.OPTIONS) for source in SOURCES.values()],
        supports_check_mode=True,
    )
    params = module.params
    instance, tier = params["instance"], params["tier"] or ""
    where = ""
    try:
        identity = Identity(instance, tier, params["namespace"] or tier_namespace(instance, tier), service_account_name(params["user"]))
        SOURCES[params["source"]].expiration(params)
        source = SOURCES[params["source"]](api_of(module), identity, params)
        where = f"ServiceAccount {identity.namespace}/{identity.service_account}: "
        result = (present if params["state"] == "present" else absent)(module, source)
    except ImportError as error:
        library = "cryptography" if str(error.name).startswith("cryptography") else "kubernetes"
        module.fail_json(msg=f"{missing_required_lib(library)} ({error})")
    except (ValueError, TokenError, ConnectionSettingsError) as error:
        module.fail_json(msg=str(error))
    except ApiError as error:
        remedy = "; check the rights of the credentials in use" if error.status in (401, 403) else ""
        module.fail_json(msg=f"{where}{error.message}{remedy}", status=error.status)
    module.exit_json(namespace=identity.namespace, service_account=identity.service_account, **result)


if __name__ == "__main__":
    main()
