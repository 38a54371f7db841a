"""Sending what the registry announces: a message from Dmr for each announcement, and a delivery for each recipient.

Recipients are come to in batches, in the order of their keys. A batch stores its deliveries and writes down how far
it has come in one transaction, so that whoever dies between two neither loses a recipient nor tells one twice. The
message's id follows from the announcement's, so that there is one message however often that is begun.
"""

from __future__ import annotations

import logging
import time
import uuid
from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone

from dmr_project.lib.log import event
from participants import announcements, directory
from participants.directory import Recipient
from participants.models import Announcement
from relay import bulk, metrics, own_messages
from relay.delivery import wake
from relay.models import Delivery, Message, State

logger = logging.getLogger(__name__)

BATCH = 500
SECONDS = 4.0  # of work at a time; beat comes again after three
MODEL_TYPE = "application/vnd.dmr.{}+json;version=1"
_IDS = uuid.UUID("6f0a3c52-6d4b-4f0e-9a3b-6d1f5a0c7e21")  # the name space of our messages' ids

# What says no more than "look again" is not sent to whom the same still waits for.
_COALESCED = (Announcement.Kind.PARTICIPANTS,)


def send(seconds: float = SECONDS) -> int:
    """Makes messages of what is announced, the oldest first, until all is or the time is over. Returns how many.

    Harmless when two run at once.
    """
    end, total = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        count = _send_batch()
        if count is None:
            break
        total += count
    return total


def message_id_of(announcement: Announcement) -> uuid.UUID:
    return uuid.uuid5(_IDS, str(announcement.public_id))


def conversation_of(announcement: Announcement) -> str:
    """What is said of one thing arrives in order."""
    is_of_one = announcement.about and announcement.kind not in _COALESCED
    return f"{announcement.kind}/{announcement.about}" if is_of_one else announcement.kind


def _send_batch() -> int | None:
    """The next recipients of the oldest announcement; None where there is none, or others are at all of them."""
    with transaction.atomic():
        locked = connection.features.has_select_for_update_skip_locked
        row = Announcement.objects.unsent().select_for_update(skip_locked=locked).first()
        if row is None:
            return None
        now = timezone.now()
        is_over = row.expires_at <= now
        found, reached = ([], None) if is_over else announcements.next_recipients(row, BATCH)
        told = _store(row, found, now)
        row.told += told
        row.reached_id = reached or row.reached_id
        row.sent_at = now if reached is None else None
        row.save(update_fields=["told", "reached_id", "sent_at"])
        if row.sent_at is not None:
            event(logger, "announced", announcement=row.public_id, kind=row.kind, told=row.told, expired=is_over)
    metrics.ANNOUNCED.labels(kind=row.kind).inc(told)
    return told


def _store(announcement: Announcement, recipients: list[Recipient], now: datetime) -> int:
    """One payload for all of them."""
    if announcement.kind in _COALESCED:
        recipients = _without_those_that_wait(announcement, recipients)
    if not recipients:
        return 0
    message = _message(announcement, now)
    bulk.insert_deliveries([own_messages.draft_delivery(message, each.id, each.name) for each in recipients])
    transaction.on_commit(wake.pump)
    return len(recipients)


def _message(announcement: Announcement, now: datetime) -> Message:
    """Stored by the first batch, found again by the others."""
    relay, message_id = directory.relay(), message_id_of(announcement)
    found = Message.objects.filter(sender=relay, message_id=message_id).defer("payload").first()
    if found is not None:
        # As much of it as a delivery repeats; a later batch is due when it is stored.
        found.accepted_at = now
        return found
    message = own_messages.draft_message(
        relay,
        message_id,
        model_type=MODEL_TYPE.format(announcement.kind),
        said=announcement.body,
        at=now,
        conversation=conversation_of(announcement),
        expires_at=announcement.expires_at,
    )
    message.save(force_insert=True)
    return message


def _without_those_that_wait(announcement: Announcement, recipients: list[Recipient]) -> list[Recipient]:
    """What is claimed already does not count: its recipient may have looked before this was announced."""
    waiting = set(
        Delivery.objects.filter(
            recipient_id__in=[each.id for each in recipients],
            conversation=conversation_of(announcement),
            state=State.PENDING,
            sender=directory.relay(),
        ).values_list("recipient_id", flat=True)
    )
    return [each for each in recipients if each.id not in waiting]
