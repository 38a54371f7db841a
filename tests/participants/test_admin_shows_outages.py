"""Outages in the admin: announcing, ending, and the calendar."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.urls import reverse
from django.utils.timezone import make_aware

from participants import outage_calendar, outages
from participants.models import Change, Outage
from tests import factories
from tests.staff.people import chosen

pytestmark = pytest.mark.django_db

# 23:30 of the 30th in UTC is 1:30 of the 31st in Tallinn.
LATE = datetime(2026, 3, 30, 22, 30, tzinfo=timezone.utc)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(LATE, tick=False) as traveller:
        yield traveller


def calendar(client: Client, month: str = "") -> str:
    return client.get(reverse("admin:participants_outage_calendar"), {"month": month}).content.decode()


def test_staff_announce_and_end(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_outage_add")
    form = {"kind": "planned", "participants": [bot.row.pk], "text_en": "The database is upgraded."}
    assert "a planned outage has an end" in admin_client.post(url, form).content.decode()
    page = admin_client.post(url, {**form, "ends_at": "2099-01-01T10:00"}, follow=True).content.decode()
    assert "at most 31 days" in page
    page = admin_client.post(url, {**form, "kind": "unplanned"}, follow=True).content.decode()
    assert "The outage is announced." in page
    assert bot.name in page
    row = Outage.objects.get()
    assert (row.announced_by, row.announced_by_kind) == ("admin", "person")
    button = reverse("admin:participants_outage_do", args=[row.pk, "end"])
    page = admin_client.post(button, {"reason": "mended"}, follow=True).content.decode()
    assert "The outage is over." in page
    assert Change.objects.get(action="end").reason == "mended"
    assert button not in page


def test_the_list_ends_many_and_says_how_many(admin_client: Client) -> None:
    bot = factories.participant()
    rows = [factories.outage(bot), factories.outage(bot, begins_in=60)]
    outages.end(rows[0], actor="anna")
    url = reverse("admin:participants_outage_changelist")
    page = chosen(admin_client, url, "end_all", rows, reason="mended").content.decode()
    assert "1 ended; 1 were over already." in page
    assert "is over already" in page
    assert Change.objects.filter(action="end", reason="mended").count() == 1


def test_the_calendar_shows_now_next_and_the_month(admin_client: Client, clock: time_machine.Traveller) -> None:
    now, soon = factories.participant("tax-bot"), factories.participant("police-bot")
    factories.outage(now, seconds=3 * 86_400)
    factories.outage(soon, begins_in=86_400)
    ministry = factories.institution("Ministry of Weather")
    factories.outage(institution=ministry, begins_in=10 * 86_400)
    page = calendar(admin_client)
    assert "March 2026" in page, "by the clock of Tallinn"
    assert page.index("tax-bot") < page.index("police-bot") < page.index("Ministry of Weather")
    month = page.split('class="outage-month"')[1]
    # The 31st, and the days of April that end its week.
    assert month.count("tax-bot") == 4
    assert month.count("police-bot") >= 1
    assert "Ministry of Weather" not in month
    assert "Ministry of Weather" in calendar(admin_client, "2026-04").split('class="outage-month"')[1]
    assert "?month=2026-02" in page
    assert "?month=2026-04" in page


def test_a_day_names_a_few_and_leads_to_all(admin_client: Client, clock: time_machine.Traveller) -> None:
    most = outage_calendar.MOST_OF_A_DAY
    bots = [factories.participant(f"bot-{number:02}") for number in range(most + 3)]
    for bot in bots:
        factories.outage(bot, begins_in=86_400)
    other = factories.participant("late-bot")
    factories.outage(other, begins_in=3 * 86_400)
    month = calendar(admin_client, "2026-04").split('class="outage-month"')[1]
    assert month.count("bot-0") == most
    assert "and 3 more" in month
    assert "?day=2026-04-01" in month
    page = admin_client.get(reverse("admin:participants_outage_changelist"), {"day": "2026-04-01"}).content.decode()
    found = page.split('id="result_list"')[1]
    assert all(bot.name in found for bot in bots)
    assert "late-bot" not in found


@pytest.mark.parametrize("day", ["2026-13-01", "x", "", "9999-12-31", "2026-1-1"])
def test_a_day_that_is_none_chooses_nothing(admin_client: Client, clock: time_machine.Traveller, day: str) -> None:
    factories.outage(factories.participant("tax-bot"))
    answer = admin_client.get(reverse("admin:participants_outage_changelist"), {"day": day})
    assert answer.status_code == 200
    assert "tax-bot" in answer.content.decode()


@pytest.mark.parametrize("month", ["2026-13", "2026-00", "x", "2026", "0-1", "99999-1", "²026-1", "2026-1-1"])
def test_a_month_that_is_none_is_this_one(admin_client: Client, clock: time_machine.Traveller, month: str) -> None:
    assert "March 2026" in calendar(admin_client, month)


def test_a_month_of_many_costs_few_queries(admin_client: Client, django_assert_max_num_queries: Any) -> None:
    bots = [factories.participant() for _ in range(5)]
    for number in range(20):
        factories.outage(*bots, begins_in=number * 3600, seconds=600)
    for url in (reverse("admin:participants_outage_calendar"), reverse("admin:participants_outage_changelist")):
        with django_assert_max_num_queries(20):
            assert admin_client.get(url).status_code == 200


@pytest.mark.parametrize(
    ("begins", "until", "said"),
    [
        ("2026-03-30 20:00", "2026-03-30 22:00", "20:00–22:00"),
        ("2026-03-29 20:00", "2026-03-30 22:00", "–22:00"),
        ("2026-03-30 20:00", "2026-03-31 02:00", "20:00–"),
        ("2026-03-30 20:00", None, "20:00–"),
        ("2026-03-29 20:00", "2026-03-31 02:00", "all day"),
        ("2026-03-29 20:00", None, "all day"),
        ("2026-03-30 00:00", "2026-03-31 00:00", "00:00–00:00"),
    ],
)
def test_the_hours_of_a_day(begins: str, until: str | None, said: str) -> None:
    def moment(text: str) -> datetime:
        return make_aware(datetime.strptime(text, "%Y-%m-%d %H:%M"))

    day = moment("2026-03-30 00:00"), moment("2026-03-31 00:00")
    assert outage_calendar.hours(moment(begins), moment(until) if until else None, *day) == said


def test_the_list_of_participants_says_who_is_away(admin_client: Client) -> None:
    bot = factories.participant()
    url = reverse("admin:participants_participant_changelist")
    assert "in an outage" not in admin_client.get(url).content.decode()
    factories.outage(bot)
    assert "Active, in an outage" in admin_client.get(url).content.decode()
