"""What keeps the processes of one test run apart on servers that they share."""

from __future__ import annotations

import os
from urllib.parse import urlsplit, urlunsplit

REDIS_DATABASES = 16


def worker() -> int:
    """The number of this worker of pytest-xdist; 0 without it."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def redis_databases() -> list[int]:
    """The Redis database numbers that are this worker's. The first is for tests in this process."""
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    each = REDIS_DATABASES // workers
    if each < 2:
        raise RuntimeError(f"Redis has {REDIS_DATABASES} databases: too few for {workers} workers of 2 each.")
    return list(range(worker() * each, (worker() + 1) * each))


def with_database(url: str, name: object) -> str:
    """The URL of a PostgreSQL or Redis server with another database in it."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))
