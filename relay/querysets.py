"""Questions over many messages and deliveries."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce

if TYPE_CHECKING:
    from relay.models import Attempt, Delivery, DeliveryKey, Message, StoredBytes  # noqa: F401


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


class DeliveryKeyQuerySet(models.QuerySet["DeliveryKey"]):
    def published(self, now: datetime) -> DeliveryKeyQuerySet:
        """Those that recipients are to accept, the newest first."""
        kept = Q(published_until=None) | Q(published_until__gt=now)
        return self.filter(kept, revoked_at=None).order_by("-number")

    def that_sign(self, now: datetime) -> DeliveryKeyQuerySet:
        """Those that sign now or will, the newest first."""
        return self.filter(Q(signs_until=None) | Q(signs_until__gt=now), revoked_at=None).order_by("-number")
