"""Outages as a calendar: a month for the admin's page, and an iCalendar feed (RFC 5545) for calendar programs."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from datetime import timezone as utc

import icalendar
from django.utils import timezone
from django.utils.translation import gettext as _

from participants.models import Outage

MOST_OF_A_DAY = 6  # outages that the month's page names
PAST = timedelta(days=90)  # that the feed looks back
MOST = 2000  # outages of the feed
OPEN_SHOWN = timedelta(
    hours=1
)  # an end is a must for calendar programs: one that nobody knows is at least so far off
PRODUCT = "-//Burokratt//DMR outages//EN"
REFRESH = timedelta(minutes=15)


@dataclass(frozen=True)
class Window:
    """From when to when an outage lasts: what a month needs to know of each."""

    pk: int
    begins_at: datetime
    until: datetime | None


@dataclass(frozen=True)
class Day:
    """A day of the month's page, and the first of the outages that have a moment in it."""

    date: date
    is_of_month: bool
    outages: list[tuple[Outage, str]]  # each with its hours of that day
    more: int  # that it does not name


def month(year: int, number: int) -> list[list[Day]]:
    """The weeks of a month, from Monday to Sunday, in local time."""
    weeks = calendar.Calendar().monthdatescalendar(year, number)
    windows = [
        Window(pk, begins_at, ended_at or ends_at)
        for pk, begins_at, ends_at, ended_at in Outage.objects.within(
            midnight(weeks[0][0]), midnight(weeks[-1][-1] + timedelta(days=1))
        ).values_list("pk", "begins_at", "ends_at", "ended_at")
    ]
    found = {day: on(day, windows) for week in weeks for day in week}
    named = {each.pk for windows in found.values() for each in windows[:MOST_OF_A_DAY]}
    rows = Outage.objects.select_related("institution").prefetch_related("participants").in_bulk(named)
    return [[_day(day, number, found[day], rows) for day in week] for week in weeks]


def _day(day: date, number: int, windows: list[Window], rows: dict[int, Outage]) -> Day:
    begin, end = midnight(day), midnight(day + timedelta(days=1))
    named = [
        (rows[each.pk], hours(each.begins_at, each.until, begin, end))
        for each in windows[:MOST_OF_A_DAY]
        if each.pk in rows
    ]
    return Day(day, day.month == number, named, len(windows) - len(named))


def on(day: date, windows: Sequence[Window]) -> list[Window]:
    """Those with a moment in that day."""
    begin, end = midnight(day), midnight(day + timedelta(days=1))
    return [each for each in windows if each.begins_at < end and (each.until is None or each.until > begin)]


def hours(begins_at: datetime, until: datetime | None, begin: datetime, end: datetime) -> str:
    """Such as `20:00–22:00`; `20:00–` where it goes on beyond the day, `–22:00` where it comes from before it."""
    first = f"{timezone.localtime(begins_at):%H:%M}" if begins_at >= begin else ""
    last = f"{timezone.localtime(until):%H:%M}" if until is not None and until <= end else ""
    return f"{first}–{last}" if first or last else _("all day")


def midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))


def feed(now: datetime) -> bytes:
    """What is now and next, and what was over of late; those cancelled say so, since a program may know them."""
    made = icalendar.Calendar()
    made.add("prodid", PRODUCT)
    made.add("version", "2.0")
    made.add("method", "PUBLISH")
    made.add("x-wr-calname", "DMR")
    made.add("refresh-interval", REFRESH)
    rows = Outage.objects.ended_after(now - PAST).select_related("institution").prefetch_related("participants")
    for row in rows.order_by("-begins_at", "-id")[:MOST]:
        made.add_component(_event(row, now))
    return bytes(made.to_ical())


def _event(row: Outage, now: datetime) -> icalendar.Event:
    state = row.state(now)
    is_cancelled = state == Outage.State.CANCELLED
    until = row.ends_at if is_cancelled or row.until is None else row.until
    made = icalendar.Event()
    made.add("uid", f"{row.public_id}@dmr")
    made.add("dtstamp", _utc(row.ended_at or row.announced_at))
    made.add("last-modified", _utc(row.ended_at or row.announced_at))
    made.add("sequence", 1 if row.ended_at else 0)
    made.add("dtstart", _utc(row.begins_at))
    made.add("dtend", _utc(until or max(now, row.begins_at) + OPEN_SHOWN))
    made.add("summary", summary(row))
    made.add("description", "\n\n".join(text for text in (row.text_et, row.text_en) if text))
    made.add("status", "CANCELLED" if is_cancelled else "CONFIRMED")
    made.add("transp", "TRANSPARENT")  # it makes nobody busy
    made.add("categories", [row.kind])
    return made


def summary(row: Outage) -> str:
    """Whose it is, in one line."""
    return _("%(kind)s outage: %(whose)s") % {"kind": row.get_kind_display().capitalize(), "whose": row.whose}


def _utc(at: datetime) -> datetime:
    return at.astimezone(utc.utc).replace(microsecond=0)
