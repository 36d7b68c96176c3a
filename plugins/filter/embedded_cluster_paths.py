# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.paths import paths

DOCUMENTATION = r"""
name: embedded_cluster_paths
short_description: Paths of the files of an embedded cluster
version_added: 1.0.0
description:
  - Accepts the name of a cluster that role P(egress.ai_gateway.embedded_cluster#role) creates, and returns the paths of
    its files.
  - The files need not exist yet.
options:
  _input:
    description: >-
      The name of the cluster, as in variable C(embedded_cluster_name) of the role. Null and the empty string mean the
      role's default cluster.
    type: str
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Show the path of the embedded cluster's kubeconfig
  ansible.builtin.debug:
    msg: "{{ (embedded_cluster_name | egress.ai_gateway.embedded_cluster_paths).kubeconfig }}"
"""

RETURN = r"""
_value:
  description:
    - The absolute paths.
  type: dict
  contains:
    directory:
      description: Directory of the files that outlive the processes.
      type: str
    runtime_directory:
      description: Directory of the sockets.
      type: str
    kubeconfig:
      description: Kubeconfig of the administrator.
      type: str
    offline_directory:
      description: Directory of the charts and CRDs of the upstreams.
      type: str
    service_account_key:
      description: Private key that the cluster signs the tokens of ServiceAccounts with.
      type: str
    helm:
      description: The program helm.
      type: str
    kubeadm:
      description: The program kubeadm.
      type: str
    kubectl:
      description: The program kubectl.
      type: str
  sample:
    directory: /var/lib/egress-ai-gateway
    runtime_directory: /run/egress-ai-gateway
    kubeconfig: /var/lib/egress-ai-gateway/kubeconfig
    offline_directory: /var/lib/egress-ai-gateway/upstream
    service_account_key: /var/lib/egress-ai-gateway/etc/upper/kubernetes/pki/sa.key
    helm: /var/lib/egress-ai-gateway/bin/helm
    kubeadm: /var/lib/egress-ai-gateway/bin/kubeadm
    kubectl: /var/lib/egress-ai-gateway/bin/kubectl
"""


class FilterModule:
    """Filters of the embedded cluster."""

    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"embedded_cluster_paths": paths}
