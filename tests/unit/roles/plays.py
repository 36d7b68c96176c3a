# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plays as ansible-playbook runs them, without its start.

A server that has loaded Ansible and the client of Kubernetes forks for each play. Modules run in the process of their
task instead of an interpreter of their own. One server serves one process of tests, and ends with it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

import yaml

#: Seconds that a play may take.
TIMEOUT = 300


class Ended(t.NamedTuple):
    """The exit status of a play, and what it printed."""

    returncode: int
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        return self.stdout + self.stderr


def run_playbook(
    directory: Path,
    playbook: str | dict[str, t.Any],
    variables: dict[str, t.Any],
    *arguments: str,
    host: str = "localhost",
    environment: dict[str, str] | None = None,
) -> Ended:
    """Run the playbook of this name, or this play, on this machine as the inventory's only host.

    ``variables`` are extra variables; for the rest see ``ansible_playbook``.
    """
    if isinstance(playbook, dict):
        (directory / "play.yml").write_text(json.dumps([playbook]), encoding="utf-8")
        playbook = str(directory / "play.yml")
    given = {"ansible_python_interpreter": sys.executable, **variables}
    (directory / "variables.yml").write_text(yaml.safe_dump(given), encoding="utf-8")
    inventory = ["--inventory", f"{host},", "--connection", "local", "--extra-vars", f"@{directory}/variables.yml"]
    return ansible_playbook(directory, *inventory, *arguments, playbook, environment=environment)


def ansible_playbook(directory: Path, *arguments: str, environment: dict[str, str] | None = None) -> Ended:
    """Run ansible-playbook with these arguments, in a directory of the caller's own.

    ``environment`` adds to the environment of the tests.
    """
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    request = {
        "directory": str(directory),
        "arguments": arguments,
        # What a client discovered is kept by the address of its server, which the server of a later test may have.
        "environment": {
            **os.environ,
            **_settings(),
            # As a shell in that directory has it.
            "PWD": str(directory),
            "TMPDIR": str(temporary),
            **(environment or {}),
        },
        "stdout": f"{temporary}/stdout",
        "stderr": f"{temporary}/stderr",
        "parsed": f"{temporary}/parsed",
    }
    server = _server()
    assert server.stdin
    assert server.stdout
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    status = server.stdout.readline()
    assert status, "the server of plays has ended"
    return Ended(int(status), *((temporary / name).read_text(encoding="utf-8") for name in ("stdout", "stderr")))


@functools.cache
def _settings() -> dict[str, str]:
    from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog import build

    # Not resolved: a checkout may be linked into the tree of collections.
    return {"ANSIBLE_COLLECTIONS_PATH": str(Path(build.__file__).parents[6]), "ANSIBLE_FORCE_COLOR": "false"}


@functools.cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, __file__],
        env={**os.environ, **_settings()},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    return server


# --- the server ---


def _load() -> None:
    """Import what plays need, and what the loader of collections would compile anew for each of their tasks."""
    import gc
    import importlib

    from ansible.cli import playbook  # noqa: F401
    from ansible.module_utils._internal import _datatag
    from ansible.plugins import loader

    loader.init_plugin_loader()
    # Once is enough for all plays.
    loader._configure_collection_loader = lambda *_arguments: None
    # Without that of vars, which Ansible itself has to load first, or it enables none.
    kinds = "filter", "test", "inventory", "callback", "strategy", "connection", "shell", "become"
    for kind in (*kinds, "action", "lookup"):
        list(getattr(loader, f"{kind}_loader").all(class_only=True))
    plugins = _collection() / "plugins"
    for name in sorted(path.stem for path in (plugins / "filter").glob("[a-z]*.py")):
        loader.filter_loader.get(f"egress.ai_gateway.{name}")
    for name in sorted(path.stem for path in (plugins / "action").glob("[a-z]*.py")):
        loader.action_loader.get(f"egress.ai_gateway.{name}", class_only=True)
    names = [f"egress.ai_gateway.plugins.modules.{path.stem}" for path in (plugins / "modules").glob("[a-z]*.py")]
    for name in (*names, "kubernetes.core.plugins.modules.k8s", "kubernetes.core.plugins.modules.k8s_info"):
        importlib.import_module(f"ansible_collections.{name}")
    # Constants, and copying them takes most of the time of reading roles.
    for kind in (_datatag.AnsibleDatatagBase, _datatag._AnsibleTaggedStr):
        kind.__deepcopy__ = lambda constant, _memo: constant
    _remember_files()
    _remember_filters()
    gc.freeze()


#: What files of YAML hold, by their content, their path and whether templates in it are trusted.
_FILES: dict[tuple[str, str | None, bool], t.Any] = {}


def _remember_files() -> None:
    """Parse a file once: roles are read by each play, and files of variables for each task."""
    from ansible._internal._datatag._tags import TrustedAsTemplate
    from ansible.parsing import dataloader

    parse = dataloader.from_yaml

    def from_yaml(data: str, file_name: str | None = None, **options: t.Any) -> t.Any:
        key = str(data), file_name, TrustedAsTemplate.is_tagged_on(data)
        if options.get("json_only"):
            return parse(data, file_name=file_name, **options)
        if key not in _FILES:
            _FILES[key] = parse(data, file_name=file_name, **options)
        return _FILES[key]

    dataloader.from_yaml = from_yaml


def _remember_filters() -> None:
    """Look a filter of a collection up once: the loader reads all filters of the collection for each of them."""
    from ansible.plugins.loader import Jinja2Loader

    find, known = Jinja2Loader.get_with_context, {}

    def get_with_context(self: t.Any, name: str, *arguments: t.Any, **options: t.Any) -> t.Any:
        key = self.type, name
        if key in known:
            return known[key]
        found = find(self, name, *arguments, **options)
        if found.object is not None and name.count(".") > 1:
            known[key] = found
        return found

    Jinja2Loader.get_with_context = get_with_context


def _learn(path: Path) -> None:
    """Parse the files that a play has parsed, for those after it."""
    import gc

    from ansible.parsing.dataloader import DataLoader

    if path.exists():
        for name in json.loads(path.read_text(encoding="utf-8")):
            DataLoader().load_from_file(name, unsafe=True, trusted_as_template=True)
        gc.freeze()


def _collection() -> Path:
    return Path(os.environ["ANSIBLE_COLLECTIONS_PATH"]) / "ansible_collections/egress/ai_gateway"


def _serve() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if not child:
            _play(request)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        _learn(Path(request["parsed"]))


def _play(request: dict[str, t.Any]) -> t.NoReturn:
    import gc
    import signal
    import traceback

    from ansible.cli.playbook import PlaybookCLI

    status, known, collection = 1, len(_FILES), f"{_collection()}/"
    # A play ends before its garbage is much.
    gc.disable()
    try:
        signal.alarm(TIMEOUT)
        for descriptor, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
            file = os.open(path, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(file, descriptor)
            os.close(file)
        os.chdir(request["directory"])
        os.environ.clear()
        os.environ.update(request["environment"])
        tempfile.tempdir = None
        PlaybookCLI.cli_executor(["ansible-playbook", *request["arguments"]])
    except SystemExit as ended:
        status = int(ended.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            names = [name for _content, name, _trusted in list(_FILES)[known:] if str(name).startswith(collection)]
            Path(request["parsed"]).write_text(json.dumps(names), encoding="utf-8")
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(status)


class _Call(bytes):
    """The arguments of a module, in the place of the program that Ansible would send to an interpreter."""

    module: str
    environment: dict[str, str]


def _run_modules_here() -> None:
    import contextlib
    import io

    from ansible.executor.module_common import _BuiltModule
    from ansible.module_utils._internal._ansiballz import _loader
    from ansible.module_utils.common.json import Direction, get_module_encoder
    from ansible.plugins import action

    build, execute = action.modify_module, action.ActionBase._low_level_execute_command
    profile = "legacy"
    encoder = get_module_encoder(profile, Direction.CONTROLLER_TO_MODULE)

    def modify_module(**options: t.Any) -> t.Any:
        path = Path(options["module_path"])
        if options["async_timeout"] or path.suffix != ".py":
            return build(**options)
        parts = path.with_suffix("").parts
        root = max(number for number, part in enumerate(parts) if part in ("ansible", "ansible_collections"))
        call = _Call(json.dumps({"ANSIBLE_MODULE_ARGS": options["module_args"]}, cls=encoder).encode())
        call.module = ".".join(parts[root:])
        call.environment = {name: str(value) for name, value in options["environment"].items()}
        return _BuiltModule(
            b_module_data=call, module_style="new", shebang=f"#!{sys.executable}", serialization_profile=profile
        )

    def low_level_execute_command(self: t.Any, cmd: str, *arguments: t.Any, **options: t.Any) -> t.Any:
        call = options.get("in_data")
        if not isinstance(call, _Call):
            return execute(self, cmd, *arguments, **options)
        stdout, stderr, environment, status = io.StringIO(), io.StringIO(), dict(os.environ), 0
        os.environ.update(call.environment)
        try:
            with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr), contextlib.chdir("."):
                # As the program that Ansible sends would.
                _loader.run_module(
                    json_params=bytes(call), profile=profile, module_fqn=call.module, modlib_path="", extensions={}
                )
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            os.environ.clear()
            os.environ.update(environment)
        return {"rc": status, "stdout": stdout.getvalue(), "stderr": stderr.getvalue()}

    action.modify_module = modify_module
    action.ActionBase._low_level_execute_command = low_level_execute_command


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ["ANSIBLE_HOME"] = home
        _load()
        _run_modules_here()
        _serve()
