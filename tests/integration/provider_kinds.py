# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A catalogue with a provider of each kind:

simulators, a model on the premises, and outside plain, behind TLS, over HTTP/2, and of Anthropic's API.
"""

from __future__ import annotations

import base64
import dataclasses
import pathlib
import typing as t
import uuid

import catalogs
import external_provider
import yaml
from objects import kubectl
from runs import playbook

#: The roles that follow from the catalogue: validation would ask each of the odd models.
TAGS = ("simulators", "access_policies", "providers")
INSTANCE = NAMESPACE = "ai-gateway"
ORIGIN = "https://app.example.com"
#: Of the Gateway, where it listens to TLS.
HOSTNAME = "gateway.example.com"
#: The name of the model on the premises in its path.
ON_PREMISES = "facebook/opt-125m"
#: A model of the provider outside that tier premium may spend 100 tokens of.
LIMITED, UNLIMITED = "odd-good-40", "odd-good-45"
_COSTS = [LIMITED, UNLIMITED]
#: A model whose provider goes elsewhere while it is asked, and the provider's keys here and there.
MOVED = "moved-odd-good"
MOVED_KEYS = ("sk-key-of-the-old-place", "sk-key-of-the-new-place")
#: A model that both providers of OpenAI's API outside serve.
SHARED = "odd-good-50"
MODELS = {
    "odd": [*external_provider.MODELS, *_COSTS],
    "tls": [
        *(f"odd-{name}" for name in ("good", "none", "gzip", "split", "slow", "error-503-html", "error-429-json")),
        *_COSTS,
    ],
    "http2": [
        *(f"odd-{name}" for name in ("good", "none", "gzip", "split", "reset", "stream-reset", "no-end", "big")),
        *("odd-error-503-html", "odd-error-429-json"),
        *_COSTS,
    ],
    "claude": [
        *(
            f"odd-{name}"
            for name in (
                "good",
                "no-space",
                "crlf",
                "usage-first",
                "usage-every-chunk",
                "split",
                "none",
                "negative",
                "gzip",
                "slow",
            )
        ),
        *(f"odd-error-{name}" for name in ("429-anthropic", "429-html", "529-anthropic", "400-json", "503-empty")),
        *_COSTS,
    ],
}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of provider: a model of it that costs `cost` tokens a call, `prefix` its other path, `upstream` the
    model's name there; headers of a request set the cost at simulators."""

    name: str
    model: str
    prefix: str
    path: str = "/v1/chat/completions"
    cost: int = 40
    upstream: str = ""
    key: tuple[str, str] = ("", "")

    @property
    def headers(self) -> dict[str, str]:
        if self.upstream:
            return {}
        return {
            "x-simulator-prompt-tokens": str(self.cost // 2),
            "x-simulator-completion-tokens": str(self.cost - self.cost // 2),
        }


def _key(name: str) -> str:
    return f"sk-{name}-key-of-outside"


KINDS = [
    Kind("simulator", "gpt-4", "/external/openai", cost=35, key=("authorization", "Bearer sk-openai-key-for-demo")),
    Kind("on the premises", ON_PREMISES, "/llm/facebook-opt-125m-simulated", cost=60),
    Kind("outside", LIMITED, "/external/odd", upstream=LIMITED, key=("authorization", f"Bearer {_key('odd')}")),
    Kind(
        "outside in TLS",
        f"tls-{UNLIMITED}",
        "/external/tls",
        cost=45,
        upstream=UNLIMITED,
        key=("authorization", f"Bearer {_key('tls')}"),
    ),
    Kind(
        "outside over HTTP/2",
        f"http2-{UNLIMITED}",
        "/external/http2",
        cost=45,
        upstream=UNLIMITED,
        key=("authorization", f"Bearer {_key('http2')}"),
    ),
    Kind(
        "outside of Anthropic's API",
        f"claude-{LIMITED}",
        "/external/claude",
        "/v1/messages",
        upstream=LIMITED,
        key=("x-api-key", _key("claude")),
    ),
]


@dataclasses.dataclass
class Site:
    """The variables of the catalogue, which a test may change and apply again."""

    variables: dict[str, t.Any]
    path: pathlib.Path

    def apply(self, *roles: str) -> int:
        """Run site for the catalogue, these roles included; return how many tasks changed something."""
        self.path.write_text(yaml.safe_dump(self.variables), encoding="utf-8")
        return playbook("egress.ai_gateway.site", "--extra-vars", f"@{self.path}", "--tags", ",".join((*TAGS, *roles)))

    def provider(self, name: str) -> dict[str, t.Any]:
        found: dict[str, t.Any] = next(
            entry for entry in self.variables["ai_gateway_providers"] if entry["name"] == name
        )
        return found


def tiers(**premium: t.Any) -> list[dict[str, t.Any]]:
    """The tiers: one whose limit is soon reached, one that has these fields too, and one whose limit nobody reaches."""

    def tier(level: int, name: str, tokens: int, **others: t.Any) -> dict[str, t.Any]:
        limit = {"tokens": tokens, "window": "1m"}
        groups = ["system:authenticated"] if level == 0 else [f"tier-{name}-users"]
        return {"name": name, "level": level, "groups": groups, "token_limit": limit, "models": ["*"], **others}

    return [tier(0, "free", 100), tier(1, "premium", 50_000, **premium), tier(2, "enterprise", 2_000_000_000)]


def simulated() -> list[dict[str, t.Any]]:
    """The providers of the default inventory."""
    return [
        catalogs.provider({**entry, "models": [model for model in entry["models"] if model["name"] != "shared"]})
        for entry in catalogs.PROVIDERS[:2]
    ]


def catalogue(authority: catalogs.Authority) -> dict[str, t.Any]:
    """Return the variables:

    the providers of the default inventory and those outside, tiers of their own limits, and a page that may call from a
    browser.
    """
    given = external_provider.variables(
        *simulated(),
        external_provider.provider(models=MODELS["odd"], key=_key("odd")),
        external_provider.provider(
            "tls", models=MODELS["tls"], public="tls-{}", key=_key("tls"), ca_bundle=authority.certificate
        ),
        external_provider.provider(
            "http2",
            models=MODELS["http2"],
            public="http2-{}",
            key=_key("http2"),
            ca_bundle=authority.certificate,
            http2=True,
        ),
        external_provider.provider("moved", models=["odd-good"], public="moved-{}", key=MOVED_KEYS[0]),
        external_provider.provider(
            "claude",
            schema="anthropic",
            models=MODELS["claude"],
            public="claude-{}",
            key=_key("claude"),
            ca_bundle=authority.certificate,
        ),
    )

    for entry in given["ai_gateway_providers"]:
        if entry["name"] in ("odd", "tls"):
            entry["models"].append({"name": SHARED, "weight": 1})

    per_model = {"model_limits": [{"models": [LIMITED], "token_limit": {"tokens": 100, "window": "1m"}}]}
    return {
        **given,
        "ai_gateway_models": catalogs.MODELS,
        "ai_gateway_tiers": tiers(**per_model),
        "access_policies_cors": [ORIGIN],
    }


def deploy(directory: pathlib.Path) -> Site:
    """Deploy the providers outside and provision the catalogue."""
    authority = catalogs.Authority("Outside")
    external_provider.deploy(authority.issue(external_provider.HOSTNAME))
    site = Site(catalogue(authority), directory / "kinds.yml")
    site.apply()
    return site


def token_of(tier: str, user: str = "", namespace: str = "") -> tuple[str, str]:
    """Create a new user of a tier, with unused limits, and return its name and a token.

    :param namespace: another one than the tier's.
    """
    name = f"{user or 'user'}-{uuid.uuid4().hex[:8]}"
    where = f"--namespace={namespace or f'{INSTANCE}-tier-{tier}'}"
    kubectl("create", "serviceaccount", name, where)
    return name, kubectl("create", "token", name, where, f"--audience={INSTANCE}-sa", "--duration=2h").strip()


def secret(name: str, key: str, namespace: str) -> str:
    """Return the value of one key of a Secret."""
    escaped = key.replace(".", "\\.")
    return base64.b64decode(
        kubectl("get", "secret", name, f"--namespace={namespace}", f"--output=jsonpath={{.data.{escaped}}}")
    ).decode()
