"""Forgetting: payloads (and recipients' answers) some time after their last delivery has ended, the rest much later.

Ended deliveries put their message into PayloadDue; a dead letter does when it is discarded, since until then
somebody may want to requeue it. Deleting goes in small batches by those rows' order, so that its cost does not
grow with what is kept.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from dmr_project.lib.log import event
from participants.models import DEFAULT_RETENTION
from relay import stored_bytes
from relay.models import Attempt, Delivery, Message, PayloadDue, State
from relay.querysets import DeliveryQuerySet

logger = logging.getLogger(__name__)

METADATA_DAYS = 90
BATCH = 500
MOST_BATCHES = 20  # a run; the next one goes on

# What keeps a payload: a delivery under way, or a dead letter that nobody has discarded.
KEEPS_PAYLOAD = Q(state__in=(State.PENDING, State.DELIVERING)) | Q(
    state__in=(State.DEAD, State.EXPIRED), discarded_at=None, recipient__isnull=False
)


def note_ended(retentions: Mapping[int, int], at: datetime) -> None:
    """Their payloads are due when their retention is over. Call it in the transaction that ends deliveries.

    `retentions`: the message's key -> seconds. In one order everywhere, so that two can't wait for each other.
    """
    ordered = sorted(retentions.items())
    rows = [PayloadDue(message_id=pk, due_at=at + timedelta(seconds=seconds)) for pk, seconds in ordered]
    PayloadDue.objects.bulk_create(
        rows, update_conflicts=True, unique_fields=["message"], update_fields=["due_at"], batch_size=BATCH
    )


def retention_of(message: Message) -> int:
    """Seconds: its room's, or the default where it has none (our own messages)."""
    return message.room.retention if message.room else DEFAULT_RETENTION


def run() -> tuple[int, int]:
    """Deletes what is due. Returns how many payloads and how many messages."""
    payloads, messages = delete_payloads(), delete_messages()
    if payloads or messages:
        event(logger, "retention_ran", payloads=payloads, messages=messages)
    return payloads, messages


def delete_payloads() -> int:
    """Empties due payloads. What has an open delivery again (requeued) is left until that ends."""
    total = 0
    for _ in range(MOST_BATCHES):
        with transaction.atomic():
            due = PayloadDue.objects.filter(due_at__lte=timezone.now()).order_by("due_at")
            if connection.features.has_select_for_update_skip_locked:
                due = due.select_for_update(skip_locked=True)
            ids = list(due.values_list("message_id", flat=True)[:BATCH])
            keeps = Delivery.objects.filter(KEEPS_PAYLOAD, message_id=OuterRef("pk"))
            gone = list(
                Message.objects.filter(~Exists(keeps), pk__in=ids, payload_deleted_at=None).values_list(
                    "pk", "written_id", "sender_id", "sent_by", "payload_size"
                )
            )
            gone_ids = [row[0] for row in gone]
            Message.objects.filter(pk__in=gone_ids).update(payload=b"", payload_deleted_at=timezone.now())
            # Recipients' answers may speak of what they got.
            Attempt.objects.filter(delivery__message__in=gone_ids).exclude(answer="").update(answer="")
            stored_bytes.take_off([(sender_id, sent_by, size) for _, _, sender_id, sent_by, size in gone])
            PayloadDue.objects.filter(pk__in=ids).delete()
        for pk, written_id, *_ in gone:
            event(logger, "payload_deleted", message=pk, message_id=written_id)
        total += len(gone)
        if len(ids) < BATCH:
            break
    return total


def delete_messages() -> int:
    """Deletes messages older than METADATA_DAYS, oldest first: also dead letters that nobody has looked at since."""
    cutoff = timezone.now() - timedelta(days=METADATA_DAYS)
    total = 0
    for _ in range(MOST_BATCHES):
        # The key grows with time, so the oldest are at its beginning: no index on the time is needed.
        oldest = Message.objects.order_by("pk").values_list("pk", "accepted_at")[:BATCH]
        old = [pk for pk, accepted_at in oldest if accepted_at < cutoff]
        old = list(set(old) - _under_way(Delivery.objects.filter(message_id__in=old)))
        if not old:
            break
        with transaction.atomic():
            # Somebody may have requeued one in this moment; from here on nobody can.
            locked = Delivery.objects.filter(message_id__in=old).order_by("pk").select_for_update()
            old = list(set(old) - _under_way(locked))
            kept = Message.objects.filter(pk__in=old, payload_deleted_at=None)
            stored_bytes.take_off(list(kept.values_list("sender_id", "sent_by", "payload_size")))
            Message.objects.filter(pk__in=old).defer("payload").delete()  # of dead letters: it would be read first
        total += len(old)
    return total


def _under_way(deliveries: DeliveryQuerySet) -> set[int]:
    """The messages of those that have not ended."""
    rows = deliveries.values_list("message_id", "state")
    return {message for message, state in rows if state in (State.PENDING, State.DELIVERING)}
