"""The public keys of the people who sign releases: registering and withdrawing them."""

from __future__ import annotations

import base64
import hashlib

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, InvalidInput
from participants import history
from updates import rollouts
from updates.models import StaffKey

RAW_BYTES = 32


class BadKey(InvalidInput):
    code = "bad-key"
    title = "Not a public key"


class KeyTaken(Conflict):
    code = "key-taken"
    title = "The key is registered already"


def key_id(raw: bytes) -> str:
    """Hex SHA-256 of the raw public key."""
    return hashlib.sha256(raw).hexdigest()


def parse(text: str) -> bytes:
    """The 32 raw bytes from the text of a .pub file: one line, their base64. Raises BadKey."""
    try:
        raw = base64.b64decode(text.strip(), validate=True)
    except ValueError:
        raw = b""
    if len(raw) != RAW_BYTES:
        raise BadKey(
            gettext(
                "A public key is one line, base64 of %(raw_bytes)s bytes, as `dmr-agent release "
                "keygen` writes FILE.pub."
            )
            % {"raw_bytes": RAW_BYTES},
            errors=[
                {"field": "public_key", "detail": gettext("must be base64 of %(count)s bytes") % {"count": RAW_BYTES}}
            ],
        )
    return raw


def add(text: str, person: User, *, actor: str) -> StaffKey:
    """Registers `person`'s public key. One key belongs to one person for ever. Raises BadKey, KeyTaken."""
    raw = parse(text)
    key = StaffKey(person=person, key_id=key_id(raw), public_key=base64.b64encode(raw).decode("ascii"))
    with history.atomic():
        try:
            with transaction.atomic():
                key.save(force_insert=True)
        except IntegrityError:
            owner = StaffKey.objects.select_related("person").get(key_id=key.key_id)
            said = (
                gettext("This key is registered for %(person)s.")
                if owner.is_valid
                else gettext("This key is registered for %(person)s, and was withdrawn.")
            )
            raise KeyTaken(said % {"person": owner.person.get_username()}) from None
        history.record("add", key, actor, after=history.facts(key))
    return key


def withdraw(key: StaffKey, *, actor: str, reason: str = "") -> bool:
    """The key counts for nothing from now on. False where it was withdrawn already.

    Rollouts of a release that thereby falls below the threshold pause.
    """
    with history.atomic():
        now = timezone.now()
        if not StaffKey.objects.filter(pk=key.pk, withdrawn_at=None).update(withdrawn_at=now):
            return False
        before = history.facts(key)
        key.withdrawn_at = now
        history.record("withdraw", key, actor, before=before, after=history.facts(key), reason=reason)
        rollouts.pause_unsigned(key, actor=actor)
    return True
