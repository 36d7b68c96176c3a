# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._rendering import tree


def bring(directory: Path, files: dict[str, str]) -> tree.Changes:
    wanted, changes = tree.compare(directory, files)
    tree.write(directory, wanted, changes)
    return changes


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_a_directory_becomes_what_is_wanted(tmp_path: Path) -> None:
    directory = tmp_path / "tree"
    first = bring(directory, {"a/one.yaml": "1", "b/two.yaml": "2", "c.yaml": "3"})
    assert first.created == [".rendered.json", "a/one.yaml", "b/two.yaml", "c.yaml"]
    assert not bring(directory, {"a/one.yaml": "1", "b/two.yaml": "2", "c.yaml": "3"})
    second = bring(directory, {"a/one.yaml": "1", "c.yaml": "4"})
    assert (second.created, second.updated, second.deleted) == ([], [".rendered.json", "c.yaml"], ["b/two.yaml"])
    assert names(directory) == [".rendered.json", "a/one.yaml", "c.yaml"]
    assert not (directory / "b").exists()
    assert (directory / "c.yaml").read_text(encoding="utf-8") == "4"


def test_the_files_of_others_stay(tmp_path: Path) -> None:
    bring(tmp_path, {"a/one.yaml": "1", "b/two.yaml": "2"})
    (tmp_path / "a/mine.yaml").write_text("mine", encoding="utf-8")
    bring(tmp_path, {"b/two.yaml": "2"})
    assert names(tmp_path) == [".rendered.json", "a/mine.yaml", "b/two.yaml"]
    with pytest.raises(tree.TreeError, match=r"has files that no rendering wrote: a/mine\.yaml; move them"):
        tree.compare(tmp_path, {"a/mine.yaml": "other"})


def test_a_run_that_was_cut_off_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path, {"a.yaml": "1", "old.yaml": "0"})
    wanted, changes = tree.compare(tmp_path, {"a.yaml": "2", "b.yaml": "3", "c.yaml": "4"})
    replace, left = tree._replace, [2]

    def cut_off(path: Path, content: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        replace(path, content)

    monkeypatch.setattr(tree, "_replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        tree.write(tmp_path, wanted, changes)
    monkeypatch.undo()
    bring(tmp_path, {"a.yaml": "2", "b.yaml": "3", "c.yaml": "4"})
    assert names(tmp_path) == [".rendered.json", "a.yaml", "b.yaml", "c.yaml"]
    assert (tmp_path / "c.yaml").read_text(encoding="utf-8") == "4"


@pytest.mark.parametrize(
    "content", ["{", "[]", "[1]", '{"files": ["../outside.yaml"]}', '{"files": ["/etc/passwd"]}', '{"files": [1]}']
)
def test_a_list_that_is_none_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / ".rendered.json").write_text(content, encoding="utf-8")
    with pytest.raises(tree.TreeError, match="is no list of rendered files"):
        tree.compare(tmp_path, {"a.yaml": "1"})


def test_the_list_is_the_same_each_time(tmp_path: Path) -> None:
    bring(tmp_path, {"b.yaml": "1", "a.yaml": "2"})
    content = (tmp_path / ".rendered.json").read_text(encoding="utf-8")
    assert json.loads(content) == {"files": [".rendered.json", "a.yaml", "b.yaml"]}
    bring(tmp_path, {"a.yaml": "2", "b.yaml": "1"})
    assert (tmp_path / ".rendered.json").read_text(encoding="utf-8") == content


def test_the_tree_of_something_else_stays(tmp_path: Path) -> None:
    # One that does not say what it is of becomes that of the first who does.
    bring(tmp_path, {"a.yaml": "1"})
    for _time in range(2):
        wanted, changes = tree.compare(tmp_path, {"a.yaml": "2"}, "Gateway one")
        tree.write(tmp_path, wanted, changes)
    assert not changes
    assert json.loads((tmp_path / ".rendered.json").read_text(encoding="utf-8"))["of"] == "Gateway one"
    with pytest.raises(tree.TreeError, match=r"is the tree of Gateway one, and that of Gateway two would overwrite it"):
        tree.compare(tmp_path, {"a.yaml": "2"}, "Gateway two")


def test_a_run_that_was_cut_off_leaves_a_tree_of_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, changes = tree.compare(tmp_path, {"a.yaml": "1"}, "Gateway one")
    replace = tree._replace

    def cut_off(path: Path, content: str) -> None:
        if path.name == "a.yaml":
            raise KeyboardInterrupt
        replace(path, content)

    monkeypatch.setattr(tree, "_replace", cut_off)
    with pytest.raises(KeyboardInterrupt):
        tree.write(tmp_path, wanted, changes)
    with pytest.raises(tree.TreeError, match="is the tree of Gateway one"):
        tree.compare(tmp_path, {"a.yaml": "2"}, "Gateway two")


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "below/secrets.yaml"
    tree.write_secrets(path, "first")
    path.chmod(0o644)
    tree.write_secrets(path, "second")
    assert path.read_text(encoding="utf-8") == "second"
    assert path.stat().st_mode & 0o777 == 0o600
