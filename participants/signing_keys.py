"""Keys that sign: made, rotated with an overlap, published, the private part sealed; SigningKeys are of one purpose.

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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import IntegrityError
from django.utils import timezone
from django.utils.translation import gettext

from dmr_project.lib import sealing
from dmr_project.lib.errors import Conflict
from dmr_project.lib.log import event
from participants import history
from participants.models.signing import SigningKey
from participants.querysets import SigningKeyQuerySet

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 2.0  # a revocation counts in every process within this

Key = TypeVar("Key", bound=SigningKey)


class RotationUnderWay(Conflict):
    code = "rotation-under-way"
    title = "The next key is published already"


class SigningKeyUnreadable(sealing.CannotUnseal):
    code = "signing-key-unreadable"
    title = "A signing key cannot be read"


@dataclass(frozen=True)
class Signer:
    """The private key that signs now."""

    key_id: str
    private_key: Ed25519PrivateKey

    def sign(self, content: bytes) -> bytes:
        return self.private_key.sign(content)


class SigningKeys(Generic[Key]):
    """The keys of one purpose. `name`: in words, such as "delivery key", which `manage.py delivery_key` rotates."""

    def __init__(
        self,
        model: type[Key],
        name: str,
        *,
        lead: Callable[[], float],  # seconds that a key is published before it signs
        overlap: Callable[[], float],  # and after it has signed
        unreadable: type[SigningKeyUnreadable] = SigningKeyUnreadable,
    ) -> None:
        self.model, self.name, self.lead, self.overlap, self.unreadable = model, name, lead, overlap, unreadable

    @property
    def command(self) -> str:
        return self.name.replace(" ", "_")

    def rows(self) -> SigningKeyQuerySet:
        found: SigningKeyQuerySet = self.model._default_manager.all()
        return found

    def unsealed(self, row: SigningKey) -> Ed25519PrivateKey:
        """Raises SigningKeyUnreadable."""
        try:
            return Ed25519PrivateKey.from_private_bytes(sealing.unseal(row.sealed, self._context(row.key_id)))
        except sealing.CannotUnseal as error:
            raise self.unreadable(
                f"The {self.name} {row.key_id} cannot be read. {error.detail} "
                f"If that secret is lost: manage.py {self.command} rotate --now --user NAME makes a new key."
            ) from None

    def ensure(self) -> Key:
        """The newest key; the first one is made here, and signs at once, since nobody knows another."""
        newest: Any = self.rows().order_by("-number").first()
        if newest is not None:
            return newest  # type: ignore[no-any-return]
        try:
            with history.atomic():
                return self._make(1, timezone.now(), actor=history.SYSTEM, action="make")
        except IntegrityError:  # another process has made it in the same moment
            return self._numbered(1)

    def rotate(self, *, actor: str, reason: str = "") -> Key:
        """Publishes a new key, which signs after `lead`; the present one stays published for `overlap` after that.

        Raises RotationUnderWay.
        """
        present = self.ensure()
        now = timezone.now()
        if present.signs_from > now:
            raise self._under_way(present)
        signs_from = now + timedelta(seconds=self.lead())
        try:
            with history.atomic():
                fresh = self._make(present.number + 1, signs_from, actor=actor, action="rotate", reason=reason)
                before = history.facts(present)
                present.signs_until = signs_from
                present.published_until = signs_from + timedelta(seconds=self.overlap())
                present.save(update_fields=["signs_until", "published_until"])
                history.record("retire", present, actor, before=before, after=history.facts(present), reason=reason)
        except IntegrityError:
            raise self._under_way(self._numbered(present.number + 1)) from None
        event(logger, "signing_key_rotated", of=self.command, key=fresh.key_id, signs_from=signs_from.isoformat())
        return fresh

    def replace(self, *, actor: str, reason: str = "") -> Key:
        """For a key that may have leaked: a new one signs at once, and every other is revoked and published no more.

        Raises RotationUnderWay where somebody else makes a key in the same moment.
        """
        newest = self.ensure()
        now = timezone.now()
        try:
            with history.atomic():
                for row in self.rows().published(now).select_for_update():
                    before = history.facts(row)
                    row.revoked_at = now
                    row.save(update_fields=["revoked_at"])
                    history.record("revoke", row, actor, before=before, after=history.facts(row), reason=reason)
                fresh = self._make(newest.number + 1, now, actor=actor, action="replace", reason=reason)
        except IntegrityError:
            raise self._under_way(self._numbered(newest.number + 1)) from None
        event(logger, "signing_key_replaced", logging.WARNING, of=self.command, key=fresh.key_id)
        return fresh

    def published(self) -> list[Key]:
        """What everybody is to accept, the newest first."""
        self.ensure()
        found: Any = list(self.rows().published(timezone.now()))
        return found  # type: ignore[no-any-return]

    def reseal(self) -> int:
        """Encrypts under the present DMR_SECRET_KEY what still is under a fallback, so that the fallback can go.

        Returns how many. Raises SigningKeyUnreadable where a key that signs cannot be read.
        """
        count = 0
        for row in self.rows().that_sign(timezone.now()):
            raw = self.unsealed(row).private_bytes_raw()
            if not sealing.is_current(row.sealed):
                sealed = sealing.seal(raw, self._context(row.key_id))
                count += self.rows().filter(pk=row.pk, sealed=row.sealed).update(sealed=sealed)
        return count

    def _make(self, number: int, signs_from: datetime, *, actor: str, action: str, reason: str = "") -> Key:
        """Raises IntegrityError where that number is taken."""
        private_key = Ed25519PrivateKey.generate()
        public_key = private_key.public_key().public_bytes_raw()
        key_id = thumbprint(public_key)
        row = self.model(
            number=number,
            key_id=key_id,
            public_key=base64.b64encode(public_key).decode("ascii"),
            sealed=sealing.seal(private_key.private_bytes_raw(), self._context(key_id)),
            signs_from=signs_from,
        )
        row.save(force_insert=True)
        history.record(action, row, actor, after=history.facts(row), reason=reason)
        return row

    def _numbered(self, number: int) -> Key:
        found: Any = self.rows().get(number=number)
        return found  # type: ignore[no-any-return]

    def _context(self, key_id: str) -> str:
        return f"{self.name} {key_id}"

    def _under_way(self, upcoming: Key) -> RotationUnderWay:
        return RotationUnderWay(
            gettext(
                "The key %(key_id)s is published and signs from %(signs_from)s UTC on. If a key may "
                "have leaked, replace it at once instead."
            )
            % {"key_id": upcoming.key_id, "signs_from": f"{upcoming.signs_from:%Y-%m-%d %H:%M}"}
        )


class Keyring:
    """What a process keeps of the keys, so that signing asks the database once in REFRESH_SECONDS at most."""

    def __init__(self, keys: SigningKeys[Any]) -> None:
        self._keys = keys
        self._lock = threading.Lock()
        self._rows: list[SigningKey] = []
        self._signers: dict[str, Signer] = {}
        self._read_at: float | None = None

    def signer(self) -> Signer:
        """The one that signs now. May ask the database. Raises SigningKeyUnreadable."""
        with self._lock:
            if self._read_at is None or time.monotonic() - self._read_at > REFRESH_SECONDS:
                self._rows = list(self._keys.rows().that_sign(timezone.now())) or [self._keys.ensure()]
                self._read_at = time.monotonic()
            now = timezone.now()
            row = next((each for each in self._rows if each.signs_from <= now), self._rows[-1])
            found = self._signers.get(row.key_id)
            if found is None:
                found = Signer(row.key_id, self._keys.unsealed(row))
                self._signers = {row.key_id: found}
            return found


def jwk(row: SigningKey) -> dict[str, Any]:
    """RFC 8037. In seconds since 1970 `iat` made, `nbf` signs from, `exp` accepted until (once that is known)."""
    said = {
        "kty": "OKP",
        "crv": "Ed25519",
        "x": base64url(base64.b64decode(row.public_key)),
        "kid": row.key_id,
        "use": "sig",
        "alg": "EdDSA",
        "key_ops": ["verify"],
        "iat": int(row.created_at.timestamp()),
        "nbf": int(row.signs_from.timestamp()),
    }
    return said | ({"exp": int(row.published_until.timestamp())} if row.published_until else {})


def thumbprint(public_key: bytes) -> str:
    """The key id: the JWK thumbprint of RFC 7638, which anybody can work out from the key itself."""
    members = {"crv": "Ed25519", "kty": "OKP", "x": base64url(public_key)}
    return base64url(hashlib.sha256(json.dumps(members, separators=(",", ":")).encode()).digest())


def base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")
