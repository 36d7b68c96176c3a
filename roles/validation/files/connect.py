# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Print those of the given HOST:PORT that accept a connection, one a line. In this pod none of them should."""

import concurrent.futures
import socket
import sys


def connects(place: str) -> bool:
    host, _colon, port = place.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
    except OSError:
        return False
    return True


with concurrent.futures.ThreadPoolExecutor() as pool:
    reached = [place for place, open_to_all in zip(sys.argv[1:], pool.map(connects, sys.argv[1:])) if open_to_all]
print("\n".join(reached))
