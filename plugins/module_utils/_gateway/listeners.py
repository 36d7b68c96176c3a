# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The listeners of the clients' Gateway, from the variables of role gateway: where each has its certificate from, which
Secrets that makes, and what is wrong. Pure; certificates are read elsewhere.
"""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import listing
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import OBJECT
from ansible_collections.egress.ai_gateway.plugins.module_utils._gateway.hostnames import (
    accepts,
    covers,
    host_fault,
    hostname_fault,
    is_label,
    is_wildcard,
)

Mapped = Mapping[str, t.Any]
#: The most listeners of a Gateway.
MOST_LISTENERS = 64
#: The listener that redirects plain HTTP.
REDIRECT = "http-redirect"
#: Ports of the listeners, by protocol.
PORTS = {"HTTP": 80, "HTTPS": 443}
#: The keys of an issuer of cert-manager, and their defaults.
ISSUER = {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": ""}
SOURCES = (
    "an existing Secret, a certificate with its private key, an issuer of cert-manager, or the own certification "
    "authority"
)


@dataclass(frozen=True)
class Source:
    """Where a certificate is from.

    ``kind`` is ``secret``, ``pem``, ``issuer``, ``own_ca`` or empty for none; ``place`` the variables that say so.
    """

    kind: str
    place: str
    secret: str = ""
    certificate: str = ""
    private_key: str = field(default="", repr=False)
    issuer: Mapped = field(default_factory=dict)


@dataclass(frozen=True)
class Listener:
    """One listener. ``place`` is its variable, ``secret`` the Secret with its certificate; empty for plain HTTP."""

    name: str
    hostname: str
    place: str
    source: Source
    secret: str

    @property
    def protocol(self) -> str:
        return "HTTPS" if self.secret else "HTTP"

    @property
    def port(self) -> int:
        return PORTS[self.protocol]


class Listeners:
    """The listeners that the variables of role gateway describe.

    ``variables`` are those of the role without their prefix ``gateway_``, and ``name``, the name of the Gateway. The
    rest holds where ``faults`` finds nothing.
    """

    def __init__(self, variables: Mapped) -> None:
        self._given = variables
        self._name = str(variables["name"])

    @cached_property
    def _entries(self) -> list[Mapped]:
        return list(self._given.get("listeners") or ())

    @cached_property
    def _shared(self) -> Source:
        """What the variables gateway_tls_* say."""
        given = self._given
        return _source(
            "gateway_tls_",
            {name: given.get(f"tls_{name}") for name in ("secret", "certificate", "private_key", "issuer", "own_ca")},
        )

    @cached_property
    def listeners(self) -> list[Listener]:
        if not self._entries:
            secret = self._secret_of(self._shared, "")
            name = "https" if secret else "http"
            return [Listener(name, str(self._given.get("hostname") or ""), "gateway_hostname", self._shared, secret)]
        found = []
        for number, entry in enumerate(self._entries):
            place = f"gateway_listeners[{number}]"
            own = _source(f"{place}.tls.", entry.get("tls") or {})
            source = own if own.kind else self._shared
            name, hostname = str(entry.get("name") or ""), str(entry.get("hostname") or "")
            # Each listener has a certificate of its own authority to itself. Where one is for hosts of several
            # listeners, Envoy Gateway takes HTTP/2 off them, as clients would mix up their connections.
            alone = name if own.kind or source.kind == "own_ca" else ""
            found.append(Listener(name, hostname, place, source, self._secret_of(source, alone)))
        return found

    def _secret_of(self, source: Source, listener: str) -> str:
        if source.kind in ("secret", ""):
            return source.secret
        # No provider can have a name with a dot.
        return f"{self._name}.{listener}.tls" if listener else f"{self._name}-tls"

    @property
    def https(self) -> bool:
        return any(listener.secret for listener in self.listeners)

    @property
    def redirects(self) -> bool:
        """Whether plain HTTP is redirected."""
        return bool(self._given.get("http_redirect")) and self.https

    @property
    def ports(self) -> list[int]:
        """The ports of all listeners, that of the redirect last."""
        ports = [listener.port for listener in self.listeners] + ([PORTS["HTTP"]] if self.redirects else [])
        return list(dict.fromkeys(ports))

    @property
    def hostnames(self) -> list[str]:
        """The host names of all listeners; none where one of them answers to every host name."""
        names = [listener.hostname for listener in self.listeners]
        return [] if "" in names else names

    @property
    def url_hostname(self) -> str:
        """The host name to call; an empty string where an address does. Under a wildcard it is the Gateway's name."""
        names = self.hostnames
        plain = next((name for name in names if not is_wildcard(name)), "")
        return plain or (f"{self._name}{names[0].removeprefix('*')}" if names else "")

    @property
    def own_ca(self) -> bool:
        return any(listener.source.kind == "own_ca" for listener in self.listeners)

    @property
    def secrets(self) -> list[dict[str, t.Any]]:
        """The Secrets that the role makes or has made, with their ``kind`` and what it needs.

        The ``hostnames`` are those of the listeners that share one.
        """
        made: dict[str, dict[str, t.Any]] = {}
        for listener in self.listeners:
            source = listener.source
            if source.kind in ("secret", ""):
                continue
            found = made.setdefault(
                listener.secret,
                {
                    "secret": listener.secret,
                    "kind": source.kind,
                    "certificate": source.certificate,
                    "private_key": source.private_key,
                    "issuer": {**ISSUER, **source.issuer},
                    "hostnames": [],
                },
            )
            found["hostnames"] += [listener.hostname] if listener.hostname else []
        return list(made.values())

    @property
    def named_secrets(self) -> list[dict[str, t.Any]]:
        """The existing Secrets that the variables name, with the variables as ``users``."""
        named: dict[str, list[str]] = {}
        for listener in self.listeners:
            if listener.source.kind == "secret":
                users = named.setdefault(listener.source.secret, [])
                users += [user for user in [f"{listener.source.place}secret"] if user not in users]
        return [{"name": name, "users": users} for name, users in named.items()]

    @property
    def certificates(self) -> list[dict[str, str]]:
        """The certificates in PEM that the variables give, with their keys, each by its ``place`` and once."""
        sources = {listener.source.place: listener.source for listener in self.listeners}
        return [
            {"place": source.place, "certificate": source.certificate, "private_key": source.private_key}
            for source in sources.values()
            if source.kind == "pem"
        ]

    def _field(self, listener: Listener) -> str:
        """The variable with the host name of a listener."""
        return f"{listener.place}.hostname" if self._entries else listener.place

    def faults(self) -> list[str]:
        """What is wrong with the variables, each with its remedy."""
        found = [*self._names(), *self._sources(), *self._protocols(), *self._redirect()]
        return found or self._direct_routes()

    def _names(self) -> list[str]:
        found: list[str] = []
        seen: dict[str, str] = {}
        hosts: dict[str, str] = {}
        if self._entries and self._given.get("hostname"):
            found.append(
                "gateway_hostname is given beside gateway_listeners, where each listener has its own; write it there "
                "and leave gateway_hostname out"
            )
        most = MOST_LISTENERS - (1 if self.redirects else 0)
        if len(self.listeners) > most:
            found.append(f"gateway_listeners has {len(self.listeners)} listeners, and a Gateway at most {most}")
        for listener in self.listeners:
            if not is_label(listener.name) or listener.name == REDIRECT:
                found.append(
                    f"{listener.place}.name is {listener.name!r}; write a DNS label such as https-bare: lower-case "
                    f"letters, digits and -, at most 63 characters, and not {REDIRECT}"
                )
            elif listener.name in seen:
                found.append(
                    f"{listener.place}.name is {listener.name}, as is {seen[listener.name]}.name; give each its own"
                )
            seen.setdefault(listener.name, listener.place)
            field_name = self._field(listener)
            if listener.hostname and (fault := hostname_fault(listener.hostname)):
                found.append(f"{field_name} is {listener.hostname!r} and {fault}")
            if listener.hostname in hosts:
                found.append(
                    f"{field_name} is {listener.hostname or 'every host name'}, as is that of "
                    f"{hosts[listener.hostname]}; give each listener another host name, or leave one listener out"
                )
            hosts.setdefault(listener.hostname, listener.place)
        return found

    def _sources(self) -> list[str]:
        given = [(self._shared, self._given, "tls_")]
        found = []
        for number, entry in enumerate(self._entries):
            tls = entry.get("tls") or {}
            given.append((_source(f"gateway_listeners[{number}].tls.", tls), tls, ""))
        for source, fields, prefix in given:
            found += _source_faults(source.place, {name.removeprefix(prefix): value for name, value in fields.items()})
        for listener in self.listeners:
            if listener.source.kind == "issuer" and not listener.hostname:
                found.append(
                    f"{self._field(listener)} is empty, and "
                    f"{listener.source.place}issuer issues a certificate for a host name; write it"
                )
        own = [listener for listener in self.listeners if listener.source.kind == "own_ca"]
        without = [listener for listener in own if not listener.hostname]
        further = list(self._given.get("tls_own_ca_hosts") or ())
        found += [
            f"{variable} has {host!r}, which {fault}"
            for variable, hosts in (
                ("gateway_tls_own_ca_hosts", further),
                ("gateway_addresses", self._given.get("addresses") or ()),
            )
            for host in map(str, hosts)
            if (fault := host_fault(host))
        ]
        known = self._given.get("service_type") == "NodePort" or self._given.get("addresses") or further
        if without and not known:
            found.append(
                f"{self._field(without[0])} is empty, and the address of a Service of "
                f"type {self._given.get('service_type')} is not known when gateway_tls_own_ca makes the certificate; "
                "write the host name that clients call, or what they call in gateway_tls_own_ca_hosts"
            )
        return found

    def _protocols(self) -> list[str]:
        if not self.https:
            return []
        return [
            f"{listener.place}.tls is missing while other listeners serve HTTPS, so that its tokens would be in clear; "
            f"give it a certificate there or with gateway_tls_*: {SOURCES}"
            for listener in self.listeners
            if not listener.secret
        ]

    def _redirect(self) -> list[str]:
        found = []
        if self._given.get("http_redirect") and not self.https:
            found.append(
                "gateway_http_redirect is true and no listener serves HTTPS; give a certificate with gateway_tls_* or "
                "set it to false"
            )
        if (
            self.redirects
            and self._given.get("service_type") == "NodePort"
            and str(self._given.get("node_port")) == str(self._given.get("http_node_port"))
        ):
            found.append(
                f"gateway_node_port and gateway_http_node_port are both {self._given.get('node_port')}; give HTTPS and "
                "its redirect a port of the nodes each"
            )
        return found

    def _direct_routes(self) -> list[str]:
        """The hosts that serve a pool without its endpoint picker: of a listener, and not those of all models."""
        found = []
        exact = {listener.hostname: listener for listener in self.listeners if listener.hostname}
        for number, hostname in enumerate(self._given.get("direct_hostnames") or ()):
            place = f"ai_gateway_inference_pools[{number}].direct_route.hostname"
            if not hostname:
                continue
            if hostname in exact:
                listener = exact[hostname]
                problem = (
                    f"the host of listener {listener.name} ({self._field(listener)}), where all models are served: "
                    "nothing would say which of the pool's two routes wins; write another host"
                )
            elif hostname == self.url_hostname:
                problem = (
                    "the host of the Gateway's URL, so that no client would reach the pool's endpoint picker; write "
                    "another host"
                )
            elif not any(accepts(listener.hostname, hostname) for listener in self.listeners):
                problem = (
                    "accepted by no listener: they are for "
                    f"{', '.join(listener.hostname for listener in self.listeners)}; write a host that one of them "
                    "accepts, or add a listener with a wildcard for it to gateway_listeners"
                )
            else:
                continue
            found.append(f"{place} is {hostname}, which is {problem}")
        return found

    def certificate_faults(self, infos: Sequence[Mapped], keys: Sequence[Mapped]) -> list[str]:
        """What is wrong with the certificates of ``certificates``.

        :param infos: what community.crypto.x509_certificate_info returned of each, with ``valid_at.tomorrow``, or the
            ``msg`` with which it failed.
        :param keys: what community.crypto.openssl_privatekey_info returned of each one's key.
        """
        found = []
        for given, info, key in zip(self.certificates, infos, keys, strict=True):
            place = given["place"]
            public, own = ((entry.get("public_key_fingerprints") or {}).get("sha256") for entry in (info, key))
            if not public:
                found.append(
                    f"{place}certificate cannot be read as a certificate in PEM: {info.get('msg', 'it is empty')}. "
                    "Give it in PEM, first in its chain"
                )
                continue
            if not own:
                found.append(f"{place}private_key cannot be read as a private key in PEM without a passphrase")
            elif own != public:
                found.append(
                    f"{place}private_key is not the key of {place}certificate. Give both in PEM, the certificate "
                    "first in its chain"
                )
            if not (info.get("valid_at") or {}).get("tomorrow"):
                found.append(
                    f"{place}certificate is valid from {info.get('not_before')} to {info.get('not_after')}; give one "
                    "that is valid now and tomorrow"
                )
            names = list(info.get("subject_alt_name") or ())
            for listener in self.listeners:
                if listener.source.place == place and listener.hostname and not covers(names, listener.hostname):
                    found.append(
                        f"{place}certificate is for {', '.join(names) or 'no subjectAltName'}, and not for "
                        f"{listener.hostname} of {listener.place}; give one that names it, or another host name"
                    )
        return found


def _source(place: str, tls: Mapped) -> Source:
    """The first source that is given; ``faults`` says where there are several."""
    kinds = {
        "secret": tls.get("secret"),
        "pem": tls.get("certificate"),
        "issuer": tls.get("issuer"),
        "own_ca": tls.get("own_ca"),
    }
    kind = next((name for name, value in kinds.items() if value), "")
    return Source(
        kind,
        place,
        secret=str(tls.get("secret") or "") if kind == "secret" else "",
        certificate=str(tls.get("certificate") or ""),
        private_key=str(tls.get("private_key") or ""),
        issuer=dict(tls.get("issuer") or {}),
    )


def _source_faults(place: str, tls: Mapped) -> list[str]:
    """What is wrong with the fields of one source; they are named after ``place``."""
    found = []
    names = [name for name in ("secret", "certificate", "issuer", "own_ca") if tls.get(name)]
    if len(names) > 1:
        found.append(
            f"{' and '.join(place + name for name in names)} are given, and a certificate has one source; keep one of: "
            f"{SOURCES}"
        )
    if bool(tls.get("certificate")) != bool(tls.get("private_key")):
        missing, present = ("private_key", "certificate") if tls.get("certificate") else ("certificate", "private_key")
        found.append(f"{place}{missing} is missing beside {place}{present}; give both in PEM")
    if tls.get("secret") and not OBJECT.accepts(str(tls["secret"])):
        found.append(
            f"{place}secret is {tls['secret']!r}; write the name of a Secret in the namespace of the Gateway: "
            f"{OBJECT.remedy}"
        )
    return [*found, *_issuer_faults(f"{place}issuer", dict(tls.get("issuer") or {}))]


def _issuer_faults(place: str, issuer: Mapped) -> list[str]:
    """What is wrong with an issuer of cert-manager."""
    if not issuer:
        return []
    found = [
        f"{place}.{key} is not a known key; it takes {listing(tuple(ISSUER))}" for key in issuer if key not in ISSUER
    ]
    if not issuer.get("name"):
        found.append(f"{place}.name is missing; write the name of an issuer of cert-manager")
    given = {**ISSUER, **issuer}
    for key in ("name", "group"):
        if given[key] and not OBJECT.accepts(str(given[key])):
            found.append(f"{place}.{key} is {given[key]!r}; write {OBJECT.remedy}")
    # Other groups have kinds of their own.
    kinds = ("ClusterIssuer", "Issuer")
    if given["group"] == ISSUER["group"] and given["kind"] not in kinds:
        found.append(f"{place}.kind is {given['kind']!r}; write {listing(kinds, 'or')}, or the `group` of another kind")
    return found
