"""`POST /api/v1/inbox/ack` and `/nack`: what recipients say of messages that they have fetched."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from participants import registry
from relay import receipts, retention
from relay.delivery import claim, dead_letter, retry, sweeper
from relay.delivery.leases import hand_back
from relay.inbox import leases
from relay.models import Attempt, Breaker, Delivery, Message, PayloadDue, State
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import metric

pytestmark = pytest.mark.django_db


@pytest.fixture
def sender() -> Registered:
    return factories.participant()


@pytest.fixture
def recipient() -> Registered:
    return factories.participant(delivery_mode="pull")


def fetch(recipient: Registered, most: int = 100) -> list[str]:
    """The leases of what it is handed."""
    return [str(each.handle) for each in leases.hand_out(recipient.entry, most=most, seconds=60)]


def say(client: Client, word: str, recipient: Registered, said: object) -> Any:
    return client.post(f"/api/v1/inbox/{word}", said, content_type="application/json", headers=recipient.auth)


def results(answer: Any) -> list[tuple[str, int]]:
    assert answer.status_code == 200, answer.content
    return [(each["result"], each["status"]) for each in answer.json()["results"]]


def ack(client: Client, recipient: Registered, *given: str) -> list[tuple[str, int]]:
    return results(say(client, "ack", recipient, {"leases": given}))


def nack(client: Client, recipient: Registered, *given: str, **more: object) -> list[tuple[str, int]]:
    return results(say(client, "nack", recipient, {"leases": given, **more}))


def told(sender: Registered) -> dict[str, Any]:
    """The one error message to the sender."""
    message = Message.objects.get(sent_by="Dmr", send_to=sender.name)
    said: dict[str, Any] = json.loads(base64.b64decode(bytes(message.payload)))
    return said


# -- ack --


def test_an_acknowledged_message_is_delivered(client: Client, sender: Registered, recipient: Registered) -> None:
    rows = [factories.delivery(sender, recipient) for _ in range(3)]
    before = {
        name: metric(name, **labels)
        for name, labels in (
            ("dmr_inbox_settled_total", {"result": "delivered"}),
            ("dmr_deliveries_settled_total", {"state": "delivered"}),
            ("dmr_delivery_attempts_total", {"result": "success"}),
            ("dmr_delivery_latency_seconds_count", {}),
        )
    }
    held = fetch(recipient)
    answer = say(client, "ack", recipient, {"leases": held})
    assert [each["lease"] for each in answer.json()["results"]] == held, "in their order"
    assert results(answer) == [("delivered", 200)] * 3
    for row in rows:
        row.refresh_from_db()
        assert (row.state, row.attempts, row.lease_until, row.last_error) == (State.DELIVERED, 1, None, "")
        assert row.delivered_at == row.ended_at is not None
        assert PayloadDue.objects.get(message=row.message_id).due_at == row.ended_at + timedelta(hours=24)
    assert metric("dmr_inbox_settled_total", result="delivered") == before["dmr_inbox_settled_total"] + 3
    assert metric("dmr_deliveries_settled_total", state="delivered") == before["dmr_deliveries_settled_total"] + 3
    assert metric("dmr_delivery_attempts_total", result="success") == before["dmr_delivery_attempts_total"] + 3
    assert metric("dmr_delivery_latency_seconds_count") == before["dmr_delivery_latency_seconds_count"] + 3
    assert not Attempt.objects.exists()


def test_a_sender_that_wants_a_receipt_gets_one(client: Client, recipient: Registered) -> None:
    sender = factories.participant(wants_receipts=True)
    message = factories.message(sender, recipient.name)
    (held,) = fetch(recipient)
    for _ in range(2):
        ack(client, recipient, held)
    receipt = Message.objects.get(model_type=receipts.MODEL_TYPE)
    assert (receipt.send_to, receipt.written_ref) == (sender.name, message.written_id)
    said = json.loads(base64.b64decode(bytes(receipt.payload)))
    assert (said["messageId"], said["recipient"], said["status"]) == (message.written_id, recipient.name, None)
    factories.message(factories.participant(), recipient.name)
    ack(client, recipient, *fetch(recipient))
    assert Message.objects.filter(model_type=receipts.MODEL_TYPE).count() == 1


def test_the_payload_goes_when_its_rooms_retention_is_over(client: Client) -> None:
    brief = factories.room(retention=0)
    sender = factories.participant(rooms=[brief])
    recipient = factories.participant(rooms=[brief], delivery_mode="pull")
    message = factories.message(sender, recipient.name)
    ack(client, recipient, *fetch(recipient))
    retention.run()
    message.refresh_from_db()
    assert message.payload_deleted_at is not None


def test_the_same_again_gets_the_same_answer(client: Client, sender: Registered, recipient: Registered) -> None:
    delivery = factories.delivery(sender, recipient)
    (held,) = fetch(recipient)
    assert ack(client, recipient, held, held) == [("delivered", 200)] * 2
    delivery.refresh_from_db()
    first = delivery.delivered_at
    settled = metric("dmr_deliveries_settled_total", state="delivered")
    assert ack(client, recipient, held) == [("delivered", 200)]
    delivery.refresh_from_db()
    assert delivery.delivered_at == first
    assert metric("dmr_deliveries_settled_total", state="delivered") == settled


def test_late_but_before_anybody_noticed_is_in_time(
    client: Client, sender: Registered, recipient: Registered
) -> None:
    factories.message(sender, recipient.name)
    (held,) = fetch(recipient)
    Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert ack(client, recipient, held) == [("delivered", 200)]
    assert sweeper.sweep().returned == 0


def test_a_lost_lease_is_told_and_changes_nothing(client: Client, sender: Registered, recipient: Registered) -> None:
    delivery = factories.delivery(sender, recipient)
    (held,) = fetch(recipient)
    Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    sweeper.sweep()
    assert ack(client, recipient, held) == [("lost", 409)]
    assert nack(client, recipient, held) == [("lost", 409)]
    (again,) = fetch(recipient)
    assert ack(client, recipient, held, again) == [("lost", 409), ("delivered", 200)]
    assert ack(client, recipient, held) == [("lost", 409)], "delivered, but by the other lease"
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts) == (State.DELIVERED, 2)


@pytest.mark.parametrize("lease", ["", "x", "1-", "-1", "ffffffffffffffff-1", "0-0", "1-1-1", "A-1", "1-\x00"])
def test_what_is_no_lease_is_unknown(client: Client, recipient: Registered, lease: str) -> None:
    assert ack(client, recipient, lease) == [("unknown", 404)]


def test_somebody_elses_lease_is_unknown(client: Client, sender: Registered, recipient: Registered) -> None:
    delivery = factories.delivery(sender, recipient)
    (held,) = fetch(recipient)
    other = factories.participant(delivery_mode="pull")
    for who in (other, sender):
        assert ack(client, who, held) == [("unknown", 404)]
        assert nack(client, who, held, final=True) == [("unknown", 404)]
    delivery.refresh_from_db()
    assert delivery.state == State.DELIVERING


def test_a_pumps_claim_is_no_lease_of_the_recipients(client: Client, sender: Registered) -> None:
    recipient = factories.participant()
    delivery = factories.delivery(sender, recipient)
    claim.claim(10)
    assert ack(client, recipient, f"{delivery.pk:x}-1") == [("lost", 409)]


# -- nack --


def test_handed_back_it_comes_again_by_the_policy(client: Client, sender: Registered, recipient: Registered) -> None:
    delivery = factories.delivery(sender, recipient)
    settled = metric("dmr_inbox_settled_total", result="returned")
    (held,) = fetch(recipient)
    began = timezone.now()
    assert nack(client, recipient, held, reason="busy") == [("returned", 200)]
    assert metric("dmr_inbox_settled_total", result="returned") == settled + 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.attempts, delivery.ended_at) == (State.PENDING, 1, None)
    assert timedelta(seconds=1) <= delivery.due_at - began <= timedelta(seconds=3)
    assert delivery.last_error == "the recipient handed it back: busy"
    attempt = Attempt.objects.get()
    assert (attempt.number, attempt.status, attempt.error) == (1, None, "the recipient handed it back: busy")
    assert fetch(recipient) == []
    Delivery.objects.update(due_at=timezone.now())
    assert len(fetch(recipient)) == 1
    assert not Message.objects.filter(sent_by="Dmr").exists()
    assert not Breaker.objects.exists(), "a recipient that says no is a recipient that is there"


def test_handed_back_it_comes_no_sooner_than_asked(client: Client, sender: Registered, recipient: Registered) -> None:
    delivery = factories.delivery(sender, recipient)
    nack(client, recipient, *fetch(recipient), retryAfter=300)
    delivery.refresh_from_db()
    assert timedelta(seconds=299) < delivery.due_at - timezone.now() <= timedelta(seconds=300)


def test_within_a_conversation_the_next_waits_for_what_was_handed_back(
    client: Client, sender: Registered, recipient: Registered
) -> None:
    for _ in range(2):
        factories.message(sender, recipient.name, conversation="c1")
    nack(client, recipient, *fetch(recipient))
    assert fetch(recipient) == []
    Delivery.objects.update(due_at=timezone.now())
    (first,) = fetch(recipient)
    ack(client, recipient, first)
    assert len(fetch(recipient)) == 1


def test_the_tenth_time_it_is_a_dead_letter(client: Client, sender: Registered, recipient: Registered) -> None:
    delivery = factories.delivery(sender, recipient, attempts=retry.MOST_ATTEMPTS - 1)
    assert nack(client, recipient, *fetch(recipient)) == [("dead", 200)]
    delivery.refresh_from_db()
    assert delivery.state == State.DEAD
    assert told(sender)["status"] == 504
    assert "gave up after 10 attempts" in told(sender)["message"]


def test_beyond_its_time_to_live_it_expires(client: Client, sender: Registered, recipient: Registered) -> None:
    factories.delivery(sender, recipient, expires_at=timezone.now() + timedelta(seconds=30))
    assert nack(client, recipient, *fetch(recipient), retryAfter=60) == [("expired", 200)]
    assert told(sender)["status"] == 504


def test_refused_for_good_its_sender_is_told(client: Client, sender: Registered, recipient: Registered) -> None:
    delivery = factories.delivery(sender, recipient)
    before = metric("dmr_inbox_settled_total", result="dead"), metric("dmr_deliveries_settled_total", state="dead")
    (held,) = fetch(recipient)
    assert nack(client, recipient, held, final=True, reason="sellist teenust pole") == [("dead", 200)]
    assert metric("dmr_inbox_settled_total", result="dead") == before[0] + 1
    assert metric("dmr_deliveries_settled_total", state="dead") == before[1] + 1
    delivery.refresh_from_db()
    assert (delivery.state, delivery.last_status) == (State.DEAD, 422)
    assert told(sender) == {
        "status": 422,
        "message": "Not delivered: the recipient refused it: sellist teenust pole, which is final.",
    }
    assert nack(client, recipient, held, final=True) == [("dead", 200)], "said twice, the same answer"
    assert Message.objects.filter(sent_by="Dmr").count() == 1
    assert dead_letter.requeue(Delivery.objects.all()) == 1
    assert len(fetch(recipient)) == 1


def test_a_reason_that_repeats_the_payload_is_kept_nowhere(
    client: Client, sender: Registered, recipient: Registered
) -> None:
    payload = b"the whole of a citizen's secret, long enough to be found"
    factories.message(sender, recipient.name, payload)
    nack(client, recipient, *fetch(recipient), final=True, reason=f"cannot read {payload.decode()}")
    assert "citizen" not in told(sender)["message"]
    assert "citizen" not in Delivery.objects.get(recipient=recipient.row).last_error
    assert "citizen" not in Attempt.objects.get().error


def test_one_word_for_each_lease(client: Client, sender: Registered, recipient: Registered) -> None:
    """What was acknowledged cannot be handed back, nor the other way round."""
    for _ in range(2):
        factories.message(sender, recipient.name)
    one, other = fetch(recipient)
    ack(client, recipient, one)
    nack(client, recipient, other)
    assert nack(client, recipient, one, other) == [("lost", 409), ("returned", 200)]
    assert ack(client, recipient, one, other) == [("delivered", 200), ("lost", 409)]
    assert Attempt.objects.count() == 1


@pytest.mark.parametrize(
    ("word", "said", "field"),
    [
        ("ack", {}, "leases"),
        ("ack", {"leases": []}, "leases"),
        ("ack", {"leases": "1-1"}, "leases"),
        ("ack", {"leases": [1]}, "leases"),
        ("ack", {"leases": ["1-1"] * 501}, "leases"),
        ("ack", {"leases": ["1-1", "\ud800"]}, "leases"),
        ("nack", {"leases": ["\ud800"]}, "leases"),
        ("nack", {"leases": ["1-1"], "retryAfter": -1}, "retryAfter"),
        ("nack", {"leases": ["1-1"], "retryAfter": True}, "retryAfter"),
        ("nack", {"leases": ["1-1"], "retryAfter": 1e400}, "retryAfter"),
        ("nack", {"leases": ["1-1"], "final": 1}, "final"),
        ("nack", {"leases": ["1-1"], "reason": "x" * 201}, "reason"),
        ("nack", {"leases": ["1-1"], "reason": "two\nlines"}, "reason"),
        ("nack", {"leases": ["1-1"], "reason": "\x00"}, "reason"),
        ("nack", {"leases": ["1-1"], "reason": "a\u2028b"}, "reason"),
        ("nack", {"leases": ["1-1"], "reason": "a line's end\n"}, "reason"),
        ("nack", {"leases": ["1-1"], "reason": "\u202edneirf"}, "reason"),
        ("nack", {"leases": ["1-1"], "reason": "\ud800"}, "reason"),
        ("nack", {"leases": ["1-1"], "reason": 5}, "reason"),
    ],
)
def test_bad_fields_are_named(
    client: Client, recipient: Registered, word: str, said: dict[str, object], field: str
) -> None:
    written = json.dumps(said).replace("Infinity", "1e400")
    answer = say(client, word, recipient, written)
    assert answer.status_code == 400, answer.content
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("status", ["Suspended", "Disabled"])
def test_who_may_not_receive_settles_nothing(
    client: Client, sender: Registered, recipient: Registered, status: str
) -> None:
    delivery = factories.delivery(sender, recipient)
    (held,) = fetch(recipient)
    registry.set_status([recipient.row], status, actor="tests")
    for word in ("ack", "nack"):
        assert say(client, word, recipient, {"leases": [held], "final": True}).status_code == 403
    delivery.refresh_from_db()
    assert delivery.state == State.DELIVERING


# -- changing how messages come --


def test_changing_to_push_loses_nothing(client: Client, sender: Registered, recipient: Registered) -> None:
    fetched, waiting = factories.delivery(sender, recipient), factories.delivery(sender, recipient)
    (held,) = fetch(recipient, most=1)
    registry.set_own_delivery_mode(recipient.row.pk, "push")
    assert [each.id for each in claim.claim(10)] == [waiting.pk], "what is fetched is in flight"
    assert ack(client, recipient, held) == [("delivered", 200)]
    fetched.refresh_from_db()
    assert fetched.state == State.DELIVERED


def test_changing_to_push_with_a_lease_that_is_lost(sender: Registered, recipient: Registered) -> None:
    delivery = factories.delivery(sender, recipient)
    fetch(recipient)
    registry.set_own_delivery_mode(recipient.row.pk, "push")
    Delivery.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert sweeper.sweep().returned == 1
    assert [each.id for each in claim.claim(10)] == [delivery.pk]


def test_changing_to_pull_with_attempts_under_way(sender: Registered) -> None:
    recipient = factories.participant()
    delivery = factories.delivery(sender, recipient)
    claimed = claim.claim(10)
    registry.set_own_delivery_mode(recipient.row.pk, "pull")
    assert fetch(recipient) == [], "the attempt is under way"
    hand_back(claimed)
    assert len(fetch(recipient)) == 1
    delivery.refresh_from_db()
    assert delivery.attempts == 1


def test_a_breaker_is_for_pushing_alone(sender: Registered, recipient: Registered) -> None:
    Breaker.objects.create(recipient=recipient.row, state=Breaker.State.PARKED)
    factories.message(sender, recipient.name)
    assert len(fetch(recipient)) == 1


def test_the_status_page_follows(client: Client, sender: Registered, recipient: Registered) -> None:
    message = factories.message(sender, recipient.name)

    def state() -> tuple[str, int]:
        seen = client.get(f"/messages/{message.written_id}", headers=sender.auth).json()
        return seen["state"], seen["deliveries"][0]["attempts"]

    assert state() == ("pending", 0)
    (held,) = fetch(recipient)
    assert state() == ("delivering", 1)
    ack(client, recipient, held)
    assert state() == ("delivered", 1)
