# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""Providers and a model of inventories that the tests of validation have in common."""

from __future__ import annotations

KEY = "sk-a-key-that-must-not-show"
SIMULATED = {
    "name": "openai",
    "schema": "openai",
    "simulated": True,
    "credential": {"value": KEY},
    "models": [{"name": "gpt-4"}],
}
REAL = {
    "name": "more",
    "schema": "openai",
    "endpoint": {"hostname": "api.example.com"},
    "credential": {"secret": "more-key"},
    "models": [{"name": "org/more:1", "provider_model": "more-1"}],
}
ON_PREMISES = {"name": "opt", "backend_ref": {"name": "opt", "namespace": "llm", "port": 8000}}
