"""Outages under /api/v1/outages: listed, announced, ended, and the calendar."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import icalendar
import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from participants import life, outages
from participants.models import CalendarFeed, Outage
from tests import factories
from tests.factories import Registered

pytestmark = pytest.mark.django_db

PATH = "/api/v1/outages"
TEXT = {"et": "Uuendame.", "en": "Upgrading."}


class Caller:
    def __init__(self, client: Client, key: str) -> None:
        self.client, self.headers = client, {"X-Api-Key": key}

    def get(self, path: str = "", **query: str) -> Any:
        return self.client.get(PATH + path, query, headers=self.headers)

    def post(self, path: str = "", **body: Any) -> Any:
        return self.client.post(PATH + path, body, content_type="application/json", headers=self.headers)


@pytest.fixture
def bot() -> Registered:
    return factories.participant()


@pytest.fixture
def own(client: Client, bot: Registered) -> Caller:
    return Caller(client, bot.key)


@pytest.fixture
def staff(client: Client, staff_key: str) -> Caller:
    return Caller(client, staff_key)


def in_hours(hours: float) -> str:
    return (timezone.now() + timedelta(hours=hours)).isoformat()


def test_a_participant_announces_its_own_and_ends_it(own: Caller, bot: Registered, staff: Caller) -> None:
    made = own.post(kind="planned", beginsAt=in_hours(1), endsAt=in_hours(2), text=TEXT)
    assert made.status_code == 201, made.content
    shape = made.json()
    assert (shape["state"], shape["participants"], shape["institution"]) == ("next", [bot.name], None)
    assert (shape["text"], shape["announcedBy"], shape["endedAt"]) == (TEXT, bot.name, None)
    for who in (own, staff):
        assert who.get().json() == {"outages": [shape], "next": None}
        assert who.get(f"/{shape['id']}").json() == shape
    ended = own.post(f"/{shape['id']}/end")
    assert (ended.status_code, ended.json()["state"]) == (200, "cancelled")
    assert own.post(f"/{shape['id']}/end").status_code == 409
    assert own.get().json()["outages"] == []


def test_an_open_one_begins_now(own: Caller, bot: Registered) -> None:
    shape = own.post(kind="unplanned", text={"en": "We are off."}).json()
    assert (shape["state"], shape["endsAt"]) == ("now", None)
    assert bot.entry.is_away
    again = own.post(kind="unplanned", text={"en": "We are off, again."})
    assert (again.status_code, again.json()["id"]) == (200, shape["id"])
    assert Outage.objects.count() == 1


def test_said_twice_is_said_once(own: Caller) -> None:
    body: dict[str, Any] = {"kind": "planned", "beginsAt": in_hours(1), "endsAt": in_hours(2), "text": TEXT}
    first, second = own.post(**body), own.post(**body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert own.post(**{**body, "text": {"en": "Another."}}).status_code == 201


def test_whoever_is_suspended_ends_none(own: Caller, bot: Registered, staff: Caller) -> None:
    """The whole network would be told of it."""
    made = own.post(kind="planned", beginsAt=in_hours(1), endsAt=in_hours(2), text=TEXT).json()
    life.suspend([bot.row], actor="anna", reason="it floods")
    refused = own.post(f"/{made['id']}/end")
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:problem-type:dmr:suspended")
    assert Outage.objects.get().ended_at is None
    assert staff.post(f"/{made['id']}/end").status_code == 200


def test_participants_do_not_learn_what_staff_are_called(own: Caller, bot: Registered) -> None:
    outage = Outage(kind="unplanned", begins_at=timezone.now(), text_en="It is down.")
    outages.announce(outage, actor="anna.user-name", participants=[bot.row])
    (said,) = own.get().json()["outages"]
    assert said["announcedBy"] == "Core"


def test_nobody_announces_for_somebody_else(own: Caller) -> None:
    other = factories.participant()
    for more in ({"participants": [other.name]}, {"institution": str(other.row.institution.public_id)}):
        answer = own.post(kind="unplanned", text=TEXT, **more)
        assert answer.status_code == 400
    assert not Outage.objects.exists()


def test_nobody_ends_what_somebody_else_announced(own: Caller, bot: Registered) -> None:
    row = factories.outage(bot)
    assert own.post(f"/{row.public_id}/end").status_code == 403
    assert own.post(f"/{uuid.uuid4()}/end").status_code == 404


def test_staff_announce_for_anybody_and_end_it(staff: Caller, bot: Registered) -> None:
    other = factories.participant()
    made = staff.post(kind="unplanned", text=TEXT, participants=[bot.name, other.name])
    assert made.json()["participants"] == sorted([bot.name, other.name])
    of_all = staff.post(kind="unplanned", text=TEXT, institution=str(bot.row.institution.public_id))
    assert of_all.json()["institution"]["name"] == bot.row.institution.name
    assert [each["id"] for each in staff.get(participant=bot.name).json()["outages"]] == [
        made.json()["id"], of_all.json()["id"],
    ]  # fmt: skip
    assert len(staff.get(participant=other.name).json()["outages"]) == 1
    assert staff.post(f"/{made.json()['id']}/end").status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "sometimes"}, "kind"),
        ({"text": "plain"}, "text"),
        ({"text": {}}, "text"),
        ({"text": {"fr": "Nous."}}, "fr"),
        ({"beginsAt": "tomorrow"}, "beginsAt"),
        ({"endsAt": "2020-01-01T00:00:00Z"}, "endsAt"),
        ({"participants": ["nobody-of-that-name"]}, "participants"),
        ({"participants": "bot"}, "participants"),
        ({"institution": "x"}, "institution"),
        ({"institution": str(uuid.uuid4())}, "institution"),
        ({"end": "soon"}, "end"),
    ],
)
def test_a_bad_field_is_named(staff: Caller, bot: Registered, body: dict[str, Any], field: str) -> None:
    answer = staff.post(**{"kind": "unplanned", "text": TEXT, "participants": [bot.name], **body})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


def test_a_participant_announces_ten_an_hour(own: Caller) -> None:
    answers = []
    for number in range(11):
        answers.append(own.post(kind="unplanned", text={"en": f"number {number}"}))
        if answers[-1].status_code == 201:
            own.post(f"/{answers[-1].json()['id']}/end")
    assert [each.status_code for each in answers] == [201] * 10 + [429]


def test_pages_and_what_was_over(staff: Caller, bot: Registered) -> None:
    rows = [factories.outage(bot, begins_in=number) for number in (1, 2, 3)]
    first = staff.get(limit="2").json()
    assert [each["id"] for each in first["outages"]] == [str(row.public_id) for row in rows[:2]]
    rest = staff.get(limit="2", after=first["next"]).json()
    assert ([each["id"] for each in rest["outages"]], rest["next"]) == ([str(rows[2].public_id)], None)
    outages.end(rows[0], actor="anna")
    assert len(staff.get().json()["outages"]) == 2
    assert len(staff.get(since=in_hours(-1)).json()["outages"]) == 3
    assert staff.get(since=in_hours(-1), page="2").status_code == 400


# -- the calendar --


def events(content: bytes) -> dict[str, Any]:
    calendar = icalendar.Calendar.from_ical(content)
    assert calendar["VERSION"] == "2.0"
    return {str(each["UID"]): each for each in calendar.walk("VEVENT")}


def test_the_calendar_can_be_read_by_a_calendar_program(own: Caller, staff: Caller, bot: Registered) -> None:
    text = "Uuendame; ka , ja \\ ja õäöü. " * 8
    planned = factories.outage(bot, begins_in=3600, text_et=text)
    is_open = factories.outage(institution=bot.row.institution, seconds=None)
    cancelled = outages.end(factories.outage(bot, begins_in=7200), actor="anna")
    answer = own.get(".ics")
    assert answer["Content-Type"] == "text/calendar; charset=utf-8"
    assert answer.content == staff.get(".ics").content
    assert all(len(line) <= 75 for line in answer.content.split(b"\r\n"))
    found = events(answer.content)
    assert len(found) == 3
    first = found[f"{planned.public_id}@dmr"]
    assert first["DTSTART"].dt == planned.begins_at.replace(microsecond=0)
    assert first["DTEND"].dt == planned.ends_at.replace(microsecond=0)  # type: ignore[union-attr]
    assert str(first["DESCRIPTION"]) == f"{text}\n\nThe database is upgraded."
    assert bot.name in str(first["SUMMARY"])
    assert found[f"{is_open.public_id}@dmr"]["DTEND"].dt > timezone.now()
    assert bot.row.institution.name in str(found[f"{is_open.public_id}@dmr"]["SUMMARY"])
    gone = found[f"{cancelled.public_id}@dmr"]
    assert (str(gone["STATUS"]), gone["SEQUENCE"]) == ("CANCELLED", 1)


def test_a_secret_address_opens_it_and_a_new_one_voids_it(own: Caller, bot: Registered, client: Client) -> None:
    factories.outage(bot)
    first, second = (own.post("/calendar").json()["url"] for _ in range(2))
    path = second.partition("/api/")[2]
    assert client.get(f"/api/{first.partition('/api/')[2]}").status_code == 404
    answer = client.get(f"/api/{path}")
    assert len(events(answer.content)) == 1
    token = path.rpartition("/")[2].removesuffix(".ics")
    assert token not in CalendarFeed.objects.get().token_digest
    life.revoke([bot.row], actor="anna", reason="it left")
    assert client.get(f"/api/{path}").status_code == 404


def test_the_address_of_a_member_of_staff_ends_with_the_account(admin_client: Client, admin_user: User) -> None:
    page = admin_client.post(reverse("admin:participants_outage_calendar")).content.decode()
    path = "/api/" + page.split('id="feed"')[1].split('value="')[1].split('"')[0].partition("/api/")[2]
    reader = Client()
    assert reader.get(path).status_code == 200
    User.objects.filter(pk=admin_user.pk).update(is_active=False)
    assert reader.get(path).status_code == 404
