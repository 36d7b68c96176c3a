# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a certificate of an own certification authority is renewed. Pure.

What is known of a certificate is what ``community.crypto.x509_certificate_info`` returns.
"""

from __future__ import annotations

import base64
import datetime
import typing as t
from collections.abc import Iterable, Mapping

from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway.hostnames import (
    address,
    subject_alternative_names,
)

Info = Mapping[str, t.Any]
#: Days for which a new certificate of a server is valid.
VALID_DAYS = 365


def renewal(certificate: Info, hosts: Iterable[str], authority: Info, now: datetime.datetime) -> str:
    """Why the certificate of a server is to be renewed; an empty string where it is not.

    :param hosts: the host names and IP addresses that it is for.
    :param authority: the certificate of the certification authority.
    """
    begins, ends = _time(certificate["not_before"]), _time(certificate["not_after"])
    if ends - now < (ends - begins) / 3:
        return f"less than a third of its time is left, which ends at {ends:%Y-%m-%d %H:%M:%S} UTC"
    wanted = subject_alternative_names(hosts)
    if _names(certificate) != wanted:
        return f"it is for {', '.join(_names(certificate)) or 'no host'}, not for {', '.join(wanted)}"
    if certificate.get("authority_key_identifier") != authority.get("subject_key_identifier"):
        return "it is of another certification authority"
    return ""


def authority_renewal(authority: Info, now: datetime.datetime) -> str:
    """Why a certification authority is to be replaced: it would end before what it signs now.

    An empty string where it is not.
    """
    ends = _time(authority["not_after"])
    if ends - now < datetime.timedelta(days=VALID_DAYS):
        return f"it ends at {ends:%Y-%m-%d %H:%M:%S} UTC, before a certificate that it would sign now"
    return ""


def servers(
    secrets: Iterable[Mapping[str, t.Any]], kept: Iterable[Mapping[str, t.Any]], addresses: Iterable[str]
) -> list[dict[str, t.Any]]:
    """The servers of an own certification authority as role certificates accepts them, each named after its Secret.

    :param secrets: those of the listeners, with ``secret``, ``kind`` and ``hostnames``.
    :param kept: the Secrets of the cluster, as the API server returns them.
    :param addresses: what clients call where a listener has no host name.
    """
    data = {secret["metadata"]["name"]: secret.get("data") or {} for secret in kept}
    return [
        {
            "name": secret["secret"],
            "hosts": list(secret["hostnames"]) or list(dict.fromkeys(addresses)),
            "certificate": _decoded(data.get(secret["secret"], {}), "tls.crt"),
            "key": _decoded(data.get(secret["secret"], {}), "tls.key"),
        }
        for secret in secrets
        if secret["kind"] == "own_ca"
    ]


def _decoded(data: Mapping[str, t.Any], key: str) -> str:
    return base64.b64decode(data.get(key) or "").decode()


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)


def _names(certificate: Info) -> list[str]:
    """The subjectAltNames, IP addresses in their canonical form."""
    names = [str(name).partition(":") for name in certificate.get("subject_alt_name") or ()]
    return sorted({f"{kind}:{address(value) if kind == 'IP' else value}" for kind, _colon, value in names})
