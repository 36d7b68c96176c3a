# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Single fields of an object that somebody else owns: their previous values, new values, and how the former return.

Pure.
"""

from __future__ import annotations

import copy
import json
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import shown_path

Body = dict[str, t.Any]
#: Steps from the object to a field: keys of mappings, or key and value of an item of a list, which select it.
Path = tuple["str | tuple[str, str]", ...]

#: What becomes of a field.
UNCHANGED, WRITTEN, RESTORED, LEFT = "unchanged", "written", "restored", "left"


class _Absent:
    def __repr__(self) -> str:
        return "ABSENT"

    def __deepcopy__(self, memo: t.Any) -> _Absent:
        return self


#: In the place of a value: there is none.
ABSENT: t.Any = _Absent()


class FieldError(Exception):
    """A field cannot be what it is said to be; names the field and the remedy."""


@dataclass(frozen=True)
class Field:
    """A field and the value that it shall have."""

    path: Path
    value: t.Any


@dataclass(frozen=True)
class Entry:
    """What is recorded of a field, before it is written for the first time."""

    path: Path
    #: What it was; ABSENT where there was none.
    before: t.Any
    #: So many leading steps of the path existed then. Those that did not go again with the field.
    parents: int
    #: Every value of ours that it may have: a run may have ended between the record and the write.
    written: tuple[t.Any, ...]

    def is_ours(self, value: t.Any) -> bool:
        return any(same(value, one) for one in self.written)

    def as_dict(self) -> Body:
        before = {"parents": self.parents} if self.before is ABSENT else {"before": self.before}
        return {"path": plain_path(self.path), **before, "written": list(self.written)}

    @classmethod
    def from_dict(cls, values: Mapping[str, t.Any]) -> Entry:
        path = path_of(values["path"])
        return cls(path, values.get("before", ABSENT), values.get("parents", len(path) - 1), tuple(values["written"]))


@dataclass(frozen=True)
class Change:
    """What becomes of one field, and its value before and after; ABSENT for none."""

    path: Path
    action: str
    before: t.Any
    after: t.Any

    def as_dict(self) -> Body:
        values = {
            name: value for name, value in (("before", self.before), ("after", self.after)) if value is not ABSENT
        }
        return {"path": plain_path(self.path), "action": self.action, **values}


@dataclass
class Plan:
    """What is to be done to one reading of an object."""

    operations: list[Body]
    changes: list[Change]
    #: What the record must hold before the write, and what after it.
    recorded: tuple[Entry, ...]
    remaining: tuple[Entry, ...]
    warnings: list[str] = field(default_factory=list)


def same(one: t.Any, other: t.Any) -> bool:
    """Whether two values are the same for the API server: a number is no boolean."""
    if one is ABSENT or other is ABSENT:
        return one is other
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def path_of(steps: Sequence[t.Any]) -> Path:
    """A path from its plain form.

    :raises FieldError: when it is none.
    """
    found: list[str | tuple[str, str]] = []
    for step in steps:
        if isinstance(step, str) and step:
            found.append(step)
        elif (
            isinstance(step, Mapping)
            and len(step) == 1
            and all(isinstance(text, str) for item in step.items() for text in item)
        ):
            found.extend(step.items())
        else:
            raise FieldError(
                f"path has {step!r}; write the key of a mapping as a string, or "
                f"select the item of a list by its name, such as {{name: maas-api}}"
            )
    return tuple(found)


def plain_path(path: Path) -> list[t.Any]:
    return [step if isinstance(step, str) else dict([step]) for step in path]


def shown(path: Path) -> str:
    """A path as messages name it."""
    text = ""
    for step in path:
        part = shown_path((step,)) if isinstance(step, str) else f"[{step[0]}={step[1]}]"
        text += part if not text or part.startswith("[") else f".{part}"
    return text


def fields_of(options: Sequence[Mapping[str, t.Any]]) -> list[Field]:
    """The fields of the module's option.

    :raises FieldError: for the first that cannot be written, with its position.
    """
    fields: list[Field] = []
    for number, option in enumerate(options):
        where = f"fields[{number}]"
        try:
            path = path_of(option["path"])
        except FieldError as error:
            raise FieldError(f"{where}.{error}") from None
        if (
            len(path) < 2
            or path[0] in ("apiVersion", "kind", "status")
            or (path[0] == "metadata" and path[1] not in ("labels", "annotations"))
        ):
            raise FieldError(
                f"{where}.path {shown(path) or 'is empty'} is no field to "
                "write; name one below spec or data, or a label or an annotation"
            )
        if not isinstance(path[-1], str):
            raise FieldError(f"{where}.path {shown(path)} ends with the item of a list; name a field of the item")
        if option.get("value") is None:
            raise FieldError(f"{where}.value is missing; write the value that {shown(path)} shall have")
        for other, earlier in enumerate(fields):
            length = min(len(path), len(earlier.path))
            if path[:length] == earlier.path[:length]:
                raise FieldError(
                    f"{where}.path {shown(path)} and fields[{other}].path "
                    f"{shown(earlier.path)} name the same; write one of them"
                )
        fields.append(Field(path, option["value"]))
    return fields


def same_entries(some: Sequence[Entry], others: Sequence[Entry]) -> bool:
    return same([entry.as_dict() for entry in some], [entry.as_dict() for entry in others])


def value_at(body: Body, path: Path) -> t.Any:
    """The value of a field, ABSENT where there is none, for whatever reason."""
    try:
        keys, value = _walk(body, path)
    except FieldError:
        return ABSENT
    return value if len(keys) == len(path) else ABSENT


def managers_of(body: Body, path: Path) -> list[str]:
    """The field managers that the object names for a field."""

    def names(fields: Body, rest: Path) -> bool:
        if not rest or not fields:
            return not rest
        step = rest[0]
        if isinstance(step, str):
            return f"f:{step}" in fields and names(fields[f"f:{step}"], rest[1:])
        items = [
            sub for key, sub in fields.items() if key.startswith("k:") and json.loads(key[2:]).get(step[0]) == step[1]
        ]
        return any(names(sub, rest[1:]) for sub in items)

    entries = body["metadata"].get("managedFields") or ()
    return sorted(
        {entry["manager"] for entry in entries if entry.get("manager") and names(entry.get("fieldsV1") or {}, path)}
    )


def plan_present(live: Body, fields: Sequence[Field], entries: Sequence[Entry]) -> Plan:
    """Write ``fields`` in their order, and restore what is recorded and no longer among them.

    What stands in a field is recorded whenever it is not ours: an owner that has written something else meanwhile gets
    that back.

    :raises FieldError: when the object has no place for one of them.
    """
    draft, wanted = _Draft(live), {item.path for item in fields}
    restored = [draft.restore(entry) for entry in reversed(entries) if entry.path not in wanted]
    recorded, changes = {entry.path: entry for entry in entries}, []
    warnings = [_left(change) for change in restored if change.action == LEFT]
    for item in fields:
        now, entry = draft.read(item.path), recorded.get(item.path)
        if same(now, item.value):
            changes.append(Change(item.path, UNCHANGED, now, now))
            continue
        if entry and entry.is_ours(now):
            recorded[item.path] = replace(entry, written=(now, item.value))
        else:
            if entry and not same(now, entry.before):
                warnings.append(
                    f"{shown(item.path)} was changed by somebody since it was recorded; "
                    "what it has now is written over, and recorded to be restored"
                )
            others = [other for path, other in recorded.items() if path != item.path]
            recorded[item.path] = Entry(item.path, now, draft.parents(item.path, others), (item.value,))
        draft.write(item.path, item.value)
        changes.append(Change(item.path, WRITTEN, now, item.value))
    remaining = tuple(entry for path, entry in recorded.items() if path in wanted)
    return Plan(draft.operations, [*restored, *changes], tuple(recorded.values()), remaining, warnings)


def plan_absent(live: Body, entries: Sequence[Entry]) -> Plan:
    """Restore all that is recorded, the last written first."""
    draft = _Draft(live)
    changes = [draft.restore(entry) for entry in reversed(entries)]
    return Plan(
        draft.operations, changes, tuple(entries), (), [_left(change) for change in changes if change.action == LEFT]
    )


def _left(change: Change) -> str:
    return (
        f"{shown(change.path)} was changed by somebody since it "
        "was written; it is left as it is, and no longer recorded"
    )


class _Draft:
    """A copy of an object that is changed step by step, and the operations of JSON Patch (RFC 6902) that do the same to
    the object.
    """

    def __init__(self, body: Body) -> None:
        self.operations: list[Body] = []
        self._body = copy.deepcopy(body)

    def read(self, path: Path) -> t.Any:
        keys, value = _walk(self._body, path)
        return value if len(keys) == len(path) else ABSENT

    def parents(self, path: Path, others: t.Iterable[Entry]) -> int:
        """How many leading steps of a path exist, without those that writing one of the ``others`` has made."""
        found = min(len(_walk(self._body, path)[0]), len(path) - 1)
        made = [
            entry.parents
            for entry in others
            if entry.before is ABSENT and entry.path[: entry.parents + 1] == path[: entry.parents + 1]
        ]
        return min([found, *made])

    def write(self, path: Path, value: t.Any) -> None:
        keys, _value = _walk(self._body, path)
        if len(keys) == len(path):
            self._do("replace", keys, value)
            return
        missing = path[len(keys) :]
        for step in reversed(missing[1:]):
            value = {step: value}
        self._do("add", [*keys, t.cast(str, missing[0])], value)

    def restore(self, entry: Entry) -> Change:
        now = value_at(self._body, entry.path)
        if same(now, entry.before):
            return Change(entry.path, UNCHANGED, now, now)
        if not entry.is_ours(now):
            return Change(entry.path, LEFT, now, now)
        if entry.before is ABSENT:
            self._remove(entry)
        else:
            self.write(entry.path, entry.before)
        return Change(entry.path, RESTORED, now, entry.before)

    def _remove(self, entry: Entry) -> None:
        """Remove a field and those of its parents that came with it and hold nothing else."""
        keys = _walk(self._body, entry.path)[0]
        while len(keys) - 1 > entry.parents and len(_walk(self._body, entry.path[: len(keys) - 1])[1]) == 1:
            keys.pop()
        self._do("remove", keys)

    def _do(self, operation: str, keys: Sequence[str | int], value: t.Any = ABSENT) -> None:
        self.operations.append(
            {"op": operation, "path": pointer(keys), **({} if value is ABSENT else {"value": value})}
        )
        container: t.Any = self._body
        for key in keys[:-1]:
            container = container[key]
        if value is ABSENT:
            del container[keys[-1]]
        else:
            container[keys[-1]] = copy.deepcopy(value)


def pointer(keys: t.Iterable[str | int]) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def _walk(body: Body, path: Path) -> tuple[list[str | int], t.Any]:
    """The keys of those leading steps that exist, as they are in this object, and the value where they end.

    :raises FieldError: where the object has something else than the path says, or not the item of a list that it
        selects.
    """
    keys: list[str | int] = []
    value: t.Any = body
    for number, step in enumerate(path):
        here = shown(path[:number])
        if isinstance(step, tuple):
            name, wanted = step
            found = (
                [index for index, item in enumerate(value) if isinstance(item, dict) and item.get(name) == wanted]
                if isinstance(value, list)
                else []
            )
            if not found:
                there = (
                    ", ".join(str(item.get(name)) for item in value if isinstance(item, dict))
                    if isinstance(value, list)
                    else ""
                )
                raise FieldError(
                    f"{here} has no item whose {name} is "
                    f"{wanted}{f'; there are {there}' if there else ''}; correct the path"
                )
            key: str | int = found[0]
        elif isinstance(value, list):
            raise FieldError(
                f"{here} is a list; select one of its items, such as {{name: ...}}, in the place of {step}"
            )
        elif not isinstance(value, dict):
            raise FieldError(f"{here} is {json.dumps(value)}, which has no {step}; correct the path")
        elif step not in value:
            rest = next((later for later in path[number:] if isinstance(later, tuple)), None)
            if rest:
                raise FieldError(
                    f"{shown(path[: number + 1])} does not exist, and so "
                    f"no item whose {rest[0]} is {rest[1]}; correct the path"
                )
            return keys, value
        else:
            key = step
        keys.append(key)
        value = value[key]
    return keys, value
