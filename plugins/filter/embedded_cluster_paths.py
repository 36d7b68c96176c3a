# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.paths import paths

DOCUMENTATION = r"""
name: embedded_cluster_paths
short_description: Where an embedded cluster keeps its files
version_added: 1.0.0
description:
  - Accepts the name of a cluster that role P(egress.ai_gateway.embedded_cluster#role) makes, and returns where its files are. They need not exist yet.
options:
  _input:
    description: The name of the cluster, C(embedded_cluster_name). By default that of the role.
    type: str
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show where the kubeconfig of the embedded cluster is
  ansible.builtin.debug:
    msg: "{{ (embedded_cluster_name | egress.ai_gateway.embedded_cluster_paths).kubeconfig }}"
"""

RETURN = r"""
_value:
  description:
    - The paths. C(directory) holds all that outlives the processes, C(runtime_directory) the sockets.
    - C(kubeconfig) is the administrator's. C(helm), C(kubeadm) and C(kubectl) are programs. C(offline_directory) has the charts and CRDs of the upstreams.
  type: dict
  sample:
    directory: /var/lib/egress-ai-gateway
    runtime_directory: /run/egress-ai-gateway
    kubeconfig: /var/lib/egress-ai-gateway/kubeconfig
    offline_directory: /var/lib/egress-ai-gateway/upstream
    helm: /var/lib/egress-ai-gateway/bin/helm
    kubeadm: /var/lib/egress-ai-gateway/bin/kubeadm
    kubectl: /var/lib/egress-ai-gateway/bin/kubectl
"""


class FilterModule:
    """Filters of the embedded cluster."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"embedded_cluster_paths": paths}
