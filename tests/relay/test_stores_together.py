"""relay.insert: requests that come at once share a statement and a commit, and nothing else."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, connection, transaction
from django.utils import timezone

from participants import directory
from participants.models import Participant
from relay import insert
from relay.insert import Row, Stored
from relay.models import Delivery, Message
from tests import factories

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pair() -> tuple[Participant, Participant]:
    return factories.participant("sender-bot").row, factories.participant("recipient-bot").row


def row(pair: tuple[Participant, Participant], *, payload: bytes = b"abc", **changes: Any) -> Row:
    now = timezone.now()
    message_id = changes.pop("message_id", uuid.uuid4())
    message = {
        "sender_id": pair[0].pk,
        "message_id": message_id,
        "written_id": str(message_id),
        "written_ref": "",
        "sent_by": pair[0].name,
        "send_to": pair[1].name,
        "model_type": 'a"b',
        "conversation": "c",
        "content_type": "text/plain",
        "is_to_room": False,
        "room_id": None,
        "payload": payload,
        "payload_deleted_at": None,
        "payload_size": len(payload),
        "digest": "d",
        "accepted_at": now,
        "expires_at": now + timedelta(hours=1),
    } | changes
    return Row(message, pair[1].pk, pair[1].name, directory.registry_version())


def at_once(rows: list[Row]) -> list[Stored | Exception]:
    """Stores them from as many threads."""
    start = threading.Barrier(len(rows))

    def one(each: Row) -> Stored | Exception:
        try:
            start.wait(10)
            return insert.store(each)
        except Exception as error:
            return error
        finally:
            connection.close()

    with ThreadPoolExecutor(len(rows)) as threads:
        return list(threads.map(one, rows))


def test_payloads_stay_with_their_messages(pair: tuple[Participant, Participant]) -> None:
    payloads = [bytes([number]) * number + b"\x00\xff'\\" for number in range(24)]
    rows = [row(pair, payload=each) for each in payloads]
    assert set(at_once(rows)) == {Stored.NEW}
    for each in rows:
        stored = Message.objects.get(message_id=each.message["message_id"])
        assert bytes(stored.payload) == each.message["payload"]
        assert stored.deliveries.get().recipient_id == pair[1].pk


def test_a_row_is_what_the_models_would_have_stored(pair: tuple[Participant, Participant]) -> None:
    given = row(pair)
    insert.store(given)
    stored = Delivery.objects.get()
    by_model = Delivery(
        id=stored.pk,
        message_id=stored.message_id,
        recipient=pair[1],
        recipient_name=pair[1].name,
        sender_id=given.message["sender_id"],
        conversation="c",
        due_at=given.message["accepted_at"],
        accepted_at=given.message["accepted_at"],
        expires_at=given.message["expires_at"],
    )
    for field in Delivery._meta.concrete_fields:
        assert getattr(stored, field.attname) == getattr(by_model, field.attname), field.name
    for column, value in given.message.items():
        found = getattr(Message.objects.get(), column)
        assert (bytes(found) if column == "payload" else found) == value, column


def test_the_same_message_many_times_at_once_is_stored_once(pair: tuple[Participant, Participant]) -> None:
    message_id = uuid.uuid4()
    outcomes = at_once([row(pair, message_id=message_id) for _ in range(8)])
    assert sorted(each.value for each in outcomes if isinstance(each, Stored)) == ["new"] + ["repeat"] * 7
    assert Delivery.objects.count() == 1


def test_a_registry_that_has_changed_since_stores_nothing(pair: tuple[Participant, Participant]) -> None:
    old = row(pair)
    factories.participant("another-bot")
    assert set(at_once([old, row(pair)])) == {Stored.OUTDATED, Stored.NEW}
    assert Message.objects.count() == 1


def test_a_row_that_cannot_be_stored_costs_the_others_nothing(pair: tuple[Participant, Participant]) -> None:
    rows = [row(pair) for _ in range(6)]
    rows[2] = row(pair, digest=None)
    outcomes = at_once(rows)
    assert [each is Stored.NEW for each in outcomes] == [True, True, False, True, True, True]
    assert isinstance(outcomes[2], Exception)
    assert Message.objects.count() == 5


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no connection to lose")
def test_a_connection_lost_since_it_was_last_used_is_made_anew(pair: tuple[Participant, Participant]) -> None:
    insert.store(row(pair))
    late = row(pair)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()

    def terminate() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
        connection.close()

    other = threading.Thread(target=terminate)
    other.start()
    other.join()
    assert insert.store(late) is Stored.NEW


def test_whoever_comes_while_others_store_waits_for_its_turn(
    pair: tuple[Participant, Participant], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of twelve at once the first stores alone, and few statements do for the rest."""
    batches: list[int] = []
    first = threading.Event()
    store: Callable[..., list[Stored]] = insert._store_rows

    def counted(rows: list[Row]) -> list[Stored]:
        batches.append(len(rows))
        if len(batches) == 1:
            first.wait(0.5)
        return store(rows)

    monkeypatch.setattr(insert, "_store_rows", counted)
    assert set(at_once([row(pair) for _ in range(12)])) == {Stored.NEW}
    assert sum(batches) == 12
    assert len(batches) <= 4


def test_an_error_of_one_request_is_not_another_s(
    pair: tuple[Participant, Participant], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(rows: list[Row]) -> list[Stored]:
        raise DataError("no")

    with monkeypatch.context() as broken:
        broken.setattr(insert, "_store_rows", fail)
        assert all(isinstance(each, DataError) for each in at_once([row(pair) for _ in range(3)]))
    assert insert.store(row(pair)) is Stored.NEW


def test_an_open_transaction_stores_its_own_row_alone(
    pair: tuple[Participant, Participant], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it stores it may undo: whoever comes meanwhile waits neither in its batch nor for it."""
    mine, other = row(pair), insert._Waiting(row(pair))
    monkeypatch.setattr(insert, "_waiting", [other])
    with transaction.atomic():
        assert insert.store(mine) is Stored.NEW
        transaction.set_rollback(True)
    assert other.stored is None
    assert not other.told.is_set()
    assert Message.objects.count() == 0
