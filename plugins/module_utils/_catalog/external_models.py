# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The external models that maas-api lists. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable, Mapping


def external_models(models: Iterable[Mapping[str, t.Any]]) -> list[dict[str, str]]:
    """The entries of maas-api's registry: the models of the catalogue that a provider serves.

    Models on the premises are not among them, as maas-api finds these by itself. Of several providers, the one that is
    asked first is named.
    """
    served = [
        (model["name"], [backend for backend in model["backends"] if backend.get("provider")]) for model in models
    ]
    return [
        {"id": name, "provider": first["provider"], "backend": first["name"]}
        for name, backends in served
        if backends
        for first in [min(backends, key=lambda backend: backend["priority"])]
    ]
