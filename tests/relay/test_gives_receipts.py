"""A sender that wants receipts is told of each delivery, by a message from Dmr that causes no other."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timezone
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from dmr_project.lib import http
from participants import registry
from relay import receipts
from relay.delivery import claim, settle
from relay.delivery.engine import Engine
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted
from relay.models import Breaker, Delivery, Message, State
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Edge


def wanting(**fields: Any) -> Registered:
    return factories.participant(wants_receipts=True, **fields)


def receipts_to(sender: Registered) -> list[Message]:
    return list(Message.objects.filter(model_type=receipts.MODEL_TYPE, send_to=sender.name).order_by("id"))


def said(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(bytes(message.payload)))
    return found


def settle_all(status: int = 202) -> list[Attempted]:
    now = datetime.now(timezone.utc)
    outcome = Outcome(status == 202, status, "" if status == 202 else "no", 0.1)
    attempted = [Attempted(each, outcome, now) for each in claim.claim(100)]
    settle.settle(attempted)
    return attempted


@pytest.mark.django_db(transaction=True)
def test_a_delivery_is_told_of(engine: Engine, edge: Edge) -> None:
    sender, recipient = wanting(), factories.participant(success_statuses="2xx,300")
    message = factories.message(sender, recipient.name)
    edge.will(recipient.row.host, 300)
    engine.pump()
    (receipt,) = receipts_to(sender)
    delivery = message.deliveries.get()
    assert delivery.delivered_at is not None
    assert said(receipt) == {
        "messageId": message.written_id,
        "recipient": recipient.name,
        "deliveredAt": delivery.delivered_at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "status": 300,
    }
    engine.pump()
    url, body, headers = edge.posted[-1]
    assert (url, body) == (sender.row.host, bytes(receipt.payload))
    assert headers["X-Sent-By"] == "Dmr"
    assert headers["X-Send-To"] == sender.name
    assert headers["X-Message-Id-Ref"] == message.written_id
    assert headers["X-Model-Type"] == "application/vnd.dmr.receipt+json;version=1"
    assert len(edge.posted) == 2, "a receipt has no receipt"


@pytest.mark.django_db
def test_only_who_wants_them_gets_them() -> None:
    sender, other = factories.participant(), wanting()
    factories.message(sender, other.name)
    settle_all()
    assert receipts_to(sender) == receipts_to(other) == []


@pytest.mark.django_db
def test_in_a_mixed_batch_each_sender_gets_its_own() -> None:
    keen, plain, recipient = wanting(), factories.participant(), factories.participant()
    messages = [factories.message(each, recipient.name) for each in (keen, plain, keen, keen)]
    Breaker.objects.create(recipient=recipient.row, failures=2)
    assert len(settle_all()) == 4
    refs = {receipt.written_ref for receipt in receipts_to(keen)}
    assert refs == {messages[0].written_id, messages[2].written_id, messages[3].written_id}
    assert receipts_to(plain) == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    "model_type",
    [
        "application/vnd.dmr.error+json;version=1",
        "application/vnd.dmr.receipt+json;version=1",
        "Application/VND.dmr.Receipt+json ; version=2",
    ],
)
def test_there_is_none_for_errors_and_receipts(model_type: str) -> None:
    sender, recipient = wanting(), wanting()
    factories.message(sender, recipient.name, model_type=model_type)
    settle_all()
    assert receipts_to(sender) == []


@pytest.mark.django_db
def test_there_is_none_for_what_we_say_ourselves() -> None:
    assert not receipts.is_wanted("Dmr", "application/vnd.dmr.outage+json;version=1")
    assert receipts.is_wanted("bot", "application/vnd.dmr.outage+json;version=1")
    assert receipts.is_wanted("bot", "")
    sender, recipient = wanting(), wanting()
    factories.message(sender, recipient.name)
    for expected in (1, 1, 0):
        assert len(settle_all()) == expected
    assert Message.objects.count() == 2


@pytest.mark.django_db
def test_a_failure_gives_none_and_two_never_cross() -> None:
    sender, recipient = wanting(), wanting()
    factories.message(sender, recipient.name)
    settle_all(400)
    assert receipts_to(sender) == []
    assert Message.objects.get(send_to=sender.name).is_error
    settle_all(400)  # the error message cannot be delivered either
    assert claim.claim(100) == []
    assert Message.objects.count() == 2


@pytest.mark.django_db
def test_each_member_of_a_room_gives_one() -> None:
    sender, members = wanting(), [factories.participant() for _ in range(3)]
    room = factories.room("", sender, *members)
    from participants import directory
    from relay import accept

    accept.accept_for_room(directory.current(), sender.entry, factories.envelope(sender, room.name), b"x")
    settle_all()
    assert {said(each)["recipient"] for each in receipts_to(sender)} == {each.name for each in members}


@pytest.mark.django_db
def test_a_classifier_hears_of_what_it_sent_as_the_alias() -> None:
    classifier, recipient = wanting(type="Classifier"), factories.participant()
    factories.message(classifier, recipient.name, sent_by="Classifier")
    settle_all()
    assert len(receipts_to(classifier)) == 1


@pytest.mark.django_db
def test_what_is_settled_twice_or_by_another_gives_one() -> None:
    sender, recipient = wanting(), factories.participant()
    factories.message(sender, recipient.name)
    lost = factories.message(sender, recipient.name)
    now = datetime.now(timezone.utc)
    attempted = [Attempted(each, Outcome(True, 202, "", 0.1), now) for each in claim.claim(100)]
    Delivery.objects.filter(message=lost).update(lease_token=1)
    settle.settle(attempted)
    settle.settle(attempted)  # its answer was lost on the way from the database
    assert len(receipts_to(sender)) == 1
    assert lost.deliveries.get().state == State.DELIVERING


@pytest.mark.django_db
def test_a_batch_costs_the_same_however_many_receipts_it_gives(django_assert_max_num_queries: Any) -> None:
    sender, recipient = wanting(), factories.participant()
    for _ in range(8):
        factories.message(sender, recipient.name)
    now = datetime.now(timezone.utc)
    attempted = [Attempted(each, Outcome(True, 202, "", 0.1), now) for each in claim.claim(100)]
    assert len(attempted) == 8
    with django_assert_max_num_queries(9):
        settle.settle(attempted)
    assert len(receipts_to(sender)) == 8


@pytest.mark.django_db
def test_where_nobody_wants_any_nothing_more_is_done(
    monkeypatch: pytest.MonkeyPatch, django_assert_max_num_queries: Any
) -> None:
    sender, recipient = factories.participant(), factories.participant()
    factories.message(sender, recipient.name)
    now = datetime.now(timezone.utc)
    attempted = [Attempted(each, Outcome(True, 202, "", 0.1), now) for each in claim.claim(100)]
    with django_assert_max_num_queries(4):
        settle.settle(attempted)


@pytest.mark.django_db
def test_staff_switch_them_on(admin_client: Client) -> None:
    bot = factories.participant()
    page = admin_client.get(reverse("admin:participants_participant_change", args=[bot.row.pk])).content.decode()
    assert 'name="wants_receipts"' in page
    bot.row.wants_receipts = True
    registry.update(bot.row, actor="tests")
    factories.message(bot, bot.name)
    settle_all()
    assert len(receipts_to(bot)) == 1


@pytest.mark.django_db(transaction=True)
def test_a_receipt_that_cannot_be_delivered_causes_nothing(engine: Engine, edge: Edge) -> None:
    sender, recipient = wanting(), factories.participant()
    factories.message(sender, recipient.name)
    edge.will(sender.row.host, http.Answer(400, {}, b"no such thing"))
    engine.pump()
    engine.pump()
    assert Message.objects.count() == 2
    assert Delivery.objects.get(recipient=sender.row).state == State.DEAD
