"""What an act of staff makes of a delivery, in words, for the pages that show it before it is done."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext

from participants.admin.bulk import Foreseen
from relay.models import Delivery, State
from relay.querysets import Obstacle


def requeued(admin: Any, request: HttpRequest, row: Any) -> Foreseen:
    """`row` with its obstacle."""
    what = _named(row)
    if row.state not in (State.DEAD, State.EXPIRED):
        return Foreseen(left=gettext("no dead letter"), what=what)
    if row.obstacle:
        return Foreseen(left=str(Obstacle(row.obstacle).label), what=what)
    return Foreseen(row.get_state_display(), gettext("tried at once"), what=what)


def discarded(admin: Any, request: HttpRequest, row: Delivery) -> Foreseen:
    what = _named(row)
    if row.discarded_at or row.state in (State.DELIVERED, State.DELIVERING):
        return Foreseen(left=gettext("delivered, on its way, or discarded already"), what=what)
    is_pending = row.state == State.PENDING
    return Foreseen(
        row.get_state_display(),
        gettext("discarded; its sender is told") if is_pending else gettext("discarded"),
        what=what,
    )


def _named(row: Delivery) -> str:
    return f"{row.message.written_id}: {row.message.sender.name} → {row.recipient_name}"
