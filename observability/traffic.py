"""What a few participants sent and received in the last hour, and what waits for them.

Counted from the relay's rows when somebody looks, by two indexes that stand in place of those that the foreign
keys would have anyway: messages pay nothing for it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import Count, Q
from django.utils import timezone

from relay import backlog
from relay.models import Delivery, Message

WINDOW = timedelta(hours=1)
MOST_COUNTED = 10_000  # of one participant's backlog: a million would be counted for minutes


@dataclass(frozen=True)
class Traffic:
    """Of one participant. `failed`: of those received, the ones that did not get through at the first attempt."""

    received: int = 0
    sent: int = 0
    failed: int = 0
    backlog: int = 0  # at most MOST_COUNTED + 1, which says "more"


def traffic_of(participant_ids: Collection[int]) -> dict[int, Traffic]:
    """Of each of them, in three queries however many they are."""
    if not participant_ids:
        return {}
    since = timezone.now() - WINDOW
    received = (
        Delivery.objects.filter(recipient_id__in=participant_ids, accepted_at__gt=since)
        .order_by()
        .values_list("recipient_id")
        .annotate(count=Count("pk"), failed=Count("pk", filter=Q(attempts__gt=1) | ~Q(last_error="")))
    )
    came = {recipient_id: (count, failed) for recipient_id, count, failed in received}
    sent = dict(
        Message.objects.filter(sender_id__in=participant_ids, accepted_at__gt=since)
        .order_by()
        .values_list("sender_id")
        .annotate(Count("pk"))
    )
    waiting = backlogs(participant_ids)
    return {
        each: Traffic(
            received=came.get(each, (0, 0))[0],
            failed=came.get(each, (0, 0))[1],
            sent=sent.get(each, 0),
            backlog=waiting.get(each, 0),
        )
        for each in participant_ids
    }


def backlogs(participant_ids: Collection[int]) -> dict[int, int]:
    """How much waits for each, in one query; counted up to MOST_COUNTED + 1, which says "more"."""
    return {pk: found.count for pk, found in backlog.backlogs(participant_ids, MOST_COUNTED + 1).items()}
