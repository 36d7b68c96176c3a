# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HTTP requests to ports of pods, forwarded by the API server.

The proxy of the API server reaches a pod by its address, and what listens on the pod's own loopback alone, such as
Envoy's administration, is not found there.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import ssl
import typing as t
from urllib.parse import quote

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import (
    configuration_of,
    impersonation_of,
    settings_of,
)

#: Seconds for an answer to begin or go on.
TIMEOUT = 20.0
#: Bytes of an answer; larger ones are an error.
LARGEST = 256 << 20
_PROTOCOL_HEADER, _PROTOCOL = "sec-websocket-protocol", "v4.channel.k8s.io"


class ForwardError(Exception):
    """No answer came back. ``status`` is that of the API server where it refused, else 0."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class PortForward:
    """Asks ports of pods. Safe to use from several threads."""

    def __init__(self, params: t.Mapping[str, t.Any], directory: str | None = None) -> None:
        """:param params: kubernetes.core's authentication options.

        :param directory: for the files that a kubeconfig's keys and certificates have to be in.
        :raises ImportError: when the kubernetes library is missing.
        """
        self._configuration = configuration_of(settings_of(params, os.environ), directory)
        self._impersonation = impersonation_of(params, os.environ)

    def get(self, namespace: str, pod: str, port: int, path: str) -> bytes:
        """The body of the answer to a GET.

        :raises ForwardError: when the port cannot be reached or the answer is none of status 200.
        """
        from kubernetes.stream.ws_client import PortForward as Forwarded
        from websocket import WebSocketBadStatusException, WebSocketException

        forward = None
        try:
            forward = Forwarded(self._connect(namespace, pod, port), [port])
            return self._answer(forward, port, path)
        except WebSocketBadStatusException as error:
            said = message_of(error.resp_body) or f"status {error.status_code}"
            raise ForwardError(said, int(error.status_code)) from error
        except (OSError, http.client.HTTPException, ValueError, WebSocketException) as error:
            reason = None
            with contextlib.suppress(Exception):
                reason = forward.error(port) if forward else None
            raise ForwardError(str(reason or error or type(error).__name__)) from error
        finally:
            with contextlib.suppress(Exception):
                if forward:
                    forward.close()

    def open(self, namespace: str, pod: str, port: int) -> tuple[socket.socket, t.Callable[[], None]]:
        """A socket to a port, for a protocol of the caller's, and what closes it.

        :raises ForwardError: when the API server refuses or cannot be reached.
        """
        from kubernetes.stream.ws_client import PortForward as Forwarded
        from websocket import WebSocketBadStatusException, WebSocketException

        try:
            forward = Forwarded(self._connect(namespace, pod, port), [port])
        except WebSocketBadStatusException as error:
            said = message_of(error.resp_body) or f"status {error.status_code}"
            raise ForwardError(said, int(error.status_code)) from error
        except (OSError, ValueError, WebSocketException) as error:
            raise ForwardError(str(error) or type(error).__name__) from error
        wrapper = forward.socket(port)

        def close() -> None:
            with contextlib.suppress(Exception):
                wrapper.close()
            with contextlib.suppress(Exception):
                forward.close()

        # TLS needs the socket itself.
        return getattr(wrapper, "_socket", wrapper), close

    def _connect(self, namespace: str, pod: str, port: int) -> t.Any:
        """A WebSocket to the API server. That of the library would leave out in whose name the request is made."""
        from kubernetes.stream.ws_client import get_websocket_url, websocket_proxycare
        from websocket import WebSocket

        configuration = self._configuration
        headers = [(_PROTOCOL_HEADER, _PROTOCOL), *self._impersonation]
        authorization = ""
        for setting in configuration.auth_settings().values():
            if setting.get("in") == "header" and setting.get("value"):
                headers.append((setting["key"], setting["value"]))
                authorization = authorization or setting["value"]
        if not authorization and configuration.username and configuration.password:
            headers.append(("authorization", configuration.get_basic_auth_token()))
        options: dict[str, t.Any] = {"cert_reqs": ssl.CERT_NONE}
        if configuration.verify_ssl:
            options = {"cert_reqs": ssl.CERT_REQUIRED}
            if configuration.ssl_ca_cert:
                options["ca_certs"] = configuration.ssl_ca_cert
            if configuration.assert_hostname is not None:
                options["check_hostname"] = configuration.assert_hostname
        for name, value in (
            ("certfile", configuration.cert_file),
            ("keyfile", configuration.key_file),
            ("server_hostname", configuration.tls_server_name),
        ):
            if value:
                options[name] = value
        path = f"/api/v1/namespaces/{quote(namespace)}/pods/{quote(pod)}/portforward"
        url = get_websocket_url(f"{configuration.host.rstrip('/')}{path}", [("ports", str(port))])
        connection: dict[str, t.Any] = {"header": [f"{name}: {value}" for name, value in headers]}
        if configuration.proxy or configuration.proxy_headers:
            connection = websocket_proxycare(connection, configuration, url, dict(headers))
        websocket = WebSocket(sslopt=options, skip_utf8_validation=False)
        websocket.settimeout(TIMEOUT)
        websocket.connect(url, **connection)
        return websocket

    @staticmethod
    def _answer(forward: t.Any, port: int, path: str) -> bytes:
        connection = forward.socket(port)
        connection.settimeout(TIMEOUT)
        try:
            request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            connection.sendall(request.encode("ascii"))
            return read_answer(connection)
        finally:
            connection.close()


def read_answer(connection: t.Any) -> bytes:
    """The body of the HTTP answer that a socket gives.

    :raises ForwardError: when its status is not 200, or it is too large.
    """
    response = http.client.HTTPResponse(connection)
    response.begin()
    body = response.read(LARGEST + 1)
    if response.status != 200:
        raise ForwardError(f"status {response.status}: {body[:200].decode('utf-8', 'replace')}")
    if len(body) > LARGEST:
        raise ForwardError(f"an answer of more than {LARGEST >> 20} MiB")
    return body


def message_of(body: bytes | None) -> str:
    """The message of an answer of the API server that refuses."""
    try:
        return str(json.loads(body or b"").get("message", ""))
    except (ValueError, AttributeError):
        return ""
