# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Upgrades of Envoy Gateway and the proxies under load, as they should go, as they should not, and cut off.

Each run begins with the release before that of role versions, which releases/ builds, and no request is refused in any
of them.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import pathlib
import signal
import time
import typing as t

import objects
import other_releases
import pytest
from component_faults import COMPONENTS, slowed
from load import Load, Request
from runs import INVENTORY, ROOT, playbook, recaps, start
from sites import SAME_CLUSTER, Sites, gateway_url

OLD, NEXT = "v1.8.2", "v1.9.1"
#: Known to be bad, so that it is never built.
BAD = {"versions_envoy_gateway": "v1.8.1"}
#: What a collection writes that does not know NEXT, which turns off the programs of policies then.
OUTDATED = {"__controllers_extension_apis": {"enableBackend": True, "enableEnvoyPatchPolicy": True}}
REPORT = ROOT / "reports/embedded/upgrade.json"
NAMESPACE = "ai-gateway-envoy-gateway"
PROXIES = "gateway.envoyproxy.io/owning-gateway-name=ai-gateway,!egress.ai-gateway/canary"
#: A machine that is busy with other tests answers late, and that is no fault of a release. The checks are fewer than
#: somebody would have on a cluster that is used.
PATIENT = {"upgrade_p99_floor": 10, "upgrade_canary_checks": 3, "upgrade_step_checks": 1}
#: What answers the requests.
(PROVIDER,) = [component for component in COMPONENTS if component.name == "provider"]
Variables = dict[str, t.Any]


class Ended(t.NamedTuple):
    """A run of the playbook: its exit status, its output, and what became of the requests meanwhile."""

    status: int
    output: str
    outcomes: dict[str, int]
    refusals: list[str]


class Lab(t.NamedTuple):
    """What the runs have in common: the token of the requests, the other releases and a directory for them."""

    token: str
    releases: other_releases.Releases
    directory: pathlib.Path

    def release(self, name: str) -> Variables:
        return dict(other_releases.variables(self.releases, name, self.directory))

    def site(self, sites: Sites, name: str) -> None:
        """Bring the site to a release, at once."""
        skipped = (SAME_CLUSTER, "--skip-tags=validation")
        with sites.becomes(f"a site with Envoy Gateway {name}"):
            playbook("egress.ai_gateway.site", *skipped, "--extra-vars", json.dumps(self.release(name)))

    def upgrade(
        self, variables: Variables, while_running: t.Callable[[str, int], None] = lambda _line, _process: None
    ) -> Ended:
        """Run the playbook under load.

        :param while_running: is called with each line of output and the id of the process.
        """
        with Load(gateway_url(), self.token, [Request("/v1/chat/completions", "gpt-4")], pause=0.05) as load:
            load.wait(50)
            given = json.dumps(PATIENT | variables)
            command = ("ansible-playbook", "--inventory", INVENTORY, "--extra-vars", given, "egress.ai_gateway.upgrade")
            lines = []
            with start(*command) as process:
                assert process.stdout
                for line in process.stdout:
                    print(line, end="", flush=True)
                    lines.append(line)
                    while_running(line, process.pid)
            # What the proxies and controllers do after the end is part of it.
            time.sleep(10)
        print(f"{sum(load.outcomes.values())} requests during the run: {dict(load.outcomes)}")
        return Ended(process.returncode, "".join(lines), dict(load.outcomes), load.refusals)


@pytest.fixture(scope="module")
def lab(sites: Sites, token: str, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The cluster with the images of all releases."""
    directory = tmp_path_factory.mktemp("releases")
    releases = other_releases.build(directory)
    images = json.dumps({"embedded_cluster_extra_images": [releases.archive]})
    playbook("egress.ai_gateway.cluster", "--extra-vars", images)
    return Lab(token, releases, directory)


def image_of(deployment: str) -> str:
    """The image of a Deployment beside the proxies."""
    image = "--output=jsonpath={.spec.template.spec.containers[0].image}"
    return objects.kubectl("get", "deployment", deployment, f"--namespace={NAMESPACE}", image)


def running() -> str:
    """The version of Envoy Gateway that runs."""
    return image_of("envoy-gateway").rpartition(":")[2]


def proxies() -> set[str]:
    """The names of the proxies' pods that are not on their way out."""
    found = objects.kubectl("get", "pods", f"--namespace={NAMESPACE}", f"--selector={PROXIES}", "--output=json")
    items = [item["metadata"] for item in json.loads(found)["items"]]
    return {metadata["name"] for metadata in items if "deletionTimestamp" not in metadata}


def canaries() -> str:
    """What is left of a canary."""
    return objects.kubectl(
        "get", "deployments,services,serviceaccounts,roles,clusterroles", "--all-namespaces", "--output=name",
        "--selector=egress.ai-gateway/canary",
    )  # fmt: skip


def outcome() -> str:
    """The last line of the last report."""
    return str(json.loads(REPORT.read_text(encoding="utf-8"))["checks"][-1]["observed"])


def assert_nobody_was_refused(ended: Ended) -> None:
    assert set(ended.outcomes) == {"200"}, ended.refusals
    loads = json.loads(REPORT.read_text(encoding="utf-8"))["loads"]
    assert sum(load["figures"]["open"] for load in loads) == 0


def test_an_upgrade_and_a_way_back_refuse_nobody(sites: Sites, lab: Lab) -> None:
    lab.site(sites, OLD)
    assert running() == OLD
    with sites.becomes("an upgraded site"):
        forth = lab.upgrade({})
        assert forth.status == 0
        assert_nobody_was_refused(forth)
        assert running() != OLD
        assert outcome() == "upgraded"
        assert canaries() == ""
        # Again there is nothing to do.
        assert playbook("egress.ai_gateway.upgrade") == 0
        back = lab.upgrade({"upgrade_state": "previous"})
        assert back.status == 0
        assert_nobody_was_refused(back)
        assert running() == OLD
        assert canaries() == ""


def test_slow_answers_lead_back(sites: Sites, lab: Lab) -> None:
    """The model answers slowly from the moment on that the proxies are replaced."""
    lab.site(sites, OLD)
    with contextlib.ExitStack() as slow, sites.becomes("a site that went back"):

        def watch(line: str, _run: int) -> None:
            if line.startswith("TASK [egress.ai_gateway.upgrade : Rollout | Wait until all") and not slow_now:
                slow_now.append(slow.enter_context(slowed(PROVIDER, 3, 0.3)))
            if "Go back | Turn around" in line:
                slow.close()

        slow_now: list[None] = []
        ended = lab.upgrade({"upgrade_p99_floor": 2, "upgrade_p99_factor": 1}, watch)
    assert ended.status != 0
    assert_nobody_was_refused(ended)
    assert "went back" in outcome()
    assert "a p99 of up to" in ended.output
    assert "CRDs are never made older" in ended.output
    assert running() == OLD
    assert canaries() == ""


def test_proxies_that_do_not_start_change_nothing(sites: Sites, lab: Lab) -> None:
    lab.site(sites, OLD)
    before = proxies()
    # An image that the node has, of a program that is no Envoy.
    broken = {"upgrade_proxy_image": image_of("redis"), "upgrade_wait_timeout": 45}
    ended = lab.upgrade(broken)
    assert ended.status != 0
    assert_nobody_was_refused(ended)
    assert "nothing that serves was changed" in ended.output
    assert (running(), proxies(), canaries()) == (OLD, before, "")


def test_versions_that_do_not_go_together_change_nothing(sites: Sites, lab: Lab) -> None:
    """A pair that is known to be bad is refused, and a release that cannot serve ends at the canary."""
    lab.site(sites, OLD)
    before = proxies()
    refused = lab.upgrade(BAD)
    assert refused.status != 0
    assert "known not to go together" in refused.output
    assert recaps(refused.output)[0]["embedded"]["changed"] == 0
    assert set(refused.outcomes) == {"200"}, refused.refusals
    ended = lab.upgrade(lab.release(NEXT) | OUTDATED)
    assert ended.status != 0
    assert_nobody_was_refused(ended)
    assert outcome().startswith("refused: The canary:")
    assert (running(), proxies(), canaries()) == (OLD, before, "")


@pytest.mark.parametrize("task", ["Rollout | Wait until all", "Controller | Wait until it has"])
def test_a_run_that_is_cut_off_is_finished_by_the_next(task: str, sites: Sites, lab: Lab) -> None:
    lab.site(sites, OLD)

    def cut(line: str, run: int) -> None:
        if line.startswith(f"TASK [egress.ai_gateway.upgrade : {task}"):
            time.sleep(4)
            for process in (*children(run), run):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)

    with sites.becomes("a site whose upgrade was cut off"):
        first = lab.upgrade({}, cut)
        assert first.status != 0
        second = lab.upgrade({})
    assert second.status == 0
    outcomes = collections.Counter(first.outcomes) + collections.Counter(second.outcomes)
    assert set(outcomes) == {"200"}, first.refusals + second.refusals
    assert running() != OLD
    assert canaries() == ""


def children(process: int) -> list[int]:
    """All processes that this one began, the deepest first."""
    found = []
    for tasks in pathlib.Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, tasks.read_text().split()):
            found += [*children(child), child]
    return found
