# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a set to its desired state: plan everything, write phase by phase, prune, wait."""

from __future__ import annotations

import contextlib
import datetime
import functools
import math
import time
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.diff import (
    content_digest,
    is_applied,
    submitted_diff,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import (
    FORCE_ANNOTATION,
    PART_OF_LABEL,
    Contents,
    ForeignParentError,
    Identity,
    SetIdentity,
    parent_manifest,
    read_parent,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import (
    Desired,
    Manifest,
    ManifestError,
    check,
    complete,
    unfold,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.order import in_phases, is_route, phase_title
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.ownership import (
    release,
    without_scaled_replicas,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import (
    CONFIG_MAP,
    NAMESPACES,
    ApplySetError,
    Body,
    Reader,
    Seen,
    seen,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.removal import (
    deletions,
    ending_pods,
    request_deletions,
    still_there,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.retirement import retire
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.schema import (
    storage_version,
    unknown_fields,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import APPLY, Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.expectations import expectations_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import (
    CUSTOM_RESOURCE_DEFINITION,
    NAMESPACE,
    GroupKind,
    ResourceType,
    types_of_crd,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import (
    FIELD_MANAGER,
    Reference,
    reference_of,
    some,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.readiness import State, parent_gateways
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import SecretMask, secret_paths
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.wait import Awaited, Waiter

#: Existing objects of these kinds serve others too: used as they are unless adoption is asked for.
# The policies that come with CRDs belong to the owner of the CRDs.
SHARED = frozenset(
    (
        NAMESPACE,
        CUSTOM_RESOURCE_DEFINITION,
        GroupKind("admissionregistration.k8s.io", "ValidatingAdmissionPolicy"),
        GroupKind("admissionregistration.k8s.io", "ValidatingAdmissionPolicyBinding"),
    )
)


_CRDS = ResourceType(
    "apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions", False, frozenset()
)
#: The API server's words for a field that a schema does not have.
_UNDECLARED = "field not declared in schema"


@dataclass(frozen=True, eq=False)
class Options:
    prune: bool = True
    wait: bool = True
    wait_timeout: float = 300.0
    #: Seconds from the creation of the newest route to the deletion of others.
    prune_delay: float = 0.0
    force_conflicts: bool = False
    force_removal: bool = False
    adopt: bool = False
    #: Field managers of controllers that the set runs.
    managers: t.Sequence[str] = ()
    #: Entries of the module's option of that name.
    wait_for: t.Sequence[Body] = ()
    check_mode: bool = False
    #: In check mode: go on after what a run would fail with, and keep it as faults.
    rehearse: bool = False
    diff_mode: bool = False


@dataclass
class Outcome:
    """What became, or in check mode would become, of the objects.

    Filled during the run, so that a failure can report its progress.
    """

    created: list[Reference] = field(default_factory=list)
    updated: list[Reference] = field(default_factory=list)
    unchanged: list[Reference] = field(default_factory=list)
    deleted: list[Reference] = field(default_factory=list)
    kept: list[Reference] = field(default_factory=list)
    released: list[Reference] = field(default_factory=list)
    diff: list[Body] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    #: In a rehearsal, what the run would fail with.
    faults: list[str] = field(default_factory=list)
    parent_deleted: bool = False

    @property
    def changed(self) -> bool:
        return bool(self.created or self.updated or self.deleted or self.released or self.parent_deleted)


class Run:
    """One run over one set; ``outcome`` shows what it did."""

    def __init__(self, api: Api, identity: SetIdentity, options: Options, say: t.Callable[[str], None]) -> None:
        self.outcome = Outcome()
        self.mask = SecretMask()
        self._api = api
        self._identity = identity
        self._options = options
        self.say = say
        self._waiter = Waiter(api, identity.selector, options.wait_timeout, say, self.outcome.warnings.append)
        self._reader = Reader(api, identity, self._keep, options.managers)
        #: What is to be applied, and the latest reading of objects.
        self._wanted: dict[Identity, Desired] = {}
        self._live: dict[Identity, Seen] = {}
        #: CRDs of the cluster that were asked for.
        self._crds: dict[str, Body | None] = {}

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
        desired, missing_types, missing_namespaces = self._plan(unfolded)
        self._wanted = {item.reference.identity: item for item in desired}
        parent = self._read_parent()
        recorded = self._recorded(parent)
        served = {item.type for item in desired} - missing_types
        served.update(self._reader.types_of_kinds(recorded.group_kinds, served))
        namespaces = {
            self._identity.namespace,
            *recorded.namespaces,
            *(item.reference.namespace for item in desired if item.reference.namespace),
        }
        members = self._reader.members(served, namespaces)
        self._live.update({member.reference.identity: member for member in members})
        others = [
            item for item in desired if item.reference.identity not in self._live and item.type not in missing_types
        ]
        self._live.update({found.reference.identity: found for found in self._reader.existing(others)})
        surplus = (
            [member for member in members if member.reference.identity not in self._wanted]
            if self._options.prune
            else []
        )
        if surplus and not unfolded:
            raise ApplySetError(
                f"manifests is empty, but set {self._identity} has {len(surplus)} "
                f"members ({some([member.reference for member in surplus])}); "
                "to remove them all use state: absent, to leave them alone prune: false"
            )
        surplus, released = _divided(surplus, recorded.adopted)
        self._judge(
            functools.partial(self._refuse_members_of_others, desired),
            functools.partial(self._refuse_unmanaged, desired),
            functools.partial(self._refuse_harm_to_wanted, surplus, desired),
            functools.partial(self._refuse_harm_to_others, surplus, recorded.adopted),
            functools.partial(self._refuse_outdated_crds, desired, missing_types),
        )
        if self._options.check_mode:
            self._judge(
                functools.partial(self._rehearse, desired, surplus, missing_types, missing_namespaces),
            )
            self.outcome.released += [member.reference for member in released]
            return
        self._refuse_conflicts(desired)
        if self._await_removal_under_way(desired):
            # It may have gone with its namespace.
            parent = self._read_parent()
        contents = Contents(
            frozenset(item.reference.group_kind for item in desired if not self._is_kept(item)),
            frozenset(item.reference.namespace for item in desired if item.reference.namespace),
            frozenset(
                item.reference.identity
                for item in desired
                if item.reference.identity in self._live
                and (item.reference.identity in recorded.adopted or self._is_unmanaged(item))
                and not self._is_kept(item)
            ),
        )
        self._ensure_parent_namespace(desired)
        # Recorded before the first member is written, so that a run cut off anywhere leaves none unaccounted for.
        parent = self._write_parent(parent, contents | recorded)
        self._write(desired)
        if self._options.wait:
            self._retire_routes(desired, surplus)
        self._release(released)
        self._delete(surplus, self._wanted)
        if self._options.prune:
            self._write_parent(parent, contents)
        if self._options.wait:
            self._await_ready(desired)

    def _recorded(self, parent: Body | None) -> Contents:
        try:
            return read_parent(self._identity, parent) if parent else Contents()
        except ForeignParentError as error:
            if not self._options.rehearse:
                raise
            self.outcome.faults.append(str(error))
            return Contents()

    def _judge(self, *checks: t.Callable[[], None]) -> None:
        """Raise what ``checks`` raise as one error; in a rehearsal keep it as faults."""
        failures = []
        for check_one in checks:
            try:
                check_one()
            except ApplySetError as error:
                failures.append(str(error))
        if self._options.rehearse:
            self.outcome.faults += failures
        elif failures:
            raise ApplySetError("\n".join(failures))

    def _plan(self, unfolded: t.Sequence[tuple[str, t.Any]]) -> tuple[list[Desired], set[ResourceType], set[str]]:
        """Check everything against itself and the kinds and namespaces the cluster has.

        Returns the objects to submit, those of their types that the cluster does not serve yet, and, in check mode, the
        namespaces it does not have.
        """
        well_formed, faults = check(unfolded)
        types: dict[tuple[str, str], ResourceType] = {}
        api_versions = sorted({manifest.api_version for manifest in well_formed})
        for listed in self._api.each(self._api.types, api_versions):
            types.update({(resource_type.api_version, resource_type.kind): resource_type for resource_type in listed})
        missing: set[ResourceType] = set()
        for manifest in well_formed:
            if manifest.group_kind == CUSTOM_RESOURCE_DEFINITION:
                for resource_type in types_of_crd(manifest.body):
                    key = (resource_type.api_version, resource_type.kind)
                    if key not in types:
                        types[key] = resource_type
                        missing.add(resource_type)
        faults += self._unknown_kinds(
            [manifest for manifest in well_formed if (manifest.api_version, manifest.body["kind"]) not in types]
        )
        desired, more_faults = complete(well_formed, types, self._identity)
        faults += more_faults
        missing_namespaces = self._missing_namespaces(desired)
        if not self._options.check_mode:
            faults += [
                f"{some(items)}: namespace {namespace} does not exist, or is "
                "being deleted; add it to the manifests, or create it first"
                for namespace, items in self._by_namespace(desired, missing_namespaces).items()
            ]
        references = [*(item.reference for item in desired), *self.outcome.created]
        self._waiter.expectations, more_faults = expectations_of(self._options.wait_for, references)
        faults += more_faults
        if faults:
            raise ManifestError(faults)
        return desired, missing, missing_namespaces

    def _keep(self, resource_type: ResourceType, body: Body) -> Seen:
        """What the rest of the run needs of a reading."""
        item = self._wanted.get(reference_of(body).identity)
        if item:
            item = replace(item, body=without_scaled_replicas(item.body, body))
            self._wanted[item.reference.identity] = item
        applied = is_applied(body, item.body) if item else False
        return seen(
            resource_type,
            body,
            applied=applied,
            digest=content_digest(body) if item is not None and not applied else "",
            body=body if self._options.diff_mode or (item is not None and self._is_to_wait_for(body)) else None,
        )

    def _is_to_wait_for(self, body: Body) -> bool:
        # Whether a route is ready takes knowing its Gateways' controllers, which the waiter asks for.
        return self._waiter.verdict(body).state is not State.CURRENT or bool(parent_gateways(body))

    def _unknown_kinds(self, manifests: t.Sequence[Manifest]) -> list[str]:
        """Faults for kinds that neither the cluster nor the set defines.

        In check mode an earlier task may define them, as it would have on a real run: those objects count as created,
        with a warning.
        """
        kinds: dict[tuple[str, str], list[Manifest]] = {}
        for manifest in manifests:
            kinds.setdefault((manifest.api_version, manifest.body["kind"]), []).append(manifest)
        if not self._options.check_mode:
            return [
                f"{some(found)}: the cluster serves no {kind} in {api_version}; install "
                "its CustomResourceDefinition first, or correct apiVersion and kind"
                for (api_version, kind), found in kinds.items()
            ]
        for (api_version, kind), found in kinds.items():
            self.outcome.warnings.append(
                f"The cluster serves no {kind} in {api_version} and its "
                f"CustomResourceDefinition is not in set {self._identity}; "
                f"taking it that an earlier task would install it, and {len(found)} of them for created, unchecked."
            )
            for manifest in found:
                metadata = manifest.body["metadata"]
                # Whether the kind is namespaced is unknown, so the namespace is reported as written.
                reference = Reference(api_version, kind, metadata.get("namespace") or "", metadata["name"])
                self.outcome.created.append(reference)
                if self._options.diff_mode:
                    self.outcome.diff.append(submitted_diff(str(reference), None, None, manifest.body))
        return []

    def _read_parent(self) -> Body | None:
        return self._api.get(CONFIG_MAP.path(self._identity.namespace, self._identity.name))

    def _refuse_members_of_others(self, desired: t.Sequence[Desired]) -> None:
        foreign: dict[str, list[Desired]] = {}
        for item in desired:
            found = self._live.get(item.reference.identity)
            if found and found.owner not in ("", self._identity.id):
                foreign.setdefault(found.owner, []).append(item)
        if not foreign:
            return
        lines = [
            f"{item.reference} ({item.position}) belongs to {owner_name}; it cannot belong to set {self._identity} too"
            for owner, items in foreign.items()
            for owner_name in [self._reader.name_of_set(owner)]
            for item in items
        ]
        raise ApplySetError(
            "\n".join(
                [*lines, f"render each object in one set only, or remove its label {PART_OF_LABEL} if that set is gone"]
            )
        )

    def _is_unmanaged(self, item: Desired) -> bool:
        """Whether an object exists and is neither of a set nor of this collection at all, such as one whose label
        somebody removed.
        """
        found = self._live.get(item.reference.identity)
        return found is not None and not (found.owner or found.ours or found.leaving)

    def _refuse_unmanaged(self, desired: t.Sequence[Desired]) -> None:
        if self._options.adopt:
            return
        lines = [f"- {item.reference}" for item in desired if self._is_unmanaged(item) and not self._is_kept(item)]
        if lines:
            raise ApplySetError(
                "these objects exist and are not managed by this set; nothing was written:\n"
                + _lines(lines)
                + "\ndelete or rename them, or take them over with adopt: true (ai_gateway_adopt: true with the "
                "playbooks), which changes them to the manifests and leaves them on the cluster when the set is removed"
            )

    def _refuse_conflicts(self, desired: t.Sequence[Desired]) -> None:
        """Ask the API server about each object that others write to as well, so that a conflict is reported before any
        write.
        """
        if self._options.force_conflicts:
            return
        contested = []
        for item in desired:
            found = self._live.get(item.reference.identity)
            if found and found.shared and not (found.applied or found.leaving or self._is_kept(item)):
                contested.append(self._wanted[item.reference.identity])

        def conflict(item: Desired) -> str:
            path = item.type.path(item.reference.namespace, item.reference.name)
            try:
                self._submit(path, item.body, dry_run=True)
            except ApiError as error:
                return self._failure(item, error) if error.is_field_conflict else ""
            return ""

        failures = [failure for failure in self._api.each(conflict, contested) if failure]
        if failures:
            raise ApplySetError("nothing was written:\n" + _lines(failures))

    def _is_kept(self, item: Desired) -> bool:
        live = self._live.get(item.reference.identity)
        return live is not None and not self._options.adopt and item.reference.group_kind in SHARED and not live.owner

    def _missing_namespaces(self, desired: t.Sequence[Desired]) -> set[str]:
        """Namespaces that objects are to be written to, and that neither exist nor are created by this run."""
        created = {item.reference.name for item in desired if item.reference.group_kind == NAMESPACE} | {
            self._identity.namespace
        }
        names = sorted({item.reference.namespace for item in desired if item.reference.namespace} - created)
        return {name for name, exists in zip(names, self._api.each(self._reader.namespace_exists, names)) if not exists}

    @staticmethod
    def _by_namespace(desired: t.Sequence[Desired], namespaces: t.Collection[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for item in desired:
            if item.reference.namespace in namespaces:
                found.setdefault(item.reference.namespace, []).append(f"{item.position} {item.reference}")
        return found

    def _refuse_outdated_crds(self, desired: t.Sequence[Desired], missing_types: t.Collection[ResourceType]) -> None:
        """A CRD that is used as it is must serve what the set's objects and the controllers of the kind are written in:
        the version that the manifest stores.
        """
        used = {item.type for item in desired} & set(missing_types)
        lines = []
        for item in desired:
            if item.reference.group_kind != CUSTOM_RESOURCE_DEFINITION or not self._is_kept(item):
                continue
            wanted = {resource_type.api_version for resource_type in types_of_crd(item.body) if resource_type in used}
            stored = storage_version(item.body)
            if stored not in self._live[item.reference.identity].served:
                wanted.add(f"{item.body['spec']['group']}/{stored}")
            lines += [
                f"{item.reference} exists, belongs to no set and does not serve "
                f"{item.body['spec']['names']['kind']} in {version}"
                for version in sorted(wanted)
            ]
        if lines:
            raise ApplySetError(
                "\n".join(
                    [
                        *lines,
                        "update the CRD, or take it into the set with adopt: true (ai_gateway_adopt: true with the "
                        "playbooks)",
                    ]
                )
            )

    def _await_removal_under_way(self, desired: t.Sequence[Desired]) -> bool:
        """Wait until objects that are being deleted are gone, as what is written to them would go with them.

        :return: whether there were any.
        """
        leaving = [
            item
            for item in desired
            if item.reference.identity in self._live and self._live[item.reference.identity].leaving
        ]

        def left() -> list[Body]:
            found = self._api.each(
                lambda item: self._api.get(item.type.path(item.reference.namespace, item.reference.name)), leaving
            )
            return [body for body in found if body is not None and body["metadata"].get("deletionTimestamp")]

        if leaving:
            self._waiter.gone(left, time.monotonic() + self._options.wait_timeout)
            for item in leaving:
                self._live.pop(item.reference.identity)
            namespaces = {item.reference.name for item in leaving if item.reference.group_kind == NAMESPACE}
            kinds = self._kinds_defined(leaving)
            # What was in them has gone with them.
            for identity in [identity for identity in self._live if identity[2] in namespaces or identity[:2] in kinds]:
                del self._live[identity]
        return bool(leaving)

    def _ensure_parent_namespace(self, desired: t.Sequence[Desired]) -> None:
        """The parent object needs its namespace before any member: as a member when it is among the manifests."""
        for item in desired:
            if item.reference.group_kind == NAMESPACE and item.reference.name == self._identity.namespace:
                self._write([item])
                return
        path = NAMESPACES.path(name=self._identity.namespace)
        if not self._reader.namespace_exists(self._identity.namespace):
            self._waiter.gone(
                lambda: [body for body in [self._api.get(path)] if body], time.monotonic() + self._options.wait_timeout
            )
            reference = Reference("v1", "Namespace", "", self._identity.namespace)
            try:
                self._submit(
                    path, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self._identity.namespace}}
                )
            except ApiError as error:
                raise self._refused(f"creating {reference} for the set's parent object", error) from error
            self.outcome.created.append(reference)

    def _write_parent(self, parent: Body | None, contents: Contents) -> Body:
        manifest = parent_manifest(self._identity, contents)
        if parent and is_applied(parent, manifest):
            return parent
        try:
            return self._submit(CONFIG_MAP.path(self._identity.namespace, self._identity.name), manifest, force=True)[1]
        except ApiError as error:
            raise self._refused(f"writing the set's parent object ConfigMap {self._identity}", error) from error

    def _submit(
        self, path: str, body: Body, force: bool = False, unserved_too: bool = False, dry_run: bool = False
    ) -> tuple[int, Body]:
        force = force or FORCE_ANNOTATION in (body["metadata"].get("annotations") or {})
        query = {"fieldManager": FIELD_MANAGER, "force": str(force).lower(), "fieldValidation": "Strict"}
        if dry_run:
            query["dryRun"] = "All"
        try:
            answer = self._api.request("PATCH", path, query, body, APPLY, unserved_too=unserved_too)
        except ApiError as error:
            if force or not error.is_conflict_with(FIELD_MANAGER):
                raise
            # What an earlier run changed on the way to a deletion, as retire does.
            return self._submit(path, body, True, unserved_too, dry_run)
        return answer.status, answer.body

    def _write(self, desired: t.Sequence[Desired]) -> None:
        """Write what is not written yet, phase after phase."""
        reported = {
            reference.identity
            for reference in (*self.outcome.created, *self.outcome.updated, *self.outcome.unchanged, *self.outcome.kept)
        }
        custom_kinds = {item.reference.group_kind for item in desired}
        for number, items in in_phases(
            [item for item in desired if item.reference.identity not in reported],
            lambda item: item.reference.group_kind,
        ):
            to_write = [
                self._wanted[item.reference.identity] for item in items if not self._settled_before_writing(item)
            ]
            if to_write:
                self.say(f"applying {len(to_write)} of {len(items)} {phase_title(number)}")
                self._write_phase(to_write)
            if phase_title(number) == "CRDs":
                self._await_established(items, custom_kinds)

    def _settled_before_writing(self, item: Desired) -> bool:
        live = self._live.get(item.reference.identity)
        if self._is_kept(item):
            self.outcome.kept.append(item.reference)
            return True
        if live is not None and live.applied:
            self.outcome.unchanged.append(item.reference)
            return True
        return False

    def _write_phase(self, items: t.Sequence[Desired]) -> None:
        failures: list[str] = []
        for item, result in zip(items, self._api.stream(self._try_write, items)):
            if isinstance(result, ApiError):
                failures.append(self._failure(item, result))
            else:
                self._record(item, *result)
        if failures:
            raise ApplySetError(_lines(failures))

    def _try_write(self, item: Desired) -> tuple[int, Body] | ApiError:
        path, force = item.type.path(item.reference.namespace, item.reference.name), self._options.force_conflicts
        found = self._live.get(item.reference.identity)
        if found and found.applied is None:
            # Some kinds get a new resourceVersion from a submission that changes nothing, so that one is not sent.
            with contextlib.suppress(ApiError):
                status, body = self._submit(path, item.body, force, dry_run=True)
                if content_digest(body) == found.digest:
                    return status, body
        try:
            return self._submit(path, item.body, force, unserved_too=True)
        except ApiError as error:
            return error

    def _record(self, item: Desired, status: int, after: Body) -> None:
        identity = item.reference.identity
        before = self._live.get(identity)
        # A controller may write a status between the reading and the writing, which is no change of ours; a dry run
        # keeps the resourceVersion.
        same = before is not None and (
            (not self._options.check_mode and before.resource_version == after["metadata"]["resourceVersion"])
            or before.digest == content_digest(after)
        )
        if status == 201 or before is None:
            # Without a 201 when the answer to the first try was lost.
            before, same = None, False
            self.outcome.created.append(item.reference)
        elif same:
            self.outcome.unchanged.append(item.reference)
        else:
            self.outcome.updated.append(item.reference)
        if self._options.diff_mode and not same:
            self.outcome.diff.append(submitted_diff(str(item.reference), before.body if before else None, after))
        self._live[identity] = seen(
            item.type, after, applied=True, digest="", body=after if self._is_to_wait_for(after) else None
        )

    def _await_established(self, crds: t.Sequence[Desired], kinds_in_set: t.Collection[GroupKind]) -> None:
        """Before objects of kinds that the set itself defines are written, the kinds must be served."""
        awaited = [
            self._awaited(item)
            for item in self._unready(crds)
            if self._options.wait
            or any(resource_type.group_kind in kinds_in_set for resource_type in types_of_crd(item.body))
        ]
        self._waiter.ready(awaited)

    def _unready(self, items: t.Sequence[Desired]) -> list[Desired]:
        return [
            item
            for item in items
            if self._live[item.reference.identity].body is not None and self._waiter.observes(item.reference)
        ]

    def _awaited(self, item: Desired) -> Awaited:
        found = self._live[item.reference.identity]
        return Awaited(item.reference, item.type, found.body or {}, labelled=not self._is_kept(item))

    def _await_ready(self, desired: t.Sequence[Desired]) -> None:
        self._waiter.ready([self._awaited(item) for item in self._unready(desired)])

    def _retire_routes(self, desired: t.Sequence[Desired], surplus: t.Sequence[Seen]) -> None:
        """Take routes out of use before they are deleted, and only once others serve, which may be there instead since
        this run or one that was cut off.
        """
        leaving = [member for member in surplus if is_route(member.reference.group_kind)]
        if not leaving:
            return
        routes = [item for item in desired if is_route(item.reference.group_kind)]
        self._await_ready(routes)
        delay = self._options.prune_delay - min((self._age(item) for item in routes), default=self._options.prune_delay)
        if delay > 0:
            self.say(
                f"waiting {delay:.0f} s until all have learnt of new routes, before {len(leaving)} others are deleted"
            )
            time.sleep(delay)
        self.outcome.warnings += retire(self._api, leaving)

    def _age(self, item: Desired) -> float:
        """Seconds since an object was created, by the clocks of the API server and of this machine."""
        created = self._live[item.reference.identity].created
        if not created:
            return math.inf
        return max(0.0, time.time() - datetime.datetime.strptime(created, "%Y-%m-%dT%H:%M:%S%z").timestamp())

    # Check mode

    def _rehearse(
        self,
        desired: t.Sequence[Desired],
        surplus: t.Sequence[Seen],
        missing_types: t.Collection[ResourceType],
        missing_namespaces: t.Collection[str],
    ) -> None:
        """Report what a real run would do, by dry runs. Nothing is written."""
        in_set = {item.reference.name for item in desired if item.reference.group_kind == NAMESPACE}
        new = {name for name in in_set if ("", "Namespace", "", name) not in self._live} | set(missing_namespaces)
        if self._identity.namespace not in in_set and not self._reader.namespace_exists(self._identity.namespace):
            self.outcome.created.append(Reference("v1", "Namespace", "", self._identity.namespace))
            new.add(self._identity.namespace)
        for _number, items in in_phases(desired, lambda item: item.reference.group_kind):
            to_write = [
                self._wanted[item.reference.identity] for item in items if not self._settled_before_writing(item)
            ]
            failures = []
            # A schema that a CRD would get only in a real run does not exist to check against.
            changing = self._kinds_defined([item for item in desired if item.reference in self.outcome.updated])
            rehearse = functools.partial(
                self._try_rehearse, missing_types=missing_types, missing_namespaces=new, changing=changing
            )
            for item, result in zip(to_write, self._api.stream(rehearse, to_write)):
                if result is None:
                    self._record_unchecked(item)
                elif isinstance(result, ApiError):
                    failures.append(self._failure(item, result))
                else:
                    self._record(item, *result)
            if failures:
                raise ApplySetError(_lines(failures))
        self._rehearse_deletions(surplus)

    def _try_rehearse(
        self,
        item: Desired,
        missing_types: t.Collection[ResourceType],
        missing_namespaces: t.Collection[str],
        changing: t.Collection[GroupKind],
    ) -> tuple[int, Body] | ApiError | None:
        """The answer to a dry run; None when the cluster cannot answer, as what the object needs does not exist yet."""
        found = self._live.get(item.reference.identity)
        if item.type in missing_types or (found and found.leaving):
            return None
        if self._is_unmanaged(item) and not self._options.adopt:
            # A fault already, whose fields say nothing more.
            return None
        if item.reference.namespace in missing_namespaces:
            return None if item.reference.group_kind in changing else self._misfit(item)
        try:
            return self._submit(
                item.type.path(item.reference.namespace, item.reference.name),
                item.body,
                self._options.force_conflicts,
                dry_run=True,
            )
        except ApiError as error:
            if error.status == 400 and "does not support dry run" in error.message:
                self.outcome.warnings.append(
                    f"{item.reference}: an admission webhook does not "
                    "support dry runs, so the API server did not check it."
                )
                return None
            if item.reference.group_kind in changing or (
                _UNDECLARED in error.message and self._crd_changes_first(item)
            ):
                self.outcome.warnings.append(
                    f"{item.reference}: its CRD would be updated first, so the API server could not check it."
                )
                return None
            return error

    def _misfit(self, item: Desired) -> ApiError | None:
        """What the CRD of an object does not know of it."""
        name = f"{item.type.plural}.{item.type.group_kind.group}"
        crd = self._crd(name) if "." in item.type.group_kind.group else None
        unknown = unknown_fields(crd, item.body) if crd and not self._crd_changes_first(item) else []
        return ApiError(400, "BadRequest", f"{', '.join(unknown[:5])}: {_UNDECLARED}") if unknown else None

    def _crd_changes_first(self, item: Desired) -> bool:
        """Whether, in a rehearsal, another set brings the CRD of an object up to date before this set is applied."""
        if not self._options.rehearse or "." not in item.type.group_kind.group:
            return False
        crd = self._crd(f"{item.type.plural}.{item.type.group_kind.group}")
        return crd is not None and (self._options.adopt or PART_OF_LABEL in (crd["metadata"].get("labels") or {}))

    def _crd(self, name: str) -> Body | None:
        if name not in self._crds:
            self._crds[name] = self._api.get(_CRDS.path(name=name))
        return self._crds[name]

    @staticmethod
    def _kinds_defined(items: t.Iterable[Desired]) -> set[GroupKind]:
        crds = [item for item in items if item.reference.group_kind == CUSTOM_RESOURCE_DEFINITION]
        return {resource_type.group_kind for item in crds for resource_type in types_of_crd(item.body)}

    def _record_unchecked(self, item: Desired) -> None:
        before = self._live.get(item.reference.identity)
        before = None if before and before.leaving else before
        (self.outcome.created if before is None else self.outcome.updated).append(item.reference)
        if self._options.diff_mode:
            self.outcome.diff.append(
                submitted_diff(str(item.reference), before.body if before else None, None, item.body)
            )

    # Removal

    def absent(self) -> None:
        """Remove every member, then the parent object. Succeeds when there is nothing."""
        parent = self._read_parent()
        recorded = read_parent(self._identity, parent) if parent else Contents()
        members, released = _divided(self._reader.recorded_members(recorded), recorded.adopted)
        self._refuse_harm_to_others(members, recorded.adopted)
        if self._options.check_mode:
            self._rehearse_deletions(members)
            self.outcome.released += [member.reference for member in released]
            self.outcome.parent_deleted = parent is not None
            return
        self._release(released)
        self._delete(members, (), dependents=True)
        if parent:
            self._delete_parent()

    def _refuse_harm_to_wanted(self, leaving: t.Sequence[Seen], desired: t.Sequence[Desired]) -> None:
        """What is to be deleted must not take with it what the manifests want, or the set's parent object."""
        lines = []
        for member in leaving:
            name, inside = member.reference.name, []
            if member.reference.group_kind == NAMESPACE:
                inside = [str(item.reference) for item in desired if item.reference.namespace == name]
                inside += ["the set's parent object"] if name == self._identity.namespace else []
            elif member.reference.group_kind == CUSTOM_RESOURCE_DEFINITION:
                inside = [
                    str(item.reference)
                    for item in desired
                    if f"{item.type.plural}.{item.type.group_kind.group}" == name
                ]
            if inside:
                lines.append(
                    f"{member.reference} is not among the manifests any more, "
                    f"but {some(inside)} would go with it; keep it among them, "
                    f"or take it out of the set: kubectl label {member.type.plural} {name} {PART_OF_LABEL}-"
                )
        if lines:
            raise ApplySetError(_lines(lines))

    def _release(self, members: t.Sequence[Seen]) -> None:
        failures = release(self._api, members)
        if failures:
            raise ApplySetError(_lines(failures))
        self.outcome.released += [member.reference for member in members]

    def _refuse_harm_to_others(self, leaving: t.Sequence[Seen], adopted: t.Collection[Identity]) -> None:
        """What is to be deleted must not take with it what is not of this set."""
        lines = self._reader.sets_inside(leaving)
        if not self._options.force_removal:
            lines += self._reader.objects_inside(leaving, adopted)
            lines += self._reader.resources_of_others(leaving, adopted)
        if not lines:
            return
        if self._options.rehearse or not self._options.check_mode:
            raise ApplySetError(_lines(lines))
        # In a check of several removals, what goes before this set is still there.
        self.outcome.warnings.append("Unless earlier tasks remove them: " + _lines(lines))

    def _delete_parent(self) -> None:
        """Delete the parent object, unless it went with its namespace."""
        try:
            self._api.request("DELETE", CONFIG_MAP.path(self._identity.namespace, self._identity.name))
        except ApiError as error:
            if error.status != 404:
                raise self._refused(f"deleting the set's parent object ConfigMap {self._identity}", error) from error
        self.outcome.parent_deleted = True

    def _delete(self, members: t.Sequence[Seen], staying: t.Collection[Identity], dependents: bool = False) -> None:
        """Delete ``members`` phase after phase, last written first, and wait for each phase to be gone.

        :param staying: members that are not to be deleted; a collection that holds one is deleted object by object.
        :param dependents: a workload is gone only when its pods are.
        """
        deadline = time.monotonic() + self._options.wait_timeout
        non_empty = {(group, kind, namespace) for group, kind, namespace, _name in staying} | self._reader.unmanaged
        home = ("", "Namespace", "", self._identity.namespace)
        phases = in_phases(
            [member for member in members if member.reference.identity != home],
            lambda member: member.reference.group_kind,
            removal=True,
        )
        # With its own namespace goes the parent object, which has to outlast the members that it accounts for.
        phases += in_phases(
            [member for member in members if member.reference.identity == home],
            lambda member: member.reference.group_kind,
        )
        for number, found in phases:
            self.say(f"deleting {len(found)} {phase_title(number)}")
            if self._options.wait:
                # A namespace with pods that are ending is looked at again only after half of the time they may take.
                namespaces = [member.reference.name for member in found if member.reference.group_kind == NAMESPACE]
                self._waiter.gone(functools.partial(ending_pods, self._api, namespaces), deadline)
            self._record_deletions(found)
            requests = deletions(found, non_empty, self._identity.selector, dependents and self._options.wait)
            deleted, failures = request_deletions(self._api, requests)
            self.outcome.deleted.extend(member.reference for member in deleted)
            if failures:
                raise ApplySetError(_lines(failures))
            if self._options.wait:
                self._waiter.gone(functools.partial(still_there, self._api, found, self._identity.selector), deadline)

    def _rehearse_deletions(self, members: t.Sequence[Seen]) -> None:
        for _number, found in in_phases(members, lambda member: member.reference.group_kind, removal=True):
            self._record_deletions(found)
            self.outcome.deleted.extend(member.reference for member in found)

    def _record_deletions(self, members: t.Sequence[Seen]) -> None:
        if self._options.diff_mode:
            self.outcome.diff.extend(submitted_diff(str(member.reference), member.body, None) for member in members)

    # Errors

    def _refused(self, action: str, error: ApiError) -> ApplySetError:
        return ApplySetError(f"{action}: {self.mask.masked(error.message)}")

    def _failure(self, item: Desired, error: ApiError) -> str:
        """One line about an object the API server refused, with what to do about it."""
        title = f"{item.reference} ({item.position})"
        if error.is_field_conflict:
            owned = "; ".join(
                f"field {cause.get('field')} is owned by "
                f"{str(cause.get('message', '')).partition('conflict with ')[2] or 'another field manager'}"
                for cause in error.causes
                if cause.get("reason") == "FieldManagerConflict"
            )
            return (
                f"{title}: {owned}; leave the field to its owner, or take it with force_conflicts: true "
                "(ai_gateway_force_conflicts: true with the playbooks)"
            )
        message = _shortened(self.mask.masked(error.message, secret=bool(secret_paths(item.body))))
        if _UNDECLARED in error.message and "." in item.type.group_kind.group:
            message += (
                f"; CustomResourceDefinition {item.type.plural}.{item.type.group_kind.group} of the cluster is older "
                "than the manifest: bring it up to date, or have it taken over by adopt: true in the set that holds it "
                "(ai_gateway_adopt: true with the playbooks)"
            )
        if "field is immutable" in error.message or "Forbidden: updates to" in error.message:
            message += (
                "; such a field changes only with a new object: delete "
                "this one, or give the manifest another name, and run again"
            )
        return f"{title}: {message}"


def _divided(members: t.Sequence[Seen], adopted: t.Collection[Identity]) -> tuple[list[Seen], list[Seen]]:
    """Members that the set made, and those that it adopted, which stay on the cluster when they leave it."""
    return (
        [member for member in members if member.reference.identity not in adopted],
        [member for member in members if member.reference.identity in adopted],
    )


def _shortened(message: str, most: int = 600) -> str:
    """``message`` without its middle if it has more than ``most`` characters.

    The API server quotes whole templates between the field and what is wrong with it.
    """
    half = most // 2
    return message if len(message) <= most else f"{message[:half]} … {message[-half:]}"


def _lines(failures: t.Sequence[str], most: int = 20) -> str:
    """The first of ``failures``, one a line, and how many more there are."""
    more = [f"and {len(failures) - most} more"] if len(failures) > most else []
    return "\n".join([*failures[:most], *more])
