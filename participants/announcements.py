"""What Core has to tell participants: rows, of which the relay makes messages. Source: CONTRACTS.md, section 3.

`announce()` belongs into the transaction of what it tells of: both are there, or neither. The relay looks for rows
every few seconds (relay.announcements), so that nobody who announces needs to know it.

Who is told is each participant's own setting (Participant.announcements; docs/protocol.md says why as it does).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from django.db import connection
from django.db.models import QuerySet
from django.utils.timezone import now

from participants import names
from participants.directory import Recipient
from participants.models import Announcement, Participant

Kind = Announcement.Kind

KEPT = timedelta(days=90)
# How long each kind is worth being delivered. A change of participants is found in the change feed by itself.
TIME_TO_LIVE = {
    Kind.REGISTRATION: timedelta(days=1),
    Kind.PARTICIPANTS: timedelta(hours=1),
    Kind.OUTAGE: timedelta(days=1),
    Kind.SOFTWARE_UPDATE: timedelta(days=1),
}
# Which settings of a participant mean that it wants a kind.
_SOME = (Participant.Announcements.IMPORTANT, Participant.Announcements.ALL)
WANTED_BY = {
    Kind.REGISTRATION: _SOME,
    Kind.PARTICIPANTS: (Participant.Announcements.ALL,),
    Kind.OUTAGE: _SOME,
    Kind.SOFTWARE_UPDATE: _SOME,
}


def announce(
    kind: str,
    *,
    body: Mapping[str, Any],
    about: str = "",
    to: Iterable[Participant] | None = None,
    expires_at: datetime | None = None,
) -> Announcement:
    """Says something to the participants `to`, or to all that are active; of them, to those that want this kind.

    `about` names the one thing that this is about, such as an outage's id: what is said of it arrives in the order in
    which it was said. `body` is JSON, in camelCase; `about` and `announcedAt` are put beside it. Call it in the
    transaction of what it tells of.
    """
    assert connection.in_atomic_block, "an announcement belongs into the transaction of what it tells of"
    at = now()
    return Announcement.objects.create(
        kind=kind,
        about=about,
        body={"about": about, "announcedAt": moment(at), **body},
        recipients=None if to is None else sorted(each.pk for each in to),
        created_at=at,
        expires_at=expires_at or at + TIME_TO_LIVE[Kind(kind)],
    )


def registered(participant: Participant) -> None:
    """Tells a new participant that it is in, once somebody on its side holds a key."""
    announce(
        Kind.REGISTRATION,
        about=str(participant.public_id),
        body={
            "participant": {
                "id": str(participant.public_id),
                "name": participant.name,
                "type": participant.type,
                "institutionId": str(participant.institution.public_id),
            },
            "rooms": sorted(participant.rooms.values_list("name", flat=True)),
        },
        to=[participant],
    )


def next_recipients(announcement: Announcement, most: int) -> tuple[list[Recipient], int | None]:
    """Some of those that are to be told, after `reached_id`, and how far that goes; None: nobody is left."""
    rows = Participant.objects.exclude(name=names.RELAY).filter(announcements__in=WANTED_BY[Kind(announcement.kind)])
    if announcement.recipients is None:
        rows = rows.active().filter(pk__gt=announcement.reached_id)
        found = _as_recipients(rows.order_by("pk")[:most])
        return found, found[-1].id if len(found) == most else None
    left = [pk for pk in announcement.recipients if pk > announcement.reached_id]
    chosen = left[:most]
    found = _as_recipients(rows.present().filter(pk__in=chosen).order_by("pk"))
    return found, chosen[-1] if len(left) > most else None


def _as_recipients(rows: QuerySet[Participant]) -> list[Recipient]:
    return [Recipient(pk, name) for pk, name in rows.values_list("pk", "name")]


def forget() -> int:
    """Deletes what was sent long ago. Returns how many."""
    newest = (
        Announcement.objects.filter(kind=Kind.PARTICIPANTS).order_by("-id").values("pk")[:1]
    )  # news goes on from it
    count, _ = Announcement.objects.filter(sent_at__lt=now() - KEPT).exclude(pk__in=newest).delete()
    return count


def moment(at: datetime) -> str:
    """ISO 8601 in UTC, with milliseconds."""
    return at.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
