"""The embedded database's disk is full, for real: a file system of its own without a byte left.

What is refused is told so and not stored; nothing that was accepted is lost or comes twice; and with room again all
goes on, without a restart.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.fixtures import a_folder
from tests.integration.load import Load
from tests.integration.product import Answer, Product, a_product, wait_until
from tests.integration.sinks import Sink

MakeSink = Callable[..., Sink]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.skipif("DATABASE_URL" in os.environ, reason="PostgreSQL's disk is not ours to fill"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount"),
]
DISK_MEGABYTES = 96
FULL_SECONDS = 35.0  # longer than a lease: what was attempted is not attempted again for want of its outcome


@contextlib.contextmanager
def a_small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=0700", "tmpfs", str(folder)], check=False
    )
    if mounted.returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def product() -> Iterator[Product]:
    with a_folder() as folder, a_small_disk(folder / "data"), a_product(folder) as running:
        yield running
        print(running.output)


def fill(file: Path) -> None:
    """To the last byte, again and again while others make room."""
    with file.open("ab", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    ballast.write(b"\0" * size)


def is_full(folder: Path) -> bool:
    try:
        (folder / "one-byte").write_bytes(b"x")
    except OSError as error:
        return error.errno == errno.ENOSPC
    finally:
        with contextlib.suppress(FileNotFoundError):
            (folder / "one-byte").unlink()
    return False


def test_a_disk_without_a_byte_left(product: Product, sink: MakeSink) -> None:
    load = Load(product, sink)
    probing, recipient = (product.register(sink().url) for _ in range(2))  # some of it may be accepted
    ballast = product.data_dir / "ballast"

    def refusal() -> Answer | None:
        fill(ballast)
        answer = product.post(probing, recipient.name, b"x" * 100_000)
        return answer if answer.status == 503 else None

    with load.running():
        answer = wait_until(refusal, 30, "a message is refused")
        assert answer.json()["type"] == "urn:problem-type:dmr:storage-full", answer
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert int(answer.headers["Retry-After"]) > 0
        assert product.call("/readyz").status == 503
        until = time.monotonic() + FULL_SECONDS
        while time.monotonic() < until:
            fill(ballast)
            time.sleep(0.1)
        assert is_full(product.data_dir)
        ballast.unlink()
        load.flow(seconds=60)
    wait_until(lambda: product.call("/readyz").status == 200, 60, "it is well again")
    load.reckon(repeats=0)
