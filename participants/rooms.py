"""Rooms: who is in, and so who may speak to whom."""

from __future__ import annotations

from dmr_project.lib.errors import Forbidden
from participants import history, names
from participants.models import Membership, Participant, Room


def join(room: Room, participant: Participant, *, actor: str) -> bool:
    """Lets it in. False where it was in already."""
    with history.atomic():
        membership, is_new = Membership.objects.get_or_create(room=room, participant=participant)
        if is_new:
            history.record("join", membership, actor, after=_said(membership))
    return is_new


def leave(room: Room, participant: Participant, *, actor: str) -> bool:
    """Takes it out. False where it was not in."""
    with history.atomic():
        membership = Membership.objects.filter(room=room, participant=participant).first()
        if membership is None:
            return False
        history.record("leave", membership, actor, before=_said(membership))
        membership.delete()
    return True


def close(room: Room, *, actor: str, reason: str = "") -> None:
    """Deletes it; who shares no other room may no longer speak. Raises Forbidden for `national`."""
    if room.name == names.NATIONAL:
        raise Forbidden("Everybody joins national on registration; it cannot be deleted.")
    with history.atomic():
        history.record("delete", room, actor, before=history.facts(room), reason=reason)
        room.delete()


def _said(membership: Membership) -> dict[str, str]:
    return {"room": membership.room.name, "participant": membership.participant.name}
