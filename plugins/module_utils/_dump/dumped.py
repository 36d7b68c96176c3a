# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was read, as a file of variables with its notes. Pure."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.document import Expression, Note, document
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.litellm import translate
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.objects import from_objects
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.record import (
    UNRECORDED,
    Key,
    Record,
    at_keys,
    recorded_names,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._dump.references import (
    ENVIRONMENT,
    environment_name,
    free_name,
    of_cluster,
    of_environment,
    of_fact,
    place_of,
)

try:
    import yaml
except ImportError:  # The kubernetes client brings it.
    yaml = None  # type: ignore[assignment]

_KEYS = "Keys are not in this file. In the place of each is where the inventory shall read it."
_OWN_SECRETS = Note(
    "Secrets",
    "what site makes itself is made anew on another cluster: the key of identities, its own certificates, the password "
    "of Redis; so are API keys of callers, which are issued by playbook egress.ai_gateway.api_keys",
)
#: The comment before a variable.
_COMMENTS = {
    "ai_gateway_providers": "The providers outside the cluster.",
    "ai_gateway_models": "The models on the premises.",
    "ai_gateway_mcp_servers": "The servers of tools.",
    "ai_gateway_inference_pools": "The InferencePools.",
    "ai_gateway_semantic_router": "What chooses a model.",
    "ai_gateway_prices": "What a million tokens cost.",
    "ai_gateway_callers": "Whose credentials the gateway accepts.",
    "ai_gateway_tiers": "The tiers of users.",
    "ai_gateway_allowed_endpoints": "Endpoints that may be called although they seem to lead back into the cluster.",
}


@dataclass(frozen=True)
class Dump:
    """The description of a gateway; the fields are those of module ``catalog_dump_info``."""

    source: str
    content: str
    variables: tuple[str, ...]
    notes: tuple[Note, ...]
    environment: tuple[str, ...]
    comparison: str = ""
    unrecorded: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, t.Any]:
        return {
            "source": self.source,
            "content": self.content,
            "variables": list(self.variables),
            "notes": [{"path": note.path, "reason": note.reason} for note in self.notes],
            "environment": list(self.environment),
            "comparison": self.comparison,
            "unrecorded": list(self.unrecorded),
        }


def of_record(record: Record, namespace: str, gateway: str, keys: str, defaults: Sequence[str]) -> Dump:
    """The variables of a record.

    :param keys: ``environment`` or ``cluster``.
    :param defaults: the files with the defaults of all roles; without them there is no comparison.
    """
    environment: list[str] = []

    def reference(place: tuple[str, ...], value: t.Any) -> t.Any:
        if not isinstance(value, Key):
            return value
        if keys != ENVIRONMENT:
            return of_cluster(value)
        own = environment_name(place[0], place[1] if len(place) > 1 else "", _form(record, place))
        # Each key has its own, so that none is sent to the host of another.
        name = free_name(own, environment)
        environment.append(name)
        return of_environment(name, place_of(value))

    variables = at_keys(record.variables, reference)
    notes = [*(Note(name, UNRECORDED[name]) for name in record.unrecorded), _OWN_SECRETS]
    origin = f"Made by playbook egress.ai_gateway.dump from the record of Gateway {namespace}/{gateway}."
    use = (
        "It is for group_vars of an inventory that says besides how the cluster is reached and how a run is done: "
        "ai_gateway_kubeconfig, ai_gateway_context and the like are not part of a gateway."
    )
    return Dump(
        "record",
        _file([origin, use], variables, notes),
        tuple(variables),
        tuple(notes),
        tuple(environment),
        _comparison(record, defaults) if defaults else "",
        record.unrecorded,
    )


def _form(record: Record, place: tuple[str, ...]) -> str:
    """The form of the credential of an entry, where that says one."""
    entries = record.variables.get(place[0])
    for entry in entries if isinstance(entries, list) and len(place) > 1 else ():
        if isinstance(entry, dict) and entry.get("name") == place[1]:
            forms = {"aws_bedrock": "access_key", "aws_anthropic": "access_key"}
            forms |= {"gcp_vertex_ai": "service_account_key", "gcp_anthropic": "service_account_key"}
            default = forms.get(str(entry.get("schema")), "api_key")
            return str((entry.get("credential") or {}).get("form") or default)
    return "api_key"


def _comparison(record: Record, defaults: Sequence[str]) -> str:
    """All recorded variables, at their defaults or as recorded, with keys from the fact of role dump."""
    variables: dict[str, t.Any] = {}
    for file in defaults:
        loaded = yaml.safe_load(file) or {}
        variables |= {name: _templates(loaded[name]) for name in recorded_names(loaded)}
    recorded = at_keys(record.variables, lambda _place, value: of_fact(value) if isinstance(value, Key) else value)
    return document({**variables, **recorded}, [], {})


def _templates(value: t.Any) -> t.Any:
    """A default with its templates."""
    if isinstance(value, str):
        return Expression(value)
    if isinstance(value, list):
        return [_templates(item) for item in value]
    if isinstance(value, Mapping):
        return {name: _templates(item) for name, item in value.items()}
    return value


def of_objects(objects: Mapping[str, Sequence[Mapping[str, t.Any]]], namespace: str, gateway: str) -> Dump:
    """The variables that the objects of a gateway come to."""
    variables, notes = from_objects(objects, namespace, gateway)
    origin = f"Made by playbook egress.ai_gateway.dump from the objects of Gateway {namespace}/{gateway}."
    use = "They do not say all that a catalogue says: read the notes, and compare before it is applied."
    return Dump("objects", _file([origin, use], variables, notes), tuple(variables), tuple(notes), ())


def of_litellm(config: Mapping[str, t.Any], name: str, environment: t.Callable[[str], str | None]) -> Dump:
    """The variables that the configuration of a LiteLLM proxy comes to.

    :param name: that of its file.
    :param environment: see ``translate``.
    """
    found = translate(config, environment)
    reason = (
        "LiteLLM keeps keys, teams and budgets in its database; the role's default has free, premium and enterprise"
    )
    notes = [*found.notes, Note("ai_gateway_tiers", reason)]
    origin = f"Made by playbook egress.ai_gateway.dump from {name}, the configuration of a LiteLLM proxy."
    use = (
        "It is for group_vars of an inventory that says besides what the cluster is, such as ai_gateway_platform. "
        "Clients call the same models by the same names, with a token or an API key of the gateway."
    )
    content = _file([origin, use], found.variables, notes)
    return Dump("litellm", content, tuple(found.variables), tuple(notes), found.environment)


def _file(header: list[str], variables: Mapping[str, t.Any], notes: Sequence[Note]) -> str:
    said = ["", "What this file does not say:", *(f"- {note}" for note in notes)] if notes else []
    comments = {name: [comment] for name, comment in _COMMENTS.items()}
    return document(variables, [*header, _KEYS, *said], comments)
