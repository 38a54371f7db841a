"""The published list of participants as a signed document, which proves itself wherever it is kept.

A flattened JWS (RFC 7515, EdDSA as in RFC 8037) over JSON: its `version` only grows (the list's position in the audit
log, so the change feed and the list count alike), and it says when it expires. It is made anew once a day, so that
`expiresAt` moves on while nothing changes. All of it follows from the list, the day and the key: every process makes
the same bytes. See docs/participant-list.md.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from django.utils.timezone import now

from participants import listing
from participants.announcements import moment
from participants.listing import Position
from participants.models import Change, ListKey, Participant
from participants.signing_keys import Keyring, SigningKeys, base64url

LIFETIME = timedelta(days=7)  # from the day it is made: Core may be away for a long weekend
TYPE = "dmr-participant-list+jws"
DAY = 24 * 3600

# A list lies somewhere for as long as it is good, and is to be verified there: its key stays published for longer.
keys = SigningKeys(ListKey, "list key", lead=lambda: DAY, overlap=lambda: LIFETIME.total_seconds() + DAY)


@dataclass(frozen=True)
class SignedList:
    """The document as bytes of JSON, and what tells it from others."""

    body: bytes
    position: Position
    issued_at: datetime
    key_id: str

    @property
    def tag(self) -> str:
        return f'"{self.position.number}-{self.position.mark}-{int(self.issued_at.timestamp())}-{self.key_id[:8]}"'


class Shelf:
    """The newest document of a process: made once, given to all who ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: SignedList | None = None
        self._keyring = Keyring(keys)

    def document(self) -> SignedList:
        """Raises SigningKeyUnreadable."""
        position, signer, today = listing.position(), self._keyring.signer(), midnight(now())
        with self._lock:
            made = self._made
            is_newest = made is not None and (made.position, made.key_id) == (position, signer.key_id)
            if made is None or not is_newest or made.issued_at < today:
                made = self._made = _make(position, self._keyring, max(today, changed_at(position)))
            return made


shelf = Shelf()


def midnight(at: datetime) -> datetime:
    return at.astimezone(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)


def changed_at(position: Position) -> datetime:
    """When the list came to be as it is; the beginning of time where nothing ever changed it."""
    at = Change.objects.filter(number=position.number).values_list("at", flat=True).first()
    return at.replace(microsecond=0) if at else datetime.fromtimestamp(0, timezone.utc)


def _make(position: Position, keyring: Keyring, issued_at: datetime) -> SignedList:
    signer = keyring.signer()
    participants = listing.entries(Participant.objects.active().order_by("name"))
    said = {
        "version": position.number,
        "issuedAt": moment(issued_at),
        "expiresAt": moment(issued_at + LIFETIME),
        "count": len(participants),
        "participants": participants,
    }
    header = {"alg": "EdDSA", "kid": signer.key_id, "typ": TYPE}
    protected = base64url(json.dumps(header, separators=(",", ":")).encode())
    payload = base64url(json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode())
    signature = base64url(signer.sign(f"{protected}.{payload}".encode()))
    body = json.dumps({"payload": payload, "protected": protected, "signature": signature}).encode()
    return SignedList(body, position, issued_at, signer.key_id)
