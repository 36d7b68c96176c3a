# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every request header that the gateway gives a meaning, once: who sets it, and where the gateway removes it.

A request passes the places in this order: the listener, authorization, the filter behind it, and then either the
provider's backend or, with Kuadrant, the bridge to the egress gateway. Services behind the last
place that removes a header may receive it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Who sets a header.
HTTP = "the protocol"
CLIENT = "the client, or a proxy before the gateway"
ENVOY = "Envoy, from the connection"
AUTHORINO = "Authorino, from the token"
REQUEST_FILTER = "request_filter.lua"
FILTER = "body_filter.lua"
ENVOY_AI_GATEWAY = "Envoy AI Gateway, from the body"
ENDPOINT_PICKER = "the endpoint picker"
SEMANTIC_ROUTER = "the semantic router"

#: Where a header is removed. What a client sends of it ends at the listener, before any filter sees it.
AT_LISTENER = "listener"
#: Behind authorization, in body_filter.lua. Envoy AI Gateway removes keys at a backend as well, but not while a route
#: is being deleted, and Envoy lets no processor remove its own header of the caller's address.
AFTER_AUTHORIZATION = "after_authorization"
#: By Envoy AI Gateway at a provider, before it puts the provider's key in.
AT_BACKEND = "backend"
#: By the HTTPRoute of a bridge, but for the header in which the policy put the provider's key.
AT_BRIDGE = "bridge"


#: Who calls, for the semantic router: a value that names nobody, and the tier.
ROUTER_USER = "x-authz-user-id"
ROUTER_GROUPS = "x-authz-user-groups"
#: Whether the gateway asks the semantic router.
ROUTER_ASKED = "x-ai-gateway-ask-router"
#: With engine kuadrant, by which the router's Envoy knows that its AuthPolicy has said who calls.
ROUTER_KEY = "x-ai-gateway-router-key"

#: The token that a proxy checks itself, after the name of its check.
CHECKED_TOKEN = "x-ai-gateway-token"  # noqa: S105 (the name of a header)

#: Where the first filter sends the SHA-256 of a caller's API key in place of the key. Authorino goes through all keys
#: of an evaluator for each request, so that there are several, and the first digit of the digest says which.
API_KEY_DIGESTS = tuple(f"x-ai-gateway-api-key-digest-{part}" for part in "abcdefgh")

#: The tier of a request to MCP servers, in its own words.
MCP_TIER = "x-ai-gateway-mcp-tier"


@dataclass(frozen=True)
class Header:
    """A request header, by its name in lower case.

    ``reserved``: no entry of a provider may set it or send its key in it. ``token``: a caller's token may be in it.
    """

    name: str
    set_by: str
    removed_at: tuple[str, ...] = ()
    reserved: bool = False
    token: bool = False


_KEYS = (AFTER_AUTHORIZATION, AT_BACKEND, AT_BRIDGE)

TABLE = (
    Header("host", HTTP, reserved=True),
    Header("connection", HTTP, reserved=True),
    Header("content-length", HTTP, reserved=True),
    Header("content-type", HTTP, reserved=True),
    Header("transfer-encoding", HTTP, reserved=True),
    # What a caller shows to come in. Names that end with KEY_SUFFIX are removed after authorization too.
    Header("authorization", CLIENT, _KEYS, token=True),
    Header("x-api-key", CLIENT, (AT_BACKEND, AT_BRIDGE), token=True),
    Header("api-key", CLIENT, _KEYS),
    Header("x-provider-api-key", CLIENT, (AT_BRIDGE,)),
    Header(CHECKED_TOKEN, "credentials.lua", (AT_LISTENER, AFTER_AUTHORIZATION), reserved=True),
    # With the digest of a key one could come in as well as with the key.
    *(Header(name, REQUEST_FILTER, (AT_LISTENER, AFTER_AUTHORIZATION), reserved=True) for name in API_KEY_DIGESTS),
    # Who calls, in values that distinguish callers and name nobody. They reach the provider: limits count by them when
    # the response ends.
    Header("x-ai-gateway-user", FILTER, (AT_LISTENER,)),
    Header("x-ai-gateway-tier", FILTER, (AT_LISTENER,)),
    # What routes match.
    Header("x-ai-gateway-provider", FILTER, (AT_LISTENER, AT_BACKEND), reserved=True),
    Header("x-ai-gateway-api", FILTER, (AT_LISTENER, AT_BACKEND), reserved=True),
    Header("x-ai-eg-model", ENVOY_AI_GATEWAY, (AT_LISTENER,), reserved=True),
    # By which the processor's MCP proxy decides what a tier may call, and mcp_answers.lua which servers it reaches: the
    # proxy passes on no other header of the client, and the program takes this one off.
    Header(MCP_TIER, FILTER, (AT_LISTENER,), reserved=True),
    Header("x-ai-eg-mcp-route", ENVOY_AI_GATEWAY, (AT_LISTENER,), reserved=True),
    Header("x-ai-eg-mcp-backend", ENVOY_AI_GATEWAY, (AT_LISTENER,), reserved=True),
    Header("x-gateway-destination-endpoint", ENDPOINT_PICKER, (AT_LISTENER,)),
    # What an endpoint picker obeys: the priority of a request, whose share it is, and the model to ask instead.
    Header("x-gateway-inference-objective", FILTER, (AT_LISTENER,), reserved=True),
    Header("x-gateway-inference-fairness-id", CLIENT, (AT_LISTENER,), reserved=True),
    Header("x-gateway-model-name-rewrite", CLIENT, (AT_LISTENER,), reserved=True),
    # What the semantic router reads and sets. Others of its headers are of a family.
    Header(ROUTER_USER, FILTER, (AT_LISTENER,), reserved=True),
    Header(ROUTER_GROUPS, FILTER, (AT_LISTENER,), reserved=True),
    Header(ROUTER_ASKED, FILTER, (AT_LISTENER,), reserved=True),
    Header(ROUTER_KEY, AUTHORINO, (AT_LISTENER,), reserved=True),
    Header("x-selected-model", SEMANTIC_ROUTER, (AT_LISTENER,), reserved=True),
    Header("x-vsr-destination-endpoint", SEMANTIC_ROUTER, (AT_LISTENER,), reserved=True),
    Header("x-vsr-skip-processing", CLIENT, (AT_LISTENER,), reserved=True),
    # Who calls, in words that only the gateway and maas-api may read.
    Header("x-maas-user", AUTHORINO, (AT_LISTENER, AT_BACKEND, AT_BRIDGE), reserved=True),
    Header("x-maas-username", AUTHORINO, (AT_LISTENER, AT_BRIDGE)),
    Header("x-maas-tier", AUTHORINO, (AT_LISTENER, AT_BACKEND, AT_BRIDGE), reserved=True),
    Header("x-maas-group", AUTHORINO, (AT_LISTENER, AT_BRIDGE)),
    # What a caller has as a key of its own, and what it and the proxies before this gateway say of the caller. FAMILIES
    # has more of them.
    Header("x-forwarded-for", ENVOY, (AT_BACKEND, AT_BRIDGE)),
    Header("x-envoy-external-address", ENVOY, (AFTER_AUTHORIZATION, AT_BRIDGE)),
    Header("cookie", CLIENT, _KEYS),
    Header("proxy-authorization", CLIENT, _KEYS),
    Header("openai-organization", CLIENT, _KEYS),
    Header("openai-project", CLIENT, _KEYS),
    Header("authentication", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("cf-access-jwt-assertion", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("ocp-apim-subscription-key", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("helicone-auth", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("forwarded", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("via", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("from", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("referer", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("origin", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("baggage", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("remote-user", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("true-client-ip", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("cf-connecting-ip", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("cf-access-authenticated-user-email", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("x-client-ip", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("x-client-cert", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("x-client-dn", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("x-user", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("x-user-id", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("x-user-email", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("x-email", CLIENT, (AFTER_AUTHORIZATION,)),
    Header("x-groups", CLIENT, (AFTER_AUTHORIZATION,)),
)

#: The second word of headers x-<word>-<more> that are removed after authorization.
FAMILIES = (
    "access",
    "amz",
    "amzn",
    "auth",
    "authz",
    "csrf",
    "forwarded",
    "goog",
    "jwt",
    "maas",
    "ms",
    "original",
    "real",
    "remote",
    "vsr",
)
#: Those of the families that stay, as Envoy needs them.
KEPT = ("x-forwarded-proto",)
#: How names of further headers of keys end, which are removed after authorization.
KEY_SUFFIX = "-api-key"
#: The response header in which Envoy says, for the filters alone, why it answered itself.
REFUSAL = "x-ai-gateway-refusal"
#: The response header in which a route says, for the filters alone, which backend has answered.
SERVED_BY = "x-ai-gateway-served-by"

RESERVED = frozenset(header.name for header in TABLE if header.reserved)


@dataclass(frozen=True)
class Headers:
    """The names of headers by what the roles do with them."""

    #: Those in which a caller's token may be.
    tokens: tuple[str, ...]
    removed_at_listener: tuple[str, ...]
    removed_after_authorization: tuple[str, ...]
    #: See ``FAMILIES``, ``KEPT`` and ``KEY_SUFFIX``.
    families: tuple[str, ...]
    kept: tuple[str, ...]
    key_suffix: str
    removed_at_backend: tuple[str, ...]
    removed_at_bridge: tuple[str, ...]
    refusal: str
    served_by: str
    checked_token: str
    api_key_digests: tuple[str, ...]
    #: Those of the semantic router: who calls and in which tier, whether it is asked, that its policy is in force, and
    #: all that are not of a family.
    router_user: str
    router_groups: str
    router_asked: str
    router_key: str
    router: tuple[str, ...]


def removed_at(place: str) -> tuple[str, ...]:
    """The names of the headers that are removed at a place."""
    return tuple(header.name for header in TABLE if place in header.removed_at)


HEADERS = Headers(
    tokens=tuple(header.name for header in TABLE if header.token),
    removed_at_listener=removed_at(AT_LISTENER),
    removed_after_authorization=removed_at(AFTER_AUTHORIZATION),
    families=FAMILIES,
    kept=KEPT,
    key_suffix=KEY_SUFFIX,
    removed_at_backend=removed_at(AT_BACKEND),
    removed_at_bridge=removed_at(AT_BRIDGE),
    refusal=REFUSAL,
    served_by=SERVED_BY,
    checked_token=CHECKED_TOKEN,
    api_key_digests=API_KEY_DIGESTS,
    router_user=ROUTER_USER,
    router_groups=ROUTER_GROUPS,
    router_asked=ROUTER_ASKED,
    router_key=ROUTER_KEY,
    router=(ROUTER_USER, ROUTER_GROUPS, ROUTER_ASKED, ROUTER_KEY, "x-selected-model"),
)
