#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: the node of the embedded cluster."""

from __future__ import annotations

DOCUMENTATION = r"""
module: cluster_node
short_description: Run a single-node Kubernetes cluster in Linux namespaces of its own
version_added: 1.0.0
description:
  - Starts a supervisor with network, mount, process, IPC and UTS namespaces of its own. In these it runs containerd,
    kubelet and the control plane that kubeadm creates.
  - All processes, mounts and interfaces of the node end with that one process. Its files are in O(directory) and
    O(runtime_directory).
  - An incomplete node is completed. The content of etcd is kept when the node is stopped and started again.
  - The module must run as root on the machine of the node.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  name:
    description: Name of the node, and of its control group.
    type: str
    required: true
  state:
    description:
      - V(present) starts the node.
      - V(stopped) ends its processes and keeps its files.
      - V(absent) ends its processes and removes its files.
    type: str
    choices: [present, stopped, absent]
    default: present
  directory:
    description: Directory of the files that outlive the processes.
    type: path
    required: true
  runtime_directory:
    description: Directory of the sockets.
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
  routes:
    description: Networks that the node reaches through the host, in CIDR notation.
    type: list
    elements: str
    default: []
  files:
    description: Files of O(directory). C(node/init) and C(node/supervisord.conf) must be among them.
    type: list
    elements: dict
    default: []
    suboptions:
      path:
        description: Path under O(directory).
        type: str
        required: true
      content:
        description: Content of the file.
        type: str
        required: true
      mode:
        description: Permissions, as an octal number.
        type: str
        default: '0644'
      restarts:
        description: >-
          The process that is restarted when the file changes. V(node) restarts the whole node. By default nothing is
          restarted.
        type: str
        choices: [containerd, kubelet, node]
  copies:
    description: Files and directories that are copied into O(directory).
    type: list
    elements: dict
    default: []
    suboptions:
      source:
        description: File or directory to copy. It is copied again only if its path changes or the copy is missing.
        type: path
        required: true
      path:
        description: Path under O(directory).
        type: str
        required: true
      restarts:
        description: The process that is restarted when the copy changes. By default nothing is restarted.
        type: str
        choices: [containerd, kubelet, node]
  kubeadm:
    description: Path of the program kubeadm. Required with O(state=present).
    type: path
  kubectl:
    description: Path of the program kubectl. Required with O(state=present).
    type: path
  kubeadm_configuration:
    description: Path under O(directory) of kubeadm's configuration, one of O(files). Required with O(state=present).
    type: str
  control_plane_archives:
    description: Image archives that are imported before kubelet starts.
    type: list
    elements: path
    default: []
  image_archives:
    description: Image archives that are imported while the node starts.
    type: list
    elements: path
    default: []
  wait_timeout:
    description: >-
      Longest wait, in seconds, until another run on the same node has finished, and then until the node is Ready and
      CoreDNS answers.
    type: int
    default: 180
"""

EXAMPLES = r"""
- name: Stop a node and keep the content of etcd
  egress.ai_gateway.cluster_node:
    name: example
    state: stopped
    directory: /var/lib/example
    runtime_directory: /run/example
    interface: example0
    host_address: 10.245.9.1/30
    node_address: 10.245.9.2
"""

RETURN = r"""
changes:
  description: The changes, in check mode those that would be made.
  returned: success
  type: list
  elements: str
kubeconfig:
  description: Path of the administrator's kubeconfig.
  returned: success
  type: str
seconds:
  description: Durations of the parts of the run, in seconds.
  returned: success
  type: dict
"""

import os
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.node import (
    CONTAINERD,
    KUBELET,
    ClusterNodeError,
    ManagedCopy,
    ManagedFile,
    Node,
    NodeManager,
    fingerprint,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress

ARGUMENT_SPEC = {
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "stopped", "absent"], "default": "present"},
    "directory": {"type": "path", "required": True},
    "runtime_directory": {"type": "path", "required": True},
    "interface": {"type": "str", "required": True},
    "host_address": {"type": "str", "required": True},
    "node_address": {"type": "str", "required": True},
    "routes": {"type": "list", "elements": "str", "default": []},
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "str", "required": True},
            "content": {"type": "str", "required": True},
            "mode": {"type": "str", "default": "0644"},
            "restarts": {"type": "str", "choices": ["containerd", "kubelet", "node"]},
        },
    },
    "copies": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "source": {"type": "path", "required": True},
            "path": {"type": "str", "required": True},
            "restarts": {"type": "str", "choices": ["containerd", "kubelet", "node"]},
        },
    },
    "kubeadm": {"type": "path"},
    "kubectl": {"type": "path"},
    "kubeadm_configuration": {"type": "str"},
    "control_plane_archives": {"type": "list", "elements": "path", "default": []},
    "image_archives": {"type": "list", "elements": "path", "default": []},
    "wait_timeout": {"type": "int", "default": 180},
}


def present(manager: NodeManager, options: dict) -> None:
    """Bring the node up."""
    node = manager.node
    started = time.monotonic()
    if not manager.initialized():
        manager.forget_control_plane()

    def below(path: str) -> str:
        return os.path.join(node.directory, path)

    copied = manager.copy([ManagedCopy(item["source"], below(item["path"])) for item in options["copies"]])
    written = manager.write_files(
        [ManagedFile(below(item["path"]), item["content"], int(item["mode"], 8)) for item in options["files"]]
    )
    restarts = {item["restarts"] for item in options["files"] if below(item["path"]) in written}
    restarts |= {item["restarts"] for item in options["copies"] if below(item["path"]) in copied}
    if "node" in restarts and manager.running():
        manager.stop()
    was_running = manager.running()
    manager.start()
    manager.ensure_programs([CONTAINERD], restarts if was_running else ())
    if not manager.check_mode:
        manager.wait_for_containerd()
    manager.seconds["containerd"] = round(time.monotonic() - started, 1)
    configuration = below(options["kubeadm_configuration"])
    # kubeadm's configuration, and the patches beside it.
    given = [
        item["content"]
        for item in options["files"]
        if item["path"].startswith(os.path.splitext(options["kubeadm_configuration"])[0])
    ]
    manager.provision(
        kubeadm=options["kubeadm"],
        configuration=configuration,
        fingerprint=fingerprint(options["kubeadm"], *given),
        first=options["control_plane_archives"],
        rest=options["image_archives"],
    )
    manager.ensure_programs([KUBELET], restarts if was_running else ())
    manager.wait_ready(options["kubectl"], options["wait_timeout"])


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENT_SPEC,
        required_if=[("state", "present", ("kubeadm", "kubectl", "kubeadm_configuration"))],
        supports_check_mode=True,
    )
    options = module.params
    changes: list[str] = []
    try:
        node = Node(
            name=options["name"],
            directory=options["directory"],
            runtime_directory=options["runtime_directory"],
            interface=options["interface"],
            host_address=options["host_address"],
            node_address=options["node_address"],
            routes=tuple(options["routes"]),
        )
        manager = NodeManager(node, check_mode=module.check_mode, say=Progress().say)
        changes = manager.changes
        # What is written is for all to read, but for what is given another mode.
        os.umask(0o022)
        manager.lock(create=options["state"] == "present", timeout=options["wait_timeout"])
        {"present": lambda: present(manager, options), "stopped": manager.stop, "absent": manager.remove}[
            options["state"]
        ]()
    except ClusterNodeError as error:
        module.fail_json(msg=str(error), changes=changes)
    module.exit_json(
        changed=bool(manager.changes),
        changes=manager.changes,
        diff=manager.differences,
        kubeconfig=node.kubeconfig,
        seconds=manager.seconds,
    )


if __name__ == "__main__":
    main()
