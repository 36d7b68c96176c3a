# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where clients reach a Gateway, from what the API server returns of it and of the Service of its proxies. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence

Body = Mapping[str, t.Any]


def gateway_url(
    gateway: Body | None, service: Body | None = None, hostname: str = "", https: bool | None = None
) -> str:
    """The URL of a Gateway, without a path; empty while it has no address and no host name.

    :param gateway: the Gateway; None where there is none.
    :param service: the Service of its proxies; None where there is none, or where it is not to be looked at. Only the
        port of a node is taken from it: the addresses of the nodes, of a load balancer or of the cluster are those of
        the Gateway's status.
    :param hostname: the host name to call, instead of the listener's. One with a wildcard is called by the address.
    :param https: whether the URL begins with https. By default the listener's protocol decides; of several listeners,
        the first for HTTPS counts, and of these one without a wildcard.
    """
    listener = _listener(gateway, https)
    host = hostname or listener.get("hostname") or ""
    if not host or "*" in host:
        host = _address(gateway)
    if not host:
        return ""
    if https is None:
        https = listener.get("protocol", "HTTPS") == "HTTPS"
    port = _node_port(service, listener.get("port"))
    return f"{'https' if https else 'http'}://{host}{f':{port}' if port else ''}"


def _listener(gateway: Body | None, https: bool | None) -> Body:
    """The listener to call; of those of the protocol that is asked for, where there are any."""
    listeners: Sequence[Body] = ((gateway or {}).get("spec") or {}).get("listeners") or ()
    of_protocol = [listener for listener in listeners if (listener.get("protocol") == "HTTPS") is https]
    return max(
        of_protocol or listeners,
        key=lambda listener: (listener.get("protocol") == "HTTPS", "*" not in (listener.get("hostname") or "")),
        default={},
    )


def _address(gateway: Body | None) -> str:
    """The first address in the status, a host name or an IP address; an IPv6 address in brackets."""
    addresses: Sequence[Body] = ((gateway or {}).get("status") or {}).get("addresses") or ()
    value = next((str(address["value"]) for address in addresses if address.get("value")), "")
    return f"[{value}]" if ":" in value else value


def _node_port(service: Body | None, port: int | None) -> int | None:
    """The port of the nodes for the port of a listener; the first one where the Service has none for it yet."""
    spec: Body = (service or {}).get("spec") or {}
    ports: Sequence[Body] = spec.get("ports") or ()
    if spec.get("type") != "NodePort" or not ports:
        return None
    return next((entry for entry in ports if entry.get("port") == port), ports[0]).get("nodePort")
