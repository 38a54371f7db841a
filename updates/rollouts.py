"""What staff do with a rollout: start, pause, resume, abort. Each leaves who, when, what."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.utils import timezone, translation
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, InvalidInput, NotFound
from dmr_project.lib.log import event
from dmr_project.lib.sentences import Sentence
from participants import history
from participants.models import Institution, Participant
from updates import news, signatures, targets, waves
from updates.models import Release, Rollout, StaffKey, Target, TargetState, Wave
from updates.models.rollouts import FAILURES

logger = logging.getLogger(__name__)

State = Rollout.State
_PAUSED = Sentence("the rollout was paused")()
_ABORTED = Sentence("the rollout was aborted")()
_EXCUSED = Sentence("failures excused: %(count)s")
_UNSIGNED = Sentence("a staff key was withdrawn: %(why)s")
DEFAULT_WAVES = (10, 50, 100)
MOST = 2**31 - 1  # what the columns hold


class NoSuchRollout(NotFound):
    code = "no-such-rollout"
    title = "There is no such rollout"


class NobodyToUpdate(Conflict):
    code = "nobody-to-update"
    title = "The rollout would reach no Instance"


class RolloutConflict(Conflict):
    code = "rollout-conflict"
    title = "The rollout is not in the state for this"


@dataclass(frozen=True)
class Plan:
    """How a release is to be rolled out, and to whom; an empty filter means all."""

    waves: Sequence[int] = DEFAULT_WAVES  # cumulative shares in percent
    gate: float = 1.0
    soak_seconds: int = 3600
    max_failures: int = 0
    institution: Institution | None = None
    participant_type: str = Participant.Type.CHATBOT
    from_version: str = ""
    in_outages: bool = False  # Instances in an outage are not spared

    def check(self) -> None:
        """Raises InvalidInput, naming the field."""
        waves.check_shares(self.waves)
        if not 0 < self.gate <= 1:
            raise _invalid("gate", gettext("must be a share above 0, and at most 1"))
        for name, value in (("soak", self.soak_seconds), ("max_failures", self.max_failures)):
            if not 0 <= value <= MOST:
                raise _invalid(name, gettext("must be a whole number from 0 to %(most)s") % {"most": MOST})
        if self.participant_type not in Participant.Type.values:
            raise _invalid(
                "type", gettext("must be one of %(types)s") % {"types": ", ".join(Participant.Type.values)}
            )


def _invalid(field: str, detail: str) -> InvalidInput:
    return InvalidInput(f"{field} {detail}.", errors=[{"field": field, "detail": detail}])


def find(version: str) -> Rollout:
    """The newest rollout of that version. Raises NoSuchRollout."""
    row = Rollout.objects.filter(release__version=version).select_related("release").order_by("-id").first()
    if row is None:
        raise NoSuchRollout(gettext("There is no rollout of %(version)s.") % {"version": version})
    return row


def chosen(plan: Plan) -> list[Participant]:
    """The participants that a plan is for: active ones of its type; whether they ever checked in does not matter."""
    rows = Participant.objects.active().filter(type=plan.participant_type)
    if plan.institution is not None:
        rows = rows.filter(institution=plan.institution)
    if plan.from_version:
        rows = rows.filter(installed_release__version=plan.from_version)
    return list(rows.only("id", "public_id", "name"))


def start(release: Release, plan: Plan, user: User) -> Rollout:
    """Fixes the targets, splits them into waves, and opens the first.

    Raises InvalidInput, RolloutConflict, NobodyToUpdate, NotEnoughSignatures.
    """
    plan.check()
    now = timezone.now()
    with history.atomic():
        release = Release.objects.select_for_update(of=("self",)).get(pk=release.pk)
        if not release.is_published:
            raise RolloutConflict(
                gettext("%(release)s is %(state)s; only what is published can be rolled out.")
                % {"release": release, "state": release.get_state_display().lower()}
            )
        signatures.check(release)
        members = {each.public_id: each for each in chosen(plan)}
        if not members:
            raise NobodyToUpdate(
                gettext("No active %(participant_type)s fits what was chosen: there is nobody to update.")
                % {"participant_type": plan.participant_type}
            )
        rollout = _insert(release, plan, user, len(members), now)
        for number, (share, ids) in enumerate(waves.split(members, plan.waves, release.digest), 1):
            wave = Wave.objects.create(rollout=rollout, number=number, share=share, size=len(ids))
            Target.objects.bulk_create(
                [Target(rollout=rollout, wave=wave, participant=members[each]) for each in ids], batch_size=500
            )
        open_wave(rollout, 1, now)
        history.record("start", rollout, user.get_username(), after=history.facts(rollout))
        news.rollout_started(rollout, members.values())
    event(logger, "rollout_started", rollout=rollout.public_id, release=release.version, targets=rollout.size)
    return rollout


def _insert(release: Release, plan: Plan, user: User, size: int, now: datetime) -> Rollout:
    rollout = Rollout(
        release=release,
        gate=plan.gate,
        soak_seconds=plan.soak_seconds,
        max_failures=plan.max_failures,
        institution=plan.institution,
        participant_type=plan.participant_type,
        from_version=plan.from_version,
        in_outages=plan.in_outages,
        size=size,
        started_by=user,
        started_at=now,
    )
    try:
        with transaction.atomic():
            rollout.save(force_insert=True)
    except IntegrityError:
        raise RolloutConflict(
            gettext("A rollout of %(release)s is under way; abort it first, or let it end.") % {"release": release}
        ) from None
    return rollout


def open_wave(rollout: Rollout, number: int, now: datetime) -> None:
    """Its targets are offered the release when they check in. The rollout is locked."""
    wave = rollout.waves.get(number=number)
    if Wave.objects.filter(pk=wave.pk, opened_at=None).update(opened_at=now):
        wave.targets.filter(state=TargetState.WAITING).update(deadline=now + targets.REACH)
        event(logger, "wave_opened", rollout=rollout.public_id, wave=number, targets=wave.size)


def pause(rollout: Rollout, *, actor: str, reason: str = "") -> int:
    """Nothing is offered any more, and what no agent has accepted is withdrawn: returns how many offers that were.

    Raises RolloutConflict where it does not run.
    """
    with history.atomic():
        stored = locked(rollout)
        if stored.state != State.RUNNING:
            raise RolloutConflict(
                gettext("The rollout of %(release)s is %(state)s: it cannot be paused.")
                % {"release": stored.release, "state": stored.get_state_display().lower()}
            )
        return pause_locked(stored, actor=actor, reason=reason)


def pause_locked(rollout: Rollout, *, actor: str, reason: str) -> int:
    _change("pause", rollout, actor, reason, state=State.PAUSED, reason=reason[:500])
    now = timezone.now()
    offered = rollout.targets.filter(state=TargetState.OFFERED)
    withdrawn = targets.move_all(offered, TargetState.WAITING, now=now, actor=actor, reason=_PAUSED)
    rollout.targets.filter(state=TargetState.WAITING).update(deadline=None)
    return withdrawn


def resume(rollout: Rollout, *, actor: str, reason: str = "") -> int:
    """Goes on. Staff have looked: failures so far are excused, and hold neither limit nor gate. Returns how many.

    Raises RolloutConflict, NotEnoughSignatures.
    """
    with history.atomic():
        stored = locked(rollout)
        if stored.state != State.PAUSED:
            raise RolloutConflict(
                gettext("The rollout of %(release)s is %(state)s: it cannot be resumed.")
                % {"release": stored.release, "state": stored.get_state_display().lower()}
            )
        if not stored.release.is_published:
            raise RolloutConflict(
                gettext("%(release)s is %(state)s.")
                % {"release": stored.release, "state": stored.release.get_state_display().lower()}
            )
        signatures.check(stored.release)
        now = timezone.now()
        failed = stored.targets.filter(state__in=(*FAILURES, TargetState.UNREACHABLE), excused_at=None)
        excused = failed.update(excused_at=now)
        opened = stored.waves.filter(opened_at__isnull=False)
        # A wave of which nobody is left can meet its gate by nothing but this decision.
        last = opened.order_by("-number").first()
        if last is not None and last.gate_met_at is None and not last.targets.countable().exists():
            Wave.objects.filter(pk=last.pk).update(gate_met_at=now)
        waiting = stored.targets.filter(state=TargetState.WAITING, wave__in=opened)
        waiting.update(deadline=now + targets.REACH)
        said = reason or (_EXCUSED(count=excused) if excused else "")
        _change("resume", stored, actor, said, state=State.RUNNING, reason="")
    return excused


def abort(rollout: Rollout, *, actor: str, reason: str = "") -> int:
    """Ends it for all that no agent has accepted; what is under way goes on and is reported. Returns how many.

    Raises RolloutConflict where it has ended.
    """
    with history.atomic():
        stored = locked(rollout)
        if stored.state not in (State.RUNNING, State.PAUSED):
            raise RolloutConflict(
                gettext("The rollout of %(release)s is %(state)s already.")
                % {"release": stored.release, "state": stored.get_state_display().lower()}
            )
        now = timezone.now()
        _change("abort", stored, actor, reason, state=State.ABORTED, reason=reason[:500], ended_at=now)
        left = stored.targets.filter(state__in=(TargetState.WAITING, TargetState.OFFERED))
        return targets.move_all(left, TargetState.SKIPPED, now=now, actor=actor, reason=_ABORTED)


def abort_all(release: Release, *, actor: str, reason: str) -> None:
    """Aborts the release's open rollout, if there is one."""
    for rollout in release.rollouts.open():
        abort(rollout, actor=actor, reason=reason)


def pause_unsigned(key: StaffKey, *, actor: str) -> None:
    """Pauses running rollouts of releases that, without this key, too few people signed."""
    rows = Rollout.objects.running().filter(release__signatures__key=key).select_related("release")
    for rollout in list(rows.order_by("pk").select_for_update(of=("self",))):
        try:
            with translation.override("en"):  # the reason is kept, for whoever reads it
                signatures.check(rollout.release)
        except signatures.NotEnoughSignatures as error:
            pause_locked(rollout, actor=actor, reason=_UNSIGNED(why=error.detail))


def finish_locked(rollout: Rollout, now: datetime) -> None:
    _change("finish", rollout, history.SYSTEM, "", state=State.FINISHED, reason="", ended_at=now)


def locked(rollout: Rollout) -> Rollout:
    """The row as it is now, held until the transaction ends."""
    return Rollout.objects.select_related("release").select_for_update(of=("self",)).get(pk=rollout.pk)


def _change(action: str, rollout: Rollout, actor: str, why: str, **columns: Any) -> None:
    before = history.facts(rollout)
    Rollout.objects.filter(pk=rollout.pk).update(**columns)
    for name, value in columns.items():
        setattr(rollout, name, value)
    history.record(action, rollout, actor, before=before, after=history.facts(rollout), reason=why)
    event(logger, f"rollout_{action}", rollout=rollout.public_id, state=rollout.state, reason=why)
