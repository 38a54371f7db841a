"""Whence what is being done now comes: a client's address, or who is at the command line.

Empty in our own processes.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_current: ContextVar[str] = ContextVar("origin", default="")


def current() -> str:
    return _current.get()


@contextmanager
def of(origin: str) -> Iterator[None]:
    """What is done within comes from there."""
    before = _current.set(origin)
    try:
        yield
    finally:
        _current.reset(before)


def command_line() -> str:
    """For a command: the operating system's user."""
    try:
        return f"command line of {getpass.getuser()}"
    except (KeyError, OSError):  # a container's user may have no name
        return f"command line of uid {os.getuid()}"
