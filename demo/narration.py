"""What is printed: acts, steps with their time and duration, and what was said."""

from __future__ import annotations

import contextlib
import os
import sys
import textwrap
import time
from collections.abc import Iterator

WIDTH = 110
MARGIN = " " * 13


class Narration:
    """`has_colour` and `is_live` (a step is shown while it goes on) are for terminals only."""

    def __init__(self, *, has_colour: bool, is_live: bool) -> None:
        self.has_colour = has_colour
        self.is_live = is_live
        self.began_at = time.monotonic()
        self._said: list[str] = []
        self._step = ""

    @classmethod
    def to_terminal(cls) -> Narration:
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        is_terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        return cls(has_colour=is_terminal and not os.environ.get("NO_COLOR"), is_live=is_terminal)

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.began_at

    def title(self, text: str) -> None:
        self._print(self._paint("1", text))

    def act(self, number: int, text: str) -> None:
        self._print("")
        self._print(self._paint("1;34", f"{number}. {text}"))

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Prints ✓, or ✗ when it raises; what was said meanwhile comes below."""
        began = self.seconds
        self._step, self._said = text, []
        if self.is_live:
            print(f"{' ' * 8}  … {text}"[:WIDTH], end="\r", flush=True)
        try:
            yield
        except Exception:
            self._end_step(self._paint("31", "✗"), began)
            raise
        self._end_step(self._paint("32", "✓"), began)

    def say(self, text: str) -> None:
        """A line below the step that goes on."""
        self._said += textwrap.wrap(text, WIDTH, initial_indent=MARGIN, subsequent_indent=MARGIN + "  ")

    def quote(self, speaker: str, text: str) -> None:
        """What somebody said, below the step that goes on."""
        label = f"{speaker}: "
        self._said += textwrap.wrap(
            f"{label}“{text}”", WIDTH, initial_indent=MARGIN, subsequent_indent=MARGIN + " " * len(label)
        )

    def line(self, text: str = "") -> None:
        self._print(text)

    def failure(self, text: str) -> None:
        self._print(self._paint("31", text))

    def _end_step(self, mark: str, began: float) -> None:
        took = self._paint("2", f"({self.seconds - began:.1f} s)")
        self._print(f"{self.seconds:6.1f} s  {mark} {self._step} {took}")
        for line in self._said:
            self._print(line)

    def _print(self, text: str) -> None:
        clear = "\r\x1b[K" if self.is_live else ""
        print(f"{clear}{text}", flush=True)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.has_colour else text
