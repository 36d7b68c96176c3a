# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill runs of apply_set and the API server under them, assert that the next run converges, and search for secrets in
the output and logs.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import threading
import time
import typing as t

import killed_processes
from apply_sets import Body, Set, namespaces
from objects import KUBECTL, kubectl
from runs import follow, run, start

COUNT = 500
#: The module's task in apply_set.yml, and the one after it.
TASK, NEXT_TASK = "TASK [Apply the set]", "TASK [Write down"
LOG_SOCKET = "/dev/log"


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def numbered(numbers: range, value: str, *places: str) -> list[Body]:
    """ConfigMaps and Secrets in turn, each with `value`, spread over the namespaces `places`."""
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret" if number % 2 else "ConfigMap",
            "metadata": {"name": f"object-{number}", "namespace": places[number // 2 % len(places)]},
            "data": {"value": encoded(value) if number % 2 else value},
        }
        for number in numbers
    ]


def content(bodies: t.Iterable[Body], set_id: str = "") -> dict[str, tuple[str, Body]]:
    """Return by kind and name each numbered object's set and data; `set_id` is for those that are no members yet."""
    return {
        f"{body['kind']} {body['metadata']['namespace']}/{body['metadata']['name']}": (
            (body["metadata"].get("labels") or {}).get("applyset.kubernetes.io/part-of", set_id),
            body.get("data") or {},
        )
        for body in bodies
        if body["metadata"]["name"].startswith("object-")
    }


def found(*places: str) -> dict[str, tuple[str, Body]]:
    """Return the same of what the cluster has in the namespaces `places`, members or not."""
    listed = [
        json.loads(kubectl("get", "configmaps,secrets,serviceaccounts", f"--namespace={place}", "--output=json"))
        for place in places
    ]
    return content(body for document in listed for body in document["items"])


def seconds_of(command: list[str | pathlib.Path]) -> float:
    """Run `command`, a run of apply_set.yml, and return how long the module took."""
    with start(*command) as process:
        follow(process, end=TASK)
        started = time.monotonic()
        follow(process, end=NEXT_TASK)
        seconds = time.monotonic() - started
        follow(process)
    assert process.returncode == 0
    return seconds


def cut_off(command: list[str | pathlib.Path], after: float, directory: pathlib.Path) -> bool:
    """Run `command`, a run of apply_set.yml, and kill all of it with SIGKILL `after` seconds of the module; return
    whether it was still running.

    Ansible's workers leave its process group, but nothing leaves a PID namespace, and with its first process everything
    in it has ended.
    """
    litter = {"TMPDIR": str(directory), "ANSIBLE_LOCAL_TEMP": str(directory), "ANSIBLE_REMOTE_TEMP": str(directory)}
    with start("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", *command, **litter) as process:
        follow(process, end=TASK)
        time.sleep(after)
        for first in (
            pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="utf-8").split()
        ):
            os.kill(int(first), signal.SIGKILL)
    return process.returncode != 0


def kill_and_complete(directory: pathlib.Path, kills: int) -> None:
    """Kill runs that want one thing and let the next want another:

    afterwards it must be exactly that, whenever the kill came.
    """
    here, there = "apply-set-kills", "apply-set-kills-more"
    # The seed spreads kills and keeps no secret.
    seed = int(os.environ.get("APPLY_SET_SEED") or random.randrange(10**6))  # noqa: S311
    print(f"{kills} kills, APPLY_SET_SEED={seed}")
    chance = random.Random(seed)  # noqa: S311
    many = Set("many", here, directory)
    # Kinds and a namespace that the run after a kill wants nothing in.
    accounts = [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": f"object-{number}", "namespace": there}}
        for number in range(5)
    ]
    with namespaces(here, there):
        many.apply(numbered(range(COUNT), "first", here, there) + accounts)
        # The shorter of two, as a kill after the end cuts nothing off either.
        length = min(
            seconds_of(many.command(numbered(range(100, 100 + COUNT), "second", here))),
            seconds_of(many.command(numbered(range(COUNT), "third", here, there) + accounts)),
        )
        print(f"a whole run takes {length:.1f} s")
        for number in range(kills):
            # Before that it loads and reads, and a kill cuts nothing off.
            after = length * (0.3 + 0.7 * (number + chance.random()) / kills)
            killed = cut_off(
                many.command(numbered(range(COUNT), f"killed {number}", here, there) + accounts), after, directory
            )
            left = found(here, there)
            written = [
                data
                for _owner, data in left.values()
                if data.get("value") in (f"killed {number}", encoded(f"killed {number}"))
            ]
            print(
                f"{'killed' if killed else 'over'} after {after:.2f} s: "
                f"{len(written)} of {COUNT} objects written, {len(left)} left"
            )

            wanted = numbered(range(100, 100 + COUNT), f"complete {number}", here)
            many.apply(wanted)
            parent = many.parent()
            assert found(here, there) == content(wanted, parent["labels"]["applyset.kubernetes.io/id"])
            assert parent["annotations"]["applyset.kubernetes.io/contains-group-kinds"] == "ConfigMap,Secret"
            assert parent["annotations"]["applyset.kubernetes.io/additional-namespaces"] == ""
            assert not many.apply(wanted)["changed"]
        many.apply([])
        assert found(here, there) == {}
        assert many.parent() == {}


def kill_api_server(directory: pathlib.Path) -> float:
    """Kill the API server while one run writes and another waits; return the seconds that the first took.

    Both must succeed all the same.
    """
    place = "apply-set-restart"
    written, awaited = Set("written", place, directory / "written"), Set("awaited", place, directory / "awaited")
    wanted = numbered(range(COUNT), "whole", place)
    lamp = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "lamp"}}
    (victim,) = killed_processes.processes("kube-apiserver")
    with namespaces(place):
        with start(
            *awaited.command([lamp], set_wait_for=[{"kind": "ConfigMap", "query": "data.light"}], set_wait_timeout=120)
        ) as waiting:
            follow(waiting, end="  [embedded] waiting for ConfigMap")
            with start(*written.command(wanted)) as writing:
                follow(writing, end=TASK)
                started = time.monotonic()
                follow(writing, end="  [embedded] applying")
                os.kill(victim, signal.SIGKILL)
                killed = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
                follow(writing, end=NEXT_TASK)
                seconds = time.monotonic() - started
                follow(writing)
            assert writing.returncode == 0
            kubectl(
                "patch", "configmap/lamp", f"--namespace={place}", "--type=merge", '--patch={"data": {"light": "on"}}'
            )
            follow(waiting)
        assert waiting.returncode == 0
        created = kubectl(
            "get",
            "configmaps,secrets",
            f"--namespace={place}",
            "--output=jsonpath={.items[*].metadata.creationTimestamp}",
        ).split()
        assert killed < max(created), "the objects were there before the API server was killed"
        assert found(place) == content(wanted, written.parent()["labels"]["applyset.kubernetes.io/id"])
        written.apply([])
        awaited.apply([])
        assert found(place) == {}
    return seconds


@contextlib.contextmanager
def system_log() -> t.Iterator[list[str]]:
    """The lines of the system's log during the block, complete after it.

    A machine without a log gets one for that time.
    """
    lines: list[str] = []
    if os.path.exists(LOG_SOCKET):
        since = int(time.time())
        yield lines
        lines += subprocess.run(
            ["journalctl", f"--since=@{since}", "--output=cat"], capture_output=True, text=True, check=True
        ).stdout.splitlines()
        return
    over = threading.Event()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log:
        log.bind(LOG_SOCKET)
        log.settimeout(0.1)

        def collect() -> None:
            while True:
                try:
                    lines.append(log.recv(65536).decode(errors="replace"))
                except TimeoutError:
                    if over.is_set():
                        return

        collector = threading.Thread(target=collect)
        collector.start()
        try:
            yield lines
        finally:
            over.set()
            collector.join()
            os.unlink(LOG_SOCKET)


def look_for_secrets(directory: pathlib.Path) -> None:
    """Change a Secret, and a secret of another object, with Ansible's most verbose output, and find neither value
    in it.
    """
    place = "apply-set-secrets"
    told = Set("told", place, directory)
    values = ["correct-horse-battery", "staple-and-more-staples"]
    texts = []
    temporary = directory / "temporary"
    temporary.mkdir()
    with namespaces(place), system_log() as log:
        for value in values:
            manifests = [
                {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "written"}, "stringData": {"key": value}},
                {
                    "apiVersion": "v1",
                    "kind": "Secret",
                    "metadata": {"name": "encoded"},
                    "data": {"key": encoded(value)},
                },
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": "marked", "annotations": {"egress.ai-gateway/secret-fields": "data['a.key']"}},
                    "data": {"a.key": value, "color": "green"},
                },
            ]
            # The first run is inside of Ansible, the second as a module, which writes to the system's log.
            command = told.command(
                manifests, "--diff", "-vvv", set_environment={"LANGUAGE": "en"} if value == values[1] else {}
            )
            texts.append(run(*command, ANSIBLE_LOG_PATH=str(directory / "ansible.log"), TMPDIR=str(temporary)))
            assert not list(temporary.rglob("*")), "a file stays behind, such as the key to the cluster"
            texts.append(json.dumps(told.result()))
        assert "******** (changed)" in texts[-2]
        told.apply([])
    texts += [(directory / "ansible.log").read_text(encoding="utf-8"), *log]
    assert any("apply_set" in line for line in log), "the system's log has no line of apply_set"
    for value in values:
        for text in texts:
            assert value not in text
            assert encoded(value) not in text


def kubectl_on_a_set(directory: pathlib.Path) -> str:
    """Compare kubectl's list of a set's members with the module's; return what kubectl says when it is to apply the set
    itself.
    """
    place = "apply-set-kubectl"
    shared = Set("shared", place, directory)
    manifests = numbered(range(4), "whole", place)
    with namespaces(place):
        result = shared.apply(manifests)
        selector = f"applyset.kubernetes.io/part-of={shared.parent()['labels']['applyset.kubernetes.io/id']}"
        listed = kubectl(
            "get", "configmap,secret", f"--selector={selector}", f"--namespace={place}", "--output=name"
        ).split()
        assert sorted(listed) == sorted(f"{member['kind'].lower()}/{member['name']}" for member in result["created"])
        ended = subprocess.run(
            [
                *KUBECTL, "apply", "--prune", f"--applyset=configmap/{shared.name}", f"--namespace={place}",
                "--dry-run=server", "--filename", str(directory / "manifests.yaml"),
            ],
            env=os.environ | {"KUBECTL_APPLYSET": "true"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert ended.returncode != 0, "kubectl took over a set of another tool"
        shared.apply([])
    return ended.stderr.strip()


def another_controllers_word(directory: pathlib.Path) -> str:
    """Attach a route that the Gateway's controller rejects, and accept it as another controller; return what apply_set
    says then.
    """
    (gateway,) = json.loads(kubectl("get", "gateways", "--all-namespaces", "--output=json"))["items"]
    place, parent = gateway["metadata"]["namespace"], {"name": gateway["metadata"]["name"]}
    name = "apply-set-test-foreign"
    route = {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": name},
        "spec": {
            "parentRefs": [parent],
            "hostnames": ["apply-set-test.example.com"],
            "rules": [{"backendRefs": [{"name": "apply-set-test-nowhere", "port": 80}]}],
        },
    }
    routes = Set(name, place, directory)
    routes.apply([route], set_wait=False)
    path = f"--namespace={place}", f"httproutes/{name}"
    kubectl("wait", *path, "--for=jsonpath={.status.parents[0].controllerName}", "--timeout=30s")
    conditions = [
        {"type": kind, "status": "True", "reason": kind, "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        for kind in ("Accepted", "ResolvedRefs")
    ]
    word = {"parentRef": parent, "controllerName": "example.com/another", "conditions": conditions}
    patch = json.dumps([{"op": "add", "path": "/status/parents/0", "value": word}])
    kubectl("patch", *path, "--subresource=status", "--type=json", f"--patch={patch}")
    with start(*routes.command([route], set_wait_timeout=3)) as process:
        output = follow(process)
    assert process.returncode != 0, "apply_set took another controller's word"
    assert "example.com/another" in kubectl("get", *path, "--output=yaml")
    routes.apply([])
    return output
