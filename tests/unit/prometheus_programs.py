# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Prometheus and its promtool, built from the Go module in tests/go/prometheus."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster import go_tools

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("CACHE") or Path.home() / ".cache/egress-ai-gateway")
Labels = dict[str, str]


def plan() -> go_tools.Plan:
    """Where the programs are, or will be."""
    return go_tools.plan(go_tools.Upstream("prometheus", str(ROOT / "tests/go/prometheus")), str(CACHE))


def program(name: str) -> Path:
    """The path of ``prometheus`` or ``promtool``, which may not be built yet."""
    return Path(plan().directory) / name


def build() -> None:
    """Build both where they are not in the cache, which takes some minutes."""
    planned = plan()
    if not planned.built:
        go_tools.build(planned, go_tools.find_go(str(CACHE), "", [], ""))


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(program("promtool")), *arguments], capture_output=True, text=True, check=False, timeout=120
    )


class Prometheus:
    """A running Prometheus on a port of the loopback.

    :param directory: an empty one of the caller's, for its configuration and its data.
    :param configuration: without ``global``.
    """

    def __init__(self, directory: Path, configuration: dict[str, t.Any], interval: str = "1s") -> None:
        self.port = _free_port()
        self._log = directory / "prometheus.log"
        path = directory / "prometheus.yml"
        intervals = {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": interval}
        path.write_text(yaml.safe_dump({"global": intervals, **configuration}), encoding="utf-8")
        command = [
            str(program("prometheus")),
            f"--config.file={path}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self._ready():
            assert self.process.poll() is None, self._log.read_text(encoding="utf-8")[-2000:]
            assert time.monotonic() < deadline, "Prometheus is not ready"
            time.sleep(0.1)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    def get(self, path: str, **parameters: str) -> t.Any:
        """The ``data`` of an answer of the API; a refused query fails with what Prometheus says of it."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def query(self, expression: str) -> list[tuple[Labels, float]]:
        """The vector of an expression now."""
        result = self.get("query", query=expression)["result"]
        return [(found["metric"], float(found["value"][1])) for found in result]

    def value(self, expression: str) -> float:
        """The one number of an expression; 0 where there is none."""
        found = self.query(expression)
        assert len(found) <= 1, found
        return found[0][1] if found else 0.0

    def wait_for(
        self, expression: str, wanted: t.Callable[[list[tuple[Labels, float]]], bool], seconds: int = 60
    ) -> t.Any:
        """The vector of an expression as soon as it is as wanted."""
        deadline = time.monotonic() + seconds
        while not wanted(found := self.query(expression)):
            assert time.monotonic() < deadline, f"{expression}: {found}"
            time.sleep(0.5)
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
