"""How many messages a second are accepted and delivered, and the processor time that each costs."""

from __future__ import annotations

import asyncio

from bench import cpu
from bench.load import Load, collect
from bench.product import Product, targets


def throughput(product: Product, sink: str, seconds: float, at_once: int) -> dict[str, float]:
    """Messages a second accepted and delivered, `at_once` waiting for their answers, and the CPU that each costs."""
    through, straight = targets(product, sink)
    reference = Load(straight)
    straight_seconds = asyncio.run(reference.closed(seconds / 4, at_once))
    asyncio.run(collect(sink, len(reference.answered), 5))
    load, before = Load(through), cpu.seconds_by_kind()
    took = asyncio.run(load.closed(seconds, at_once))
    arrived = asyncio.run(collect(sink, len(load.answered), 60))
    spent = {kind: value - before[kind] for kind, value in cpu.seconds_by_kind().items()}
    end = max(arrived.values(), default=0.0) - min(load.sent.values())
    delivered, straight_rate = len(arrived) / max(end, took), len(reference.answered) / straight_seconds
    each = {f"{kind}_ms": 1000 * value / max(1, len(arrived)) for kind, value in spent.items()}
    return {
        f"throughput, {at_once} at once: delivered/s": delivered,
        "reference/s": straight_rate,
        "ratio": delivered / straight_rate,
        "lost": float(len(load.answered.keys() - arrived.keys())),
        "refused": float(load.refused),
        **each,
        "cpu_ms": sum(each.values()),
    }
