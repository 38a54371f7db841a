"""Outages: announced, ended, and their time kept. While one lasts, what is addressed to the affected is held.

What the relay's claim looks at is written down on each participant, `held_from` and `held_until`: the outage that it
is in or comes into next, several that overlap being one. Both ends lie in the row ahead of time, so that they count
to the second with nobody having to do anything then; beat (`keep_time`) puts the next one there, and announces the
end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from datetime import timezone as utc
from typing import Any

from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, DomainError, InvalidInput
from dmr_project.lib.sentences import Sentence
from participants import announcements, history, metrics, names, registry
from participants.models import Announcement, Outage, Participant

# A window stays written down for so long after its end: whoever was away takes a while to come back, and until then
# nobody is alarmed (see observability.alerts).
LINGER = timedelta(minutes=10)
FOREVER = datetime(9999, 1, 1, tzinfo=utc.utc)  # of an outage whose end nobody knows
MOST_AN_HOUR = 10  # that a participant announces: the whole network is told of each
EARLIEST = timedelta(days=7)  # that one may have begun before it is announced
LATEST = timedelta(days=366)
LONGEST = timedelta(days=31)

_END_HAD_COME = Sentence("its end had come")()

Window = tuple[datetime, datetime]


class AlreadyOver(Conflict):
    code = "outage-over"
    title = "The outage is over"


class TooManyOutages(DomainError):
    status = 429
    code = "too-many-outages"
    title = "Too many outages were announced"


def announce(outage: Outage, *, actor: str, participants: Iterable[Participant] = ()) -> Outage:
    """Saves an outage of `participants`, or of its institution, or of its owner, which announced it itself.

    What an owner says twice is said once: the first is returned. Raises InvalidInput, TooManyOutages, Forbidden.
    """
    now = timezone.now()
    affected = list(participants)
    _check(outage, affected, now)
    with history.atomic():
        _one_at_a_time()
        if outage.owner is not None:
            affected = [registry.own_row(outage.owner.pk)]
            first = _said_before(outage, now)
            if first is not None:
                return first
            _refuse_floods(outage, now)
        outage.announced_by, outage.announced_by_kind = actor, history.kind_of(actor)
        outage.save(force_insert=True)
        outage.participants.set(affected)
        history.record("announce", outage, actor, after=_facts(outage, affected))
        _tell(outage, "announced")
        _write_down(now)
    metrics.OUTAGES.labels(event="announced").inc()
    return outage


def end(outage: Outage, *, actor: str, reason: str = "", owner_id: int | None = None) -> Outage:
    """It is over now; one that has not begun is cancelled. `owner_id`: the participant that ends its own.

    Raises AlreadyOver, SuspendedByStaff, NotLetIn.
    """
    now = timezone.now()
    with history.atomic():
        _one_at_a_time()
        if owner_id is not None:
            registry.own_row(owner_id)
        if not Outage.objects.not_over(now).filter(pk=outage.pk).update(ended_at=now):
            raise AlreadyOver(gettext("The outage %(public_id)s is over already.") % {"public_id": outage.public_id})
        _ended(outage, actor, reason)
        _write_down(now)
    outage.refresh_from_db()
    return outage


def keep_time() -> int:
    """Announces the end of what has ended by itself, and writes down who is held next. Run by beat."""
    now = timezone.now()
    ended = Outage.objects.filter(ended_at=None, ends_at__lte=now)
    if not ended.exists() and not _to_write(now):
        return 0
    count = 0
    with history.atomic():
        _one_at_a_time()
        for outage in ended:
            # Guarded: two at once announce it once.
            if Outage.objects.filter(pk=outage.pk, ended_at=None).update(ended_at=outage.ends_at):
                _ended(outage, history.SYSTEM, _END_HAD_COME)
                count += 1
        _write_down(now)
    return count


def next_window(windows: Iterable[tuple[datetime, datetime | None]], now: datetime) -> Window | None:
    """The window that holds now or next, of several of one participant; those that touch are one. Pure.

    One that is over stays until LINGER has passed, unless the next begins before that.
    """
    merged: list[Window] = []
    for begin, until in sorted((begin, until or FOREVER) for begin, until in windows):
        if merged and begin <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], until))
        else:
            merged.append((begin, until))
    left = [each for each in merged if each[1] > now - LINGER]
    if len(left) > 1 and left[0][1] <= now and left[1][0] <= now + LINGER:
        return left[1]
    return left[0] if left else None


def said(outage: Outage) -> dict[str, Any]:
    """What there is to say of it, as JSON has it."""
    moments = {"beginsAt": outage.begins_at, "endsAt": outage.ends_at, "endedAt": outage.ended_at}
    owner = outage.institution
    return {
        "id": str(outage.public_id),
        "kind": outage.kind,
        **{name: announcements.moment(at) if at else None for name, at in moments.items()},
        "participants": sorted(each.name for each in outage.participants.all()),
        "institution": {"id": str(owner.public_id), "name": owner.name} if owner else None,
        "text": {"et": outage.text_et, "en": outage.text_en},
        "announcedAt": announcements.moment(outage.announced_at),
    }


def affected_by(outage: Outage) -> list[Participant]:
    """Who is affected now."""
    return list(_affected(outage).order_by("name"))


def _affected(outage: Outage) -> Any:
    if outage.institution is not None:
        return outage.institution.participants.known().exclude(name=names.RELAY)
    return outage.participants.present()


def _one_at_a_time() -> None:
    """Whoever changes outages holds our own entry: what is written down of one must not miss another.

    Not its key: what we say meanwhile refers to it, and would wait, or each for the other.
    """
    list(Participant.objects.filter(name=names.RELAY).select_for_update(no_key=True).values_list("pk"))


def _check(outage: Outage, affected: Collection[Participant], now: datetime) -> None:
    """Raises InvalidInput, which names each bad field."""
    errors = []
    if sum((outage.institution is not None, bool(affected), outage.owner is not None)) != 1:
        errors.append(("participants", gettext("are named, or else an institution")))
    if any(each.is_relay for each in affected):
        errors.append(("participants", gettext("has %(relay)s, which is this relay itself") % {"relay": names.RELAY}))
    if outage.kind not in Outage.Kind.values:
        errors.append(("kind", gettext("must be planned or unplanned")))
    if outage.kind == Outage.Kind.PLANNED and outage.ends_at is None:
        errors.append(("endsAt", gettext("is needed: a planned outage has an end")))
    if not now - EARLIEST <= outage.begins_at <= now + LATEST:
        errors.append(("beginsAt", gettext("lies too far from now")))
    if outage.ends_at is not None and not max(now, outage.begins_at) < outage.ends_at <= outage.begins_at + LONGEST:
        errors.append(
            (
                "endsAt",
                gettext("must lie ahead, after the beginning, and at most %(days)s days after it")
                % {"days": LONGEST.days},
            )
        )
    if not (outage.text_et.strip() or outage.text_en.strip()):
        errors.append(("text", gettext("is needed, in Estonian or English")))
    if errors:
        named = [{"field": field, "detail": detail} for field, detail in errors]
        raise InvalidInput("; ".join(f"{field} {detail}" for field, detail in errors), errors=named)


def _said_before(outage: Outage, now: datetime) -> Outage | None:
    """An open one of the same owner, or the same that has an end."""
    own = Outage.objects.filter(owner=outage.owner, ended_at=None)
    if outage.ends_at is None:
        return own.filter(ends_at=None).first()
    same = {"kind": outage.kind, "ends_at": outage.ends_at, "text_et": outage.text_et, "text_en": outage.text_en}
    found = own.not_over(now).filter(**same)
    # Where it begins now, the second time is a little later than the first.
    begun = Q(begins_at=outage.begins_at) | Q(begins_at__lte=now) if outage.begins_at <= now else None
    return found.filter(begun or Q(begins_at=outage.begins_at)).first()


def _refuse_floods(outage: Outage, now: datetime) -> None:
    rows = Outage.objects.filter(owner=outage.owner, announced_at__gt=now - timedelta(hours=1))
    if rows.count() >= MOST_AN_HOUR:
        raise TooManyOutages(
            gettext("At most %(most_an_hour)s an hour; end what is over, or write to Core.")
            % {"most_an_hour": MOST_AN_HOUR}
        )


def _ended(outage: Outage, actor: str, reason: str) -> None:
    before = history.facts(outage)
    outage.refresh_from_db()
    history.record("end", outage, actor, before=before, after=history.facts(outage), reason=reason)
    _tell(outage, "cancelled" if outage.state(timezone.now()) == Outage.State.CANCELLED else "over")
    metrics.OUTAGES.labels(event="ended").inc()


def _tell(outage: Outage, event: str) -> None:
    """The others, and those concerned: in a message from Dmr."""
    facts = said(outage)
    del facts["announcedAt"]  # when this is said stands there
    announcements.announce(Announcement.Kind.OUTAGE, about=facts.pop("id"), body={"event": event, **facts})


def _facts(outage: Outage, affected: list[Participant]) -> dict[str, Any]:
    return {**history.facts(outage), "participants": [each.name for each in affected]}


# -- what is written down --


def _wanted(now: datetime) -> dict[int, Window]:
    """Participant → what its row should say."""
    rows = Outage.objects.within(now - LINGER, FOREVER)
    spans = {row.pk: (row.begins_at, row.until) for row in rows}
    of_institution: dict[int, list[Any]] = defaultdict(list)
    for row in rows:
        if row.institution_id is not None:
            of_institution[row.institution_id].append(spans[row.pk])
    windows: dict[int, list[Any]] = defaultdict(list)
    links = Outage.participants.through.objects.filter(outage_id__in=spans)
    for outage_id, participant_id in links.values_list("outage_id", "participant_id"):
        windows[participant_id] += [spans[outage_id]]
    members = Participant.objects.present().exclude(name=names.RELAY).filter(institution__in=of_institution)
    for participant_id, institution_id in members.values_list("pk", "institution_id"):
        windows[participant_id] += of_institution[institution_id]
    found = {pk: next_window(each, now) for pk, each in windows.items()}
    return {pk: window for pk, window in found.items() if window is not None}


def _to_write(now: datetime) -> dict[Window | None, list[int]]:
    """What differs from what the rows say: window → participants."""
    wanted = _wanted(now)
    rows = Participant.objects.filter(Q(held_until__isnull=False) | Q(pk__in=wanted))
    differing: dict[Window | None, list[int]] = defaultdict(list)
    for pk, held_from, held_until in rows.values_list("pk", "held_from", "held_until"):
        window = wanted.get(pk)
        if window != ((held_from, held_until) if held_until else None):
            differing[window].append(pk)
    return differing


def _write_down(now: datetime) -> None:
    differing = _to_write(now)
    # In the order in which everybody locks participants (registry.move): else two could wait for each other.
    some = Participant.objects.filter(pk__in=[pk for ids in differing.values() for pk in ids])
    list(some.select_for_update(no_key=True).order_by("pk").values_list("pk"))
    for window, ids in differing.items():
        held_from, held_until = window or (None, None)
        for start in range(0, len(ids), 500):
            some = Participant.objects.filter(pk__in=ids[start : start + 500])
            some.update(held_from=held_from, held_until=held_until)
    if differing:
        history.advance_version()
