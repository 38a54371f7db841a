"""Logs: one line an event on standard error, `TIME LEVEL event key=value …`, times in UTC.

Never the API key, never an installer's output beyond the one line that a report's detail carries.
"""

from __future__ import annotations

import logging
import sys
import time

logger = logging.getLogger("dmr_agent")


def event(name: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Log one event by its constant name; a field that is None is left out."""
    shown = " ".join(f"{key}={_shown(value)}" for key, value in fields.items() if value is not None)
    logger.log(level, "%s %s", name, shown) if shown else logger.log(level, "%s", name)


def warn(name: str, /, **fields: object) -> None:
    event(name, level=logging.WARNING, **fields)


def start() -> None:
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logger.handlers[:] = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False


def _shown(value: object) -> str:
    # What a server or a command said must not be able to forge a line of its own.
    text = printable(str(value), 300)
    return f'"{text}"' if " " in text or not text else text


def printable(text: str, limit: int) -> str:
    """`text` as one line: what can't be printed becomes a space, and no more than `limit` characters stay."""
    line = "".join(character if character.isprintable() else " " for character in text[: limit * 2])
    return line.strip()[:limit]
