"""A small HTTP service in a process of its own: JSON out, ends at SIGTERM."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

MOST_BYTES = 1024 * 1024
IDLE_SECONDS = 60

Shape = dict[str, Any]


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


Handle = Callable[[Request], tuple[int, Shape]]


def run(handle: Handle, port: int) -> None:
    """Serves on 127.0.0.1 until SIGTERM; SIGINT is the business of who started us."""
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with _Server(("127.0.0.1", port), _handler(handle)) as server:
        log("serving", port=server.server_address[1])
        server.serve_forever(poll_interval=0.1)


def arguments(program: str) -> argparse.Namespace:
    """What each of our services is told: its `name`, `folder`, `port`, and the `relay`'s URL."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--name", required=True, help="its name in the network")
    parser.add_argument("--folder", required=True, type=Path, help="where its api-key and release.json are")
    parser.add_argument("--port", required=True, type=int)
    parser.add_argument("--relay", required=True, help="base URL of DMR")
    return parser.parse_args()


def log(event: str, **facts: object) -> None:
    """One line an event; never a payload or a key."""
    print(event, *(f"{name}={value}" for name, value in facts.items()), file=sys.stderr, flush=True)


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(0)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        log("connection_failed", reason=repr(sys.exc_info()[1]))


def _handler(handle: Handle) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = IDLE_SECONDS

        def do_GET(self) -> None:
            self._answer(*handle(Request("GET", self.path, dict(self.headers.items()), b"")))

        def do_POST(self) -> None:
            written = self.headers.get("Content-Length", "")
            if not written.isdigit():
                self._refuse(411, "Content-Length is required")
            elif int(written) > MOST_BYTES:
                self._refuse(413, f"at most {MOST_BYTES} bytes are taken")
            else:
                body = self.rfile.read(int(written))
                self._answer(*handle(Request("POST", self.path, dict(self.headers.items()), body)))

        def _refuse(self, status: int, reason: str) -> None:
            self.close_connection = True  # the body stays unread
            self._answer(status, {"error": reason})

        def _answer(self, status: int, shape: Shape) -> None:
            body = json.dumps(shape, ensure_ascii=False).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass  # events are logged, not requests

    return Handler
