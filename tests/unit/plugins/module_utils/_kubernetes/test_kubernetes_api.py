# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import ssl
import typing as t

import pytest
import urllib3
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes import api as kubernetes_api
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import (
    Api,
    ApiError,
    connect,
    error_of,
    is_transient,
    pause_before,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.kinds import ResourceType

CONFIG_MAPS = ResourceType("v1", "ConfigMap", "configmaps", True, frozenset())


class Answer:
    def __init__(
        self, status: int, body: t.Any, headers: dict[str, str] | None = None, chunks: t.Sequence[bytes] = ()
    ) -> None:
        self.status = status
        self.data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {"Content-Type": "application/json", **(headers or {})}
        self._chunks = chunks
        self.closed = False

    def read(self) -> bytes:
        return self.data

    def stream(self, amt: int | None, decode_content: bool) -> t.Iterator[bytes]:
        yield from self._chunks

    def close(self) -> None:
        self.closed = True


class Pool:
    """Answers from a list, and remembers what was asked."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[dict[str, t.Any]] = []

    def request(self, method: str, url: str, **options: t.Any) -> Answer:
        self.requests.append({"method": method, "url": url, **options})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that only pauses move; returns them."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr("time.monotonic", lambda: sum(slept))
    return slept


def api(pool: Pool) -> Api:
    return Api(pool, "https://127.0.0.1:6443/", lambda: {"authorization": "Bearer x"}, 4)


def refusal(code: int, reason: str, message: str = "no", causes: t.Sequence[dict[str, str]] = ()) -> Answer:
    return Answer(
        code,
        {"kind": "Status", "code": code, "reason": reason, "message": message, "details": {"causes": list(causes)}},
    )


LOST = urllib3.exceptions.ProtocolError("connection broken")


def test_a_request_carries_credentials_query_and_compact_json() -> None:
    pool = Pool(Answer(201, {"kind": "ConfigMap"}))
    answer = api(pool).request(
        "PATCH", "/api/v1/x", {"fieldManager": "a b", "force": "true"}, {"k": [1]}, kubernetes_api.APPLY
    )
    assert (answer.status, answer.body) == (201, {"kind": "ConfigMap"})
    (request,) = pool.requests
    assert request["method"] == "PATCH"
    assert request["url"] == "https://127.0.0.1:6443/api/v1/x?fieldManager=a+b&force=true"
    assert request["body"] == b'{"k":[1]}'
    assert request["headers"] == {
        "authorization": "Bearer x",
        "Accept": "application/json",
        "Content-Type": "application/apply-patch+yaml",
    }


@pytest.mark.parametrize(
    ("answer", "transient"),
    [
        (refusal(429, "TooManyRequests"), True),
        (refusal(500, "InternalError", 'failed calling webhook "x": connection refused'), True),
        (refusal(503, "ServiceUnavailable"), True),
        (Answer(502, b"bad gateway"), True),
        (refusal(409, "Conflict", "the object has been modified"), True),
        (refusal(409, "AlreadyExists"), True),
        (refusal(409, "Conflict", "1 conflict", [{"reason": "FieldManagerConflict"}]), False),
        (refusal(404, "NotFound"), False),
        (Answer(404, b"404 page not found\n"), False),
        (refusal(403, "Forbidden"), False),
        (refusal(422, "Invalid"), False),
    ],
)
def test_what_may_succeed_a_little_later(answer: Answer, transient: bool) -> None:
    assert is_transient(error_of(answer.status, answer.data, answer.headers)) is transient


def test_a_path_not_served_yet_is_transient_only_when_expected_soon() -> None:
    unserved = error_of(404, b"404 page not found\n", {})
    assert unserved.is_unserved
    assert is_transient(unserved, unserved_too=True)
    assert not is_transient(error_of(404, refusal(404, "NotFound").data, {}), unserved_too=True)


@pytest.mark.parametrize(
    "message",
    [
        "failed to create typed patch object (default/typo; /v1, Kind=ConfigMap): .dota: field not declared in schema",
        "failed to convert new object (default/typo; /v1, Kind=Secret) to proper version: illegal base64 data at "
        "input byte 4",
    ],
)
def test_a_manifest_that_does_not_fit_its_schema_is_not_tried_again(message: str) -> None:
    assert not is_transient(ApiError(500, "", message))


def test_lost_connections_and_overload_are_survived(pauses: list[float]) -> None:
    pool = Pool(
        Answer(200, {}),
        LOST,
        Answer(429, b"", {"Retry-After": "2"}),
        refusal(500, "InternalError"),
        Answer(200, {"ok": True}),
    )
    client = api(pool)
    client.request("GET", "/first")
    assert client.request("GET", "/second").body == {"ok": True}
    assert len(pauses) == 3
    assert pauses[1] == 2


def test_what_an_api_server_refuses_while_it_comes_back_is_asked_again(pauses: list[float]) -> None:
    pool = Pool(
        Answer(200, {}), LOST, refusal(403, "Forbidden"), refusal(401, "Unauthorized"), Answer(200, {"kind": "Widget"})
    )
    server = api(pool)
    server.request("GET", "/a")
    assert server.request("GET", "/a").body == {"kind": "Widget"}
    assert len(pauses) == 3


def test_a_refusal_without_a_restart_is_final(pauses: list[float]) -> None:
    with pytest.raises(ApiError, match="does not know these credentials; they may have expired"):
        api(Pool(refusal(401, "Unauthorized"))).request("GET", "/a")
    assert not pauses


def test_a_handshake_that_ends_early_is_tried_again(pauses: list[float]) -> None:
    server = api(
        Pool(
            urllib3.exceptions.SSLError(ssl.SSLEOFError("UNEXPECTED_EOF_WHILE_READING")),
            Answer(200, {"kind": "Widget"}),
        )
    )
    assert server.request("GET", "/a").body == {"kind": "Widget"}
    assert len(pauses) == 1


def test_what_was_tried_in_vain_is_not_tried_as_long_again(pauses: list[float]) -> None:
    server = api(Pool(Answer(200, {}), *[refusal(500, "InternalError")] * 100))
    server.request("GET", "/other/a")
    for name, tries in (("a", 1), ("b", 0), ("c", 0)):
        pauses.clear()
        with pytest.raises(ApiError):
            server.request("PATCH", f"/widgets/{name}")
        assert bool(pauses) == bool(tries), name
    pauses.clear()
    with pytest.raises(ApiError):
        server.request("GET", "/explained", patience=0)
    assert not pauses
    server._pool.answers[:] = [Answer(200, {}), refusal(500, "InternalError"), Answer(200, {"kind": "Widget"})]
    server.request("PATCH", "/widgets/a")
    assert server.request("PATCH", "/widgets/b").body == {"kind": "Widget"}, (
        "one that succeeds gives the others hope again"
    )


@pytest.mark.parametrize(
    ("method", "body", "tries"),
    [
        ("POST", {"metadata": {"name": "a"}}, 1),
        ("PUT", {"metadata": {"name": "a", "resourceVersion": "7"}}, 1),
        ("DELETE", {"preconditions": {"uid": "u", "resourceVersion": "7"}}, 1),
        ("DELETE", {"preconditions": {"uid": "u"}}, 2),
        ("PATCH", {"metadata": {"name": "a"}}, 2),
        ("PATCH", [{"op": "remove", "path": "/x"}], 2),
    ],
)
def test_a_conflict_is_tried_again_where_it_can_end(method: str, body: object, tries: int, pauses: list[float]) -> None:
    pool = Pool(refusal(409, "Conflict", "the object has been modified"), Answer(200, {"kind": "Widget"}))
    if tries == 1:
        with pytest.raises(ApiError, match="has been modified"):
            api(pool).request(method, "/widgets/a", body=body)
    else:
        assert api(pool).request(method, "/widgets/a", body=body).status == 200
    assert len(pauses) == tries - 1


def test_an_object_that_was_replaced_is_not_waited_for(pauses: list[float]) -> None:
    with pytest.raises(ApiError):
        api(
            Pool(refusal(409, "Conflict", "the UID in the precondition (a) does not match the UID in record (b)"))
        ).request("DELETE", "/a")
    assert not pauses


def test_pauses_grow_to_a_limit() -> None:
    assert 0.05 <= pause_before(0) <= 0.1
    assert 1.5 <= pause_before(50) <= 3.0
    assert pause_before(0, 3600) == 15


def test_trying_ends_and_is_said_aloud(pauses: list[float]) -> None:
    pool = Pool(Answer(200, {}), *[LOST] * 200)
    client = api(pool)
    said: list[str] = []
    client.say = said.append
    client.request("GET", "/first")
    with pytest.raises(
        ApiError,
        match=r"no answer from the API server https://127\.0\.0\.1:6443: connection broken; is the cluster running",
    ):
        client.request("GET", "/second")
    assert 80 < sum(pauses) <= kubernetes_api.RETRY_SECONDS
    assert said[0].startswith("trying again (")
    assert "GET /second: no answer" in said[0]


def test_a_wrong_address_is_reported_soon(pauses: list[float]) -> None:
    with pytest.raises(ApiError):
        api(Pool(*[LOST] * 200)).request("GET", "/first")
    assert sum(pauses) <= kubernetes_api.FIRST_ANSWER_SECONDS


def test_a_certificate_that_does_not_verify_is_reported_at_once(pauses: list[float]) -> None:
    with pytest.raises(ApiError, match=r"cannot verify the API server .* check ca_cert"):
        api(Pool(urllib3.exceptions.SSLError(ssl.SSLCertVerificationError("self-signed certificate")))).request(
            "GET", "/first"
        )
    assert pauses == []


def test_only_what_does_not_exist_is_none() -> None:
    client = api(Pool(refusal(404, "NotFound"), Answer(200, {"a": 1}), refusal(403, "Forbidden", "may not")))
    assert client.get("/x") is None
    assert client.get("/x") == {"a": 1}
    with pytest.raises(ApiError, match="may not"):
        client.get("/x")


def test_an_error_that_is_no_status_keeps_its_message() -> None:
    error = error_of(502, b" upstream gone \n", {})
    assert (error.status, error.reason, error.message) == (502, "", "upstream gone")
    assert error_of(500, b"", {}).message == "HTTP status 500"


def test_pages_are_followed_and_items_completed() -> None:
    first = {"metadata": {"continue": "next", "resourceVersion": "5"}, "items": [{"metadata": {"name": "a"}}]}
    pool = Pool(
        Answer(200, first), Answer(200, {"metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "b"}}]})
    )
    pages = list(api(pool).pages(CONFIG_MAPS, "shop", {"labelSelector": "a=b"}))
    assert [version for version, items in pages] == ["5", "5"]
    assert [item for version, items in pages for item in items] == [
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}} for name in "ab"
    ]
    assert pool.requests[0]["url"].endswith("/api/v1/namespaces/shop/configmaps?labelSelector=a%3Db&limit=500")
    assert pool.requests[1]["url"].endswith("&continue=next")


def test_a_kind_that_is_not_served_has_no_objects() -> None:
    assert list(api(Pool(Answer(404, b"404 page not found"))).pages(CONFIG_MAPS)) == []


def test_an_expired_continue_token_starts_over() -> None:
    first = {"metadata": {"continue": "next"}, "items": [{"metadata": {"name": "a"}}]}
    everything = {"metadata": {}, "items": [{"metadata": {"name": "a"}}, {"metadata": {"name": "b"}}]}
    pool = Pool(Answer(200, first), refusal(410, "Expired"), Answer(200, everything))
    pages = list(api(pool).pages(CONFIG_MAPS, "shop"))
    assert [item["metadata"]["name"] for item in pages[-1][1]] == ["a", "b"]


def test_versions_of_a_group_come_preferred_first() -> None:
    group = {
        "preferredVersion": {"groupVersion": "apps/v1"},
        "versions": [{"groupVersion": "apps/v2"}, {"groupVersion": "apps/v1"}],
    }
    assert api(Pool(Answer(200, group))).versions("apps") == ["apps/v1", "apps/v2"]
    assert api(Pool(Answer(404, b""))).versions("gone.example.com") == []
    assert api(Pool()).versions("") == ["v1"]


def test_watch_events_are_read_across_chunks() -> None:
    lines = b'{"type":"ADDED","object":{"n":1}}\n{"type":"MODIFIED","object":{"n":2}}\n'
    answer = Answer(200, b"", chunks=[lines[:10], lines[10:45], lines[45:]])
    assert list(api(Pool(answer)).watch(CONFIG_MAPS, "shop", "5", 30)) == [("ADDED", {"n": 1}), ("MODIFIED", {"n": 2})]
    assert answer.closed


def test_an_error_in_a_watch_is_raised() -> None:
    line = b'{"type":"ERROR","object":{"code":410,"reason":"Expired","message":"too old"}}\n'
    with pytest.raises(ApiError, match="too old"):
        list(api(Pool(Answer(200, b"", chunks=[line]))).watch(CONFIG_MAPS, "shop", "5", 30))


def test_everything_runs_before_the_first_error_is_raised() -> None:
    seen: list[int] = []

    def visit(number: int) -> int:
        seen.append(number)
        if number == 1:
            raise ValueError("one")
        return number * 2

    client = api(Pool())
    assert client.each(lambda number: number * 2, [1, 2, 3]) == [2, 4, 6]
    with pytest.raises(ValueError, match="one"):
        client.each(visit, [1, 2, 3])
    assert sorted(seen) == [1, 2, 3]


def test_a_stream_keeps_the_order_and_runs_only_a_little_ahead() -> None:
    begun: list[int] = []

    def visit(number: int) -> int:
        begun.append(number)
        return number

    server = api(Pool())
    stream = server.stream(visit, range(1000))
    assert next(stream) == 0
    assert len(begun) < 100
    assert list(stream) == list(range(1, 1000))
    assert sorted(begun) == list(range(1000))
    assert list(server.stream(visit, [7])) == [7]


def test_a_proxy_is_looked_for_once_and_not_with_each_request_that_carries_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[str] = []
    kubeconfig = {
        "clusters": [{"name": "a", "cluster": {"server": "https://a.example.com"}}],
        "users": [{"name": "a", "user": {"token": "secret"}}],
        "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
        "current-context": "a",
    }

    class Pool:
        def request(self, _method: str, _url: str, **options: t.Any) -> Answer:
            assert options["headers"]["authorization"] == "Bearer secret"
            return Answer(200, {})

    monkeypatch.setattr("urllib3.ProxyManager", lambda **options: looks.append(options["proxy_url"]) or Pool())
    monkeypatch.setenv("https_proxy", "http://proxy.example.com:3128")
    api = connect({"kubeconfig": kubeconfig}, 8)
    monkeypatch.setattr("kubernetes.client.configuration.getproxies", lambda: pytest.fail("looked for a proxy again"))
    api.get("/api/v1")
    api.get("/api/v1")
    assert looks == ["http://proxy.example.com:3128"]
