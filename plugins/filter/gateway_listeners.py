# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import plain
from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway.listeners import Listeners

DOCUMENTATION = r"""
name: gateway_listeners
short_description: The listeners of a Gateway and where their certificates are from
version_added: 1.0.0
description:
  - Accepts the variables of role P(egress.ai_gateway.gateway#role) and returns the listeners that they describe, the
    Secrets of their certificates, and what is wrong with the variables.
  - Certificates in PEM are returned in C(certificates). What the modules of community.crypto read of them and of their
    keys is compared with the listeners if it is given.
  - The result holds private keys, so a task that registers or prints it needs C(no_log).
options:
  _input:
    description: >-
      The variables without their prefix C(gateway_), such as C(listeners), C(hostname), C(tls_secret) and
      C(http_redirect), C(name), the name of the Gateway, and C(direct_hostnames), the host of
      O(egress.ai_gateway.catalog#role:main:ai_gateway_inference_pools[].direct_route) of each pool, or an empty string.
    type: dict
    required: true
  certificates:
    description: >-
      What M(community.crypto.x509_certificate_info) returned of each certificate, in the order of C(certificates) of
      the result. Without it they are not judged.
    type: list
    elements: dict
  keys:
    description: What M(community.crypto.openssl_privatekey_info) returned of each one's private key.
    type: list
    elements: dict
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the ports of a wildcard and a bare host that share a Secret
  ansible.builtin.debug:
    msg: "{{ (variables | egress.ai_gateway.gateway_listeners).ports }}"
  vars:
    variables:
      name: ai-gateway
      tls_secret: ai-gateway-tls
      listeners:
        - {name: https-wildcard, hostname: '*.ai.example.com'}
        - {name: https-bare, hostname: ai.example.com}
"""

RETURN = r"""
_value:
  description: The listeners.
  type: dict
  contains:
    faults:
      description: What is wrong, one message each. Empty if nothing is.
      type: list
      elements: str
    listeners:
      description: The listeners with C(name), C(hostname), C(protocol), C(port) and C(secret).
      type: list
      elements: dict
    secrets:
      description: >-
        The Secrets that the role makes or has made, with C(secret), C(kind), which is V(pem), V(issuer) or V(own_ca),
        C(hostnames), and what the kind needs.
      type: list
      elements: dict
    named_secrets:
      description: The existing Secrets that the variables name, with C(name) and C(users).
      type: list
      elements: dict
    certificates:
      description: The certificates in PEM, with C(place), C(certificate) and C(private_key).
      type: list
      elements: dict
    ports:
      description: The ports of all listeners, that of the redirect last.
      type: list
      elements: int
    hostnames:
      description: The host names of all listeners. Empty where one answers to every host name.
      type: list
      elements: str
    url_hostname:
      description: The host name that the URL is made of. Empty where it is an address.
      type: str
    https:
      description: Whether a listener serves HTTPS.
      type: bool
    redirects:
      description: Whether plain HTTP is redirected.
      type: bool
    own_ca:
      description: Whether a certificate is of the own certification authority.
      type: bool
    issued:
      description: Whether a certificate is of an issuer of cert-manager.
      type: bool
"""


def gateway_listeners(
    variables: Mapping[str, t.Any],
    certificates: Sequence[Mapping[str, t.Any]] | None = None,
    keys: Sequence[Mapping[str, t.Any]] | None = None,
) -> dict[str, t.Any]:
    # Dictionaries of a play are templated lazily, and its strings carry marks.
    found = Listeners(plain(dict(variables)))
    faults = found.faults()
    if certificates is not None and not faults:
        faults = found.certificate_faults(certificates, keys or ())
    return {
        "faults": faults,
        "listeners": [
            {
                "name": listener.name,
                "hostname": listener.hostname,
                "protocol": listener.protocol,
                "port": listener.port,
                "secret": listener.secret,
            }
            for listener in found.listeners
        ],
        "secrets": found.secrets,
        "named_secrets": found.named_secrets,
        "certificates": found.certificates,
        "ports": found.ports,
        "hostnames": found.hostnames,
        "url_hostname": found.url_hostname,
        "https": found.https,
        "redirects": found.redirects,
        "own_ca": found.own_ca,
        "issued": any(secret["kind"] == "issuer" for secret in found.secrets),
    }


class FilterModule:
    """Filters of the listeners of a Gateway."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"gateway_listeners": gateway_listeners}
