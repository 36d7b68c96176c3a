# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reader of TLS, for the endpoints of providers and of models on the premises."""

from __future__ import annotations

import re

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import Tls
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import CA_BUNDLE_SUFFIX
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import (
    CERTIFICATE_BLOCK,
    CERTIFICATES,
    HOSTNAME,
    OBJECT,
)

TLS_KEYS = ("mode", "sni", "ca_bundle", "client_certificate")
_MODES = ("none", "simple", "mutual")


def read_tls(entry: Entry, backend: str, hostname: str, is_address: bool = False, default: str = "simple") -> Tls:
    """How an endpoint is spoken to.

    :param entry: a mapping of TLS_KEYS.
    :param backend: name of what the ConfigMap of certificates is named after.
    :param hostname: host name or address of the endpoint.
    :param is_address: whether that is an address, which is no name to verify.
    :param default: the mode where none is written.
    """
    mode = entry.choice("mode", _MODES, default)
    sni = entry.string("sni", HOSTNAME, "" if is_address else hostname)
    ca_bundle, ca_certificates = _ca_bundle(entry, backend)
    client_certificate = entry.string("client_certificate", OBJECT, "")
    if mode == "none":
        for key in ("sni", "ca_bundle", "client_certificate"):
            if entry.has(key):
                entry.fault(key, "has no meaning with mode none", "leave it out, or write mode simple")
        return Tls(mode)
    if is_address:
        entry.missing("sni", "the name in the certificate: an address is no name to verify")
    if mode == "mutual" and not entry.has("client_certificate"):
        entry.fault(
            "client_certificate",
            "is missing",
            "write the name of the Secret of type kubernetes.io/tls that mode mutual presents",
        )
    if mode == "simple" and entry.has("client_certificate"):
        entry.fault("client_certificate", "is only presented with mode mutual", "write mode mutual, or leave it out")
    return Tls(mode, sni, ca_bundle, ca_certificates, client_certificate)


def _ca_bundle(entry: Entry, backend: str) -> tuple[str, str]:
    """The name of the object with the certificates, and the certificates themselves if they are written here."""
    value = entry.value.get("ca_bundle")
    if isinstance(value, str) and "-----" in value:
        blocks = re.findall(CERTIFICATE_BLOCK, entry.string("ca_bundle", CERTIFICATES))
        return backend + CA_BUNDLE_SUFFIX, "".join(f"{block}\n" for block in blocks)
    return entry.string("ca_bundle", OBJECT, ""), ""
