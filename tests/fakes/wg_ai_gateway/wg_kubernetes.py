# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A small client of the Kubernetes API, on one connection that is kept."""

from __future__ import annotations

import http.client
import json
import os
import ssl
import typing as t
import urllib.parse
from pathlib import Path

from wg_translation import Object

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT = 10.0
PAGE = 500


class ApiError(Exception):
    """A refused request, or with status 0 an API server that does not answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """Speaks to ``url``; the token is read for each request, as kubelet exchanges it."""

    def __init__(self, url: str, token_file: Path | None = None, ca_file: Path | None = None) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url}: an address of an API server begins with http:// or https:// and a host")
        self._token_file = token_file
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                parts.hostname, parts.port or 443, timeout=TIMEOUT, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=TIMEOUT)

    @classmethod
    def in_cluster(cls) -> Api:
        """As the pod's ServiceAccount.

        :raises ValueError: outside of a pod.
        """
        host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise ValueError(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set: outside of a pod give --apiserver-url"
            )
        return cls(f"https://{f'[{host}]' if ':' in host else host}:{port}", ACCOUNT / "token", ACCOUNT / "ca.crt")

    def request(self, method: str, path: str, body: t.Any = None, content_type: str = "application/json") -> Object:
        """The document of an answer.

        :raises ApiError: for any other answer than a success.
        """
        headers = {"Accept": "application/json", "User-Agent": "wg-ai-gateway-double"}
        content = None
        if body is not None:
            content, headers["Content-Type"] = json.dumps(body), content_type
        if self._token_file is not None:
            headers["Authorization"] = f"Bearer {self._token_file.read_text(encoding='ascii').strip()}"
        # A kept connection may have been closed meanwhile. All requests here may be repeated.
        for fresh in (self._connection.sock is None, True):
            try:
                self._connection.request(method, path, content, headers)
                response = self._connection.getresponse()
                answer = response.read()
                break
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if fresh:
                    raise ApiError(0, f"{method} {path}: {type(error).__name__}: {error}") from error
        try:
            document = json.loads(answer)
        except ValueError:
            document = {}
        if not isinstance(document, dict):
            document = {}
        if not 200 <= response.status < 300:
            raise ApiError(
                response.status, f"{method} {path}: {response.status} {document.get('message') or response.reason}"
            )
        return document

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

    def find(self, path: str, name: str) -> Object | None:
        """One object of a collection, by a list:

        the real controller reads from what it listed, so this needs no other right.
        """
        found = self.items(path, fieldSelector=f"metadata.name={name}")
        return found[0] if found else None

    def apply(self, path: str, body: Object, manager: str) -> Object:
        """Server-side apply, by force."""
        query = urllib.parse.urlencode({"fieldManager": manager, "force": "true"})
        return self.request("PATCH", f"{path}/{body['metadata']['name']}?{query}", body, "application/apply-patch+yaml")
