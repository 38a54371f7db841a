"""POST /api/v1/messages/batch: each message is judged by itself, and all that are good are stored at once."""

from __future__ import annotations

import base64
import json
import secrets
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from participants import registry
from relay import batch, bulk, records
from relay.delivery import claim
from relay.models import Delivery, Message, PayloadDue, State
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Post

pytestmark = pytest.mark.django_db
PATH = "/api/v1/messages/batch"
Committed = Callable[[], Any]


def record(sender: Registered, send_to: str | None, payload: bytes = b"payload", **headers: Any) -> bytes:
    said = {
        "X-Sent-By": sender.name,
        "X-Send-To": send_to,
        "X-Message-Id": str(uuid.uuid4()),
        **{name.replace("_", "-"): value for name, value in headers.items()},
        "Content-Length": len(payload),
    }
    return json.dumps(said).encode() + b"\n" + payload + b"\n"


def ask(client: Client, sender: Registered, body: bytes, **headers: str) -> Any:
    return client.generic("POST", PATH, body, content_type="application/octet-stream", headers=sender.auth | headers)


def send(client: Client, sender: Registered, *found: bytes) -> dict[str, Any]:
    answer = ask(client, sender, b"".join(found))
    assert answer.status_code == 202, answer.content
    said: dict[str, Any] = answer.json()
    return said


def statuses(said: dict[str, Any]) -> list[int]:
    return [each["status"] for each in said["results"]]


def test_all_are_stored_as_they_came_and_one_wake_up_goes_out(
    client: Client, wakes: Any, committed: Committed
) -> None:
    sender, one, other = factories.participant(), factories.participant(), factories.participant()
    written = "{" + str(uuid.uuid4()).upper() + "}"
    payloads = [b"", b"\x00\xff\n{}\r\n", secrets.token_bytes(100_000)]
    with committed():
        said = send(
            client,
            sender,
            record(sender, one.name, payloads[0], X_Message_Id=written, X_Model_Type="m", TTL=60),
            record(sender, other.name, payloads[1], Content_Type="application/x", X_Conversation_Id="c"),
            record(sender, one.name, payloads[2], X_Message_Id_Ref="r"),
        )
        assert wakes.count == 0
    assert wakes.count == 1
    assert {name: said[name] for name in ("accepted", "repeated", "refused")} == {
        "accepted": 3,
        "repeated": 0,
        "refused": 0,
    }
    assert statuses(said) == [202, 202, 202]
    assert said["results"][0]["messageId"] == written
    assert said["results"][0]["acceptedAt"].endswith("Z")
    rows = {row.written_id: row for row in Message.objects.all()}
    found = [rows[each["messageId"]] for each in said["results"]]
    assert [bytes(row.payload) for row in found] == payloads
    assert [row.payload_size for row in found] == [len(payload) for payload in payloads]
    assert [(row.model_type, row.content_type, row.conversation, row.written_ref) for row in found] == [
        ("m", "text/plain", "", ""),
        ("", "application/x", "c", ""),
        ("", "text/plain", "", "r"),
    ]
    assert (found[0].expires_at - found[0].accepted_at).total_seconds() == 60
    assert [row.deliveries.get().recipient_name for row in found] == [one.name, other.name, one.name]
    assert found[1].deliveries.get().conversation == "c"


def test_is_stored_as_one_alone_is(client: Client, post: Post) -> None:
    """Column by column the same as from POST /messages, but for the ids and the times."""
    sender, recipient = factories.participant(), factories.participant()
    room = factories.room("", sender, recipient)
    own = ("id", "message_id", "written_id", "accepted_at", "expires_at", "due_at", "ended_at")

    def stored(model: Any) -> list[dict[str, Any]]:
        rows = [{name: value for name, value in row.items() if name not in own} for row in model.objects.values()]
        return [{**row, **({"payload": bytes(row["payload"])} if "payload" in row else {})} for row in rows]

    post(sender, recipient.name, b"hello", X_Model_Type="m")
    client.generic(
        "POST",
        f"/api/v1/rooms/{room.name}/messages",
        b"hello",
        content_type="text/plain",
        headers={**sender.auth, "X-Sent-By": sender.name, "X-Message-Id": str(uuid.uuid4())},
    )
    post(sender, "nobody", b"hello")
    alone = [stored(model) for model in (Message, Delivery)]
    errors = [row["written_ref"] for row in Message.objects.values()]
    Message.objects.all().delete()
    send(
        client,
        sender,
        record(sender, recipient.name, b"hello", X_Model_Type="m"),
        record(sender, None, b"hello", X_Room=room.name),
        record(sender, "nobody", b"hello"),
    )
    together = [stored(model) for model in (Message, Delivery)]
    for rows in (*alone, *together):
        for row in rows:
            row.pop("written_ref", None)
            row.pop("message_id", None)
        rows.sort(key=str)
    assert len(errors) == 4
    assert together == alone


def test_one_bad_message_costs_the_others_nothing(client: Client) -> None:
    small = factories.room(payload_limit=10)
    large = factories.room(payload_limit=100)
    sender = factories.participant(rooms=[small, large])
    near, far = factories.participant(rooms=[small]), factories.participant(rooms=[large])
    taken = factories.message(sender, near.name, b"first")
    bad = [
        (record(sender, near.name, X_Message_Id="none"), 400, "invalid-header"),
        (record(sender, None), 400, "invalid-header"),
        (record(sender, near.name, X_Model_Type="ä"), 400, "invalid-header"),
        (record(sender, near.name, X_Model_Type=["a"]), 400, "invalid-header"),
        (record(sender, near.name, TTL="soon"), 400, "invalid-header"),
        (record(sender, near.name, X_Sent_By=near.name), 403, "sender-mismatch"),
        (record(sender, near.name, X_Sent_By="Classifier"), 403, "sender-mismatch"),
        (record(sender, None, X_Room="no such room"), 404, "not-found"),
        (record(sender, near.name, X_Message_Id=taken.written_id), 409, "message-id-conflict"),
        (record(sender, near.name, b"x" * 11), 413, "payload-too-large"),
        (record(sender, far.name, b"x" * 101), 413, "payload-too-large"),
        (record(sender, "nobody", b"x" * 101), 413, "payload-too-large"),
    ]
    good = record(sender, far.name, b"x" * 100)
    said = send(client, sender, *(part for each, _, _ in bad for part in (each, record(sender, near.name))), good)
    assert (said["accepted"], said["refused"]) == (len(bad) + 1, len(bad))
    assert Message.objects.count() == 1 + len(bad) + 1
    for (_, status, code), result in zip(bad, said["results"][::2], strict=False):
        assert result["status"] == status, code
        assert result["problem"]["type"] == f"urn:problem-type:dmr:{code}"
        assert result["problem"]["status"] == status
        assert result["problem"]["detail"]
    assert said["results"][0]["problem"]["errors"][0]["header"] == "X-Message-Id"
    assert said["results"][0]["messageId"] == "none"
    assert set(statuses(said)[1::2]) == {202}


def test_an_id_that_cannot_be_shown_is_null(client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    said = send(
        client,
        sender,
        *(record(sender, recipient.name, X_Message_Id=each) for each in ("\ud800", "ä", "x" * 300, 5, None)),
    )
    assert [each["messageId"] for each in said["results"]] == [None] * 5
    assert set(statuses(said)) == {400}


def test_a_broken_frame_refuses_all(client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    answer = ask(client, sender, record(sender, recipient.name) + record(sender, recipient.name)[:-4])
    assert answer.status_code == 400
    assert answer.json()["type"] == "urn:problem-type:dmr:broken-batch"
    assert "Record 2" in answer.json()["detail"]
    assert not Message.objects.exists()


def test_too_many_messages_are_413(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MOST_RECORDS", 2)
    sender, recipient = factories.participant(), factories.participant()
    answer = ask(client, sender, b"".join(record(sender, recipient.name) for _ in range(3)))
    assert answer.status_code == 413
    assert answer.json()["type"] == "urn:problem-type:dmr:batch-too-large"
    assert not Message.objects.exists()


def test_the_whole_batch_again_gets_the_first_answers(client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    body = b"".join(record(sender, each) for each in (recipient.name, recipient.name, "nobody"))
    first = send(client, sender, body)
    again = send(client, sender, body)
    assert (first["accepted"], first["repeated"]) == (3, 0)
    assert (again["accepted"], again["repeated"]) == (0, 3)
    assert again["results"] == first["results"]
    assert Message.objects.exclude(sent_by="Dmr").count() == 3
    assert Message.objects.filter(sent_by="Dmr").count() == 1


def test_twice_within_a_batch_is_a_repeat_or_a_conflict(client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    said = send(
        client,
        sender,
        record(sender, recipient.name, b"a", X_Message_Id=one),
        record(sender, recipient.name, b"a", X_Message_Id=one.upper()),
        record(sender, recipient.name, b"b", X_Message_Id=one),
        record(sender, recipient.name, b"c", X_Message_Id=other, TTL="no"),
        record(sender, recipient.name, b"d", X_Message_Id=other),
    )
    assert statuses(said) == [202, 202, 409, 400, 202]
    assert (said["accepted"], said["repeated"], said["refused"]) == (2, 1, 2)
    assert said["results"][0] == said["results"][1]
    assert sorted(bytes(row.payload) for row in Message.objects.all()) == [b"a", b"d"]


def test_a_repeat_of_a_single_message_and_the_other_way_round(client: Client, post: Post) -> None:
    sender, recipient = factories.participant(), factories.participant()
    one, other = str(uuid.uuid4()), str(uuid.uuid4())
    alone = post(sender, recipient.name, b"a", X_Message_Id=one).json()
    said = send(
        client,
        sender,
        record(sender, recipient.name, b"a", X_Message_Id=one),
        record(sender, recipient.name, b"b", X_Message_Id=other),
    )
    assert said["results"][0] == {**alone, "status": 202}
    assert (
        post(sender, recipient.name, b"b", X_Message_Id=other).json()["acceptedAt"]
        == (said["results"][1]["acceptedAt"])
    )
    assert Message.objects.count() == 2


def test_ids_belong_to_their_sender(client: Client) -> None:
    one, other = factories.participant(), factories.participant()
    message_id = factories.message(one, other.name).written_id
    assert statuses(send(client, other, record(other, one.name, X_Message_Id=message_id))) == [202]


def test_a_conversation_keeps_the_order_of_the_batch(client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    ids = [str(uuid.uuid4()) for _ in range(20)]
    send(
        client,
        sender,
        *(record(sender, recipient.name, X_Message_Id=each, X_Conversation_Id="c") for each in ids),
    )
    rows = Delivery.objects.filter(conversation="c").order_by("id")
    assert list(rows.values_list("message__written_id", flat=True)) == ids
    for expected in ids[:3]:
        (claimed,) = claim.claim(100)
        assert claimed.written_id == expected
        Delivery.objects.filter(pk=claimed.id).update(state=State.DELIVERED)


def test_dead_ends_are_dead_letters_and_the_sender_is_told(client: Client) -> None:
    sender, stranger = factories.participant(), factories.participant(rooms=[factories.room()])
    recipient = factories.participant()
    error_type = "application/vnd.dmr.error+json;version=1"
    said = send(
        client,
        sender,
        record(sender, "nobody"),
        record(sender, recipient.name),
        record(sender, stranger.name),
        record(sender, "nobody", X_Model_Type=error_type),
    )
    assert statuses(said) == [202] * 4
    ids = [each["messageId"] for each in said["results"]]
    dead = {row.message.written_id: row for row in Delivery.objects.filter(state=State.DEAD)}
    assert set(dead) == {ids[0], ids[2], ids[3]}
    assert dead[ids[2]].recipient_id == stranger.row.pk
    told = Message.objects.filter(sent_by="Dmr").order_by("id")
    assert {row.written_ref for row in told} == {ids[0], ids[2]}, "never of what is itself an error"
    answers = {row.written_ref: json.loads(base64.b64decode(bytes(row.payload))) for row in told}
    assert (answers[ids[0]]["status"], answers[ids[2]]["status"]) == (404, 403)
    for row in told:
        delivery = row.deliveries.get()
        assert (delivery.recipient_id, delivery.state) == (sender.row.pk, State.PENDING)
    due = set(PayloadDue.objects.values_list("message__written_id", flat=True))
    assert due == {ids[0], ids[3]}, "what nobody can ever requeue is forgotten"


def test_rooms_are_addressed_by_x_room(client: Client) -> None:
    sender, one, other = factories.participant(), factories.participant(), factories.participant()
    room = factories.room("", sender, one, other)
    said = send(
        client,
        sender,
        record(sender, None, X_Room=room.name),
        record(sender, one.name, X_Room=room.name),
    )
    assert statuses(said) == [202, 400]
    message = Message.objects.get()
    assert (message.send_to, message.is_to_room) == (room.name, True)
    assert set(message.deliveries.values_list("recipient_id", flat=True)) == {one.row.pk, other.row.pk}


def test_what_nobody_hears_is_forgotten(client: Client) -> None:
    sender, other = factories.participant(), factories.participant()
    room = factories.room("", sender)
    said = send(client, sender, record(sender, None, X_Room=room.name), record(sender, other.name))
    assert statuses(said) == [202, 202]
    assert [due.message.send_to for due in PayloadDue.objects.all()] == [room.name]


def test_rooms_do_not_multiply_without_bound(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_DELIVERIES", 3)
    sender, *members = (factories.participant() for _ in range(3))
    room = factories.room("", sender, *members)
    given = [record(sender, None, X_Room=room.name) for _ in range(2)]
    assert statuses(send(client, sender, *given, record(sender, members[0].name))) == [202, 413, 202]
    monkeypatch.setattr(batch, "MOST_DELIVERIES", 1)
    assert statuses(send(client, sender, given[1])) == [202], "one message is taken however large its room is"


def test_a_suspended_sender_is_refused_as_a_whole(client: Client) -> None:
    sender, recipient = factories.participant(), factories.participant()
    registry.set_status([sender.row], "Suspended", actor="tests")
    answer = ask(client, sender, record(sender, recipient.name))
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:problem-type:dmr:sender-suspended"


def test_all_or_nothing_where_the_database_fails(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, recipient = factories.participant(), factories.participant()
    monkeypatch.setattr(bulk, "insert_deliveries", lambda rows: (_ for _ in ()).throw(RuntimeError("broken")))
    client.raise_request_exception = False
    assert ask(client, sender, record(sender, recipient.name)).status_code == 500
    assert not Message.objects.exists()


def test_many_take_few_statements(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "ROWS", 40)
    sender, recipient = factories.participant(), factories.participant()
    bodies = [
        b"".join(record(sender, name) for _ in range(100) for name in (recipient.name, "nobody")) for _ in range(2)
    ]
    send(client, sender, bodies[0])
    with connection.execute_wrapper(count := Counted()):
        assert send(client, sender, bodies[1])["accepted"] == 200
    assert Delivery.objects.filter(state=State.DEAD).count() == 200
    assert Message.objects.filter(sent_by="Dmr").count() == 200
    # Besides one look-up for each name that nobody has: 5 of either table, 3 of either for error messages, and a
    # few that do not depend on how many there are.
    assert count.statements < 40 + 100


class Counted:
    def __init__(self) -> None:
        self.statements = 0

    def __call__(self, execute: Any, *arguments: Any) -> Any:
        self.statements += 1
        return execute(*arguments)


@pytest.mark.django_db(transaction=True)
def test_two_batches_with_the_same_ids_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """In opposite orders: neither waits for the other for ever, and each message is stored once."""
    monkeypatch.setattr(bulk, "ROWS", 50)
    sender, recipient = factories.participant(), factories.participant()
    found = [record(sender, recipient.name) for _ in range(100)]
    said: list[dict[str, Any]] = []

    def slowly(execute: Any, sql: str, *arguments: Any) -> Any:
        """Each has stored a part before the other goes on."""
        done = execute(sql, *arguments)
        if sql.startswith("INSERT INTO relay_message"):
            time.sleep(0.3)
        return done

    def one(given: list[bytes]) -> None:
        try:
            with connection.execute_wrapper(slowly):
                said.append(send(Client(), sender, *given))
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(given,)) for given in (found, found[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted((each["accepted"], each["repeated"]) for each in said) == [(0, 100), (100, 0)]
    assert Message.objects.count() == Delivery.objects.count() == 100
