"""The benchmarks' own instruments: whose memory is whose, and a hole that takes connections and gives nothing."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import pytest

from bench import cpu, isolation, memory, pages


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        ("python -m dmr_project.server", "the supervisor"),
        ("python -m granian dmr_project.rsgi:application --interface rsgi", "web"),
        ("python celery --quiet -A dmr_project worker --pool threads", "worker"),
        ("python celery --quiet -A dmr_project beat --loglevel WARNING", "beat"),
        ("postgres: dmr dmr 127.0.0.1(1234) idle", "PostgreSQL"),
        ("postgres: autovacuum worker dmr", "PostgreSQL"),
        ("/usr/bin/redis-server 127.0.0.1:6379", "Redis"),
        ("python -m bench.sink", None),
        ("python -m bench", None),
    ],
)
def test_a_process_is_told_by_its_command(command: str, kind: str | None) -> None:
    assert memory.kind_of(command) == kind


def test_memory_is_read_in_megabytes() -> None:
    said = "7f00-7fff ---p 00000000 00:00 0 [rollup]\nRss:   2048 kB\nPss:   1024 kB\nPss_Dirty:  512 kB\n"
    assert (memory.megabytes(said, "Pss"), memory.megabytes(said, "Rss")) == (1.0, 2.0)


def test_we_are_among_our_own_processes() -> None:
    processes = cpu.all_processes()
    assert cpu.is_ours(os.getpid(), processes)
    assert not cpu.is_ours(os.getppid(), processes)


def test_the_black_hole_takes_connections_and_never_answers() -> None:
    with isolation.black_hole() as url:
        where = urlsplit(url)
        with socket.create_connection((where.hostname or "", where.port or 0), timeout=2) as connection:
            connection.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            connection.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.recv(1)


def test_pages_are_ranked_beside_the_reference() -> None:
    found = {pages.REFERENCE: 4.0, "/admin/a/": 8.0, "/admin/b/": 400.0, "/admin/c/": 20.0}
    first, *worst = pages.summary(found)
    assert first == {
        "median of 3 admin pages, CPU ms": 20.0, "reference_ms, log-in page": 4.0, "page_ratio": 5.0,
        "pages above 300 ms": 1,
    }  # fmt: skip
    assert worst[0] == {"/admin/b/ ms": 400.0, "ratio": 100.0}
    assert len(worst) == 3
