# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kubernetes client's configuration, from kubernetes.core's authentication options and ``K8S_AUTH_*`` variables.

The functions of kubernetes.core that do this import its dynamic client, which takes a quarter of a second.
"""

from __future__ import annotations

import typing as t

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import (
    AUTH_ARG_MAP,
    AUTH_ARG_SPEC,
    AUTH_PROXY_HEADERS_SPEC,
)

#: Options that the kubernetes client sends as headers of each request.
_IMPERSONATION = {"impersonate_user": "Impersonate-User", "impersonate_groups": "Impersonate-Group"}


def settings_of(params: t.Mapping[str, t.Any], environment: t.Mapping[str, str]) -> dict[str, t.Any]:
    """The authentication options that are set, by the kubernetes client's names for them; those not given are looked up
    in the environment.
    """
    settings: dict[str, t.Any] = {}
    for name, option in AUTH_ARG_MAP.items():
        value = params.get(option)
        if value is None and option == "proxy_headers":
            value = _of_environment("proxy_headers_", AUTH_PROXY_HEADERS_SPEC, environment) or None
        elif value is None:
            text = environment.get(f"K8S_AUTH_{option.upper()}") or environment.get(f"K8S_AUTH_{name.upper()}")
            value = _converted(text, t.cast("dict[str, t.Any]", AUTH_ARG_SPEC[option])) if text else None
        if value is not None:
            settings[name] = value
    return settings


def impersonation_of(params: t.Mapping[str, t.Any], environment: t.Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers by which requests are made in somebody else's name."""
    headers = []
    for option, header in _IMPERSONATION.items():
        value = params.get(option)
        if value is None:
            text = environment.get(f"K8S_AUTH_{option.upper()}")
            value = [part for part in text.split(",") if part] if text else []
        headers += [(header, part) for part in ([value] if isinstance(value, str) else value)]
    return headers


def hidden_values(params: t.Mapping[str, t.Any]) -> set[str]:
    """The values of the authentication options to hide in everything returned.

    Ansible would hide every string of a ``no_log`` option, names of objects and clusters among them.
    """
    headers = params.get("proxy_headers") or {}
    values = [params.get("api_key"), params.get("password"), headers.get("proxy_basic_auth"), headers.get("basic_auth")]
    kubeconfig = params.get("kubeconfig")
    if isinstance(kubeconfig, dict):
        users = kubeconfig.get("users")
        for entry in users if isinstance(users, list) else ():
            user = entry.get("user") if isinstance(entry, dict) else None
            # Whatever else it is, reading the kubeconfig fails and reports it.
            values += (
                [user.get(field) for field in ("token", "password", "client-key-data")]
                if isinstance(user, dict)
                else []
            )
    return {str(value) for value in values if value}


def _of_environment(
    prefix: str, specification: t.Mapping[str, t.Any], environment: t.Mapping[str, str]
) -> dict[str, t.Any]:
    names = {name: f"K8S_AUTH_{prefix}{name}".upper() for name in specification}
    return {
        name: _converted(environment[variable], specification[name])
        for name, variable in names.items()
        if variable in environment
    }


def _converted(text: str, specification: t.Mapping[str, t.Any]) -> t.Any:
    return boolean(text, strict=False) if specification.get("type") == "bool" else text


def configuration_of(settings: t.Mapping[str, t.Any], directory: str | None = None) -> t.Any:
    """The kubernetes client's configuration: of the options alone where they suffice, else on top of a kubeconfig or of
    the pod's own account.

    :param directory: for files with a kubeconfig's keys and certificates, which the configuration names.
    :raises ImportError: when the kubernetes library is missing.
    """
    import urllib3
    from kubernetes import config
    from kubernetes.client import Configuration

    configuration = Configuration.get_default_copy()
    credentials = (("api_key",), ("username", "password"), ("cert_file", "key_file"))
    if not (settings.get("host") and any(all(settings.get(name) for name in names) for names in credentials)):
        loaded = False
        if not (settings.get("kubeconfig") or settings.get("context")):
            try:
                config.load_incluster_config(client_configuration=configuration)
                loaded = True
            except config.ConfigException:
                # Not in a pod.
                pass
        if not loaded:
            _load_kubeconfig(config, configuration, settings, directory)
    for name, value in settings.items():
        if name == "api_key":
            configuration.api_key = {"authorization": f"Bearer {value}"}
        elif name == "proxy_headers":
            configuration.proxy_headers = urllib3.util.make_headers(**value)
        elif name == "host":
            configuration.host = value.rstrip("/")
        elif name not in ("kubeconfig", "context", "persist_config"):
            setattr(configuration, name, value)
    return configuration


def _load_kubeconfig(
    config: t.Any, configuration: t.Any, settings: t.Mapping[str, t.Any], directory: str | None
) -> None:
    kubeconfig = settings.get("kubeconfig")
    options = {
        "context": settings.get("context"),
        "persist_config": bool(settings.get("persist_config")),
        "client_configuration": configuration,
        "temp_file_path": directory,
    }
    if isinstance(kubeconfig, dict):
        config.load_kube_config_from_dict(kubeconfig, **options)
    else:
        config.load_kube_config(kubeconfig, **options)
