"""Staff see what became of messages, and act on dead letters."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from relay.models import Delivery, Message, State, StoredBytes
from tests import factories
from tests.staff.people import chosen

pytestmark = pytest.mark.django_db

LIST = "admin:relay_delivery_changelist"


def act(client: Client, action: str, *rows: Delivery) -> str:
    page: str = chosen(client, reverse(LIST), action, rows).content.decode()
    return page


def dead(**columns: Any) -> Delivery:
    columns = {"state": State.DEAD, "attempts": 10, "ended_at": timezone.now(), **columns}
    return factories.delivery(factories.participant(), factories.participant(), **columns)


def test_requeue_makes_dead_letters_due_and_reports_the_count(admin_client: Client) -> None:
    dead_letter, delivered = dead(), dead(state=State.DELIVERED)
    page = act(admin_client, "requeue", dead_letter, delivered)
    assert "1 requeued. 1 left alone" in page
    dead_letter.refresh_from_db()
    assert (dead_letter.state, dead_letter.attempts) == (State.PENDING, 0)
    assert dead_letter.due_at <= timezone.now()
    assert dead_letter.expires_at > timezone.now()
    delivered.refresh_from_db()
    assert delivered.state == State.DELIVERED


def test_discard_gives_up_and_tells_senders_of_pending_ones(admin_client: Client) -> None:
    dead_letter = dead()
    pending = factories.delivery(factories.participant(), factories.participant())
    assert "2 discarded." in act(admin_client, "discard", dead_letter, pending)
    dead_letter.refresh_from_db()
    pending.refresh_from_db()
    assert dead_letter.discarded_at is not None
    assert (pending.state, pending.discarded_at is not None) == (State.DEAD, True)
    errors = Message.objects.filter(sent_by="Dmr")
    assert [error.written_ref for error in errors] == [pending.message.written_id]


def test_lists_filter_by_state_recipient_room_and_dead_letter(admin_client: Client) -> None:
    gone = dead()
    waiting = factories.delivery(factories.participant(), factories.participant())
    room_id = waiting.message.room_id
    for query, expected in (
        ({"state__exact": "dead"}, {gone.pk}),
        ({"recipient": waiting.recipient_name}, {waiting.pk}),
        ({"message__room__id__exact": room_id, "state__exact": "pending"}, {waiting.pk}),
        ({"dead": "open"}, {gone.pk}),
        ({"q": gone.message.written_id}, {gone.pk}),
        ({"sender__id__exact": gone.message.sender_id}, {gone.pk}),
        ({"sender__id__exact": gone.message.sender_id, "state__exact": "pending"}, set()),
    ):
        answer = admin_client.get(reverse(LIST), query)
        assert {row.pk for row in answer.context["cl"].result_list} == expected, query


def test_the_page_of_a_delivery_has_the_facts_and_not_the_payload(admin_client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    message = factories.message(sender, recipient.name, payload=b"a citizen's secret")
    delivery = message.deliveries.get()
    for url in (
        reverse("admin:relay_delivery_change", args=[delivery.pk]),
        reverse("admin:relay_message_change", args=[message.pk]),
        reverse(LIST),
        reverse("admin:relay_message_changelist"),
    ):
        page = admin_client.get(url)
        assert page.status_code == 200
        assert b"citizen" not in page.content
    assert (
        b"18 bytes of text/plain"
        in admin_client.get(reverse("admin:relay_message_change", args=[message.pk])).content
    )


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "in the inbox"),
        ({"due_at": timezone.now() + timedelta(hours=1)}, "in the inbox in "),
        (
            {
                "state": "delivering",
                "lease_until": datetime(2030, 1, 1, 12, tzinfo=ZoneInfo("UTC")),
                "lease_token": 1,
            },
            "fetched; comes again at 14:00:00 unless acknowledged",
        ),
        ({"state": "delivered"}, "–"),
    ],
)
def test_what_waits_to_be_fetched_is_told_apart(admin_client: Client, columns: dict[str, Any], said: str) -> None:
    factories.delivery(factories.participant(), factories.participant(delivery_mode="pull"), **columns)
    assert said in admin_client.get(reverse(LIST)).content.decode()


def test_nobody_writes_messages_or_deliveries_in_admin(admin_client: Client) -> None:
    delivery = dead()
    assert admin_client.get(reverse("admin:relay_delivery_add")).status_code == 403
    assert admin_client.post(reverse("admin:relay_delivery_change", args=[delivery.pk]), {}).status_code == 403
    assert admin_client.post(reverse("admin:relay_message_delete", args=[delivery.message_id])).status_code == 403


def test_the_list_does_not_grow_in_queries(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    sender, recipient = factories.participant(), factories.participant()
    for _ in range(20):
        factories.message(sender, recipient.name)
    with django_assert_max_num_queries(12):
        assert admin_client.get(reverse(LIST)).status_code == 200


def test_the_page_of_stored_bytes_leads_to_what_fills_them(admin_client: Client) -> None:
    waiting = factories.delivery(factories.participant(), factories.participant())
    factories.delivery(factories.participant(), factories.participant())
    row = StoredBytes.objects.create(participant=waiting.message.sender, size=10_000_000_000)
    page = admin_client.get(reverse("admin:relay_storedbytes_change", args=[row.pk])).content.decode()
    assert "9.3\xa0GB" in page
    assert "93 % of 10.0\xa0GB" in page
    pending, dead_letters = re.findall(rf'href="{reverse(LIST)}(\?[^"]+)"', page.partition('id="content"')[2])
    for query, expected in ((pending, {waiting.pk}), (dead_letters, set())):
        answer = admin_client.get(reverse(LIST) + query.replace("&amp;", "&"))
        assert {each.pk for each in answer.context["cl"].result_list} == expected, query
