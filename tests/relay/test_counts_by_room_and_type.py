"""Messages and deliveries are counted by room and participant type, whichever way they go, with few labels."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone
from prometheus_client import REGISTRY

from dmr_project.processes import METRICS_BYTES
from participants import names, registry
from participants.models import Participant, Room
from relay import counting
from relay.delivery import claim, dead_letter, settle, sweeper
from relay.delivery.retry import Outcome
from relay.delivery.settle import Attempted, Ending
from relay.inbox import answers, leases
from relay.inbox.answers import Refusal
from relay.models import Breaker, Delivery, PayloadDue, State
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Post, metric

pytestmark = pytest.mark.django_db

BY_ROOM = ("dmr_messages_accepted_total", "dmr_messages_repeated_total", "dmr_deliveries_settled_total")
Counts = dict[tuple[str, ...], float]


def counts() -> Counts:
    """By name and the values of the labels, in the order of the labels' names."""
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in REGISTRY.collect()
        for sample in family.samples
        if sample.name in BY_ROOM and sample.value
    }


@pytest.fixture
def grown() -> Callable[[], Counts]:
    """What has been counted since the beginning of the test."""
    before = counts()
    return lambda: {key: value - before.get(key, 0) for key, value in counts().items() if value != before.get(key, 0)}


def accepted(room: str, kind: str = "Chatbot") -> tuple[str, ...]:
    return ("dmr_messages_accepted_total", room, kind)


def settled(state: str, room: str, kind: str) -> tuple[str, ...]:
    return ("dmr_deliveries_settled_total", kind, room, state)


# -- deliveries: whatever ends them --


def answer(status: int) -> None:
    outcome = Outcome(status < 300, status, "", 0.1)
    settle.settle([Attempted(each, outcome, timezone.now()) for each in claim.claim(10)])


def fetched(recipient: Registered) -> list[str]:
    return [str(each.handle) for each in leases.hand_out(recipient.entry, most=10, seconds=60)]


def expire(recipient: Registered) -> None:
    Delivery.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    sweeper.expire_held()


def expire_once_claimed(recipient: Registered) -> None:
    for each in claim.claim(10):
        settle.end_unattempted(each, Ending(State.EXPIRED, "too late", 504), timezone.now())


ENDS: dict[str, tuple[str, str, Callable[[Registered], object]]] = {
    "posted": ("push", "delivered", lambda recipient: answer(200)),
    "fetched": ("pull", "delivered", lambda recipient: answers.acknowledge(recipient.entry, fetched(recipient))),
    "posted and refused": ("push", "dead", lambda recipient: answer(404)),
    "fetched and refused": (
        "pull",
        "dead",
        lambda recipient: answers.refuse(recipient.entry, fetched(recipient), Refusal(is_final=True)),
    ),
    "expired while it waits to be posted": ("push", "expired", expire),
    "expired once claimed": ("push", "expired", expire_once_claimed),
    "expired while it waits to be fetched": ("pull", "expired", expire),
    "discarded": ("push", "dead", lambda recipient: dead_letter.discard(Delivery.objects.all())),
}


@pytest.mark.parametrize("status", [200, 404, 500])
def test_an_outcome_whose_lease_was_lost_is_an_attempt_and_no_more(status: int, grown: Callable[[], Counts]) -> None:
    """Somebody else has the delivery by then, and counts what becomes of it; so does the breaker."""
    sender, recipient = factories.participant(), factories.participant()
    Breaker.objects.create(recipient=recipient.row, failures=2)
    for _ in range(2):
        factories.message(sender, recipient.name)
    attempted = [Attempted(each, Outcome(status < 300, status, "", 0.1), timezone.now()) for each in claim.claim(10)]
    attempts, observed = metric("dmr_delivery_attempts_total"), metric("dmr_delivery_latency_seconds_count")
    before = grown()
    Delivery.objects.filter(pk=attempted[0].claimed.id).update(lease_token=1)
    settle.settle(attempted[:1])
    assert grown() == before
    assert metric("dmr_delivery_latency_seconds_count") == observed
    assert metric("dmr_delivery_attempts_total") == attempts + 1
    assert Breaker.objects.get().failures == 2
    assert not PayloadDue.objects.exists()
    settle.settle(attempted)
    assert sum(grown().values()) == sum(before.values()) + (status != 500)
    assert metric("dmr_delivery_latency_seconds_count") == observed + (status == 200)
    assert Breaker.objects.get().failures == {200: 0, 404: 2, 500: 3}[status]


@pytest.mark.parametrize(("mode", "state", "end"), ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("kind", ["Chatbot", "Classifier"])
def test_a_delivery_that_ends(
    mode: str, state: str, end: Callable[[Registered], object], kind: str, grown: Callable[[], Counts]
) -> None:
    sender, recipient = (
        factories.participant(rooms=[]),
        factories.participant(rooms=[], type=kind, delivery_mode=mode),
    )
    room = factories.room("", sender, recipient)
    factories.message(sender, recipient.name)
    end(recipient)
    assert grown() == {accepted(room.name): 1, settled(state, room.name, kind): 1}


# -- messages --


def test_a_message_and_its_repeat(post: Post, grown: Callable[[], Counts]) -> None:
    sender, recipient = factories.participant(rooms=[], type="Classifier"), factories.participant(rooms=[])
    room = factories.room("", sender, recipient)
    for _ in range(3):
        post(sender, recipient.name, X_Message_Id="3f6d2c1e-8a47-4c0e-9b57-6a1f0e2d4b88")
    assert grown() == {
        accepted(room.name, "Classifier"): 1,
        ("dmr_messages_repeated_total", room.name, "Classifier"): 2,
    }


def test_dead_ends(post: Post, grown: Callable[[], Counts]) -> None:
    sender, stranger = factories.participant(), factories.participant(rooms=[], type="Classifier")
    post(sender, "nobody-at-all")
    post(sender, stranger.name)
    assert grown() == {
        accepted("none"): 2,
        settled("dead", "none", "none"): 1,
        settled("dead", "none", "Classifier"): 1,
    }


def test_a_room_message_is_one_and_its_deliveries_are_many(client: Client, grown: Callable[[], Counts]) -> None:
    members = [factories.participant(rooms=[]) for _ in range(3)]
    room = factories.room("tax matters", *members)
    headers = {**members[0].auth, "X-Sent-By": members[0].name, "X-Message-Id": str(uuid.uuid4())}
    path = f"/api/v1/rooms/{room.name}/messages"
    assert client.generic("POST", path, b"x", "text/plain", headers=headers).status_code == 202
    answer(202)
    assert grown() == {accepted("tax matters"): 1, settled("delivered", "tax matters", "Chatbot"): 2}


def test_a_batch(client: Client, grown: Callable[[], Counts]) -> None:
    sender, recipient = factories.participant(rooms=[]), factories.participant(rooms=[])
    room = factories.room("", sender, recipient)
    ids = [str(uuid.uuid4()) for _ in range(3)]
    targets = [
        (ids[0], recipient.name),
        (ids[1], recipient.name),
        (ids[0], recipient.name),
        (ids[2], "nobody-at-all"),
    ]
    body = b"".join(
        json.dumps(
            {"X-Sent-By": sender.name, "X-Send-To": to, "X-Message-Id": message_id, "Content-Length": 1}
        ).encode()
        + b"\nx\n"
        for message_id, to in targets
    )
    for _ in range(2):
        said: Any = client.generic(
            "POST", "/api/v1/messages/batch", body, "application/octet-stream", headers=sender.auth
        )
        assert said.status_code == 202
    assert grown() == {
        accepted(room.name): 2,
        accepted("none"): 1,
        ("dmr_messages_repeated_total", room.name, "Chatbot"): 1 + 3,
        ("dmr_messages_repeated_total", "none", "Chatbot"): 1,
        settled("dead", "none", "none"): 1,
    }


# -- the labels --


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "MOST_ROOMS", 3)


@pytest.mark.usefixtures("few")
def test_the_oldest_rooms_have_labels_of_their_own_and_the_rest_share_one() -> None:
    registry.ensure_own_entries()
    rooms = [*Room.objects.order_by("pk"), *(factories.room() for _ in range(5))]
    assert [counting.room(room.pk) for room in rooms] == [room.name for room in rooms[:3]] + ["other"] * (
        len(rooms) - 3
    )
    assert counting.room(None) == "none"


def test_a_new_room_is_known_at_once_and_a_new_name_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    first = factories.room("tax matters")
    assert counting.room(first.pk) == "tax matters"
    assert counting.room(factories.room("pensions").pk) == "pensions"
    Room.objects.filter(pk=first.pk).update(name="taxes")
    assert counting.room(first.pk) == "tax matters"
    monkeypatch.setattr(counting, "KEEP_SECONDS", 0.0)
    assert counting.room(first.pk) == "taxes"


@pytest.mark.usefixtures("few")
def test_looking_a_label_up_costs_no_query(django_assert_num_queries: Any) -> None:
    rooms = [factories.room() for _ in range(5)]
    counting.room(rooms[0].pk)
    with django_assert_num_queries(0):
        for room in rooms:
            counting.room(room.pk)


def test_what_is_counted_has_happened_though_rooms_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    room = factories.room()

    def fail(*arguments: object) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(type(Room.objects.all()), "values_list", fail)
    assert counting.room(room.pk) == "other"


def test_all_labels_fit_into_the_file_that_is_reserved_for_them() -> None:
    """Of counters; see dmr_project.processes: a file that has to grow has holes, which a full disk makes deadly."""
    longest = max(len(kind) for kind in Participant.Type.values)
    states, kinds, rooms = 3, len(Participant.Type.values) + 1, counting.MOST_ROOMS + 2
    # As prometheus_client keeps them: a JSON text with the names, the labels and the help, a length, two numbers.
    help_text = max(len(str(each.documentation)) for each in REGISTRY.collect())
    entry = 2 * len("dmr_deliveries_settled_total") + help_text + names.LONGEST + longest + 100
    assert (states + 2) * kinds * rooms * entry < METRICS_BYTES * 0.75
