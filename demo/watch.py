"""Waiting until something is so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from demo.errors import Unexpected

Seen = TypeVar("Seen")

LOOK_SECONDS = 0.05


def until(
    expected: str,
    look: Callable[[], Seen],
    is_so: Callable[[Seen], bool],
    seconds: float,
    tell: Callable[[Seen], str] = str,
) -> Seen:
    """Looks until what is seen is so. Raises Unexpected after `seconds`, with what was seen last, put by `tell`."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if is_so(seen):
            return seen
        if time.monotonic() > deadline:
            raise Unexpected(f"{expected} within {seconds:g} s", tell(seen))
        time.sleep(LOOK_SECONDS)


def expect(is_so: bool, expected: str, seen: object) -> None:
    """Raises Unexpected."""
    if not is_so:
        raise Unexpected(expected, str(seen))
