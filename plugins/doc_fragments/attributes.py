# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# Private to this collection.

from __future__ import annotations


class ModuleDocFragment:
    """What the attributes of a module mean."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Supports check mode, changes nothing in it and reports what it would change.
  diff_mode:
    description: Shows changes in diff mode.
  idempotent:
    description: A second run with the same arguments reports no change.
"""

    # For modules that change nothing anywhere, used together with the fragment above.
    READER = r"""
options: {}
attributes:
  diff_mode:
    support: none
    details:
      - It changes no state.
  idempotent:
    support: full
    details:
      - It changes no state.
"""
