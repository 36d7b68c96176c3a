# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which signals of a recipe a request has, and which decision follows. Pure."""

from __future__ import annotations

import re
import typing as t
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from router_config import FAMILIES, Body, Config, Recipe, tokens
from router_expressions import compiled

#: Letters of each script by the language that they stand for, and words of languages in Latin letters.
_SCRIPTS = {
    "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko", "CJK": "zh", "CYRILLIC": "ru", "ARABIC": "ar", "GREEK": "el",
    "HEBREW": "he", "THAI": "th", "DEVANAGARI": "hi",
}  # fmt: skip
_WORDS = {
    "en": "the and is are of to what how please you with for this that in",
    "de": "der die das und ist nicht wie was ein eine bitte mit für ich sie",
    "fr": "le la les et est une des que comment pour avec je vous dans",
    "es": "el los las y es una que cómo para con por en está qué",
    "it": "il gli e è una che come per con di sono questo nella",
    "pt": "os as e é uma que como para com não em você está",
    "nl": "de het en is een niet wat hoe met voor van ik dat",
}


class AuthzError(Exception):
    """A request without the caller's name, where there are roles."""


@dataclass(frozen=True)
class Conversation:
    """What a request says. ``text`` is the last message of the user, or all others where there is none."""

    text: str
    everything: str
    messages: Sequence[Body]
    tools: int


@dataclass(frozen=True)
class Choice:
    """The outcome of a decision. Without a decision the model is the default one."""

    decision: str
    model: str
    #: Names of the signals that the request has, by their type.
    signals: Mapping[str, Sequence[str]]


def conversation(body: Body) -> Conversation:
    raw = body.get("messages")
    messages = [message for message in raw if isinstance(message, dict)] if isinstance(raw, list) else []
    said = [(str(message.get("role", "")), _text_of(message.get("content"))) for message in messages]
    users = [text for role, text in said if role == "user"]
    others = [text for role, text in said if role != "user" and text]
    raw_tools = body.get("tools")
    return Conversation(
        text=users[-1] if users and users[-1] else " ".join(others),
        everything=" ".join(text for _role, text in said if text),
        messages=messages,
        tools=len(raw_tools) if isinstance(raw_tools, list) else 0,
    )


def _text_of(content: t.Any) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
    return " ".join(part for part in parts if isinstance(part, str))


def choose(config: Config, recipe: Recipe, body: Body, headers: Mapping[str, str]) -> Choice | None:
    """The choice for a request; None for one that says nothing. Raises AuthzError."""
    said = conversation(body)
    if not said.text:
        return None
    if not recipe.decisions:
        return Choice("", config.default_model, {})
    signals = {
        kind: [str(item["name"]) for item in recipe.signals[family] if _MATCHERS[kind](item, said)]
        for family, kind in FAMILIES.items()
        if kind != "authz"
    }
    # Without a decision about roles nobody asks who calls.
    named = any(_names_role(decision.rules) for decision in recipe.decisions)
    signals["authz"] = _roles(config, recipe, headers) if named else []
    for decision in recipe.decisions:
        if holds(decision.rules, signals):
            return Choice(decision.name, decision.model, signals)
    return Choice("", config.default_model, signals)


def holds(node: Body, signals: Mapping[str, Sequence[str]]) -> bool:
    if "type" in node:
        return node["name"] in signals[node["type"]]
    results = (holds(condition, signals) for condition in node.get("conditions") or ())
    operator = node.get("operator", "AND")
    if operator == "OR":
        return any(results)
    return not next(results) if operator == "NOT" else all(results)


def _names_role(node: Body) -> bool:
    return node.get("type") == "authz" or any(map(_names_role, node.get("conditions") or ()))


def _roles(config: Config, recipe: Recipe, headers: Mapping[str, str]) -> list[str]:
    bindings = recipe.signals["role_bindings"]
    user = headers.get(config.user_header, "")
    if not bindings or (not user.strip() and config.fail_open):
        return []
    if not user:
        raise AuthzError(
            f"authz signal: user identity header is empty but {len(bindings)} role_bindings are configured: "
            f"{config.user_header} must name the user"
        )
    groups = [group.strip() for group in headers.get(config.groups_header, "").split(",")]
    found = []
    for binding in bindings:
        for subject in binding["subjects"]:
            names = [user] if str(subject["kind"]).strip().lower() == "user" else groups
            if str(subject["name"]).strip() in names and binding["role"] not in found:
                found.append(str(binding["role"]))
    return found


# The families


def _keyword(signal: Body, said: Conversation) -> bool:
    found = [_has_keyword(signal, keyword, said.text) for keyword in signal["keywords"]]
    return {"AND": all(found), "OR": any(found), "NOR": not any(found)}[signal["operator"]]


def _has_keyword(signal: Body, keyword: str, text: str) -> bool:
    # Without a method a keyword is a word, with method regex it is an expression.
    if "method" in signal:
        found = compiled(keyword, bool(signal.get("case_sensitive")))
    else:
        pattern = re.escape(keyword)
        letters = any(character.isalnum() or character == "_" for character in keyword)
        if letters and not any(_is_script(character, "CJK") for character in keyword):
            # The edges of words are those of ASCII, as Go's.
            pattern = rf"(?a:\b){pattern}(?a:\b)"
        found = re.compile(pattern, 0 if signal.get("case_sensitive") else re.IGNORECASE)
    if found.search(text):
        return True
    if not signal.get("fuzzy_match"):
        return False
    most = signal.get("fuzzy_threshold") or 2
    return any(_distance(word, keyword.lower()) <= most for word in re.findall(r"\w+", text.lower()))


def _distance(left: str, right: str) -> int:
    """How many letters one must change to make a word of the other."""
    row = list(range(len(right) + 1))
    for number, letter in enumerate(left, 1):
        before, row = row, [number]
        for index, other in enumerate(right):
            row.append(min(before[index + 1] + 1, row[index] + 1, before[index] + (letter != other)))
    return row[-1]


def _context(signal: Body, said: Conversation) -> bool:
    size = -(-len(said.everything.encode("utf-8", "surrogatepass")) // 4)
    least, most = (tokens(signal[key]) if key in signal else None for key in ("min_tokens", "max_tokens"))
    return (least is None or size >= least) and (most is None or size <= most)


def _structure(signal: Body, said: Conversation) -> bool:
    feature, source = signal["feature"], signal["feature"]["source"]
    text = said.text if source.get("case_sensitive") else said.text.lower()

    def same(word: str) -> str:
        return word if source.get("case_sensitive") else word.lower()

    if source["type"] == "regex":
        expression = compiled(source["pattern"], bool(source.get("case_sensitive")))
        count = sum(1 for _match in expression.finditer(said.text))
    elif source["type"] == "keyword_set":
        count = sum(_occurrences(text, same(keyword)) for keyword in source["keywords"])
    else:
        count = int(any(_in_order(text, map(same, sequence)) for sequence in source["sequences"]))
    if feature["type"] == "density":
        units = _units(said.text)
        return _satisfies(count / units if units else 0, signal)
    return _satisfies(min(count, 1) if feature["type"] in ("exists", "sequence") else count, signal)


def _occurrences(text: str, keyword: str) -> int:
    """How often a keyword is in it, not glued to other letters or digits."""
    if any(_is_script(character, "CJK") for character in keyword):
        return text.count(keyword)
    return len(re.findall(rf"(?<![^\W_]){re.escape(keyword)}(?![^\W_])", text))


def _in_order(text: str, markers: t.Iterable[str]) -> bool:
    place = 0
    for marker in markers:
        found = text.find(marker, place)
        if found < 0:
            return False
        place = found + len(marker)
    return True


def _units(text: str) -> int:
    """Words, and letters of scripts that have no spaces between words."""
    alone = sum(_is_script(character, "CJK", "HIRAGANA", "KATAKANA", "HANGUL") for character in text)
    spaced = "".join(
        " " if _is_script(character, "CJK", "HIRAGANA", "KATAKANA", "HANGUL") else character for character in text
    )
    return alone + len(re.findall(r"[^\W_]+", spaced))


def _is_script(character: str, *scripts: str) -> bool:
    return ord(character) > 127 and unicodedata.name(character, "").startswith(scripts)


def _satisfies(value: float, signal: Body) -> bool:
    wanted = signal.get("predicate")
    if not wanted:
        return value > 0
    compared = {
        "gt": lambda bound: value > bound,
        "gte": lambda bound: value >= bound,
        "lt": lambda bound: value < bound,
        "lte": lambda bound: value <= bound,
    }
    return all(compared[key](bound) for key, bound in wanted.items())


def _conversation(signal: Body, said: Conversation) -> bool:
    feature, source = signal["feature"], signal["feature"]["source"]
    roles = [message.get("role") for message in said.messages]
    calls = [message.get("tool_calls") for message in said.messages if message.get("role") == "assistant"]
    count = 0
    if source["type"] == "message":
        role = source["role"]
        count = sum(item != "user" for item in roles) if role == "non_user" else roles.count(role)
    elif source["type"] == "tool_definition":
        count = said.tools
    elif source["type"] == "assistant_tool_call":
        count = sum(len(items) for items in calls if isinstance(items, list))
    elif source["type"] == "assistant_tool_cycle":
        count = roles.count("tool")
    elif source["type"] == "active_tool_loop" and said.messages:
        count = int(roles[-1] == "tool" or (roles[-1] == "assistant" and bool(said.messages[-1].get("tool_calls"))))
    return _satisfies(min(count, 1) if feature["type"] == "exists" else count, signal)


def _language(signal: Body, said: Conversation) -> bool:
    return language(said.text) == signal["name"]


def language(text: str) -> str:
    """The code of a language by its script or its commonest words; empty where neither says so."""
    scripts: dict[str, int] = {}
    for character in text[:10_000]:
        name = unicodedata.name(character, "").split(" ", 1)[0] if ord(character) > 127 else ""
        if name in _SCRIPTS:
            scripts[_SCRIPTS[name]] = scripts.get(_SCRIPTS[name], 0) + 1
    if scripts:
        # Japanese has Chinese characters too.
        return "ja" if "ja" in scripts else max(scripts, key=lambda code: scripts[code])
    words = re.findall(r"\w+", text[:10_000].lower())
    counts = {code: sum(word in known.split() for word in words) for code, known in _WORDS.items()}
    best = max(counts, key=lambda code: counts[code])
    return best if counts[best] else ""


_MATCHERS: dict[str, t.Callable[[Body, Conversation], bool]] = {
    "keyword": _keyword,
    "context": _context,
    "structure": _structure,
    "conversation": _conversation,
    "language": _language,
}
