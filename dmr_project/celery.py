"""The Celery application. `celery -A dmr_project worker` and `… beat` find it here."""

from __future__ import annotations

import os
import warnings
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dmr_project.settings")

from celery import Celery, signals
from django.conf import settings
from kombu import Exchange, Queue

from dmr_project import beat
from dmr_project.lib import queues
from dmr_project.processes import allow_many_files, die_with_parent, reserve_metrics, set_start_apart

reserve_metrics()
app = Celery("dmr")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.beat_schedule = beat.JOBS
app.conf.task_queues = [Queue(name, Exchange(name), routing_key=name) for name in queues.ALL]
app.autodiscover_tasks()

if not settings.REDIS_URL:
    from dmr_project import embedded_broker

    embedded_broker.install()


if not settings.IS_PRODUCTION:
    # In a container of a developer root is usual; a deployment is told.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser")


@signals.setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Django has configured logging; Celery is not to do it again."""


@signals.celeryd_init.connect
@signals.beat_init.connect
def _hang_on_the_supervisor(**_: Any) -> None:
    die_with_parent()
    allow_many_files()  # one that is started by itself


@signals.worker_ready.connect
def _set_start_apart(**_: Any) -> None:
    set_start_apart()
