"""The relay's Celery tasks: thin, named, short."""

from __future__ import annotations

from typing import Any

from celery import shared_task, signals

from dmr_project.lib import queues
from participants import news
from relay import announcements, dead_letter_jobs, retention, stored_bytes
from relay.delivery import bell, sweeper, wake
from relay.delivery.engine import engine


@shared_task(name="relay.pump", queue=queues.DELIVERY, expires=30, time_limit=60)
def pump() -> None:
    """Delivers what is due; see relay.delivery.engine."""
    if engine().pump():
        wake.pump()


@shared_task(name="relay.sweep", queue=queues.MAINTENANCE, time_limit=60)
def sweep() -> None:
    """Returns lost leases, ends what has expired, and wakes a pump for whatever is due."""
    sweeper.sweep()
    wake.pump()


@shared_task(name="relay.announce", queue=queues.MAINTENANCE, time_limit=60)
def announce() -> None:
    """Makes messages of what the registry announces, and of what it has to announce of itself."""
    news.participants_changed()
    announcements.send()


@shared_task(name="relay.dead_letters", queue=queues.MAINTENANCE, time_limit=60)
def dead_letters() -> None:
    """Goes on with the requeues and discards of many dead letters."""
    dead_letter_jobs.work_off()


@shared_task(name="relay.forget", queue=queues.MAINTENANCE, time_limit=60)
def forget() -> None:
    """Deletes payloads, messages and jobs whose retention is over."""
    retention.run()
    dead_letter_jobs.forget()


@shared_task(name="relay.recount", queue=queues.MAINTENANCE, time_limit=60)
def recount() -> None:
    """Sums up what senders have stored, a few of them each time."""
    stored_bytes.recount()


@signals.worker_ready.connect
def hear_the_bell(**_: Any) -> None:
    """From here on a ring is enough to wake this process's pump; the task remains for who cannot ring."""
    bell.listen(engine().rung)


@signals.worker_shutting_down.connect
def hand_back(**_: Any) -> None:
    """The worker is asked to stop: it claims nothing more and returns what it cannot end."""
    engine().stop()


@signals.worker_shutdown.connect
def close_connections(**_: Any) -> None:
    engine().close()
