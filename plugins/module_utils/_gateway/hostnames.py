# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Host names of listeners and of certificates. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_LONGEST = 253


def is_label(name: str) -> bool:
    """Whether a name is a DNS label, as names of listeners are here."""
    return bool(re.fullmatch(_LABEL, name))


def is_subdomain(name: str) -> bool:
    """Whether a name is a DNS subdomain, as names of most objects are."""
    return len(name) <= _LONGEST and bool(re.fullmatch(rf"({_LABEL}\.)*{_LABEL}", name))


def is_wildcard(hostname: str) -> bool:
    return hostname.startswith("*.")


def hostname_fault(hostname: str) -> str:
    """What is wrong with the host name of a listener; an empty string where it is valid in the Gateway API."""
    plain = hostname.removeprefix("*.")
    if address(plain):
        return "is an IP address, which a listener cannot have as host name; leave it out to answer to every host name"
    if not plain.isascii():
        return "has letters of other scripts; write it as DNS has it, such as xn--bcher-kva.example.com"
    if plain.rpartition(".")[2].isdigit():
        return "ends in a number as an IP address does, and is none; write a host name such as ai.example.com"
    if len(hostname) > _LONGEST or not is_subdomain(plain):
        return "is no host name in lower case such as ai.example.com or *.ai.example.com"
    if is_wildcard(hostname) and "." not in plain:
        return "has a wildcard for a whole top-level domain, which no client accepts in a certificate"
    return ""


def address(host: str) -> str:
    """An IP address in its canonical form; an empty string for anything else."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


def subject_alternative_names(hosts: Iterable[str]) -> list[str]:
    """Hosts as community.crypto writes them: ``DNS:ai.example.com`` or ``IP:10.245.0.2``; sorted, each once."""
    return sorted({f"IP:{address(host)}" if address(host) else f"DNS:{host}" for host in hosts})


def accepts(listener: str, hostname: str) -> bool:
    """Whether a listener of a host name, or of every one where it is empty, serves a host name.

    In the Gateway API a wildcard stands for any number of labels.
    """
    return listener in ("", hostname) or (is_wildcard(listener) and hostname.endswith(listener.removeprefix("*")))


def covers(names: Iterable[str], hostname: str) -> bool:
    """Whether subjectAltNames, as community.crypto writes them, cover the host name of a listener.

    A wildcard stands for one label. A listener with a wildcard needs the same wildcard in the certificate, as clients
    call any name under it.
    """
    _label, _dot, parent = hostname.partition(".")
    wanted = {f"dns:{hostname}", f"dns:*.{parent}"} if parent and not is_wildcard(hostname) else {f"dns:{hostname}"}
    return any(name.lower() in wanted for name in names)
