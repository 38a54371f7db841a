"""API keys: made, hashed, used. Pure but for the last-used note."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from dmr_project.lib import origin
from participants.models import ApiKey

NOTE_EVERY = timedelta(minutes=1)

_noted: dict[int, float] = {}
_lock = threading.Lock()


def generate() -> str:
    """A key of 43 characters, 256 bits of chance."""
    return secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """Hex SHA-256. No salt and no stretching, since our keys are random; see docs/adr/0002-api-keys.md."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()


def is_staff_key(key: str) -> bool:
    """Is it DMR_ADMIN_API_KEY? Compared in constant time."""
    known: str = settings.ADMIN_API_KEY
    return bool(known) and hmac.compare_digest(digest(key), digest(known))


def refusal(key: ApiKey) -> str:
    """Why a key that is known was refused."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= timezone.now():
        return "expired"
    if key.participant.deleted_at is not None:
        return "its participant was deleted"
    return "sent under another's name, or valid only since"


def note_use(key_id: int) -> None:
    """Writes down that a key was used, and from where, at most once a minute for each key and process."""
    now = timezone.now()
    with _lock:
        if is_use_noted(key_id):
            return
        _noted[key_id] = now.timestamp()
    ApiKey.objects.filter(pk=key_id).update(last_used_at=now, last_used_from=origin.current()[:100])


def is_use_noted(key_id: int) -> bool:
    """Has this process written its use down within the last minute?"""
    return timezone.now().timestamp() - _noted.get(key_id, 0.0) < NOTE_EVERY.total_seconds()
