"""May one reach another, and why: decided by a table, and shown to staff and to participants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from participants import neighbours, registry
from participants.models import Change, Institution, Membership, Participant, Room
from participants.reach import Answer, Way, decide
from tests import factories
from tests.factories import Registered
from tests.participants.test_admin_manages_the_registry import form
from tests.staff import people

OPEN, MUTE, DEAF, CLOSED = (
    Way(number, "room", *terms)
    for number, terms in enumerate(((True, True), (False, True), (True, False), (False, False)), 1)
)


@dataclass(frozen=True)
class Stands:
    may_send: bool = True
    is_known: bool = True
    is_reachable: bool = True


ACTIVE, AWAY = Stands(), Stands(is_reachable=False)
SUSPENDED, REVOKED = Stands(may_send=False, is_reachable=False), Stands(False, False, False)


@pytest.mark.parametrize(
    ("ways", "one", "other", "answer", "way"),
    [
        ([], ACTIVE, ACTIVE, Answer.NO_SHARED_ROOM, None),
        ([], SUSPENDED, ACTIVE, Answer.MAY_NOT_SEND, None),
        ([], ACTIVE, REVOKED, Answer.UNKNOWN, None),
        ([OPEN], ACTIVE, ACTIVE, Answer.REACHED, OPEN),
        ([OPEN], AWAY, ACTIVE, Answer.REACHED, OPEN),
        ([OPEN], ACTIVE, AWAY, Answer.HELD, OPEN),
        ([OPEN], ACTIVE, SUSPENDED, Answer.HELD, OPEN),
        ([OPEN], SUSPENDED, AWAY, Answer.MAY_NOT_SEND, OPEN),
        ([OPEN], ACTIVE, REVOKED, Answer.UNKNOWN, OPEN),
        ([OPEN], REVOKED, REVOKED, Answer.MAY_NOT_SEND, OPEN),
        ([MUTE], ACTIVE, ACTIVE, Answer.MAY_NOT_SPEAK, None),
        ([DEAF], ACTIVE, AWAY, Answer.NOT_LISTENING, None),
        ([CLOSED], ACTIVE, ACTIVE, Answer.MAY_NOT_SPEAK, None),
        ([MUTE, DEAF], ACTIVE, ACTIVE, Answer.NOT_LISTENING, None),
        ([MUTE, DEAF], SUSPENDED, ACTIVE, Answer.MAY_NOT_SEND, None),
        ([DEAF, MUTE, OPEN], ACTIVE, ACTIVE, Answer.REACHED, OPEN),
        ([Way(9, "newer", True, True), OPEN], ACTIVE, ACTIVE, Answer.REACHED, OPEN),
    ],
)
def test_the_table(ways: list[Way], one: Stands, other: Stands, answer: Answer, way: Way | None) -> None:
    found = decide(ways, one, other)
    assert (found.answer, found.way) == (answer, way)
    assert found.is_open == (answer in (Answer.REACHED, Answer.HELD))


def page_of(browser: Client, who: Registered, query: str = "") -> str:
    answer = browser.get(reverse("admin:participants_participant_reach", args=[who.row.pk]) + query)
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.django_db
def test_the_page_says_who_and_why() -> None:
    one, other = factories.participant("tax-board", rooms=[]), factories.participant("police", rooms=[])
    stranger = factories.participant("harbour", rooms=[])
    room = factories.room("border")
    factories.join(room, one.row)
    factories.join(room, other.row, listens=False)
    viewer = people.browser(people.person("viewer"))
    page = page_of(viewer, one)
    assert "police" in page
    assert "harbour" not in page, "they share no room"
    assert str(Answer.NOT_LISTENING.label) in page
    assert "border: it may speak, the other does not listen" in page
    assert "border: it may speak, the other listens ✓" in page
    asked = page_of(viewer, one, "?q=HARB")
    assert stranger.name in asked
    assert str(Answer.NO_SHARED_ROOM.label) in asked
    assert "police" not in asked
    assert "Nobody." in page_of(viewer, one, "?q=nobody-of-that-name")
    link = reverse("admin:participants_participant_reach", args=[one.row.pk])
    assert link in viewer.get(reverse("admin:participants_participant_change", args=[one.row.pk])).content.decode()


@pytest.mark.django_db
def test_the_page_is_for_those_who_see_participants() -> None:
    one = factories.participant()
    url = reverse("admin:participants_participant_reach", args=[one.row.pk])
    assert people.browser(people.person()).get(url).status_code == 403
    viewer = people.browser(people.person("viewer"))
    relay = Participant.objects.get(name="dmr-relay")
    assert viewer.get(reverse("admin:participants_participant_reach", args=[relay.pk])).status_code == 403
    assert viewer.get(reverse("admin:participants_participant_reach", args=[relay.pk + 10_000])).status_code == 404


@pytest.fixture
def many(db: None) -> Registered:
    """One of 5,000 in the room national."""
    one = factories.participant("bot-of-all")
    institution = Institution.objects.get(pk=one.row.institution_id)
    rows = Participant.objects.bulk_create(
        Participant(institution=institution, name=f"bot-{number:05}", host="http://bot.invalid/")
        for number in range(5000)
    )
    national = Room.objects.get(name="national")
    Membership.objects.bulk_create(Membership(room=national, participant=row) for row in rows)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as PostgreSQL itself does soon; rows that tests rolled back mislead its planner
    return one


def test_5000_participants_are_paged(many: Registered, django_assert_max_num_queries: Any) -> None:
    viewer = people.browser(people.person("viewer"))
    page_of(viewer, many)
    for query in ("", "?p=37", "?q=bot-049", "?p=100&q=bot"):
        with django_assert_max_num_queries(15):
            page = page_of(viewer, many, query)
        assert page.count('<th scope="row">') == 50


def test_a_participant_pages_through_its_own(
    client: Client, many: Registered, django_assert_max_num_queries: Any
) -> None:
    seen: list[str] = []
    after = ""
    while True:
        with django_assert_max_num_queries(8):
            said = client.get(f"/api/v1/my/reach?limit=500&after={after}", headers=many.auth).json()
        seen += [each["name"] for each in said["participants"]]
        if said["next"] is None:
            break
        after = said["next"]
    assert len(seen) == len(set(seen)) == 5000
    assert said["participants"][-1]["rooms"] == [
        {"name": "national", "youSpeak": True, "youListen": True, "itSpeaks": True, "itListens": True}
    ]


@pytest.mark.django_db
def test_who_shares_no_room_is_told_so(client: Client) -> None:
    one, other = factories.participant(rooms=[]), factories.participant(rooms=[])
    assert client.get("/api/v1/my/reach", headers=one.auth).json() == {"participants": [], "next": None}
    (said,) = client.get(f"/api/v1/my/reach?participant={other.name}", headers=one.auth).json()["participants"]
    assert (said["youReachIt"], said["rooms"]) == ("no-shared-room", [])
    assert client.get("/api/v1/my/reach?limit=0", headers=one.auth).status_code == 400


@pytest.mark.django_db
@pytest.mark.parametrize("status", ["Pending", "Revoked"])
def test_participants_do_not_learn_of_those_that_are_not_in_the_network(client: Client, status: str) -> None:
    one, other, third = factories.participant(), factories.participant(), factories.participant()
    Participant.objects.filter(pk=other.row.pk).update(status=status)
    for query, names in (("", [third.name]), (f"?participant={other.name}", [])):
        said = client.get(f"/api/v1/my/reach{query}", headers=one.auth).json()["participants"]
        assert [each["name"] for each in said] == names
    assert client.get(f"/centops/public/participants/{other.row.public_id}", headers=one.auth).status_code == 404


@pytest.mark.django_db
def test_staff_say_who_speaks_and_listens_beside_the_participant(admin_client: Client) -> None:
    bot, other = factories.participant(), factories.participant()
    membership = bot.row.memberships.get()
    url = reverse("admin:participants_participant_change", args=[bot.row.pk])
    said = form(bot.row, reason="a listener", **{"memberships-0-may_speak": ""})
    assert admin_client.post(url, said).status_code == 302
    change = Change.objects.filter(kind="membership").first()
    assert change is not None
    assert (change.action, change.before, change.after) == ("change", {"may_speak": True}, {"may_speak": False})
    assert (change.actor, change.reason) == ("admin", "a listener")
    assert Membership.objects.get(pk=membership.pk).listens
    (both,) = neighbours.between(bot.row, [other.row])
    assert (both.there.answer, both.back.answer) == (Answer.MAY_NOT_SPEAK, Answer.REACHED)


@pytest.mark.django_db
def test_the_same_terms_again_are_no_change(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_participant_change", args=[bot.row.pk])
    before = Change.objects.count()
    assert admin_client.post(url, form(bot.row)).status_code == 302
    assert Change.objects.count() == before


@pytest.mark.django_db
def test_one_that_is_gone_is_nobodys_neighbour() -> None:
    one, other = factories.participant(), factories.participant()
    registry.remove_participant(other.row, actor="tests")
    assert other.row not in neighbours.anybody_but(one.row)
    assert other.row not in neighbours.beside(one.row)
