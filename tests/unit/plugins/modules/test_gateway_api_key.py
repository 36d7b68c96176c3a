# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules of API keys against a cluster on the loopback interface."""

from __future__ import annotations

import base64
import json
import re
import typing as t
from collections.abc import Callable, Iterator

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._api_keys import (
    PART_LABEL,
    WATCHED,
    ApiKeys,
    digest_of,
    pattern,
)
from cluster import Body, Cluster

Run = Callable[..., dict[str, t.Any]]
NAMESPACE = "ai-gateway-authorino"
PAST = "2026-01-01T00:00:00Z"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    running = Cluster()
    for namespace in (NAMESPACE, "ai-gateway-tier-free", "ai-gateway-tier-premium"):
        running.put("namespaces", "", namespace)
    # Not a key, and one of another gateway.
    running.put("secrets", NAMESPACE, "certificate")
    labels = {**WATCHED, "egress.ai-gateway/api-key-of": "other", "egress.ai-gateway/api-key": "a"}
    running.put("secrets", NAMESPACE, "other-api-key-a", metadata={"labels": labels})
    running.serve()
    yield running
    running.close()


@pytest.fixture
def run(cluster: Cluster, run_module: Run) -> Run:
    pytest.importorskip("kubernetes")

    def run(check_mode: bool = False, **options: t.Any) -> dict[str, t.Any]:
        arguments = {"host": cluster.url, "api_key": "a-token-of-the-cluster", **options}
        return run_module("gateway_api_key", arguments, check_mode=check_mode)

    return run


@pytest.fixture
def issue(run: Run) -> Run:
    def issue(
        name: str = "a", owner: str = "jane@example.com", tier: str = "free", **options: t.Any
    ) -> dict[str, t.Any]:
        return run(name=name, owner=owner, tier=tier, **options)

    return issue


@pytest.fixture
def listed(cluster: Cluster, run_module: Run) -> Callable[..., list[str]]:
    def listed(**options: t.Any) -> list[str]:
        result = run_module(
            "gateway_api_key_info", {"host": cluster.url, "api_key": "a-token-of-the-cluster", **options}
        )
        assert not result["changed"]
        return [key["name"] for key in result["api_keys"]]

    return listed


def secret(cluster: Cluster, name: str = "a") -> Body:
    return cluster.objects["secrets", NAMESPACE, f"ai-gateway-api-key-{name}"]


def end(cluster: Cluster, name: str) -> None:
    """The time of a key has come."""
    secret(cluster, name)["metadata"]["annotations"]["egress.ai-gateway/expires"] = PAST


def test_a_key_is_returned_once_and_only_its_digest_is_kept(cluster: Cluster, issue: Run) -> None:
    result = issue(description="for the build", expires="30d")
    key = result["key"]
    assert result["changed"]
    assert re.fullmatch(pattern("aigw"), key)
    body = secret(cluster)
    digest = digest_of(key)
    assert base64.b64decode(body["data"]["api_key"]).decode() == digest
    assert body["type"] == "Opaque"
    assert WATCHED.items() <= body["metadata"]["labels"].items()
    assert body["metadata"]["labels"][PART_LABEL] == str(int(digest[0], 16) % 8)
    assert key not in json.dumps(list(cluster.objects.values()))
    assert digest not in json.dumps(result)
    shown = result["api_key"]
    assert (shown["name"], shown["owner"], shown["tier"]) == ("a", "jane@example.com", "free")
    assert (shown["id"], shown["expired"], shown["description"]) == (key[5:13], False, "for the build")
    assert result["diff"] == {"before": {}, "after": shown}

    again = issue(expires="1h")
    assert not again["changed"]
    assert "key" not in again
    assert again["api_key"] == shown
    assert secret(cluster) == body


def test_check_mode_issues_nothing(cluster: Cluster, issue: Run) -> None:
    result = issue(check_mode=True)
    assert (result["changed"], result["api_key"]["id"], "key" in result) == (True, "", False)
    assert issue(check_mode=True, tier="gold")["warnings"]
    assert cluster.writes == []


def test_a_rotation_replaces_the_key_in_one_step(cluster: Cluster, issue: Run) -> None:
    first = issue(expires="1h")
    planned = issue(check_mode=True, rotate=True)
    assert planned["changed"]
    assert "key" not in planned
    cluster.writes.clear()
    second = issue(rotate=True, expires="2h")
    assert second["key"] != first["key"]
    assert [write.partition(" ")[0] for write in cluster.writes] == ["PUT"]
    assert base64.b64decode(secret(cluster)["data"]["api_key"]).decode() == digest_of(second["key"])
    assert second["diff"]["before"] == first["api_key"]


def test_a_key_that_has_ended_is_reported(cluster: Cluster, issue: Run) -> None:
    issue()
    end(cluster, "a")
    result = issue()
    assert not result["changed"]
    assert f"Key a ended at {PAST}; set rotate to issue a new one" in json.dumps(result["warnings"])
    assert issue(rotate=True)["api_key"]["expired"] is False


@pytest.mark.parametrize(
    ("options", "revoked"),
    [
        ({"name": "b"}, ["b"]),
        ({"owner": "jane@example.com"}, ["a", "b"]),
        ({"owner": "jane@example.com", "tier": "premium"}, ["b"]),
        ({"tier": "free"}, ["a", "c"]),
        ({"expired": True}, ["c"]),
        ({"expired": False}, ["a", "b"]),
        ({"name": "c", "expired": False}, []),
        ({"owner": "nobody"}, []),
        ({"all": True}, ["a", "b", "c"]),
    ],
)
def test_selected_keys_are_revoked(
    options: dict[str, t.Any], revoked: list[str], cluster: Cluster, run: Run, issue: Run, listed: t.Any
) -> None:
    issue("a")
    issue("b", tier="premium")
    issue("c", owner="jane.example.com")
    end(cluster, "c")
    if "all" not in options:
        assert listed(**options) == revoked
    cluster.writes.clear()
    planned = run(check_mode=True, state="absent", **options)
    assert cluster.writes == []
    result = run(state="absent", **options)
    assert [key["name"] for key in result["revoked"]] == revoked
    assert (result["changed"], result["revoked"]) == (planned["changed"], planned["revoked"])
    assert listed() == sorted({"a", "b", "c"} - set(revoked))
    assert not run(state="absent", **options)["changed"]
    assert {"certificate", "other-api-key-a"} <= set(cluster.names("secrets"))


def test_many_keys_are_read_page_by_page(cluster: Cluster, run: Run, issue: Run, listed: t.Any) -> None:
    issue()
    body = secret(cluster)
    for number in range(600):
        labels = {**body["metadata"]["labels"], "egress.ai-gateway/api-key": f"b{number}"}
        cluster.put("secrets", NAMESPACE, f"b{number}", metadata={**body["metadata"], "labels": labels})
    assert len(listed()) == 601
    assert len(run(state="absent", owner="jane@example.com")["revoked"]) == 601


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tier": "gold"}, "tier: gateway ai-gateway has no tier 'gold'; define it in ai_gateway_tiers and run role"),
        ({"name": "A b"}, 'name: "A b" is not a DNS-1123 label'),
        ({"owner": "jane doe"}, 'owner: "jane doe" is not a name of an owner; write letters, digits and'),
        ({"owner": "..."}, 'owner: "..." is not a name of an owner'),
        ({"description": "a\nb"}, "description: "),
        ({"description": "a" * 257}, "has 257 characters; write at most 256"),
        ({"prefix": "Key_"}, 'prefix: "Key_" is not a prefix of API keys'),
        ({"expires": "soon"}, "expires: 'soon' is neither a duration nor a time; write one such as 90d"),
        ({"expires": "2026-13-01T00:00:00Z"}, "expires: '2026-13-01T00:00:00Z' is neither"),
        ({"expires": "0d"}, "expires: '0d' is neither"),
        ({"expires": PAST}, f"expires: '{PAST}' is not in the future"),
        ({"expires": "366d"}, "expires: '366d' is later than maximum_lifetime allows; write at most 365d"),
        ({"expires": "2h", "maximum_lifetime": "1h"}, "write at most 1h"),
        ({"maximum_lifetime": "long"}, 'maximum_lifetime: "long" is not a duration'),
        ({"expired": True}, "expired: selects keys to revoke; leave it out, or set state to absent"),
        ({"all": True}, "all: selects keys to revoke"),
        ({"namespace": "nowhere"}, 'namespaces "nowhere" not found; check that namespace nowhere is Authorino\'s'),
    ],
)
def test_what_cannot_be_issued_is_refused(options: dict[str, t.Any], message: str, cluster: Cluster, run: Run) -> None:
    result = run(**{"name": "a", "owner": "jane", "tier": "free", **options})
    assert result["failed"]
    assert message in result["msg"]
    assert [write for write in cluster.writes if "nowhere" not in write] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "state: absent needs to know which keys to revoke"),
        ({"all": True, "tier": "free"}, "all: revokes more than the keys that the other options select"),
    ],
)
def test_nobody_revokes_all_keys_by_mistake(
    options: dict[str, t.Any], message: str, cluster: Cluster, run: Run
) -> None:
    result = run(state="absent", **options)
    assert message in result["msg"]
    assert cluster.writes == []


@pytest.mark.parametrize("rotate", [False, True])
def test_a_name_stays_with_its_owner_and_tier(rotate: bool, issue: Run) -> None:
    issue()
    assert "owner: key a exists and is of owner 'jane@example.com'" in issue(owner="joe", rotate=rotate)["msg"]
    assert "tier: key a exists and is of tier 'free'" in issue(tier="premium", rotate=rotate)["msg"]


def test_a_key_that_another_run_changes_meanwhile(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, run: Run, issue: Run
) -> None:
    issue()
    found = ApiKeys.find

    def before(keys: ApiKeys, *arguments: t.Any) -> t.Any:
        kept = list(found(keys, *arguments))
        secret(cluster)["metadata"]["resourceVersion"] = "999"
        return iter(kept)

    monkeypatch.setattr(ApiKeys, "find", before)
    assert "another run issued key a meanwhile" in issue(rotate=True)["msg"]


def test_keys_differ_and_hold_their_checksum_and_end() -> None:
    from ansible_collections.egress.ai_gateway.plugins.module_utils import _api_keys as api_keys

    keys = {api_keys.new_key("aigw", 1_800_000_000) for _number in range(1000)}
    assert len(keys) == 1000
    for key in keys:
        body = key.removeprefix("aigw_")
        value = 0
        for digit in body[8:14]:
            value = value * 62 + api_keys.DIGITS.index(digit)
        assert value == 1_800_000_000
    assert api_keys.base62(61, 2) == "0z"
    assert api_keys.base62(2**32 - 1, 6) == "4gfFC3"
