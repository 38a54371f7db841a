"""Requeueing and discarding many dead letters: a job in the database, worked off batch by batch.

Each batch is one transaction that moves the letters and writes down how far the job has come. The first is done
at once; beat's task goes on with the rest, and so does whoever else calls advance(): one at a time. A job that was
left by a process that died is gone on with where it was, and no letter is counted twice.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, InterfaceError, OperationalError, connection
from django.utils import timezone
from django.utils.translation import gettext

from dmr_project.lib.errors import Conflict, InvalidInput
from dmr_project.lib.log import event
from participants import history
from relay import dead_letters, planning
from relay.dead_letters import Handled, Place, Scope
from relay.delivery import dead_letter
from relay.models import DeadLetterJob, Delivery, State
from relay.querysets import DeliveryQuerySet

logger = logging.getLogger(__name__)

BATCH = 500
SECONDS = 4.0  # of work at a time; beat comes again after five
MOST_COUNTED = 100_000  # for the estimate
SAMPLE = 50  # letters that a forecast names
KEPT = timedelta(days=90)

Action = DeadLetterJob.Action


class JobRunning(Conflict):
    code = "requeue-running"
    title = "A requeue is under way already"


@dataclass(frozen=True)
class Forecast:
    """What a job would do if it were started now: how many it would find, and the first of them, with obstacles."""

    count: int
    sample: list[Any]

    @property
    def is_more(self) -> bool:
        """Counting ended at `count`."""
        return self.count >= MOST_COUNTED


def forecast(scope: Scope) -> Forecast:
    """Changes nothing. Raises InvalidInput where neither a recipient nor a time is named."""
    _check(scope)
    rows = scope.rows().select_related("message__sender").defer("message__payload").with_obstacle()
    sample = list(rows.order_by("ended_at", "id")[:SAMPLE])
    return Forecast(_count(scope), sample)


def _check(scope: Scope) -> None:
    if not scope.recipient and scope.since is None:
        raise InvalidInput(
            gettext("Name a recipient, or since when: all dead letters at once are nobody's intention.")
        )


def _count(scope: Scope) -> int:
    return len(scope.rows().values_list("pk")[:MOST_COUNTED])


def start(action: str, scope: Scope, *, actor: str) -> DeadLetterJob:
    """Stores the job and does its first batch; small ones are done on return.

    Raises InvalidInput where neither a recipient nor a time is named, JobRunning where the sender has one running.
    """
    _check(scope)
    now = timezone.now()
    until = min(scope.until or now, now)
    scope = Scope(scope.sender_id, scope.recipient, scope.since, until)
    job = DeadLetterJob(
        action=action,
        sender_id=scope.sender_id,
        recipient_name=scope.recipient,
        since=scope.since,
        until=until,
        requested_by=actor,
        requested_at=now,
        estimate=_count(scope),
    )
    try:
        with history.atomic():
            job.save(force_insert=True)
            _note(job, action, actor)
    except IntegrityError:
        running = DeadLetterJob.objects.filter(sender=scope.sender_id, state=DeadLetterJob.State.RUNNING).first()
        if scope.sender_id is None or running is None:
            raise
        raise JobRunning(
            gettext("Wait for the end of %(public_id)s, which was asked for before.")
            % {"public_id": running.public_id}
        ) from None
    advance(job.pk)
    job.refresh_from_db()
    return job


def stop(job: DeadLetterJob, *, actor: str) -> bool:
    """What is not done stays as it is. False where the job was over already."""
    with history.atomic():
        now = timezone.now()
        running = DeadLetterJob.objects.filter(pk=job.pk, state=DeadLetterJob.State.RUNNING)
        if not running.update(state=DeadLetterJob.State.STOPPED, finished_at=now):
            return False
        job.refresh_from_db()
        _note(job, "stop", actor)
    return True


def work_off(seconds: float = SECONDS) -> None:
    """Goes on with the jobs that run, a batch of each in turn, until all are done or the time is over."""
    end = time.monotonic() + seconds
    running = list(DeadLetterJob.objects.filter(state=DeadLetterJob.State.RUNNING).order_by("id").values_list("id"))
    while running and time.monotonic() < end:
        running = [(pk,) for (pk,) in running if _advance_alone(pk)]


def advance(pk: int) -> bool:
    """One batch of a job. True where there may be more; False too where somebody else is at this job just now."""
    with history.atomic():
        rows = DeadLetterJob.objects.filter(pk=pk, state=DeadLetterJob.State.RUNNING)
        job = rows.select_for_update(skip_locked=connection.features.has_select_for_update_skip_locked).first()
        if job is None:
            return False
        with planning.in_index_order():
            rest = _rest(job).order_by("ended_at", "id").select_for_update(of=("self",))
            places = list(rest.values_list("ended_at", "id")[:BATCH])
        handled = _handle(job, [key for _, key in places])
        job.done += handled.count
        job.left = dict(Counter(job.left) + Counter(handled.left))
        if places:
            job.reached_at, job.reached_id = places[-1]
        if len(places) < BATCH:
            job.state, job.finished_at = DeadLetterJob.State.DONE, timezone.now()
            _note(job, "finish", history.SYSTEM)
        job.save(update_fields=["done", "left", "reached_at", "reached_id", "state", "finished_at"])
    return job.is_running


def forget() -> int:
    """Deletes jobs that ended long ago, oldest first. Returns how many."""
    cutoff = timezone.now() - KEPT
    oldest = list(DeadLetterJob.objects.order_by("pk").values_list("pk", "finished_at")[:BATCH])
    old = [pk for pk, finished_at in oldest if finished_at is not None and finished_at < cutoff]
    return DeadLetterJob.objects.filter(pk__in=old).delete()[0] if old else 0


def _advance_alone(pk: int) -> bool:
    """A job that breaks costs the others nothing; it is tried again at the next run."""
    try:
        return advance(pk)
    except (OperationalError, InterfaceError):
        raise
    except Exception:
        logger.exception("dead_letter_job_broke", extra={"facts": {"job": pk}})
        return False


def _rest(job: DeadLetterJob) -> DeliveryQuerySet:
    rows = Scope(job.sender_id, job.recipient_name, job.since, job.until).rows()
    if job.reached_at is None:
        return rows
    reached = Place(job.reached_at, job.reached_id)
    # The first condition is what an index can begin at.
    return rows.filter(ended_at__gte=reached.ended_at).exclude(ended_at=reached.ended_at, id__lte=reached.id)


def _handle(job: DeadLetterJob, ids: list[int]) -> Handled:
    letters = Delivery.objects.filter(id__in=ids, discarded_at=None).in_state(State.DEAD, State.EXPIRED)
    if job.action == Action.DISCARD:
        return Handled(dead_letter.discard(letters) if ids else 0, {})
    return dead_letters.requeue(letters.with_obstacle().values_list("id", "obstacle"))


def _note(job: DeadLetterJob, action: str, actor: str) -> None:
    said = {
        "recipient": job.recipient_name,
        "sender": job.sender_id,
        "since": _written(job.since),
        "until": _written(job.until),
        "estimate": job.estimate,
        "done": job.done,
        "left": job.left,
    }
    history.note(action, actor, kind="deadletterjob", subject=str(job), subject_id=str(job.public_id), after=said)
    event(logger, "dead_letter_job", job=str(job.public_id), step=action, done=job.done, left=job.count_left)


def _written(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
