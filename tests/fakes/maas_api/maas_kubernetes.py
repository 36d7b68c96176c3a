# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of the API server for pods: one request at a time, on a connection of its own.

So a certificate or token that is renewed is simply read, and an API server that restarts is only waited for.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import time
import typing as t
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TIMEOUT = 10.0
PAUSE = 0.5

Body = dict[str, t.Any]


class ApiError(Exception):
    """The API server refused a request; ``status`` is 0 where it could not be reached."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """``account`` is the directory with token and ca.crt, None for a server that asks for neither."""

    def __init__(self, url: str, account: Path | None, patience: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.account = account
        #: Seconds for which a server that cannot be reached is asked again.
        self.patience = patience

    @classmethod
    def of_pod(cls) -> Api:
        """The API server that the environment of a pod names."""
        try:
            host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        except KeyError as error:
            raise SystemExit(f"{error.args[0]} is not set: run this in a pod, or give --apiserver-url") from None
        return cls(f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}", ACCOUNT)

    def get(self, path: str, **query: str) -> Body:
        return self.request("GET", f"{path}?{urllib.parse.urlencode(query)}" if query else path)

    def find(self, path: str) -> Body | None:
        """An object, None where there is none."""
        try:
            return self.get(path)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def request(self, method: str, path: str, body: t.Any = None, content_type: str = "application/json") -> Body:
        """The answer's object.

        Whatever is sent here may be sent twice: what exists already, or is gone, is no error for those who call this.
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

    def _once(self, method: str, path: str, body: t.Any, content_type: str) -> Body:
        headers = {"Accept": "application/json", "User-Agent": "egress-ai-gateway-test-double"}
        data = None
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = content_type
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        try:
            if self.account:
                headers["Authorization"] = f"Bearer {(self.account / 'token').read_text(encoding='ascii').strip()}"
                handlers.append(
                    urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(self.account / "ca.crt")))
                )
            request = urllib.request.Request(self.url + path, data, headers, method=method)
            with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, _message_of(error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"the API server cannot be reached: {getattr(error, 'reason', None) or error}") from None
        found: Body = json.loads(content or b"{}")
        return found


def _message_of(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.loads(error.read())["message"])
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return f"HTTP status {error.code}"
