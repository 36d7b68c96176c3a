# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge bodies of requests in each place of Envoy's filter chain that could do it, side by side.

Each way has an Envoy of its own with one worker and a static configuration; all forward to one more Envoy that reads
the body and answers. In each round every way gets every body, in another order each time, on sixteen connections for
some seconds. Measured are requests per second, the median and the 99th percentile of their times, and the seconds of
processor time that the way's Envoy, and its external processor, took for a thousand requests. Before that, all ways
have to come to the same judgements. README.md lists the requirements.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import dataclasses
import http.client
import itertools
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import typing as t

HERE = pathlib.Path(__file__).resolve().parent
READER = HERE.parents[2] / "roles/access_policies/files/json.lua"
LIMIT = 50 << 20
LARGE = 300_000
CONNECTIONS = 16
TOKEN = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"


class BenchmarkError(Exception):
    """An error for the user."""


def chat(size: int) -> bytes:
    """A conversation of many small messages."""
    chance = random.Random(1)  # noqa: S311
    words = [
        "the",
        "quick",
        "brown",
        "fox",
        "jumps",
        "over",
        "a",
        "lazy",
        "dog,",
        "and",
        "asks:",
        '"why?"',
        "because",
        "it",
        "can.\n",
        "of",
        "course!",
    ]
    messages: list[dict[str, str]] = []
    left = size
    while left > 0:
        messages.append({"role": "user", "content": " ".join(chance.choice(words) for _ in range(12))})
        left -= len(json.dumps(messages[-1])) + 2
    return json.dumps({"model": "gpt-4", "messages": messages, "stream": False}).encode()


def image(size: int) -> bytes:
    """One long string."""
    url = "data:image/png;base64," + base64.b64encode(random.Random(1).randbytes(size * 3 // 4)).decode()  # noqa: S311
    return json.dumps(
        {
            "model": "gpt-4",
            "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}],
        }
    ).encode()


def filled(before: str, unit: str, after: str) -> bytes:
    return (before + unit * ((LARGE - len(before) - len(after)) // len(unit.encode())) + after).encode()


HONEST = {
    "1 kB": chat(1000),
    "300 kB, one image": image(LARGE),
    "300 kB, many messages": chat(LARGE),
    "300 kB, tokens": filled('{"model":"gpt-4","input":[', "100000, ", "1]}"),
}
HOSTILE = {
    "`[[[[`": filled("", "[", ""),
    '`{"a":{"a":`': filled("", '{"a":', ""),
    "`\\u0061\\u0061`": filled('{"model":"m","a":"', "\\u0061", '"}'),
    "`[1,1,1,`": filled('{"model":"m","a":[', "1,", "1]}"),
    "`\\n\\u0061\\n\\u0061`": filled('{"model":"m","a":"', "\\n\\u0061", '"}'),
    "`éaéa`": filled('{"model":"m","a":"', "éa", '"}'),
    "`[0.1,0.1,`": filled('{"model":"m","a":[', "0.1,", "1]}"),
    "`[\\n1\\n,`": filled('{"model":"m","a":[', "\n1\n,", "1]}"),
    '`["\\n","\\n",`': filled('{"model":"m","a":[', '"\\n",', "1]}"),
    "`[[],[],`": filled('{"model":"m","a":[', "[],", "[]]}"),
    '`[{"a":1},`': filled('{"model":"m","a":[', '{"a":1},', "1]}"),
    '`{"00001":1,`': ('{"model":"m"' + "".join(f',"{number:05x}":1' for number in range(LARGE // 10)) + "}").encode(),
    '`{"\\u006100001":1,`': (
        '{"model":"m"' + "".join(f',"\\u0061{number:05x}":1' for number in range(LARGE // 16)) + "}"
    ).encode(),
}
#: The judgement of every way on a body.
JUDGEMENTS = [
    (True, b'{"model":"m"}'),
    (True, b' {"a":{"model":1},"model":"m","b":[1.5e3,-0,true,false,null,"\\ud83d\\ude00",{}]} '),
    *((True, body) for body in HONEST.values()),
    (False, b'{"model":"m","model":"m"}'),
    (False, b'{"model":"m","stream":false,"stre\\u0061m":true}'),
    (False, b'{"model":"m","a":[{"b":{"c":1,"c":2}}]}'),
    (False, b'{"model":1}'),
    (False, b'{"a":1}'),
    (False, b'["model","m"]'),
    (False, b'{"model":"m"}{"model":"m"}'),
    (False, b'{"model":"m",}'),
    (False, b'{"model":"m","a":01}'),
    (False, b'{"model":"m","a":"\xff"}'),
    (False, b'{"model":"m","a":"\xed\xa0\x80"}'),
    (False, b'{"model":"m","a":"\\ud800"}'),
    (False, b'{"model":"m","a":"\n"}'),
    (False, b'{"model":"m"'),
    (False, HOSTILE["`[[[[`"]),
    (False, b'{"model":"m","a":' + b"[" * 64 + b"]" * 64 + b"}"),
]

PROTOTYPES = "type.googleapis.com/envoy.extensions.filters"
HTTP = f"{PROTOTYPES}.http"


def lua(name: str, *files: str) -> dict[str, t.Any]:
    # The reader is the one that the gateway has.
    code = "\n".join((READER if file == READER.name else HERE / file).read_text() for file in files)
    return {
        "name": name,
        "typed_config": {"@type": f"{HTTP}.lua.v3.Lua", "default_source_code": {"inline_string": code}},
    }


def buffer() -> dict[str, t.Any]:
    return {"name": "buffer", "typed_config": {"@type": f"{HTTP}.buffer.v3.Buffer", "max_request_bytes": LIMIT}}


def external() -> dict[str, t.Any]:
    config = {
        "@type": f"{HTTP}.ext_proc.v3.ExternalProcessor",
        "grpc_service": {"envoy_grpc": {"cluster_name": "judge"}, "timeout": "10s"},
        "message_timeout": "10s",
        "processing_mode": {
            "request_header_mode": "SKIP",
            "response_header_mode": "SKIP",
            "request_body_mode": "BUFFERED",
        },
    }
    return {"name": "ext_proc", "typed_config": config}


def wasm(code: pathlib.Path) -> dict[str, t.Any]:
    config = {
        "name": "bodies",
        "vm_config": {"runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(code)}}},
        # Without it Envoy reads no body while the headers wait.
        "allow_on_headers_stop_iteration": True,
    }
    return {"name": "wasm", "typed_config": {"@type": f"{HTTP}.wasm.v3.Wasm", "config": config}}


def module() -> dict[str, t.Any]:
    config = {
        "@type": f"{HTTP}.dynamic_modules.v3.DynamicModuleFilter",
        "dynamic_module_config": {"name": "bodies"},
        "filter_name": "bodies",
    }
    return {"name": "dynamic_modules", "typed_config": config}


def listener(port: int, route: dict[str, t.Any], filters: list[dict[str, t.Any]]) -> dict[str, t.Any]:
    manager = {
        "@type": f"{PROTOTYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bodies",
        "route_config": {
            "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, **route}]}]
        },
        "http_filters": [*filters, {"name": "router", "typed_config": {"@type": f"{HTTP}.router.v3.Router"}}],
    }
    return {
        "name": "bodies",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "per_connection_buffer_limit_bytes": LIMIT,
        "filter_chains": [{"filters": [{"name": "manager", "typed_config": manager}]}],
    }


def cluster(name: str, address: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "per_connection_buffer_limit_bytes": LIMIT,
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        **more,
    }


def gateway(port: int, upstream: int, filters: list[dict[str, t.Any]], socket: pathlib.Path) -> dict[str, t.Any]:
    """The configuration of a way's Envoy."""
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    protocol = {
        options: {"@type": f"type.googleapis.com/{options}", "explicit_http_config": {"http2_protocol_options": {}}}
    }
    clusters = [
        cluster("upstream", {"socket_address": {"address": "127.0.0.1", "port_value": upstream}}),
        cluster("judge", {"pipe": {"path": str(socket)}}, typed_extension_protocol_options=protocol),
    ]
    return {
        "static_resources": {
            "listeners": [listener(port, {"route": {"cluster": "upstream", "timeout": "60s"}}, filters)],
            "clusters": clusters,
        }
    }


def provider(port: int) -> dict[str, t.Any]:
    """The configuration of the Envoy that all ways forward to."""
    answer = {"direct_response": {"status": 200, "body": {"inline_string": '{"object":"chat.completion"}'}}}
    return {"static_resources": {"listeners": [listener(port, answer, [buffer()])]}}


@dataclasses.dataclass
class Way:
    name: str
    port: int
    processes: list[subprocess.Popen[bytes]]
    judges: bool

    def processor_seconds(self) -> float:
        fields = [
            pathlib.Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            for process in self.processes
        ]
        return sum(int(field[11]) + int(field[12]) for field in fields) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> float:
        """The most that its processes ever held, in MiB."""
        statuses = [pathlib.Path(f"/proc/{process.pid}/status").read_text() for process in self.processes]
        return (
            sum(
                int(line.split()[1]) for status in statuses for line in status.splitlines() if line.startswith("VmHWM:")
            )
            / 1024
        )


@dataclasses.dataclass
class Figures:
    rate: float  # requests per second
    median: float  # milliseconds
    p99: float
    seconds: float  # of processor time for a thousand requests
    lost: int


def built(directory: pathlib.Path) -> None:
    """Build the external processor, the sender of requests, the WebAssembly module and the dynamic module."""
    for name in ("ext_proc", "load", "rust"):
        shutil.copytree(HERE / name, directory / name, dirs_exist_ok=True)
    go = {**os.environ, "GOEXPERIMENT": "jsonv2", "GOFLAGS": "-mod=mod"}
    rust = {**os.environ, "CARGO_TARGET_DIR": str(directory / "target")}
    for command, where, environment in (
        (("go", "mod", "tidy"), "ext_proc", go),
        (("go", "build", "-o", "../judge", "."), "ext_proc", go),
        (("go", "build", "-o", "../sender", "."), "load", go),
        (("cargo", "build", "--release", "--target", "wasm32-wasip1"), "rust", rust),
        (("cargo", "build", "--release"), "rust", rust),
    ):
        done = subprocess.run(
            command, cwd=directory / where, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise BenchmarkError(f"{' '.join(command)} in {directory / where} failed:\n{done.stderr}")


def sent(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with contextlib.closing(connection):
        connection.request(
            "POST", "/v1/chat/completions", body, {"content-type": "application/json", "authorization": TOKEN}
        )
        return connection.getresponse().status


def answered(port: int, log: pathlib.Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            if sent(port, JUDGEMENTS[0][1]) == 200:
                return
        time.sleep(0.1)
    raise BenchmarkError(f"Envoy does not answer on port {port}: {log.read_text()[-2000:]}")


class Benchmark:
    def __init__(self, envoy: pathlib.Path, build: pathlib.Path, first_port: int, stack: contextlib.ExitStack) -> None:
        self.envoy = envoy
        self.build = build
        self.stack = stack
        self.directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.first_port = first_port

    def started(
        self, name: str, command: t.Sequence[str], **environment: str
    ) -> tuple[subprocess.Popen[bytes], pathlib.Path]:
        log = self.directory / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **environment})
        self.stack.callback(process.wait)
        self.stack.callback(process.terminate)
        return process, log

    def proxy(self, name: str, config: dict[str, t.Any], port: int) -> subprocess.Popen[bytes]:
        file = self.directory / f"{name}.json"
        file.write_text(json.dumps(config))
        options = ("--concurrency", "1", "--disable-hot-restart", "--log-level", "warning")
        process, log = self.started(
            name,
            (str(self.envoy), "-c", str(file), *options),
            ENVOY_DYNAMIC_MODULES_SEARCH_PATH=str(self.build / "target/release"),
        )
        answered(port, log)
        return process

    def ways(self) -> list[Way]:
        code = self.build / "target/wasm32-wasip1/release/bodies.wasm"
        chains = {
            "no judge": [],
            "buffer alone": [buffer()],
            "Lua": [lua("lua", "json.lua", "body.lua")],
            "Lua twice": [lua("path", "path.lua"), lua("body", "json.lua", "body.lua")],
            "ext_proc": [external()],
            "WebAssembly": [wasm(code)],
            "dynamic module": [module()],
        }
        socket = self.directory / "judge.sock"
        self.proxy("provider", provider(self.first_port), self.first_port)
        ways = []
        for port, (name, filters) in enumerate(chains.items(), self.first_port + 1):
            processes = []
            if name == "ext_proc":
                processes.append(self.started("judge", (str(self.build / "judge"), str(socket)))[0])
            processes.append(self.proxy(name.replace(" ", "-"), gateway(port, self.first_port, filters, socket), port))
            ways.append(Way(name, port, processes, name not in ("no judge", "buffer alone")))
        return ways

    def measured(self, way: Way, body: bytes, seconds: float) -> Figures:
        headers = (
            f"authorization: {TOKEN}",
            "host: gateway",
            "content-type: application/json",
            f"content-length: {len(body)}",
        )
        head = "\r\n".join(("POST /v1/chat/completions HTTP/1.1", *headers, "", ""))
        file = self.directory / "request"
        file.write_bytes(head.encode() + body)
        before = way.processor_seconds()
        command = (str(self.build / "sender"), f"127.0.0.1:{way.port}", str(file), str(CONNECTIONS), str(seconds))
        figures = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        spent = way.processor_seconds() - before
        return Figures(
            rate=figures["requests"] / figures["seconds"],
            median=figures["median"],
            p99=figures["p99"],
            seconds=spent / figures["requests"] * 1000,
            lost=figures["lost"],
        )


def spread(values: t.Iterable[float]) -> str:
    """Median (least to most)."""
    numbers = list(values)
    digits = 0 if min(numbers) >= 100 else 1 if min(numbers) >= 10 else 2
    middle, least, most = (f"{value:.{digits}f}" for value in (statistics.median(numbers), min(numbers), max(numbers)))
    return f"{middle} ({least} to {most})"


def judged(ways: list[Way]) -> None:
    """Fail unless all ways judge alike."""
    wrong = []
    for way in ways:
        for good, body in JUDGEMENTS:
            status = sent(way.port, body)
            if status != (200 if good or not way.judges else 400):
                wrong.append(f"{way.name} answers {status} to {body[:60]!r}")
    if wrong:
        raise BenchmarkError("\n".join(wrong))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envoy", type=pathlib.Path, required=True, help="Envoy's executable")
    parser.add_argument(
        "--build", type=pathlib.Path, help="directory where the programs are built and kept (default: a temporary one)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of load for each way and body (default: %(default)s)")
    parser.add_argument(
        "--first-port", type=int, default=18700, help="the first of eight ports on loopback (default: %(default)s)"
    )
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        build = options.build or pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        built(build)
        benchmark = Benchmark(options.envoy, build.resolve(), options.first_port, stack)
        ways = benchmark.ways()
        judged(ways)
        bodies = {**HONEST, **HOSTILE}
        results: dict[tuple[str, str], list[Figures]] = {}
        for number in range(options.rounds):
            for index, (name, body) in enumerate(bodies.items()):
                turn = (number * 3 + index) % len(ways)
                for way in ways[turn:] + ways[:turn]:
                    results.setdefault((name, way.name), []).append(benchmark.measured(way, body, options.seconds))
            print(f"round {number + 1} of {options.rounds} is done", file=sys.stderr)
        print(
            "| body | way | requests/s | median, ms | 99th percentile, ms | CPU seconds for 1,000 requests |\n"
            "|---|---|---|---|---|---|"
        )
        for body_name, way in itertools.product(bodies, ways):
            figures = results[body_name, way.name]
            columns = [
                spread(getattr(figure, field) for figure in figures) for field in ("rate", "median", "p99", "seconds")
            ]
            lost = sum(figure.lost for figure in figures)
            print(
                f"| {body_name} | {way.name} | {' | '.join(columns)} |"
                + (f" {lost} requests were lost" if lost else "")
            )
        print("\n" + ", ".join(f"{way.name}: {way.memory():.0f} MiB at most" for way in ways))


if __name__ == "__main__":
    try:
        main()
    except BenchmarkError as error:
        sys.exit(str(error))
