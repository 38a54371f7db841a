"""What a recipient says of messages that it has fetched: that it has them, or that it cannot take them.

Only who holds the lease is believed. The row keeps the claim's token when the lease ends, so that the same word
said twice gets the same answer, and one that comes too late is told so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from dmr_project.lib.sentences import Sentence
from participants.directory import Entry
from relay import counting, error_messages, metrics, receipts, retention
from relay.delivery import answers, retry
from relay.delivery.retry import Outcome
from relay.inbox.leases import authorise, parse_handle
from relay.models import Attempt, Delivery, Message, State
from relay.receipts import Delivered

REFUSED = 422  # the status of what its recipient has refused for good

RETURNED, LOST, UNKNOWN = "returned", "lost", "unknown"

_REFUSED = Sentence("the recipient refused it")
_REFUSED_WHY = Sentence("the recipient refused it: %(why)s")
_RETURNED = Sentence("the recipient handed it back")
_RETURNED_WHY = Sentence("the recipient handed it back: %(why)s")


@dataclass(frozen=True)
class Refusal:
    """Why messages are handed back, and when they may come again (as by the policy of all deliveries, or later)."""

    reason: str = ""
    retry_after: float | None = None  # seconds
    is_final: bool = False  # never: they become dead letters

    def outcome(self, payload: bytes) -> Outcome:
        """As that of an attempt: without a status it is retried. A reason that repeats the payload is not kept."""
        reason = answers.kept(self.reason.encode(), payload)
        plain, with_reason = (_REFUSED, _REFUSED_WHY) if self.is_final else (_RETURNED, _RETURNED_WHY)
        error = with_reason(why=reason) if reason else plain()
        return Outcome(False, REFUSED if self.is_final else None, error, 0.0, self.retry_after)


@dataclass(frozen=True)
class Answer:
    """To one lease: `delivered`, `returned`, `dead` or `expired` is what became of its delivery; `lost`: the lease
    ended before; `unknown`: the caller never held it.
    """

    lease: str
    result: str


def acknowledge(recipient: Entry, leases: Sequence[str]) -> list[Answer]:
    """It has these messages: they are delivered. Answers each lease, in their order. Raises RecipientSuspended."""
    return _settle(recipient, leases, None)


def refuse(recipient: Entry, leases: Sequence[str], refusal: Refusal) -> list[Answer]:
    """It cannot take these messages. Answers each lease, in their order. Raises RecipientSuspended."""
    return _settle(recipient, leases, refusal)


def _settle(recipient: Entry, leases: Sequence[str], refusal: Refusal | None) -> list[Answer]:
    authorise(recipient)
    now = timezone.now()
    results: dict[str, str] = {}
    held: dict[str, Delivery] = {}
    handles = {text: parse_handle(text) for text in leases}
    with transaction.atomic():
        rows = _locked(recipient.id, [each.delivery_id for each in handles.values() if each])
        for text, handle in handles.items():
            row = rows.get(handle.delivery_id) if handle else None
            if handle is None or row is None:
                results[text] = UNKNOWN
            elif row.lease_token != handle.token:
                results[text] = LOST
            elif row.state == State.DELIVERING:
                held[text] = row
            else:
                results[text] = _said_before(State(row.state), refusal)
        settled = _deliver(recipient, held, now) if refusal is None else _return(held, refusal, now)
    results |= settled
    for text, row in held.items():
        _count(recipient, row, settled[text], now)
    for result in results.values():
        metrics.INBOX_SETTLED.labels(result=result).inc()
    return [Answer(text, results[text]) for text in leases]


def _locked(recipient_id: int, ids: list[int]) -> dict[int, Delivery]:
    """The recipient's own deliveries among these, by id, locked in the order of ids."""
    # Found by their keys: by an index of the recipient's it would be all that the recipient ever got.
    rows = Delivery.objects.filter(pk__in=ids).alias(of=F("recipient_id") + 0).filter(of=recipient_id)
    rows = rows.order_by("pk").defer("message__payload")
    return {
        row.pk: row for row in rows.select_related("message__sender", "message__room").select_for_update(of=("self",))
    }


def _said_before(state: State, refusal: Refusal | None) -> str:
    """To who says the same again the same; who says something else by now is too late."""
    if refusal is None:
        return state.value if state == State.DELIVERED else LOST
    return {State.PENDING: RETURNED, State.DELIVERED: LOST}.get(state, state.value)


def _deliver(recipient: Entry, held: dict[str, Delivery], now: datetime) -> dict[str, str]:
    rows = held.values()
    Delivery.objects.filter(pk__in=[row.pk for row in rows]).update(
        state=State.DELIVERED,
        delivered_at=now,
        ended_at=now,
        last_status=None,
        last_seconds=None,
        last_error="",
        lease_until=None,
    )
    wanting = [row for row in rows if _wants_receipt(row.message)]
    receipts.store(
        [
            Delivered(
                written_id=row.message.written_id,
                sender_id=row.message.sender_id,
                sender_name=row.message.sender.name,
                recipient=recipient.name,
                at=now,
                status=None,
            )
            for row in wanting
        ]
    )
    if rows:
        retention.note_ended({row.message_id: retention.retention_of(row.message) for row in rows}, now)
    return dict.fromkeys(held, State.DELIVERED.value)


def _wants_receipt(message: Message) -> bool:
    return message.sender.wants_receipts and receipts.is_wanted(message.sent_by, message.model_type)


def _return(held: dict[str, Delivery], refusal: Refusal, now: datetime) -> dict[str, str]:
    results = {}
    for text, row in held.items():
        outcome = refusal.outcome(bytes(row.message.payload) if refusal.reason else b"")
        verdict = retry.decide(outcome, attempts=row.attempts, ended_at=now, expires_at=row.expires_at)
        is_over = verdict.state is not State.PENDING
        Delivery.objects.filter(pk=row.pk).update(
            state=verdict.state,
            due_at=verdict.due_at or now,
            ended_at=now if is_over else None,
            last_status=outcome.status,
            last_seconds=None,
            last_error=(verdict.reason or outcome.error)[:255],
            lease_until=None,
        )
        Attempt.objects.create(
            delivery=row, number=row.attempts, at=now, seconds=0, status=outcome.status, error=outcome.error[:255]
        )
        if is_over:
            status = retry.status_for_sender(outcome.status)
            error_messages.tell_sender(row.message, status, f"Not delivered: {verdict.reason}.")
        results[text] = verdict.state.value if is_over else RETURNED
    return results


def _count(recipient: Entry, row: Delivery, result: str, now: datetime) -> None:
    is_success = result == State.DELIVERED
    counting.attempted(int(is_success), int(not is_success))
    if is_success:
        metrics.LATENCY.observe(max(0.0, (now - row.accepted_at).total_seconds()))
    if result != RETURNED:
        counting.settled(State(result), row.message.room_id, recipient.type)
