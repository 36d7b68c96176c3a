# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of rendered files: written where they differ, removed where they are rendered no more.

The tree lists its files in one of them, and says there what it is of. What is not on the list is somebody else's and
stays, and so does a whole tree of something else.
"""

from __future__ import annotations

import json
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.egress.ai_gateway.plugins.module_utils._rendering.files import Files

#: The list of the files of a tree.
LIST = ".rendered.json"


class TreeError(Exception):
    """The directory cannot hold the tree; nothing has been written."""


@dataclass(frozen=True)
class Changes:
    """What differs between a directory and the files it is to hold, by path."""

    created: list[str]
    updated: list[str]
    deleted: list[str]

    def __bool__(self) -> bool:
        return bool(self.created or self.updated or self.deleted)


def listed(directory: Path) -> list[str]:
    """The files of the tree in ``directory``; none where there is no tree.

    :raises TreeError: when the list is not readable, or names something outside.
    """
    return _read(directory)[0]


def _read(directory: Path) -> tuple[list[str], str]:
    """The files of the tree in ``directory``, and what it is of where it says so."""
    path = directory / LIST
    if not path.exists():
        return [], ""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        names = content["files"]
        if all(
            isinstance(name, str) and ".." not in Path(name).parts and not Path(name).is_absolute() for name in names
        ):
            return t.cast("list[str]", names), str(content.get("of", ""))
    except (ValueError, LookupError, TypeError):
        pass
    raise TreeError(f"{path} is no list of rendered files; restore it, or render into an empty directory")


def present(directory: Path) -> Files:
    """The files of the tree that exist."""
    return {
        name: (directory / name).read_text(encoding="utf-8")
        for name in listed(directory)
        if (directory / name).is_file()
    }


def compare(directory: Path, files: Files, of: str = "") -> tuple[Files, Changes]:
    """``files`` with their list, and what is to be done to have them.

    :param of: what the tree is of, such as a gateway and its cluster.
    :raises TreeError: where a file of others has a name of the tree's, or the tree is of something else.
    """
    there = _read(directory)[1]
    if there and of and there != of:
        raise TreeError(
            f"{directory} is the tree of {there}, and that of {of} would overwrite it; render into another directory, "
            "or remove this one first"
        )
    files = {**files, LIST: _list([*files, LIST], of or there)}
    found = present(directory)
    others = sorted(name for name in files if name not in found and os.path.lexists(directory / name))
    if others:
        raise TreeError(
            f"{directory} has files that no rendering wrote: {', '.join(others[:3])}"
            + (f" and {len(others) - 3} more" if len(others) > 3 else "")
            + "; move them, or render into another directory"
        )
    changes = Changes(
        created=sorted(name for name in files if name not in found),
        updated=sorted(name for name, content in files.items() if found.get(name, content) != content),
        deleted=sorted(name for name in found if name not in files),
    )
    return files, changes


def write(directory: Path, files: Files, changes: Changes) -> None:
    """Bring the directory to ``files``. The list is written first, so that a run that was cut off is found again."""
    directory.mkdir(parents=True, exist_ok=True)
    if changes:
        names = sorted({*files, *changes.deleted})
        _replace(directory / LIST, _list(names, json.loads(files[LIST]).get("of", "")))
    for name in changes.deleted:
        (directory / name).unlink()
        for parent in (directory / name).parents:
            if parent == directory or any(parent.iterdir()):
                break
            parent.rmdir()
    for name in sorted([*changes.created, *changes.updated], key=lambda name: (name == LIST, name)):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, files[name])
    if changes:
        _replace(directory / LIST, files[LIST])


def _list(names: t.Iterable[str], of: str) -> str:
    return json.dumps({**({"of": of} if of else {}), "files": sorted(names)}, indent=1) + "\n"


def _replace(path: Path, content: str) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(content, encoding="utf-8")
    temporary.replace(path)


def write_secrets(path: Path, content: str) -> None:
    """Write the file of Secrets for its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(content)
    temporary.replace(path)
