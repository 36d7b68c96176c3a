# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster that writes down ownership as an API server may:

lists as a whole, as sets, by keys or by position, and with what others and it itself add.
"""

from __future__ import annotations

import json
import random
import typing as t

from cluster import Body, Cluster, Resources

#: How a list is merged. By position no API server of today does it, but the notation has it.
STRATEGIES = ("atomic", "set", "map", "index")
Path = tuple[str, ...]


class MergingCluster(Cluster):
    """How the lists at a path are merged, and what is added there, follows from ``seed`` and the path alone, and from
    what a list can be.
    """

    def __init__(self, resources: Resources, seed: int) -> None:
        super().__init__(resources)
        self._seed = seed

    def fields(self, body: Body) -> Body:
        return self._fields(body, ())

    def stored(self, body: Body) -> Body:
        stored = {
            key: self._completed(value, (key,)) if key not in ("apiVersion", "kind", "metadata", "data") else value
            for key, value in body.items()
        }
        return {**stored, "metadata": dict(body["metadata"])}

    def _chance(self, path: Path, what: str) -> random.Random:
        return random.Random(f"{self._seed} {path} {what}")  # noqa: S311 - spreads shapes, keeps no secret

    def _strategy(self, items: list[t.Any], path: Path) -> str:
        chosen = self._chance(path, "strategy").choice(STRATEGIES)
        texts = [json.dumps(item, sort_keys=True) for item in items]
        if chosen == "set" and len(set(texts)) < len(texts):
            return "atomic"
        if chosen == "map":
            names = [item.get("name") for item in items if isinstance(item, dict)]
            return chosen if len(set(map(str, names))) == len(items) and None not in names else "atomic"
        return chosen

    def _fields(self, value: t.Any, path: Path) -> Body:
        if isinstance(value, dict):
            return {f"f:{key}": self._fields(item, (*path, key)) for key, item in value.items()}
        if not isinstance(value, list):
            return {}
        strategy = self._strategy(value, path)
        if strategy == "set":
            return {f"v:{json.dumps(item, separators=(',', ':'))}": {} for item in value}
        if strategy == "map":
            return {
                f"k:{json.dumps({'name': item['name']})}": {".": {}, **self._fields(item, (*path, "[]"))}
                for item in value
            }
        if strategy == "index":
            return {f"i:{number}": self._fields(item, (*path, "[]")) for number, item in enumerate(value)}
        return {}

    def _completed(self, value: t.Any, path: Path, whole: bool = False) -> t.Any:
        """``value`` with defaults and, unless it is part of what is owned as a whole, with an item of somebody else's
        in some lists with keys.
        """
        if isinstance(value, dict):
            found = {key: self._completed(item, (*path, key), whole) for key, item in value.items()}
            return (
                {**found, "defaulted": [{"by": "the server"}]}
                if self._chance(path, "default").random() < 0.3
                else found
            )
        if isinstance(value, list):
            strategy = self._strategy(value, path)
            # An item of a set is what it is.
            items = (
                value
                if strategy == "set"
                else [self._completed(item, (*path, "[]"), whole or strategy == "atomic") for item in value]
            )
            foreign = strategy == "map" and not whole and self._chance(path, "foreign").random() < 0.5
            return [{"name": "somebody else's"}, *items] if foreign else items
        return value
