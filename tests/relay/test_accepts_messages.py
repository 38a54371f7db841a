"""POST /messages: what is stored, and what is answered."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from participants import registry
from relay.models import Delivery, Message, State
from tests import factories
from tests.relay.conftest import Post

pytestmark = pytest.mark.django_db
Committed = Callable[[], Any]


def test_stores_then_answers_202_and_wakes(post: Post, wakes: Any, committed: Committed) -> None:
    sender, recipient = factories.participant(), factories.participant()
    written = "{" + str(uuid.uuid4()).upper() + "}"
    with committed():
        answer = post(sender, recipient.name, b"\x00\xff", X_Message_Id=written, X_Model_Type="m", TTL="60")
        assert wakes.count == 0
    assert wakes.count == 1
    assert answer.status_code == 202
    body = answer.json()
    assert body["messageId"] == written
    message = Message.objects.get()
    assert (bytes(message.payload), message.payload_size, message.model_type) == (b"\x00\xff", 2, "m")
    assert message.expires_at - message.accepted_at == timedelta(seconds=60)
    assert message.room is not None
    assert message.room.name == "national"
    delivery = message.deliveries.get()
    assert (delivery.state, delivery.attempts, delivery.recipient_id) == (State.PENDING, 0, recipient.row.pk)
    assert body["acceptedAt"].endswith("Z")


def test_time_to_live_is_at_most_the_rooms(post: Post) -> None:
    short = factories.room(time_to_live=10)
    sender, recipient = factories.participant(rooms=[short]), factories.participant(rooms=[short])
    for ttl, seconds in (("5", 5), ("3600", 10), (None, 10)):
        assert post(sender, recipient.name, TTL=ttl).status_code == 202
        message = Message.objects.latest("id")
        assert message.expires_at - message.accepted_at == timedelta(seconds=seconds), ttl


def test_payload_limit_is_the_shared_rooms(post: Post) -> None:
    small, large = factories.room(payload_limit=10), factories.room(payload_limit=100)
    sender = factories.participant(rooms=[small, large])
    near, far = factories.participant(rooms=[small]), factories.participant(rooms=[large])
    assert post(sender, near.name, b"x" * 10).status_code == 202
    assert post(sender, far.name, b"x" * 100).status_code == 202
    for recipient, size in ((near, 11), (far, 101)):
        answer = post(sender, recipient.name, b"x" * size)
        assert answer.status_code == 413
        assert answer.json()["type"] == "urn:problem-type:dmr:payload-too-large"
    assert Message.objects.count() == 2


@pytest.mark.parametrize("header", ["X_Sent_By", "X_Send_To", "X_Message_Id"])
def test_missing_header_is_named(post: Post, header: str) -> None:
    sender, recipient = factories.participant(), factories.participant()
    answer = post(sender, recipient.name, **{header: None})
    assert answer.status_code == 400
    problem = answer.json()
    assert problem["type"] == "urn:problem-type:dmr:invalid-header"
    assert [each["header"] for each in problem["errors"]] == [header.replace("_", "-")]
    assert not Message.objects.exists()


@pytest.mark.parametrize("send_to", ["nobody", "Dmr", "dmr-relay", "classifier", "BOT-KNOWN"])
def test_unknown_recipient_is_a_dead_letter_at_once(post: Post, send_to: str) -> None:
    sender = factories.participant()
    factories.participant("bot-known")
    answer = post(sender, send_to)
    assert answer.status_code == 202
    delivery = Delivery.objects.get(message__written_id=answer.json()["messageId"])
    assert (delivery.state, delivery.recipient_id) == (State.DEAD, None)
    told = Message.objects.get(sent_by="Dmr")
    assert (told.send_to, told.written_ref) == (sender.name, answer.json()["messageId"])


def test_recipient_in_no_shared_room_is_a_dead_letter_at_once(post: Post) -> None:
    sender, recipient = factories.participant(), factories.participant(rooms=[factories.room()])
    assert post(sender, recipient.name).status_code == 202
    assert Delivery.objects.get(recipient=recipient.row).state == State.DEAD


def test_classifier_without_any_is_a_dead_letter(post: Post) -> None:
    sender = factories.participant()
    factories.participant(type="Classifier", rooms=[factories.room()])
    assert post(sender, "Classifier").status_code == 202
    assert Delivery.objects.get(recipient_name="Classifier").state == State.DEAD


def test_classifier_is_an_active_one_of_the_senders_rooms(post: Post) -> None:
    sender = factories.participant()
    resting = factories.participant(type="Classifier")
    registry.set_status([resting.row], "Disabled", actor="tests")
    chosen = factories.participant(type="Classifier")
    for _ in range(5):
        post(sender, "Classifier")
    assert set(Delivery.objects.values_list("recipient_id", flat=True)) == {chosen.row.pk}
    registry.set_status([chosen.row], "Disabled", actor="tests")
    assert post(sender, "Classifier").status_code == 202
    assert Delivery.objects.latest("id").state == State.PENDING, "held until one of them is back"


def test_message_to_itself_is_delivered(post: Post) -> None:
    sender = factories.participant()
    assert post(sender, sender.name).status_code == 202
    assert Delivery.objects.get().state == State.PENDING


def test_repeat_gets_the_first_answer(post: Post) -> None:
    sender, recipient = factories.participant(), factories.participant()
    message_id = str(uuid.uuid4())
    one = post(sender, recipient.name, X_Message_Id=message_id)
    two = post(sender, recipient.name, X_Message_Id=message_id.replace("-", "").upper())
    assert (one.status_code, two.status_code) == (202, 202)
    assert one.json() == two.json()
    assert Delivery.objects.count() == 1


def test_repeat_with_other_content_is_409(post: Post) -> None:
    sender, recipient, other = (factories.participant() for _ in range(3))
    message_id = str(uuid.uuid4())
    post(sender, recipient.name, b"one", X_Message_Id=message_id)
    for answer in (
        post(sender, recipient.name, b"two", X_Message_Id=message_id),
        post(sender, other.name, b"one", X_Message_Id=message_id),
        post(sender, recipient.name, b"one", X_Message_Id=message_id, X_Model_Type="m"),
    ):
        assert answer.status_code == 409
        assert answer.json()["type"] == "urn:problem-type:dmr:message-id-conflict"


@pytest.mark.parametrize("status", ["Suspended", "Disabled"])
def test_sender_that_is_not_active_is_refused_at_once(post: Post, status: str) -> None:
    sender, recipient = factories.participant(), factories.participant()
    assert post(sender, recipient.name).status_code == 202
    registry.set_status([sender.row], status, actor="tests")
    assert post(sender, recipient.name).status_code == 403
    registry.set_status([sender.row], "Active", actor="tests")
    assert post(sender, recipient.name).status_code == 202


def test_deleted_sender_has_no_valid_key(post: Post) -> None:
    sender, recipient = factories.participant(), factories.participant()
    registry.remove_participant(sender.row, actor="tests")
    assert post(sender, recipient.name).status_code == 401


def test_key_counts_until_it_expires_or_is_revoked(post: Post) -> None:
    sender, recipient = factories.participant(), factories.participant()
    soon, clear = registry.issue_key(
        sender.row, actor="tests", expires_at=timezone.now() + timedelta(milliseconds=300)
    )
    assert post(sender, recipient.name, X_Api_Key=clear).status_code == 202
    assert post(sender, recipient.name).status_code == 202, "several keys may overlap"
    import time

    time.sleep(0.35)
    assert post(sender, recipient.name, X_Api_Key=clear).status_code == 401
    first = sender.row.keys.exclude(pk=soon.pk).get()
    assert first.last_used_at is not None
    registry.revoke_key(first, actor="tests")
    assert post(sender, recipient.name).status_code == 401


def test_chunked_body_is_refused(post: Post) -> None:
    sender, recipient = factories.participant(), factories.participant()
    assert post(sender, recipient.name, Transfer_Encoding="chunked").status_code == 411
    assert not Message.objects.exists()


def test_tells_what_became_of_a_message(client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    delivery = factories.delivery(sender, recipient, attempts=2, last_status=500, last_error="it failed")
    said = client.get(f"/messages/{delivery.message.written_id}", headers=sender.auth).json()
    assert said["messageId"] == delivery.message.written_id
    assert said["state"] == "pending"
    (one,) = said["deliveries"]
    assert set(one) >= {"recipient", "state", "attempts", "nextAttemptAt", "deliveredAt", "lastStatus", "lastError"}
    assert (one["recipient"], one["attempts"], one["lastStatus"]) == (recipient.name, 2, 500)
    assert one["nextAttemptAt"].endswith("Z")
    assert one["deliveredAt"] is None
    for written in (str(uuid.uuid4()), "no-uuid", "%00"):
        answer = client.get(f"/messages/{written}", headers=sender.auth)
        assert answer.status_code == 404, written


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_405(client: Client, method: str) -> None:
    sender = factories.participant()
    answer = client.generic(method, "/messages", headers=sender.auth)
    assert answer.status_code == 405
    assert answer["Content-Type"] == "application/problem+json"
