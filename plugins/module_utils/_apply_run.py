# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a set to its desired state: plan everything, write phase by phase, prune, wait."""

from __future__ import annotations

import functools
import time
import typing as t
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_api import APPLY, Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_diff import SecretMask, is_applied, same_content, submitted_diff
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_kinds import (
    CUSTOM_RESOURCE_DEFINITION,
    NAMESPACE,
    GroupKind,
    ResourceType,
    types_of_definition,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_manifests import (
    Desired,
    Manifest,
    ManifestError,
    Reference,
    check,
    complete,
    reference_of,
    unfold,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_order import in_phases, phase_title
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set_identity import (
    FIELD_MANAGER,
    ID_LABEL,
    PART_OF_LABEL,
    Contents,
    SetIdentity,
    parent_manifest,
    read_parent,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_status import can_wait
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_wait import Awaited, Waiter

Body = dict[str, t.Any]
Identity = tuple[str, str, str, str]

_CONFIG_MAP = ResourceType("v1", "ConfigMap", "configmaps", True, frozenset())
_SECRET = ResourceType("v1", "Secret", "secrets", True, frozenset())
_NAMESPACE = ResourceType("v1", "Namespace", "namespaces", False, frozenset())

#: Existing objects of these kinds serve others too: used as they are unless adoption is asked for.
_SHARED = frozenset((NAMESPACE, CUSTOM_RESOURCE_DEFINITION))
#: Their dependents go with them, and absence means that those are gone too.
_OWNERS = frozenset(
    (
        GroupKind("apps", "Deployment"),
        GroupKind("apps", "StatefulSet"),
        GroupKind("apps", "DaemonSet"),
        GroupKind("batch", "Job"),
        GroupKind("batch", "CronJob"),
    )
)
#: From so many unknown objects of one kind and namespace on, one list of names is cheaper than a GET for each.
_LIST_FROM = 8
#: From so many namespaces on, members are listed over all of them at once.
_LIST_EVERYWHERE_FROM = 5


class ApplySetError(Exception):
    """The set could not be brought to its desired state; the message says what to do."""


@dataclass(frozen=True)
class Options:
    prune: bool = True
    wait: bool = True
    wait_timeout: float = 300.0
    force_conflicts: bool = False
    adopt: bool = False
    check_mode: bool = False
    diff_mode: bool = False


@dataclass
class Outcome:
    """What became, or in check mode would become, of the objects. Filled as it happens, so that a failure can tell how far it came."""

    created: list[Reference] = field(default_factory=list)
    updated: list[Reference] = field(default_factory=list)
    unchanged: list[Reference] = field(default_factory=list)
    deleted: list[Reference] = field(default_factory=list)
    kept: list[Reference] = field(default_factory=list)
    diff: list[Body] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    parent_deleted: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.created or self.updated or self.deleted or self.parent_deleted)


@dataclass(frozen=True)
class Member:
    """An object on the cluster that carries the set's label."""

    reference: Reference
    type: ResourceType
    body: Body


class Run:
    """One run over one set; ``outcome`` tells what it did."""

    def __init__(self, api: Api, identity: SetIdentity, options: Options, say: t.Callable[[str], None]) -> None:
        self.outcome = Outcome()
        self.mask = SecretMask()
        self._api = api
        self._identity = identity
        self._options = options
        self.say = say
        self._waiter = Waiter(api, identity.selector, options.wait_timeout, say)
        #: Latest reading of objects by identity.
        self._live: dict[Identity, Body] = {}

    # Present

    def present(self, manifests: t.Sequence[t.Any]) -> None:
        """Bring the set to exactly ``manifests``.

        :raises ManifestError: for everything wrong with them, before the first write.
        :raises ApplySetError: when the cluster refuses something.
        :raises WaitError: when the set does not become ready.
        """
        unfolded = unfold(manifests)
        for _position, body in unfolded:
            self.mask.learn(body)
        desired, missing_types = self._plan(unfolded)
        parent = self._read_parent()
        recorded = read_parent(self._identity, parent) if parent else Contents()
        recorded_types = self._types_of_kinds(recorded.group_kinds, [item.type for item in desired])
        served = {item.type for item in desired if item.type not in missing_types} | set(recorded_types)
        namespaces = {self._identity.namespace, *recorded.namespaces, *(item.reference.namespace for item in desired if item.reference.namespace)}
        members = self._members(served, namespaces)
        self._live.update({member.reference.identity: member.body for member in members})
        self._look_up([item for item in desired if item.reference.identity not in self._live and item.type not in missing_types])
        self._refuse_members_of_others(desired)
        wanted = {item.reference.identity for item in desired}
        surplus = [member for member in members if member.reference.identity not in wanted] if self._options.prune else []
        if surplus and not unfolded:
            raise ApplySetError(
                f"manifests is empty, but set {self._identity} has {len(surplus)} members ({_some([member.reference for member in surplus])}); "
                "to remove them all use state: absent, to leave them alone prune: false"
            )
        missing_namespaces = self._missing_namespaces(desired)
        if missing_namespaces and not self._options.check_mode:
            raise ManifestError(
                [
                    f"{_some(items)}: namespace {namespace} does not exist; add it to the manifests, or create it first"
                    for namespace, items in self._by_namespace(desired, missing_namespaces).items()
                ]
            )
        self._refuse_homes_of_others(surplus)
        self._refuse_outdated_definitions(desired, missing_types)
        if self._options.check_mode:
            self._rehearse(desired, surplus, missing_types, missing_namespaces)
            return
        self._await_removal_under_way(desired)
        contents = Contents(
            frozenset(item.reference.group_kind for item in desired if not self._is_kept(item)),
            frozenset(item.reference.namespace for item in desired if item.reference.namespace),
        )
        self._ensure_parent_namespace(desired)
        # Recorded before the first member is written, so that a run cut off anywhere leaves none unaccounted for.
        parent = self._write_parent(parent, contents | recorded)
        self._write(desired)
        self._delete(surplus, wanted)
        if self._options.prune:
            self._write_parent(parent, contents)
        if self._options.wait:
            self._await_ready(desired)

    def _plan(self, unfolded: t.Sequence[tuple[str, t.Any]]) -> tuple[list[Desired], set[ResourceType]]:
        """Check all manifests against themselves and the kinds the cluster serves.

        Returns the objects to submit, and those of their types that the cluster does not serve yet.
        """
        well_formed, faults = check(unfolded)
        types: dict[tuple[str, str], ResourceType] = {}
        api_versions = sorted({manifest.api_version for manifest in well_formed})
        for listed in self._api.each(self._api.types, api_versions):
            types.update({(resource_type.api_version, resource_type.kind): resource_type for resource_type in listed})
        missing: set[ResourceType] = set()
        for manifest in well_formed:
            if manifest.group_kind == CUSTOM_RESOURCE_DEFINITION:
                for resource_type in types_of_definition(manifest.body):
                    key = (resource_type.api_version, resource_type.kind)
                    if key not in types:
                        types[key] = resource_type
                        missing.add(resource_type)
        faults += self._unknown_kinds([manifest for manifest in well_formed if (manifest.api_version, manifest.body["kind"]) not in types])
        desired, more_faults = complete(well_formed, types, self._identity)
        faults += more_faults
        if faults:
            raise ManifestError(faults)
        return desired, missing

    def _unknown_kinds(self, manifests: t.Sequence[Manifest]) -> list[str]:
        """Faults for kinds that neither the cluster nor the set defines.

        In check mode an earlier task may define them, as it would have on a real run: those objects count as created, with a warning.
        """
        kinds: dict[tuple[str, str], list[Manifest]] = {}
        for manifest in manifests:
            kinds.setdefault((manifest.api_version, manifest.body["kind"]), []).append(manifest)
        if not self._options.check_mode:
            return [
                f"{_some(found)}: the cluster serves no {kind} in {api_version}; install its CustomResourceDefinition first, or correct apiVersion and kind"
                for (api_version, kind), found in kinds.items()
            ]
        for (api_version, kind), found in kinds.items():
            self.outcome.warnings.append(
                f"The cluster serves no {kind} in {api_version} and its CustomResourceDefinition is not in set {self._identity}; "
                f"taking it that an earlier task would install it, and {len(found)} of them for created, unchecked."
            )
            for manifest in found:
                metadata = manifest.body["metadata"]
                # Whether the kind is namespaced is unknown, so the namespace is told as written.
                reference = Reference(api_version, kind, metadata.get("namespace") or "", metadata["name"])
                self.outcome.created.append(reference)
                if self._options.diff_mode:
                    self.outcome.diff.append(submitted_diff(str(reference), None, None, manifest.body))
        return []

    def _read_parent(self) -> Body | None:
        return self._api.get(_CONFIG_MAP.path(self._identity.namespace, self._identity.name))

    def _types_of_kinds(self, group_kinds: t.Iterable[GroupKind], known: t.Sequence[ResourceType]) -> list[ResourceType]:
        """The types that serve ``group_kinds``, in a version already known where there is one; vanished kinds have none, and no objects."""
        by_kind = {resource_type.group_kind: resource_type for resource_type in known}
        unknown: dict[str, set[GroupKind]] = {}
        found = []
        for group_kind in group_kinds:
            if group_kind in by_kind:
                found.append(by_kind[group_kind])
            else:
                unknown.setdefault(group_kind.group, set()).add(group_kind)

        def look_up(group: str) -> list[ResourceType]:
            wanted, listed = set(unknown[group]), []
            for api_version in self._api.versions(group):
                for resource_type in self._api.types(api_version) if wanted else ():
                    if resource_type.group_kind in wanted:
                        wanted.remove(resource_type.group_kind)
                        listed.append(resource_type)
            return listed

        for listed in self._api.each(look_up, sorted(unknown)):
            found.extend(listed)
        return found

    def _members(self, types: t.Iterable[ResourceType], namespaces: t.Collection[str]) -> list[Member]:
        """All objects that carry the set's label, of ``types`` in ``namespaces`` and cluster-wide."""
        collections = []
        for resource_type in sorted(types, key=str):
            if not resource_type.namespaced or len(namespaces) >= _LIST_EVERYWHERE_FROM:
                collections.append((resource_type, ""))
            else:
                collections.extend((resource_type, namespace) for namespace in sorted(namespaces))
        return [member for listed in self._api.each(lambda collection: self._members_of(*collection, namespaces), collections) for member in listed]

    def _members_of(self, resource_type: ResourceType, namespace: str, namespaces: t.Collection[str]) -> list[Member]:
        try:
            return [
                Member(reference_of(body), resource_type, body)
                for version, items in self._api.pages(resource_type, namespace, {"labelSelector": self._identity.selector})
                for body in items
            ]
        except ApiError as error:
            if error.status == 403 and resource_type.namespaced and not namespace:
                # Without the right to look everywhere, look where the set may be.
                return [member for name in sorted(namespaces) for member in self._members_of(resource_type, name, namespaces)]
            raise self._refused(f"listing the set's {resource_type.plural}{f' in namespace {namespace}' if namespace else ''}", error) from error

    def _look_up(self, items: t.Sequence[Desired]) -> None:
        """Read the objects that are wanted and no members yet; they may exist all the same."""
        collections: dict[tuple[ResourceType, str], list[Desired]] = {}
        for item in items:
            collections.setdefault((item.type, item.reference.namespace), []).append(item)
        crowded = [(key, found) for key, found in collections.items() if len(found) >= _LIST_FROM]
        single = [item for found in collections.values() if len(found) < _LIST_FROM for item in found]

        def names(entry: tuple[tuple[ResourceType, str], list[Desired]]) -> list[Desired]:
            (resource_type, namespace), found = entry
            existing = {body["metadata"]["name"] for version, page in self._api.pages(resource_type, namespace, names_only=True) for body in page}
            return [item for item in found if item.reference.name in existing]

        for existing in self._api.each(names, crowded):
            single.extend(existing)
        bodies = self._api.each(lambda item: self._api.get(item.type.path(item.reference.namespace, item.reference.name)), single)
        self._live.update({item.reference.identity: body for item, body in zip(single, bodies) if body is not None})

    def _owner(self, body: Body) -> str:
        return str((body["metadata"].get("labels") or {}).get(PART_OF_LABEL, ""))

    def _refuse_members_of_others(self, desired: t.Sequence[Desired]) -> None:
        foreign: dict[str, list[Desired]] = {}
        for item in desired:
            owner = self._owner(self._live.get(item.reference.identity, {"metadata": {}}))
            if owner not in ("", self._identity.id):
                foreign.setdefault(owner, []).append(item)
        if not foreign:
            return
        lines = [
            f"{item.reference} ({item.position}) belongs to {owner_name}; it cannot belong to set {self._identity} too"
            for owner, items in foreign.items()
            for owner_name in [self._name_of_set(owner)]
            for item in items
        ]
        raise ApplySetError("\n".join([*lines, f"render each object in one set only, or remove its label {PART_OF_LABEL} if that set is gone"]))

    def _name_of_set(self, set_id: str) -> str:
        """The set behind an id, told from its parent object; as the id when that cannot be found or read."""
        for resource_type in (_CONFIG_MAP, _SECRET):
            try:
                for _version, items in self._api.pages(resource_type, "", {"labelSelector": f"{ID_LABEL}={set_id}"}, names_only=True):
                    for body in items:
                        return f"set {body['metadata']['namespace']}/{body['metadata']['name']}"
            except ApiError:
                continue
        return f"the set with id {set_id}, whose parent object was not found"

    def _is_kept(self, item: Desired) -> bool:
        live = self._live.get(item.reference.identity)
        return live is not None and not self._options.adopt and item.reference.group_kind in _SHARED and not self._owner(live)

    def _missing_namespaces(self, desired: t.Sequence[Desired]) -> set[str]:
        """Namespaces that objects are to be written to, and that neither exist nor are created by this run."""
        created = {item.reference.name for item in desired if item.reference.group_kind == NAMESPACE} | {self._identity.namespace}
        names = sorted({item.reference.namespace for item in desired if item.reference.namespace} - created)
        return {name for name, exists in zip(names, self._api.each(self._namespace_exists, names)) if not exists}

    def _namespace_exists(self, name: str) -> bool:
        try:
            return self._api.get(_NAMESPACE.path(name=name)) is not None
        except ApiError as error:
            if error.status != 403:
                raise
            # Whoever may not look is told by the first write.
            return True

    @staticmethod
    def _by_namespace(desired: t.Sequence[Desired], namespaces: t.Collection[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for item in desired:
            if item.reference.namespace in namespaces:
                found.setdefault(item.reference.namespace, []).append(f"{item.position} {item.reference}")
        return found

    def _refuse_outdated_definitions(self, desired: t.Sequence[Desired], missing_types: t.Collection[ResourceType]) -> None:
        """A definition used as it is must serve what the set's objects are written in."""
        used = {item.type for item in desired} & set(missing_types)
        lines = [
            f"{item.reference} ({item.position}) exists, belongs to no set and does not serve {resource_type.kind} in {resource_type.api_version}"
            for item in desired
            if item.reference.group_kind == CUSTOM_RESOURCE_DEFINITION and self._is_kept(item)
            for resource_type in types_of_definition(item.body)
            if resource_type in used
        ]
        if lines:
            raise ApplySetError("\n".join([*lines, "update the definition, or take it into the set with adopt: true"]))

    def _await_removal_under_way(self, desired: t.Sequence[Desired]) -> None:
        """Let objects that are being deleted go first: what is written to them would go with them."""
        leaving = [item for item in desired if self._live.get(item.reference.identity, {"metadata": {}})["metadata"].get("deletionTimestamp")]

        def left() -> list[Body]:
            found = self._api.each(lambda item: self._api.get(item.type.path(item.reference.namespace, item.reference.name)), leaving)
            return [body for body in found if body is not None and body["metadata"].get("deletionTimestamp")]

        if leaving:
            self._waiter.gone(left, time.monotonic() + self._options.wait_timeout)
            for item in leaving:
                self._live.pop(item.reference.identity)
            namespaces = {item.reference.name for item in leaving if item.reference.group_kind == NAMESPACE}
            for identity in [identity for identity in self._live if identity[2] in namespaces]:
                del self._live[identity]

    def _ensure_parent_namespace(self, desired: t.Sequence[Desired]) -> None:
        """The parent object needs its namespace before any member: as a member when it is among the manifests."""
        for item in desired:
            if item.reference.group_kind == NAMESPACE and item.reference.name == self._identity.namespace:
                self._write([item])
                return
        path = _NAMESPACE.path(name=self._identity.namespace)
        if self._api.get(path) is None:
            reference = Reference("v1", "Namespace", "", self._identity.namespace)
            try:
                self._submit(path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._identity.namespace}})
            except ApiError as error:
                raise self._refused(f"creating {reference} for the set's parent object", error) from error
            self.outcome.created.append(reference)

    def _write_parent(self, parent: Body | None, contents: Contents) -> Body:
        manifest = parent_manifest(self._identity, contents)
        if parent and is_applied(parent, manifest):
            return parent
        try:
            return self._submit(_CONFIG_MAP.path(self._identity.namespace, self._identity.name), manifest, force=True)[1]
        except ApiError as error:
            raise self._refused(f"writing the set's parent object ConfigMap {self._identity}", error) from error

    def _submit(self, path: str, body: Body, force: bool = False, unserved_too: bool = False) -> tuple[int, Body]:
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        if self._options.check_mode:
            query["dryRun"] = "All"
        answer = self._api.request("PATCH", path, query, body, APPLY, unserved_too=unserved_too)
        return answer.status, answer.body

    def _write(self, desired: t.Sequence[Desired]) -> None:
        """Write what is not written yet, phase after phase."""
        told = {reference.identity for reference in (*self.outcome.created, *self.outcome.updated, *self.outcome.unchanged, *self.outcome.kept)}
        custom_kinds = {item.reference.group_kind for item in desired}
        for number, items in in_phases([item for item in desired if item.reference.identity not in told], lambda item: item.reference.group_kind):
            to_write = [item for item in items if not self._settled_before_writing(item)]
            if to_write:
                self.say(f"applying {len(to_write)} of {len(items)} {phase_title(number)}")
                self._write_phase(to_write)
            if phase_title(number) == "custom resource definitions":
                self._await_established(items, custom_kinds)

    def _settled_before_writing(self, item: Desired) -> bool:
        live = self._live.get(item.reference.identity)
        if self._is_kept(item):
            self.outcome.kept.append(item.reference)
            return True
        if live is not None and is_applied(live, item.body):
            self.outcome.unchanged.append(item.reference)
            return True
        return False

    def _write_phase(self, items: t.Sequence[Desired]) -> None:
        failures: list[str] = []
        for item, result in zip(items, self._api.each(self._try_write, items)):
            if isinstance(result, ApiError):
                failures.append(self._failure(item, result))
            else:
                self._record(item, *result)
        if failures:
            raise ApplySetError(_lines(failures))

    def _try_write(self, item: Desired) -> tuple[int, Body] | ApiError:
        try:
            return self._submit(item.type.path(item.reference.namespace, item.reference.name), item.body, self._options.force_conflicts, unserved_too=True)
        except ApiError as error:
            return error

    def _record(self, item: Desired, status: int, after: Body) -> None:
        identity = item.reference.identity
        before = self._live.get(identity)
        if status == 201 or before is None:
            # Without a 201 when the answer to the first try was lost.
            before = None
            self.outcome.created.append(item.reference)
        elif self._is_same(before, after):
            self.outcome.unchanged.append(item.reference)
        else:
            self.outcome.updated.append(item.reference)
        if self._options.diff_mode and not (before is not None and self._is_same(before, after)):
            self.outcome.diff.append(submitted_diff(str(item.reference), before, after))
        if can_wait(item.reference.group_kind):
            self._live[identity] = after
        else:
            self._live.pop(identity, None)

    def _is_same(self, before: Body, after: Body) -> bool:
        # A controller may write a status between the reading and the writing, which is no change of ours; a dry run keeps the resourceVersion.
        if not self._options.check_mode and before["metadata"]["resourceVersion"] == after["metadata"]["resourceVersion"]:
            return True
        return same_content(before, after)

    def _await_established(self, definitions: t.Sequence[Desired], kinds_in_set: t.Collection[GroupKind]) -> None:
        """Before objects of kinds that the set itself defines are written, the kinds must be served."""
        awaited = [
            self._awaited(item)
            for item in definitions
            if self._options.wait or any(resource_type.group_kind in kinds_in_set for resource_type in types_of_definition(item.body))
        ]
        self._waiter.ready(awaited)

    def _awaited(self, item: Desired) -> Awaited:
        return Awaited(item.reference, item.type, self._live[item.reference.identity], labelled=not self._is_kept(item))

    def _await_ready(self, desired: t.Sequence[Desired]) -> None:
        self._waiter.ready([self._awaited(item) for item in desired if can_wait(item.reference.group_kind)])

    # Check mode

    def _rehearse(
        self, desired: t.Sequence[Desired], surplus: t.Sequence[Member], missing_types: t.Collection[ResourceType], missing_namespaces: t.Collection[str]
    ) -> None:
        """Tell what a real run would do, by dry runs; nothing is written."""
        in_set = {item.reference.name for item in desired if item.reference.group_kind == NAMESPACE}
        new = {name for name in in_set if ("", "Namespace", "", name) not in self._live} | set(missing_namespaces)
        if self._identity.namespace not in in_set and not self._namespace_exists(self._identity.namespace):
            self.outcome.created.append(Reference("v1", "Namespace", "", self._identity.namespace))
            new.add(self._identity.namespace)
        for _number, items in in_phases(desired, lambda item: item.reference.group_kind):
            to_write = [item for item in items if not self._settled_before_writing(item)]
            failures = []
            for item, result in zip(to_write, self._api.each(lambda item: self._try_rehearse(item, missing_types, new), to_write)):
                if result is None:
                    self._record_unchecked(item)
                elif isinstance(result, ApiError):
                    failures.append(self._failure(item, result))
                else:
                    self._record(item, *result)
            if failures:
                raise ApplySetError(_lines(failures))
        for _number, members in in_phases(surplus, lambda member: member.reference.group_kind, removal=True):
            self._record_deletions(members)
            self.outcome.deleted.extend(member.reference for member in members)

    def _try_rehearse(
        self, item: Desired, missing_types: t.Collection[ResourceType], missing_namespaces: t.Collection[str]
    ) -> tuple[int, Body] | ApiError | None:
        """The answer to a dry run; None when the cluster cannot tell, as what the object needs does not exist yet."""
        if item.type in missing_types or item.reference.namespace in missing_namespaces:
            return None
        try:
            return self._submit(item.type.path(item.reference.namespace, item.reference.name), item.body, self._options.force_conflicts)
        except ApiError as error:
            if error.status == 400 and "does not support dry run" in error.message:
                self.outcome.warnings.append(f"{item.reference}: an admission webhook does not support dry runs, so the API server did not check it.")
                return None
            return error

    def _record_unchecked(self, item: Desired) -> None:
        before = self._live.get(item.reference.identity)
        (self.outcome.created if before is None else self.outcome.updated).append(item.reference)
        if self._options.diff_mode:
            self.outcome.diff.append(submitted_diff(str(item.reference), before, None, item.body))

    # Removal

    def absent(self) -> None:
        """Remove every member, then the parent object. Succeeds when there is nothing."""
        parent = self._read_parent()
        recorded = read_parent(self._identity, parent) if parent else Contents()
        # A run cut off between its first two writes leaves a namespace and no parent yet.
        kinds = {NAMESPACE, *recorded.group_kinds}
        members = self._members(self._types_of_kinds(kinds, [_NAMESPACE]), {self._identity.namespace, *recorded.namespaces})
        self._refuse_homes_of_others(members)
        if self._options.check_mode:
            for _number, found in in_phases(members, lambda member: member.reference.group_kind, removal=True):
                self._record_deletions(found)
                self.outcome.deleted.extend(member.reference for member in found)
            self.outcome.parent_deleted = parent is not None
            return
        self._delete(members, (), dependents=True)
        if parent:
            self._delete_parent()

    def _refuse_homes_of_others(self, leaving: t.Sequence[Member]) -> None:
        """Other sets whose parent object lies in a namespace that is to go would leave their members behind, unaccounted for."""
        lines = []
        for member in leaving:
            if member.reference.group_kind != NAMESPACE:
                continue
            for resource_type in (_CONFIG_MAP, _SECRET):
                for _version, items in self._api.pages(resource_type, member.reference.name, {"labelSelector": ID_LABEL}, names_only=True):
                    names = [body["metadata"]["name"] for body in items if body["metadata"]["labels"][ID_LABEL] != self._identity.id]
                    lines += [f"{member.reference} cannot be deleted: it holds the parent object of set {member.reference.name}/{name}" for name in names]
        if not lines:
            return
        message = "\n".join([*lines, "remove those sets first (state: absent), or keep the namespace in this one"])
        if not self._options.check_mode:
            raise ApplySetError(message)
        # In a check of several removals, the sets that go before this one are still there.
        self.outcome.warnings.append(message)

    def _delete_parent(self) -> None:
        """Delete the parent object, unless it went with its namespace."""
        try:
            self._api.request("DELETE", _CONFIG_MAP.path(self._identity.namespace, self._identity.name))
        except ApiError as error:
            if error.status != 404:
                raise self._refused(f"deleting the set's parent object ConfigMap {self._identity}", error) from error
        self.outcome.parent_deleted = True

    def _delete(self, members: t.Sequence[Member], staying: t.Collection[Identity], dependents: bool = False) -> None:
        """Delete ``members`` phase after phase, last written first, and wait for each phase to be gone.

        :param staying: members that are not to be deleted; a collection that holds one is deleted object by object.
        :param dependents: a workload is gone only when its pods are.
        """
        deadline = time.monotonic() + self._options.wait_timeout
        for number, found in in_phases(members, lambda member: member.reference.group_kind, removal=True):
            self.say(f"deleting {len(found)} {phase_title(number)}")
            self._record_deletions(found)
            self._request_deletions(found, staying, "Foreground" if dependents and self._options.wait else "Background")
            self.outcome.deleted.extend(member.reference for member in found)
            if self._options.wait:
                self._waiter.gone(functools.partial(self._still_there, found), deadline)

    def _record_deletions(self, members: t.Sequence[Member]) -> None:
        if self._options.diff_mode:
            self.outcome.diff.extend(submitted_diff(str(member.reference), member.body, None) for member in members)

    def _request_deletions(self, members: t.Sequence[Member], staying: t.Collection[Identity], workloads: str) -> None:
        collections: dict[tuple[ResourceType, str], list[Member]] = {}
        for member in members:
            collections.setdefault((member.type, member.reference.namespace), []).append(member)
        stay = {(identity[0], identity[1], identity[2]) for identity in staying if self._owner(self._live.get(identity, {"metadata": {}}))}
        requests: list[tuple[str, dict[str, str], Body, str]] = []
        for (resource_type, namespace), found in collections.items():
            propagation = workloads if resource_type.group_kind in _OWNERS else "Background"
            options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
            whole = (*resource_type.group_kind, namespace) not in stay
            if whole and len(found) > 1 and "deletecollection" in resource_type.verbs:
                requests.append((resource_type.path(namespace), {"labelSelector": self._identity.selector}, options, f"the set's {resource_type.plural}"))
                continue
            for member in found:
                # Only the very object that was seen: its successor of the same name may be somebody else's.
                precondition = {**options, "preconditions": {"uid": member.body["metadata"]["uid"]}}
                requests.append((resource_type.path(namespace, member.reference.name), {}, precondition, str(member.reference)))

        def delete(request: tuple[str, dict[str, str], Body, str]) -> str | None:
            path, query, options, what = request
            try:
                self._api.request("DELETE", path, query, options)
            except ApiError as error:
                # Gone already, or replaced by another object of that name.
                if error.status == 404 or (error.status == 409 and "uid" in error.message.lower()):
                    return None
                return str(self._refused(f"deleting {what}", error))
            return None

        failures = [failure for failure in self._api.each(delete, requests) if failure]
        if failures:
            raise ApplySetError(_lines(failures))

    def _still_there(self, members: t.Sequence[Member]) -> list[Body]:
        wanted = {member.body["metadata"]["uid"] for member in members}
        collections = sorted({(member.type, member.reference.namespace) for member in members}, key=str)

        def left(collection: tuple[ResourceType, str]) -> list[Body]:
            pages = self._api.pages(*collection, {"labelSelector": self._identity.selector})
            return [body for version, items in pages for body in items if body["metadata"]["uid"] in wanted]

        return [body for found in self._api.each(left, collections) for body in found]

    # Errors

    def _refused(self, action: str, error: ApiError) -> ApplySetError:
        return ApplySetError(f"{action}: {self.mask.text(error.message)}")

    def _failure(self, item: Desired, error: ApiError) -> str:
        """One line about an object the API server refused, with what to do about it."""
        title = f"{item.reference} ({item.position})"
        if error.is_field_conflict:
            owned = "; ".join(
                f"field {cause.get('field')} is owned by {str(cause.get('message', '')).partition('conflict with ')[2] or 'another field manager'}"
                for cause in error.causes
                if cause.get("reason") == "FieldManagerConflict"
            )
            return f"{title}: {owned}; leave the field out, or take it with force_conflicts: true"
        message = _shortened(self.mask.text(error.message, secret=item.reference.group_kind == GroupKind("", "Secret")))
        if "field is immutable" in error.message or "Forbidden: updates to" in error.message:
            message += "; such a field changes only with a new object: delete this one, or give the manifest another name, and run again"
        return f"{title}: {message}"


def _some(items: t.Sequence[t.Any], most: int = 3) -> str:
    """The first of ``items`` and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(str(item) for item in items[:most]) + more


def _shortened(message: str, most: int = 600) -> str:
    """``message`` without its middle when it is long: the API server quotes whole templates between the field and what is wrong with it."""
    half = most // 2
    return message if len(message) <= most else f"{message[:half]} … {message[-half:]}"


def _lines(failures: t.Sequence[str], most: int = 20) -> str:
    """The first of ``failures``, one a line, and how many more there are."""
    more = [f"and {len(failures) - most} more"] if len(failures) > most else []
    return "\n".join([*failures[:most], *more])
