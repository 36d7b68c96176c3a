# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is to be made, changed and removed on AWX, and what stands in the way. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Iterator, Mapping, Sequence

from ansible_collections.egress.ai_gateway.plugins.module_utils._awx.described import (
    GROUPS,
    KINDS,
    Described,
    Object,
    is_marked,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import listing, nearest, quote

#: By endpoint, what AWX has. An object is as its API returns it.
Found = Mapping[str, Sequence[Mapping[str, t.Any]]]
#: Kinds that belong to an organization.
_OF_ORGANIZATION = ("projects", "inventories", "job_templates", "workflow_job_templates")
#: Kinds of which what is described no longer is removed. The others may hold what is a user's.
_PRUNED = ("inventory_sources", "job_templates", "workflow_job_templates", "schedules")
#: Kinds of credentials that AWX accepts for a job template.
_FOR_JOBS = ("ssh", "vault", "cloud", "net", "kubernetes")
#: What AWX deletes together with an organization, by endpoint.
HELD = ("credentials", "inventories", "job_templates", "projects", "teams", "workflow_job_templates")
#: The variable that names the credentials of a group.
_VARIABLES = {
    "cluster": "awx_cluster_credentials",
    "keys": "awx_key_credentials",
    "project": "awx_project_credential",
    "inventory": "awx_inventory_credential",
    "registry": "awx_registry_credential",
}


def names(described: Described) -> dict[str, list[str]]:
    """The names to look for on AWX, by endpoint."""
    made = {kind: [entry["name"] for entry in described.objects[kind]] for kind in KINDS}
    made["organizations"] = [*made["organizations"], *([described.organization] if described.organization else [])]
    made["execution_environments"] = [*made["execution_environments"], described.execution_environment]
    made["credentials"] = [name for group in GROUPS for name in described.credentials[group]]
    made["unified_job_templates"] = [*made["job_templates"], *made["workflow_job_templates"]]
    return {kind: sorted(set(filter(None, found))) for kind, found in made.items()}


def present(described: Described, found: Found, adopt: bool) -> dict[str, t.Any]:
    """What makes AWX as described.

    :param adopt: whether objects of the same names that others made are taken over.
    :returns: ``faults``, sentences; ``apply``, by kind the objects in their order, ``nodes`` of workflows among them,
        each with ``known``, whether it and what it refers to exist already; ``remove``, as absent() returns it, of what
        is described no longer; ``new``, a line for each object that is not known.
    """
    organization = _id(found, "organizations", described.organization)
    existing = {kind: dict(_existing(kind, described, found, organization)) for kind in KINDS}
    apply: dict[str, list[Object]] = {}
    for kind in KINDS:
        apply[kind] = [
            {
                **made,
                "organization": described.organization,
                "known": made["name"] in existing[kind]
                and all(need["name"] in existing[need["kind"]] for need in made["needs"]),
            }
            for made in described.objects[kind]
        ]
    apply["nodes"] = list(_described_nodes(apply["workflow_job_templates"], found, existing["workflow_job_templates"]))
    faults = [
        *_named(described, found),
        *_credentials(described, found),
        *(() if adopt else _others(described, existing)),
        *_types_in_use(described, found, existing["credential_types"]),
        *_same_names(described, found, organization),
    ]
    wanted = {kind: {made["name"] for made in described.objects[kind]} for kind in KINDS}
    remove: dict[str, list[Object]] = {kind: [] for kind in KINDS}
    for kind in _PRUNED:
        remove[kind] = [
            _removed(one)
            for one in found.get(kind, ())
            if is_marked(one.get("description", ""), described.mark) and one["name"] not in wanted[kind]
        ]
    remove["nodes"] = list(_nodes(described, found, existing["workflow_job_templates"]))
    new = [f"{kind} {made['name']}" for kind in KINDS for made in apply[kind] if not made["known"]]
    new += [f"nodes {node['workflow']}: {node['identifier']}" for node in apply["nodes"] if not node["known"]]
    return {"faults": faults, "apply": apply, "remove": remove, "new": new}


def absent(mark: str, found: Found) -> dict[str, t.Any]:
    """What removes all objects that the collection made.

    :returns: ``faults``, and ``remove``: by kind ``name`` and what its module needs to find it: ``organization``,
        ``inventory``, ``job_template``.
    """
    remove = {
        kind: [_removed(one) for one in found.get(kind, ()) if is_marked(one.get("description", ""), mark)]
        for kind in KINDS
    }
    faults = []
    for one in remove["credential_types"]:
        users = _users(found, one["id"])
        if users:
            faults.append(
                f"Credential type {quote(one['name'])} is in use by {listing(users)}, so that AWX does not delete it. "
                "Delete these credentials first."
            )
    return {"faults": faults, "remove": remove}


def held(organization: int, removed: Mapping[str, Sequence[Object]], found: Found) -> list[str]:
    """What an organization holds besides the objects that are removed: lines of kind and name."""
    own = {(kind, one["id"]) for kind, objects in removed.items() for one in objects}
    return [
        f"{kind} {quote(one['name'])}"
        for kind in HELD
        for one in found.get(kind, ())
        if one.get("organization") == organization and (kind, one["id"]) not in own
    ]


def _existing(
    kind: str, described: Described, found: Found, organization: int | None
) -> Iterator[tuple[str, Mapping[str, t.Any]]]:
    """The objects of AWX that bear the names of described ones and are in their organization, by name."""
    wanted = {made["name"]: made for made in described.objects[kind]}
    for one in found.get(kind, ()):
        if one["name"] not in wanted:
            continue
        if kind in _OF_ORGANIZATION and one.get("organization") != organization:
            continue
        if kind == "inventory_sources" and _summary(one, "inventory") != wanted[one["name"]]["inventory"]:
            continue
        if kind == "schedules" and _summary(one, "unified_job_template") != wanted[one["name"]]["job_template"]:
            continue
        yield one["name"], one


def _summary(one: Mapping[str, t.Any], key: str) -> str:
    """The name of a related object, as AWX summarizes it."""
    return str(((one.get("summary_fields") or {}).get(key) or {}).get("name", ""))


def _id(found: Found, kind: str, name: str) -> int | None:
    return next((one["id"] for one in found.get(kind, ()) if one["name"] == name), None)


def _removed(one: Mapping[str, t.Any]) -> Object:
    return {
        "id": one["id"],
        "name": one["name"],
        "organization": _summary(one, "organization"),
        "inventory": _summary(one, "inventory"),
        "job_template": _summary(one, "unified_job_template"),
    }


def _named(described: Described, found: Found) -> Iterator[str]:
    """Existing objects that the variables name and that do not exist."""
    for kind, name, variable in (
        ("organizations", described.organization, "awx_organization"),
        ("execution_environments", described.execution_environment, "awx_execution_environment"),
    ):
        made = [entry["name"] for entry in described.objects[kind]]
        if name and name not in made and _id(found, kind, name) is None:
            yield f"{variable}: AWX has no {quote(name)} among its {kind}. Make it, or correct the name."


def _credentials(described: Described, found: Found) -> Iterator[str]:
    """Credentials that do not exist, are ambiguous, or cannot be attached."""
    by_name: dict[str, list[Mapping[str, t.Any]]] = {}
    for one in found.get("credentials", ()):
        by_name.setdefault(one["name"], []).append(one)
    for group in GROUPS:
        for name in described.credentials[group]:
            count = len(by_name.get(name, ()))
            if count > 1:
                yield (
                    f"{_VARIABLES[group]}: {count} credentials are named {quote(name)}, of the types "
                    f"{listing([_summary(one, 'credential_type') for one in by_name[name]])}. Rename all but one."
                )
            elif not count:
                near = nearest(name, by_name)
                hint = f" Did you mean {quote(near)}?" if near else ""
                yield (
                    f"{_VARIABLES[group]}: AWX has no credential {quote(name)}, or the user may not see it. "
                    f"Make it first; it holds the secret, which is never given here.{hint}"
                )
    attached = [*described.credentials["cluster"], *described.credentials["keys"]]
    types: dict[t.Any, str] = {}
    for name in dict.fromkeys(attached):
        for one in by_name.get(name, ())[:1]:
            if one.get("kind") not in (None, *_FOR_JOBS):
                yield f"Credential {quote(name)} is of kind {one['kind']}, which AWX attaches to no job template."
            other = types.setdefault(one["credential_type"], name)
            if other != name:
                yield (
                    f"Credentials {quote(other)} and {quote(name)} are both of type "
                    f"{quote(_summary(one, 'credential_type'))}, of which AWX attaches one to a job template. "
                    "Leave out one of them; several keys go into one credential, see awx_key_variables."
                )


def _others(described: Described, existing: Mapping[str, Mapping[str, Mapping[str, t.Any]]]) -> Iterator[str]:
    for kind in KINDS:
        for name, one in existing[kind].items():
            if not is_marked(one.get("description", ""), described.mark):
                yield (
                    f"AWX has {quote(name)} among its {kind}, which this collection did not make. Rename it, set "
                    "awx_name_prefix, or take it over with awx_adopt=true."
                )


def _types_in_use(described: Described, found: Found, existing: Mapping[str, Mapping[str, t.Any]]) -> Iterator[str]:
    for made in described.objects["credential_types"]:
        one = existing.get(made["name"])
        users = _users(found, one["id"]) if one else []
        if one and users and one.get("inputs") != made["inputs"]:
            yield (
                f"The inputs of credential type {quote(made['name'])} would change, which AWX refuses while "
                f"credentials have it: {listing(users)}. Delete these, or leave awx_key_variables as it was."
            )


def _same_names(described: Described, found: Found, organization: int | None) -> Iterator[str]:
    """What a node or a schedule would find besides the job template that it names."""
    for kind in ("job_templates", "workflow_job_templates"):
        names_of_kind = {made["name"] for made in described.objects[kind]}
        for one in found.get("unified_job_templates", ()):
            if (
                one["name"] in names_of_kind
                and one.get("organization") == organization
                and one.get("type") != kind.removesuffix("s")
            ):
                yield (
                    f"{quote(one['name'])} is also the name of a {str(one.get('type')).replace('_', ' ')} in "
                    f"organization {quote(described.organization)}. Rename it, or set awx_name_prefix."
                )


def _users(found: Found, credential_type: int) -> list[str]:
    return [quote(one["name"]) for one in found.get("credentials", ()) if one["credential_type"] == credential_type]


def _described_nodes(
    workflows: Sequence[Object], found: Found, existing: Mapping[str, Mapping[str, t.Any]]
) -> Iterator[Object]:
    """The nodes of the workflows; one is known where it and those after it exist."""
    for workflow in workflows:
        number = existing.get(workflow["name"], {}).get("id")
        identifiers = {
            node["identifier"]
            for node in found.get("workflow_job_template_nodes", ())
            if node["workflow_job_template"] == number
        }
        for node in workflow["nodes"]:
            yield {
                **node,
                "workflow": workflow["name"],
                "organization": workflow["organization"],
                "known": workflow["known"] and {node["identifier"], *node["success_nodes"]} <= identifiers,
            }


def _nodes(described: Described, found: Found, workflows: Mapping[str, Mapping[str, t.Any]]) -> Iterator[Object]:
    """Nodes of the workflows that are described no longer."""
    wanted = {
        workflows[made["name"]]["id"]: (made["name"], {node["identifier"] for node in made["nodes"]})
        for made in described.objects["workflow_job_templates"]
        if made["name"] in workflows
    }
    for node in found.get("workflow_job_template_nodes", ()):
        workflow, identifiers = wanted.get(node["workflow_job_template"], ("", set()))
        if workflow and node["identifier"] not in identifiers:
            yield {
                "id": node["id"],
                "identifier": node["identifier"],
                "workflow": workflow,
                "organization": described.organization,
            }
