"""The registry's Celery tasks: thin, named, short."""

from __future__ import annotations

from celery import shared_task

from dmr_project.lib import queues
from participants import audit


@shared_task(name="participants.anchor", queue=queues.MAINTENANCE, time_limit=60)
def anchor() -> None:
    """Writes the audit log's head into the process's log, which is kept elsewhere."""
    audit.anchor()
