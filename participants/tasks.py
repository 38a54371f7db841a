"""The registry's Celery tasks: thin, named, short."""

from __future__ import annotations

from celery import shared_task

from dmr_project.lib import queues
from participants import announcements, audit, key_notices, life, mail, outages


@shared_task(name="participants.anchor", queue=queues.MAINTENANCE, time_limit=60)
def anchor() -> None:
    """Writes the audit log's head into the process's log, which is kept elsewhere."""
    audit.anchor()


@shared_task(name="participants.keep_time", queue=queues.MAINTENANCE, expires=10, time_limit=60)
def keep_time() -> None:
    """Lifts the suspensions whose end has come, and keeps the time of outages."""
    life.lift_ended()
    outages.keep_time()


@shared_task(name="participants.send_mail", queue=queues.MAINTENANCE, expires=10, time_limit=60)
def send_mail() -> None:
    """Sends the mails that are due."""
    mail.send()


@shared_task(name="participants.notice_keys", queue=queues.MAINTENANCE, time_limit=60)
def notice_keys() -> None:
    """Tells participants of their keys that expire soon."""
    key_notices.send()


@shared_task(name="participants.forget_mail", queue=queues.MAINTENANCE, time_limit=60)
def forget_mail() -> None:
    """Deletes mails that ended long ago."""
    mail.forget()


@shared_task(name="participants.forget_announcements", queue=queues.MAINTENANCE, time_limit=60)
def forget_announcements() -> None:
    """Deletes announcements that were sent long ago."""
    announcements.forget()
