"""Scopes: what a key is for, as its column has it, and in the admin. (That each endpoint asks: tests/invariants.)"""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from participants import directory, registry, scopes
from participants.models import ApiKey
from participants.scopes import Scope
from tests import factories


@pytest.mark.parametrize(
    ("written", "parsed"),
    [("", scopes.ALL), ("relay", {Scope.RELAY}), ("updates, heartbeat", {Scope.UPDATES, Scope.HEARTBEAT})],
)
def test_the_column_is_read(written: str, parsed: frozenset[Scope]) -> None:
    assert scopes.parse(written) == parsed


@pytest.mark.parametrize("written", ["everything", "relay,,updates", "RELAY", ","])
def test_what_is_no_scope_opens_nothing(written: str) -> None:
    with pytest.raises(ValidationError):
        scopes.parse(written)


@pytest.mark.parametrize(
    ("chosen", "written"),
    [([], ""), (list(Scope), ""), (["heartbeat", "relay"], "relay,heartbeat"), ([Scope.UPDATES], "updates")],
)
def test_all_are_written_as_none(chosen: list[str], written: str) -> None:
    assert scopes.write(chosen) == written


@pytest.mark.django_db
def test_staff_issue_a_key_for_some(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_participant_issue_key", args=[bot.row.pk])
    page = admin_client.post(url, {"note": "agent", "scopes": ["heartbeat", "updates"]}).content.decode()
    assert "This key is shown once" in page
    assert ApiKey.objects.get(note="agent").scopes == "updates,heartbeat"
    listed = admin_client.get(reverse("admin:participants_apikey_changelist")).content.decode()
    assert "updates,heartbeat" in listed


@pytest.mark.django_db
def test_asking_what_a_key_is_for_costs_no_query(django_assert_num_queries: Any) -> None:
    bot = factories.participant()
    _, key = registry.issue_key(bot.row, actor="tests", scopes=[Scope.RELAY])
    seen = directory.current()
    credential = seen.credential(key)
    assert credential is not None
    assert credential.scopes == {Scope.RELAY}
    with django_assert_num_queries(0):
        again = seen.credential(key)
        assert again is not None
        scopes.check(again.scopes, Scope.RELAY)
