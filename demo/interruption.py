"""SIGTERM and Ctrl-C: raised where we are, but never while a child is being started."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


class Interrupted(BaseException):
    """We were asked to stop."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_status = 128 + number


_is_held = False
_number = 0  # the signal that came first


def listen() -> None:
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, _on_signal)


def ignore() -> None:
    """From here on we are stopping already."""
    for each in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """A signal that comes inside is raised at the end."""
    global _is_held
    _is_held = True
    try:
        yield
    finally:
        _is_held = False
    if _number:
        raise Interrupted(_number)


def _on_signal(number: int, frame: object) -> None:
    global _number
    if _number:
        return
    _number = number
    if not _is_held:
        raise Interrupted(number)
