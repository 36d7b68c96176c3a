# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which fields of an object differ from what would be submitted, and who manages them. Secrets are never among the
values.

Pure.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.diff import (
    Fields,
    merge_fields,
    owned_fields,
    project,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import FIELD_MANAGER, Body
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import (
    CHANGED_MASK,
    MASK,
    mask_fields,
    secret_paths,
    shown_path,
)

#: A value of more characters of JSON is cut.
MOST = 4000


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"


#: In the place of a value: there is none.
ABSENT: t.Any = _Absent()
#: What is shown in the place of a secret.
_SECRET = "a secret"  # noqa: S105 - says that there is one, holds none


@dataclass(frozen=True)
class Manager:
    """Who wrote a field last, and when; both empty where nobody manages it."""

    name: str = ""
    #: In RFC 3339.
    time: str = ""


@dataclass(frozen=True)
class FieldDifference:
    """One field that is not as wanted; ABSENT in the place of a value that is missing."""

    path: str
    wanted: t.Any
    found: t.Any
    manager: Manager = Manager()
    #: Its values are not among these, and never were.
    secret: bool = False

    def as_dict(self) -> dict[str, t.Any]:
        """Values that are missing are left out, and so are secrets."""
        values = {} if self.secret else {"wanted": self.wanted, "found": self.found}
        return {
            "path": self.path,
            **{name: _cut(value) for name, value in values.items() if value is not ABSENT},
            "manager": self.manager.name,
            "time": self.manager.time,
            "secret": self.secret,
            "state": "missing" if self.found is ABSENT else "unwanted" if self.wanted is ABSENT else "changed",
        }


def field_differences(live: Body, wanted: Body, submitted: Body) -> list[FieldDifference]:
    """The fields that applying ``submitted`` would change, and nothing that others own.

    :param live: the object as it is.
    :param wanted: the object as the API server says that it would be.
    """
    fields: Fields = {}
    for body in (live, wanted):
        owned = owned_fields(body)
        if owned:
            fields = merge_fields(fields, owned) if fields else owned
    paths = dict.fromkeys(path for body in (live, wanted, submitted) for path in secret_paths(body))
    hidden_live, hidden_wanted = mask_fields(live, wanted, paths)
    return [
        _difference(live, steps, path, found, value)
        for steps, path, found, value in _walk(fields, hidden_live, hidden_wanted, (), ())
    ]


def guessed_differences(live: Body, submitted: Body) -> list[FieldDifference]:
    """The same where the API server does not say what would become of the object: what it would add is unknown, so
    only fields that are submitted, and those that were and are no more, are compared.
    """
    content = {key: value for key, value in submitted.items() if key not in ("apiVersion", "kind")}
    metadata = {key: value for key, value in submitted["metadata"].items() if key not in ("name", "namespace")}
    content["metadata"] = metadata
    paths = dict.fromkeys(path for body in (live, submitted) for path in secret_paths(body))
    hidden_live, hidden_wanted = mask_fields(live, content, paths)
    owned = owned_fields(live) or {}
    submitted_fields = list(_submitted(hidden_live, hidden_wanted, ()))
    known = {path for _steps, path, _found, _value in submitted_fields}
    dropped = [
        entry
        for entry in _walk(owned, hidden_live, hidden_wanted, (), ())
        if entry[3] is ABSENT and entry[1] not in known
    ]
    return [_difference(live, *entry) for entry in (*submitted_fields, *dropped)]


#: Steps as managedFields names them, steps as they are shown, the value found and the value wanted.
_Entry = tuple[tuple[str, ...], tuple[str, ...], t.Any, t.Any]


def _difference(
    live: Body, steps: tuple[str, ...], path: tuple[str, ...], found: t.Any, wanted: t.Any
) -> FieldDifference:
    secret = any(_is_hidden(value) for value in (found, wanted))
    manager = manager_of(live, steps) if found is not ABSENT else Manager()
    if secret:
        found, wanted = (value if value is ABSENT else _SECRET for value in (found, wanted))
    return FieldDifference("".join(path).lstrip("."), wanted, found, manager, secret)


def _is_hidden(value: t.Any) -> bool:
    if isinstance(value, dict):
        return any(map(_is_hidden, value.values()))
    if isinstance(value, list):
        return any(map(_is_hidden, value))
    return value in (MASK, CHANGED_MASK)


def _walk(
    fields: Fields, found: t.Any, wanted: t.Any, steps: tuple[str, ...], path: tuple[str, ...]
) -> t.Iterator[_Entry]:
    """The differences in what ``fields`` names."""
    if found is ABSENT and wanted is ABSENT:
        return
    children = {key: sub for key, sub in fields.items() if key != "."}
    if not children:
        if not fields or found is ABSENT or wanted is ABSENT:
            yield from _within(found, wanted, steps, path)
        return
    if found is ABSENT or wanted is ABSENT:
        if path[-1:] not in ((".labels",), (".annotations",), (".data",)) or len(path) > 2:
            # All of it is new or gone.
            yield steps, path, _projected(found, fields), _projected(wanted, fields)
            return
        found, wanted = ({} if value is ABSENT else value for value in (found, wanted))
    for key, sub in children.items():
        for shown, old, new in _children(key, found, wanted):
            yield from _walk(sub, old, new, (*steps, key), (*path, shown))


def _projected(value: t.Any, fields: Fields) -> t.Any:
    return value if value is ABSENT else project(value, fields)


def _children(key: str, found: t.Any, wanted: t.Any) -> t.Iterator[tuple[str, t.Any, t.Any]]:
    """How a step of managedFields is shown, and what it leads to on both sides."""
    kind, content = key[0], key[2:]
    if kind == "f":
        shown = shown_path((content,))
        yield shown if shown.startswith("[") else f".{shown}", _item(found, content), _item(wanted, content)
    elif kind == "k":
        names = json.loads(content)
        shown = ",".join(f"{name}={value}" for name, value in names.items())
        yield f"[{shown}]", _named(found, names), _named(wanted, names)
    elif kind == "v":
        member = json.loads(content)
        yield f"[{member}]", _member(found, member), _member(wanted, member)
    elif kind == "i":
        yield f"[{content}]", _at(found, int(content)), _at(wanted, int(content))


def _item(value: t.Any, key: str) -> t.Any:
    return value.get(key, ABSENT) if isinstance(value, dict) else ABSENT


def _named(value: t.Any, names: Body) -> t.Any:
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict) and all(item.get(name) == wanted for name, wanted in names.items()):
            return item
    return ABSENT


def _member(value: t.Any, member: t.Any) -> t.Any:
    return member if isinstance(value, list) and member in value else ABSENT


def _at(value: t.Any, number: int) -> t.Any:
    return value[number] if isinstance(value, list) and number < len(value) else ABSENT


def _within(found: t.Any, wanted: t.Any, steps: tuple[str, ...], path: tuple[str, ...]) -> t.Iterator[_Entry]:
    """The differences in a value that is owned as a whole."""
    if found is not ABSENT and wanted is not ABSENT and found == wanted and type(found) is type(wanted):
        return
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in dict.fromkeys((*wanted, *found)):
            shown = shown_path((key,))
            shown = shown if shown.startswith("[") else f".{shown}"
            yield from _within(found.get(key, ABSENT), wanted.get(key, ABSENT), steps, (*path, shown))
    elif isinstance(found, list) and isinstance(wanted, list):
        yield from _of_lists(found, wanted, steps, path)
    else:
        yield steps, path, found, wanted


def _of_lists(
    found: list[t.Any], wanted: list[t.Any], steps: tuple[str, ...], path: tuple[str, ...]
) -> t.Iterator[_Entry]:
    names = [[item.get("name") for item in items if isinstance(item, dict)] for items in (found, wanted)]
    by_name = all(
        len(set(map(str, given))) == len(items) and None not in given for given, items in zip(names, (found, wanted))
    )
    if by_name:
        old, new = ({item["name"]: item for item in items} for items in (found, wanted))
        if [name for name in names[0] if name in new] != [name for name in names[1] if name in old]:
            # The same items in another order.
            yield steps, path, found, wanted
            return
        for name in dict.fromkeys((*new, *old)):
            yield from _within(old.get(name, ABSENT), new.get(name, ABSENT), steps, (*path, f"[name={name}]"))
    elif len(found) == len(wanted):
        for number, (old_item, new_item) in enumerate(zip(found, wanted)):
            yield from _within(old_item, new_item, steps, (*path, f"[{number}]"))
    else:
        yield steps, path, found, wanted


def _submitted(found: t.Any, wanted: t.Any, path: tuple[str, ...]) -> t.Iterator[_Entry]:
    """The differences in what ``wanted`` has: in mappings, fields of others stay."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key, value in wanted.items():
            shown = shown_path((key,))
            shown = shown if shown.startswith("[") else f".{shown}"
            below = _submitted(found.get(key, ABSENT), value, (*path, shown))
            for steps, shown_steps, old, new in below:
                yield (f"f:{key}", *steps), shown_steps, old, new
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for number, (old_item, new_item) in enumerate(zip(found, wanted)):
            for _steps, shown_steps, old, new in _submitted(old_item, new_item, (*path, f"[{number}]")):
                yield (), shown_steps, old, new
    elif found != wanted and not (found is ABSENT and wanted in ({}, [], None, "", 0, False)):
        yield (), path, found, wanted


def manager_of(body: Body, steps: t.Sequence[str]) -> Manager:
    """Who manages a field, another before this collection, and of several the one who wrote last.

    :param steps: as managedFields names them.
    """
    found = [
        Manager(str(entry.get("manager") or ""), str(entry.get("time") or ""))
        for entry in body["metadata"].get("managedFields") or ()
        if not entry.get("subresource") and _has(entry.get("fieldsV1") or {}, steps)
    ]
    return max(found, key=lambda manager: (manager.name != FIELD_MANAGER, manager.time), default=Manager())


def _has(fields: Fields, steps: t.Sequence[str]) -> bool:
    for step in steps:
        if step not in fields:
            return False
        fields = fields[step]
        if not [key for key in fields if key != "."]:
            return True
    return True


def _cut(value: t.Any) -> t.Any:
    """A value that is not too long to be returned."""
    content = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return value if len(content) <= MOST else f"{content[:MOST]}… ({len(content)} characters)"


def last_manager(body: Body) -> Manager:
    """Who wrote an object last, besides statuses."""
    found = [
        Manager(str(entry.get("manager") or ""), str(entry.get("time") or ""))
        for entry in body["metadata"].get("managedFields") or ()
        if not entry.get("subresource")
    ]
    return max(found, key=lambda manager: manager.time, default=Manager())
