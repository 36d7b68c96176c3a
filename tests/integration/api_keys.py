# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Issue API keys of a gateway, call with them, revoke them under load, and measure requests beside 10,000 of them.

The catalogue of the gateway must have callers of kind api_key.
"""

from __future__ import annotations

import base64
import concurrent.futures
import dataclasses
import json
import math
import pathlib
import re
import statistics
import subprocess
import sys
import threading
import time
import typing as t
from collections.abc import Sequence

from gateway_requests import Ask, Reply, body_of, log, send
from objects import KUBECTL, kubectl
from runs import INVENTORY, ROOT

NAMESPACE = "ai-gateway-authorino"
TIER = "premium"
MODEL = "gpt-4"
PATH = "/v1/chat/completions"
GATEWAY = "ai-gateway"
#: The file with the variables of the site, in the directory of the keys.
SITE = "callers.yml"
OF_KEYS = f"egress.ai-gateway/api-key-of={GATEWAY}"


@dataclasses.dataclass(frozen=True)
class Latency:
    """Milliseconds of requests, one after the other."""

    median: float
    p99: float

    @classmethod
    def of(cls, replies: Sequence[Reply]) -> Latency:
        milliseconds = sorted(reply.seconds * 1000 for reply in replies)
        return cls(statistics.median(milliseconds), milliseconds[math.ceil(len(milliseconds) * 0.99) - 1])

    def __str__(self) -> str:
        return f"p50 {self.median:.1f} ms, p99 {self.p99:.1f} ms"


def keys_of(path: pathlib.Path, *arguments: str, **variables: str) -> str:
    """Run playbook api_keys and return what it printed.

    :param path: where a new key goes, beside SITE.
    :param arguments: more of ansible-playbook.
    """
    given = {"api_keys_file": str(path), **variables}
    pairs = [f"@{path.parent / SITE}", *map("=".join, given.items())]
    extra = [argument for pair in pairs for argument in ("--extra-vars", pair)]
    command = ["ansible-playbook", *arguments, "--inventory", str(INVENTORY), *extra, "egress.ai_gateway.api_keys"]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=300
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def issue(directory: pathlib.Path, name: str, owner: str = "integration", **variables: str) -> str:
    """A new key of tier TIER. All that Ansible prints of it is in a file beside the key, with the ending ``.txt``."""
    path = directory / name
    given = {"api_keys_state": "present", "api_keys_name": name, "api_keys_owner": owner, "api_keys_tier": TIER}
    printed = keys_of(path, "-vvv", "--diff", **given, **variables)
    key = path.read_text(encoding="ascii").strip()
    assert key not in printed
    path.with_suffix(".txt").write_text(printed, encoding="utf-8")
    return key


def digest_of(name: str) -> str:
    """What is kept of a key."""
    secret = (f"{GATEWAY}-api-key-{name}", f"--namespace={NAMESPACE}")
    return base64.b64decode(kubectl("get", "secret", *secret, "--output=jsonpath={.data.api_key}")).decode()


def ask(**headers: str) -> Ask:
    """A request that costs two tokens."""
    cheap = {"x-simulator-prompt-tokens": "1", "x-simulator-completion-tokens": "1"}
    return Ask(PATH, body_of(PATH, MODEL), {**cheap, **headers})


def until(url: str, key: str, status: int, timeout: float = 30) -> float:
    """Seconds until a request with the key is answered with the status."""
    started = time.monotonic()
    while (reply := send(url, key, ask())).status != status:
        assert time.monotonic() < started + timeout, f"after {timeout:.0f} s: {reply}"
        time.sleep(0.02)
    return time.monotonic() - started


def lifecycle(url: str, directory: pathlib.Path) -> list[str]:
    """Return what is wrong with a key from its issue to its end, and with what the log and the cluster say of it."""
    found = []
    key = issue(directory, "lifecycle", api_keys_expires="1h")
    until(url, key, 200)
    replies = [send(url, key, ask()), send(url, "", ask(**{"x-api-key": key}))]
    entries = log(reply.ask.agent for reply in replies)
    for reply in replies:
        entry = entries[reply.ask.agent]
        if (reply.status, entry["user"], entry["tier"]) != (200, "key:integration", TIER):
            found.append(f"{reply}, and the log has {entry['user']} of tier {entry['tier']}")
        if key in json.dumps(entry):
            found.append("the log has the key")
    # Nor its own, which the search of all places expects to hold the digest.
    secrets = kubectl("get", "secrets", "--all-namespaces", "--output=json")
    if key in secrets or base64.b64encode(key.encode()).decode() in secrets:
        found.append("a Secret has the key")
    rotated = directory / "rotated"
    given = {"api_keys_name": "lifecycle", "api_keys_owner": "integration", "api_keys_tier": TIER}
    keys_of(rotated, api_keys_state="present", api_keys_rotate="true", **given)
    until(url, rotated.read_text(encoding="ascii").strip(), 200)
    until(url, key, 401)
    keys_of(rotated, api_keys_state="absent", api_keys_name="lifecycle")
    until(url, rotated.read_text(encoding="ascii").strip(), 401)
    return found


def refusals(url: str, directory: pathlib.Path) -> list[str]:
    """Return what is wrong with the answers to keys that are of no use."""
    key = issue(directory, "refusals")
    until(url, key, 200)
    short = issue(directory, "short", api_keys_expires="20s")
    short_issued = time.monotonic()
    digest = digest_of("refusals")
    expected = [
        ("a wrong character", {"authorization": f"Bearer {key[:-1]}{'a' if key[-1] != 'a' else 'b'}"}, 401, "checksum"),
        ("a part of it", {"x-api-key": key[:-1]}, 401, "incomplete"),
        ("two", {"authorization": f"Bearer {key}", "x-api-key": short}, 400, "different tokens"),
        ("its hash", {"authorization": f"Bearer {digest}"}, 401, "token"),
        (
            "its hash as the gateway sends it",
            {f"x-ai-gateway-api-key-digest-{'abcdefgh'[int(digest[0], 16) % 8]}": digest},
            401,
            "",
        ),
    ]
    found = []
    for what, headers, status, words in expected:
        reply = send(url, "", ask(**headers))
        if reply.status != status or words not in reply.message or reply.problems:
            found.append(f"{what}: {reply} {reply.problems}")
    time.sleep(max(0.0, 21 - (time.monotonic() - short_issued)))
    reply = send(url, short, ask())
    if reply.status != 401 or "ended at" not in reply.message:
        found.append(f"ended: {reply}")
    keys_of(directory / "none", api_keys_state="absent", api_keys_name="refusals")
    until(url, key, 401)
    reply = send(url, key, ask())
    if "revoked" not in reply.message or reply.problems:
        found.append(f"revoked: {reply} {reply.problems}")
    keys_of(directory / "none", api_keys_state="absent", api_keys_validity="ended", api_keys_confirmed="true")
    return found


def revoked_under_load(url: str, directory: pathlib.Path, connections: int = 16) -> float:
    """Seconds from the deletion of a key to the last request that it let in, while others call with another key."""
    steady, key = issue(directory, "steady"), issue(directory, "taken")
    for one in (steady, key):
        until(url, one, 200)
    ending, statuses, passed = threading.Event(), set(), [time.monotonic()]

    def call(own: str) -> None:
        while not ending.is_set():
            started = time.monotonic()
            status = send(url, own, ask()).status
            if own == steady:
                statuses.add(status)
            elif status == 200:
                passed.append(started)

    with concurrent.futures.ThreadPoolExecutor(connections + 1) as pool:
        for _connection in range(connections):
            pool.submit(call, steady)
        pool.submit(call, key)
        time.sleep(5)
        deleted = time.monotonic()
        kubectl("delete", "secret", f"{GATEWAY}-api-key-taken", f"--namespace={NAMESPACE}")
        time.sleep(10)
        ending.set()
    assert statuses == {200}, statuses
    keys_of(directory / "none", api_keys_state="absent", api_keys_owner="integration", api_keys_confirmed="true")
    return max(0.0, max(passed) - deleted)


def many(count: int, owner: str = "many") -> list[dict[str, t.Any]]:
    """The Secrets of so many keys, which nobody has."""
    sys.path.insert(0, str(ROOT / ".collections"))
    from ansible_collections.egress.ai_gateway.plugins.module_utils import _api_keys as api_keys

    now = int(time.time())
    made: list[dict[str, t.Any]] = []

    class Collected:
        """Keeps what would be sent to an API server."""

        def request(self, _method: str, _path: str, body: dict[str, t.Any]) -> None:
            made.append(body)

    keys = api_keys.ApiKeys(t.cast(t.Any, Collected()), GATEWAY, NAMESPACE)
    for number in range(count):
        key = api_keys.new_key("aigw", now + 86400)
        known = api_keys.ApiKey(f"many-{number}", owner, TIER, api_keys.id_of(key), now, now + 86400)
        keys.store(known, api_keys.digest_of(key))
    return made


def memory() -> int:
    """The bytes of memory that Authorino has, by its own metrics; 0 where they cannot be read."""
    selector = "--selector=app.kubernetes.io/name=authorino"
    pod = kubectl("get", "pods", f"--namespace={NAMESPACE}", selector, "--output=jsonpath={.items[0].metadata.name}")
    command = [*KUBECTL, "get", "--raw", f"/api/v1/namespaces/{NAMESPACE}/pods/{pod}:8080/proxy/metrics"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    found = re.search(r"^process_resident_memory_bytes (\S+)$", ended.stdout, re.MULTILINE)
    return int(float(found[1])) if found else 0


@dataclasses.dataclass(frozen=True)
class Measured:
    """Requests beside few and beside many keys, the seconds of a list of them, and Authorino's memory in bytes."""

    few: Latency
    many: Latency
    listed: float
    revoked: float
    memory_before: int
    memory_after: int


def beside_many(url: str, directory: pathlib.Path, count: int = 10_000, requests: int = 2000) -> Measured:
    """Measure requests beside ten keys and beside ``count``."""
    key = issue(directory, "measured")
    until(url, key, 200)

    def measured() -> Latency:
        replies = [send(url, key, ask()) for _number in range(requests)]
        assert {reply.status for reply in replies} == {200}
        return Latency.of(replies)

    few_before, memory_before = measured(), memory()
    bodies = many(count)
    for start in range(0, count, 500):
        kubectl(
            "create",
            "--filename=-",
            document=json.dumps({"apiVersion": "v1", "kind": "List", "items": bodies[start : start + 500]}),
        )
    time.sleep(30)
    many_after, memory_after = measured(), memory()
    started = time.monotonic()
    printed = keys_of(directory / "none", api_keys_owner="many")
    listed = time.monotonic() - started
    assert f"{count} keys" in printed
    started = time.monotonic()
    keys_of(directory / "none", api_keys_state="absent", api_keys_owner="many", api_keys_confirmed="true")
    revoked = time.monotonic() - started
    keys_of(directory / "none", api_keys_state="absent", api_keys_name="measured")
    assert kubectl("get", "secrets", f"--namespace={NAMESPACE}", f"--selector={OF_KEYS}", "--output=name") == ""
    return Measured(few_before, many_after, listed, revoked, memory_before, memory_after)
