"""The Celery tasks of observability: thin, named, short."""

from __future__ import annotations

from celery import shared_task

from dmr_project.lib import queues
from observability import alerts, notices


@shared_task(name="observability.evaluate", queue=queues.MAINTENANCE, expires=10, time_limit=60)
def evaluate() -> None:
    """Opens and closes alerts, then tells staff."""
    alerts.evaluate()
    notices.send()
