# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a machine that an embedded cluster could leave behind, to be compared before and after."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

#: Where software keeps files, and how deep to look there.
PLACES = {
    "/etc": 3,
    "/opt": 2,
    "/run": 3,
    "/sys/fs/cgroup": 2,
    "/tmp": 1,
    "/usr/local": 3,
    "/var/lib": 2,
    "/var/log": 2,
    "/var/run": 2,
}
#: Names of files of a cluster. Packages that a cluster needs stay installed, and theirs with them.
NAMES = re.compile(r"egress|kube|etcd|coredns|cni0|/cni/net\.d/.")


def processes() -> list[str]:
    """Return the command line of each process that belongs to an embedded cluster, by what it names or by its control
    group.
    """
    found = []
    for directory in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            command = " ".join(
                [os.readlink(directory / "exe"), *(directory / "cmdline").read_text(errors="replace").split("\0")]
            )
            groups = (directory / "cgroup").read_text(encoding="utf-8")
        except OSError:
            continue  # it has ended, or is the kernel's
        if "/var/lib/egress-ai-gateway" in command or "/egress-ai-gateway" in groups:
            found.append(command)
    return sorted(found)


def mounts() -> list[str]:
    return sorted(
        line.split()[4] for line in pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    )


def files() -> list[str]:
    """Return the paths with a cluster's name in them, down to each place's depth."""
    found = []
    for place, depth in PLACES.items():
        for directory, directories, names in os.walk(place):
            found += [path for name in [*directories, *names] if NAMES.search(path := f"{directory}/{name}")]
            if directory.count("/") - place.count("/") >= depth - 1:
                directories.clear()
    return sorted(found)


def packet_filter() -> str:
    """Return the rules of the host's packet filter, without counters."""
    if not shutil.which("nft"):
        return ""
    rules = subprocess.run(["nft", "--stateless", "list", "ruleset"], capture_output=True, text=True, check=False)
    return rules.stdout


def state() -> dict[str, object]:
    """Return all of it by name; two states of an untouched machine are equal."""
    return {
        "processes": processes(),
        "mounts": mounts(),
        "network interfaces": sorted(os.listdir("/sys/class/net")),
        "named network namespaces": sorted(os.listdir("/run/netns")) if os.path.isdir("/run/netns") else [],
        "routes": pathlib.Path("/proc/net/route").read_text(encoding="utf-8"),
        "forwarding": pathlib.Path("/proc/sys/net/ipv4/ip_forward").read_text(encoding="utf-8"),
        "packet filter": packet_filter(),
        "files": files(),
    }
