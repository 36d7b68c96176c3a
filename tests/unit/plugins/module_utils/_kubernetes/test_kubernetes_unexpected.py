# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set import diff as apply_set_diff
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set import reading as apply_set_reading
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set import run as apply_set_run
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set import task as apply_set_task
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes import unexpected as kubernetes_unexpected
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes import wait as kubernetes_wait
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import ApiError
from cluster import Cluster

PACKAGE = "ansible_collections.egress.ai_gateway.plugins.module_utils"
PLACE = Path(kubernetes_unexpected.__file__).parents[1]
MODULES = sorted(
    f"{name}.{path.stem}" for name in ("_apply_set", "_kubernetes") for path in (PLACE / name).glob("*.py")
)
KEY = "correct-horse-battery"
PARAMS: dict[str, t.Any] = {
    "name": "shop",
    "namespace": "home",
    "state": "present",
    "template": [],
    "prune": True,
    "wait": True,
    "wait_timeout": 5,
    "prune_delay": 0,
    "parallel": 1,
    "force_conflicts": False,
    "force_removal": False,
    "adopt": False,
    "managers": [],
    "rehearse": False,
    "wait_for": [],
}


def secret(value: str) -> dict[str, t.Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "key", "namespace": "home"},
        "stringData": {"key": value},
    }


def deployment(image: str = "web:1") -> dict[str, t.Any]:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "namespace": "home"},
        "spec": {"image": image},
    }


def perform(
    cluster: Cluster, *manifests: dict[str, t.Any], check_mode: bool = False, **params: t.Any
) -> dict[str, t.Any]:
    return apply_set_task._run(
        cluster.api(),
        {**PARAMS, "wait": False, "manifests": list(manifests), **params},
        check_mode,
        True,
        lambda line: None,
    )


def broken(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
    raise TypeError(f"unhashable value {KEY}")


@pytest.mark.parametrize(
    ("owner", "function", "manifests"),
    [
        (apply_set_reading, "reference_of", [secret("other")]),
        (apply_set_run, "is_applied", [secret("other")]),
        (apply_set_run, "content_digest", [secret("other")]),
        (apply_set_run, "submitted_diff", [secret("other")]),
        (apply_set_diff, "_is_alike", [secret("other")]),
        (apply_set_diff, "mask_fields", [secret("other")]),
        (apply_set_run.Run, "_submit", [secret("other")]),
        (apply_set_run.Run, "_record", [secret("other")]),
        (apply_set_run, "submitted_diff", [deployment()]),
        (kubernetes_wait.Waiter, "verdict", [secret("other")]),
    ],
)
@pytest.mark.parametrize("check_mode", [True, False])
def test_the_object_is_named_and_no_value_shown(
    owner: t.Any, function: str, manifests: list[dict[str, t.Any]], check_mode: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster = Cluster()
    assert not perform(cluster, secret(KEY)).get("failed")
    monkeypatch.setattr(owner, function, broken)
    result = perform(cluster, *manifests, check_mode=check_mode)
    assert result["failed"]
    assert KEY not in str(result)
    named = r"set home/shop: (v1 Secret home/key|apps/v1 Deployment home/web): "
    places = r"unexpected TypeError at _kubernetes/test_kubernetes_unexpected.py:\d+, _\w+/\w+.py:\d+, _\w+/\w+.py:"
    assert re.match(named + places, result["msg"]), result["msg"]


def test_an_unexpected_error_of_a_watch_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    monkeypatch.setattr(kubernetes_wait, "reference_of", broken)
    result = perform(cluster, deployment(), wait=True, wait_timeout=600)
    assert result["msg"].startswith(
        "set home/shop: apps/v1 Deployment home/web: unexpected TypeError at _kubernetes/test_kubernetes_unexpected.py:"
    )


def test_a_refusal_that_nobody_put_into_words_names_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    request = cluster.request

    def refused(method: str, url: str, body: bytes | None, **options: t.Any) -> t.Any:
        answer = request(method, url, body, **options)
        if url.endswith("/secrets/key"):
            answer.status, answer.data = 500, b'{"kind": "Status", "message": "failed to create typed patch object"}'
        return answer

    monkeypatch.setattr(cluster, "request", refused)
    result = perform(cluster, secret(KEY))
    assert (
        result["msg"] == "set home/shop: GET /api/v1/namespaces/home/secrets/key: failed to create typed patch object"
    )


def test_nothing_that_holds_a_mapping_is_hashed_by_it() -> None:
    """A tuple or a frozen dataclass is hashed by its fields as soon as it is put into a set, which fails only where one
    of them holds something.
    """
    seen = 0
    for name in MODULES:
        module = importlib.import_module(f"{PACKAGE}.{name}")
        for kind in vars(module).values():
            if not inspect.isclass(kind) or kind.__module__ != module.__name__:
                continue
            by_fields = dataclasses.is_dataclass(kind) and kind.__hash__ not in (None, object.__hash__)
            if by_fields or (issubclass(kind, tuple) and hasattr(kind, "_fields")):
                seen += 1
                for field, annotation in inspect.get_annotations(kind).items():
                    assert not re.search(
                        r"\b(Body|Fields|Any|dict|list|set|Mapping|Sequence|Iterable|Collection)\b", str(annotation)
                    ), f"{kind}.{field}"
    assert seen > 5


def test_errors_of_no_object_and_no_request() -> None:
    assert str(ApiError(0, "NoAnswer", "no answer")) == "no answer"
    with pytest.raises(TypeError) as error:
        broken()
    place = r"_kubernetes/test_kubernetes_unexpected.py:\d+"
    assert re.match(rf"unexpected TypeError at {place}, {place}; ", kubernetes_unexpected.describe(error.value))
