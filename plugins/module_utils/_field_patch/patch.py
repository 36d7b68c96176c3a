# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes single fields of an object that has another owner, records their previous values, and restores them.

The record is written before the object and shortened after it, so that whatever a run that ends anywhere leaves is
understood by the next.
"""

from __future__ import annotations

import json
import time
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.fields import (
    ABSENT,
    UNCHANGED,
    WRITTEN,
    Body,
    Change,
    Entry,
    Field,
    FieldError,
    Plan,
    managers_of,
    plan_absent,
    plan_present,
    same,
    same_entries,
    shown,
    value_at,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import (
    APPLY,
    JSON_PATCH,
    Api,
    ApiError,
    pause_before,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import FIELD_MANAGER, Reference
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.wait import Awaited, Waiter

#: Marks the ConfigMaps that are records.
RECORD_LABEL = "egress.ai-gateway/recorded-patch"
#: How often an object is read anew that others write at the same time.
_ATTEMPTS = 20
_CONFIG_MAP = ResourceType("v1", "ConfigMap", "configmaps", True, frozenset())


class PatchError(Exception):
    """The fields could not be written or restored; the message names the object and the remedy."""


@dataclass(frozen=True)
class Target:
    """The object whose fields are changed; ``namespace`` is empty for a cluster-scoped one."""

    api_version: str
    kind: str
    name: str
    namespace: str = ""

    @property
    def reference(self) -> Reference:
        return Reference(self.api_version, self.kind, self.namespace, self.name)

    def __str__(self) -> str:
        return str(self.reference)

    def as_dict(self) -> dict[str, str]:
        return {"api_version": self.api_version, "kind": self.kind, "name": self.name, "namespace": self.namespace}


@dataclass(frozen=True)
class Record:
    """The previous values of the fields of an object."""

    target: Target
    entries: tuple[Entry, ...]

    def manifest(self, name: str, namespace: str) -> Body:
        data = {"target": self.target.as_dict(), "fields": [entry.as_dict() for entry in self.entries]}
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace, "labels": {RECORD_LABEL: "true"}},
            "data": {key: json.dumps(value, indent=2) for key, value in data.items()},
        }

    @classmethod
    def from_manifest(cls, body: Body) -> Record:
        """:raises PatchError: when the ConfigMap is none."""
        where = f"ConfigMap {body['metadata']['namespace']}/{body['metadata']['name']}"
        if (body["metadata"].get("labels") or {}).get(RECORD_LABEL) != "true":
            raise PatchError(
                f"{where} exists and is no record of changed fields; choose another name or namespace for the record"
            )
        try:
            target, entries = (json.loads(body["data"][key]) for key in ("target", "fields"))
            return cls(Target(**target), tuple(map(Entry.from_dict, entries)))
        except (KeyError, TypeError, ValueError, FieldError) as error:
            raise PatchError(
                f"{where} holds a record that cannot be read: {error!r}; "
                "restore the fields it names by hand, and then delete it"
            ) from None


@dataclass(frozen=True)
class Options:
    wait: bool = True
    wait_timeout: float = 300.0
    #: Seconds after the write at which the fields are looked at again.
    settle_seconds: float = 0.0
    check_mode: bool = False


@dataclass
class Outcome:
    """What became, or in check mode would become, of the fields. Filled as it happens."""

    changed: bool = False
    target: Target | None = None
    changes: list[Change] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def diff(self) -> Body:
        sides = [
            {shown(change.path): value for change in self.changes if (value := getattr(change, side)) is not ABSENT}
            for side in ("before", "after")
        ]
        return {
            "before_header": str(self.target),
            "after_header": str(self.target),
            "before": sides[0],
            "after": sides[1],
        }


class RecordedPatch:
    """One run over the record ``name`` in ``namespace``; ``outcome`` shows what it did."""

    def __init__(self, api: Api, name: str, namespace: str, options: Options, say: t.Callable[[str], None]) -> None:
        self.outcome = Outcome()
        self._api = api
        self._name = name
        self._namespace = namespace
        self._options = options
        self._say = say
        self._path = _CONFIG_MAP.path(namespace, name)
        #: What the record on the cluster holds.
        self._entries: tuple[Entry, ...] = ()
        #: Whether the object was written, or may have been: the answer was lost.
        self._sent = False

    def present(self, target: Target, fields: Sequence[Field]) -> None:
        """Write ``fields``, and restore those that an earlier run wrote and that are no longer among them.

        :raises PatchError: when that cannot be, or when it does not last.
        :raises WaitError: when the object does not become ready.
        """
        if (target.api_version, target.kind) == ("v1", "Secret"):
            raise PatchError(
                "target is a Secret; what was in it would be recorded "
                "in a ConfigMap. Keep secrets in Secrets of their own"
            )
        record = self._read_record()
        if record and record.target != target:
            raise PatchError(
                f"record {self._namespace}/{self._name} is of {record.target}, not of "
                f"{target}; restore that first with state: absent, or choose another name"
            )
        self.outcome.target = target
        resource_type = self._type(target)
        if not resource_type:
            raise PatchError(
                f"{target}: the cluster serves no {target.kind} in {target.api_version}; correct api_version and kind"
            )
        started = time.monotonic()
        plan, body = self._carry_out(target, resource_type, lambda live: plan_present(live, fields, self._entries))
        if body is None:
            raise PatchError(
                f"there is no {target}; create it first, or drop what is recorded of it with state: absent"
            )
        if self._options.check_mode:
            self.outcome.changed = bool(plan.operations) or not same_entries(plan.remaining, self._entries)
            return
        self._write_record(target, plan.remaining)
        self._wait(target, resource_type, body)
        if self._sent:
            self._look_again(target, resource_type, fields, started)

    def absent(self) -> None:
        """Restore what is recorded and still as it was written, and delete the record.

        :raises PatchError: when that cannot be.
        :raises WaitError: when the object does not become ready. By then it is restored, and the record gone.
        """
        record = self._read_record()
        if not record:
            return
        target = self.outcome.target = record.target
        resource_type = self._type(target)
        body = (
            self._carry_out(target, resource_type, lambda live: plan_absent(live, self._entries))[1]
            if resource_type
            else None
        )
        if body is None:
            self.outcome.warnings.append(f"there is no {target} any more; only the record of it goes")
        if self._options.check_mode:
            self.outcome.changed = True
            return
        self._write_record(target, ())
        if resource_type and body is not None and self._sent:
            self._wait(target, resource_type, body)

    def _carry_out(
        self, target: Target, resource_type: ResourceType, make: t.Callable[[Body], Plan]
    ) -> tuple[Plan, Body | None]:
        """Plan and write, anew as long as others write the object meanwhile; the object as it is then, None where there
        is none.
        """
        path = resource_type.path(target.namespace, target.name)
        live = self._api.get(path)
        for attempt in range(_ATTEMPTS):
            if live is None:
                return Plan([], [], self._entries, ()), None
            try:
                plan = make(live)
            except FieldError as error:
                raise PatchError(f"{target}: {error}") from None
            self.outcome.changes, self.outcome.warnings = (
                plan.changes,
                [f"{target}: {warning}" for warning in plan.warnings],
            )
            if not plan.operations:
                return plan, live
            try:
                # Before the record too: what the API server does not take is not recorded.
                self._refuse_other_values(target, plan, self._patch(path, live, plan, dry_run=True))
                if self._options.check_mode:
                    return plan, live
                self._write_record(target, plan.recorded)
                self.outcome.changed = self._sent = True
                return plan, self._patch(path, live, plan)
            except ApiError as error:
                latest = self._api.get(path)
                if error.status != 422 or (latest and _version(latest) == _version(live)):
                    raise
                live = latest
                time.sleep(pause_before(attempt // 4))
        raise PatchError(
            f"{target} was changed by others whenever it was to be "
            f"written, {_ATTEMPTS} times; run again once that has ended"
        )

    def _patch(self, path: str, live: Body, plan: Plan, dry_run: bool = False) -> Body:
        """Write all operations at once, if the object is still the one that was read."""
        guard = {"op": "test", "path": "/metadata/resourceVersion", "value": _version(live)}
        query = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Strict", **({"dryRun": "All"} if dry_run else {})}
        return self._api.request("PATCH", path, query, [guard, *plan.operations], JSON_PATCH).body

    @staticmethod
    def _refuse_other_values(target: Target, plan: Plan, answer: Body) -> None:
        """What is stored in another form than it was given would be taken for somebody else's at the next run."""
        for change in plan.changes:
            stored = value_at(answer, change.path)
            if change.action == WRITTEN and not same(stored, change.after):
                raise PatchError(
                    f"{target}: of {shown(change.path)} {json.dumps(change.after)} "
                    f"the API server makes {_quoted(stored)}, and nothing was written; "
                    "give the value in that form, or find the admission webhook that changes it"
                )

    def _look_again(self, target: Target, resource_type: ResourceType, fields: Sequence[Field], started: float) -> None:
        left = started + self._options.settle_seconds - time.monotonic()
        if left > 0:
            self._say(f"looking at {target} again in {left:.0f} s")
            time.sleep(left)
        live = self._api.get(resource_type.path(target.namespace, target.name))
        seconds = time.monotonic() - started
        if live is None:
            raise PatchError(f"{target} was deleted within {seconds:.0f} s after it was written")
        for item in fields:
            now = value_at(live, item.path)
            if not same(now, item.value):
                others = ", ".join(manager for manager in managers_of(live, item.path) if manager != FIELD_MANAGER)
                who = f"field manager {others}" if others else "somebody"
                did = "removed it" if now is ABSENT else f"changed it to {json.dumps(now)}"
                raise PatchError(
                    f"{target}: {shown(item.path)} was written, and within {seconds:.0f} s {who} {did}, as an operator "
                    "does that owns the object. Keep it from that, then run again, which "
                    "writes the field once more; who writes what is shown by: kubectl get "
                    f"{target.kind} {target.name}{f' --namespace {target.namespace}' if target.namespace else ''} "
                    "--output yaml --show-managed-fields"
                )

    def _wait(self, target: Target, resource_type: ResourceType, body: Body) -> None:
        if self._options.wait:
            waiter = Waiter(self._api, "", self._options.wait_timeout, self._say)
            waiter.ready([Awaited(target.reference, resource_type, body, labelled=False)])

    def _type(self, target: Target) -> ResourceType | None:
        """How the API server serves the target's kind; None when it does not.

        :raises PatchError: when the target's namespace is missing, or one too many.
        """
        found = next((served for served in self._api.types(target.api_version) if served.kind == target.kind), None)
        if found and found.namespaced != bool(target.namespace):
            remedy = "name its namespace in target.namespace" if found.namespaced else "leave target.namespace out"
            raise PatchError(
                f"{target}: a {target.kind} is {'in a namespace' if found.namespaced else 'in no namespace'}; {remedy}"
            )
        return found

    def _read_record(self) -> Record | None:
        body = self._api.get(self._path)
        record = Record.from_manifest(body) if body else None
        self._entries = record.entries if record else ()
        return record

    def _write_record(self, target: Target, entries: tuple[Entry, ...]) -> None:
        """Bring the record to ``entries``, and delete it where nothing is left to restore."""
        if same_entries(entries, self._entries):
            return
        self.outcome.changed = True
        try:
            if entries:
                query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict"}
                self._api.request(
                    "PATCH", self._path, query, Record(target, entries).manifest(self._name, self._namespace), APPLY
                )
            else:
                self._api.request("DELETE", self._path)
        except ApiError as error:
            if error.status != 404:
                raise
            if entries:
                raise PatchError(
                    f"record {self._namespace}/{self._name}: {error.message}; "
                    "create the namespace first, or name another"
                ) from error
        self._entries = entries


def outcome_as_dict(outcome: Outcome) -> dict[str, t.Any]:
    """What the module returns of an outcome, but for the diff and the warnings."""
    return {"changed": outcome.changed, "fields": [change.as_dict() for change in outcome.changes]}


def has_changes(outcome: Outcome) -> bool:
    """Whether a diff would show anything."""
    return any(change.action != UNCHANGED for change in outcome.changes)


def target_of(option: Mapping[str, t.Any]) -> Target:
    return Target(option["api_version"], option["kind"], option["name"], option.get("namespace") or "")


def _version(body: Body) -> str:
    return str(body["metadata"]["resourceVersion"])


def _quoted(value: t.Any) -> str:
    return "nothing" if value is ABSENT else json.dumps(value)
