"""Questions over many releases, keys, rollouts and targets."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Exists, OuterRef, Q
from django.utils import timezone

from participants.models import ApiKey

if TYPE_CHECKING:
    from updates.models import Release, Rollout, StaffKey, Target  # noqa: F401


class StaffKeyQuerySet(models.QuerySet["StaffKey"]):
    def valid(self) -> StaffKeyQuerySet:
        return self.filter(withdrawn_at=None)


class ReleaseQuerySet(models.QuerySet["Release"]):
    def published(self) -> ReleaseQuerySet:
        return self.filter(state="published")

    def newest(self) -> Release | None:
        """The published one with the highest sequence: what everybody should run."""
        return self.published().order_by("-sequence").defer("manifest").first()


class RolloutQuerySet(models.QuerySet["Rollout"]):
    def running(self) -> RolloutQuerySet:
        return self.filter(state="running")

    def open(self) -> RolloutQuerySet:
        """Running or paused: what staff can still steer."""
        return self.filter(state__in=("running", "paused"))


class TargetQuerySet(models.QuerySet["Target"]):
    def under_way(self) -> TargetQuerySet:
        return self.filter(state__in=("accepted", "installing", "verifying"))

    def of_check_in(self, participant_id: int) -> TargetQuerySet:
        """What a check-in may be answered with or judged by, the newest release first."""
        return (
            self.filter(
                participant_id=participant_id,
                state__in=("waiting", "offered", "unreachable", "succeeded"),
                rollout__state="running",
                wave__opened_at__isnull=False,
            )
            .select_related("rollout__release")
            .defer("rollout__release__manifest")
            .order_by("-rollout__release__sequence")
        )

    def countable(self) -> TargetQuerySet:
        """Those that limit and gate look at: not skipped, not excused by staff."""
        return self.exclude(state="skipped").filter(excused_at=None)

    def spared(self, now: datetime) -> TargetQuerySet:
        """Those that wait or are under way, whose Instance is in an outage, and whose rollout minds that."""
        return self.filter(
            state__in=("waiting", "offered", "accepted", "installing", "verifying"),
            rollout__in_outages=False,
            participant__held_from__lte=now,
            participant__held_until__gt=now,
        )

    def late(self, now: datetime) -> TargetQuerySet:
        """Those whose deadline has passed."""
        return self.filter(deadline__lte=now, state__in=("waiting", "offered", "accepted", "installing", "verifying"))

    def departed(self) -> TargetQuerySet:
        """Those not ended whose participant was deleted, revoked, suspended, or has no valid key left."""
        now = timezone.now()
        keys = ApiKey.objects.filter(
            Q(expires_at=None) | Q(expires_at__gt=now), participant=OuterRef("participant"), revoked_at=None
        )
        return self.filter(
            Q(participant__status__in=("Deleted", "Revoked", "Suspended")) | ~Exists(keys),
            state__in=("waiting", "offered", "accepted", "installing", "verifying", "unreachable"),
        )
