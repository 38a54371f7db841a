"""Payloads are deleted when their retention is over, the rest of a message much later, and nothing too early."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
import time_machine

from relay import retention
from relay.delivery import claim, dead_letter, settle
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.models import Delivery, Message, PayloadDue, State
from tests import factories

pytestmark = pytest.mark.django_db

START = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)
PAYLOAD = b"a citizen's secret"


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


def message(seconds: int, recipients: int = 1) -> Message:
    sender = factories.participant(rooms=[])
    members = [factories.participant(rooms=[]) for _ in range(recipients)]
    factories.room("", sender, *members, retention=seconds)
    return factories.message(sender, members[0].name, payload=PAYLOAD)


def deliver(status: int = 202) -> None:
    now = datetime.now(timezone.utc)
    outcome = Outcome(status == 202, status, "" if status == 202 else "no", 0.1)
    settle.settle([Attempted(each, outcome, now) for each in claim.claim(100)])


def payload(row: Message) -> bytes:
    row.refresh_from_db()
    return bytes(row.payload)


def test_a_payload_goes_when_its_rooms_retention_is_over(
    clock: time_machine.Traveller, caplog: pytest.LogCaptureFixture
) -> None:
    row = message(3600)
    deliver()
    clock.move_to(START + timedelta(seconds=3599))
    assert retention.run() == (0, 0)
    assert payload(row) == PAYLOAD
    clock.move_to(START + timedelta(seconds=3601))
    with caplog.at_level(logging.INFO):
        assert retention.run() == (1, 0)
    assert payload(row) == b""
    assert row.payload_deleted_at == datetime.now(timezone.utc)
    assert (row.payload_size, row.deliveries.get().state) == (len(PAYLOAD), State.DELIVERED)
    proof = [record for record in caplog.records if record.getMessage() == "payload_deleted"]
    assert [record.facts["message_id"] for record in proof] == [row.written_id]  # type: ignore[attr-defined]
    assert "citizen" not in caplog.text
    assert not PayloadDue.objects.exists()


def test_no_retention_means_at_once(clock: time_machine.Traveller) -> None:
    row = message(0)
    deliver()
    assert retention.delete_payloads() == 1
    assert payload(row) == b""


def test_what_is_not_delivered_is_kept(clock: time_machine.Traveller) -> None:
    row = message(0)
    clock.move_to(START + timedelta(days=30))
    assert retention.run() == (0, 0)
    assert payload(row) == PAYLOAD


def test_a_dead_letter_keeps_its_payload_until_it_is_discarded(clock: time_machine.Traveller) -> None:
    row = message(0)
    deliver(404)
    assert retention.delete_payloads() == 0
    assert dead_letter.discard(Delivery.objects.filter(message=row)) == 1
    assert retention.delete_payloads() == 1
    assert payload(row) == b""


def test_one_open_delivery_of_a_rooms_message_keeps_it(clock: time_machine.Traveller) -> None:
    row = message(0)
    open_one = Delivery.objects.create(
        message=row,
        recipient=factories.participant(status="Suspended").row,
        recipient_name="held",
        due_at=START,
        accepted_at=START,
        expires_at=START + timedelta(days=1),
    )
    deliver()
    assert retention.delete_payloads() == 0
    assert payload(row) == PAYLOAD
    assert dead_letter.discard(Delivery.objects.filter(pk=open_one.pk)) == 1
    assert retention.delete_payloads() == 1


def test_a_dead_letter_without_payload_is_not_requeued(clock: time_machine.Traveller) -> None:
    row = message(0)
    deliver(404)
    dead_letter.discard(Delivery.objects.filter(message=row))
    retention.delete_payloads()
    assert dead_letter.requeue(Delivery.objects.filter(message=row)) == 0


def test_messages_go_after_ninety_days_and_what_is_under_way_stays(clock: time_machine.Traveller) -> None:
    old = message(0)
    deliver(404)
    under_way = message(0)
    clock.move_to(START + timedelta(days=89))
    assert retention.delete_messages() == 0
    young = message(0)
    clock.move_to(START + timedelta(days=91))
    assert retention.delete_messages() > 0
    left = set(Message.objects.values_list("pk", flat=True))
    assert old.pk not in left
    assert {under_way.pk, young.pk} <= left


def test_many_go_in_batches(clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "BATCH", 2)
    for _ in range(5):
        message(0)
    deliver()
    assert retention.delete_payloads() == 5
