# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journey of two gateways in a row on the embedded cluster, with the stand-ins of tests/fakes where no registry
has a component.

As in the first journey, the tests are stations that run in the order in which they stand here and end at the first that
fails.
"""

from __future__ import annotations

import json
import pathlib
import shutil
import time
import typing as t

import dressed_paths
import objects
import pytest
import rule_bodies
import two_gateways
from runs import INVENTORY, ROOT, follow, playbook, start

REPORT = ROOT / "reports/embedded/validation.json"
ENGINES = ("authorino", "kuadrant")
pytestmark = pytest.mark.skipif(
    not two_gateways.CRDS.is_dir(), reason="THIRD_PARTY_CRDS names no directory of CustomResourceDefinitions"
)

#: What validation must have looked at, whatever else it did: what the proof of concept checks by hand.
CHECKS = {
    *(
        "gateway",
        "tokens",
        "models",
        "foreign-proxies",
        "maas-api-token",
        "maas-api-models",
        "maas-api-chat",
        "maas-api-no-token",
    ),
    *(
        "no-token:chat",
        "no-token:openai",
        "no-token:anthropic",
        "no-token:vllm",
        "bad-token",
        "tampered-token",
        "expired-token",
        "other-audience",
    ),
    *(
        "outsider",
        "unknown-model",
        "unknown-path",
        "api-key-header",
        "wrong-key",
        "rate-limit",
        "rate-limit-recovery",
        "rate-limit-elsewhere",
    ),
    *(
        f"{check}:{model}"
        for check in ("chat", "stream")
        for model in ("gpt-4", "claude-3-sonnet", "Qwen/Qwen3-0.6B", "facebook/opt-125m")
    ),
    *(f"{check}:{model}" for check in ("key", "forged") for model in ("gpt-4", "claude-3-sonnet", "Qwen/Qwen3-0.6B")),
    *("path:openai:gpt-4", "path:anthropic:claude-3-sonnet", "path:vllm:Qwen/Qwen3-0.6B"),
}


#: A Deployment that was another for a while, or was started anew, has other pods and keeps the other template in its
#: history. And Kuadrant's operator enforces the policy of maas-api only since it was started anew.
HISTORY = "|".join(
    [
        r"^(apps/v1 ReplicaSet|v1 Pod) (opendatahub/maas-api|kuadrant-system/kuadrant-operator)-",
        r" opendatahub/kuadrant-(authorino|auth-maas-api-auth-policy)$",
        r" AuthConfig authorino/opendatahub\.maas-api-auth-policy$",
    ]
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    return tmp_path_factory.mktemp("two-gateways")


@pytest.fixture(scope="module")
def found() -> dict[str, t.Any]:
    """What one station found, for a later one to compare with."""
    return {}


def site(directory: pathlib.Path, engine: str, name: str = "site", *arguments: str) -> int:
    return playbook(
        f"egress.ai_gateway.{name}",
        "--extra-vars",
        f"@{directory / engine}.yml",
        "--extra-vars",
        f"@{directory}/images.json",
        *arguments,
    )


def outcomes() -> dict[str, str]:
    return {check["id"]: check["status"] for check in json.loads(REPORT.read_text(encoding="utf-8"))["checks"]}


def test_the_cluster_comes_up_with_the_images_of_the_stand_ins(directory: pathlib.Path) -> None:
    images = two_gateways.images(directory / "images.json")
    playbook("egress.ai_gateway.cluster", "--extra-vars", f"@{images}")
    for engine in ENGINES:
        two_gateways.variables(directory / f"{engine}.yml", engine)


@pytest.mark.parametrize("engine", ENGINES, scope="class")
class TestTwoGateways:
    def test_the_platform_is_there(self, found: dict[str, t.Any], engine: str) -> None:
        two_gateways.platform(engine)
        found[engine] = {"objects": objects.settled_listing(besides=HISTORY), "maas_api": two_gateways.maas_api()}

    def test_a_run_is_cut_off(self, directory: pathlib.Path, found: dict[str, t.Any], engine: str) -> None:
        """Cut off after maas-api was changed and before its new pods were seen."""
        arguments = [
            "--extra-vars",
            f"@{directory / engine}.yml",
            "--extra-vars",
            f"@{directory}/images.json",
            "egress.ai_gateway.site",
        ]
        with start("ansible-playbook", "--inventory", INVENTORY, *arguments) as cut_off:
            follow(cut_off, end="TASK [egress.ai_gateway.maas_api : Present | Have maas-api read the list]")
            deadline = time.monotonic() + 30
            while (
                (seen := two_gateways.maas_api()) == found[engine]["maas_api"]
                and cut_off.poll() is None
                and time.monotonic() < deadline
            ):
                pass
            assert cut_off.poll() is None, "it ended before it could be cut off"
            cut_off.kill()
        assert seen != found[engine]["maas_api"]
        if engine == "authorino":
            # Here the next run completes it; with the other engine it is taken back.
            return
        assert site(directory, engine, "teardown") > 0
        assert two_gateways.maas_api() == found[engine]["maas_api"]
        after = objects.wait_for(found[engine]["objects"], besides=HISTORY)
        assert (sorted(after - found[engine]["objects"]), sorted(found[engine]["objects"] - after)) == ([], [])

    def test_site_provisions_both_gateways(self, directory: pathlib.Path, engine: str) -> None:
        shutil.rmtree(REPORT.parent, ignore_errors=True)
        # What was cut off above had written everything but the report, where it was not taken back.
        assert site(directory, engine) > 0 or engine == "authorino"
        assert {check for check, status in outcomes().items() if status == "passed"} >= CHECKS
        assert {check: status for check, status in outcomes().items() if status == "failed"} == {}

    def test_a_used_up_limit_is_not_passed_by_the_look_of_a_path(self, directory: pathlib.Path, engine: str) -> None:
        token = directory / f"{engine}.token"
        site(directory, engine, "token", "--extra-vars", f"tokens_file={token} tokens_tier=free tokens_user=dressed")
        url = json.loads(REPORT.read_text(encoding="utf-8"))["gateway_url"]
        caller = dressed_paths.Caller(url, token.read_text(encoding="utf-8").strip())
        assert dressed_paths.passed(caller) == []
        caller.spend()
        assert caller.ask(f"{dressed_paths.LIST}?limit=5", "GET") == 200

    def test_again_it_changes_nothing(self, directory: pathlib.Path, engine: str) -> None:
        assert site(directory, engine, "site", "--skip-tags", "validation_probes,validation_rate_limit") == 0

    def test_teardown_leaves_the_platform_as_it_was(
        self, directory: pathlib.Path, found: dict[str, t.Any], engine: str
    ) -> None:
        assert site(directory, engine, "teardown") > 0
        assert two_gateways.maas_api() == found[engine]["maas_api"]
        after = objects.wait_for(found[engine]["objects"], besides=HISTORY)
        assert sorted(after - found[engine]["objects"]) == [], "left behind"
        assert sorted(found[engine]["objects"] - after) == [], "taken away"


def test_both_bodies_of_rules_say_the_same(tmp_path: pathlib.Path) -> None:
    """What the engines render of one source, asked of the one Authorino that is there."""
    assert rule_bodies.compare(tmp_path) > 0


def test_the_cluster_goes() -> None:
    playbook("egress.ai_gateway.destroy")
