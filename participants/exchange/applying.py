"""Does what a plan has shown, by the registry's own capabilities: all of it in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from dmr_project.lib.errors import Conflict, DomainError, InvalidInput
from participants import claims, directory, history, registry
from participants.exchange import plan
from participants.exchange.plan import Plan, Verdict
from participants.exchange.reading import Row
from participants.models import Participant
from participants.statuses import LIFE


class PlanChanged(Conflict):
    """The registry is not what it was when the plan was shown."""

    code = "plan-changed"
    title = "Something changed since this was shown"


@dataclass(frozen=True)
class Done:
    added: int
    changed: int
    without_link: list[str]  # new ones that have no contact to mail a link to


def apply(rows: Sequence[Row], digest: str, *, actor: str, reason: str = "", source: str = "") -> Done:
    """Applies the plan of that digest. New ones get no key here, but a link to it by mail (claims).

    `source`: what the file is called, for the log. Raises PlanChanged where the rows now give another plan,
    InvalidInput where it refuses any.
    """
    # Planning takes longest, and so comes before anything is locked: the relay goes on accepting meanwhile.
    version = directory.registry_version()
    found = plan.make(rows)
    _check(found, digest)
    with history.atomic():
        _lock(found)
        if directory.registry_version() != version:  # whoever changes the registry counts it up
            found = plan.make(rows)
            _check(found, digest)
        done = Done(found.counts[Verdict.NEW], found.counts[Verdict.CHANGED], _apply(found, actor, reason))
        history.note(
            "import",
            actor,
            kind="participant",
            subject=f"{done.added} new, {done.changed} changed participants",
            after={"file": source[:100], "plan": digest, "new": done.added, "changed": done.changed},
            reason=reason,
        )
    return done


def _check(found: Plan, digest: str) -> None:
    if found.digest != digest:
        raise PlanChanged(_("Something changed since this was shown. Look at it again."))
    if found.is_refused:
        raise InvalidInput(_("Nothing is imported while a row is refused: mend the file, or take the row out."))


def _lock(found: Plan) -> None:
    """Keeps those that the file changes as they are, in the order in which everybody locks them."""
    keys = [row.pk for row in _rows(found, Verdict.CHANGED)]
    list(Participant.objects.filter(pk__in=keys).select_for_update(no_key=True).order_by("pk").values_list("pk"))


def _apply(found: Plan, actor: str, reason: str) -> list[str]:
    """Returns the names of new ones that have no contact to mail a link to."""
    new, changed = _rows(found, Verdict.NEW), _rows(found, Verdict.CHANGED)
    reached = [row for row in new if row.technical_email or row.contact_email]
    try:
        registry.update_all(changed, actor=actor, reason=reason, but=LIFE)
        registry.enrol_all(new, actor=actor)
        claims.offer_all(reached, actor=actor)
    except DomainError as error:
        raise PlanChanged(_("%(detail)s Nothing was imported.") % {"detail": error.detail}) from error
    named = {row.pk for row in reached}
    return [row.name for row in new if row.pk not in named]


def _rows(found: Plan, verdict: Verdict) -> list[Participant]:
    return [each.participant for each in found.entries if each.participant and each.verdict is verdict]
