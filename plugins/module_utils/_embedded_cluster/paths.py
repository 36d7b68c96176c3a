# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an embedded cluster keeps what others use of it. Pure."""

from __future__ import annotations

#: The name of the embedded cluster where none is set, which is the default of role embedded_cluster.
DEFAULT_NAME = "egress-ai-gateway"
#: The administrator's kubeconfig, below the directory of the cluster.
KUBECONFIG = "kubeconfig"


def paths(name: str | None = None) -> dict[str, str]:
    """The paths of the cluster of this name, or of the default name.

    ``directory`` holds all that outlives the processes, ``runtime_directory`` the sockets. ``kubeconfig`` is the
    administrator's; ``helm``, ``kubeadm`` and ``kubectl`` are programs; ``offline_directory`` has the charts and CRDs
    of the upstreams; ``service_account_key`` is what the cluster signs tokens with.
    """
    name = name or DEFAULT_NAME
    directory = f"/var/lib/{name}"
    return {
        "directory": directory,
        "runtime_directory": f"/run/{name}",
        "kubeconfig": f"{directory}/{KUBECONFIG}",
        "offline_directory": f"{directory}/upstream",
        "service_account_key": f"{directory}/etc/upper/kubernetes/pki/sa.key",
        **{program: f"{directory}/bin/{program}" for program in ("helm", "kubeadm", "kubectl")},
    }
