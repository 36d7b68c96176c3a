# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role makes, and what it keeps of what it made."""

from __future__ import annotations

import datetime
import ipaddress
import json
import typing as t
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.verification import PolicyBuilder, Store
from plays import run_playbook

NAME = "ai.example.com"
WILDCARD = f"*.{NAME}"
ADDRESS = "10.245.0.2"

Made = dict[str, t.Any]


def make(directory: Path, servers: dict[str, list[str]], kept: Made | None = None, *arguments: str) -> Made:
    """What the role makes for these servers and their hosts, where a cluster has kept this."""
    kept = kept or {"authority": {}, "servers": {}}
    variables = {
        "certificates_authority": {"name": "authority of tests", **kept["authority"]},
        "certificates_servers": [
            {"name": name, "hosts": hosts, **kept["servers"].get(name, {})} for name, hosts in servers.items()
        ],
    }
    copy = {"content": "{{ certificates_made | to_json }}", "dest": f"{directory}/made", "mode": "0600"}
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "roles": [{"role": "egress.ai_gateway.certificates"}],
        "post_tasks": [{"ansible.builtin.copy": copy, "check_mode": False, "changed_when": False, "no_log": True}],
    }
    ended = run_playbook(directory, play, variables, *arguments)
    assert ended.returncode == 0, ended.output
    assert "changed=0" in ended.output
    (directory / "said").write_text(" ".join(ended.output.split()))
    made: Made = json.loads((directory / "made").read_text())
    for pair in (made["authority"], *made["servers"].values()):
        assert pair["key"] not in ended.output
        assert "PRIVATE KEY" in pair["key"]
    return made


def said(directory: Path) -> str:
    """What the last run printed."""
    return (directory / "said").read_text()


def verify(made: Made, name: str, *hosts: str) -> None:
    """Assert that a client that trusts the authority alone accepts the certificate for each of the hosts."""
    store = Store([x509.load_pem_x509_certificate(made["authority"]["certificate"].encode())])
    leaf = x509.load_pem_x509_certificate(made["servers"][name]["certificate"].encode())
    for host in hosts:
        subject = x509.IPAddress(ipaddress.ip_address(host)) if host == ADDRESS else x509.DNSName(host)
        chain = PolicyBuilder().store(store).build_server_verifier(subject).verify(leaf, [])
        assert len(chain) == 2
    valid = leaf.not_valid_after_utc - leaf.not_valid_before_utc
    assert datetime.timedelta(days=364) < valid < datetime.timedelta(days=366)


def test_what_is_made_is_kept_until_its_hosts_change(tmp_path: Path) -> None:
    servers = {"one": [NAME, WILDCARD], "two": [ADDRESS]}
    # Check mode makes them too: what it compares must be complete.
    made = make(tmp_path, servers, None, "--check")
    verify(made, "one", NAME, f"x.{NAME}")
    verify(made, "two", ADDRESS)
    assert make(tmp_path, {"one": [WILDCARD, NAME], "two": [ADDRESS]}, made) == made
    changed = make(tmp_path, {"one": [NAME], "two": [ADDRESS]}, made)
    assert changed["authority"] == made["authority"]
    assert changed["servers"]["two"] == made["servers"]["two"]
    assert changed["servers"]["one"]["key"] != made["servers"]["one"]["key"]
    verify(changed, "one", NAME)


def test_another_authority_issues_all_anew(tmp_path: Path) -> None:
    servers = {"one": [NAME], "two": [ADDRESS]}
    made = make(tmp_path, servers)
    renewed = make(tmp_path, servers, {"authority": {}, "servers": made["servers"]})
    assert renewed["authority"] != made["authority"]
    for name, hosts in servers.items():
        assert renewed["servers"][name] != made["servers"][name]
        verify(renewed, name, *hosts)


def ending(made: Made) -> str:
    """The certificate of the authority, as it would be shortly before its end."""
    given = x509.load_pem_x509_certificate(made["authority"]["certificate"].encode())
    key = serialization.load_pem_private_key(made["authority"]["key"].encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(given.issuer, given.subject, given.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(
        now + datetime.timedelta(days=9)
    )
    for extension in given.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def test_a_renewed_authority_is_trusted_by_those_who_know_the_previous_one(tmp_path: Path) -> None:
    made = make(tmp_path, {"one": [NAME]})
    previous = {**made, "authority": {**made["authority"], "certificate": ending(made)}}
    renewed = make(tmp_path, {"one": [NAME]}, previous)
    assert renewed["authority"]["certificate"] != previous["authority"]["certificate"]
    assert renewed["authority"]["key"] == made["authority"]["key"]
    # No server changes with it.
    assert renewed["servers"] == made["servers"]
    verify(renewed, "one", NAME)
    # What the renewed one signs.
    further = make(tmp_path, {"one": [NAME], "two": [ADDRESS]}, renewed)
    verify({**further, "authority": previous["authority"]}, "two", ADDRESS)
    assert make(tmp_path, {"one": [NAME]}, renewed) == renewed


def test_the_key_of_another_authority_signs_nothing(tmp_path: Path) -> None:
    made, other = make(tmp_path, {"one": [NAME]}), make(tmp_path, {})
    mixed = {**made, "authority": {**made["authority"], "key": other["authority"]["key"]}}
    replaced = make(tmp_path, {"one": [NAME]}, mixed)
    assert replaced["authority"]["key"] not in (made["authority"]["key"], other["authority"]["key"])
    assert "is not that of its certificate" in said(tmp_path)
    verify(replaced, "one", NAME)


def test_the_loss_of_the_authority_is_said(tmp_path: Path) -> None:
    made = make(tmp_path, {"one": [NAME]})
    assert "another authority" not in said(tmp_path)
    make(tmp_path, {"one": [NAME]}, {**made, "authority": {}})
    assert "The private key of authority of tests is lost" in said(tmp_path)
