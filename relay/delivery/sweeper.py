"""The net beneath: leases that ran out, and messages held beyond their time to live. Run by beat every 5 s."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.utils import timezone

from dmr_project.lib import storage
from dmr_project.lib.log import event
from participants import statuses
from participants.models import Participant
from relay import counting, metrics, planning
from relay.delivery import conversations, settle
from relay.models import Delivery, State

logger = logging.getLogger(__name__)

BATCH = 500
MOST_BATCHES = 20  # a sweep; the next one goes on
LONG = timedelta(minutes=1)  # what waits no longer than this is not brought forward


@dataclass(frozen=True)
class Swept:
    """What a sweep found."""

    returned: int
    expired: int


def sweep() -> Swept:
    """Returns lost leases, ends what has expired, brings forward what need not wait, puts off what cannot go yet.

    Harmless when two run at once.
    """
    swept = Swept(returned=return_lost_leases(), expired=expire_held())
    bring_forward()
    conversations.put_off()
    if swept.returned or swept.expired:
        event(logger, "swept", returned=swept.returned, expired=swept.expired)
    return swept


def return_lost_leases() -> int:
    """What a dead worker had claimed, or a recipient fetched and forgot, is due again at once.

    The attempt stays counted.
    """
    now = timezone.now()
    lost = Delivery.objects.filter(state=State.DELIVERING, lease_until__lt=now)
    pulling = Participant.objects.filter(delivery_mode=Participant.DeliveryMode.PULL).values("pk")
    # In a subquery of its own, so that a row that is settled meanwhile is looked at again and left alone.
    of_recipients = _return(lost.filter(recipient_id__in=pulling), now)
    of_workers = _return(lost, now)
    metrics.INBOX_LEASES_LOST.inc(of_recipients)
    metrics.LEASES_LOST.inc(of_workers)
    return of_recipients + of_workers


def _return(lost: QuerySet[Delivery], now: datetime) -> int:
    return lost.update(state=State.PENDING, due_at=now, lease_until=None, lease_token=None)


def bring_forward() -> int:
    """What waits for its next attempt at an endpoint that is not posted to any more is due now. Returns how many.

    Who has left the network has all of it returned. Who fetches its messages by now gets what had failed, and what is
    behind that; what it has handed back itself comes when that said.
    """
    later = Delivery.objects.filter(state=State.PENDING, due_at__gt=timezone.now() + LONG)
    posted = later.filter(attempts__gt=0, last_seconds__isnull=False)
    total = 0
    for recipients, rows in (
        (Participant.objects.filter(status__in=statuses.GONE), later),
        (Participant.objects.filter(delivery_mode=Participant.DeliveryMode.PULL), posted),
    ):
        first = rows.filter(recipient_id=OuterRef("pk")).order_by("due_at", "id").values("pk")[:1]
        waiting = recipients.alias(first=Subquery(first)).filter(first__isnull=False).values_list("pk", flat=True)
        with planning.in_index_order():
            found = list(waiting[:BATCH])
        total += sum(_bring_forward(rows.filter(recipient_id=pk)) for pk in found)
    if total:
        event(logger, "brought_forward", count=total)
    return total


def _bring_forward(rows: QuerySet[Delivery]) -> int:
    """A batch of these, which are one recipient's. What somebody is at just now waits for the next sweep."""
    found = rows.order_by("due_at", "id")
    if connection.features.has_select_for_update_skip_locked:
        found = found.select_for_update(skip_locked=True, of=("self",))
    with transaction.atomic(), planning.in_index_order():
        taken = list(found.values_list("id", "recipient_id", "conversation")[:BATCH])
        Delivery.objects.filter(id__in=[row[0] for row in taken]).update(due_at=timezone.now())
    conversations.call_back({(recipient_id, conversation) for _, recipient_id, conversation in taken})
    return len(taken)


def expire_held() -> int:
    """Ends pending deliveries whose time to live is over, in batches, and tells their senders.

    Where a batch cannot be written, each is by itself, so that one costs the others nothing; it is tried again.
    """
    total = 0
    for _ in range(MOST_BATCHES):
        now = timezone.now()
        try:
            with transaction.atomic():
                batch = _held_too_long(now)
                ended = [delivery for delivery in batch if settle.expire(delivery, now)]
        except Exception as error:
            if settle.is_away(error):
                raise
            event(logger, "batch_not_expired", logging.ERROR, error=type(error).__name__)
            with transaction.atomic():
                batch = _held_too_long(now)
                ended = [delivery for delivery in batch if _expire_alone(delivery, now)]
        for delivery in ended:
            counting.ended(State.EXPIRED, delivery)
        total += len(ended)
        if len(batch) < BATCH or not ended:
            break
    return total


def _held_too_long(now: datetime) -> list[Delivery]:
    rows = Delivery.objects.filter(state=State.PENDING, expires_at__lte=now).order_by("expires_at")
    if connection.features.has_select_for_update_skip_locked:
        rows = rows.select_for_update(skip_locked=True, of=("self",))
    rows = rows.select_related("message__sender", "recipient").defer("message__payload")
    with planning.in_index_order():
        return list(rows[:BATCH])


def _expire_alone(delivery: Delivery, now: datetime) -> bool:
    try:
        with transaction.atomic():
            return settle.expire(delivery, now)
    except Exception as error:
        if settle.is_away(error):
            raise
        if not storage.is_full(error):  # then it is said once, and of all
            logger.exception("delivery_not_expired", extra={"facts": {"delivery": delivery.pk}})
        return False
