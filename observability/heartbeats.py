"""Writing down what agents say: the latest a participant and component, and a row of history where it changed."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from dmr_project.lib.errors import NotFound
from dmr_project.lib.log import event
from observability import metrics
from observability.check_in import CheckIn, ComponentSigns
from observability.models import Component, StateChange, VitalSigns
from observability.states import deadlines
from participants.models import Participant

logger = logging.getLogger(__name__)

# An agent that lost its journal counts from 1 again. A check-in with an old number is a repeat while newer facts
# are this fresh, since no request is under way for so long; after that it is a new beginning.
REPEATS_WITHIN = timedelta(minutes=10)

Subject = StateChange.Subject


class Left(NotFound):
    code = "participant-left"
    title = "The participant has left the network"


def record(participant_id: int, said: CheckIn, period: int) -> VitalSigns:
    """Writes down a check-in of an agent that is asked to come again in `period` seconds.

    One with a number that is not above the last says only that the agent lives. Returns what is known now.
    Raises Left where the participant was deleted in the meantime.
    """
    now = timezone.now()
    with transaction.atomic():
        if not Participant.objects.present().filter(pk=participant_id).exists():
            raise Left("This participant has left the network, and its key is void.")
        known, is_new = _lock(participant_id, said, period, now)
        is_repeat = not is_new and said.sequence <= known.sequence and now - known.told_at < REPEATS_WITHIN
        known.last_heard_at = now
        known.period = period
        known.late_at, known.silent_at = deadlines(now, period)
        if not is_repeat:
            _take_over(known, said, now, is_new)
        known.save()
    metrics.CHECK_INS.labels(result="repeated" if is_repeat else "recorded").inc()
    if is_repeat:
        event(logger, "check_in_repeated", participant=participant_id, sequence=said.sequence, last=known.sequence)
    return known


def _lock(participant_id: int, said: CheckIn, period: int, now: datetime) -> tuple[VitalSigns, bool]:
    """The participant's row, locked, and whether it was made just now."""
    rows = VitalSigns.objects.select_for_update()
    known = rows.filter(pk=participant_id).first()
    if known is not None:
        return known, False
    late_at, silent_at = deadlines(now, period)
    fresh = VitalSigns(
        participant_id=participant_id,
        last_heard_at=now,
        told_at=now,
        sequence=said.sequence,
        health=said.health,
        period=period,
        late_at=late_at,
        silent_at=silent_at,
    )
    try:
        with transaction.atomic():
            fresh.save(force_insert=True)
    except IntegrityError:  # two first check-ins at once
        return rows.get(pk=participant_id), False
    return fresh, True


def _take_over(known: VitalSigns, said: CheckIn, now: datetime, is_new: bool) -> None:
    before = (known.health if not is_new else "", known.release_version, known.manifest_digest, known.agent_version)
    after = (said.health.value, said.release_version or "", said.manifest_digest or "", said.agent_version)
    subjects = (Subject.HEALTH, Subject.VERSION, Subject.DIGEST, Subject.AGENT)
    changes = [
        StateChange(participant_id=known.pk, subject=subject, before=old, after=new, at=now)
        for subject, old, new in zip(subjects, before, after, strict=True)
        if old != new
    ]
    known.health, known.release_version, known.manifest_digest, known.agent_version = after
    known.sequence = said.sequence
    known.told_at = now
    known.uptime_seconds = said.uptime_seconds
    known.load1 = said.load1
    known.memory_used_bytes = said.memory_used_bytes
    known.disk_free_bytes = said.disk_free_bytes
    if known.inventory_digest != said.inventory_digest:
        of_components = _take_over_components(known, said.components, now)
        # At the first check-in everything is new: the rows themselves say so.
        changes += [] if is_new else of_components
        known.inventory_digest = said.inventory_digest
    StateChange.objects.bulk_create(changes)


def _take_over_components(known: VitalSigns, said: tuple[ComponentSigns, ...], now: datetime) -> list[StateChange]:
    """Brings the rows in line with the list, and returns what differs."""
    stored = {row.name: row for row in Component.objects.filter(participant_id=known.pk)}
    changes: list[StateChange] = []
    fresh: list[Component] = []
    changed: list[Component] = []
    for signs in said:
        row = stored.pop(signs.name, None) or Component(participant_id=known.pk, name=signs.name)
        differing = _component_changes(row, (signs.health.value, signs.version, signs.digest), now)
        if differing:
            changes += differing
            row.health, row.version, row.digest, row.since = signs.health, signs.version, signs.digest, now
            (changed if row.pk else fresh).append(row)
    for gone in stored.values():
        changes += _component_changes(gone, ("", "", ""), now)
    Component.objects.bulk_create(fresh)
    Component.objects.bulk_update(changed, ["health", "version", "digest", "since"])
    Component.objects.filter(pk__in=[row.pk for row in stored.values()]).delete()
    return changes


def _component_changes(row: Component, after: tuple[str, str, str], at: datetime) -> list[StateChange]:
    return [
        StateChange(
            participant_id=row.participant_id, component=row.name, subject=subject, before=old, after=new, at=at
        )
        for subject, old, new in zip(
            (Subject.HEALTH, Subject.VERSION, Subject.DIGEST),
            (row.health, row.version, row.digest),
            after,
            strict=True,
        )
        if old != new
    ]
