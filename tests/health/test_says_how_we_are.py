"""/livez, /readyz, /healthz, /metrics."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.test import Client

from dmr_project import health

URLS = ("/livez", "/readyz", "/healthz", "/metrics")


@pytest.fixture(autouse=True)
def looks_afresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", False)


@pytest.mark.django_db
def test_all_is_well(client: Client) -> None:
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "checks": {"database": "ok", "migrations": "ok", "storage": "ok", "broker": "ok", "cache": "ok"},
    }


def test_live_needs_nothing(client: Client) -> None:
    """No database: pytest would not let it."""
    assert client.get("/livez").json() == {"status": "ok"}


@pytest.mark.django_db
def test_without_the_database_503(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OperationalError("connection refused\nand more")

    monkeypatch.setattr(health, "_ask_database", fail)
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["status"] == "failed"
    assert answer.json()["checks"]["database"] == "cannot be used (OperationalError)"


@pytest.mark.django_db
def test_with_pending_migrations_503(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = MigrationExecutor(connection).loader.graph.leaf_nodes("relay")[0]
    migration = MigrationExecutor(connection).loader.get_migration(*leaf)
    monkeypatch.setattr(MigrationExecutor, "migration_plan", lambda self, targets: [(migration, False)])
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert f"relay.{leaf[1]}" in answer.json()["checks"]["migrations"]


@pytest.mark.django_db
@pytest.mark.parametrize("check", ["_ask_broker", "_ask_cache"])
def test_without_broker_or_cache_degraded(client: Client, monkeypatch: pytest.MonkeyPatch, check: str) -> None:
    def fail() -> None:
        raise ConnectionError("gone")

    monkeypatch.setattr(health, check, fail)
    answer = client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert answer.json()["checks"][check.removeprefix("_ask_")] == "cannot be used (ConnectionError)"


@pytest.mark.django_db
def test_cache_that_forgets_is_seen(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "get", lambda *arguments, **options: None, raising=False)
    assert client.get("/readyz").json()["status"] == "degraded"


def test_heartbeat_in_the_networks_shape(client: Client) -> None:
    said = client.get("/healthz").json()
    assert set(said) == {"appName", "version", "packagingTime", "appStartTime", "serverTime"}
    now = time.time() * 1000
    assert now - 60_000 < said["serverTime"] <= now
    assert 0 < said["packagingTime"] <= now
    assert said["appStartTime"] <= said["serverTime"]


@pytest.mark.django_db
@pytest.mark.parametrize("url", URLS)
def test_only_reading_is_allowed(client: Client, url: str) -> None:
    assert client.get(url).status_code == 200
    assert client.head(url).status_code == 200
    for method in ("POST", "PUT", "DELETE"):
        assert client.generic(method, url).status_code == 405


@pytest.mark.django_db
def test_metrics_are_prometheus_text(client: Client) -> None:
    answer: Any = client.get("/metrics")
    assert answer["Content-Type"].startswith("text/plain; version=")
    assert b"# TYPE dmr_messages_accepted_total counter" in answer.content


def test_what_counts_while_a_process_lives_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    dead = subprocess.Popen(["true"])
    dead.wait()
    left = {
        tmp_path / f"gauge_livesum_{os.getpid()}.db": True,
        tmp_path / f"gauge_livesum_{dead.pid}.db": False,
        tmp_path / f"counter_{dead.pid}.db": True,
    }
    for file in left:
        file.touch()
    health.forget_the_dead(tmp_path)
    assert {file: file.exists() for file in left} == left
