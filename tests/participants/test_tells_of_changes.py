"""Participants that want it are told that the list has changed: once for a burst, by name, and not too late."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from participants import announcements, listing, news, registry
from participants.listing import Cursor
from participants.models import Announcement
from relay import tasks
from relay.models import Message
from tests import factories
from tests.factories import Registered

Kind = Announcement.Kind


@pytest.fixture
def clock() -> Any:
    with time_machine.travel(timezone.now(), tick=False) as traveller:
        yield traveller


@pytest.fixture
def reader(db: None, clock: time_machine.Traveller) -> Registered:
    """One that wants to be told, and was told of itself."""
    found = factories.participant("reader", announcements="all")
    clock.shift(news.SETTLED)
    assert news.participants_changed() is not None
    return found


def test_the_first_time_says_that_there_is_a_list(reader: Registered) -> None:
    row = Announcement.objects.get(kind=Kind.PARTICIPANTS)
    position = listing.position()
    assert row.body == {
        "about": str(Cursor(position)),
        "announcedAt": announcements.moment(timezone.now()),
        "version": position.number,
        "cursor": str(Cursor(position)),
        "reset": True,
    }


def test_a_burst_is_one_announcement_that_names_what_changed(
    reader: Registered, clock: time_machine.Traveller
) -> None:
    police, tax = factories.participant("police"), factories.participant("tax-board")
    clock.shift(news.SETTLED)
    news.participants_changed()
    education = factories.participant("education")
    police.row.host = "http://elsewhere.invalid/"
    registry.update(police.row, actor="tests")
    assert news.participants_changed() is None, "it may go on"
    clock.shift(1)
    registry.remove_participant(tax.row, actor="tests")
    clock.shift(2)
    assert news.participants_changed() is None
    clock.shift(1)
    row = news.participants_changed()
    assert row is not None
    assert {name: row.body[name] for name in ("added", "changed", "removed", "more")} == {
        "added": [education.name], "changed": ["police"], "removed": ["tax-board"], "more": False,
    }  # fmt: skip
    assert row.recipients is None
    clock.shift(60)
    assert news.participants_changed() is None, "nothing has changed since"


def test_what_does_not_stop_is_told_of_at_last(reader: Registered, clock: time_machine.Traveller) -> None:
    made = []
    for _ in range(25):
        factories.participant()
        clock.shift(1)
        made.append(news.participants_changed() is not None)
    assert made.index(True) == news.LONGEST.total_seconds() - 1
    assert made.count(True) == 1


def test_what_the_list_does_not_show_is_no_news(reader: Registered, clock: time_machine.Traveller) -> None:
    registry.issue_key(reader.row, actor="tests")
    clock.shift(60)
    assert news.participants_changed() is None


def test_many_changes_are_not_all_named(
    reader: Registered, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news, "MOST_NAMED", 2)
    for number in range(3):
        factories.participant(f"bot {number}")
    clock.shift(60)
    row = news.participants_changed()
    assert row is not None
    assert (row.body["added"], row.body["more"]) == (["bot 0", "bot 1"], True)


def test_of_two_that_look_at_once_one_announces(
    reader: Registered, clock: time_machine.Traveller, monkeypatch: pytest.MonkeyPatch
) -> None:
    factories.participant()
    clock.shift(60)
    told = news.last_told()
    assert news.participants_changed() is not None
    monkeypatch.setattr(news, "last_told", lambda: told)
    assert news.participants_changed() is None
    assert Announcement.objects.filter(kind=Kind.PARTICIPANTS).count() == 2


def test_beat_tells_those_who_want_it(reader: Registered, clock: time_machine.Traveller) -> None:
    factories.participant(announcements="important")
    clock.shift(60)
    tasks.announce()
    told = Message.objects.filter(model_type="application/vnd.dmr.participants+json;version=1")
    assert [list(each.deliveries.values_list("recipient_name", flat=True)) for each in told] == [["reader"]]


def test_the_newest_is_not_forgotten_so_that_it_is_not_said_again(
    reader: Registered, clock: time_machine.Traveller
) -> None:
    factories.participant()
    clock.shift(60)
    news.participants_changed()
    Announcement.objects.update(sent_at=timezone.now())
    clock.shift(announcements.KEPT + timedelta(days=1))
    announcements.forget()
    assert Announcement.objects.count() == 1
    assert news.participants_changed() is None


@pytest.mark.django_db
def test_a_network_without_anybody_has_no_news() -> None:
    assert news.participants_changed() is None
