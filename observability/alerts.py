"""Alerts: opened, worsened, eased and closed by one evaluation at a time. Run by beat every 5 s.

1. The watch's row is locked, so a second evaluation waits, and then finds nothing left to do.
2. If nobody watched for a while (beat or the whole of DMR was down), agents get time to come back: their silence
   was perhaps ours.
3. What should be known of each Instance is compared with the open alerts; the difference is written, each step
   with an AlertChange. The mails about them go out afterwards, outside the transaction: notices.send.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone

from dmr_project.lib.log import event
from dmr_project.lib.sentences import Sentence, Word
from observability import metrics
from observability.models import Alert, AlertChange, Contact, StateChange, VitalSigns, Watch
from observability.states import Health, State
from participants import outages
from participants.models import Participant
from relay.models import Breaker, StoredBytes
from updates.models import Target

logger = logging.getLogger(__name__)

UNWATCHED = timedelta(seconds=20)  # beat runs us every 5 s
# An agent that cannot reach us doubles its pauses, up to 5 minutes: it is back within about as long as we were away.
COME_BACK = timedelta(minutes=6)
CLOCK_TOLERANCE = timedelta(minutes=1)
NEARLY_FULL = 90  # percent of a quota

Kind, Level, Step = Alert.Kind, Alert.Level, AlertChange.Step
_NOT_WATCHED = Sentence("not watched: %(why)s")
_CLOSED = Sentence("%(participant)s: not watched: %(why)s")
AWAY = Word("in an outage that was announced")()
_STATUSES = {
    Participant.Status.PENDING.value: Word("pending"),
    Participant.Status.SUSPENDED.value: Word("suspended"),
    Participant.Status.DISABLED.value: Word("disabled"),
    Participant.Status.REVOKED.value: Word("revoked"),
    Participant.Status.DELETED.value: Word("deleted"),
}
_HEALTH = {Health.OK.value: Word("ok"), Health.DEGRADED.value: Word("degraded"), Health.DOWN.value: Word("down")}
_SILENT = Sentence(
    "%(who)s of %(institution)s is down: its agent is silent. Last heard %(at)s; due every %(period)s s. "
    "Its last word was %(health)s."
)
_LATE = Sentence(
    "%(who)s of %(institution)s is late. Last heard %(at)s; due every %(period)s s. Its last word was %(health)s."
)
_UNWELL = Sentence("%(who)s of %(institution)s is %(health)s, says its agent.")
_UNWELL_VERSION = Sentence("%(who)s of %(institution)s is %(health)s, says its agent, version %(version)s.")
_NEARLY_FULL = Sentence(
    "%(who)s of %(institution)s has used %(percent)s %% of its quota: %(size)s of %(quota)s bytes of payload are "
    "stored."
)
_FULL = Sentence(
    "%(who)s of %(institution)s has reached its quota, and may not send: %(size)s of %(quota)s bytes of payload are "
    "stored."
)
_PARKED = Sentence(
    "%(who)s of %(institution)s is gone, says its endpoint (410): nothing is posted to it until staff close its "
    "breaker."
)
RECOVERED = Sentence("recovered")()
_RECOVERIES = {
    Kind.SILENCE.value: Sentence("%(who)s is heard of again. It began %(at)s."),
    Kind.HEALTH.value: Sentence("%(who)s is ok again, says its agent. It began %(at)s."),
    Kind.QUOTA.value: Sentence("%(who)s has room in its quota again. It began %(at)s."),
    Kind.PARKED.value: Sentence("%(who)s is posted to again. It began %(at)s."),
}

Key = tuple[int, str]  # participant, kind


@dataclass(frozen=True)
class Wanted:
    """An alert that should be open."""

    level: Alert.Level
    since: datetime
    message: str


@dataclass(frozen=True)
class Todo:
    """What an evaluation has to do about one alert. `alert` is None for one to open."""

    step: AlertChange.Step
    key: Key
    alert: Alert | None
    wanted: Wanted | None
    message: str
    reason: str = ""


def compare(wanted: Mapping[Key, Wanted], is_open: Mapping[Key, Alert], unwatched: Mapping[int, str]) -> list[Todo]:
    """What has to be done, so that the open alerts are the wanted ones. Pure.

    `unwatched`: participants that raise no alerts, and why.
    """
    todo = [
        Todo(Step.OPENED, key, None, each, each.message)
        for key, each in wanted.items()
        if key not in is_open and key[0] not in unwatched
    ]
    for key, alert in is_open.items():
        each = wanted.get(key)
        if key[0] in unwatched:
            why = unwatched[key[0]]
            said = _CLOSED(participant=alert.participant, why=why)
            todo.append(Todo(Step.DROPPED, key, alert, None, said, _NOT_WATCHED(why=why)))
        elif each is None:
            todo.append(Todo(Step.RECOVERED, key, alert, None, _recovery(alert), RECOVERED))
        elif each.level != alert.level:
            step = Step.WORSENED if each.level == Level.CRITICAL else Step.EASED
            todo.append(Todo(step, key, alert, each, each.message))
    return todo


def evaluate() -> int:
    """Brings the alerts in line with the vital signs. Returns how many changed. Two at once are harmless."""
    now = timezone.now()
    with transaction.atomic():
        _take_watch(now)
        is_open = {
            (alert.participant_id, alert.kind): alert for alert in Alert.objects.open().select_related("participant")
        }
        todo = compare(_wanted(now, is_open), is_open, _unwatched(is_open, now))
        _write(todo, now)
    for each in todo:
        metrics.ALERT_CHANGES.labels(kind=each.key[1], step=each.step.value).inc()
        level = logging.WARNING if each.step in (Step.OPENED, Step.WORSENED) else logging.INFO
        event(logger, "alert_changed", level, participant=each.key[0], kind=each.key[1], step=each.step.value)
    return len(todo)


def _take_watch(now: datetime) -> None:
    """Locks the watch, and makes allowance for the time that nobody watched and for a clock that was set back."""
    Watch.objects.get_or_create(pk=1, defaults={"evaluated_at": now})
    watch = Watch.objects.select_for_update().get(pk=1)
    gap = now - watch.evaluated_at
    if gap > UNWATCHED:
        allowance = min(2 * gap, COME_BACK)
        # Only those that were not late when the watch ended: the others' silence is no news.
        excused = VitalSigns.objects.filter(late_at__gt=watch.evaluated_at, late_at__lt=now + allowance).update(
            late_at=now + allowance, silent_at=now + 2 * allowance
        )
        event(logger, "watch_resumed", logging.WARNING, since=watch.evaluated_at.isoformat(), excused=excused)
    elif -gap > CLOCK_TOLERANCE:
        # Heard "in the future": they would not be missed until then.
        VitalSigns.objects.filter(last_heard_at__gt=now + CLOCK_TOLERANCE).update(
            last_heard_at=now, told_at=now, late_at=now + COME_BACK, silent_at=now + 2 * COME_BACK
        )
        event(logger, "clock_set_back", logging.WARNING, was=watch.evaluated_at.isoformat())
    watch.evaluated_at = now
    watch.save(update_fields=["evaluated_at"])


def _wanted(now: datetime, is_open: Mapping[Key, Alert]) -> dict[Key, Wanted]:
    found: dict[Key, Wanted] = {}
    updating = participants_under_update()
    rows = VitalSigns.objects.watched().alarming(now).select_related("participant__institution")
    for signs in rows:
        state = signs.state(now)
        if state in (State.LATE, State.SILENT):
            level = Level.CRITICAL if state == State.SILENT else Level.WARNING
            found[signs.pk, Kind.SILENCE] = Wanted(level, signs.late_at, _silence(signs, state))
        if signs.health == Health.OK:
            continue
        # Nothing new is known of one that is silent, and one that is being updated restarts: that is watched by the
        # rollout. An alert about the health of either stays as it is.
        stays = is_open.get((signs.pk, Kind.HEALTH))
        if state in (State.DEGRADED, State.DOWN) and signs.pk not in updating:
            level = Level.CRITICAL if state == State.DOWN else Level.WARNING
            found[signs.pk, Kind.HEALTH] = Wanted(level, signs.told_at, _unwell(signs))
        elif stays is not None:
            found[signs.pk, Kind.HEALTH] = Wanted(Level(stays.level), stays.since, stays.message)
    for stored in StoredBytes.objects.watched().filled(NEARLY_FULL).select_related("participant__institution"):
        known = is_open.get((stored.pk, Kind.QUOTA))
        found[stored.pk, Kind.QUOTA] = _full(stored, known.since if known else now)
    for breaker in Breaker.objects.parked().select_related("recipient__institution"):
        found[breaker.pk, Kind.PARKED] = _parked(breaker, now)
    return found


def participants_under_update() -> set[int]:
    return set(Target.objects.under_way().values_list("participant_id", flat=True))


def _unwatched(is_open: Mapping[Key, Alert], now: datetime) -> dict[int, str]:
    """Of those with an alert; and everybody who is away, so that none is opened."""
    away = Participant.objects.held(now, outages.LINGER).values_list("pk", flat=True)
    resting = {
        participant_id: _status(alert.participant)
        for (participant_id, _), alert in is_open.items()
        if alert.participant.status != Participant.Status.ACTIVE or alert.participant.deleted_at is not None
    }
    return {**dict.fromkeys(away, AWAY), **resting}


def _write(todo: list[Todo], now: datetime) -> None:
    """In a few statements, however many there are: half the network may go silent at once."""
    steps: list[AlertChange] = []
    contacts: list[StateChange] = []
    for each in todo:
        alert = each.alert or Alert(participant_id=each.key[0], kind=each.key[1])
        before = _contact(alert)
        if each.wanted is not None:
            alert.level, alert.message = each.wanted.level, each.wanted.message
            alert.since = alert.since or each.wanted.since
        else:
            alert.recovered_at, alert.reason = now, each.reason
        steps.append(AlertChange(alert=alert, step=each.step, message=each.message[:500], at=now))
        if alert.kind == Kind.SILENCE and each.step != Step.DROPPED:
            contacts.append(
                StateChange(
                    participant_id=alert.participant_id,
                    subject=StateChange.Subject.CONTACT,
                    before=before,
                    after=_contact(alert),
                    at=now,
                )
            )
    alerts = [step.alert for step in steps]
    Alert.objects.bulk_create([alert for alert in alerts if alert.pk is None])
    stored = [each.alert for each in todo if each.alert is not None]
    Alert.objects.bulk_update(stored, ["level", "message", "recovered_at", "reason"], batch_size=500)
    AlertChange.objects.bulk_create(steps)
    StateChange.objects.bulk_create(contacts)


def _contact(alert: Alert) -> str:
    """What an alert about silence says of the contact to the Instance."""
    if not alert.level or not alert.is_open:
        return Contact.HEARD
    return Contact.SILENT if alert.level == Level.CRITICAL else Contact.LATE


def _status(participant: Participant) -> str:
    known = _STATUSES.get(participant.status)
    return known() if known else participant.status.lower()


def _silence(signs: VitalSigns, state: State) -> str:
    said = _SILENT if state == State.SILENT else _LATE
    return said(
        **_who(signs.participant),
        at=_clock(signs.last_heard_at),
        period=signs.period,
        health=_HEALTH[signs.health],
    )


def _unwell(signs: VitalSigns) -> str:
    said = {**_who(signs.participant), "health": _HEALTH[signs.health]}
    return _UNWELL_VERSION(**said, version=signs.release_version) if signs.release_version else _UNWELL(**said)


def _full(stored: Any, since: datetime) -> Wanted:
    """Of a row with its quota."""
    is_reached = stored.size >= stored.quota
    said = {**_who(stored.participant), "size": stored.size, "quota": stored.quota}
    message = _FULL(**said) if is_reached else _NEARLY_FULL(**said, percent=NEARLY_FULL)
    return Wanted(Level.CRITICAL if is_reached else Level.WARNING, since, message)


def _parked(breaker: Breaker, now: datetime) -> Wanted:
    return Wanted(Level.CRITICAL, breaker.opened_at or now, _PARKED(**_who(breaker.recipient)))


def _who(participant: Participant) -> dict[str, object]:
    return {"who": participant, "institution": participant.institution}


def _recovery(alert: Alert) -> str:
    return _RECOVERIES[alert.kind](who=alert.participant, at=_clock(alert.since))


def _clock(at: datetime) -> str:
    return timezone.localtime(at).strftime("%Y-%m-%d %H:%M:%S %Z")
