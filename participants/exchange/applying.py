"""Does what a plan has shown, by the registry's own capabilities: all of it in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from dmr_project.lib.errors import Conflict, DomainError, InvalidInput
from participants import claims, history, registry
from participants.exchange import plan
from participants.exchange.plan import Entry, Plan, Verdict
from participants.exchange.reading import Row
from participants.models import Participant

# Steps of a participant's life change these, perhaps just now.
LIFE = ("status", "suspended_until")


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
    with history.atomic():
        _lock(rows)
        found = plan.make(rows)
        if found.digest != digest:
            raise PlanChanged(_("Something changed since this was shown. Look at it again."))
        if found.is_refused:
            raise InvalidInput(_("Nothing is imported while a row is refused: mend the file, or take the row out."))
        without_link: list[str] = []
        for entry in found.entries:
            try:
                _apply(entry, actor, reason, without_link)
            except DomainError as error:
                said = _("Row %(place)s: %(detail)s Nothing was imported.")
                raise PlanChanged(said % {"place": entry.place, "detail": error.detail}) from error
        done = Done(found.counts[Verdict.NEW], found.counts[Verdict.CHANGED], without_link)
        history.note(
            "import",
            actor,
            kind="participant",
            subject=f"{done.added} new, {done.changed} changed participants",
            after={"file": source[:100], "plan": digest, "new": done.added, "changed": done.changed},
            reason=reason,
        )
    return done


def _lock(rows: Sequence[Row]) -> None:
    """Keeps those that the file may change as they are, in the order in which everybody locks them."""
    found = _changing(plan.make(rows))
    list(Participant.objects.filter(pk__in=found).select_for_update(no_key=True).order_by("pk").values_list("pk"))


def _changing(found: Plan) -> list[int]:
    return [
        each.participant.pk
        for each in found.entries
        if each.participant is not None and each.verdict is Verdict.CHANGED
    ]


def _apply(entry: Entry, actor: str, reason: str, without_link: list[str]) -> None:
    row = entry.participant
    if row is None or entry.verdict is Verdict.UNCHANGED:
        return
    if entry.verdict is Verdict.CHANGED:
        registry.update(row, actor=actor, reason=reason, but=LIFE)
        return
    registry.enrol(row, actor=actor)
    if row.technical_email or row.contact_email:
        claims.offer(row, actor=actor)
    else:
        without_link.append(row.name)
