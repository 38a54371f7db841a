"""How long a message takes from being sent to arriving, at a steady rate."""

from __future__ import annotations

import asyncio
import statistics

from bench.disk import watched
from bench.load import Load, collect
from bench.product import Product, targets


def latency(product: Product, sink: str, rate: float, seconds: float) -> dict[str, float]:
    """Sending to arrival, in ms, at a steady rate."""
    found: dict[str, tuple[float, float]] = {}
    through, straight = targets(product, sink)
    for name, target in (("reference", straight), ("relay", through)):
        load = Load(target)
        with watched() as disk:
            asyncio.run(load.steady(rate, seconds))
        arrived = asyncio.run(collect(sink, len(load.answered), 30))
        waits = sorted(1000 * (at - load.sent[each]) for each, at in arrived.items() if each in load.sent)
        found[name] = (statistics.median(waits), waits[int(len(waits) * 0.99)])
    return {
        f"latency at {rate:.0f}/s: p50_ms": found["relay"][0],
        "p99_ms": found["relay"][1],
        "reference_p50_ms": found["reference"][0],
        "reference_p99_ms": found["reference"][1],
        "disk_p99_ms": disk.percentile(0.99),  # while the relay was measured
        "ratio": found["relay"][0] / found["reference"][0],
    }
