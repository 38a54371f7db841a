"""The chain of the audit log: what of an entry is hashed, and how entries are appended.

An entry's line is a JSON object of everything it says, with `previousHash`, the hash of the entry before. Its hash is
the SHA-256 of the line's canonical form (RFC 8785), so that an exported line can be verified anywhere.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

import rfc8785
from django.db import connection
from django.utils.timezone import now

from participants.models import ChainHead, Change

GENESIS = "0" * 64  # the previous hash of the first entry
MOST_EXACT = 2**53 - 1  # above this, JSON numbers differ from reader to reader


def moment(at: datetime) -> str:
    """ISO 8601 in UTC, always with microseconds: what the database keeps."""
    return at.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def line(change: Change) -> dict[str, Any]:
    """What an entry says, as it is hashed and exported (with `hash` besides). The names are for ever."""
    owner = None
    if change.institution or change.institution_name:
        owner = {"id": str(change.institution), "name": change.institution_name}
    return {
        "number": change.number,
        "at": moment(change.at),
        "actorKind": str(change.actor_kind),
        "actor": change.actor,
        "address": change.address,
        "action": change.action,
        "object": {"kind": change.kind, "id": change.subject_id, "name": change.subject},
        "institution": owner,
        "before": change.before,
        "after": change.after,
        "reason": change.reason,
        "previousHash": change.previous_hash,
    }


def digest(said: dict[str, Any]) -> str:
    """The hash of a line. Raises CanonicalizationError for what has no canonical form, which plain() prevents."""
    return hashlib.sha256(rfc8785.dumps(said)).hexdigest()


def plain(value: Any) -> Any:
    """The value as JSON that both databases give back as it was, and that has one canonical form."""
    if isinstance(value, dict):
        return {text(str(name)): plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, (int, float)):
        is_exact = math.isfinite(value) and abs(value) <= MOST_EXACT
        return (value + 0 if value else 0) if is_exact else str(value)  # PostgreSQL knows no -0.0
    return text(str(value))


def text(value: str, most: int | None = None) -> str:
    """Without NUL and halves of characters, which no database and no canonical form takes."""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")[:most]


def append(changes: Sequence[Change]) -> None:
    """Numbers, chains and stores entries that are not stored yet.

    Holds the head's row until the transaction ends, so other writers wait: call it as the transaction's last act.
    """
    assert connection.in_atomic_block, "an entry belongs into the transaction of what it tells of"
    head = locked_head()
    at = now()
    for change in changes:
        change.at = at
        link(head, change)
    Change.objects.bulk_create(changes)
    head.save(update_fields=["number", "hash"])


def locked_head() -> ChainHead:
    """The newest entry's number and hash; nobody else appends until the transaction ends."""
    head = ChainHead.objects.select_for_update().filter(pk=1).first()
    if head is None:  # the first entry of all; of two that come at once, one waits for the other
        ChainHead.objects.bulk_create([ChainHead(pk=1, number=0, hash=GENESIS)], ignore_conflicts=True)
        head = ChainHead.objects.select_for_update().get(pk=1)
    return head


def link(head: ChainHead, change: Change) -> None:
    """Makes the entry the one after `head`, and `head` this entry's."""
    change.number = head.number + 1
    change.previous_hash = head.hash
    change.hash = digest(line(change))
    head.number, head.hash = change.number, change.hash


def adopt() -> int:
    """Takes into the chain what the release before has written during an upgrade. Returns how many."""
    rows = list(Change.objects.filter(number=None).order_by("id")[:1000])
    if not rows:
        return 0
    head = locked_head()
    for change in rows:
        link(head, change)
        Change.objects.adopted(change)
    head.save(update_fields=["number", "hash"])
    return len(rows)
