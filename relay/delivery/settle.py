"""Settling attempts: many outcomes in one transaction, each guarded by its lease."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import InterfaceError, OperationalError, connection, transaction

from dmr_project.lib import storage
from dmr_project.lib.log import event
from dmr_project.lib.sentences import Sentence
from participants.models import Participant
from relay import counting, error_messages, metrics, receipts, retention
from relay.delivery import breaker, retry
from relay.delivery.breaker import Failures
from relay.delivery.claimed import Claimed
from relay.delivery.retry import GONE, Outcome, Verdict
from relay.models import Attempt, Delivery, Message, State
from relay.receipts import Delivered

logger = logging.getLogger(__name__)

EXPIRED_WHILE_WAITING = Sentence("its time to live ended before it could be delivered")()
PAYLOAD_GONE = Sentence("its payload was deleted before it was requeued")()
RECIPIENT_GONE = Sentence("the recipient has left the network")()
_EXPIRED_AFTER = Sentence("%(error)s; its time to live ended before it could be delivered")


@dataclass(frozen=True)
class Attempted:
    """A claim, and what came of it."""

    claimed: Claimed
    outcome: Outcome
    ended_at: datetime


@dataclass(frozen=True)
class Ending:
    """Of what is claimed and cannot be attempted; `status` is what its sender is told."""

    state: State
    reason: str
    status: int


def ending(claimed: Claimed, now: datetime) -> Ending | None:
    """None where it is to be attempted."""
    if claimed.recipient_is_gone:
        return Ending(State.DEAD, RECIPIENT_GONE, 404)
    if claimed.payload_is_gone:
        return Ending(State.DEAD, PAYLOAD_GONE, 504)
    if claimed.expires_at <= now:
        return Ending(State.EXPIRED, EXPIRED_WHILE_WAITING, 504)
    return None


def settle(attempted: Collection[Attempted]) -> list[Attempted]:
    """Writes down what came of the attempts. One whose lease has passed to somebody else is left to them.

    Where the batch cannot be written, each is by itself, so that one costs the others nothing. What there is no room
    for on the database's disk is returned, to be tried again; what else cannot be written is left to its lease, and
    logged. Raises OperationalError and InterfaceError: the database is away.
    """
    try:
        _settle(attempted)
    except Exception as error:
        if is_away(error):
            raise
        event(logger, "batch_not_settled", logging.ERROR, count=len(attempted), error=type(error).__name__)
        return [each for each in attempted if not _settle_alone(each)]
    return []


def _settle_alone(each: Attempted) -> bool:
    """False where there is no room for it."""
    try:
        _settle([each])
    except Exception as error:
        if is_away(error):
            raise
        if storage.is_full(error):
            return False
        logger.exception("delivery_not_settled", extra={"facts": {"delivery": each.claimed.id}})
    return True


def is_away(error: Exception) -> bool:
    """Is it about the database as a whole? A full disk is not: what changes no more than a row may be written."""
    return isinstance(error, (OperationalError, InterfaceError)) and not storage.is_full(error)


def _settle(attempted: Collection[Attempted]) -> None:
    succeeded = [each for each in attempted if each.outcome.is_success]
    failed = [each for each in attempted if not each.outcome.is_success]
    if _is_one_statement(succeeded, failed):
        settled = [(each, State.DELIVERED) for each in _settle_delivered(succeeded)]
    else:
        with transaction.atomic():
            _give_receipts([each for each in succeeded if each.claimed.wants_receipt])
            settled = [(each, State.DELIVERED) for each in _settle_delivered(succeeded)]
            settled += [(each, state) for each in failed if (state := _settle_failed(each))]
            _note_recipients([each for each, _ in settled])
    counting.attempted(len(succeeded), len(failed))
    _count(settled)


def _count(settled: Collection[tuple[Attempted, State]]) -> None:
    """Of what has been written down, what has become of it."""
    alike: Counter[tuple[State, int | None, str]] = Counter()
    for each, state in settled:
        if state is State.DELIVERED:
            metrics.LATENCY.observe(max(0.0, (each.ended_at - each.claimed.accepted_at).total_seconds()))
        if state is not State.PENDING:
            alike[state, each.claimed.room_id, each.claimed.recipient_type] += 1
    for (state, room_id, recipient_type), count in alike.items():
        counting.settled(state, room_id, recipient_type, count)


def _is_one_statement(succeeded: Collection[Attempted], failed: Collection[Attempted]) -> bool:
    """The usual batch, which needs no transaction around it: all went well, and nobody else has to hear of it."""
    is_quiet = not failed and not any(each.claimed.failures or each.claimed.wants_receipt for each in succeeded)
    return is_quiet and connection.vendor == "postgresql"


def _note_recipients(attempted: Collection[Attempted]) -> None:
    """Tells the breakers: of those that succeed, only where there is something to forget."""
    succeeded = {each.claimed.recipient_id for each in attempted if each.outcome.is_success and each.claimed.failures}
    refused: set[int] = set()  # the probe, which says nothing of whatever else waits
    failed: dict[int, Failures] = {}
    for each in attempted:
        outcome, recipient_id = each.outcome, each.claimed.recipient_id
        if outcome.is_success:
            continue
        is_gone = outcome.status == GONE and not _has_moved(each.claimed)
        if not (is_gone or retry.is_retryable(outcome.status)):
            if each.claimed.is_probe:
                refused.add(recipient_id)
            continue
        known = failed.get(recipient_id)
        is_gone = is_gone or bool(known and known.is_gone)
        of_probe = each.claimed.is_probe or bool(known and known.of_probe)
        failed[recipient_id] = Failures((known.count if known else 0) + 1, outcome.error, is_gone, of_probe)
    if succeeded or failed or refused:
        breaker.note(succeeded, failed, max(each.ended_at for each in attempted), refused)


def _has_moved(claimed: Claimed) -> bool:
    """Has its endpoint changed since it was claimed? Then what the old one said of itself is no reason to park it."""
    return not Participant.objects.filter(pk=claimed.recipient_id, host=claimed.host).exists()


# What came of each row, beside it, in one parameter: the text stays the same, and is planned once.
_OUTCOMES = {
    "postgresql": """json_to_recordset(%(outcomes)s::json)
        AS o(id bigint, token bigint, status smallint, seconds float8, retention int)""",
    "sqlite": """(
        SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.token') AS token,
            json_extract(value, '$.status') AS status, json_extract(value, '$.seconds') AS seconds
        FROM json_each(%(outcomes)s)
    ) AS o""",
}
_DELIVERED = """
    UPDATE relay_delivery
    SET state = 'delivered', delivered_at = %(at)s, ended_at = %(at)s, last_status = o.status,
        last_seconds = o.seconds, last_error = '', lease_until = NULL, lease_token = NULL
    FROM {outcomes}
    WHERE relay_delivery.id = o.id AND lease_token = o.token AND state || '' = 'delivering'
"""
# (`state || ''`: found by their keys, and not by the partial indexes, whose statistics may say that they are empty.)
# With it, when their payloads are due; see retention.note_ended, which is its other half on SQLite.
_DELIVERED_AND_DUE = """
    WITH ended AS ({delivered} RETURNING relay_delivery.id, message_id, o.retention), due AS (
        INSERT INTO relay_payloaddue (message_id, due_at)
        SELECT message_id, %(at)s::timestamptz + max(retention) * interval '1 second' FROM ended GROUP BY message_id
        ORDER BY message_id
        ON CONFLICT (message_id) DO UPDATE SET due_at = EXCLUDED.due_at
    )
    SELECT id FROM ended
"""


def _settle_delivered(attempted: Collection[Attempted]) -> list[Attempted]:
    """Returns those whose lease was still ours. One statement, however many they are; two on SQLite."""
    if not attempted:
        return []
    ended_at = max(each.ended_at for each in attempted)
    outcomes = [
        {
            "id": each.claimed.id,
            "token": each.claimed.token,
            "status": each.outcome.status,
            "seconds": each.outcome.seconds,
            "retention": each.claimed.retention,
        }
        for each in attempted
    ]
    delivered = _DELIVERED.format(outcomes=_OUTCOMES[connection.vendor])
    is_one = connection.vendor == "postgresql"
    statement = _DELIVERED_AND_DUE.format(delivered=delivered) if is_one else f"{delivered} RETURNING id"
    at = connection.ops.adapt_datetimefield_value(ended_at)
    with connection.cursor() as cursor:
        cursor.execute(statement, {"at": at, "outcomes": json.dumps(outcomes)})
        ids = {row[0] for row in cursor.fetchall()}
    settled = [each for each in attempted if each.claimed.id in ids]
    if not is_one:
        retention.note_ended({each.claimed.message_pk: each.claimed.retention for each in settled}, ended_at)
    return settled


def _give_receipts(attempted: Sequence[Attempted]) -> None:
    """Of those whose lease is still ours, and so about to be settled: each is given once, and by one."""
    if not attempted:
        return
    ids = [each.claimed.id for each in attempted]
    rows = Delivery.objects.filter(id__in=ids).in_state(State.DELIVERING).order_by("id").select_for_update()
    tokens = dict(rows.values_list("id", "lease_token"))
    receipts.store(
        [
            Delivered(
                written_id=each.claimed.written_id,
                sender_id=each.claimed.sender_id,
                sender_name=each.claimed.sender_name,
                recipient=each.claimed.recipient_name,
                at=each.ended_at,
                status=each.outcome.status,
            )
            for each in attempted
            if tokens.get(each.claimed.id) == each.claimed.token
        ]
    )


def _settle_failed(each: Attempted) -> State | None:
    """What it has become; None where its lease was lost."""
    claimed, outcome = each.claimed, each.outcome
    verdict = retry.decide(outcome, attempts=claimed.attempts, ended_at=each.ended_at, expires_at=claimed.expires_at)
    if not _end_lease(claimed, verdict, each):
        return None
    Attempt.objects.create(
        delivery_id=claimed.id,
        number=claimed.attempts,
        at=each.ended_at,
        seconds=outcome.seconds,
        status=outcome.status,
        error=outcome.error[:255],
        answer=outcome.answer,
    )
    if verdict.state is not State.PENDING:
        _tell(claimed, verdict, retry.status_for_sender(outcome.status))
    return verdict.state


def _end_lease(claimed: Claimed, verdict: Verdict, each: Attempted) -> bool:
    is_over = verdict.state is not State.PENDING
    row = Delivery.objects.filter(id=claimed.id, lease_token=claimed.token).in_state(State.DELIVERING)
    changed = row.update(
        state=verdict.state,
        due_at=verdict.due_at or each.ended_at,
        ended_at=each.ended_at if is_over else None,
        last_status=each.outcome.status,
        last_seconds=each.outcome.seconds,
        last_error=(verdict.reason or each.outcome.error)[:255],
        lease_until=None,
        lease_token=None,
    )
    return bool(changed)


def end_unattempted(claimed: Claimed, ending: Ending, at: datetime) -> None:
    """Ends a claimed delivery without an attempt, and tells the sender."""
    with transaction.atomic():
        row = Delivery.objects.filter(id=claimed.id, lease_token=claimed.token).in_state(State.DELIVERING)
        changed = row.update(
            state=ending.state,
            ended_at=at,
            attempts=claimed.attempts - 1,
            last_error=ending.reason,
            lease_until=None,
            lease_token=None,
        )
        if changed:
            _tell(claimed, Verdict(ending.state, reason=ending.reason), ending.status)
    if changed:
        counting.settled(ending.state, claimed.room_id, claimed.recipient_type)


def expire(delivery: Delivery, at: datetime) -> bool:
    """Ends a pending delivery whose time to live is over, and tells the sender. Call it in a transaction.

    False where it is not pending any more. Whoever calls it counts, when it is written.
    """
    reason = _EXPIRED_AFTER(error=delivery.last_error) if delivery.last_error else EXPIRED_WHILE_WAITING
    changed = (
        Delivery.objects.filter(id=delivery.pk)
        .in_state(State.PENDING)
        .update(state=State.EXPIRED, ended_at=at, last_error=reason[:255])
    )
    if changed:
        error_messages.tell_sender(delivery.message, retry.status_for_sender(delivery.last_status), reason)
    return bool(changed)


def _tell(claimed: Claimed, verdict: Verdict, status: int) -> None:
    message = Message.objects.select_related("sender").get(pk=claimed.message_pk)
    event(logger, "delivery_failed", delivery=claimed.id, state=verdict.state.value, status=status)
    error_messages.tell_sender(message, status, f"Not delivered: {verdict.reason}.")
