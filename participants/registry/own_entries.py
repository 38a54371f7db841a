"""What DMR itself has in the registry from its first start on: its own entry, and the room of all."""

from __future__ import annotations

from participants import directory, history, names
from participants.models import Institution, Participant, Room


def ensure_own_entries() -> None:
    """The room `national` and our own entry `dmr-relay`, whose endpoint follows DMR_PUBLIC_URL."""
    with history.atomic():
        national()
        host = directory.relay_host()
        found = Participant.objects.present().filter(name=names.RELAY).first()
        if found is None:
            institution, is_new = Institution.objects.present().get_or_create(name="Core")
            if is_new:
                history.record("add", institution, history.SYSTEM, after=history.facts(institution))
            found = Participant(institution=institution, name=names.RELAY, type=Participant.Type.DMR, host=host)
            found.save()
            history.record("register", found, history.SYSTEM, after=history.facts(found))
        elif found.host != host:
            before = history.facts(found)
            found.host = host
            found.save(update_fields=["host"])
            history.record("change", found, history.SYSTEM, before=before, after=history.facts(found))


def national() -> Room:
    """The room that everybody is in; made where it is not there yet."""
    room, is_new = Room.objects.get_or_create(
        name=names.NATIONAL, defaults={"description": "Everybody, from registration on."}
    )
    if is_new:
        history.record("add", room, history.SYSTEM, after=history.facts(room))
    return room
