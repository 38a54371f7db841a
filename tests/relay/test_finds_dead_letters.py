"""GET /api/v1/dead-letters: why, since when, for staff all and for a sender its own; and each list by an index."""

from __future__ import annotations

import json
import uuid
from datetime import datetime, timedelta, timezone
from itertools import chain
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from participants import registry
from relay import dead_letters
from relay.dead_letters import Place, Scope, Why
from relay.delivery import claim, dead_letter, leases, settle
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted, Ending
from relay.models import Delivery, Message, State
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Post

pytestmark = pytest.mark.django_db
PATH = "/api/v1/dead-letters"
NOON = datetime(2026, 11, 24, 12, tzinfo=timezone.utc)


@pytest.fixture
def staff(staff_key: str) -> dict[str, str]:
    return {"X-Api-Key": staff_key}


def dead(sender: Registered, recipient: Registered, minutes: int = 0, **columns: Any) -> Delivery:
    ended_at = NOON + timedelta(minutes=minutes)
    columns = {"state": State.DEAD, "ended_at": ended_at, "last_error": "the recipient answered 500", **columns}
    return factories.delivery(sender, recipient, **columns)


def written(*letters: Delivery) -> list[str]:
    return [letter.message.written_id for letter in letters]


def listed(client: Client, headers: dict[str, str], **query: Any) -> list[str]:
    answer = client.get(PATH, query, headers=headers)
    assert answer.status_code == 200, answer.content
    return [each["messageId"] for each in answer.json()["deadLetters"]]


def test_says_why_and_since_when_and_never_the_payload(client: Client, staff: dict[str, str]) -> None:
    sender, recipient = factories.participant(), factories.participant()
    message = factories.message(sender, recipient.name, b"a citizen's secret")
    Delivery.objects.update(
        state=State.EXPIRED, ended_at=NOON, last_error="the recipient answered 503", last_status=503, attempts=7
    )
    for headers in (staff, sender.auth):
        answer = client.get(PATH, headers=headers)
        assert answer.json() == {
            "deadLetters": [
                {
                    "messageId": message.written_id,
                    "sender": sender.name,
                    "recipient": recipient.name,
                    "state": "expired",
                    "deadSince": "2026-11-24T12:00:00.000Z",
                    "reason": "the recipient answered 503",
                    "lastStatus": 503,
                    "attempts": 7,
                    "acceptedAt": answer.json()["deadLetters"][0]["acceptedAt"],
                    "obstacle": None,
                }
            ],
            "next": None,
        }


def test_only_what_is_open_is_listed(client: Client, staff: dict[str, str]) -> None:
    sender, recipient = factories.participant(), factories.participant()
    letter = dead(sender, recipient)
    dead(sender, recipient, discarded_at=NOON)
    dead(sender, recipient, state=State.DELIVERED)
    factories.message(sender, recipient.name)
    assert listed(client, staff) == written(letter)


def test_a_sender_sees_its_own_however_they_died(client: Client, post: Post, staff: dict[str, str]) -> None:
    """Through the relay itself, by each of the ways in which a delivery ends badly."""
    sender, other, recipient = (factories.participant() for _ in range(3))
    room = factories.room("", sender, recipient)
    ids = {
        "unknown": post(sender, "nobody").json()["messageId"],
        "refused": post(sender, recipient.name).json()["messageId"],
        "gone": post(sender, recipient.name).json()["messageId"],
        "expired": post(sender, recipient.name, TTL="60").json()["messageId"],
    }
    batch = json.dumps(
        {
            "X-Sent-By": sender.name,
            "X-Send-To": recipient.name,
            "X-Message-Id": str(uuid.uuid4()),
            "Content-Length": 0,
        }
    )
    batched = client.generic("POST", "/api/v1/messages/batch", f"{batch}\n\n".encode(), headers=sender.auth)
    ids["batched"] = batched.json()["results"][0]["messageId"]
    in_room = client.generic(
        "POST",
        f"/api/v1/rooms/{room.name}/messages",
        b"",
        headers={**sender.auth, "X-Sent-By": sender.name, "X-Message-Id": str(uuid.uuid4())},
    )
    ids["room"] = in_room.json()["messageId"]
    theirs = post(other, "nobody").json()["messageId"]
    for claimed in claim.claim(100):
        if claimed.written_id in (ids["refused"], ids["batched"], ids["room"]):
            outcome = Outcome(False, 404, "no", 0.1)
            settle.settle([Attempted(claimed, outcome, datetime.now(timezone.utc))])
        elif claimed.written_id == ids["gone"]:
            settle.end_unattempted(claimed, Ending(State.DEAD, "gone", 404), datetime.now(timezone.utc))
        elif claimed.written_id == ids["expired"]:
            leases.hand_back([claimed])
            settle.expire(Delivery.objects.get(pk=claimed.id), datetime.now(timezone.utc))
    assert set(listed(client, sender.auth)) == set(ids.values())
    assert listed(client, other.auth) == [theirs]
    assert listed(client, recipient.auth) == []
    assert set(listed(client, staff)) == {*ids.values(), theirs}
    assert not Delivery.objects.filter(sender=None).exists()


def test_filters(client: Client, staff: dict[str, str]) -> None:
    sender, one, other = (factories.participant() for _ in range(3))
    first = dead(sender, one, 0, last_status=500)
    second = dead(sender, other, 10, last_status=404, last_error="the recipient answered 404, which is final")
    third = dead(other, one, 20, last_error="no answer within 10 s")
    for query, expected in (
        ({}, [third, second, first]),
        ({"recipient": one.name}, [third, first]),
        ({"recipient": one.name.upper()}, []),
        ({"since": "2026-11-24T12:10:00Z"}, [third, second]),
        ({"since": "2026-11-24T14:10:00+02:00"}, [third, second]),
        ({"until": "2026-11-24T12:10:00Z"}, [second, first]),
        ({"since": "2026-11-24T12:01:00Z", "until": "2026-11-24T12:19:59Z"}, [second]),
        ({"reason": "the recipient answered"}, [second, first]),
        ({"reason": "answered"}, []),
        ({"status": "404"}, [second]),
        ({"status": "500", "recipient": one.name, "reason": "the"}, [first]),
    ):
        assert listed(client, staff, **query) == written(*expected), query
    assert listed(client, sender.auth, recipient=one.name) == written(first)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"recipent": "x"}, "recipent"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-11-24T12:00:00"}, "since"),
        ({"until": "2026-13-24T12:00:00Z"}, "until"),
        ({"until": ""}, "until"),
        ({"status": ""}, "status"),
        ({"reason": "x" * 256}, "reason"),
        ({"status": "many"}, "status"),
        ({"limit": "501"}, "limit"),
        ({"limit": "0"}, "limit"),
        ({"after": "here"}, "after"),
        ({"after": f"1-{2**63}"}, "after"),
        ({"after": "9" * 40 + "-1"}, "after"),
        ({"recipient": "x" * 256}, "recipient"),
    ],
)
def test_a_bad_filter_is_named(client: Client, staff: dict[str, str], query: dict[str, str], field: str) -> None:
    answer = client.get(PATH, query, headers=staff)
    assert answer.status_code == 400
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"since": "0001-01-01T00:00:00+14:00"}, 1),
        ({"until": "0001-01-01T00:00:00+14:00"}, 0),
        ({"since": "9999-12-31T23:59:59-14:00"}, 0),
        ({"until": "9999-12-31T23:59:59-14:00"}, 1),
    ],
)
def test_times_may_lie_beyond_all_others(
    client: Client, staff: dict[str, str], query: dict[str, str], count: int
) -> None:
    dead(factories.participant(), factories.participant(), 0)
    assert len(listed(client, staff, **query)) == count


def pages(client: Client, headers: dict[str, str], **query: Any) -> list[list[str]]:
    found: list[list[str]] = []
    after = ""
    while len(found) < 20:
        answer = client.get(PATH, {**query, "after": after}, headers=headers).json()
        found.append([each["messageId"] for each in answer["deadLetters"]])
        after = answer["next"]
        if after is None:
            break
    return found


def test_pages_go_on_where_the_one_before_ended(client: Client, staff: dict[str, str]) -> None:
    """Also among those that ended at the same moment, and while others come."""
    sender, recipient = factories.participant(), factories.participant()
    letters = [dead(sender, recipient, minute) for minute in (0, 0, 0, 1, 2, 2, 3)]
    found = pages(client, staff, limit=2)
    assert list(chain(*found)) == written(*reversed(letters))
    assert max(len(each) for each in found) == 2
    first = client.get(PATH, {"limit": 3}, headers=staff).json()
    dead(sender, recipient, 9)
    assert listed(client, staff, after=first["next"]) == written(*reversed(letters[:4]))


def test_a_page_examines_so_many_and_no_more(
    client: Client, staff: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "MOST_EXAMINED", 3)
    sender, recipient = factories.participant(), factories.participant()
    rare = [dead(sender, recipient, 0, last_status=418)]
    for minute in range(1, 8):
        dead(sender, recipient, minute)
    rare.append(dead(sender, recipient, 8, last_status=418))
    found = pages(client, staff, status="418")
    assert found == [written(rare[1]), [], written(rare[0])] or found == [written(rare[1]), [], written(rare[0]), []]
    assert list(chain(*pages(client, sender.auth, recipient=recipient.name))) == listed(client, sender.auth)


def test_says_what_stands_in_the_way(client: Client, staff: dict[str, str]) -> None:
    sender, gone, forgotten, stranger, fine = (factories.participant() for _ in range(5))
    letters = {
        None: dead(sender, fine),
        "recipient-gone": dead(sender, gone),
        "payload-deleted": dead(sender, forgotten),
        "no-shared-room": dead(sender, stranger),
    }
    registry.remove_participant(gone.row, actor="tests")
    Message.objects.filter(deliveries=letters["payload-deleted"]).update(payload_deleted_at=NOON)
    stranger.row.memberships.all().delete()
    answer = client.get(PATH, headers=staff).json()["deadLetters"]
    found = {each["messageId"]: each["obstacle"] for each in answer}
    assert found == {letter.message.written_id: obstacle for obstacle, letter in letters.items()}
    assert dead_letter.requeue(Delivery.objects.all()) == 1
    assert Delivery.objects.get(state=State.PENDING) == letters[None]


def test_our_own_error_messages_need_no_room(post: Post) -> None:
    sender = factories.participant()
    post(sender, "nobody")
    Delivery.objects.filter(message__sent_by="Dmr").update(state=State.DEAD, ended_at=NOON)
    assert dead_letter.requeue(Delivery.objects.all()) == 1


def test_who_may_not_speak_to_somebody_may_not_requeue_to_it(client: Client, post: Post) -> None:
    sender, stranger = factories.participant(), factories.participant(rooms=[factories.room()])
    message_id = post(sender, stranger.name).json()["messageId"]
    answer = client.post(
        f"{PATH}/requeue", {"messageId": message_id}, content_type="application/json", headers=sender.auth
    )
    assert answer.json() == {"done": 0, "left": {"no-shared-room": 1}}
    assert Delivery.objects.get(recipient=stranger.row).state == State.DEAD


@pytest.mark.skipif(connection.vendor != "postgresql", reason="the plans of PostgreSQL")
@pytest.mark.parametrize(
    ("scope", "index"),
    [
        (Scope(), "dead_letters_by_end"),
        (Scope(since=NOON), "dead_letters_by_end"),
        (Scope(recipient="x", until=NOON), "dead_letters_to_recipient"),
        (Scope(sender_id=1, since=NOON), "dead_letters_of_sender"),
    ],
)
def test_each_list_has_its_index(scope: Scope, index: str) -> None:
    """In order as it is, however many there are: no sorting."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")
    plan = scope.rows().order_by("-ended_at", "-id").values_list("id")[:100].explain()
    assert index in plan, plan
    assert "Sort" not in plan, plan


def test_place_survives_its_text() -> None:
    place = Place(datetime(2026, 11, 24, 1, 2, 3, 456789, tzinfo=timezone.utc), 2**62)
    assert Place.parse(str(place)) == place
    assert dead_letters.page(Scope(), Why(), place, 10).letters == []


def test_what_was_for_a_room_is_for_who_is_in_it(client: Client) -> None:
    """Whatever other room the two share."""
    sender, left, stays = (factories.participant() for _ in range(3))
    room = factories.room("secret", sender, left, stays)
    headers = {"X-Sent-By": sender.name, "X-Message-Id": str(uuid.uuid4()), **sender.auth}
    client.post("/api/v1/rooms/secret/messages", b"payload", content_type="text/plain", headers=headers)
    Delivery.objects.update(state=State.DEAD, ended_at=NOON)
    left.row.memberships.filter(room=room).delete()
    answer = client.post(
        f"{PATH}/requeue",
        {"messageId": headers["X-Message-Id"]},
        content_type="application/json",
        headers=sender.auth,
    )
    assert answer.json() == {"done": 1, "left": {"not-in-its-room": 1}}
    assert Delivery.objects.get(state=State.PENDING).recipient == stays.row
    Delivery.objects.update(state=State.DEAD, ended_at=NOON)
    Message.objects.update(room=None)  # it was closed
    assert dead_letter.requeue(Delivery.objects.all()) == 0
