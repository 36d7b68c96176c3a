# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The router's counters, by the names that the real one has, as Prometheus reads them."""

from __future__ import annotations

import threading

#: Each with its labels.
COUNTERS = {
    "llm_model_requests_total": ("model",),
    "llm_request_errors_total": ("model", "reason"),
    "llm_model_routing_modifications_total": ("source_model", "target_model"),
    "llm_signal_match_total": ("signal_type", "signal_name"),
    "llm_decision_evaluation_total": (),
    "llm_decision_match_total": ("decision_name",),
    "llm_recipe_selections_total": ("recipe", "decision", "algorithm", "model"),
    "llm_entrypoint_requests_total": ("entrypoint", "recipe"),
}


class Metrics:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, tuple[str, ...]], int] = {}

    def add(self, counter: str, **labels: str) -> None:
        key = counter, tuple(labels[label] for label in COUNTERS[counter])
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + 1

    def exposition(self) -> bytes:
        with self._lock:
            counts = sorted(self._counts.items())
        lines = []
        for counter, labels in COUNTERS.items():
            lines.append(f"# TYPE {counter} counter")
            for (name, values), count in counts:
                if name == counter:
                    pairs = ",".join(f'{label}="{_escaped(value)}"' for label, value in zip(labels, values))
                    lines.append(f"{name}{f'{{{pairs}}}' if pairs else ''} {count}")
        return ("\n".join(lines) + "\n").encode()


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
