"""Settling attempts: many outcomes in one transaction, each guarded by its lease."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import InterfaceError, OperationalError, connection, transaction

from dmr_project.lib.log import event
from dmr_project.lib.sentences import Sentence
from relay import counting, error_messages, metrics, receipts, retention
from relay.delivery import breaker, retry
from relay.delivery.breaker import Failures
from relay.delivery.claim import Claimed
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


def settle(attempted: Collection[Attempted]) -> None:
    """Writes down what came of the attempts. One whose lease has passed to somebody else is left to them.

    Where the batch cannot be written, each is by itself, so that one costs the others nothing; what cannot be
    even then is left to its lease, and logged. Raises OperationalError and InterfaceError: the database is away.
    """
    try:
        _settle(attempted)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        event(logger, "batch_not_settled", logging.ERROR, count=len(attempted), error=type(error).__name__)
        for each in attempted:
            _settle_alone(each)


def _settle_alone(each: Attempted) -> None:
    try:
        _settle([each])
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("delivery_not_settled", extra={"facts": {"delivery": each.claimed.id}})


def _settle(attempted: Collection[Attempted]) -> None:
    succeeded = [each for each in attempted if each.outcome.is_success]
    failed = [each for each in attempted if not each.outcome.is_success]
    if _is_one_statement(succeeded, failed):
        _settle_delivered(succeeded)
    else:
        with transaction.atomic():
            _give_receipts([each for each in succeeded if each.claimed.wants_receipt])
            _settle_delivered(succeeded)
            for each in failed:
                _settle_failed(each)
            _note_recipients(attempted)
    _count(succeeded, failed)


def _count(succeeded: Collection[Attempted], failed: Collection[Attempted]) -> None:
    counting.attempted(len(succeeded), len(failed))
    for each in succeeded:
        metrics.LATENCY.observe(max(0.0, (each.ended_at - each.claimed.accepted_at).total_seconds()))
    alike = Counter((each.claimed.room_id, each.claimed.recipient_type) for each in succeeded)
    for (room_id, recipient_type), count in alike.items():
        counting.settled(State.DELIVERED, room_id, recipient_type, count)


def _is_one_statement(succeeded: Collection[Attempted], failed: Collection[Attempted]) -> bool:
    """The usual batch, which needs no transaction around it: all went well, and nobody else has to hear of it."""
    is_quiet = not failed and not any(each.claimed.failures or each.claimed.wants_receipt for each in succeeded)
    return is_quiet and connection.vendor == "postgresql"


def _note_recipients(attempted: Collection[Attempted]) -> None:
    """Tells the breakers: of those that succeed, only where there is something to forget."""
    succeeded = {each.claimed.recipient_id for each in attempted if each.outcome.is_success and each.claimed.failures}
    failed: dict[int, Failures] = {}
    for each in attempted:
        outcome, recipient_id = each.outcome, each.claimed.recipient_id
        if outcome.is_success or not (outcome.status == GONE or retry.is_retryable(outcome.status)):
            continue
        known = failed.get(recipient_id)
        is_gone = outcome.status == GONE or bool(known and known.is_gone)
        of_probe = each.claimed.is_probe or bool(known and known.of_probe)
        failed[recipient_id] = Failures((known.count if known else 0) + 1, outcome.error, is_gone, of_probe)
    if succeeded or failed:
        breaker.note(succeeded, failed, max(each.ended_at for each in attempted))


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
    WITH ended AS ({delivered} RETURNING message_id, o.retention)
    INSERT INTO relay_payloaddue (message_id, due_at)
    SELECT message_id, %(at)s::timestamptz + max(retention) * interval '1 second' FROM ended GROUP BY message_id
    ON CONFLICT (message_id) DO UPDATE SET due_at = EXCLUDED.due_at
"""


def _settle_delivered(attempted: Collection[Attempted]) -> None:
    """One statement, however many they are; two on SQLite."""
    if not attempted:
        return
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
    statement = _DELIVERED.format(outcomes=_OUTCOMES[connection.vendor])
    if connection.vendor == "postgresql":
        statement = _DELIVERED_AND_DUE.format(delivered=statement)
    else:
        retention.note_ended({each.claimed.message_pk: each.claimed.retention for each in attempted}, ended_at)
    at = connection.ops.adapt_datetimefield_value(ended_at)
    with connection.cursor() as cursor:
        cursor.execute(statement, {"at": at, "outcomes": json.dumps(outcomes)})


def _give_receipts(attempted: Sequence[Attempted]) -> None:
    """Of those whose lease is still ours, and so about to be settled: each is given once, and by one."""
    if not attempted:
        return
    ids = [each.claimed.id for each in attempted]
    rows = Delivery.objects.filter(id__in=ids, state=State.DELIVERING).order_by("id").select_for_update()
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


def _settle_failed(each: Attempted) -> None:
    claimed, outcome = each.claimed, each.outcome
    verdict = retry.decide(outcome, attempts=claimed.attempts, ended_at=each.ended_at, expires_at=claimed.expires_at)
    if not _end_lease(claimed, verdict, each):
        return
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


def _end_lease(claimed: Claimed, verdict: Verdict, each: Attempted) -> bool:
    is_over = verdict.state is not State.PENDING
    changed = Delivery.objects.filter(id=claimed.id, lease_token=claimed.token, state=State.DELIVERING).update(
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


def end_unattempted(claimed: Claimed, state: State, reason: str, status: int, at: datetime) -> None:
    """Ends a claimed delivery without an attempt, and tells the sender."""
    with transaction.atomic():
        changed = Delivery.objects.filter(id=claimed.id, lease_token=claimed.token, state=State.DELIVERING).update(
            state=state,
            ended_at=at,
            attempts=claimed.attempts - 1,
            last_error=reason,
            lease_until=None,
            lease_token=None,
        )
        if changed:
            _tell(claimed, Verdict(state, reason=reason), status)


def expire(delivery: Delivery, at: datetime) -> None:
    """Ends a pending delivery whose time to live is over, and tells the sender. Call it in a transaction."""
    reason = _EXPIRED_AFTER(error=delivery.last_error) if delivery.last_error else EXPIRED_WHILE_WAITING
    changed = Delivery.objects.filter(id=delivery.pk, state=State.PENDING).update(
        state=State.EXPIRED, ended_at=at, last_error=reason[:255]
    )
    if changed:
        counting.ended(State.EXPIRED, delivery)
        error_messages.tell_sender(delivery.message, retry.status_for_sender(delivery.last_status), reason)


def _tell(claimed: Claimed, verdict: Verdict, status: int) -> None:
    message = Message.objects.select_related("sender").get(pk=claimed.message_pk)
    counting.settled(verdict.state, claimed.room_id, claimed.recipient_type)
    event(logger, "delivery_failed", delivery=claimed.id, state=verdict.state.value, status=status)
    error_messages.tell_sender(message, status, f"Not delivered: {verdict.reason}.")
