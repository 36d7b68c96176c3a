# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a provider simulator remembers from one request to the next: its keys, the failures it was set to and what it
counted.

Everything here may be used from many threads at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import sys
import threading
import time
import typing as t
from pathlib import Path

T = t.TypeVar("T")

DELAY_LIMIT = 600.0
EVENTS_LIMIT = 1_000_000
RETRY_AFTER_LIMIT = 86_400
#: Where an answer is broken: before its head, in the middle of its body, between the events of a stream, or by an event
#: with an error.
BREAKS = ("headers", "body", "stream", "event")
#: How many events of a stream come before the break, by default.
BREAK_AFTER = 2
#: The status that the counters show for an answer that was broken on purpose.
BROKEN = 0


class Reloading(t.Generic[T]):
    """What ``load`` made of some files, made again when one of them has changed.

    A change that cannot be loaded, such as a half-written file, is reported once on standard error and leaves the value
    as it was. ``load`` raises OSError or ValueError for it; at the start that is the caller's.
    """

    def __init__(self, what: str, files: t.Sequence[Path], load: t.Callable[[], T]) -> None:
        self._what = what
        self._files = tuple(files)
        self._load = load
        self._lock = threading.Lock()
        self._stamps = self._look()
        self._value = load()

    def value(self) -> T:
        with self._lock:
            # Before the load, so that a change during it is seen by the next look.
            stamps = self._look()
            if stamps != self._stamps:
                self._stamps = stamps
                try:
                    self._value = self._load()
                except (OSError, ValueError) as error:
                    # The error of a secret's file is not shown.
                    sys.stderr.write(
                        f"the changed {self._what} cannot be loaded ({type(error).__name__}) and the former stays\n"
                    )
            return self._value

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    """What changes with a file's content; kubelet exchanges a Secret's files by a link, which changes the inode."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def digest_of(credential: str) -> str:
    """The SHA-256 of a credential as hexadecimal digits; characters of a header beyond Latin-1 do not exist."""
    return hashlib.sha256(credential.encode("latin-1")).hexdigest()


def read_keys(files: t.Iterable[Path]) -> dict[str, str]:
    """The keys in the files, one a line, by their SHA-256.

    :raises ValueError: naming the file that cannot be read, or all files if they hold no key.
    """
    files = tuple(files)
    keys: dict[str, str] = {}
    for file in files:
        try:
            lines = file.read_text(encoding="ascii").split("\n")
        except (OSError, ValueError) as error:
            raise ValueError(f"{file}: {type(error).__name__}: the key cannot be read") from None
        keys.update((digest_of(line.strip()), line.strip()) for line in lines if line.strip())
    if not keys:
        raise ValueError(f"{', '.join(map(str, files))} holds no key")
    return keys


class Keys:
    """The keys that are accepted, as their files hold them now; none without files. A fingerprint is the first 12
    digits of a key's SHA-256.

    :raises ValueError: at the start, for files without keys; see ``read_keys``.
    """

    def __init__(self, files: t.Sequence[Path]) -> None:
        self._keys = Reloading("keys", files, lambda: read_keys(files) if files else {})
        # Only fingerprints that were accepted once are counted separately, so other callers cannot fill the counters.
        self._seen: set[str] = set()

    def texts(self) -> list[str]:
        return list(self._keys.value().values())

    def fingerprints(self) -> list[str]:
        return [digest[:12] for digest in self._keys.value()]

    def check(self, candidates: t.Iterable[str]) -> tuple[str, bool]:
        """The fingerprint of the first candidate that is, or once was, accepted, "unknown" for another; and whether it
        is accepted now.

        Takes the same time for every key: fixed-length digests are compared, and all of them.
        """
        accepted = self._keys.value()
        self._seen.update(digest[:12] for digest in accepted)
        former = "unknown"
        for candidate in candidates:
            digest = digest_of(candidate)
            if sum(hmac.compare_digest(digest, key) for key in accepted):
                return digest[:12], True
            if digest[:12] in self._seen:
                former = digest[:12]
        return former, False


class Fields:
    """Named values, strings of headers or JSON's own, read within limits; ``spell`` gives the name that an error shows.

    Every reader gives None for a value that is absent or null and raises ValueError, with a sentence for the caller,
    for one that does not fit.
    """

    def __init__(self, values: t.Mapping[str, t.Any], spell: t.Callable[[str], str] = str) -> None:
        self._values = values
        self._spell = spell

    def integer(self, name: str, low: int, high: int) -> int | None:
        return self._number(name, int, low, high)

    def decimal(self, name: str, low: float, high: float) -> float | None:
        return self._number(name, float, low, high)

    def word(self, name: str, words: t.Sequence[str]) -> str | None:
        value = self._values.get(self._spell(name))
        if value is not None and value not in words:
            raise ValueError(f"{self._spell(name)} accepts {' or '.join(words)}")
        return value

    def _number(self, name: str, kind: t.Callable[[t.Any], T], low: float, high: float) -> T | None:
        value = self._values.get(self._spell(name))
        if value is None:
            return None
        try:
            # int() would cut a JSON number's fraction off, and both take truth values.
            number = None if isinstance(value, bool) or (kind is int and isinstance(value, float)) else kind(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or not low <= t.cast(float, number) <= high:
            raise ValueError(f"{self._spell(name)} must be a number from {low:g} to {high:g}")
        return number


@dataclasses.dataclass(frozen=True)
class Failure:
    """How an answer fails or drags; None leaves it to what stands behind.

    status: of the error, 400 to 599. break_at: one of BREAKS. break_after: events of a stream before the break.
    retry_after: seconds that the error's header names. delay: seconds before the answer. event_delay: seconds between
    events.
    """

    status: int | None = None
    break_at: str | None = None
    break_after: int | None = None
    retry_after: int | None = None
    delay: float | None = None
    event_delay: float | None = None

    @classmethod
    def read(cls, fields: Fields) -> Failure:
        """:raises ValueError: for a value that does not fit."""
        return cls(
            status=fields.integer("status", 400, 599),
            break_at=fields.word("break", BREAKS),
            break_after=fields.integer("break_after", 0, EVENTS_LIMIT),
            retry_after=fields.integer("retry_after", 0, RETRY_AFTER_LIMIT),
            delay=fields.decimal("delay", 0, DELAY_LIMIT),
            event_delay=fields.decimal("event_delay", 0, DELAY_LIMIT),
        )

    def over(self, behind: Failure) -> Failure:
        """This one, and from the one behind what this one leaves open."""
        said = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        return dataclasses.replace(behind, **said)


class Failures:
    """The failure that is set for the whole process, and which requests it hits: at a ``rate`` of 0.25 every fourth."""

    def __init__(self, failure: Failure, rate: float) -> None:
        self._lock = threading.Lock()
        self._initial = (failure, rate)
        self._failure, self._rate = self._initial
        self._requests = 0

    def set(self, failure: Failure, rate: float) -> None:
        with self._lock:
            self._failure, self._rate = failure, rate
            self._requests = 0

    def clear(self) -> None:
        """Back to what the process was started with."""
        self.set(*self._initial)

    def next(self) -> Failure:
        """How the next request fails.

        Of any N requests, N times the rate are hit, spread evenly, so that tests can count on it.
        """
        with self._lock:
            self._requests += 1
            hit = int(self._requests * self._rate) > int((self._requests - 1) * self._rate)
            return self._failure if hit else Failure()

    def as_dict(self) -> dict[str, t.Any]:
        """What is set, in the names that the admin endpoint takes."""
        with self._lock:
            values = dataclasses.asdict(self._failure)
            return {"rate": self._rate, "break": values.pop("break_at"), **values}


@dataclasses.dataclass(frozen=True)
class Usage:
    """Tokens of one answer."""

    input_tokens: int
    output_tokens: int


class Counters:
    """How many requests there were, and of how many tokens, by path, model, status and fingerprint of the key."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        with self._lock:
            self._since = time.time()
            self._counts: dict[tuple[str, str, int, str], list[int]] = {}

    def add(self, path: str, model: str, status: int, key: str, usage: Usage | None) -> None:
        """Count one request; ``usage`` only of one that was answered in full."""
        with self._lock:
            count = self._counts.setdefault((path, model, status, key), [0, 0, 0])
            count[0] += 1
            if usage is not None:
                count[1] += usage.input_tokens
                count[2] += usage.output_tokens

    def as_dict(self) -> dict[str, t.Any]:
        """``since`` in seconds of the epoch, ``counts`` one entry for each combination that occurred, and their
        ``totals``.
        """
        names = ("requests", "input_tokens", "output_tokens")
        with self._lock:
            counts = [
                {"path": path, "model": model, "status": status, "key": key, **dict(zip(names, numbers))}
                for (path, model, status, key), numbers in sorted(self._counts.items())
            ]
            totals = {
                name: sum(numbers[index] for numbers in self._counts.values()) for index, name in enumerate(names)
            }
            return {"since": self._since, "counts": counts, "totals": totals}
