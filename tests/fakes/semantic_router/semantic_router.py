# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fake of vLLM Semantic Router: it chooses by the router's own configuration, and classifies nothing.

README.md says what of the real one it does, and what not.

Needs Python 3.11, PyYAML, grpcio, protobuf and xds-protos and, beside this file, the others of its directory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import threading
import typing as t

import router_extproc
from router_config import ConfigError, load
from router_http import ApiHandler, Handler, MetricsHandler, ProxyHandler, Server
from router_metrics import Metrics
from router_requests import Router, log


async def serve(router: Router, options: argparse.Namespace) -> None:
    """Answer until the program is asked to end."""
    processor, port = await router_extproc.server(router, f"{options.host}:{options.port}")
    ports = {"ext_proc": port}
    handlers: dict[str, tuple[int, type[Handler]]] = {
        "http": (options.http_port, ProxyHandler),
        "metrics": (options.metrics_port, MetricsHandler),
        # The last, as it says that the router is ready.
        "api": (options.api_port, ApiHandler),
    }
    for name, (wanted, handler) in handlers.items():
        server = Server((options.host, wanted), handler, router)
        ports[name] = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
    log(f"ready: {' '.join(f'{name}={port}' for name, port in ports.items())}")
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await processor.stop(options.grace)


def main(arguments: t.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="The fake of vLLM Semantic Router.")
    parser.add_argument("-config", "--config", metavar="FILE", default="/app/config/config.yaml")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("-port", "--port", type=int, default=50051, help="of the external processor")
    parser.add_argument("-api-port", "--api-port", type=int, default=8080)
    parser.add_argument("-metrics-port", "--metrics-port", type=int, default=9190)
    parser.add_argument("--http-port", type=int, default=8801, help="of the router with its own Envoy")
    parser.add_argument("--grace", type=float, default=2, help="seconds for requests when it ends")
    options = parser.parse_args(arguments)
    try:
        config = load(options.config)
    except ConfigError as error:
        log(f"failed to load config {options.config}: invalid configuration: {error}")
        return 1
    log(f"this is a fake of vLLM Semantic Router: {len(config.models)} models, {', '.join(config.entrypoints)}")
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(Router(config, Metrics()), options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
