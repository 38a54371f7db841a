"""A database server that is gone without a word is given up in half a minute: nothing else can be done meanwhile."""

from __future__ import annotations

import os
import socket

import pytest
from django.db import connection

MOST_SECONDS = 30


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has no server")
@pytest.mark.django_db
def test_the_connection_asks_whether_the_server_is_there() -> None:
    connection.ensure_connection()
    with socket.socket(fileno=os.dup(connection.connection.fileno())) as there:
        if there.family == socket.AF_UNIX:
            pytest.skip("this server is on this machine")

        def option(number: int) -> int:
            return there.getsockopt(socket.IPPROTO_TCP, number)

        assert there.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        silent = option(socket.TCP_KEEPIDLE) + option(socket.TCP_KEEPINTVL) * option(socket.TCP_KEEPCNT)
        assert 0 < silent <= MOST_SECONDS
        assert 0 < option(socket.TCP_USER_TIMEOUT) <= MOST_SECONDS * 1000
