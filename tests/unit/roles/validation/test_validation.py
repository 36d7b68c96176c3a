# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role where there is no cluster: in check mode, and with variables that are wrong.

Its plan and its modules run in this process. Few plays show that the role puts them together alike.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.testing import patch_module_args
from ansible_collections.egress.ai_gateway.plugins.filter.validation_plan import validation_plan
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._probes import findings as probes_checks
from plays import ansible_playbook, run_playbook
from validated_providers import KEY, ON_PREMISES, REAL, SIMULATED

ROLES = Path(probes_checks.__file__).parents[3] / "roles"
ROLE = ROLES / "validation"
MODULES = "ansible_collections.egress.ai_gateway.plugins.modules"
ANTHROPIC = {
    "name": "claude",
    "schema": "anthropic",
    "endpoint": {"hostname": "api.example.com"},
    "credential": {"secret": "claude-key"},
    "models": [{"name": "claude"}],
}
TIERS = [
    {"name": "free", "level": 0, "groups": ["a"], "token_limit": {"tokens": 100, "window": "1m"}, "models": ["*"]},
    {"name": "paid", "level": 1, "groups": ["b"], "token_limit": {"tokens": 5000, "window": "1m"}, "models": ["gpt-4"]},
]
MORE = {**SIMULATED, "name": "more", "models": [{"name": "org/more:1"}]}
KSERVE = {
    "name": "facebook/opt-125m",
    "backend_ref": {"kind": "LLMInferenceService", "name": "opt-simulated", "namespace": "llm"},
}
KUADRANT = {"ai_gateway_stack": "wg_ai_gateway", "ai_gateway_policy_engine": "kuadrant", "ai_gateway_tiers": TIERS[:1]}
#: Inventories of the plays that pass.
INVENTORIES: dict[str, dict[str, t.Any]] = {
    "two-providers": {"ai_gateway_providers": [SIMULATED, REAL], "ai_gateway_tiers": TIERS},
    "behind-kuadrant": {**KUADRANT, "ai_gateway_providers": [SIMULATED, MORE], "ai_gateway_models": [KSERVE]},
}


def in_check_mode(module: str, **arguments: t.Any) -> dict[str, t.Any]:
    """What a module returns in check mode."""
    given = {"url": "http://gateway.invalid", "fail_on_mismatch": False, **arguments, "_ansible_check_mode": True}
    printed = io.StringIO()
    with patch_module_args(given), contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        importlib.import_module(f"{MODULES}.{module}").main()
    result: dict[str, t.Any] = json.loads(printed.getvalue())
    return result


def checks_of(variables: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    """The checks of the role in check mode, made in this process."""
    defaults = yaml.safe_load((ROLES / "catalog/defaults/main.yml").read_text())
    given = {"ai_gateway_tiers": defaults["ai_gateway_tiers"], **variables}
    catalog = build({name.removeprefix("ai_gateway_"): value for name, value in given.items()}).as_dict()
    settings = {"providers": variables.get("ai_gateway_providers", []), "network_policies": True}
    seen: dict[str, t.Any] = {"check_mode": True, "run": "r1"}
    plan = validation_plan(catalog, settings, seen)
    seen["listing"] = in_check_mode("inference_probe", probes=[plan["listing"]])
    seen["probes"] = in_check_mode("inference_probe", probes=plan["probes"])
    limits = [{name: value for name, value in limit.items() if name != "user"} for limit in plan["limits"]]
    seen["limits"] = {"results": [in_check_mode("rate_limit_probe", **limit) for limit in limits]}
    checks: list[dict[str, t.Any]] = validation_plan(catalog, settings, seen)["checks"]
    return checks


def play(directory: Path, inventories: dict[str, dict[str, t.Any]], *arguments: str) -> tuple[int, str]:
    """Run the role for a host of each inventory; the exit code and everything it printed."""
    copy = {
        "content": "{{ __validation_checks | to_json }}",
        "dest": f"{directory}/{{{{ inventory_hostname }}}}.json",
    }
    keep = {"ansible.builtin.copy": copy, "check_mode": False, "changed_when": False}
    roles = ["egress.ai_gateway.validation"]
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "roles": roles, "post_tasks": [keep]}]))
    local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    hosts = {name: {**local, **variables} for name, variables in inventories.items()}
    (directory / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": hosts}}))
    inventory = ["--inventory", f"{directory}/inventory.yml"]
    # Nothing here may reach a cluster.
    environment = {"K8S_AUTH_KUBECONFIG": "/nowhere/kubeconfig"}
    ended = ansible_playbook(directory, *inventory, str(playbook), *arguments, environment=environment)
    return ended.returncode, ended.output


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
def test_check_mode_skips_every_check(variables: dict[str, t.Any], ids: set[str]) -> None:
    checks = checks_of(variables)
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
    common |= {"wrong-key", "network-policies"}
    assert {check["id"] for check in checks} == common | ids
    assert len(checks) == len(common | ids)
    assert all(check["expected"] and check["name"] for check in checks)
    assert KEY not in json.dumps(checks)


def test_behind_kuadrant_each_provider_has_its_own_path() -> None:
    ids = {check["id"] for check in checks_of(INVENTORIES["behind-kuadrant"])}
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


def test_behind_kuadrant_one_model_is_enough() -> None:
    checks = checks_of({**KUADRANT, "ai_gateway_providers": [SIMULATED]})
    assert "rate-limit" in {check["id"] for check in checks}


def test_plays_in_check_mode_ask_nothing_and_write_nothing(tmp_path: Path) -> None:
    code, output = play(tmp_path, INVENTORIES, "--check", "-vvvv")
    assert code == 0, output
    assert output.count("changed=0") == len(INVENTORIES)
    for name, variables in INVENTORIES.items():
        checks = json.loads((tmp_path / f"{name}.json").read_text())
        assert f"{len(checks)} checks: 0 passed, 0 failed, {len(checks)} skipped" in output
        kept = ("id", "name", "status", "observed")
        assert [{key: check[key] for key in kept} for check in checks] == [
            {key: check[key] for key in kept} for check in checks_of(variables)
        ]
    assert not (tmp_path / "reports").exists()
    assert KEY not in output


def test_plays_with_wrong_variables_are_refused(tmp_path: Path) -> None:
    wrong = {"validation_tier": "gold", "validation_models": ["gpt-5"]}
    inventories = {"wrong": wrong, "no-address": {}}
    providers = {"ai_gateway_providers": [SIMULATED]}
    code, output = play(tmp_path, {name: {**providers, **variables} for name, variables in inventories.items()})
    assert code == 2
    for message in (
        "validation_tier or validation_rate_limit_tier: no tier is named gold; see ai_gateway_tiers",
        "validation_models: no model is named gpt-5; see ai_gateway_providers",
    ):
        assert message in output
    said = (
        "validation_gateway_url: the gateway has no address yet; "
        "run site, or see the status of Gateway ai-gateway/ai-gateway"
    )
    assert said in " ".join(output.split())
    assert output.count("failed=1") == len(inventories)


def test_the_documented_options_are_the_defaults() -> None:
    options = yaml.safe_load((ROLE / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert {name: option["default"] for name, option in options.items()} == yaml.safe_load(
        (ROLE / "defaults/main.yml").read_text()
    )


def test_to_skip_one_part_says_how_to_choose_the_other(tmp_path: Path) -> None:
    variables = {"ai_gateway_allow_empty": True, "validation_gateway_url": "http://127.0.0.1:1"}
    code, output = play(tmp_path, {"localhost": variables}, "--skip-tags", "validation_rate_limit")
    assert code == 2
    assert "Choose one part with --tags validation_probes" in " ".join(output.split())


@pytest.mark.parametrize(
    ("report", "changed", "quick"),
    [(None, False, True), ({"failed": 0}, False, True), ({"failed": 1}, False, False), (None, True, False)],
)
def test_what_changed_or_failed_last_time_is_validated_in_full(
    report: dict[str, int] | None, changed: bool, quick: bool, tmp_path: Path
) -> None:
    if report is not None:
        (tmp_path / "validation.json").write_text(json.dumps({"counts": report}))
    names = ("crds", "controllers", "gateway", "simulators", "access_policies", "providers")
    shown = {"ansible.builtin.debug": {"msg": "quick is {{ __validation_quick | bool }}"}}
    variables: dict[str, t.Any] = {
        "validation_mode": "auto",
        "validation_report_directory": str(tmp_path),
        "ai_gateway_catalog": {"policy_engine": "authorino", "maas_api": {"enabled": False}},
        **{f"__{name}_applied": {"changed": changed and name == "providers"} for name in names},
    }
    ended = run_playbook(
        tmp_path,
        {"hosts": "all", "gather_facts": False, "vars_files": [str(ROLE / "vars/main.yml")], "tasks": [shown]},
        variables,
    )
    assert ended.returncode == 0, ended.output
    assert f"quick is {quick}" in ended.stdout
