"""What a participant says of itself."""

from __future__ import annotations

from django.utils.translation import gettext

from dmr_project.lib.errors import Forbidden, InvalidInput
from participants import history
from participants.models import Participant
from participants.registry.steps import set_on_each, set_status


class SuspendedByStaff(Forbidden):
    code = "suspended"
    title = "Suspended by staff"


class NotLetIn(Forbidden):
    code = "pending"
    title = "Not let into the network yet"


def set_own_status(participant_id: int, status: str) -> Participant:
    """What a participant says of itself: Active or Disabled. Raises InvalidInput, SuspendedByStaff, NotLetIn."""
    if status not in (Participant.Status.ACTIVE, Participant.Status.DISABLED):
        raise InvalidInput(
            gettext('The state must be "Active" or "Disabled", not %(said)r.') % {"said": status[:100]}
        )
    with history.atomic():
        stored = own_row(participant_id)
        set_status([stored], status, actor=history.participant(stored.name))
        stored.refresh_from_db()
    return stored


def set_own_delivery_mode(participant_id: int, mode: str) -> Participant:
    """How a participant wants its messages: push or pull. Raises InvalidInput, SuspendedByStaff, NotLetIn."""
    if mode not in Participant.DeliveryMode.values:
        detail = f'must be "push" or "pull", not {mode[:100]!r}'
        raise InvalidInput(f"mode {detail}", errors=[{"field": "mode", "detail": detail}])
    with history.atomic():
        stored = own_row(participant_id)
        set_on_each([stored], "delivery_mode", mode, actor=history.participant(stored.name))
        stored.refresh_from_db()
    return stored


def set_own_announcements(participant_id: int, wanted: str) -> Participant:
    """Of what a participant is told by messages from Dmr. Raises InvalidInput, SuspendedByStaff."""
    if wanted not in Participant.Announcements.values:
        detail = f"must be one of {', '.join(Participant.Announcements.values)}, not {wanted[:100]!r}"
        raise InvalidInput(
            f"announcements {detail}",
            errors=[{"field": "announcements", "detail": detail}],
        )
    with history.atomic():
        stored = own_row(participant_id)
        set_on_each([stored], "announcements", wanted, actor=history.participant(stored.name))
        stored.refresh_from_db()
    return stored


def own_row(participant_id: int) -> Participant:
    """Locked, for what a participant says of itself. Raises SuspendedByStaff, NotLetIn."""
    stored = Participant.objects.present().select_for_update().get(pk=participant_id)
    if stored.status == Participant.Status.PENDING:
        raise NotLetIn(gettext("Staff have not let this participant into the network yet."))
    if stored.status == Participant.Status.SUSPENDED:
        raise SuspendedByStaff(gettext("Staff have suspended this participant; only they can lift it."))
    return stored
