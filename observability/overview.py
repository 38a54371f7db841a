"""All that is known of one participant, from every app, as its overview shows it: a few rows of each kind.

Each part is one query by an index, and none counts further than MOST_COUNTED.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Q, QuerySet

from observability.models import Alert, Component
from observability.states import Health
from observability.traffic import backlogs
from participants.models import ApiKey, Membership, Outage, Participant
from relay.models import Delivery, Message, State
from updates.models import Target

DAY = timedelta(days=1)
MOST_COUNTED = 20_000  # messages of a day: who has more is shown as having more
ROWS = 8
ROOMS = 50


@dataclass(frozen=True)
class Day:
    """What came to a participant and went from it within a day. A count above MOST_COUNTED says "more"."""

    received: int
    delivered: int
    waiting: int
    failed: int  # dead or expired
    at_first: int  # of those delivered, without a failed attempt
    sent: int

    @property
    def is_more(self) -> bool:
        return max(self.received, self.sent) > MOST_COUNTED


def participants() -> QuerySet[Participant]:
    """With all that is one row for each."""
    beside = ("institution", "vital_signs", "breaker", "terms", "stored_bytes", "installed_release")
    return Participant.objects.present().select_related(*beside)


def day_of(row: Participant, now: datetime) -> Day:
    since = now - DAY
    columns = ("state", "attempts")
    received = Delivery.objects.filter(recipient=row, accepted_at__gt=since).order_by().values(*columns)
    counts = received[: MOST_COUNTED + 1].aggregate(
        received=Count("*"),
        delivered=Count("state", filter=Q(state=State.DELIVERED)),
        waiting=Count("state", filter=Q(state__in=(State.PENDING, State.DELIVERING))),
        failed=Count("state", filter=Q(state__in=(State.DEAD, State.EXPIRED))),
        at_first=Count("state", filter=Q(state=State.DELIVERED, attempts__lte=1)),
    )
    sent = Message.objects.filter(sender=row, accepted_at__gt=since).order_by().values("pk")[: MOST_COUNTED + 1]
    return Day(**counts, sent=sent.count())


def backlog_of(row: Participant) -> int:
    return backlogs([row.pk]).get(row.pk, 0)


def keys_of(row: Participant) -> list[ApiKey]:
    """Those that hold or held last, the newest first."""
    return list(ApiKey.objects.filter(participant=row).order_by("-created_at")[:ROWS])


def rooms_of(row: Participant) -> list[Membership]:
    return list(Membership.objects.filter(participant=row).select_related("room").order_by("room__name")[:ROOMS])


def deliveries_to(row: Participant) -> list[Delivery]:
    rows = Delivery.objects.filter(recipient=row).select_related("message__sender", "recipient__breaker")
    rows = rows.defer("message__payload")
    return list(rows.order_by("-accepted_at")[:ROWS])


def deliveries_from(row: Participant) -> list[Delivery]:
    """Of its latest messages."""
    latest = Message.objects.filter(sender=row).order_by("-accepted_at").values_list("pk", flat=True)[:ROWS]
    rows = Delivery.objects.filter(message__in=list(latest)).select_related("message", "recipient__breaker")
    rows = rows.defer("message__payload")
    return list(rows.order_by("-id")[:ROWS])


def dead_letters_to(row: Participant) -> int:
    return Delivery.objects.dead_letters().filter(recipient_name=row.name)[: MOST_COUNTED + 1].count()


def outages_of(row: Participant, now: datetime) -> list[Outage]:
    """Now and next, its own and its institution's."""
    rows = Outage.objects.not_over(now).filter(Q(participants=row) | Q(institution=row.institution_id))
    return list(rows.distinct().order_by("begins_at")[:ROWS])


def components_of(row: Participant) -> list[Component]:
    """Those that are unwell first."""
    return sorted(Component.objects.filter(participant=row), key=lambda each: (each.health == Health.OK, each.name))


def alerts_of(row: Participant) -> list[Alert]:
    """The open ones first."""
    rows = Alert.objects.filter(participant=row).order_by("-id")[:ROWS]
    return sorted(rows, key=lambda each: not each.is_open)


def targets_of(row: Participant) -> list[Any]:
    """The releases that were on their way to it, the latest first."""
    rows = Target.objects.filter(participant=row).select_related("rollout__release", "wave")
    return list(rows.defer("rollout__release__manifest").order_by("-rollout_id")[:ROWS])
