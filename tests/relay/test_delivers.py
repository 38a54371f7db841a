"""The engine: claim, attempt, settle; with a database that commits and recipients that are played."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
import uuid
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from django.utils import timezone

from dmr_project.lib import http
from participants import registry
from relay.delivery import claim, retry, settle
from relay.delivery import engine as engine_module
from relay.delivery.claimed import Claimed
from relay.delivery.engine import Engine
from relay.models import Attempt, Breaker, Delivery, Message, State
from tests import factories
from tests.conftest import Wakes
from tests.relay.conftest import Edge

pytestmark = pytest.mark.django_db(transaction=True)


def routing(headers: dict[str, str]) -> dict[str, str]:
    """Without what attests them, which test_attests_deliveries.py looks at."""
    attesting = ("webhook-", "X-Attested-")
    return {name: value for name, value in headers.items() if not name.startswith(attesting)}


def test_delivers_what_is_due(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    ref = str(uuid.uuid4())
    message = factories.message(
        sender, recipient.name, bytes(range(256)), written_ref=ref, model_type="m", content_type="application/x"
    )
    assert engine.pump() is False
    ((url, body, headers),) = edge.posted
    assert (url, body) == (recipient.row.host, bytes(range(256)))
    assert routing(headers) == {
        "X-Sent-By": sender.name,
        "X-Send-To": recipient.name,
        "X-Message-Id": message.written_id,
        "X-Message-Id-Ref": ref,
        "X-Model-Type": "m",
        "Content-Type": "application/x",
    }
    delivery = message.deliveries.get()
    assert (delivery.state, delivery.attempts, delivery.last_status) == (State.DELIVERED, 1, 202)
    assert delivery.delivered_at is not None
    assert delivery.lease_token is None
    assert not Attempt.objects.exists(), "only failed attempts have a row"


def test_leaves_out_headers_that_the_sender_left_out(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name)
    engine.pump()
    assert set(routing(edge.posted[0][2])) == {"X-Sent-By", "X-Send-To", "X-Message-Id", "Content-Type"}


def test_delivers_hundreds_to_many_in_one_go(engine: Engine, edge: Edge) -> None:
    sender = factories.participant()
    recipients = [factories.participant() for _ in range(5)]
    for number in range(150):
        factories.message(sender, recipients[number % 5].name, str(number).encode())
    engine.pump()
    assert sorted(int(body) for _, body, _ in edge.posted) == list(range(150))
    assert not Delivery.objects.exclude(state=State.DELIVERED).exists()


def test_tries_again_after_a_pause(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    edge.will(recipient.row.host, 500)
    began = timezone.now()
    engine.pump()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.last_status) == (State.PENDING, 1, 500)
    assert began + timedelta(seconds=1) <= delivery.due_at <= timezone.now() + timedelta(seconds=1.2)
    attempt = Attempt.objects.get()
    assert (attempt.number, attempt.status, attempt.error) == (1, 500, "the recipient answered 500")
    engine.pump()
    assert len(edge.posted) == 1, "it is not due yet"
    Delivery.objects.update(due_at=timezone.now())
    engine.pump()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (State.DELIVERED, 2)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        pytest.param(aiohttp.ServerDisconnectedError(), "broke the connection", id="disconnected"),
        pytest.param(TimeoutError(), "no answer within 10 s", id="timeout"),
        pytest.param(aiohttp.ConnectionTimeoutError(), "no connection within 3 s", id="connect timeout"),
        pytest.param(http.AddressRefused("10.0.0.1 is a private address"), "private address", id="refused address"),
        pytest.param(aiohttp.InvalidURL("x"), "not a URL", id="no URL"),
        pytest.param(ConnectionRefusedError(), "refused the connection", id="refused"),
        pytest.param(OSError("odd"), "the connection failed", id="other"),
        pytest.param(ValueError("odd header"), "the connection failed", id="value error"),
    ],
)
def test_network_errors_are_tried_again(engine: Engine, edge: Edge, failure: Exception, said: str) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    edge.will(recipient.row.host, failure)
    engine.pump()
    delivery.refresh_from_db()
    assert delivery.state == State.PENDING
    assert delivery.last_status is None
    assert said in delivery.last_error


def error_to(sender: factories.Registered) -> dict[str, object]:
    """What the one error message to the sender says."""
    message = Message.objects.get(sent_by="Dmr", send_to=sender.name)
    assert message.model_type == "application/vnd.dmr.error+json;version=1"
    said: dict[str, object] = json.loads(base64.b64decode(bytes(message.payload)))
    assert set(said) == {"message", "status"}
    return said


@pytest.mark.parametrize("status", [300, 302, 400, 404, 413])
def test_other_answers_are_final_and_the_sender_is_told(engine: Engine, edge: Edge, status: int) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    edge.will(recipient.row.host, status)
    engine.pump()
    delivery.refresh_from_db()
    assert delivery.state == State.DEAD
    assert error_to(sender)["status"] == status
    engine.pump()
    to_sender = [(url, headers) for url, _, headers in edge.posted if url == sender.row.host]
    ((_, headers),) = to_sender
    assert headers["X-Sent-By"] == "Dmr"
    assert headers["X-Message-Id-Ref"] == delivery.message.written_id


def test_gives_up_after_the_last_attempt(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient, attempts=retry.MOST_ATTEMPTS - 1)
    edge.will(recipient.row.host, ConnectionRefusedError())
    engine.pump()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (State.DEAD, retry.MOST_ATTEMPTS)
    assert error_to(sender)["status"] == 504


def test_what_has_expired_is_not_attempted(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient, expires_at=timezone.now() - timedelta(seconds=1))
    engine.pump()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (State.EXPIRED, 0)
    assert error_to(sender)["status"] == 504
    assert all(url != recipient.row.host for url, _, _ in edge.posted)


def test_what_expires_while_it_is_claimed_is_not_attempted(
    engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    delivery = factories.delivery(factories.participant(), factories.participant())
    expires_at = timezone.now() + timedelta(seconds=1)
    Delivery.objects.filter(pk=delivery.pk).update(expires_at=expires_at)
    quick = claim.claim

    def slow(*arguments: Any, **more: Any) -> list[Claimed]:
        claimed = quick(*arguments, **more)
        if claimed:
            time.sleep(max(0.0, (expires_at - timezone.now()).total_seconds()))
        return claimed

    monkeypatch.setattr(claim, "claim", slow)
    engine.pump()
    delivery.refresh_from_db()
    assert delivery.state == State.EXPIRED
    assert edge.posted == []


def test_what_expires_while_we_connect_is_not_sent(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    edge.will(recipient.row.host, http.TooLate())
    expires_at = timezone.now() + timedelta(seconds=1)
    Delivery.objects.filter(pk=delivery.pk).update(expires_at=expires_at)
    engine.pump()
    delivery.refresh_from_db()
    assert edge.until == {recipient.row.host: expires_at.timestamp(), **edge.until}
    assert delivery.state == State.EXPIRED
    assert delivery.last_error.startswith("no connection in time")


def test_what_is_addressed_to_a_deleted_participant_is_a_dead_letter(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    registry.remove_participant(recipient.row, actor="tests")
    engine.pump()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (State.DEAD, 0)
    assert error_to(sender)["status"] == 404


def test_much_that_is_addressed_to_a_deleted_participant_holds_up_nobody(
    engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them is ended by itself, as many as a moment has room for; the others go between."""
    monkeypatch.setattr(engine_module, "LONGEST_TURN", 0.0)
    sender, gone, well = factories.participant(), factories.participant(), factories.participant()
    deliveries = [factories.delivery(sender, gone) for _ in range(5)]
    registry.remove_participant(gone.row, actor="tests")
    delivered_before: list[int] = []  # each of them was ended
    end = settle.end_unattempted

    def end_and_accept_another(claimed: Claimed, *arguments: Any) -> None:
        end(claimed, *arguments)
        delivered_before.append(sum(url == well.row.host for url, _, _ in edge.posted))
        factories.message(sender, well.name)

    monkeypatch.setattr(settle, "end_unattempted", end_and_accept_another)
    engine.pump()
    for each in deliveries:
        each.refresh_from_db()
        assert (each.state, each.attempts) == (State.DEAD, 0)
    assert len(delivered_before) == 5, "each is ended once"
    assert delivered_before[-1] >= 3


@pytest.mark.parametrize("status", ["Suspended", "Disabled"])
def test_what_is_addressed_to_a_held_participant_waits(engine: Engine, edge: Edge, status: str) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name)
    registry.set_status([recipient.row], status, actor="tests")
    engine.pump()
    assert edge.posted == []
    registry.set_status([recipient.row], "Active", actor="tests")
    engine.pump()
    assert len(edge.posted) == 1


def test_success_is_what_the_participant_says(engine: Engine, edge: Edge) -> None:
    sender = factories.participant()
    recipient = factories.participant(success_statuses="202,300")
    one, two = factories.delivery(sender, recipient), factories.delivery(sender, recipient)
    edge.will(recipient.row.host, 300, 200)
    engine.pump()
    states = sorted(Delivery.objects.filter(pk__in=[one.pk, two.pk]).values_list("state", flat=True))
    assert states == [State.DEAD, State.DELIVERED]


def test_follows_an_endpoint_that_moved(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name)
    recipient.row.host = "http://moved.invalid/messages"
    registry.update(recipient.row, actor="tests")
    engine.pump()
    assert [url for url, _, _ in edge.posted] == ["http://moved.invalid/messages"]


def test_an_outcome_after_the_lease_was_lost_changes_nothing(engine: Engine, edge: Edge) -> None:
    """Somebody else has the delivery by then; what they make of it stands."""
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    original = edge.post

    async def steal(*arguments: object) -> http.Answer:
        import asyncio

        def take() -> None:
            from django.db import connection

            Delivery.objects.filter(pk=delivery.pk).update(lease_token=1)
            connection.close()

        await asyncio.to_thread(take)
        return await original(*arguments)  # type: ignore[arg-type]

    http.post = steal  # type: ignore[assignment]  # put back by the fixture `edge`
    edge.will(recipient.row.host, 400)
    engine.pump()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.lease_token) == (State.DELIVERING, 1)
    assert not Message.objects.filter(sent_by="Dmr").exists()


def test_an_engine_that_stops_claims_nothing_more(engine: Engine, edge: Edge) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name)
    engine.stop()
    assert engine.pump() is False
    assert edge.posted == []


def test_an_engine_that_closes_hands_back_first(engine: Engine, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in flight when the process ends has not failed, and costs neither an attempt nor the recipient."""
    monkeypatch.setattr(engine_module, "HAND_BACK_SECONDS", 0.2)
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient)
    is_in_flight = threading.Event()

    async def never_answers(session: http.Session, *arguments: object) -> http.Answer:
        is_in_flight.set()
        while not session.connector.closed:
            await asyncio.sleep(0.01)
        raise RuntimeError("Session is closed")

    monkeypatch.setattr(http, "post", never_answers)
    engine.rung()
    assert is_in_flight.wait(5)
    engine.close()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.last_error) == (State.PENDING, 0, "")
    assert not Attempt.objects.exists()
    assert not Breaker.objects.exists()


def test_accepting_wakes(wakes: Wakes, engine: Engine) -> None:
    sender, recipient = factories.participant(), factories.participant()
    before = wakes.count
    factories.message(sender, recipient.name)
    assert wakes.count == before + 1
