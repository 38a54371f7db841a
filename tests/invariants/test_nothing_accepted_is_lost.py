"""Invariants 1 to 6: what is stored, claimed, and ended."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection, transaction
from django.utils import timezone

from participants import registry
from relay.delivery import claim, sweeper
from relay.models import Delivery, Message, State
from tests import factories
from tests.conftest import Wakes
from tests.integration.product import Product, wait_until
from tests.integration.sinks import Sink, always

MakeSink = Callable[..., Sink]


def in_threads(count: int, work: Callable[[], None]) -> None:
    """Runs the work that often at once, each with a database connection of its own."""
    errors: list[BaseException] = []
    gate = threading.Barrier(count)

    def run() -> None:
        try:
            gate.wait()
            work()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


@pytest.mark.django_db(transaction=True)
def test_invariant_1_nothing_is_stored_or_woken_where_the_transaction_fails(wakes: Wakes) -> None:
    """The 202 comes after the commit: where storing the delivery fails there is no message and no wake-up."""
    sender, recipient = factories.participant(), factories.participant()
    wakes.count = 0  # of the registry's changes

    def fail(execute: Callable[..., object], sql: str, *arguments: object) -> object:
        """The database, when it is asked to take a delivery, says no."""
        if "INSERT" in sql and "relay_delivery" in sql:
            raise RuntimeError("the disk is full")
        return execute(sql, *arguments)

    with connection.execute_wrapper(fail), pytest.raises(RuntimeError):
        factories.message(sender, recipient.name)
    assert Message.objects.count() == 0
    assert wakes.count == 0
    factories.message(sender, recipient.name)
    assert wakes.count == 1


@pytest.mark.django_db(transaction=True)
def test_invariant_1_wakes_only_after_the_commit(wakes: Wakes) -> None:
    sender, recipient = factories.participant(), factories.participant()
    wakes.count = 0  # of the registry's changes
    with transaction.atomic():
        factories.message(sender, recipient.name)
        assert wakes.count == 0
    assert wakes.count == 1


def test_invariant_2_accepting_does_not_need_the_worker(own_product: Product, sink: MakeSink) -> None:
    """With the worker dead 202 comes all the same, and what waits is delivered by the next one."""
    into = sink()
    sender, recipient = own_product.register(sink().url), own_product.register(into.url)
    own_product.kill("worker")
    ids = {own_product.send(sender, recipient.name) for _ in range(10)}
    wait_until(lambda: ids <= {each.id for each in into.received}, 20, "all arrive")


@pytest.mark.django_db(transaction=True)
def test_invariant_3_same_message_is_accepted_once_also_at_the_same_time() -> None:
    sender, recipient = factories.participant(), factories.participant()
    message_id = uuid.uuid4()
    in_threads(6, lambda: factories.message(sender, recipient.name, message_id=message_id) and None)
    assert Message.objects.filter(sender=sender.row).count() == 1
    assert Delivery.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_invariant_4_a_delivery_is_claimed_by_one(wakes: Wakes) -> None:
    sender = factories.participant()
    for recipient in [factories.participant() for _ in range(4)]:
        for _ in range(5):
            factories.message(sender, recipient.name)
    taken: list[int] = []
    in_threads(6, lambda: taken.extend(each.id for each in claim.claim(20)))
    assert len(taken) == len(set(taken)) == 20


@pytest.mark.django_db
def test_invariant_4_a_lease_that_ran_out_is_claimed_again() -> None:
    factories.delivery(factories.participant(), factories.participant())
    (first,) = claim.claim(10)
    assert claim.claim(10) == []
    sweeper.sweep()
    assert claim.claim(10) == [], "the lease still holds"
    Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert sweeper.sweep().returned == 1
    (second,) = claim.claim(10)
    assert (second.id, second.attempts) == (first.id, 2)
    assert second.token != first.token


def test_invariant_5_a_bad_recipient_costs_the_others_nothing(product: Product, sink: MakeSink) -> None:
    """One hangs with a backlog of 100; messages to another pass it by."""
    hanging, quick = sink(always(after=60)), sink()
    sender, bad, good = (product.register(each.url) for each in (sink(), hanging, quick))
    for _ in range(100):
        product.send(sender, bad.name)
    wait_until(lambda: len(hanging.received) >= 8, 10)
    for _ in range(5):
        quick.wait_for(product.send(sender, good.name), 2)
    assert len(hanging.received) <= 20, "what is in flight to one recipient is bounded"
    # Out of the way of other tests.
    from tests.integration.product import STAFF_KEY

    product.call(f"/centops/admin/participants/{bad.id}", "DELETE", X_Api_Key=STAFF_KEY)


@pytest.mark.django_db
@pytest.mark.parametrize("fate", ["held", "deleted", "unreachable"])
def test_invariant_6_every_message_ends_and_its_sender_is_told(fate: str) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    if fate == "held":
        registry.set_status([recipient.row], "Suspended", actor="tests")
        assert claim.claim(10) == []
    elif fate == "deleted":
        registry.remove_participant(recipient.row, actor="tests")
    Delivery.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert sweeper.sweep().expired == 1
    delivery.refresh_from_db()
    assert delivery.state == State.EXPIRED
    assert Delivery.objects.dead_letters().filter(pk=delivery.pk).exists()
    told = Message.objects.get(sent_by="Dmr")
    assert (told.send_to, told.written_ref) == (sender.name, delivery.message.written_id)
    assert told.is_error
    # The error message ends too, and nobody is told of that.
    Delivery.objects.filter(state=State.PENDING).update(expires_at=timezone.now() - timedelta(seconds=1))
    assert sweeper.sweep().expired == 1
    assert Message.objects.filter(sent_by="Dmr").count() == 1
    assert not Delivery.objects.filter(state__in=(State.PENDING, State.DELIVERING)).exists()
