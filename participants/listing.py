"""What the registry publishes: the list of the active participants, and each change of it, by a position in time.

The audit log is what a position counts by. Its entries are numbered one after the other under the lock of the chain's
head, which is held to the commit: so whoever sees number 12 sees every entry below it, and no change is lost between
two looks, however many were committed at once. (A sequence of the database would give no such order.) A cursor bears
the beginning of its entry's hash besides, so that one from before a backup was restored is not mistaken for ours.

    12-3f9a0c1b       all up to entry 12 is known
    12-3f9a0c1b-480   the same, and of the whole list all up to participant 480

What a participant gets is the present state of whatever changed, not each step: it is right at the end of the pages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from django.db.models import QuerySet

from participants import directory
from participants.chain import GENESIS
from participants.models import Archive, Change, Participant
from participants.querysets import ChangeQuerySet

MARK = 8  # characters of the hash
PIECE = 500  # entries read at once
MOST_READ = 5000  # entries read for one page
# What an entry of the list shows, as history.facts() calls it: a change of anything else is none of the list.
SHOWN = frozenset({"institution", "name", "host", "type", "status"})

Step = Literal["added", "changed", "removed"]


@dataclass(frozen=True)
class Position:
    """The audit log's newest entry that changed the list; where that is archived, the last one that is."""

    number: int
    mark: str


START = Position(0, GENESIS[:MARK])


@dataclass(frozen=True)
class Cursor:
    """How far a client has come. `reached`: the last participant of the whole list that it has; None: it has all."""

    position: Position
    reached: int | None = None

    def __str__(self) -> str:
        begin = f"{self.position.number}-{self.position.mark}"
        return begin if self.reached is None else f"{begin}-{self.reached}"


@dataclass(frozen=True)
class Changed:
    """What became of a participant for the list. `row`: as it is now; None where the list has it not."""

    step: Step
    id: str
    row: Participant | None


@dataclass(frozen=True)
class Page:
    """Some of what changed since a cursor. `reset`: forget what you have, this is the beginning of the whole list."""

    cursor: Cursor
    changes: list[Changed]
    reset: bool = False
    more: bool = False  # ask again at once, with this cursor


_CURSOR = re.compile(r"(0|[1-9][0-9]{0,17})-([0-9a-f]{8})(?:-(0|[1-9][0-9]{0,17}))?")


def parse(text: str) -> Cursor | None:
    """None where the text is no cursor."""
    match = _CURSOR.fullmatch(text)
    if match is None:
        return None
    return Cursor(Position(int(match[1]), match[2]), None if match[3] is None else int(match[3]))


def entry(row: Participant) -> dict[str, str]:
    """A participant as the list shows it, its institution loaded."""
    return {
        "id": str(row.public_id),
        "name": row.name,
        "institutionId": str(row.institution.public_id),
        "host": row.host,
        "type": row.type,
        "status": row.status,
    }


def entries(rows: QuerySet[Participant]) -> list[dict[str, str]]:
    """The same of many: thousands of rows of a model would cost ten times as much."""
    columns = ("public_id", "name", "institution__public_id", "host", "type", "status")
    return [
        {"id": str(key), "name": name, "institutionId": str(owner), "host": host, "type": kind, "status": status}
        for key, name, owner, host, kind, status in rows.values_list(*columns)
    ]


_newest: tuple[int, Position] = (-1, START)  # the registry's version, and the list's position then


def position() -> Position:
    """Of the list as it is now. A short query, and another where the registry has changed since the last."""
    global _newest
    version = directory.registry_version()
    known, found = _newest
    if known != version:
        found = _find(found)
        _newest = (version, found)
    return found


def forget() -> None:
    """For tests, which roll the log back."""
    global _newest
    _newest = (-1, START)


def _find(known: Position) -> Position:
    """The newest change of the list. Nothing before the one that is known is looked at, if that still stands."""
    known = known if stands(known) else beginning()
    rows = of_participants().filter(number__gt=known.number).order_by("-number")
    below = None
    while True:  # in pieces: what changed is almost always in the first
        piece = list((rows if below is None else rows.filter(number__lt=below))[:PIECE])
        for each in piece:
            if is_shown(each):
                return Position(each.number or 0, each.hash[:MARK])
        if len(piece) < PIECE:
            return known
        below = piece[-1].number


def beginning() -> Position:
    """Where the audit log begins. The list cannot be older than that, so versions never fall when it is archived."""
    archive = Archive.objects.first()
    return Position(archive.number, archive.hash[:MARK]) if archive else START


def of_participants() -> ChangeQuerySet:
    return Change.objects.filter(kind="participant", number__isnull=False)


def is_shown(change: Change) -> bool:
    """Does the list look different after it?"""
    return not SHOWN.isdisjoint(change.before) or not SHOWN.isdisjoint(change.after)


def stands(known: Position) -> bool:
    """Is that entry still in the log, and the same? Not after a backup was restored, or once it was archived."""
    digest = Change.objects.filter(number=known.number).values_list("hash", flat=True).first()
    return digest.startswith(known.mark) if digest else known == beginning()


def page(since: Cursor | None, most: int, newest: Position) -> Page:
    """What changed since then, at most so much of it; the whole list where that cannot be said.

    `newest`: position(), as read a moment ago.
    """
    if since == Cursor(newest):
        return Page(since, [])
    if since is None or since.position.number > newest.number or not stands(since.position):
        return _whole(Cursor(newest, 0), most, reset=True)
    if since.reached is not None:
        return _whole(since, most, reset=False)
    return _changes(since.position, newest, most)


def _whole(begun: Cursor, most: int, *, reset: bool) -> Page:
    """Some of the list, in the order of keys. What changes meanwhile comes after its end."""
    rows = list(
        Participant.objects.active()
        .filter(pk__gt=begun.reached or 0)
        .select_related("institution")
        .order_by("pk")[:most]
    )
    more = len(rows) == most
    cursor = Cursor(begun.position, rows[-1].pk if more else None)
    return Page(cursor, [Changed("added", str(row.public_id), row) for row in rows], reset, more)


def _changes(since: Position, until: Position, most: int) -> Page:
    entries: dict[str, list[Change]] = {}  # by participant, in the order of their last ones
    reached, more = since, False
    for count, change in enumerate(_between(since, until)):
        is_news = is_shown(change)
        if count == MOST_READ or (is_news and len(entries) == most and change.subject_id not in entries):
            more = True
            break
        reached = Position(change.number or 0, change.hash[:MARK])
        if not is_news:
            continue
        entries[change.subject_id] = [*entries.pop(change.subject_id, ()), change]
    rows = Participant.objects.active().filter(public_id__in=list(entries)).select_related("institution")
    listed = {str(row.public_id): row for row in rows}
    steps = {each: became(told, is_listed=each in listed) for each, told in entries.items()}
    changes = [Changed(step, each, listed.get(each)) for each, step in steps.items() if step]
    return Page(Cursor(reached), changes, more=more)


def _between(since: Position, until: Position) -> Iterator[Change]:
    """Entries about participants after the one, up to the other, in their order, read in pieces."""
    number = since.number
    rows = of_participants().filter(number__lte=until.number).order_by("number")
    while True:
        piece = list(rows.filter(number__gt=number)[:PIECE])
        yield from piece
        if len(piece) < PIECE:
            return
        number = piece[-1].number or 0


def became(entries: Sequence[Change], *, is_listed: bool) -> Step | None:
    """With these entries since the cursor, the oldest first; None where it neither was nor is in the list."""
    was_listed = is_listed  # unless an entry tells of its status
    for each in entries:
        if not each.before:
            was_listed = False  # it is new
            break
        if "status" in each.before:
            was_listed = each.before["status"] == Participant.Status.ACTIVE
            break
    if was_listed and is_listed:
        return "changed"
    return "added" if is_listed else "removed" if was_listed else None
