"""What ends the demonstration early."""

from __future__ import annotations


class DemoError(Exception):
    """The demonstration can't go on; the text is one line that says what to do."""


class Unexpected(Exception):
    """Something in the story came out differently."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}; saw {seen}")
        self.expected = expected
        self.seen = seen
