"""The steps in a participant's life that staff take, each with a reason. What follows what: participants.statuses.

Each counts for the very next request, and leaves a Change.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from dmr_project.lib.errors import InvalidInput
from dmr_project.lib.sentences import Sentence
from participants import history, names, registry, statuses
from participants.models import Participant
from participants.registry import WrongStatus

Status = Participant.Status

LONGEST_REASON = 500
REINSTATED = Sentence("issued when it was reinstated")()
_END_HAD_COME = Sentence("its end had come")()


def let_in(participants: Iterable[Participant], *, actor: str, reason: str = "") -> int:
    """Makes those that are pending, disabled or suspended active. Returns how many."""
    return registry.set_status(participants, Status.ACTIVE, actor=actor, reason=reason)


def suspend(participants: Iterable[Participant], *, actor: str, reason: str, until: datetime | None = None) -> int:
    """They may not send, and what is addressed to them is held, until staff lift it or `until` has come.

    Those that are suspended get the new end. Returns how many changed. Raises InvalidInput.
    """
    _check_reason(reason)
    if until is not None and until <= timezone.now():
        detail = _("The end of a suspension lies ahead, or is left out.")
        raise InvalidInput(detail, errors=[{"field": "until", "detail": detail}])
    return registry.set_status(participants, Status.SUSPENDED, actor=actor, reason=reason.strip(), until=until)


def lift(participants: Iterable[Participant], *, actor: str, reason: str) -> int:
    """Ends suspensions: each is again what it was before. Returns how many. Raises InvalidInput."""
    _check_reason(reason)
    ids = [participant.pk for participant in participants]
    return _lift(Participant.objects.present().filter(pk__in=ids), actor=actor, reason=reason.strip())


def lift_ended() -> int:
    """Ends the suspensions whose end has come. Run by beat; returns how many."""
    ended = Participant.objects.present().filter(suspended_until__lte=timezone.now())
    return _lift(ended, actor=history.SYSTEM, reason=_END_HAD_COME)


def revoke(participants: Iterable[Participant], *, actor: str, reason: str) -> int:
    """Voids their keys; nobody knows them any more, and what waits for them is returned. Their names stay taken.

    Returns how many. Raises InvalidInput.
    """
    _check_reason(reason)
    with history.atomic():
        changed = registry.move(participants, Status.REVOKED, actor=actor, reason=reason.strip())
        for participant in changed:
            for key in participant.keys.filter(revoked_at=None):
                registry.revoke_key(key, actor=actor, reason=reason.strip())
            participant.claims.filter(claimed_at=None, revoked_at=None).update(revoked_at=timezone.now())
    return len(changed)


def reinstate(participant: Participant, *, actor: str, reason: str) -> str:
    """Makes a revoked participant active, and returns its new key in clear: the only time.

    Raises InvalidInput, WrongStatus.
    """
    _check_reason(reason)
    with history.atomic():
        stored = Participant.objects.present().select_for_update().get(pk=participant.pk)
        if stored.status != Status.REVOKED:
            raise WrongStatus(_("%(name)s is not revoked; only that can be undone by a new key.") % {"name": stored})
        before = history.facts(stored)
        columns = statuses.columns(stored, Status.ACTIVE, reason.strip(), None)
        for name, value in columns.items():
            setattr(stored, name, value)
        stored.save(update_fields=list(columns))
        history.record("reinstate", stored, actor, before=before, after=history.facts(stored), reason=reason.strip())
        _key, clear = registry.issue_key(stored, actor=actor, note=REINSTATED)
    return clear


def _lift(rows: QuerySet[Participant], *, actor: str, reason: str) -> int:
    """Twice at once is harmless: the second finds none left."""
    count = 0
    suspended = rows.filter(status=Status.SUSPENDED).exclude(name=names.RELAY)
    if not suspended.exists():
        return 0
    with history.atomic():
        by_status: dict[str, list[Participant]] = {}
        for row in suspended.select_for_update().order_by("pk"):
            by_status.setdefault(row.resumes_as, []).append(row)
        for status, same in by_status.items():
            count += registry.set_status(same, status, actor=actor, reason=reason)
    return count


def _check_reason(reason: str) -> None:
    if not reason.strip() or len(reason) > LONGEST_REASON:
        detail = _("Write why, in at most %(most)s characters: it goes into the audit log.") % {
            "most": LONGEST_REASON
        }
        raise InvalidInput(detail, errors=[{"field": "reason", "detail": detail}])
