# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes container images of given files as archives that ``ctr images import`` and ``docker load`` read.

An image is at most two layers: a root file system that several images share, and files of its own. Such an archive
needs no container engine, no root and no storage of its own, and the same inputs give the same bytes.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import typing as t
import zipfile

#: Architecture as images name it, by machine as the kernel names it.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"}

#: Documentation that no container reads.
DPKG_EXCLUDES = (
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "/usr/share/lintian/*",
)

#: Time stamp of all files, so that the same inputs give the same bytes.
EPOCH = 0

FORMAT = 1


class ImageArchivesError(Exception):
    """An archive that cannot be written, with what to do about it."""


@dataclasses.dataclass(frozen=True)
class Base:
    """Root file system of Debian packages."""

    name: str
    suite: str
    packages: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Wheel:
    """A wheel that pip downloads; files of images can be members of it.

    ``python`` is the version of Python that runs it, by default that of pip.
    """

    name: str
    requirement: str
    hashes: tuple[str, ...]
    python: str = ""


@dataclasses.dataclass(frozen=True)
class File:
    """``src`` on this machine, or member ``src`` of ``wheel``, placed at ``dest`` in the image.

    A member that ends in a slash is a directory: all members beneath it are placed beneath ``dest``.
    """

    src: str
    dest: str
    mode: int = 0o755
    wheel: str | None = None


@dataclasses.dataclass(frozen=True)
class Image:
    """One image: its full name with tag, what is in it and how it runs."""

    name: str
    base: str | None = None
    files: tuple[File, ...] = ()
    directories: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    user: str = ""


@dataclasses.dataclass(frozen=True)
class Archive:
    """Several images in one file, sharing their layers."""

    name: str
    images: tuple[Image, ...]


def cache_key(archive: Archive, bases: t.Mapping[str, Base], wheels: t.Mapping[str, Wheel]) -> str:
    """Digest of everything that goes into the archive. Files count by path, size and time of change.

    Files that do not exist yet (check mode before a build) count by path alone. Raises ImageArchivesError for an
    unknown base or wheel.
    """
    parts: list[t.Any] = [FORMAT, platform.machine(), dataclasses.asdict(archive)]
    for image in archive.images:
        if image.base is not None:
            if image.base not in bases:
                raise ImageArchivesError(
                    f"image {image.name}: base {image.base!r} is not one of the bases ({', '.join(bases) or 'none'})"
                )
            parts.append(dataclasses.asdict(bases[image.base]))
        for file in image.files:
            if file.wheel is not None:
                if file.wheel not in wheels:
                    raise ImageArchivesError(
                        f"image {image.name}: wheel {file.wheel!r} is not one of the wheels "
                        f"({', '.join(wheels) or 'none'})"
                    )
                parts.append(dataclasses.asdict(wheels[file.wheel]))
            elif os.path.exists(file.src):
                found = os.stat(file.src)
                parts.append([found.st_size, found.st_mtime_ns])
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def archive_path(archive: Archive, cache: str, bases: t.Mapping[str, Base], wheels: t.Mapping[str, Wheel]) -> str:
    """Where the archive is in the cache, or would be."""
    return os.path.join(cache, "images", f"{archive.name}-{cache_key(archive, bases, wheels)}.tar")


def base_path(base: Base, cache: str) -> str:
    """Where the root file system is in the cache, or would be."""
    key = hashlib.sha256(
        json.dumps([FORMAT, platform.machine(), DPKG_EXCLUDES, dataclasses.asdict(base)]).encode()
    ).hexdigest()[:12]
    return os.path.join(cache, "images", f"base-{base.name}-{base.suite}-{key}.tar")


def wheel_path(wheel: Wheel, cache: str) -> str:
    """Directory of the downloaded wheel in the cache."""
    suffix = f"-python{wheel.python}" if wheel.python else ""
    return os.path.join(cache, "wheels", wheel.requirement.replace("==", "-") + suffix)


def make_base(base: Base, cache: str) -> None:
    """Let mmdebstrap write the root file system, whole or not at all. Raises ImageArchivesError with its last words."""
    path = base_path(base, cache)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = f"{path}.{os.getpid()}.tar"
    command = [
        "mmdebstrap",
        "--quiet",
        "--variant=essential",
        f"--include={','.join(base.packages)}",
        "--aptopt=Apt::Install-Recommends false",
    ]
    command += [f"--dpkgopt=path-exclude={pattern}" for pattern in DPKG_EXCLUDES]
    try:
        _run([*command, base.suite, partial], f"base {base.name}", {"SOURCE_DATE_EPOCH": str(EPOCH)})
        os.rename(partial, path)
    finally:
        if os.path.exists(partial):
            os.unlink(partial)


def fetch_wheel(wheel: Wheel, cache: str, python: str) -> None:
    """Download the wheel with pip, which checks its hash. Raises ImageArchivesError with pip's last words."""
    path = wheel_path(wheel, cache)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path), prefix=".") as work:
        requirements = os.path.join(work, "requirements.txt")
        with open(requirements, "w", encoding="utf-8") as stream:
            stream.write(" ".join([wheel.requirement, *(f"--hash={item}" for item in wheel.hashes)]) + "\n")
        target = os.path.join(work, "wheel")
        command = [
            python,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--require-hashes",
            *(["--python-version", wheel.python] if wheel.python else []),
            "-r",
            requirements,
            "-d",
            target,
        ]
        _run(command, f"wheel {wheel.requirement}", {})
        os.rename(target, path)


def write_archive(archive: Archive, path: str, bases: t.Mapping[str, str], wheels: t.Mapping[str, str]) -> None:
    """Write all images of the archive to ``path``, whole or not at all.

    ``bases`` gives the tar file of each base and ``wheels`` the directory of each wheel. Raises ImageArchivesError for
    a file that is not there.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{archive.name}-", dir=os.path.dirname(path)) as work:
        target = os.path.join(work, "archive.tar")
        manifest = []
        written: set[str] = set()
        base_digests: dict[str, str] = {}
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as out:

            def add_layer(layer: str, digest: str) -> str:
                name = f"{digest}.tar"
                if name not in written:
                    written.add(name)
                    with open(layer, "rb") as content:
                        _add(out, name, os.path.getsize(layer), content)
                return name

            for image in archive.images:
                layers, digests = [], []
                if image.base is not None:
                    digest = base_digests.setdefault(image.base, "") or _sha256(bases[image.base])
                    base_digests[image.base] = digest
                    layers.append(add_layer(bases[image.base], digest))
                    digests.append(digest)
                if image.files or image.directories:
                    layer = os.path.join(work, "layer.tar")
                    _write_layer(image, layer, wheels)
                    digest = _sha256(layer)
                    layers.append(add_layer(layer, digest))
                    digests.append(digest)
                    os.unlink(layer)
                config = json.dumps(image_config(image, digests), sort_keys=True).encode()
                name = f"{hashlib.sha256(config).hexdigest()}.json"
                _add(out, name, len(config), io.BytesIO(config))
                manifest.append({"Config": name, "RepoTags": [image.name], "Layers": layers})
            content = json.dumps(manifest).encode()
            _add(out, "manifest.json", len(content), io.BytesIO(content))
        os.rename(target, path)


def image_config(image: Image, layer_digests: t.Sequence[str]) -> dict[str, t.Any]:
    """Configuration of an image by the OCI image specification."""
    running: dict[str, t.Any] = {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]}
    for key, value in (("Entrypoint", list(image.entrypoint)), ("User", image.user)):
        if value:
            running[key] = value
    return {
        "architecture": ARCHITECTURES.get(platform.machine(), platform.machine()),
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": running,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in layer_digests]},
        "history": [{"created": "1970-01-01T00:00:00Z"} for digest in layer_digests],
    }


def _write_layer(image: Image, path: str, wheels: t.Mapping[str, str]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as layer:
        for directory in image.directories:
            entry = tarfile.TarInfo(directory.strip("/"))
            entry.type = tarfile.DIRTYPE
            # Like /tmp: whatever user a pod runs as can write there.
            entry.mode = 0o1777
            entry.mtime = EPOCH
            layer.addfile(entry)
        for file in image.files:
            try:
                if file.wheel is None:
                    with open(file.src, "rb") as content:
                        _add(layer, file.dest.lstrip("/"), os.path.getsize(file.src), content, file.mode)
                    continue
                folder = wheels[file.wheel]
                with zipfile.ZipFile(os.path.join(folder, os.listdir(folder)[0])) as opened:
                    for info in _members(opened, file.src):
                        with opened.open(info) as member:
                            dest = file.dest + info.filename.removeprefix(file.src)
                            _add(layer, dest.lstrip("/"), info.file_size, member, file.mode)
            except (OSError, KeyError, IndexError) as error:
                raise ImageArchivesError(
                    f"image {image.name}: cannot read {file.src}{f' of wheel {file.wheel}' if file.wheel else ''}: "
                    f"{error}"
                ) from error


def _members(wheel: zipfile.ZipFile, src: str) -> list[zipfile.ZipInfo]:
    """The member, or all that are beneath it. Raises KeyError where there is none."""
    if not src.endswith("/"):
        return [wheel.getinfo(src)]
    found = [info for info in wheel.infolist() if info.filename.startswith(src) and not info.is_dir()]
    if not found:
        raise KeyError(f"there is nothing beneath {src}")
    return found


def _add(archive: tarfile.TarFile, name: str, size: int, content: t.IO[bytes], mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    entry.mode = mode
    entry.mtime = EPOCH
    archive.addfile(entry, content)


def _sha256(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _run(command: list[str], what: str, environment: dict[str, str]) -> None:
    if shutil.which(command[0]) is None:
        raise ImageArchivesError(f"{what}: {command[0]} is not installed")
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})
    if done.returncode:
        raise ImageArchivesError(f"{what}: {command[0]} failed: " + "\n".join(done.stderr.strip().splitlines()[-15:]))
