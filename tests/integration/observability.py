# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""A Prometheus and a collector of spans on this machine, for the gateway on the embedded cluster."""

from __future__ import annotations

import base64
import concurrent.futures
import ctypes
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import typing as t

import grpc
import objects
import yaml
from component_faults import COMPONENTS
from runs import ROOT
from simulators import admin

sys.path.append(str(ROOT / "tests/unit"))
import prometheus_programs

#: Seconds between two scrapes.
INTERVAL = 2
#: The address of the node, where the collector listens. Packets of pods leave its network for no other.
HOST = "10.245.0.2"
PORT = 4317
#: What no span may have, and each prompt has.
CANARY = "an-unusual-word-of-a-prompt"
#: The Prometheus Operator, whose CRDs are used here, with the hash of its Go module; and the kinds.
OPERATOR = "github.com/prometheus-operator/prometheus-operator@v0.93.1"
OPERATOR_SUM = "h1:4Juk8v93RdG1DSGD/mGp+SeQKPmnlLIj2iq3blLZgFY="
MONITORS = ("podmonitors", "servicemonitors", "prometheusrules")
Attributes = dict[str, str]
_CLONE_NEWNET = 0x40000000


def prometheus(directory: pathlib.Path, scrape_file: pathlib.Path, rules_file: pathlib.Path) -> t.Any:
    """A Prometheus with the files that role observability has written.

    It is outside of the cluster, so that it asks the API server, which reaches the pods, in their place.
    """
    server, files = _credentials(directory)
    configuration = yaml.safe_load(scrape_file.read_text(encoding="utf-8"))
    for job in configuration["scrape_configs"]:
        job.update(scheme="https", tls_config=files, scrape_interval=f"{INTERVAL}s", scrape_timeout=f"{INTERVAL}s")
        for found in job["kubernetes_sd_configs"]:
            found.update(api_server=f"https://{server}", tls_config=files)
        job["relabel_configs"] += [
            {
                "source_labels": ["namespace", "pod", "__address__"],
                "regex": "(.+);(.+);.+:([0-9]+)",
                "target_label": "__metrics_path__",
                "replacement": f"/api/v1/namespaces/$1/pods/$2:$3/proxy{job['metrics_path']}",
            },
            {"source_labels": ["pod"], "target_label": "instance"},
            {"target_label": "__address__", "replacement": server},
        ]
    return prometheus_programs.Prometheus(directory, {**configuration, "rule_files": [str(rules_file)]}, f"{INTERVAL}s")


def _credentials(directory: pathlib.Path) -> tuple[str, dict[str, str]]:
    """Host and port of the API server, and files to speak to it with."""
    kubeconfig = yaml.safe_load(pathlib.Path(f"{objects.STATE}/kubeconfig").read_text(encoding="utf-8"))
    cluster, user = kubeconfig["clusters"][0]["cluster"], kubeconfig["users"][0]["user"]
    files = {}
    for name, content in (
        ("ca_file", cluster["certificate-authority-data"]),
        ("cert_file", user["client-certificate-data"]),
        ("key_file", user["client-key-data"]),
    ):
        path = directory / name
        path.touch(mode=0o600)
        path.write_bytes(base64.b64decode(content))
        files[name] = str(path)
    return cluster["server"].removeprefix("https://"), files


def operator_crds() -> list[pathlib.Path]:
    """The CRDs of the Prometheus Operator, from its Go module."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    done = subprocess.run(
        [go, "mod", "download", "-json", OPERATOR], capture_output=True, text=True, check=True, cwd="/"
    )
    module = json.loads(done.stdout)
    assert module["Sum"] == OPERATOR_SUM
    directory = pathlib.Path(module["Dir"]) / "example/prometheus-operator-crd"
    return [directory / f"monitoring.coreos.com_{kind}.yaml" for kind in MONITORS]


def simulated(providers: t.Iterable[str]) -> dict[tuple[str, str], int]:
    """The tokens that the simulators have counted, by provider and type."""
    found: dict[tuple[str, str], int] = {}
    for provider in providers:
        counts = admin(provider, "GET", "/counters")["counts"]
        for kind in ("input", "output"):
            found[provider, kind] = sum(count[f"{kind}_tokens"] for count in counts)
    return found


def counted(server: t.Any, metric: str, *labels: str) -> dict[tuple[str, ...], int]:
    """What the proxies have counted, those that are gone included, by the values of labels."""
    # A counter that was read once stays here; nothing is started anew but with its pod.
    expression = f"sum by ({', '.join(labels)}) (last_over_time({metric}[1h]))"
    return {tuple(found.get(label, "") for label in labels): int(value) for found, value in server.query(expression)}


class Collector:
    """Takes spans over OTLP with gRPC, and keeps what it was sent."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._lock = threading.Lock()
        handler = grpc.unary_unary_rpc_method_handler(self._export)
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, {"Export": handler})])
        # A thread has a network of its own, and a socket keeps that of the thread that made it.
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            pool.submit(self._listen).result()
        self._server.start()

    def _listen(self) -> None:
        # In the network of the node.
        (component,) = [component for component in COMPONENTS if component.name == "api-server"]
        process = component.processes()[0]
        number = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
        try:
            # Python has it from 3.12 on.
            assert ctypes.CDLL(None, use_errno=True).setns(number, _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        finally:
            os.close(number)
        assert self._server.add_insecure_port(f"{HOST}:{PORT}") == PORT

    def _export(self, request: bytes, _context: grpc.ServicerContext) -> bytes:
        with self._lock:
            self.received.append(request)
        return b""

    def spans(self) -> list[tuple[str, Attributes]]:
        """Name and attributes of all spans so far."""
        with self._lock:
            requests = list(self.received)
        found = []
        for request in requests:
            for resource in _fields(request, 1):
                for scope in _fields(resource, 2):
                    found += [_span(span) for span in _fields(scope, 2)]
        return found

    def forget(self) -> None:
        with self._lock:
            self.received.clear()

    def everything(self) -> bytes:
        with self._lock:
            return b"\n".join(self.received)

    def stop(self) -> None:
        self._server.stop(1).wait()


def _span(message: bytes) -> tuple[str, Attributes]:
    attributes = {}
    for pair in _fields(message, 9):
        (key,) = _fields(pair, 1)
        values = [value for any_value in _fields(pair, 2) for value in _fields(any_value, 1)]
        attributes[key.decode()] = values[0].decode() if values else ""
    names = _fields(message, 5)
    return names[0].decode() if names else "", attributes


def _fields(message: bytes, wanted: int) -> list[bytes]:
    """The values of a field of a protobuf message that are messages or strings."""
    found, at = [], 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == 0:
            _value, at = _varint(message, at)
        elif kind == 2:
            size, at = _varint(message, at)
            if key >> 3 == wanted:
                found.append(message[at : at + size])
            at += size
        else:
            at += {1: 8, 5: 4}[kind]
    return found


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
