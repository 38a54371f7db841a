"""Recipients that accept a connection and never answer cost the others nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.integration.product import Participant, Product, wait_until
from tests.integration.sinks import Received, Sink, always

MakeSink = Callable[..., Sink]

RECIPIENTS, BLACK_HOLED = 50, 10
SENDERS, RATE, SECONDS = 4, 50, 15
MOST_GROWTH = 1.5
# An attempt at a black hole takes 10 s, and whoever waited for one, or for a slot that one holds, waits for seconds.
# A machine of two cores with other tests on it makes some wait for tenths of a second without any fault of ours, in
# one half of the measurement or the other. So what counts as late is half as much again as one in a hundred took when
# all were well, but no less than this; and what is asserted is the share of the late, not a time.
FLOOR_SECONDS = 0.5


def send(product: Product, sender: Participant, recipients: list[Participant], accepted: dict[str, float]) -> None:
    """At a steady rate, each message to the next recipient; notes when each was accepted."""
    began = time.monotonic()
    for number in range(SECONDS * RATE // SENDERS):
        time.sleep(max(0.0, began + number * SENDERS / RATE - time.monotonic()))
        message_id = product.send(sender, recipients[number % len(recipients)].name)
        accepted[message_id] = time.monotonic()


def waits(product: Product, senders: list[Participant], recipients: list[Participant], well: Sink) -> list[float]:
    """Seconds from accept to arrival of what those whose sink is `well` got, shortest first."""
    accepted: dict[str, float] = {}
    steps = range(0, RECIPIENTS, RECIPIENTS // SENDERS)  # each sender begins elsewhere
    threads = [
        threading.Thread(target=send, args=(product, sender, recipients[step:] + recipients[:step], accepted))
        for sender, step in zip(senders, steps, strict=False)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    def arrived() -> list[Received]:  # the relay itself has things to say to them as well
        return [each for each in list(well.received) if each.id in accepted]

    expected = len(accepted) * (RECIPIENTS - BLACK_HOLED) // RECIPIENTS - SENDERS
    wait_until(lambda: len(arrived()) >= expected, 30, "what is for those who are well arrives")
    return sorted(max(0.0, each.at - accepted[each.id]) for each in arrived())


def p99(sorted_waits: list[float]) -> float:
    return sorted_waits[len(sorted_waits) * 99 // 100]


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_black_holes_hold_nobody_up(own_product: Product, sink: MakeSink) -> None:
    """Of the messages to the others hardly more are late than when all were well."""
    well, turning = sink(), sink()
    hosts = [turning.url if number % (RECIPIENTS // BLACK_HOLED) == 0 else well.url for number in range(RECIPIENTS)]
    assert hosts.count(turning.url) == BLACK_HOLED
    recipients = [own_product.register(host) for host in hosts]
    senders = [own_product.register(sink().url) for _ in range(SENDERS)]
    calm = waits(own_product, senders, recipients, well)
    turning.behaviour, before = always(after=60), len(turning.received)
    with_black_holes = waits(own_product, senders, recipients, well)
    assert len(turning.received) >= before + BLACK_HOLED, "they were called"
    limit = max(FLOOR_SECONDS, MOST_GROWTH * p99(calm))
    late = [each for each in with_black_holes if each > limit]
    print(f"p99: {p99(calm):.3f} s when all are well, {p99(with_black_holes):.3f} s with black holes")
    assert len(late) <= len(with_black_holes) / 100, (p99(calm), p99(with_black_holes), late)
