# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Real clients of OpenAI's and Anthropic's API at a gateway: what each of them did, by name and version.

Usage: clients.py < GIVEN.json

GIVEN.json is what client_sdks.py describes. The packages are those of client_packages.txt and vercel/package-lock.json,
in a cache of their own. It prints a table, and exits with 1 where a client did not do what it should.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]
LOCK = HERE / "client_packages.txt"
VERCEL = HERE / "vercel"
CACHE = pathlib.Path.home() / ".cache/egress-ai-gateway/clients"
#: The class of errors by which each client reports a status.
ERRORS = {
    "openai": {403: "PermissionDeniedError", 429: "RateLimitError"},
    "anthropic": {403: "PermissionDeniedError", 429: "RateLimitError"},
    "openai-agents": {403: "PermissionDeniedError", 429: "RateLimitError"},
    "langchain-openai": {403: "OpenAIPermissionDeniedError", 429: "OpenAIRateLimitError"},
    "langchain-anthropic": {403: "AnthropicPermissionDeniedError", 429: "AnthropicRateLimitError"},
    "pydantic-ai-slim": {403: "ModelAuthenticationError", 429: "ModelRateLimitError"},
    "llm": {403: "PermissionDeniedError", 429: "RateLimitError"},
    "litellm": {403: "APIError", 429: "RateLimitError"},
    "@ai-sdk/openai": {403: "AI_APICallError", 429: "AI_APICallError"},
    "@ai-sdk/anthropic": {403: "AI_APICallError", 429: "AI_APICallError"},
}
#: What a client does besides, which is to be refused, and with which status by a gateway or a provider.
REFUSED = {"refused store": (400, 404)}
Found = dict[str, t.Any]


def python() -> pathlib.Path:
    """The Python of the clients' own environment, made once."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    directory = CACHE / f"python-{version}-{_digest(LOCK)}"
    subprocess.run([sys.executable, str(ROOT / "scripts/venv"), str(LOCK), str(directory)], check=True, timeout=1200)
    return directory / "bin/python"


def vercel() -> pathlib.Path:
    """The directory of the Vercel AI SDK and its program, made once."""
    lock = VERCEL / "package-lock.json"
    directory = CACHE / f"vercel-{_digest(lock)}"
    marker = directory / ".complete"
    if not marker.exists():
        directory.mkdir(parents=True, exist_ok=True)
        for file in (lock, VERCEL / "package.json"):
            shutil.copy(file, directory)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=directory, check=True, timeout=600)
        marker.touch()
    shutil.copy(VERCEL / "client.mjs", directory)
    return directory


def _digest(lock: pathlib.Path) -> str:
    return hashlib.sha256(lock.read_bytes()).hexdigest()[:16]


def run(given: t.Mapping[str, t.Any], ca_file: str = "") -> list[Found]:
    """What the clients did.

    :param given: as client_sdks.py describes it.
    :param ca_file: the certificates that they verify the gateway with; the system's where it is empty.
    """
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    if ca_file:
        environment |= {"SSL_CERT_FILE": ca_file, "NODE_EXTRA_CA_CERTS": ca_file}
    found: list[Found] = []
    for command, directory in (
        ([str(python()), str(HERE / "client_sdks.py")], HERE),
        (["node", "client.mjs"], vercel()),
    ):
        done = subprocess.run(
            command,
            cwd=directory,
            env=environment,
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        if done.returncode:
            raise AssertionError(f"{command[0]} failed: {done.stderr[-2000:]}")
        found += json.loads(done.stdout)
    return found


def problems(found: t.Iterable[Found]) -> list[str]:
    """What clients did not do, and what they did and should not have done; each of all the clients is needed."""
    lines = []
    done = {client["name"]: client["did"] for client in found}
    lines += [f"{name} did nothing" for name in ERRORS if not done.get(name)]
    for name, did in done.items():
        for what, outcome in did.items():
            statuses = REFUSED.get(what) or ((int(what.split()[1]),) if what.startswith("refused ") else ())
            if not statuses:
                if not outcome.get("said"):
                    lines.append(f"{name}: {what}: {outcome}")
                continue
            expected = ERRORS[name].get(statuses[0], "") if what not in REFUSED else outcome.get("error")
            if outcome.get("status") not in statuses or outcome.get("error") != expected:
                lines.append(f"{name}: {what}: expected {expected} with {statuses}, got {outcome}")
    return lines


def table(found: t.Iterable[Found]) -> str:
    """A line for each client: its name, version, what it did, and how it reported refusals."""
    lines = ["| client | version | did | refused as |", "|---|---|---|---|"]
    for client in found:
        did = [what for what, outcome in client["did"].items() if outcome.get("said")]
        refused = [
            f"{outcome['status']} {outcome['error']}" for outcome in client["did"].values() if "error" in outcome
        ]
        lines.append(f"| {client['name']} | {client['version']} | {', '.join(did)} | {', '.join(refused)} |")
    return "\n".join(lines)


def main() -> None:
    found = run(json.load(sys.stdin))
    print(table(found))
    wrong = problems(found)
    print("\n".join(wrong))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
