"""Beat's jobs begin one after the other, each at its own moment: together they would hold up deliveries."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import pairwise

import pytest
from celery.beat import Scheduler

from dmr_project.beat import JOBS, Every
from dmr_project.celery import app

DISTANCE = 0.25  # seconds; more than a job and its way through the broker take
HOUR = 1_800_000_000 // 3600 * 3600


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def moments(every: Every, until: float) -> list[float]:
    found, moment = [], at(HOUR)
    while (moment := every.next_after(moment)) <= at(until):
        found.append(moment.timestamp())
    return found


def test_no_two_begin_together() -> None:
    begins = sorted(moment for job in JOBS.values() for moment in moments(job["schedule"], HOUR + 3600))
    assert len(begins) > 3600
    closest = min(later - earlier for earlier, later in pairwise(begins))
    assert closest > DISTANCE


@pytest.mark.parametrize(
    ("now", "last_run", "is_due", "next_in"),
    [
        (103.0, 99.0, True, 4.0),
        (103.1, 99.0, True, 3.9),
        (101.9, 99.0, False, 0.1),
        (104.0, 103.0, False, 3.0),
        (250.0, 103.0, True, 2.0),  # late: once, and then in step again
        (103.0, 900.0, True, 4.0),  # the clock was put back
    ],
)
def test_is_due_at_its_moment(now: float, last_run: float, is_due: bool, next_in: float) -> None:
    every = Every(5, after=2.0, nowfun=lambda: at(now))
    said = every.is_due(at(last_run))
    assert (said.is_due, round(said.next, 6)) == (is_due, next_in)


def test_beat_takes_them() -> None:
    scheduler = Scheduler(app=app, lazy=True)
    scheduler.merge_inplace(app.conf.beat_schedule)
    assert {name: entry.schedule.after for name, entry in scheduler.schedule.items()} == {
        name: job["schedule"].after for name, job in JOBS.items()
    }
