# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.build import build
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump import record as record_module
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.dumped import of_record
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.record import (
    OF_A_RUN,
    ROLES,
    UNRECORDED,
    Key,
    Record,
    RecordError,
    manifests,
    read_record,
    recorded_names,
    without_keys,
)

CANARY = "sk-canary-77c0"
COLLECTION = Path(record_module.__file__).parents[3]


def provider(name: str, **more: t.Any) -> dict[str, t.Any]:
    return {
        "name": name,
        "schema": "openai",
        "endpoint": {"hostname": f"{name}.example.com"},
        "credential": {"value": f"{CANARY}-{name}"},
        "models": [{"name": f"model-of-{name}"}],
        **more,
    }


VARIABLES: dict[str, t.Any] = {
    "ai_gateway_providers": [
        provider("one"),
        provider("two", credential={"secret": "two-key"}),
        provider("aws", schema="aws_bedrock", region="eu-central-1", credential={"form": "workload_identity"}),
    ],
    "ai_gateway_mcp_servers": [
        {"name": "tools", "endpoint": {"hostname": "mcp.example.com"}, "credential": {"value": CANARY}},
        {"name": "open", "endpoint": {"hostname": "mcp.example.org"}},
    ],
    "gateway_tls_certificate": "PUBLIC",
    "gateway_tls_private_key": CANARY,
    "gateway_listeners": [
        {"name": "a", "hostname": "a.example.com"},
        {"name": "b", "hostname": "b.example.com", "tls": {"certificate": "PUBLIC", "private_key": CANARY}},
    ],
    "simulators_certificates": {"one": {"certificate": "PUBLIC", "key": CANARY}},
    "ai_gateway_controller_replicas": 3,
}


def defaults_of_roles() -> dict[str, t.Any]:
    files = [COLLECTION / f"roles/{role}/defaults/main.yml" for role in ROLES]
    return {name: value for path in files for name, value in yaml.safe_load(path.read_text(encoding="utf-8")).items()}


KNOWN = recorded_names(defaults_of_roles())


def recorded() -> Record:
    catalog = build({name.removeprefix("ai_gateway_"): VARIABLES[name] for name in list(VARIABLES)[:2]}).as_dict()
    return without_keys(VARIABLES, catalog)


def test_a_key_is_replaced_by_where_it_is() -> None:
    record = recorded()
    assert CANARY not in repr(record)
    first, second, third = record.variables["ai_gateway_providers"]
    reference = first["credential"]["value"]
    assert (reference.namespace, reference.key) == ("ai-gateway", "apiKey")
    assert reference.secret.startswith("one-credential.")
    assert second == VARIABLES["ai_gateway_providers"][1]
    assert third == VARIABLES["ai_gateway_providers"][2]
    assert record.variables["gateway_tls_private_key"] == Key("ai-gateway", "ai-gateway-tls", "tls.key")
    listeners = record.variables["gateway_listeners"]
    assert listeners[0] == VARIABLES["gateway_listeners"][0]
    assert listeners[1]["tls"]["private_key"] == Key("ai-gateway", "ai-gateway.b.tls", "tls.key")
    assert record.unrecorded == ("simulators_certificates",)
    assert "simulators_certificates" not in record.variables


def test_what_is_written_is_read_again() -> None:
    record = recorded()
    bodies = manifests(record, "ai-gateway", "ai-gateway")
    assert CANARY not in json.dumps(bodies)
    assert [body["metadata"]["name"] for body in bodies] == ["ai-gateway.catalogue"]
    assert read_record(bodies, "ai-gateway", "ai-gateway", KNOWN) == record
    assert read_record(bodies, "ai-gateway", "another", KNOWN) is None
    assert manifests(record, "ai-gateway", "ai-gateway") == bodies


def test_a_large_record_is_several() -> None:
    record = Record(
        {"ai_gateway_prices": {f"model-{number}": {"input": 1, "output": 2} for number in range(40_000)}}, ()
    )
    bodies = manifests(record, "ns", "gw")
    assert [body["metadata"]["name"] for body in bodies][:3] == ["gw.catalogue", "gw.catalogue.1", "gw.catalogue.2"]
    assert len(bodies) > 10
    assert max(len(json.dumps(body).encode()) for body in bodies) < 1_000_000
    assert read_record(list(reversed(bodies)), "ns", "gw", KNOWN) == record
    with pytest.raises(RecordError, match="not whole"):
        read_record(bodies[:-1], "ns", "gw", KNOWN)


@pytest.mark.parametrize(
    "value",
    [
        {"namespace": "ns", "secret": "x') }}{{ ('", "key": "apiKey"},
        {"namespace": "ns", "secret": "x", "key": "a'] }}"},
        {"namespace": "n s", "secret": "x", "key": "apiKey"},
        {"namespace": "ns", "secret": "x"},
        {"namespace": "ns", "secret": 1, "key": "apiKey"},
        {"namespace": "kube-system", "secret": "x", "key": "apiKey"},
    ],
)
def test_a_reference_cannot_become_more_than_one(value: dict[str, t.Any]) -> None:
    (body,) = manifests(Record({"gateway_tls_private_key": value}, ()), "ns", "gw")
    with pytest.raises(RecordError, match="cannot be read"):
        read_record([body], "ns", "gw", KNOWN)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        (Record({"ansible_become_exe": "touch /tmp/x; sudo"}, ()), "ansible_become_exe"),
        (Record({"ai_gateway_helm_binary": "/tmp/helm"}, ()), "ai_gateway_helm_binary"),
        (Record({"gateway_wait_timeout": 1}, ()), "gateway_wait_timeout"),
        (Record({"dump_file": "x", "ai_gateway_platform": "kind"}, ()), "dump_file"),
        (Record({"simulators_certificates": {}}, ()), "simulators_certificates"),
        (Record({}, ("ansible_connection",)), "ansible_connection"),
        (Record({}, ({"a": 1},)), "{'a': 1}"),  # type: ignore[arg-type]
    ],
)
def test_a_record_has_variables_of_a_gateway_alone(record: Record, name: str) -> None:
    bodies = manifests(record, "ns", "gw")
    with pytest.raises(RecordError, match=rf"ConfigMap gw.catalogue has what no record of a gateway has, \"{name}\"; "):
        read_record(bodies, "ns", "gw", KNOWN)


@pytest.mark.parametrize("data", [None, {}])
def test_a_record_without_data_is_not_whole(data: t.Any) -> None:
    (body,) = manifests(Record({}, ()), "ns", "gw")
    body["data"] = data
    with pytest.raises(RecordError, match="is not whole"):
        read_record([body], "ns", "gw", KNOWN)
    del body["data"]
    with pytest.raises(RecordError, match="is not whole"):
        read_record([body], "ns", "gw", KNOWN)


def test_each_key_of_a_record_has_a_variable_of_its_own() -> None:
    listeners = [
        {"name": name, "tls": {"private_key": Key("ns", f"{name}-tls", "tls.key")}} for name in ("gateway-tls", "1")
    ]
    variables = {"gateway_listeners": [*listeners, "x"], "gateway_tls_private_key": Key("ns", "gw-tls", "tls.key")}
    found = of_record(Record(variables, ()), "ns", "gw", "environment", [])
    assert found.environment == ("GATEWAY_TLS_PRIVATE_KEY", "_1_PRIVATE_KEY", "GATEWAY_TLS_PRIVATE_KEY_2")


def test_the_variables_of_a_run_are_not_recorded() -> None:
    defaults = defaults_of_roles()
    names = recorded_names(defaults)
    assert set(defaults) >= OF_A_RUN | set(UNRECORDED)
    assert not OF_A_RUN & set(names)
    assert {"ai_gateway_providers", "ai_gateway_tiers", "gateway_listeners", "controllers_redis"} <= set(names)
    left_out = set(defaults) - set(names) - OF_A_RUN
    assert {name.rsplit("_", 1)[1] for name in left_out} == {"state", "timeout"}


def test_a_dump_names_its_references() -> None:
    defaults = [
        (COLLECTION / f"roles/{role}/defaults/main.yml").read_text(encoding="utf-8") for role in ("catalog", "gateway")
    ]
    found = of_record(recorded(), "ai-gateway", "ai-gateway", "environment", defaults)
    assert found.environment == ("ONE_API_KEY", "TOOLS_MCP_KEY", "B_PRIVATE_KEY", "GATEWAY_TLS_PRIVATE_KEY")
    assert "# Secret ai-gateway/one-credential." in found.content
    assert "simulators_certificates" in [note.path for note in found.notes]
    assert "ai_gateway_kubeconfig:" not in found.comparison
    assert "ai_gateway_tiers:" in found.comparison
    assert "__dump_secrets['ai-gateway-tls']['tls.key'] | b64decode" in found.comparison
    assert found.comparison.count("\nai_gateway_providers:") == 1
    of_cluster = of_record(recorded(), "ai-gateway", "ai-gateway", "cluster", [])
    assert of_cluster.environment == ()
    assert "lookup('kubernetes.core.k8s', kind='Secret', namespace='ai-gateway'" in of_cluster.content
    assert of_cluster.comparison == ""
