#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: signing_keys_info
short_description: Find the keys with which an issuer signs its tokens
version_added: 1.0.0
description:
  - Asks an OpenID Connect issuer for its metadata, at C(/.well-known/openid-configuration), and for its keys.
  - An issuer that names itself differently, or has no keys for signatures, is an error.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
attributes:
  check_mode:
    support: full
options:
  issuer:
    description: The issuer, as its tokens have it in C(iss).
    type: str
    required: true
  ca_certificates:
    description: Certificates in PEM to verify it with. By default those of the system.
    type: str
    default: ""
  timeout:
    description: How long an answer may take, in seconds.
    type: int
    default: 10
"""

EXAMPLES = r"""
- name: Find the keys of the company's issuer
  egress.ai_gateway.signing_keys_info:
    issuer: https://login.example.com/realms/company
  register: company

- name: Show where they are
  ansible.builtin.debug:
    var: company.jwks_uri
"""

RETURN = r"""
issuer:
  description: The issuer.
  returned: success
  type: str
  sample: https://login.example.com/realms/company
jwks_uri:
  description: Where its keys are.
  returned: success
  type: str
  sample: https://login.example.com/realms/company/protocol/openid-connect/certs
hostname:
  description: Host name in RV(jwks_uri).
  returned: success
  type: str
  sample: login.example.com
port:
  description: Port in RV(jwks_uri). It is that of the issuer.
  returned: success
  type: int
  sample: 443
keys:
  description: The identifiers of the keys for signatures.
  returned: success
  type: list
  elements: str
"""

import json
import os
import tempfile
import typing as t
import urllib.error
from urllib.parse import urlsplit

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import ConnectionError as AnsibleConnectionError
from ansible.module_utils.urls import open_url

METADATA = "/.well-known/openid-configuration"
#: Bytes that are read of an answer.
LIMIT = 1024 * 1024
REMEDY = "write the URL of its keys as jwks_uri beside it in ai_gateway_callers if this machine cannot reach the issuer"


class IssuerError(Exception):
    """The issuer's keys were not found; the message says why and what to do."""


def read(url: str, timeout: int, ca_path: str | None) -> dict[str, t.Any]:
    """The JSON object at ``url``."""
    try:
        with open_url(url, timeout=timeout, ca_path=ca_path, follow_redirects="safe") as response:
            content = response.read(LIMIT)
    except urllib.error.HTTPError as error:
        raise IssuerError(f"{url} answers with status {error.code}; check the issuer, or {REMEDY}") from error
    except (AnsibleConnectionError, OSError, ValueError) as error:
        raise IssuerError(f"{url} cannot be read: {error}; check the issuer and its ca_bundle, or {REMEDY}") from error
    try:
        document = json.loads(content)
    except ValueError as error:
        raise IssuerError(f"{url} is no JSON; check the issuer") from error
    if not isinstance(document, dict):
        raise IssuerError(f"{url} is no JSON object; check the issuer")
    return document


def signing_keys(issuer: str, timeout: int, ca_path: str | None) -> dict[str, t.Any]:
    """Where the keys of ``issuer`` are, and which these are."""
    metadata = read(issuer.rstrip("/") + METADATA, timeout, ca_path)
    if metadata.get("issuer") != issuer:
        raise IssuerError(
            f"{issuer} calls itself {metadata.get('issuer')!r}, and its tokens have that; write it so, character by "
            "character, as issuer in ai_gateway_callers"
        )
    uri = metadata.get("jwks_uri")
    place = urlsplit(uri if isinstance(uri, str) else "")
    if place.scheme != "https" or not place.hostname:
        raise IssuerError(f"{issuer} has its keys at {uri!r}, which is no URL of HTTPS; let it serve them by HTTPS")
    port = place.port or 443
    if port != (urlsplit(issuer).port or 443):
        raise IssuerError(
            f"{issuer} has its keys at {uri}, at another port than its own, which the proxies may not call; write "
            "that URL as jwks_uri beside it in ai_gateway_callers"
        )
    found = read(str(uri), timeout, ca_path).get("keys")
    keys = [
        str(key.get("kid", ""))
        for key in (found if isinstance(found, list) else [])
        if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP") and key.get("use", "sig") == "sig"
    ]
    if not keys:
        raise IssuerError(f"{uri} has no key for signatures; let the issuer sign with RSA, EC or OKP")
    return {"issuer": issuer, "jwks_uri": uri, "hostname": place.hostname, "port": port, "keys": keys}


def main() -> t.NoReturn:
    module = AnsibleModule(
        argument_spec={
            "issuer": {"type": "str", "required": True},
            "ca_certificates": {"type": "str", "default": ""},
            "timeout": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    ca_path = None
    try:
        if module.params["ca_certificates"]:
            handle, ca_path = tempfile.mkstemp(dir=module.tmpdir, suffix=".pem")
            with os.fdopen(handle, "w") as file:
                file.write(module.params["ca_certificates"])
        found = signing_keys(module.params["issuer"], module.params["timeout"], ca_path)
    except IssuerError as error:
        module.fail_json(msg=str(error))
    finally:
        if ca_path:
            os.unlink(ca_path)
    module.exit_json(changed=False, **found)


if __name__ == "__main__":
    main()
