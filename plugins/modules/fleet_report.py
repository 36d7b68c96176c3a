#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of the same name, on the controller; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_report
short_description: Write what became of each cluster of an inventory on one page
version_added: 1.0.0
description:
  - Each host of a run says when it begins and how it ends, and each time the page of all clusters is written anew, as
    C(fleet.json), C(fleet.xml) for CI and C(fleet.html) for people. So it has a host that has failed early, and it is
    there after a run that was interrupted.
  - The page sums up the reports that are in the directory of each host, and links to them. Reports that are older than
    the run are named as stale. Hosts of the inventory that the run is not for, or has not come to, are named too.
  - The host that is the last to end shows the summary as a table on the terminal.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
attributes:
  check_mode:
    support: full
    details:
      - Writes nothing in check mode.
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - A report is a record of a run and not a state, so the module reports no change.
options:
  state:
    description: Whether the host begins or has come to its end.
    type: str
    choices: [started, finished]
    required: true
  playbook:
    description: Name of what is run, for the page.
    type: str
    required: true
  inventory:
    description: All hosts of the inventory, in the order of the page.
    type: list
    elements: str
    required: true
  hosts:
    description: Those of O(inventory) that the run is for.
    type: list
    elements: str
    required: true
  live:
    description: Those of O(hosts) that the run has not lost.
    type: list
    elements: str
    required: true
  directory:
    description: >-
      Directory of the files. A relative path begins at the working directory of C(ansible-playbook). The directory is
      created if it does not exist.
    type: path
    required: true
  host_directory:
    description: Directory of this host's own reports, as M(egress.ai_gateway.validation_report) writes them.
    type: path
    required: true
  failure:
    description: Why the host has failed. Empty where it has not. The page has the first line.
    type: str
    default: ""
  reachable:
    description: Whether the API server of the cluster answers. Not set where it was not asked.
    type: bool
  gateway_url:
    description: URL of the gateway.
    type: str
    default: ""
  versions:
    description: Versions by product, as RV(egress.ai_gateway.cluster_info#module:versions).
    type: dict
    default: {}
requirements:
  - junit-xml
  - Jinja2
seealso:
  - module: egress.ai_gateway.validation_report
  - module: egress.ai_gateway.cluster_info
"""

EXAMPLES = r"""
- name: Write that this cluster begins
  egress.ai_gateway.fleet_report:
    state: started
    playbook: "{{ ansible_play_name }}"
    inventory: "{{ groups['all'] }}"
    hosts: "{{ ansible_play_hosts_all }}"
    live: "{{ ansible_play_hosts }}"
    directory: reports
    host_directory: reports/{{ inventory_hostname }}

- name: Write that it has come to its end
  egress.ai_gateway.fleet_report:
    state: finished
    playbook: "{{ ansible_play_name }}"
    inventory: "{{ groups['all'] }}"
    hosts: "{{ ansible_play_hosts_all }}"
    live: "{{ ansible_play_hosts }}"
    directory: reports
    host_directory: reports/{{ inventory_hostname }}
    gateway_url: "{{ gateway_url }}"
    reachable: true
"""

RETURN = r"""
files:
  description: The files, as absolute paths. Empty in check mode.
  returned: success
  type: dict
  sample:
    json: /home/jane/gateways/reports/fleet.json
    xml: /home/jane/gateways/reports/fleet.xml
    html: /home/jane/gateways/reports/fleet.html
cluster:
  description: What the page says of this host, as C(clusters) of the JSON has it. Empty in check mode.
  returned: success
  type: dict
  sample:
    name: frankfurt
    status: failed
    reason: "Validate the catalogue: ai_gateway_providers[0].schema: is missing"
summary:
  description: How many clusters have each status.
  returned: success
  type: str
  sample: "3 clusters: 2 passed, 1 failed"
"""
