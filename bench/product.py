"""The product on a real PostgreSQL and Redis, with a network of senders and recipients."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from bench.load import Target

STAFF_KEY = "staff-key-of-the-bench"


@dataclass
class Product:
    """Where it listens, the keys of its senders, and its process."""

    url: str
    process: subprocess.Popen[bytes]
    keys: dict[str, str] = field(default_factory=dict)  # of the senders
    recipients: list[str] = field(default_factory=list)
    institution: str = ""
    ids: dict[str, str] = field(default_factory=dict)  # of everybody
    issued: dict[str, str] = field(default_factory=dict)  # everybody's keys

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Api-Key": STAFF_KEY, "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            said = answer.read()
            return json.loads(said) if said else None

    def populate(self, sink: str, senders: int, recipients: int) -> None:
        for name in self.register("sender", senders, lambda name: f"{sink}/{name}"):
            self.keys[name] = self.issued[name]
        self.recipients += self.register("recipient", recipients, lambda name: f"{sink}/{name}")

    def register(self, kind: str, count: int, host: Callable[[str], str]) -> list[str]:
        """Makes participants; returns their names."""
        if not self.institution:
            said = self.ask("POST", "/centops/admin/institutions", {"name": "Bench", "status": "Active"})
            self.institution = said["id"]
        names = [f"{kind}-{number}" for number in range(count)]
        for name in names:
            body = {
                "name": name,
                "institutionId": self.institution,
                "host": host(name),
                "type": "Chatbot",
                "status": "Active",
            }
            made = self.ask("POST", "/centops/admin/participants", body)
            self.ids[name], self.issued[name] = made["id"], made["apiKey"]
        return names


def targets(product: Product, sink: str) -> tuple[Target, Target]:
    through = Target(f"{product.url}/messages", product.keys, product.recipients)
    return through, Target(f"{sink}/straight", {}, product.recipients)


@contextlib.contextmanager
def running_product(database: str, redis: str) -> Iterator[Product]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="dmr-bench-") as folder:
        environment = {
            **os.environ,
            "DATABASE_URL": database,
            "REDIS_URL": redis,
            "DMR_DATA_DIR": folder,
            "DMR_PORT": str(port),
            "DMR_ADMIN_API_KEY": STAFF_KEY,
            # Never reached here; the limits are measured with the rest.
            "DMR_MESSAGES_PER_SECOND": "1000000",
        }
        with open(os.path.join(folder, "server.log"), "wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "dmr_project.server"], env=environment, stdout=log, stderr=log
            )
        product = Product(f"http://127.0.0.1:{port}", process)
        try:
            wait_until_ready(product)
            yield product
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def wait_until_ready(product: Product, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(product.url + "/readyz", timeout=2):
                return
        except OSError:
            if product.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the product did not come up") from None
            time.sleep(0.2)


@contextlib.contextmanager
def running_sink() -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", "bench.sink"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
