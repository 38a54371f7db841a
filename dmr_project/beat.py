"""What beat runs, how often, and at which moment of its period: jobs that begin together hold up deliveries."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from celery.schedules import schedstate, schedule

from dmr_project.lib import queues


class Every(schedule):
    """Each `seconds`, counted from 1970, and `after` seconds later: two of one period keep their distance.

    (Celery's own counts from when beat began, the same for all.)
    """

    def __init__(self, seconds: float, after: float = 0.0, nowfun: Callable[[], datetime] | None = None) -> None:
        super().__init__(timedelta(seconds=seconds), nowfun=nowfun)
        self.after = after

    def next_after(self, moment: datetime) -> datetime:
        """The first time later than `moment`."""
        rounds = (moment.timestamp() - self.after) // self.seconds
        return datetime.fromtimestamp((rounds + 1) * self.seconds + self.after, timezone.utc)

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Now? And in how many seconds to ask again."""
        now = self.now()
        ahead = (self.next_after(last_run_at) - now).total_seconds()
        if 0 < ahead <= self.seconds:
            return schedstate(False, ahead)
        # More than a period ahead: the clock has been put back since, and nobody is to wait for what it showed.
        return schedstate(True, (self.next_after(now) - now).total_seconds())


def _job(task: str, seconds: float, after: float = 0.0) -> dict[str, Any]:
    """One that was not taken by the time the next comes is dropped, but not within 10 s."""
    options = {"queue": queues.MAINTENANCE, "expires": max(10.0, seconds)}
    return {"task": task, "schedule": Every(seconds, after), "options": options}


# Those of five seconds fall on the whole second or 0.7 s later, the one of three on 0.35 s: no two begin together.
JOBS = {
    "sweep": _job("relay.sweep", 5),
    "alerts": _job("observability.evaluate", 5, after=0.7),
    "updates": _job("updates.tick", 5, after=1.7),
    "dead-letters": _job("relay.dead_letters", 5, after=2.0),
    "keep-time": _job("participants.keep_time", 5, after=2.7),
    "mail": _job("participants.send_mail", 5, after=3.7),
    "forget": _job("relay.forget", 5, after=4.7),
    "announcements": _job("relay.announce", 3, after=0.35),
    "recount": _job("relay.recount", 60, after=8.0),
    "keys": _job("participants.notice_keys", 600, after=14.0),
    "audit-head": _job("participants.anchor", 900, after=24.0),
    "announcements-forget": _job("participants.forget_announcements", 3600, after=34.0),
    "mail-forget": _job("participants.forget_mail", 3600, after=44.0),
    "staff-forget": _job("staff.forget", 3600, after=54.0),
}
