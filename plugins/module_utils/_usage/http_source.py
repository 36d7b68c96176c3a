# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests to the API of Prometheus, with the options of ansible.module_utils.urls.

What authenticates a request is never sent to another host than that of the URL: a redirect there is an error.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import time
import typing as t
from dataclasses import dataclass
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin, urlsplit

from ansible_collections.egress.ai_gateway.plugins.module_utils._usage.model import SourceError

_REDIRECTS = 5
#: Bytes of an answer.
_LARGEST = 512 * 1024 * 1024
#: Bytes of it that are read at once.
_PIECE = 64 * 1024
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Settings:
    """How to reach Prometheus. Empty strings are options that are not set."""

    url: str
    token_file: str = ""
    username: str = ""
    password: str = ""
    ca_path: str = ""
    client_certificate: str = ""
    client_key: str = ""
    validate_certs: bool = True
    timeout: int = 60

    def fault(self) -> str:
        """What is wrong with them, with the field and the remedy; empty if nothing is."""
        try:
            parts = urlsplit(self.url)
            port_is_good = parts.port is None or parts.port > 0
        except ValueError:
            parts, port_is_good = urlsplit(""), False
        if parts.scheme not in _PORTS or not parts.hostname or not port_is_good:
            return f"prometheus_url: {self.url!r} is no URL; write one such as https://prometheus.example.com:9090"
        if parts.username is not None or parts.password is not None:
            return (
                "prometheus_url: it has a user name or a password in it; write them as prometheus_username and "
                "prometheus_password"
            )
        if parts.query or parts.fragment:
            return "prometheus_url: it has a query or a fragment; write the URL without ? and #"
        if self.token_file and self.username:
            return "prometheus_token_file and prometheus_username are both set; write one of them"
        if bool(self.username) != bool(self.password):
            return "prometheus_username and prometheus_password: one of them is missing; write both"
        if self.client_key and not self.client_certificate:
            return "prometheus_client_key: prometheus_client_cert is missing; write the file of the certificate"
        if parts.scheme == "http" and (self.client_certificate or self.ca_path):
            return "prometheus_url: certificates have no use with http; write https"
        for option, path in (
            ("token_file", self.token_file),
            ("ca_path", self.ca_path),
            ("client_cert", self.client_certificate),
            ("client_key", self.client_key),
        ):
            if path and not os.access(path, os.R_OK):
                return f"prometheus_{option}: cannot read {path}; name a file that exists and may be read"
        return ""

    @property
    def token(self) -> str:
        """The token of the file.

        :raises SourceError: if there is none in it.
        """
        try:
            with open(self.token_file, encoding="utf-8") as stream:
                token = stream.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(
                f"prometheus_token_file: cannot read {self.token_file}: {error}; name another file"
            ) from error
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise SourceError(
                f"prometheus_token_file: {self.token_file} has no token in it; write one line with the token"
            )
        return token


class PrometheusApi:
    """The API of one Prometheus, or of what speaks its API, such as Thanos or VictoriaMetrics."""

    def __init__(self, settings: Settings) -> None:
        """:raises SourceError: if a setting is wrong."""
        fault = settings.fault()
        if fault:
            raise SourceError(fault)
        self._settings = settings
        self._headers = {"Authorization": f"Bearer {settings.token}"} if settings.token_file else {}

    def query(self, kind: str, parameters: t.Mapping[str, str]) -> list[t.Any]:
        """The result of a query, a vector or a matrix, whose items may be anything.

        :param kind: ``query`` or ``query_range``.
        :raises SourceError: when there is no good answer.
        """
        base = self._settings.url.rstrip("/")
        answer = self._fetch(f"{base}/api/v1/{kind}?{urlencode(parameters)}")
        try:
            document = json.loads(answer)
            result = document["data"]["result"] if document["status"] == "success" else None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SourceError(
                f"prometheus_url: {base} does not answer as Prometheus; write the URL that /api/v1/query comes behind"
            ) from error
        if not isinstance(result, list):
            raise SourceError(f"prometheus_url: {base} answered {_words(answer)}")
        return result

    def _fetch(self, url: str) -> bytes:
        deadline = time.monotonic() + self._settings.timeout
        for _number in range(_REDIRECTS):
            try:
                return self._once(url, deadline)
            except HTTPError as error:
                with error:
                    target = error.headers.get("Location") if 300 <= error.code < 400 else None
                    if not target:
                        raise SourceError(self._refused(error.code, _beginning(error))) from error
            url = self._redirected(url, target)
        raise SourceError(f"prometheus_url: {self._settings.url} redirects more than {_REDIRECTS} times; write another")

    def _redirected(self, url: str, location: str) -> str:
        try:
            target = urljoin(url, location)
            same = _origin(target) == _origin(url)
        except ValueError:
            target, same = location, False
        if not same:
            shown = _line(target.partition("?")[0].partition("/api/v1/")[0])
            raise SourceError(
                f"prometheus_url: {self._settings.url} redirects to {shown}, where credentials are not sent; "
                "write that URL if it is yours"
            )
        return target

    def _once(self, url: str, deadline: float) -> bytes:
        from ansible.module_utils.urls import ConnectionError as UrlConnectionError
        from ansible.module_utils.urls import open_url

        settings = self._settings
        content = bytearray()
        try:
            with open_url(
                url,
                method="GET",
                headers={"Accept": "application/json", **self._headers},
                url_username=settings.username or None,
                url_password=settings.password or None,
                force_basic_auth=bool(settings.username),
                ca_path=settings.ca_path or None,
                client_cert=settings.client_certificate or None,
                client_key=settings.client_key or None,
                validate_certs=settings.validate_certs,
                timeout=_left(deadline),
                http_agent="egress.ai_gateway",
                follow_redirects="none",
                use_netrc=False,
                # Pieces of what is decompressed would not come one by one.
                decompress=False,
            ) as response:
                # The timeout is that of each piece, however many there are.
                while piece := response.read1(_PIECE):
                    content += piece
                    if len(content) > _LARGEST:
                        raise SourceError(
                            "from: the answer of Prometheus is larger than 512 MiB; write a shorter period"
                        )
                    _left(deadline)
                if response.length:
                    raise http.client.IncompleteRead(b"", response.length)
        except HTTPError:
            raise
        # ValueError is of a URL that no request has, where Prometheus redirects to.
        except (URLError, UrlConnectionError, OSError, http.client.HTTPException, ValueError) as error:
            raise SourceError(self._unreached(error)) from error
        return bytes(content)

    def _unreached(self, error: Exception) -> str:
        reason = getattr(error, "reason", error)
        url = self._settings.url
        if isinstance(reason, ssl.SSLError) or "certificate" in str(reason).lower():
            return (
                f"prometheus_url: TLS with {url} failed: {reason}; check prometheus_ca_path, and the client certificate"
            )
        if isinstance(reason, (TimeoutError, socket.timeout)) or "timed out" in str(reason):
            return f"prometheus_url: no answer of {url} within {self._settings.timeout} s; raise prometheus_timeout"
        return f"prometheus_url: cannot reach {url}: {reason}; is it running, and is this its address?"

    def _refused(self, status: int, body: bytes) -> str:
        url = self._settings.url
        if status in (401, 403):
            remedy = "check prometheus_token_file, or prometheus_username and its password"
        elif status == 404:
            remedy = "write the URL that /api/v1/query comes behind"
        elif status in (400, 422):
            remedy = "write a shorter period, or more in prometheus_matchers"
        else:
            remedy = "try again, or write a shorter period"
        return f"prometheus_url: {url} answered with status {status}: {_words(body)}; {remedy}"


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)


def _left(deadline: float) -> float:
    """The seconds until then.

    :raises TimeoutError: if there are none.
    """
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left


def _beginning(error: HTTPError) -> bytes:
    """How the body of a refusal begins; empty where it does not come."""
    try:
        return error.read(4096)
    except (OSError, http.client.HTTPException, ValueError):
        return b""


def _words(body: bytes) -> str:
    """What an answer says, shortened and without what moves a terminal's cursor."""
    try:
        said = str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        said = body.decode("utf-8", "replace")
    return _line(said) or "without a word"


def _line(said: str) -> str:
    line = " ".join("".join(character if character.isprintable() else " " for character in said).split())
    return line[:300]
