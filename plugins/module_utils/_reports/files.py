# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes the files of a report."""

from __future__ import annotations

import os
import tempfile
import typing as t

from ansible.module_utils.basic import missing_required_lib


class ReportError(Exception):
    """The files could not be written; the message names the cause and the remedy."""


class Report(t.Protocol):
    """What has the forms of a report."""

    def to_json(self) -> str: ...

    def to_junit(self) -> str: ...

    def to_html(self) -> str: ...


def written(report: Report, directory: str, name: str, check_mode: bool) -> dict[str, str]:
    """Write ``name`` with the extensions json, xml and html as ``save`` does, for all who may enter the directory."""
    forms = {"json": report.to_json, "xml": report.to_junit, "html": report.to_html}
    return save(forms, directory, name, 0o644, check_mode)


def save(
    forms: t.Mapping[str, t.Callable[[], str]], directory: str, name: str, mode: int, check_mode: bool
) -> dict[str, str]:
    """Write ``name`` with each extension of ``forms`` into ``directory``, except in check mode, and return the absolute
    paths by extension. None is written unless all can be made.

    :raises ReportError: when a library is missing, or the directory cannot be written to.
    """
    directory = os.path.abspath(directory)
    files = {kind: os.path.join(directory, f"{name}.{kind}") for kind in forms}
    try:
        contents = {files[kind]: form() for kind, form in forms.items()}
        if not check_mode:
            os.makedirs(directory, exist_ok=True)
            for path, content in contents.items():
                write_whole(path, content, mode)
    except ImportError as error:
        missing = {"junit_xml": "junit-xml", "jinja2": "Jinja2"}.get(str(error.name), str(error.name))
        raise ReportError(missing_required_lib(missing)) from error
    except OSError as error:
        raise ReportError(
            f"directory: cannot write to {directory}: {error.strerror}; name another directory"
        ) from error
    return files


def write_whole(path: str, content: str, mode: int) -> None:
    """Write a file in an existing directory, whole or not at all. Ends of lines stay as they are."""
    descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as stream:
            stream.write(content)
        os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
