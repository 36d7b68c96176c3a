# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares collected sets and patches with a cluster, all at once. Nothing is written.

The objects of all sets are listed together, kind by kind. Only of those that seem to differ does the API server say, in
a dry run, what they would become.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.collecting import (
    CollectedPatch,
    CollectedSet,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.diff import content_digest, is_applied
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
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import Desired
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.ownership import without_scaled_replicas
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.reading import (
    CONFIG_MAP,
    Reader,
    Seen,
    is_ours,
    seen,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.run import SHARED
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.differences import (
    CREATE,
    DELETE,
    FOREIGN,
    UPDATE,
    Difference,
    SetSummary,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.fields import (
    ABSENT,
    FieldDifference,
    Manager,
    field_differences,
    guessed_differences,
    last_manager,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._drift.patches import compared_patch
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import APPLY, Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import (
    FIELD_MANAGER,
    Body,
    Reference,
    reference_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.secrets import SecretMask, secret_paths

_READ_ONLY = (
    "The user of the kubeconfig may not apply objects, not even in dry runs, so what the API server adds to fields is "
    "unknown: a difference may be one of form alone."
)


@dataclass(eq=False)
class _Set:
    """A collected set and what the cluster has of it."""

    collected: CollectedSet
    wanted: dict[Identity, Desired] = field(default_factory=dict)
    parent: Body | None = None
    recorded: Contents = field(default_factory=Contents)
    #: The ConfigMap of its name belongs to somebody else, as the message says.
    refusal: str = ""
    differences: list[Difference] = field(default_factory=list)

    @property
    def identity(self) -> SetIdentity:
        return self.collected.identity

    @property
    def parent_reference(self) -> Reference:
        return Reference("v1", "ConfigMap", self.identity.namespace, self.identity.name)

    def differs(
        self, action: str, reference: Reference, reason: str = "", fields: t.Sequence[FieldDifference] = ()
    ) -> None:
        self.differences.append(Difference(str(self.identity), action, reference, tuple(fields), reason))

    def looks_at(self, reference: Reference) -> bool:
        """Whether a run of site would find an object of the set's label there."""
        kinds = {item.reference.group_kind for item in self.wanted.values()} | self.recorded.group_kinds
        namespaces = {item.reference.namespace for item in self.wanted.values()} | self.recorded.namespaces
        return reference.group_kind in kinds and reference.namespace in namespaces | {self.identity.namespace, ""}


@dataclass(frozen=True)
class Comparison:
    """What was compared, and what differs."""

    sets: tuple[SetSummary, ...]
    differences: tuple[Difference, ...]
    warnings: tuple[str, ...] = ()

    @property
    def objects(self) -> int:
        """How many objects the catalogue has."""
        return sum(item.objects for item in self.sets)


def compare(
    api: Api,
    sets: t.Sequence[CollectedSet],
    patches: t.Sequence[CollectedPatch],
    say: t.Callable[[str], None] = lambda line: None,
) -> Comparison:
    """Compare all of them with the cluster behind ``api``.

    :param say: is called with each line of progress.
    :raises ApiError: when the cluster does not answer, or refuses a reading.
    """
    return _Run(api, [_Set(collected) for collected in sets], say).compare(patches)


class _Run:
    def __init__(self, api: Api, sets: t.Sequence[_Set], say: t.Callable[[str], None]) -> None:
        self._api = api
        self._sets = sets
        self._say = say
        self._by_id = {item.identity.id: item for item in sets}
        #: By identity, the set that an object is wanted for; in its state as the cluster is read.
        self._wanted: dict[Identity, _Set] = {}
        self._live: dict[Identity, Seen] = {}
        self._reader = Reader(api, SetIdentity("", ""), self._keep)
        self._unserved: set[Identity] = set()
        self._warnings: dict[str, None] = {}

    def compare(self, patches: t.Sequence[CollectedPatch]) -> Comparison:
        self._plan()
        self._read_parents()
        self._read_members()
        self._read_others()
        self._judge_missing_namespaces()
        changed = [(item, found) for item in self._sets for found in self._judge(item)]
        self._say(f"asking the API server about {len(changed)} objects that seem to differ") if changed else None
        compared = self._api.each(lambda pair: self._compared(*pair), changed)
        for (item, _found), difference in zip(changed, compared):
            if difference:
                item.differences.append(difference)
        results = self._api.each(lambda patch: compared_patch(self._api, patch), patches)
        summaries = [
            SetSummary(
                str(item.identity), len(item.wanted) + item.collected.present, len(item.differences), bool(item.parent)
            )
            for item in self._sets
        ] + [
            SetSummary(f"{patch.namespace}/{patch.name}", int(patch.present), len(found), exists)
            for patch, (found, exists) in zip(patches, results)
        ]
        differences = [
            difference
            for found in (*(item.differences for item in self._sets), *(found for found, _exists in results))
            for difference in sorted(found, key=lambda one: (one.action, str(one.reference)))
        ]
        # Patches of which neither the catalogue nor the cluster has anything are not worth a line.
        shown = [one for one in summaries if one.objects or one.exists or one.differences]
        return Comparison(tuple(shown), tuple(differences), tuple(self._warnings))

    # Reading

    def _plan(self) -> None:
        """Find out how the cluster serves the kinds of the objects."""
        versions = sorted({body["apiVersion"] for item in self._sets for body in item.collected.objects})
        self._say(
            f"comparing {sum(len(item.collected.objects) for item in self._sets)} objects of "
            f"{len(self._sets)} sets with the cluster"
        )
        types = {
            (found.api_version, found.kind): found
            for listed in self._api.each(self._api.types, versions)
            for found in listed
        }
        for item in self._sets:
            for number, body in enumerate(item.collected.objects):
                desired, served = _desired(number, body, types.get((body["apiVersion"], body["kind"])))
                identity = desired.reference.identity
                if identity in self._wanted:
                    other = self._wanted[identity].identity
                    item.differs(FOREIGN, desired.reference, f"Set {other} has it too; render it in one set only.")
                    continue
                self._wanted[identity] = item
                item.wanted[identity] = desired
                if not served:
                    self._unserved.add(identity)

    def _read_parents(self) -> None:
        parents = self._api.each(
            lambda item: self._api.get(CONFIG_MAP.path(item.identity.namespace, item.identity.name)), self._sets
        )
        for item, parent in zip(self._sets, parents):
            item.parent = parent
            if parent:
                try:
                    item.recorded = read_parent(item.identity, parent)
                except ForeignParentError as error:
                    item.refusal, item.parent = str(error), None

    def _read_members(self) -> None:
        """List what carries the label of one of the sets."""
        known = {
            desired.type
            for item in self._sets
            for identity, desired in item.wanted.items()
            if identity not in self._unserved
        }
        kinds = {kind for item in self._sets for kind in item.recorded.group_kinds}
        types = known.union(self._reader.types_of_kinds(kinds, known))
        selector = f"{PART_OF_LABEL} in ({','.join(sorted(self._by_id))})"
        namespaces = sorted(
            {
                namespace
                for item in self._sets
                for namespace in (
                    item.identity.namespace,
                    *item.recorded.namespaces,
                    *(desired.reference.namespace for desired in item.wanted.values()),
                )
                if namespace
            }
        )
        # A kind in two versions is one kind.
        by_kind = {found.group_kind: found for found in sorted(types, key=lambda found: found not in known)}
        self._api.each(lambda found: self._list(found, "", selector, namespaces), list(by_kind.values()))

    def _list(self, found: ResourceType, namespace: str, selector: str, namespaces: t.Sequence[str]) -> None:
        try:
            for _version, bodies in self._api.pages(found, namespace, {"labelSelector": selector}):
                for body in bodies:
                    self._live[reference_of(body).identity] = self._keep(found, body)
        except ApiError as error:
            if error.status != 403 or not found.namespaced or namespace:
                raise
            # Without the right to look everywhere, look where the sets may be.
            for name in namespaces:
                self._list(found, name, selector, namespaces)

    def _read_others(self) -> None:
        """Read the wanted objects that carry no label of a set."""
        others = [
            desired
            for item in self._sets
            for identity, desired in item.wanted.items()
            if identity not in self._live and identity not in self._unserved
        ]
        # Another version of the kind may have been listed.
        self._live.update({found.reference.identity: found for found in self._reader.existing(others)})

    def _keep(self, resource_type: ResourceType, body: Body) -> Seen:
        """What the rest needs of a reading: not the body of what is as wanted, as CRDs are large."""
        identity = reference_of(body).identity
        item = self._wanted.get(identity)
        applied: bool | None = False
        if item:
            desired = item.wanted[identity]
            desired = replace(desired, body=without_scaled_replicas(desired.body, body))
            item.wanted[identity] = desired
            applied = is_applied(body, desired.body)
        return seen(resource_type, body, applied=applied, digest="", body=None if applied else body)

    # Judging

    def _judge_missing_namespaces(self) -> None:
        """The namespaces of parent objects, which a run creates where no set has them."""
        by_name = {item.identity.namespace: item for item in reversed(self._sets) if item.collected.present}
        unknown = [name for name in by_name if ("", "Namespace", "", name) not in self._wanted]
        for name, exists in zip(unknown, self._api.each(self._reader.namespace_exists, unknown)):
            if not exists:
                by_name[name].differs(CREATE, Reference("v1", "Namespace", "", name))

    def _judge(self, item: _Set) -> list[Seen | None]:
        """Note what is known to differ, and return what takes a look: None for the parent object."""
        changed: list[Seen | None] = []
        if item.refusal:
            item.differs(FOREIGN, item.parent_reference, f"{item.refusal}.")
        if item.collected.present:
            changed += self._judge_wanted(item)
        elif item.parent:
            item.differs(DELETE, item.parent_reference, "It is the parent object of the set.")
        for found in self._live.values():
            if found.owner == item.identity.id and found.reference.identity not in item.wanted:
                self._judge_surplus(item, found)
        return changed

    def _judge_wanted(self, item: _Set) -> list[Seen | None]:
        changed: list[Seen | None] = []
        for identity, desired in item.wanted.items():
            found = self._live.get(identity)
            if found is None:
                item.differs(CREATE, desired.reference)
            elif found.leaving:
                item.differs(CREATE, desired.reference, "It is being deleted.")
            elif _is_kept(item, found):
                continue
            elif found.owner not in ("", item.identity.id):
                other = self._by_id.get(found.owner)
                name = f"set {other.identity}" if other else self._reader.name_of_set(found.owner)
                item.differs(FOREIGN, desired.reference, f"It belongs to {name}, so site refuses to change it.")
            elif not (found.owner or found.ours or item.collected.adopt):
                item.differs(
                    FOREIGN,
                    desired.reference,
                    f"It belongs to no set and was {_last_written(found)}: site refuses to change it without "
                    "ai_gateway_adopt: true.",
                )
            elif not found.applied:
                changed.append(found)
        if item.parent is None and not item.refusal:
            item.differs(CREATE, item.parent_reference, "It is the parent object of the set.")
        elif item.parent and not is_applied(item.parent, self._parent_of(item)):
            changed.append(None)
        return changed

    def _judge_surplus(self, item: _Set, found: Seen) -> None:
        """An object with the set's label that the set does not want."""
        if found.leaving:
            return
        body = found.body or {"metadata": {}}
        if not is_ours(body):
            # Controllers copy labels to what they make of an object, which is theirs.
            if not body["metadata"].get("ownerReferences"):
                item.differs(
                    FOREIGN,
                    found.reference,
                    f"It has the label of the set and was {_last_written(found)}. Site leaves it as it is; take the "
                    "label away with: "
                    f"kubectl label {found.type.plural} {found.reference.name}"
                    f"{_namespace_option(found.reference)} {PART_OF_LABEL}-",
                )
        elif found.reference.identity in item.recorded.adopted:
            label = FieldDifference(f"metadata.labels['{PART_OF_LABEL}']", ABSENT, item.identity.id, _our_manager(body))
            item.differs(UPDATE, found.reference, "The set has adopted it, and it leaves the set and stays.", [label])
        elif not item.looks_at(found.reference) or (not item.collected.present and not item.parent):
            item.differs(
                FOREIGN, found.reference, "It carries the label of the set, which has no objects of its kind there."
            )
        elif item.collected.prune or not item.collected.present:
            item.differs(DELETE, found.reference, "The catalogue does not have it.")

    def _parent_of(self, item: _Set) -> Body:
        """The parent object that a run would write."""
        live = {identity: self._live[identity] for identity in item.wanted if identity in self._live}
        kept = {identity for identity, found in live.items() if _is_kept(item, found)}
        contents = Contents(
            frozenset(
                desired.reference.group_kind for identity, desired in item.wanted.items() if identity not in kept
            ),
            frozenset(desired.reference.namespace for desired in item.wanted.values() if desired.reference.namespace),
            frozenset(
                identity
                for identity, found in live.items()
                if identity not in kept
                and (
                    identity in item.recorded.adopted
                    or (item.collected.adopt and not (found.owner or found.ours or found.leaving))
                )
            ),
        )
        return parent_manifest(item.identity, contents if item.collected.prune else contents | item.recorded)

    # Asking

    def _compared(self, item: _Set, found: Seen | None) -> Difference | None:
        """How an object differs from what would be submitted, if it does."""
        if found is None:
            live, submitted = t.cast("Body", item.parent), self._parent_of(item)
            path, force, reference = (
                CONFIG_MAP.path(item.identity.namespace, item.identity.name),
                True,
                item.parent_reference,
            )
        else:
            desired = item.wanted[found.reference.identity]
            live, submitted, reference = t.cast("Body", found.body), desired.body, desired.reference
            path = desired.type.path(reference.namespace, reference.name)
            force = item.collected.force_conflicts or FORCE_ANNOTATION in (
                submitted["metadata"].get("annotations") or {}
            )
        refusal = ""
        try:
            after = self._dry_run(path, submitted)
            if content_digest(live) == content_digest(after):
                return None
            fields = field_differences(live, after, submitted)
        except ApiError as error:
            if error.status in (0, 401):
                raise
            if error.status == 403:
                self._warnings[_READ_ONLY] = None
            if found and found.applied is None:
                # Only the form may differ.
                return None
            if error.status != 403:
                masked = SecretMask([submitted, live]).masked(error.message, secret=bool(secret_paths(submitted)))
                refusal = f"The API server refuses it: {masked[:500]}."
            fields = guessed_differences(live, submitted)
        anew = bool(found and found.owner and not found.ours)
        if not (fields or refusal or anew):
            # Only who owns what differs.
            return None
        taken = sorted(
            {
                one.manager.name
                for one in fields
                if one.manager.name not in ("", FIELD_MANAGER) and ABSENT not in (one.found, one.wanted)
            }
        )
        reason = [refusal] if refusal else []
        if anew and found:
            reason.append(f"It is in the place of the set's, and was {_last_written(found)}.")
        if taken and not force:
            reason.append(
                f"Site refuses to take fields from {' and '.join(taken)} without ai_gateway_force_conflicts: true."
            )
        action = FOREIGN if anew else UPDATE
        return Difference(str(item.identity), action, reference, tuple(fields), " ".join(reason))

    def _dry_run(self, path: str, submitted: Body) -> Body:
        query = {"fieldManager": FIELD_MANAGER, "force": "true", "fieldValidation": "Strict", "dryRun": "All"}
        return self._api.request("PATCH", path, query, submitted, APPLY).body


def _desired(number: int, body: Body, served: ResourceType | None) -> tuple[Desired, bool]:
    """An object to be compared, and whether the cluster serves its kind."""
    metadata = dict(body["metadata"])
    if served and not served.namespaced:
        metadata.pop("namespace", None)
    body = {**body, "metadata": metadata}
    unserved = ResourceType(
        body["apiVersion"], body["kind"], body["kind"].lower(), "namespace" in metadata, frozenset()
    )
    return Desired(f"objects[{number}]", reference_of(body), served or unserved, body), served is not None


def _is_kept(item: _Set, found: Seen) -> bool:
    """Whether an existing object is used as it is, as apply_set does."""
    return not item.collected.adopt and found.reference.group_kind in SHARED and not found.owner


def _last_written(found: Seen) -> str:
    manager = last_manager(found.body or {"metadata": {}})
    return f"last written by {manager.name or 'somebody'}{f' at {manager.time}' if manager.time else ''}"


def _our_manager(body: Body) -> Manager:
    times = [
        str(entry.get("time") or "")
        for entry in body["metadata"].get("managedFields") or ()
        if entry.get("manager") == FIELD_MANAGER
    ]
    return Manager(FIELD_MANAGER, max(times, default=""))


def _namespace_option(reference: Reference) -> str:
    return f" --namespace {reference.namespace}" if reference.namespace else ""
