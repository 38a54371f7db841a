"""A breaker for each recipient, in the database, so that all pumps share it: closed, open, one probe at a time.

Closed, until a recipient has failed FAILURES_TO_OPEN times in a row. Open, its deliveries are not claimed but
for one probe, at most one in flight, after pauses that double up to LONGEST_PAUSE. A success closes it; after an
answer that is final for its message alone the next probe goes after FIRST_PAUSE. 410
ends its own delivery and parks the recipient: whatever else is addressed to it is held until staff close the
breaker, or its time to live ends.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Min, QuerySet
from django.utils import timezone

from dmr_project.lib.log import event
from participants import history
from relay import metrics
from relay.delivery import wake
from relay.models import Breaker

logger = logging.getLogger(__name__)

FAILURES_TO_OPEN = 5
FIRST_PAUSE = 1.0  # seconds
LONGEST_PAUSE = 60.0
PROBE_LEASE = timedelta(seconds=30)  # a probe whose pump died lets the next one through after this


@dataclass(frozen=True)
class Failures:
    """What failed at one recipient in one batch of outcomes."""

    count: int
    error: str
    is_gone: bool  # it said 410
    of_probe: bool = False  # one of them was the probe of an open breaker


def pause_after(failures: int) -> timedelta:
    """Until the next probe, after FAILURES_TO_OPEN failures in a row, and one more for each probe that failed."""
    doublings = min(max(0, failures - FAILURES_TO_OPEN), 30)
    return timedelta(seconds=min(LONGEST_PAUSE, FIRST_PAUSE * 2**doublings))


def take_probe(recipient_id: int) -> bool:
    """Takes the right to the one probe that is due; False where somebody else has it."""
    now = timezone.now()
    open_and_due = Breaker.objects.filter(recipient_id=recipient_id, state=Breaker.State.OPEN, probe_at__lte=now)
    return bool(open_and_due.update(probe_at=now + PROBE_LEASE))


def next_probe(after: datetime, within: timedelta) -> datetime | None:
    """When the first probe is due that was not at `after`; None if not `within` that."""
    soon = Breaker.objects.filter(state=Breaker.State.OPEN, probe_at__gt=after, probe_at__lte=after + within)
    found: datetime | None = soon.aggregate(first=Min("probe_at"))["first"]
    return found


def note(
    succeeded: set[int], failed: Mapping[int, Failures], at: datetime, refused: Collection[int] = frozenset()
) -> None:
    """Writes down a batch: recipients that succeeded after failures, and those that failed. In a transaction.

    `refused`: those that answered a probe for good, which neither opens nor closes. Locks in the order of ids, so
    that two pumps cannot hold each other up.
    """
    for recipient_id in sorted({*succeeded, *failed, *refused}):
        if recipient_id in refused:
            _probe_again(recipient_id, at)
        failures = failed.get(recipient_id)
        if failures and (failures.is_gone or recipient_id not in succeeded):
            _note_failures(recipient_id, failures, at)
        elif recipient_id in succeeded:
            _close(Breaker.objects.filter(recipient_id=recipient_id).exclude(state=Breaker.State.PARKED))


def _probe_again(recipient_id: int, at: datetime) -> None:
    """It answers: the next probe does not wait for the end of this one's lease."""
    probed = Breaker.objects.filter(recipient_id=recipient_id, state=Breaker.State.OPEN)
    probed.update(probe_at=at + timedelta(seconds=FIRST_PAUSE))


def close(breakers: QuerySet[Breaker], *, actor: str) -> int:
    """By staff: tries the recipients again as if they had never failed. Returns how many."""
    with history.atomic():
        rows = breakers.exclude(state=Breaker.State.CLOSED).select_related("recipient__institution")
        found = list(rows.order_by("pk").select_for_update(of=("self",)))
        for row in found:
            history.note(
                "close breaker",
                actor,
                kind="breaker",
                subject=row.recipient.name,
                subject_id=str(row.pk),
                institution=row.recipient.institution,
                before={"state": row.state, "failures": row.failures},
                after={"state": Breaker.State.CLOSED.value, "failures": 0},
            )
        transaction.on_commit(wake.pump)
        return _close(Breaker.objects.filter(pk__in=[row.pk for row in found]))


def _close(breakers: QuerySet[Breaker]) -> int:
    were_open = list(breakers.exclude(state=Breaker.State.CLOSED).values_list("recipient_id", flat=True))
    breakers.update(state=Breaker.State.CLOSED, failures=0, opened_at=None, probe_at=None, last_error="")
    for recipient_id in were_open:
        metrics.BREAKERS.labels(state=Breaker.State.CLOSED.value).inc()
        event(logger, "breaker_closed", recipient=recipient_id)
    return len(were_open)


def _note_failures(recipient_id: int, failures: Failures, at: datetime) -> None:
    breaker, _ = Breaker.objects.select_for_update().get_or_create(recipient_id=recipient_id)
    before = breaker.state
    breaker.last_error = failures.error[:255]
    if failures.is_gone:
        breaker.failures += failures.count
        breaker.state = Breaker.State.PARKED
        breaker.probe_at = None
    elif before == Breaker.State.CLOSED:
        # Many may fail together, in the same moment: that is no reason for a longer first pause.
        breaker.failures = min(FAILURES_TO_OPEN, breaker.failures + failures.count)
        if breaker.failures == FAILURES_TO_OPEN:
            breaker.state = Breaker.State.OPEN
            breaker.probe_at = at + pause_after(breaker.failures)
    elif before == Breaker.State.OPEN and failures.of_probe:  # what was under way when it opened says nothing new
        breaker.failures += 1
        breaker.probe_at = at + pause_after(breaker.failures)
    if before == Breaker.State.CLOSED and breaker.state != Breaker.State.CLOSED:
        breaker.opened_at = at
        metrics.BREAKERS.labels(state=breaker.state).inc()
        event(logger, "breaker_opened", logging.WARNING, recipient=recipient_id, state=breaker.state)
    breaker.save()
