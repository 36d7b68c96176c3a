# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reach the cluster for apply_set through a proxy, and as from a pod."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import socket
import socketserver
import threading
import typing as t
import urllib.parse

from apply_sets import Body, Set, namespaces
from objects import kubectl
from runs import run

PLACE = "apply-set-access"
CONFIG_MAP: Body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "way"}, "data": {"color": "green"}}
#: Where a pod has the files of its account.
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"


def server() -> str:
    """Return the host and port of the API server."""
    return str(
        urllib.parse.urlsplit(
            kubectl("config", "view", "--minify", "--output=jsonpath={.clusters[0].cluster.server}")
        ).netloc
    )


class Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy that only makes tunnels, and notes to where."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Tunnel)
        self.targets: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Tunnel(socketserver.StreamRequestHandler):
    server: Proxy

    def handle(self) -> None:
        method, target, _version = self.rfile.readline().decode().split()
        assert method == "CONNECT"
        while self.rfile.readline().strip():
            pass  # headers
        self.server.targets.append(target)
        host, _colon, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as upstream:
            self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=pump, args=(upstream, self.connection), daemon=True).start()
            pump(self.connection, upstream)


def pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def through_a_proxy(directory: pathlib.Path) -> list[str]:
    """Apply and remove a set through a proxy; return where that was asked to connect to."""
    way = Set("access", PLACE, directory)
    with namespaces(PLACE), Proxy() as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        assert way.apply([CONFIG_MAP], set_proxy=proxy.url)["changed"]
        assert way.apply([], set_proxy=proxy.url)["changed"]
        proxy.shutdown()
    return proxy.targets


def account(directory: pathlib.Path) -> pathlib.Path:
    """Make an account that may do what apply_set needs for ConfigMaps in one namespace, and return a directory with its
    files as a pod has them.
    """
    kubectl("create", "serviceaccount", "account", f"--namespace={PLACE}")
    kubectl(
        "create",
        "role",
        "account",
        f"--namespace={PLACE}",
        "--verb=get,list,create,patch,delete",
        "--resource=configmaps",
    )
    kubectl(
        "create",
        "role",
        "home",
        f"--namespace={PLACE}",
        "--verb=get",
        "--resource=namespaces",
        f"--resource-name={PLACE}",
    )
    for role in ("account", "home"):
        kubectl(
            "create", "rolebinding", role, f"--namespace={PLACE}", f"--role={role}", f"--serviceaccount={PLACE}:account"
        )
    files = directory / "account"
    files.mkdir(mode=0o700)
    (files / "token").write_text(
        kubectl("create", "token", "account", f"--namespace={PLACE}", "--duration=10m"), encoding="utf-8"
    )
    authority = json.loads(kubectl("get", "configmap", "kube-root-ca.crt", f"--namespace={PLACE}", "--output=json"))[
        "data"
    ]["ca.crt"]
    (files / "ca.crt").write_text(authority, encoding="utf-8")
    (files / "namespace").write_text(PLACE, encoding="utf-8")
    return files


def as_a_pod(directory: pathlib.Path) -> dict[str, t.Any]:
    """Apply and remove a set with a pod's credentials alone; return the module's result of each."""
    way = Set("access", PLACE, directory)
    host, _colon, port = server().rpartition(":")
    variables = {"KUBERNETES_SERVICE_HOST": host.strip("[]"), "KUBERNETES_SERVICE_PORT": port, "KUBECONFIG": os.devnull}
    # The command has a separate mount namespace: the host sees none of it, and it ends with the command.
    view = (
        f'mount -t tmpfs tmpfs "$(realpath /var/run)" && mkdir -p {ACCOUNT} && mount --bind "$0" {ACCOUNT} && exec "$@"'
    )
    results = {}
    with namespaces(PLACE):
        files = account(directory)
        for state, manifests in {"present": [CONFIG_MAP], "absent": []}.items():
            run("unshare", "--mount", "sh", "-c", view, files, *way.command(manifests, kubeconfig=""), **variables)
            results[state] = way.result()
    return results
