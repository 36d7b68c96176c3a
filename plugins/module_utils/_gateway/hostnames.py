# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host names of listeners and of certificates. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import ascii_hostname

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LONGEST = 253


def is_label(name: str) -> bool:
    """Whether a name is a DNS label, as names of listeners are here."""
    return bool(re.fullmatch(_LABEL, name))


def is_wildcard(hostname: str) -> bool:
    return hostname.startswith("*.")


def accepts(listener: str, hostname: str) -> bool:
    """Whether a listener answers to a host name; a wildcard stands for one label or more, and none for every host."""
    return listener in ("", hostname) or (is_wildcard(listener) and hostname.endswith(listener[1:]))


def hostname_fault(hostname: str) -> str:
    """What is wrong with the host name of a listener; an empty string where it is valid in the Gateway API."""
    plain = hostname.removeprefix("*.")
    if address(plain):
        return "is an IP address, which a listener cannot have as host name; leave it out to answer to every host name"
    if not hostname.isascii():
        return f"has letters that DNS has not; write it as {ascii_hostname(hostname)}"
    # A name whose last label is a number would be read as an address.
    if len(hostname) > _LONGEST or not re.fullmatch(rf"({_LABEL}\.)*(?![0-9]+$){_LABEL}", plain):
        return "is no host name in lower case such as ai.example.com or *.ai.example.com"
    if is_wildcard(hostname) and "." not in plain:
        return "has a wildcard for a whole top-level domain, which no client accepts in a certificate"
    return ""


def address(host: str) -> str:
    """An IP address in its canonical form; an empty string for anything else, as for one with a zone."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return ""
    return "" if getattr(found, "scope_id", None) else str(found)


def host_fault(host: str) -> str:
    """What is wrong with what clients call: an IP address or a host name; an empty string where nothing is."""
    if address(host):
        return ""
    if address(host.partition("%")[0]):
        return "has a zone, which is another on each machine; write the address without it"
    fault = hostname_fault(host)
    return f"{fault}, and no IP address" if fault.startswith("is no ") else fault


def subject_alternative_names(hosts: Iterable[str]) -> list[str]:
    """Hosts as community.crypto writes them: ``DNS:ai.example.com`` or ``IP:10.245.0.2``; sorted, each once."""
    return sorted({f"IP:{address(host)}" if address(host) else f"DNS:{host}" for host in hosts})


def covers(names: Iterable[str], hostname: str) -> bool:
    """Whether subjectAltNames, as community.crypto writes them, cover the host name of a listener.

    A wildcard stands for one label. A listener with a wildcard needs the same wildcard in the certificate, as clients
    call any name under it.
    """
    _label, _dot, parent = hostname.partition(".")
    wanted = {f"dns:{hostname}", f"dns:*.{parent}"} if parent and not is_wildcard(hostname) else {f"dns:{hostname}"}
    return any(name.lower() in wanted for name in names)
