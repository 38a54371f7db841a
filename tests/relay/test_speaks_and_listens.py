"""Who may speak in a room and who listens decides where messages go, and what is said of it is what happens."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from django.test import Client

from participants import directory, history, neighbours, statuses
from participants.models import Membership, Participant
from participants.reach import Answer
from relay import retention, routing
from relay.delivery import claim
from relay.models import Delivery, Message, State
from relay.routing import Route
from tests import factories
from tests.factories import Registered
from tests.relay.conftest import Post

pytestmark = pytest.mark.django_db

TERMS = tuple(product((True, False), repeat=2))  # may speak, listens
FREE = [((True, True), (True, True))]


def pairs() -> Iterator[tuple[Registered, Registered]]:
    """Every way in which two may stand to each other: in one room, in two, in none; each status, and an outage."""
    for mine, theirs in product(TERMS, TERMS):
        yield together([(mine, theirs)])
    yield together([((True, False), (True, False)), ((False, True), (True, True))])  # no room carries to the other
    yield together([((False, True), (True, True)), *FREE])  # the second one carries
    yield together([])
    for status in ("Suspended", "Disabled", "Pending", "Revoked"):
        for shared in (FREE, []):
            yield together(shared, status)
    one, other = together(FREE)
    factories.outage(other)
    yield one, again(other)


def together(shared: list[tuple[Any, Any]], status: str = "Active") -> tuple[Registered, Registered]:
    one, other = factories.participant(rooms=[]), factories.participant(rooms=[])
    for mine, theirs in shared:
        room = factories.room()
        for who, (may_speak, listens) in ((one, mine), (other, theirs)):
            factories.join(room, who.row, may_speak=may_speak, listens=listens)
    Participant.objects.filter(pk=other.row.pk).update(status=status)
    history.advance_version()
    return one, again(other)


def again(who: Registered) -> Registered:
    return Registered(Participant.objects.get(pk=who.row.pk), who.key)


def outcome(post: Post, sender: Registered, recipient: Registered) -> Answer:
    """What really becomes of a message."""
    answer = post(sender, recipient.name)
    if answer.status_code in (401, 403):
        return Answer.MAY_NOT_SEND
    assert answer.status_code == 202
    delivery = Delivery.objects.filter(sender_id=sender.row.pk, recipient_name=recipient.name).latest("id")
    if delivery.state == State.DEAD:
        return next(
            answer
            for answer, said in (
                (Answer.UNKNOWN, "There is no participant"),
                (Answer.NO_SHARED_ROOM, "share no room"),
                (Answer.MAY_NOT_SPEAK, "may not speak"),
                (Answer.NOT_LISTENING, "listens in no room"),
            )
            if said in delivery.last_error
        )
    assert delivery.state == State.PENDING
    is_claimed = delivery.pk in {each.id for each in claim.claim(1000)}
    return Answer.REACHED if is_claimed else Answer.HELD


def test_what_is_said_is_what_happens(post: Post, client: Client) -> None:
    seen = set()
    for one, other in pairs():
        (both,) = neighbours.between(one.row, [other.row])
        really = outcome(post, one, other), outcome(post, other, one)
        assert (both.there.answer, both.back.answer) == really, (both.there.ways, both.back.ways)
        told = client.get(f"/api/v1/my/reach?participant={other.name}", headers=one.auth).json()["participants"]
        is_told = other.row.status not in statuses.UNKNOWN  # of those a participant learns nothing
        assert [(each["youReachIt"], each["itReachesYou"]) for each in told] == [tuple(map(str, really))] * is_told
        seen |= set(really)
    assert seen == set(Answer), "each answer was met"


def test_the_policy_is_that_of_the_room_that_carries() -> None:
    one, other = factories.participant(rooms=[]), factories.participant(rooms=[])
    older, newer = factories.room(payload_limit=1), factories.room(payload_limit=2)
    for room, may_speak in ((older, False), (newer, True)):
        factories.join(room, one.row, may_speak=may_speak)
        factories.join(room, other.row)
    for who, to, limit in ((one, other, 2), (other, one, 1)):
        route = routing.route(directory.current(), who.entry, to.name)
        assert isinstance(route, Route)
        assert route.policy.payload_limit == limit


def test_a_message_to_a_room_reaches_those_that_listen(client: Client) -> None:
    speaker, listener, silent, deaf = (factories.participant() for _ in range(4))
    room = factories.room("alerts", speaker, listener)
    factories.join(room, silent.row, may_speak=False)
    factories.join(room, deaf.row, listens=False)

    def say(who: Registered) -> Any:
        headers = {"X-Sent-By": who.name, "X-Message-Id": "0b6f5f0e-5c0f-4a55-8a54-0c7f7a3c2a11", **who.auth}
        return client.post("/api/v1/rooms/alerts/messages", b"hello", content_type="text/plain", headers=headers)

    assert say(speaker).status_code == 202
    assert set(Delivery.objects.values_list("recipient_name", flat=True)) == {listener.name, silent.name}
    answer = say(silent)
    assert (answer.status_code, answer.json()["type"]) == (403, "urn:problem-type:dmr:may-not-speak")
    assert say(deaf).status_code == 202
    assert say(factories.participant()).status_code == 404


def test_what_nobody_hears_is_forgotten_at_once(client: Client) -> None:
    speaker, deaf = factories.participant(), factories.participant()
    factories.join(factories.room("alerts", speaker), deaf.row, listens=False)
    headers = {"X-Sent-By": speaker.name, "X-Message-Id": "0b6f5f0e-5c0f-4a55-8a54-0c7f7a3c2a11", **speaker.auth}
    answer = client.post("/api/v1/rooms/alerts/messages", b"hello", content_type="text/plain", headers=headers)
    assert answer.status_code == 202
    assert client.get(f"/messages/{headers['X-Message-Id']}", headers=speaker.auth).json()["deliveries"] == []
    assert retention.delete_payloads() == 1
    assert bytes(Message.objects.get().payload) == b""


@pytest.mark.parametrize(("may_speak", "listens"), TERMS)
def test_classifiers_are_those_that_are_reached(may_speak: bool, listens: bool) -> None:
    bot, classifier = factories.participant(rooms=[]), factories.participant(rooms=[], type="Classifier")
    room = factories.room()
    factories.join(room, bot.row, may_speak=may_speak)
    factories.join(room, classifier.row, listens=listens)
    other = factories.room()  # in which each has what it lacks in the first
    factories.join(other, bot.row)
    factories.join(factories.room(), classifier.row)
    registered = directory.current()
    found = registered.classifiers_for(bot.entry)
    route = routing.route(registered, bot.entry, classifier.name)
    assert bool(found) == isinstance(route, Route) == (may_speak and listens)


@pytest.mark.parametrize(("may_speak", "listens"), TERMS)
def test_a_dead_letter_is_requeued_where_the_message_would_go_now(may_speak: bool, listens: bool) -> None:
    one, other = factories.participant(), factories.participant()
    dead = factories.delivery(one, other, state=State.DEAD)
    Membership.objects.filter(participant=one.row).update(may_speak=may_speak)
    Membership.objects.filter(participant=other.row).update(listens=listens)
    (row,) = Delivery.objects.filter(pk=dead.pk).with_obstacle()
    (both,) = neighbours.between(one.row, [other.row])
    assert (row.obstacle == "") == both.there.is_open == (may_speak and listens)
