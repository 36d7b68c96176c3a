# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Frames of HTTP/2 (RFC 9113) as bytes, right ones and wrong ones: a library would send the right ones alone."""

from __future__ import annotations

import typing as t

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED, HAS_PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20
#: The largest frame that may be sent unasked.
FRAME_SIZE = 16_384

Header = tuple[bytes, bytes]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"", length: int | None = None) -> bytes:
    """Return a frame; its header states `length` instead of the payload's own."""
    return (
        (len(payload) if length is None else length).to_bytes(3, "big")
        + bytes([kind, flags])
        + stream.to_bytes(4, "big")
        + payload
    )


def number(value: int, bits: int = 7, first: int = 0) -> bytes:
    """Return a number of HPACK with a prefix of so many bits, below the bits of `first`."""
    limit = 2**bits - 1
    if value < limit:
        return bytes([first | value])
    encoded, value = bytearray([first | limit]), value - limit
    while value >= 128:
        encoded.append(value % 128 + 128)
        value //= 128
    return bytes([*encoded, value])


def block(headers: t.Iterable[Header]) -> bytes:
    """Return the headers as HPACK's literals, which no table and no earlier request changes."""
    return b"".join(b"\x00" + number(len(name)) + name + number(len(value)) + value for name, value in headers)


def header_frames(payload: bytes, flags: int = END_STREAM, stream: int = 1) -> bytes:
    """Return a block of headers as HEADERS and, where it is too long for one frame, CONTINUATION."""
    parts = [payload[start : start + FRAME_SIZE] for start in range(0, len(payload), FRAME_SIZE)] or [b""]
    frames = b""
    for place, part in enumerate(parts):
        end = END_HEADERS if place == len(parts) - 1 else 0
        frames += frame(CONTINUATION if place else HEADERS, end | (0 if place else flags), stream, part)
    return frames


def request(headers: t.Iterable[Header], body: bytes = b"", stream: int = 1) -> bytes:
    """Return the frames of a request with its end."""
    found = header_frames(block(headers), 0 if body else END_STREAM, stream)
    parts = [body[start : start + FRAME_SIZE] for start in range(0, len(body), FRAME_SIZE)]
    return found + b"".join(
        frame(DATA, END_STREAM if place == len(parts) - 1 else 0, stream, part) for place, part in enumerate(parts)
    )


def opening() -> bytes:
    """Return what a client sends first:

    the preface, no pushes and large windows, so that answers come without more of them.
    """
    settings = b"\x00\x02" + (0).to_bytes(4, "big") + b"\x00\x04" + (2**24).to_bytes(4, "big")
    return PREFACE + frame(SETTINGS, 0, 0, settings) + frame(WINDOW_UPDATE, 0, 0, (2**24).to_bytes(4, "big"))


def frames(data: bytes) -> tuple[list[tuple[int, int, int, bytes]], bytes]:
    """Return the whole frames that `data` begins with, each (kind, flags, stream, payload), and the rest."""
    found, place = [], 0
    while len(data) - place >= 9:
        length = int.from_bytes(data[place : place + 3], "big")
        if len(data) - place < 9 + length:
            break
        stream = int.from_bytes(data[place + 5 : place + 9], "big") & 0x7FFFFFFF
        found.append((data[place + 3], data[place + 4], stream, data[place + 9 : place + 9 + length]))
        place += 9 + length
    return found, data[place:]
