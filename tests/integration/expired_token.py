# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves the times of a ServiceAccount token and signs it again with the key of the cluster, which only tests may do.

Usage: expired_token.py KEY SECONDS <TOKEN

KEY is the file with the private key that the cluster signs tokens with, in PEM. The printed token expires SECONDS after
the issue of the one on standard input, which may lie in the past; its other claims are the same. Without a token on
standard input the program prints nothing.
"""

from __future__ import annotations

import base64
import hashlib
import json
import pathlib
import sys
import typing as t
from collections.abc import Mapping

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature


def claims_of(token: str) -> dict[str, t.Any]:
    """The claims of a JWT, unverified."""
    payload = token.split(".")[1]
    claims: dict[str, t.Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def moved(claims: Mapping[str, t.Any], expiration: int) -> dict[str, t.Any]:
    """The claims of a token, changed to expire ``expiration`` seconds after its issue; its beginning moves with an end
    that is earlier.
    """
    issued, expires = int(claims["iat"]), int(claims["exp"])
    end = issued + expiration
    beginning = min(issued, end - (expires - issued))
    return {**claims, "iat": beginning, "nbf": beginning, "exp": end}


def sign(claims: Mapping[str, t.Any], key_pem: bytes) -> str:
    """A JWT of the claims as the API server signs them with the same key: RS256, or ES256 on the curve P-256.

    Raises ValueError for any other key.
    """
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except (ValueError, TypeError):
        raise ValueError("the file holds no unencrypted private key in PEM") from None
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    # The API server looks its public key up by this digest.
    header = {
        "alg": "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256",
        "kid": _base64url(hashlib.sha256(public).digest()),
    }
    content = f"{_base64url(json.dumps(header).encode())}.{_base64url(json.dumps(claims).encode())}"
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(content.encode(), padding.PKCS1v15(), hashes.SHA256())
    elif isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        r, s = decode_dss_signature(key.sign(content.encode(), ec.ECDSA(hashes.SHA256())))
        signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    else:
        raise ValueError("the key is neither RSA nor of the curve P-256")
    return f"{content}.{_base64url(signature)}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def main(key: str, seconds: str) -> None:
    token = sys.stdin.read().strip()
    if token:
        print(sign(moved(claims_of(token), int(seconds)), pathlib.Path(key).read_bytes()))


if __name__ == "__main__":
    main(*sys.argv[1:])
