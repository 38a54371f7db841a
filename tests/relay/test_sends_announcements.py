"""What the registry announces becomes messages from Dmr: to whom wants them, once each, whatever dies meanwhile."""

from __future__ import annotations

import base64
import itertools
import json
import threading
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from participants import registry
from participants.announcements import announce
from participants.models import Announcement, Participant
from relay import announcements, bulk
from relay.delivery import claim
from relay.delivery.engine import Engine
from relay.models import Delivery, Message, State
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Edge, metric

Kind = Announcement.Kind
NUMBERS = map(str, itertools.count())
Wanted = Participant.Announcements


def participants(count: int, **fields: Any) -> list[Registered]:
    """Whose own registration has been told already."""
    found = [factories.participant(**fields) for _ in range(count)]
    Announcement.objects.all().delete()
    return found


def say(kind: str = Kind.OUTAGE, to: list[Registered] | None = None, **fields: Any) -> Announcement:
    with transaction.atomic():
        chosen = None if to is None else [each.row for each in to]
        return announce(kind, **{"about": "o-1", "body": {"text": "õhtul"}, **fields}, to=chosen)


def told() -> list[str]:
    """The names of those who were told, in order, of messages from Dmr."""
    rows = Delivery.objects.filter(message__sent_by="Dmr").order_by("id")
    return list(rows.values_list("recipient_name", flat=True))


def body_of(message: Message) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.b64decode(bytes(message.payload)))
    return found


@pytest.mark.django_db(transaction=True)
def test_arrives_as_the_contract_has_it(engine: Engine, edge: Edge) -> None:
    (bot,) = participants(1)
    announcement = say()
    assert announcements.send() == 1
    engine.pump()
    ((url, body, headers),) = edge.posted
    assert url == bot.row.host
    assert headers["X-Sent-By"] == "Dmr"
    assert headers["X-Send-To"] == bot.name
    assert headers["X-Model-Type"] == "application/vnd.dmr.outage+json;version=1"
    assert headers["X-Message-Id"] == str(announcements.message_id_of(announcement))
    assert headers["X-Conversation-Id"] == "outage/o-1"
    assert headers["Content-Type"] == "text/plain"
    assert "X-Room" not in headers
    assert "X-Message-Id-Ref" not in headers
    said = json.loads(base64.b64decode(body))
    assert said.pop("announcedAt").endswith("Z")
    assert said == {"about": "o-1", "text": "õhtul"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "wanting"),
    [
        (Kind.REGISTRATION, {Wanted.IMPORTANT, Wanted.ALL}),
        (Kind.OUTAGE, {Wanted.IMPORTANT, Wanted.ALL}),
        (Kind.SOFTWARE_UPDATE, {Wanted.IMPORTANT, Wanted.ALL}),
        (Kind.PARTICIPANTS, {Wanted.ALL}),
    ],
)
def test_goes_to_those_who_want_its_kind(kind: Kind, wanting: set[str]) -> None:
    bots = {each: participants(1, announcements=each)[0] for each in Wanted}
    say(kind)
    announcements.send()
    assert told() == [bots[each].name for each in Wanted if each in wanting]


@pytest.mark.django_db
def test_goes_to_all_active_ones_but_ourselves() -> None:
    active, suspended, disabled, deleted = participants(4)
    registry.set_status([suspended.row], Participant.Status.SUSPENDED, actor="tests")
    registry.set_status([disabled.row], Participant.Status.DISABLED, actor="tests")
    registry.remove_participant(deleted.row, actor="tests")
    say()
    announcements.send()
    assert told() == [active.name]


@pytest.mark.django_db
def test_those_named_get_it_though_they_are_held_and_nobody_else() -> None:
    _other, one, suspended, deleted = participants(4)
    registry.set_status([suspended.row], Participant.Status.SUSPENDED, actor="tests")
    registry.remove_participant(deleted.row, actor="tests")
    say(to=[suspended, one, deleted])
    announcements.send()
    assert told() == [one.name, suspended.name]


@pytest.mark.django_db
def test_nobody_to_tell_is_an_end_too() -> None:
    participants(1, announcements=Wanted.NONE)
    for announcement in (say(), say(to=[])):
        assert announcements.send() == 0
        announcement.refresh_from_db()
        assert announcement.sent_at is not None
    assert not Message.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("is_named", [False, True])
def test_many_are_come_to_in_batches_with_one_payload(monkeypatch: pytest.MonkeyPatch, is_named: bool) -> None:
    monkeypatch.setattr(announcements, "BATCH", 2)
    bots = participants(5)
    announcement = say(to=bots if is_named else None)
    before = metric("dmr_announcements_total", kind="outage")
    assert announcements._send_batch() == 2
    announcement.refresh_from_db()
    assert (announcement.told, announcement.sent_at) == (2, None)
    assert announcements.send() == 3
    announcement.refresh_from_db()
    assert announcement.told == 5
    assert announcement.sent_at is not None
    assert told() == [each.name for each in bots]
    (message,) = Message.objects.all()
    assert set(message.deliveries.values_list("expires_at", flat=True)) == {announcement.expires_at}
    assert metric("dmr_announcements_total", kind="outage") - before == 5


@pytest.mark.django_db
@pytest.mark.parametrize("batch", [0, 1, 2])
def test_whoever_dies_between_neither_loses_nor_repeats(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(announcements, "BATCH", 2)
    bots = participants(5)
    say()
    for _ in range(batch):
        announcements._send_batch()

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    insert = bulk.insert_deliveries
    with monkeypatch.context() as patch:
        # All but the commit.
        patch.setattr(bulk, "insert_deliveries", lambda rows: (insert(rows), dies()))
        with pytest.raises(KeyboardInterrupt):
            announcements._send_batch()
    assert len(told()) == 2 * batch
    announcements.send()
    assert told() == [each.name for each in bots]
    assert Message.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_that_send_at_once_tell_nobody_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(announcements, "BATCH", 3)
    bots = participants(20)
    say()
    start = threading.Barrier(4)
    errors: list[BaseException] = []

    def run() -> None:
        try:
            start.wait(10)
            announcements.send()
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert errors == []
    announcements.send()  # where all four had to leave it to one another
    assert told() == [each.name for each in bots]


@pytest.mark.django_db
def test_what_is_undone_is_not_announced() -> None:
    participants(1)
    with transaction.atomic():
        announce(Kind.OUTAGE, body={})
        transaction.set_rollback(True)
    assert announcements.send() == 0


@pytest.mark.django_db
def test_what_is_too_late_is_told_to_nobody() -> None:
    participants(1)
    announcement = say(expires_at=timezone.now() + timedelta(minutes=5))
    with time_machine.travel(timezone.now() + timedelta(minutes=6)):
        assert announcements.send() == 0
    announcement.refresh_from_db()
    assert (announcement.told, bool(announcement.sent_at)) == (0, True)


@pytest.mark.django_db
def test_what_is_said_of_one_thing_arrives_in_order() -> None:
    participants(1)
    for about, text in (("o-1", "begins"), ("o-2", "begins"), ("o-1", "is over")):
        say(about=about, body={"text": text})
    announcements.send()
    first = {(each.conversation, body_of(Message.objects.get(pk=each.message_pk))["text"]) for each in claim.claim(9)}
    assert first == {("outage/o-1", "begins"), ("outage/o-2", "begins")}


@pytest.mark.django_db
def test_a_change_of_participants_is_not_said_twice_to_who_has_not_heard_it_yet() -> None:
    (bot,) = participants(1, announcements=Wanted.ALL)
    say(Kind.PARTICIPANTS, about=next(NUMBERS))
    announcements.send()
    say(Kind.PARTICIPANTS, about=next(NUMBERS))
    announcements.send()
    assert told() == [bot.name]
    claim.claim(9)  # it is on its way now, and may have looked already
    say(Kind.PARTICIPANTS, about=next(NUMBERS))
    announcements.send()
    assert told() == [bot.name] * 2
    say(Kind.OUTAGE)
    say(Kind.OUTAGE)
    announcements.send()
    assert told() == [bot.name] * 4


@pytest.mark.django_db(transaction=True)
def test_causes_no_error_message_and_no_receipt(engine: Engine, edge: Edge) -> None:
    one, two = participants(2, wants_receipts=True)
    edge.will(one.row.host, 400)
    say()
    announcements.send()
    engine.pump()
    states = dict(Delivery.objects.values_list("recipient_name", "state"))
    assert states == {one.name: State.DEAD, two.name: State.DELIVERED}
    engine.pump()
    assert Message.objects.count() == 1
    assert len(edge.posted) == 2


@pytest.mark.django_db
def test_waits_in_the_inbox_of_who_fetches(client: Client) -> None:
    (bot,) = participants(1, delivery_mode="pull")
    announcement = say()
    announcements.send()
    (message,) = client.get("/api/v1/inbox", headers=bot.auth).json()["messages"]
    assert message["sendTo"] == bot.name
    assert message["room"] is None
    assert message["messageId"] == str(announcements.message_id_of(announcement))
    state = client.get(f"/messages/{message['messageId']}", headers=bot.auth).json()
    assert [each["recipient"] for each in state["deliveries"]] == [bot.name], "its own alone"


@pytest.mark.django_db
def test_a_batch_costs_the_same_however_many_are_told(django_assert_max_num_queries: Any) -> None:
    participants(30)
    say()
    with django_assert_max_num_queries(12):
        announcements.send()
    assert len(told()) == 30


@pytest.mark.django_db
def test_beat_looks_for_them() -> None:
    from relay import tasks

    (bot,) = participants(1)
    say()
    tasks.announce()
    assert told() == [bot.name]
