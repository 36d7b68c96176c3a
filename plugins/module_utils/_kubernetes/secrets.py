# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which values of an object are secret, and how they are kept out of diffs and messages. Pure."""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime
import json
import re
import typing as t

MASK = "********"
CHANGED_MASK = "******** (changed)"

#: On any manifest: the fields that hold secrets, such as ``spec.password, spec.users[*].token, data['a.key']``.
SECRET_FIELDS_ANNOTATION = "egress.ai-gateway/secret-fields"  # noqa: S105 - names fields, holds no secret
_ANNOTATION = f"metadata.annotations['{SECRET_FIELDS_ANNOTATION}']"

#: Shorter values occur in ordinary messages too often to be worth hiding there.
_SHORTEST_SECRET = 4

_STEP = re.compile(r"""\.?(?P<name>[^.\[\]'",\s]+)|\[(?:(?P<every>\*)|'(?P<single>[^']+)'|"(?P<double>[^"]+)")\]""")
_COMMA = re.compile(r""",(?=(?:[^'"]|'[^']*'|"[^"]*")*$)""")

#: What Go's JSON escapes and Python's does not, and how.
_GO_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}
#: Up to the colon that ends the value, which is none in quotation marks, or to the end of the line.
_QUOTED_VALUE = re.compile(
    r'((?:Invalid|Unsupported|Duplicate) value: )(?:"(?:[^"\\]|\\.)*"|.)*?(?=: |$)', re.MULTILINE
)

Body = dict[str, t.Any]
#: Steps from the object to a field: names, and None for every item of a list.
Path = tuple["str | None", ...]
#: kubectl's copy of the whole manifest, secrets included.
_KUBECTL_COPY: Path = ("metadata", "annotations", "kubectl.kubernetes.io/last-applied-configuration")
_NOTHING = object()


def parse_path(text: str) -> Path:
    """The steps of a field's path.

    :raises ValueError: when it is none.
    """
    steps: list[str | None] = []
    position, text = 0, text.strip()
    while position < len(text):
        match = _STEP.match(text, position)
        if not match:
            raise ValueError(f"{text!r} is no path")
        steps.append(None if match["every"] else match["name"] or match["single"] or match["double"])
        position = match.end()
    if not steps:
        raise ValueError(f"{text!r} is no path")
    return tuple(steps)


def secret_paths(body: t.Any) -> list[Path]:
    """The fields of an object, well-formed or not, that hold secrets; marks that cannot be read are left out."""
    marked, _faults = _marked(body)
    paths = [("data",), ("stringData",), *marked] if _is_secret(body) else marked
    return [*paths, _KUBECTL_COPY] if paths else []


def secret_field_faults(body: Body) -> list[str]:
    """What is wrong with the annotation that marks fields: one that is not found would be shown under another name."""
    marked, faults = _marked(body)
    return faults + [
        f"{_ANNOTATION} names {shown_path(path)}, which is not there; correct the path"
        for path in marked
        if not _is_there(body, path)
    ]


def _marked(body: t.Any) -> tuple[list[Path], list[str]]:
    annotations = _mapping(_mapping(_mapping(body).get("metadata")).get("annotations"))
    text = annotations.get(SECRET_FIELDS_ANNOTATION)
    paths, faults = [], []
    for part in _COMMA.split(text) if isinstance(text, str) else ():
        try:
            paths.append(parse_path(part))
        except ValueError:
            faults.append(
                f"{_ANNOTATION} has {part.strip()!r}, which is no path; write "
                "it as spec.password, spec.users[*].token or data['a.key']"
            )
    return paths, faults


def _is_secret(body: t.Any) -> bool:
    return _mapping(body).get("kind") == "Secret"


def shown_path(path: Path) -> str:
    """A path as a user writes it."""
    text = ""
    for step in path:
        if step is None:
            text += "[*]"
        elif _STEP.fullmatch(str(step)):
            text += f".{step}" if text else str(step)
        else:
            text += f"['{step}']"
    return text


def _values_at(value: t.Any, path: Path) -> t.Iterator[t.Any]:
    if not path:
        yield value
    elif path[0] is None:
        for item in value if isinstance(value, (list, tuple)) else ():
            yield from _values_at(item, path[1:])
    elif isinstance(value, dict) and path[0] in value:
        yield from _values_at(value[path[0]], path[1:])


def _is_there(value: t.Any, path: Path) -> bool:
    """Whether a path leads to a value, or to a list without items, which may get some later."""
    if not path:
        return True
    if path[0] is None:
        return value is None or (
            isinstance(value, list) and (not value or any(_is_there(item, path[1:]) for item in value))
        )
    return isinstance(value, dict) and path[0] in value and _is_there(value[path[0]], path[1:])


def mask_fields(before: Body, after: Body, paths: t.Iterable[Path]) -> tuple[Body, Body]:
    """Two readings of an object with the values at ``paths`` hidden, so that only which of them differ shows."""
    old, new = before, after
    for path in paths:
        old, new = _hidden(old, _NOTHING, path), _hidden(new, before, path)
    return old, new


def _hidden(value: t.Any, other: t.Any, path: Path) -> t.Any:
    """``value`` with everything at ``path`` hidden; said to be changed where ``other`` has another value there."""
    if not path:
        if isinstance(value, dict):
            return {key: _hidden(item, _child(other, key), ()) for key, item in value.items()}
        if isinstance(value, list):
            return [_hidden(item, _child(other, number), ()) for number, item in enumerate(value)]
        if value in (MASK, CHANGED_MASK):
            # Hidden already, by a path that includes this one.
            return value
        return CHANGED_MASK if other is not _NOTHING and other != value else MASK
    step = path[0]
    if step is None and isinstance(value, list):
        return [_hidden(item, _child(other, number), path[1:]) for number, item in enumerate(value)]
    if isinstance(value, dict) and step in value:
        return {**value, step: _hidden(value[step], _child(other, step), path[1:])}
    return value


def _child(value: t.Any, key: t.Any) -> t.Any:
    if isinstance(value, dict):
        return value.get(key, _NOTHING)
    if isinstance(value, list) and isinstance(key, int) and key < len(value):
        return value[key]
    return _NOTHING


def _mapping(value: t.Any) -> Body:
    return value if isinstance(value, dict) else {}


class SecretMask:
    """Hides the secrets of a set's objects in what others wrote: API errors, events, logs."""

    def __init__(self, bodies: t.Iterable[t.Any] = ()) -> None:
        self._values: set[str] = set()
        for body in bodies:
            self.learn(body)

    def learn(self, body: t.Any) -> None:
        """Remember the secrets of an object, well-formed or not."""
        for path in secret_paths(body):
            for value in _values_at(body, path):
                # One that holds itself is reported by the check of the manifests, which comes later.
                with contextlib.suppress(RecursionError):
                    self._learn(value)

    def _learn(self, value: t.Any) -> None:
        if isinstance(value, (dict, list, tuple)):
            for item in value.values() if isinstance(value, dict) else value:
                self._learn(item)
        if isinstance(value, datetime.date):
            # As it is submitted.
            value = value.isoformat()
        if not isinstance(value, (str, int, float)) or isinstance(value, bool):
            return
        text = str(value)
        self._learn_string(text)
        if text.startswith('"'):
            # An expression that is nothing but a string, as in a policy of Authorino.
            with contextlib.suppress(ValueError):
                self._learn_string(str(json.loads(text)))
        try:
            self._learn_string(base64.b64decode(text, validate=True).decode("utf-8"))
        except (binascii.Error, ValueError):
            # Not base64, or of something that is no string.
            return

    def _learn_string(self, string: str) -> None:
        for part in (string, *(line.strip() for line in string.splitlines())):
            # As it is, and as others quote it.
            quoted = json.dumps(part, ensure_ascii=False)[1:-1]
            self._values.update((part, json.dumps(part)[1:-1], quoted, quoted.translate(_GO_ESCAPES)))
        # What is submitted of a Secret's stringData. Halves of surrogate pairs are refused later.
        self._values.add(base64.b64encode(string.encode("utf-8", "replace")).decode("ascii"))

    def masked(self, message: str, secret: bool = False) -> str:
        """``message`` without the known values.

        :param secret: whether it is about an object with secrets, so that every value that it quotes is masked.
        """
        # Longest first, so that no rest of a longer value stays.
        for value in sorted((value for value in self._values if len(value) >= _SHORTEST_SECRET), key=len, reverse=True):
            message = message.replace(value, MASK)
        if secret:
            message = _QUOTED_VALUE.sub(rf"\g<1>{MASK}", message)
        return message
