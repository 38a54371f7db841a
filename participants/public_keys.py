"""The directory of public keys: participants publish and revoke their own, those that share a room with them read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from dmr_project.lib.errors import Conflict, InvalidInput, NotFound
from participants import history, jwk, registry
from participants.models import Participant, PublicKey

MOST_VALID = 10  # keys of one participant that are valid at once
MOST_EVER = 500  # keys of one participant, with those that ended


class KidTaken(Conflict):
    code = "key-id-taken"
    title = "Another key was published under this id"


class KeyEnded(Conflict):
    code = "key-ended"
    title = "This key was revoked, or has expired"


class TooManyPublicKeys(Conflict):
    code = "too-many-public-keys"
    title = "Too many public keys"


def publish(participant_id: int, said: Any, *, expires_at: datetime | None = None) -> tuple[PublicKey, bool]:
    """Keeps the key for the others to see, and says whether it is new: the same again is the same.

    Raises InvalidInput, PrivateKeySent, KidTaken, KeyEnded, TooManyPublicKeys, SuspendedByStaff.
    """
    found = jwk.read(said)
    now = timezone.now()
    if expires_at is not None and expires_at <= now:
        raise InvalidInput("expiresAt is over", errors=[{"field": "expiresAt", "detail": "is over"}])
    with history.atomic():
        participant = registry.own_row(participant_id)  # one at a time
        earlier = participant.public_keys.filter(thumbprint=found.thumbprint).first()
        if earlier is not None:
            return _again(earlier, found, expires_at), False
        if participant.public_keys.valid(now).count() >= MOST_VALID:
            raise TooManyPublicKeys(f"{participant} has {MOST_VALID} valid keys; revoke one of them first.")
        if participant.public_keys.count() >= MOST_EVER:
            raise TooManyPublicKeys(f"{participant} has published {MOST_EVER} keys, which are all kept; ask Core.")
        row = PublicKey(
            participant=participant,
            kid=found.kid,
            thumbprint=found.thumbprint,
            kind=found.kind,
            use=found.use,
            alg=found.alg,
            members=found.members,
            expires_at=expires_at,
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise KidTaken(f"{participant} has published another key as {found.kid}; choose another id.") from None
        history.record("publish key", row, history.participant(participant.name), after=history.facts(row))
    return row, True


def _again(earlier: PublicKey, found: jwk.PublicJwk, expires_at: datetime | None) -> PublicKey:
    """The answer to the same key again. Raises KeyEnded, and KidTaken where something else is said of it."""
    if not earlier.is_valid:
        raise KeyEnded(f"{earlier.kid} is this key, and has ended: make a new pair.")
    said_before = (earlier.kid, earlier.use, earlier.alg, earlier.expires_at)
    if said_before != (found.kid, found.use, found.alg, expires_at):
        raise KidTaken(
            f"This key is published as {earlier.kid}, with another id, use, algorithm or end; that never changes. "
            "Revoke it, and publish a new pair."
        )
    return earlier


def revoke(row: PublicKey, *, actor: str, reason: str = "") -> bool:
    """Nobody is to use the key any more. False where it was revoked already."""
    with history.atomic():
        stored = PublicKey.objects.select_for_update().get(pk=row.pk)
        if stored.revoked_at is not None:
            return False
        before = history.facts(stored)
        stored.revoked_at, stored.revoked_reason = timezone.now(), reason[:255]
        stored.save(update_fields=["revoked_at", "revoked_reason"])
        history.record("revoke public key", stored, actor, before=before, after=history.facts(stored), reason=reason)
    return True


def revoke_own(participant: Participant, kid: str, *, reason: str = "") -> PublicKey:
    """The same by its owner. The same again changes nothing. Raises NotFound."""
    row = participant.public_keys.filter(kid=kid).first()
    if row is None:
        raise NotFound(f"You have published no key {kid[:100]!r}.")
    revoke(row, actor=history.participant(participant.name), reason=reason)
    row.refresh_from_db()
    return row
