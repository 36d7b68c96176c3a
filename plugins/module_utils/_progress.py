# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress lines of a long module, for the action plugin that shows them while the module runs."""

from __future__ import annotations

import os
import typing as t

#: Names the file that the listening action plugin reads; absent when nobody listens.
PROGRESS_FILE_VARIABLE = "EGRESS_AI_GATEWAY_PROGRESS_FILE"


class Progress:
    """Says what a module is doing or waiting for, one line at a time, each line once in a row.

    Lines must never hold a secret: they reach the terminal as they are.
    """

    def __init__(self, show: t.Callable[[str], None] | None = None) -> None:
        """:param show: takes the lines; the file of the listening action plugin does when there is none."""
        self._show = show or self._write
        self._path = os.environ.get(PROGRESS_FILE_VARIABLE)
        self._last = ""

    def say(self, message: str) -> None:
        """Show ``message``; when it repeats the line before, do nothing."""
        line = " ".join(message.split())
        if line != self._last:
            self._last = line
            self._show(line)

    def _write(self, line: str) -> None:
        if not self._path:
            return
        try:
            with open(self._path, "a", encoding="utf-8") as stream:
                stream.write(line + "\n")
        except OSError:
            # The listener went away: progress is a courtesy, never a reason to fail.
            self._path = None
