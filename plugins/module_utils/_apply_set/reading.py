# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the cluster has of a set and of the objects it wants, read page by page and kept small."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.diff import owned_fields
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.identity import (
    ID_LABEL,
    PART_OF_LABEL,
    Contents,
    Identity,
    SetIdentity,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.manifests import Desired
from ansible_collections.egress.ai_gateway.plugins.module_utils._apply_set.schema import served_versions
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import Api, ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import (
    CUSTOM_RESOURCE_DEFINITION,
    NAMESPACE,
    GroupKind,
    ResourceType,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.objects import (
    FIELD_MANAGER,
    Reference,
    reference_of,
    some,
)

Body = dict[str, t.Any]

CONFIG_MAP = ResourceType("v1", "ConfigMap", "configmaps", True, frozenset())
SECRET = ResourceType("v1", "Secret", "secrets", True, frozenset())
NAMESPACES = ResourceType("v1", "Namespace", "namespaces", False, frozenset())
_CLAIM = ResourceType("v1", "PersistentVolumeClaim", "persistentvolumeclaims", True, frozenset())
#: Kinds that hold what somebody would miss: configuration, keys, data and programs.
_VALUABLE = (
    CONFIG_MAP,
    SECRET,
    _CLAIM,
    ResourceType("v1", "Pod", "pods", True, frozenset()),
    *(
        ResourceType(version, kind, f"{kind.lower()}s", True, frozenset())
        for version, kinds in (("apps/v1", "Deployment StatefulSet DaemonSet"), ("batch/v1", "Job CronJob"))
        for kind in kinds.split()
    ),
)
#: What is looked for in a Namespace that is to be deleted. Services and ServiceAccounts only where they are of a set.
_INHABITANTS = (
    *_VALUABLE,
    *(
        ResourceType("v1", kind, plural, True, frozenset())
        for kind, plural in (("Service", "services"), ("ServiceAccount", "serviceaccounts"))
    ),
)
#: Kinds whose objects go with the namespace and whose dependents are nobody's loss. An owner of another kind says
#: nothing of its dependent.
_OWNERS = frozenset(
    (
        *(resource_type.group_kind for resource_type in _INHABITANTS),
        GroupKind("apps", "ReplicaSet"),
        GroupKind("", "Node"),
    )
)
#: ConfigMaps with a certificate authority that controllers of the cluster put into every namespace.
_EVERYWHERE = frozenset(("kube-root-ca.crt", "openshift-service-ca.crt", "istio-ca-root-cert", "odh-trusted-ca-bundle"))
#: Field managers that write into every namespace, on Kubernetes and on OpenShift.
_SYSTEM_MANAGERS = frozenset(
    (
        "kube-apiserver",
        "kube-controller-manager",
        "kube-scheduler",
        "kubelet",
        "cluster-policy-controller",
        "openshift-controller-manager",
        "service-ca-operator",
        # Istio's, which puts a ConfigMap with its CA into every namespace.
        "pilot-discovery",
    )
)

#: From so many unknown objects of one kind and namespace on, one list of names is cheaper than a GET for each.
_LIST_FROM = 8
#: From so many namespaces on, members are listed over all of them at once.
_LIST_EVERYWHERE_FROM = 5


class ApplySetError(Exception):
    """The set could not be brought to its desired state; the message says what to do."""


# Compared and hashed by identity, as all that holds a body: no mapping has a hash.
@dataclass(frozen=True, eq=False)
class Seen:
    """An object as it was read: only what the run needs of it, as a set may have thousands."""

    reference: Reference
    type: ResourceType
    uid: str
    resource_version: str
    #: Id of the set it belongs to; empty for none.
    owner: str
    #: It is being deleted.
    leaving: bool
    #: This collection applied fields of it, whether or not it carries the label of a set.
    ours: bool = False
    #: Others own fields of it besides its status.
    shared: bool = False
    #: The versions that a CRD serves.
    served: tuple[str, ...] = ()
    #: When it was created, as the API server writes a time.
    created: str = ""
    #: Submitting its manifest changes nothing; None where only the API server knows it. See is_applied.
    applied: bool | None = False
    #: Stands for its content where the manifest may change it.
    digest: str = ""
    #: All of it, where a diff or a wait needs that.
    body: Body | None = None


class Reader:
    """Reads a set's objects. ``keep`` makes of each reading what is kept of it.

    :param managers: field managers of controllers that the set runs, which may have made objects in its namespaces.
    """

    def __init__(
        self,
        api: Api,
        identity: SetIdentity,
        keep: t.Callable[[ResourceType, Body], Seen],
        managers: t.Collection[str] = (),
    ) -> None:
        self._api = api
        self._identity = identity
        self._keep = keep
        self._managers = _SYSTEM_MANAGERS.union(managers)
        #: (group, kind, namespace) of collections with objects that carry the set's label and are no members:
        #: controllers copy labels.
        self.unmanaged: set[tuple[str, str, str]] = set()

    def types_of_kinds(self, group_kinds: t.Iterable[GroupKind], known: t.Iterable[ResourceType]) -> list[ResourceType]:
        """The types that serve ``group_kinds``, in a version already known where there is one; vanished kinds have
        none, and no objects.
        """
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

    def members(self, types: t.Iterable[ResourceType], namespaces: t.Collection[str]) -> list[Seen]:
        """All objects that carry the set's label, of ``types`` in ``namespaces`` and cluster-wide."""
        collections = []
        for resource_type in sorted(types, key=str):
            if not resource_type.namespaced or len(namespaces) >= _LIST_EVERYWHERE_FROM:
                collections.append((resource_type, ""))
            else:
                collections.extend((resource_type, namespace) for namespace in sorted(namespaces))
        listed = self._api.each(lambda collection: self._members_of(*collection, namespaces), collections)
        # One kind in two versions is listed twice, and a list that starts over returns some objects again.
        return list({member.uid: member for found in listed for member in found}.values())

    def _members_of(self, resource_type: ResourceType, namespace: str, namespaces: t.Collection[str]) -> list[Seen]:
        try:
            members = []
            for _version, items in self._api.pages(
                resource_type, namespace, {"labelSelector": self._identity.selector}
            ):
                for body in items:
                    if is_ours(body):
                        members.append(self._keep(resource_type, body))
                    else:
                        self.unmanaged.add((*resource_type.group_kind, body["metadata"].get("namespace", "")))
            return members
        except ApiError as error:
            if error.status == 403 and resource_type.namespaced and not namespace:
                # Without the right to look everywhere, look where the set may be.
                return [
                    member
                    for name in sorted(namespaces)
                    for member in self._members_of(resource_type, name, namespaces)
                ]
            where = f" in namespace {namespace}" if namespace else ""
            raise ApplySetError(f"listing the set's {resource_type.plural}{where}: {error.message}") from error

    def recorded_members(self, recorded: Contents) -> list[Seen]:
        """All members, by what the parent object records."""
        types = self.types_of_kinds(recorded.group_kinds, [NAMESPACES])
        members = self.members(types, {self._identity.namespace, *recorded.namespaces})
        return members if NAMESPACE in recorded.group_kinds else members + self._own_namespace()

    def _own_namespace(self) -> list[Seen]:
        """The set's namespace if it is a member.

        A run that is cut off between its first two writes leaves the namespace without a parent object that names it.
        """
        try:
            body = self._api.get(NAMESPACES.path(name=self._identity.namespace))
        except ApiError as error:
            if error.status != 403:
                raise
            # A user who may not read it has not created it.
            return []
        found = self._keep(NAMESPACES, body) if body else None
        return [found] if found and found.owner == self._identity.id else []

    def existing(self, items: t.Sequence[Desired]) -> list[Seen]:
        """Those of ``items`` that exist, members or not."""
        collections: dict[tuple[ResourceType, str], list[Desired]] = {}
        for item in items:
            collections.setdefault((item.type, item.reference.namespace), []).append(item)
        crowded = [(key, found) for key, found in collections.items() if len(found) >= _LIST_FROM]
        single = [item for found in collections.values() if len(found) < _LIST_FROM for item in found]

        def names(entry: tuple[tuple[ResourceType, str], list[Desired]]) -> list[Desired]:
            (resource_type, namespace), found = entry
            existing = {
                body["metadata"]["name"]
                for version, page in self._api.pages(resource_type, namespace, names_only=True)
                for body in page
            }
            return [item for item in found if item.reference.name in existing]

        for listed in self._api.each(names, crowded):
            single.extend(listed)

        def read(item: Desired) -> Seen | None:
            body = self._api.get(item.type.path(item.reference.namespace, item.reference.name))
            return self._keep(item.type, body) if body else None

        return [seen for seen in self._api.each(read, single) if seen]

    def namespace_exists(self, name: str) -> bool:
        """Whether something can be written to a namespace; one that is being deleted takes nothing."""
        try:
            body = self._api.get(NAMESPACES.path(name=name))
            return body is not None and not body["metadata"].get("deletionTimestamp")
        except ApiError as error:
            if error.status != 403:
                raise
            # A user who may not read it learns this from the first write.
            return True

    def name_of_set(self, set_id: str) -> str:
        """The set behind an id, from its parent object; as the id when that cannot be found or read."""
        for resource_type in (CONFIG_MAP, SECRET):
            try:
                for _version, items in self._api.pages(
                    resource_type, "", {"labelSelector": f"{ID_LABEL}={set_id}"}, names_only=True
                ):
                    for body in items:
                        return f"set {body['metadata']['namespace']}/{body['metadata']['name']}"
            except ApiError:
                continue
        return f"the set with id {set_id}, whose parent object was not found"

    def sets_inside(self, leaving: t.Iterable[Seen]) -> list[str]:
        """One line for each other set whose parent object is in a Namespace that is to be deleted.

        Without the parent object, nothing would know of that set's members any more.
        """
        lines = []
        for member in leaving:
            if member.reference.group_kind != NAMESPACE:
                continue
            for resource_type in (CONFIG_MAP, SECRET):
                for _version, items in self._api.pages(
                    resource_type, member.reference.name, {"labelSelector": ID_LABEL}, names_only=True
                ):
                    names = [
                        body["metadata"]["name"]
                        for body in items
                        if body["metadata"]["labels"][ID_LABEL] != self._identity.id
                    ]
                    lines += [
                        f"{member.reference} cannot be deleted: it holds the parent object "
                        f"of set {member.reference.name}/{name}; remove that set first, "
                        "or keep the Namespace in this one"
                        for name in names
                    ]
        return lines

    def objects_inside(self, leaving: t.Iterable[Seen], adopted: t.Collection[Identity]) -> list[str]:
        """One line for each Namespace that is to go and would take with it what is not of this set, of the kinds that
        are looked at: members of other sets, what this one has ``adopted``, and what no set knows.
        """
        leaving = list(leaving)
        namespaces = [member for member in leaving if member.reference.group_kind == NAMESPACE]
        uids = {member.uid for member in leaving}

        def names(collection: tuple[Seen, ResourceType]) -> list[str]:
            member, resource_type = collection
            try:
                return [
                    str(reference_of(body))
                    for _version, items in self._api.pages(resource_type, member.reference.name, names_only=True)
                    for body in items
                    if not body["metadata"].get("deletionTimestamp")
                    and (reference_of(body).identity in adopted or self._is_of_others(body, resource_type, uids))
                ]
            except ApiError as error:
                if error.status == 403:
                    unseen.append(f"{resource_type.plural} in namespace {member.reference.name}")
                    return []
                raise

        unseen: list[str] = []
        collections = [(member, resource_type) for member in namespaces for resource_type in _INHABITANTS]
        found: dict[Seen, list[str]] = {}
        for (member, _type), listed in zip(collections, self._api.each(names, collections)):
            found.setdefault(member, []).extend(listed)
        lines = [_would_go(member, listed) for member, listed in found.items() if listed]
        if unseen:
            lines.append(
                f"the user of the kubeconfig cannot list {some(sorted(unseen), 20)}, so what would go with the "
                "namespaces is unknown; use a user with that right, or have them deleted by force_removal: true "
                "(ai_gateway_force_removal: true with the playbooks)"
            )
        return lines

    def _is_of_others(self, body: Body, resource_type: ResourceType, leaving: t.Collection[str]) -> bool:
        """Whether somebody would miss an object of a Namespace that is to go.

        :param leaving: uids of the members that are to go.
        """
        metadata = body["metadata"]
        labels = metadata.get("labels") or {}
        if PART_OF_LABEL in labels:
            return bool(labels[PART_OF_LABEL] != self._identity.id)
        if resource_type not in _VALUABLE or ID_LABEL in labels:
            return False
        if resource_type == CONFIG_MAP and metadata["name"] in _EVERYWHERE:
            return False
        owners = metadata.get("ownerReferences")
        if owners and all(owner.get("uid") in leaving or _kind_of_owner(owner) in _OWNERS for owner in owners):
            return False
        # Data stays somebody's, whichever controller of the cluster made the claim for it.
        known = self._managers - _SYSTEM_MANAGERS if resource_type == _CLAIM else self._managers
        managers = {entry.get("manager") for entry in metadata.get("managedFields") or ()}
        return not managers or not managers <= known

    def resources_of_others(self, leaving: t.Iterable[Seen], adopted: t.Collection[Identity]) -> list[str]:
        """One line for each CustomResourceDefinition that is to go and would take objects outside the set with it.

        Dependents of what goes with the set do not count: they go with their owners, a little later. What the set has
        ``adopted`` does.
        """
        leaving = list(leaving)
        uids = {member.uid for member in leaving}
        by_group: dict[str, list[Seen]] = {}
        for member in leaving:
            if member.reference.group_kind == CUSTOM_RESOURCE_DEFINITION:
                by_group.setdefault(member.reference.name.partition(".")[2], []).append(member)

        def served(group: str) -> list[tuple[Seen, ResourceType]]:
            types = {
                resource_type.plural: resource_type
                for version in reversed(self._api.versions(group))
                for resource_type in self._api.types(version)
            }
            plurals = ((crd, crd.reference.name.partition(".")[0]) for crd in by_group[group])
            return [(crd, types[plural]) for crd, plural in plurals if plural in types]

        going = [pair for pairs in self._api.each(served, sorted(by_group)) for pair in pairs]
        kinds = {resource_type.group_kind for _crd, resource_type in going}

        def names(pair: tuple[Seen, ResourceType]) -> list[str]:
            return self._names_of_others(pair[1], uids, kinds, adopted)

        return [_would_go(crd, listed) for (crd, _type), listed in zip(going, self._api.each(names, going)) if listed]

    def _names_of_others(
        self,
        resource_type: ResourceType,
        leaving: t.Collection[str],
        kinds: t.Collection[GroupKind],
        adopted: t.Collection[Identity],
    ) -> list[str]:
        """The first objects of a kind that are neither members, nor dependents of what goes, nor going anyway."""

        def is_of_others(body: Body) -> bool:
            metadata = body["metadata"]
            if metadata.get("deletionTimestamp"):
                return False
            if (metadata.get("labels") or {}).get(PART_OF_LABEL) == self._identity.id:
                return reference_of(body).identity in adopted
            owners = metadata.get("ownerReferences")
            return not owners or not all(
                owner.get("uid") in leaving or _kind_of_owner(owner) in kinds for owner in owners
            )

        for _version, items in self._api.pages(resource_type, names_only=True):
            names = [str(reference_of(body)) for body in items if is_of_others(body)]
            if names:
                return names
        return []


def _kind_of_owner(owner: Body) -> GroupKind:
    """The kind of what an entry of ``metadata.ownerReferences`` names."""
    return GroupKind(str(owner.get("apiVersion") or "").rpartition("/")[0], str(owner.get("kind") or ""))


def _would_go(member: Seen, names: t.Sequence[str]) -> str:
    return (
        f"{member.reference} cannot be deleted: {some(names, 10)} would go with it, and are not of this set; remove "
        "them first, or have them deleted by force_removal: true (ai_gateway_force_removal: true with the playbooks)"
    )


def is_shared(live: Body) -> bool:
    """Whether others own fields of an object besides its status, so that a submission may conflict with them."""
    return any(
        entry.get("manager") != FIELD_MANAGER and entry.get("subresource") != "status"
        for entry in live["metadata"].get("managedFields") or ()
    )


def is_ours(body: Body) -> bool:
    """Whether an object with the set's label is a member.

    Controllers copy labels to what they make, but not the name of the field manager.
    """
    return owned_fields(body) is not None or not body["metadata"].get("managedFields")


def seen(resource_type: ResourceType, reading: Body, applied: bool | None, digest: str, body: Body | None) -> Seen:
    """What is kept of a reading of an object; the last three as in Seen."""
    metadata = reading["metadata"]
    return Seen(
        reference=reference_of(reading),
        type=resource_type,
        uid=metadata.get("uid", ""),
        resource_version=metadata.get("resourceVersion", ""),
        owner=str((metadata.get("labels") or {}).get(PART_OF_LABEL, "")),
        leaving=bool(metadata.get("deletionTimestamp")),
        ours=owned_fields(reading) is not None,
        shared=is_shared(reading),
        served=served_versions(reading) if reading["kind"] == CUSTOM_RESOURCE_DEFINITION.kind else (),
        created=metadata.get("creationTimestamp", ""),
        applied=applied,
        digest=digest,
        body=body,
    )
