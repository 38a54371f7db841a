"""While much is being deleted, what is accepted, claimed, settled, fetched and swept waits for none of it.

After each statement of a deletion, with its transaction open, all of that is done on another connection, which
fails as soon as it would have to wait for a lock.
"""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from relay import retention
from relay.delivery import claim, dead_letter, settle, sweeper
from relay.delivery.claimed import Claimed
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.inbox import answers, leases
from relay.models import Attempt, Delivery, Message, PayloadDue, State, StoredBytes
from tests import factories
from tests.factories import Registered

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer at a time"),
]
BATCHES = 3


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> tuple[Registered, Registered, Registered]:
    """Of a sender, to a participant that is posted to and to one that fetches; batches are small."""
    monkeypatch.setattr(retention, "BATCH", 20)
    return factories.participant(), factories.participant(), factories.participant(delivery_mode="pull")


def store_history(sender: Registered, recipient: Registered, age: timedelta) -> None:
    """Batches of messages between the two, of that age, that failed at first; their payloads are due."""
    first = factories.delivery(sender, recipient, state=State.DELIVERED, attempts=2)
    accepted_at = timezone.now() - age
    Message.objects.filter(pk=first.message_id).update(accepted_at=accepted_at)
    messages = [Message.objects.get(pk=first.message_id)]
    for _ in range(BATCHES * retention.BATCH - 1):
        copy = Message.objects.get(pk=first.message_id)
        copy.pk, copy.message_id = None, uuid.uuid4()
        messages.append(copy)
    Message.objects.bulk_create(messages[1:])
    for message in messages[1:]:
        first.pk, first.message = None, message
        first.save(force_insert=True)
    rows = Delivery.objects.all()
    known = {"number": 1, "at": accepted_at, "seconds": 0.1, "status": 500, "error": "no", "answer": "it said"}
    Attempt.objects.bulk_create(Attempt(delivery=row, **known) for row in rows)
    retention.note_ended({each.pk: 0 for each in messages}, timezone.now() - timedelta(seconds=1))
    StoredBytes.objects.create(participant=sender.row, size=sum(each.payload_size for each in messages))


def deliver_all(sender: Registered, pushed: Registered, pulling: Registered) -> None:
    """One message for each way that a delivery can go, and what is to be said of it."""
    sent = [factories.message(sender, pushed.name, conversation=each) for each in ("", "a", "a")]
    sent.append(factories.message(sender, pulling.name))
    while claimed := claim.claim(100):
        settle.settle([Attempted(each, outcome_of(each, pushed), timezone.now()) for each in claimed])
    held = [str(each.handle) for each in leases.hand_out(pulling.entry, most=10, seconds=60)]
    assert [each.result for each in answers.acknowledge(pulling.entry, held)] == ["delivered"]
    late = factories.delivery(sender, pushed, expires_at=timezone.now() - timedelta(seconds=1))
    sweeper.sweep()
    states = list(Delivery.objects.filter(message__in=[*sent, late.message]).order_by("pk").values_list("state"))
    assert [state for (state,) in states] == ["dead", "delivered", "delivered", "delivered", "expired"]


def outcome_of(claimed: Claimed, pushed: Registered) -> Outcome:
    is_refused = claimed.recipient_id == pushed.row.pk and not claimed.conversation
    return Outcome(not is_refused, 400 if is_refused else 202, "", 0.1)


def on_another_connection(work: Callable[[], object]) -> None:
    failed: list[BaseException] = []

    def run() -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '100ms'")
            work()
        except BaseException as error:
            failed.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@pytest.mark.parametrize(
    ("age", "forget"),
    [
        pytest.param(timedelta(0), retention.delete_payloads, id="payloads"),
        pytest.param(timedelta(days=retention.METADATA_DAYS + 1), retention.delete_messages, id="messages"),
    ],
)
def test_nobody_waits_for_what_is_forgotten(
    traffic: tuple[Registered, Registered, Registered], age: timedelta, forget: Callable[[], int]
) -> None:
    sender, pushed, _ = traffic
    store_history(sender, pushed, age)
    in_transaction: Counter[str] = Counter()
    rows_changed: list[int] = []

    def look(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        done = execute(sql, parameters, many, context)
        if connection.in_atomic_block:
            verb = sql.split()[0]
            in_transaction[verb] += 1
            if verb in ("UPDATE", "DELETE"):
                rows_changed.append(context["cursor"].rowcount)
            on_another_connection(lambda: deliver_all(*traffic))
        return done

    with connection.execute_wrapper(look):
        assert forget() == BATCHES * retention.BATCH
    assert in_transaction["UPDATE"] + in_transaction["DELETE"] >= BATCHES
    assert max(rows_changed) <= retention.BATCH, "each transaction is small"
    assert PayloadDue.objects.exclude(due_at__gt=timezone.now()).count() == 0
    assert StoredBytes.objects.get(participant=sender.row).size == 0


def test_two_who_forget_at_once_share_the_work(traffic: tuple[Registered, Registered, Registered]) -> None:
    """The second takes what the first has not locked, and waits for nothing."""
    sender, pushed, _ = traffic
    store_history(sender, pushed, timedelta(0))
    others: list[int] = []

    def look(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        done = execute(sql, parameters, many, context)
        if not others and "FOR UPDATE" in sql:
            others.append(0)
            on_another_connection(lambda: others.append(retention.delete_payloads()))
        return done

    with connection.execute_wrapper(look):
        mine = retention.delete_payloads()
    assert mine == retention.BATCH
    assert others == [0, (BATCHES - 1) * retention.BATCH]
    assert not Message.objects.filter(payload_deleted_at=None).exists()


@pytest.mark.parametrize("begins", ["SELECT", "DELETE"])
def test_what_is_requeued_in_the_last_moment_is_not_forgotten(
    traffic: tuple[Registered, Registered, Registered], begins: str
) -> None:
    """Or it cannot be requeued any more; in no case does a delivery vanish that is under way."""
    sender, pushed, _ = traffic
    letter = factories.delivery(sender, pushed, state=State.DEAD, ended_at=timezone.now())
    age = timedelta(days=retention.METADATA_DAYS + 1)
    Message.objects.filter(pk=letter.message_id).update(accepted_at=timezone.now() - age)
    requeued: list[int] = []

    def requeue() -> None:
        requeued.append(0)
        with contextlib.suppress(OperationalError):  # it would have to wait
            requeued[0] = dead_letter.requeue(Delivery.objects.filter(pk=letter.pk))

    def look(execute: Callable[..., Any], sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        if not requeued and begins == "DELETE" == sql.split()[0]:
            on_another_connection(requeue)
        done = execute(sql, parameters, many, context)
        if not requeued and begins == "SELECT" and "relay_delivery" in sql:
            on_another_connection(requeue)
        return done

    with connection.execute_wrapper(look):
        retention.delete_messages()
    (count,) = requeued
    assert count == (begins == "SELECT")
    assert Delivery.objects.filter(pk=letter.pk, state=State.PENDING).count() == count
