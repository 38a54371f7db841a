"""`/livez`, `/readyz`, `/healthz` and `/metrics`: for machines that ask how we are. None needs a key."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from kombu import Connection
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest, multiprocess
from prometheus_client.core import REGISTRY

from dmr_project import embedded_broker
from dmr_project.lib import storage
from dmr_project.lib.api import plain_problem
from dmr_project.lib.log import event
from dmr_project.processes import is_running
from observability import collectors

logger = logging.getLogger(__name__)

View = Callable[[HttpRequest], HttpResponse]


def open_to_machines(view: View) -> View:
    """GET and HEAD without a key; anything else is a problem, not a page about cookies."""

    def answer(request: HttpRequest) -> HttpResponse:
        if request.method not in ("GET", "HEAD"):
            response = plain_problem(405, "Only GET and HEAD are for this address.")
            response["Allow"] = "GET, HEAD"
            return response
        return view(request)

    return csrf_exempt(answer)


_started_ms = int(time.time() * 1000)
_packaged_ms = int(Path(__file__).stat().st_mtime * 1000)
_migrated = False


@open_to_machines
def live(request: HttpRequest) -> HttpResponse:
    """200 as long as the process answers."""
    return JsonResponse({"status": "ok"})


@open_to_machines
def ready(request: HttpRequest) -> HttpResponse:
    """Can it serve? 503 without a database that takes writes, with pending migrations or with a full disk.

    `{"status": "ok" | "degraded" | "failed", "checks": {"database", "migrations", "storage", "broker", "cache"}}`,
    each check `ok` or what is wrong. Without the broker or the cache it is 200 and degraded: accepting goes on.
    """
    checks = {
        "database": _outcome(_ask_database),
        "migrations": _outcome(_find_pending_migrations),
        "storage": storage.FULL if storage.was_full() else "ok",
        "broker": _outcome(_ask_broker),
        "cache": _outcome(_ask_cache),
    }
    if any(checks[each] != "ok" for each in ("database", "migrations", "storage")):
        return JsonResponse({"status": "failed", "checks": checks}, status=503)
    is_well = all(outcome == "ok" for outcome in checks.values())
    return JsonResponse({"status": "ok" if is_well else "degraded", "checks": checks})


@open_to_machines
def network_shape(request: HttpRequest) -> HttpResponse:
    """The heartbeat of every component of the network; times in ms since 1970. Source: CONTRACTS.md, section 4."""
    return JsonResponse(
        {
            "appName": "dmr",
            "version": settings.VERSION,
            "packagingTime": _packaged_ms,
            "appStartTime": _started_ms,
            "serverTime": int(time.time() * 1000),
        }
    )


@open_to_machines
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus text: the files of all our processes added up, and what is read from the database now."""
    if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        forget_the_dead(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]))
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        body = generate_latest(registry)
    else:
        body = generate_latest(REGISTRY)
    return HttpResponse(body + collectors.exposition(), content_type=CONTENT_TYPE_LATEST)


def forget_the_dead(folder: Path) -> None:
    """A process that was killed has left what counts only while it lives, such as the polls that wait in it."""
    for file in folder.glob("gauge_live*_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not is_running(pid):
            with contextlib.suppress(FileNotFoundError):  # another of us was first
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _outcome(check: Callable[[], None]) -> str:
    # Whatever goes wrong is the answer to the question that this page puts.
    try:
        check()
    except PendingMigrations as pending:
        return str(pending)
    except storage.ReadOnly:
        event(logger, "check_failed", logging.WARNING, check=check.__name__, error=storage.READ_ONLY)
        return storage.READ_ONLY
    except Exception as error:
        # Hosts and ports are for the log, not for whoever asks.
        event(logger, "check_failed", logging.WARNING, check=check.__name__, error=str(error)[:500])
        return f"cannot be used ({type(error).__name__})"
    return "ok"


def _ask_database() -> None:
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            cursor.execute("SELECT 1")
            return
        cursor.execute("SHOW transaction_read_only")
        if cursor.fetchone() == ("on",):
            connection.close_at = 0.0  # it may be this session alone by now
            raise storage.ReadOnly


class PendingMigrations(Exception):
    """The database is older than the code."""


def _find_pending_migrations() -> None:
    global _migrated
    if _migrated:  # what was applied stays applied while this code runs
        return
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        names = ", ".join(f"{migration.app_label}.{migration.name}" for migration, _ in plan[:5])
        raise PendingMigrations(f"{len(plan)} pending ({names}); run manage.py migrate")
    _migrated = True


def _ask_broker() -> None:
    if not settings.REDIS_URL:
        folder = embedded_broker.make_folders()
        if not os.access(folder, os.W_OK):
            raise PermissionError(f"{folder} cannot be written")
        return
    options = {"socket_timeout": 1, "socket_connect_timeout": 1}
    with Connection(settings.CELERY_BROKER_URL, connect_timeout=1, transport_options=options) as broker:
        broker.ensure_connection(max_retries=1, interval_start=0, timeout=1)


def _ask_cache() -> None:
    cache.set("ready", 1, timeout=5)
    if cache.get("ready") != 1:
        raise OSError("the cache forgot what it was told a moment ago")
