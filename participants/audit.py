"""Reading the audit log: is the chain whole, and what is in it for an auditor."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from django.db import transaction

from dmr_project.lib.errors import DomainError, InvalidInput
from dmr_project.lib.log import event
from participants import chain, history
from participants.models import Archive, ChainHead, Change, Institution
from participants.querysets import ChangeQuerySet

logger = logging.getLogger(__name__)

BATCH = 1000  # entries read at once, however many there are
DELETED_AT_ONCE = 5000


class Broken(DomainError):
    """The chain does not hold; the detail names the first entry where."""

    code = "audit-log-broken"
    title = "The audit log was tampered with"


@dataclass
class Link:
    """The entry up to which the chain holds."""

    number: int = 0
    hash: str = chain.GENESIS
    entries: int = 0  # seen on the way

    def follow(self, said: dict[str, Any], claimed: str) -> None:
        """Goes on to the entry with that line and hash. Raises Broken unless it is whole and the next one."""
        number = said["number"]
        if number != self.number + 1:
            raise Broken(f"Entry {self.number + 1} is missing: after entry {self.number} comes {number}.")
        if said["previousHash"] != self.hash:
            raise Broken(f"Entry {number} does not follow entry {self.number}: one of the two was exchanged.")
        check_hash(said, claimed)
        self.number, self.hash, self.entries = number, claimed, self.entries + 1


def check_hash(said: dict[str, Any], claimed: str) -> None:
    """Raises Broken unless it is the line's own."""
    try:
        is_whole = chain.digest(said) == claimed
    except ValueError:  # no canonical form: we have never written that
        is_whole = False
    if not is_whole:
        raise Broken(f"Entry {said['number']} was altered: its hash is not that of what it says.")


def beginning() -> Link:
    """Where the chain in the database begins: after the newest archive."""
    newest = Archive.objects.first()
    return Link(newest.number, newest.hash) if newest else Link()


def head() -> Link:
    """The newest entry. Kept elsewhere, it proves that nothing was cut off at the end."""
    row = ChainHead.objects.filter(pk=1).first()
    return Link(row.number, row.hash) if row else Link()


def anchor() -> None:
    """Writes the head into the process's own log: kept on another machine, it proves what was there when.

    Takes what a release before this one has written into the chain first.
    """
    with transaction.atomic():
        adopted = chain.adopt()
    newest = head()
    event(logger, "audit_head", number=newest.number, hash=newest.hash, adopted=adopted)


def verify(expected: Mapping[int, str] | None = None, progress: Callable[[int], None] = lambda _: None) -> Link:
    """Follows the whole chain, in constant memory, also while entries are appended. Raises Broken.

    `expected`: number -> hash of heads that were kept elsewhere. `progress` is called with the entries seen so far.
    """
    link = beginning()
    wanted = dict(expected or {})
    _check_archived(link, wanted)
    while True:
        batch = list(Change.objects.chained().filter(number__gt=link.number)[:BATCH])
        for change in batch:
            link.follow(chain.line(change), change.hash)
            if wanted.pop(link.number, link.hash) != link.hash:
                raise Broken(f"Entry {link.number} is not the one whose hash was kept: the log was written anew.")
        progress(link.entries)
        if not batch:
            known = head()
            if known.number <= link.number:
                break
            if not Change.objects.filter(number=known.number).exists():
                raise Broken(f"Entry {link.number + 1} is missing, and all after it up to {known.number}.")
    if (known.number, known.hash) != (link.number, link.hash):
        raise Broken(f"Entry {link.number} is not the newest that was written, which is {known.number}.")
    if wanted:
        raise Broken(f"Entry {link.number + 1} is missing: the log once went on to {max(wanted)}.")
    outside = Change.objects.filter(number=None).count()
    if outside:
        raise Broken(
            f"{outside} entries stand outside of the chain. What a release before this one wrote is taken in "
            "within 15 minutes; anything else was put in by hand."
        )
    return link


def _check_archived(link: Link, wanted: dict[int, str]) -> None:
    """Takes what was archived out of `wanted`. Raises Broken, InvalidInput."""
    kept = dict(Archive.objects.values_list("number", "hash"))
    for number in [number for number in wanted if number <= link.number]:
        if number not in kept:
            raise InvalidInput(f"Entry {number} is in an archive's file; verify that with --file.")
        if wanted.pop(number) != kept[number]:
            raise Broken(f"Entry {number} is not the one whose hash was kept: the archive was written anew.")


def verify_file(lines: Iterable[str]) -> Link:
    """An export or an archive: each line, and those that follow one another. Raises Broken, InvalidInput."""
    link = Link()
    for position, written in enumerate(lines, 1):
        try:
            said = json.loads(written)
            claimed, number, previous = said.pop("hash"), int(said["number"]), said["previousHash"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InvalidInput(f"Line {position} is no entry of an audit log.") from None
        if link.entries == 0 or number > link.number + 1:  # an export by institution leaves others out
            link.number, link.hash = number - 1, previous
        link.follow(said, claimed)
    return link


def of_institution(name: str) -> list[UUID]:
    """The ids of all that bear or bore the name. Raises InvalidInput."""
    present = Institution.objects.filter(name=name).values_list("public_id", flat=True)
    before = Change.objects.filter(institution_name=name, kind="institution").values_list("institution", flat=True)
    found = {each for each in (*present, *before) if each is not None}
    if not found:
        raise InvalidInput(f"There is no institution {name!r}, and never was.")
    return sorted(found)


def select(
    institutions: list[UUID] | None = None, since: datetime | None = None, until: datetime | None = None
) -> ChangeQuerySet:
    """Entries of the institutions, from `since` on and before `until`; each may be left out."""
    rows = Change.objects.chained()
    if institutions is not None:
        rows = rows.filter(institution__in=institutions)
    if since is not None:
        rows = rows.filter(at__gte=since)
    return rows.filter(at__lt=until) if until is not None else rows


def in_batches(rows: ChangeQuerySet, after: int = 0) -> Iterator[Change]:
    """The entries in the chain's order, in constant memory and without a transaction that stays open."""
    while batch := list(rows.filter(number__gt=after)[:BATCH]):
        yield from batch
        after = batch[-1].number or 0


def as_json(change: Change) -> str:
    """One line of an export: the line that was hashed, and its hash."""
    return json.dumps({**chain.line(change), "hash": change.hash}, ensure_ascii=False)


def archive(before: datetime, path: Path, *, actor: str) -> Archive | None:
    """Moves the entries before that time into a new file, and lets go of them. None where there are none.

    The chain is verified on the way. What an interruption left in the database although it is archived, the next
    call lets go of. Raises Broken, InvalidInput (the file is there already).
    """
    link = beginning()
    _let_go(link.number)
    later = Change.objects.chained().filter(at__gte=before).first()
    last = ((later.number or 0) - 1) if later else head().number
    if last <= link.number:
        return None
    digest = hashlib.sha256()
    try:
        with path.open("xb") as file:
            for change in in_batches(Change.objects.chained().filter(number__lte=last), link.number):
                link.follow(chain.line(change), change.hash)
                written = as_json(change).encode() + b"\n"
                digest.update(written)
                file.write(written)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InvalidInput(f"{path} cannot be written: {error.strerror}.") from None
    if link.number != last:
        raise Broken(f"Entry {link.number + 1} is missing.")
    with history.atomic():
        row = Archive.objects.create(number=link.number, hash=link.hash, file_digest=digest.hexdigest())
        said = {"number": row.number, "hash": row.hash, "file": path.name, "sha256": row.file_digest}
        history.note("archive", actor, kind="auditlog", subject=str(row), after=said)
    _let_go(row.number)
    return row


def _let_go(number: int) -> None:
    """Deletes what is archived, a few at a time, so that nobody waits long. Who counts by the log looks afresh."""
    while True:
        rows = Change.objects.filter(number__lte=number).order_by("number").values_list("number", flat=True)
        some = list(rows[:DELETED_AT_ONCE])
        if not some:
            return
        with transaction.atomic():
            Change.objects.archived(some[-1] or 0)
            history.advance_version()
