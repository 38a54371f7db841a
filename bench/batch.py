"""Batch ingest beside single ingest: the same messages, by the same senders, in the same run."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid

from bench import cpu
from bench.load import PAYLOAD, Load, Target, collect, session
from bench.product import Product

SIZE = 500  # messages of a batch
AT_ONCE = 4  # batches


def ingest(product: Product, sink: str, messages: int) -> dict[str, float]:
    """Messages a second answered 202, and what each costs web and database, alone and in batches.

    Deliveries go on meanwhile, as they do in the product; they are waited for before the next measurement.
    """
    through = Target(f"{product.url}/messages", product.keys, product.recipients)
    before, load = cpu.seconds_by_kind(), Load(through)
    took = asyncio.run(load.count(messages, 16))
    alone, alone_ms = len(load.answered) / took, accepting_ms(before, len(load.answered))
    asyncio.run(collect(sink, len(load.answered), 60))
    before = cpu.seconds_by_kind()
    accepted, took = asyncio.run(send_batches(product, messages))
    together, together_ms = accepted / took, accepting_ms(before, accepted)
    arrived = asyncio.run(collect(sink, accepted, 60))
    return {
        f"batches of {SIZE}: accepted/s": together,
        "reference/s, one by one": alone,
        "ratio": together / alone,
        "web_ms": together_ms,
        "reference_web_ms": alone_ms,
        "lost": float(accepted - len(arrived)),
        "refused": float(messages - accepted),
    }


def accepting_ms(before: dict[str, float], messages: int) -> float:
    """CPU of the web processes for each message, in ms."""
    return 1000 * (cpu.seconds_by_kind()["web"] - before["web"]) / max(1, messages)


async def send_batches(product: Product, messages: int) -> tuple[int, float]:
    """Returns how many were accepted, and the seconds it took."""
    senders = itertools.cycle(product.keys.items())
    bodies = [(key, body(sender, product.recipients)) for sender, key in itertools.islice(senders, messages // SIZE)]
    accepted = 0
    began = time.monotonic()
    async with session() as http:

        async def one(turns: list[tuple[str, bytes]]) -> None:
            nonlocal accepted
            for key, content in turns:
                url, headers = f"{product.url}/api/v1/messages/batch", {"X-Api-Key": key}
                async with http.post(url, data=content, headers=headers) as answer:
                    if answer.status == 202:
                        accepted += (await answer.json())["accepted"]

        await asyncio.gather(*(one(bodies[begin::AT_ONCE]) for begin in range(AT_ONCE)))
    return accepted, time.monotonic() - began


def body(sender: str, recipients: list[str]) -> bytes:
    parts = []
    for recipient in itertools.islice(itertools.cycle(recipients), SIZE):
        headers = {
            "X-Sent-By": sender,
            "X-Send-To": recipient,
            "X-Message-Id": str(uuid.uuid4()),
            "Content-Length": len(PAYLOAD),
        }
        parts.append(json.dumps(headers).encode() + b"\n" + PAYLOAD + b"\n")
    return b"".join(parts)
