# Copyright: Contributors to the egress.ai_gateway project
# SPDX-License-Identifier: GPL-3.0-or-later
"""End-to-end tests of keys that are searched everywhere after runs of all playbooks that read them.

They run alone too: make faults ARGS="-k canary_keys". In each make test the keys of a rotation are searched in the same
places.
"""

from __future__ import annotations

import canary_keys
import key_search
import provider_kinds
import pytest
from canary_keys import Canaries
from sites import REPORT, Sites, validation


@pytest.fixture(scope="module")
def canaries(sites: Sites, tmp_path_factory: pytest.TempPathFactory) -> Canaries:
    """The keys after the runs."""
    sites.ensure_any()
    found = Canaries(tmp_path_factory.mktemp("canaries"))
    with sites.becomes("a catalogue of canary keys"):
        canary_keys.run_everything(found)
    return found


def test_canary_keys_are_used(canaries: Canaries) -> None:
    """Whatever characters they have."""
    assert canaries.every
    assert "failed" not in validation().values()


def test_canary_keys_are_found_in_secrets_alone(canaries: Canaries) -> None:
    token = provider_kinds.token_of("enterprise")[1]
    learned = canaries.directory / "answers.txt"
    learned.write_text("\n".join(canary_keys.answers(token)), encoding="utf-8")
    paths = [*canary_keys.files(canaries), REPORT.parent]
    report = key_search.search(canaries.every, canaries.expected_secrets(), paths)
    print(report)
    assert report.faults == []
    assert {place.what for place in report.places} >= {"etcd but Secrets", "files"}


def test_the_search_for_canary_keys_finds_one_that_is_planted(canaries: Canaries) -> None:
    needles = key_search.Needles(canaries.every)
    with canary_keys.planted(canaries.every[-1]) as name:
        objects = key_search.search_cluster(needles)[0]
        etcd = key_search.search_etcd(needles, key_search.etcd_pages())[0]
    number = len(canaries.every)
    assert [(hit.number, name in hit.place) for hit in objects.hits] == [(number, True)]
    assert [(hit.number, name in hit.place) for hit in etcd.hits] == [(number, True)]
    planted = canaries.directory / "planted.txt"
    planted.write_text(f"Authorization: Bearer {canaries.every[0]}\n", encoding="utf-8")
    try:
        assert {hit.number for hit in key_search.search_files(needles, [planted]).hits} == {1}
    finally:
        planted.unlink()
