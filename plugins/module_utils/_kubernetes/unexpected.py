# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What to report of an unexpected exception: its place and the object, and no value, as any may be secret. Pure."""

from __future__ import annotations

import os
import traceback
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import Reference

#: Places of the code that a message names, innermost first.
_PLACES = 3


def describe(error: BaseException) -> str:
    """One line for the user. Without the exception's own message, which may quote a secret."""
    frames = list(traceback.walk_tb(error.__traceback__))
    # The names of files repeat, those of a package do not.
    places = [f"{'/'.join(frame.f_code.co_filename.split(os.sep)[-2:])}:{line}" for frame, line in reversed(frames)]
    object_met = next(filter(None, (_object_in(frame.f_locals) for frame, _line in reversed(frames))), "")
    where = f"{object_met}: " if object_met else ""
    return (
        f"{where}unexpected {type(error).__name__} at {', '.join(places[:_PLACES])}; "
        "this is a fault of egress.ai_gateway, please report it with this line"
    )


def _object_in(variables: t.Mapping[str, t.Any]) -> str:
    """The object that a function was working on, by its variables; empty when it had none."""
    for value in variables.values():
        reference = value if isinstance(value, Reference) else getattr(value, "reference", None)
        if isinstance(reference, Reference):
            return _title(reference.as_dict())
        body = value if isinstance(value, dict) else getattr(value, "body", None)
        if isinstance(body, dict) and isinstance(body.get("metadata"), dict) and "kind" in body:
            metadata = body["metadata"]
            return _title(
                {
                    **{key: body.get(key) for key in ("apiVersion", "kind")},
                    **{key: metadata.get(key) for key in ("namespace", "name")},
                }
            )
    return ""


def _title(names: t.Mapping[str, t.Any]) -> str:
    place = "/".join(str(names[key]) for key in ("namespace", "name") if names[key])
    return f"{names['apiVersion']} {names['kind']} {place}"
