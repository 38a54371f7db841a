"""Changed institutions, participants and rooms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.db import IntegrityError
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, Forbidden, NotFound
from participants import history, keys, names, statuses
from participants.models import Participant
from participants.registry.api_keys import issue_key
from participants.registry.rows import Row, check, hold, name_taken


class WrongStatus(Conflict):
    code = "wrong-status"
    title = "The participant's status does not allow this"


def update(row: Row, *, actor: str, reason: str = "", but: Collection[str] = ()) -> Row:
    """Saves a changed institution, participant or room, but for some fields, which stay as they are stored.

    Raises InvalidInput, NameTaken, Forbidden, WrongStatus.
    """
    check(row)
    with history.atomic():
        model: Any = type(row)
        # Messages to it are accepted meanwhile: their rows refer to its key, which stays.
        stored = model.objects.select_for_update(no_key=True).get(pk=row.pk)
        if isinstance(row, Participant) and row.institution_id != stored.institution_id:
            hold([row.institution])
        _save(stored, row, actor, reason, but)
    return row


def update_all(
    participants: Sequence[Participant], *, actor: str, reason: str = "", but: Collection[str] = ()
) -> None:
    """The same for many participants, in fewer statements: all of them, or none. Raises as update() does."""
    for participant in participants:
        check(participant, but=("institution",))  # which hold() does at once
    with history.atomic():
        rows = Participant.objects.select_for_update(no_key=True).order_by("pk")
        stored = rows.in_bulk([participant.pk for participant in participants])
        hold(
            each.institution
            for each in participants
            if each.pk in stored and each.institution_id != stored[each.pk].institution_id
        )
        for participant in participants:
            _save(stored[participant.pk], participant, actor, reason, but)


def _save(stored: Any, row: Any, actor: str, reason: str, but: Collection[str]) -> None:
    """Writes what differs from what is `stored`, which is locked. What it raises must undo the transaction."""
    if getattr(stored, "deleted_at", None) is not None:
        raise NotFound(gettext("%(stored)s was deleted.") % {"stored": stored})
    for name in but:
        setattr(row, name, getattr(stored, name))
    before, after = history.facts(stored), history.facts(row)
    changed = [name for name in after if before[name] != after[name]]
    if not changed:
        return
    if isinstance(row, Participant):
        if stored.name == names.RELAY:
            raise Forbidden(
                gettext("%(relay)s is this relay's own entry; its endpoint follows DMR_PUBLIC_URL.")
                % {"relay": names.RELAY}
            )
        changed += _follow(stored, row, reason)
        after = history.facts(row)
    try:
        row.save(update_fields=changed)
    except IntegrityError:
        raise name_taken(row.name) from None
    history.record("change", row, actor, before=before, after=after, reason=reason)


def _follow(stored: Participant, row: Participant, reason: str) -> list[str]:
    """What else a changed status changes on `row`: names of columns. Raises WrongStatus."""
    if row.status == stored.status:
        return []
    if not statuses.may_follow(stored.status, row.status):
        raise WrongStatus(
            gettext("%(stored)s is %(status)s, and cannot become %(wished)s this way.")
            % {"stored": stored, "status": stored.get_status_display(), "wished": row.get_status_display()}
        )
    columns = statuses.columns(stored, row.status, reason, None)
    for name, value in columns.items():
        setattr(row, name, value)
    return list(columns)


def change_participant(
    participant: Participant, *, actor: str, key: str | None = None, but: Collection[str] = ()
) -> None:
    """Saves a changed participant (see update), and gives it `key` as one more unless it has that already.

    Raises InvalidInput, NameTaken, Forbidden, Conflict.
    """
    with history.atomic():
        update(participant, actor=actor, but=but)
        if key is not None and not participant.keys.valid().filter(digest=keys.digest(key)).exists():
            issue_key(participant, actor=actor, key=key)
