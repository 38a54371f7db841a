"""API keys: issued, shown once, and revoked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, Forbidden, InvalidInput
from participants import history, keys, names, statuses
from participants.models import ApiKey, Participant
from participants.scopes import write as write_scopes

KEY_LENGTHS = (12, 50)  # of a key that staff choose themselves; the network's contract


def issue_key(
    participant: Participant,
    *,
    actor: str,
    key: str | None = None,
    note: str = "",
    expires_at: datetime | None = None,
    scopes: Iterable[str] = (),
    predecessor: ApiKey | None = None,
    rotation: str = "",
) -> tuple[ApiKey, str]:
    """One more key, beside those it has. Returns the row and the key in clear, which is not kept.

    `scopes`: what it is for, none: everything. `predecessor` and `rotation`: see key_rotation. Raises InvalidInput
    (a chosen key of the wrong form), Conflict (one that is in use).
    """
    if participant.is_relay:
        raise Forbidden(
            gettext("%(relay)s is this relay's own entry: nobody else speaks for it.") % {"relay": names.RELAY}
        )
    if participant.status in statuses.VOID:
        raise Forbidden(
            gettext("%(participant)s is %(status)s: it gets a key when it is reinstated.")
            % {"participant": participant, "status": participant.get_status_display().lower()}
        )
    if key is not None and not _may_be_chosen(key):
        detail = f"must have {KEY_LENGTHS[0]} to {KEY_LENGTHS[1]} printable ASCII characters, no space at either end"
        raise InvalidInput(f"apiKey {detail}", errors=[{"field": "apiKey", "detail": detail}])
    clear = keys.generate() if key is None else key
    with history.atomic():
        row = ApiKey(
            participant=participant,
            digest=keys.digest(clear),
            hint=clear[:4],
            note=note,
            expires_at=expires_at,
            scopes=write_scopes(scopes),
            predecessor=predecessor,
            rotation=rotation,
        )
        try:
            with transaction.atomic():
                row.save(force_insert=True)
        except IntegrityError:
            raise Conflict(gettext("This key is in use; choose another, or none and get one made.")) from None
        history.record("issue key", row, actor, after=history.facts(row))
    return row, clear


def _may_be_chosen(key: str) -> bool:
    """HTTP drops spaces at the ends; and the staff key is nobody else's."""
    is_written_well = key.isascii() and key.isprintable() and key == key.strip()
    return KEY_LENGTHS[0] <= len(key) <= KEY_LENGTHS[1] and is_written_well and not keys.is_staff_key(key)


def revoke_key(key: ApiKey, *, actor: str, reason: str = "") -> bool:
    """Makes the key void at once. False where it was already."""
    with history.atomic():
        now = timezone.now()
        if not ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=now):
            return False
        before = history.facts(key)
        key.revoked_at = now
        history.record("revoke key", key, actor, before=before, after=history.facts(key), reason=reason)
    return True
