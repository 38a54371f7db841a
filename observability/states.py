"""How an Instance is, decided from what was last heard of it and from the time. Pure.

What its agent says (ok, degraded, down) holds until the agent has been silent for too long; then silence itself
is the state: late first, silent after that. "Down" is thus said in two ways, and staff always see which.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import models

LEAST_GRACE = timedelta(seconds=settings.CHECK_IN_GRACE_SECONDS)


class Health(models.TextChoices):
    """What an agent says of its Instance, or of one component."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


class State(models.TextChoices):
    """What staff see of an Instance."""

    NEVER_HEARD = "never_heard", "Never heard of"
    OK = "ok", "OK"
    DEGRADED = "degraded", "Degraded, says its agent"
    DOWN = "down", "Down, says its agent"
    LATE = "late", "Late: its agent missed check-ins"
    SILENT = "silent", "Down: its agent is silent"


WORST_FIRST = (State.SILENT, State.DOWN, State.LATE, State.DEGRADED, State.NEVER_HEARD, State.OK)


def deadlines(heard_at: datetime, period: int) -> tuple[datetime, datetime]:
    """When an agent that is due every `period` seconds is late, and when silent.

    Late after half a period of grace, silent after one and a half (30 s: after 45 and 75 s). The grace is never
    below DMR_CHECK_IN_GRACE_SECONDS, usually 15 s: an agent that missed us tries again within 10 s, and its health
    check may take a while.
    """
    pause = timedelta(seconds=period)
    grace = max(pause / 2, LEAST_GRACE)
    return heard_at + pause + grace, heard_at + pause + 3 * grace


def state_at(now: datetime, health: str | None, late_at: datetime | None, silent_at: datetime | None) -> State:
    """`health` is what the agent said last, None where it never said anything.

    VitalSignsQuerySet.with_state says the same in SQL; a test holds the two together.
    """
    if health is None or late_at is None or silent_at is None:
        return State.NEVER_HEARD
    if now >= silent_at:
        return State.SILENT
    if now >= late_at:
        return State.LATE
    return State(health)
