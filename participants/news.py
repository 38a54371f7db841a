"""Telling participants that the list of participants has changed: one announcement for a burst of changes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from participants import announcements, listing
from participants.listing import Cursor, Position
from participants.models import Announcement, Change, Participant

SETTLED = timedelta(seconds=3)  # the list stands still for so long
LONGEST = timedelta(seconds=20)  # or its first change that nobody was told of is so old
MOST_NAMED = 50


def participants_changed() -> Announcement | None:
    """Announces what changed since the last announcement, once that has settled. Beat looks every few seconds."""
    newest, told = listing.position(), last_told()
    if newest in (told, listing.beginning()) or not is_time(told, newest, timezone.now()):
        return None
    try:
        with transaction.atomic():
            return announcements.announce(
                announcements.Kind.PARTICIPANTS, about=str(Cursor(newest)), body=_said(told, newest)
            )
    except IntegrityError:  # somebody else was first
        return None


def last_told() -> Position | None:
    """Up to where participants were told; None where they never were."""
    about = (
        Announcement.objects.filter(kind=announcements.Kind.PARTICIPANTS)
        .order_by("-id")
        .values_list("about", flat=True)
        .first()
    )
    cursor = listing.parse(about or "")
    return cursor.position if cursor else None


def is_time(told: Position | None, newest: Position, now: datetime) -> bool:
    rows = listing.of_participants().filter(number__lte=newest.number)
    times = rows.order_by("number").values_list("at", flat=True)
    first = times.filter(number__gt=told.number if told else 0).first()
    last = Change.objects.filter(number=newest.number).values_list("at", flat=True).first()
    return first is None or last is None or now - last >= SETTLED or now - first >= LONGEST


def _said(told: Position | None, newest: Position) -> dict[str, Any]:
    """`cursor` is no cursor to ask with: a client asks with its own. It says whether there is anything to ask for."""
    said: dict[str, Any] = {"version": newest.number, "cursor": str(Cursor(newest))}
    page = listing.page(Cursor(told), MOST_NAMED, newest) if told else None
    if page is None or page.reset:
        return {**said, "reset": True}
    ids = [each.id for each in page.changes]
    names = {
        str(each): name
        for each, name in Participant.objects.filter(public_id__in=ids).values_list("public_id", "name")
    }
    for step in ("added", "changed", "removed"):
        said[step] = [names[each.id] for each in page.changes if each.step == step]
    return {**said, "more": page.more}
