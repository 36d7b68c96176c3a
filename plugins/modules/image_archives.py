#!/usr/bin/python
# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible module: archives of container images."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_archives
short_description: Write archives of container images
version_added: 1.0.0
description:
  - Writes container images of given files as archives that C(ctr images import) and C(docker load) read. It needs no
    container engine.
  - An image has no base, or a root file system of Debian packages that several images share.
  - An archive is not written again if its inputs have not changed.
requirements:
  - mmdebstrap, for O(bases)
  - pip, for O(wheels)
author: Contributors to the egress.ai_gateway project (!UNKNOWN)
extends_documentation_fragment:
  - egress.ai_gateway.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    details:
      - Archives in the cache are not written again.
options:
  cache:
    description: Directory of the cache. Archives are placed in its C(images).
    type: path
    default: ~/.cache/egress-ai-gateway
  bases:
    description: Root file systems to build.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name that images refer to.
        type: str
        required: true
      suite:
        description: Code name of the Debian release.
        type: str
        required: true
      packages:
        description: Debian packages besides the essential ones.
        type: list
        elements: str
        default: []
  wheels:
    description: Python wheels that hold files of images.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name that files refer to.
        type: str
        required: true
      requirement:
        description: Pinned requirement for pip.
        type: str
        required: true
      hashes:
        description: Hashes that pip accepts, one for each platform, such as C(sha256:<digest>).
        type: list
        elements: str
        required: true
      python:
        description: Version of Python that the wheel is for, such as V(3.11). The default is that of Ansible.
        type: str
        default: ''
  archives:
    description: The archives to write.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: First part of the archive's file name.
        type: str
        required: true
      images:
        description: The images in it.
        type: list
        elements: dict
        required: true
        suboptions:
          name:
            description: Full name of the image with its tag.
            type: str
            required: true
          base:
            description: Name of one of the O(bases). By default the image has no base.
            type: str
          files:
            description: Files of the image.
            type: list
            elements: dict
            default: []
            suboptions:
              src:
                description:
                  - File on this machine, or member of O(archives[].images[].files[].wheel).
                  - A member that ends in a slash is a directory, of which all files are placed beneath
                    O(archives[].images[].files[].dest).
                type: str
                required: true
              dest:
                description: Path in the image.
                type: str
                required: true
              mode:
                description: Permissions in the image, as an octal number.
                type: str
                default: '0755'
              wheel:
                description: Name of one of the O(wheels). By default the file is on this machine.
                type: str
          directories:
            description: Directories of the image that every user can write to.
            type: list
            elements: str
            default: []
          entrypoint:
            description: The program and its first arguments.
            type: list
            elements: str
            default: []
          user:
            description: Numeric user and group, such as V(65532:65532). The default is root.
            type: str
            default: ''
"""

EXAMPLES = r"""
- name: Write an image of etcd
  egress.ai_gateway.image_archives:
    archives:
      - name: etcd
        images:
          - name: localhost/example/etcd:mine
            files:
              - {src: /srv/bin/etcd, dest: /usr/local/bin/etcd}
            entrypoint: [/usr/local/bin/etcd]
  register: images
"""

RETURN = r"""
archives:
  description: The archives in the order of O(archives), in check mode as they would be.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the archive.
      type: str
    path:
      description: File of the archive.
      type: str
    images:
      description: Names of the images in it.
      type: list
      elements: str
written:
  description: Names of the archives that were written, in check mode of those that would be written.
  returned: success
  type: list
  elements: str
seconds:
  description: Duration of the run, in seconds.
  returned: success
  type: float
"""

import os
import sys
import time
import typing as t

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.cache import locked
from ansible_collections.egress.ai_gateway.plugins.module_utils._embedded_cluster.image_archives import (
    Archive,
    Base,
    File,
    Image,
    ImageArchivesError,
    Wheel,
    archive_path,
    base_path,
    fetch_wheel,
    make_base,
    wheel_path,
    write_archive,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._progress import Progress


def text(required: bool = False, **more: t.Any) -> dict[str, t.Any]:
    """Argument spec of a string."""
    return {"type": "str", "required": required, **more}


def texts(**more: t.Any) -> dict[str, t.Any]:
    """Argument spec of a list of strings."""
    return {"type": "list", "elements": "str", **({"default": []} | more if not more.get("required") else more)}


def dicts(options: dict[str, t.Any], **more: t.Any) -> dict[str, t.Any]:
    """Argument spec of a list of dictionaries."""
    return {
        "type": "list",
        "elements": "dict",
        "options": options,
        **({"default": []} | more if not more.get("required") else more),
    }


FILE = {"src": text(True), "dest": text(True), "mode": text(default="0755"), "wheel": text()}
IMAGE = {
    "name": text(True),
    "base": text(),
    "files": dicts(FILE),
    "directories": texts(),
    "entrypoint": texts(),
    "user": text(default=""),
}
ARGUMENT_SPEC = {
    "cache": {"type": "path", "default": "~/.cache/egress-ai-gateway"},
    "bases": dicts({"name": text(True), "suite": text(True), "packages": texts()}),
    "wheels": dicts(
        {"name": text(True), "requirement": text(True), "hashes": texts(required=True), "python": text(default="")}
    ),
    "archives": dicts({"name": text(True), "images": dicts(IMAGE, required=True)}, required=True),
}


def as_image(item: dict[str, t.Any]) -> Image:
    """The typed form of one element of ``images``."""
    lists = {key: tuple(item[key]) for key in ("directories", "entrypoint")}
    files = tuple(
        File(src=file["src"], dest=file["dest"], mode=int(file["mode"], 8), wheel=file["wheel"])
        for file in item["files"]
    )
    return Image(name=item["name"], base=item["base"], files=files, user=item["user"], **lists)


def write_missing(
    missing: list[Archive],
    paths: dict[str, str],
    cache: str,
    bases: dict[str, Base],
    wheels: dict[str, Wheel],
    progress: Progress,
) -> None:
    """Write the archives, and what they are made from before them. Raises ImageArchivesError."""
    for base in bases.values():
        if any(image.base == base.name for archive in missing for image in archive.images) and not os.path.exists(
            base_path(base, cache)
        ):
            progress.say(f"installing {len(base.packages)} packages into root file system {base.name} ({base.suite})")
            make_base(base, cache)
    for wheel in wheels.values():
        used = any(file.wheel == wheel.name for archive in missing for image in archive.images for file in image.files)
        if used and not os.path.exists(wheel_path(wheel, cache)):
            progress.say(f"downloading {wheel.requirement}")
            fetch_wheel(wheel, cache, sys.executable)
    for number, archive in enumerate(missing, 1):
        progress.say(f"writing image archive {number} of {len(missing)}: {archive.name} ({len(archive.images)} images)")
        write_archive(
            archive,
            paths[archive.name],
            {name: base_path(base, cache) for name, base in bases.items()},
            {name: wheel_path(wheel, cache) for name, wheel in wheels.items()},
        )


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    options = module.params
    started = time.monotonic()
    cache, progress = options["cache"], Progress()
    bases = {item["name"]: Base(item["name"], item["suite"], tuple(item["packages"])) for item in options["bases"]}
    wheels = {
        item["name"]: Wheel(item["name"], item["requirement"], tuple(item["hashes"]), item["python"])
        for item in options["wheels"]
    }
    archives = [
        Archive(item["name"], tuple(as_image(image) for image in item["images"])) for item in options["archives"]
    ]
    try:
        paths = {archive.name: archive_path(archive, cache, bases, wheels) for archive in archives}
        missing = [archive for archive in archives if not os.path.exists(paths[archive.name])]
        if missing and not module.check_mode:
            with locked(cache, progress.say):
                missing = [archive for archive in missing if not os.path.exists(paths[archive.name])]
                write_missing(missing, paths, cache, bases, wheels, progress)
    except ImageArchivesError as error:
        module.fail_json(msg=str(error))
    module.exit_json(
        changed=bool(missing),
        archives=[
            {"name": archive.name, "path": paths[archive.name], "images": [image.name for image in archive.images]}
            for archive in archives
        ],
        written=[archive.name for archive in missing],
        seconds=round(time.monotonic() - started, 1),
    )


if __name__ == "__main__":
    main()
