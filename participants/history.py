"""Who did what, to be written into the audit log (participants.models.Change), and read by everybody who audits.

- `record()` for a change of a row, in the transaction of the change; every cache of the registry hears of it.
- `note()` for what changes no row of the registry: a log-in, a refusal, an export.
- `atomic()` instead of `transaction.atomic()` around whatever records: entries are then written as the very last act
  of the transaction, since the lock of the chain's head is held from there to the commit. (A transaction that took
  other locks after it could wait for one that waits for it.)

Who acts is a `str`, the user name of a member of staff, or an `Actor` of another kind. From where is known by itself
(dmr_project.lib.origin): the client's address behind trusted proxies, or the command line.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.db import connection, models, transaction
from django.db.models import F
from django.dispatch import Signal
from django.utils import translation

from dmr_project.lib import origin
from participants import chain
from participants.models import ActorKind, Change, Institution, RegistryVersion


class Actor(str):
    """Who acts, where it is not a member of staff: a name that knows of what kind it is."""

    kind: ActorKind

    def __new__(cls, name: str, kind: ActorKind) -> Actor:
        actor = super().__new__(cls, name)
        actor.kind = kind
        return actor


SYSTEM = Actor("system", ActorKind.SYSTEM)
COMMAND_LINE = Actor("command line", ActorKind.SYSTEM)  # somebody there who did not say --user
STAFF_KEY = Actor("staff key", ActorKind.KEY)
NOBODY = Actor("", ActorKind.UNKNOWN)  # somebody who was not let in


def kind_of(actor: str) -> ActorKind:
    return actor.kind if isinstance(actor, Actor) else ActorKind.PERSON


def participant(name: str) -> Actor:
    """A participant that does something with its own key."""
    return Actor(name, ActorKind.PARTICIPANT)


# The reason of a status is the reason of the entry.
_HIDDEN = frozenset(
    {
        "id", "created_at", "digest", "last_used_at", "last_used_from", "noticed_days", "terms_version",
        "status_reason", "resumes_as", "held_from", "held_until",
    }
)  # fmt: skip
_SECRET = ("password", "secret", "private", "token", "sealed")  # a field with such a word in its name is never told


def facts(row: models.Model) -> dict[str, Any]:
    """The row's fields as JSON holds them, without secrets and without bytes."""
    said: dict[str, Any] = {}
    for field in row._meta.concrete_fields:
        is_secret = any(word in field.name for word in _SECRET)
        if field.name in _HIDDEN or is_secret or isinstance(field, models.BinaryField):
            continue
        value = field.value_from_object(row)
        said[field.name] = value if isinstance(value, (str, int, float, bool, type(None), list, dict)) else str(value)
    return said


def record(
    action: str,
    row: models.Model,
    actor: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
) -> None:
    """Writes what was done with a row, in the transaction that does it, and counts the registry's version up.

    `before` and `after` are the row's facts(); where both are given, what differs is kept. No secret belongs there.
    """
    assert connection.in_atomic_block, "a change and its history belong in one transaction"
    before, after = before or {}, after or {}
    if before and after:
        differing = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
        before = {name: value for name, value in before.items() if name in differing}
        after = {name: value for name, value in after.items() if name in differing}
    subject_id = str(getattr(row, "public_id", None) or row.pk)
    entry = _entry(
        action, actor, row._meta.model_name or "", in_english(row), subject_id, _owner(row), before, after, reason
    )
    _write(entry, is_of_registry=True)


def note(
    action: str,
    actor: str,
    *,
    kind: str,
    subject: str = "",
    subject_id: str = "",
    institution: Institution | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str = "",
    address: str | None = None,
) -> None:
    """Writes what was done where no row of the registry changes, such as `note("log in", "anna", kind="user", …)`.

    `kind`, `subject` and `subject_id` name what it is about. What was refused has NOBODY as its actor, and as its
    subject the name that was claimed. `address` stands for the request's own where it is told later. Needs no
    transaction; within one it is written only if that commits. What strangers can cause without end must be counted
    before it is noted (participants.failures).
    """
    entry = _entry(action, actor, kind, subject, subject_id, institution, before or {}, after or {}, reason, address)
    _write(entry, is_of_registry=False)


registry_changed = Signal()  # sent after the commit, in the process that made it


def advance_version() -> None:
    """Makes every process look afresh at its next request."""
    if not RegistryVersion.objects.filter(pk=1).update(number=F("number") + 1):
        RegistryVersion.objects.create(pk=1, number=1)
    transaction.on_commit(lambda: registry_changed.send(RegistryVersion))


class _Waiting(threading.local):
    """What the outermost atomic() of this thread will write at its end; None outside of any."""

    entries: list[tuple[Change, bool]] | None = None
    depth = 0  # of savepoints, where the innermost atomic() began


_waiting = _Waiting()


@contextmanager
def atomic() -> Iterator[None]:
    """A transaction, or a savepoint within one; what is recorded within is written at the end of the outermost.

    Where it fails, nothing that was recorded within is written.
    """
    outer, outer_depth = _waiting.entries, _waiting.depth
    try:
        with transaction.atomic():
            _waiting.entries, _waiting.depth = [], len(connection.savepoint_ids)
            yield
            entries = _waiting.entries
            if outer is None:
                _append(entries)
    finally:
        _waiting.entries, _waiting.depth = outer, outer_depth
    if outer is not None:
        outer.extend(entries)


def _write(entry: Change, *, is_of_registry: bool) -> None:
    # Within a plain savepoint of its own it is written there, so that it is undone with it.
    if _waiting.entries is not None and _waiting.depth == len(connection.savepoint_ids):
        _waiting.entries.append((entry, is_of_registry))
        return
    with transaction.atomic():
        _append([(entry, is_of_registry)])


def _append(entries: list[tuple[Change, bool]]) -> None:
    if entries:
        chain.append([entry for entry, _ in entries])
    if any(is_of_registry for _, is_of_registry in entries):
        advance_version()


def _entry(
    action: str,
    actor: str,
    kind: str,
    subject: str,
    subject_id: str,
    institution: Institution | None,
    before: dict[str, Any],
    after: dict[str, Any],
    reason: str,
    address: str | None = None,
) -> Change:
    public_id: UUID | None = institution.public_id if institution else None
    return Change(
        actor_kind=kind_of(actor),
        actor=chain.text(actor, 150),
        address=chain.text(origin.current() if address is None else address, 100),
        action=chain.text(action, 50),
        kind=chain.text(kind, 50),
        subject=chain.text(subject, 100),
        subject_id=chain.text(subject_id, 40),
        institution=public_id,
        institution_name=institution.name if institution else "",
        before=chain.plain(before),
        after=chain.plain(after),
        reason=chain.text(reason, 500),
    )


def in_english(row: models.Model) -> str:
    """What a row is called in the log, whatever language somebody reads the pages in."""
    with translation.override("en"):
        return str(row)


def _owner(row: models.Model) -> Institution | None:
    """Whose the row is: its own institution, or that of its participant or owner."""
    if isinstance(row, Institution):
        return row
    holder: Any = getattr(row, "participant", None) or getattr(row, "owner", None) or row
    found = getattr(holder, "institution", None)
    return found if isinstance(found, Institution) else None
