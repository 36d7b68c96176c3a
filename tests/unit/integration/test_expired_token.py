# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import hashlib
import io
import json
import typing as t
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from expired_token import claims_of, main, moved, sign

CLAIMS = {
    "iss": "https://kubernetes",
    "aud": ["ai-gateway-sa"],
    "iat": 1_000_000,
    "nbf": 1_000_000,
    "exp": 1_000_600,
    "jti": "an-id",
    "sub": "someone",
}


def test_moved_claims() -> None:
    earlier = moved(CLAIMS, -60)
    assert (earlier["iat"], earlier["nbf"], earlier["exp"]) == (999_340, 999_340, 999_940)
    assert earlier["sub"] == "someone"
    assert CLAIMS["exp"] == 1_000_600
    # One that lives longer is valid from the same moment on.
    later = moved(CLAIMS, 3600)
    assert (later["iat"], later["nbf"], later["exp"]) == (1_000_000, 1_000_000, 1_003_600)


def pem(key: t.Any) -> bytes:
    data: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return data


def parts_of(token: str) -> tuple[dict[str, t.Any], bytes, bytes]:
    header, payload, signature = token.split(".")
    decoded = base64.urlsafe_b64decode(header + "=="), base64.urlsafe_b64decode(signature + "==")
    return json.loads(decoded[0]), f"{header}.{payload}".encode(), decoded[1]


def key_id(key: t.Any) -> str:
    public = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return base64.urlsafe_b64encode(hashlib.sha256(public).digest()).rstrip(b"=").decode()


def test_rsa_signature() -> None:
    key = rsa.generate_private_key(65537, 2048)
    token = sign(CLAIMS, pem(key))
    header, content, signature = parts_of(token)
    assert header == {"alg": "RS256", "kid": key_id(key)}
    key.public_key().verify(signature, content, padding.PKCS1v15(), hashes.SHA256())
    assert claims_of(token) == CLAIMS


def test_elliptic_curve_signature() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    header, content, signature = parts_of(sign(CLAIMS, pem(key)))
    assert header["alg"] == "ES256"
    assert len(signature) == 64
    numbers = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    key.public_key().verify(encode_dss_signature(*numbers), content, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nothing", "no unencrypted private key in PEM"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "neither RSA nor of the curve P-256"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "neither RSA nor of the curve P-256"),
    ],
)
def test_other_keys(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sign(CLAIMS, content)


def test_the_token_on_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    issuer, key = (rsa.generate_private_key(65537, 2048) for _number in range(2))
    (tmp_path / "sa.key").write_bytes(pem(key))
    monkeypatch.setattr("sys.stdin", io.StringIO(sign(CLAIMS, pem(issuer)) + "\n"))
    main(str(tmp_path / "sa.key"), "-60")
    token = capsys.readouterr().out.strip()
    claims = claims_of(token)
    assert claims["exp"] == CLAIMS["iat"] - 60
    assert claims["exp"] - claims["iat"] == 600
    _header, content, signature = parts_of(token)
    key.public_key().verify(signature, content, padding.PKCS1v15(), hashes.SHA256())


def test_a_key_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "sys.stdin", io.StringIO(f"e30.{base64.urlsafe_b64encode(json.dumps(CLAIMS).encode()).decode()}.x")
    )
    with pytest.raises(FileNotFoundError, match=r"/nowhere/sa\.key"):
        main("/nowhere/sa.key", "-60")


def test_no_token(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """As where kubectl got none."""
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    main("/nowhere/sa.key", "-60")
    assert capsys.readouterr().out == ""
