"""A participant replaces its own key: the new one works at once, the old one for an overlap more.

Only a hash of a key is kept, so an answer that got lost cannot be given again. Until somebody has used the new key,
the same call makes another in its place; after that it is refused. So a key has one successor that works, however
often the call is repeated, and who stole an old key cannot have one made unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from dmr_project.lib.errors import Conflict, Forbidden, InvalidInput, NotFound
from dmr_project.lib.sentences import Sentence
from participants import history, registry, scopes
from participants.directory import Credential
from participants.models import ApiKey
from participants.querysets import ApiKeyQuerySet
from participants.scopes import Scope

MOST_LIVE = 10  # keys of one participant that work at once
LEAST_OVERLAP, MOST_OVERLAP = timedelta(minutes=1), timedelta(days=90)
MOST_DAYS = 3650
_ASKED_AGAIN = Sentence("its rotation was asked for again before it was used")()


class AlreadyRotated(Conflict):
    code = "already-rotated"
    title = "This key has a successor"


class TooManyKeys(Conflict):
    code = "too-many-keys"
    title = "Too many keys work at once"


@dataclass(frozen=True)
class Rotated:
    """What came of a rotation; `clear` is the new key, which is kept nowhere."""

    new: ApiKey
    clear: str
    old: ApiKey


@dataclass(frozen=True)
class Wanted:
    """What the caller says of the new key; None: as the old one."""

    rotation: str = ""  # how the caller calls this rotation
    note: str = ""
    overlap: timedelta | None = None
    days: int | None = None
    scopes: frozenset[Scope] | None = None


def rotate(credential: Credential, wanted: Wanted) -> Rotated:
    """A successor of the key that is calling: for no more than that one, and for no longer.

    Raises InvalidInput, SuspendedByStaff, AlreadyRotated, TooManyKeys, Forbidden (it was revoked in this moment).
    """
    actor = history.participant(credential.participant.name)
    with history.atomic():
        participant = registry.own_row(credential.participant.id)  # one rotation at a time
        old = ApiKey.objects.valid().filter(pk=credential.key_id).first()
        if old is None:
            raise Forbidden("This key was revoked, or has expired, in this moment.")
        lifetime = _lifetime(old)
        _check(old, lifetime, wanted)
        earlier = old.successors.valid().order_by("-id").first()
        if earlier is not None:
            if earlier.last_used_at is not None or earlier.rotation != wanted.rotation:
                raise AlreadyRotated(
                    f"This key has a successor, {earlier.pk} ({earlier.hint}…): use that one. "
                    f"If nobody has it, revoke {earlier.pk} and rotate again."
                )
            registry.revoke_key(earlier, actor=actor, reason=_ASKED_AGAIN)
        elif participant.keys.valid().count() >= MOST_LIVE:
            raise TooManyKeys(f"{participant} has {MOST_LIVE} keys that work; revoke one of them first.")
        now = timezone.now()
        if wanted.days is not None:
            lifetime = timedelta(days=wanted.days)
        new, clear = registry.issue_key(
            participant,
            actor=actor,
            note=wanted.note or old.note,
            expires_at=now + lifetime if lifetime else None,
            scopes=scopes.parse(old.scopes) if wanted.scopes is None else wanted.scopes,
            predecessor=old,
            rotation=wanted.rotation,
        )
        if not old.successors.exclude(pk=new.pk).exists():  # a repeat gives it no more time
            overlap = timedelta(seconds=settings.KEY_OVERLAP) if wanted.overlap is None else wanted.overlap
            before = history.facts(old)
            old.expires_at = min(now + overlap, old.expires_at or now + overlap)
            old.save(update_fields=["expires_at"])
            history.record("retire key", old, actor, before=before, after=history.facts(old))
    return Rotated(new, clear, old)


def own(credential: Credential) -> ApiKeyQuerySet:
    """The participant's keys that this one may see and revoke: all, or where it is not for the registry, itself, the
    one before it and those after it.
    """
    rows = ApiKey.objects.filter(participant=credential.participant.id)
    if Scope.REGISTRY in credential.scopes:
        return rows
    return rows.filter(Q(pk=credential.key_id) | Q(predecessor=credential.key_id) | Q(successors=credential.key_id))


def revoke_own(credential: Credential, key_id: int, *, reason: str = "") -> ApiKey:
    """Makes a key of the caller's own void, at once; it may be the one that is calling. Again: nothing changes.

    Raises NotFound.
    """
    row = own(credential).filter(pk=key_id).first()
    if row is None:
        raise NotFound(f"You have no key {key_id}.")
    registry.revoke_key(row, actor=history.participant(credential.participant.name), reason=reason)
    row.refresh_from_db()
    return row


def _lifetime(old: ApiKey) -> timedelta | None:
    """For how long it was issued; None: without end. Its own end may be that of an overlap by now."""
    issued = old.successors.order_by("-id").first() or old
    return issued.expires_at - issued.created_at if issued.expires_at else None


def _check(old: ApiKey, lifetime: timedelta | None, wanted: Wanted) -> None:
    """Raises InvalidInput where the new key would be for more than the old one, or longer."""
    had = scopes.parse(old.scopes)
    if wanted.scopes is not None and not wanted.scopes <= had:
        detail = f"may hold no more than this key has: {', '.join(scopes.listed(had))}"
        raise InvalidInput(f"scopes {detail}", errors=[{"field": "scopes", "detail": detail}])
    if wanted.days is not None and lifetime is not None and timedelta(days=wanted.days) > lifetime:
        detail = f"may be no more than the {max(lifetime.days, 1)} days that this key was issued for"
        raise InvalidInput(f"expiresInDays {detail}", errors=[{"field": "expiresInDays", "detail": detail}])
