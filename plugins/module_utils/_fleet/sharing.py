# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be a host's own, and that another host of the same run has too. Pure but for links of directories."""

from __future__ import annotations

import os
import typing as t
from collections.abc import Iterable, Mapping


def shared_values(own: Mapping[str, t.Any], others: Mapping[str, Mapping[str, t.Any]]) -> list[str]:
    """A sentence for each value that another host has under the same name. Empty values are of no one.

    :param others: by the names of the hosts
    """
    found = []
    for name, value in own.items():
        hosts = [host for host, values in others.items() if value and values.get(name) == value]
        if hosts:
            found.append(f"{name} {value} is also that of {' and '.join(hosts)}.")
    return found


def shared_paths(
    names: Iterable[str], hostvars: Mapping[str, Mapping[str, t.Any]], hosts: Iterable[str], host: str
) -> list[str]:
    """A sentence for each variable with a path that another host of the run has too, with the remedy.

    A variable that the inventory does not set has a default, which is the host's own.

    :param hosts: of the run
    :param host: the one that is asked about
    """
    hosts = list(hosts)
    if hosts == [host]:
        return []
    paths = {name: {one: _path(hostvars[one].get(name)) for one in hosts} for name in names}
    found = []
    for name, by_host in paths.items():
        others = [one for one, path in by_host.items() if one != host and path and path == by_host.get(host)]
        if others:
            found.append(
                f"{name} is {by_host[host]} for {host} and for {' and '.join(others)}: one would overwrite the "
                "other's. Write it with inventory_hostname into the inventory, or name one cluster with --limit."
            )
    return found


def _path(value: t.Any) -> str:
    return os.path.realpath(os.path.expanduser(str(value))) if value else ""
