# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine lacks to carry a single-node Kubernetes, in words that say what to do."""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import re
import typing as t

GIB = 1 << 30

#: Capabilities by their bit in /proc/self/status, as namespaces, mounts and interfaces need them.
CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN", 19: "CAP_SYS_PTRACE"}


@dataclasses.dataclass(frozen=True)
class Host:
    """What was found on the machine. Sizes in bytes."""

    system: str
    distributions: tuple[str, ...]
    user: int
    capabilities: int
    filesystems: tuple[str, ...]
    controllers: tuple[str, ...]
    memory_available: int
    disk_free: t.Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Network:
    """Addresses of the node as they were given."""

    interface: str
    host_address: str
    node_address: str
    pod_subnet: str
    service_subnet: str


@dataclasses.dataclass(frozen=True)
class Needs:
    """What is needed. Sizes in bytes; ``disk`` by directory and what it is for."""

    memory: int
    disk: t.Mapping[str, tuple[str, int]]


def host_faults(host: Host, needs: Needs) -> list[str]:
    """What the machine lacks, each with its remedy."""
    faults = []
    if host.system != "Linux":
        return [f"the system is {host.system}: the embedded cluster runs on Linux; use inventories/kind elsewhere"]
    if "debian" not in host.distributions:
        found = host.distributions[0] if host.distributions else "unknown"
        faults.append(f"the distribution is {found}: packages are installed from Debian or a relative of it")
    if host.user != 0:
        faults.append(
            f"the user is {host.user} and not root: namespaces and mounts need it; run as root "
            "or set ansible_become: true"
        )
    else:
        lacking = [name for bit, name in CAPABILITIES.items() if not host.capabilities >> bit & 1]
        if lacking:
            faults.append(
                f"root lacks {', '.join(lacking)}: in a container, run it with those capabilities "
                "(docker run --privileged)"
            )
    if "overlay" not in host.filesystems:
        faults.append("the kernel has no overlay file system: run 'modprobe overlay' or use a kernel that has it")
    lacking = [name for name in ("cpu", "memory", "pids") if name not in host.controllers]
    if lacking:
        faults.append(
            f"no control groups for {', '.join(lacking)} under /sys/fs/cgroup: mount them, or in a container share "
            "the host's (--cgroupns=host)"
        )
    if host.memory_available < needs.memory:
        faults.append(
            f"{_gib(host.memory_available)} of memory are available and {_gib(needs.memory)} are needed: end "
            "something or add memory"
        )
    for directory, (purpose, size) in needs.disk.items():
        if host.disk_free[directory] < size:
            faults.append(
                f"{directory} ({purpose}) has {_gib(host.disk_free[directory])} free and {_gib(size)} are needed: "
                "make room there"
            )
    return faults


def network_faults(network: Network, addresses: t.Iterable[tuple[str, str]], running: bool) -> list[str]:
    """What is wrong with the addresses, in themselves and beside those of the machine."""
    faults = []
    prefix = "embedded_cluster_"
    if not re.fullmatch(r"[a-zA-Z0-9_.-]{1,15}", network.interface):
        faults.append(
            f"{prefix}interface: {network.interface!r} is no name of an interface: at most 15 letters, digits, "
            "'-', '_' or '.'"
        )
    parsed: dict[str, t.Any] = {}
    for name, value, kind in (
        ("host_address", network.host_address, ipaddress.IPv4Interface),
        ("node_address", network.node_address, ipaddress.IPv4Address),
        ("pod_subnet", network.pod_subnet, ipaddress.IPv4Network),
        ("service_subnet", network.service_subnet, ipaddress.IPv4Network),
    ):
        try:
            parsed[name] = kind(value)
        except ValueError as error:
            faults.append(f"{prefix}{name}: {error}; write it like {_EXAMPLES[name]}")
    if "host_address" not in parsed:
        return faults
    link = parsed["host_address"].network
    node = parsed.get("node_address")
    taken = {parsed["host_address"].ip} | (
        {link.network_address, link.broadcast_address} if link.prefixlen < 31 else set()
    )
    if node is not None and (node not in link or node in taken):
        faults.append(
            f"{prefix}node_address: {node} is not another host of {link}, the network of {prefix}host_address"
        )
    networks = {"host_address": link} | {
        name: parsed[name] for name in ("pod_subnet", "service_subnet") if name in parsed
    }
    names = list(networks)
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            if networks[one].overlaps(networks[other]):
                faults.append(
                    f"{prefix}{other}: {networks[other]} overlaps {networks[one]} of {prefix}{one}; choose one apart "
                    "from it"
                )
    for interface, address in addresses:
        found = ipaddress.ip_interface(address)
        if interface == network.interface:
            if not running and found.version == 4 and found != parsed["host_address"]:
                faults.append(
                    f"{prefix}interface: {interface} exists and has the address {address}; choose another name"
                )
        elif found.version == 4 and found.network.overlaps(link):
            faults.append(
                f"{prefix}host_address: {link} collides with {address} of interface {interface}; choose a free "
                f"network, and {prefix}node_address in it"
            )
    return faults


def change_faults(configuration: str | None, network: Network) -> list[str]:
    """The settings of an existing cluster, by its kubeadm configuration, that cannot change to the given network."""
    if configuration is None:
        return []
    faults = []
    for name, key in (
        ("node_address", "advertiseAddress"),
        ("pod_subnet", "podSubnet"),
        ("service_subnet", "serviceSubnet"),
    ):
        found = re.search(rf"^\s*{key}:\s*(\S+)\s*$", configuration, re.MULTILINE)
        if found and found[1] != getattr(network, name):
            faults.append(
                f"embedded_cluster_{name}: the existing cluster has {found[1]}, which cannot become "
                f"{getattr(network, name)}; "
                "remove it first with embedded_cluster_state: absent"
            )
    return faults


def collisions(
    hostvars: t.Mapping[str, t.Mapping[str, t.Any]], hosts: t.Iterable[str], host: str, defaults: t.Mapping[str, str]
) -> list[str]:
    """What a host has in common with another embedded cluster of the same run and must have of its own.

    :param hostvars: variables by host
    :param hosts: of the run
    :param host: the one that is asked about
    :param defaults: of a host that does not set them, by their variables
    """
    names = ("embedded_cluster_name", "embedded_cluster_interface", "embedded_cluster_host_address")
    embedded = [one for one in hosts if one == host or hostvars[one].get("ai_gateway_platform") == "embedded"]
    values = {one: {name: str(hostvars[one].get(name) or defaults[name]) for name in names} for one in embedded}
    own = values.pop(host)
    faults = []
    for name, value in own.items():
        others = [one for one, theirs in values.items() if _collides(value, theirs[name])]
        if others:
            faults.append(
                f"{name} is {value} for {host} and {values[others[0]][name]} for {' and '.join(others)}: each embedded "
                "cluster has a name, an interface and a network of its own; write them into host_vars"
            )
    return faults


def _collides(one: str, other: str) -> bool:
    """Whether two values are the same, or networks that overlap."""
    try:
        return ipaddress.ip_interface(one).network.overlaps(ipaddress.ip_interface(other).network)
    except (ValueError, TypeError):
        return one == other


def read_host(directories: t.Iterable[str]) -> Host:
    """Look at this machine. ``directories`` need not exist; the disk that would hold them counts."""
    release: dict[str, str] = {}
    for line in _read("/etc/os-release").splitlines():
        key, found, value = line.partition("=")
        if found:
            release[key] = value.strip().strip('"')
    status = dict(line.split(":", 1) for line in _read("/proc/self/status").splitlines() if ":" in line)
    memory = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines() if ":" in line)
    unified = _read("/sys/fs/cgroup/cgroup.controllers").split()
    controllers = unified or [
        name for name in _list("/sys/fs/cgroup") if os.path.isdir(os.path.join("/sys/fs/cgroup", name))
    ]
    if any(name == "cpu,cpuacct" for name in controllers):
        controllers.append("cpu")
    free = {}
    for directory in directories:
        disk = os.statvfs(_existing(directory))
        free[directory] = disk.f_bavail * disk.f_frsize
    return Host(
        system=os.uname().sysname,
        distributions=(release.get("ID", ""), *release.get("ID_LIKE", "").split()),
        user=os.geteuid(),
        capabilities=int(status.get("CapEff", "0").strip() or "0", 16),
        filesystems=tuple(line.split()[-1] for line in _read("/proc/filesystems").splitlines() if line.strip()),
        controllers=tuple(controllers),
        memory_available=int(memory.get("MemAvailable", "0 kB").split()[0]) * 1024,
        disk_free=free,
    )


_EXAMPLES = {
    "host_address": "10.245.0.1/30",
    "node_address": "10.245.0.2",
    "pod_subnet": "10.244.0.0/16",
    "service_subnet": "10.96.0.0/16",
}


def _gib(size: int) -> str:
    return f"{size / GIB:.1f} GiB"


def _existing(path: str) -> str:
    path = os.path.abspath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as stream:
            return stream.read()
    except OSError:
        return ""


def _list(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except OSError:
        return []
