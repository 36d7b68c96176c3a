# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""The router as an external processor of an Envoy."""

from __future__ import annotations

import typing as t
from collections.abc import AsyncIterator, Iterable, Mapping

import grpc
from envoy.config.core.v3 import base_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as messages
from envoy.service.ext_proc.v3 import external_processor_pb2_grpc as service
from envoy.type.v3 import http_status_pb2
from router_requests import CHAT, RESERVED, SELECTED, MalformedError, RefusedError, Router, produced

Answer = messages.ProcessingResponse


class Processor(service.ExternalProcessorServicer):
    def __init__(self, router: Router) -> None:
        self._router = router

    async def Process(  # noqa: N802 (the name is the service's)
        self, request_iterator: AsyncIterator[t.Any], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[t.Any]:
        """One request and its answer."""
        headers: dict[str, str] = {}
        answer: Mapping[str, str] = {}
        async for request in request_iterator:
            kind = request.WhichOneof("request")
            if kind == "request_headers":
                headers = _headers(request.request_headers)
                if headers.get(":method") == "GET" and headers.get(":path", "").partition("?")[0] == "/v1/models":
                    yield _immediate(200, self._router.models(), produced("upstream"))
                    return
                removed = () if self._router.skips(headers) else RESERVED
                headers = {name: value for name, value in headers.items() if name not in removed}
                yield Answer(request_headers=messages.HeadersResponse(response=_common({}, removed)))
            elif kind == "request_body":
                try:
                    routed = self._router.route(request.request_body.body, headers)
                except MalformedError as error:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
                except RefusedError as error:
                    yield _immediate(error.status, error.body, produced("error"))
                    return
                answer = routed.answer
                common = messages.CommonResponse()
                if routed.model:
                    length = str(len(routed.body))
                    common = _common({":path": CHAT, SELECTED: routed.model.name, "content-length": length})
                    common.body_mutation.body = routed.body
                    common.clear_route_cache = self._router.config.clear_route_cache
                yield Answer(request_body=messages.BodyResponse(response=common))
            elif kind == "response_headers":
                status = _headers(request.response_headers).get(":status", "")
                shown = {**produced("upstream"), **(answer if status.startswith("2") else {})}
                yield Answer(response_headers=messages.HeadersResponse(response=_common(shown)))
            elif kind == "response_body":
                yield Answer(response_body=messages.BodyResponse())
            elif kind == "request_trailers":
                yield Answer(request_trailers=messages.TrailersResponse())
            elif kind == "response_trailers":
                yield Answer(response_trailers=messages.TrailersResponse())
            else:
                await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"request {kind} is unknown")


def _headers(request: t.Any) -> dict[str, str]:
    """By names in lower case, the last of each."""
    return {
        header.key.lower(): header.value or header.raw_value.decode(errors="replace")
        for header in request.headers.headers
    }


def _options(headers: Mapping[str, str]) -> list[t.Any]:
    return [
        base_pb2.HeaderValueOption(
            header=base_pb2.HeaderValue(key=name, raw_value=value.encode()),
            append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
        )
        for name, value in headers.items()
    ]


def _common(headers: Mapping[str, str], removed: Iterable[str] = ()) -> t.Any:
    mutation = messages.HeaderMutation(set_headers=_options(headers), remove_headers=removed)
    return messages.CommonResponse(header_mutation=mutation)


def _immediate(status: int, body: bytes, headers: Mapping[str, str]) -> t.Any:
    return Answer(
        immediate_response=messages.ImmediateResponse(
            status=http_status_pb2.HttpStatus(code=status),
            headers=messages.HeaderMutation(set_headers=_options({"content-type": "application/json", **headers})),
            body=body,
        )
    )


async def server(router: Router, address: str) -> tuple[grpc.aio.Server, int]:
    """A server that has started, and its port."""
    most = router.config.largest_message
    sizes = [("grpc.max_receive_message_length", most), ("grpc.max_send_message_length", most)]
    # Two that share a port would each get some of the requests.
    running = grpc.aio.server(options=[*sizes, ("grpc.so_reuseport", 0)])
    service.add_ExternalProcessorServicer_to_server(Processor(router), running)
    port = running.add_insecure_port(address)
    await running.start()
    return running, port
