"""The event loop on which deliveries are made: uvloop's, with one thing as asyncio does it. See docs/adr/0027."""

from __future__ import annotations

import socket
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

Result = TypeVar("Result")


class Loop(uvloop.Loop):
    """Names are resolved in the loop's executor, as asyncio does it.

    uvloop would have four threads for that: a few names whose servers do not answer would keep all others waiting.
    """

    async def getaddrinfo(self, *args: Any, **kwargs: Any) -> Any:
        return await self.run_in_executor(None, lambda: socket.getaddrinfo(*args, **kwargs))


def new_event_loop() -> Loop:
    return Loop()


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """As asyncio.run, on a loop of ours."""
    return uvloop.run(main, loop_factory=new_event_loop)
