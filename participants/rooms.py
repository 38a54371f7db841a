"""Rooms: who is in, who may speak there and who listens. Who reaches whom follows from that: see reach."""

from __future__ import annotations

from django.utils.translation import gettext

from dmr_project.lib.errors import Forbidden
from participants import history, names
from participants.models import Membership, Participant, Room


def join(
    room: Room,
    participant: Participant,
    *,
    actor: str,
    may_speak: bool = True,
    listens: bool = True,
    reason: str = "",
) -> bool:
    """Lets it in, to speak and to listen unless one of them is denied. False where it was in already."""
    with history.atomic():
        membership, is_new = Membership.objects.get_or_create(
            room=room, participant=participant, defaults={"may_speak": may_speak, "listens": listens}
        )
        if is_new:
            history.record("join", membership, actor, after=_said(membership), reason=reason)
    return is_new


def change(membership: Membership, *, may_speak: bool, listens: bool, actor: str, reason: str = "") -> bool:
    """May it speak there, does it listen there? False where that was so already."""
    with history.atomic():
        stored = Membership.objects.select_for_update().get(pk=membership.pk)
        before = _said(stored)
        stored.may_speak, stored.listens = may_speak, listens
        if _said(stored) == before:
            return False
        stored.save(update_fields=["may_speak", "listens"])
        history.record("change", stored, actor, before=before, after=_said(stored), reason=reason)
    return True


def leave(room: Room, participant: Participant, *, actor: str, reason: str = "") -> bool:
    """Takes it out. False where it was not in."""
    with history.atomic():
        membership = Membership.objects.filter(room=room, participant=participant).first()
        if membership is None:
            return False
        history.record("leave", membership, actor, before=_said(membership), reason=reason)
        membership.delete()
    return True


def close(room: Room, *, actor: str, reason: str = "") -> None:
    """Deletes it; who shares no other room may no longer speak. Raises Forbidden for `national`."""
    if room.name == names.NATIONAL:
        raise Forbidden(gettext("Everybody joins national on registration; it cannot be deleted."))
    with history.atomic():
        history.record("delete", room, actor, before=history.facts(room), reason=reason)
        room.delete()


def _said(membership: Membership) -> dict[str, object]:
    return {
        "room": membership.room.name,
        "participant": membership.participant.name,
        "may_speak": membership.may_speak,
        "listens": membership.listens,
    }
