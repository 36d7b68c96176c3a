# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rendered charts in a cache: what a pinned chart renders to depends on its values alone."""

from __future__ import annotations

import hashlib
import json
import os
import typing as t
from collections.abc import Iterable, Mapping
from pathlib import Path

Chart = dict[str, t.Any]


def kept_charts(
    charts: Iterable[Chart], versions: Mapping[str, Mapping[str, str]], offline_directory: str, cache: str
) -> list[Chart]:
    """Charts with their ``reference`` and ``version``, and as ``cached`` the file that keeps what they render to.

    The name of the file changes with everything that this depends on.

    :param charts: each with its ``name``, its ``release_values`` and whatever else it is rendered with.
    :param versions: the ``reference`` and ``version`` of each chart, by its name.
    :param offline_directory: holds directories of charts, whose files count too; empty for references.
    """
    found = []
    for chart in charts:
        version = versions[chart["name"]]["version"]
        reference = (
            f"{offline_directory}/{chart['name']}" if offline_directory else versions[chart["name"]]["reference"]
        )
        content = [chart, reference, version, _files(reference) if offline_directory else []]
        digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
        cached = os.path.join(cache, "charts", f"{chart['name']}-{digest[:16]}.json")
        found.append({**chart, "reference": reference, "version": version, "cached": cached})
    return found


def _files(directory: str) -> list[tuple[str, int, int]]:
    """The files below a directory with their sizes and times."""
    paths = [path for path in Path(directory).rglob("*") if path.is_file()]
    status = [(str(path.relative_to(directory)), path.stat()) for path in paths]
    return sorted((name, found.st_size, found.st_mtime_ns) for name, found in status)


def chart_manifests(charts: Iterable[Chart]) -> list[str]:
    """The manifests of charts that are in the cache, each in JSON."""
    return [line for chart in charts for line in Path(chart["cached"]).read_text(encoding="utf-8").splitlines()]
