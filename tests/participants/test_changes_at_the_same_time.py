"""What was deleted meanwhile stays deleted; what only one may say is said by nobody else."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from django.db import connection, transaction
from django.test import Client
from django.utils import timezone

from dmr_project.lib.errors import Forbidden, InvalidInput, NotFound
from participants import calendar_feeds, directory, life, outages, registry
from participants.models import Announcement, CalendarFeed, Institution, Outage, Participant
from participants.statuses import LIFE
from relay import own_messages
from tests import factories
from tests.invariants.test_nothing_accepted_is_lost import in_threads

pytestmark = pytest.mark.django_db

CHOSEN = "chosen-by-staff"


def test_a_change_does_not_bring_back_what_was_deleted() -> None:
    bot = factories.participant()
    seen = Participant.objects.get(pk=bot.row.pk)
    registry.remove_participant(bot.row, actor="anna")
    seen.host = "http://elsewhere.example/messages"
    with pytest.raises(NotFound):
        registry.update(seen, actor="bert")
    bot.row.refresh_from_db()
    assert (bot.row.status, bot.row.deleted_at is None) == ("Deleted", False)


def test_a_change_does_not_lift_a_suspension_it_has_not_seen() -> None:
    bot = factories.participant()
    seen = Participant.objects.get(pk=bot.row.pk)
    registry.set_status([bot.row], "Suspended", actor="anna")
    seen.host = "http://elsewhere.example/messages"
    seen.status = "Suspended"
    registry.update(seen, actor="bert")
    assert bot.entry.status == "Suspended"


def test_the_form_does_not_lift_a_suspension_that_came_meanwhile() -> None:
    bot = factories.participant()
    seen = Participant.objects.get(pk=bot.row.pk)
    life.suspend([bot.row], actor="anna", reason="it floods", until=timezone.now() + timedelta(hours=1))
    seen.host = "http://elsewhere.example/messages"
    registry.update(seen, actor="bert", but=LIFE)
    bot.row.refresh_from_db()
    assert (bot.row.status, bot.row.host) == ("Suspended", "http://elsewhere.example/messages")
    assert bot.row.suspended_until is not None


@pytest.mark.django_db(transaction=True)
def test_outages_that_are_announced_at_once_hold_as_one() -> None:
    bot = factories.participant()
    begins = iter(range(6))
    in_threads(6, lambda: factories.outage(bot, begins_in=600 * next(begins), seconds=900))
    bot.row.refresh_from_db()
    rows = list(Outage.objects.order_by("begins_at"))
    assert len(rows) == 6
    assert (bot.row.held_from, bot.row.held_until) == (rows[0].begins_at, rows[-1].ends_at)


@pytest.mark.django_db(transaction=True)
def test_of_two_calendar_addresses_made_at_once_one_is_good(client: Client) -> None:
    bot = factories.participant()
    made: list[str] = []
    in_threads(6, lambda: made.append(calendar_feeds.make(participant=bot.row)))
    assert len(made) == 6
    assert CalendarFeed.objects.count() == 1
    assert [client.get(urlsplit(each).path).status_code for each in made].count(200) == 1


@pytest.mark.django_db(transaction=True)
def test_what_outages_write_down_waits_for_nobody_who_waits_for_it() -> None:
    """Several windows at once, in another order than that in which staff suspend the same participants."""
    bots = [factories.participant() for _ in range(12)]
    for place, bot in enumerate(reversed(bots)):
        factories.outage(bot, begins_in=60 * place, seconds=6000)
    rows = Participant.objects.filter(pk__in=[bot.row.pk for bot in bots])
    turns = iter(range(100))

    def turn() -> None:
        number = next(turns)
        for step in range(5):
            if number % 2:
                for bot in bots:  # as if nothing had been written down
                    Participant.objects.filter(pk=bot.row.pk).update(held_from=None, held_until=None)
                outages.keep_time()
            else:
                registry.move(rows, "Suspended" if step % 2 else "Active", actor="anna")

    in_threads(4, turn)
    outages.keep_time()
    assert not rows.filter(held_until=None).exists()


@pytest.mark.django_db(transaction=True)
def test_what_is_over_is_announced_once() -> None:
    bot = factories.participant()
    row = factories.outage(bot, begins_in=-60, seconds=3600)
    Outage.objects.filter(pk=row.pk).update(ends_at=timezone.now())
    in_threads(4, outages.keep_time)
    events = [each.body["event"] for each in Announcement.objects.filter(kind="outage")]
    assert events.count("over") == 1


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks no rows")
@pytest.mark.django_db(transaction=True)
def test_what_we_say_does_not_wait_until_an_outage_is_announced() -> None:
    bot, away = factories.participant(), factories.participant()

    def tell() -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = '1s'")
            relay, now = directory.relay(), timezone.now()
            message, delivery = own_messages.draft(
                relay, to_id=bot.row.pk, to_name=bot.name, ref="", model_type="", said={}, at=now
            )
            message.save()
            delivery.save()

    with transaction.atomic():
        factories.outage(away)
        in_threads(1, tell)


def test_nobody_joins_a_deleted_institution() -> None:
    institution = factories.institution()
    registry.remove_institution(Institution.objects.get(pk=institution.pk), actor="anna")
    with pytest.raises(InvalidInput, match="was deleted"):
        factories.participant(institution=institution)


def test_our_own_entry_is_nobody_elses() -> None:
    factories.participant()
    relay = directory.relay()
    with pytest.raises(Forbidden):
        registry.issue_key(relay, actor="anna", key=CHOSEN)
    relay.host = "http://evil.example/messages"
    with pytest.raises(Forbidden):
        registry.update(relay, actor="anna")


@pytest.mark.parametrize("key", [f" {CHOSEN}", f"{CHOSEN} ", "staff"])
def test_a_chosen_key_that_could_not_be_used_is_refused(key: str, staff_key: str) -> None:
    bot = factories.participant()
    with pytest.raises(InvalidInput, match="apiKey"):
        registry.issue_key(bot.row, actor="anna", key=staff_key if key == "staff" else key)


def test_made_up_names_are_not_remembered() -> None:
    known = directory.current()
    for number in range(50):
        assert known.named(f"nobody-{number}") is None
    assert known.named("x" * 60_000) is None
    assert len(known._names) == 0
