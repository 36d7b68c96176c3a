# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Job templates as AWX runs them: with ansible-runner, of what playbook awx made on the fake of AWX.

A job has the variables, the inventory and the credentials in the form in which AWX gives them to ansible-runner: the
answers of the survey as extra variables, the inventory as a program that prints JSON, credentials as environment
variables and files.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing as t

import jinja2
import objects
import yaml
from runs import ROOT

sys.path.insert(0, str(ROOT / "tests/fakes/awx"))
from awx_server import Awx, Server

LOCK = ROOT / "tests/integration/awx_packages.txt"
CACHE = pathlib.Path.home() / ".cache/egress-ai-gateway/awx"
INVENTORY = ROOT / "inventories/embedded"
PLAYBOOKS = [f"playbooks/{path.name}" for path in sorted((ROOT / "playbooks").glob("*.yml"))]
BEARER_TOKEN = "OpenShift or Kubernetes API Bearer Token"
#: The administrator as whom jobs call the cluster.
ACCOUNT = "awx-jobs"
#: The credential of the embedded cluster.
CLUSTER = "embedded cluster"
Found = dict[str, t.Any]


def programs() -> pathlib.Path:
    """The directory of ansible-runner and ansible-builder, in an environment of their own that is made once."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    directory = CACHE / f"python-{version}-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    subprocess.run([sys.executable, str(ROOT / "scripts/venv"), str(LOCK), str(directory)], check=True, timeout=1200)
    return directory / "bin"


def provisioned(server: Server, *arguments: str, **variables: t.Any) -> subprocess.CompletedProcess[str]:
    """Run playbook awx against the fake."""
    given = {
        "awx_inventory_url": "https://git.example.com/inventories.git",
        "awx_execution_environment_image": "registry.example.com/ai-gateway-ee:1",
        **variables,
    }
    command = ["ansible-playbook", "egress.ai_gateway.awx", "--extra-vars", json.dumps(given), *arguments]
    environment = os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "NO_COLOR": "1"} | server.environment
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)


@contextlib.contextmanager
def controller(token: str, **variables: t.Any) -> t.Iterator[Server]:
    """A fake of AWX on which playbook awx made its objects, with a credential of the embedded cluster."""
    awx = Awx(PLAYBOOKS)
    server = Server(awx)
    try:
        host, authority = _cluster()
        awx.put(
            "credentials",
            name=CLUSTER,
            credential_type=awx.named("credential_types", BEARER_TOKEN)["id"],
            inputs={"host": host, "bearer_token": token, "verify_ssl": True, "ssl_ca_cert": authority},
        )
        ended = provisioned(server, awx_cluster_credentials=[CLUSTER], **variables)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        yield server
    finally:
        server.close()


def _cluster() -> tuple[str, str]:
    """The URL of the embedded cluster's API server, and the certificate of its authority in PEM."""
    kubeconfig = yaml.safe_load(pathlib.Path(objects.STATE, "kubeconfig").read_text(encoding="utf-8"))
    cluster = kubeconfig["clusters"][0]["cluster"]
    return cluster["server"], base64.b64decode(cluster["certificate-authority-data"]).decode()


@contextlib.contextmanager
def administrator() -> t.Iterator[str]:
    """A token of a ServiceAccount that may do everything, as a credential of AWX holds it."""
    objects.kubectl("create", "serviceaccount", ACCOUNT, "--namespace=kube-system")
    try:
        objects.kubectl(
            "create",
            "clusterrolebinding",
            ACCOUNT,
            "--clusterrole=cluster-admin",
            f"--serviceaccount=kube-system:{ACCOUNT}",
        )
        yield objects.kubectl("create", "token", ACCOUNT, "--namespace=kube-system", "--duration=2h").strip()
    finally:
        objects.kubectl("delete", "clusterrolebinding", ACCOUNT, "--ignore-not-found")
        objects.kubectl("delete", "serviceaccount", ACCOUNT, "--namespace=kube-system")


def extra_variables(awx: Awx, template: Found, answers: t.Mapping[str, t.Any]) -> Found:
    """The extra variables of a job, by AWX's precedence: of the template, defaults of the survey, answers.

    An answer that AWX would refuse is an error.
    """
    survey = awx.surveys.get(("job_templates", template["id"]), {}).get("spec", [])
    questions = {question["variable"]: question for question in survey}
    assert not set(answers) - set(questions), f"no question asks for {set(answers) - set(questions)}"
    values = {variable: question["default"] for variable, question in questions.items()} | answers
    for variable, question in questions.items():
        value = values[variable]
        if question["type"] == "multiplechoice":
            assert value in question["choices"], f"{variable}: {value!r} is none of {question['choices']}"
        else:
            kind = {"text": str, "integer": int, "float": (int, float)}[question["type"]]
            assert isinstance(value, kind), f"{variable}: {value!r} is no {question['type']}"
    return (json.loads(template["extra_vars"]) if template["extra_vars"] else {}) | values


def inject(awx: Awx, credential: Found, directory: pathlib.Path) -> dict[str, str]:
    """The environment that AWX makes of a credential; its files go into `directory`."""
    kind = awx.objects["credential_types"][credential["credential_type"]]
    inputs = credential["inputs"]
    if kind["managed"]:
        assert kind["name"] == BEARER_TOKEN
        environment = {"K8S_AUTH_HOST": inputs["host"], "K8S_AUTH_API_KEY": inputs["bearer_token"]}
        # Without a certificate AWX turns the verification off.
        if not (inputs.get("verify_ssl") and "ssl_ca_cert" in inputs):
            return environment | {"K8S_AUTH_VERIFY_SSL": "False"}
        path = _write(directory, f"credential-{credential['id']}", inputs["ssl_ca_cert"])
        return environment | {"K8S_AUTH_VERIFY_SSL": "True", "K8S_AUTH_SSL_CA_CERT": path}
    engine = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)  # noqa: S701 - no HTML
    known = {field["id"]: inputs.get(field["id"], "") for field in kind["inputs"]["fields"]}
    files = {
        name.partition(".")[2]: _write(
            directory, f"{name}-{credential['id']}", engine.from_string(template).render(known)
        )
        for name, template in kind["injectors"].get("file", {}).items()
    }
    return {
        name: engine.from_string(template).render(known, tower={"filename": files})
        for name, template in kind["injectors"].get("env", {}).items()
    }


def _write(directory: pathlib.Path, name: str, content: str) -> str:
    path = directory / name
    path.touch(mode=0o600)
    path.write_text(content, encoding="utf-8")
    return str(path)


def inventory_program(inventory: pathlib.Path) -> str:
    """The inventory as AWX gives it to a job: a program that prints JSON. Variables are not evaluated in it."""
    listed = subprocess.run(
        ["ansible-inventory", "--inventory", str(inventory), "--list", "--export"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")},
        timeout=120,
    )
    return f"#!{sys.executable}\nprint({listed.stdout!r})\n"


class Job(t.NamedTuple):
    """A job that has ended."""

    #: As AWX shows it: successful, failed, timeout, canceled.
    status: str
    output: str
    #: What set_stats set, which AWX gives to the nodes after it.
    artifacts: Found
    #: The counts of the recap, by host.
    stats: dict[str, dict[str, int]]
    #: The names of the tasks that changed something, or would have.
    changed: set[str]
    seconds: float


def launch(
    awx: Awx,
    name: str,
    directory: pathlib.Path,
    answers: t.Mapping[str, t.Any] | None = None,
    *,
    inventory: pathlib.Path = INVENTORY,
    collections: pathlib.Path = ROOT / ".collections",
    timeout: int = 1500,
    **environment: str,
) -> Job:
    """Run a job template and return its job.

    `directory` is made, and is what AWX gives to ansible-runner.
    """
    template = awx.named("job_templates", name)
    for part in ("env", "inventory", "project"):
        (directory / part).mkdir(parents=True)
    # As a project is a checkout; the roles are the execution environment's.
    shutil.copytree(ROOT / "playbooks", directory / "project/playbooks")
    hosts = directory / "inventory/hosts"
    hosts.write_text(inventory_program(inventory), encoding="utf-8")
    hosts.chmod(0o700)
    given: dict[str, str] = {
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_FORCE_COLOR": "false",
        # As in the container of a job.
        "PWD": str(directory / "project"),
        **environment,
    }
    attached = awx.associated.get(("job_templates", template["id"]), {}).get("credentials", [])
    for number in attached:
        given |= inject(awx, awx.objects["credentials"][number], directory / "env")
    arguments = [
        *(["--check"] if template["job_type"] == "check" else []),
        *(["--diff"] if template["diff_mode"] else []),
        *(["--tags", template["job_tags"]] if template["job_tags"] else []),
        *(["--skip-tags", template["skip_tags"]] if template["skip_tags"] else []),
    ]
    _write(directory / "env", "extravars", json.dumps(extra_variables(awx, template, answers or {})))
    _write(directory / "env", "envvars", json.dumps(given))
    _write(directory / "env", "cmdline", " ".join(arguments))
    _write(directory / "env", "settings", json.dumps({"idle_timeout": 0, "job_timeout": timeout}))
    print(f"\n$ ansible-runner: {name} {answers or ''}", flush=True)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("ANSIBLE_", "K8S_AUTH_", "KUBE"))}
    with open(directory / "printed", "w", encoding="utf-8") as printed:
        subprocess.run(
            [str(programs() / "ansible-runner"), "run", str(directory), "-p", template["playbook"], "--ident", "job"],
            env=clean,
            stdout=printed,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=timeout + 60,
        )
    return _ended(directory)


def disclosing(directory: pathlib.Path, *secrets: str) -> list[pathlib.Path]:
    """The files of jobs that hold one of the secrets, besides what a job was given.

    AWX gives it as files in `env`, and the runner keeps the environment in `command`. AWX takes neither from a job.
    """
    given = {path for name in ("env", "command") for path in directory.rglob(name)}
    left = [path for path in directory.rglob("*") if path.is_file() and not given.intersection((path, *path.parents))]
    assert any("job_events" in path.parts for path in left)
    return [
        path for path in left if any(secret in path.read_text(encoding="utf-8", errors="replace") for secret in secrets)
    ]


def _ended(directory: pathlib.Path) -> Job:
    output = (directory / "printed").read_text(encoding="utf-8")
    artifacts = directory / "artifacts/job"
    assert (artifacts / "status").exists(), output[-3000:]
    ended: Found = {}
    changed = set()
    for path in (artifacts / "job_events").glob("*.json"):
        event = json.loads(path.read_text(encoding="utf-8"))
        if event["event"] == "playbook_on_stats":
            ended = event["event_data"]
        elif event["event"] == "runner_on_ok" and event["event_data"]["res"].get("changed"):
            changed.add(event["event_data"]["task"])
    stats: dict[str, dict[str, int]] = {}
    for count in ("ok", "changed", "failures", "skipped", "rescued", "ignored", "dark"):
        for host, number in ended.get(count, {}).items():
            stats.setdefault(host, {})[count] = number
    events = list((artifacts / "job_events").glob("*.json"))
    times = [path.stat().st_mtime for path in events]
    job = Job(
        (artifacts / "status").read_text(encoding="utf-8"),
        output,
        ended.get("artifact_data", {}),
        stats,
        changed,
        max(times) - min(times) if times else 0,
    )
    print(f"{job.status} after {job.seconds:.0f} s: {job.stats} artifacts {sorted(job.artifacts)}", flush=True)
    return job
