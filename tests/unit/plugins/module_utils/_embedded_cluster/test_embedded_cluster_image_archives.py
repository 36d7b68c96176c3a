# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zipfile

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.image_archives import (
    Archive,
    Base,
    File,
    Image,
    ImageArchivesError,
    Wheel,
    archive_path,
    fetch_wheel,
    wheel_path,
    write_archive,
)

BASES = {"debian": Base("debian", "bookworm", ("python3",))}
WHEELS = {"envoy": Wheel("envoy", "envoy==1.0", ("sha256:0",))}


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program"
    path.write_bytes(b"program")
    return str(path)


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base.tar"
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("bin/sh")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"shell"))
    return str(path)


@pytest.fixture
def wheel(tmp_path):
    folder = tmp_path / "wheel"
    folder.mkdir()
    with zipfile.ZipFile(folder / "envoy.whl", "w") as archive:
        archive.writestr("envoy/_bin/envoy", b"envoy")
    return str(folder)


def read(path):
    """The manifest, and all members by name."""
    with tarfile.open(path) as archive:
        members = {entry.name: archive.extractfile(entry).read() for entry in archive}
    return json.loads(members["manifest.json"]), members


def layer(members, name):
    with tarfile.open(fileobj=io.BytesIO(members[name])) as archive:
        return {
            entry.name: (entry.mode, archive.extractfile(entry).read() if entry.isfile() else None) for entry in archive
        }


def test_image_on_nothing_has_its_files_and_how_it_runs(tmp_path, program):
    image = Image(
        "localhost/x/etcd:1",
        files=(File(program, "/usr/bin/etcd"),),
        directories=("/tmp",),
        entrypoint=("/usr/bin/etcd",),
        user="65532:65532",
    )
    target = tmp_path / "images" / "one.tar"
    write_archive(Archive("one", (image,)), str(target), {}, {})
    manifest, members = read(target)
    assert manifest[0]["RepoTags"] == ["localhost/x/etcd:1"]
    assert layer(members, manifest[0]["Layers"][0]) == {"tmp": (0o1777, None), "usr/bin/etcd": (0o755, b"program")}
    config = json.loads(members[manifest[0]["Config"]])
    assert config["config"]["Entrypoint"] == ["/usr/bin/etcd"]
    assert config["config"]["User"] == "65532:65532"
    assert "Cmd" not in config["config"]
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(members[manifest[0]["Layers"][0]]).hexdigest()]


def test_shared_root_file_system_is_in_the_archive_once(tmp_path, program, base, wheel):
    images = (
        Image("x/python:1", base="debian", entrypoint=("python3",)),
        Image("x/envoy:1", base="debian", files=(File("envoy/_bin/envoy", "/usr/bin/envoy", wheel="envoy"),)),
    )
    target = tmp_path / "images" / "two.tar"
    write_archive(Archive("two", images), str(target), {"debian": base}, {"envoy": wheel})
    manifest, members = read(target)
    assert manifest[0]["Layers"] == manifest[1]["Layers"][:1]
    assert len([name for name in members if name.endswith(".tar")]) == 2
    assert layer(members, manifest[1]["Layers"][1]) == {"usr/bin/envoy": (0o755, b"envoy")}


def test_a_directory_of_a_wheel_is_in_the_image_whole(tmp_path, wheel):
    with zipfile.ZipFile(f"{wheel}/envoy.whl", "a") as archive:
        archive.writestr("envoy/_bin/", b"")
        archive.writestr("envoy/_bin/more/notes", b"notes")
        archive.writestr("envoys/other", b"other")
    files = (File("envoy/", "/opt/envoy/", mode=0o644, wheel="envoy"),)
    target = tmp_path / "images" / "one.tar"
    write_archive(Archive("one", (Image("x/envoy:1", files=files),)), str(target), {}, {"envoy": wheel})
    manifest, members = read(target)
    assert layer(members, manifest[0]["Layers"][0]) == {
        "opt/envoy/_bin/envoy": (0o644, b"envoy"),
        "opt/envoy/_bin/more/notes": (0o644, b"notes"),
    }
    files = (File("nginx/", "/opt/nginx/", wheel="envoy"),)
    with pytest.raises(ImageArchivesError, match="there is nothing beneath nginx/"):
        write_archive(Archive("two", (Image("x/nginx:1", files=files),)), str(target), {}, {"envoy": wheel})


def test_a_wheel_is_for_the_python_of_the_image(tmp_path):
    """In place of pip, a program that keeps its arguments where the wheel would be."""
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nfor last; do :; done\nmkdir -p "$last"\necho "$@" > "$last/arguments"\n')
    python.chmod(0o755)
    paths = []
    for version in ("", "3.11"):
        found = Wheel("a", "a==1", ("sha256:0",), version)
        fetch_wheel(found, str(tmp_path / "cache"), str(python))
        paths.append(wheel_path(found, str(tmp_path / "cache")))
        with open(f"{paths[-1]}/arguments", encoding="utf-8") as arguments:
            assert ("--python-version 3.11" in arguments.read()) == bool(version)
    assert paths[0] != paths[1]


def test_same_inputs_give_the_same_bytes(tmp_path, program):
    archive = Archive("same", (Image("x/y:1", files=(File(program, "/y"),)),))
    for name in ("a", "b"):
        write_archive(archive, str(tmp_path / name / "same.tar"), {}, {})
    assert (tmp_path / "a" / "same.tar").read_bytes() == (tmp_path / "b" / "same.tar").read_bytes()


def test_name_in_the_cache_follows_the_inputs(tmp_path, program):
    def name(image):
        return archive_path(Archive("one", (image,)), str(tmp_path), BASES, WHEELS)

    first = name(Image("x/y:1", files=(File(program, "/y"),)))
    assert name(Image("x/y:2", files=(File(program, "/y"),))) != first
    assert name(Image("x/y:1", base="debian", files=(File(program, "/y"),))) != first
    with open(program, "ab") as stream:
        stream.write(b"changed")
    assert name(Image("x/y:1", files=(File(program, "/y"),))) != first
    assert name(Image("x/y:1", files=(File(str(tmp_path / "not built yet"), "/y"),))).startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (Image("x/y:1", base="alpine"), "image x/y:1: base 'alpine' is not one of the bases \\(debian\\)"),
        (
            Image("x/y:1", files=(File("a", "/a", wheel="nginx"),)),
            "image x/y:1: wheel 'nginx' is not one of the wheels \\(envoy\\)",
        ),
    ],
)
def test_unknown_references_are_named(tmp_path, image, message):
    with pytest.raises(ImageArchivesError, match=message):
        archive_path(Archive("one", (image,)), str(tmp_path), BASES, WHEELS)


@pytest.mark.parametrize("file", [File("/does/not/exist", "/x"), File("envoy/_bin/missing", "/x", wheel="envoy")])
def test_missing_file_names_the_image_and_leaves_nothing(tmp_path, wheel, file):
    target = tmp_path / "images" / "bad.tar"
    with pytest.raises(ImageArchivesError, match="image x/bad:1: cannot read " + file.src):
        write_archive(Archive("bad", (Image("x/bad:1", files=(file,)),)), str(target), {}, {"envoy": wheel})
    assert list((tmp_path / "images").iterdir()) == []
