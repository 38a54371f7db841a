"""`async with timeout(seconds)`: what Python has since 3.11; before, the library that became it."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["timeout"]
