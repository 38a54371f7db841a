"""The start page: what needs attention today, each matter with its count, its age, and the list that shows it."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from observability import today
from observability.today import MATTERS, MOST_COUNTED
from participants.models import ApiKey, EndpointTerms, Participant
from relay.models import Breaker
from staff import roles
from tests import factories, many
from tests.staff.people import browser, person

pytestmark = pytest.mark.django_db
INDEX = reverse("admin:index")


def everything(permission: str) -> bool:
    return True


def counts() -> dict[str, int]:
    return {each.matter.name: each.count for each in today.matters(everything)}


def shown_by(client: Client, name: str) -> int:
    """How many rows the list has to which a matter leads."""
    (matter,) = [each for each in MATTERS if each.name == name]
    page = client.get(reverse(f"admin:{matter.page}") + f"?{matter.query}")
    assert page.status_code == 200
    number: int = page.context["cl"].result_count
    return number


def test_nothing_needs_attention_where_nothing_does() -> None:
    page = browser(person(*roles.EVERYBODY)).get(INDEX)
    assert set(counts().values()) == {0}
    assert page.context["needed"] == []
    assert "Nothing needs attention" in page.content.decode()


def test_each_matter_is_counted_and_leads_to_as_many_rows() -> None:
    many.fill(5)
    client = browser(person(*roles.EVERYBODY))
    found = counts()
    assert all(found[each.name] for each in MATTERS if each.name != "outages-next"), found
    for matter in MATTERS:
        if "calendar" not in matter.page:
            assert found[matter.name] == shown_by(client, matter.name), matter.name


def test_the_page_says_how_many_and_for_how_long() -> None:
    bot = factories.participant().row
    Breaker.objects.create(recipient=bot, state="parked", failures=1, opened_at=timezone.now() - timedelta(hours=3))
    page = browser(person(roles.VIEWER)).get(INDEX).content.decode()
    said = re.sub(r"<[^>]+>|\s+", " ", page)
    assert re.search(r"1 +Participants that cannot be reached", said)
    assert "The oldest for 3 hours." in said


def test_what_is_urgent_stands_first() -> None:
    many.fill(3)
    urgent = [each.matter.is_urgent for each in today.matters(everything) if each.count]
    assert urgent == sorted(urgent, reverse=True)
    assert any(urgent)
    assert not all(urgent)


def test_nobody_is_told_of_what_they_may_not_see() -> None:
    many.fill(3)
    page = browser(person(roles.VIEWER)).get(INDEX)
    named = {each["name"] for each in page.context["needed"] + page.context["calm"]}
    assert named == {each.name for each in MATTERS if each.permission in roles.permissions_of(roles.VIEWER)}
    assert not named & {"applications", "mail", "keys"}


@pytest.mark.parametrize(
    ("days", "revoked", "deleted", "counts_as"),
    [(29, False, False, 1), (31, False, False, 0), (-1, False, False, 0), (5, True, False, 0), (5, False, True, 0)],
)
def test_keys_that_expire_soon(days: int, revoked: bool, deleted: bool, counts_as: int) -> None:
    now = timezone.now()
    bot = factories.participant().row
    ApiKey.objects.filter(participant=bot).update(
        expires_at=now + timedelta(days=days), revoked_at=now if revoked else None
    )
    if deleted:
        Participant.objects.filter(pk=bot.pk).update(deleted_at=now, status="Deleted")
    assert counts()["keys"] == counts_as


@pytest.mark.parametrize(("days", "counts_as"), [(29, 1), (31, 0), (-1, 1)])
def test_certificates_that_expire_soon_or_have(days: int, counts_as: int) -> None:
    bot = factories.participant().row
    Participant.objects.filter(pk=bot.pk).update(terms_version=1)
    expires_at = timezone.now() + timedelta(days=days)
    EndpointTerms.objects.create(participant=bot, version=1, authority="-", expires_at=expires_at)
    assert counts()["certificates"] == counts_as


@pytest.mark.parametrize(
    ("minutes", "participant", "counts_as"),
    [
        (11, {"delivery_mode": "pull"}, 1),
        (9, {"delivery_mode": "pull"}, 0),
        (-9, {"delivery_mode": "pull"}, 0),
        (11, {"delivery_mode": "push"}, 0),
        (11, {"delivery_mode": "pull", "status": "Suspended"}, 0),
    ],
)
def test_messages_that_nobody_fetches(minutes: float, participant: dict[str, str], counts_as: int) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.delivery(sender, recipient, due_at=timezone.now() - timedelta(minutes=minutes))
    Participant.objects.filter(pk=recipient.row.pk).update(**participant)
    assert counts()["unfetched"] == counts_as


def test_no_more_is_counted_than_anybody_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(today, "MOST_COUNTED", 3)
    many.fill(5)
    found: dict[str, Any] = {each.matter.name: each for each in today.matters(everything)}
    assert found["dead-letters"].count == 4
    assert found["dead-letters"].is_more
    assert MOST_COUNTED == 1_000


def test_one_question_a_matter() -> None:
    many.fill(3)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        today.matters(everything)
    assert len(queries) == len(MATTERS)
