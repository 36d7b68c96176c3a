# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Playbook awx against the fake of AWX."""

from __future__ import annotations

import json
import re
import sys
import typing as t
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[3] / "fakes/awx"))
from awx_server import PASSWORD, USER, Awx, Server
from plays import run_playbook

ROOT = Path(__file__).parents[4]
PLAYBOOKS = [f"playbooks/{path.name}" for path in (ROOT / "playbooks").glob("*.yml")]
OPTIONS = {
    name: option
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml")
    for name, option in yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]
    .get("main", {})
    .get("options", {})
    .items()
}
VARIABLES: dict[str, t.Any] = {
    "awx_inventory_url": "https://git.example.com/inventories.git",
    "awx_execution_environment_image": "registry.example.com/ee:1",
    "awx_cluster_credentials": ["prod cluster"],
    "awx_key_credentials": ["prod keys"],
    "awx_key_variables": ["OPENAI_API_KEY", "VLLM_API_KEY"],
}
TOKEN_TYPE = "OpenShift or Kubernetes API Bearer Token"
SECRET = "a-secret-of-a-credential"


class Ended(t.NamedTuple):
    """Exit status, what was printed on one line, the count of changed tasks, and the writes of the run."""

    status: int
    said: str
    changed: int
    writes: int


Run = Callable[..., Ended]


def with_credentials() -> Awx:
    """An AWX with credentials of a cluster and of providers."""
    made = Awx(PLAYBOOKS)
    other = made.put("credential_types", name="Keys of ours", kind="cloud")
    kinds = {"prod cluster": made.named("credential_types", TOKEN_TYPE)["id"], "prod keys": other["id"]}
    for name, kind in kinds.items():
        made.put("credentials", name=name, credential_type=kind, inputs={"secret": SECRET})
    return made


def runner(server: Server, directory: Path) -> Run:
    """What runs the playbook against the fake."""

    def run(*arguments: str, environment: dict[str, str] | None = None, **variables: t.Any) -> Ended:
        before = len(server.awx.writes)
        given = server.environment if environment is None else {"CONTROLLER_HOST": server.url, **environment}
        ended = run_playbook(
            directory, "egress.ai_gateway.awx", {**VARIABLES, **variables}, *arguments, environment=given
        )
        changed = re.search(r"changed=(\d+)", ended.stdout)
        said = " ".join(ended.output.split())
        return Ended(ended.returncode, said, int(changed[1]) if changed else 0, len(server.awx.writes) - before)

    return run


@pytest.fixture
def awx() -> Awx:
    return with_credentials()


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Awx, Ended]:
    """An AWX on which the playbook made its objects, which the tests copy, and its run."""
    server = Server(with_credentials())
    ended = runner(server, tmp_path_factory.mktemp("first"))("-vvv")
    server.close()
    assert ended.status == 0, ended.said
    return server.awx, ended


@pytest.fixture
def complete(awx: Awx, first: tuple[Awx, Ended]) -> Awx:
    """An AWX with all objects, of its own for each test."""
    awx.restore(first[0])
    return awx


@pytest.fixture
def run(awx: Awx, tmp_path: Path) -> Iterator[Run]:
    server = Server(awx)
    yield runner(server, tmp_path)
    server.close()


@pytest.fixture
def few(tmp_path: Path) -> str:
    """The directory of data with the job templates of the workflows and schedules alone."""
    data = copied(tmp_path)
    needed = {"Preflight", "Site", "Validate", "Drift", "Teardown"}
    keep_templates(data, lambda name: name in needed)
    return str(data)


def copied(directory: Path) -> Path:
    """A copy of the data in a directory of its own."""
    data = directory / "data"
    data.mkdir()
    for path in (ROOT / "awx").glob("*.yml"):
        (data / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return data


def keep_templates(data: Path, wanted: Callable[[str], bool]) -> None:
    path = data / "job_templates.yml"
    templates = yaml.safe_load(path.read_text(encoding="utf-8"))
    templates["job_templates"] = [one for one in templates["job_templates"] if wanted(one["name"])]
    path.write_text(yaml.safe_dump(templates, sort_keys=False), encoding="utf-8")


def state(awx: Awx) -> str:
    """All that AWX has."""
    return json.dumps([awx.objects, awx.associated.__repr__(), awx.surveys.__repr__()], sort_keys=True)


def survey(awx: Awx, template: str) -> list[dict[str, t.Any]]:
    number = awx.named("job_templates", template)["id"]
    found: list[dict[str, t.Any]] = awx.surveys.get(("job_templates", number), {}).get("spec", [])
    return found


def test_a_check_of_an_empty_awx_lists_what_would_be_made(awx: Awx, run: Run) -> None:
    empty = state(awx)
    checked = run("--check")
    assert (checked.status, checked.writes, state(awx)) == (0, 0, empty), checked.said
    assert "job_templates Site in check mode" in checked.said


def test_a_second_run_changes_nothing_and_mends_what_others_changed(complete: Awx, run: Run) -> None:
    awx, whole = complete, state(complete)
    # By a user's name and password too.
    by_password = {"CONTROLLER_USERNAME": USER, "CONTROLLER_PASSWORD": PASSWORD}
    again = run("--diff", environment=by_password)
    assert (again.status, again.changed, again.writes, state(awx)) == (0, 0, 0, whole), again.said
    again = run("--check")
    assert (again.status, again.changed, again.writes) == (0, 0, 0), again.said

    site = awx.named("job_templates", "Site")
    site.update(limit="", job_tags="crds", description="changed")
    awx.associated["job_templates", site["id"]]["credentials"].clear()
    awx.surveys["job_templates", site["id"]]["spec"].pop()
    awx.named("schedules", "Drift every night")["enabled"] = False
    awx.named("credential_types", "Kubeconfig")["injectors"] = {}
    nodes = {node["identifier"]: node for node in awx.objects["workflow_job_template_nodes"].values()}
    awx.associated["workflow_job_template_nodes", nodes["approval"]["id"]]["success_nodes"].clear()
    awx.associated["workflow_job_template_nodes", nodes["preflight"]["id"]]["failure_nodes"].append(nodes["site"]["id"])
    awx.put(
        "workflow_job_template_nodes", identifier="more", workflow_job_template=nodes["site"]["workflow_job_template"]
    )
    broken = state(awx)
    checked = run("--check")
    # The description had the mark by which it is known.
    assert checked.status != 0
    assert 'AWX has "Site" among its job_templates, which this collection did not make.' in checked.said
    checked = run("--check", awx_adopt=True)
    assert (checked.status, checked.writes, state(awx)) == (0, 0, broken), checked.said
    assert checked.changed > 0
    mended = run(awx_adopt=True)
    assert mended.status == 0, mended.said
    assert state(awx) == whole


def test_what_is_described_no_longer_is_removed(complete: Awx, run: Run, tmp_path: Path) -> None:
    awx = complete
    data = copied(tmp_path)
    awx.put(
        "job_templates",
        name="of others",
        project=awx.named("projects", "AI gateway playbooks")["id"],
        playbook=PLAYBOOKS[0],
    )
    (data / "schedules.yml").write_text("schedules: []\n", encoding="utf-8")
    keep_templates(data, lambda name: name != "Drift")
    ended = run(awx_directory=str(data))
    assert (ended.status, ended.changed) == (0, 2), ended.said
    assert "Drift" not in awx.names("job_templates")
    assert "of others" in awx.names("job_templates")
    assert awx.names("schedules") == []


def test_removal_leaves_what_others_made(complete: Awx, run: Run) -> None:
    awx, before = complete, state(with_credentials())
    kubeconfig = awx.put("credentials", name="fleet", credential_type=awx.named("credential_types", "Kubeconfig")["id"])
    whole = state(awx)
    refused = run(awx_state="absent")
    assert refused.status != 0
    assert 'Credential type "Kubeconfig" is in use by "fleet"' in refused.said
    assert state(awx) == whole
    del awx.objects["credentials"][kubeconfig["id"]]

    kept = awx.put(
        "credentials",
        name="in the organization",
        organization=awx.named("organizations", "AI gateway")["id"],
        credential_type=awx.named("credential_types", TOKEN_TYPE)["id"],
    )
    checked = run("--check", awx_state="absent")
    assert (checked.status, checked.writes) == (0, 0)
    ended = run(awx_state="absent")
    assert ended.status == 0, ended.said
    assert (
        'Organization AI gateway stays, as it holds what others made: credentials "in the organization"' in ended.said
    )
    assert awx.names("organizations") == ["AI gateway"]
    del awx.objects["credentials"][kept["id"]]
    # Without the variables that only the making of them needs.
    ended = run(
        awx_state="absent", awx_inventory_url="", awx_execution_environment_image="", awx_cluster_credentials=[]
    )
    assert ended.status == 0, ended.said
    assert json.loads(state(awx))[0] == json.loads(before)[0]
    ended = run(awx_state="absent")
    assert (ended.status, ended.changed, ended.writes) == (0, 0, 0)


def test_two_installations_are_apart_by_their_prefix(awx: Awx, run: Run, few: str) -> None:
    awx.put("organizations", name="Platform")
    assert run(awx_directory=few, awx_name_prefix="prod ", awx_organization="Platform").status == 0
    first = state(awx)
    assert run(awx_directory=few, awx_name_prefix="test ", awx_organization="Platform").status == 0
    assert "prod Site" in awx.names("job_templates")
    assert "test Site" in awx.names("job_templates")
    ended = run(awx_directory=few, awx_name_prefix="test ", awx_state="absent")
    assert ended.status == 0, ended.said
    assert json.loads(state(awx))[0] == json.loads(first)[0]
    assert awx.names("organizations") == ["Platform"]


def test_a_question_is_what_the_argument_specification_says(first: tuple[Awx, Ended]) -> None:
    awx = first[0]
    data = yaml.safe_load((ROOT / "awx/job_templates.yml").read_text(encoding="utf-8"))["job_templates"]
    asked = 0
    for template in data:
        questions = survey(awx, template["name"])
        assert [question["variable"] for question in questions] == list(template.get("survey", {}))
        for question in questions:
            asked += 1
            option = OPTIONS[question["variable"]]
            kind = option.get("type", "str")
            choices = ["true", "false"] if kind == "bool" else option.get("choices", [])
            types = {"str": "text", "path": "text", "int": "integer", "float": "float"}
            assert question["type"] == ("multiplechoice" if choices else types[kind])
            assert question["choices"] == choices
            default = str(option["default"]).lower() if kind == "bool" else option["default"]
            assert question["default"] == default
            assert not option.get("no_log")
            assert question["question_description"]
            assert not re.search(r"\b[COVP]\(", question["question_description"])
        assert awx.named("job_templates", template["name"])["survey_enabled"] == bool(questions)
    assert asked > 20


def test_no_secret_is_asked_for_or_sent(first: tuple[Awx, Ended]) -> None:
    awx, ended = first
    assert SECRET not in ended.said
    sent = json.dumps([call.body for call in awx.writes])
    assert SECRET not in sent
    assert '"type": "password"' not in sent
    assert not [call for call in awx.writes if call.path.startswith("/api/v2/credentials/")]
    # AWX evaluates these, and Ansible does not.
    assert awx.named("credential_types", "Provider keys")["injectors"]["env"] == {
        "OPENAI_API_KEY": "{{ openai_api_key }}",
        "VLLM_API_KEY": "{{ vllm_api_key }}",
    }
    kubeconfig = awx.named("credential_types", "Kubeconfig")["injectors"]
    assert kubeconfig["env"] == {"K8S_AUTH_KUBECONFIG": "{{ tower.filename.kubeconfig }}"}


def test_teardown_waits_for_approval_and_site_for_its_preflight(first: tuple[Awx, Ended]) -> None:
    awx = first[0]
    for workflow, wanted in {
        "Provision": [("preflight", "Preflight"), ("site", "Site"), ("validate", "Validate")],
        "Teardown after approval": [("approval", "Remove the AI gateway?"), ("teardown", "Teardown")],
    }.items():
        number = awx.named("workflow_job_templates", workflow)["id"]
        nodes = {
            node["id"]: node
            for node in awx.objects["workflow_job_template_nodes"].values()
            if node["workflow_job_template"] == number
        }
        after = {
            one: awx.associated.get(("workflow_job_template_nodes", one), {}).get("success_nodes", []) for one in nodes
        }
        (first,) = set(nodes) - {one for ones in after.values() for one in ones}
        found = []
        following = [first]
        while following:
            node = nodes[following[0]]
            (template,) = [
                kind[node["unified_job_template"]]["name"]
                for kind in (awx.objects["job_templates"], awx.objects["workflow_approval_templates"])
                if node["unified_job_template"] in kind
            ]
            found.append((node["identifier"], template))
            following = after[node["id"]]
        assert found == wanted


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"awx_inventory_url": ""}, "awx_inventory_url is empty."),
        ({"awx_execution_environment_image": ""}, "awx_execution_environment_image: is empty; write the image"),
        ({"awx_execution_environment": "none"}, 'awx_execution_environment: AWX has no "none"'),
        ({"awx_organization": "nobody"}, 'awx_organization: AWX has no "nobody" among its organizations.'),
        (
            {"awx_cluster_credentials": ["prod-cluster"]},
            'awx_cluster_credentials: AWX has no credential "prod-cluster"',
        ),
        ({"awx_key_credentials": ["prod cluster", "second cluster"]}, "of which AWX attaches one to a job template"),
        ({"awx_key_credentials": ["git"]}, 'Credential "git" is of kind scm'),
        ({"awx_key_credentials": ["twice"]}, '2 credentials are named "twice"'),
        # What else the description may not have, the tests of its module show.
        ({"awx_key_variables": ["openai"]}, "awx_key_variables[0]"),
        ({"awx_directory": "/nonexistent"}, "awx_directory is /nonexistent, which is no directory."),
        ({"awx_state": "removed"}, "awx_state must be one of"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_the_first_write(
    variables: dict[str, t.Any], said: str, awx: Awx, run: Run
) -> None:
    for name, kind in (("second cluster", TOKEN_TYPE), ("git", "Source Control"), ("twice", "Machine")):
        awx.put("credentials", name=name, credential_type=awx.named("credential_types", kind)["id"])
    awx.put("credentials", name="twice", credential_type=awx.named("credential_types", TOKEN_TYPE)["id"])
    ended = run(**variables)
    assert ended.status != 0
    assert said in ended.said, ended.said
    assert (ended.writes, ended.changed) == (0, 0)


def test_objects_of_others_are_not_taken_over_unasked(awx: Awx, run: Run) -> None:
    awx.put("execution_environments", name="AI gateway", image="other")
    ended = run()
    assert ended.status != 0
    assert 'AWX has "AI gateway" among its execution_environments, which this collection did not make.' in ended.said
    assert ended.writes == 0


def test_inputs_of_a_credential_type_in_use_do_not_change(complete: Awx, run: Run) -> None:
    awx = complete
    awx.put("credentials", name="mine", credential_type=awx.named("credential_types", "Provider keys")["id"])
    ended = run(awx_key_variables=["OPENAI_API_KEY"])
    assert ended.status != 0
    assert 'The inputs of credential type "Provider keys" would change' in ended.said
    assert ended.writes == 0


def test_without_address_or_user_nothing_is_asked(run: Run, awx: Awx) -> None:
    ended = run(environment={"CONTROLLER_HOST": "", "CONTROLLER_USERNAME": "x"})
    assert ended.status != 0
    assert "CONTROLLER_HOST, CONTROLLER_OAUTH_TOKEN: not in the environment." in ended.said
    assert awx.calls == []
