"""The body of a batch, taken apart: a line of JSON with a message's headers, its payload, a line feed. Pure.

    {"X-Sent-By": "tax-board", "X-Send-To": "police", "X-Message-Id": "…", "Content-Length": 8}␊
    SGVsbG8=␊

Why: docs/adr/0006-batch-framing.md. Nothing of a body is ever quoted in an error: it may be a payload.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dmr_project.lib.errors import DomainError, InvalidInput
from relay.envelope import InvalidHeader

MOST_RECORDS = 1_000
LONGEST_LINE = 8 * 1024  # bytes; all headers at their longest need less than 3,000


class BrokenBatch(InvalidInput):
    code = "broken-batch"
    title = "The batch cannot be taken apart"


class BatchTooLarge(DomainError):
    status = 413
    code = "batch-too-large"
    title = "The batch has too many messages"


@dataclass(frozen=True)
class Record:
    """One message of a batch: what its line says, not yet looked at, and its payload."""

    said: dict[str, Any]
    payload: bytes


def read(body: bytes) -> list[Record]:
    """All records of a body, in order. Raises BrokenBatch, BatchTooLarge."""
    found: list[Record] = []
    at = 0
    while at < len(body):
        if len(found) == MOST_RECORDS:
            raise BatchTooLarge(f"A batch may have at most {MOST_RECORDS} messages. None was accepted; send fewer.")
        end = body.find(b"\n", at, at + LONGEST_LINE)
        if end < 0:
            raise _broken(found, at, f"no line feed ends its line of headers within {LONGEST_LINE} bytes")
        said = _object(body[at:end])
        if said is None:
            raise _broken(found, at, "its line of headers is not a JSON object in UTF-8")
        length = _length(said)
        if length is None:
            raise _broken(found, at, "its headers have no Content-Length, the number of the payload's bytes")
        begin, at = end + 1, end + 1 + length
        if at > len(body):
            raise _broken(found, begin, f"Content-Length says {length} bytes, but only {len(body) - begin} follow")
        found.append(Record(said, body[begin:at]))
        if at < len(body) and body[at : at + 1] != b"\n":
            raise _broken(found[:-1], at, f"no line feed follows the {length} bytes of its payload")
        at += 1
    if not found:
        raise BrokenBatch("The body is empty: send at least one message.")
    return found


def headers(record: Record) -> Mapping[str, str]:
    """A record's headers by their WSGI names, as relay.envelope reads them. Raises InvalidHeader."""
    found: dict[str, str] = {}
    errors: list[dict[str, str]] = []
    for name, value in record.said.items():
        variable = name.upper().replace("-", "_")
        if value is None or variable == "CONTENT_LENGTH":
            continue
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            readable = name[:50].encode("ascii", "backslashreplace").decode()
            errors.append({"header": readable, "detail": "must be text or a whole number"})
        found[variable if variable == "CONTENT_TYPE" else f"HTTP_{variable}"] = str(value)
    if errors:
        raise InvalidHeader("; ".join(f"{each['header']} {each['detail']}" for each in errors), errors=errors)
    return found


def _broken(before: list[Record], at: int, why: str) -> BrokenBatch:
    return BrokenBatch(f"Record {len(before) + 1}, at byte {at}: {why}. None of the batch was accepted.")


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        said = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError
        return None
    return said if isinstance(said, dict) else None


def _length(said: dict[str, Any]) -> int | None:
    for name, value in said.items():
        if name.lower() != "content-length":
            continue
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 10**18:
            return value
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
            return int(value)
    return None
