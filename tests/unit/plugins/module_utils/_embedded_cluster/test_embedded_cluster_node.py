# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster import node as embedded_cluster_node
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.node import (
    ClusterNodeError,
    ManagedCopy,
    ManagedFile,
    Node,
    NodeManager,
    failing,
    fingerprint,
    mounts_below,
    node_process,
    parse_supervisor_status,
    waiting_for,
)


@pytest.fixture
def node(tmp_path):
    return Node("test", str(tmp_path / "state"), str(tmp_path / "run"), "test0", "10.245.9.1/30", "10.245.9.2")


def manager(node, check_mode=False):
    return NodeManager(node, check_mode=check_mode, say=lambda line: None)


@pytest.mark.parametrize("name", ["", "../x", "/", "Upper", "-x", "a" * 64])
def test_name_that_could_lead_elsewhere_is_refused(name):
    with pytest.raises(ClusterNodeError, match="is no name of a node"):
        Node(name, "/var/lib/x", "/run/x", "x0", "10.245.9.1/30", "10.245.9.2")


def process(proc, number, arguments, numbers):
    folder = proc / str(number)
    folder.mkdir(parents=True)
    (folder / "cmdline").write_bytes(b"\0".join(arguments) + b"\0")
    (folder / "status").write_text(f"Name:\tx\nNSpid:\t{numbers}\n")


def test_node_is_the_first_process_of_its_namespace(node, tmp_path):
    proc = tmp_path / "proc"
    marked = node.supervisor_configuration.encode()
    process(proc, 10, [b"supervisorctl", b"-c", marked], "10")
    process(proc, 11, [b"supervisord", b"/var/lib/other/node/supervisord.conf"], "11\t1")
    process(proc, 12, [b"sh", marked], "12\t1\t1")
    (proc / "self").mkdir()
    assert node_process(node, str(proc)) is None
    process(proc, 13, [b"supervisord", b"--configuration", marked], "13\t1")
    assert node_process(node, str(proc)) == 13


def test_mounts_are_found_by_whole_path_elements():
    lines = "\n".join(
        f"1 2 0:1 / {point} rw - ext4 /dev/x rw" for point in ("/", "/var/lib/x", "/var/lib/x/a\\040b", "/var/lib/xy")
    )
    assert mounts_below(["/var/lib/x"], lines) == ["/var/lib/x", "/var/lib/x/a b"]


def test_supervisor_status_is_read():
    text = (
        "containerd                       RUNNING   pid 7, uptime 0:01:00\n"
        "kubelet                          FATAL     Exited too quickly\n"
    )
    assert parse_supervisor_status(text) == {"containerd": "RUNNING", "kubelet": "FATAL"}
    assert parse_supervisor_status("unix:///run/x no such file\n") == {"unix:///run/x": "no"}


def test_files_are_written_once_and_shown(node):
    path = os.path.join(node.configuration, "a.conf")
    files = [ManagedFile(path, "one\n", 0o600)]
    checked = manager(node, check_mode=True)
    assert checked.write_files(files) == {path}
    assert not os.path.exists(path)
    first = manager(node)
    assert first.write_files(files) == {path}
    assert "+one" in first.differences[0]["prepared"]
    assert os.stat(path).st_mode & 0o777 == 0o600
    second = manager(node)
    assert second.write_files(files) == set()
    assert second.changes == []
    assert manager(node).write_files([ManagedFile(path, "one\n", 0o644)]) == {path}


def test_copies_follow_the_name_of_their_source(node, tmp_path):
    for name in ("chart-1", "chart-2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Chart.yaml").write_text(name)
    target = os.path.join(node.directory, "upstream", "chart")
    assert manager(node).copy([ManagedCopy(str(tmp_path / "chart-1"), target)]) == {target}
    assert manager(node).copy([ManagedCopy(str(tmp_path / "chart-1"), target)]) == set()
    assert manager(node).copy([ManagedCopy(str(tmp_path / "chart-2"), target)]) == {target}
    with open(os.path.join(target, "Chart.yaml"), encoding="utf-8") as stream:
        assert stream.read() == "chart-2"


def test_archive_is_missing_until_all_of_its_images_are_there(node, tmp_path, monkeypatch):
    archive = tmp_path / "a.tar"
    archive.write_text("x")
    listed = ["x/a:1"]

    class Done:
        returncode = 0

        @property
        def stdout(self):
            return "\n".join(listed)

    monkeypatch.setattr(NodeManager, "_ctr", lambda self, *arguments, check=True: Done())
    assert manager(node).missing_archives([str(archive)]) == [str(archive)]
    os.makedirs(node.configuration)
    with open(os.path.join(node.configuration, "images.json"), "w", encoding="utf-8") as stream:
        json.dump({embedded_cluster_node._file_key(str(archive)): ["x/a:1", "x/b:1"]}, stream)
    assert manager(node).missing_archives([str(archive)]) == [str(archive)]
    listed.append("x/b:1")
    assert manager(node).missing_archives([str(archive)]) == []
    archive.write_text("another")
    assert manager(node).missing_archives([str(archive)]) == [str(archive)]


def test_directory_of_something_else_is_left_alone(node):
    os.makedirs(node.directory)
    with open(os.path.join(node.directory, "precious"), "w", encoding="utf-8") as stream:
        stream.write("x")
    with pytest.raises(ClusterNodeError, match="holds something else than a cluster"):
        manager(node).lock(create=False, timeout=0)


def test_second_run_waits_and_says_so(node):
    first = manager(node)
    first.lock(create=True, timeout=0)
    said = []
    second = NodeManager(node, check_mode=False, say=said.append)
    with pytest.raises(ClusterNodeError, match="another run is at work"):
        second.lock(create=True, timeout=0.2)
    assert "waiting for another run" in said[0]


def listed_node(status, message="ready"):
    return {
        "kind": "Node",
        "metadata": {"name": "n"},
        "status": {"conditions": [{"type": "Ready", "status": status, "message": message}]},
    }


def listed_deployment(available, generation=1, observed=1):
    return {
        "kind": "Deployment",
        "metadata": {"name": "coredns", "generation": generation},
        "spec": {"replicas": 1},
        "status": {"availableReplicas": available, "observedGeneration": observed},
    }


@pytest.mark.parametrize(
    ("objects", "pending"),
    [
        ([listed_node("True"), listed_deployment(1)], []),
        ([], ["a Node", "a Deployment"]),
        ([listed_node("False", "no network"), listed_deployment(1)], ["Node n: no network"]),
        ([listed_node("True"), listed_deployment(0)], ["Deployment coredns: 0 of 1 available"]),
        ([listed_node("True"), listed_deployment(1, generation=2)], ["Deployment coredns: 1 of 1 available"]),
    ],
)
def test_what_is_waited_for_is_named(objects, pending):
    assert waiting_for(objects) == pending


def test_containers_that_cannot_start_are_named():
    waiting = {"reason": "CreateContainerError", "message": "failed to mkdir"}
    statuses = [
        {"state": {"waiting": waiting}},
        {"state": {"waiting": {"reason": "ContainerCreating"}}},
        {"state": {"running": {}}},
    ]
    pod = {"kind": "Pod", "metadata": {"name": "kube-proxy-1"}, "status": {"containerStatuses": statuses}}
    assert failing(
        [pod, {"kind": "Pod", "metadata": {"name": "new"}}, {"kind": "Node", "metadata": {"name": "n"}}]
    ) == ["Pod kube-proxy-1: CreateContainerError: failed to mkdir"]


def test_fingerprint_distinguishes_strings():
    assert fingerprint("a", "b") == fingerprint("a", "b")
    assert fingerprint("a", "b") != fingerprint("ab")


def test_absent_node_needs_nothing(node, monkeypatch):
    monkeypatch.setattr(NodeManager, "_remove_cgroups", lambda self: None)
    first = manager(node)
    first.remove()
    assert first.changes == []
    os.makedirs(node.configuration)
    second = manager(node)
    second.remove()
    assert second.changes == [f"directory {node.directory}"]
    assert not os.path.exists(node.directory)


def test_the_last_cluster_of_a_machine_puts_the_kernel_back(tmp_path, monkeypatch):
    proc = tmp_path / "proc"
    setting = proc / "sys/vm/overcommit_memory"
    setting.parent.mkdir(parents=True)
    setting.write_text("0\n")
    monkeypatch.setattr(embedded_cluster_node, "PROC", str(proc))
    monkeypatch.setattr(embedded_cluster_node, "KERNEL_SETTINGS", ("vm/overcommit_memory",))
    clusters = []
    for name in ("one", "two"):
        place = tmp_path / "lib" / name
        place.mkdir(parents=True)
        own = Node(name, str(place), str(tmp_path / "run" / name), name, "10.245.0.1/30", "10.245.0.2")
        clusters.append(manager(own))
    first, second = clusters
    first._save_kernel_settings()
    # What kubelet of the first makes of it is not what the second has to put back.
    setting.write_text("1\n")
    second._save_kernel_settings()
    first._restore_kernel_settings()
    assert setting.read_text() == "1\n"
    second._restore_kernel_settings()
    assert setting.read_text() == "0"
    # Again, as after a run that was interrupted.
    setting.write_text("1\n")
    second._restore_kernel_settings()
    assert setting.read_text() == "1\n"
