# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys and files that change, failures and counters, without a server."""

from __future__ import annotations

import hashlib
import os
import time
import typing as t
from pathlib import Path

import pytest
from simulator_state import Counters, Failure, Failures, Fields, Keys, Reloading, Usage


def fingerprint(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()[:12]


def test_keys_of_several_files(tmp_path: Path) -> None:
    current, additional = tmp_path / "current", tmp_path / "additional"
    current.write_text("first")
    additional.write_text("\n second \n\nthird\n")
    keys = Keys([current, additional])
    assert keys.texts() == ["first", "second", "third"]
    assert keys.fingerprints() == [fingerprint(key) for key in ("first", "second", "third")]
    assert keys.check(["wrong", "third"]) == (fingerprint("third"), True)
    assert keys.check(["wrong", ""]) == ("unknown", False)


def test_changed_key_files_are_read_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    current, additional = tmp_path / "current", tmp_path / "additional"
    current.write_text("first")
    additional.write_text("")
    keys = Keys([current, additional])
    # As kubelet does it: the new content is another file, put in place at once.
    (tmp_path / "new").write_text("other")
    os.replace(tmp_path / "new", additional)
    assert keys.check(["other"]) == (fingerprint("other"), True)
    current.write_text("other")
    additional.write_text("")
    assert keys.texts() == ["other"]
    # Known, although no longer accepted.
    assert keys.check(["first"]) == (fingerprint("first"), False)
    current.unlink()
    for _look in range(2):
        assert keys.check(["other"]) == (fingerprint("other"), True)
    assert capsys.readouterr().err == "the changed keys cannot be loaded (ValueError) and the former stays\n"
    current.write_text("last")
    assert keys.texts() == ["last"]


@pytest.mark.parametrize(
    ("content", "words"), [(None, "FileNotFoundError"), (b"\xff key", "UnicodeDecodeError"), (b" \n", "holds no key")]
)
def test_files_without_keys(tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=f"{file}.*{words}"):
        Keys([file])


def test_a_file_that_did_not_change_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("a")
    loads: list[str] = []
    reloading: Reloading[list[str]] = Reloading("file", [file], lambda: [*loads, file.read_text()])
    first = reloading.value()
    assert reloading.value() is first


def test_fields() -> None:
    fields = Fields(
        {"x-a-b": "3", "x-c": 1.5, "x-d": True, "x-e": None, "x-f": 2, "x-g": [1]},
        lambda name: "x-" + name.replace("_", "-"),
    )
    assert (fields.integer("a_b", 0, 3), fields.decimal("c", 0, 2), fields.integer("e", 0, 1)) == (3, 1.5, None)
    assert fields.decimal("f", 0, 2) == 2
    for name in ("c", "d", "g"):
        with pytest.raises(ValueError, match=f"x-{name} must be a number from 0 to 9"):
            fields.integer(name, 0, 9)
    with pytest.raises(ValueError, match="x-a-b must be a number from 4 to 9"):
        fields.integer("a_b", 4, 9)
    with pytest.raises(ValueError, match="x-g accepts one or two"):
        fields.word("g", ("one", "two"))


def test_a_failure_over_another() -> None:
    behind = Failure(status=500, delay=1.0)
    assert Failure(delay=0.0, event_delay=2.0).over(behind) == Failure(status=500, delay=0.0, event_delay=2.0)
    assert Failure().over(behind) == behind


@pytest.mark.parametrize(("rate", "hits"), [(0, []), (0.25, [4, 8]), (0.5, [2, 4, 6, 8]), (1, list(range(1, 9)))])
def test_the_rate_of_failures(rate: float, hits: list[int]) -> None:
    failure = Failure(status=503)
    failures = Failures(failure, rate)
    assert [number for number in range(1, 9) if failures.next() == failure] == hits


def test_failures_that_are_set_and_cleared() -> None:
    failures = Failures(Failure(status=500), 0.5)
    assert failures.next() == Failure()
    failures.set(Failure(break_at="body"), 1)
    assert failures.next() == Failure(break_at="body")
    assert failures.as_dict() == {
        "rate": 1,
        "status": None,
        "break": "body",
        "break_after": None,
        "retry_after": None,
        "delay": None,
        "event_delay": None,
    }
    failures.clear()
    # The count of requests begins anew with what is set.
    assert [failures.next().status for _number in range(4)] == [None, 500, None, 500]


def test_counters(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    counters = Counters()
    for arguments in (
        ("/b", "m", 200, "k", Usage(3, 4)),
        ("/a", "", 401, "unknown", None),
        ("/b", "m", 200, "k", Usage(1, 1)),
    ):
        counters.add(*t.cast("tuple[t.Any, ...]", arguments))
    assert counters.as_dict() == {
        "since": 100.0,
        "counts": [
            {
                "path": "/a",
                "model": "",
                "status": 401,
                "key": "unknown",
                "requests": 1,
                "input_tokens": 0,
                "output_tokens": 0,
            },
            {
                "path": "/b",
                "model": "m",
                "status": 200,
                "key": "k",
                "requests": 2,
                "input_tokens": 4,
                "output_tokens": 5,
            },
        ],
        "totals": {"requests": 3, "input_tokens": 4, "output_tokens": 5},
    }
    now[0] = 200.0
    counters.reset()
    assert counters.as_dict() == {
        "since": 200.0,
        "counts": [],
        "totals": {"requests": 0, "input_tokens": 0, "output_tokens": 0},
    }
