"""`script/bench`: prints one line a figure, each with its reference from the same run.

script/bench              all figures, medians of three; three quarters of an hour
script/bench --quick      one short run of each
script/bench --only NAME… some of them: throughput, latency, batch, isolation, drain, scale, memory or pages
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench import batch, drain, isolation, latency, memory, pages, scale, throughput
from bench.product import Product, running_product, running_sink
from tests.servers import running

SENDERS, RECIPIENTS = 8, 50
MOST_INGESTED = 20_000  # messages, one by one and in batches
FIGURES = ("throughput", "latency", "batch", "isolation", "drain", "scale", "memory", "pages")


@dataclass(frozen=True)
class Size:
    """How much of everything."""

    rounds: int
    seconds: float
    backlog: int
    stored: int  # messages, for what must not depend on how many there are


QUICK = Size(rounds=1, seconds=10.0, backlog=5_000, stored=50_000)
FULL = Size(rounds=3, seconds=60.0, backlog=50_000, stored=5_000_000)


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=FIGURES)
    given = parser.parse_args()
    size: Size = QUICK if given.quick else FULL
    wanted = set(given.only)
    if wanted - {"scale", "pages"}:
        with running_all() as (product, sink):
            measure(product, sink, wanted, size)
    if "scale" in wanted:  # once: its figures are medians already, and filling takes longer than all the rest
        with timed("scale"):
            show(scale.costs(size.stored))
    if "pages" in wanted:
        with timed("pages"):
            for line in pages.costs(2 * size.rounds + 1):
                show(line)
    return 0


@contextlib.contextmanager
def running_all() -> Iterator[tuple[Product, str]]:
    """The product with its network, and the sink's URL."""
    with running("postgres", "redis") as urls, running_sink() as sink:
        with running_product(urls["postgres"], urls["redis"]) as product:
            product.populate(sink, SENDERS, RECIPIENTS)
            yield product, sink


def measure(product: Product, sink: str, wanted: set[str], size: Size) -> None:
    if "memory" in wanted:  # first: at rest means that nothing has been done yet
        with timed("memory"):
            for kind, found in memory.at_rest_and_under_load(product, sink, size.seconds).items():
                show({f"memory of {kind}, MB: pss": found.pop("pss"), **found})
    if "throughput" in wanted:
        with timed("throughput"):
            for at_once in (2 * SENDERS, 8 * SENDERS):
                median_of(size.rounds, partial(throughput.throughput, product, sink, size.seconds, at_once))
    if "latency" in wanted:
        with timed("latency"):
            for rate in (20, 50, 100):
                median_of(size.rounds, partial(latency.latency, product, sink, rate, size.seconds / 3))
    if "batch" in wanted:
        with timed("batch"):
            median_of(size.rounds, lambda: batch.ingest(product, sink, min(size.backlog, MOST_INGESTED)))
    if "drain" in wanted:
        with timed("drain"):
            median_of(size.rounds, lambda: drain.drain(product, sink, size.backlog))
    if "isolation" in wanted:  # last: it leaves recipients behind that do not answer
        with timed("isolation"):
            median_of(size.rounds, lambda: isolation.isolation(product, sink, size.seconds))


@contextlib.contextmanager
def timed(figure: str) -> Iterator[None]:
    """Says on standard error how long it took to measure. Begins when the disk has written what came before."""
    os.sync()
    began = time.monotonic()
    yield
    print(f"-- {figure}: measured in {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def median_of(rounds: int, figure: Callable[[], dict[str, float]]) -> None:
    """Measures, and prints the medians."""
    runs = [figure() for _ in range(rounds)]
    show({name: statistics.median(run[name] for run in runs) for name in runs[0]})


def show(found: dict[str, float]) -> None:
    print("  ".join(f"{name} {value:.4g}" for name, value in found.items()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
