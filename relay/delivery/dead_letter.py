"""Dead letters: given another chance, or given up."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import (
    DateTimeField,
    DurationField,
    ExpressionWrapper,
    F,
    IntegerField,
    OuterRef,
    Subquery,
    Value,
)
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Coalesce
from django.utils import timezone

from dmr_project.lib.sentences import Sentence
from participants.models import DEFAULT_RETENTION, DEFAULT_TIME_TO_LIVE
from relay import counting, error_messages, metrics, retention
from relay.delivery import conversations, wake
from relay.models import Delivery, Message, State
from relay.querysets import DeliveryQuerySet

DISCARDED = Sentence("discarded by staff")()


def requeue(deliveries: DeliveryQuerySet) -> int:
    """Makes dead letters due now, with all their attempts and their rooms' time to live. Returns how many.

    Those with an obstacle (see DeliveryQuerySet.with_obstacle) stay what they are.

    All become due at once, and not bit by bit: a claim takes a few of each recipient at a time, and few are in
    flight to one, so that neither the others nor the recipient itself have more to do at once than ever; a breaker
    stops at the fifth failure. A recipient's new messages wait behind what was requeued before them.
    """
    now = timezone.now()
    possible = deliveries.filter(state__in=(State.DEAD, State.EXPIRED)).with_obstacle().filter(obstacle="")
    count: int = possible.update(
        state=State.PENDING,
        due_at=now,
        attempts=0,
        expires_at=_end_of_life(now),
        ended_at=None,
        discarded_at=None,
    )
    metrics.DEAD_LETTERS.labels(action="requeue").inc(count)
    transaction.on_commit(wake.pump)
    return count


def _end_of_life(begins_at: datetime) -> ExpressionWrapper[CombinedExpression]:
    """When its room's time to live, or the usual one where there is no room, is over: of each row, in SQL."""
    of_room = Message.objects.filter(pk=OuterRef("message_id")).values("room__time_to_live")
    seconds = Coalesce(Subquery(of_room), DEFAULT_TIME_TO_LIVE, output_field=IntegerField())
    lives = ExpressionWrapper(seconds * Value(timedelta(seconds=1)), output_field=DurationField())
    return ExpressionWrapper(Value(begins_at) + lives, output_field=DateTimeField())


def discard(deliveries: DeliveryQuerySet) -> int:
    """Gives up dead letters, and pending deliveries, whose senders are told. Returns how many."""
    now = timezone.now()
    with transaction.atomic():
        found = deliveries.filter(discarded_at=None).in_state(State.DEAD, State.EXPIRED)
        # Those alone: what dies from here on is not discarded without its payload being due.
        locked = found.order_by("pk").select_for_update(of=("self",)).values_list("pk", flat=True)
        open_letters = Delivery.objects.filter(pk__in=list(locked))
        ended = _retentions(open_letters)
        count = open_letters.update(discarded_at=now)
        pending = (
            deliveries.in_state(State.PENDING)
            .select_related("message__sender", "message__room", "recipient")
            .defer("message__payload")
        )
        gone: list[tuple[int | None, str]] = []
        # In the order of their keys: the sweep locks what goes first in a conversation, and then what is behind it.
        for delivery in pending.order_by("pk").select_for_update(of=("self",)):
            changed = (
                Delivery.objects.filter(pk=delivery.pk)
                .in_state(State.PENDING)
                .update(
                    state=State.DEAD, ended_at=now, discarded_at=now, last_error=DISCARDED, attempts=F("attempts")
                )
            )
            if changed:
                counting.ended(State.DEAD, delivery)
                error_messages.tell_sender(delivery.message, 504, f"Not delivered: {DISCARDED}.")
                ended[delivery.message_id] = retention.retention_of(delivery.message)
                gone.append((delivery.recipient_id, delivery.conversation))
            count += changed
        retention.note_ended(ended, now)
        conversations.call_back(gone)
    metrics.DEAD_LETTERS.labels(action="discard").inc(count)
    return count


def _retentions(deliveries: DeliveryQuerySet) -> dict[int, int]:
    """How long each message's payload is kept from now on: key -> seconds."""
    rows = deliveries.values_list("message_id", "message__room__retention")
    return {pk: DEFAULT_RETENTION if seconds is None else seconds for pk, seconds in rows}
