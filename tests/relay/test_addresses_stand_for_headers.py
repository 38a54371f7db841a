"""`/unclassified`, `/classified`, `/conversations/…` and rooms are the same domain calls as `/messages`."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.test import Client

from relay.models import Message
from tests import factories
from tests.factories import Registered

pytestmark = pytest.mark.django_db


def post(client: Client, path: str, sender: Registered, **headers: str) -> Any:
    known = {"X-Sent-By": sender.name, "X-Message-Id": str(uuid.uuid4()), **sender.auth}
    named = {**known, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return client.post(path, b"payload", content_type="text/plain", headers={k: v for k, v in named.items() if v})


def newest() -> Message:
    return Message.objects.exclude(sent_by="Dmr").latest("id")


def recipients(message: Message) -> set[str]:
    return set(message.deliveries.values_list("recipient_name", flat=True))


def test_unclassified_goes_to_a_classifier(client: Client) -> None:
    bot, classifier = factories.participant(), factories.participant(type="Classifier")
    assert post(client, "/unclassified", bot).status_code == 202
    assert newest().send_to == "Classifier"
    assert recipients(newest()) == {classifier.name}


def test_classified_comes_from_the_classifier_alone(client: Client) -> None:
    bot, classifier = factories.participant(), factories.participant(type="Classifier")
    assert post(client, "/classified", classifier, X_Sent_By="", X_Send_To=bot.name).status_code == 202
    assert newest().sent_by == "Classifier"
    assert post(client, "/classified", bot, X_Sent_By="", X_Send_To=bot.name).status_code == 403


def test_a_conversation_names_participant_and_conversation(client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    assert post(client, f"/conversations/{other.name}/case%2017", bot).status_code == 202
    assert recipients(newest()) == {other.name}
    assert newest().conversation == newest().deliveries.get().conversation == "case 17"


def test_a_header_that_says_something_else_is_refused_by_name(client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    answer = post(client, f"/conversations/{other.name}/c1", bot, X_Send_To="somebody-else")
    assert answer.status_code == 400
    assert [error["header"] for error in answer.json()["errors"]] == ["X-Send-To"]


def test_a_room_reaches_every_other_member_with_one_payload(client: Client) -> None:
    sender, one, two, outsider = (factories.participant() for _ in range(4))
    factories.room("tax matters", sender, one, two)
    answer = post(client, "/api/v1/rooms/tax%20matters/messages", sender)
    assert answer.status_code == 202
    assert recipients(newest()) == {one.name, two.name}
    assert Message.objects.count() == 1
    status = client.get(f"/messages/{answer.json()['messageId']}", headers=sender.auth).json()
    assert {each["recipient"] for each in status["deliveries"]} == {one.name, two.name}
    assert len(client.get(f"/messages/{answer.json()['messageId']}", headers=one.auth).json()["deliveries"]) == 1
    assert client.get(f"/messages/{answer.json()['messageId']}", headers=outsider.auth).status_code == 404


@pytest.mark.parametrize("room", ["elsewhere", "no such room"])
def test_a_room_that_the_sender_is_not_in_is_not_found(client: Client, room: str) -> None:
    sender, other = factories.participant(), factories.participant()
    factories.room("elsewhere", other)
    assert post(client, f"/api/v1/rooms/{room}/messages", sender).status_code == 404


def test_a_repeat_to_the_room_gets_the_first_answer(client: Client) -> None:
    sender, other = factories.participant(), factories.participant()
    factories.room("tax matters", sender, other)
    message_id = str(uuid.uuid4())
    first, second = (
        post(client, "/api/v1/rooms/tax matters/messages", sender, X_Message_Id=message_id) for _ in range(2)
    )
    assert first.json() == second.json()
    assert newest().deliveries.count() == 1
    assert post(client, "/messages", sender, X_Message_Id=message_id, X_Send_To="tax matters").status_code == 409
