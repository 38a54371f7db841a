"""Values of a JSON body or a query string, each bad one named."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from django.utils.dateparse import parse_datetime

from dmr_project.lib.errors import InvalidInput

LONGEST = 255  # characters
# What lies beyond cannot be put in every time zone.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=timezone.utc), datetime(9000, 12, 31, tzinfo=timezone.utc)

_SURROGATE = re.compile("[\ud800-\udfff]")  # half a character: JSON can hold one, no database and no answer can
# Nothing that breaks a line (controls, the two separators) and nothing that turns the reading of what follows around.
ONE_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]*$"  # also as a pattern of the schema
_ONE_LINE = re.compile(ONE_LINE.removesuffix("$") + r"\Z")


def is_text(value: object) -> bool:
    """Text that can be said again: no half of a character."""
    return isinstance(value, str) and not _SURROGATE.search(value)


def text(asked: Mapping[str, Any], name: str) -> str:
    """Empty where it is left out or null. Raises InvalidInput."""
    value = asked.get(name)
    if value is None:
        return ""
    if not is_text(value) or len(value) > LONGEST or "\x00" in value:
        raise invalid(name, f"must be text of at most {LONGEST} characters")
    return str(value)


def one_line(asked: Mapping[str, Any], name: str, most: int) -> str:
    """The same, without breaks of lines and of at most `most` characters. Raises InvalidInput."""
    value = asked.get(name)
    if value is None:
        return ""
    if not is_text(value) or len(value) > most or not _ONE_LINE.match(value):
        raise invalid(name, f"must be one line of at most {most} characters")
    return str(value)


def time(asked: Mapping[str, Any], name: str) -> datetime | None:
    """None where it is left out. Raises InvalidInput."""
    found = _any_time(asked, name)
    if found is not None and not EARLIEST <= found <= LATEST:
        raise invalid(name, f"must lie between {EARLIEST:%Y} and {LATEST:%Y}")
    return found


def bound(asked: Mapping[str, Any], name: str) -> datetime | None:
    """The same of a filter, for which a time beyond all that there is means the first or the last that there is."""
    found = _any_time(asked, name)
    return None if found is None else min(max(found, EARLIEST), LATEST)


def _any_time(asked: Mapping[str, Any], name: str) -> datetime | None:
    if asked.get(name) is None:
        return None
    value = text(asked, name)
    try:
        found = parse_datetime(value)
    except ValueError:  # well written, but no such day
        found = None
    if found is None or found.tzinfo is None:
        raise invalid(name, "must be a time in ISO 8601 with its offset, such as 2026-11-24T03:00:00Z")
    return found


def number(asked: Mapping[str, Any], name: str, usual: int | None, most: int) -> int | None:
    """From 1 to `most`, written in decimal; `usual` where it is left out. Raises InvalidInput."""
    if asked.get(name) is None:
        return usual
    value = text(asked, name)
    if not (value.isascii() and value.isdigit() and len(value) <= 9 and 1 <= int(value) <= most):
        raise invalid(name, f"must be a whole number from 1 to {most}")
    return int(value)


def whole(asked: Mapping[str, Any], name: str, *, least: int, most: int) -> int | None:
    """A number of a JSON body; None where it is left out or null. Raises InvalidInput."""
    value = asked.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise invalid(name, f"must be a whole number from {least} to {most}")
    return value


def refuse_unknown(asked: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """A misspelt field must not widen what is meant. Raises InvalidInput."""
    for name in asked:
        if name not in known:
            raise invalid(ascii(name)[1:51].rstrip("'"), f"is not known here; known are {', '.join(known)}")


def invalid(name: str, detail: str) -> InvalidInput:
    return InvalidInput(f"{name} {detail}", errors=[{"field": name, "detail": detail}])
