"""What healthy recipients notice of those that accept a connection and never answer.

The same load twice, to 50 recipients each: once all of them healthy, once a fifth black-holed. Counted are those 40
that are healthy both times.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
from collections.abc import Iterator
from dataclasses import replace

from bench.load import Load, Target, collect
from bench.product import Product, targets

RATE = 100.0  # messages a second, to all
HOLES = 10

_rounds = itertools.count()


def isolation(product: Product, sink: str, seconds: float) -> dict[str, float]:
    """p99 from the 202 to the arrival at healthy recipients, in ms."""
    through, _ = targets(product, sink)
    healthy = product.recipients[HOLES:]
    none = waits_of(through, healthy, sink, seconds)
    with black_hole() as url:
        holes = product.register(f"hole-{next(_rounds)}", HOLES, lambda name: f"{url}/{name}")
        some = waits_of(replace(through, recipients=[*holes, *healthy]), healthy, sink, seconds)
        for hole in holes:
            product.ask("DELETE", f"/centops/admin/participants/{product.ids[hole]}")
    return {
        "isolation: p99_ms with a fifth black-holed": some[int(len(some) * 0.99)],
        "reference_p99_ms": none[int(len(none) * 0.99)],
        "ratio": some[int(len(some) * 0.99)] / none[int(len(none) * 0.99)],
        "p50_ms": some[len(some) // 2],
        "reference_p50_ms": none[len(none) // 2],
    }


def waits_of(target: Target, healthy: list[str], sink: str, seconds: float) -> list[float]:
    """From each 202 to its message's arrival at one of the healthy, in ms, in order."""
    load = Load(target)
    asyncio.run(load.steady(RATE, seconds))
    wanted = {each for each in load.answered if load.recipients[each] in healthy}
    arrived = asyncio.run(collect(sink, wanted, 30))  # by their ids: what senders are told arrives there too
    if not wanted <= arrived.keys():
        raise SystemExit(f"{len(wanted - arrived.keys())} messages to healthy recipients did not arrive in 30 s")
    return sorted(max(0.0, 1000 * (arrived[each] - load.answered[each])) for each in wanted)


@contextlib.contextmanager
def black_hole() -> Iterator[str]:
    """Connections to it are established, by the system, and nobody ever reads from them."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
