# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.filter import application_name as filters
from ansible_collections.egress.ai_gateway.plugins.module_utils._rendering.argocd import application_name

ROLES = Path(__file__).parents[5] / "roles/render/vars/main.yml"
PARTS = ["namespaces", "secrets", *yaml.safe_load(ROLES.read_text(encoding="utf-8"))["__render_roles"]]
LONG = "a" * 60


@pytest.mark.parametrize(
    ("host", "begins"),
    [
        ("prod-eu", "prod-eu-ai-gateway"),
        ("_Prod.EU_1", "prod-eu-1-ai-gateway-"),
        ("prod.eu", "prod-eu-ai-gateway-"),
        ("prod_eu", "prod-eu-ai-gateway-"),
        ("Prod-eu", "prod-eu-ai-gateway-"),
        ("___", "ai-gateway-"),
        (LONG, "a" * 38 + "-"),
        ("a" * 37 + "-b", "a" * 37 + "-"),
    ],
)
def test_the_name_of_each_application_is_a_dns_label(host: str, begins: str) -> None:
    name = application_name(host, "ai-gateway")
    assert name.startswith(begins)
    for part in PARTS:
        assert re.fullmatch(r"(?=.{1,63}$)[a-z0-9]+(-[a-z0-9]+)*", f"{name}-{part.replace('_', '-')}")


def test_no_two_hosts_have_the_same() -> None:
    hosts = ["prod-eu", "prod.eu", "prod_eu", "Prod-EU", "_prod-eu", LONG, LONG + "a", "", "_"]
    asked = filters.FilterModule().filters()["application_name"]
    assert len({asked(host, "ai-gateway") for host in hosts}) == len(hosts)
    assert asked("a", "one") != asked("a", "two")
    assert asked(LONG, "one") != asked(LONG, "two")
