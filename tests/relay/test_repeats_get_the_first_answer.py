"""The same message again is answered as the first time, whatever has become of its sender's place in the room."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from participants import directory, rooms
from participants.models import Membership, Room
from relay.models import Message
from tests import factories
from tests.factories import Registered

pytestmark = pytest.mark.django_db


def leave(membership: Membership) -> None:
    rooms.leave(membership.room, membership.participant, actor="tests")


def fall_silent(membership: Membership) -> None:
    Membership.objects.filter(pk=membership.pk).update(may_speak=False)


def lower_the_limit(membership: Membership) -> None:
    Room.objects.filter(pk=membership.room_id).update(payload_limit=1)


def send_alone(client: Client, sender: Registered, message_id: str, payload: bytes) -> tuple[int, dict[str, Any]]:
    headers = {"X-Sent-By": sender.name, "X-Message-Id": message_id, **sender.auth}
    answer = client.generic(
        "POST", "/api/v1/rooms/courts/messages", payload, content_type="text/plain", headers=headers
    )
    return answer.status_code, answer.json()


def send_in_a_batch(
    client: Client, sender: Registered, message_id: str, payload: bytes
) -> tuple[int, dict[str, Any]]:
    said = {"X-Sent-By": sender.name, "X-Message-Id": message_id, "X-Room": "courts", "Content-Length": len(payload)}
    body = json.dumps(said).encode() + b"\n" + payload + b"\n"
    answer = client.generic(
        "POST", "/api/v1/messages/batch", body, content_type="application/octet-stream", headers=sender.auth
    )
    (result,) = answer.json()["results"]
    return result.pop("status"), result


@pytest.mark.parametrize("send", [send_alone, send_in_a_batch])
@pytest.mark.parametrize(("change", "refused"), [(leave, 404), (fall_silent, 403), (lower_the_limit, 413)])
def test_a_repeat_is_answered_though_a_new_one_is_refused(
    client: Client, send: Callable[..., tuple[int, Any]], change: Callable[[Membership], None], refused: int
) -> None:
    sender, other = factories.participant(), factories.participant()
    room = factories.room("courts", sender, other)
    message_id = str(uuid.uuid4())
    first = send(client, sender, message_id, b"payload")
    assert first[0] == 202
    change(Membership.objects.get(participant=sender.row, room=room))
    directory.forget()
    assert send(client, sender, message_id, b"payload") == first
    assert send(client, sender, message_id, b"another")[0] == refused
    assert send(client, sender, str(uuid.uuid4()), b"payload")[0] == refused
    assert Message.objects.filter(sender=sender.row).count() == 1


def test_a_repeat_to_one_is_answered_though_it_is_too_long_by_now(client: Client) -> None:
    court = factories.room("courts")
    sender, other = factories.participant(rooms=[court]), factories.participant(rooms=[court])
    more = factories.room("more", sender)  # so that so much is read at all
    assert more.payload_limit > 1
    headers = {
        "X-Sent-By": sender.name,
        "X-Send-To": other.name,
        "X-Message-Id": str(uuid.uuid4()),
        **sender.auth,
    }

    def post() -> Any:
        return client.generic("POST", "/messages", b"payload", content_type="text/plain", headers=headers)

    first = post()
    assert first.status_code == 202
    lower_the_limit(Membership.objects.get(participant=other.row))
    directory.forget()
    assert post().json() == first.json()
    headers["X-Message-Id"] = str(uuid.uuid4())
    assert post().status_code == 413
