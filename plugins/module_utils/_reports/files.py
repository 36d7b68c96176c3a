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
    """Write ``name`` with the extensions json, xml and html into ``directory``, except in check mode, and return their
    absolute paths by extension. Either all three are written or none.

    :raises ReportError: when a library is missing, or the directory cannot be written to.
    """
    directory = os.path.abspath(directory)
    files = {kind: os.path.join(directory, f"{name}.{kind}") for kind in ("json", "xml", "html")}
    try:
        contents = {files["json"]: report.to_json(), files["xml"]: report.to_junit(), files["html"]: report.to_html()}
        if not check_mode:
            os.makedirs(directory, exist_ok=True)
            _write(contents)
    except ImportError as error:
        missing = {"junit_xml": "junit-xml", "jinja2": "Jinja2"}.get(str(error.name), str(error.name))
        raise ReportError(missing_required_lib(missing)) from error
    except OSError as error:
        raise ReportError(
            f"directory: cannot write to {directory}: {error.strerror}; name another directory"
        ) from error
    return files


def _write(contents: dict[str, str]) -> None:
    """Write the files by path, each whole or not at all; a report is for everyone who may enter the directory."""
    for path, content in contents.items():
        descriptor, temporary = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(content)
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
