"""`script/server`: the product in the foreground: web, Celery worker and beat under one supervisor.

Before they start: the port is free, the database has its tables (in production a pending migration is
refused, not run), our own entries are there, and a first staff account exists.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dmr_project.supervisor import Child

from dmr_project.processes import allow_many_files

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dmr_project.settings")

WEB_WORKERS = 2
READY_SECONDS = 60


def main() -> int:
    import django
    from django.conf import settings

    allow_many_files()
    os.umask(0o077)  # what we write holds payloads and hashes of passwords
    prepare_folders(settings.DATA_DIR, settings.METRICS_DIR)
    django.setup()
    from dmr_project.supervisor import Supervisor

    refuse_port_in_use(settings.HOST, settings.PORT)
    refuse_bad_settings()
    prepare_database(is_production=settings.IS_PRODUCTION)
    login = prepare_staff()
    say_what_waits()
    supervisor = Supervisor(children(settings.HOST, settings.PORT))
    threading.Thread(
        target=announce, args=(settings.HOST, settings.PORT, settings.PUBLIC_URL, login), daemon=True
    ).start()
    return supervisor.run()


def children(host: str, port: int) -> list[Child]:
    """The processes of the product, each named by what it runs."""
    from dmr_project.lib import queues
    from dmr_project.supervisor import Child

    programs = Path(sys.executable).parent
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    web = [
        *(sys.executable, "-m", "granian", "dmr_project.rsgi:application", "--interface", "rsgi"),
        *("--loop", "uvloop"),
        *("--host", host, "--port", str(port), "--http", "1", "--no-ws"),
        *("--workers", str(WEB_WORKERS), "--respawn-failed-workers"),
        *("--backlog", "2048"),
        *("--http1-header-read-timeout", "10000", "--workers-kill-timeout", "5", "--log-level", "error"),
    ]
    celery = [str(programs / "celery"), "--quiet", "-A", "dmr_project"]
    worker = [
        *(*celery, "worker", "--pool", "threads", "--concurrency", "4", "--queues", ",".join(queues.ALL)),
        *("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"),
    ]
    beat = [*celery, "beat", "--loglevel", "WARNING", "--pidfile="]
    return [Child("web", web, environment), Child("worker", worker, environment), Child("beat", beat, environment)]


def prepare_folders(data: Path, metrics: Path) -> None:
    """The data folder, and in it an empty one for the metrics of this run's processes."""
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.rmtree(metrics, ignore_errors=True)
        metrics.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"DMR_DATA_DIR: {data} cannot be written: {error.strerror}") from error
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics)


def refuse_port_in_use(host: str, port: int) -> None:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise SystemExit(
            f"Cannot listen on {host}:{port} ({error.strerror}); stop what uses it, or set DMR_PORT to another port."
        ) from error


def refuse_bad_settings() -> None:
    from django.core import checks

    for message in checks.run_checks():
        if message.is_serious():
            raise SystemExit(f"{message.id}: {message.msg} {message.hint or ''}".strip())


def say_what_waits() -> None:
    """What an operator may have left out on purpose, and should know of: a line each."""
    from django.conf import settings

    if settings.IS_PRODUCTION and not settings.EMAIL_IS_SET:
        print("DMR_EMAIL_URL is not set: mails wait in the outbox until it is.", file=sys.stderr, flush=True)


def prepare_database(*, is_production: bool) -> None:
    """Runs migrations; in production, refuses to start where any is pending."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor
    from django.db.utils import OperationalError

    from dmr_project.lib.sealing import CannotUnseal
    from participants import endpoint_terms, registry, signed_list
    from relay import delivery_keys
    from staff import roles, second_factor

    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if plan and is_production:
            raise SystemExit(
                f"{len(plan)} migration(s) are pending; back the database up, then run: "
                f"{sys.executable} manage.py migrate"
            )
        if plan:
            call_command("migrate", verbosity=0, interactive=False)
        registry.ensure_own_entries()
        roles.sync()
        delivery_keys.ensure()
        delivery_keys.reseal()
        signed_list.keys.ensure()
        signed_list.keys.reseal()
        endpoint_terms.reseal()
        second_factor.reseal()
    except CannotUnseal as error:
        raise SystemExit(f"DMR_SECRET_KEY: {error.detail}") from error
    except OperationalError as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise SystemExit(f"DATABASE_URL: the database cannot be used: {reason}") from error
    finally:
        connection.close()


def prepare_staff() -> tuple[str, str] | None:
    """Makes the first staff account where there is none. Returns its name and password, if it was made now.

    The password is None-like empty where it came from DMR_ADMIN_PASSWORD: what is known is not printed.
    """
    from django.conf import settings
    from django.contrib.auth import get_user_model
    from django.db import connection

    users = get_user_model().objects
    try:
        if users.filter(is_superuser=True).exists():
            return None
        password = settings.ADMIN_PASSWORD or secrets.token_urlsafe(12)
        users.create_superuser(settings.ADMIN_USER, password=password)
        return settings.ADMIN_USER, "" if settings.ADMIN_PASSWORD else password
    finally:
        connection.close()


def announce(host: str, port: int, public_url: str, login: tuple[str, str] | None) -> None:
    """Says once that the product is up."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        time.sleep(0.2)
        try:
            with urllib.request.urlopen(f"http://{local(host)}:{port}/livez", timeout=2):
                break
        except OSError:
            continue
    else:
        print(f"DMR did not come up within {READY_SECONDS} s; see the messages above.", file=sys.stderr, flush=True)
        return
    print(f"DMR is up: {public_url}/admin/", flush=True)
    if login is not None:
        name, password = login
        print(f"Log in as {name}" + (f" with the password {password} (shown once)" if password else ""), flush=True)


def local(host: str) -> str:
    """The address under which a server listening on `host` is reached from here."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)


if __name__ == "__main__":
    sys.exit(main())
