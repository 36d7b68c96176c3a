# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The objects of AWX that the data in awx/ describes, with the options of awx.awx's modules. Pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.egress.ai_gateway.plugins.module_utils._awx.surveys import Option, survey
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import (
    Fault,
    listing,
    nearest,
    quote,
    unique,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import Rule

#: The kinds of objects in the order in which they are made, by the names of AWX's endpoints.
KINDS = (
    "organizations",
    "credential_types",
    "execution_environments",
    "projects",
    "inventories",
    "inventory_sources",
    "job_templates",
    "workflow_job_templates",
    "schedules",
)
#: The keys of an entry of each kind. ``name`` and ``description`` are needed.
KEYS: dict[str, tuple[str, ...]] = {
    "organizations": ("name", "description"),
    "credential_types": ("name", "description", "inputs", "injectors", "keys"),
    "execution_environments": ("name", "description", "image", "credential", "pull"),
    "projects": ("name", "description", "scm_url", "scm_branch", "credential", "scm_update_on_launch"),
    "inventories": ("name", "description"),
    "inventory_sources": ("name", "description", "inventory", "source_project", "source_path"),
    "job_templates": (
        "name",
        "description",
        "playbook",
        "job_type",
        "job_tags",
        "skip_tags",
        "diff_mode",
        "credentials",
        "extra_vars",
        "timeout",
        "survey",
    ),
    "workflow_job_templates": ("name", "description", "nodes"),
    "schedules": ("name", "description", "job_template", "rrule", "extra_data"),
}
#: The groups of credentials that entries refer to.
GROUPS = ("cluster", "keys", "project", "inventory", "registry")
NODE_KEYS = ("identifier", "job_template", "approval", "after")
#: How the description of an object ends that this collection made, with its prefix, if any.
MARK = "(egress.ai_gateway{})"

# A comma separates names in AWX's filters, and two plus signs the parts of its named URLs.
NAME = Rule("a name", r"(?!.*\+\+)[^,\s]([^,]*[^,\s])?", "a name without commas", limit=400, printable=True)
PREFIX = Rule("a prefix", r"[^,+\s]([^,+]*)?", "a prefix without commas, such as prod-", limit=100, printable=True)
TEXT = Rule("text", r"(?s)\S.*", "a sentence", limit=2000)
URL = Rule("the URL of a repository", r"\S+", "the URL of a Git repository", limit=2000, printable=True)
WORD = Rule("a word", r"\S+", "a word without spaces", limit=1000, printable=True)
VARIABLE = Rule("an environment variable", r"[A-Z][A-Z0-9_]*", "capital letters, digits and _", limit=100, secret=True)
IDENTIFIER = Rule("an identifier", r"[a-z0-9_-]+", "small letters, digits, _ and -", limit=100)
PLAYBOOK = Rule("a playbook", r"[a-z0-9_]+", "its name without directory and .yml", limit=100)
TAGS = Rule("tags", r"[\w,]+", "tags with commas between them", limit=400)
RRULE = Rule(
    "a rule of AWX", r"DTSTART\S* RRULE:\S+", "as in DTSTART:20260101T020000Z RRULE:FREQ=DAILY;INTERVAL=1", limit=400
)
Object = dict[str, t.Any]


@dataclass(frozen=True)
class Settings:
    """The variables of role awx that the data does not name itself."""

    name_prefix: str
    #: Names of existing ones, which are used and never changed; empty where they are made.
    organization: str
    execution_environment: str
    key_variables: Sequence[str]
    playbook_directory: str


@dataclass
class Described:
    """What is to be on AWX, or what is wrong with its description."""

    #: By kind, in their order. Each has ``name`` as it is on AWX, ``description`` with the mark, ``needs``, a list of
    #: {kind, name} of the objects that it refers to, and the options of awx.awx's module.
    objects: dict[str, list[Object]]
    #: The names of credentials that must exist, by group, and by the name of each job template.
    credentials: dict[str, list[str]]
    organization: str
    execution_environment: str
    mark: str
    faults: list[Fault] = field(default_factory=list)


def described(data: Mapping[str, t.Any], settings: Settings, options: Mapping[str, Option]) -> Described:
    """Read the data.

    :param data: what the files in awx/ hold together, by their first keys.
    :param options: all options of all roles, by the names of variables.
    """
    return _Reading(data, settings, options).result()


class _Reading:
    def __init__(self, data: Mapping[str, t.Any], settings: Settings, options: Mapping[str, Option]) -> None:
        self.settings, self.options = settings, options
        self.faults: list[Fault] = []
        self.data = Entry(data, "awx_directory", (*KINDS, "credentials"), self.faults, prefix="awx: ")
        if settings.name_prefix and not PREFIX.accepts(settings.name_prefix):
            self.faults.append(PREFIX.fault("awx_name_prefix", settings.name_prefix))
        self.mark = MARK.format(f": {settings.name_prefix}" if settings.name_prefix else "")
        self.groups = self._groups()
        self.objects: dict[str, list[Object]] = {kind: [] for kind in KINDS}

    def result(self) -> Described:
        own = {
            "organizations": self.settings.organization,
            "execution_environments": self.settings.execution_environment,
        }
        for kind in KINDS:
            for entry in self.data.entries(kind, KEYS[kind]):
                if entry.has("keys") and not self.settings.key_variables:
                    continue
                made = {
                    "name": self._name(entry),
                    "description": f"{' '.join(entry.string('description', TEXT).split())} {self.mark}",
                    "needs": [],
                    **getattr(self, f"_{kind}")(entry),
                }
                if not own.get(kind):
                    self.objects[kind].append(made)
            names = [(f"awx: {kind}[{index}].name", made["name"]) for index, made in enumerate(self.objects[kind])]
            unique(names, "name", "choose another", self.faults)
        self._required()
        # A job template and a project of one name are the same to a schedule and a node.
        runnable = {
            f"awx: {kind}[{index}].name": (kind, made["name"])
            for kind in ("projects", "inventory_sources", "job_templates", "workflow_job_templates")
            for index, made in enumerate(self.objects[kind])
        }
        # Within a kind that was said above.
        firsts = {kind_and_name: path for path, kind_and_name in reversed(runnable.items())}
        unique(
            [(path, name) for path, (kind, name) in runnable.items() if firsts[kind, name] == path],
            "name",
            "choose another",
            self.faults,
        )
        return Described(
            self.objects,
            self.groups,
            self.settings.organization or self._first("organizations"),
            self.settings.execution_environment or self._first("execution_environments"),
            self.mark,
            self.faults,
        )

    def _required(self) -> None:
        for kind, own in (
            ("organizations", self.settings.organization),
            ("execution_environments", self.settings.execution_environment),
            ("projects", ""),
            ("inventories", ""),
        ):
            if not own and not self.data.value.get(kind):
                self.data.missing(kind, "a list of at least one")

    def _name(self, entry: Entry) -> str:
        name = entry.string("name", NAME)
        return f"{self.settings.name_prefix}{name}" if name else ""

    def _first(self, kind: str) -> str:
        return self.objects[kind][0]["name"] if self.objects[kind] else ""

    def _groups(self) -> dict[str, list[str]]:
        """The names of credentials by group."""
        if not self.data.has("credentials"):
            return {group: [] for group in GROUPS}
        entry = self.data.entry("credentials", GROUPS)
        return {
            group: [name for _path, name in entry.strings(group, NAME)] if entry.value.get(group) else []
            for group in GROUPS
        }

    def _one(self, entry: Entry) -> str:
        """The name of the credential of the group in key ``credential``; empty where the group is."""
        group = entry.choice("credential", GROUPS, default="")
        return self.groups[group][0] if group and self.groups[group] else ""

    def _reference(self, entry: Entry, key: str, kind: str) -> str:
        """The name on AWX of the object that ``key`` names."""
        name = entry.string(key, NAME)
        names = [made["name"] for made in self.objects[kind]]
        full = f"{self.settings.name_prefix}{name}"
        if name and full not in names:
            known = [one.removeprefix(self.settings.name_prefix) for one in names]
            near = nearest(name, known)
            remedy = f"did you mean {quote(near)}?" if near else f"write {listing(known or ['one of them'], 'or')}"
            entry.fault(key, f"{quote(name)} is none of {kind}", remedy)
        return full

    @staticmethod
    def _need(kind: str, *names: str) -> list[dict[str, str]]:
        return [{"kind": kind, "name": name} for name in names if name]

    def _common(self) -> list[dict[str, str]]:
        return self._need("organizations", "" if self.settings.organization else self._first("organizations"))

    def _organizations(self, entry: Entry) -> Object:
        return {}

    def _credential_types(self, entry: Entry) -> Object:
        keys = entry.choice("keys", ("env", "file"), default="")
        if keys and (entry.has("inputs") or entry.has("injectors")):
            entry.fault("keys", "is beside inputs or injectors", "leave out one of them")
        if keys:
            return _keys_type(self._variables(), keys)
        for key in ("inputs", "injectors"):
            entry.missing(key, "a mapping as AWX has it")
        return {"inputs": entry.value.get("inputs"), "injectors": entry.value.get("injectors")}

    def _variables(self) -> list[str]:
        variables = Entry({"v": list(self.settings.key_variables)}, "", None, [], prefix="")
        found = []
        for index, variable in enumerate(variables.value["v"]):
            if isinstance(variable, str) and VARIABLE.accepts(variable):
                found.append(variable)
            elif not any(fault.path == f"awx_key_variables[{index}]" for fault in self.faults):
                self.faults.append(VARIABLE.fault(f"awx_key_variables[{index}]", str(variable)))
        return found

    def _execution_environments(self, entry: Entry) -> Object:
        if self.settings.execution_environment:
            return {}
        if not entry.value.get("image"):
            self.faults.append(
                Fault(
                    "awx_execution_environment_image",
                    "is empty",
                    "write the image that ansible-builder made, or in awx_execution_environment the name of an "
                    "existing execution environment",
                )
            )
            return {}
        return {
            "image": entry.string("image", WORD),
            "pull": entry.choice("pull", ("always", "missing", "never"), default="missing"),
            "credential": self._one(entry),
            "needs": self._common(),
        }

    def _projects(self, entry: Entry) -> Object:
        return {
            "scm_url": entry.string("scm_url", URL),
            "scm_branch": entry.string("scm_branch", WORD) if entry.value.get("scm_branch") else "",
            "scm_update_on_launch": entry.flag("scm_update_on_launch", default=False),
            "credential": self._one(entry),
            "needs": self._common(),
        }

    def _inventories(self, entry: Entry) -> Object:
        return {"needs": self._common()}

    def _inventory_sources(self, entry: Entry) -> Object:
        inventory = self._reference(entry, "inventory", "inventories")
        project = self._reference(entry, "source_project", "projects")
        return {
            "inventory": inventory,
            "source_project": project,
            "source_path": entry.string("source_path", WORD),
            "needs": [*self._need("inventories", inventory), *self._need("projects", project)],
        }

    def _job_templates(self, entry: Entry) -> Object:
        project, inventory = self._first("projects"), self._first("inventories")
        playbook = entry.string("playbook", PLAYBOOK)
        groups = entry.strings("credentials", WORD) if entry.value.get("credentials") else []
        for path, group in groups:
            if group not in GROUPS:
                self.faults.append(
                    Fault(path, f"{quote(group)} is no group of credentials", f"write {listing(GROUPS, 'or')}")
                )
        asked = entry.value.get("survey")
        spec = (
            survey(Entry(asked, entry.at("survey"), None, self.faults), self.options, self._name(entry))
            if asked
            else {}
        )
        environment = "" if self.settings.execution_environment else self._first("execution_environments")
        timeout = entry.integer("timeout", 0, 86400, default=0)
        return {
            "playbook": f"{self.settings.playbook_directory.strip('/')}/{playbook}.yml".removeprefix("/"),
            "job_type": entry.choice("job_type", ("run", "check"), default="run"),
            "job_tags": entry.string("job_tags", TAGS) if entry.value.get("job_tags") else "",
            "skip_tags": entry.string("skip_tags", TAGS) if entry.value.get("skip_tags") else "",
            "diff_mode": entry.flag("diff_mode", default=False),
            "timeout": timeout or 0,
            "extra_vars": dict(entry.value.get("extra_vars") or {}),
            "credentials": [name for _path, group in groups for name in self.groups.get(group, [])],
            "survey": spec,
            "project": project,
            "inventory": inventory,
            "needs": [
                *self._common(),
                *self._need("projects", project),
                *self._need("inventories", inventory),
                *self._need("execution_environments", environment),
            ],
        }

    def _workflow_job_templates(self, entry: Entry) -> Object:
        nodes = self._nodes(entry)
        templates = {node["job_template"] for node in nodes if node["job_template"]}
        return {
            "nodes": nodes,
            "needs": [*self._common(), *self._need("job_templates", *sorted(templates))],
        }

    def _nodes(self, workflow: Entry) -> list[Object]:
        """The nodes, each with the identifiers of those that start when it has succeeded."""
        workflow.missing("nodes", "a list of nodes")
        found: dict[str, Object] = {}
        for entry in workflow.entries("nodes", NODE_KEYS):
            identifier = entry.string("identifier", IDENTIFIER)
            if entry.has("job_template") == entry.has("approval"):
                entry.fault("job_template", "must be there or approval, and not both", "write one of them")
            before = [name for _path, name in entry.strings("after", IDENTIFIER)] if entry.value.get("after") else []
            for name in before:
                if name not in found:
                    entry.fault("after", f"{quote(name)} is no node before it", "name an earlier one")
            if identifier in found:
                entry.fault("identifier", f"{quote(identifier)} is taken", "choose another")
            for name in set(before) & set(found):
                found[name]["success_nodes"].append(identifier)
            found[identifier] = {
                "identifier": identifier,
                "job_template": self._reference(entry, "job_template", "job_templates")
                if entry.has("job_template")
                else "",
                "approval": self._approval(entry) if entry.has("approval") else {},
                "success_nodes": [],
            }
        return list(found.values())

    @staticmethod
    def _approval(node: Entry) -> Object:
        entry = node.entry("approval", ("name", "description", "timeout"))
        return {
            "name": entry.string("name", NAME),
            "description": entry.string("description", TEXT, default=""),
            "timeout": entry.integer("timeout", 0, 31536000, default=0) or 0,
        }

    def _schedules(self, entry: Entry) -> Object:
        template = self._reference(entry, "job_template", "job_templates")
        return {
            "job_template": template,
            "rrule": entry.string("rrule", RRULE),
            "extra_data": dict(entry.value.get("extra_data") or {}),
            "needs": self._need("job_templates", template),
        }


def _keys_type(variables: Iterable[str], keys: str) -> Object:
    """Inputs and injectors of a credential type with an input for each variable."""
    fields, environment, files = [], {}, {}
    for variable in variables:
        name = variable.lower()
        fields.append({"id": name, "type": "string", "label": variable, "secret": True, "multiline": keys == "file"})
        if keys == "env":
            environment[variable] = f"{{{{ {name} }}}}"
        else:
            files[f"template.{name}"] = f"{{{{ {name} }}}}"
            environment[f"{variable}_FILE"] = f"{{{{ tower.filename.{name} }}}}"
    injectors = {"env": environment, **({"file": files} if files else {})}
    return {"inputs": {"fields": fields}, "injectors": injectors}


def options_of(specifications: Mapping[str, t.Any]) -> dict[str, Option]:
    """All options of all roles by the names of variables.

    :param specifications: by role, what its meta/argument_specs.yml holds.
    """
    return {
        name: option
        for role in specifications.values()
        for name, option in role["argument_specs"].get("main", {}).get("options", {}).items()
    }


def is_marked(description: str, mark: str) -> bool:
    """Whether the collection made the object of this description."""
    return re.search(rf"(^|\s){re.escape(mark)}$", description) is not None
