# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Kubernetes node in Linux namespaces of its own, under a supervisor that is process 1 in there.

Mounts, network interfaces and processes of the node end with that one process. What outlives it are the files in two
directories, the control groups under one name and a few kernel settings that kubelet makes, which are put back.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import time
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.paths import KUBECONFIG

PROC = "/proc"
CGROUPS = "/sys/fs/cgroup"

#: What the kernel's settings were before, in the node's configuration.
KERNEL_RECORD = "kernel-settings.json"
#: Kernel settings that kubelet changes and that are not the network namespace's own.
KERNEL_SETTINGS = (
    "kernel/keys/root_maxbytes",
    "kernel/keys/root_maxkeys",
    "kernel/panic",
    "kernel/panic_on_oops",
    "vm/overcommit_memory",
    "vm/panic_on_oom",
)

#: Asks the cluster's DNS service, given as argument, for a name that it must know, and succeeds with an answer that
#: holds an address.
DNS_QUERY = """
import socket, sys
name = b"".join(bytes([len(part)]) + part for part in b"kubernetes.default.svc.cluster.local".split(b".")) + b"\\0"
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
    query.settimeout(1)
    query.sendto(b"\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0" + name + b"\\0\\1\\0\\1", (sys.argv[1], 53))
    answer = query.recv(512)
sys.exit(answer[3] & 15 or not int.from_bytes(answer[6:8], "big"))
"""

CONTAINERD = "containerd"
KUBELET = "kubelet"

#: The node's own search path: the programs come from Debian packages, those of Kubernetes are called by their full
#: path.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class ClusterNodeError(Exception):
    """A node that cannot be brought to the state asked for, with what to do about it."""


@dataclasses.dataclass(frozen=True)
class ManagedFile:
    """A file with exactly this content."""

    path: str
    content: str
    mode: int = 0o644


@dataclasses.dataclass(frozen=True)
class ManagedCopy:
    """A file or directory copied from ``source``, and again whenever the path of ``source`` changes."""

    source: str
    path: str


@dataclasses.dataclass(frozen=True)
class Node:
    """Where a node lives and how it is reached.

    ``host_address`` carries the prefix length of the link (``10.245.0.1/30``); ``node_address`` does not.
    """

    name: str
    directory: str
    runtime_directory: str
    interface: str
    host_address: str
    node_address: str
    routes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", self.name):
            raise ClusterNodeError(
                f"name: {self.name!r} is no name of a node; write at most 63 lower-case letters, digits and hyphens, "
                "like egress-ai-gateway"
            )

    @property
    def configuration(self) -> str:
        """Directory of the node's own configuration files."""
        return os.path.join(self.directory, "node")

    @property
    def supervisor_configuration(self) -> str:
        return os.path.join(self.configuration, "supervisord.conf")

    @property
    def init(self) -> str:
        return os.path.join(self.configuration, "init")

    @property
    def containerd_socket(self) -> str:
        return os.path.join(self.runtime_directory, "containerd.sock")

    @property
    def process_file(self) -> str:
        """Holds the number of the node's process 1, for people; nothing here relies on it."""
        return os.path.join(self.runtime_directory, "node.pid")

    @property
    def kubeconfig(self) -> str:
        return os.path.join(self.directory, KUBECONFIG)

    @property
    def admin_kubeconfig(self) -> str:
        """The one that kubeadm writes, as seen from the host."""
        return os.path.join(self.directory, "etc", "upper", "kubernetes", "admin.conf")


def node_process(node: Node, proc: str = PROC) -> int | None:
    """Process number, as the host sees it, of the node's process 1; None when the node is not running.

    It is found by what it runs and by being process 1 of a process namespace, so nothing has to be remembered about it.
    """
    marks = {node.supervisor_configuration.encode(), node.init.encode()}
    for entry in os.listdir(proc):
        if not entry.isdigit():
            continue
        try:
            with open(os.path.join(proc, entry, "cmdline"), "rb") as stream:
                if not marks.intersection(stream.read().split(b"\0")):
                    continue
            with open(os.path.join(proc, entry, "status"), encoding="utf-8", errors="replace") as stream:
                numbers = next(line.split()[1:] for line in stream if line.startswith("NSpid:"))
            if len(numbers) == 2 and numbers[1] == "1":
                return int(entry)
        except (OSError, StopIteration):
            continue
    return None


def mounts_below(directories: t.Sequence[str], mountinfo: str) -> list[str]:
    """Mount points in or at one of the directories. ``mountinfo`` is the content of /proc/self/mountinfo."""
    points = [line.split()[4].encode().decode("unicode_escape") for line in mountinfo.splitlines() if line.strip()]
    return [
        point
        for point in points
        if any(point == folder or point.startswith(folder.rstrip("/") + "/") for folder in directories)
    ]


def parse_supervisor_status(text: str) -> dict[str, str]:
    """State of each program by ``supervisorctl status``."""
    return {words[0]: words[1] for words in (line.split() for line in text.splitlines()) if len(words) >= 2}


class NodeManager:
    """Brings one node to a state.

    ``say`` shows progress; ``changes`` collects what was done, or would be in check mode.
    """

    def __init__(self, node: Node, *, check_mode: bool, say: t.Callable[[str], None]) -> None:
        self.node = node
        self.check_mode = check_mode
        self.say = say
        self.changes: list[str] = []
        self.differences: list[dict[str, str]] = []
        self.seconds: dict[str, float] = {}

    def lock(self, *, create: bool, timeout: float) -> None:
        """Keep other runs off this node until the process ends.

        Raises ClusterNodeError when another one does not finish in ``timeout`` seconds.
        """
        if (
            os.path.isdir(self.node.directory)
            and os.listdir(self.node.directory)
            and not os.path.isdir(self.node.configuration)
        ):
            raise ClusterNodeError(
                f"{self.node.directory} holds something else than a cluster; choose another name, or empty it if it "
                "is not needed"
            )
        if create and not self.check_mode:
            os.makedirs(self.node.configuration, exist_ok=True)
        if not os.path.isdir(self.node.directory):
            return
        # Held until the process ends, however it ends.
        locked = os.open(self.node.directory, os.O_RDONLY)

        def taken() -> bool:
            try:
                fcntl.flock(locked, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say(f"waiting for another run that is at work on {self.node.directory}")
                return False
            return True

        if not self._wait(taken, timeout):
            raise ClusterNodeError(
                f"another run is at work on {self.node.directory}, for more than {timeout:.0f} s; wait until it has "
                "finished"
            )

    # Files

    def write_files(self, files: t.Sequence[ManagedFile]) -> set[str]:
        """Write the files that differ; returns their paths."""
        written = set()
        for file in files:
            before = _read(file.path)
            mode = stat.S_IMODE(os.stat(file.path).st_mode) if before is not None else None
            if before == file.content and mode == file.mode:
                continue
            written.add(file.path)
            self.changes.append(f"file {file.path}")
            difference = difflib.unified_diff(
                (before or "").splitlines(keepends=True), file.content.splitlines(keepends=True), file.path, file.path
            )
            self.differences.append({"prepared": "".join(difference)})
            if not self.check_mode:
                _write(file.path, file.content, file.mode)
        return written

    def copy(self, copies: t.Sequence[ManagedCopy]) -> set[str]:
        """Copy what does not exist or came from another source; returns the paths."""
        record = os.path.join(self.node.configuration, "copies.json")
        known: dict[str, str] = json.loads(_read(record) or "{}")
        copied = set()
        for item in copies:
            if known.get(item.path) == item.source and os.path.exists(item.path):
                continue
            copied.add(item.path)
            self.changes.append(f"copy {item.path}")
            if self.check_mode:
                continue
            os.makedirs(os.path.dirname(item.path), exist_ok=True)
            partial = f"{item.path}.partial"
            _remove(partial)
            if os.path.isdir(item.source):
                shutil.copytree(item.source, partial)
                _remove(item.path)
            else:
                shutil.copy2(item.source, partial)
            os.rename(partial, item.path)
            known[item.path] = item.source
            _write(record, json.dumps(known, indent=2, sort_keys=True), 0o644)
        return copied

    # The node's namespaces

    def running(self) -> bool:
        """Whether the node's process 1 is there."""
        return node_process(self.node) is not None

    def start(self) -> int:
        """Start the node's process 1 when it is not running and connect it; returns its process number."""
        process = node_process(self.node)
        if process is None:
            self.changes.append("node started")
            if self.check_mode:
                return 0
            self._save_kernel_settings()
            os.makedirs(self.node.runtime_directory, exist_ok=True)
            os.makedirs(os.path.join(self.node.directory, "log"), exist_ok=True)
            with open(os.path.join(self.node.directory, "log", "init.log"), "ab") as log:
                launched = subprocess.Popen(
                    [
                        "unshare",
                        "--net",
                        "--mount",
                        "--pid",
                        "--ipc",
                        "--uts",
                        "--fork",
                        "--kill-child",
                        "--mount-proc",
                        "/bin/sh",
                        self.node.init,
                    ],
                    cwd="/",
                    env={"PATH": PATH, "LANG": "C.UTF-8"},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            process = self._wait(lambda: node_process(self.node), 10, lambda: launched.poll() is not None)
            if not process:
                raise ClusterNodeError(f"the node did not start: {self._log_tail('init.log')}")
        if not self.check_mode:
            self._make_cgroups()
        self._connect(process)
        if self.check_mode:
            return process
        if _read(self.node.process_file) != f"{process}\n":
            _write(self.node.process_file, f"{process}\n", 0o644)
        if not self._wait(lambda: self._supervisor_state() or None, 30, lambda: node_process(self.node) is None):
            raise ClusterNodeError(
                f"the supervisor does not answer: {self._log_tail('init.log')} {self._log_tail('supervisord.log')}"
            )
        return process

    def _connect(self, process: int) -> None:
        """Connect the node's network namespace with the host's."""
        node = self.node
        prefix = node.host_address.split("/")[1]
        link = _run(["ip", "-json", "address", "show", "dev", node.interface], check=False)
        found = json.loads(link.stdout) if link.returncode == 0 else []
        addresses = [f"{item['local']}/{item['prefixlen']}" for entry in found for item in entry.get("addr_info", [])]
        inside = ["nsenter", f"--target={process}", "--net"]
        peer = process and found and _run([*inside, "ip", "-4", "-o", "address", "show", "dev", "eth0"], check=False)
        if node.host_address in addresses and "UP" in found[0]["flags"] and peer and node.node_address in peer.stdout:
            return
        self.changes.append(f"interface {node.interface}")
        if self.check_mode:
            return
        if not peer or peer.returncode:
            if found:
                _run(["ip", "link", "delete", node.interface])
            _run(["ip", "link", "add", node.interface, "type", "veth", "peer", "name", "eth0", "netns", str(process)])
        _run(["ip", "address", "replace", node.host_address, "dev", node.interface])
        _run(["ip", "link", "set", node.interface, "up"])
        _run([*inside, "ip", "link", "set", "lo", "up"])
        _run([*inside, "ip", "address", "replace", f"{node.node_address}/{prefix}", "dev", "eth0"])
        _run([*inside, "ip", "link", "set", "eth0", "up"])
        for route in node.routes:
            _run([*inside, "ip", "route", "replace", route, "via", node.host_address.split("/")[0]])

    def enter(self, command: t.Sequence[str]) -> list[str]:
        """The command line that runs ``command`` inside the node."""
        process = node_process(self.node)
        if process is None:
            raise ClusterNodeError(f"the node {self.node.name} is not running: {self._log_tail('supervisord.log')}")
        return [
            "nsenter",
            f"--target={process}",
            "--mount",
            "--net",
            "--pid",
            "--ipc",
            "--uts",
            "--",
            "env",
            "-i",
            f"PATH={PATH}",
            *command,
        ]

    # Supervised programs

    def supervise(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run supervisorctl against the node's supervisor."""
        return _run(
            ["/usr/bin/supervisorctl", "-c", self.node.supervisor_configuration, command, *arguments], check=False
        )

    def _supervisor_state(self) -> dict[str, str]:
        if not os.path.exists(os.path.join(self.node.runtime_directory, "supervisor.sock")):
            return {}
        states = parse_supervisor_status(self.supervise("status").stdout)
        return states if CONTAINERD in states else {}

    def ensure_programs(self, programs: t.Sequence[str], restart: t.Container[str] = ()) -> None:
        """Have the supervisor run the programs, again where their inputs changed.

        Raises ClusterNodeError for one that does not stay up.
        """
        states = self._supervisor_state()
        for program in programs:
            running = states.get(program) in ("RUNNING", "STARTING")
            if running and program not in restart:
                continue
            self.changes.append(f"{program} {'restarted' if running else 'started'}")
            if self.check_mode:
                continue
            done = self.supervise("restart" if running else "start", program)
            if "ERROR" in done.stdout and "already started" not in done.stdout:
                raise ClusterNodeError(
                    f"{program} does not start: {done.stdout.strip()}\n{self._log_tail(f'{program}.log')}"
                )

    def wait_for_containerd(self) -> None:
        """Wait until containerd answers."""
        if not self._wait(lambda: self._ctr("version", check=False).returncode == 0, 30):
            raise ClusterNodeError(f"containerd does not answer: {self._log_tail('containerd.log')}")

    # Images

    def missing_archives(self, archives: t.Sequence[str]) -> list[str]:
        """Archives of which an image is not in containerd's store, by what was recorded when they were imported."""
        try:
            recorded: dict[str, list[str]] = json.loads(_read(self._imports) or "{}")
        except ValueError:
            recorded = {}
        if not recorded:
            return list(archives)
        listed = self._ctr("images", "ls", "-q", check=False)
        present = set(listed.stdout.split()) if listed.returncode == 0 else None
        return [
            path
            for path in archives
            if _file_key(path) not in recorded
            or (present is not None and not present.issuperset(recorded[_file_key(path)]))
        ]

    @property
    def _imports(self) -> str:
        return os.path.join(self.node.configuration, "images.json")

    def import_archive(self, path: str) -> None:
        """Import all images of an archive into containerd."""
        started = time.monotonic()
        done = self._ctr("images", "import", path)
        names = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("unpacking ")]
        recorded = json.loads(_read(self._imports) or "{}")
        recorded[_file_key(path)] = names
        _write(self._imports, json.dumps(recorded, indent=2, sort_keys=True), 0o644)
        self.changes.append(f"images of {path}")
        self.seconds[f"import {os.path.basename(path)}"] = round(time.monotonic() - started, 1)

    def _ctr(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return _run(["ctr", f"--address={self.node.containerd_socket}", "--namespace=k8s.io", *arguments], check=check)

    # Kubernetes

    def provision(
        self, *, kubeadm: str, configuration: str, fingerprint: str, first: t.Sequence[str], rest: t.Sequence[str]
    ) -> None:
        """Let kubeadm make a control plane while images are imported: ``first`` those it needs, then ``rest``.

        ``fingerprint`` names what kubeadm is given; a node made by the same is left as it is. Raises ClusterNodeError
        with the last words of what failed.
        """
        record = os.path.join(self.node.configuration, "kubeadm.done")
        initialized = _read(record) == fingerprint
        if not initialized:
            self.changes.append("control plane")
        missing = self.missing_archives([*first, *rest])
        if self.check_mode:
            self.changes += [f"images of {path}" for path in missing]
            return
        started = time.monotonic()
        again = self.initialized()
        making = (
            None
            if initialized
            else self._start_kubeadm(kubeadm, configuration, skip=("addon/coredns",) if again else ())
        )
        try:
            for path in (path for path in first if path in missing):
                self.say(f"importing images: {os.path.basename(path)}")
                self.import_archive(path)
            if making:
                # kubeadm has written all that kubelet reads, and now waits for kubelet.
                settings = ("config.yaml", "kubeadm-flags.env")
                self._wait(
                    lambda: all(self._node_file(f"var/lib/kubelet/{name}") for name in settings),
                    120,
                    lambda: making.poll() is not None,
                )
            if not making or making.poll() is None:
                self.ensure_programs([KUBELET])
                for path in (path for path in rest if path in missing):
                    self.say(f"importing images: {os.path.basename(path)}")
                    self.import_archive(path)
            if making:
                self.say("kubeadm: waiting for the API server")
                if making.wait():
                    raise ClusterNodeError(
                        f"kubeadm failed; its output is in {self.node.directory}/log/kubeadm.log:\n"
                        f"{self._log_tail('kubeadm.log')}"
                    )
                if again:
                    # It was running, or started, with what kubeadm wrote the time before.
                    self.ensure_programs([KUBELET], [KUBELET])
                    self._replace_coredns(kubeadm, configuration)
                _write(record, fingerprint, 0o644)
                self.seconds["kubeadm"] = round(time.monotonic() - started, 1)
        finally:
            if making and making.poll() is None:
                os.killpg(making.pid, signal.SIGKILL)
                making.wait()
        content = _read(self.node.admin_kubeconfig)
        if content is None:
            raise ClusterNodeError(
                f"kubeadm left no {self.node.admin_kubeconfig}; remove the cluster with state absent and make it again"
            )
        if content != _read(self.node.kubeconfig):
            self.changes.append(f"file {self.node.kubeconfig}")
            _write(self.node.kubeconfig, content, 0o600)

    def _start_kubeadm(self, kubeadm: str, configuration: str, skip: t.Sequence[str]) -> subprocess.Popen[bytes]:
        self.say("kubeadm: making the control plane")
        # Its checks are those of a whole machine; those of this one were made before.
        command = [
            kubeadm,
            "init",
            f"--config={configuration}",
            f"--skip-phases={','.join(['preflight', 'show-join-command', *skip])}",
        ]
        path = os.path.join(self.node.directory, "log", "kubeadm.log")
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as log:
            return subprocess.Popen(
                self.enter(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def _replace_coredns(self, kubeadm: str, configuration: str) -> None:
        """Install CoreDNS over an existing one.

        kubeadm migrates the configuration of versions it knows and refuses others, so it is given none.
        """
        delete = ["delete", "configmap", "coredns", "--namespace=kube-system", "--ignore-not-found"]
        _run(
            [os.path.join(self.node.directory, "bin", "kubectl"), f"--kubeconfig={self.node.admin_kubeconfig}", *delete]
        )
        _run(self.enter([kubeadm, "init", "phase", "addon", "coredns", f"--config={configuration}"]))

    def initialized(self) -> bool:
        """Whether kubeadm has once finished here, so that there is something to keep."""
        return os.path.exists(os.path.join(self.node.configuration, "kubeadm.done"))

    def forget_control_plane(self) -> None:
        """Remove the files of an interrupted kubeadm, which nobody has used yet, so that the next one starts anew."""
        if self.check_mode or not any(
            self._node_file(path) for path in ("etc/upper/kubernetes", "var/lib/etcd", "var/lib/kubelet")
        ):
            return
        self.stop()
        for path in ("etc/upper/kubernetes", "var/lib/etcd", "var/lib/kubelet"):
            _remove(os.path.join(self.node.directory, path))

    def wait_ready(self, kubectl: str, wait_timeout: float) -> None:
        """Wait until the node is Ready and CoreDNS available. Raises ClusterNodeError saying what is not."""
        if self.check_mode:
            return
        started = time.monotonic()
        base = [kubectl, f"--kubeconfig={self.node.kubeconfig}", "--request-timeout=5s"]
        command = [*base, "get", "node,deployment,service,pod", "--namespace=kube-system", "--output=json"]
        pending = ["the API server does not answer"]

        def ready() -> bool:
            done = _run(command, check=False)
            if done.returncode:
                pending[:] = [done.stderr.strip() or "the API server does not answer"]
            else:
                listed = json.loads(done.stdout)["items"]
                # A Deployment can be available for a moment and crash: the proof is an answer.
                pending[:] = waiting_for(listed) or ([] if self._dns_answers(listed) else ["an answer from CoreDNS"])
                pending.extend(failing(listed) if pending else ())
            if pending:
                self.say(f"waiting for {pending[0]}")
            return not pending

        if not self._wait(ready, wait_timeout, interval=0.5):
            raise ClusterNodeError(
                f"the cluster is not ready after {wait_timeout:.0f} s: {'; '.join(pending)}. "
                f"Logs are in {self.node.directory}/log and {self.node.directory}/var/log/pods"
            )
        self.seconds["ready"] = round(time.monotonic() - started, 1)

    def _dns_answers(self, listed: list[dict[str, t.Any]]) -> bool:
        addresses = [
            item["spec"]["clusterIP"]
            for item in listed
            if item["kind"] == "Service" and item["metadata"]["name"] == "kube-dns"
        ]
        return (
            bool(addresses)
            and _run(self.enter(["/usr/bin/python3", "-c", DNS_QUERY, addresses[0]]), check=False).returncode == 0
        )

    # Ends

    def stop(self) -> None:
        """End every process of the node; its mounts, interfaces and network namespace go with them."""
        process = node_process(self.node)
        if process is not None:
            self.changes.append("node stopped")
            if self.check_mode:
                return
            self.supervise("stop", KUBELET)
            os.kill(process, signal.SIGKILL)
            if not self._wait(lambda: node_process(self.node) is None and not self._processes_of(process), 60):
                raise ClusterNodeError(f"process {process} of node {self.node.name} does not end")
        if self.check_mode:
            return
        # The kernel removes the interface with the network namespace, a little later.
        path = os.path.join("/sys/class/net", self.node.interface)
        if not self._wait(lambda: not os.path.exists(path), 5):
            _run(["ip", "link", "delete", self.node.interface], check=False)
        _remove(self.node.runtime_directory)
        self._remove_cgroups()

    def remove(self) -> None:
        """Remove everything of the node.

        Raises ClusterNodeError when something foreign is mounted in its directories.
        """
        self.stop()
        self._restore_kernel_settings()
        folders = [self.node.directory, self.node.runtime_directory]
        if any(os.path.lexists(folder) for folder in folders):
            with open(os.path.join(PROC, "self", "mountinfo"), encoding="utf-8") as stream:
                foreign = mounts_below(folders, stream.read())
            if foreign:
                raise ClusterNodeError(
                    f"{', '.join(foreign)} is mounted in a directory of the cluster and not by it; unmount it first"
                )
            self.changes.append(f"directory {self.node.directory}")
            if not self.check_mode:
                # The node's configuration marks the directory as a cluster's, so it goes last.
                for name in _list(self.node.directory):
                    if name != os.path.basename(self.node.configuration):
                        _remove(os.path.join(self.node.directory, name))
                for folder in folders:
                    _remove(folder)

    # Parts

    def _cgroup_directories(self) -> list[str]:
        if os.path.exists(os.path.join(CGROUPS, "cgroup.controllers")):
            return [os.path.join(CGROUPS, self.node.name)]
        controllers = [name for name in sorted(os.listdir(CGROUPS)) if not os.path.islink(os.path.join(CGROUPS, name))]
        return [os.path.join(CGROUPS, name, self.node.name) for name in controllers]

    def _make_cgroups(self) -> None:
        for folder in self._cgroup_directories():
            os.makedirs(folder, exist_ok=True)
            # A new control group of cpuset refuses processes until it has processors and memory nodes.
            for name in ("cpuset.cpus", "cpuset.mems"):
                path = os.path.join(folder, name)
                if (
                    os.path.basename(os.path.dirname(folder)) == "cpuset"
                    and os.path.exists(path)
                    and not (_read(path) or "").strip()
                ):
                    with open(path, "w", encoding="utf-8") as stream:
                        stream.write(_read(os.path.join(os.path.dirname(folder), name)) or "0")

    def _remove_cgroups(self) -> None:
        def removed() -> bool:
            for top in self._cgroup_directories():
                for folder, _folders, _files in os.walk(top, topdown=False):
                    with contextlib.suppress(OSError):
                        os.rmdir(folder)
            return not any(os.path.exists(top) for top in self._cgroup_directories())

        if not self._wait(removed, 10):
            raise ClusterNodeError(f"control group {self.node.name} still holds processes; end them and run again")

    @property
    def _kernel_record(self) -> str:
        return os.path.join(self.node.configuration, KERNEL_RECORD)

    def _other_kernel_records(self) -> list[str]:
        """Those of the other clusters of this machine."""
        place = glob.escape(os.path.dirname(self.node.directory))
        found = glob.glob(os.path.join(place, "*", os.path.basename(self.node.configuration), KERNEL_RECORD))
        return sorted(path for path in found if path != self._kernel_record)

    @contextlib.contextmanager
    def _kernel_lock(self) -> t.Iterator[None]:
        """Keep other clusters of this machine from their records."""
        lock = os.open(os.path.dirname(self.node.directory), os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _save_kernel_settings(self) -> None:
        with self._kernel_lock():
            if os.path.exists(self._kernel_record):
                return
            # What the machine had before its first cluster.
            for path in self._other_kernel_records():
                _write(self._kernel_record, _read(path) or "{}", 0o644)
                return
            values = {name: _read(os.path.join(PROC, "sys", name)) for name in KERNEL_SETTINGS}
            content = json.dumps({name: value.strip() for name, value in values.items() if value})
            _write(self._kernel_record, content, 0o644)

    def _restore_kernel_settings(self) -> None:
        if not os.path.exists(self._kernel_record):
            return
        with self._kernel_lock():
            # The last cluster of the machine does it, as the others need what kubelet has set.
            values = {} if self._other_kernel_records() else json.loads(_read(self._kernel_record) or "{}")
            for name, value in values.items():
                path = os.path.join(PROC, "sys", name)
                if (_read(path) or "").strip() != value and not self.check_mode:
                    with open(path, "w", encoding="utf-8") as stream:
                        stream.write(value)
            if not self.check_mode:
                _remove(self._kernel_record)

    def _node_file(self, path: str) -> bool:
        return os.path.exists(os.path.join(self.node.directory, path))

    def _processes_of(self, process: int) -> bool:
        return os.path.exists(os.path.join(PROC, str(process)))

    def _log_tail(self, name: str) -> str:
        return "\n".join((_read(os.path.join(self.node.directory, "log", name)) or "").strip().splitlines()[-10:])

    @staticmethod
    def _wait(
        condition: t.Callable[[], t.Any],
        timeout: float,
        failed: t.Callable[[], bool] | None = None,
        interval: float = 0.1,
    ) -> t.Any:
        """The first true value of ``condition``, or its last value after ``timeout`` seconds or once ``failed``."""
        end = time.monotonic() + timeout
        while not (value := condition()):
            if time.monotonic() > end or (failed and failed()):
                return condition()
            time.sleep(interval)
        return value


def waiting_for(listed: list[dict[str, t.Any]]) -> list[str]:
    """What of these Node and Deployment objects is not ready yet, in words."""
    pending = []
    kinds = set()
    for item in listed:
        kinds.add(item["kind"])
        status = item.get("status", {})
        conditions = {entry["type"]: entry for entry in status.get("conditions", [])}
        name = f"{item['kind']} {item['metadata']['name']}"
        if item["kind"] == "Node":
            condition = conditions.get("Ready", {})
            if condition.get("status") != "True":
                pending.append(f"{name}: {condition.get('message', 'not registered yet')}")
        elif item["kind"] == "Deployment" and (
            status.get("observedGeneration", 0) < item["metadata"]["generation"]
            or status.get("availableReplicas", 0) < item["spec"].get("replicas", 1)
        ):
            pending.append(
                f"{name}: {status.get('availableReplicas', 0)} of {item['spec'].get('replicas', 1)} available"
            )
    return pending + [f"a {kind}" for kind in ("Node", "Deployment") if kind not in kinds]


def failing(listed: list[dict[str, t.Any]]) -> list[str]:
    """Which containers of these Pod objects cannot start, and why: what the others wait for may be theirs."""
    found = []
    for item in listed:
        for container in item.get("status", {}).get("containerStatuses", []) if item["kind"] == "Pod" else []:
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("message"):
                found.append(f"Pod {item['metadata']['name']}: {waiting.get('reason')}: {waiting['message']}")
    return found


def fingerprint(*contents: str) -> str:
    """SHA-256 of the strings."""
    digest = hashlib.sha256()
    for content in contents:
        digest.update(hashlib.sha256(content.encode()).digest())
    return digest.hexdigest()


def _file_key(path: str) -> str:
    try:
        found = os.stat(path)
    except OSError:
        return path
    return f"{path} {found.st_size} {found.st_mtime_ns}"


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _write(path: str, content: str, mode: int) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = f"{path}.partial"
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
    os.rename(partial, path)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _run(command: t.Sequence[str], check: bool = True) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except FileNotFoundError as error:
        raise ClusterNodeError(f"{command[0]} is not installed") from error
    if check and done.returncode:
        raise ClusterNodeError(f"'{' '.join(command)}' failed: {(done.stderr or done.stdout).strip()}")
    return done
