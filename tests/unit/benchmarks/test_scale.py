# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import pathlib

import pytest
import scale
import scale_catalogue
import scale_cluster
import scale_runs
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build as catalog_build

KEY = "sk-a-key-that-must-not-show"
TIERS = [
    {"name": "free", "level": 0, "groups": ["a"], "token_limit": {"tokens": 100, "window": "1m"}, "models": ["gone"]},
    {
        "name": "premium",
        "level": 7,
        "groups": ["b"],
        "token_limit": {"tokens": 100, "window": "1m"},
        "model_limits": [{"models": ["gone"]}],
    },
]
OUTPUT = """\
PLAY [Cluster] *****
TASK [egress.ai_gateway.catalog : Check the providers, models and tiers] ****
ok: [embedded]
TASK [egress.ai_gateway.providers : Apply the providers] ****
  [embedded] applying 3 of 4 backends
  [embedded] deleting 2 routes
  [embedded] waiting for AIGatewayRoute ai-gateway/models-0: no status yet (0 s)
changed: [embedded]
TASK [egress.ai_gateway.providers : Wait until all proxies serve the providers] ****
ok: [embedded]
PLAY [Summary] *****
TASK [Say it] ****
PLAY RECAP *****
embedded                   : ok=9    changed=2    unreachable=0    failed=0"""


def test_the_time_of_a_run_is_divided_by_what_it_says() -> None:
    # One second between two lines, and before the first.
    lines = [(float(second), line) for second, line in enumerate(OUTPUT.splitlines(), start=1)]
    divided = scale_runs.parts(lines, seconds=20)
    assert divided == {"catalogue": 2, "preparing": 1, "writing": 2, "waiting": 4, "other": 11}
    assert scale_runs.changed(lines) == 2


def test_a_run_that_fails_tells_its_output(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "ansible-playbook"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    program.write_text("#!/bin/sh\necho said\nexit 3\n")
    program.chmod(0o755)
    with pytest.raises(scale_runs.RunError, match=r"(?s)ended with exit status 3.*said"):
        scale_runs.playbook("any", [], limit=60)
    program.write_text("#!/bin/sh\necho said\nsleep 60 & wait\n")
    with pytest.raises(scale_runs.RunError, match=r"(?s)did not end within 1 s.*said"):
        scale_runs.playbook("any", [], limit=1)


def test_the_collection_accepts_the_catalogue(tmp_path: pathlib.Path) -> None:
    written = scale_catalogue.write_inventory(
        tmp_path, "embedded", scale_catalogue.catalogue(31, KEY, TIERS, "external-models")
    )
    variables = yaml.safe_load((written / "group_vars/all/scale.yml").read_text())
    inputs = {
        name.removeprefix("ai_gateway_"): value for name, value in variables.items() if name.startswith("ai_gateway_")
    }
    built = catalog_build.build(inputs)
    simulated, *others = built.providers
    assert simulated.simulated
    assert len(others) == 31
    assert not any(provider.simulated for provider in others)
    # All of them lead to the one simulator, which knows one model.
    assert {(provider.endpoint.hostname, provider.endpoint.port) for provider in others} == {
        (simulated.endpoint.hostname, simulated.endpoint.port)
    }
    assert {model.provider_model for provider in built.providers for model in provider.models} == {
        simulated.models[0].provider_model
    }
    assert [model.name for model in built.models] == [scale_catalogue.model_name(number) for number in range(32)]
    assert [tier.name for tier in built.tiers] == ["free", "premium", "scale"]
    assert not any(tier.restricted for tier in built.tiers)


def test_what_a_smaller_catalogue_does_not_make_is_surplus() -> None:
    kept = [
        "Backend ai-gateway/scale-0010",
        "Secret ai-gateway/scale-0001-credential",
        "HTTPRoute ai-gateway/models-0",
        "Pod a/other-9999",
    ]
    left = [
        "AIGatewayRoute ai-gateway/models-1",
        "Backend ai-gateway/scale-0011",
        "Secret ai-gateway/scale-1001-credential",
    ]
    assert scale_catalogue.surplus([*kept, *left], 10) == left
    assert scale_catalogue.surplus(kept + left[:1], 15) == []
    assert scale_catalogue.surplus(["HTTPRoute ai-gateway/models-67"], 1001) == ["HTTPRoute ai-gateway/models-67"]


def test_what_is_of_the_benchmark() -> None:
    own = [
        "Backend g/scale",
        "Deployment e/scale-simulator",
        "Namespace /ai-gateway-tier-scale",
        "Secret g/scale-0001-credential",
        "X g-tier-scale/me",
    ]
    assert (
        scale_catalogue.of_the_benchmark([*own, "Namespace /ai-gateway-tier-free", "Scale g/other", "Backend g/scaled"])
        == own
    )


def test_the_usage_of_containers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = {"running": {}}
    status = {
        "initContainerStatuses": [
            {"name": "ai-gateway-extproc", "containerID": "containerd://aaa", "restartCount": 1, "state": running}
        ],
        "containerStatuses": [
            {"name": "envoy", "containerID": "containerd://bbb", "restartCount": 0, "state": running},
            {"name": "shutdown-manager", "containerID": "containerd://ccc", "restartCount": 0, "state": running},
            {"name": "ai-gateway-helm", "containerID": "containerd://ddd", "restartCount": 0, "state": running},
            {"name": "etcd", "containerID": "", "restartCount": 0, "state": {}},
        ],
    }
    assert scale_cluster.containers([{"status": status}, {}]) == {
        "aaa": ("ai-gateway-extproc", 1),
        "bbb": ("envoy", 0),
        "ddd": ("ai-gateway-controller", 0),
    }

    def process(number: int, container: str) -> None:
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "cgroup").write_text(f"3:cpu:/kubepods/pod1/{container}\n0::/\n")
        (directory / "status").write_text(f"Name:\ta\nVmHWM:\t{number * 2} kB\nVmRSS:\t{number} kB\n")
        ticks = os.sysconf("SC_CLK_TCK")
        (directory / "stat").write_text(f"{number} (a) b) S {' '.join(['0'] * 10)} {ticks} {ticks * 2} 0 0\n")

    process(1000, "bbb")
    process(2000, "bbb")
    process(4000, "ccc")
    monkeypatch.setattr(scale_cluster, "kubectl", lambda *_arguments: json.dumps({"items": [{"status": status}]}))
    used = scale_cluster.usage(tmp_path)
    assert used["envoy"] == scale_cluster.Usage(3000, 6000, 6.0, 0)
    assert used["ai-gateway-extproc"] == scale_cluster.Usage(restarts=1)


def test_the_tables_tell_own_part_and_slope() -> None:
    def figures(size: int, number: int, phase: str, seconds: float, waiting: float = 0) -> scale.Figures:
        divided = dict.fromkeys(scale_runs.PARTS, 0.0) | {"waiting": waiting}
        zero, some = dict.fromkeys(scale_cluster.COMPONENTS, 0), dict.fromkeys(scale_cluster.COMPONENTS, 2048)
        return scale.Figures(
            size, number, phase, seconds, divided, served=1, cpu=zero, restarts=zero, memory=some, peak=some
        )

    measured = []
    for size in (10, 110):
        for number in (1, 2, 3):
            measured.append(figures(size, number, scale.EMPTY_PLAY, 2))
            # Of 12 and 22 seconds, 4 go to waiting and 2 to Ansible.
            measured += [figures(size, number, phase, 11 + size / 10, 4) for phase in scale.PHASES]
    text = str(scale.Table(measured, {}))
    row = next(line for line in text.splitlines() if line.startswith("first converge") and " 110 " in line)
    assert (
        " ".join(row.split()) == "first converge 110 22.0 s (22.0 - 22.0) 2.0 s 4.0 s 16.0 s 1.0 s (1.0 - 1.0) 23.0 s"
    )
    slopes = text.split("slope a provider")[1].splitlines()[1]
    assert " ".join(slopes.split()) == "first converge 100.00 ms 0.00 ms 100.00 ms 100.00 ms"
    assert "Restarted" not in text
