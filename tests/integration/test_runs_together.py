"""The processes of the product: started again, stopped together, none left behind."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable

from dmr_project.processes import MOST_FILES
from tests.integration.product import START_SECONDS, Product, call, parent_of, wait_until
from tests.integration.sinks import Sink, always

MakeSink = Callable[..., Sink]


def test_sigterm_ends_all_within_10_s_and_hands_back(own_product: Product, sink: MakeSink) -> None:
    slow = sink(always(after=9))
    sender, recipient = own_product.register(sink().url), own_product.register(slow.url)
    message_id = own_product.send(sender, recipient.name)
    slow.wait_for(message_id)
    assert own_product.stop() < 10
    assert own_product.process is not None
    assert own_product.process.returncode == 0
    assert own_product.processes() == {}
    assert "Traceback" not in own_product.output, own_product.output
    # Handed back, not left to its lease: it is delivered soon after the next start.
    slow.behaviour = always()
    slow.received.clear()
    own_product.start()
    slow.wait_for(message_id, 10)
    assert own_product.wait_for_end(sender, message_id)["state"] == "delivered"


def test_each_process_may_have_many_files_open(unstarted_product: Product) -> None:
    """As many as the system lets it, whatever its shell had: a worker is connected to thousands of recipients."""
    given, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(most, MOST_FILES)
    assert wanted > 256
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))
    try:
        unstarted_product.launch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (given, most))
    unstarted_product.wait_ready()
    allowed = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE)[0] for pid in unstarted_product.processes()}
    assert len(allowed) >= 4, allowed
    assert set(allowed.values()) == {wanted}, allowed


RESTART_SECONDS = 5.0  # within which what has died is started again; to be ready, it takes what a start takes


def test_dead_children_are_started_again_within_5_s(own_product: Product) -> None:
    for name in ("worker", "beat", "web"):
        own_product.kill_and_see_it_back(name, RESTART_SECONDS)
    wait_until(lambda: answers(own_product), RESTART_SECONDS + own_product.start_seconds, "the web answers again")
    assert_one_of_each(own_product)


def test_a_dead_web_process_is_replaced(own_product: Product) -> None:
    """Of the web server's own workers one dies, and then all: it goes on serving."""
    master, old = own_product.pid("web"), own_product.web_processes()
    assert len(old) >= 2, own_product.processes()
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: own_product.web_processes() - old, RESTART_SECONDS, "one is started again")
    wait_until(lambda: answers(own_product), RESTART_SECONDS + own_product.start_seconds, "the web answers again")
    wait_until(lambda: len(own_product.web_processes() - old) == len(old), START_SECONDS, "all are")
    for _ in range(50):
        assert answers(own_product, timeout=START_SECONDS)
    assert own_product.pid("web") == master or "web ended" in own_product.output


def test_kill_of_the_supervisor_leaves_no_process(own_product: Product) -> None:
    assert own_product.process is not None
    own_product.process.kill()
    own_product.process.wait()
    wait_until(lambda: own_product.processes() == {}, 10, f"nothing is left of {own_product.processes()}")


def test_ctrl_c_ends_all(own_product: Product) -> None:
    assert own_product.process is not None
    began = time.monotonic()
    os.killpg(own_product.process.pid, signal.SIGINT)
    own_product.process.wait(15)
    assert time.monotonic() - began < 10
    assert own_product.processes() == {}
    assert "Traceback" not in own_product.output, own_product.output


def test_a_second_start_serves_what_the_first_stored(own_product: Product, sink: MakeSink) -> None:
    recipient_sink = sink()
    sender, recipient = own_product.register(sink().url), own_product.register(recipient_sink.url)
    message_id = own_product.send(sender, recipient.name)
    own_product.wait_for_end(sender, message_id)
    own_product.stop()
    own_product.start()
    assert own_product.status_of(sender, message_id)["state"] == "delivered"
    recipient_sink.wait_for(own_product.send(sender, recipient.name))


def answers(product: Product, timeout: float = 2) -> bool:
    try:
        return call(f"{product.url}/livez", timeout=timeout).status == 200
    except OSError:
        return False


def assert_one_of_each(product: Product) -> None:
    """No child twice, and no orphan of a dead one."""
    assert product.process is not None
    wait_until(lambda: len(product.processes()) == len(family(product)), 5, f"orphans in {product.processes()}")
    commands = list(product.processes().values())
    assert sum(" worker " in command for command in commands) == 1, commands
    assert sum(" beat " in command for command in commands) == 1, commands
    assert sum(parent_of(pid) == product.process.pid for pid in product.processes()) == 3, commands


def family(product: Product) -> set[int]:
    """The supervisor and all that descend from it."""
    assert product.process is not None
    found = {product.process.pid}
    while True:
        more = {pid for pid in product.processes() if parent_of(pid) in found} - found
        if not more:
            return found
        found |= more
