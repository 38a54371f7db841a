"""Outages: announced, ended, over by themselves; who is held is written down, and the others are told."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
import time_machine

from dmr_project.lib.errors import Conflict, Forbidden, InvalidInput
from participants import directory, outages, registry
from participants.models import Announcement, Change, Outage, Participant
from participants.outages import FOREVER, LINGER, next_window
from participants.tasks import keep_time
from tests import factories
from tests.factories import Registered

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=timezone.utc)
HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOON, tick=False) as traveller:
        yield traveller


def held(bot: Registered) -> tuple[datetime | None, datetime | None]:
    row = Participant.objects.get(pk=bot.row.pk)
    return row.held_from, row.held_until


def told() -> list[dict[str, Any]]:
    return [each.body for each in Announcement.objects.filter(kind="outage").order_by("id")]


def at(hours: float) -> datetime:
    return NOON + hours * HOUR


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        ([], None),
        ([(at(1), at(2))], (at(1), at(2))),
        ([(at(-1), at(2))], (at(-1), at(2))),
        ([(at(-1), None)], (at(-1), FOREVER)),
        ([(at(-2), at(-1))], None),
        ([(at(-2), NOON - LINGER)], None),
        ([(at(-2), NOON)], (at(-2), NOON)),  # it lingers
        ([(at(-2), NOON), (at(1), at(2))], (at(-2), NOON)),
        ([(at(-2), NOON), (NOON + LINGER, at(2))], (NOON + LINGER, at(2))),  # but not in the way of the next
        ([(at(-2), at(-1)), (at(1), at(2))], (at(1), at(2))),
        ([(at(3), at(4)), (at(1), at(2))], (at(1), at(2))),
        ([(at(0), at(2)), (at(1), at(3)), (at(3), at(4))], (at(0), at(4))),  # overlapping, and touching
        ([(at(0), at(4)), (at(1), at(2))], (at(0), at(4))),
        ([(at(1), at(2)), (at(0), None)], (at(0), FOREVER)),
    ],
)
def test_the_window_that_holds_now_or_next(
    windows: list[tuple[datetime, datetime | None]], expected: tuple[datetime, datetime] | None
) -> None:
    assert next_window(windows, NOON) == expected


def test_it_is_written_down_ahead_and_taken_away_after_a_while(clock: time_machine.Traveller) -> None:
    bot, other = factories.participant(), factories.participant()
    row = factories.outage(bot, begins_in=3600, seconds=3600)
    assert held(bot) == (at(1), at(2))
    assert held(other) == (None, None)
    assert row.state(NOON) == "next"
    clock.move_to(at(1))
    assert row.state(at(1)) == "now"
    assert outages.keep_time() == 0
    clock.move_to(at(2))
    assert outages.keep_time() == 1
    assert outages.keep_time() == 0
    row.refresh_from_db()
    assert (row.state(at(2)), row.ended_at) == ("over", at(2))
    assert held(bot) == (at(1), at(2)), "so that it has time to come back"
    clock.move_to(at(2) + LINGER)
    keep_time()
    assert held(bot) == (None, None)


def test_the_others_are_told_and_told_back(clock: time_machine.Traveller) -> None:
    bot = factories.participant()
    row = factories.outage(bot, begins_in=3600, text_et="Uuendame.")
    outages.end(factories.outage(bot, begins_in=7200), actor="anna", reason="not needed")
    clock.move_to(at(2))
    keep_time()
    assert [each["event"] for each in told()] == ["announced", "announced", "cancelled", "over"]
    first, last = told()[0], told()[-1]
    assert first["about"] == last["about"] == str(row.public_id)
    assert first["participants"] == [bot.name]
    assert first["text"] == {"et": "Uuendame.", "en": "The database is upgraded."}
    assert (first["kind"], first["beginsAt"], first["endsAt"]) == (
        "planned", "2026-03-02T13:00:00.000Z", "2026-03-02T14:00:00.000Z",
    )  # fmt: skip
    assert (first["endedAt"], last["endedAt"]) == (None, "2026-03-02T14:00:00.000Z")
    assert last["announcedAt"] == "2026-03-02T14:00:00.000Z"
    assert Announcement.objects.filter(kind="outage").exclude(recipients=None).count() == 0, "everybody active"


def test_who_and_what_is_in_the_log(clock: time_machine.Traveller) -> None:
    bot = factories.participant()
    row = factories.outage(bot)
    clock.move_to(at(0.5))
    outages.end(row, actor="anna", reason="mended")
    began, ended = Change.objects.filter(kind="outage").order_by("number")
    assert (began.action, began.actor, began.after["participants"]) == ("announce", "tests", [bot.name])
    assert (ended.action, ended.actor, ended.reason) == ("end", "anna", "mended")
    assert (ended.before["ended_at"], ended.after["ended_at"]) == (None, str(at(0.5)))


def test_an_open_one_lasts_until_it_is_ended(clock: time_machine.Traveller) -> None:
    bot = factories.participant()
    row = factories.outage(bot, seconds=None)
    assert held(bot) == (NOON, FOREVER)
    clock.move_to(at(500))
    keep_time()
    assert row.state(at(500)) == "now"
    ended = outages.end(row, actor="anna")
    assert ended.state(at(500)) == "over"
    assert held(bot) == (NOON, at(500))
    with pytest.raises(Conflict):
        outages.end(row, actor="anna")


def test_one_that_is_ended_before_it_begins_never_holds(clock: time_machine.Traveller) -> None:
    bot = factories.participant()
    row = outages.end(factories.outage(bot, begins_in=3600), actor="anna")
    assert row.state(NOON) == row.state(at(1.5)) == "cancelled"
    assert held(bot) == (None, None)
    assert not Outage.objects.within(at(1), at(2)).exists()


def test_those_that_overlap_hold_as_one(clock: time_machine.Traveller) -> None:
    bot = factories.participant()
    factories.outage(bot, seconds=7200)
    second = factories.outage(bot, begins_in=3600, seconds=7200)
    assert held(bot) == (NOON, at(3))
    outages.end(second, actor="anna")
    assert held(bot) == (NOON, at(2))


def test_an_institution_is_away_with_all_that_it_has_and_gets(clock: time_machine.Traveller) -> None:
    ministry = factories.institution()
    bot, other = factories.participant(institution=ministry), factories.participant()
    factories.outage(institution=ministry)
    assert held(bot) == (NOON, at(1))
    assert held(other) == (None, None)
    late = factories.participant(institution=ministry)
    other.row.institution = ministry
    registry.update(other.row, actor="anna")
    keep_time()
    assert held(late) == held(other) == (NOON, at(1))
    assert told()[0]["institution"] == {"id": str(ministry.public_id), "name": ministry.name}


def test_our_own_entry_is_never_away(clock: time_machine.Traveller) -> None:
    factories.participant()
    relay = directory.relay()
    factories.outage(institution=relay.institution)
    relay.refresh_from_db()
    assert relay.held_until is None
    with pytest.raises(InvalidInput):
        outages.announce(Outage(kind="unplanned", begins_at=NOON, text_en="x"), actor="anna", participants=[relay])


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "planned", "ends_at": None}, "endsAt"),
        ({"kind": "whenever"}, "kind"),
        ({"ends_at": NOON}, "endsAt"),
        ({"begins_at": at(2), "ends_at": at(1)}, "endsAt"),
        ({"ends_at": at(24 * 32)}, "endsAt"),
        ({"begins_at": at(24 * 400), "ends_at": at(24 * 400 + 1)}, "beginsAt"),
        ({"begins_at": at(-24 * 8)}, "beginsAt"),
        ({"text_en": " "}, "text"),
    ],
)
def test_what_makes_no_sense_is_refused(clock: time_machine.Traveller, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        factories.outage(factories.participant(), **fields)
    assert [each["field"] for each in refused.value.errors] == [field]
    assert not Outage.objects.exists()


def test_it_is_somebodys(clock: time_machine.Traveller) -> None:
    for members, fields in (([], {}), ([factories.participant()], {"institution": factories.institution()})):
        with pytest.raises(InvalidInput):
            factories.outage(*members, **fields)


def test_a_suspended_one_announces_nothing(clock: time_machine.Traveller) -> None:
    bot = factories.participant(status="Suspended")
    with pytest.raises(Forbidden):
        factories.outage(owner=bot.row)


def test_who_looked_already_sees_a_change_at_once(clock: time_machine.Traveller) -> None:
    bot = factories.participant()
    assert not bot.entry.is_away
    factories.outage(bot, begins_in=3600)
    entry = bot.entry
    assert not entry.is_away
    clock.move_to(at(1))
    assert entry.is_away
    clock.move_to(at(2))
    assert not entry.is_away


def test_beat_costs_little_when_there_is_nothing_to_do(django_assert_max_num_queries: Any) -> None:
    factories.outage(factories.participant(), begins_in=3600)
    with django_assert_max_num_queries(6):
        assert outages.keep_time() == 0
