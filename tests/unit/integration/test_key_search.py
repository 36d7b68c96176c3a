# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import base64
import gzip
import io
import json
import pathlib
import re
import typing as t
import urllib.parse

import key_search
import pytest
from key_search import Needles, Report, Searched

#: With all that is encoded in one way or another.
KEY = 'sk-a/key+of<this>&run="=%'
OTHER = "sk-another-key-of-this-run"
NEEDLES = Needles([OTHER, KEY])


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


ENCODED = {
    "plain": KEY,
    "plain in a line": f"Authorization: Bearer {KEY}\n",
    "base64": b64(KEY),
    "base64 without padding": b64(KEY).rstrip("="),
    "base64 for URLs": base64.urlsafe_b64encode(KEY.encode()).decode(),
    "base64 of Bearer": b64(f"Bearer {KEY}"),
    "base64 of Bearer in a line": f'{{"value": "{b64("Bearer " + KEY)}"}}',
    **{
        f"base64 of a longer string, {before} before": f"x: {b64('b' * before + KEY + 'after it')}."
        for before in range(7)
    },
    "URL-encoded": urllib.parse.quote(KEY, safe=""),
    "URL-encoded in lower case": re.sub("%..", lambda code: code[0].lower(), urllib.parse.quote(KEY, safe="")),
    "URL-encoded as a path": urllib.parse.quote(KEY),
    "hex": KEY.encode().hex(),
    "hex in upper case": f"0x{KEY.encode().hex().upper()}",
    "JSON": json.dumps({"key": KEY}),
    "JSON of Go": json.dumps(KEY).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"),
    "JSON in JSON": json.dumps({"last": json.dumps({"key": KEY})}),
}


@pytest.mark.parametrize("text", ENCODED.values(), ids=ENCODED)
def test_every_encoding_is_found(text: str) -> None:
    assert {number for number, _encoding in NEEDLES.in_bytes(text.encode())} == {2}
    assert {number for number, _encoding in NEEDLES.in_text(text)} == {2}
    size, found = NEEDLES.in_stream(io.BytesIO(text.encode()))
    assert size == len(text)
    assert {number for number, _encoding in found} == {2}


@pytest.mark.parametrize(
    "text",
    [
        b64(gzip.compress(KEY.encode(), mtime=0)),
        b64(b64(gzip.compress(f"a: {KEY}".encode(), mtime=0))),
        b64(f"{{{b64(KEY)}}}"),
    ],
    ids=["gzip", "a Helm release", "twice"],
)
def test_what_is_packed_is_unpacked(text: str) -> None:
    assert {number for number, _encoding in NEEDLES.in_text(text)} == {2}


@pytest.mark.parametrize(
    "text",
    ["", KEY[:-1], KEY[1:], b64(KEY[:-3]), KEY.upper(), KEY.encode().hex()[2:], b64(b"\x1f\x8bbroken gzip, so to say")],
)
def test_nothing_else_is_found(text: str) -> None:
    assert not NEEDLES.in_text(text)


def test_a_key_across_two_chunks_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_search, "CHUNK", 10)
    assert NEEDLES.in_stream(io.BytesIO(f"{'.' * 33}{KEY}{'.' * 33}".encode())) == (66 + len(KEY), {(2, "plain")})


def test_a_key_in_an_object_is_told_with_its_path() -> None:
    item = {
        "metadata": {"annotations": {KEY: "a"}},
        "spec": {"containers": [{"args": ["a", f"--key={KEY}"]}, {"env": [{"value": b64(KEY)}]}], "replicas": 1},
    }
    assert set(NEEDLES.in_object(item)) == {
        ("name of a field in metadata.annotations", 2, "plain"),
        ("spec.containers[0].args[1]", 2, "plain"),
        ("spec.containers[1].env[0].value", 2, "base64"),
        # Unpacked.
        ("spec.containers[1].env[0].value", 2, "plain"),
    }


@pytest.mark.parametrize(("keys", "message"), [([], "no keys"), ([KEY, "short"], "key 2 has fewer")])
def test_keys_that_cannot_be_searched(keys: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Needles(keys)


def test_files_and_directories(tmp_path: pathlib.Path) -> None:
    (tmp_path / "reports/embedded").mkdir(parents=True)
    (tmp_path / "reports/embedded/validation.json").write_text(json.dumps({"observed": KEY}))
    (tmp_path / "output").write_text("ok: [embedded]\n")
    searched = key_search.search_files(NEEDLES, [tmp_path / "output", tmp_path / "reports", tmp_path / "nowhere"])
    assert searched.count == 2
    assert [hit.encoding for hit in searched.hits] == ["JSON-escaped"]
    assert searched.failures == [f"{tmp_path}/nowhere: there is no file"]


def test_processes_of_the_cluster(tmp_path: pathlib.Path) -> None:
    def process(number: int, group: str, command: str = "", environment: str = "") -> None:
        directory = tmp_path / str(number)
        directory.mkdir()
        (directory / "exe").symlink_to("/bin/any")
        (directory / "cgroup").write_text(f"3:cpu:{group}\n")
        (directory / "cmdline").write_bytes(command.replace(" ", "\0").encode())
        (directory / "environ").write_bytes(environment.encode())

    process(10, "/egress-ai-gateway/pod", f"proxy --key={KEY}")
    process(11, "/egress-ai-gateway/pod", "proxy", f"A=b\0KEY={b64(KEY)}\0")
    process(12, "/user", f"somebody --key={KEY}")
    searched = key_search.search_processes(NEEDLES, tmp_path)
    assert searched.count == 2
    assert [str(hit) for hit in searched.hits] == [
        "process 10 (proxy) cmdline: key 2, plain",
        "process 11 (proxy) environ: key 2, base64",
    ]


def report(*places: Searched, expected: t.Sequence[str] = ()) -> Report:
    in_secrets = Searched("Secrets", "objects")
    for name, text in (
        ("openai-credential", KEY),
        ("openai-simulator", KEY),
        ("config-7f3a", f"backends: [{KEY}]"),
        ("certificate", "nothing"),
    ):
        key_search.search_objects(
            NEEDLES,
            "secrets",
            [{"metadata": {"name": name, "namespace": "g"}, "data": {"apiKey": b64(text)}}],
            in_secrets,
        )
    return Report(places, in_secrets, expected)


def test_secrets_must_be_exactly_the_expected_ones() -> None:
    holders = ["g/config-*", "g/openai-credential", "g/openai-simulator"]
    assert list(report(expected=holders).holders) == ["g/config-7f3a", "g/openai-credential", "g/openai-simulator"]
    assert report(expected=holders).faults == []
    assert {fault.split(":")[0] for fault in report(expected=holders[:2]).faults} == {
        "found in a Secret that may not hold it"
    }
    assert report(expected=[*holders, "g/other"]).faults == ["not found in Secret g/other, which must hold it"]


def test_a_report_tells_what_was_searched_and_no_key() -> None:
    objects = Searched("objects but Secrets, of all kinds", "objects")
    key_search.search_objects(
        NEEDLES, "configmaps", [{"metadata": {"name": "a", "namespace": "g"}, "data": {"b": KEY}}], objects
    )
    found = report(
        objects,
        Searched("files", "files", failures=["x: cannot be read"]),
        Searched("processes", "processes"),
        expected=["g/*"],
    )
    assert found.faults == [
        "found in configmaps g/a data.b: key 2, plain",
        "not searched: x: cannot be read",
        "nothing was searched: processes",
    ]
    text = str(found)
    assert "objects but Secrets, of all kinds" in text
    assert "Secret g/openai-simulator holds key 2 (base64), key 2 (plain)" in text
    assert not NEEDLES.in_text(text)


def test_a_whole_search(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fake of kubectl that serves one key in a Secret, and another in a log of a container that was restarted."""
    program = tmp_path / "kubectl"
    pod = {
        "metadata": {"name": "p", "namespace": "g"},
        "status": {
            "containerStatuses": [
                {"name": "c", "containerID": "containerd://a", "restartCount": 1},
                {"name": "waiting", "restartCount": 0},
            ]
        },
    }
    secret = {"metadata": {"name": "s", "namespace": "g"}, "data": {"apiKey": b64(KEY)}}
    (tmp_path / "pods").write_text(json.dumps({"items": [pod]}))
    (tmp_path / "secrets").write_text(json.dumps({"items": [secret]}))
    program.write_text(
        "#!/bin/sh\n"
        'case "$1 $*" in\n'
        "  api-resources*) printf 'pods\\nsecrets\\n';;\n"
        f"  get*) cat {tmp_path}/$2;;\n"
        "  logs*--previous*) echo 'key: " + OTHER + "';;\n"
        "  logs*'--container c'*) echo all is well;;\n"
        "  *) exit 1;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(key_search, "KUBECTL", (str(program),))
    in_etcd = [(b"/registry/secrets/g/s", KEY.encode()), (b"/registry/pods/g/p", b"nothing")]
    monkeypatch.setattr(key_search, "etcd_pages", lambda: [in_etcd])
    monkeypatch.setattr(key_search, "search_processes", lambda _needles: Searched("processes", "processes", count=1))
    keys = tmp_path / "keys"
    keys.write_text(f"{KEY}\n{OTHER}\n")
    assert key_search.main(["--keys", str(keys), "--secret", "g/s"]) == 1
    assert "found in g/p c: key 2, plain" in capsys.readouterr().out
    keys.write_text(f"{KEY}\n")
    assert key_search.main(["--keys", str(keys), "--secret", "g/s"]) == 0
    # Elsewhere in etcd, and where a search of etcd sees no Secret.
    in_etcd.append((b"/registry/events/g/e", b"key " + KEY.encode()))
    assert key_search.main(["--keys", str(keys), "--secret", "g/s"]) == 1
    assert "found in etcd /registry/events/g/e: key 1, plain" in capsys.readouterr().out
    in_etcd[:] = [(b"/registry/pods/g/p", b"nothing")]
    assert key_search.main(["--keys", str(keys), "--secret", "g/s"]) == 1
    assert "not searched: etcd: the keys that are in Secrets" in capsys.readouterr().out
