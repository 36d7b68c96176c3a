# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of the Kubernetes API for fakes that run on a cluster. It needs nothing but the standard library."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import threading
import time
import typing as t
import urllib.parse
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT = 10.0
PAUSE = 0.5
PAGE = 500

Object = dict[str, t.Any]


class ApiError(Exception):
    """The API server refused a request; ``status`` is 0 where it could not be reached.

    The message names the fields of an invalid object and never their values, which may be providers' keys.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """Sends requests to the API server at ``url``, on one connection for each thread.

    ``account`` is the directory with ``token`` and ``ca.crt`` of a ServiceAccount, None for a server that asks for
    neither, such as ``kubectl proxy``. For ``patience`` seconds a server that cannot be reached is asked again.
    """

    def __init__(self, url: str, account: Path | None = None, patience: float = 0.0) -> None:
        self.url = urllib.parse.urlsplit(url)
        if self.url.scheme not in ("http", "https") or not self.url.hostname:
            raise ValueError(f"{url}: the URL of an API server begins with http:// or https:// and a host")
        self.account = account
        self.patience = patience
        self._threads = threading.local()

    @classmethod
    def of_pod(cls, url: str = "", patience: float = 0.0) -> Api:
        """The API server at ``url``, or the one that the environment of a pod names."""
        if url:
            return cls(url, None, patience)
        try:
            host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        except KeyError as error:
            raise SystemExit(f"{error.args[0]} is not set: run this in a pod, or give --apiserver-url") from None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", ACCOUNT, patience)

    def request(self, method: str, path: str, body: t.Any = None, content_type: str = "application/json") -> Object:
        """The document of an answer.

        A request may be sent twice: what exists already, or is gone, is no error for those who call this.

        :raises ApiError: for any other answer than a success.
        """
        deadline = time.monotonic() + self.patience
        while True:
            try:
                return self._once(method, path, body, content_type)
            except ApiError as error:
                # 429 and 503 are what a server says that starts or stops.
                if error.status not in (0, 429, 503) or time.monotonic() + PAUSE > deadline:
                    raise
            time.sleep(PAUSE)

    def find(self, path: str) -> Object | None:
        """An object, None where there is none."""
        try:
            return self.request("GET", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def items(self, path: str, **query: str) -> list[Object]:
        """All objects of a collection, page by page."""
        found: list[Object] = []
        query["limit"] = str(PAGE)
        while True:
            page = self.request("GET", f"{path}?{urllib.parse.urlencode(query)}")
            found += page.get("items") or ()
            query["continue"] = page.get("metadata", {}).get("continue") or ""
            if not query["continue"]:
                return found

    def apply(self, path: str, body: Object, manager: str) -> Object:
        """Server-side apply of an object of a collection, by force."""
        query = urllib.parse.urlencode({"fieldManager": manager, "force": "true"})
        return self.request("PATCH", f"{path}/{body['metadata']['name']}?{query}", body, "application/apply-patch+yaml")

    def patch_status(self, path: str, status: Object) -> None:
        self.request("PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json")

    def delete(self, path: str) -> bool:
        """Delete an object; whether it was there."""
        try:
            self.request("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def _once(self, method: str, path: str, body: t.Any, content_type: str) -> Object:
        headers = {"Accept": "application/json", "User-Agent": "egress-ai-gateway-fake"}
        content = None
        if body is not None:
            content, headers["Content-Type"] = json.dumps(body), content_type
        if self.account:
            # The kubelet renews it.
            headers["Authorization"] = f"Bearer {(self.account / 'token').read_text(encoding='ascii').strip()}"
        connection = self._connection()
        # A connection that was kept may have been closed meanwhile.
        for is_fresh in (connection.sock is None, True):
            try:
                connection.request(method, path, content, headers)
                response = connection.getresponse()
                answer = response.read()
                break
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                if is_fresh:
                    raise ApiError(0, f"{method} {path}: {type(error).__name__}: {error}") from None
        try:
            document: t.Any = json.loads(answer or b"{}")
        except ValueError:
            document = {}
        document = document if isinstance(document, dict) else {}
        if not 200 <= response.status < 300:
            raise ApiError(response.status, f"{method} {path}: {response.status} {_reason(response.status, document)}")
        return t.cast("Object", document)

    def _connection(self) -> http.client.HTTPConnection:
        connection: http.client.HTTPConnection | None = getattr(self._threads, "connection", None)
        if connection is None:
            host, port = self.url.hostname or "", self.url.port
            connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT)
            if self.url.scheme == "https":
                context = ssl.create_default_context(cafile=str(self.account / "ca.crt") if self.account else None)
                connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT, context=context)
            self._threads.connection = connection
        return connection


def _reason(status: int, document: Object) -> str:
    if status not in (400, 422):
        return str(document.get("message") or "")
    fields = [cause.get("field", "") for cause in (document.get("details") or {}).get("causes") or ()]
    return " ".join([str(document.get("reason", "")), *fields])
