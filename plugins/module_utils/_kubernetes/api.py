# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Kubernetes API over one keep-alive connection pool: raw JSON, parallel, retried within bounds.

Credentials come from kubernetes.core's options and the kubernetes client's own configuration. The client's models and
the dynamic client are left aside: their discovery and their object conversions cost more than the requests themselves.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import os
import random
import ssl
import threading
import time
import typing as t
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from urllib.parse import urlencode

from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import (
    configuration_of,
    impersonation_of,
    settings_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import (
    ResourceType,
    group_version_path,
    types_of_discovery,
)

Body = dict[str, t.Any]
#: Query parameters of a request.
Query = t.Mapping[str, t.Any]
Item = t.TypeVar("Item")
Result = t.TypeVar("Result")

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
#: Accepts a list without anything but metadata.
NAMES_ONLY = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

#: Seconds for which one request is tried again, once the API server has answered at all.
RETRY_SECONDS = 90.0
#: The same before its first answer: a wrong address is to be reported soon.
FIRST_ANSWER_SECONDS = 6.0
#: Seconds after a lost connection during which a refusal may be that of an API server that is not ready yet.
RESTART_SECONDS = 30.0
#: Longest pause between two tries, in seconds, and the longest that the server may ask for.
LONGEST_PAUSE = 3.0
_LONGEST_RETRY_AFTER = 15.0
#: Seconds of trying after which it is said aloud.
_SILENT_SECONDS = 2.0
#: Seconds between two such lines.
_SAYING_INTERVAL = 5.0
#: Objects of one page of a list.
PAGE = 500
#: Requests begun or waiting for a thread, for each that is under way.
_AHEAD = 4

#: The API server's words for manifests that do not fit their schema: these it answers with 500.
_MISFITS = ("failed to create typed patch object", "failed to convert new object")

_CONNECT_TIMEOUT = 10.0
_READ_TIMEOUT = 90.0


class ApiError(Exception):
    """An answer of the API server that says no, or (``status`` 0) no answer at all."""

    def __init__(
        self, status: int, reason: str, message: str, details: Body | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        #: Method and path of the request, once the last try has failed.
        self.request = ""
        self.details = details or {}
        self.retry_after = retry_after

    @property
    def causes(self) -> list[Body]:
        return list(self.details.get("causes") or ())

    @property
    def is_field_conflict(self) -> bool:
        """Another field manager owns a field that was submitted."""
        return self.status == 409 and any(cause.get("reason") == "FieldManagerConflict" for cause in self.causes)

    def is_conflict_with(self, manager: str) -> bool:
        """It is that field manager alone, by a change that was no server-side apply."""
        conflicts = [cause for cause in self.causes if cause.get("reason") == "FieldManagerConflict"]
        return self.is_field_conflict and all(
            f'conflict with "{manager}"' in str(cause.get("message", "")) for cause in conflicts
        )

    @property
    def is_unserved(self) -> bool:
        """The path itself is unknown, which an object that does not exist is not."""
        return self.status == 404 and not self.reason


def is_transient(error: ApiError, unserved_too: bool = False) -> bool:
    """Whether the same request may succeed a little later.

    :param unserved_too: the kind has just been established, so its path may still be unknown.
    """
    if error.status in (0, 429) or error.status >= 500:
        return not error.message.startswith(_MISFITS)
    if error.status == 409:
        if "UID in the precondition" in error.message:
            return False
        # A race with another writer, or with the creation of the same object.
        return not error.is_field_conflict and error.reason in ("Conflict", "AlreadyExists")
    return unserved_too and error.is_unserved


def is_bound(method: str, body: t.Any) -> bool:
    """Whether a request is for one state of an object alone, so that a conflict is its answer: a creation, and what
    names a version of the object.
    """
    if method == "POST" or not isinstance(body, dict):
        return method == "POST"
    return any("resourceVersion" in (body.get(part) or {}) for part in ("metadata", "preconditions"))


def pause_before(attempt: int, retry_after: float | None = None) -> float:
    """Seconds to pause after a failed try.

    :param attempt: number of the try, from 0. The pause is twice the last one, with some chance in it.
    :param retry_after: seconds for which the server asks; these are used instead.
    """
    if retry_after is not None:
        return min(retry_after, _LONGEST_RETRY_AFTER)
    # The chance spreads requests and keeps no secret.
    return random.uniform(0.5, 1.0) * min(LONGEST_PAUSE, 0.1 * 2 ** min(attempt, 10))  # noqa: S311


def error_of(status: int, body: bytes, headers: t.Mapping[str, str]) -> ApiError:
    """The error that an answer of ``status`` stands for."""
    try:
        document = json.loads(body)
    except ValueError:
        document = None
    if not isinstance(document, dict) or document.get("kind") != "Status":
        document = {"message": body[:500].decode("utf-8", "replace").strip() or f"HTTP status {status}"}
    try:
        retry_after = float(headers.get("Retry-After", ""))
    except ValueError:
        retry_after = None
    return ApiError(
        status, document.get("reason", ""), document.get("message", ""), document.get("details"), retry_after
    )


@dataclass(frozen=True, eq=False)
class Answer:
    status: int
    body: Body


class Api:
    """One API server. Safe to use from several threads."""

    def __init__(self, pool: t.Any, host: str, headers: t.Callable[[], t.Any], parallel: int) -> None:
        """:param pool: a urllib3 PoolManager. :param headers: gives the authentication headers of one request."""
        self.host = host.rstrip("/")
        self.parallel = parallel
        self.retry_seconds = RETRY_SECONDS
        #: Is called with a message about requests that are retried for long.
        self.say: t.Callable[[str], None] = lambda message: None
        self._pool = pool
        self._headers = headers
        self._answered = False
        #: Collections with a request that was tried for as long as allowed.
        self._given_up: set[str] = set()
        #: When the connection was lost last, and when a line was said, in monotonic seconds.
        self._lost = self._said = -math.inf

    def each(self, function: t.Callable[[Item], Result], items: t.Sequence[Item]) -> list[Result]:
        """``function`` of every item, ``parallel`` at a time, in order; the first exception is raised after all have
        run.
        """
        if len(items) < 2:
            return [function(item) for item in items]
        with self._workers(len(items)) as workers:
            futures = [workers.submit(function, item) for item in items]
            wait(futures)
        return [future.result() for future in futures]

    def stream(self, function: t.Callable[[Item], Result], items: t.Sequence[Item]) -> t.Iterator[Result]:
        """``function`` of every item, ``parallel`` at a time, in order; results come while others run, so that few are
        held at once.
        """
        if len(items) < 2:
            yield from map(function, items)
            return
        waiting = iter(items)
        with self._workers(len(items)) as workers:
            running = deque(
                workers.submit(function, item) for item in itertools.islice(waiting, self.parallel * _AHEAD)
            )
            while running:
                result = running.popleft().result()
                running.extend(workers.submit(function, item) for item in itertools.islice(waiting, 1))
                yield result

    @contextlib.contextmanager
    def _workers(self, items: int) -> t.Iterator[ThreadPoolExecutor]:
        """Threads for so many items. An interrupted run does not wait for those that have not begun."""
        workers = ThreadPoolExecutor(max_workers=min(self.parallel, items))
        try:
            yield workers
        finally:
            workers.shutdown(cancel_futures=True)

    def request(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: t.Any = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        unserved_too: bool = False,
        patience: float | None = None,
    ) -> Answer:
        """Send one request, again while the failure is transient and the time allows.

        :param patience: seconds for which it is tried again, where that is not to be ``retry_seconds``.
        :raises ApiError: the last failure.
        """
        collection = path.rpartition("/")[0]
        url = self._url(path, query)
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode("utf-8")
        started, attempt = time.monotonic(), 0
        while True:
            try:
                answer = self._send(method, url, data, content_type, accept)
                self._given_up.discard(collection)
                return answer
            except ApiError as error:
                allowed = self._patience(collection) if patience is None else patience
                pause = pause_before(attempt, error.retry_after)
                waited = time.monotonic() - started
                again = is_transient(error, unserved_too) or self.is_of_a_restart(error)
                if error.status == 409 and is_bound(method, body):
                    again = False
                if not again or waited + pause > allowed:
                    if patience is None and waited > _SILENT_SECONDS:
                        self._given_up.add(collection)
                    error.request = f"{method} {path}"
                    raise
                if waited > _SILENT_SECONDS:
                    self._say_now_and_then(f"trying again ({waited:.0f} s): {method} {path}: {error.message}")
            attempt += 1
            time.sleep(pause)

    def _patience(self, collection: str) -> float:
        """Seconds for which a request is tried again; 0 where another request to the collection was in vain."""
        if collection in self._given_up:
            return 0.0
        return self.retry_seconds if self._answered else min(FIRST_ANSWER_SECONDS, self.retry_seconds)

    def is_of_a_restart(self, error: ApiError) -> bool:
        """Whether the API server may have refused because it has just started: before it has read roles, it allows
        nothing.
        """
        return error.status in (401, 403) and time.monotonic() - self._lost < RESTART_SECONDS

    def _say_now_and_then(self, line: str) -> None:
        """Say one of the lines that all workers have at the same time."""
        if time.monotonic() - self._said >= _SAYING_INTERVAL:
            self._said = time.monotonic()
            self.say(line)

    def _url(self, path: str, query: Query | None) -> str:
        return f"{self.host}{path}?{urlencode(query)}" if query else f"{self.host}{path}"

    def _send(self, method: str, url: str, data: bytes | None, content_type: str, accept: str) -> Answer:
        answer = self._open(method, url, data, content_type, accept, _READ_TIMEOUT, preload=True)
        self._answered = True
        if answer.status == 401:
            raise ApiError(
                401,
                "Unauthorized",
                f"Unauthorized: the API server {self.host} does not know these credentials; they may have expired",
            )
        if answer.status >= 400:
            raise error_of(answer.status, answer.data, answer.headers)
        if accept != "application/json" and not answer.headers.get("Content-Type", "").startswith("application/json"):
            return Answer(answer.status, {"text": answer.data.decode("utf-8", "replace")})
        return Answer(answer.status, json.loads(answer.data) if answer.data else {})

    def _open(
        self,
        method: str,
        url: str,
        data: bytes | None,
        content_type: str,
        accept: str,
        read_timeout: float,
        preload: bool,
    ) -> t.Any:
        import urllib3

        headers = self._headers()
        headers["Accept"] = accept
        if data is not None:
            headers["Content-Type"] = content_type
        timeout = urllib3.Timeout(connect=_CONNECT_TIMEOUT, read=read_timeout)
        try:
            return self._pool.request(
                method, url, body=data, headers=headers, timeout=timeout, retries=False, preload_content=preload
            )
        except urllib3.exceptions.SSLError as error:
            if not (error.args and isinstance(error.args[0], ssl.SSLCertVerificationError)):
                # Such as the end of a connection that a load balancer has nobody for.
                raise self._no_answer(error) from error
            # Trying again does not mend a certificate.
            raise ApiError(
                495,
                "TLS",
                f"cannot verify the API server {self.host}: {error}; "
                "check ca_cert, or the cluster's entry in the kubeconfig",
            ) from error
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._no_answer(error) from error

    def _no_answer(self, error: Exception) -> ApiError:
        self._lost = time.monotonic()
        return ApiError(
            0,
            "NoAnswer",
            f"no answer from the API server {self.host}: {error}; is the cluster running, and is this its kubeconfig?",
        )

    def get(self, path: str) -> Body | None:
        """One object or document; None when there is none."""
        try:
            return self.request("GET", path).body
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def types(self, api_version: str) -> list[ResourceType]:
        """The resource types of one API version; none when it is not served."""
        document = self.get(group_version_path(api_version))
        return types_of_discovery(document) if document else []

    def versions(self, group: str) -> list[str]:
        """The API versions of a group, preferred first; none when it is not served."""
        if not group:
            return ["v1"]
        document = self.get(f"/apis/{group}")
        if not document:
            return []
        preferred = document["preferredVersion"]["groupVersion"]
        return [
            preferred,
            *(version["groupVersion"] for version in document["versions"] if version["groupVersion"] != preferred),
        ]

    def pages(
        self,
        resource_type: ResourceType,
        namespace: str = "",
        query: Query | None = None,
        names_only: bool = False,
        patience: float | None = None,
    ) -> t.Iterator[tuple[str, list[Body]]]:
        """The collection page by page, each with its resourceVersion; nothing when the kind is not served.

        :param names_only: leave out everything but metadata.
        :param patience: as in request.
        """
        accept = NAMES_ONLY if names_only else "application/json"
        position: dict[str, str] = {}
        while True:
            try:
                body = self.request(
                    "GET",
                    resource_type.path(namespace),
                    {**(query or {}), "limit": PAGE, **position},
                    accept=accept,
                    patience=patience,
                ).body
            except ApiError as error:
                if error.status == 404:
                    return
                if error.status == 410 and position:
                    # The continue token outlived its history; a new, unpaged list has what remains.
                    body = self.request(
                        "GET", resource_type.path(namespace), query, accept=accept, patience=patience
                    ).body
                else:
                    raise
            items = body.get("items") or []
            for item in items:
                # Items of a list leave out what the list says for all of them.
                item["apiVersion"], item["kind"] = resource_type.api_version, resource_type.kind
            metadata = body.get("metadata") or {}
            yield metadata.get("resourceVersion", ""), items
            if not metadata.get("continue"):
                return
            position = {"continue": metadata["continue"]}

    def watch(
        self,
        resource_type: ResourceType,
        namespace: str,
        resource_version: str,
        seconds: float,
        query: Query | None = None,
    ) -> t.Iterator[tuple[str, Body]]:
        """Events (type, object) of a collection after ``resource_version``, for ``seconds`` or until the server ends
        it.

        :raises ApiError: when the server says no, and with ``status`` 0 when the stream breaks off.
        """
        import urllib3

        parameters = {
            **(query or {}),
            "watch": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": max(1, int(seconds)),
        }
        answer = self._open(
            "GET",
            self._url(resource_type.path(namespace), parameters),
            None,
            "",
            "application/json",
            seconds + 10.0,
            preload=False,
        )
        try:
            if answer.status >= 400:
                raise error_of(answer.status, answer.read(), answer.headers)
            rest = b""
            for chunk in answer.stream(amt=None, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        raise ApiError(
                            int(event["object"].get("code") or 500),
                            event["object"].get("reason", ""),
                            event["object"].get("message", ""),
                        )
                    yield event["type"], event["object"]
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise self._no_answer(error) from error
        finally:
            answer.close()

    def lines(self, path: str, query: Query) -> t.Iterator[str]:
        """The lines of a log as they come, so that it is never held as a whole.

        :raises ApiError: when the server says no, and with ``status`` 0 when the stream breaks off.
        """
        import urllib3

        answer = self._open("GET", self._url(path, query), None, "", "text/plain, */*", _READ_TIMEOUT, preload=False)
        try:
            if answer.status >= 400:
                error = error_of(answer.status, answer.read(), answer.headers)
                error.request = f"GET {path}"
                raise error
            rest = b""
            for chunk in answer.stream(amt=65536, decode_content=True):
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    yield line.decode("utf-8", "replace")
            if rest:
                yield rest.decode("utf-8", "replace")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._no_answer(error) from error
        finally:
            answer.close()


class ConnectionSettingsError(Exception):
    """The options and files that say how to reach the cluster are incomplete or unreadable."""


def connect(params: t.Mapping[str, t.Any], parallel: int, directory: str | None = None) -> Api:
    """The API server that kubernetes.core's authentication options in ``params``, ``K8S_AUTH_*`` variables or the pod's
    own account name.

    :param directory: for the files that a kubeconfig's keys and certificates have to be in, and that are its maker's to
        remove; where there is none the kubernetes library removes them at the end of the process.
    :raises ImportError: when the kubernetes library is missing.
    :raises ConnectionSettingsError: when they name none.
    """
    import urllib3
    from kubernetes.client.rest import RESTClientObject

    try:
        configuration = configuration_of(settings_of(params, os.environ), directory)
        # One connection for each worker, and some for the watches of a wait.
        configuration.connection_pool_maxsize = parallel + 16
        pool = RESTClientObject(configuration).pool_manager
        # Set, it is not looked for in the environment again with each request that carries a token.
        configuration.proxy = configuration.proxy
    except Exception as error:
        # The client raises its own, yaml's, ssl's and OSError alike.
        where = f" from kubeconfig {params['kubeconfig']}" if isinstance(params.get("kubeconfig"), str) else ""
        raise ConnectionSettingsError(
            f"cannot read how to reach the cluster{where}: {error}; set kubeconfig and context, or host with api_key"
        ) from error
    impersonation = impersonation_of(params, os.environ)
    lock = threading.Lock()

    def headers() -> t.Any:
        result = urllib3.HTTPHeaderDict({"User-Agent": "egress.ai_gateway"})
        with lock:
            # Renews a token that expires.
            for setting in configuration.auth_settings().values():
                if setting.get("in") == "header" and setting.get("value"):
                    result[setting["key"]] = setting["value"]
        if "authorization" not in result and configuration.username and configuration.password:
            result["Authorization"] = configuration.get_basic_auth_token()
        for name, value in impersonation:
            result.add(name, value)
        return result

    return Api(pool, configuration.host, headers, parallel)
