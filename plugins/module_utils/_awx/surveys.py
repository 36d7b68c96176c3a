# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions of AWX surveys, made of the argument specifications of the roles. Pure."""

from __future__ import annotations

import re
import typing as t
from collections.abc import Mapping

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.entry import Entry
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import nearest
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.strings import Rule

#: An option of an argument specification: ``type``, ``default``, ``choices``, ``description`` and so on.
Option = Mapping[str, t.Any]
#: What is asked: the line above the field.
QUESTION = Rule("a question", r"\S(.*\S)?", "the question, one line", limit=120, printable=True)
#: AWX's type of a question by that of an option without choices.
_TYPES = {"str": "text", "path": "text", "int": "integer", "float": "float"}


def survey(asked: Entry, options: Mapping[str, Option], name: str) -> dict[str, t.Any]:
    """The survey of the questions in ``asked``, a mapping from variables to what is asked.

    An answer is an extra variable and beats the inventory. AWX sends the default of a question that nobody answers, and
    an empty string where a string without one is left empty. So a variable whose default is a template, which AWX does
    not evaluate, cannot be asked for; neither can a list, and never a secret.

    :param options: all options of all roles, by the names of variables.
    :param name: the name of the survey.
    :returns: the survey in AWX's form, ``{name, description, spec}``; empty without questions.
    """
    questions = []
    for variable in asked.value:
        question = asked.string(str(variable), QUESTION)
        option = options.get(variable)
        if option is None:
            near = nearest(str(variable), options)
            asked.fault(
                str(variable),
                "is no variable of a role",
                f"did you mean `{near}`?" if near else "write one of an argument specification",
            )
        elif problem := _problem(option):
            asked.fault(str(variable), f"cannot be asked for, as {problem}", "set it in the inventory")
        elif question:
            questions.append(_question(variable, question, option))
    return {"name": name, "description": "", "spec": questions} if questions else {}


def _problem(option: Option) -> str:
    """Why AWX can put no question for the option; empty where it can."""
    kind, default = option.get("type", "str"), option.get("default")
    if option.get("no_log"):
        return "it is a secret, which belongs into a credential"
    if kind not in (*_TYPES, "bool"):
        return f"it is of type {kind}"
    if isinstance(default, str) and "{{" in default:
        return "its default is a template, which the answer would replace"
    if default is None and not option.get("required"):
        return "it has no default, which an empty answer would replace"
    if default == "" and option.get("choices"):
        return "its default is none of its choices"
    return ""


def _question(variable: str, question: str, option: Option) -> dict[str, t.Any]:
    kind, default = option.get("type", "str"), option.get("default")
    # AWX has no truth values. A role accepts these strings, as those of --extra-vars name=value.
    choices = ["true", "false"] if kind == "bool" else [str(choice) for choice in option.get("choices", [])]
    written = default
    if choices or kind == "path":
        written = str(default).lower() if kind == "bool" else str(default)
    elif kind == "float" and default is not None:
        written = float(default)
    return {
        "question_name": question,
        "question_description": plain_text(option.get("description", "")),
        "variable": variable,
        "type": "multiplechoice" if choices else _TYPES[kind],
        # AWX refuses an empty answer where it wants a number or a choice.
        "required": bool(choices) or kind in ("int", "float") or bool(option.get("required")),
        "choices": choices,
        "default": "" if default is None else written,
    }


def plain_text(description: str | list[str]) -> str:
    """A description without Ansible's markup, on one line."""
    line = " ".join(" ".join([description] if isinstance(description, str) else description).split())
    return re.sub(r"\b(?:[COVPEM]|RV)\((?:[\w.]+#role:\w+:)?([^()#]*)(?:#\w+)?\)", r"\1", line)
