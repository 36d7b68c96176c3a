# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fake of AWX's API, as far as the modules of collection awx.awx ask for it. See README.md.

Usage: awx_server.py [PORT]
"""

from __future__ import annotations

import base64
import copy
import http.server
import json
import re
import sys
import threading
import typing as t
from urllib.parse import parse_qsl, urlsplit

VERSION = "24.6.1"
TOKEN = "fake-awx-token"
USER, PASSWORD = "admin", "fake-awx-password"
PREFIX = "/api/v2/"
Json = t.Any
Item = dict[str, Json]


class Kind(t.NamedTuple):
    """An endpoint: what its objects are."""

    type: str
    #: Field and default. A required field has ``...``.
    fields: dict[str, Json]
    #: Fields that hold the id of an object of another endpoint.
    references: dict[str, str] = {}
    #: Fields that no two objects may have in common, all together.
    unique: tuple[str, ...] = ("name",)
    #: Sublists of ids, and the endpoint that the ids are of.
    associations: dict[str, str] = {}


_NOTIFICATIONS = {
    f"notification_templates_{event}": "notification_templates" for event in ("started", "success", "error")
}
_PROMPTS: dict[str, Json] = {
    "limit": "",
    "scm_branch": "",
    "job_type": None,
    "job_tags": "",
    "skip_tags": "",
    "diff_mode": None,
    "verbosity": None,
    "forks": None,
    "job_slice_count": None,
    "timeout": None,
    "inventory": None,
    "execution_environment": None,
    "extra_data": {},
}
_NODES = dict.fromkeys(("success_nodes", "failure_nodes", "always_nodes"), "workflow_job_template_nodes")
_ASK = (
    "diff_mode",
    "variables",
    "limit",
    "tags",
    "skip_tags",
    "job_type",
    "verbosity",
    "inventory",
    "credential",
    "execution_environment",
    "forks",
    "instance_groups",
    "job_slice_count",
    "labels",
    "timeout",
    "scm_branch",
)
KINDS: dict[str, Kind] = {
    "organizations": Kind(
        "organization",
        {"name": ..., "description": "", "max_hosts": 0, "default_environment": None, "custom_virtualenv": None},
        {"default_environment": "execution_environments"},
        associations={**_NOTIFICATIONS, "galaxy_credentials": "credentials", "instance_groups": "instance_groups"},
    ),
    "teams": Kind(
        "team",
        {"name": ..., "description": "", "organization": ...},
        {"organization": "organizations"},
        ("name", "organization"),
    ),
    "credential_types": Kind(
        "credential_type",
        {
            "name": ...,
            "description": "",
            "kind": ...,
            "inputs": {},
            "injectors": {},
            "managed": False,
            "namespace": None,
        },
        unique=("name", "kind"),
    ),
    "credentials": Kind(
        "credential",
        {"name": ..., "description": "", "organization": None, "credential_type": ..., "inputs": {}},
        {"organization": "organizations", "credential_type": "credential_types"},
        ("name", "organization", "credential_type"),
    ),
    "execution_environments": Kind(
        "execution_environment",
        {"name": ..., "description": "", "organization": None, "image": ..., "credential": None, "pull": ""},
        {"organization": "organizations", "credential": "credentials"},
    ),
    "projects": Kind(
        "project",
        {
            "name": ...,
            "description": "",
            "organization": None,
            "scm_type": "",
            "scm_url": "",
            "scm_branch": "",
            "scm_refspec": "",
            "scm_clean": False,
            "scm_delete_on_update": False,
            "scm_track_submodules": False,
            "scm_update_on_launch": False,
            "scm_update_cache_timeout": 0,
            "allow_override": False,
            "timeout": 0,
            "credential": None,
            "default_environment": None,
            "custom_virtualenv": None,
            "signature_validation_credential": None,
            "local_path": "",
            "scm_revision": "",
        },
        {
            "organization": "organizations",
            "credential": "credentials",
            "default_environment": "execution_environments",
            "signature_validation_credential": "credentials",
        },
        ("name", "organization"),
        _NOTIFICATIONS,
    ),
    "inventories": Kind(
        "inventory",
        {
            "name": ...,
            "description": "",
            "organization": ...,
            "kind": "",
            "host_filter": None,
            "variables": "",
            "prevent_instance_group_fallback": False,
        },
        {"organization": "organizations"},
        ("name", "organization"),
        {"instance_groups": "instance_groups", "input_inventories": "inventories"},
    ),
    "inventory_sources": Kind(
        "inventory_source",
        {
            "name": ...,
            "description": "",
            "inventory": ...,
            "source": ...,
            "source_path": "",
            "source_project": None,
            "source_vars": "",
            "scm_branch": "",
            "credential": None,
            "enabled_var": "",
            "enabled_value": "",
            "host_filter": "",
            "limit": "",
            "overwrite": False,
            "overwrite_vars": False,
            "custom_virtualenv": None,
            "timeout": 0,
            "verbosity": 1,
            "update_on_launch": False,
            "update_cache_timeout": 0,
            "execution_environment": None,
            "organization": None,
        },
        {
            "inventory": "inventories",
            "source_project": "projects",
            "credential": "credentials",
            "execution_environment": "execution_environments",
        },
        ("name", "inventory"),
        _NOTIFICATIONS,
    ),
    "job_templates": Kind(
        "job_template",
        {
            "name": ...,
            "description": "",
            "job_type": "run",
            "inventory": None,
            "project": None,
            "playbook": "",
            "scm_branch": "",
            "forks": 0,
            "limit": "",
            "verbosity": 0,
            "extra_vars": "",
            "job_tags": "",
            "force_handlers": False,
            "skip_tags": "",
            "start_at_task": "",
            "timeout": 0,
            "use_fact_cache": False,
            "organization": None,
            "execution_environment": None,
            "host_config_key": "",
            "survey_enabled": False,
            "become_enabled": False,
            "diff_mode": False,
            "allow_simultaneous": False,
            "custom_virtualenv": None,
            "job_slice_count": 1,
            "webhook_service": "",
            "webhook_credential": None,
            "prevent_instance_group_fallback": False,
            **{f"ask_{name}_on_launch": False for name in _ASK},
        },
        {
            "inventory": "inventories",
            "project": "projects",
            "organization": "organizations",
            "execution_environment": "execution_environments",
            "webhook_credential": "credentials",
        },
        ("name", "organization"),
        {
            **_NOTIFICATIONS,
            "credentials": "credentials",
            "labels": "labels",
            "instance_groups": "instance_groups",
        },
    ),
    "workflow_job_templates": Kind(
        "workflow_job_template",
        {
            "name": ...,
            "description": "",
            "extra_vars": "",
            "organization": None,
            "survey_enabled": False,
            "allow_simultaneous": False,
            "inventory": None,
            "limit": None,
            "scm_branch": None,
            "job_tags": None,
            "skip_tags": None,
            "webhook_service": "",
            "webhook_credential": None,
            **{
                f"ask_{name}_on_launch": False
                for name in ("variables", "labels", "tags", "skip_tags", "inventory", "scm_branch", "limit")
            },
        },
        {"organization": "organizations", "inventory": "inventories", "webhook_credential": "credentials"},
        ("name", "organization"),
        {
            **_NOTIFICATIONS,
            "notification_templates_approvals": "notification_templates",
            "labels": "labels",
        },
    ),
    "workflow_job_template_nodes": Kind(
        "workflow_job_template_node",
        {
            "identifier": ...,
            "workflow_job_template": ...,
            "unified_job_template": None,
            "all_parents_must_converge": False,
            **_PROMPTS,
        },
        {
            "workflow_job_template": "workflow_job_templates",
            "unified_job_template": "unified_job_templates",
            "inventory": "inventories",
            "execution_environment": "execution_environments",
        },
        ("identifier", "workflow_job_template"),
        {**_NODES, "credentials": "credentials", "labels": "labels", "instance_groups": "instance_groups"},
    ),
    "workflow_approval_templates": Kind(
        "workflow_approval_template", {"name": ..., "description": "", "timeout": 0}, unique=()
    ),
    "schedules": Kind(
        "schedule",
        {
            "name": ...,
            "description": "",
            "unified_job_template": ...,
            "rrule": ...,
            "enabled": True,
            **_PROMPTS,
        },
        {
            "unified_job_template": "unified_job_templates",
            "inventory": "inventories",
            "execution_environment": "execution_environments",
        },
        ("name", "unified_job_template"),
        {"credentials": "credentials", "labels": "labels", "instance_groups": "instance_groups"},
    ),
    "labels": Kind(
        "label", {"name": ..., "organization": ...}, {"organization": "organizations"}, ("name", "organization")
    ),
    "instance_groups": Kind("instance_group", {"name": ...}),
    "notification_templates": Kind(
        "notification_template",
        {"name": ..., "description": "", "organization": ..., "notification_type": ...},
        {"organization": "organizations"},
        ("name", "organization"),
    ),
}
#: Endpoints whose objects a workflow or a schedule can run. All their ids are of one series.
UNIFIED = (
    "projects",
    "inventory_sources",
    "job_templates",
    "workflow_job_templates",
    "workflow_approval_templates",
)
#: What goes with an object that is deleted: endpoint, and the field that names it.
CASCADES: dict[str, tuple[tuple[str, str], ...]] = {
    "organizations": (
        ("credentials", "organization"),
        ("inventories", "organization"),
        ("projects", "organization"),
        ("teams", "organization"),
        ("workflow_job_templates", "organization"),
    ),
    "inventories": (("inventory_sources", "inventory"),),
    "job_templates": (("schedules", "unified_job_template"),),
    "workflow_job_templates": (
        ("workflow_job_template_nodes", "workflow_job_template"),
        ("schedules", "unified_job_template"),
    ),
    "projects": (("schedules", "unified_job_template"),),
}
ENCRYPTED = "$encrypted$"
SURVEY_TYPES: dict[str, type] = {
    "text": str,
    "textarea": str,
    "password": str,
    "multiplechoice": str,
    "multiselect": str,
    "integer": int,
    "float": float,
}
#: Kinds of credentials that a job template accepts.
FOR_JOBS = ("ssh", "vault", "cloud", "net", "kubernetes")


class RefusedError(Exception):
    """An answer of 400 and above."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(body)
        self.status, self.body = status, body


class Call(t.NamedTuple):
    """A request: ``body`` is None where there was none."""

    method: str
    path: str
    body: Json


class Awx:
    """The state of an AWX, and the requests that it had."""

    def __init__(self, playbooks: t.Collection[str] = ()) -> None:
        """
        :param playbooks: the playbooks that projects hold, with their directories. AWX accepts no other one for a job
            template. With none, any is accepted.
        """
        self.playbooks = frozenset(playbooks)
        self.objects: dict[str, dict[int, Item]] = {kind: {} for kind in KINDS}
        #: By kind and id: ids by the name of the association.
        self.associated: dict[tuple[str, int], dict[str, list[int]]] = {}
        self.surveys: dict[tuple[str, int], Json] = {}
        self.calls: list[Call] = []
        self._last = 0
        self._lock = threading.RLock()
        for name, kind in (
            ("Machine", "ssh"),
            ("Source Control", "scm"),
            ("Container Registry", "registry"),
            ("OpenShift or Kubernetes API Bearer Token", "kubernetes"),
        ):
            self.put("credential_types", name=name, kind=kind, managed=True)

    @property
    def writes(self) -> list[Call]:
        """The requests that may have changed something, without those for tokens."""
        return [call for call in self.calls if call.method != "GET" and "/tokens/" not in call.path]

    def put(self, endpoint: str, **fields: Json) -> Item:
        """Make an object past the API, as another user did."""
        return self._create(endpoint, fields)

    def named(self, endpoint: str, name: str) -> Item:
        """The one object of this name."""
        (found,) = [one for one in self.objects[endpoint].values() if one.get("name") == name]
        return found

    def names(self, endpoint: str) -> list[str]:
        return sorted(one["name"] for one in self.objects[endpoint].values())

    def restore(self, other: Awx) -> None:
        """Become as another one is."""
        for part in ("objects", "associated", "surveys", "_last"):
            setattr(self, part, copy.deepcopy(getattr(other, part)))

    # --- requests ---

    def answer(self, method: str, path: str, query: list[tuple[str, str]], body: Json) -> tuple[int, Json]:
        with self._lock:
            self.calls.append(Call(method, path, body))
            try:
                return self._answer(method, path, query, body)
            except RefusedError as refused:
                return refused.status, refused.body

    def _answer(self, method: str, path: str, query: list[tuple[str, str]], body: Json) -> tuple[int, Json]:
        parts = path.removeprefix(PREFIX).strip("/").split("/")
        endpoint = parts[0]
        if endpoint == "project_updates" and len(parts) == 2 and method == "GET":
            return 200, {"id": int(parts[1]), "status": "successful", "finished": "now", "failed": False}
        if endpoint == "unified_job_templates" and method == "GET":
            if len(parts) == 2:
                owner = self._owner(int(parts[1]))
                return 200, self._shown(owner, self._get(owner, parts[1]))
            return 200, self._page(
                [(kind, one) for kind in UNIFIED[:-1] for one in self.objects[kind].values()], query, path
            )
        if endpoint not in KINDS:
            raise RefusedError(404, {"detail": "The requested resource could not be found."})
        if len(parts) == 1:
            if method == "GET":
                return 200, self._page([(endpoint, one) for one in self.objects[endpoint].values()], query, path)
            if method == "POST":
                return 201, self._shown(endpoint, self._create(endpoint, body))
        item = self._get(endpoint, parts[1]) if len(parts) > 1 else {}
        if len(parts) == 2 and method == "GET":
            return 200, self._shown(endpoint, item)
        if len(parts) == 2 and method == "PATCH":
            self._change(endpoint, item, body)
            return 200, self._shown(endpoint, item)
        if len(parts) == 2 and method == "DELETE":
            self._delete(endpoint, item)
            return (202 if endpoint == "inventories" else 204), None
        if len(parts) == 3:
            return self._sublist(method, endpoint, item, parts[2], query, path, body)
        raise RefusedError(405, {"detail": f'Method "{method}" not allowed.'})

    def _sublist(
        self, method: str, endpoint: str, item: Item, name: str, query: list[tuple[str, str]], path: str, body: Json
    ) -> tuple[int, Json]:
        kind = KINDS[endpoint]
        if name == "survey_spec" and endpoint in ("job_templates", "workflow_job_templates"):
            key = endpoint, item["id"]
            if method == "POST":
                check_survey(body)
                self.surveys[key] = copy.deepcopy(body)
                return 200, {}
            if method == "DELETE":
                self.surveys[key] = {}
                return 200, {}
            return 200, self.surveys.get(key, {})
        if name == "create_approval_template" and method == "POST":
            approval = self._create("workflow_approval_templates", body)
            item["unified_job_template"] = approval["id"]
            return 201, self._shown("workflow_approval_templates", approval)
        if name in kind.associations:
            ids = self.associated.setdefault((endpoint, item["id"]), {}).setdefault(name, [])
            other = kind.associations[name]
            if method == "GET":
                return 200, self._page([(other, self.objects[other][one]) for one in ids], query, path)
            if method == "POST":
                self._associate(endpoint, name, other, ids, body)
                return 204, None
        raise RefusedError(404, {"detail": "Not found."})

    def _associate(self, endpoint: str, name: str, other: str, ids: list[int], body: Item) -> None:
        one = self._get(other, str(body["id"]))
        if body.get("disassociate"):
            ids.remove(one["id"])
            return
        if endpoint == "job_templates" and name == "credentials":
            types = [self.objects["credentials"][known]["credential_type"] for known in ids]
            kind = self.objects["credential_types"][one["credential_type"]]
            if one["credential_type"] in types:
                raise RefusedError(400, {"error": f"Cannot assign multiple {kind['name']} credentials."})
            if kind["kind"] not in FOR_JOBS:
                raise RefusedError(400, {"error": f"Cannot assign a Credential of kind `{kind['kind']}`."})
        if one["id"] not in ids:
            ids.append(one["id"])

    # --- objects ---

    def _get(self, endpoint: str, number: str) -> Item:
        if not number.isdigit() or int(number) not in self.objects[endpoint]:
            raise RefusedError(404, {"detail": "Not found."})
        return self.objects[endpoint][int(number)]

    def _owner(self, number: int) -> str:
        for kind in UNIFIED:
            if number in self.objects[kind]:
                return kind
        raise RefusedError(404, {"detail": "Not found."})

    def _create(self, endpoint: str, given: Item) -> Item:
        kind = KINDS[endpoint]
        missing = [name for name, default in kind.fields.items() if default is ... and given.get(name) in (None, "")]
        if missing:
            raise RefusedError(400, {name: ["This field is required."] for name in missing})
        item = {
            name: copy.deepcopy(given.get(name, None if default is ... else default))
            for name, default in kind.fields.items()
        }
        self._checked(endpoint, item, given, None)
        self._last += 1
        item["id"] = self._last
        if endpoint == "projects" and item["scm_type"]:
            item["scm_revision"] = "0" * 40
        self.objects[endpoint][self._last] = item
        return item

    def _change(self, endpoint: str, item: Item, given: Item) -> None:
        new = {
            **item,
            **{name: copy.deepcopy(value) for name, value in given.items() if name in KINDS[endpoint].fields},
        }
        if endpoint == "credential_types":
            if item["managed"]:
                raise RefusedError(403, {"detail": "Modifications not allowed for managed credential types"})
            if new["inputs"] != item["inputs"] and self._users(item["id"]):
                raise RefusedError(
                    403, {"detail": "Modifications to inputs are not allowed for credential types that are in use"}
                )
        self._checked(endpoint, new, given, item["id"])
        item.update(new)

    def _users(self, credential_type: int) -> list[Item]:
        return [one for one in self.objects["credentials"].values() if one["credential_type"] == credential_type]

    def _checked(self, endpoint: str, item: Item, given: Item, own: int | None) -> None:
        """Check an object as AWX would before it is stored, and set what AWX sets by itself."""
        kind = KINDS[endpoint]
        for name, other in kind.references.items():
            value = item[name]
            if value is None:
                continue
            known = self._unified() if other == "unified_job_templates" else set(self.objects[other])
            if value not in known:
                raise RefusedError(400, {name: [f'Invalid pk "{value}" - object does not exist.']})
        for name, default in kind.fields.items():
            wrong = (
                (isinstance(default, bool) and not isinstance(item[name], bool))
                or (type(default) is int and type(item[name]) is not int)
                or (isinstance(default, str) and not isinstance(item[name], str))
                or (isinstance(default, dict) and not isinstance(item[name], dict))
            )
            if wrong:
                raise RefusedError(
                    400, {name: [f"Expected {type(default).__name__}, got {type(item[name]).__name__}."]}
                )
        if endpoint == "job_templates":
            project = self.objects["projects"].get(item["project"] or 0)
            if not project:
                raise RefusedError(400, {"project": ["This field is required."]})
            if self.playbooks and item["playbook"] not in self.playbooks:
                raise RefusedError(400, {"playbook": ["Playbook not found for project."]})
            # The organization of a job template is that of its project.
            item["organization"] = project["organization"]
            if item["extra_vars"]:
                json.loads(item["extra_vars"])
        if endpoint == "inventory_sources":
            item["organization"] = self.objects["inventories"][item["inventory"]]["organization"]
        if endpoint == "schedules" and not re.fullmatch(
            r"DTSTART(;TZID=[\w/]+:\d{8}T\d{6}|:\d{8}T\d{6}Z) RRULE:(?=\S*FREQ=\w+)(?=\S*INTERVAL=\d+)\S+",
            item["rrule"],
        ):
            raise RefusedError(400, {"rrule": ["DTSTART and INTERVAL are required in rrule."]})
        if endpoint == "credential_types":
            _check_credential_type(item)
        values = [item[name] for name in kind.unique]
        for one in self.objects[endpoint].values():
            if kind.unique and one["id"] != own and [one[name] for name in kind.unique] == values:
                what = " and ".join(name.replace("_", " ").capitalize() for name in kind.unique)
                raise RefusedError(400, {"__all__": [f"{kind.type} with this {what} already exists."]})

    def _unified(self) -> set[int]:
        return {number for kind in UNIFIED for number in self.objects[kind]}

    def _delete(self, endpoint: str, item: Item) -> None:
        if endpoint == "credential_types" and item["managed"]:
            raise RefusedError(403, {"detail": "Deletion not allowed for managed credential types"})
        if endpoint == "credential_types" and self._users(item["id"]):
            raise RefusedError(403, {"detail": "Credential types that are in use cannot be deleted"})
        for kind, field in CASCADES.get(endpoint, ()):
            for one in list(self.objects[kind].values()):
                if one.get(field) == item["id"]:
                    self._delete(kind, one)
        if endpoint == "workflow_job_template_nodes":
            approval = self.objects["workflow_approval_templates"].pop(item["unified_job_template"] or 0, None)
            assert approval is None or approval["id"] == item["unified_job_template"]
        del self.objects[endpoint][item["id"]]
        self.associated.pop((endpoint, item["id"]), None)
        self.surveys.pop((endpoint, item["id"]), None)
        for (kind, _number), lists in self.associated.items():
            for name, ids in lists.items():
                if KINDS[kind].associations[name] == endpoint and item["id"] in ids:
                    ids.remove(item["id"])
        for kind, described in KINDS.items():
            for field, other in described.references.items():
                if other == endpoint or (other == "unified_job_templates" and endpoint in UNIFIED):
                    for one in self.objects[kind].values():
                        if one[field] == item["id"]:
                            one[field] = None

    # --- what is shown ---

    def _shown(self, endpoint: str, item: Item) -> Item:
        kind = KINDS[endpoint]
        url = f"{PREFIX}{endpoint}/{item['id']}/"
        shown = copy.deepcopy(item)
        summaries, related = {}, {name: f"{url}{name}/" for name in kind.associations}
        for field, other in kind.references.items():
            if item[field] is not None:
                owner = self._owner(item[field]) if other == "unified_job_templates" else other
                named = self.objects[owner][item[field]]
                summaries[field] = {"id": item[field], "name": named.get("name", named.get("identifier"))}
                related[field] = f"{PREFIX}{owner}/{item[field]}/"
        if endpoint in ("job_templates", "workflow_job_templates"):
            related["survey_spec"] = f"{url}survey_spec/"
        if endpoint == "projects" and item["scm_type"]:
            summaries["current_update"] = {"id": item["id"], "status": "pending"}
            related["update"] = f"{url}update/"
        if endpoint == "credentials":
            shown["kind"] = self.objects["credential_types"][item["credential_type"]]["kind"]
            shown["inputs"] = dict.fromkeys(item["inputs"], ENCRYPTED)
        return {**shown, "type": kind.type, "url": url, "related": related, "summary_fields": summaries}

    def _page(self, found: list[tuple[str, Item]], query: list[tuple[str, str]], path: str) -> Json:
        filters = [(name, value) for name, value in query if name not in ("page", "page_size", "order_by")]
        every = [(name, value) for name, value in filters if not name.startswith("or__")]
        some = [(name.removeprefix("or__"), value) for name, value in filters if name.startswith("or__")]
        kept = [
            (endpoint, item)
            for endpoint, item in found
            if all(matches(endpoint, item, *one) for one in every)
            and (not some or any(matches(endpoint, item, *one) for one in some))
        ]
        given = dict(query)
        size, page = int(given.get("page_size", 25)), int(given.get("page", 1))
        shown = kept[(page - 1) * size : page * size]
        more = "&".join(f"{name}={value}" for name, value in query if name != "page")
        return {
            "count": len(kept),
            "next": f"{path}?{more}&page={page + 1}" if page * size < len(kept) else None,
            "previous": None,
            "results": [self._shown(endpoint, item) for endpoint, item in shown],
        }


def matches(endpoint: str, item: Item, name: str, value: str) -> bool:
    """Whether an object passes one filter of AWX: a field, or a field and ``__in`` or ``__contains``."""
    field, _, lookup = name.partition("__")
    if field not in item and field != "type":
        raise RefusedError(400, {"detail": f"{KINDS[endpoint].type} has no field named '{field}'"})
    held = KINDS[endpoint].type if field == "type" else item[field]
    if lookup == "in":
        if not value:
            raise RefusedError(400, {"detail": "cannot provide empty value for __in"})
        return str(held) in value.split(",")
    if lookup == "contains":
        return value in str(held)
    if lookup:
        raise RefusedError(400, {"detail": f"Unsupported lookup {lookup}"})
    return str(held) == value


def _check_credential_type(item: Item) -> None:
    """Each injector names an input or a file of the type alone, as AWX renders them strictly."""
    fields = {field["id"] for field in item["inputs"].get("fields", [])}
    if len(fields) != len(item["inputs"].get("fields", [])):
        raise RefusedError(400, {"inputs": ["field ids must be unique."]})
    unknown = set(item["injectors"]) - {"env", "file", "extra_vars"}
    if unknown:
        raise RefusedError(400, {"injectors": [f"Schema validation error: {sorted(unknown)} was unexpected"]})
    files = {name.partition(".")[2] for name in item["injectors"].get("file", {})}
    known = fields | {f"tower.filename.{file}" for file in files} | ({"tower.filename"} if files else set())
    for section in item["injectors"].values():
        for name, template in section.items():
            for used in re.findall(r"{{\s*([\w.]+)\s*}}", template):
                if used not in known:
                    raise RefusedError(400, {"injectors": [f"{name} uses an undefined field: {used}"]})


def check_survey(spec: Json) -> None:
    """Refuse a survey that AWX refuses."""
    for name, kind in (("name", str), ("description", str), ("spec", list)):
        if not isinstance(spec.get(name), kind):
            raise RefusedError(400, {"error": f"Field '{name}' is missing from survey spec or has a wrong type."})
    if not spec["spec"]:
        raise RefusedError(400, {"error": "'spec' doesn't contain any items."})
    variables = set()
    for index, question in enumerate(spec["spec"]):
        for name, kind in (("type", str), ("question_name", str), ("variable", str), ("required", bool)):
            if not isinstance(question.get(name), kind):
                raise RefusedError(
                    400, {"error": f"'{name}' in survey question {index} is missing or has a wrong type."}
                )
        if question["variable"] in variables:
            raise RefusedError(
                400, {"error": f"'variable' '{question['variable']}' duplicated in survey question {index}."}
            )
        variables.add(question["variable"])
        if question["type"] not in SURVEY_TYPES:
            raise RefusedError(400, {"error": f"'{question['type']}' in survey question {index} is not allowed."})
        default = question.get("default", "")
        if default != "" and not isinstance(default, SURVEY_TYPES[question["type"]]):
            raise RefusedError(400, {"error": f"Default value {default} in survey question {index} has a wrong type."})
        if question["type"] in ("multiplechoice", "multiselect"):
            if "choices" not in question:
                raise RefusedError(400, {"error": f"Survey question {index} must specify choices."})
            if any(choice not in question["choices"] for choice in str(default).splitlines()):
                raise RefusedError(400, {"error": "Default choice must be answered from the choices listed."})


class Server:
    """The fake on a port of the loopback interface, in a thread."""

    def __init__(self, awx: Awx, port: int = 0) -> None:
        self.awx = awx
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", port), _handler(awx))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which awx.awx finds it."""
        return {"CONTROLLER_HOST": self.url, "CONTROLLER_OAUTH_TOKEN": TOKEN, "CONTROLLER_VERIFY_SSL": "false"}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(awx: Awx) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length) if length else b""
            url = urlsplit(self.path)
            basic = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            allowed = self.headers.get("Authorization") in (f"Bearer {TOKEN}", f"Basic {basic}")
            if not allowed:
                status, body = 401, {"detail": "Authentication credentials were not provided."}
            elif url.path.startswith(f"{PREFIX}tokens/"):
                status, body = (201, {"id": 1, "token": TOKEN}) if self.command == "POST" else (204, None)
            else:
                query = parse_qsl(url.query, keep_blank_values=True)
                status, body = awx.answer(self.command, url.path, query, json.loads(content) if content else None)
            written = b"" if body is None else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(written)))
            self.send_header("X-API-Product-Name", "AWX")
            self.send_header("X-API-Product-Version", VERSION)
            self.end_headers()
            self.wfile.write(written)

        do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

        def log_message(self, *_arguments: t.Any) -> None:
            """Nothing is logged: bodies may hold secrets."""

    return Handler


def main() -> None:
    server = Server(Awx(), int(sys.argv[1]) if len(sys.argv) > 1 else 8052)
    print(f"A fake of AWX {VERSION} is at {server.url}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
