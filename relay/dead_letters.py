"""Dead letters as people ask for them: whose, to whom, since when, why; and what they do about those of one message.

Many at once are requeued and discarded in jobs: see dead_letter_jobs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID

from dmr_project.lib.errors import InvalidInput, NotFound
from participants import history
from relay import planning
from relay.delivery import dead_letter
from relay.models import Delivery, State
from relay.querysets import DeliveryQuerySet

MOST_EXAMINED = 2_000  # for one page, where not all of what an index finds is wanted
MOST_NAMED = 20  # messages, in the history of an act

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Place:
    """Where in the order of their ends a dead letter stands."""

    ended_at: datetime
    id: int

    def __str__(self) -> str:
        return f"{(self.ended_at - _EPOCH) // timedelta(microseconds=1)}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Place:
        """Raises InvalidInput."""
        moment, _, key = text.partition("-")
        try:
            if not text.isascii() or int(key) >= 2**63:
                raise ValueError
            return cls(_EPOCH + timedelta(microseconds=int(moment)), int(key))
        except (ValueError, OverflowError):
            detail = "must be the `next` of the page before"
            raise InvalidInput(f"after {detail}", errors=[{"field": "after", "detail": detail}]) from None


@dataclass(frozen=True)
class Scope:
    """Which dead letters: whose messages (None: everybody's), to whom, ended since and until when, both included."""

    sender_id: int | None = None
    recipient: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def rows(self) -> DeliveryQuerySet:
        found = Delivery.objects.dead_letters()
        if self.sender_id is not None:
            found = found.filter(sender=self.sender_id)
        if self.recipient:
            found = found.filter(recipient_name=self.recipient)
        if self.since is not None:
            found = found.filter(ended_at__gte=self.since)
        if self.until is not None:
            found = found.filter(ended_at__lte=self.until)
        return found


@dataclass(frozen=True)
class Why:
    """What a dead letter's reason begins with, and the recipient's last answer; empty and None: any."""

    reason: str = ""
    status: int | None = None

    def is_met(self, last_error: str, last_status: int | None) -> bool:
        return last_error.startswith(self.reason) and self.status in (None, last_status)


@dataclass(frozen=True)
class Page:
    """Some dead letters, the last ended first, each with its `obstacle`; where to go on, None at the end."""

    letters: list[Any]
    next: Place | None


@dataclass(frozen=True)
class Handled:
    """How many were requeued or discarded, and of the others how many were left alone for which obstacle."""

    count: int
    left: Mapping[str, int]


def page(scope: Scope, why: Why, after: Place | None, limit: int) -> Page:
    """At most `limit`, and fewer where many had to be examined: a page's cost does not grow with what there is."""
    rows = scope.rows()
    if after is not None:
        # The first condition is what an index can begin at.
        rows = rows.filter(ended_at__lte=after.ended_at).exclude(ended_at=after.ended_at, id__gte=after.id)
    # An index leads to a recipient, or to a sender, and not to both.
    is_found_by_index = why == Why() and not (scope.recipient and scope.sender_id is not None)
    most = limit if is_found_by_index else MOST_EXAMINED
    columns = ("ended_at", "id", "last_error", "last_status")
    with planning.in_index_order():
        examined = list(rows.order_by("-ended_at", "-id").values_list(*columns)[:most])
    wanted = [Place(at, key) for at, key, error, status in examined if why.is_met(error, status)][:limit]
    goes_on: Place | None = None
    if len(wanted) == limit:
        goes_on = wanted[-1]
    elif len(examined) == most:
        goes_on = Place(*examined[-1][:2])
    found = Delivery.objects.select_related("message__sender").defer("message__payload").with_obstacle()
    letters = found.filter(id__in=[each.id for each in wanted]).order_by("-ended_at", "-id")
    return Page(list(letters), goes_on)


def requeue_message(message_id: UUID, *, sender_id: int | None, actor: str) -> Handled:
    """Requeues the dead letters of a message, discarded ones too. `sender_id`: only of that sender's message.

    Raises NotFound.
    """
    with history.atomic():
        letters = _of_message(message_id, sender_id).filter(state__in=(State.DEAD, State.EXPIRED)).order_by("pk")
        handled = requeue(letters.with_obstacle().select_for_update(of=("self",)).values_list("id", "obstacle"))
        _check_found(message_id, handled)
        _note("requeue", actor, [str(message_id)], handled.count)
    return handled


def discard_message(message_id: UUID, *, actor: str) -> Handled:
    """Raises NotFound."""
    with history.atomic():
        handled = Handled(dead_letter.discard(_of_message(message_id, None).dead_letters()), {})
        _check_found(message_id, handled)
        _note("discard", actor, [str(message_id)], handled.count)
    return handled


def requeue_chosen(ids: Collection[int], *, actor: str) -> int:
    """Those that somebody chose from a list. Returns how many."""
    with history.atomic():
        count = dead_letter.requeue(Delivery.objects.filter(id__in=ids))
        _note("requeue", actor, _messages_of(ids), count)
    return count


def discard_chosen(ids: Collection[int], *, actor: str) -> int:
    """The same, and deliveries that wait, whose senders are told. Returns how many."""
    with history.atomic():
        count = dead_letter.discard(Delivery.objects.filter(id__in=ids))
        _note("discard", actor, _messages_of(ids), count)
    return count


def requeue(found: Iterable[tuple[int, str]]) -> Handled:
    """Deliveries with their obstacles, locked by the caller: requeues those that have none."""
    rows = list(found)
    left = Counter(obstacle for _, obstacle in rows if obstacle)
    possible = [key for key, obstacle in rows if not obstacle]
    return Handled(dead_letter.requeue(Delivery.objects.filter(id__in=possible)) if possible else 0, dict(left))


def _of_message(message_id: UUID, sender_id: int | None) -> DeliveryQuerySet:
    rows = Delivery.objects.filter(message__message_id=message_id)
    return rows if sender_id is None else rows.filter(message__sender=sender_id)


def _check_found(message_id: UUID, handled: Handled) -> None:
    if not handled.count and not handled.left:
        raise NotFound(f"There is no dead letter of a message {message_id}.")


def _messages_of(ids: Collection[int]) -> list[str]:
    rows = Delivery.objects.filter(id__in=list(ids)[:MOST_NAMED]).order_by("-id")
    return list(rows.values_list("message__written_id", flat=True))


def _note(action: str, actor: str, messages: list[str], count: int) -> None:
    if count:
        one = messages[0] if len(messages) == 1 else ""
        said = {"count": count, "messages": messages}
        subject = one or f"{count} dead letters"
        history.note(action, actor, kind="delivery", subject=subject, subject_id=one[:40], after=said)
