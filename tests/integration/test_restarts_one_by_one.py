"""A rolling restart under load: nothing is lost, and nothing that a recipient has acknowledged comes again."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.integration.load import Load
from tests.integration.product import Product, is_running, wait_until
from tests.integration.sinks import Sink

MakeSink = Callable[..., Sink]
STOP_SECONDS = 10


def restart(product: Product, name: str) -> None:
    """SIGTERM to a child of the supervisor, which starts it again."""
    pid = product.pid(name)
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_running(pid), STOP_SECONDS, f"{name} ends")
    wait_until(lambda: product.pid(name), STOP_SECONDS, f"{name} is back")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_two_workers_and_the_web_one_after_the_other_and_then_all(own_product: Product, sink: MakeSink) -> None:
    load = Load(own_product, sink)
    with load.running():
        with own_product.another_worker() as second:
            load.delivers(second.pid)
            load.delivers(own_product.pid("worker"))
            restart(own_product, "worker")
            load.flow(seconds=40)
            load.delivers(own_product.pid("worker"))
            began = time.monotonic()
            second.terminate()
            assert second.wait(STOP_SECONDS) == 0
            assert time.monotonic() - began < STOP_SECONDS
        load.flow(seconds=40)
        restart(own_product, "web")
        load.flow(seconds=40)
        assert own_product.stop() < STOP_SECONDS
        own_product.start()
        load.flow(seconds=40)
    load.reckon(repeats=0)
    assert "Traceback" not in own_product.output, own_product.output
