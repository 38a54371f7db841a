"""`script/bench`: prints one line a figure, each with its reference from the same run.

script/bench              all figures, medians of three
script/bench --quick      one short run of each
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Callable

from bench import batch, cpu
from bench.load import Load, Target, collect
from bench.product import Product, running_product, running_sink
from tests.servers import running

SENDERS, RECIPIENTS = 8, 50


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench")
    parser.add_argument("--quick", action="store_true")
    quick: bool = parser.parse_args().quick
    rounds, seconds, backlog = (1, 10.0, 5_000) if quick else (3, 60.0, 50_000)
    with running("postgres", "redis") as urls, running_sink() as sink:
        with running_product(urls["postgres"], urls["redis"]) as product:
            product.populate(sink, SENDERS, RECIPIENTS)
            median_of(rounds, lambda: throughput(product, sink, seconds))
            for rate in (20, 50, 100):
                median_of(rounds, lambda rate=rate: latency(product, sink, rate, seconds / 3))  # type: ignore[misc]
            median_of(rounds, lambda: batch.ingest(product, sink, backlog))
            drain(product, sink, backlog)
    return 0


def median_of(rounds: int, measure: Callable[[], dict[str, float]]) -> None:
    """Measures, and prints the medians."""
    runs = [measure() for _ in range(rounds)]
    print("  ".join(f"{name} {statistics.median(run[name] for run in runs):.4g}" for name in runs[0]), flush=True)


def targets(product: Product, sink: str) -> tuple[Target, Target]:
    through = Target(f"{product.url}/messages", product.keys, product.recipients)
    return through, Target(f"{sink}/straight", {}, product.recipients)


def throughput(product: Product, sink: str, seconds: float) -> dict[str, float]:
    """Messages a second accepted and delivered, and the CPU that each costs."""
    through, straight = targets(product, sink)
    reference = Load(straight)
    straight_seconds = asyncio.run(reference.closed(seconds / 4, 16))
    asyncio.run(collect(sink, len(reference.answered), 5))
    load, before = Load(through), cpu.seconds_by_kind()
    took = asyncio.run(load.closed(seconds, 16))
    arrived = asyncio.run(collect(sink, len(load.answered), 60))
    spent = {kind: value - before[kind] for kind, value in cpu.seconds_by_kind().items()}
    end = max(arrived.values(), default=0.0) - min(load.sent.values())
    delivered, straight_rate = len(arrived) / max(end, took), len(reference.answered) / straight_seconds
    each = {f"{kind}_ms": 1000 * value / max(1, len(arrived)) for kind, value in spent.items()}
    return {
        "throughput: delivered/s": delivered,
        "reference/s": straight_rate,
        "ratio": delivered / straight_rate,
        "lost": float(len(load.answered.keys() - arrived.keys())),
        "refused": float(load.refused),
        **each,
        "cpu_ms": sum(each.values()),
    }


def latency(product: Product, sink: str, rate: float, seconds: float) -> dict[str, float]:
    """Sending to arrival, in ms, at a steady rate."""
    found: dict[str, tuple[float, float]] = {}
    through, straight = targets(product, sink)
    for name, target in (("reference", straight), ("relay", through)):
        load = Load(target)
        asyncio.run(load.steady(rate, seconds))
        arrived = asyncio.run(collect(sink, len(load.answered), 30))
        waits = sorted(1000 * (at - load.sent[each]) for each, at in arrived.items() if each in load.sent)
        found[name] = (statistics.median(waits), waits[int(len(waits) * 0.99)])
    return {
        f"latency at {rate:.0f}/s: p50_ms": found["relay"][0],
        "p99_ms": found["relay"][1],
        "reference_p50_ms": found["reference"][0],
        "reference_p99_ms": found["reference"][1],
        "ratio": found["relay"][0] / found["reference"][0],
    }


def drain(product: Product, sink: str, backlog: int) -> None:
    """How fast one worker works off what was accepted while every recipient was disabled."""
    rows = product.ask("GET", "/centops/admin/participants")
    recipients = [row for row in rows if row["name"] in product.recipients]
    through, straight = targets(product, sink)
    for row in recipients:
        product.ask("PUT", f"/centops/admin/participants/{row['id']}", {**row, "status": "Disabled"})
    load = Load(through)
    asyncio.run(load.count(backlog, 16))
    for row in recipients:
        product.ask("PUT", f"/centops/admin/participants/{row['id']}", {**row, "status": "Active"})
    began = time.time()  # from here on all may have theirs; what arrived before is not counted
    arrived = asyncio.run(collect(sink, len(load.answered), 120))
    reference = Load(straight)
    took = asyncio.run(reference.count(min(backlog, 10_000), 64))
    times = [at for at in arrived.values() if at > began]
    rate = len(times) / max(0.001, max(times) - began)
    straight_rate = len(reference.answered) / took
    print(
        f"drain of {backlog}: delivered/s {rate:.4g}  reference/s {straight_rate:.4g}  "
        f"ratio {rate / straight_rate:.3g}  lost {len(load.answered.keys() - arrived.keys())}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
