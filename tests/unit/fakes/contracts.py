# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What contract tests run against: a fake's program in front of the fake API server, or the real component on a cluster
that CONTRACT_APISERVER leads to.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from kubernetes_client import Api, ApiError

FAKES = Path(__file__).parents[2] / "fakes"
#: An API server that asks for no token, such as ``kubectl proxy``.
APISERVER = os.environ.get("CONTRACT_APISERVER", "")
#: For what holds of a fake alone: a state that a test cannot bring a real cluster into.
fake_only = pytest.mark.skipif(bool(APISERVER), reason="not on a real cluster")

Body = dict[str, t.Any]


def eventually(check: t.Callable[[], t.Any], within: float = 30.0) -> t.Any:
    """What ``check`` returns, once that is something; it may fail until then."""
    deadline = time.monotonic() + within
    while True:
        try:
            if found := check():
                return found
            assert time.monotonic() < deadline, f"still {found!r}"
        except (AssertionError, KeyError, ApiError, ConnectionError):
            if time.monotonic() > deadline:
                raise
        time.sleep(0.1)


class Program:
    """A fake's program in a process of its own, in front of the API server at ``url`` if it calls one."""

    def __init__(self, directory: Path, path: str, url: str, *arguments: str, **environment: str) -> None:
        self._log = directory / f"{Path(path).stem}.log"
        paths = os.pathsep.join([str(FAKES), *filter(None, [os.environ.get("PYTHONPATH")])])
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-u",
                    "-B",
                    str(FAKES / path),
                    *([f"--apiserver-url={url}"] if url else []),
                    *arguments,
                ],
                env={**os.environ, "PYTHONPATH": paths, **environment},
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> str:
        return self._log.read_text(encoding="utf-8")

    def stop(self) -> None:
        """Ask it to end, as kubelet does; it does so at once."""
        assert self.process.poll() is None, self.log
        self.process.terminate()
        try:
            assert self.process.wait(timeout=5) == 0
        finally:
            self.process.kill()
            self.process.wait()


class Objects:
    """The objects of a cluster, by paths of the API."""

    def __init__(self, url: str) -> None:
        self.api = Api(url)
        self._applied: list[str] = []

    def apply(self, collection: str, name: str, version: str, kind: str, **content: t.Any) -> str:
        """Apply an object, and return its path."""
        body = {"apiVersion": version, "kind": kind, **content}
        body["metadata"] = {**content.get("metadata", {}), "name": name}
        self.api.apply(collection, body, "contract-tests")
        path = f"{collection}/{name}"
        if path not in self._applied:
            self._applied.append(path)
        return path

    def get(self, path: str) -> Body:
        return self.api.request("GET", path)

    def conditions(self, path: str) -> dict[str, Body]:
        return {item["type"]: item for item in self.get(path).get("status", {}).get("conditions", ())}

    def clean(self) -> None:
        """Delete what was applied here, the last first."""
        for path in reversed(self._applied):
            self.api.delete(path)
