"""How a participant gets its messages: staff set it, and it sets it itself."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from participants import registry
from participants.models import Change, Participant
from tests import factories
from tests.factories import Registered
from tests.participants.test_admin_manages_the_registry import form

pytestmark = pytest.mark.django_db

URL = "/api/v1/my/delivery-mode"


def ask_for(client: Client, who: Registered, said: object) -> Any:
    return client.post(URL, said, content_type="application/json", headers=who.auth)


def test_it_is_push_until_somebody_says_otherwise(client: Client) -> None:
    assert client.get(URL, headers=factories.participant().auth).json() == {"mode": "push"}


def test_a_participant_changes_its_own(client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    for mode in ("pull", "push"):
        answer = ask_for(client, bot, {"mode": mode})
        assert (answer.status_code, answer.json()) == (200, {"mode": mode})
        assert client.get(URL, headers=bot.auth).json() == {"mode": mode}, "it counts for the very next request"
        change = Change.objects.first()
        assert change is not None
        assert (change.actor, change.subject) == (bot.name, bot.name)
        assert change.after == {"delivery_mode": mode}
    assert client.get(URL, headers=other.auth).json() == {"mode": "push"}


def test_the_same_again_is_no_change(client: Client) -> None:
    bot = factories.participant(delivery_mode="pull")
    before = Change.objects.count()
    assert ask_for(client, bot, {"mode": "pull"}).status_code == 200
    assert Change.objects.count() == before


@pytest.mark.parametrize("said", [{}, {"mode": "both"}, {"mode": 1}, {"mode": None}])
def test_anything_else_is_refused_by_name(client: Client, said: dict[str, object]) -> None:
    answer = ask_for(client, factories.participant(), said)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == ["mode"]


def test_a_suspended_one_changes_nothing(client: Client) -> None:
    bot = factories.participant()
    registry.set_status([bot.row], Participant.Status.SUSPENDED, actor="tests")
    assert ask_for(client, bot, {"mode": "pull"}).status_code == 403
    bot.row.refresh_from_db()
    assert bot.row.delivery_mode == "push"


def test_staff_change_it_in_admin(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_participant_change", args=[bot.row.pk])
    assert admin_client.post(url, form(bot.row, delivery_mode="pull")).status_code == 302
    bot.row.refresh_from_db()
    assert bot.row.delivery_mode == "pull"
    change = Change.objects.first()
    assert change is not None
    assert (change.actor, change.before, change.after) == (
        "admin",
        {"delivery_mode": "push"},
        {"delivery_mode": "pull"},
    )
    listed = admin_client.get(reverse("admin:participants_participant_changelist"), {"delivery_mode__exact": "pull"})
    assert [row.name for row in listed.context["cl"].result_list] == [bot.name]
