"""A database and a broker for each product under test, with its tables made where the test wants that.

Making the tables takes half of a product's start, so each process of a test run makes them once, and copies them.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import psycopg
import redis

from tests import isolation

ROOT = Path(__file__).resolve().parent.parent.parent
SQLITE = "dmr.sqlite3"

_free_numbers: list[int] = []


@contextlib.contextmanager
def of_its_own(*, migrated: bool = False) -> Iterator[dict[str, str]]:
    """DATABASE_URL and REDIS_URL of a database and an empty broker; nothing in the run on the embedded default."""
    database_url, redis_url = os.environ.get("DATABASE_URL", ""), os.environ.get("REDIS_URL", "")
    if not database_url and not redis_url:
        yield {}
        return
    if not _free_numbers:
        _free_numbers.extend(isolation.redis_databases()[1:])
    number = _free_numbers.pop()
    name = f"product_{secrets.token_hex(6)}"
    template = f" TEMPLATE {migrated_postgres(database_url)}" if migrated else ""
    broker_url = isolation.with_database(redis_url, number)
    with psycopg.connect(database_url, autocommit=True) as connection, redis.Redis.from_url(broker_url) as broker:
        broker.flushdb()
        connection.execute(f"CREATE DATABASE {name}{template}")
        try:
            yield {"DATABASE_URL": isolation.with_database(database_url, name), "REDIS_URL": broker_url}
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
            broker.flushdb()
            _free_numbers.append(number)


@cache
def migrated_postgres(database_url: str) -> str:
    """The name of a database with all tables, which goes when this process ends."""
    name = f"template_{secrets.token_hex(6)}"

    def execute(statement: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(statement)

    execute(f"CREATE DATABASE {name}")
    atexit.register(execute, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    with tempfile.TemporaryDirectory(prefix="dmr-template-") as folder:
        migrate({"DMR_DATA_DIR": folder, "DATABASE_URL": isolation.with_database(database_url, name)})
    return name


@cache
def migrated_sqlite() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="dmr-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    migrate({"DMR_DATA_DIR": str(folder)})
    return folder / SQLITE


def copy_migrated(data_dir: Path) -> None:
    data_dir.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(migrated_sqlite(), data_dir / SQLITE)


def migrate(environment: dict[str, str]) -> None:
    ours = ("DMR_", "DATABASE_URL", "REDIS_URL", "DJANGO_")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
    subprocess.run(command, cwd=ROOT, env=inherited | environment, check=True)
