"""Whatever one recipient answers, and whatever cannot be written of it, the others' deliveries are settled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta, timezone

import pytest
from django.db import OperationalError, connection

from dmr_project.lib import http
from participants.models import Participant
from relay import error_messages
from relay.delivery import attempts, claim, retry, settle, sweeper, transport
from relay.delivery.claimed import Claimed
from relay.delivery.engine import Engine
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.models import Breaker, Delivery, Message, State
from tests import factories
from tests.integration.product import wait_until
from tests.relay.conftest import Edge
from tests.wiring.test_copes_with_a_full_disk import full_disk

NOW = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    "asked", ["Fri, 31 Dec 9999 23:59:59 -1200", "Fri, 31 Dec 9999 23:59:59 GMT", "999999999999", "9" * 400]
)
def test_a_pause_beyond_all_dates_ends_the_delivery(asked: str) -> None:
    outcome = Outcome(False, 503, "busy", 0.1, retry_after=transport.parse_retry_after(asked, NOW))
    verdict = retry.decide(outcome, attempts=1, ended_at=NOW, expires_at=NOW + timedelta(days=1))
    assert verdict.state is State.EXPIRED


@pytest.mark.django_db
def test_what_cannot_be_written_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sender, good, bad = factories.participant(), factories.participant(), factories.participant()
    for recipient in (good, bad, good):
        factories.message(sender, recipient.name)
    claimed = claim.claim(100)

    def decide(outcome: Outcome, **known: object) -> retry.Verdict:
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr(retry, "decide", decide)

    def attempted(each: Claimed) -> Attempted:
        is_good = each.recipient_id == good.row.pk
        return Attempted(each, Outcome(is_good, 202 if is_good else 500, "", 0.1), datetime.now(timezone.utc))

    settle.settle([attempted(each) for each in claimed])
    states = Delivery.objects.order_by("id").values_list("recipient_id", "state")
    assert list(states) == [
        (good.row.pk, State.DELIVERED),
        (bad.row.pk, State.DELIVERING),
        (good.row.pk, State.DELIVERED),
    ]
    assert not Breaker.objects.exists()


@pytest.fixture
def no_room(monkeypatch: pytest.MonkeyPatch) -> Callable[[], AbstractContextManager[None]]:
    """`with no_room():` no message to a sender can be stored, as where the database's disk is full."""

    @contextmanager
    def full() -> Iterator[None]:
        if connection.vendor == "postgresql":
            with full_disk():
                yield
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(error_messages, "tell_sender", fail)
            yield

    def fail(*_: object) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(attempts, "WRITE_AGAIN_SECONDS", 0.05)
    return full


@pytest.mark.django_db(transaction=True)
def test_an_outcome_without_room_waits_for_it_and_stops_nobody(
    engine: Engine, edge: Edge, no_room: Callable[[], AbstractContextManager[None]]
) -> None:
    """It is not attempted again either: its lease is kept."""
    sender, good, bad = factories.participant(), factories.participant(), factories.participant()
    refused = factories.message(sender, bad.name, conversation="c").deliveries.get()
    edge.will(bad.row.host, 400)
    behind = factories.message(sender, bad.name, conversation="c").deliveries.get()
    first, later = (factories.message(sender, good.name).deliveries.get() for _ in range(2))
    Delivery.objects.filter(pk=later.pk).update(due_at=datetime.now(timezone.utc) + timedelta(days=1))

    def state(delivery: Delivery) -> str:
        delivery.refresh_from_db()
        return delivery.state

    with no_room():
        engine.rung()
        wait_until(lambda: state(first) == State.DELIVERED, 5, "the other one is delivered")
        assert state(refused) == State.DELIVERING
        until = refused.lease_until
        wait_until(
            lambda: state(refused) == State.DELIVERING and refused.lease_until != until, 5, "its lease is kept"
        )
        Delivery.objects.filter(pk=later.pk).update(due_at=datetime.now(timezone.utc))
        engine.rung()
        wait_until(lambda: state(later) == State.DELIVERED, 5, "the pump goes on")
        assert (state(refused), state(behind)) == (State.DELIVERING, State.PENDING)
    wait_until(lambda: state(refused) == State.DEAD, 5, "it is written down")
    wait_until(lambda: state(behind) == State.DELIVERED, 5, "and what waited for it goes")
    assert refused.attempts == 1
    assert [url for url, *_ in edge.posted].count(bad.row.host) == 2, "one attempt for each"
    assert Message.objects.filter(sent_by="Dmr", send_to=sender.name).count() == 1


@pytest.mark.django_db(transaction=True)
def test_what_cannot_be_ended_stops_nobody(
    engine: Engine, edge: Edge, no_room: Callable[[], AbstractContextManager[None]]
) -> None:
    """Claimed together: one that is not to be attempted, whose sender cannot be told, and another."""
    sender, left, good = factories.participant(), factories.participant(), factories.participant()
    lost = factories.delivery(sender, left)
    Participant.objects.filter(pk=left.row.pk).update(status="Deleted")
    delivery = factories.delivery(sender, good)
    with no_room():
        engine.pump()
        delivery.refresh_from_db()
        assert delivery.state == State.DELIVERED
    lost.refresh_from_db()
    assert lost.state == State.DELIVERING
    Delivery.objects.filter(pk=lost.pk).update(lease_until=datetime.now(timezone.utc) - timedelta(seconds=1))
    sweeper.return_lost_leases()
    engine.pump()
    lost.refresh_from_db()
    assert lost.state == State.DEAD


@pytest.mark.django_db(transaction=True)
def test_a_claim_that_breaks_costs_nothing_that_is_under_way(
    engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said, though nobody waits for the end of a pump that was rung; the next ring begins anew."""
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    original, has_broken = claim.claim, threading.Event()

    def breaks(*arguments: object, **named: object) -> list[Claimed]:
        if edge.posted and not has_broken.is_set():
            has_broken.set()
            raise ZeroDivisionError("a mistake of ours")
        return original(*arguments, **named)  # type: ignore[arg-type]

    async def post(*arguments: object) -> http.Answer:
        answer = await edge.post(*arguments)  # type: ignore[arg-type]
        while not has_broken.is_set():
            await asyncio.sleep(0.01)
        return answer

    def is_delivered() -> bool:
        delivery.refresh_from_db()
        return delivery.state == State.DELIVERED

    monkeypatch.setattr(claim, "claim", breaks)
    monkeypatch.setattr(http, "post", post)
    engine.rung()
    wait_until(is_delivered, 5, "what was under way is settled")
    assert len(edge.posted) == 1
    wait_until(lambda: "pump_broke" in caplog.text, 5, "it is said")
    assert engine._has_rested.wait(5)
    delivery = factories.delivery(sender, recipient)
    engine.rung()
    wait_until(is_delivered, 5, "the next one is delivered")


@pytest.mark.django_db
def test_one_that_cannot_expire_costs_the_others_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = factories.participant()
    bad, *good = (factories.delivery(sender, factories.participant()) for _ in range(4))
    Delivery.objects.update(expires_at=datetime.now(timezone.utc) - timedelta(seconds=1))
    original = error_messages.tell_sender

    def tell(message: Message, status: int, reason: str) -> Message | None:
        if message.pk == bad.message_id:
            raise ZeroDivisionError("a mistake of ours")
        return original(message, status, reason)

    monkeypatch.setattr(error_messages, "tell_sender", tell)
    assert sweeper.expire_held() == 3
    states = Delivery.objects.filter(pk__in=[bad.pk, *(each.pk for each in good)]).order_by("pk")
    assert list(states.values_list("state", flat=True)) == [State.PENDING, *[State.EXPIRED] * 3]
    monkeypatch.setattr(error_messages, "tell_sender", original)
    assert sweeper.expire_held() == 1
