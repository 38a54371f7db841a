"""The keys that sign what leaves: made, rotated with an overlap, published. See docs/attested-delivery.md.

A rotation publishes the next key at once and lets it sign later, when nobody's copy of the published keys is
older than it; the key before stays published for a while after. All of that is times in the rows.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.conf import settings
from django.db import IntegrityError
from django.utils import timezone

from dmr_project.lib import sealing
from dmr_project.lib.errors import Conflict
from dmr_project.lib.log import event
from participants import history
from relay.models import DeliveryKey

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0  # a revocation counts in every process within this


class RotationUnderWay(Conflict):
    code = "rotation-under-way"
    title = "The next delivery key is published already"


class DeliveryKeyUnreadable(sealing.CannotUnseal):
    code = "delivery-key-unreadable"
    title = "The delivery key cannot be read"


@dataclass(frozen=True)
class Signer:
    """The private key that signs now."""

    key_id: str
    private_key: Ed25519PrivateKey

    def sign(self, content: bytes) -> bytes:
        return self.private_key.sign(content)


class Keyring:
    """What a process keeps of the keys, so that signing asks the database once in REFRESH_SECONDS at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: list[DeliveryKey] = []
        self._signers: dict[str, Signer] = {}
        self._read_at: float | None = None

    def signer(self) -> Signer:
        """The one that signs now. May ask the database. Raises DeliveryKeyUnreadable."""
        with self._lock:
            if self._read_at is None or time.monotonic() - self._read_at > REFRESH_SECONDS:
                self._rows = list(DeliveryKey.objects.that_sign(timezone.now())) or [ensure()]
                self._read_at = time.monotonic()
            now = timezone.now()
            row = next((each for each in self._rows if each.signs_from <= now), self._rows[-1])
            found = self._signers.get(row.key_id)
            if found is None:
                found = Signer(row.key_id, unsealed(row))
                self._signers = {row.key_id: found}
            return found


def unsealed(row: DeliveryKey) -> Ed25519PrivateKey:
    """Raises DeliveryKeyUnreadable."""
    try:
        return Ed25519PrivateKey.from_private_bytes(sealing.unseal(row.sealed, _context(row.key_id)))
    except sealing.CannotUnseal as error:
        raise DeliveryKeyUnreadable(
            f"The delivery key {row.key_id} cannot be read. {error.detail} "
            "If that secret is lost: manage.py delivery_key rotate --now --user NAME makes a new key."
        ) from None


def ensure() -> DeliveryKey:
    """The newest key; the first one is made here, and signs at once, since nobody knows another."""
    newest = DeliveryKey.objects.order_by("-number").first()
    if newest is not None:
        return newest
    try:
        with history.atomic():
            return _make(1, timezone.now(), actor=history.SYSTEM, action="make")
    except IntegrityError:  # another process has made it in the same moment
        return DeliveryKey.objects.get(number=1)


def rotate(*, actor: str, reason: str = "") -> DeliveryKey:
    """Publishes a new key, which signs after DELIVERY_KEY_LEAD; the present one stays published for
    DELIVERY_KEY_OVERLAP after that. Raises RotationUnderWay.
    """
    present = ensure()
    now = timezone.now()
    if present.signs_from > now:
        raise _under_way(present)
    signs_from = now + timedelta(seconds=settings.DELIVERY_KEY_LEAD)
    try:
        with history.atomic():
            fresh = _make(present.number + 1, signs_from, actor=actor, action="rotate", reason=reason)
            before = history.facts(present)
            present.signs_until = signs_from
            present.published_until = signs_from + timedelta(seconds=settings.DELIVERY_KEY_OVERLAP)
            present.save(update_fields=["signs_until", "published_until"])
            history.record("retire", present, actor, before=before, after=history.facts(present), reason=reason)
    except IntegrityError:
        raise _under_way(DeliveryKey.objects.get(number=present.number + 1)) from None
    event(logger, "delivery_key_rotated", key=fresh.key_id, signs_from=signs_from.isoformat())
    return fresh


def replace(*, actor: str, reason: str = "") -> DeliveryKey:
    """For a key that may have leaked: a new one signs at once, and every other is revoked and published no more.

    Raises RotationUnderWay where somebody else makes a key in the same moment.
    """
    newest = ensure()
    now = timezone.now()
    try:
        with history.atomic():
            for row in DeliveryKey.objects.published(now).select_for_update():
                before = history.facts(row)
                row.revoked_at = now
                row.save(update_fields=["revoked_at"])
                history.record("revoke", row, actor, before=before, after=history.facts(row), reason=reason)
            fresh = _make(newest.number + 1, now, actor=actor, action="replace", reason=reason)
    except IntegrityError:
        raise _under_way(DeliveryKey.objects.get(number=newest.number + 1)) from None
    event(logger, "delivery_key_replaced", logging.WARNING, key=fresh.key_id)
    return fresh


def published() -> list[DeliveryKey]:
    """What recipients are to accept, the newest first."""
    ensure()
    return list(DeliveryKey.objects.published(timezone.now()))


def reseal() -> int:
    """Encrypts under the present DMR_SECRET_KEY what still is under a fallback, so that the fallback can go.

    Returns how many. Raises DeliveryKeyUnreadable where a key that signs cannot be read.
    """
    count = 0
    for row in DeliveryKey.objects.that_sign(timezone.now()):
        raw = unsealed(row).private_bytes_raw()
        if not sealing.is_current(row.sealed):
            sealed = sealing.seal(raw, _context(row.key_id))
            count += DeliveryKey.objects.filter(pk=row.pk, sealed=row.sealed).update(sealed=sealed)
    return count


def thumbprint(public_key: bytes) -> str:
    """The key id: the JWK thumbprint of RFC 7638, which anybody can work out from the key itself."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": base64url(public_key)}
    return base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _make(number: int, signs_from: datetime, *, actor: str, action: str, reason: str = "") -> DeliveryKey:
    """Raises IntegrityError where that number is taken."""
    private_key = Ed25519PrivateKey.generate()
    public_key = private_key.public_key().public_bytes_raw()
    key_id = thumbprint(public_key)
    row = DeliveryKey.objects.create(
        number=number,
        key_id=key_id,
        public_key=base64.b64encode(public_key).decode("ascii"),
        sealed=sealing.seal(private_key.private_bytes_raw(), _context(key_id)),
        signs_from=signs_from,
    )
    history.record(action, row, actor, after=history.facts(row), reason=reason)
    return row


def _context(key_id: str) -> str:
    return f"delivery key {key_id}"


def _under_way(upcoming: DeliveryKey) -> RotationUnderWay:
    return RotationUnderWay(
        f"The key {upcoming.key_id} is published and signs from {upcoming.signs_from:%Y-%m-%d %H:%M} UTC on. "
        "If a key may have leaked, replace it at once instead."
    )
