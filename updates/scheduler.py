"""The tick: what time alone brings about. Run by beat every 5 s, from any number of processes at once.

1. Targets whose participant has left the network are skipped.
2. Instances in an outage are spared (sparing.py).
3. Targets whose deadline has passed are ended.
4. A running rollout does what waves.decide says, until there is nothing left to do.

Each rollout is one transaction that holds its row, so that two ticks, or a tick and a grant, come one after the
other and the second sees what the first did. Offers are not made here but at check-in (agent_protocol.py): a tick
that does not come for a while delays the next wave and nothing else.
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.db.models import Count, Q
from django.utils import timezone

from dmr_project.lib.log import event
from dmr_project.lib.sentences import Sentence
from participants import history
from updates import rollouts, sparing, targets, waves
from updates.models import Rollout, Target, TargetState, Wave
from updates.models.rollouts import FAILURES, OPEN, UNDER_WAY

logger = logging.getLogger(__name__)

_DEPARTED = Sentence("it was revoked, suspended or deleted")()
_NOT_REACHED = Sentence("it did not check in within %(limit)s")
_NOT_ACCEPTED = Sentence("the offer was not accepted within %(limit)s")
_NOT_HEARD: dict[str, Sentence] = {
    TargetState.ACCEPTED: Sentence("accepted, and nothing more heard within %(limit)s"),
    TargetState.INSTALLING: Sentence("installing, and nothing more heard within %(limit)s"),
    TargetState.VERIFYING: Sentence("verifying, and nothing more heard within %(limit)s"),
}
# Why it pauses, and of whom: alone, and with what was said of that one.
_EXAMPLES: dict[str, tuple[Sentence, Sentence]] = {
    TargetState.FAILED: (Sentence("%(why)s; %(who)s failed"), Sentence("%(why)s; %(who)s failed: %(said)s")),
    TargetState.ROLLED_BACK: (
        Sentence("%(why)s; %(who)s rolled back"),
        Sentence("%(why)s; %(who)s rolled back: %(said)s"),
    ),
    TargetState.TIMED_OUT: (
        Sentence("%(why)s; %(who)s timed out"),
        Sentence("%(why)s; %(who)s timed out: %(said)s"),
    ),
}


def tick() -> None:
    """Every rollout that may have something due. Raises the first error after all have had their turn."""
    failure: Exception | None = None
    late = Target.objects.late(timezone.now()).values_list("rollout_id", flat=True)
    for pk in sorted({*Rollout.objects.open().values_list("pk", flat=True), *late.distinct()}):
        try:
            _tick_one(pk)
        except Exception as error:
            event(logger, "tick_failed", logging.ERROR, rollout=pk, error=type(error).__name__)
            failure = failure or error
    if failure is not None:
        raise failure


def _tick_one(pk: int) -> None:
    with history.atomic():
        rollout = Rollout.objects.select_related("release").select_for_update(of=("self",)).get(pk=pk)
        now = timezone.now()
        departed = rollout.targets.departed()
        targets.move_all(departed, TargetState.SKIPPED, now=now, actor=targets.TICK, reason=_DEPARTED)
        sparing.spare(rollout, now)
        _end_late(rollout, now)
        if rollout.state == Rollout.State.RUNNING:
            _advance(rollout, now)


def _end_late(rollout: Rollout, now: datetime) -> None:
    late = rollout.targets.late(now)
    targets.move_all(
        late.filter(state=TargetState.WAITING),
        TargetState.UNREACHABLE,
        now=now,
        actor=targets.TICK,
        reason=_NOT_REACHED(limit=targets.REACH),
    )
    targets.move_all(
        late.filter(state=TargetState.OFFERED),
        TargetState.TIMED_OUT,
        now=now,
        actor=targets.TICK,
        reason=_NOT_ACCEPTED(limit=targets.OFFER),
    )
    targets.move_all(
        late.filter(state__in=UNDER_WAY),
        TargetState.TIMED_OUT,
        now=now,
        actor=targets.TICK,
        reason=lambda target: _NOT_HEARD[target.state](limit=targets.UNDER_WAY_LIMIT),
    )


def _advance(rollout: Rollout, now: datetime) -> None:
    rules = waves.Rules(rollout.gate, rollout.soak, rollout.max_failures)
    while True:
        facts = wave_facts(rollout, now)
        decision = waves.decide(facts, rules, now)
        if isinstance(decision, waves.Wait):
            return
        if isinstance(decision, waves.Pause):
            reason = _with_example(rollout, decision.reason)
            rollouts.pause_locked(rollout, actor=history.SYSTEM, reason=reason)
            return
        if isinstance(decision, waves.Finish):
            rollouts.finish_locked(rollout, now)
            return
        if isinstance(decision, waves.MeetGate):
            Wave.objects.filter(rollout=rollout, number=decision.number, gate_met_at=None).update(gate_met_at=now)
            event(logger, "gate_met", rollout=rollout.public_id, wave=decision.number)
        else:
            rollouts.open_wave(rollout, decision.number, now)


def wave_facts(rollout: Rollout, now: datetime) -> list[waves.WaveFacts]:
    """How each wave stands, in order; one query."""
    held = Q(targets__in=rollout.targets.spared(now).filter(state=TargetState.WAITING))
    counts = {
        "succeeded": Q(targets__state=TargetState.SUCCEEDED),
        "failed": Q(targets__state__in=FAILURES, targets__excused_at=None),
        "unreachable": Q(targets__state=TargetState.UNREACHABLE, targets__excused_at=None),
        "open": Q(targets__state__in=OPEN) & ~held,
        "held": held,
    }
    fields = ("number", "opened_at", "gate_met_at")
    rows = rollout.waves.order_by("number").values(*fields)
    rows = rows.annotate(**{name: Count("targets", filter=which) for name, which in counts.items()})
    return [waves.WaveFacts(**row) for row in rows]


def _with_example(rollout: Rollout, reason: str) -> str:
    """The reason, and what one of the failed said: staff read it first."""
    failed: Target | None = (
        rollout.targets.filter(state__in=FAILURES, excused_at=None)
        .select_related("participant")
        .order_by("-ended_at")
        .first()
    )
    if failed is None:
        return reason
    alone, with_reason = _EXAMPLES[failed.state]
    named = {"why": reason, "who": failed.participant.name}
    return (with_reason(**named, said=failed.reason) if failed.reason else alone(**named))[:500]
