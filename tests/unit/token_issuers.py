# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""An issuer of JSON Web Tokens whose keys are served over HTTPS, and tokens of all kinds from it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa


def encoded(value: bytes | t.Any) -> str:
    """The value, or its JSON, in base64 for URLs and without padding."""
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Key:
    """A key with which an issuer signs."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def public(self) -> dict[str, str]:
        numbers = self._key.public_key().public_numbers()
        return {
            "kty": "RSA",
            "use": "sig",
            "alg": "RS256",
            "kid": self.kid,
            "n": _number(numbers.n),
            "e": _number(numbers.e),
        }

    def sign(self, claims: dict[str, t.Any], **header: t.Any) -> str:
        signed = encoded({"alg": "RS256", "typ": "JWT", "kid": self.kid, **header}) + "." + encoded(claims)
        return signed + "." + encoded(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))

    def confused(self, claims: dict[str, t.Any]) -> str:
        """A token signed with the public key as if that were a secret."""
        form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        secret = self._key.public_key().public_bytes(*form)
        signed = encoded({"alg": "HS256", "typ": "JWT", "kid": self.kid}) + "." + encoded(claims)
        return signed + "." + encoded(hmac.new(secret, signed.encode(), hashlib.sha256).digest())


def unsigned(claims: dict[str, t.Any]) -> str:
    return encoded({"alg": "none", "typ": "JWT"}) + "." + encoded(claims) + "."


def claims(
    issuer: str, subject: str, *audiences: str, offset: float = 0, lifetime: float = 600, **more: t.Any
) -> t.Any:
    """Claims as an issuer whose clock is ``offset`` seconds fast writes them."""
    now = int(time.time() + offset)
    return {
        "iss": issuer,
        "sub": subject,
        "aud": list(audiences),
        "iat": now,
        "nbf": now,
        "exp": int(now + lifetime),
        **more,
    }


class KeyServer(ThreadingHTTPServer):
    """Serves the keys that ``keys`` holds at any path, and counts how often it was asked."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, port: int = 0) -> None:
        self.keys: list[Key] = []
        self.asked = 0
        super().__init__(("127.0.0.1", port), _KeyHandler)
        self.port = self.server_address[1]
        self.socket = context.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A proxy may end before it was answered."""

    def stop(self) -> None:
        self.shutdown()
        self.server_close()


class _KeyHandler(BaseHTTPRequestHandler):
    server: KeyServer

    def do_GET(self) -> None:
        self.server.asked += 1
        content = json.dumps({"keys": [key.public() for key in self.server.keys]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass


class Issuer(ThreadingHTTPServer):
    """Answers each path with what ``documents`` has for it."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        self.documents: dict[str, t.Any] = {}
        self.asked = 0
        super().__init__(("127.0.0.1", 0), _IssuerHandler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.url = f"https://localhost:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def handle_error(self, request: t.Any, client_address: t.Any) -> None:
        """A client that does not trust the certificate goes away."""


class _IssuerHandler(BaseHTTPRequestHandler):
    server: Issuer

    def do_GET(self) -> None:
        self.server.asked += 1
        document = self.server.documents.get(self.path)
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(404 if document is None else 200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: t.Any) -> None:  # noqa: A002 (the name is the base class's)
        pass
