"""Questions over many Instances and alerts."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import Case, CharField, F, IntegerField, Q, Value, When

from observability.states import WORST_FIRST, State
from participants.querysets import ParticipantQuerySet

if TYPE_CHECKING:
    from observability.models import Alert, VitalSigns  # noqa: F401


def state_case(now: datetime, prefix: str = "") -> Case:
    """states.state_at in SQL, over the columns of VitalSigns behind `prefix`."""
    return Case(
        When(**{f"{prefix}health__isnull": True}, then=Value(State.NEVER_HEARD.value)),
        When(**{f"{prefix}silent_at__lte": now}, then=Value(State.SILENT.value)),
        When(**{f"{prefix}late_at__lte": now}, then=Value(State.LATE.value)),
        default=F(f"{prefix}health"),
        output_field=CharField(),
    )


class InstanceQuerySet(ParticipantQuerySet):
    def fleet(self, now: datetime) -> InstanceQuerySet:
        """Every chatbot that is present, with its `state`, whether or not its agent was ever heard of."""
        rows = self.filter(deleted_at=None, type="Chatbot").select_related("institution", "vital_signs", "breaker")
        found: InstanceQuerySet = rows.annotate(state=state_case(now, "vital_signs__"))
        return found

    def worst_first(self) -> InstanceQuerySet:
        """Of a fleet: by how much somebody should look."""
        ranks = [When(state=state.value, then=Value(rank)) for rank, state in enumerate(WORST_FIRST)]
        rank = Case(*ranks, default=Value(len(ranks)), output_field=IntegerField())
        found: InstanceQuerySet = self.annotate(rank=rank)
        return found

    def behind(self, current: Collection[str]) -> InstanceQuerySet:
        """Those that say what they run, and it is none of the `current` versions."""
        return self.filter(vital_signs__isnull=False).exclude(
            Q(vital_signs__release_version="") | Q(vital_signs__release_version__in=list(current))
        )


class VitalSignsQuerySet(models.QuerySet["VitalSigns"]):
    def watched(self) -> VitalSignsQuerySet:
        """Of participants that staff expect to be up."""
        return self.filter(participant__deleted_at=None, participant__status="Active")

    def alarming(self, now: datetime) -> VitalSignsQuerySet:
        """Those that are not ok at `now`."""
        return self.filter(Q(late_at__lte=now) | ~Q(health="ok"))


class AlertQuerySet(models.QuerySet["Alert"]):
    def open(self) -> AlertQuerySet:
        return self.filter(recovered_at=None)
