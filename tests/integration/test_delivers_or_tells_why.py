"""The relay's stories, each with its end, on the running product with real recipients."""

from __future__ import annotations

import base64
import json
import secrets
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.product import STAFF_KEY, Participant, Product, wait_until
from tests.integration.sinks import Received, Reply, Sink, always, first
from tests.servers import free_port

MakeSink = Callable[..., Sink]
ERROR = "application/vnd.dmr.error+json;version=1"


class Bot:
    """A participant and the recipient behind it."""

    def __init__(self, product: Product, sink: Sink, **fields: str) -> None:
        self.sink = sink
        self.participant = product.register(sink.url, **fields)

    @property
    def name(self) -> str:
        return self.participant.name


@pytest.fixture
def bot(product: Product, sink: MakeSink) -> Callable[..., Bot]:
    return lambda behaviour=None, **fields: Bot(product, sink(behaviour), **fields)


def error_of(received: Received) -> dict[str, Any]:
    assert received.headers["X-Model-Type"] == ERROR
    said: dict[str, Any] = json.loads(base64.b64decode(received.body, validate=True))
    return said


def test_forwards_headers_and_every_byte(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot()
    payload = bytes(range(256)) * 3
    ref = str(uuid.uuid4())
    written = str(uuid.uuid4()).upper()
    message_id = product.send(
        sender.participant,
        recipient.name,
        payload,
        message_id=written,
        X_Message_Id_Ref=ref,
        X_Model_Type="application/vnd.mockbot.messageacknowledge+json;version=1",
        Content_Type="application/x-anything; charset=none",
    )
    got = recipient.sink.wait_for(written)
    assert message_id == written
    assert got.body == payload
    assert got.headers["X-Sent-By"] == sender.name
    assert got.headers["X-Send-To"] == recipient.name
    assert got.headers["X-Message-Id-Ref"] == ref
    assert got.headers["X-Model-Type"] == "application/vnd.mockbot.messageacknowledge+json;version=1"
    assert got.headers["Content-Type"] == "application/x-anything; charset=none"
    assert "X-Api-Key" not in got.headers
    status = product.wait_for_end(sender.participant, written)
    assert status["state"] == "delivered"
    assert status["deliveries"][0]["attempts"] == 1
    assert len(recipient.sink.received) == 1


def test_a_batch_forwards_every_byte_in_order(product: Product, bot: Callable[..., Bot]) -> None:
    """Larger than what is read for a stranger."""
    sender, recipient = bot(), bot()
    payloads = {str(uuid.uuid4()): secrets.token_bytes(10_000) + b"\n" for _ in range(20)}
    body = b""
    for message_id, payload in payloads.items():
        headers = {
            "X-Sent-By": sender.name,
            "X-Send-To": recipient.name,
            "X-Message-Id": message_id,
            "X-Conversation-Id": "in order",
            "Content-Length": len(payload),
        }
        body += json.dumps(headers).encode() + b"\n" + payload + b"\n"
    answer = product.call("/api/v1/messages/batch", "POST", body, X_Api_Key=sender.participant.key)
    assert (answer.status, answer.json()["accepted"]) == (202, 20)
    wait_until(lambda: len(recipient.sink.received) >= 20, 15, "all of the batch arrive")
    assert {each.id: each.body for each in recipient.sink.received} == payloads
    assert [each.id for each in recipient.sink.received] == list(payloads)
    assert product.call("/api/v1/messages/batch", "POST", body, X_Api_Key="no key of anybody").status == 401


def test_delivers_an_empty_payload(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot()
    message_id = product.send(sender.participant, recipient.name, b"")
    assert recipient.sink.wait_for(message_id).body == b""
    assert recipient.sink.received[0].headers["Content-Type"] == "text/plain"


def test_unknown_recipient_is_told_to_the_sender(product: Product, bot: Callable[..., Bot]) -> None:
    sender = bot()
    message_id = product.send(sender.participant, "nobody-at-all")
    told = sender.sink.wait_for_error(message_id)
    assert told.headers["X-Sent-By"] == "Dmr"
    assert told.headers["X-Send-To"] == sender.name
    assert uuid.UUID(told.id) != uuid.UUID(message_id)
    said = error_of(told)
    assert said["status"] == 404
    assert "nobody-at-all" in said["message"]
    assert product.status_of(sender.participant, message_id)["state"] == "dead"


def test_recipient_outside_every_shared_room_is_told(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot()
    product.shell(
        "from participants import rooms; from participants.models import Participant, Room\n"
        f"row = Participant.objects.get(name={recipient.name!r})\n"
        "rooms.leave(Room.objects.get(name='national'), row, actor='tests')"
    )
    message_id = product.send(sender.participant, recipient.name)
    assert error_of(sender.sink.wait_for_error(message_id))["status"] == 403
    assert product.status_of(sender.participant, message_id)["state"] == "dead"
    assert recipient.sink.received == []


def test_classifier_gets_what_is_sent_to_classifier(product: Product, bot: Callable[..., Bot]) -> None:
    sender, other = bot(), bot()
    classifier = bot(type="Classifier")
    message_id = product.send(sender.participant, "Classifier", b"question")
    assert classifier.sink.wait_for(message_id).headers["X-Send-To"] == "Classifier"
    answered = product.send(
        classifier.participant, sender.name, b"class", X_Sent_By="Classifier", X_Message_Id_Ref=message_id
    )
    assert sender.sink.wait_for(answered).headers["X-Sent-By"] == "Classifier"
    assert other.sink.received == []
    # Out of the way of other tests, to which Classifier means any.
    product.call(f"/centops/admin/participants/{classifier.participant.id}", "DELETE", X_Api_Key=STAFF_KEY)


def test_suspended_sender_is_refused_and_suspended_recipient_waits(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot()

    def set_status(status: str) -> None:
        product.shell(
            "from participants import registry; from participants.models import Participant\n"
            f"rows = Participant.objects.filter(name={recipient.name!r})\n"
            f"registry.set_status(rows, {status!r}, actor='tests')"
        )

    set_status("Suspended")
    refused = product.post(recipient.participant, sender.name)
    assert refused.status == 403
    assert refused.json()["type"] == "urn:problem-type:dmr:sender-suspended"
    message_id = product.send(sender.participant, recipient.name)
    own_wish = product.call(
        "/centops/public/participants/my/state", "POST", b'"Active"', X_Api_Key=recipient.participant.key
    )
    assert own_wish.status == 403
    set_status("Active")
    recipient.sink.wait_for(message_id, 12)
    product.wait_for_end(sender.participant, message_id)
    assert len(recipient.sink.received) == 1


def test_what_is_sent_into_an_outage_is_held_and_delivered_when_it_is_over(
    product: Product, bot: Callable[..., Bot]
) -> None:
    """Announced by the recipient itself; its end counts within 5 s."""
    sender, recipient = bot(), bot()
    key = recipient.participant.key
    told = product.call(
        "/api/v1/outages",
        "POST",
        json.dumps({"kind": "unplanned", "text": {"et": "Oleme väljas."}}).encode(),
        X_Api_Key=key,
        Content_Type="application/json",
    )
    assert told.status == 201
    held = product.send(sender.participant, recipient.name)
    # What another gets, accepted later, shows that a pump has come past.
    sender.sink.wait_for(product.send(recipient.participant, sender.name))
    assert recipient.sink.received == []
    (delivery,) = product.status_of(sender.participant, held)["deliveries"]
    assert (delivery["state"], delivery["attempts"]) == ("pending", 0)
    over = product.call(f"/api/v1/outages/{told.json()['id']}/end", "POST", X_Api_Key=key)
    assert (over.status, over.json()["state"]) == (200, "over")
    recipient.sink.wait_for(held, 6)
    (delivery,) = product.wait_for_end(sender.participant, held)["deliveries"]
    assert (delivery["state"], delivery["attempts"]) == ("delivered", 1)


def test_revoked_and_expired_keys_are_refused(product: Product, bot: Callable[..., Bot]) -> None:
    revoked, expired, recipient = bot(), bot(), bot()
    for each in (revoked, expired):
        assert product.post(each.participant, recipient.name).status == 202
    product.shell(
        "from datetime import timedelta; from django.utils import timezone\n"
        "from participants import registry, history; from participants.models import ApiKey\n"
        f"key = ApiKey.objects.get(participant__name={revoked.name!r})\n"
        "registry.revoke_key(key, actor='tests')\n"
        f"key = ApiKey.objects.get(participant__name={expired.name!r})\n"
        "from django.db import transaction\n"
        "with transaction.atomic():\n"
        "    key.expires_at = timezone.now() - timedelta(seconds=1); key.save()\n"
        "    history.record('change', key, 'tests')"
    )
    for each in (revoked, expired):
        answer = product.post(each.participant, recipient.name)
        assert answer.status == 401
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_nobody_sends_as_somebody_else(product: Product, bot: Callable[..., Bot]) -> None:
    mallory, alice, bob = bot(), bot(), bot()
    for name in (alice.name, "Classifier", "Dmr", "dmr-relay", mallory.name.upper()):
        answer = product.post(mallory.participant, bob.name, X_Sent_By=name)
        assert answer.status == 403, name
        assert answer.json()["type"] == "urn:problem-type:dmr:sender-mismatch"
    assert bob.sink.received == []


def test_same_id_again(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient, other = bot(), bot(), bot()
    message_id = str(uuid.uuid4())
    one = product.post(sender.participant, recipient.name, b"one", message_id=message_id)
    again = product.post(sender.participant, recipient.name, b"one", message_id=message_id.upper())
    assert (one.status, again.status) == (202, 202)
    assert one.json() == again.json()
    changed = product.post(sender.participant, recipient.name, b"two", message_id=message_id)
    elsewhere = product.post(sender.participant, other.name, b"one", message_id=message_id)
    assert (changed.status, elsewhere.status) == (409, 409)
    assert changed.json()["type"] == "urn:problem-type:dmr:message-id-conflict"
    # Another sender may use the id.
    assert product.post(other.participant, recipient.name, b"three", message_id=message_id).status == 202
    wait_until(lambda: len(recipient.sink.received) == 2, 10)
    assert sorted(recipient.sink.bodies()) == [b"one", b"three"]


def test_500_then_202(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot(first(Reply(500)))
    message_id = product.send(sender.participant, recipient.name)
    status = product.wait_for_end(sender.participant, message_id)
    assert status["state"] == "delivered"
    assert status["deliveries"][0]["attempts"] == 2
    one, two = recipient.sink.received
    assert 1.0 <= two.at - one.at < 3.0
    assert sender.sink.received == []


def test_refused_connection_then_back(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot()
    recipient.sink.close()
    message_id = product.send(sender.participant, recipient.name)
    wait_until(lambda: product.status_of(sender.participant, message_id)["deliveries"][0]["attempts"] >= 2, 10)
    assert "refused" in product.status_of(sender.participant, message_id)["deliveries"][0]["lastError"]
    recipient.sink.open()
    recipient.sink.wait_for(message_id, 15)
    assert product.wait_for_end(sender.participant, message_id)["state"] == "delivered"


@pytest.mark.slow  # it waits for ten seconds
def test_202_after_9_seconds_is_a_success(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot(always(after=9))
    message_id = product.send(sender.participant, recipient.name)
    status = product.wait_for_end(sender.participant, message_id, 15)
    assert status["state"] == "delivered"
    assert status["deliveries"][0]["attempts"] == 1
    assert len(recipient.sink.received) == 1


@pytest.mark.slow  # it waits for ten seconds
def test_hanging_recipient_is_left_after_10_seconds(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot(always(after=30))
    message_id = product.send(sender.participant, recipient.name)

    def error() -> Any:
        return product.status_of(sender.participant, message_id)["deliveries"][0]["lastError"]

    assert wait_until(error, 15) == "no answer within 10 s"


@pytest.mark.parametrize("status", [300, 301, 302, 307, 400, 404, 410])
def test_final_answers_are_told_to_the_sender(product: Product, bot: Callable[..., Bot], status: int) -> None:
    elsewhere = bot()
    sender, recipient = bot(), bot(always(status, Location=elsewhere.sink.url))
    message_id = product.send(sender.participant, recipient.name)
    assert error_of(sender.sink.wait_for_error(message_id))["status"] == status
    assert product.status_of(sender.participant, message_id)["state"] == "dead"
    assert len(recipient.sink.received) == 1
    assert elsewhere.sink.received == [], "redirects are not followed"


def test_300_is_a_success_where_the_participant_says_so(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot(always(300))
    product.shell(
        "from participants import registry; from participants.models import Participant\n"
        f"row = Participant.objects.get(name={recipient.name!r}); row.success_statuses = '2xx,300'\n"
        "registry.update(row, actor='tests')"
    )
    message_id = product.send(sender.participant, recipient.name)
    assert product.wait_for_end(sender.participant, message_id)["state"] == "delivered"


def test_retry_after_is_honoured(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot(first(Reply(503, {"Retry-After": "4"})))
    message_id = product.send(sender.participant, recipient.name)
    assert product.wait_for_end(sender.participant, message_id, 15)["state"] == "delivered"
    one, two = recipient.sink.received
    assert 4.0 <= two.at - one.at < 7.0


def test_time_to_live_ends_a_message(product: Product, bot: Callable[..., Bot]) -> None:
    sender = bot()
    nobody = product.register(f"http://127.0.0.1:{free_port()}/messages")
    message_id = product.send(sender.participant, nobody.name, TTL="3")
    assert product.wait_for_end(sender.participant, message_id, 15)["state"] == "expired"
    assert error_of(sender.sink.wait_for_error(message_id))["status"] == 504


def test_deleted_recipient_is_a_dead_letter(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot(always(503))
    message_id = product.send(sender.participant, recipient.name)
    wait_until(lambda: recipient.sink.received, 10)
    product.call(f"/centops/admin/participants/{recipient.participant.id}", "DELETE", X_Api_Key=STAFF_KEY)
    assert product.wait_for_end(sender.participant, message_id, 15)["state"] == "dead"
    assert error_of(sender.sink.wait_for_error(message_id))["status"] == 404


def test_error_about_an_error_is_never_sent(product: Product, bot: Callable[..., Bot]) -> None:
    sender = bot()
    message_id = product.send(sender.participant, "nobody-at-all", X_Model_Type=ERROR)
    later = product.send(sender.participant, "nobody-at-all")
    sender.sink.wait_for_error(later)
    assert [each.headers["X-Message-Id-Ref"] for each in sender.sink.received] == [later]
    assert product.status_of(sender.participant, message_id)["state"] == "dead"


def test_connections_to_recipients_are_kept(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot()
    for number in range(20):
        recipient.sink.wait_for(product.send(sender.participant, recipient.name, str(number).encode()))
    assert len({each.connection for each in recipient.sink.received}) <= 2


def test_metrics_of_all_processes_add_up(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient = bot(), bot()
    here = {"room": "national"}
    samples: list[tuple[str, dict[str, str]]] = [
        ("dmr_messages_accepted_total", {**here, "sender_type": "Chatbot"}),
        ("dmr_deliveries_settled_total", {**here, "state": "delivered", "recipient_type": "Chatbot"}),
        ("dmr_delivery_latency_seconds_count", {}),
        ("dmr_accept_latency_seconds_count", {"request": "one"}),
    ]

    def values() -> list[float]:
        return [product.metric(name, **labels) for name, labels in samples]

    before = values()
    assert product.metric("dmr_pump_runs_total") > 0, "the worker's count too"
    ids = [product.send(sender.participant, recipient.name) for _ in range(30)]
    for message_id in ids:
        product.wait_for_end(sender.participant, message_id)
    wait_until(lambda: [now - was for now, was in zip(values(), before, strict=True)] == [30] * 4, 5)


def test_only_sender_and_recipient_see_a_message(product: Product, bot: Callable[..., Bot]) -> None:
    sender, recipient, stranger = bot(), bot(), bot()
    message_id = product.send(sender.participant, recipient.name)
    assert product.wait_for_end(sender.participant, message_id)["state"] == "delivered"
    assert product.status_of(recipient.participant, message_id)["deliveries"][0]["recipient"] == recipient.name
    assert product.call(f"/messages/{message_id}", X_Api_Key=stranger.participant.key).status == 404


def test_new_key_counts_for_the_very_next_request(product: Product, bot: Callable[..., Bot]) -> None:
    recipient = bot()
    for _ in range(5):
        fresh: Participant = product.register(recipient.sink.url)
        assert product.post(fresh, recipient.name).status == 202
