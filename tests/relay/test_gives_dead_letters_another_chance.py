from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from participants import registry
from relay.delivery import dead_letter
from relay.models import Delivery, Message, PayloadDue, State
from relay.querysets import DeliveryQuerySet
from tests import factories

pytestmark = pytest.mark.django_db

DAY = 24 * 3600  # seconds


def test_requeue_makes_dead_letters_due_with_all_their_attempts() -> None:
    sender, recipient = factories.participant(), factories.participant()
    now = timezone.now()
    past = {"attempts": 10, "ended_at": now, "expires_at": now - timedelta(hours=1)}
    dead = factories.delivery(sender, recipient, state=State.DEAD, **past)
    expired = factories.delivery(sender, recipient, state=State.EXPIRED, **past)
    delivered = factories.delivery(sender, recipient, state=State.DELIVERED, ended_at=now)
    assert dead_letter.requeue(Delivery.objects.all()) == 2
    for row in (dead, expired):
        row.refresh_from_db()
        assert (row.state, row.attempts, row.ended_at) == (State.PENDING, 0, None)
        assert row.expires_at > now
    delivered.refresh_from_db()
    assert delivered.state == State.DELIVERED


@pytest.mark.parametrize("seconds", [90, 30 * DAY])
def test_it_lives_as_long_as_its_room_lets_it(seconds: int) -> None:
    """And for the usual time where there is no room any more, or never was one: all in one statement."""
    sender, recipient = factories.participant(), factories.participant()
    room, left = factories.room(time_to_live=seconds), factories.room(time_to_live=seconds)
    in_room, of_no_room, in_national = (factories.delivery(sender, recipient, state=State.DEAD) for _ in range(3))
    Message.objects.filter(pk=in_room.message_id).update(room=room)
    Message.objects.filter(pk=of_no_room.message_id).update(room=left)
    left.delete()
    before = timezone.now()
    with CaptureQueriesContext(connection) as asked:
        assert dead_letter.requeue(Delivery.objects.all()) == 3
    assert [each["sql"].split()[0] for each in asked if "relay_delivery" in each["sql"]] == ["UPDATE"]
    after = timezone.now()
    for row, lives in ((in_room, seconds), (of_no_room, DAY), (in_national, DAY)):
        row.refresh_from_db()
        assert before <= row.expires_at - timedelta(seconds=lives) <= after


def test_requeue_leaves_what_has_no_recipient() -> None:
    sender, gone = factories.participant(), factories.participant()
    factories.message(sender, "nobody")
    factories.delivery(sender, gone, state=State.DEAD)
    registry.remove_participant(gone.row, actor="tests")
    assert dead_letter.requeue(Delivery.objects.filter(state=State.DEAD)) == 0


def test_discard_gives_up_and_tells_senders_of_what_waited() -> None:
    sender, recipient = factories.participant(), factories.participant()
    dead = factories.delivery(sender, recipient, state=State.DEAD)
    pending = factories.delivery(sender, recipient)
    assert dead_letter.discard(Delivery.objects.filter(pk__in=[dead.pk, pending.pk])) == 2
    pending.refresh_from_db()
    assert pending.state == State.DEAD
    assert not Delivery.objects.dead_letters().exists()
    assert Message.objects.get(sent_by="Dmr").written_ref == pending.message.written_id
    assert dead_letter.discard(Delivery.objects.filter(pk=dead.pk)) == 0


def test_discards_nothing_whose_payload_is_kept_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """What dies in the same moment is discarded with its payload's deletion, or stays a dead letter."""
    sender, recipient = factories.participant(), factories.participant()
    dead = factories.delivery(sender, recipient, state=State.DEAD, ended_at=timezone.now())
    pending = factories.delivery(sender, recipient)
    retentions = dead_letter._retentions

    def read_and_then(letters: DeliveryQuerySet) -> dict[int, int]:
        found = retentions(letters)
        Delivery.objects.filter(pk=pending.pk).update(state=State.DEAD, ended_at=timezone.now())
        return found

    monkeypatch.setattr(dead_letter, "_retentions", read_and_then)
    dead_letter.discard(Delivery.objects.filter(pk__in=[dead.pk, pending.pk]))
    discarded = Delivery.objects.exclude(discarded_at=None).values_list("message_id", flat=True)
    assert set(discarded) == set(PayloadDue.objects.values_list("message_id", flat=True)) == {dead.message_id}
