"""A claim that a crash of the database undid, or whose lease ran out, is not attempted while it is under way."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from dmr_project.lib import http
from relay.delivery import claim, database, leases
from relay.delivery.claimed import Claimed
from relay.delivery.engine import Engine
from relay.delivery.in_flight import part
from relay.models import Attempt, Delivery, State
from tests import factories
from tests.relay.conftest import Edge
from tests.servers import stoppable

SECONDS = 10.0


def pending_again(**columns: Any) -> dict[str, Any]:
    return {"state": State.PENDING, "due_at": timezone.now(), "lease_token": None, "lease_until": None, **columns}


def in_a_thread(work: Callable[[], object]) -> Callable[[], object]:
    """With a database connection of its own, closed at the end."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    return run


@pytest.fixture
def during_the_first(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """`during_the_first(work)`: done while the first attempt is under way, which ends after it."""

    def arrange(work: Callable[[], object]) -> None:
        async def post(*arguments: Any) -> http.Answer:
            is_first = not edge.posted
            answer = await edge.post(*arguments)
            if is_first:
                await asyncio.to_thread(in_a_thread(work))
            return answer

        monkeypatch.setattr(http, "post", post)

    return arrange


def wait_for(seen: Callable[[], bool]) -> None:
    until = time.monotonic() + SECONDS
    while not seen():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("answer", [202, 500])
@pytest.mark.parametrize(
    ("attempts", "conversation"), [(0, "c"), (0, ""), (1, "c")], ids=["undone", "undone, of none", "lease lost"]
)
def test_an_attempt_under_way_is_not_begun_again(
    engine: Engine, edge: Edge, during_the_first: Any, answer: int, attempts: int, conversation: str
) -> None:
    """Its outcome is that of the new claim."""
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.message(sender, recipient.name, conversation=conversation).deliveries.get()
    row = Delivery.objects.filter(pk=delivery.pk)

    def undo() -> None:
        token = row.get().lease_token
        row.update(**pending_again(attempts=attempts))
        engine.rung()
        wait_for(lambda: row.get().state == State.DELIVERING and row.get().lease_token != token)

    during_the_first(undo)
    edge.will(recipient.row.host, answer)
    engine.pump()
    assert len(edge.posted) == 1
    delivery.refresh_from_db()
    assert delivery.state == (State.DELIVERED if answer == 202 else State.PENDING)
    assert (delivery.attempts, delivery.last_status) == (attempts + 1, answer)
    assert Attempt.objects.count() == (answer == 500)


@pytest.mark.django_db(transaction=True)
def test_nothing_of_a_conversation_begins_while_another_is_under_way(
    engine: Engine, edge: Edge, during_the_first: Any
) -> None:
    """The outcome of what went before, and the claim of what is under way, are undone together."""
    sender, recipient = factories.participant(), factories.participant()
    first, second = (
        factories.message(sender, recipient.name, text, conversation="c").deliveries.get() for text in (b"1", b"2")
    )
    Delivery.objects.filter(pk=first.pk).update(state=State.DELIVERED)
    rows = Delivery.objects.filter(pk__in=[first.pk, second.pk])
    seen: list[int] = []

    def undo() -> None:
        rows.update(**pending_again(attempts=0))
        engine.rung()
        look_twice = timezone.now()
        wait_for(lambda: (engine._claimed_at - look_twice).total_seconds() > 0.3)
        seen.append(len(edge.posted))

    during_the_first(undo)
    engine.pump()
    assert seen == [1], "nothing was posted while that was under way"
    assert [body for _, body, _ in edge.posted] == [b"2", b"1", b"2"], "then all comes again, in order"
    assert set(rows.values_list("state", "attempts")) == {(State.DELIVERED, 1)}


@pytest.mark.django_db
def test_a_claim_may_leave_conversations_alone() -> None:
    sender, recipient = factories.participant(), factories.participant()
    for conversation in ("c", "", "d"):
        factories.message(sender, recipient.name, conversation.encode(), conversation=conversation)
    assert [each.payload for each in claim.claim(10, with_conversations=False)] == [b""]
    assert [each.payload for each in claim.claim(10)] == [b"c", b"d"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server to crash")
@pytest.mark.django_db(transaction=True)
def test_conversations_wait_where_the_database_was_lost(
    engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For as long as what any worker had under way may take to end; the rest goes on at once."""
    sender, recipient = factories.participant(), factories.participant()
    posted = lambda: [body for _, body, _ in edge.posted]  # noqa: E731
    factories.message(sender, recipient.name, b"0", conversation="c")
    engine.pump()
    pid = engine._database.thread.submit(lambda: connection.connection.info.backend_pid).result()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
    for conversation in ("c", ""):
        factories.message(sender, recipient.name, b"1" + conversation.encode(), conversation=conversation)
    monkeypatch.setattr(database, "TOTAL_SECONDS", 1.0)
    began = time.monotonic()
    engine.pump()  # finds out
    engine.pump()
    assert posted() == [b"0", b"1"]
    wait_for(lambda: engine.pump() is False and b"1c" in posted())
    assert time.monotonic() - began >= 1.0
    factories.message(sender, recipient.name, b"2", conversation="c")
    engine.pump()
    assert posted() == [b"0", b"1", b"1c", b"2"]


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server to crash")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("seconds", "is_early"), [(9.8, True), (10.2, False)])
def test_conversations_wait_in_a_worker_that_is_started_after_a_crash(
    engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch, seconds: float, is_early: bool
) -> None:
    """It has lost no connection, and asks the database."""
    monkeypatch.setattr(claim, "seconds_since_crash", lambda: seconds)
    sender, recipient = factories.participant(), factories.participant()
    for conversation in ("c", ""):
        factories.message(sender, recipient.name, conversation.encode(), conversation=conversation)
    engine.pump()
    assert sorted(body for _, body, _ in edge.posted) == ([b""] if is_early else [b"", b"c"])
    wait_for(lambda: engine.pump() is False and len(edge.posted) == 2)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server to crash")
@pytest.mark.django_db(transaction=True)
def test_a_database_that_does_not_tell_of_crashes_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert claim.seconds_since_crash() < math.inf
    monkeypatch.setattr(claim, "SECONDS_SINCE_CRASH", "SELECT 1 FROM pg_stat_of_nothing")
    assert claim.seconds_since_crash() == math.inf


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server to crash")
def test_the_database_tells_of_a_crash_and_not_of_a_restart() -> None:
    with stoppable("postgres") as own:

        def crashed_at(how: str) -> float:
            """As it says after it has been stopped like that, and started."""
            own.stop("postgres", how)
            own.start("postgres")
            with psycopg.connect(own.urls["postgres"]) as there:
                found = there.execute(claim.SECONDS_SINCE_CRASH).fetchone()
                now = time.monotonic()
            assert found
            return now - float(found[0])

        began = time.monotonic()
        assert began < crashed_at("immediate")
        between = time.monotonic()
        assert crashed_at("fast") < between


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server to crash")
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("answer", [202, 500])
def test_what_is_under_way_is_claimed_anew_where_the_database_was_lost(
    engine: Engine, edge: Edge, during_the_first: Any, answer: int
) -> None:
    """So its outcome counts, and nobody else begins it."""
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.message(sender, recipient.name, conversation="c").deliveries.get()
    row = Delivery.objects.filter(pk=delivery.pk)

    def crash() -> None:
        pid = engine._database.thread.submit(lambda: connection.connection.info.backend_pid).result()
        token = row.get().lease_token
        row.update(**pending_again(attempts=0))
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        engine.rung()
        wait_for(lambda: row.get().state == State.DELIVERING)
        assert row.get().lease_token == token

    during_the_first(crash)
    edge.will(recipient.row.host, answer)
    engine.pump()
    wait_for(lambda: row.get().state != State.DELIVERING)
    assert len(edge.posted) == 1
    delivery.refresh_from_db()
    assert (delivery.attempts, delivery.last_status) == (1, answer)
    assert delivery.state == (State.DELIVERED if answer == 202 else State.PENDING)


@pytest.mark.django_db
def test_only_what_was_undone_is_claimed_anew() -> None:
    sender, recipient = factories.participant(), factories.participant()
    for conversation in ("a", "b", "c", "d", ""):
        factories.message(sender, recipient.name, conversation=conversation)
    taken = claim.claim(10)
    undone, settled, stolen, blocked, other = taken
    of = lambda each: Delivery.objects.filter(pk=each.id)  # noqa: E731
    of(undone).update(**pending_again(attempts=0))
    of(settled).update(**pending_again())
    of(stolen).update(lease_token=1)
    of(blocked).update(**pending_again(attempts=0))
    factories.delivery(
        sender, recipient, state=State.DELIVERING, conversation="d", lease_token=2, lease_until=timezone.now()
    )
    assert leases.take_again(taken) == 1
    states = [of(each).values_list("state", "attempts", "lease_token").get() for each in taken]
    assert states == [
        (State.DELIVERING, 1, undone.token),
        (State.PENDING, 1, None),
        (State.DELIVERING, 1, 1),
        (State.PENDING, 0, None),
        (State.DELIVERING, 1, other.token),
    ]


def claimed(pk: int, token: int, recipient: int = 1, conversation: str = "") -> Claimed:
    known = dict.fromkeys(Claimed.__dataclass_fields__, None)
    of_this = {"id": pk, "token": token, "recipient_id": recipient, "conversation": conversation}
    return Claimed(**{**known, **of_this})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("again", "becomes"),
    [
        pytest.param(claimed(1, 8, conversation="c"), "taken over", id="the same"),
        pytest.param(claimed(2, 8), "taken over", id="the same, of no conversation"),
        pytest.param(claimed(3, 8, conversation="c"), "back", id="of the same conversation"),
        pytest.param(claimed(3, 8, recipient=2, conversation="c"), "fresh", id="of another recipient's"),
        pytest.param(claimed(3, 8, conversation="d"), "fresh", id="of another conversation"),
        pytest.param(claimed(3, 8), "fresh", id="of none"),
    ],
)
def test_what_is_claimed_is_parted_by_what_is_under_way(again: Claimed, becomes: str) -> None:
    parted = part([again], {"a": claimed(1, 7, conversation="c"), "b": claimed(2, 7)})
    assert parted.fresh == ([again] if becomes == "fresh" else [])
    assert parted.back == ([again] if becomes == "back" else [])
    assert list(parted.taken_over.values()) == ([again] if becomes == "taken over" else [])
