# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs against an API server in memory: others that write in between, and ends of the run between any two requests."""

from __future__ import annotations

import copy
import itertools
import json
import typing as t
from collections.abc import Callable

import pytest
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch import patch as field_patch_patch
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.fields import fields_of
from ansible_collections.egress.ai_gateway.plugins.module_utils._field_patch.patch import (
    RECORD_LABEL,
    Options,
    Outcome,
    PatchError,
    RecordedPatch,
    Target,
    has_changes,
    outcome_as_dict,
    target_of,
)
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.api import ApiError
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.wait import WaitError
from cluster import Answer, Cluster, PowerCut

Body = dict[str, t.Any]
KEY = ("deployments", "default", "maas-api")
RECORD = ("configmaps", "default", "record")
TARGET = Target("apps/v1", "Deployment", "maas-api", "default")
IMAGE = {"path": ["spec", "template", "spec", "containers", {"name": "maas-api"}, "image"], "value": "maas-api:2"}
MANAGED = {"path": ["metadata", "annotations", "opendatahub.io/managed"], "value": "false"}
FIELDS = [MANAGED, IMAGE]


class Faulty(Cluster):
    """A cluster whose client dies before (or, if ``late``, after) request ``dies_at``, and where ``others`` act before
    a request.
    """

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []
        self.dies_at = -1
        self.late = False
        self.others: Callable[[str], None] = lambda request: None
        containers = [{"name": "proxy", "image": "proxy:1"}, {"name": "maas-api", "image": "maas-api:1"}]
        status = {"updatedReplicas": 1, "replicas": 1, "availableReplicas": 1}
        self.put(
            "deployments", "default", "maas-api", spec={"template": {"spec": {"containers": containers}}}, status=status
        )

    def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
        line = f"{method} {url.removeprefix('https://cluster')}"
        self.others(line)
        if len(self.requests) == self.dies_at and not self.late:
            raise PowerCut
        self.requests.append(line)
        answer = super().request(method, url, body, **options)
        if len(self.requests) - 1 == self.dies_at:
            raise PowerCut
        return answer

    @property
    def target(self) -> Body:
        """The object, but for what counts its versions."""
        body = copy.deepcopy(self.objects[KEY])
        del body["metadata"]["resourceVersion"]
        return body

    @property
    def image(self) -> str:
        return str(self.objects[KEY]["spec"]["template"]["spec"]["containers"][1]["image"])

    def write_image(self, image: str) -> None:
        self.objects[KEY]["spec"]["template"]["spec"]["containers"][1]["image"] = image
        self.objects[KEY]["metadata"]["resourceVersion"] += "+"


@pytest.fixture
def cluster() -> Faulty:
    return Faulty()


def present(cluster: Cluster, fields: t.Sequence[Body] = FIELDS, target: Target = TARGET, **options: t.Any) -> Outcome:
    patch = RecordedPatch(cluster.api(), "record", "default", Options(**options), lambda line: None)
    patch.present(target, fields_of(fields))
    return patch.outcome


def absent(cluster: Cluster, **options: t.Any) -> Outcome:
    patch = RecordedPatch(cluster.api(), "record", "default", Options(**options), lambda line: None)
    patch.absent()
    return patch.outcome


def with_image(image: str) -> list[Body]:
    return [MANAGED, {**IMAGE, "value": image}]


def test_writes_once_and_restores_exactly(cluster: Faulty) -> None:
    before = cluster.target
    first = present(cluster)
    assert first.changed
    assert [change.action for change in first.changes] == ["written", "written"]
    assert first.diff() == {
        "before_header": "Deployment default/maas-api",
        "after_header": "Deployment default/maas-api",
        "before": {"spec.template.spec.containers[name=maas-api].image": "maas-api:1"},
        "after": {
            "metadata.annotations['opendatahub.io/managed']": "false",
            "spec.template.spec.containers[name=maas-api].image": "maas-api:2",
        },
    }
    assert cluster.image == "maas-api:2"
    assert cluster.objects[KEY]["metadata"]["annotations"] == {"opendatahub.io/managed": "false"}
    cluster.writes.clear()
    second = present(cluster)
    assert not second.changed
    assert not has_changes(second)
    assert cluster.writes == []
    back = absent(cluster)
    assert back.changed
    assert outcome_as_dict(back)["fields"][0] == {
        "path": IMAGE["path"],
        "action": "restored",
        "before": "maas-api:2",
        "after": "maas-api:1",
    }
    assert cluster.target == before
    assert RECORD not in cluster.objects
    assert not absent(cluster).changed


def test_the_record_is_written_before_the_object(cluster: Faulty) -> None:
    present(cluster)
    assert cluster.writes == [
        "PATCH /api/v1/namespaces/default/configmaps/record",
        "PATCH /apis/apps/v1/namespaces/default/deployments/maas-api",
    ]
    data = cluster.objects[RECORD]["data"]
    assert json.loads(data["target"]) == {
        "api_version": "apps/v1",
        "kind": "Deployment",
        "name": "maas-api",
        "namespace": "default",
    }
    assert json.loads(data["fields"])[0] == {"path": MANAGED["path"], "parents": 1, "written": ["false"]}


def test_check_mode_reports_the_same_and_writes_nothing(cluster: Faulty) -> None:
    rehearsed = present(cluster, check_mode=True)
    assert cluster.writes == []
    real = present(cluster)
    assert (rehearsed.changed, rehearsed.changes) == (real.changed, real.changes)
    assert not present(cluster, check_mode=True).changed
    cluster.writes.clear()
    rehearsed = absent(cluster, check_mode=True)
    assert cluster.writes == []
    assert (rehearsed.changed, rehearsed.changes) == (True, absent(cluster).changes)


def test_a_field_that_is_dropped_is_restored(cluster: Faulty) -> None:
    before = cluster.target
    present(cluster)
    rehearsed = present(cluster, [MANAGED], check_mode=True)
    outcome = present(cluster, [MANAGED])
    assert rehearsed.changes == outcome.changes
    assert [change.action for change in outcome.changes] == ["restored", "unchanged"]
    assert cluster.image == "maas-api:1"
    assert not present(cluster, [MANAGED]).changed
    assert present(cluster, []).changed
    assert cluster.target == before
    assert RECORD not in cluster.objects
    assert not present(cluster, []).changed


def test_what_the_owner_writes_between_two_runs_is_restored(cluster: Faulty) -> None:
    present(cluster)
    cluster.write_image("maas-api:1.1")
    outcome = present(cluster)
    assert cluster.image == "maas-api:2"
    assert "image was changed by somebody since it was recorded" in outcome.warnings[0]
    absent(cluster)
    assert cluster.image == "maas-api:1.1"


def test_what_somebody_changed_is_left_and_the_rest_restored(cluster: Faulty) -> None:
    present(cluster)
    cluster.write_image("maas-api:9")
    outcome = absent(cluster)
    assert cluster.image == "maas-api:9"
    assert "annotations" not in cluster.objects[KEY]["metadata"]
    assert outcome.warnings == [
        "Deployment default/maas-api: spec.template.spec.containers[name=maas-api].image was changed by somebody "
        "since it was written; "
        "it is left as it is, and no longer recorded"
    ]
    assert RECORD not in cluster.objects


def test_where_the_object_is_gone_the_record_goes(cluster: Faulty) -> None:
    present(cluster)
    del cluster.objects[KEY]
    with pytest.raises(PatchError, match="there is no Deployment default/maas-api; create it first"):
        present(cluster)
    outcome = absent(cluster)
    assert (outcome.changed, outcome.changes) == (True, [])
    assert outcome.warnings == ["there is no Deployment default/maas-api any more; only the record of it goes"]
    assert RECORD not in cluster.objects


def test_where_its_kind_is_gone_the_record_goes(cluster: Faulty) -> None:
    present(cluster)
    cluster.resources = {**cluster.resources, "apps/v1": {}}
    with pytest.raises(PatchError, match="the cluster serves no Deployment in apps/v1; correct api_version and kind"):
        present(cluster)
    assert absent(cluster).warnings
    assert RECORD not in cluster.objects


def steps() -> list[tuple[str, Callable[[Cluster], Outcome]]]:
    """Runs one after the other, each of which may end anywhere."""
    return [
        ("first", present),
        ("other values", lambda cluster: present(cluster, with_image("maas-api:3"))),
        ("fewer fields", lambda cluster: present(cluster, [IMAGE])),
        ("absent", absent),
    ]


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("ended", range(4), ids=[name for name, _run in steps()])
@pytest.mark.parametrize("following", ["the same", "absent", "other values"])
def test_a_run_that_ends_anywhere_is_completed_by_the_next(ended: int, late: bool, following: str) -> None:
    for request in itertools.count():
        cluster = Faulty()
        before = cluster.target
        for _name, run in steps()[:ended]:
            run(cluster)
        cluster.dies_at, cluster.late = len(cluster.requests) + request, late
        try:
            steps()[ended][1](cluster)
        except PowerCut:
            pass
        else:
            assert request > 3
            return
        cluster.dies_at = -1
        if following == "other values":
            outcome = present(cluster, with_image("maas-api:4"))
            assert cluster.image == "maas-api:4"
            assert outcome.warnings == []
        elif following == "the same":
            steps()[ended][1](cluster)
            reference = Faulty()
            for _name, run in steps()[: ended + 1]:
                run(reference)
            assert cluster.target == reference.target
            assert not steps()[ended][1](cluster).changed
        outcome = absent(cluster)
        assert outcome.warnings == []
        assert cluster.target == before
        assert RECORD not in cluster.objects


@pytest.mark.parametrize("moment", range(1, 7))
def test_nobody_elses_write_is_lost(cluster: Faulty, moment: int) -> None:
    """Whenever somebody sets another field of the object or one of ours, that stays, or is what is restored."""

    def act(request: str) -> None:
        if len(cluster.requests) == moment:
            cluster.write_image("maas-api:1.1")
            cluster.objects[KEY]["metadata"]["annotations"] = {
                **cluster.objects[KEY]["metadata"].get("annotations", {}),
                "theirs": "x",
            }

    cluster.others = act
    if moment < 6:
        present(cluster)
        assert cluster.image == "maas-api:2"
    else:
        with pytest.raises(PatchError, match="image was written, and within 0 s somebody changed it to"):
            present(cluster)
    assert len(cluster.requests) > moment
    absent(cluster)
    assert cluster.image == "maas-api:1.1"
    assert cluster.objects[KEY]["metadata"]["annotations"] == {"theirs": "x"}


def test_an_object_that_never_rests(cluster: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(field_patch_patch, "pause_before", lambda attempt: 0)
    versions = itertools.count()

    def act(request: str) -> None:
        if request.startswith("PATCH /apis/"):
            cluster.objects[KEY]["metadata"]["resourceVersion"] = f"theirs-{next(versions)}"

    cluster.others = act
    with pytest.raises(
        PatchError, match="was changed by others whenever it was to be written, 20 times; run again once that has ended"
    ):
        present(cluster)


def test_a_lost_answer_is_no_change_of_somebody(cluster: Faulty) -> None:
    """The API server did what was asked, and the client asks again."""
    lost: list[str] = []

    class Losing(Faulty):
        def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
            answer = super().request(method, url, body, **options)
            if method == "PATCH" and "dryRun" not in url and "deployments" in url and not lost:
                lost.append(url)
                raise OSError("connection reset")
            return answer

    losing = Losing()
    before = losing.target
    outcome = present(losing)
    assert lost
    assert (outcome.changed, outcome.warnings) == (True, [])
    assert losing.image == "maas-api:2"
    absent(losing)
    assert losing.target == before


def test_an_operator_that_reverts_is_named_with_what_to_do(cluster: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        cluster.write_image("maas-api:1")
        fields = {"f:spec": {"f:template": {"f:spec": {"f:containers": {'k:{"name":"maas-api"}': {"f:image": {}}}}}}}
        cluster.objects[KEY]["metadata"]["managedFields"] = [{"manager": "odh-operator", "fieldsV1": fields}]

    monkeypatch.setattr("time.sleep", sleep)
    with pytest.raises(PatchError) as error:
        present(cluster, settle_seconds=10)
    assert 9 < slept[0] <= 10
    message = str(error.value)
    assert message.startswith(
        "Deployment default/maas-api: spec.template.spec.containers[name=maas-api].image was written, and within "
    )
    assert 'field manager odh-operator changed it to "maas-api:1"' in message
    assert "kubectl get Deployment maas-api --namespace default --output yaml --show-managed-fields" in message
    slept.clear()
    # Nothing is waited for where nothing is written.
    monkeypatch.setattr("time.sleep", slept.append)
    present(cluster)
    present(cluster, settle_seconds=10)
    assert slept == []


def test_an_object_that_is_deleted_right_after(cluster: Faulty, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: cluster.objects.pop(KEY))
    with pytest.raises(PatchError, match="was deleted within 0 s after it was written"):
        present(cluster, settle_seconds=10)


def test_a_rollout_is_waited_for(cluster: Faulty) -> None:
    before = cluster.target
    cluster.objects[KEY]["status"]["availableReplicas"] = 0
    with pytest.raises(WaitError, match=r"not ready after \d+ s: 0 of 1 ready"):
        present(cluster, wait_timeout=0.2)
    # Again, although there is nothing to write any more.
    with pytest.raises(WaitError):
        present(cluster, wait_timeout=0.2)
    assert not present(cluster, wait=False).changed
    with pytest.raises(WaitError):
        absent(cluster, wait_timeout=0.2)
    # It is restored all the same, and what is wrong with it then is its owner's.
    assert not absent(cluster).changed
    assert cluster.target["spec"] == before["spec"]


def test_a_value_that_is_stored_in_another_form_is_refused(cluster: Faulty) -> None:
    class Converting(Faulty):
        def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
            return super().request(method, url, body and body.replace(b"maas-api:2", b"mirror/maas-api:2"), **options)

    converting = Converting()
    with pytest.raises(
        PatchError,
        match='image "maas-api:2" the API server makes "mirror/maas-api:2", and nothing was written; give the value '
        "in that form",
    ):
        present(converting)
    assert converting.writes == []


@pytest.mark.parametrize(
    ("target", "fields", "message"),
    [
        (Target("v1", "Secret", "key", "default"), [], "target is a Secret; what was in it would be recorded"),
        (
            Target("apps/v1", "Deployment", "other", "default"),
            FIELDS,
            "there is no Deployment default/other; create it first",
        ),
        (Target("v1", "Gadget", "x", "default"), FIELDS, "the cluster serves no Gadget in v1"),
        (Target("gadgets/v1", "Gadget", "x"), FIELDS, "the cluster serves no Gadget in gadgets/v1"),
        (
            Target("v1", "ConfigMap", "x"),
            FIELDS,
            "a ConfigMap is in a namespace; name its namespace in target.namespace",
        ),
        (
            Target("v1", "Namespace", "x", "default"),
            FIELDS,
            "a Namespace is in no namespace; leave target.namespace out",
        ),
        (
            TARGET,
            [{"path": ["spec", "template", "spec", "containers", "x"], "value": 1}],
            "Deployment default/maas-api: spec.* is a list",
        ),
    ],
)
def test_targets_that_cannot_be(cluster: Faulty, target: Target, fields: list[Body], message: str) -> None:
    with pytest.raises(PatchError, match=message):
        present(cluster, fields, target)
    assert cluster.writes == []


def test_a_record_of_another_object(cluster: Faulty) -> None:
    present(cluster)
    with pytest.raises(
        PatchError,
        match="record default/record is of Deployment default/maas-api, not of ConfigMap default/x; restore that first",
    ):
        present(cluster, FIELDS, Target("v1", "ConfigMap", "x", "default"))


def test_a_config_map_that_is_no_record(cluster: Faulty) -> None:
    cluster.put("configmaps", "default", "record")
    for run in (present, absent):
        with pytest.raises(
            PatchError, match="ConfigMap default/record exists and is no record of changed fields; choose another name"
        ):
            run(cluster)


@pytest.mark.parametrize(
    "data",
    [{}, {"target": "{}", "fields": "[]"}, {"target": "no", "fields": "[]"}, {"target": '{"a": 1}', "fields": "[{}]"}],
)
def test_a_record_that_cannot_be_read(cluster: Faulty, data: Body) -> None:
    cluster.put("configmaps", "default", "record", data=data, metadata={"labels": {RECORD_LABEL: "true"}})
    with pytest.raises(
        PatchError,
        match=r"holds a record that cannot be read: .*; restore the fields it names by hand, and then delete it",
    ):
        absent(cluster)


def test_a_namespace_that_is_missing(cluster: Faulty) -> None:
    patch = RecordedPatch(cluster.api(), "record", "nowhere", Options(), lambda line: None)
    with pytest.raises(
        PatchError, match='record nowhere/record: namespaces "nowhere" not found; create the namespace first'
    ):
        patch.present(TARGET, fields_of(FIELDS))
    assert cluster.image == "maas-api:1"
    # In check mode it need not be there yet.
    rehearsal = RecordedPatch(cluster.api(), "record", "nowhere", Options(check_mode=True), lambda line: None)
    rehearsal.present(TARGET, fields_of(FIELDS))
    assert rehearsal.outcome.changed


def test_what_the_api_server_refuses_leaves_no_record(cluster: Faulty) -> None:
    class Refusing(Faulty):
        def request(self, method: str, url: str, body: bytes | None, **options: t.Any) -> Answer:
            if "dryRun" in url:
                return Answer(422, {"kind": "Status", "reason": "Invalid", "message": "image: Invalid value"})
            return super().request(method, url, body, **options)

    refusing = Refusing()
    with pytest.raises(ApiError, match="image: Invalid value"):
        present(refusing)
    assert refusing.writes == []


def test_target_of_an_option() -> None:
    assert target_of({"api_version": "v1", "kind": "Namespace", "name": "x", "namespace": None}) == Target(
        "v1", "Namespace", "x"
    )
