# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journey of a gateway on the embedded cluster, from a machine without one to a machine without one.

The tests are stations of one journey: they run in the order in which they stand here, and end at the first that fails, with the
cluster left as it is then.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import typing as t

import apply_set_access
import apply_set_faults
import faults
import machine
import objects
import openai
import pytest
from runs import ROOT, playbook, recaps, run

REPORT = ROOT / "reports/embedded/validation.json"
MODELS = ["claude-3-sonnet", "gpt-4"]
#: What validation must have looked at, whatever else it did.
CHECKS = {
    "gateway", "tokens", "models", "unknown-model", "rate-limit", "rate-limit-recovery",
    "no-token:chat", "no-token:models", "bad-token", "tampered-token", "expired-token", "other-audience", "outsider",
    *(f"{check}:{model}" for check in ("chat", "stream", "key", "forged") for model in MODELS),
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, t.Any]:
    """What one station found, for a later one to compare with."""
    return {}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> openai.OpenAI:
    """The OpenAI SDK as a user has it, with a token of the premium tier."""
    token = tmp_path_factory.mktemp("token") / "token"
    playbook("egress.ai_gateway.token", "--extra-vars", f"token_file={token}")
    url = json.loads(REPORT.read_text(encoding="utf-8"))["gateway_url"]
    return openai.OpenAI(base_url=f"{url}/v1", api_key=token.read_text(encoding="utf-8").strip(), max_retries=0, timeout=30)


def validation() -> dict[str, str]:
    """Return the status of each check of the last report."""
    return {check["id"]: check["status"] for check in json.loads(REPORT.read_text(encoding="utf-8"))["checks"]}


def test_a_machine_without_a_cluster(found: dict[str, t.Any]) -> None:
    playbook("egress.ai_gateway.destroy")
    found["machine"] = machine.state()
    assert not found["machine"]["processes"]


def test_check_mode_before_the_cluster_changes_nothing(found: dict[str, t.Any]) -> None:
    assert playbook("egress.ai_gateway.site", "--check") > 0
    assert machine.state() == found["machine"]


def test_the_cluster_comes_up(found: dict[str, t.Any]) -> None:
    assert playbook("egress.ai_gateway.cluster") > 0
    found["objects"] = objects.settled_listing()
    assert "v1 Service kube-system/kube-dns" in found["objects"]


def test_check_mode_on_a_bare_cluster_changes_nothing(found: dict[str, t.Any]) -> None:
    assert playbook("egress.ai_gateway.site", "--check", reaches="egress.ai_gateway.providers : ") > 0
    assert objects.wait_for(found["objects"], timeout=10) == found["objects"]


def test_site_provisions_a_gateway_that_works() -> None:
    shutil.rmtree(REPORT.parent, ignore_errors=True)
    assert playbook("egress.ai_gateway.site") > 0
    assert {check for check, status in validation().items() if status == "passed"} >= CHECKS
    assert set(validation().values()) == {"passed"}
    assert {path.suffix for path in REPORT.parent.iterdir()} == {".json", ".xml", ".html"}


def test_check_mode_after_it_finds_nothing_to_change() -> None:
    assert playbook("egress.ai_gateway.site", "--check", reaches="egress.ai_gateway.validation : ") == 0


def test_modules() -> None:
    here = pathlib.Path(__file__).parent
    playbook(here / "targets.yml", ANSIBLE_ROLES_PATH=str(here / "targets"))


def test_killed_runs_of_apply_set_are_completed_by_the_next(tmp_path: pathlib.Path) -> None:
    apply_set_faults.kill_and_complete(tmp_path, kills=int(os.environ.get("APPLY_SET_KILLS", "4")))


def test_apply_set_outlives_the_api_server(tmp_path: pathlib.Path) -> None:
    print(f"apply_set took {apply_set_faults.kill_api_server(tmp_path):.1f} s, with the API server killed meanwhile")


def test_apply_set_tells_no_secret(tmp_path: pathlib.Path) -> None:
    apply_set_faults.look_for_secrets(tmp_path)


def test_apply_set_takes_no_other_controllers_word_for_a_route(tmp_path: pathlib.Path) -> None:
    assert "condition ResolvedRefs is False: BackendNotFound" in " ".join(apply_set_faults.another_controllers_word(tmp_path).split())


def test_kubectl_knows_a_set_and_its_tool(tmp_path: pathlib.Path) -> None:
    words = apply_set_faults.kubectl_on_a_set(tmp_path)
    print(f"kubectl: {words}")
    assert 'is managed by tooling "egress.ai_gateway" instead of "kubectl"' in words


def test_apply_set_through_a_proxy(tmp_path: pathlib.Path) -> None:
    targets = apply_set_access.through_a_proxy(tmp_path)
    print(f"{len(targets)} connections through the proxy")
    assert set(targets) == {apply_set_access.server()}


def test_apply_set_as_a_pod(tmp_path: pathlib.Path) -> None:
    results = apply_set_access.as_a_pod(tmp_path)
    assert [member["name"] for member in results["present"]["created"]] == ["way"]
    assert [member["name"] for member in results["absent"]["deleted"]] == ["way"]


def test_the_openai_sdk_lists_the_models(client: openai.OpenAI) -> None:
    assert sorted(model.id for model in client.models.list()) == MODELS


@pytest.mark.parametrize("model", MODELS)
def test_the_openai_sdk_chats(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])
    assert answer.model == model
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.parametrize("model", MODELS)
def test_the_openai_sdk_streams(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}], stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 1
    assert chunks[-1].usage


def test_the_openai_sdk_understands_refusals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="not-a-token").models.list()


@pytest.mark.parametrize("name", ["kubelet", "containerd", "kube-apiserver"])
def test_a_killed_process_comes_back_during_traffic(client: openai.OpenAI, name: str) -> None:
    recovery = faults.kill_during_traffic(name, client, patience=60)
    print(f"{name}: back after {recovery.seconds} s; requests: {recovery.requests}")
    assert set(recovery.requests_afterwards) == {"200"}
    # The proxies, and the decisions that the policies have at hand, need none of these processes.
    assert recovery.requests["200"] >= 0.9 * sum(recovery.requests.values())


def test_teardown_in_check_mode_changes_nothing() -> None:
    before = objects.settled_listing()
    assert playbook("egress.ai_gateway.teardown", "--check") > 0
    assert objects.listing() == before


def test_teardown_leaves_nothing(found: dict[str, t.Any]) -> None:
    assert playbook("egress.ai_gateway.teardown") > 0
    after = objects.wait_for(found["objects"])
    assert sorted(after - found["objects"]) == [], "left behind"
    assert sorted(found["objects"] - after) == [], "taken away"
    assert playbook("egress.ai_gateway.teardown", reaches="egress.ai_gateway.crds : ") == 0


def test_the_molecule_scenario_provisions_again_and_destroys() -> None:
    """The journey's second half: create, converge, idempotence, verify, cleanup, destroy."""
    shutil.rmtree(REPORT.parent)
    output = run("molecule", "test", "--scenario-name", "default", MOLECULE_COMMAND_BORDERS="false")
    changes = [recap["embedded"]["changed"] for recap in recaps(output)]
    cluster, site, again, verification, teardown, destruction = changes
    assert cluster == again == verification == 0, "changed by a run that had nothing to change"
    assert site > 0
    assert teardown > 0
    assert destruction > 0
    assert set(validation().values()) == {"passed"}


def test_destroy_leaves_the_machine_as_it_was(found: dict[str, t.Any]) -> None:
    assert machine.state() == found["machine"]
    assert not pathlib.Path(objects.STATE).exists()
    assert playbook("egress.ai_gateway.destroy") == 0
