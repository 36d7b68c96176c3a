# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of playbook dump on the embedded cluster: what stands becomes an inventory that changes nothing, and
the configuration of a LiteLLM proxy becomes a gateway that answers.

Each runs alone too: make integration ARGS="-k NAME".
"""

from __future__ import annotations

import json
import pathlib
import typing as t

import dumps
import pytest
import yaml
from gateway_requests import Ask, body_of, log, send, send_all, tokens
from objects import kubectl
from runs import INVENTORY, playbook, run
from sites import DEFAULT, SAME_CLUSTER, Sites, gateway_url

LITELLM_SITE = "the models of a LiteLLM proxy"
CHAT = "/v1/chat/completions"
DEFAULT_KEYS = {"openai": "sk-openai-key-for-demo", "anthropic": "sk-ant-claude-key-for-demo"}


@pytest.mark.usefixtures("default_site")
def test_a_dump_of_the_default_site_is_what_was_applied(tmp_path: pathlib.Path) -> None:
    dumped = dumps.dump(tmp_path / "dumped")
    assert ": 0 differ." in dumped.output
    assert not [key for key in DEFAULT_KEYS.values() if key in dumped.output + dumped.file.read_text(encoding="utf-8")]
    keys = dumped.keys(DEFAULT_KEYS)
    assert set(keys) == {"OPENAI_API_KEY", "ANTHROPIC_API_KEY"}
    applied = dumps.catalogue(tmp_path, INVENTORY)
    assert dumps.catalogue(tmp_path, dumped.inventory, **keys) == applied
    assert dumps.changes(dumped.inventory, **keys) == 0
    # With the keys from the cluster, nothing has to be in the environment.
    of_cluster = dumps.dump(tmp_path / "of-cluster", "--extra-vars", "dump_keys=cluster dump_differences=ignore")
    assert dumps.catalogue(tmp_path, of_cluster.inventory) == applied
    assert dumps.changes(of_cluster.inventory, "--tags=providers,simulators") == 0


def test_a_dump_does_not_claim_what_does_not_stand(sites: Sites, tmp_path: pathlib.Path) -> None:
    sites.ensure_default()
    name = kubectl("get", "aigatewayroutes", "--namespace=ai-gateway", "--output=name").splitlines()[0]
    with sites.becomes("a site without a route"):
        kubectl("delete", "--namespace=ai-gateway", name)
    dumped = dumps.dump(tmp_path / "dumped", fails=True)
    missing = f"AIGatewayRoute ai-gateway/{name.rpartition('/')[2]} is missing"
    assert missing in " ".join(dumped.output.split())
    assert not dumped.file.exists()
    noted = dumps.dump(tmp_path / "dumped", "--extra-vars", "dump_differences=note")
    assert f"# - AIGatewayRoute ai-gateway/{name.rpartition('/')[2]} is missing" in noted.file.read_text(
        encoding="utf-8"
    )
    sites.ensure_default()


@pytest.mark.usefixtures("mixed_site")
def test_a_dump_of_a_mixed_catalogue_is_what_was_applied(mixed_variables: pathlib.Path, tmp_path: pathlib.Path) -> None:
    given: dict[str, t.Any] = yaml.safe_load(mixed_variables.read_text(encoding="utf-8"))
    credentials = {provider["name"]: provider["credential"] for provider in given["ai_gateway_providers"]}
    values = {name: credential["value"] for name, credential in credentials.items() if "value" in credential}
    dumped = dumps.dump(tmp_path / "dumped")
    said = dumped.output + dumped.file.read_text(encoding="utf-8")
    assert not [name for name, value in values.items() if value in said]
    assert "PRIVATE KEY" not in said
    # What holds keys of simulators is no part of a gateway, and named.
    simulators = {name: value for name, value in given.items() if name.startswith("simulators_")}
    assert len(simulators) == 2
    assert all(f"{name}: holds" in " ".join(dumped.output.split()) for name in simulators)
    extra = tmp_path / "simulators.yml"
    extra.write_text(yaml.safe_dump(simulators), encoding="utf-8")
    keys = dumped.keys(values)
    assert len(keys) == len(values)
    applied = dumps.catalogue(tmp_path, INVENTORY, "--extra-vars", f"@{mixed_variables}")
    assert dumps.catalogue(tmp_path, dumped.inventory, **keys) == applied
    assert dumps.changes(dumped.inventory, "--extra-vars", f"@{extra}", **keys) == 0


def test_the_models_of_a_litellm_proxy_are_served(sites: Sites, token: str, tmp_path: pathlib.Path) -> None:
    """With the keys of the environment, which the simulators check, in their order, and counted to the token."""
    sites.ensure_default()
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(dumps.LITELLM), encoding="utf-8")
    dumped = dumps.dump(tmp_path / "dumped", "--extra-vars", f"dump_litellm_config={config}")
    said = " ".join(dumped.output.split())
    for place in (
        "general_settings.master_key",
        "litellm_settings.cache",
        "model_list[3]",
        "litellm_params.temperature",
    ):
        assert place in said
    assert "sk-" not in dumped.output + dumped.file.read_text(encoding="utf-8")
    # How the cluster is reached, and what it is, is no part of such a file.
    (dumped.file.parent / "cluster.yml").write_text("ai_gateway_platform: embedded\n", encoding="utf-8")
    # The simulators of the default site stay, in the place of providers that are outside.
    site = ("--skip-tags=embedded_cluster,simulators,validation", "egress.ai_gateway.site")
    with sites.becomes(LITELLM_SITE):
        run("ansible-playbook", "--inventory", dumped.inventory, *site, **dumps.LITELLM_KEYS)
    url = gateway_url()
    before = {name: dumps.totals(name) for name in DEFAULT_KEYS}
    asks = [
        Ask(
            CHAT,
            body_of(CHAT, "chat", stream=stream, **({"stream_options": {"include_usage": True}} if stream else {})),
        )
        for stream in (False, True) * 10
    ]
    replies = send_all(url, token, asks)
    assert {reply.status for reply in replies} == {200}, [str(reply) for reply in replies if reply.status != 200]
    reported = sum(
        (reply.events[-1] if b"data:" in reply.body else json.loads(reply.body))["usage"]["total_tokens"]
        for reply in replies
    )
    counted = sum(tokens(entry) for entry in log(ask.agent for ask in asks).values())
    after = {name: dumps.totals(name) for name in DEFAULT_KEYS}
    spent = {
        name: sum(after[name][kind] - before[name][kind] for kind in ("input_tokens", "output_tokens"))
        for name in DEFAULT_KEYS
    }
    print(f"{len(asks)} requests: {reported} tokens by the answers, {counted} by the log, {spent} by the simulators")
    assert spent == {"openai": reported, "anthropic": 0}
    assert counted == reported > 0
    refused = send(url, token, Ask(CHAT, body_of(CHAT, "wrong-key")))
    assert (refused.status, refused.problems) == (401, [])
    assert "provider" in refused.message
    # The pattern of all models is no model.
    assert send(url, token, Ask(CHAT, body_of(CHAT, "gpt-4"))).status == 404
    with sites.becomes(DEFAULT):
        playbook("egress.ai_gateway.site", SAME_CLUSTER, "--skip-tags=validation")
