"""What cannot go yet in its conversation is put off, in its order, so that no claim has to look at all of it."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from relay.delivery import claim, conversations, dead_letter, sweeper
from relay.delivery.conversations import LEFT_DUE, Rule
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


NOW = datetime(2026, 11, 27, 12, tzinfo=timezone.get_fixed_timezone(0))
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("due", "first_due_at", "expected"),
    [
        pytest.param(LEFT_DUE, NOW, None, id="short"),
        pytest.param(LEFT_DUE, None, None, id="short, its first one under way"),
        pytest.param(LEFT_DUE + 1, NOW, Rule(LEFT_DUE, NOW + SECOND), id="long"),
        pytest.param(LEFT_DUE + 1, None, Rule(LEFT_DUE, NOW + SECOND), id="long, its first one under way"),
        pytest.param(1, NOW + LATER, Rule(1, NOW + LATER, is_behind=True), id="behind one that waits"),
        pytest.param(
            LEFT_DUE + 1, NOW + LATER, Rule(1, NOW + LATER, is_behind=True), id="many behind one that waits"
        ),
        pytest.param(LEFT_DUE + 1, NOW + SECOND, None, id="many behind one that is due soon"),
    ],
)
def test_decides_what_is_put_off(due: int, first_due_at: datetime | None, expected: Rule | None) -> None:
    assert conversations.rule(due, first_due_at, NOW) == expected


@pytest.mark.django_db
@pytest.mark.parametrize("head", ["due", "in flight", "waits"])
def test_all_but_the_first_are_put_off_in_their_order(head: str) -> None:
    sender, recipient, other = (factories.participant() for _ in range(3))
    ids = store(sender, recipient, "long", MANY)
    short = store(sender, recipient, "short", LEFT_DUE)
    elsewhere = store(sender, other, "long", LEFT_DUE)
    alone = store(sender, recipient, "", MANY)
    first, now = Delivery.objects.filter(pk=ids[0]), timezone.now()
    if head == "waits":
        first.update(due_at=now + LATER)
    if head == "in flight":
        first.update(state=State.DELIVERING, lease_token=1, lease_until=now + LATER)
    before = dict(Delivery.objects.values_list("pk", "due_at"))

    kept = {"due": LEFT_DUE, "in flight": LEFT_DUE + 1, "waits": 1}[head]
    assert conversations.put_off() == MANY - kept
    times = due(ids)
    assert times[:kept] == [before[pk] for pk in ids[:kept]], "what goes first is not put off"
    begins = now + LATER if head == "waits" else now
    assert times[kept:] == sorted(times[kept:])
    assert begins <= times[kept]
    assert times[-1] <= begins + timedelta(seconds=MANY / conversations.PER_SECOND + 10)
    assert len(set(times[kept:])) >= MANY // conversations.PER_SECOND
    for untouched in (short, elsewhere, alone):
        assert due(untouched) == [before[pk] for pk in untouched]
    assert conversations.put_off() == 0
    assert set(Delivery.objects.filter(pk__in=ids[1:]).values_list("state", flat=True)) == {State.PENDING}


@pytest.mark.django_db
def test_many_short_ones_behind_what_failed_are_put_off() -> None:
    """More than are looked at in one round. A claim then looks at nothing but what may go."""
    sender, recipient = factories.participant(), factories.participant()
    for number in range(30):
        ids = store(sender, recipient, f"c{number}", LEFT_DUE)
        Delivery.objects.filter(pk=ids[0]).update(due_at=timezone.now() + LATER)
    assert Delivery.objects.count() > conversations.LOOKED_AT
    sweeper.sweep()
    factories.message(sender, recipient.name, b"another")
    assert Delivery.objects.filter(state=State.PENDING, due_at__lte=timezone.now()).count() == 1
    (claimed,) = claim.claim(10)
    assert claimed.payload == b"another"


@pytest.mark.django_db
def test_what_is_behind_one_that_is_discarded_is_due_at_once() -> None:
    sender, recipient = factories.participant(), factories.participant()
    ids, others = store(sender, recipient, "c", 3), store(sender, recipient, "d", 3)
    Delivery.objects.filter(pk__in=[ids[0], others[0]]).update(due_at=timezone.now() + LATER, attempts=6)
    assert conversations.put_off() == 4
    assert claim.claim(10) == []
    dead_letter.discard(Delivery.objects.filter(pk=ids[0]))
    assert max(due(ids[1:])) <= timezone.now() < min(due(others))
    assert [each.id for each in claim.claim(10) if each.recipient_id == recipient.row.pk] == [ids[1]]


@pytest.mark.django_db
def test_nothing_is_put_off_behind_what_is_discarded_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, recipient = factories.participant(), factories.participant()
    ids = store(sender, recipient, "c", 3)
    Delivery.objects.filter(pk=ids[0]).update(due_at=timezone.now() + LATER, attempts=6)
    look = conversations._conversations

    def look_and_then(after: int) -> object:
        found = look(after)
        dead_letter.discard(Delivery.objects.filter(pk=ids[0]))
        return found

    monkeypatch.setattr(conversations, "_conversations", look_and_then)
    assert conversations.put_off() == 0
    assert max(due(ids[1:])) <= timezone.now()


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time")
@pytest.mark.django_db(transaction=True)
def test_who_discards_what_goes_first_is_waited_for() -> None:
    """Two at once: what is put off in the moment in which what was before it goes is called back, or left alone."""
    sender, recipient = factories.participant(), factories.participant()
    ids = store(sender, recipient, "c", 3)
    begins_at = timezone.now() + LATER
    Delivery.objects.filter(pk=ids[0]).update(due_at=begins_at, attempts=6)
    count: list[int] = []

    def put_off() -> None:
        try:
            count.append(conversations._put_off(recipient.row.pk, "c", Rule(1, begins_at, is_behind=True)))
        finally:
            connection.close()

    thread = threading.Thread(target=put_off)
    with transaction.atomic():
        dead_letter.discard(Delivery.objects.filter(pk=ids[0]))
        thread.start()
        wait_until(lambda: not thread.is_alive() or _waits_for_a_lock(), 10, "the other looks")
    thread.join()
    assert count == [0]
    assert max(due(ids[1:])) <= timezone.now()


def _waits_for_a_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")  # else a transaction sees what it saw first
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db
def test_recipients_are_come_to_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversations, "MOST_RECIPIENTS", 2)
    monkeypatch.setattr(conversations, "_reached", 0)
    monkeypatch.setattr(conversations, "LEFT_DUE", 2)
    sender = factories.participant()
    for _ in range(5):
        store(sender, factories.participant(), "c", 6)
    assert [conversations.put_off() for _ in range(4)] == [8, 8, 4, 0]


@pytest.mark.django_db(transaction=True)
def test_a_long_conversation_is_delivered_in_order(
    engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversations, "LEFT_DUE", 5)
    sender, recipient = factories.participant(), factories.participant()
    for number in range(60):
        factories.message(sender, recipient.name, str(number).encode(), conversation="c")
    edge.will(recipient.row.host, 202, 500)

    def is_done() -> bool:
        sweeper.sweep()
        engine.pump()
        return not Delivery.objects.exclude(state=State.DELIVERED).exists()

    assert conversations.put_off() == 55
    wait_until(is_done, 30, "all of it is delivered")
    assert [int(body) for _, body, _ in edge.posted] == [0, 1, *range(1, 60)]
