# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benchmark of traffic measures, how it is started, and how requests reach it."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import secrets
import ssl
import subprocess
import time
import typing as t
import urllib.parse

import yaml

from traffic import processes, programs

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
MODELS = {CHAT: "bench-model", MESSAGES: "bench-claude"}
#: Of one kilobyte, as a question with a few lines of context has.
PROMPT = "word " * 200
#: What each event of a stream has that is a token.
TOKEN = '"token '
#: Seconds until a subject answers. LiteLLM loads for long on busy cores.
STARTS_WITHIN = 180


class SubjectError(Exception):
    """A subject does not do what it must; the message says what."""


def body(path: str, stream: bool = False) -> str:
    """Return the body of a request."""
    asked = {"model": MODELS[path], "max_tokens": 20, "messages": [{"role": "user", "content": PROMPT}]}
    return json.dumps(asked | ({"stream": True} if stream else {}))


@dataclasses.dataclass(frozen=True)
class Target:
    """A subject that answers."""

    url: str
    #: A caller's; those of every request are not among them.
    headers: t.Mapping[str, str] = dataclasses.field(default_factory=dict)
    ca_file: str = ""
    #: Its processes by their names.
    processes: t.Callable[[], processes.Groups] = dict

    def all_headers(self, path: str) -> dict[str, str]:
        api = {"anthropic-version": "2023-06-01"} if path == MESSAGES else {}
        return {"content-type": "application/json", **api, **self.headers}

    def status(self, path: str, headers: t.Mapping[str, str]) -> tuple[int, bytes]:
        """Return status and body of the answer to a request; status 0 for none."""
        address = urllib.parse.urlsplit(self.url)
        host, port = address.hostname or "", address.port
        connection = (
            http.client.HTTPSConnection(
                host, port, timeout=30, context=ssl.create_default_context(cafile=self.ca_file or None)
            )
            if address.scheme == "https"
            else http.client.HTTPConnection(host, port, timeout=30)
        )
        with contextlib.closing(connection):
            try:
                connection.request("POST", path, body(path), dict(headers))
                answer = connection.getresponse()
                return answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                return 0, repr(error).encode()


@dataclasses.dataclass(frozen=True)
class Subject:
    name: str
    #: What is on, for the page.
    note: str
    started: t.Callable[[], contextlib.AbstractContextManager[Target]]
    #: Whether it refuses a caller without a good token.
    checks_callers: bool = False
    paths: tuple[str, ...] = (CHAT, MESSAGES)

    def verify(self, target: Target) -> None:
        """Wait until every path answers as the upstream does, and see that a wrong token is refused.

        :raises SubjectError: where either does not come.
        """
        for path in self.paths:
            deadline = time.monotonic() + STARTS_WITHIN
            while (answer := target.status(path, target.all_headers(path)))[0] != 200:
                if time.monotonic() > deadline:
                    raise SubjectError(f"{self.name} answers {answer[0]} to {path}: {answer[1][:500]!r}")
                time.sleep(0.5)
            if not (b'"token token' in answer[1] and b'"usage"' in answer[1]):
                raise SubjectError(f"{self.name} answers {path} with {answer[1][:500]!r}, which is not the upstream's")
            if self.checks_callers:
                wrong = {**target.all_headers(path), "authorization": "Bearer sk-of-nobody"}
                status, said = target.status(path, wrong)
                if status not in (401, 403):
                    raise SubjectError(f"{self.name} answers a wrong token with {status}: {said[:500]!r}")


@contextlib.contextmanager
def running(command: t.Sequence[str | pathlib.Path], log: pathlib.Path, **environment: str) -> t.Iterator[int]:
    """Run a process for a while; its id. With `environment` it has that alone and PATH."""
    around = {"PATH": os.environ["PATH"], "HOME": str(log.parent), **environment} if environment else None
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*map(str, command)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=log.parent, env=around
        )
    try:
        time.sleep(0.2)
        if process.poll() is not None:
            raise SubjectError(f"{command[0]} has ended: {log.read_text(errors='replace')[-2000:]}")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def family_of(name: str, number: int) -> t.Callable[[], processes.Groups]:
    return lambda: {name: processes.family(number)}


class Local:
    """The subjects that run on this machine, beside the embedded cluster."""

    def __init__(self, directory: pathlib.Path, upstream: tuple[str, int], first_port: int, cores: int) -> None:
        """
        :param directory: takes logs and configurations.
        :param upstream: its address and port.
        :param first_port: the first of three ports on loopback.
        """
        self._directory, self._upstream, self._first_port, self._cores = directory, upstream, first_port, cores

    def subjects(self) -> list[Subject]:
        switches = {"unset": {}, "0": {"LITELLM_RUST": "0"}, "1": {"LITELLM_RUST": "1"}}
        cores = f"{self._cores} worker{'s' if self._cores > 1 else ''}"
        return [
            Subject("upstream", "nothing between client and upstream", self._direct),
            Subject("Envoy", f"{cores}; no check of callers, no limits, no access log", self._envoy),
            *(
                Subject(
                    f"LiteLLM, LITELLM_RUST {state}",
                    f"{cores}; a key is checked, its tokens of each minute are counted by each worker; its own "
                    "access log; no database, no budget in money",
                    self._litellm(switch),
                    checks_callers=True,
                )
                for state, switch in switches.items()
            ),
            Subject(
                "Portkey",
                "1 process; no check of callers, no limits; OpenAI's API alone is measured",
                self._portkey,
                paths=(CHAT,),
            ),
        ]

    @property
    def _url(self) -> str:
        return f"http://{self._upstream[0]}:{self._upstream[1]}"

    @contextlib.contextmanager
    def _direct(self) -> t.Iterator[Target]:
        yield Target(self._url)

    @contextlib.contextmanager
    def _envoy(self) -> t.Iterator[Target]:
        port = self._first_port
        configuration = self._directory / "envoy.json"
        configuration.write_text(json.dumps(bare_envoy(port, *self._upstream)), encoding="utf-8")
        command = (
            *(programs.envoy(), "--config-path", configuration, "--concurrency", str(self._cores)),
            *("--use-dynamic-base-id", "--log-level", "warning"),
        )
        with running(command, self._directory / "envoy.log") as number:
            yield Target(f"http://127.0.0.1:{port}", processes=family_of("envoy", number))

    def _litellm(self, switch: dict[str, str]) -> t.Callable[[], contextlib.AbstractContextManager[Target]]:
        @contextlib.contextmanager
        def started() -> t.Iterator[Target]:
            port, key = self._first_port + 1, f"sk-{secrets.token_hex(24)}"
            environment = {
                "CALLER_KEY": key,
                "LITELLM_MASTER_KEY": f"sk-{secrets.token_hex(24)}",
                # Its table of prices would else be fetched.
                "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                "PYTHONUNBUFFERED": "1",
                "UPSTREAM_KEY": "sk-upstream",
                "UPSTREAM_OPENAI": f"{self._url}/v1",
                "UPSTREAM_ANTHROPIC": self._url,
                **switch,
            }
            command = (
                *(programs.litellm() / "bin/litellm", "--config", programs.HERE / "litellm/config.yaml"),
                *("--host", "127.0.0.1", "--port", str(port), "--num_workers", str(self._cores)),
            )
            with running(command, self._directory / "litellm.log", **environment) as number:
                yield Target(
                    f"http://127.0.0.1:{port}",
                    {"authorization": f"Bearer {key}"},
                    processes=family_of("litellm", number),
                )

        return started

    @contextlib.contextmanager
    def _portkey(self) -> t.Iterator[Target]:
        port = self._first_port + 2
        directory = programs.portkey()
        environment = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": self._upstream[0]}
        command = ("node", directory / "build/start-server.js", f"--port={port}", "--headless")
        headers = {
            "authorization": "Bearer sk-upstream",
            "x-portkey-provider": "openai",
            "x-portkey-custom-host": f"{self._url}/v1",
        }
        with running(command, self._directory / "portkey.log", **environment) as number:
            yield Target(f"http://127.0.0.1:{port}", headers, processes=family_of("portkey", number))


def bare_envoy(port: int, address: str, upstream_port: int) -> dict[str, t.Any]:
    """The configuration of an Envoy that does nothing but forward."""
    prototypes = "type.googleapis.com/envoy.extensions.filters"
    route = {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "60s"}}
    manager = {
        "@type": f"{prototypes}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": f"{prototypes}.http.router.v3.Router"}}],
    }
    listener = {
        "name": "bench",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }
    endpoint = {"endpoint": {"address": {"socket_address": {"address": address, "port_value": upstream_port}}}}
    cluster = {
        "name": "upstream",
        # As many as may be open at the same time; Envoy's own default is 1024.
        "circuit_breakers": {"thresholds": [{"max_connections": 4096, "max_requests": 4096}]},
        "load_assignment": {"cluster_name": "upstream", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def others(file: pathlib.Path) -> list[Subject]:
    """Read further gateways from a YAML file: a list of ``name``, ``url``, ``token_file``, and where they apply
    ``note``, ``ca_file``, ``switch`` (a command, run before each turn), ``processes`` (files of process ids by names)
    and ``paths``.
    """

    def subject(entry: dict[str, t.Any]) -> Subject:
        @contextlib.contextmanager
        def started() -> t.Iterator[Target]:
            if entry.get("switch"):
                programs.run(entry["switch"], file.resolve().parent)
            token = pathlib.Path(entry["token_file"]).read_text(encoding="utf-8").strip()

            def found() -> processes.Groups:
                return {
                    name: processes.family(int(pathlib.Path(path).read_text(encoding="utf-8")))
                    for name, path in entry.get("processes", {}).items()
                }

            yield Target(entry["url"], {"authorization": f"Bearer {token}"}, entry.get("ca_file", ""), found)

        return Subject(entry["name"], entry.get("note", ""), started, True, tuple(entry.get("paths", (CHAT, MESSAGES))))

    return [subject(entry) for entry in yaml.safe_load(file.read_text(encoding="utf-8"))]
