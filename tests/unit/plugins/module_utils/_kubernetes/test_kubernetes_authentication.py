# Copyright: Contributors to the egress.ai_gateway project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.egress.ai_gateway.plugins.module_utils._kubernetes.authentication import (
    configuration_of,
    impersonation_of,
    settings_of,
)
from ansible_collections.kubernetes.core.plugins.module_utils.k8s import client as core
from kubernetes.config import ConfigException

KUBECONFIG: dict[str, t.Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "clusters": [{"name": name, "cluster": {"server": f"https://{name}:6443"}} for name in ("one", "two")],
    "users": [{"name": "me", "user": {"token": "t0ken"}}],
    "contexts": [{"name": name, "context": {"cluster": name, "user": "me"}} for name in ("one", "two")],
    "current-context": "one",
}


class Module:
    def __init__(self, **params: t.Any) -> None:
        self.params = params


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    # kubernetes.core makes its own the default of all that follow.
    monkeypatch.setattr("kubernetes.client.Configuration._default", None)


@pytest.mark.parametrize(
    ("params", "environment"),
    [
        ({"host": "https://a/", "api_key": "k", "validate_certs": False}, {}),
        ({"host": "https://a"}, {"K8S_AUTH_API_KEY": "k", "K8S_AUTH_HOST": "https://b", "K8S_AUTH_VERIFY_SSL": "no"}),
        (
            {"client_cert": "/c", "client_key": "/k"},
            {"K8S_AUTH_HOST": "https://b", "K8S_AUTH_SSL_CA_CERT": "/ca", "K8S_AUTH_PROXY": "http://p:1"},
        ),
        (
            {"host": "https://a", "username": "u", "password": "p", "no_proxy": "x"},
            {"K8S_AUTH_PROXY_HEADERS_USER_AGENT": "agent"},
        ),
        ({"kubeconfig": KUBECONFIG, "context": "two"}, {"K8S_AUTH_VALIDATE_CERTS": "false"}),
        ({"kubeconfig": KUBECONFIG, "host": "https://c", "proxy_headers": {"basic_auth": "u:p"}}, {}),
    ],
)
def test_options_and_environment_mean_what_kubernetes_core_makes_of_them(
    params: dict[str, t.Any], environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    theirs = core._create_configuration(core._create_auth_spec(Module(**params)))
    ours = configuration_of(settings_of(params, environment))
    for field in (
        "host",
        "username",
        "password",
        "verify_ssl",
        "ssl_ca_cert",
        "cert_file",
        "key_file",
        "proxy",
        "no_proxy",
        "proxy_headers",
    ):
        assert (getattr(ours, field) or "") == (getattr(theirs, field) or ""), field
    assert ours.auth_settings() == theirs.auth_settings()


def test_a_kubeconfig_is_read_from_where_kubectl_looks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(KUBECONFIG), encoding="utf-8")
    assert configuration_of({"kubeconfig": str(path), "context": "two"}).host == "https://two:6443"
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(path))
    assert configuration_of({}).host == "https://one:6443"
    with pytest.raises(ConfigException, match="three"):
        configuration_of({"context": "three"})


@pytest.mark.parametrize(
    ("params", "environment"),
    [
        ({"impersonate_user": "jane", "impersonate_groups": ["a", "b"]}, {}),
        ({}, {"K8S_AUTH_IMPERSONATE_USER": "jane", "K8S_AUTH_IMPERSONATE_GROUPS": "a,b,"}),
    ],
)
def test_impersonation_goes_into_headers(params: dict[str, t.Any], environment: dict[str, str]) -> None:
    assert impersonation_of(params, environment) == [
        ("Impersonate-User", "jane"),
        ("Impersonate-Group", "a"),
        ("Impersonate-Group", "b"),
    ]
    assert impersonation_of({}, {}) == []
