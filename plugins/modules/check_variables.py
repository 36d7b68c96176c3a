#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# The work is done by the action plugin of the same name, on the controller; this file documents it.

from __future__ import annotations

DOCUMENTATION = r"""
module: check_variables
short_description: Find what is wrong in the variables of the roles of this collection before a role reads them
version_added: 1.0.0
description:
  - Renders each variable of the inventory that role P(egress.ai_gateway.catalog#role) documents. A template that fails
    is named by its path, such as C(ai_gateway_providers[1].credential.value), and nothing around it is shown.
  - Checks that the variables of all roles have the documented types, as roles do not convert them, and that numbers are
    in range. A variable of another role that is a template is left to that role, as it may need what a role finds out.
  - Names variables whose names nearly are a documented one.
  - Reports all faults at once, each with the path of the variable, the problem and the remedy.
  - Role P(egress.ai_gateway.variables#role) is its only task, on which all other roles depend.
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
  - egress.ai_gateway.attributes.reader
attributes:
  check_mode:
    support: full
"""

EXAMPLES = r"""
- name: Check the variables of all roles
  egress.ai_gateway.check_variables:
"""

RETURN = r"""
faults:
  description: What is wrong.
  returned: failed
  type: list
  elements: dict
  contains:
    path:
      description: Variable and keys.
      type: str
    problem:
      description: What is wrong.
      type: str
    remedy:
      description: What to write instead.
      type: str
"""
