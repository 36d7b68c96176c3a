# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache of programs and images, which all embedded clusters of a machine fill together."""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t


@contextlib.contextmanager
def locked(cache: str, say: t.Callable[[str], None]) -> t.Iterator[None]:
    """Keep other runs and the other hosts of this one from filling the cache, until the block or the process ends.

    What is missing has to be looked for inside of the block: another may have made it.
    """
    os.makedirs(cache, exist_ok=True)
    lock = os.open(os.path.join(cache, ".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another cluster or run that fills {cache}")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
