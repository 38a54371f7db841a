"""How fast one worker works off what was accepted while every recipient was disabled."""

from __future__ import annotations

import asyncio
import os
import time

from bench.load import Load, collect
from bench.product import Product, targets


def drain(product: Product, sink: str, backlog: int) -> dict[str, float]:
    """Messages a second, from the moment that all recipients may have theirs; what arrived before is left out."""
    rows = product.ask("GET", "/centops/admin/participants")
    recipients = [row for row in rows if row["name"] in product.recipients]
    through, straight = targets(product, sink)
    for row in recipients:
        product.ask("PUT", f"/centops/admin/participants/{row['id']}", {**row, "status": "Disabled"})
    load = Load(through)
    asyncio.run(load.count(backlog, 16))
    os.sync()
    for row in recipients:
        product.ask("PUT", f"/centops/admin/participants/{row['id']}", {**row, "status": "Active"})
    began = time.time()
    arrived = asyncio.run(collect(sink, set(load.answered), 120))
    reference = Load(straight)
    took = asyncio.run(reference.count(min(backlog, 10_000), 64))
    asyncio.run(collect(sink, len(reference.answered), 5))
    times = [at for at in arrived.values() if at > began]
    rate = len(times) / max(0.001, max(times, default=began) - began)
    straight_rate = len(reference.answered) / took
    return {
        f"drain of {backlog}: delivered/s": rate,
        "reference/s": straight_rate,
        "ratio": rate / straight_rate,
        "lost": float(len(load.answered.keys() - arrived.keys())),
    }
