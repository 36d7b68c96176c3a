# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Search for a run's keys wherever they could leak: objects, what etcd holds, logs, files of output and reports,
processes of the embedded cluster.

Usage: key_search.py --keys FILE [--secret NAMESPACE/NAME]... [PATH]...

FILE holds one key a line. Each is searched as it is and in every encoding that software puts it into; see encodings. Of
the objects, Secrets may hold keys, and exactly those that --secret names must: a search that finds none there would not
find any elsewhere. A name may be a pattern, as of a shell. PATHs are files and directories, such as the output of
`ansible-playbook -vvv --diff` and reports/.

Prints what was searched and what was found, never a key, and ends with exit status 1 when a key was found where none
may be, or was not where it must be. Of a container's log, what kubelet has moved into an older file is not searched.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import collections
import dataclasses
import fnmatch
import gzip
import http.client
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import typing as t
import urllib.parse
import zlib

from objects import KUBECTL, STATE

#: Shorter ones are found by chance.
SHORTEST_KEY = 8
#: Bytes read at once of what may be large.
CHUNK = 1 << 20
#: How many layers of base64 and gzip are taken off a string; a Helm release has three.
LAYERS = 4
BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{16,}={0,2}\s*")
GZIP = b"\x1f\x8b"
TIMEOUT = 300


# --- what a key looks like ---


def _inside_base64(text: bytes, encode: t.Callable[[bytes], bytes]) -> t.Iterator[bytes]:
    """The part of ``text`` whose base64 is the same in the base64 of any longer string that holds it:

    for each of three alignments, without the edges.
    """
    for before in range(3):
        whole = encode(b"\0" * before + text)
        # A character has six bits. Those that share bits with what comes before or after depend on it.
        yield whole[-(-before * 8 // 6) : (before + len(text)) * 8 // 6]


def encodings(key: str) -> dict[bytes, str]:
    """A form of a key to search for: bytes, and the name of their encoding."""
    plain = key.encode()
    found = {plain: "plain"}

    def add(name: str, *texts: bytes) -> None:
        for text in texts:
            found.setdefault(text, name)

    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        add("base64", encode(plain), *_inside_base64(plain, encode))
        add("base64 of Bearer", encode(b"Bearer " + plain))
    quoted = urllib.parse.quote(key, safe="")
    lower = re.sub("%..", lambda code: code[0].lower(), quoted)
    add(
        "URL-encoded",
        *(text.encode() for text in (quoted, lower, urllib.parse.quote(key), urllib.parse.quote_plus(key))),
    )
    add("hex", plain.hex().encode(), plain.hex().upper().encode())
    for text in (json.dumps(key)[1:-1], json.dumps(key, ensure_ascii=False)[1:-1]):
        # Go escapes these, so that a page of HTML may hold the JSON; and JSON may be in a string of JSON.
        html = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
        add("JSON-escaped", text.encode(), html.encode(), *(json.dumps(inner)[1:-1].encode() for inner in (text, html)))
    return found


@dataclasses.dataclass(frozen=True, order=True)
class Hit:
    """A key was found. ``number`` is the key's line in its file: the key itself is shown nowhere."""

    place: str
    number: int
    encoding: str

    def __str__(self) -> str:
        return f"{self.place}: key {self.number}, {self.encoding}"


class Needles:
    """All encodings of all keys."""

    def __init__(self, keys: t.Sequence[str]) -> None:
        if short := [number for number, key in enumerate(keys, start=1) if len(key) < SHORTEST_KEY]:
            raise ValueError(f"key {short[0]} has fewer than {SHORTEST_KEY} characters, which are found by chance")
        if not keys:
            raise ValueError("there are no keys to search")
        self._meanings: dict[bytes, tuple[int, str]] = {}
        for number, key in enumerate(keys, start=1):
            for text, encoding in encodings(key).items():
                self._meanings.setdefault(text, (number, encoding))
        self._longest = max(map(len, self._meanings))

    def in_bytes(self, text: bytes) -> set[tuple[int, str]]:
        """Number and encoding of the keys in ``text``."""
        # One by one, which is many times faster than one pattern of them all.
        return {meaning for needle, meaning in self._meanings.items() if needle in text}

    def in_text(self, text: str) -> set[tuple[int, str]]:
        """The same of a string, and of its decoded content when all of it is base64, or gzip in base64."""
        found: set[tuple[int, str]] = set()
        layer: bytes | None = text.encode(errors="surrogatepass")
        for _number in range(LAYERS):
            if layer is None:
                break
            found |= self.in_bytes(layer)
            layer = _unpacked(layer)
        return found

    def in_stream(self, stream: t.IO[bytes]) -> tuple[int, set[tuple[int, str]]]:
        """How many bytes ``stream`` has, and the keys in it."""
        size, found, kept = 0, set(), b""
        while chunk := stream.read(CHUNK):
            size += len(chunk)
            found |= self.in_bytes(kept + chunk)
            # A key may begin in one chunk and end in the next.
            kept = (kept + chunk)[-self._longest :]
        return size, found

    def in_object(self, value: t.Any, path: str = "") -> t.Iterator[tuple[str, int, str]]:
        """Path, number and encoding of each key in the names and strings of an object."""
        if isinstance(value, dict):
            for name, item in value.items():
                yield from ((f"name of a field in {path or 'it'}", *found) for found in self.in_text(name))
                yield from self.in_object(item, f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                yield from self.in_object(item, f"{path}[{index}]")
        elif isinstance(value, str):
            yield from ((path, *found) for found in self.in_text(value))


def _unpacked(layer: bytes) -> bytes | None:
    """The content of ``layer`` if it is gzip, or base64 from its beginning to its end."""
    if layer.startswith(GZIP):
        try:
            return gzip.decompress(layer)
        except (OSError, EOFError, zlib.error):
            return None
    if BASE64.fullmatch(layer):
        text = layer.strip().rstrip(b"=").translate(bytes.maketrans(b"-_", b"+/"))
        try:
            return base64.b64decode(text + b"=" * (-len(text) % 4))
        except binascii.Error:
            return None
    return None


# --- where to search ---


@dataclasses.dataclass
class Searched:
    """The searched places of one sort."""

    what: str
    unit: str
    count: int = 0
    bytes: int = 0
    hits: list[Hit] = dataclasses.field(default_factory=list)
    #: Places that could not be searched, and the reasons.
    failures: list[str] = dataclasses.field(default_factory=list)

    def add(self, place: str, size: int, found: t.Iterable[tuple[int, str]]) -> None:
        self.count += 1
        self.bytes += size
        self.hits += sorted(Hit(place, number, encoding) for number, encoding in found)


def search_objects(needles: Needles, kind: str, items: t.Iterable[dict[str, t.Any]], searched: Searched) -> None:
    """Search the objects of one kind, whose hits are named ``kind namespace/name path``."""
    for item in items:
        metadata = item["metadata"]
        name = f"{metadata['namespace']}/{metadata['name']}" if metadata.get("namespace") else metadata["name"]
        searched.count += 1
        searched.bytes += len(json.dumps(item))
        searched.hits += [
            Hit(f"{kind} {name} {path}", number, encoding) for path, number, encoding in needles.in_object(item)
        ]


def search_cluster(needles: Needles) -> tuple[Searched, Searched, Searched, Searched]:
    """Search all objects and the containers' logs; return the objects, the Secrets, the logs, and those of the runs
    before the last.
    """
    objects, in_secrets = Searched("objects but Secrets, of all kinds", "objects"), Searched("Secrets", "objects")
    logs, previous = (
        Searched("logs of containers", "logs"),
        Searched("logs of containers before their last start", "logs"),
    )
    pods: list[dict[str, t.Any]] = []
    for kind in sorted(
        set(_kubectl("api-resources", "--cached=false", "--verbs=list", "--output=name").decode().split())
    ):
        try:
            items = json.loads(_kubectl("get", kind, "--all-namespaces", "--output=json"))["items"]
        except subprocess.CalledProcessError as error:
            objects.failures.append(f"{kind}: {error.stderr.decode(errors='replace').strip()}")
            continue
        search_objects(needles, kind, items, in_secrets if kind == "secrets" else objects)
        pods += items if kind == "pods" else []
    for pod in pods:
        for container, restarts in _containers(pod):
            search_log(needles, pod["metadata"], container, logs)
            if restarts:
                search_log(needles, pod["metadata"], container, previous, "--previous")
    return objects, in_secrets, logs, previous


def _containers(pod: dict[str, t.Any]) -> t.Iterator[tuple[str, int]]:
    """Name and count of restarts of each container that has been started."""
    status = pod.get("status", {})
    for name in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        for container in status.get(name, []):
            if container.get("containerID"):
                yield container["name"], container["restartCount"]


def search_log(needles: Needles, pod: dict[str, t.Any], container: str, searched: Searched, *options: str) -> None:
    place = f"{pod['namespace']}/{pod['name']} {container}"
    command = [
        *KUBECTL,
        "logs",
        "--namespace",
        pod["namespace"],
        pod["name"],
        "--container",
        container,
        *options,
        f"--request-timeout={TIMEOUT}s",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        size, found = needles.in_stream(process.stdout)
        trouble = process.stderr.read().decode(errors="replace").strip()
    searched.add(place, size, found)
    # A log that was deleted with its pod can no longer leak a key.
    if process.returncode and "not found" not in trouble:
        searched.failures.append(f"{place}: {trouble}")


def _kubectl(*arguments: str) -> bytes:
    return subprocess.run([*KUBECTL, *arguments], capture_output=True, check=True, timeout=TIMEOUT).stdout


# Where etcd of the embedded cluster answers its clients, and what it knows them by.
ETCD_PORT = 2379
ETCD_PKI = pathlib.Path(STATE) / "etc/upper/kubernetes/pki/etcd"
#: Keys of etcd that are read at once.
PAGE = 500
SECRETS = b"/registry/secrets/"


def etcd_pages() -> t.Iterator[list[tuple[bytes, bytes]]]:
    """All keys of etcd with their values, as they lie there, a page at a time."""
    server = json.loads(_kubectl("config", "view", "--output=json"))["clusters"][0]["cluster"]["server"]
    host = urllib.parse.urlsplit(server).hostname
    context = ssl.create_default_context(cafile=str(ETCD_PKI / "ca.crt"))
    context.load_cert_chain(ETCD_PKI / "healthcheck-client.crt", ETCD_PKI / "healthcheck-client.key")
    connection = http.client.HTTPSConnection(str(host), ETCD_PORT, context=context, timeout=TIMEOUT)
    # All keys at and behind this one.
    first, end = b"\0", base64.b64encode(b"\0").decode()
    try:
        while True:
            asked = {"key": base64.b64encode(first).decode(), "range_end": end, "limit": PAGE}
            connection.request("POST", "/v3/kv/range", json.dumps(asked), {"content-type": "application/json"})
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise OSError(f"etcd answers {answer.status}")
            found = json.loads(body)
            page = [
                (base64.b64decode(item["key"]), base64.b64decode(item.get("value", "")))
                for item in found.get("kvs", [])
            ]
            yield page
            if not found.get("more"):
                return
            first = page[-1][0] + b"\0"
    finally:
        connection.close()


def search_etcd(needles: Needles, pages: t.Iterable[list[tuple[bytes, bytes]]]) -> tuple[Searched, Searched]:
    """Search what etcd holds, without the API server: all but Secrets, and the Secrets."""
    others, in_secrets = Searched("etcd but Secrets", "keys"), Searched("Secrets in etcd", "keys")
    for page in pages:
        for key, value in page:
            found = needles.in_bytes(key) | needles.in_bytes(value)
            place = f"etcd {key.decode(errors='replace')}"
            (in_secrets if key.startswith(SECRETS) else others).add(place, len(key) + len(value), found)
    return others, in_secrets


def search_files(needles: Needles, paths: t.Iterable[pathlib.Path]) -> Searched:
    """Search files, and all files in directories; their names too."""
    searched = Searched("files", "files")
    for given in paths:
        files = [given] if given.is_file() else sorted(path for path in given.rglob("*") if path.is_file())
        if not files:
            searched.failures.append(f"{given}: there is no file")
        for path in files:
            with path.open("rb") as stream:
                size, found = needles.in_stream(stream)
            searched.add(str(path), size, found | needles.in_bytes(os.fsencode(path.name)))
    return searched


def search_processes(needles: Needles, proc: pathlib.Path = pathlib.Path("/proc")) -> Searched:
    """Search command lines and environments of this machine's processes, the embedded cluster's; not of this one."""
    searched = Searched("command lines and environments", "processes")
    for directory in sorted(proc.glob("[0-9]*")):
        try:
            if directory.name == str(os.getpid()) or not _is_of_the_cluster(directory):
                continue
            texts = {name: (directory / name).read_bytes() for name in ("cmdline", "environ")}
        except OSError:
            continue  # It has ended, or is the kernel's.
        place = f"process {directory.name} ({texts['cmdline'].split(bytes(1))[0].decode(errors='replace')})"
        searched.count += 1
        for name, text in texts.items():
            searched.bytes += len(text)
            searched.hits += sorted(
                Hit(f"{place} {name}", number, encoding) for number, encoding in needles.in_bytes(text)
            )
    return searched


def _is_of_the_cluster(directory: pathlib.Path) -> bool:
    command = " ".join(
        [os.readlink(directory / "exe"), *(directory / "cmdline").read_text(errors="replace").split("\0")]
    )
    return "/var/lib/egress-ai-gateway" in command or "/egress-ai-gateway" in (directory / "cgroup").read_text(
        encoding="utf-8"
    )


# --- the outcome ---


@dataclasses.dataclass(frozen=True)
class Report:
    """What was searched, where keys may not be; and the Secrets, which must hold them where ``expected`` says so and
    nowhere else.
    """

    places: t.Sequence[Searched]
    in_secrets: Searched
    expected: t.Sequence[str]

    @property
    def holders(self) -> dict[str, list[Hit]]:
        """The hits in each Secret that has any, by its namespace and name."""
        found: dict[str, list[Hit]] = collections.defaultdict(list)
        for hit in self.in_secrets.hits:
            found[hit.place.split()[1]].append(hit)
        return dict(sorted(found.items()))

    @property
    def faults(self) -> list[str]:
        """Everything that is not as it must be."""
        faults = [f"found in {hit}" for place in self.places for hit in place.hits]
        for name, hits in self.holders.items():
            if not any(fnmatch.fnmatchcase(name, pattern) for pattern in self.expected):
                faults += [f"found in a Secret that may not hold it: {hit}" for hit in hits]
        faults += [
            f"not found in Secret {pattern}, which must hold it"
            for pattern in self.expected
            if not fnmatch.filter(self.holders, pattern)
        ]
        faults += [
            f"not searched: {failure}" for place in (*self.places, self.in_secrets) for failure in place.failures
        ]
        return faults + [
            f"nothing was searched: {place.what}"
            for place in self.places
            if not place.count and not place.failures and place.unit != "logs"
        ]

    def __str__(self) -> str:
        lines = [f"{'searched':46}{'':>19}  {'bytes':>13}  {'found':>6}"]
        lines += [
            f"{place.what:46}{place.count:8} {place.unit:10}  {place.bytes:13}  {len(place.hits):6}"
            for place in (*self.places, self.in_secrets)
            if place.count or place.unit != "logs"
        ]
        for name, hits in self.holders.items():
            lines.append(
                f"Secret {name} holds " + ", ".join(sorted({f"key {hit.number} ({hit.encoding})" for hit in hits}))
            )
        return "\n".join(lines + self.faults)


def search(keys: t.Sequence[str], expected_secrets: t.Sequence[str], paths: t.Sequence[pathlib.Path] = ()) -> Report:
    """Search ``keys`` everywhere.

    :param expected_secrets: ``namespace/name``, or a pattern of it, of each Secret that must hold one of them.
    :param paths: files and directories to search too.
    """
    needles = Needles(keys)
    objects, in_secrets, *logs = search_cluster(needles)
    etcd, secrets_in_etcd = search_etcd(needles, etcd_pages())
    if in_secrets.hits and not secrets_in_etcd.hits:
        # A search that does not find them there would not find any.
        etcd.failures.append("etcd: the keys that are in Secrets are not in its Secrets")
    files = [search_files(needles, paths)] if paths else []
    return Report([objects, etcd, *logs, *files, search_processes(needles)], in_secrets, expected_secrets)


def main(arguments: t.Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Search for a run's keys wherever they could leak.")
    parser.add_argument("--keys", type=pathlib.Path, required=True, metavar="FILE", help="file of the keys, one a line")
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="NAMESPACE/NAME",
        help="a Secret that must hold a key, as a pattern of a shell",
    )
    parser.add_argument("paths", type=pathlib.Path, nargs="*", metavar="PATH", help="file or directory to search too")
    options = parser.parse_args(arguments)
    try:
        report = search(options.keys.read_text(encoding="utf-8").split(), options.secret, options.paths)
    except ValueError as error:
        parser.error(str(error))
    print(report)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
