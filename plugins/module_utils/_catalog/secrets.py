# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Secrets that a catalogue names and no role makes."""

from __future__ import annotations

import base64
import typing as t
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.model import (
    McpServer,
    Model,
    NeededSecret,
    Provider,
    Tls,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    CA_BUNDLE_KEY,
    CLIENT_CERTIFICATE_KEYS,
)

# The most characters of a field manager's name.
MANAGER_LIMIT = 128


def needed_secrets(
    providers: Sequence[Provider],
    models: Sequence[Model],
    namespace: str,
    egress_namespace: str = "",
    servers: Sequence[McpServer] = (),
) -> tuple[NeededSecret, ...]:
    """The Secrets that have to exist, each once, in the order in which the catalogue names them.

    :param namespace: namespace of the clients' gateway's objects.
    :param egress_namespace: that of the egress gateway, which then verifies the providers; empty where there is none.
    """
    made = {
        (namespace, credential.secret)
        for credential in (
            *(provider.credential for provider in providers),
            *(server.credential for server in servers),
        )
        if credential is not None and (credential.managed or credential.external_secret)
    }
    if egress_namespace:
        made |= {
            (egress_namespace, provider.endpoint.tls.ca_bundle)
            for provider in providers
            if provider.endpoint.tls.ca_certificates
        }
    found: dict[tuple[str, str], NeededSecret] = {}
    for user, place, name, keys in _named(providers, models, namespace, egress_namespace, servers):
        if (place, name) in made:
            continue
        before = found.get((place, name), NeededSecret(name, place, (), ()))
        found[place, name] = NeededSecret(name, place, _merged(before.keys, keys), _merged(before.users, (user,)))
    return tuple(found.values())


def _named(
    providers: Sequence[Provider],
    models: Sequence[Model],
    namespace: str,
    egress_namespace: str,
    servers: Sequence[McpServer],
) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """For each Secret that is named: who names it, its namespace, its name and its keys."""
    for provider in providers:
        user = f"provider {provider.name}"
        if provider.credential.secret:
            yield user, namespace, provider.credential.secret, (provider.credential.key,)
        yield from _of_tls(user, egress_namespace or namespace, provider.endpoint.tls)
    for model in models:
        for backend in model.backends:
            if backend.backend_ref is not None:
                yield from _of_tls(f"model {model.name}", namespace, backend.backend_ref.tls)
    for server in servers:
        user = f"MCP server {server.name}"
        if server.credential is not None:
            yield user, namespace, server.credential.secret, (server.credential.key,)
        yield from _of_tls(user, namespace, server.endpoint.tls)


def _of_tls(user: str, namespace: str, tls: Tls) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    if tls.ca_bundle and not tls.ca_certificates:
        yield user, namespace, tls.ca_bundle, (CA_BUNDLE_KEY,)
    if tls.client_certificate:
        yield user, namespace, tls.client_certificate, CLIENT_CERTIFICATE_KEYS


def _merged(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def missing_secrets(needed: Iterable[Mapping[str, t.Any]], found: Iterable[Mapping[str, t.Any]]) -> list[str]:
    """A line for each Secret that does not exist or lacks a key: who needs it, what is wrong and what helps.

    No line holds a value.

    :param needed: Secrets with the fields of ``NeededSecret``.
    :param found: the Secrets of their namespaces, as the API server gives them.
    """
    existing = {(secret["metadata"]["namespace"], secret["metadata"]["name"]): secret for secret in found}
    lines = []
    for need in needed:
        secret = existing.get((need["namespace"], need["name"]))
        lacking = [key for key in need["keys"] if secret is None or not _holds(secret, key)]
        if not lacking:
            continue
        named = f"Secret {need['namespace']}/{need['name']}"
        what = (
            f"{named} is missing" if secret is None else f"{named} has no {' and no '.join(lacking)}, or an empty one"
        )
        lines.append(f"{', '.join(need['users'])}: {what}: {_command(need, lacking, secret)}")
    return lines


def _holds(secret: Mapping[str, t.Any], key: str) -> bool:
    data: Mapping[str, str] = secret.get("data") or {}
    if key == CA_BUNDLE_KEY and key not in data and len(data) == 1:
        # Envoy Gateway reads certificates from the only entry, whatever its name.
        (key,) = data
    return bool(base64.b64decode(data.get(key) or "").strip())


def _command(need: Mapping[str, t.Any], lacking: Sequence[str], secret: Mapping[str, t.Any] | None) -> str:
    """The command that makes the Secret, or that adds what it lacks.

    Keys come from files, as others can see a command line, and histories keep it.
    """
    place = f"{need['name']} --namespace {need['namespace']}"
    if secret is None and tuple(lacking) == CLIENT_CERTIFICATE_KEYS:
        return f"kubectl create secret tls {place} --cert=FILE --key=FILE"
    create = f"kubectl create secret generic {place} {' '.join(f'--from-file={key}=FILE' for key in lacking)}"
    if secret is None:
        return create
    kind = secret.get("type") or "Opaque"
    of_kind = "" if kind == "Opaque" else f" --type={kind}"
    # A field manager of its own: the API server removes what the same manager applied before and does not any more.
    manager = "-".join(("kubectl", *lacking))[:MANAGER_LIMIT]
    apply = f"kubectl apply --server-side --force-conflicts --field-manager={manager} --filename=-"
    return f"{create}{of_kind} --dry-run=client --output=yaml | {apply}"
