# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Content encodings of answers, each piece readable as soon as it is sent.

zstd and br store without compressing, as the standard library has neither.
"""

from __future__ import annotations

import typing as t
import zlib

#: RFC 8878 allows blocks of up to 128 KiB; an uncompressed meta-block of RFC 7932 with four nibbles of length has up to
#: 64 KiB.
ZSTD_BLOCK = 2**17
BR_BLOCK = 2**16


def blocks(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def zlib_pieces(pieces: t.Iterable[bytes], window_bits: int) -> t.Iterator[bytes]:
    compressor = zlib.compressobj(wbits=window_bits)
    for piece in pieces:
        yield compressor.compress(piece) + compressor.flush(zlib.Z_SYNC_FLUSH)
    yield compressor.flush()


def zstd_pieces(pieces: t.Iterable[bytes]) -> t.Iterator[bytes]:
    # The magic number, a frame header without size and checksum, and a window of 1 MiB.
    yield b"\x28\xb5\x2f\xfd\x00\x50"
    for piece in pieces:
        yield b"".join((len(block) << 3).to_bytes(3, "little") + block for block in blocks(piece, ZSTD_BLOCK))
    # A last block that is empty.
    yield b"\x01\x00\x00"


def br_pieces(pieces: t.Iterable[bytes]) -> t.Iterator[bytes]:
    # A header of 20 bits: not the last, four nibbles, the length less one, uncompressed. The first has the bit for a
    # window of 64 KiB before it.
    shift = 1
    for piece in pieces:
        encoded = b""
        for block in blocks(piece, BR_BLOCK):
            encoded += (((len(block) - 1) << 3 | 1 << 19) << shift).to_bytes(3, "little") + block
            shift = 0
        yield encoded
    # The last meta-block, which is empty.
    yield (0b11 << shift).to_bytes(1, "little")


ENCODINGS: dict[str, t.Callable[[t.Iterable[bytes]], t.Iterator[bytes]]] = {
    "deflate": lambda pieces: zlib_pieces(pieces, zlib.MAX_WBITS),
    "gzip": lambda pieces: zlib_pieces(pieces, zlib.MAX_WBITS | 16),
    "zstd": zstd_pieces,
    "br": br_pieces,
}
