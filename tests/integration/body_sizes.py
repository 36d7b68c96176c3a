# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bodies of all sizes over HTTP/1.1 and HTTP/2: each is answered, or refused as too large, and none hangs."""

from __future__ import annotations

import json
import pathlib
import subprocess
import typing as t

import api_errors
import gateway_tls
from abandoned_streams import PROTOCOLS
from gateway_requests import PATHS, body_of

#: Of ai_gateway_request_body_limit, in bytes.
LIMIT = 50 * 2**20
SIZES = (1_000, 64_000, 300_000, 1_000_000, 10_000_000)
#: Seconds for one request.
LONGEST = 30
#: curl up to 8 forgets an answer that comes over HTTP/2 while it sends, and ends with this code (CURLE_HTTP2_STREAM).
#: A proxy that gives no answer makes it end so each time.
ANSWER_LOST = 92
ATTEMPTS = 20


def body(path: str, model: str, size: int) -> bytes:
    """Return a body of exactly so many bytes."""
    empty = json.dumps({**body_of(path, model), "user": ""}).encode()
    return empty[:-2] + b"x" * (size - len(empty)) + empty[-2:]


def cases(sizes: t.Sequence[int]) -> list[tuple[str, int, str, bool]]:
    """Each path, size, protocol, and whether the request states its length.

    The largest that pass take seconds, so one path stands for all.
    """
    found = [(path, size, protocol, True) for path in PATHS for size in (*sizes, LIMIT + 1) for protocol in PROTOCOLS]
    found += [(PATHS[0], LIMIT, protocol, True) for protocol in PROTOCOLS]
    return found + [(path, LIMIT + 2**16, protocol, False) for path in (PATHS[0], PATHS[3]) for protocol in PROTOCOLS]


def faults(
    url: str, token: str, model: str, directory: pathlib.Path, *options: str, sizes: t.Sequence[int] = SIZES
) -> t.Iterator[str]:
    """Send each case with these options of curl; print the slowest and yield what is wrong."""
    slowest: list[tuple[float, str]] = []
    sent, received, headers = (directory / name for name in ("sent", "received", "headers"))
    for path, size, protocol, told in cases(sizes):
        sent.write_bytes(body(path, model, size))
        received.write_bytes(b"")
        command = [
            "curl",
            "--silent",
            "--max-time",
            str(LONGEST),
            protocol,
            *(options or gateway_tls.curl_options(url)),
            "--config",
            "-",
            "--request",
            "POST",
            "--header",
            "expect:",
        ]
        command += (
            ["--data-binary", f"@{sent}"]
            if told
            else ["--header", "content-length:", "--header", "transfer-encoding: chunked", "--upload-file", str(sent)]
        )
        said = "%{http_code} %{time_total} %{http_version} %{content_type}"
        command += ["--output", str(received), "--dump-header", str(headers), "--write-out", said, f"{url}{path}"]
        config = f'header = "authorization: Bearer {token}"\nheader = "content-type: application/json"\n'
        for _attempt in range(ATTEMPTS if size > LIMIT else 1):
            ended = subprocess.run(
                command, input=config, capture_output=True, text=True, check=False, timeout=LONGEST + 10
            )
            if ended.returncode != ANSWER_LOST:
                break
        said = ended.stdout
        code, seconds, version, content_type = (*said.split(" ", 3), "", "", "")[:4]
        length = "" if told else " without a length"
        what = f"{path} {size} bytes {protocol}{length}: {code} {content_type} after {seconds} s"
        slowest = sorted([*slowest, (float(seconds or 0), what)], reverse=True)[:3]
        if code != ("413" if size > LIMIT else "200") or version != protocol.removeprefix("--http")[: len(version)]:
            yield what
        elif problems := api_errors.problems(int(code), [("content-type", content_type)], received.read_bytes(), path):
            yield f"{what}: {problems}"
    print(*(f"slow: {what}" for _seconds, what in slowest), sep="\n")
