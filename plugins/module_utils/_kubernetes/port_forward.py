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
import os
import typing as t

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import (
    configuration_of,
    impersonation_of,
    settings_of,
)

#: Seconds for an answer to begin or go on.
TIMEOUT = 20.0
#: Bytes of an answer; larger ones are an error.
LARGEST = 256 << 20


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
        from kubernetes import client
        from kubernetes.client.rest import ApiException
        from kubernetes.stream import portforward

        # The library replaces the request function of its client for the time of the call.
        api_client = client.ApiClient(self._configuration)
        for name, value in self._impersonation:
            api_client.set_default_header(name, value)
        core = client.CoreV1Api(api_client)
        forward = None
        try:
            forward = portforward(
                core.connect_get_namespaced_pod_portforward, pod, namespace, ports=str(port), _request_timeout=TIMEOUT
            )
            return self._answer(forward, port, path)
        except ApiException as error:
            raise ForwardError(f"{error.reason or error}", int(error.status or 0)) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            said = None
            with contextlib.suppress(Exception):
                said = forward.error(port) if forward else None
            raise ForwardError(str(said or error or type(error).__name__)) from error
        finally:
            with contextlib.suppress(Exception):
                if forward:
                    forward.close()
            api_client.close()

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
