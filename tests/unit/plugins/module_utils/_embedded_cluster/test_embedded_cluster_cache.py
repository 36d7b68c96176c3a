# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import threading
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.cache import locked


def test_the_second_waits_for_the_first_and_says_so(tmp_path: Path) -> None:
    cache = str(tmp_path / "cache")
    said: list[str] = []
    order: list[str] = []

    def second() -> None:
        with locked(cache, said.append):
            order.append("second")

    with locked(cache, said.append):
        assert said == []
        waiting = threading.Thread(target=second)
        waiting.start()
        while not said:
            waiting.join(0.01)
        assert said == [f"waiting for another cluster or run that fills {cache}"]
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_it_is_free_again_after_an_error(tmp_path: Path) -> None:
    said: list[str] = []
    for _round in range(2):
        try:
            with locked(str(tmp_path), said.append):
                raise OSError
        except OSError:
            continue
    assert said == []
