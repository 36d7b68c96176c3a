# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the strings of an inventory must look like."""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.faults import Fault, quote
from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.names import (
    CREDENTIAL_SUFFIX,
    LABEL_LIMIT,
    MCP_SIMULATOR_SUFFIX,
    PICKER_SUFFIX,
    SIMULATOR_SUFFIX,
    ascii_hostname,
    slug,
)


@dataclass(frozen=True)
class Rule:
    """What a string must look like."""

    #: What it is, for messages: "a host name".
    kind: str
    #: Regular expression of the whole string.
    pattern: str
    #: What to write, for messages, without the verb.
    remedy: str
    #: The most characters.
    limit: int = LABEL_LIMIT
    #: Whether messages leave out the string, as it may be a key that was written in the wrong place.
    secret: bool = False
    #: Whether characters that cannot be seen are refused: line breaks, tabs, changes of the direction of writing.
    printable: bool = False
    #: Makes what was probably meant of a wrong string; empty where it cannot.
    suggest: t.Callable[[str], str] = lambda string: ""

    def accepts(self, string: str) -> bool:
        return (
            len(string) <= self.limit
            and re.fullmatch(self.pattern, string) is not None
            and (string.isprintable() or not self.printable)
        )

    def fault(self, path: str, string: str) -> Fault:
        """The fault of a string that the rule does not accept."""
        if not string.strip():
            return Fault(path, "is empty", f"write {self.remedy}")
        shown = "the string" if self.secret else quote(string)
        if len(string) > self.limit:
            return Fault(path, f"{shown} has {len(string)} characters", f"write at most {self.limit}")
        suggestion = self.suggest(string)
        example = f", for example {quote(suggestion)}" if suggestion and self.accepts(suggestion) else ""
        return Fault(path, f"{shown} is not {self.kind}", f"write {self.remedy}{example}")


def _host_of(url: str) -> str:
    return ascii_hostname(re.sub(r"^[a-z]+://", "", url.strip().lower()).split("/")[0].split(":")[0].rstrip("."))


_LABEL_PATTERN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_PATTERN = rf"{_LABEL_PATTERN}(\.{_LABEL_PATTERN})*"
_LETTERS = 'lower-case letters, digits and "-", with a letter or digit at both ends'

LABEL = Rule("a DNS-1123 label", _LABEL_PATTERN, _LETTERS, suggest=slug)
PROVIDER = Rule(
    "a provider's name (a DNS-1123 label that starts with a letter, as objects are named after it)",
    r"[a-z]([-a-z0-9]*[a-z0-9])?",
    _LETTERS.replace("a letter or digit at both ends", "a letter first and a letter or digit last"),
    limit=LABEL_LIMIT - max(len(SIMULATOR_SUFFIX), len(CREDENTIAL_SUFFIX)),
    suggest=slug,
)
SERVICE_NAME = Rule(
    "a name of an LLMInferenceService (a DNS-1123 label that starts with a letter, as KServe names a Service after it)",
    PROVIDER.pattern,
    PROVIDER.remedy,
    # The longest name that KServe does not cut.
    limit=43,
    suggest=slug,
)
POOL = Rule(
    "a name of an InferencePool (a DNS-1123 label that starts with a letter, as Services are named after it)",
    PROVIDER.pattern,
    PROVIDER.remedy,
    # So that the longest of these Services has a name.
    limit=LABEL_LIMIT - len(PICKER_SUFFIX + "-pods"),
    suggest=slug,
)
LABEL_KEY = Rule(
    "a key of a label",
    rf"({_SUBDOMAIN_PATTERN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?",
    "keys of labels such as app or llm-d.ai/model",
    limit=317,
)
LABEL_VALUE = Rule(
    "a value of a label",
    r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?",
    "letters, digits and - _ . with a letter or digit at both ends",
)
SIGNAL = Rule(
    "a name of a signal, a decision or a tier",
    r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?",
    "letters, digits and - _ . with a letter or digit at both ends",
)
PHRASE = Rule("a keyword", r"\S(.*\S)?", "words that a prompt may contain", limit=512, printable=True)
SENTENCE = Rule("a sentence", r"\S(.*\S)?", "one line without a space at either end", limit=1024, printable=True)
TOKENS = Rule("a number of tokens", r"[0-9]+(\.[0-9]+)?[kKmM]?", 'a number in quotes, such as "8K" or "1.5M"', limit=16)
METRIC = Rule(
    "a name of a metric",
    r"[a-zA-Z_:][a-zA-Z0-9_:]*(\{[^{}]+\})?",
    "a name as the pods have it, such as vllm:num_requests_waiting",
    limit=253,
)
PICKER_PLUGIN = Rule(
    "a name of a plugin or a profile", r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?", "a name such as queue-scorer"
)
OBJECT = Rule(
    "a name of an object (a DNS-1123 subdomain)", _SUBDOMAIN_PATTERN, _LETTERS + ', in parts joined by "."', limit=253
)
SECRET = Rule(
    "a name of a Secret (a DNS-1123 subdomain)",
    _SUBDOMAIN_PATTERN,
    _LETTERS + "; a key itself belongs in `value`",
    limit=253,
    secret=True,
)
HOSTNAME = Rule(
    "a host name",
    # The last label is not a number, so an address is not a name: resolvers read 0x7f000001 as one too.
    rf"(?!.*(^|\.)([0-9]+|0x[0-9a-f]*)$){_SUBDOMAIN_PATTERN}",
    "the name alone: lower case, no scheme, port, path, address or final dot, and in ASCII (xn--...)",
    limit=253,
    suggest=_host_of,
)
MODEL = Rule(
    "a model's name",
    r"[A-Za-z0-9]([A-Za-z0-9._:/@+-]*[A-Za-z0-9])?",
    "letters, digits and . _ : / @ + - with a letter or digit at both ends",
    limit=253,
    suggest=lambda string: re.sub(r"[^A-Za-z0-9._:/@+-]+", "-", string).strip("-._:/@+"),
)
PROVIDER_MODEL = Rule(
    "a model's name at its provider",
    r"[!-~]([ -~]*[!-~])?",
    "the name as the provider lists it, in ASCII and without a space at either end",
    limit=253,
)
GROUP = Rule(
    "a name of a group",
    r"\S(.*\S)?",
    "names of groups on one line and without a space at either end, for example system:authenticated or Domain Users",
    limit=253,
    printable=True,
)
HEADER = Rule(
    "a name of an HTTP header", r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "a name such as Authorization or x-api-key", secret=True
)
SCHEME = Rule(
    "an authentication scheme", r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", "one word such as Bearer, or leave it out", secret=True
)
KEY = Rule(
    "a key that fits into a header",
    r"[!-~]+",
    "the key without spaces and line breaks (a lookup gives nothing for a variable that is not set, and a line break "
    "at the end of a file: add `| trim`)",
    limit=8192,
    secret=True,
)
ACCESS_KEY_FILE = Rule(
    "a credentials file of AWS",
    r"(?s)\s*\[default\]\s*\n(?=.*aws_access_key_id\s*=\s*\S)(?=.*aws_secret_access_key\s*=\s*\S).*",
    "the file: [default], then aws_access_key_id = ... and aws_secret_access_key = ..., each on a line",
    limit=8192,
    secret=True,
)
SERVICE_ACCOUNT_FILE = Rule(
    "a key of a service account of Google Cloud",
    r"(?s)\s*\{(?=.*\"type\"\s*:\s*\"service_account\")(?=.*\"private_key\"\s*:\s*\"\S).*\}\s*",
    "the JSON file that Google Cloud made, whose `type` is service_account, as a string (a template may need | string)",
    limit=16384,
    secret=True,
)
REGION = Rule("a region", r"[a-z]+(-[a-z0-9]+)*", "a region such as us-east-1, europe-west4 or global")
PROJECT = Rule(
    "an ID of a project",
    r"([a-z0-9.-]+:)?[a-z][-a-z0-9]*[a-z0-9]",
    "the ID of the project, in lower case, as Google Cloud lists it",
)
API_VERSION = Rule("a version of an API", r"[A-Za-z0-9][A-Za-z0-9._-]*", "a version such as 2024-10-21 in quotes")
CLOUD_ID = Rule(
    "an identifier",
    r"[A-Za-z0-9]([A-Za-z0-9._:/@|-]*[A-Za-z0-9])?",
    "the identifier as its owner lists it, in quotes if it looks like a number",
    limit=253,
)
PROJECT_NUMBER = Rule("a number of a project", r"[0-9]+", "the number of the project of the pool, in quotes", limit=20)
ROLE_ARN = Rule(
    "an ARN of a role",
    r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[A-Za-z0-9+=,.@_/-]+",
    "the ARN of the role, such as arn:aws:iam::123456789012:role/ai-gateway",
    limit=253,
)
TOKEN_ISSUER = Rule(
    "an issuer",
    r"https://[^\s/?#@]+(/[^\s?#]*)?",
    "the issuer as its tokens name it, which begins with https:// and has no query",
    limit=1024,
    printable=True,
)
CURRENCY = Rule("a currency", r"([A-Z]{3})?", "its code of three letters, such as EUR", limit=3)
SCOPE = Rule("a scope", r"[!#-\[\]-~]+", "scopes without spaces", limit=253)
# HTTP drops spaces at the ends, and gives other letters no meaning.
HEADER_VALUE = Rule(
    "a value of an HTTP header",
    r"[!-~]([ -~]*[!-~])?",
    "a string of one line, in ASCII and without a space at either end",
    limit=4096,
)
REMOTE_KEY = Rule(
    "a name inside of a secret store",
    r"\S(.*\S)?",
    "the name as the store has it, on one line and without a space at either end",
    limit=1024,
    secret=True,
    printable=True,
)
PATH_PREFIX = Rule(
    "a path",
    r"/|(/[A-Za-z0-9._~:@+=,-]+)+",
    'the path that comes before "/chat/completions", such as /v1 or /api/v1, or / alone, without a slash at its end',
    limit=253,
    suggest=lambda string: "/" + re.sub(r"/+", "/", string).strip("/"),
)
MCP_SERVER = Rule(
    "an MCP server's name (a DNS-1123 label that starts with a letter, as the names of its tools begin with it)",
    PROVIDER.pattern,
    PROVIDER.remedy,
    limit=LABEL_LIMIT - len(MCP_SIMULATOR_SUFFIX),
    suggest=slug,
)
# The characters that the Model Context Protocol allows in the name of a tool.
MCP_TOOL = Rule("a tool's name at its server", r"[A-Za-z0-9_.-]+", "names of tools as the server lists them", limit=128)
MCP_TOOLS = Rule(
    "a tool of an MCP server",
    rf"\*|{PROVIDER.pattern}__([A-Za-z0-9_.-]+|[A-Za-z0-9_.-]*\*)",
    "<server>__<tool>, the beginning of a tool's name with * after it, <server>__* for all tools of a server, "
    'or "*" for all',
    limit=LABEL_LIMIT + 130,
)
MCP_PATH = Rule(
    "a path",
    r"(/[A-Za-z0-9._~:@+=,-]+)+/?|/",
    "the path at which the server answers, such as /mcp",
    limit=253,
)
ISSUER = Rule(
    "an issuer of tokens",
    r"https?://[A-Za-z0-9.-]+(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~:@%+=,-]*)*",
    "the issuer exactly as its tokens have it in `iss`, such as https://login.example.com/realms/company",
    limit=253,
)
SIGNING_KEYS_URI = Rule(
    "a URL of keys",
    r"https?://[A-Za-z0-9.-]+(:[1-9][0-9]{0,4})?(/[A-Za-z0-9._~:@%+=,-]*)+(\?[A-Za-z0-9._~:@%+=,&/-]*)?",
    "the URL of the issuer's JSON Web Key Set, such as https://login.example.com/keys",
    limit=253,
)
AUDIENCE = Rule(
    "an audience of tokens", r"[!-~]+", "audiences as the issuer writes them into `aud`, such as ai-gateway", limit=253
)
CLAIM = Rule(
    "a name of a claim",
    r"[A-Za-z0-9_:/.@-]+",
    "the name of a claim, such as email, or of one inside of another, such as realm_access.roles",
    limit=253,
)
NETWORK = Rule("a range of addresses", r"[0-9a-fA-F.:]+/[0-9]{1,3}", "ranges of addresses such as 10.96.0.0/12")
CERTIFICATE_BLOCK = r"-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----"
# What tools write there to say whose certificate follows; no block of any other kind.
_BETWEEN_BLOCKS = r"(?:(?!-----)[\s\S])*"
ENDPOINT = Rule(
    "a host name, address or range of addresses",
    r"[a-z0-9.:/-]+",
    "host names, addresses or ranges of addresses",
    limit=253,
)
CERTIFICATES = Rule(
    "certificates in PEM",
    rf"{_BETWEEN_BLOCKS}({CERTIFICATE_BLOCK}{_BETWEEN_BLOCKS})+",
    "the name of a Secret, or certificates from -----BEGIN CERTIFICATE----- to -----END CERTIFICATE-----, and no key",
    limit=262_144,
    secret=True,
)
