"""A claim takes a few rows of each recipient, wherever it begins its round, and another claim does not stop it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest
from django.db import IntegrityError, connection

from dmr_project.lib import http
from relay.delivery import claim, leases
from relay.delivery import engine as engine_module
from relay.delivery.engine import Engine
from tests import factories
from tests.relay.conftest import Edge

pytestmark = pytest.mark.django_db


def test_a_round_comes_to_each_recipient_once() -> None:
    """Also where it begins in the middle, and there is room for more."""
    sender, *recipients = (factories.participant() for _ in range(4))
    for recipient in recipients:
        for _ in range(3 * claim.ROWS_OF_EACH):
            factories.message(sender, recipient.name)
    first, second, third = sorted(each.row.pk for each in recipients)
    for after in (0, first - 1, first, second, third, third + 1):
        claimed = claim.claim(1000, after=after)
        counts = {pk: sum(each.recipient_id == pk for each in claimed) for pk in (first, second, third)}
        assert set(counts.values()) == {claim.ROWS_OF_EACH}, after
        leases.hand_back(claimed)


def test_a_round_begins_where_the_one_before_ended() -> None:
    sender, *recipients = (factories.participant() for _ in range(4))
    for recipient in recipients:
        factories.message(sender, recipient.name)
    first, second, third = sorted(each.row.pk for each in recipients)
    assert {each.recipient_id for each in claim.claim(2, after=first)} == {second, third}
    assert {each.recipient_id for each in claim.claim(2, after=first)} == {first}


@pytest.mark.django_db(transaction=True)
def test_many_who_do_not_answer_leave_room_for_the_others(
    engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of them, with more waiting for each, than there are attempts that begin freely."""
    monkeypatch.setattr(engine_module, "FREELY", 16)
    monkeypatch.setattr(engine_module, "MOST_IN_FLIGHT", 32)
    monkeypatch.setattr(engine_module, "HAND_BACK_SECONDS", 0.1)
    sender, well = factories.participant(), factories.participant()
    holes = [factories.participant() for _ in range(10)]
    begun: Counter[str] = Counter()
    arrived = threading.Event()

    async def post(session: object, url: str, *arguments: object) -> http.Answer:
        begun[url] += 1
        if url == well.row.host:
            arrived.set()
            return http.Answer(202, {}, b"")
        return await asyncio.Future()

    monkeypatch.setattr(http, "post", post)
    for hole in holes:
        for _ in range(2 * claim.ROWS_OF_EACH):
            factories.message(sender, hole.name)
    engine.rung()
    until = time.monotonic() + 10
    while len(begun) < len(holes) and time.monotonic() < until:
        time.sleep(0.01)
    assert sorted(begun.values()) == [1] * 8 + [claim.ROWS_OF_EACH] * 2
    factories.message(sender, well.name)
    engine.rung()
    assert arrived.wait(10)
    engine.close()


@pytest.mark.parametrize(("conflicts", "taken"), [(0, 1), (2, 1), (claim.MOST_TRIES, 0)])
def test_a_claim_that_meets_another_looks_again(conflicts: int, taken: int) -> None:
    """Else its pump would end, and what is due would wait for the sweep."""
    factories.message(factories.participant(), factories.participant().name, conversation="c1")
    left = [conflicts]

    def meet(execute: Any, sql: str, *arguments: Any) -> Any:
        if "WITH RECURSIVE waiting" in sql and left[0]:
            left[0] -= 1
            raise IntegrityError("one_in_flight_per_conversation")
        return execute(sql, *arguments)

    with connection.execute_wrapper(meet):
        assert len(claim.claim(100)) == taken
