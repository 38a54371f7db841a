"""Staff see why a delivery waits, and until when: as a claim would decide it."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from participants.models import Participant
from relay import outlook
from relay.models import Breaker, Delivery
from relay.outlook import Ahead, Outlook, Why
from relay.outlook_admin import when
from tests import factories

NOW = datetime(2026, 3, 4, 3, 0, tzinfo=timezone.utc)
LATER, SOON, BEFORE = NOW + timedelta(hours=1), NOW + timedelta(seconds=20), NOW - timedelta(seconds=20)
FIRST = Ahead(7, "6a9b1c3e-8d1f-4f62-9a55-0f3f1b7f0d11")


@pytest.mark.parametrize(
    ("columns", "recipient", "breaker", "ahead", "expected"),
    [
        ({}, {}, None, None, Outlook(Why.TURN, NOW)),
        ({"due_at": LATER}, {}, None, None, Outlook(Why.TURN, LATER)),
        ({}, {}, {"state": "closed", "failures": 2}, None, Outlook(Why.TURN, NOW)),
        ({}, {}, {"state": "open", "probe_at": SOON}, None, Outlook(Why.BREAKER, SOON)),
        ({}, {}, {"state": "open", "probe_at": BEFORE}, None, Outlook(Why.BREAKER, BEFORE)),
        ({"due_at": LATER}, {}, {"state": "open", "probe_at": BEFORE}, None, Outlook(Why.TURN, LATER)),
        ({}, {}, {"state": "parked"}, None, Outlook(Why.PARKED)),
        ({}, {}, {"state": "open", "probe_at": SOON}, FIRST, Outlook(Why.CONVERSATION, ahead=FIRST)),
        ({}, {"delivery_mode": "pull"}, None, None, Outlook(Why.INBOX, NOW)),
        ({}, {"delivery_mode": "pull"}, {"state": "open", "probe_at": SOON}, None, Outlook(Why.INBOX, NOW)),
        ({}, {"delivery_mode": "pull"}, None, FIRST, Outlook(Why.CONVERSATION, ahead=FIRST)),
        ({}, {"status": "Suspended", "suspended_until": LATER}, None, FIRST, Outlook(Why.STATUS, LATER)),
        ({}, {"status": "Disabled"}, {"state": "parked"}, None, Outlook(Why.STATUS)),
        ({}, {"held_from": BEFORE, "held_until": LATER}, None, FIRST, Outlook(Why.OUTAGE, LATER)),
        ({}, {"held_from": SOON, "held_until": LATER}, None, None, Outlook(Why.TURN, NOW)),
        ({"state": "delivering", "lease_until": SOON}, {}, None, None, Outlook(Why.UNDER_WAY, SOON)),
        (
            {"state": "delivering", "lease_until": SOON}, {"delivery_mode": "pull"}, None, None,
            Outlook(Why.FETCHED, SOON),
        ),
        ({"state": "dead"}, {"status": "Suspended"}, None, FIRST, Outlook(Why.ENDED)),
    ],
)  # fmt: skip
def test_why_it_waits(
    columns: dict[str, Any],
    recipient: dict[str, Any],
    breaker: dict[str, Any] | None,
    ahead: Ahead | None,
    expected: Outlook,
) -> None:
    to = Participant(**{"status": "Active", "delivery_mode": "push", **recipient})
    if breaker is not None:
        Breaker(recipient=to, **breaker)  # Django sets to.breaker
    row = Delivery(**{"recipient": to, "state": "pending", "due_at": NOW, **columns})
    assert outlook.decide(row, NOW, ahead) == expected


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "now"),
        (0, "now"),
        (20, "in 20 s"),
        (300, "in 5 min, at 05:05"),
        (7140, "in 119 min, at 06:59"),
        (6 * 3600, "in 6 h, at 11:00"),
    ],
)
def test_when(seconds: float, said: str) -> None:
    assert when(NOW + timedelta(seconds=seconds), NOW) == said


def conversation(count: int, name: str = "one") -> list[Delivery]:
    sender, recipient = factories.participant(), factories.participant()
    return [factories.delivery(sender, recipient, conversation=name) for _ in range(count)]


@pytest.mark.django_db
def test_within_a_conversation_the_oldest_that_has_not_ended_goes_first() -> None:
    first, second, third = conversation(3)
    other = conversation(1, "two")[0]
    ahead = outlook.ahead_of([first, second, third, other])
    assert {pk: each.delivery_id for pk, each in ahead.items()} == {second.pk: first.pk, third.pk: first.pk}
    assert ahead[second.pk].written_id == first.message.written_id
    Delivery.objects.filter(pk=first.pk).update(state="dead")
    assert set(outlook.ahead_of([second, third])) == {third.pk}


@pytest.mark.django_db
def test_what_is_under_way_goes_before_an_older_one_that_was_requeued() -> None:
    first, second = conversation(2)
    Delivery.objects.filter(pk=second.pk).update(
        state="delivering", lease_until=NOW + timedelta(days=9999), lease_token=1
    )
    assert outlook.ahead_of([first])[first.pk].delivery_id == second.pk


@pytest.mark.django_db
def test_the_pages_say_it(admin_client: Client) -> None:
    first, second = conversation(2)
    link = f'after <a href="{reverse("admin:relay_delivery_change", args=[first.pk])}">'
    for url in (
        reverse("admin:relay_delivery_changelist"),
        reverse("admin:relay_delivery_change", args=[second.pk]),
        reverse("admin:relay_message_change", args=[second.message_id]),
        reverse("admin:observability_instance_overview", args=[second.recipient_id]),
        reverse("admin:observability_instance_overview", args=[second.message.sender_id]),
    ):
        assert link in admin_client.get(url).content.decode(), url
    Breaker.objects.create(recipient_id=first.recipient_id, state="parked", last_error="the recipient answered 410")
    page = admin_client.get(reverse("admin:relay_delivery_change", args=[first.pk])).content.decode()
    assert reverse("admin:relay_breaker_change", args=[first.recipient_id]) in page


@pytest.mark.django_db
def test_a_message_to_many_does_not_grow_in_queries(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    first, second = conversation(2)
    for _ in range(20):
        to = factories.participant()
        for message in (first.message, second.message):
            Delivery.objects.create(
                message=message, recipient=to.row, recipient_name=to.name, conversation="one", due_at=NOW,
                expires_at=NOW, accepted_at=NOW,
            )  # fmt: skip
    with django_assert_max_num_queries(12):
        page = admin_client.get(reverse("admin:relay_message_change", args=[second.message_id]))
    assert page.content.decode().count(">after <a") == 21


@pytest.mark.django_db
def test_the_page_of_a_message_leads_to_each_delivery(admin_client: Client) -> None:
    row = conversation(1)[0]
    page = admin_client.get(reverse("admin:relay_message_change", args=[row.message_id])).content.decode()
    assert f'<a href="{reverse("admin:relay_delivery_change", args=[row.pk])}">{row.recipient_name}</a>' in page
