# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few requests to the API server that the operator needs, over one connection."""

from __future__ import annotations

import http.client
import json
import ssl
import typing as t
import urllib.parse
from pathlib import Path

from kuadrant_objects import KINDS, MADE_LABEL, Key, Object

FIELD_MANAGER = "kuadrant-operator"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class ApiError(Exception):
    """The API server refused a request.

    The text names fields, but never their values: these may be the providers' keys.
    """

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        try:
            told = json.loads(body)
        except ValueError:
            told = {}
        told = told if isinstance(told, dict) else {}
        fields = [cause.get("field", "") for cause in (told.get("details") or {}).get("causes", [])]
        super().__init__(" ".join(str(part) for part in (status, told.get("reason", ""), ", ".join(fields)) if part))


class Api:
    """
    :param server: URL of the API server.
    :param account: directory with the files `token` and `ca.crt` of a ServiceAccount; without one, requests carry no
        token.
    """

    def __init__(self, server: str, account: Path | None, timeout: float = 10.0) -> None:
        self._address = urllib.parse.urlsplit(server)
        self._account = account
        self._timeout = timeout
        self._connection: http.client.HTTPConnection | None = None

    def _connect(self) -> http.client.HTTPConnection:
        host = self._address.hostname or ""
        if self._address.scheme == "http":
            return http.client.HTTPConnection(host, self._address.port or 80, timeout=self._timeout)
        context = ssl.create_default_context(cafile=str(self._account / "ca.crt") if self._account else None)
        return http.client.HTTPSConnection(host, self._address.port or 443, timeout=self._timeout, context=context)

    def request(
        self, method: str, path: str, body: Object | None = None, content_type: str = "application/json"
    ) -> Object:
        """The answer to a request.

        :raises ApiError: if it is refused.
        :raises OSError: if there is no answer.
        """
        headers = {"accept": "application/json"}
        if body is not None:
            headers["content-type"] = content_type
        if self._account:
            # The kubelet renews it.
            headers["authorization"] = f"Bearer {(self._account / 'token').read_text().strip()}"
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.request(method, path, body=None if body is None else json.dumps(body), headers=headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            # The next request gets a new connection; the next pass repeats what was lost with this one.
            self.close()
            raise OSError(f"{method} {path.split('?', 1)[0]}: {error or type(error).__name__}") from error
        if response.status >= 400:
            raise ApiError(response.status, content)
        return t.cast("Object", json.loads(content))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def objects(self, kind: str, namespace: str = "", *, made_only: bool = False) -> list[Object]:
        """The objects of a kind that are not being deleted; none where the cluster does not know the kind."""
        query = "?" + urllib.parse.urlencode({"labelSelector": "=".join(MADE_LABEL)}) if made_only else ""
        try:
            answer = self.request("GET", KINDS[kind].path(namespace) + query)
        except ApiError as error:
            if error.status == 404:
                return []
            raise
        # The items of a list do not say what they are.
        items = [{**item, "apiVersion": KINDS[kind].api_version, "kind": kind} for item in answer.get("items") or []]
        return [item for item in items if not item["metadata"].get("deletionTimestamp")]

    def apply(self, item: Object) -> Object:
        metadata = item["metadata"]
        path = KINDS[item["kind"]].path(metadata["namespace"], metadata["name"])
        return self.request(
            "PATCH", f"{path}?fieldManager={FIELD_MANAGER}&force=true", item, "application/apply-patch+yaml"
        )

    def delete(self, key: Key) -> None:
        kind, namespace, name = key
        try:
            self.request("DELETE", KINDS[kind].path(namespace, name))
        except ApiError as error:
            if error.status != 404:
                raise

    def write_status(self, item: Object, status: Object) -> None:
        metadata = item["metadata"]
        path = KINDS[item["kind"]].path(metadata["namespace"], metadata["name"], "status")
        try:
            self.request(
                "PATCH", f"{path}?fieldManager={FIELD_MANAGER}", {"status": status}, "application/merge-patch+json"
            )
        except ApiError as error:
            # Gone, or changed meanwhile: the next pass sees what is there.
            if error.status not in (404, 409):
                raise
