"""While an outage lasts, what is sent to the affected is held: not tried, not counted, and delivered after it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
import time_machine

from participants import outages
from relay.delivery import claim, leases, sweeper
from relay.delivery.engine import Engine
from relay.models import Breaker, State
from tests import factories
from tests.relay.conftest import Edge

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)
SECOND = timedelta(seconds=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def claimed() -> int:
    rows = claim.claim(100)
    leases.hand_back(rows)
    return len(rows)


def test_both_ends_count_to_the_second_with_nobody_doing_anything(clock: time_machine.Traveller) -> None:
    sender, bot = factories.participant(), factories.participant()
    factories.outage(bot, begins_in=60, seconds=60)
    factories.message(sender, bot.name)
    for seconds, expected in ((0, 1), (59.999, 1), (60, 0), (119.999, 0), (120, 1), (121, 1)):
        clock.move_to(NOON + seconds * SECOND)
        assert claimed() == expected, seconds


def test_what_waited_is_delivered_and_nothing_was_counted(engine: Engine, edge: Edge) -> None:
    sender, bot, other = (factories.participant() for _ in range(3))
    edge.will(bot.row.host, *[503] * 10)
    outage = factories.outage(bot)
    deliveries = [factories.message(sender, bot.name).deliveries.get() for _ in range(8)]
    factories.message(sender, other.name)
    for _ in range(3):
        engine.pump()
        sweeper.sweep()
    assert [url for url, _, _ in edge.posted] == [other.row.host]
    for each in deliveries:
        each.refresh_from_db()
        assert (each.state, each.attempts) == (State.PENDING, 0)
    assert not Breaker.objects.filter(recipient=bot.row).exists()
    edge.answers.clear()
    outages.end(outage, actor="anna")
    engine.pump()
    for each in deliveries:
        each.refresh_from_db()
        assert (each.state, each.attempts) == (State.DELIVERED, 1)


def test_an_open_breaker_is_not_probed_meanwhile(engine: Engine, edge: Edge, clock: time_machine.Traveller) -> None:
    sender, bot = factories.participant(), factories.participant()
    factories.message(sender, bot.name)
    Breaker.objects.create(recipient=bot.row, state=Breaker.State.OPEN, failures=5, probe_at=NOON - SECOND)
    factories.outage(bot, seconds=None)
    engine.pump()
    assert edge.posted == []
    assert Breaker.objects.get(recipient=bot.row).failures == 5


def test_the_time_to_live_goes_on(engine: Engine, edge: Edge, clock: time_machine.Traveller) -> None:
    sender, bot = factories.participant(), factories.participant()
    factories.outage(bot, seconds=3600)
    delivery = factories.message(sender, bot.name, time_to_live=60).deliveries.get()
    clock.move_to(NOON + 61 * SECOND)
    sweeper.sweep()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (State.EXPIRED, 0)


def test_the_pump_does_not_wait_for_what_is_held(clock: time_machine.Traveller) -> None:
    sender, bot = factories.participant(), factories.participant()
    factories.delivery(sender, bot, due_at=NOON + 2 * SECOND)
    assert claim.next_due(NOON, 6 * SECOND) == NOON + 2 * SECOND
    factories.outage(bot)
    assert claim.next_due(NOON, 6 * SECOND) is None


def test_whoever_fetches_may_fetch(clock: time_machine.Traveller) -> None:
    from relay.inbox import leases

    sender, bot = factories.participant(), factories.participant(delivery_mode="pull")
    factories.message(sender, bot.name)
    factories.outage(bot)
    assert len(leases.hand_out(bot.entry, most=10, seconds=60)) == 1


def test_a_classifier_that_is_there_goes_first(clock: time_machine.Traveller) -> None:
    from participants import directory

    sender, away, there = (factories.participant(type=each) for each in ("Chatbot", "Classifier", "Classifier"))
    factories.outage(away, begins_in=60)

    def chosen() -> set[str]:
        return {each.name for each in directory.current().classifiers_for(sender.entry)}

    assert chosen() == {away.name, there.name}
    clock.move_to(NOON + 60 * SECOND)
    assert chosen() == {there.name}
    factories.outage(there, seconds=None)
    assert chosen() == {away.name, there.name}, "all are away: it is held for one of them"


def test_one_that_is_revoked_meanwhile_gets_its_messages_returned(engine: Engine, edge: Edge) -> None:
    from participants import life

    sender, bot = factories.participant(), factories.participant()
    delivery = factories.message(sender, bot.name).deliveries.get()
    factories.outage(bot)
    life.revoke([bot.row], actor="anna", reason="it left")
    engine.pump()
    delivery.refresh_from_db()
    assert delivery.state == State.DEAD


def test_the_backlog_gauge_does_not_count_it() -> None:
    from observability import collectors

    sender, bot = factories.participant(), factories.participant()
    factories.delivery(sender, bot, due_at=datetime.now(timezone.utc) - 60 * SECOND)

    def oldest() -> float:
        return collectors.oldest_due(datetime.now(timezone.utc)).samples[0].value

    assert oldest() > 50
    factories.outage(bot)
    assert oldest() == 0
