# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake of maas-api of Models-as-a-Service as the proof of concept has it, before version 0.1.0: tokens of tiers,
and the list of models.

README.md says what it does as the real one, and what not. Needs Python 3.11, PyYAML, kubernetes_client.py and the files
beside this one.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import ssl
import sys
import time
import typing as t
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from kubernetes_client import Api, ApiError
from maas_models import Gateway, Models
from maas_tokens import (
    DEFAULT_EXPIRATION,
    SHORTEST_EXPIRATION,
    NoTierError,
    TierError,
    Tokens,
    User,
    format_duration,
    parse_duration,
)

BODY_LIMIT = 1024 * 1024
PAUSE = 2.0


class RefusedError(Exception):
    """A request ends with this answer."""

    def __init__(self, status: int, body: t.Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


@dataclass(frozen=True)
class Service:
    tokens: Tokens
    models: Models

    @classmethod
    def of(cls, api: Api, instance: str, namespace: str, gateway: Gateway, external_models: bool) -> Service:
        return cls(Tokens(api, instance, namespace), Models(api, gateway, namespace, external_models))

    def wait(self) -> None:
        """Until the kinds that are listed exist: the real one never listens without them."""
        said: list[str] = []
        while missing := self.models.missing_kinds():
            if missing != said:
                log(f"waiting for {', '.join(missing)}")
                said = missing
            time.sleep(PAUSE)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        try:
            body = self._body()
            routes = {
                ("GET", "/health"): self.health,
                ("POST", "/v1/tokens"): self.issue,
                ("DELETE", "/v1/tokens"): self.revoke,
                ("POST", "/v1/tiers/lookup"): self.look_up,
                ("GET", "/v1/models"): self.list_models,
            }
            route = routes.get((self.command, urllib.parse.urlsplit(self.path).path))
            if route is None:
                raise RefusedError(404, "404 page not found")
            status, content = route(body)
        except RefusedError as refused:
            status, content = refused.status, refused.body
        self._send(status, content)

    do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = do_HEAD = answer  # noqa: N815

    def health(self, _body: bytes) -> tuple[int, t.Any]:
        return 200, {"status": "healthy"}

    def issue(self, body: bytes) -> tuple[int, t.Any]:
        user = self._user()
        try:
            request = json.loads(body) if body.strip() else {}
            if not isinstance(request or {}, dict):
                raise ValueError("the body is no JSON object")
            expiration = (request or {}).get("expiration")
            expiration = DEFAULT_EXPIRATION if expiration is None else parse_duration(expiration)
        except ValueError as error:
            raise RefusedError(400, {"error": str(error)}) from None
        if expiration <= 0:
            raise RefusedError(400, {"error": "expiration must be positive"})
        if expiration < SHORTEST_EXPIRATION:
            raise RefusedError(
                400,
                {
                    "error": "token expiration must be at least 10 minutes",
                    "provided_expiration": format_duration(expiration),
                },
            )
        try:
            return 201, self.server.service.tokens.issue(user, expiration)
        except (TierError, ApiError, ValueError, KeyError) as error:
            log(f"no token for {user.name!r}: {error}")
            raise RefusedError(500, {"error": "Failed to generate token"}) from None

    def revoke(self, _body: bytes) -> tuple[int, t.Any]:
        user = self._user()
        try:
            self.server.service.tokens.revoke(user)
        except (TierError, ApiError, ValueError) as error:
            log(f"the tokens of {user.name!r} were not revoked: {error}")
            raise RefusedError(500, {"error": "Failed to revoke tokens"}) from None
        return 204, None

    def look_up(self, body: bytes) -> tuple[int, t.Any]:
        try:
            groups = json.loads(body)["groups"]
            if not isinstance(groups, list) or not groups or not all(isinstance(group, str) for group in groups):
                raise ValueError
        except (ValueError, KeyError, TypeError):
            raise RefusedError(
                400,
                {"error": "bad_request", "message": "the body is to be an object with a list of groups, one at least"},
            ) from None
        try:
            tier = self.server.service.tokens.tier_of(groups)
        except NoTierError as error:
            raise RefusedError(404, {"error": "not_found", "message": str(error)}) from None
        except (TierError, ApiError) as error:
            raise RefusedError(500, {"error": "internal_error", "message": str(error)}) from None
        return 200, {"tier": tier.name, "displayName": tier.display_name}

    def list_models(self, _body: bytes) -> tuple[int, t.Any]:
        self._user()
        authorization = self.headers.get("Authorization", "").strip()
        if not authorization:
            raise RefusedError(401, {"error": {"message": "Authorization required", "type": "authentication_error"}})
        try:
            return 200, {"data": self.server.service.models.listed(authorization), "object": "list"}
        except ApiError as error:
            log(f"the models cannot be listed: {error}")
            raise RefusedError(
                500, {"error": {"message": "Failed to retrieve LLM models", "type": "server_error"}}
            ) from None

    def _user(self) -> User:
        """Whom the gateway says the caller is.

        It is trusted, so without it the gateway's policy is wrong, not the caller.
        """
        name = self.headers.get("X-MaaS-Username", "").strip()
        if not name:
            raise self._distrusted("001")
        listed = self.headers.get("X-MaaS-Group", "")
        if not listed:
            raise self._distrusted("002")
        try:
            groups = json.loads(listed)
        except ValueError:
            groups = None
        if not isinstance(groups, list) or not groups or not all(isinstance(group, str) for group in groups):
            raise self._distrusted("003")
        return User(name, tuple(group.strip() for group in groups))

    @staticmethod
    def _distrusted(reference: str) -> RefusedError:
        return RefusedError(
            500,
            {"error": "Exception thrown while generating token", "exceptionCode": "AUTH_FAILURE", "refId": reference},
        )

    def _body(self) -> bytes:
        if "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise RefusedError(411, {"error": "send the body with a Content-Length"})
        try:
            length = int(self.headers.get("Content-Length", "0"))
        except ValueError:
            length = -1
        if not 0 <= length <= BODY_LIMIT:
            self.close_connection = True
            raise RefusedError(
                413 if length > 0 else 400, {"error": f"Content-Length is to be a number up to {BODY_LIMIT}"}
            )
        return self.rfile.read(length)

    def _send(self, status: int, content: t.Any) -> None:
        is_text = isinstance(content, str)
        body = b"" if content is None else content.encode() if is_text else json.dumps(content).encode()
        self.send_response(status)
        if content is not None:
            self.send_header("Content-Type", "text/plain" if is_text else "application/json; charset=utf-8")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_request(self, code: t.Any = "-", size: t.Any = "-") -> None:
        if self.path != "/health":
            log(f"{self.command} {self.path} {code}")

    def log_message(self, format: str, *arguments: t.Any) -> None:  # noqa: A002
        log(format % arguments)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], service: Service, tls: ssl.SSLContext | None = None) -> None:
        self.service = service
        super().__init__(address, Handler)
        if tls:
            # Each handshake is made by its connection's own thread.
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def server_bind(self) -> None:
        # HTTPServer would look up the name of the address, which takes long where there is no DNS.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.server_address = self.socket.getsockname()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        log(f"a connection failed: {sys.exc_info()[1]!r}")


def log(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def parse_arguments(arguments: t.Sequence[str], environment: t.Mapping[str, str]) -> argparse.Namespace:
    gateway = environment.get("GATEWAY_NAME") or "maas-default-gateway"
    parser = argparse.ArgumentParser(description="A fake of maas-api, for tests.")
    parser.add_argument(
        "--name",
        default=environment.get("INSTANCE_NAME"),
        help="the instance, INSTANCE_NAME; by default the Gateway's name",
    )
    parser.add_argument(
        "--namespace", default=environment.get("NAMESPACE") or "maas-api", help="where the ConfigMaps are, NAMESPACE"
    )
    parser.add_argument("--gateway-name", default=gateway, help="name of the Gateway, GATEWAY_NAME")
    parser.add_argument(
        "--gateway-namespace",
        default=environment.get("GATEWAY_NAMESPACE") or "openshift-ingress",
        help="namespace of the Gateway, GATEWAY_NAMESPACE",
    )
    parser.add_argument(
        "--address",
        default=environment.get("ADDRESS"),
        help="host:port to listen on, ADDRESS; by default :8080, or :8443 with TLS",
    )
    parser.add_argument(
        "--port", default=environment.get("PORT"), help="port to listen on without TLS, PORT; deprecated"
    )
    parser.add_argument("--tls-cert", default=environment.get("TLS_CERT"), help="file with the certificate, TLS_CERT")
    parser.add_argument("--tls-key", default=environment.get("TLS_KEY"), help="file with its key, TLS_KEY")
    parser.add_argument(
        "--external-models",
        action="store_true",
        help="list the models of the registry too, as the image of the proof of concept does",
    )
    parser.add_argument(
        "--apiserver-url", default="", help="an API server that asks for no token; by default the pod's own"
    )
    options = parser.parse_args(arguments)
    options.name = options.name or options.gateway_name
    if bool(options.tls_cert) != bool(options.tls_key):
        parser.error("--tls-cert and --tls-key (TLS_CERT, TLS_KEY) need each other")
    if options.port:
        options.tls_cert = options.tls_key = None
    address = options.address or (f":{options.port}" if options.port else ":8443" if options.tls_cert else ":8080")
    host, _colon, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        parser.error(f"--address, --port (ADDRESS, PORT): {address!r} does not end in a port; write one such as :8080")
    options.listen = (host or "0.0.0.0", int(port))
    return options


def main() -> int:
    # As the first process of a container, it would otherwise not heed the signal at all.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_arguments: sys.exit(0))
    options = parse_arguments(sys.argv[1:], os.environ)
    api = Api.of_pod(options.apiserver_url, patience=10.0)
    gateway = Gateway(options.gateway_namespace, options.gateway_name)
    service = Service.of(api, options.name, options.namespace, gateway, options.external_models)
    tls = None
    if options.tls_cert:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    service.wait()
    server = Server(options.listen, service, tls)
    log(
        f"{options.name} listens on {options.listen[0]}:{server.server_port}"
        f"{' and lists external models too' if options.external_models else ''}"
    )
    server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
