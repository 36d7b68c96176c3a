# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role as a play runs it where there is no cluster: in check mode, and with variables that are wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes import checks as probes_checks
from rendering import rendered

# Not resolved: a checkout may be linked into the tree of collections.
COLLECTIONS = Path(probes_checks.__file__).parents[6]
ROLE = Path(probes_checks.__file__).parents[3] / "roles/validation"
KEY = "sk-a-key-that-must-not-show"
SIMULATED = {
    "name": "openai",
    "schema": "openai",
    "simulated": True,
    "credential": {"value": KEY},
    "models": [{"name": "gpt-4"}],
}
REAL = {
    "name": "more",
    "schema": "openai",
    "endpoint": {"hostname": "api.example.com"},
    "credential": {"secret": "more-key"},
    "models": [{"name": "org/more:1", "provider_model": "more-1"}],
}
ANTHROPIC = {
    "name": "claude",
    "schema": "anthropic",
    "endpoint": {"hostname": "api.example.com"},
    "credential": {"secret": "claude-key"},
    "models": [{"name": "claude"}],
}
ON_PREMISES = {"name": "opt", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}}
TIERS = [
    {"name": "free", "level": 0, "groups": ["a"], "token_limit": {"tokens": 100, "window": "1m"}, "models": ["*"]},
    {"name": "paid", "level": 1, "groups": ["b"], "token_limit": {"tokens": 5000, "window": "1m"}, "models": ["gpt-4"]},
]


def play(directory: Path, variables: dict[str, t.Any], *arguments: str) -> tuple[int, str]:
    """Run the role; the exit code and everything it printed."""
    playbook = directory / "play.yml"
    copy = {"content": "{{ __validation_checks | to_json }}", "dest": f"{directory}/checks.json"}
    keep = {"ansible.builtin.copy": copy, "check_mode": False, "changed_when": False}
    playbook.write_text(
        json.dumps(
            [
                {
                    "hosts": "localhost",
                    "gather_facts": False,
                    "roles": ["egress.ai_gateway.validation"],
                    "post_tasks": [keep],
                }
            ]
        )
    )
    (directory / "variables.yml").write_text(
        yaml.safe_dump({"ansible_python_interpreter": sys.executable, **variables})
    )
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
        "ANSIBLE_HOME": str(directory / "home"),
        "ANSIBLE_NOCOLOR": "1",
        # Nothing here may reach a cluster.
        "K8S_AUTH_KUBECONFIG": "/nowhere/kubeconfig",
    }
    command = [
        str(Path(sys.executable).parent / "ansible-playbook"),
        "-i",
        "localhost,",
        "-c",
        "local",
        "-e",
        f"@{directory}/variables.yml",
        str(playbook),
    ]
    ended = subprocess.run(
        [*command, *arguments], env=environment, cwd=directory, capture_output=True, text=True, timeout=120, check=False
    )
    return ended.returncode, ended.stdout + ended.stderr


@pytest.mark.parametrize(
    ("variables", "ids"),
    [
        ({"ai_gateway_allow_empty": True}, set()),
        (
            {"ai_gateway_providers": [SIMULATED, REAL], "ai_gateway_tiers": TIERS},
            {
                *(f"{check}:gpt-4" for check in ("chat", "stream", "messages", "key", "forged")),
                *(
                    "path:openai:gpt-4",
                    "no-token:openai",
                    "no-token:more",
                    "forbidden:org/more:1",
                    "hidden:org/more:1",
                    "rate-limit-elsewhere",
                ),
                *("rate-limit-outside", "rate-limit-outside-recovery"),
            },
        ),
        (
            {
                "ai_gateway_providers": [SIMULATED, ANTHROPIC],
                "ai_gateway_models": [ON_PREMISES],
                "ai_gateway_tiers": TIERS[:1],
            },
            {
                *(f"{check}:gpt-4" for check in ("chat", "stream", "messages", "key", "forged")),
                *(f"{check}:claude" for check in ("chat", "stream", "key", "forged")),
                *(f"{check}:opt" for check in ("chat", "stream", "messages", "key", "forged")),
                *(
                    "path:openai:gpt-4",
                    "path:claude:claude",
                    "path:service.llm.opt.8000:opt",
                    "no-token:openai",
                    "no-token:claude",
                    "rate-limit-elsewhere",
                ),
                *(
                    f"rate-limit-{kind}{end}"
                    for kind in ("outside-anthropic", "on-premises")
                    for end in ("", "-recovery")
                ),
            },
        ),
        (
            {"ai_gateway_models": [{"name": "opt", "simulated": True}], "ai_gateway_tiers": TIERS[:1]},
            {
                *(f"{check}:opt" for check in ("chat", "stream", "messages", "key", "forged")),
                *("path:service.external-models.opt-simulator.8000:opt", "rate-limit-elsewhere"),
            },
        ),
    ],
)
def test_check_mode_skips_every_check(tmp_path: Path, variables: dict[str, t.Any], ids: set[str]) -> None:
    code, output = play(tmp_path, variables, "--check", "-vvvv")
    assert code == 0, output
    assert "changed=0" in output
    checks = json.loads((tmp_path / "checks.json").read_text())
    assert {check["status"] for check in checks} == {"skipped"}
    common = {
        "gateway",
        "tokens",
        "models",
        "no-token:chat",
        "no-token:models",
        "bad-token",
        "tampered-token",
        "expired-token",
        "other-audience",
    }
    common |= {
        "no-token:messages",
        "unknown-path",
        "api-key-header",
        "outsider",
        "unknown-model",
        "rate-limit",
        "rate-limit-recovery",
        "cleanup",
    }
    common |= {"wrong-key"}
    assert {check["id"] for check in checks} == common | ids
    assert f"{len(checks)} checks: 0 passed, 0 failed, {len(checks)} skipped" in output
    assert all(check["expected"] and check["name"] for check in checks)
    assert not (tmp_path / "reports").exists()
    assert KEY not in output


@pytest.mark.parametrize(
    ("tokens", "paid_requests", "skipped"),
    [(100, 50, []), (100, 20, ["outside-anthropic"]), (10**9, 50, ["outside", "outside-anthropic", "on-premises"])],
)
def test_no_limit_takes_more_requests_than_are_allowed(
    tmp_path: Path, tokens: int, paid_requests: int, skipped: list[str]
) -> None:
    """What is on the premises costs no money, but millions of requests to it are no check either."""
    tiers = [{**TIERS[0], "token_limit": {"tokens": tokens, "window": "1m"}}]
    variables = {
        "ai_gateway_providers": [REAL, ANTHROPIC],
        "ai_gateway_models": [ON_PREMISES],
        "ai_gateway_tiers": tiers,
    }
    text = rendered(
        tmp_path,
        "validation",
        "limit_places.yaml.j2",
        {**variables, "validation_paid_requests": paid_requests, "validation_max_tokens": 16},
    )
    places = yaml.safe_load(text)
    assert [place["id"] for place in places] == [
        f"rate-limit-{kind}" for kind in ("outside", "outside-anthropic", "on-premises")
    ]
    assert [place["user"] for place in places if place["skip"]] == skipped
    assert sum(place["calls"] for place in places if place["paid"] and not place["skip"]) <= paid_requests


def test_behind_kuadrant_each_provider_has_its_own_path(tmp_path: Path) -> None:
    more = {**SIMULATED, "name": "more", "models": [{"name": "org/more:1"}]}
    local = {
        "name": "facebook/opt-125m",
        "backend_ref": {"kind": "LLMInferenceService", "name": "opt-simulated", "namespace": "llm"},
    }
    stack = {"ai_gateway_stack": "wg_ai_gateway", "ai_gateway_policy_engine": "kuadrant"}
    variables = {
        **stack,
        "ai_gateway_providers": [SIMULATED, more],
        "ai_gateway_models": [local],
        "ai_gateway_tiers": TIERS[:1],
    }
    code, output = play(tmp_path, variables, "--check", "-vvvv")
    assert code == 0, output
    ids = {check["id"] for check in json.loads((tmp_path / "checks.json").read_text())}
    names = ("gpt-4", "org/more:1", "facebook/opt-125m")
    wanted = {f"{check}:{name}" for check in ("chat", "stream", "key", "forged") for name in names}
    wanted |= {
        "path:openai:gpt-4",
        "path:more:org/more:1",
        "no-token:openai",
        "no-token:more",
        "no-token:models",
        "rate-limit-elsewhere",
        "unknown-model",
    }
    assert ids >= wanted
    assert not any(name.startswith(("messages:", "hidden:")) for name in ids)
    assert KEY not in output


def test_behind_kuadrant_one_model_is_enough(tmp_path: Path) -> None:
    stack = {"ai_gateway_stack": "wg_ai_gateway", "ai_gateway_policy_engine": "kuadrant"}
    code, output = play(
        tmp_path, {**stack, "ai_gateway_providers": [SIMULATED], "ai_gateway_tiers": TIERS[:1]}, "--check"
    )
    assert code == 0, output
    assert "rate-limit" in {check["id"] for check in json.loads((tmp_path / "checks.json").read_text())}


def test_wrong_variables_are_refused_together(tmp_path: Path) -> None:
    variables = {"ai_gateway_providers": [SIMULATED], "validation_tier": "gold", "validation_models": ["gpt-5"]}
    code, output = play(tmp_path, variables)
    assert code == 2
    for message in (
        "validation_tier or validation_rate_limit_tier: no tier is named gold; see ai_gateway_tiers",
        "validation_models: no model is named gpt-5; see ai_gateway_providers",
    ):
        assert message in output


def test_a_gateway_without_an_address_is_told(tmp_path: Path) -> None:
    code, output = play(tmp_path, {"ai_gateway_providers": [SIMULATED]})
    assert code == 2
    said = "validation_gateway_url: the gateway has no address yet; run site, or see the status of Gateway ai-gateway/ai-gateway"
    assert said in " ".join(output.split())


def test_the_documented_options_are_the_defaults() -> None:
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == yaml.safe_load(
        (ROLE / "defaults/main.yml").read_text()
    )


def test_to_skip_one_part_says_how_to_choose_the_other(tmp_path: Path) -> None:
    code, output = play(
        tmp_path,
        {"ai_gateway_allow_empty": True, "validation_gateway_url": "http://127.0.0.1:1"},
        "--skip-tags",
        "validation_rate_limit",
    )
    assert code == 2
    assert "Choose one part with --tags validation_probes" in " ".join(output.split())
