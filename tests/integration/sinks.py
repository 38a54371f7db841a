"""Recipients: real HTTP servers that keep what they get and answer as they are told."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.integration.product import wait_until


@dataclass(frozen=True)
class Received:
    headers: dict[str, str]
    body: bytes
    connection: int  # which TCP connection it came over
    at: float  # time.monotonic()

    @property
    def id(self) -> str:
        return self.headers["X-Message-Id"]


@dataclass(frozen=True)
class Reply:
    status: int = 202
    headers: dict[str, str] = field(default_factory=dict)
    after: float = 0.0  # seconds
    body: bytes = b""


@dataclass(frozen=True)
class Answered:
    """A reply that was sent; `at`: time.monotonic() just before."""

    received: Received
    reply: Reply
    at: float


Behaviour = Callable[[Received], Reply]


def always(status: int = 202, after: float = 0.0, **headers: str) -> Behaviour:
    reply = Reply(status, {name.replace("_", "-"): value for name, value in headers.items()}, after)
    return lambda received: reply


def echo(status: int) -> Behaviour:
    """What came, back again: as it is, and in JSON."""
    return lambda received: Reply(status, body=json.dumps({"got": received.body.decode("latin-1")}).encode())


def first(*replies: Reply) -> Behaviour:
    """These replies to the first requests, then 202."""
    left: Iterator[Reply] = iter(replies)
    return lambda received: next(left, Reply())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        with contextlib.suppress(OSError):
            super().finish()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        received = Received(dict(self.headers.items()), body, self.client_address[1], time.monotonic())
        sink = self.server.sink
        sink.received.append(received)
        reply = sink.behaviour(received)
        if reply.after:
            sink.closing.wait(reply.after)
        at = time.monotonic()
        try:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            if reply.body:  # writing nothing would already fail where the other side has gone, after a reply in full
                self.wfile.write(reply.body)
        except OSError:
            self.close_connection = True
        else:
            sink.answered.append(Answered(received, reply, at))

    def log_message(self, *arguments: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    sink: Sink

    def __init__(self, *arguments: Any) -> None:
        self.connections: set[socket.socket] = set()
        super().__init__(*arguments)

    def handle_error(self, *arguments: Any) -> None:
        """The relay went away in the middle: some tests kill it."""


class Sink:
    """A recipient on a port of its own. `behaviour` may be changed at any time."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or always()
        self.received: list[Received] = []
        self.answered: list[Answered] = []
        self.closing = threading.Event()
        self._server: _Server | None = None
        self.port = 0
        self.open()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/dmr-api/messages"

    def open(self) -> None:
        self.closing.clear()
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.sink = self
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """From now on connections are refused; those that stand are broken."""
        self.closing.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            for each in list(self._server.connections):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
            self._server = None

    def bodies(self) -> list[bytes]:
        return [each.body for each in self.received]

    def wait_for(self, message_id: str, seconds: float = 10) -> Received:
        """The first with that id."""
        return wait_until(
            lambda: next((each for each in self.received if each.id == message_id), None),
            seconds,
            f"message {message_id} arrives",
        )

    def wait_for_error(self, ref: str, seconds: float = 10) -> Received:
        """The error message about the message `ref`."""
        return wait_until(
            lambda: next((each for each in self.received if each.headers.get("X-Message-Id-Ref") == ref), None),
            seconds,
            f"an error message about {ref} arrives",
        )
