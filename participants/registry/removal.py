"""Participants and institutions that leave."""

from __future__ import annotations

from django.utils import timezone
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, Forbidden
from participants import dependence, endpoint_terms, history, names
from participants.models import Institution, Participant
from participants.registry.api_keys import revoke_key


class StillInUse(Conflict):
    code = "still-in-use"
    title = "Something still depends on it"


def remove_unused_participant(participant: Participant, *, actor: str, reason: str = "") -> None:
    """Deletes it if nothing depends on it. Raises StillInUse, Forbidden."""
    found = dependence.on(participant)
    if found:
        raise StillInUse(
            gettext("%(participant)s: %(found)s. Revoke it, or wait.")
            % {"participant": participant, "found": "; ".join(found)}
        )
    remove_participant(participant, actor=actor, reason=reason)


def remove_participant(participant: Participant, *, actor: str, reason: str = "") -> None:
    """Deletes it whatever depends on it: its name is free, its keys are void, what waits for it is a dead letter."""
    with history.atomic():
        stored = Participant.objects.select_for_update().get(pk=participant.pk)
        if stored.is_relay:
            raise Forbidden(gettext("%(relay)s is this relay's own entry.") % {"relay": names.RELAY})
        if stored.deleted_at is not None:
            return
        before = history.facts(stored)
        stored.status = Participant.Status.DELETED
        stored.deleted_at = timezone.now()
        stored.terms_version = 0
        stored.save(update_fields=["status", "deleted_at", "terms_version"])
        endpoint_terms.forget(stored)
        before["rooms"] = sorted(stored.rooms.values_list("name", flat=True))
        stored.memberships.all().delete()
        for key in stored.keys.filter(revoked_at=None):
            revoke_key(key, actor=actor)
        history.record("delete", stored, actor, before=before, after=history.facts(stored), reason=reason)


def remove_institution(institution: Institution, *, actor: str, reason: str = "") -> None:
    """Deletes it. Raises StillInUse while it has participants."""
    with history.atomic():
        stored = Institution.objects.select_for_update().get(pk=institution.pk)
        dependants = stored.participants.present().count()
        if dependants:
            raise StillInUse(
                gettext("%(stored)s still has participants (%(count)s); delete or move them first.")
                % {"stored": stored, "count": dependants}
            )
        if stored.deleted_at is not None:
            return
        before = history.facts(stored)
        stored.deleted_at = timezone.now()
        stored.save(update_fields=["deleted_at"])
        history.record("delete", stored, actor, before=before, after=history.facts(stored), reason=reason)
