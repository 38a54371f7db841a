"""Addresses of the outages' calendar for calendar programs, which can send no key: whoever has one may read."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.utils import timezone
from django.utils.translation import gettext

from participants import history, keys, links, statuses
from participants.models import CalendarFeed, Participant

VIEW = "participants.view_outage"


def make(*, participant: Participant | None = None, user: User | None = None) -> str:
    """A new address, which is not kept; the one before opens nothing any more."""
    token, digest = links.new()
    with history.atomic():
        CalendarFeed.objects.update_or_create(  # of two at once, the later one's is good
            participant=participant, user=user, defaults={"token_digest": digest, "made_at": timezone.now()}
        )
        history.note(
            "make calendar address",
            history.participant(participant.name) if participant else user.get_username() if user else history.NOBODY,
            kind="calendarfeed",
            subject=str(participant or user),
            institution=participant.institution if participant else None,
        )
    return links.address("outages-feed", token)


def find(token: str) -> CalendarFeed:
    """Raises NoSuchLink: also where its participant was revoked, or its person may not look any more."""
    row = CalendarFeed.objects.filter(token_digest=keys.digest(token)).select_related("participant", "user").first()
    if row is None or not _may_look(row):
        raise links.NoSuchLink(gettext("There is no such calendar. Make a new address."))
    return row


def _may_look(row: CalendarFeed) -> bool:
    if row.participant is not None:
        return row.participant.status not in statuses.VOID
    return row.user is not None and row.user.is_active and row.user.has_perm(VIEW)
