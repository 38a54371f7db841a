"""A target's transitions: a guarded UPDATE, a row of history, a count. Nothing else changes a target's state."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction

from dmr_project.lib.log import event
from dmr_project.lib.sentences import Sentence
from updates import metrics
from updates.models import Target, TargetEvent, TargetState
from updates.models.rollouts import UNDER_WAY
from updates.querysets import TargetQuerySet

logger = logging.getLogger(__name__)

# How long each state may last before the tick ends it.
REACH = timedelta(hours=4)  # an open wave, and the Instance does not check in
OFFER = timedelta(hours=1)  # an offer that is not accepted
UNDER_WAY_LIMIT = timedelta(hours=3)  # from acceptance; above all of an agent's default time limits together

AGENT = Sentence("agent")()
TICK = Sentence("tick")()
MOST_DETAIL = 500
MOST_REMARKS = 100  # notes and contradictions kept of a target; beyond them they are only counted
_BATCH = 500


def move(target: Target, state: TargetState, *, now: datetime, actor: str, reason: str = "", **columns: Any) -> bool:
    """One target from the state it was read in. False where somebody else was first. Call it in a transaction."""
    values = _columns(state, now, reason) | columns
    changed = Target.objects.filter(pk=target.pk, state=target.state, nonce=target.nonce).update(**values)
    if not changed:
        return False
    _event(target, state, now, actor, reason, values.get("nonce", target.nonce)).save(force_insert=True)
    before = target.state
    for name, value in values.items():
        setattr(target, name, value)
    metrics.TRANSITIONS.labels(state=state.value).inc()
    event(logger, "target_moved", target=target.public_id, before=before, state=state.value, actor=actor)
    return True


def move_all(
    rows: TargetQuerySet,
    state: TargetState,
    *,
    now: datetime,
    actor: str,
    reason: str | Callable[[Target], str] = "",
) -> int:
    """Every target of `rows`, which must name the states that it is for. Returns how many."""
    said = reason if callable(reason) else lambda _: reason
    with transaction.atomic():
        locked = list(rows.order_by("pk").select_for_update(of=("self",)))
        for start in range(0, len(locked), _BATCH):
            batch = locked[start : start + _BATCH]
            TargetEvent.objects.bulk_create(
                [_event(each, state, now, actor, said(each), each.nonce) for each in batch]
            )
            for text in {said(each) for each in batch}:
                ids = [each.pk for each in batch if said(each) == text]
                Target.objects.filter(pk__in=ids).update(**_columns(state, now, text))
    if locked:
        metrics.TRANSITIONS.labels(state=state.value).inc(len(locked))
        event(
            logger, "targets_moved", rollout=locked[0].rollout_id, count=len(locked), state=state.value, actor=actor
        )
    return len(locked)


def remark(target: Target, kind: TargetEvent.Kind, *, now: datetime, detail: str, nonce: str = "") -> None:
    """Keeps something that was said of a target and does not change it; a contradiction is raised as well."""
    if target.events.exclude(kind=TargetEvent.Kind.TRANSITION).count() < MOST_REMARKS:
        target.events.create(
            at=now,
            kind=kind,
            actor=AGENT,
            from_state=target.state,
            to_state=target.state,
            nonce=nonce[:200],
            detail=detail[:MOST_DETAIL],
        )
    if kind == TargetEvent.Kind.CONTRADICTION:
        Target.objects.filter(pk=target.pk).update(contradicted_at=now)
        event(
            logger,
            "agent_contradicts",
            logging.WARNING,
            target=target.public_id,
            participant=target.participant_id,
            state=target.state,
        )


def _columns(state: TargetState, now: datetime, reason: str) -> dict[str, Any]:
    """What belongs to having come to a state."""
    values: dict[str, Any] = {"state": state, "reason": reason[:MOST_DETAIL]}
    if state == TargetState.WAITING:
        return values | {"nonce": "", "deadline": None, "offered_at": None}
    if state == TargetState.OFFERED:
        return values | {"offered_at": now, "deadline": now + OFFER, "ended_at": None, "excused_at": None}
    if state == TargetState.ACCEPTED:
        return values | {"accepted_at": now, "deadline": now + UNDER_WAY_LIMIT}
    if state in UNDER_WAY:
        return values  # the time limit is for all of it, from the acceptance on
    return values | {"deadline": None, "ended_at": now}


def _event(target: Target, state: TargetState, now: datetime, actor: str, reason: str, nonce: str) -> TargetEvent:
    return TargetEvent(
        target=target,
        at=now,
        actor=actor[:150],
        from_state=target.state,
        to_state=state,
        nonce=nonce,
        detail=reason[:MOST_DETAIL],
    )
