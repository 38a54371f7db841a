"""Questions over many messages and deliveries."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import Case, CharField, Exists, F, OuterRef, Q, Value, When
from django.db.models.functions import Coalesce, Concat

from participants import names, statuses
from participants.models import Membership, Participant

if TYPE_CHECKING:
    from relay.models import Attempt, Breaker, Delivery, Message, StoredBytes  # noqa: F401


UNFETCHED_AFTER = timedelta(minutes=10)


class Obstacle(models.TextChoices):
    """Why a dead letter cannot be requeued."""

    RECIPIENT_GONE = "recipient-gone", "nobody has the recipient's name, or it has left the network"
    PAYLOAD_DELETED = "payload-deleted", "its payload was deleted"
    NO_SHARED_ROOM = "no-shared-room", "sender and recipient share no room"
    NOT_IN_ITS_ROOM = "not-in-its-room", "it is for a room that one of the two has left, or that is closed"


class MessageQuerySet(models.QuerySet["Message"]):
    def sent_by_participant(self, participant_id: int, message_id: UUID) -> Message | None:
        return self.filter(sender_id=participant_id, message_id=message_id).first()

    def received_by(self, participant_id: int, message_id: UUID) -> Message | None:
        """The newest with that id that is, or was, on its way to the participant."""
        return self.filter(message_id=message_id, deliveries__recipient_id=participant_id).order_by("-id").first()


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def dead_letters(self) -> DeliveryQuerySet:
        """All that will not be tried again by itself, and that nobody has discarded."""
        return self.filter(state__in=("dead", "expired"), discarded_at=None)

    def unfetched(self, now: datetime) -> DeliveryQuerySet:
        """What its recipient is to fetch, and could have for UNFETCHED_AFTER."""
        return self.filter(
            state="pending",
            due_at__lte=now - UNFETCHED_AFTER,
            recipient__delivery_mode=Participant.DeliveryMode.PULL,
            recipient__status=Participant.Status.ACTIVE,
        )

    def in_state(self, *states: str) -> DeliveryQuerySet:
        """Of rows that are named by their keys: they are to be found by these, and not by the partial indexes."""
        unindexed = Concat("state", Value(""), output_field=CharField())
        found: DeliveryQuerySet = self.alias(in_state=unindexed).filter(in_state__in=states)
        return found

    def with_obstacle(self) -> Any:
        """Each with `obstacle`: why it cannot be requeued, empty where it can. (A set of the same kind.)"""
        one_room = Membership.objects.filter(
            # As in reach.decide, for all of them at once.
            participant=OuterRef("recipient_id"),
            listens=True,
            room__memberships__participant=OuterRef("message__sender_id"),
            room__memberships__may_speak=True,
        )
        # What was posted to a room is for who is in it, whatever else the two share.
        its_room = one_room.filter(room=OuterRef("message__room"))
        return self.annotate(
            obstacle=Case(
                When(
                    Q(recipient=None) | Q(recipient__status__in=statuses.UNKNOWN), then=Value(Obstacle.RECIPIENT_GONE)
                ),
                When(message__payload_deleted_at__isnull=False, then=Value(Obstacle.PAYLOAD_DELETED)),
                # Our own error messages need no room.
                When(~Q(message__sent_by=names.DMR) & ~Exists(one_room), then=Value(Obstacle.NO_SHARED_ROOM)),
                When(
                    Q(message__is_to_room=True) & ~Q(message__sent_by=names.DMR) & ~Exists(its_room),
                    then=Value(Obstacle.NOT_IN_ITS_ROOM),
                ),
                default=Value(""),
                output_field=CharField(),
            )
        )


class AttemptQuerySet(models.QuerySet["Attempt"]):
    def last_answers(self, delivery_ids: Collection[int]) -> dict[int, str]:
        """What each of these deliveries' recipients said at the last failed attempt."""
        rows = self.filter(delivery_id__in=delivery_ids).order_by("id").values_list("delivery_id", "answer")
        return dict(rows)


class StoredBytesQuerySet(models.QuerySet["StoredBytes"]):
    def with_quota(self) -> StoredBytesQuerySet:
        """Each with the `quota` that holds for it, 0 where there is none."""
        default = Value(settings.STORED_BYTES_PER_PARTICIPANT, models.BigIntegerField())
        return self.annotate(quota=Coalesce(F("participant__stored_bytes_limit"), default))

    def watched(self) -> StoredBytesQuerySet:
        """Of participants that may send."""
        return self.filter(participant__deleted_at=None, participant__status="Active")

    def filled(self, percent: int) -> StoredBytesQuerySet:
        """Those that have used so much of their quota, or more."""
        rows: Any = self.with_quota()
        found: StoredBytesQuerySet = rows.filter(quota__gt=0, size__gte=F("quota") / 100 * percent)
        return found


class BreakerQuerySet(models.QuerySet["Breaker"]):
    def parked(self) -> BreakerQuerySet:
        """Of participants that are to be reached at their endpoints, those that said 410."""
        posted_to = self.filter(
            recipient__deleted_at=None, recipient__status="Active", recipient__delivery_mode="push"
        )
        return posted_to.filter(state="parked")
