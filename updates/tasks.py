"""The updates' Celery tasks: thin, named, short."""

from __future__ import annotations

from celery import shared_task

from dmr_project.lib import queues
from updates import scheduler


@shared_task(name="updates.tick", queue=queues.MAINTENANCE, time_limit=60)
def tick() -> None:
    """Opens waves, times out the silent, pauses and finishes rollouts."""
    scheduler.tick()
