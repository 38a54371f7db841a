"""What of ours depends on a participant, and on what the registry says of it; see participants.dependence."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver
from django.utils.translation import ngettext

from participants import dependence, history
from participants.models import Participant
from relay.delivery import wake
from relay.models import Delivery, State

MOST_COUNTED = 1000


@dependence.ask
def waiting(participant: Participant) -> str:
    """Deliveries to it that have not ended."""
    rows = Delivery.objects.filter(recipient=participant)
    # Each by an index of its own: what has ended may be millions.
    count = sum(
        len(rows.filter(state=state).values_list("pk")[:MOST_COUNTED]) for state in (State.PENDING, State.DELIVERING)
    )
    more = "+" if count >= MOST_COUNTED else ""
    said = ngettext("%(count)s message waits for it", "%(count)s messages wait for it", count)
    return said % {"count": f"{count}{more}"} if count else ""


@receiver(history.registry_changed)
def deliver(**_: Any) -> None:
    """Whoever was disabled, say, may be reached now: what waits for it does not wait for the next sweep."""
    wake.pump()
