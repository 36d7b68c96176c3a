# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from collections.abc import Callable, Mapping, Sequence

from ansible.errors import AnsibleFilterError
from ansible_collections.egress.ai_gateway.plugins.module_utils._upgrade.versions import Pairs, judge, version_of

DOCUMENTATION = r"""
name: known_bad_versions
short_description: Why images are known not to work together
version_added: 1.0.0
description:
  - Judges the versions in the tags of images, as filter P(egress.ai_gateway.upgrade_plan#filter) does.
  - An image without a version in its tag is not known to be bad.
options:
  _input:
    description: The images of C(envoy_gateway), C(envoy) and C(envoy_ai_gateway).
    type: dict
    required: true
  bad:
    description: Versions that do not work together, each entry with a condition for each component and a C(reason).
    type: list
    elements: dict
    required: true
author:
  - Contributors to the egress.ai_gateway project (!UNKNOWN)
"""

EXAMPLES = r"""
- name: Print why these images do not work together
  ansible.builtin.debug:
    msg: "{{ images | egress.ai_gateway.known_bad_versions(versions_known_bad) }}"
"""

RETURN = r"""
_value:
  description: A sentence for each entry that these versions meet.
  type: list
  elements: str
"""


def _bad(images: Mapping[str, str], bad: Sequence[Mapping[str, str]]) -> list[str]:
    versions = {name: version_of(image) for name, image in images.items()}
    try:
        return judge(versions, Pairs((), tuple(bad)))[0]
    except ValueError as error:
        raise AnsibleFilterError(f"versions that do not go together: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., t.Any]]:
        return {"known_bad_versions": _bad}
