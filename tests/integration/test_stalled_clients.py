"""Clients that begin to send and stop, as many as the web server has threads."""

from __future__ import annotations

import contextlib
import socket
import uuid
from collections.abc import Callable

import pytest

from tests.integration.product import Product, call
from tests.integration.sinks import Sink

MakeSink = Callable[..., Sink]


@pytest.mark.slow
def test_stalled_bodies_do_not_stop_the_others(own_product: Product, sink: MakeSink) -> None:
    """A stalled body holds no thread: others are answered at once."""
    sender = own_product.register(sink().url)
    head = (
        f"POST /messages HTTP/1.1\r\nHost: dmr.test\r\nX-Api-Key: {sender.key}\r\nX-Sent-By: {sender.name}\r\n"
        f"X-Send-To: {sender.name}\r\nX-Message-Id: {uuid.uuid4()}\r\nContent-Length: 100\r\n\r\nx"
    )
    with contextlib.ExitStack() as stack:
        for _ in range(64):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", own_product.port)))
            connection.sendall(head.encode())
        for _ in range(5):
            assert call(f"{own_product.url}/livez", timeout=2).status == 200
