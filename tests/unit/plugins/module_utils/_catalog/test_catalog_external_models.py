# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from ansible_collections.egress.ai_gateway.plugins.module_utils._catalog.external_models import external_models


def test_models_of_providers_are_listed_with_the_one_that_is_asked_first() -> None:
    models = [
        {"name": "gpt-4", "backends": [{"name": "openai", "provider": "openai", "priority": 0}]},
        {
            "name": "shared",
            "backends": [
                {"name": "second", "provider": "second", "priority": 1},
                {"name": "kserve", "backend_ref": {"name": "kserve"}, "priority": 0},
                {"name": "first", "provider": "first", "priority": 0},
                {"name": "third", "provider": "third", "priority": 0},
            ],
        },
        {"name": "on-premises", "backends": [{"name": "kserve", "backend_ref": {"name": "kserve"}, "priority": 0}]},
    ]
    assert external_models(models) == [
        {"id": "gpt-4", "provider": "openai", "backend": "openai"},
        {"id": "shared", "provider": "first", "backend": "first"},
    ]
    assert external_models([]) == []
