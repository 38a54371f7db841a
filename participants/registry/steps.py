"""One change of many participants: each is locked, and is looked at as it is then."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import QuerySet

from participants import announcements, history, names, statuses
from participants.models import Participant


def set_status(
    participants: Iterable[Participant], status: str, *, actor: str, reason: str = "", until: datetime | None = None
) -> int:
    """Gives each the status, which counts at once, unless it cannot follow its own (see statuses.FOLLOWS).

    `until`: when a suspension ends by itself. Returns how many changed.
    """
    return len(move(participants, status, actor=actor, reason=reason, until=until))


def move(
    participants: Iterable[Participant], status: str, *, actor: str, reason: str = "", until: datetime | None = None
) -> list[Participant]:
    """The same; returns those that changed."""
    changed = []
    with history.atomic():
        for stored in _locked(participants):
            if (stored.status, stored.suspended_until) == (status, until):
                continue
            if not statuses.may_follow(stored.status, status):
                continue
            before = history.facts(stored)
            columns = statuses.columns(stored, status, reason, until)
            for name, value in columns.items():
                setattr(stored, name, value)
            stored.save(update_fields=list(columns))
            history.record("change", stored, actor, before=before, after=history.facts(stored), reason=reason)
            if before["status"] == Participant.Status.PENDING and stored.status == Participant.Status.ACTIVE:
                announcements.registered(stored)
            changed.append(stored)
    return changed


def _locked(participants: Iterable[Participant]) -> QuerySet[Participant]:
    """As they are now, but for our own entry, which nobody changes; in the order of keys, as everybody locks them."""
    ids = [participant.pk for participant in participants]
    rows = Participant.objects.present().filter(pk__in=ids).exclude(name=names.RELAY)
    return rows.select_for_update().order_by("pk")


def set_success_statuses(participants: Iterable[Participant], statuses: str, *, actor: str, reason: str = "") -> int:
    """Which answers of theirs mean success, from the next attempt on. Returns how many changed."""
    names.validate_statuses(statuses)
    return set_on_each(participants, "success_statuses", statuses, actor=actor, reason=reason)


def set_announcements(participants: Iterable[Participant], wanted: str, *, actor: str, reason: str = "") -> int:
    """Of what they are told by messages from Dmr, from the next announcement on. Returns how many changed."""
    return set_on_each(participants, "announcements", Participant.Announcements(wanted), actor=actor, reason=reason)


def set_on_each(participants: Iterable[Participant], field: str, value: str, *, actor: str, reason: str = "") -> int:
    changed = 0
    with history.atomic():
        for stored in _locked(participants):
            if getattr(stored, field) == value:
                continue
            before = history.facts(stored)
            setattr(stored, field, value)
            stored.save(update_fields=[field])
            history.record("change", stored, actor, before=before, after=history.facts(stored), reason=reason)
            changed += 1
    return changed
