"""Breakers, pumps, wake-ups, what is in flight and polls: each by every value of its label, on /metrics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache

from relay import tasks
from relay.delivery import bell, breaker, claim, settle, wake
from relay.delivery.breaker import Failures
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.inbox.waiting import polls
from relay.models import Breaker
from tests import factories
from tests.integration.product import wait_until
from tests.metrics.moves import World, fetch, now, pulling, two
from tests.metrics.test_every_metric_moves import samples


def fail(*, is_gone: bool = False) -> Breaker:
    recipient = factories.participant().row
    breaker.note(set(), {recipient.pk: Failures(breaker.FAILURES_TO_OPEN, "down", is_gone)}, now())
    return Breaker.objects.get(pk=recipient.pk)


def recover(world: World) -> None:
    breaker.note({fail().recipient_id}, {}, now())


def attempt(status: int) -> None:
    factories.delivery(*two())
    outcome = Outcome(status < 300, status, "", 0.1)
    settle.settle([Attempted(each, outcome, now()) for each in claim.claim(10)])


def wake_one(world: World, *, is_heard: bool = False, is_marked: bool = False, fails: bool = False) -> None:
    def apply_async() -> None:
        if fails:
            raise OSError("no broker")

    world.monkeypatch.setattr(bell, "ring", lambda: is_heard)
    world.monkeypatch.setattr(tasks.pump, "apply_async", apply_async)
    if is_marked:
        cache.set(wake.MARK, 1)
    world.later.callback(cache.delete, wake.MARK)
    wake.pump()


def poll(world: World, *, taken: int = 0, query: str = "") -> None:
    recipient = pulling()
    for _ in range(taken):
        place = polls.take(recipient.row.pk, 10)
        assert place is not None
        world.later.callback(polls.leave, place)
    world.client.get(f"/api/v1/inbox{query}", headers=recipient.auth, **{"dmr.can_wait": True})


def poll_for_something(world: World) -> None:
    recipient = pulling()
    factories.delivery(factories.participant(), recipient)
    world.client.get("/api/v1/inbox", headers=recipient.auth)


def claim_one(world: World) -> None:
    factories.delivery(*two())
    assert len(claim.claim(10)) == 1


MOVES: list[tuple[str, str, Callable[[World], object]]] = [
    ("dmr_breaker_transitions_total", 'state="open"', lambda world: fail()),
    ("dmr_breaker_transitions_total", 'state="parked"', lambda world: fail(is_gone=True)),
    ("dmr_breaker_transitions_total", 'state="closed"', recover),
    ("dmr_breakers", 'state="open"', lambda world: fail()),
    ("dmr_breakers", 'state="parked"', lambda world: fail(is_gone=True)),
    ("dmr_breakers", 'state="closed"', recover),
    ("dmr_pump_runs_total", 'by="task"', lambda world: world.engine().pump()),
    ("dmr_pump_runs_total", 'by="bell"', lambda world: world.engine().rung()),
    ("dmr_wakes_total", 'result="rung"', lambda world: wake_one(world, is_heard=True)),
    ("dmr_wakes_total", 'result="sent"', wake_one),
    ("dmr_wakes_total", 'result="coalesced"', lambda world: wake_one(world, is_marked=True)),
    ("dmr_wakes_total", 'result="failed"', lambda world: wake_one(world, fails=True)),
    ("dmr_deliveries_in_flight", 'mode="push"', claim_one),
    ("dmr_deliveries_in_flight", 'mode="pull"', lambda world: fetch()),
    ("dmr_delivery_attempts_total", 'result="success"', lambda world: attempt(202)),
    ("dmr_delivery_attempts_total", 'result="failure"', lambda world: attempt(500)),
    ("dmr_inbox_polls_total", 'result="messages"', poll_for_something),
    ("dmr_inbox_polls_total", 'result="empty"', poll),
    ("dmr_inbox_polls_total", 'result="turned_away"', lambda world: poll(world, taken=2, query="?wait=10")),
]


def marked(name: str, label: str, move: Callable[[World], object]) -> Any:
    marks = [pytest.mark.django_db(transaction=name == "dmr_pump_runs_total")]
    if name == "dmr_wakes_total":
        marks.append(pytest.mark.real_wake)
    return pytest.param(name, label, move, marks=marks, id=f"{name} {label}")


@pytest.mark.parametrize(("name", "label", "move"), [marked(*each) for each in MOVES])
def test_moves(name: str, label: str, move: Callable[[World], object], world: World) -> None:
    key, value = label.replace('"', "").split("=")

    def seen() -> float:
        found = samples(world.client, name)
        return sum(count for labels, count in found.items() if str((key, value)) in labels)

    before = seen()
    move(world)
    wait_until(lambda: seen() > before, 5, f"{name} {label} grows")
