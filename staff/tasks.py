"""The Celery tasks of staff: thin, named, short."""

from __future__ import annotations

from celery import shared_task

from dmr_project.lib import queues
from staff import sessions, throttle


@shared_task(name="staff.forget", queue=queues.MAINTENANCE, time_limit=60)
def forget() -> None:
    """Deletes failed log-ins that count no more, and sessions that are over."""
    throttle.forget()
    sessions.forget()
