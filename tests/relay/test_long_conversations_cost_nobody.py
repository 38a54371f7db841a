"""What waits in a long conversation is put off in its order, so that no claim has to look at all of it."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from django.utils import timezone

from relay.delivery import claim, long_conversations, sweeper
from relay.delivery.engine import Engine
from relay.models import Delivery, State
from tests import factories
from tests.factories import Registered
from tests.integration.product import wait_until
from tests.relay.conftest import Edge

MANY = 260
LATER = timedelta(hours=1)


def store(sender: Registered, recipient: Registered, conversation: str, count: int) -> list[int]:
    """That many deliveries of one conversation, due now; their ids, in order."""
    first = factories.message(sender, recipient.name, conversation=conversation).deliveries.get()
    copies = []
    for _ in range(count - 1):
        copy = Delivery.objects.get(pk=first.pk)
        copy.pk = None
        copies.append(copy)
    Delivery.objects.bulk_create(copies)
    rows = Delivery.objects.filter(recipient=recipient.row, conversation=conversation).order_by("pk")
    return list(rows.values_list("pk", flat=True))


def due(ids: list[int]) -> list[datetime]:
    known = dict(Delivery.objects.filter(pk__in=ids).values_list("pk", "due_at"))
    return [known[pk] for pk in ids]


@pytest.mark.django_db
@pytest.mark.parametrize("head", ["due", "in flight", "waits", "waits for long"])
def test_all_but_the_first_are_put_off_in_their_order(head: str) -> None:
    sender, recipient, other = (factories.participant() for _ in range(3))
    ids = store(sender, recipient, "long", MANY)
    short = store(sender, recipient, "short", long_conversations.LEFT_DUE)
    elsewhere = store(sender, other, "long", long_conversations.LEFT_DUE)
    alone = store(sender, recipient, "", MANY)
    first = Delivery.objects.filter(pk=ids[0])
    now = timezone.now()
    head_due = {"waits": now + timedelta(seconds=30), "waits for long": now + LATER}.get(head, now)
    first.update(due_at=head_due)
    if head == "in flight":
        first.update(state=State.DELIVERING, lease_token=1, lease_until=now + LATER)
    before = dict(Delivery.objects.values_list("pk", "due_at"))

    count = long_conversations.put_off()
    is_pending = head != "in flight"
    assert count == MANY - long_conversations.LEFT_DUE - (not is_pending)
    times = due(ids)
    assert times[0] == head_due, "what goes first is not put off"
    kept = long_conversations.LEFT_DUE + (not is_pending)
    assert times[1:kept] == [before[pk] for pk in ids[1:kept]]
    assert times[kept:] == sorted(times[kept:])
    begins = min(head_due, now + long_conversations.LONGEST_WAIT)
    assert begins < times[kept] <= begins + timedelta(seconds=3)
    last = timedelta(seconds=MANY / long_conversations.PER_SECOND + 3)
    assert times[-1] <= begins + last, "and no longer than it takes to work them off"
    for untouched in (short, elsewhere, alone):
        assert due(untouched) == [before[pk] for pk in untouched]
    assert long_conversations.put_off() == 0
    assert set(Delivery.objects.filter(pk__in=ids[1:]).values_list("state", flat=True)) == {State.PENDING}


@pytest.mark.django_db
def test_others_of_the_recipient_are_among_the_first_due() -> None:
    """What a claim looks at, however much waits in the conversation."""
    sender, recipient = factories.participant(), factories.participant()
    ids = store(sender, recipient, "long", MANY)
    Delivery.objects.filter(pk=ids[0]).update(due_at=timezone.now() + LATER)
    sweeper.sweep()
    factories.message(sender, recipient.name, b"another")
    looked_at = Delivery.objects.filter(state=State.PENDING, due_at__lte=timezone.now()).count()
    assert looked_at == long_conversations.LEFT_DUE  # its first one waits; and the other
    (claimed,) = claim.claim(10)
    assert claimed.payload == b"another"


@pytest.mark.django_db
def test_recipients_are_come_to_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(long_conversations, "MOST_RECIPIENTS", 2)
    monkeypatch.setattr(long_conversations, "_reached", 0)
    monkeypatch.setattr(long_conversations, "LEFT_DUE", 2)
    sender = factories.participant()
    for _ in range(5):
        store(sender, factories.participant(), "c", 6)
    assert [long_conversations.put_off() for _ in range(4)] == [8, 8, 4, 0]


@pytest.mark.django_db(transaction=True)
def test_a_long_conversation_is_delivered_in_order(
    engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(long_conversations, "LEFT_DUE", 5)
    sender, recipient = factories.participant(), factories.participant()
    for number in range(60):
        factories.message(sender, recipient.name, str(number).encode(), conversation="c")
    edge.will(recipient.row.host, 202, 500)

    def is_done() -> bool:
        sweeper.sweep()
        engine.pump()
        return not Delivery.objects.exclude(state=State.DELIVERED).exists()

    assert long_conversations.put_off() == 55
    wait_until(is_done, 30, "all of it is delivered")
    assert [int(body) for _, body, _ in edge.posted] == [0, 1, *range(1, 60)]
