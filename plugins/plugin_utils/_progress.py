# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the progress lines of a long module while it runs."""

from __future__ import annotations

import os
import tempfile
import threading
import typing as t

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import PROGRESS_FILE_VARIABLE

display = Display()

#: Seconds between two looks at the progress file.
INTERVAL = 0.5


class ProgressAction(ActionBase):
    """Runs the module that the task names and shows its progress lines as they come.

    The module must run on the controller's machine (connection ``local``), as an inventory host here is a
    cluster and not a machine; over any other connection it runs as usual, in silence.
    """

    #: The worker's environment and the progress file are this process's own.
    _requires_connection = True
    _host = "localhost"

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        self._name_host(task_vars)
        result = super().run(tmp, task_vars)
        with tempfile.NamedTemporaryFile("r", prefix="ai-gateway-progress-", encoding="utf-8") as stream:
            # A worker process runs one task, so its environment is the module's alone.
            os.environ[PROGRESS_FILE_VARIABLE] = stream.name
            stop = threading.Event()
            viewer = threading.Thread(target=self._show, args=(stream, stop), daemon=True)
            viewer.start()
            try:
                result.update(self._execute_module(task_vars=task_vars))
            finally:
                stop.set()
                viewer.join()
                del os.environ[PROGRESS_FILE_VARIABLE]
        return result

    def _say(self, line: str) -> None:
        display.display(f"  [{self._host}] {line}")

    def _show(self, stream: t.TextIO, stop: threading.Event) -> None:
        ended = False
        while True:
            for line in stream:
                self._say(line.rstrip())
            if ended:
                return
            ended = stop.wait(INTERVAL)

    def _name_host(self, task_vars: dict[str, t.Any] | None) -> None:
        """Name the host that lines begin with, as the inventory does: two clusters may have one address."""
        self._host = str((task_vars or {}).get("inventory_hostname") or self._play_context.remote_addr or "localhost")
