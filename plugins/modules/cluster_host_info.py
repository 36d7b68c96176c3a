#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: what a machine lacks for the embedded cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_host_info
short_description: Report what a machine lacks to run the embedded cluster
version_added: 1.0.0
description:
  - Checks system, user, kernel, memory, disk, addresses and packages of the machine and reports all faults at once.
  - Changes nothing.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
attributes:
  check_mode:
    support: full
options:
  directory:
    description: Directory of the cluster's state.
    type: path
    required: true
  cache:
    description: Directory of programs and image archives.
    type: path
    required: true
  interface:
    description: Name of the host's interface to the node.
    type: str
    required: true
  host_address:
    description: IPv4 address of that interface with its prefix length.
    type: str
    required: true
  node_address:
    description: IPv4 address of the node.
    type: str
    required: true
  pod_subnet:
    description: IPv4 network of the pods, in CIDR notation.
    type: str
    required: true
  service_subnet:
    description: IPv4 network of the Services, in CIDR notation.
    type: str
    required: true
  packages:
    description: Debian packages that must be installed.
    type: list
    elements: str
    default: []
  image_archives:
    description: Files that must exist.
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Check the machine
  egress.ai_gateway.cluster_host_info:
    directory: /var/lib/egress-ai-gateway
    cache: ~/.cache/egress-ai-gateway
    interface: egress0
    host_address: 10.245.0.1/30
    node_address: 10.245.0.2
    pod_subnet: 10.244.0.0/16
    service_subnet: 10.96.0.0/16
  register: host
"""

RETURN = r"""
faults:
  description: The faults of the machine, each with its remedy. Empty if the machine can run the cluster.
  returned: always
  type: list
  elements: str
missing_packages:
  description: The O(packages) that are not installed.
  returned: always
  type: list
  elements: str
"""

import json
import os

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.host import (
    GIB,
    Needs,
    Network,
    change_faults,
    host_faults,
    network_faults,
    read_host,
)

#: The control plane, the gateway's components and room to breathe.
MEMORY = 3 * GIB
#: Images unpacked, and logs.
STATE_DISK = 5 * GIB
#: Programs and archives; what Go keeps to build them lies beside them as a rule.
CACHE_DISK = 5 * GIB
BUILD_DISK = 15 * GIB


def main() -> None:
    text = {"type": "str", "required": True}
    module = AnsibleModule(
        argument_spec={
            "directory": {"type": "path", "required": True},
            "cache": {"type": "path", "required": True},
            "interface": text,
            "host_address": text,
            "node_address": text,
            "pod_subnet": text,
            "service_subnet": text,
            "packages": {"type": "list", "elements": "str", "default": []},
            "image_archives": {"type": "list", "elements": "path", "default": []},
        },
        supports_check_mode=True,
    )
    options = module.params
    directory, cache = options["directory"], options["cache"]
    made = os.path.exists(os.path.join(directory, "node", "kubeadm.done"))
    archived = os.path.isdir(os.path.join(cache, "images"))
    disk = {}
    if not made:
        disk[directory] = ("the cluster's state", STATE_DISK)
    if not archived:
        disk[cache] = ("programs and images, and what Go needs to build them", CACHE_DISK + BUILD_DISK)
    network = Network(
        **{
            name: options[name]
            for name in ("interface", "host_address", "node_address", "pod_subnet", "service_subnet")
        }
    )
    faults = host_faults(read_host(disk), Needs(memory=0 if made else MEMORY, disk=disk))
    faults += network_faults(network, _addresses(module), made)
    faults += change_faults(_configuration(directory) if made else None, network)
    faults += [
        f"embedded_cluster_extra_images: there is no file {path}"
        for path in options["image_archives"]
        if not os.path.isfile(path)
    ]
    module.exit_json(changed=False, faults=faults, missing_packages=_missing(module, options["packages"]))


def _addresses(module: AnsibleModule) -> list[tuple[str, str]]:
    """Every address of the machine with its interface; none where iproute2 is not installed yet."""
    program = module.get_bin_path("ip")
    if program is None:
        return []
    code, output, _error = module.run_command([program, "-json", "address", "show"])
    if code:
        return []
    links = [link for link in json.loads(output) if "ifname" in link]
    return [
        (link["ifname"], f"{entry['local']}/{entry['prefixlen']}")
        for link in links
        for entry in link.get("addr_info", [])
    ]


def _configuration(directory: str) -> str | None:
    try:
        with open(os.path.join(directory, "node", "kubeadm.yaml"), encoding="utf-8") as stream:
            return stream.read()
    except OSError:
        return None


def _missing(module: AnsibleModule, packages: list[str]) -> list[str]:
    program = module.get_bin_path("dpkg-query")
    if program is None or not packages:
        return packages
    _code, output, _error = module.run_command(
        [program, "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages]
    )
    installed = {line.split()[0] for line in output.splitlines() if line.endswith(" installed")}
    return [name for name in packages if name not in installed]


if __name__ == "__main__":
    main()
