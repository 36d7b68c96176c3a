# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written in place of keys. Nothing here reads one. Pure."""

from __future__ import annotations

import re
from collections.abc import Container

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.schemas import API_KEY
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.document import Expression
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.record import Key

#: From where an inventory shall read keys: the environment of ansible-playbook, or the Secrets of the gateway.
ENVIRONMENT = "environment"
CLUSTER = "cluster"
#: The fact in which role dump has the Secrets while it compares.
SECRETS = "__dump_secrets"
_PREFIX, _CONNECTION = "ai_gateway_", ("kubeconfig", "context")
#: What a name in an environment may be.
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


def environment_name(variable: str, entry: str, form: str = API_KEY) -> str:
    """The variable of the environment for the key of an entry, named after the entry.

    :param variable: the variable of the inventory, such as ``ai_gateway_providers``.
    :param entry: name of its entry; empty where the variable is the key itself.
    """
    if not entry:
        return variable.upper()
    ending = {
        "ai_gateway_providers": "API_KEY" if form == API_KEY else "CREDENTIAL",
        "ai_gateway_mcp_servers": "MCP_KEY",
    }.get(variable, "PRIVATE_KEY")
    name = re.sub(r"[^A-Z0-9]", "_", entry.upper())
    # No variable begins with a digit.
    return f"{'_' if name[0].isdigit() else ''}{name}_{ending}"


def free_name(own: str, taken: Container[str]) -> str:
    """The name, or with a number behind it the first one that nothing else has."""
    number = 1
    name = own
    while name in taken:
        number += 1
        name = f"{own}_{number}"
    return name


def of_environment(name: str, comment: str = "") -> Expression:
    """The lookup of a variable of the environment, whose name must be one."""
    if not VARIABLE.fullmatch(name):
        raise ValueError("no name of a variable of an environment")
    return Expression("{{ lookup('ansible.builtin.env', '" + name + "') }}", comment)


def of_cluster(key: Key) -> Expression:
    """The lookup of a Secret, by whose rights it is read."""
    # A lookup does not leave out what is omitted, as a module does.
    connection = ", ".join(f"{name}={_PREFIX}{name} if {_PREFIX}{name} is string else none" for name in _CONNECTION)
    secret = (
        f"lookup('kubernetes.core.k8s', kind='Secret', namespace='{key.namespace}', resource_name='{key.secret}', "
        f"{connection})"
    )
    return Expression("{{ " + secret + f".data['{key.key}'] | b64decode " + "}}")


def of_fact(key: Key) -> Expression:
    """The same from SECRETS, a mapping from the name of a Secret to its data."""
    return Expression("{{ " + f"{SECRETS}['{key.secret}']['{key.key}'] | b64decode " + "}}")


def place_of(key: Key) -> str:
    """Where a key is, in words."""
    return f"Secret {key.namespace}/{key.secret}, key {key.key}"
