"""Instances in an outage are spared: they are offered nothing, and time that runs out is not held against them.

1. While an outage lasts, who waits goes on waiting without a deadline, an offer that no agent has accepted is taken
   back, and what is under way gets more time.
2. When it is over, each has as long again as any other.

A rollout that staff started with `in_outages` spares nobody. The tick calls this with the rollout's row locked;
offers ask `is_spared` as well.
"""

from __future__ import annotations

from datetime import datetime

from django.db.models import Q

from dmr_project.lib.sentences import Sentence
from participants import outages
from participants.models import Participant
from updates import targets
from updates.models import Rollout, Target, TargetState
from updates.models.rollouts import UNDER_WAY

HELD = Sentence("held: its Instance is in an outage")()


def is_spared(target: Target, now: datetime) -> bool:
    """Is nothing to be offered to it now?"""
    return not target.rollout.in_outages and Participant.objects.held(now).filter(pk=target.participant_id).exists()


def spare(rollout: Rollout, now: datetime) -> None:
    """Brings deadlines in line with the outages of the rollout's Instances."""
    away = rollout.targets.spared(now)
    targets.move_all(
        away.filter(state=TargetState.OFFERED), TargetState.WAITING, now=now, actor=targets.TICK, reason=HELD
    )
    waiting = away.filter(state=TargetState.WAITING)
    waiting.filter(Q(deadline__isnull=False) | ~Q(reason=HELD)).update(deadline=None, reason=HELD)
    away.filter(state__in=UNDER_WAY, deadline__lte=now).update(deadline=now + targets.UNDER_WAY_LIMIT)
    _go_on(rollout, now)


def _go_on(rollout: Rollout, now: datetime) -> None:
    held = rollout.targets.filter(state=TargetState.WAITING, reason=HELD)
    back = held.exclude(pk__in=rollout.targets.spared(now).values("pk"))
    back.filter(wave__opened_at=None).update(reason="")
    if rollout.state == Rollout.State.RUNNING:
        back.update(reason="", deadline=now + targets.REACH)
    if not rollout.in_outages:
        # Of an outage that ended a moment ago: its end is in the row for as long as it lingers.
        ended = rollout.targets.filter(
            state__in=UNDER_WAY, participant__held_until__gt=now - outages.LINGER, participant__held_until__lte=now
        )
        for until in set(ended.values_list("participant__held_until", flat=True)):
            limit = (until or now) + targets.UNDER_WAY_LIMIT
            ended.filter(participant__held_until=until, deadline__lt=limit).update(deadline=limit)
