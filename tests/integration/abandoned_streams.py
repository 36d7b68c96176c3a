# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Clients that leave a stream before its end: what they got is counted and taken from their limit."""

from __future__ import annotations

import concurrent.futures
import json
import subprocess
import time

import gateway_tls
from gateway_requests import Ask, body_of, log, send, tokens
from limits_and_identity import COUNTED, fresh_window
from provider_kinds import UNLIMITED, token_of

#: By path, the slow model of each kind of provider.
SLOW = {"odd-slow": "/v1/chat/completions", "tls-odd-slow": "/v1/completions", "claude-odd-slow": "/v1/messages"}
PROTOCOLS = ("--http1.1", "--http2-prior-knowledge")
#: The events after which a client leaves; the first ones have no content yet.
EVENTS = 6
#: Tokens a minute of tier premium.
LIMIT = 50_000


def leave(url: str, token: str, ask: Ask, protocol: str) -> int:
    """Read so many events of a stream and close the connection; return how many there were."""
    options = ["--silent", "--no-buffer", "--max-time", "20", protocol, *gateway_tls.curl_options(url)]
    command = ["curl", *options, "--config", "-", f"{url}{ask.path}"]
    config = [
        f'header = "authorization: Bearer {token}"',
        'header = "content-type: application/json"',
        f'user-agent = "{ask.agent}"',
    ]
    config.append(f"data = {json.dumps(json.dumps(ask.body))}")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write("\n".join(config))
        process.stdin.close()
        count = 0
        for line in process.stdout:
            count += line.startswith("data:")
            if count == EVENTS:
                break
        process.kill()
    return count


def one_table(url: str) -> list[str]:
    """Leave a stream of each kind in each protocol, each as a user of its own; print the figures and return what is
    wrong.
    """
    fresh_window()
    cases = [(model, path, protocol, token_of("premium")) for model, path in SLOW.items() for protocol in PROTOCOLS]
    asks = [Ask(path, body_of(path, model, stream=True)) for model, path, _protocol, _user in cases]
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        read = list(
            pool.map(lambda pair: leave(url, pair[0][3][1], pair[1], pair[0][2]), zip(cases, asks, strict=True))
        )
    time.sleep(4 * COUNTED)
    after = [
        send(url, user[1], Ask("/v1/chat/completions", body_of("/v1/chat/completions", UNLIMITED)))
        for _model, _path, _protocol, user in cases
    ]
    entries = log(ask.agent for ask in asks)
    faults = []
    for (model, path, protocol, _user), ask, count, reply in zip(cases, asks, read, after, strict=True):
        entry = entries[ask.agent]
        spent = LIMIT - int(reply.header("x-ratelimit-remaining") or -1)
        what = f"{model} {path} {protocol}: left after {count} events, {entry['response_flags']}, "
        what += f"{tokens(entry)} tokens in the log, {spent} taken from the limit"
        print(what)
        if not (count == EVENTS and 0 < tokens(entry) < 1000 and spent == tokens(entry)):
            faults.append(what)
    return faults
