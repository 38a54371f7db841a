"""`GET /api/v1/inbox`: what a participant that pulls is handed, under a lease."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from participants import registry
from relay import delivery_keys
from relay.api import inbox
from relay.delivery import attestation, claim, conversations, sweeper
from relay.inbox import answers, leases
from relay.inbox.answers import Refusal
from relay.models import Delivery, Message, State
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Post, metric

pytestmark = pytest.mark.django_db


@pytest.fixture
def fetch(client: Client) -> Callable[..., Any]:
    """`fetch(recipient, limit=10)`: the answer of a poll."""

    def get(recipient: Registered, **query: object) -> Any:
        return client.get(
            "/api/v1/inbox", {name: str(value) for name, value in query.items()}, headers=recipient.auth
        )

    return get


Fetch = Callable[..., Any]


def payloads(answer: Any) -> list[bytes]:
    assert answer.status_code == 200, answer.content
    return [base64.b64decode(each["payload"]) for each in answer.json()["messages"]]


def pulling(**fields: Any) -> Registered:
    return factories.participant(delivery_mode="pull", **fields)


def test_a_message_bears_what_a_push_would(fetch: Fetch, post: Post) -> None:
    sender, recipient = factories.participant(), pulling()
    written = "{3F6D2C1E-8A47-4c0e-9b57-6a1f0e2d4b88}"
    payload = bytes(range(256))
    post(
        sender,
        recipient.name,
        payload,
        X_Message_Id=written,
        X_Message_Id_Ref="some ref",
        X_Model_Type="a;version=1",
        X_Conversation_Id="c1",
    )
    answer = fetch(recipient)
    assert answer["Cache-Control"] == "no-store"
    (message,) = answer.json()["messages"]
    assert (
        message.items()
        >= {
            "messageId": written,
            "messageIdRef": "some ref",
            "sentBy": sender.name,
            "sendTo": recipient.name,
            "modelType": "a;version=1",
            "contentType": "text/plain",
            "conversationId": "c1",
            "room": None,
            "attempt": 1,
        }.items()
    )
    assert base64.b64decode(message["payload"]) == payload
    delivery = Delivery.objects.get()
    assert delivery.state == State.DELIVERING
    assert message["leaseUntil"][:19] == delivery.lease_until.strftime("%Y-%m-%dT%H:%M:%S")  # type: ignore[union-attr]
    assert answer.json()["nextPollSeconds"] == 0


def test_a_message_is_attested_as_a_push_is(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    factories.message(sender, recipient.name, b"\x00signed", conversation="c1")
    (message,) = fetch(recipient).json()["messages"]
    assert (message["attestedSender"], message["attestedRecipient"]) == (sender.name, recipient.name)
    (key,) = delivery_keys.published()
    assert message["attestedKey"] == key.key_id
    signature = base64.b64decode(message["webhookSignature"].removeprefix("v1a,"))
    signed = f"{message['webhookId']}.{message['webhookTimestamp']}.".encode() + b"\x00signed"
    Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public_key)).verify(signature, signed)
    names = {inbox.field_name(header): header for header in attestation.BOUND}
    headers = {header: message[name] for name, header in names.items() if message[name] is not None}
    assert attestation.webhook_id(headers) == message["webhookId"]


def test_what_cannot_be_signed_is_not_handed_out(fetch: Fetch, settings: Any) -> None:
    sender, recipient = factories.participant(), pulling()
    delivery = factories.delivery(sender, recipient)
    delivery_keys.ensure()
    settings.SECRET_KEY = "another secret key than the one that sealed it"
    answer = fetch(recipient)
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:problem-type:dmr:delivery-key-unreadable")
    delivery.refresh_from_db()
    assert delivery.state == State.PENDING


def test_what_the_sender_left_out_is_null(fetch: Fetch, post: Post) -> None:
    sender, recipient = factories.participant(), pulling()
    post(sender, recipient.name)
    (message,) = fetch(recipient).json()["messages"]
    assert [message[name] for name in ("messageIdRef", "modelType", "conversationId", "room")] == [None] * 4


def test_a_message_to_a_room_names_it(fetch: Fetch, client: Client) -> None:
    sender, recipient = factories.participant(), pulling()
    headers = {"X-Api-Key": sender.key, "X-Sent-By": sender.name, "X-Message-Id": "3f6d2c1e8a474c0e9b576a1f0e2d4b88"}
    url = "/api/v1/rooms/national/messages"
    assert client.post(url, b"all", content_type="text/plain", headers=headers).status_code == 202
    (message,) = fetch(recipient).json()["messages"]
    assert (message["room"], message["sendTo"]) == ("national", recipient.name)


def test_what_is_leased_is_nobody_elses(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    factories.message(sender, recipient.name)
    assert len(payloads(fetch(recipient))) == 1
    assert payloads(fetch(recipient)) == []


def test_only_the_own_messages(fetch: Fetch) -> None:
    sender, recipient, other = factories.participant(), pulling(), pulling()
    factories.message(sender, recipient.name)
    assert payloads(fetch(other)) == []


def test_oldest_first_and_no_more_than_asked_for(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    for number in range(5):
        factories.message(sender, recipient.name, b"%d" % number)
    assert payloads(fetch(recipient, limit=2)) == [b"0", b"1"]
    assert payloads(fetch(recipient, limit=1000)) == [b"2", b"3", b"4"]


def test_of_a_conversation_only_the_oldest(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    for payload in (b"first", b"second"):
        factories.message(sender, recipient.name, payload, conversation="c1")
    factories.message(sender, recipient.name, b"alone")
    assert payloads(fetch(recipient)) == [b"first", b"alone"]
    assert payloads(fetch(recipient)) == []
    Delivery.objects.filter(conversation="c1", state=State.DELIVERING).update(state=State.DELIVERED)
    assert payloads(fetch(recipient)) == [b"second"]


def test_the_size_of_an_answer_is_bounded(fetch: Fetch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "MOST_BYTES", 10)
    sender, recipient = factories.participant(), pulling()
    for payload in (b"x" * 11, b"abcdef", b"ghij", b"k", b"l"):
        factories.message(sender, recipient.name, payload)
    assert payloads(fetch(recipient)) == [b"x" * 11], "alone, since it is larger than all"
    assert payloads(fetch(recipient)) == [b"abcdef", b"ghij"]
    assert payloads(fetch(recipient)) == [b"k", b"l"]


def test_what_has_expired_is_never_handed_out(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    delivery = factories.delivery(sender, recipient, expires_at=timezone.now() - timedelta(seconds=1))
    assert payloads(fetch(recipient)) == []
    sweeper.sweep()
    delivery.refresh_from_db()
    assert delivery.state == State.EXPIRED
    assert Message.objects.filter(sent_by="Dmr", send_to=sender.name).count() == 1


def test_what_has_lost_its_payload_ends_as_a_dead_letter(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    delivery = factories.delivery(sender, recipient)
    Message.objects.filter(pk=delivery.message_id).update(payload=b"", payload_deleted_at=timezone.now())
    factories.message(sender, recipient.name, b"whole")
    assert payloads(fetch(recipient, limit=1)) == [b"whole"]
    delivery.refresh_from_db()
    assert delivery.state == State.DEAD


def test_a_lease_that_has_run_out_comes_back(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    factories.message(sender, recipient.name)
    before = metric("dmr_inbox_leases_lost_total")
    (first,) = fetch(recipient, lease=5).json()["messages"]
    sweeper.sweep()
    assert payloads(fetch(recipient)) == [], "the lease still holds"
    Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert sweeper.sweep().returned == 1
    assert metric("dmr_inbox_leases_lost_total") == before + 1
    (second,) = fetch(recipient).json()["messages"]
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert first["lease"] != second["lease"]


@pytest.mark.parametrize(("asked", "got"), [("", 60), ("5", 5), ("600", 600), ("100000", 600)])
def test_the_lease_is_as_long_as_asked(fetch: Fetch, asked: str, got: int) -> None:
    sender, recipient = factories.participant(), pulling()
    delivery = factories.delivery(sender, recipient)
    began = timezone.now()
    fetch(recipient, lease=asked)
    delivery.refresh_from_db()
    assert delivery.lease_until is not None
    assert timedelta(0) <= delivery.lease_until - began - timedelta(seconds=got) < timedelta(seconds=5)


def test_counting_lost_leases_does_not_overflow(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    delivery = factories.delivery(sender, recipient, attempts=30_000)
    assert len(payloads(fetch(recipient))) == 1
    delivery.refresh_from_db()
    assert delivery.attempts == 30_000


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": "x"}, {"limit": -1}, {"wait": "soon"}, {"wait": "1.5"}, {"lease": 4}]
)
def test_bad_values_are_named(fetch: Fetch, query: dict[str, object]) -> None:
    answer = fetch(pulling(), **query)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == list(query)


@pytest.mark.parametrize("status", ["Suspended", "Disabled"])
def test_messages_are_held_from_who_may_not_receive(fetch: Fetch, status: str) -> None:
    sender, recipient = factories.participant(), pulling()
    delivery = factories.delivery(sender, recipient)
    registry.set_status([recipient.row], status, actor="tests")
    answer = fetch(recipient)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:problem-type:dmr:recipient-suspended")
    delivery.refresh_from_db()
    assert delivery.state == State.PENDING
    registry.set_status([recipient.row], "Active", actor="tests")
    assert len(payloads(fetch(recipient))) == 1


def test_what_waits_for_its_next_push_can_be_fetched_at_once(fetch: Fetch) -> None:
    """Its endpoint has failed for hours; now it fetches, and does not wait for hours more."""
    sender, recipient = factories.participant(), factories.participant()
    alone = factories.message(sender, recipient.name, b"alone").deliveries.get()
    first = factories.message(sender, recipient.name, b"first", conversation="c").deliveries.get()
    factories.message(sender, recipient.name, b"second", conversation="c")
    later = timezone.now() + timedelta(hours=6)
    Delivery.objects.filter(pk__in=[alone.pk, first.pk]).update(due_at=later, attempts=7, last_seconds=3.0)
    assert conversations.put_off() == 1
    registry.set_own_delivery_mode(recipient.row.pk, "pull")
    sweeper.sweep()
    answer = fetch(recipient)
    assert payloads(answer) == [b"alone", b"first"]
    given = [each["lease"] for each in answer.json()["messages"]]
    answers.acknowledge(recipient.entry, given)
    assert payloads(fetch(recipient)) == [b"second"]


def test_what_was_handed_back_comes_when_it_was_asked_for(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    factories.message(sender, recipient.name)
    (given,) = fetch(recipient).json()["messages"]
    answers.refuse(recipient.entry, [given["lease"]], Refusal(retry_after=3600))
    sweeper.sweep()
    assert payloads(fetch(recipient)) == []


def test_who_is_pushed_to_has_no_inbox(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name)
    answer = fetch(recipient)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:problem-type:dmr:delivery-mode-is-push")
    assert "/api/v1/my/delivery-mode" in answer.json()["detail"]


def test_head_leases_nothing(client: Client) -> None:
    sender, recipient = factories.participant(), pulling()
    factories.message(sender, recipient.name)
    assert client.head("/api/v1/inbox", headers=recipient.auth).status_code == 405
    assert Delivery.objects.get().state == State.PENDING


def test_without_a_server_that_waits_an_empty_answer_comes_at_once(fetch: Fetch) -> None:
    before = metric("dmr_inbox_polls_total", result="empty")
    answer = fetch(pulling(), wait=25)
    assert payloads(answer) == []
    assert 3 <= answer.json()["nextPollSeconds"] == int(answer["Retry-After"]) <= 8
    assert metric("dmr_inbox_polls_total", result="empty") == before + 1


def test_polls_and_leases_are_counted(fetch: Fetch) -> None:
    sender, recipient = factories.participant(), pulling()
    for _ in range(3):
        factories.message(sender, recipient.name)
    before = metric("dmr_inbox_leased_total"), metric("dmr_inbox_polls_total", result="messages")
    fetch(recipient)
    assert metric("dmr_inbox_leased_total") == before[0] + 3
    assert metric("dmr_inbox_polls_total", result="messages") == before[1] + 1


def test_pumps_leave_it_alone(fetch: Fetch) -> None:
    sender, recipient, other = factories.participant(), pulling(), factories.participant()
    factories.message(sender, recipient.name, b"pulled")
    pushed = factories.message(sender, other.name)
    assert [each.written_id for each in claim.claim(100)] == [pushed.written_id]
    later = timezone.now() + timedelta(seconds=3)
    Delivery.objects.filter(recipient=recipient.row).update(due_at=later)
    assert claim.next_due(timezone.now(), timedelta(seconds=6)) is None
    Delivery.objects.filter(recipient=recipient.row).update(due_at=timezone.now())
    assert payloads(fetch(recipient)) == [b"pulled"]


def test_who_has_something_is_told_in_one_query(django_assert_num_queries: Any) -> None:
    sender = factories.participant()
    waiting, later, expired, leased, behind, pushed, suspended, empty = (pulling() for _ in range(8))
    for each in (waiting, later, expired, leased, pushed, suspended):
        factories.message(sender, each.name)
    now = timezone.now()
    Delivery.objects.filter(recipient=later.row).update(due_at=now + timedelta(seconds=60))
    Delivery.objects.filter(recipient=expired.row).update(expires_at=now)
    leases.hand_out(leased.entry, most=10, seconds=60)
    for _ in range(2):
        factories.message(sender, behind.name, conversation="c1")
    leases.hand_out(behind.entry, most=10, seconds=60)
    registry.set_own_delivery_mode(pushed.row.pk, "push")
    registry.set_status([suspended.row], "Suspended", actor="tests")
    everybody = {each.row.pk for each in (waiting, later, expired, leased, behind, pushed, suspended, empty)}
    with CaptureQueriesContext(connection) as asked:
        assert leases.with_something(everybody) == {waiting.row.pk}
    assert sum("relay_delivery" in each["sql"] for each in asked) == 1, asked.captured_queries
    assert len(asked) <= 4, "the rest tells PostgreSQL how to plan it, in a transaction"
    with django_assert_num_queries(0):
        assert leases.with_something(set()) == set()


def test_what_is_new_is_seen_behind_much_that_cannot_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of conversations whose first messages are leased; else a poll that waits would not be woken."""
    monkeypatch.setattr(leases, "ROWS_LOOKED_AT", 3)
    sender, recipient = factories.participant(), pulling()
    for conversation in ("c1", "c2"):
        for _ in range(4):
            factories.message(sender, recipient.name, conversation=conversation)
    assert len(leases.hand_out(recipient.entry, most=10, seconds=60)) == 2
    assert leases.with_something([recipient.row.pk]) == set()
    factories.message(sender, recipient.name)
    assert leases.with_something([recipient.row.pk]) == {recipient.row.pk}


def test_who_has_nothing_waiting_is_looked_at_once() -> None:
    recipient = pulling().entry
    with CaptureQueriesContext(connection) as asked:
        assert leases.hand_out(recipient, most=5, seconds=60) == []
    assert sum("UPDATE relay_delivery" in each["sql"] for each in asked) == 1, asked.captured_queries


@pytest.mark.django_db(transaction=True)
def test_two_polls_at_once_share_nothing() -> None:
    sender, recipient = factories.participant(), pulling()
    for number in range(40):
        factories.message(sender, recipient.name, conversation=f"c{number % 10}" if number % 2 else "")
    entry, taken = recipient.entry, []

    def poll() -> None:
        try:
            for _ in range(4):
                taken.extend(each.claimed.id for each in leases.hand_out(entry, most=5, seconds=60))
        finally:
            connection.close()

    threads = [threading.Thread(target=poll) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(taken) == len(set(taken)) == 25, "20 alone, and the head of each of 5 conversations"
