#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: gateway_token
short_description: Issue and revoke tokens for the users of an AI gateway
version_added: 1.0.0
description:
  - Issues a token with which a user of a tier can call an AI gateway, as Models-as-a-Service does, and revokes all
    tokens of a user.
  - The user becomes a ServiceAccount in the namespace of the tier, C(<gateway>-tier-<tier>). The token is of this
    ServiceAccount, for the audience C(<gateway>-sa).
  - The name of the ServiceAccount is the user's, reduced to the characters of a DNS label, with eight digits of its
    SHA-1.
  - With O(source=maas_api), maas-api issues or revokes tokens of the user who calls it. Callers authenticate with their
    token for the cluster.
  - The result holds the token. Set C(no_log=true) on the task.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - kubernetes.core.k8s_auth_options
attributes:
  check_mode:
    support: full
    details:
      - Issues no token in check mode, as the ServiceAccount need not exist, and sends nothing to maas-api.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - Each run issues a new token, which changes no state of the cluster. The reported change is that of the
        ServiceAccount.
      - For the first token of a user, maas-api creates a ServiceAccount and the namespace of the tier. The module does
        not report this change.
      - maas-api does not report whether it revoked a token. Without O(user), O(state=absent) with O(source=maas_api)
        always reports a change.
options:
  state:
    description:
      - With V(present), the ServiceAccount exists and a token is returned.
      - With V(absent), the ServiceAccount and all its tokens are deleted. A gateway that caches reviews of tokens
        accepts them until its cache expires.
      - With V(absent) and O(source=maas_api), maas-api revokes all tokens of the caller. With O(user), the module then
        deletes the calling ServiceAccount and the one in the same namespace that the tokens were of.
      - Remove a user by the O(source) that created it. The other source leaves the tokens valid.
    type: str
    choices: [present, absent]
    default: present
  source:
    description:
      - The API that issues the token.
      - V(service_account) is the API server's TokenRequest.
      - V(maas_api) is maas-api of the generation that issues tokens (v0.0.2). From v0.1.0 on it issues API keys
        instead, which this module does not support. The token is of the calling user, and of the highest tier among the
        user's groups.
      - With O(maas_api_token), the caller of maas-api is the user of that token.
      - With O(user), the caller is that user's ServiceAccount in the namespace of the tier. It is created if it does
        not exist, and maas-api counts it to the tier, so no person has to log in.
      - Otherwise the caller is the user of the token from the authentication options and the kubeconfig.
    type: str
    choices: [service_account, maas_api]
    default: service_account
  gateway:
    description: >-
      Name of the gateway. The name in Models-as-a-Service is V(maas-default-gateway) unless its maas-api is configured
      otherwise.
    type: str
    default: ai-gateway
  tier:
    description: Name of the user's tier. Required with O(user) unless O(namespace) is given.
    type: str
  namespace:
    description: Namespace of the ServiceAccount, which must exist. By default that of the tier.
    type: str
  user:
    description: Name of the user, any string. Required with O(source=service_account).
    type: str
  expiration:
    description:
      - Lifetime of the token, such as V(10m), V(4h), V(1h30m) or a number of seconds. At least 10 minutes.
      - The API server may shorten it. A warning reports that.
    type: str
    default: 4h
  audiences:
    description: >-
      Audiences of the token. By default V(<gateway>-sa), the audience of the gateway. An error with O(source=maas_api),
      which sets the audience itself.
    type: list
    elements: str
  maas_api_url:
    description:
      - URL of the MaaS gateway, for example V(https://maas.apps.example.com). Required with O(source=maas_api).
      - C(/maas-api/v1/tokens) is appended unless the URL already ends in C(/v1/tokens).
    type: str
  maas_api_token:
    description:
      - The caller's own token for the cluster, such as C(oc whoami -t) prints, or that of a ServiceAccount. It is never
        returned, shown or logged.
      - By default, and without O(user), the token of O(api_key), of the kubeconfig or of the pod's own ServiceAccount.
        It is sent only to O(maas_api_url).
      - Mutually exclusive with O(user), whose ServiceAccount gets a token of its own.
    type: str
  maas_api_audience:
    description:
      - Audience of the token with which the ServiceAccount of O(user) calls maas-api. The policy
        C(maas-api-auth-policy) must accept it.
      - HyperShift and ROSA need another one. It is the C(aud) of the tokens that the cluster issues for requests
        without an audience.
    type: str
    default: https://kubernetes.default.svc
  maas_api_validate_certs:
    description: Whether the certificate of O(maas_api_url) must be valid.
    type: bool
    default: true
  maas_api_ca_path:
    description: >-
      File with the certification authorities to trust for O(maas_api_url), in PEM. By default those of the system.
    type: path
  maas_api_connect_to:
    description: Address or host name to connect to while the host name of O(maas_api_url) does not resolve.
    type: str
    default: ""
  maas_api_client_cert:
    description: File with the client's certificate for TLS to O(maas_api_url), in PEM.
    type: path
  maas_api_client_key:
    description: >-
      File with the key of O(maas_api_client_cert), in PEM. By default the key is in the file of
      O(maas_api_client_cert).
    type: path
  maas_api_use_proxy:
    description: Whether to call O(maas_api_url) through the HTTP proxy that the environment names.
    type: bool
    default: true
  maas_api_timeout:
    description: >-
      Longest duration of one request to maas-api, from its start to the end of the answer, in seconds. At least 1.
    type: int
    default: 30
requirements:
  - kubernetes >= 24.2.0, unless O(maas_api_token) is given
seealso:
  - module: egress.ai_gateway.maas_models_info
"""

EXAMPLES = r"""
- name: Issue a token for a user of the free tier
  egress.ai_gateway.gateway_token:
    tier: free
    user: jane@example.com
    expiration: 1h
  register: jane
  no_log: true

- name: List the models that the token can use
  egress.ai_gateway.maas_models_info:
    url: http://10.245.0.2:30080
    token: "{{ jane.token }}"

- name: Revoke all tokens of the user
  egress.ai_gateway.gateway_token:
    tier: free
    user: jane@example.com
    state: absent

- name: Read the domain of an OpenShift cluster
  kubernetes.core.k8s_info:
    api_version: config.openshift.io/v1
    kind: Ingress
    name: cluster
  register: ingress

- name: Issue a token by maas-api for the user who is logged in
  egress.ai_gateway.gateway_token:
    source: maas_api
    maas_api_url: "https://maas.{{ ingress.resources[0].spec.domain }}"
    maas_api_ca_path: /etc/pki/ingress.pem
    expiration: 10m
  register: mine
  no_log: true

- name: Issue a token of the premium tier by maas-api, without a person's login
  egress.ai_gateway.gateway_token:
    source: maas_api
    maas_api_url: "https://maas.{{ ingress.resources[0].spec.domain }}"
    gateway: maas-default-gateway
    tier: premium
    user: nightly-build
    expiration: 10m
  register: nightly
  no_log: true

- name: Revoke all tokens that maas-api issued for this user
  egress.ai_gateway.gateway_token:
    source: maas_api
    maas_api_url: "https://maas.{{ ingress.resources[0].spec.domain }}"
    gateway: maas-default-gateway
    tier: premium
    user: nightly-build
    state: absent
"""

RETURN = r"""
token:
  description: The token. Anyone who holds it can act as the user.
  returned: when O(state=present), not in check mode
  type: str
expiration:
  description: Lifetime of the token from its issue, in seconds.
  returned: when O(state=present), not in check mode
  type: int
  sample: 3600
issued_at:
  description: Time of its issue, in the form of RFC 3339.
  returned: when O(state=present), not in check mode
  type: str
  sample: "2026-01-01T12:00:00Z"
expires_at:
  description: Time of its expiry, in the form of RFC 3339.
  returned: when O(state=present), not in check mode
  type: str
  sample: "2026-01-01T13:00:00Z"
jti:
  description: The token's id, which the audit log of the cluster shows. An empty string if the API server sets none.
  returned: when O(state=present), not in check mode
  type: str
  sample: 2edabfe4-643d-474c-b154-b107c3b8ba93
audiences:
  description: Audiences of the token.
  returned: when O(state=present), with O(source=maas_api) not in check mode
  type: list
  elements: str
  sample: [ai-gateway-sa]
namespace:
  description: Namespace of the token's ServiceAccount.
  returned: success, with O(source=maas_api) when there is a token
  type: str
  sample: ai-gateway-tier-free
service_account:
  description: Name of the token's ServiceAccount, which is the user's name for the gateway.
  returned: success, with O(source=maas_api) when there is a token
  type: str
  sample: jane-example-com-0850a4cf
status:
  description: HTTP status of the refusal.
  returned: when the API server or maas-api refuses
  type: int
  sample: 403
"""

import os
import tempfile
import typing as t
from dataclasses import dataclass, field

from ansible.module_utils.basic import missing_required_lib
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import (
    ApiError,
    ConnectionSettingsError,
    connect,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import (
    hidden_values as hidden_by_authentication,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.module import run_module
from ansible_collections.egress.ai_gateway.plugins.module_utils._tokens import (
    CLUSTER_AUDIENCE,
    MAAS_API_ARGUMENT_SPEC,
    SOURCES,
    CallerSource,
    Identity,
    MaasApiSource,
    ServiceAccountSource,
    Token,
    TokenError,
    rfc3339,
    service_account_name,
    tier_namespace,
    token_in_use,
)
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC


@dataclass
class Run:
    """One run of the module, in a process of its own or inside of Ansible."""

    params: dict[str, t.Any]
    check_mode: bool
    warnings: list[str] = field(default_factory=list)

    def warn(self, warning: str) -> None:
        self.warnings.append(warning)


def present(module: Run, source: ServiceAccountSource) -> dict[str, t.Any]:
    identity = source.identity
    audiences = source.audiences()
    result: dict[str, t.Any] = {"changed": False, **source.account(), **({"audiences": audiences} if audiences else {})}
    if not source.namespace_exists():
        where = (
            f"tier {identity.tier!r} has no namespace {identity.namespace}"
            if identity.tier
            else f"there is no namespace {identity.namespace}"
        )
        remedy = (
            "define it in ai_gateway_tiers and run role access_policies, or name another tier"
            if identity.tier
            else "create it, or name another"
        )
        if not module.check_mode:
            raise TokenError(f"{where}; {remedy}")
        module.warn(f"{where}; outside check mode this fails unless it exists by then")
        return {**result, "changed": True}
    if not source.service_account_exists():
        result["changed"] = module.check_mode or source.create_service_account()
    return (
        result
        if module.check_mode
        else {**result, **issued(module, source.issue(audiences), source.expiration(module.params))}
    )


def absent(module: Run, source: ServiceAccountSource) -> dict[str, t.Any]:
    return {"changed": source.has_tokens() and (module.check_mode or source.revoke()), **source.account()}


def of_caller(module: Run, source: CallerSource) -> dict[str, t.Any]:
    """The same by the caller's own token, of whose user nothing can be seen before."""
    if module.params["state"] == "absent":
        if not module.check_mode:
            source.revoke()
        return {"changed": True}
    return {
        "changed": False,
        **({} if module.check_mode else issued(module, source.issue(), MaasApiSource.expiration(module.params))),
    }


def issued(module: Run, token: Token, wanted: int) -> dict[str, t.Any]:
    """What is returned of a token that was to live ``wanted`` seconds."""
    lifetime = token.expires_at - token.issued_at
    if token.expires_at < token.issued_at + wanted:
        module.warn(f"The API server issued the token for {lifetime} s instead of {wanted} s")
    account = {"namespace": token.namespace, "service_account": token.service_account} if token.service_account else {}
    return {
        **account,
        "token": token.token,
        "expiration": wanted if wanted < 0 else lifetime,
        "issued_at": rfc3339(token.issued_at),
        "expires_at": rfc3339(token.expires_at),
        "jti": token.jti,
        "audiences": list(token.audiences),
    }


def identity_of(params: dict[str, t.Any]) -> Identity:
    """The ServiceAccount of the user. Raises ValueError where the options name none."""
    gateway, tier = params["gateway"], params["tier"] or ""
    namespace = params["namespace"] or (tier and tier_namespace(gateway, tier))
    if not namespace:
        raise ValueError("user: give tier or namespace too, which says where the user's ServiceAccount is")
    return Identity(gateway, tier, namespace, service_account_name(params["user"] or ""))


def source_of(module: Run, directory: str) -> ServiceAccountSource | CallerSource:
    """Where the options say that the token comes from. Keys of a kubeconfig are kept in ``directory`` meanwhile."""
    params = module.params
    kind = SOURCES[params["source"]]
    kind.expiration(params)
    if kind is MaasApiSource and params["audiences"]:
        raise ValueError("audiences: maas-api itself says whom its tokens are for; leave the option out")
    if kind is MaasApiSource and params["user"] is None:
        return CallerSource(
            (
                params["maas_api_token"]
                if params["maas_api_token"] is not None
                else token_in_use(params, os.environ, directory)
            ),
            params,
        )
    identity = identity_of(params)
    return kind(connect(params, 1, directory), identity, params)


def arguments() -> dict[str, t.Any]:
    spec = {
        **AUTH_ARG_SPEC,
        **MAAS_API_ARGUMENT_SPEC,
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "source": {"type": "str", "choices": list(SOURCES), "default": "service_account"},
        "gateway": {"type": "str", "default": "ai-gateway"},
        "tier": {"type": "str"},
        "namespace": {"type": "str"},
        "user": {"type": "str"},
        "expiration": {"type": "str", "default": "4h"},
        "audiences": {"type": "list", "elements": "str"},
        "maas_api_audience": {"type": "str", "default": CLUSTER_AUDIENCE},
    }
    return {
        "argument_spec": spec,
        "mutually_exclusive": [("maas_api_token", "user")],
        "required_by": {"tier": ["user"], "namespace": ["user"]},
        "required_if": [
            *(("source", source.NAME, source.OPTIONS) for source in SOURCES.values()),
            ("source", ServiceAccountSource.NAME, ("tier", "namespace"), True),
        ],
    }


def hidden_values(params: dict[str, t.Any]) -> set[str]:
    """What the result must not show. Not each string of an inline kubeconfig: one such as v1 would destroy tokens."""
    token = params.get("maas_api_token")
    return {*hidden_by_authentication(params), *([token] if token else [])}


def perform(
    params: dict[str, t.Any], check_mode: bool, _diff_mode: bool, _say: t.Callable[[str], None]
) -> dict[str, t.Any]:
    """From the parameters to the result; ``failed`` and ``msg`` report a failure, ``warnings`` are for the user."""
    # The kubernetes library keeps a kubeconfig's keys in files until its process ends, which may be Ansible's own.
    with tempfile.TemporaryDirectory(prefix="ai-gateway-") as directory:
        return _perform(Run(params, check_mode), directory)


def _perform(run: Run, directory: str) -> dict[str, t.Any]:
    params, where = run.params, ""
    try:
        source = source_of(run, directory)
        if isinstance(source, CallerSource):
            result = of_caller(run, source)
        else:
            where = f"ServiceAccount {source.identity.namespace}/{source.identity.service_account}: "
            result = (present if params["state"] == "present" else absent)(run, source)
    except ImportError as error:
        result = {"failed": True, "msg": f"{missing_required_lib('kubernetes')} ({error})"}
    except TokenError as error:
        status: dict[str, t.Any] = {} if error.status is None else {"status": error.status}
        result = {"failed": True, "msg": str(error), **status}
    except (ValueError, ConnectionSettingsError) as error:
        result = {"failed": True, "msg": str(error)}
    except ApiError as error:
        remedy = "; check the rights of the credentials in use" if error.status in (401, 403) else ""
        result = {"failed": True, "msg": f"{where}{error.message}{remedy}", "status": error.status}
    return {**result, "warnings": run.warnings}


def main() -> None:
    run_module(arguments(), perform, hidden_values)


if __name__ == "__main__":
    main()
