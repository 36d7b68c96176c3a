# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of a gateway on the embedded cluster, from a machine without a cluster to a cluster without a site.

The tests are steps that run in the order in which they stand here. A whole run ends at the first that fails, with the
cluster left as it is then. Each runs alone too: make integration ARGS="-k NAME".
"""

from __future__ import annotations

import collections
import concurrent.futures
import json
import os
import pathlib
import shutil
import time
import typing as t
import urllib.parse

import abandoned_streams
import anthropic
import apply_set_access
import apply_set_faults
import body_sizes
import catalogs
import catalogue_changes
import external_provider
import filter_order
import gateway_requests
import gateway_tls
import key_search
import killed_processes
import limits_and_identity
import machine
import malformed
import model_changes
import objects
import odd_answer_checks
import openai
import provider_kinds
import provider_secrets
import pytest
import refusals
import rotation
import simulators
from runs import INVENTORY, follow, playbook, recaps, run, start
from sites import (
    DEFAULT,
    MIXED,
    NO_CLUSTER,
    NO_SITE,
    REPORT,
    SAME_CLUSTER,
    UNKNOWN,
    WITHOUT_RECOVERY,
    Sites,
    gateway_url,
    validation,
)

MODELS = ["claude-3-sonnet", "gpt-4"]
#: Checks that validation must have run, besides others.
CHECKS = {
    "gateway", "tokens", "models", "unknown-model", "rate-limit", "rate-limit-recovery",
    "no-token:chat", "no-token:models", "no-token:messages",
    "bad-token", "tampered-token", "expired-token", "other-audience", "outsider",
    "unknown-path", "api-key-header", "rate-limit-elsewhere", "wrong-key", "http-redirect",
    *(f"{check}:{model}" for check in ("chat", "messages", "stream", "key", "forged") for model in MODELS),
    "path:openai:gpt-4", "path:anthropic:claude-3-sonnet",
}  # fmt: skip


def molecule(command: str, *arguments: str) -> int:
    """Run a step of molecule's default scenario, with these arguments for ansible-playbook; return how many tasks its
    last playbook changed, 0 without one.
    """
    more = ["--", *arguments] if arguments else []
    output = run("molecule", command, "--scenario-name", "default", *more, MOLECULE_COMMAND_BORDERS="false")
    return recaps(output)[-1]["embedded"]["changed"] if "PLAY RECAP" in output else 0


def openai_client(token: str) -> openai.OpenAI:
    """Return the OpenAI SDK as a user of the present site has it. A later one may have another authority."""
    connections = openai.DefaultHttpxClient(verify=gateway_tls.context())
    return openai.OpenAI(
        base_url=f"{gateway_url()}/v1", api_key=token, max_retries=0, timeout=30, http_client=connections
    )


@pytest.fixture
def client(token: str) -> openai.OpenAI:
    """The OpenAI SDK as a user has it."""
    return openai_client(token)


@pytest.fixture
def messages_client(token: str) -> anthropic.Anthropic:
    """The Anthropic SDK as a user has it."""
    connections = anthropic.DefaultHttpxClient(verify=gateway_tls.context())
    return anthropic.Anthropic(
        base_url=gateway_url(), api_key=token, max_retries=0, timeout=30, http_client=connections
    )


def test_a_machine_without_a_cluster(machine_before: dict[str, object]) -> None:
    assert not machine_before["processes"]


def test_check_mode_before_the_cluster_changes_nothing(machine_before: dict[str, object]) -> None:
    assert playbook("egress.ai_gateway.site", "--check") > 0
    assert machine.state() == machine_before


def test_the_cluster_comes_up(bare_objects: set[str]) -> None:
    assert "v1 Service kube-system/kube-dns" in bare_objects


def test_check_mode_on_a_bare_cluster_changes_nothing(bare_objects: set[str]) -> None:
    assert (
        playbook("egress.ai_gateway.site", "--check", reaches="egress.ai_gateway.providers : Apply the providers") > 0
    )
    assert objects.wait_for(bare_objects, timeout=10) == bare_objects


def test_site_provisions_a_gateway_that_works(bare_objects: set[str], sites: Sites) -> None:
    assert bare_objects
    shutil.rmtree(REPORT.parent, ignore_errors=True)
    with sites.becomes(DEFAULT):
        assert playbook("egress.ai_gateway.site") > 0
    assert {check for check, status in validation().items() if status == "passed"} >= CHECKS
    assert set(validation().values()) == {"passed"}
    assert {path.suffix for path in REPORT.parent.iterdir()} == {".json", ".xml", ".html"}


@pytest.mark.usefixtures("default_site")
def test_check_mode_after_it_finds_nothing_to_change() -> None:
    assert playbook("egress.ai_gateway.site", "--check", reaches="egress.ai_gateway.validation : ") == 0


@pytest.mark.usefixtures("default_site")
def test_modules() -> None:
    """The one that takes as long as the others beside those: most of it are waits."""
    here = pathlib.Path(__file__).parent
    targets = sorted(path.name for path in (here / "targets").iterdir() if path.is_dir())
    parts = [["apply_set"], [name for name in targets if name != "apply_set"]]
    assert "apply_set" in targets
    assert len(targets) > 1
    with concurrent.futures.ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(
                playbook,
                here / "targets.yml",
                "--extra-vars",
                json.dumps({"targets": part}),
                ANSIBLE_ROLES_PATH=str(here / "targets"),
            )
            for part in parts
        ]
    for ended in runs:
        ended.result()


@pytest.mark.usefixtures("any_site")
def test_killed_runs_of_apply_set_are_completed_by_the_next(tmp_path: pathlib.Path) -> None:
    apply_set_faults.kill_and_complete(tmp_path, kills=int(os.environ.get("APPLY_SET_KILLS", "2")))


@pytest.mark.usefixtures("any_site")
def test_apply_set_outlives_the_api_server(tmp_path: pathlib.Path) -> None:
    print(f"apply_set took {apply_set_faults.kill_api_server(tmp_path):.1f} s, with the API server killed meanwhile")


@pytest.mark.usefixtures("any_site")
def test_apply_set_discloses_no_secret(tmp_path: pathlib.Path) -> None:
    apply_set_faults.look_for_secrets(tmp_path)


@pytest.mark.usefixtures("default_site")
def test_apply_set_takes_no_other_controllers_word_for_a_route(tmp_path: pathlib.Path) -> None:
    assert "condition ResolvedRefs is False: BackendNotFound" in " ".join(
        apply_set_faults.another_controllers_word(tmp_path).split()
    )


@pytest.mark.usefixtures("any_site")
def test_kubectl_knows_a_set_and_its_tool(tmp_path: pathlib.Path) -> None:
    words = apply_set_faults.kubectl_on_a_set(tmp_path)
    print(f"kubectl: {words}")
    assert 'is managed by tooling "egress.ai_gateway" instead of "kubectl"' in words


@pytest.mark.usefixtures("any_site")
def test_apply_set_through_a_proxy(tmp_path: pathlib.Path) -> None:
    targets = apply_set_access.through_a_proxy(tmp_path)
    print(f"{len(targets)} connections through the proxy")
    assert set(targets) == {apply_set_access.server()}


@pytest.mark.usefixtures("any_site")
def test_apply_set_as_a_pod(tmp_path: pathlib.Path) -> None:
    results = apply_set_access.as_a_pod(tmp_path)
    assert [member["name"] for member in results["present"]["created"]] == ["way"]
    assert [member["name"] for member in results["absent"]["deleted"]] == ["way"]


@pytest.mark.usefixtures("default_site")
def test_the_openai_sdk_lists_the_models(client: openai.OpenAI) -> None:
    assert sorted(model.id for model in client.models.list()) == MODELS


@pytest.mark.usefixtures("default_site")
@pytest.mark.parametrize("model", MODELS)
def test_the_openai_sdk_chats(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=[{"role": "user", "content": "Hello"}])
    assert answer.model == model
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


@pytest.mark.usefixtures("default_site")
@pytest.mark.parametrize("model", MODELS)
def test_the_openai_sdk_streams(client: openai.OpenAI, model: str) -> None:
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "Hello"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert len([chunk for chunk in chunks if chunk.choices and chunk.choices[0].delta.content]) > 1
    assert chunks[-1].usage


@pytest.mark.usefixtures("default_site")
def test_the_openai_sdk_understands_refusals(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="no-such-model", messages=[{"role": "user", "content": "Hello"}])
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="not-a-token").models.list()


@pytest.mark.usefixtures("default_site")
def test_a_key_in_a_secret_of_somebody_else_is_required(mixed_variables: pathlib.Path) -> None:
    """Site refuses before the first write while the Secret is missing or empty."""
    provider_secrets.remove()
    missing = (
        "provider outside: Secret ai-gateway/outside-key is missing: "
        "kubectl create secret generic outside-key --namespace ai-gateway"
    )
    assert missing in provider_secrets.refused(mixed_variables)
    provider_secrets.put("")
    empty = "provider outside: Secret ai-gateway/outside-key has no apiKey, or an empty one"
    assert empty in provider_secrets.refused(mixed_variables)


@pytest.mark.usefixtures("default_site")
def test_a_mixed_catalogue_is_served(sites: Sites, mixed_variables: pathlib.Path) -> None:
    provider_secrets.put(provider_secrets.KEYS[0])
    with sites.becomes(MIXED):
        more = (SAME_CLUSTER, "--extra-vars", f"@{mixed_variables}", *WITHOUT_RECOVERY)
        assert playbook("egress.ai_gateway.site", *more) > 0
    # A provider that is no simulator does not report what it got.
    not_asked = {
        "rate-limit-recovery",
        "rate-limit-outside-recovery",
        "key:model-of-outside",
        "forged:model-of-outside",
    }
    assert {check: status for check, status in validation().items() if status != "passed"} == dict.fromkeys(
        not_asked, "skipped"
    )
    assert {f"path:{name}:shared" for name in ("openai", "anthropic")} | {"tls:tls", "chat:claude-sonnet-4"} <= set(
        validation()
    )
    listed = {"facebook/opt-125m", "gpt-4", "claude-3-sonnet", "Qwen/Qwen3-0.6B"}
    # What the pages of the mixed demonstration check by hand, beside the list and the limit: each model by its path,
    # and no path without a token.
    paths = {
        "openai:gpt-4",
        "anthropic:claude-3-sonnet",
        "vllm:Qwen/Qwen3-0.6B",
        "service.llm.facebook-opt-125m-simulated.8000:facebook/opt-125m",
    }
    assert {f"chat:{model}" for model in listed} | {f"path:{path}" for path in paths} <= set(validation())
    assert {f"no-token:{name}" for name in ("openai", "anthropic", "vllm")} | {"models", "rate-limit"} <= set(
        validation()
    )


@pytest.fixture(scope="module")
def secret_changed(sites: Sites, token: str, mixed_variables: pathlib.Path) -> float:
    """When the Secret of a provider got another key, by the monotonic clock; the first key was in use before."""
    sites.ensure_mixed(mixed_variables)
    assert provider_secrets.used(openai_client(token)) == provider_secrets.fingerprint(provider_secrets.KEYS[0])
    provider_secrets.put(provider_secrets.KEYS[1])
    return time.monotonic()


def test_a_key_in_a_secret_of_somebody_else_is_used(secret_changed: float) -> None:
    """The other key is looked at some tests below, as the proxies take up to a minute."""
    assert secret_changed


@pytest.mark.usefixtures("mixed_site")
@pytest.mark.parametrize("model", ["gpt-4", "claude-sonnet-4"])
def test_the_anthropic_sdk(messages_client: anthropic.Anthropic, model: str) -> None:
    """Against a provider of its own API, and against one of OpenAI's, for which the gateway translates."""
    talk: t.Any = {"model": model, "max_tokens": 16, "messages": [{"role": "user", "content": "Hello"}]}
    answer = messages_client.messages.create(**talk)
    assert (answer.type, answer.role) == ("message", "assistant")
    assert answer.content[0].type == "text"
    assert answer.usage.input_tokens > 0
    with messages_client.messages.stream(**talk) as stream:
        assert "".join(stream.text_stream)
        assert stream.get_final_message().usage.output_tokens > 0


@pytest.mark.usefixtures("mixed_site")
def test_the_anthropic_sdk_lists_models_and_understands_refusals(messages_client: anthropic.Anthropic) -> None:
    assert "claude-sonnet-4" in [model.id for model in messages_client.models.list()]
    talk: t.Any = {"max_tokens": 16, "messages": [{"role": "user", "content": "Hello"}]}
    with pytest.raises(anthropic.NotFoundError) as unknown:
        messages_client.messages.create(model="no-such-model", **talk)
    assert t.cast("dict[str, t.Any]", unknown.value.body)["type"] == "error"
    with pytest.raises(anthropic.AuthenticationError):
        messages_client.with_options(api_key="not-a-token").messages.create(model="gpt-4", **talk)


@pytest.mark.usefixtures("mixed_site")
def test_the_sdks_under_the_paths_of_providers(client: openai.OpenAI, messages_client: anthropic.Anthropic) -> None:
    url = gateway_url()
    beneath = client.with_options(base_url=f"{url}/external/vllm/v1")
    assert [model.id for model in beneath.models.list()] == ["Qwen/Qwen3-0.6B"]
    assert beneath.models.retrieve("Qwen/Qwen3-0.6B").id == "Qwen/Qwen3-0.6B"
    assert beneath.chat.completions.create(
        model="Qwen/Qwen3-0.6B", messages=[{"role": "user", "content": "Say hi"}]
    ).usage
    assert beneath.embeddings.create(model="Qwen/Qwen3-0.6B", input=["one", "two"]).data[1].embedding
    assert beneath.completions.create(model="Qwen/Qwen3-0.6B", prompt="Once").choices[0].text
    with pytest.raises(openai.NotFoundError):
        beneath.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "Hello"}])
    claude = messages_client.with_options(base_url=f"{url}/external/claude")
    assert claude.messages.create(
        model="claude-sonnet-4", max_tokens=16, messages=[{"role": "user", "content": "Hello"}]
    ).content
    # A request of OpenAI's API cannot be sent to a provider of Anthropic's.
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="claude-sonnet-4", messages=[{"role": "user", "content": "Hello"}])


@pytest.mark.usefixtures("mixed_site")
@pytest.mark.parametrize(
    "failure", [{"status": 503}, {"status": 429, "retry_after": 9}, {"break": "headers"}, {"status": 400}]
)
def test_another_provider_takes_over(client: openai.OpenAI, failure: dict[str, t.Any]) -> None:
    """Where the first one fails or has no capacity, and not for what the caller did wrong."""
    for provider in ("openai", "anthropic"):
        simulators.admin(provider, "POST", "/reset")
    simulators.admin("openai", "POST", "/failures", failure)
    outcomes = []
    try:
        for _number in range(10):
            try:
                client.chat.completions.create(model="shared", messages=[{"role": "user", "content": "Hello"}])
                outcomes.append(200)
            except openai.APIStatusError as error:
                outcomes.append(error.status_code)
    finally:
        simulators.admin("openai", "DELETE", "/failures")
    counts = {provider: simulators.requests(provider) for provider in ("openai", "anthropic")}
    print(f"{failure}: answers {outcomes}; requests {counts}")
    if failure.get("status") == 400:
        assert (outcomes, counts) == ([400] * 10, {"openai": {"400": 10}, "anthropic": {}})
    else:
        assert outcomes == [200] * 10
        assert counts == {"openai": {str(failure.get("status", 0)): 10}, "anthropic": {"200": 10}}


def test_the_other_key_of_the_secret_is_taken_up(client: openai.OpenAI, secret_changed: float) -> None:
    """Without a run of site."""
    seconds = provider_secrets.taken_up(client, secret_changed)
    print(f"the key of a changed Secret was in use after {seconds:.1f} s at most")


@pytest.fixture(scope="module")
def rotated(
    sites: Sites, token: str, mixed_variables: pathlib.Path, tmp_path_factory: pytest.TempPathFactory
) -> rotation.Rotated:
    """The outcome of rotations under load, on the mixed catalogue."""
    sites.ensure_mixed(mixed_variables)
    with sites.becomes("a mixed catalogue of other keys"):
        return rotation.rotate(
            tmp_path_factory.mktemp("rotation"),
            gateway_url(),
            token,
            rotations=1,
            requests=int(os.environ.get("ROTATION_REQUESTS", "2000")),
        )


def test_keys_are_rotated_under_load(rotated: rotation.Rotated) -> None:
    """Not one request is refused while the keys of all providers are replaced; a run that is cut off is finished by the
    next.
    """
    print(f"{sum(rotated.outcomes.values())} requests during a rotation: {dict(rotated.outcomes)}")
    assert set(rotated.outcomes) == {"200"}, "\n".join(rotated.refusals)
    assert rotated.again == 0
    assert rotated.site == 0


def test_no_key_is_disclosed(rotated: rotation.Rotated) -> None:
    """Neither by objects but Secrets, nor by logs, processes and reports, nor by a run that changes them and shows its
    differences.
    """
    keys = rotated.keys
    secrets = [f"{simulators.NAMESPACE}/{name}-simulator" for name in keys] + [
        f"ai-gateway/{name}-credential.*" for name in keys
    ]
    # Where Envoy AI Gateway hands the keys to its processor.
    secrets.append("ai-gateway-envoy-gateway/ai-gateway-ai-gateway")
    report = key_search.search(list(keys.values()), secrets, [*rotated.outputs, REPORT.parent])
    print(report)
    assert report.faults == []


@pytest.mark.usefixtures("any_site")
def test_wrong_certificates_are_refused_and_named(sites: Sites, tmp_path: pathlib.Path) -> None:
    provider_secrets.put(provider_secrets.KEYS[1])
    mixed = catalogs.variables(tmp_path / "mixed.yml", refused=True)
    extra = ["--extra-vars", f"@{mixed}", "--extra-vars", "validation_wait_timeout=5", *WITHOUT_RECOVERY]
    extra.append("--tags=simulators,access_policies,providers,validation")
    with (
        sites.becomes("wrong certificates"),
        start("ansible-playbook", "--inventory", INVENTORY, *extra, "egress.ai_gateway.site") as site,
    ):
        follow(site)
    assert site.returncode != 0
    checks = {check["id"]: check for check in json.loads(REPORT.read_text(encoding="utf-8"))["checks"]}
    for name, word in catalogs.REFUSED.items():
        assert checks[f"chat:model-of-{name}"]["status"] == checks[f"tls:{name}"]["status"] == "failed"
        print(f"{name}: {checks[f'tls:{name}']['observed']}")
        assert word in checks[f"tls:{name}"]["observed"]
    failed = {
        check.split(":")[-1].removeprefix("model-of-")
        for check, outcome in checks.items()
        if outcome["status"] == "failed"
    }
    assert failed == set(catalogs.REFUSED)


@pytest.fixture(scope="module")
def kinds(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> provider_kinds.Site:
    """The catalogue with a provider of each kind, which the tests below share."""
    sites.ensure_any()
    with sites.becomes("a provider of each kind"):
        return provider_kinds.deploy(tmp_path_factory.mktemp("kinds"))


@pytest.fixture(scope="module")
def rich(kinds: provider_kinds.Site) -> str:
    """A token whose limit no test reaches."""
    assert kinds
    return provider_kinds.token_of("enterprise")[1]


def test_limits_hold_at_every_kind_of_provider(kinds: provider_kinds.Site) -> None:
    """The same table for simulators, models on the premises and providers outside, with who called in the log."""
    assert kinds
    assert limits_and_identity.one_table(gateway_url(), provider_kinds.KINDS) == []
    statuses = limits_and_identity.of_one_model(gateway_url())
    print(f"tier premium, 100 tokens a minute of {provider_kinds.LIMITED}: {statuses}")
    assert statuses == {provider_kinds.LIMITED: [200, 200, 200, 429], provider_kinds.UNLIMITED: [200, 200]}


def test_what_providers_learn_of_the_caller(kinds: provider_kinds.Site) -> None:
    """No token, no name and no tier in clear, its own key, and the same at every kind."""
    assert kinds
    user, token = provider_kinds.token_of("enterprise")
    names = {}
    for kind in provider_kinds.KINDS:
        headers = limits_and_identity.received(gateway_url(), kind, token)
        names[kind.name] = limits_and_identity.names(headers, kind)
        print(f"{kind.name}: {sorted(headers)}")
        assert limits_and_identity.identity_faults(kind, headers, user, "enterprise", token) == []
    assert len(set(map(frozenset, names.values()))) == 1, names


def test_every_odd_answer_is_counted(kinds: provider_kinds.Site, rich: str) -> None:
    """Believable or not, streamed or not, on every path; and every refusal of a provider keeps its words, in the
    client's API.
    """
    assert kinds
    started = time.monotonic()
    replies = gateway_requests.send_all(gateway_url(), rich, odd_answer_checks.asks())
    entries = gateway_requests.log(reply.ask.agent for reply in replies)
    faults_found = [fault for reply in replies for fault in odd_answer_checks.faults(reply, entries[reply.ask.agent])]
    statuses = collections.Counter(reply.status for reply in replies)
    print(
        f"{len(replies)} odd answers in {time.monotonic() - started:.0f} s: {dict(statuses)}", *faults_found, sep="\n"
    )
    assert faults_found == []


def test_disputed_bodies_are_counted_or_refused(kinds: provider_kinds.Site, rich: str) -> None:
    assert kinds
    replies = gateway_requests.send_all(gateway_url(), rich, odd_answer_checks.disputed_asks())
    entries = gateway_requests.log(reply.ask.agent for reply in replies)
    for reply in replies:
        print(f"{reply.ask.body}: {reply.status}, {gateway_requests.tokens(entries[reply.ask.agent])} tokens")
    assert [
        fault for reply in replies for fault in odd_answer_checks.disputed_faults(reply, entries[reply.ask.agent])
    ] == []


def test_who_leaves_a_stream_pays_for_what_came(kinds: provider_kinds.Site) -> None:
    assert kinds
    assert abandoned_streams.one_table(gateway_url()) == []


def test_the_gateways_own_refusals_and_browsers(kinds: provider_kinds.Site, rich: str) -> None:
    assert kinds
    spent = refusals.spent_token(gateway_url())
    outcomes = refusals.of_the_gateway(gateway_url(), rich, spent)
    print(*(f"{reply.ask}: {reply.status} {reply.message}" for _status, reply in outcomes), sep="\n")
    assert [
        f"{reply} instead of {status} {reply.problems}"
        for status, reply in outcomes
        if reply.status != status or reply.problems
    ] == []
    assert refusals.browser_faults(gateway_url(), spent) == []


def test_forms_of_tokens(kinds: provider_kinds.Site, rich: str) -> None:
    assert kinds
    assert refusals.token_faults(gateway_url(), rich, provider_kinds.token_of("enterprise")[1]) == []


def test_bodies_of_all_sizes(kinds: provider_kinds.Site, rich: str, tmp_path: pathlib.Path) -> None:
    assert kinds
    before = gateway_requests.restarts()
    assert list(body_sizes.faults(gateway_url(), rich, "odd-good", tmp_path)) == []
    assert gateway_requests.restarts() == before


def test_malformed_requests_restart_nothing(kinds: provider_kinds.Site, rich: str) -> None:
    assert kinds
    before = gateway_requests.restarts()
    for token in (rich, ""):
        result = malformed.run(gateway_url(), token, int(time.time()), int(os.environ.get("MALFORMED_REQUESTS", "500")))
        print(result)
        assert result.faults() == []
        assert malformed.unexplained(result) == []
    assert gateway_requests.restarts() == before


def test_the_order_of_filters_and_models_that_move(kinds: provider_kinds.Site, rich: str) -> None:
    """With what browsers need, and without, where the same run moves models."""
    chains = [filter_order.chains(filter_order.dump(), gateway_url())]
    del kinds.variables["access_policies_cors"]
    assert model_changes.move(gateway_url(), rich, kinds) == []
    preflight = refusals.preflight(gateway_url(), provider_kinds.ORIGIN)
    assert (preflight.status, preflight.header(refusals.ALLOWED)) == (401, "")
    chains.append(filter_order.chains(filter_order.dump(), gateway_url()))
    for found in chains:
        assert found
        for listener, names in found.items():
            print(f"{listener}: {', '.join(names)}")
            assert filter_order.faults(names) == []


def test_bodies_of_all_sizes_of_clients_in_tls(kinds: provider_kinds.Site, rich: str, tmp_path: pathlib.Path) -> None:
    """Behind these tests, as it changes the listeners: for those before, the Gateway has the one of the inventory."""
    authority = catalogs.Authority("Gateway")
    certificate = authority.issue(provider_kinds.HOSTNAME)
    (tmp_path / "ca.crt").write_text(authority.certificate, encoding="utf-8")
    kinds.variables.update(
        gateway_tls_certificate=certificate["certificate"],
        gateway_tls_private_key=certificate["key"],
        gateway_hostname=provider_kinds.HOSTNAME,
    )
    address = urllib.parse.urlsplit(gateway_url())
    kinds.apply("gateway")
    # The host name has no DNS record.
    trust_it = f"validation_ca_path={tmp_path}/ca.crt validation_mode=quick"
    playbook("egress.ai_gateway.validate", "--extra-vars", f"@{kinds.path}", "--extra-vars", trust_it)
    assert gateway_url() == f"https://{provider_kinds.HOSTNAME}:{address.port}"
    assert {status for check, status in validation().items() if check != "full-validation"} == {"passed"}
    named = f"{provider_kinds.HOSTNAME}:{address.port}"
    trust = ("--cacert", str(tmp_path / "ca.crt"), "--resolve", f"{named}:{address.hostname}")
    assert (
        list(
            body_sizes.faults(
                f"https://{named}", rich, provider_kinds.UNLIMITED, tmp_path, *trust, sizes=(1_000, 300_000)
            )
        )
        == []
    )
    (found,) = filter_order.chains(filter_order.dump(), gateway_url()).values()
    assert filter_order.faults(found) == []


@pytest.fixture
def larger_site(sites: Sites, mixed_variables: pathlib.Path) -> None:
    """A site with more than the default inventory has."""
    if sites.present in (UNKNOWN, NO_CLUSTER, NO_SITE, DEFAULT):
        sites.ensure_mixed(mixed_variables)


@pytest.mark.usefixtures("larger_site")
def test_the_catalogue_shrinks_again(sites: Sites) -> None:
    """As molecule's default scenario goes: create, converge, idempotence and verify. Its cleanup and destroy follow."""
    external_provider.remove()
    shutil.rmtree(REPORT.parent, ignore_errors=True)
    with sites.becomes(DEFAULT):
        # The state that an interrupted run has left.
        molecule("reset")
        molecule("syntax")
        assert molecule("create") == 0, "the cluster was changed by a run that had nothing to change"
        assert molecule("converge") > 0
    provider_secrets.remove()
    assert {check for check, status in validation().items() if status != "passed"} == {"rate-limit-recovery"}
    left = [
        line
        for line in objects.listing()
        if any(
            name in line
            for name in ("vllm", "claude-credential", "tls-", "models-of-", "key-rotation", "outside", "twin")
        )
    ]
    assert left == []
    # The checks that this run skips follow.
    assert molecule("idempotence", "--skip-tags", "validation_probes,validation_rate_limit") == 0
    assert molecule("verify") == 0
    assert {check for check, status in validation().items() if status != "passed"} == {"rate-limit-recovery"}


@pytest.mark.usefixtures("default_site")
@pytest.mark.parametrize("name", ["kubelet", "containerd", "kube-apiserver"])
def test_a_killed_process_comes_back_during_traffic(client: openai.OpenAI, name: str) -> None:
    recovery = killed_processes.kill_during_traffic(name, client, patience=120)
    print(f"{name}: {recovery}")
    assert set(recovery.requests_afterwards) == {"200"}
    # The proxies, and the decisions that the policies have at hand, need none of these processes.
    assert recovery.requests["200"] >= 0.9 * sum(recovery.requests.values())


@pytest.mark.usefixtures("default_site")
def test_any_catalogue_becomes_any_other(sites: Sites, tmp_path: pathlib.Path) -> None:
    """Runs last before the teardown, which removes any catalogue: with a tier go the accounts of its tokens."""
    with sites.becomes("one of a pair of catalogues"):
        catalogue_changes.change_often(tmp_path, pairs=int(os.environ.get("CATALOGUE_PAIRS", "1")))


@pytest.mark.usefixtures("any_site")
def test_teardown_in_check_mode_changes_nothing() -> None:
    before = objects.settled_listing(quiet=3)
    assert playbook("egress.ai_gateway.teardown", "--check") > 0
    assert objects.listing() == before


def test_teardown_leaves_nothing(bare_objects: set[str], sites: Sites) -> None:
    sites.ensure_any()
    with sites.becomes(NO_SITE):
        assert molecule("cleanup") > 0
    after = objects.wait_for(bare_objects)
    assert sorted(after - bare_objects) == [], "left behind"
    assert sorted(bare_objects - after) == [], "taken away"
    assert playbook("egress.ai_gateway.teardown", reaches="egress.ai_gateway.crds : ") == 0
